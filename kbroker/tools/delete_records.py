"""``kafka-delete-records``: drop the records before an offset (Kafka's DeleteRecordsCommand)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import NoReturn

import trio

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster, Partition
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

    run(work, to_stderr=True, runner=trio.run)


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
    results: dict[Partition, int | ApiError] = {}

    async def delete(partition: Partition, offset: int) -> None:
        try:
            results[partition] = await _delete(cluster, partition, offset)
        except ApiError as error:
            results[partition] = error

    async with trio.open_nursery() as nursery:
        for partition, offset in offsets.items():
            nursery.start_soon(delete, partition, offset)
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


async def _delete(cluster: Cluster, partition: Partition, offset: int) -> int:
    """The partition's new start offset. ApiError."""
    topic_class = DeleteRecordsRequest.DeleteRecordsTopic
    request = DeleteRecordsRequest(
        topics=[
            topic_class(
                name=partition[0],
                partitions=[topic_class.DeleteRecordsPartition(partition_index=partition[1], offset=offset)],
            )
        ],
        timeout_ms=int(cluster.request_timeout_s * 1000),
    )

    async def attempt() -> int:
        leader = await _leader(cluster, partition)
        response = await cluster.once(leader, request, DeleteRecordsResponse)
        result = response.topics[0].partitions[0]
        if result.error_code:
            raise ApiError(ErrorCode(result.error_code))
        return result.low_watermark

    return await cluster.retrying(attempt)


async def _leader(cluster: Cluster, partition: Partition) -> int:
    """Who leads the partition, as far as is known now. ApiError."""
    topic = (await cluster.metadata([partition[0]])).topics[0]
    if topic.error_code:
        raise ApiError(ErrorCode(topic.error_code))
    for one in topic.partitions:
        if one.partition_index == partition[1]:
            if one.leader_id < 0:
                raise ApiError(ErrorCode.LEADER_NOT_AVAILABLE)
            return one.leader_id
    raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
