"""Where partitions begin and end, and which offset belongs to a time: ListOffsets at every leader."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kbroker.tools.cluster import Cluster, Partition
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
            response = await cluster.once(
                leader, _request(its, timestamp_ms, isolation_level), ListOffsetsResponse
            )
            for topic in response.topics:
                for partition in topic.partitions:
                    if partition.error_code:
                        raise ApiError(ErrorCode(partition.error_code))
                    offsets[topic.name, partition.partition_index] = partition.offset
        return offsets

    return await cluster.retrying(attempt)


def _request(
    partitions: Collection[Partition], timestamp_ms: int, isolation_level: int
) -> ListOffsetsRequest:
    by_topic: dict[str, list[ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition]] = {}
    for topic, partition in partitions:
        by_topic.setdefault(topic, []).append(
            ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                partition_index=partition, timestamp=timestamp_ms
            )
        )
    return ListOffsetsRequest(
        replica_id=CONSUMER,
        isolation_level=isolation_level,
        topics=[
            ListOffsetsRequest.ListOffsetsTopic(name=topic, partitions=its) for topic, its in by_topic.items()
        ],
    )
