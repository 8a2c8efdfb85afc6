"""Where partitions begin and end, and which offset belongs to a time: ListOffsets at every leader."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from kbroker.tools.cluster import Cluster, Partition, by_topic, partition_text
from wire.errors import ApiError, ErrorCode
from wire.messages.offsets import ListOffsetsRequest, ListOffsetsResponse

LATEST: Final = -1
EARLIEST: Final = -2
UNKNOWN_OFFSET: Final = -1
CONSUMER: Final = -1


async def list_offsets(
    cluster: Cluster, partitions: Collection[Partition], timestamp_ms: int, *, isolation_level: int = 0
) -> dict[Partition, int]:
    """The offsets at a time (``EARLIEST``, ``LATEST``, or of the first record not before it; UNKNOWN_OFFSET).

    ApiError.
    """
    if not partitions:
        return {}

    async def attempt() -> dict[Partition, int]:
        offsets: dict[Partition, int] = {}
        for leader, its in (await cluster.leaders(partitions)).items():
            answers = await offsets_at_leader(
                cluster, leader, its, timestamp_ms, isolation_level=isolation_level
            )
            for partition, answer in answers.items():
                if isinstance(answer, ErrorCode):
                    raise ApiError(answer)
                offsets[partition] = answer
        return offsets

    return await cluster.retrying(attempt)


async def offsets_at_leader(
    cluster: Cluster,
    leader: int,
    partitions: Collection[Partition],
    timestamp_ms: int,
    *,
    isolation_level: int,
) -> Mapping[Partition, int | ErrorCode]:
    """What one broker says of each partition, asked a single time. ConnectionLost, ApiError."""
    partition_class = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition
    request = ListOffsetsRequest(
        replica_id=CONSUMER,
        isolation_level=isolation_level,
        topics=[
            ListOffsetsRequest.ListOffsetsTopic(
                name=topic,
                partitions=[
                    partition_class(partition_index=number, timestamp=timestamp_ms) for number in numbers
                ],
            )
            for topic, numbers in by_topic(partitions).items()
        ],
    )
    response = await cluster.once(leader, request, ListOffsetsResponse)
    answers: dict[Partition, int | ErrorCode] = {
        (topic.name, partition.partition_index): (
            ErrorCode(partition.error_code) if partition.error_code else partition.offset
        )
        for topic in response.topics
        for partition in topic.partitions
    }
    if missing := [partition for partition in partitions if partition not in answers]:
        named = ", ".join(map(partition_text, missing))
        raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, f"the broker's response left out {named}")
    return answers
