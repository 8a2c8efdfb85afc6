"""Reading a partition as consumers do: fenced by leader epochs, without what was aborted (KIP-98, KIP-320)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.anomalies.history import Isolation, Record
from tests.sim.cluster.clients.brokers import Brokers, Partition, Unanswered
from tests.sim.cluster.clients.producer import MOVED
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.offsets import (
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from wire.records import ControlType, crc_matches, iterate_batches, read_control_type, read_records

_PartitionData = FetchResponse.FetchableTopicResponse.PartitionData

_FETCH_VERSION_MAX = 12
"""The last one with topic names."""
_DECOMPRESSED_MAX = 1 << 20
LATEST, EARLIEST = -1, -2


class Truncated(Exception):
    """The partition has lost what this reader has read already, or its place in it."""


class Fetched(NamedTuple):
    records: list[Record]
    high_watermark: int
    last_stable_offset: int
    log_start: int


@dataclass(slots=True)
class Place:
    """Where a reader stands in a partition (the consumer's FetchPosition)."""

    partition: Partition
    offset: int
    last_epoch: int = -1
    """The leader epoch of the last batch that was read."""
    validated_epoch: int = -1
    """The leader epoch in which the offset was found to be good."""


async def fetch(
    brokers: Brokers, place: Place, isolation: Isolation, *, max_wait_ms: int = 500
) -> Fetched | None:
    """One fetch, moving ``place`` behind what was read; None if there was no good answer. Unanswered, Truncated."""
    topic, index = place.partition
    leader = await brokers.leader(place.partition)
    if leader.epoch != place.validated_epoch and not await _validate(
        brokers, place, leader.node_id, leader.epoch
    ):
        return None
    asked = FetchRequest.FetchTopic.FetchPartition(
        partition=index,
        current_leader_epoch=leader.epoch,
        fetch_offset=place.offset,
        last_fetched_epoch=place.last_epoch,
        partition_max_bytes=1 << 20,
    )
    request = FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=1,
        isolation_level=int(isolation == "read_committed"),
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=[asked])],
    )
    try:
        response = await brokers.request(
            leader.node_id, request, FetchResponse, version_max=_FETCH_VERSION_MAX
        )
    except Unanswered:
        await brokers.refresh([topic])
        raise
    answer = response.responses[0].partitions[0]
    code = brokers.answered(FetchRequest, answer.error_code)
    if code is ErrorCode.NONE and answer.diverging_epoch.epoch >= 0:
        raise Truncated(f"{topic}-{index} parts from what was read: {answer.diverging_epoch}")
    if code is ErrorCode.OFFSET_OUT_OF_RANGE:
        raise Truncated(f"{topic}-{index} does not have offset {place.offset}")
    if code is not ErrorCode.NONE:
        if code in MOVED:
            await brokers.refresh([topic])
        return None
    return Fetched(
        list(_records(place, answer, isolation)),
        answer.high_watermark,
        answer.last_stable_offset,
        answer.log_start_offset,
    )


async def _validate(brokers: Brokers, place: Place, node_id: int, leader_epoch: int) -> bool:
    """Under a new leader: does the log still hold what was read? (KIP-320)"""
    if place.last_epoch < 0:
        place.validated_epoch = leader_epoch
        return True
    topic, index = place.partition
    asked = OffsetForLeaderEpochRequest.OffsetForLeaderTopic.OffsetForLeaderPartition(
        partition=index, current_leader_epoch=leader_epoch, leader_epoch=place.last_epoch
    )
    request = OffsetForLeaderEpochRequest(
        replica_id=-1,
        topics=[OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic=topic, partitions=[asked])],
    )
    try:
        response = await brokers.request(node_id, request, OffsetForLeaderEpochResponse)
    except Unanswered:
        await brokers.refresh([topic])
        raise
    answer = response.topics[0].partitions[0]
    code = brokers.answered(OffsetForLeaderEpochRequest, answer.error_code)
    if code is not ErrorCode.NONE:
        await brokers.refresh([topic])
        return False
    if answer.end_offset < place.offset:
        raise Truncated(
            f"{topic}-{index} ends at {answer.end_offset} in epoch {answer.leader_epoch}, "
            f"{place.offset} was read up to in epoch {place.last_epoch}"
        )
    place.validated_epoch = leader_epoch
    return True


def _records(place: Place, answer: _PartitionData, isolation: Isolation) -> Iterator[Record]:
    data = bytes(answer.records or b"")  # type: ignore[arg-type]
    aborted = sorted((each.first_offset, each.producer_id) for each in answer.aborted_transactions or ())
    aborting: dict[int, None] = {}
    if not all(crc_matches(data, position, header) for position, header in iterate_batches(data)):
        raise Unanswered("a batch is damaged")  # by a disk that fails: clients ask again
    for position, header in iterate_batches(data):
        while aborted and aborted[0][0] <= header.last_offset:
            aborting[aborted.pop(0)[1]] = None
        if header.is_control:
            marker = read_records(data, position, decompressed_bytes_max=_DECOMPRESSED_MAX)[0]
            if read_control_type(marker) is ControlType.ABORT:
                aborting.pop(header.producer_id, None)
        elif not (
            isolation == "read_committed" and header.is_transactional and header.producer_id in aborting
        ):
            for record in read_records(data, position, decompressed_bytes_max=_DECOMPRESSED_MAX):
                if record.offset >= place.offset:
                    yield Record(*place.partition, record.offset, (record.value or b"").decode())
        place.offset = max(place.offset, header.next_offset)
        place.last_epoch = header.partition_leader_epoch


async def list_offset(brokers: Brokers, partition: Partition, timestamp: int) -> int | None:
    """LATEST or EARLIEST; None if the leader has no good answer now. Unanswered."""
    leader = await brokers.leader(partition)
    asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
        partition_index=partition[1], current_leader_epoch=leader.epoch, timestamp=timestamp
    )
    request = ListOffsetsRequest(
        replica_id=-1,
        topics=[ListOffsetsRequest.ListOffsetsTopic(name=partition[0], partitions=[asked])],
    )
    try:
        response = await brokers.request(leader.node_id, request, ListOffsetsResponse)
    except Unanswered:
        await brokers.refresh([partition[0]])
        raise
    answer = response.topics[0].partitions[0]
    if brokers.answered(ListOffsetsRequest, answer.error_code) is not ErrorCode.NONE:
        await brokers.refresh([partition[0]])
        return None
    return answer.offset
