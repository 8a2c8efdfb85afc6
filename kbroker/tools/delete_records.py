"""``kafka-delete-records``: drop the records before an offset (Kafka's DeleteRecordsCommand)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster, Partition, by_topic
from kbroker.tools.java_errors import java_text
from kbroker.tools.json_files import check_version, member, parse_json, read_text
from kbroker.tools.session import CommandError, Connected, run
from wire.errors import ApiError, ErrorCode
from wire.messages.offsets import DeleteRecordsRequest, DeleteRecordsResponse


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        properties = read_properties(options.command_config)
        async with Connected(options.bootstrap_server, properties, call="deleteRecords") as cluster:
            await execute(options, cluster)

    run(work, to_stderr=True)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags; ends the process if they are wrong."""
    flags = Arguments(
        "kafka-delete-records",
        "This tool helps to delete records of the given partitions down to the specified offset.",
    )
    flags.add_connection()
    flags.add_argument(
        "--offset-json-file",
        metavar="FILE",
        help='{"partitions": [{"topic": "foo", "partition": 1, "offset": 1}], "version": 1}',
    )
    options = flags.parse(arguments)
    flags.require(options, "offset-json-file")
    return options


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Delete, and print each partition's new start or what was wrong. CommandError for a file that is wrong."""
    offsets = parse_offsets(read_text(options.offset_json_file))
    print("Executing records delete operation")

    async def ask(leader: int, its: Collection[Partition]) -> Mapping[Partition, int | ErrorCode]:
        return await _delete(cluster, leader, {partition: offsets[partition] for partition in its})

    results = await cluster.at_leaders(list(offsets), ask)
    print("Records delete operation completed:")
    for (topic, index), result in sorted(results.items(), key=lambda item: item[0]):
        if isinstance(result, ApiError):
            print(f"partition: {topic}-{index}\terror: {java_text(result)}")
        else:
            print(f"partition: {topic}-{index}\tlow_watermark: {result}")


def parse_offsets(text: str) -> Mapping[Partition, int]:
    """What the file says, in order; CommandError."""
    value = parse_json(text)
    check_version(value)
    if isinstance(value, dict) and "partitions" not in value:
        raise CommandError("Missing partitions field")
    offsets: dict[Partition, int] = {}
    twice: list[Partition] = []
    for one in member(value, "partitions", list):
        partition = (member(one, "topic", str), member(one, "partition", int))
        if partition in offsets and partition not in twice:
            twice.append(partition)
        offsets[partition] = member(one, "offset", int)
    if twice:
        listed = ",".join(f"{topic}-{index}" for topic, index in twice)
        raise CommandError(f"Offset json file contains duplicate topic partitions: {listed}")
    return offsets


async def _delete(
    cluster: Cluster, leader: int, offsets: Mapping[Partition, int]
) -> Mapping[Partition, int | ErrorCode]:
    """The new start offset of each partition that the broker leads, asked once. ConnectionLost, ApiError."""
    topic_class = DeleteRecordsRequest.DeleteRecordsTopic
    request = DeleteRecordsRequest(
        topics=[
            topic_class(
                name=topic,
                partitions=[
                    topic_class.DeleteRecordsPartition(partition_index=number, offset=offsets[topic, number])
                    for number in numbers
                ],
            )
            for topic, numbers in by_topic(offsets).items()
        ],
        timeout_ms=int(cluster.request_timeout_s * 1000),
    )
    response = await cluster.once(leader, request, DeleteRecordsResponse)
    return {
        (topic.name, row.partition_index): ErrorCode(row.error_code) if row.error_code else row.low_watermark
        for topic in response.topics
        for row in topic.partitions
    }
