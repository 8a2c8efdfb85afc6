"""Fetching of records for the consuming commands: a task for each leader, long polls, what was read ahead is bounded.

A partition's position moves on as its batches are handed out. What was fetched for an assignment that is over, or from
a position that was changed, is thrown away when it comes up.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import trio

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.partition_offsets import CONSUMER, EARLIEST, LATEST, list_offsets
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.records import (
    BatchHeader,
    ControlType,
    Record,
    crc_matches,
    iterate_batches,
    read_control_type,
    read_records,
)
from wire.schema import ZERO_UUID

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1
_RESPONSES_AHEAD_MAX: Final = 2
_DECOMPRESSED_BYTES_MAX: Final = 2**31 - 1
_REFRESH = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
        ErrorCode.LEADER_NOT_AVAILABLE,
    }
)


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Names, defaults and units: Kafka's ConsumerConfig."""

    min_bytes: int = 1
    max_bytes: int = 52_428_800
    max_wait_ms: int = 500
    partition_max_bytes: int = 1_048_576
    isolation_level: int = READ_UNCOMMITTED
    reset_to: int | None = LATEST
    check_crcs: bool = True
    retry_backoff_ms: int = 100
    request_timeout_ms: int = 30_000
    rack_id: str = ""


class FetchedBatch(NamedTuple):
    """Records of one batch, those that the consumer is to see."""

    partition: Partition
    header: BatchHeader
    records: list[Record]
    next_offset: int


class NoOffset(ApiError):
    """There is no committed offset, or it is gone, and ``auto.offset.reset`` says not to choose another."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        named = ", ".join(f"{topic}-{number}" for topic, number in partitions)
        super().__init__(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"Undefined offset with no reset policy for partitions: [{named}]",
        )


@dataclass(slots=True, eq=False)
class _Reader:
    """One partition of the current assignment."""

    partition: Partition
    fetch_offset: int
    topic_id: UUID = ZERO_UUID
    leader: int = -1
    leader_epoch: int = -1
    waiting: int = 0
    aborted: list[tuple[int, int]] = field(default_factory=list)
    aborted_producers: set[int] = field(default_factory=set)


class Fetcher:
    """``assign`` says from where; ``run`` fetches in the background; ``next`` waits for a batch."""

    def __init__(self, cluster: Cluster, settings: FetchSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._readers: dict[Partition, _Reader] = {}
        self._ready: deque[tuple[_Reader, list[FetchedBatch]]] = deque()
        self._changed = trio.Event()
        self._workers: set[int] = set()
        self._error: Exception | None = None

    @property
    def assigned(self) -> list[Partition]:
        return list(self._readers)

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets, and nothing else from now on."""
        self._readers = {partition: _Reader(partition, offset) for partition, offset in offsets.items()}
        self._ready.clear()
        self._notify()

    async def next(self) -> FetchedBatch:
        """The next batch with records; waits for ever. Whatever ended the fetching is raised here."""
        while True:
            if self._error is not None:
                raise self._error
            while self._ready:
                reader, batches = self._ready[0]
                if not batches or self._readers.get(reader.partition) is not reader:
                    self._ready.popleft()
                    reader.waiting -= 1
                    self._notify()
                    continue
                return batches.pop(0)
            await self._changed.wait()

    async def run(self, nursery: trio.Nursery) -> None:
        """Look up leaders, and fetch from each, for ever."""
        try:
            while True:
                changed = self._changed
                unknown = [reader for reader in self._readers.values() if reader.leader < 0]
                if unknown:
                    await self._find_leaders(unknown)
                    if any(reader.leader < 0 for reader in unknown):
                        await trio.sleep(self._settings.retry_backoff_ms / 1000)
                for reader in self._readers.values():
                    if reader.leader >= 0 and reader.leader not in self._workers:
                        self._workers.add(reader.leader)
                        nursery.start_soon(self._guarded, self._work, reader.leader)
                if not any(reader.leader < 0 for reader in self._readers.values()):
                    await changed.wait()
        except (ApiError, ConnectionLost, ProtocolError) as error:
            self._fail(error)

    async def _guarded(self, work: Callable[[int], object], leader: int) -> None:
        try:
            await work(leader)  # type: ignore[misc]
        except (ApiError, ProtocolError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _find_leaders(self, readers: list[_Reader]) -> None:
        response = await self._cluster.metadata(sorted({reader.partition[0] for reader in readers}))
        found = {}
        for topic in response.topics:
            if topic.error_code and not ErrorCode(topic.error_code).retriable:
                raise ApiError(ErrorCode(topic.error_code))
            for partition in topic.partitions:
                found[topic.name or "", partition.partition_index] = (topic.topic_id, partition)
        for reader in readers:
            if reader.partition in found:
                reader.topic_id, partition = found[reader.partition]
                reader.leader, reader.leader_epoch = partition.leader_id, partition.leader_epoch
        self._notify()

    async def _work(self, leader: int) -> None:
        while True:
            changed = self._changed
            readers = [reader for reader in self._readers.values() if reader.leader == leader]
            # A long poll for some would hold up the others, once what they have is used up.
            if not readers or any(reader.waiting >= _RESPONSES_AHEAD_MAX for reader in readers):
                await changed.wait()
                continue
            try:
                response = await self._cluster.once(
                    leader,
                    self._request(readers),
                    FetchResponse,
                    timeout_s=self._settings.request_timeout_ms / 1000,
                )
                if response.error_code:
                    raise ApiError(ErrorCode(response.error_code))
            except (ConnectionLost, ApiError) as error:
                if isinstance(error, ApiError) and not (
                    error.code.retriable or error.code is ErrorCode.BROKER_NOT_AVAILABLE
                ):
                    raise
                await trio.sleep(self._settings.retry_backoff_ms / 1000)
                for reader in readers:
                    reader.leader = -1
                self._notify()
                continue
            await self._take(readers, response)

    def _request(self, readers: list[_Reader]) -> FetchRequest:
        by_topic: dict[tuple[str, UUID], list[FetchRequest.FetchTopic.FetchPartition]] = {}
        for reader in readers:
            topic, number = reader.partition
            by_topic.setdefault((topic, reader.topic_id), []).append(
                FetchRequest.FetchTopic.FetchPartition(
                    partition=number,
                    current_leader_epoch=reader.leader_epoch,
                    fetch_offset=reader.fetch_offset,
                    partition_max_bytes=self._settings.partition_max_bytes,
                )
            )
        return FetchRequest(
            replica_id=CONSUMER,
            max_wait_ms=self._settings.max_wait_ms,
            min_bytes=self._settings.min_bytes,
            max_bytes=self._settings.max_bytes,
            isolation_level=self._settings.isolation_level,
            topics=[
                FetchRequest.FetchTopic(topic=topic, topic_id=topic_id, partitions=partitions)
                for (topic, topic_id), partitions in by_topic.items()
            ],
            rack_id=self._settings.rack_id,
        )

    async def _take(self, readers: list[_Reader], response: FetchResponse) -> None:
        by_name = {reader.partition: reader for reader in readers}
        names = {reader.topic_id: reader.partition[0] for reader in readers}
        lost = False
        for topic in response.responses:
            name = topic.topic or names.get(topic.topic_id, "")
            for answer in topic.partitions:
                reader = by_name.get((name, answer.partition_index))
                if reader is None or self._readers.get(reader.partition) is not reader:
                    continue
                code = ErrorCode(answer.error_code)
                if code is ErrorCode.OFFSET_OUT_OF_RANGE:
                    await self._reset(reader)
                elif code in _REFRESH:
                    reader.leader, lost = -1, True
                elif code:
                    raise ApiError(code, f"Fetching {name}-{answer.partition_index} failed: {code.name}")
                elif answer.records:
                    self._take_records(reader, answer)
        if lost:
            await trio.sleep(self._settings.retry_backoff_ms / 1000)
        self._notify()

    async def _reset(self, reader: _Reader) -> None:
        if self._settings.reset_to is None:
            raise NoOffset([reader.partition])
        found = await list_offsets(
            self._cluster,
            [reader.partition],
            self._settings.reset_to,
            isolation_level=self._settings.isolation_level,
        )
        reader.fetch_offset = found[reader.partition]

    def _take_records(
        self, reader: _Reader, answer: FetchResponse.FetchableTopicResponse.PartitionData
    ) -> None:
        data = answer.records
        assert isinstance(data, (bytes, bytearray, memoryview))
        if self._settings.isolation_level == READ_COMMITTED and answer.aborted_transactions:
            reader.aborted = [
                (transaction.first_offset, transaction.producer_id)
                for transaction in answer.aborted_transactions
            ]
            heapq.heapify(reader.aborted)
        batches: list[FetchedBatch] = []
        for position, header in iterate_batches(data):
            if header.next_offset <= reader.fetch_offset:
                continue
            if self._settings.check_crcs and not crc_matches(data, position, header):
                topic, number = reader.partition
                raise ApiError(
                    ErrorCode.CORRUPT_MESSAGE,
                    f"Record batch for partition {topic}-{number} at offset {header.base_offset} is invalid, "
                    "cause: Record is corrupt",
                )
            if not self._is_hidden(reader, data, position, header):
                records = read_records(data, position, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
                if header.base_offset < reader.fetch_offset:
                    records = [record for record in records if record.offset >= reader.fetch_offset]
                if records:
                    batches.append(FetchedBatch(reader.partition, header, records, header.next_offset))
            reader.fetch_offset = header.next_offset
        if batches:
            reader.waiting += 1
            self._ready.append((reader, batches))

    def _is_hidden(
        self, reader: _Reader, data: bytes | bytearray | memoryview, position: int, header: BatchHeader
    ) -> bool:
        """Control batches, and batches of aborted transactions."""
        if self._settings.isolation_level == READ_COMMITTED and header.is_transactional:
            while reader.aborted and reader.aborted[0][0] <= header.last_offset:
                reader.aborted_producers.add(heapq.heappop(reader.aborted)[1])
            if header.is_control:
                (marker,) = read_records(data, position, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
                if read_control_type(marker) is ControlType.ABORT:
                    reader.aborted_producers.discard(header.producer_id)
                return True
            return header.producer_id in reader.aborted_producers
        return header.is_control


__all__ = [
    "EARLIEST",
    "LATEST",
    "READ_COMMITTED",
    "READ_UNCOMMITTED",
    "FetchSettings",
    "FetchedBatch",
    "Fetcher",
    "NoOffset",
]
