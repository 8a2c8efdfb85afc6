"""``kafka-log-dirs``: what is in the brokers' log directories (Kafka's LogDirsCommand)."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Collection, Sequence
from typing import Any, Final, NoReturn

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster
from kbroker.tools.log_directories import describe_log_dirs
from kbroker.tools.session import CommandError, Connected, run
from wire.errors import ApiError, ErrorCode
from wire.messages.log_dirs import DescribeLogDirsResponse

_CLIENT_ID: Final = "log-dirs-tool"


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        properties = {"client.id": _CLIENT_ID, **read_properties(options.command_config)}
        async with Connected(options.bootstrap_server, properties, call="listNodes") as cluster:
            await execute(options, cluster)

    run(work, to_stderr=True)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags; ends the process if they are wrong."""
    flags = Arguments(
        "kafka-log-dirs", "This tool helps to query log directory usage on the specified brokers."
    )
    flags.add_connection()
    flags.add_argument("--describe", action="store_true", help="Describe the log directories.")
    flags.add_argument("--topic-list", metavar="T,T", default="", help="The topics; all if not given.")
    flags.add_argument("--broker-list", metavar="N,N", default="", help="The brokers; all if not given.")
    options = flags.parse(arguments)
    flags.require(options, "describe")
    return options


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Print the directories of the brokers as JSON. CommandError for brokers that are not there."""
    topics = {topic for topic in options.topic_list.split(",") if topic}
    await cluster.connect()
    known = sorted(cluster.brokers)
    chosen = _brokers(options.broker_list) or known
    if missing := [node_id for node_id in chosen if node_id not in cluster.brokers]:
        raise CommandError(
            f"ERROR: The given brokers do not exist from --broker-list: {_listed(missing)}. "
            f"Current existent brokers: {_listed(known)}"
        )
    print("Querying brokers for log directories information")
    directories = {node_id: await describe_log_dirs(cluster, node_id) for node_id in chosen}
    print(f"Received log directory information from brokers {_listed(chosen)}")
    found = {
        "brokers": [
            {"broker": node_id, "logDirs": [_directory(one, topics) for one in its]}
            for node_id, its in directories.items()
        ],
        "version": 1,
    }
    print(json.dumps(found, separators=(",", ":"), ensure_ascii=False))


def _directory(
    found: DescribeLogDirsResponse.DescribeLogDirsResult, topics: Collection[str]
) -> dict[str, Any]:
    error = None
    if found.error_code:
        from kbroker.tools.java_errors import java_text

        error = java_text(ApiError(ErrorCode(found.error_code))).partition(":")[0]
    return {
        "partitions": [
            {
                "partition": f"{topic.name}-{partition.partition_index}",
                "size": partition.partition_size,
                "offsetLag": partition.offset_lag,
                "isFuture": partition.is_future_key,
            }
            for topic in sorted(found.topics, key=lambda one: one.name)
            if not topics or topic.name in topics
            for partition in sorted(topic.partitions, key=lambda one: one.partition_index)
        ],
        "error": error,
        "logDir": found.log_dir,
    }


def _brokers(text: str) -> list[int]:
    try:
        return sorted({int(node_id) for node_id in text.split(",") if node_id})
    except ValueError:
        bad = next(node_id for node_id in text.split(",") if not node_id.lstrip("-").isdecimal())
        raise CommandError(f'For input string: "{bad}"') from None


def _listed(node_ids: Collection[int]) -> str:
    return ",".join(map(str, node_ids))
