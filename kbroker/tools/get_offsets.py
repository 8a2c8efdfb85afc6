"""``kafka-get-offsets``: where partitions end, begin, or were at a time (Kafka's GetOffsetShell)."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster, Partition, parse_address
from kbroker.tools.failures import UnreadableFileError
from kbroker.tools.partition_offsets import UNKNOWN_OFFSET, offsets_at_leader
from kbroker.tools.session import CommandError, Connected, run
from kbroker.tools.topic_filters import INTERNAL_TOPICS, TopicFilter, partition_rule
from wire.errors import ApiError, ErrorCode

_CLIENT_ID: Final = "GetOffsetShell"
_READ_UNCOMMITTED: Final = 0
_TIMES: Final = {
    "latest": -1,
    "earliest": -2,
    "max-timestamp": -3,
    "earliest-local": -4,
    "latest-tiered": -5,
    "earliest-pending-upload": -6,
}


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        try:
            properties = {**read_properties(options.command_config), "client.id": _CLIENT_ID}
            async with Connected(options.bootstrap_server, properties, call="listTopics") as cluster:
                await execute(options, cluster)
        except UnreadableFileError as error:
            raise CommandError(error.reason) from None
        except ApiError as error:
            from kbroker.tools.java_errors import java_text

            raise CommandError(java_text(error)) from None

    run(work, failed="Error occurred: {}".format, to_stderr=True)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags; ends the process if they are wrong."""
    flags = Arguments(
        "kafka-get-offsets",
        "An interactive shell for getting topic-partition offsets.",
        mistake="Error occurred: {}",
    )
    flags.add_connection()
    flags.add_argument("--topic", help="The topics, a regular expression; all if not given.")
    flags.add_argument("--partitions", metavar="N,N", help="The partitions; all if not given.")
    flags.add_argument(
        "--topic-partitions",
        metavar="T:N,T:N-N,...",
        help="Patterns of topics and partitions: a regular expression and a number or a range (its end is not part).",
    )
    flags.add_argument(
        "--time", default="latest", help=f"A timestamp in ms, or one of {', '.join(_TIMES)} (-1 to -6)."
    )
    flags.add_argument("--exclude-internal-topics", action="store_true", help="Leave internal topics out.")
    options = flags.parse(arguments)
    try:
        for address in options.bootstrap_server.split(","):
            parse_address(address)
    except ValueError:
        flags.error("Please provide valid host:port like host1:9091,host2:9092\n")
    return options


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Print ``topic:partition:offset`` of each partition that has an offset at that time. CommandError."""
    if options.topic_partitions is not None and (options.topic is not None or options.partitions is not None):
        raise CommandError("--topic-partitions cannot be used with --topic or --partitions")
    time = parse_time(options.time)
    chosen = _filter(options)
    partitions = [
        (topic.name or "", partition.partition_index)
        for topic in (await cluster.metadata()).topics
        if not (options.exclude_internal_topics and (topic.is_internal or topic.name in INTERNAL_TOPICS))
        for partition in topic.partitions
    ]
    partitions = [partition for partition in partitions if chosen(partition)]
    if not partitions:
        raise CommandError("Could not match any topic-partitions with the specified filters")
    offsets = await _offsets(cluster, partitions, time)
    for topic, index in sorted(offsets, key=_text):
        if offsets[topic, index] != UNKNOWN_OFFSET:
            print(f"{topic}:{index}:{offsets[topic, index]}")


def parse_time(text: str) -> int:
    """The timestamp that ListOffsets is asked for; CommandError."""
    if text in _TIMES:
        return _TIMES[text]
    try:
        time = int(text)
        if not -(2**63) <= time < 2**63:
            raise ValueError
        return time
    except ValueError:
        raise CommandError(
            f"Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or "
            "earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format "
            "timestamp"
        ) from None


def _filter(options: Namespace) -> Callable[[Partition], bool]:
    if options.topic_partitions is not None:
        rules = [partition_rule(rule) for rule in options.topic_partitions.split(",")]
        return lambda partition: any(rule(partition) for rule in rules)
    topics = TopicFilter(options.topic if options.topic is not None else ".*")
    try:
        indexes = {
            int(index) for index in (options.partitions or "").rstrip(",").split(",") if options.partitions
        }
    except ValueError:
        raise CommandError(
            "--partitions expects a comma separated list of numeric partition ids, but received: "
            f"{options.partitions}"
        ) from None
    return lambda partition: topics.allows(partition[0]) and (not indexes or partition[1] in indexes)


async def _offsets(cluster: Cluster, partitions: Sequence[Partition], time: int) -> dict[Partition, int]:
    """One partition's error costs no other its answer, and is told."""

    async def ask(leader: int, its: Collection[Partition]) -> Mapping[Partition, int | ErrorCode]:
        return await offsets_at_leader(cluster, leader, its, time, isolation_level=_READ_UNCOMMITTED)

    offsets: dict[Partition, int] = {}
    for partition, answer in (await cluster.at_leaders(partitions, ask)).items():
        if isinstance(answer, ApiError):
            from kbroker.tools.java_errors import java_text

            print(
                f"Skip getting offsets for topic-partition {_text(partition)} due to error: {java_text(answer)}",
                file=sys.stderr,
            )
        else:
            offsets[partition] = answer
    return offsets


def _text(partition: Partition) -> str:
    return f"{partition[0]}-{partition[1]}"
