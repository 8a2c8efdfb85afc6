"""Fetching of records for the consuming commands: a task for each leader, long polls, what was read ahead is bounded.

A partition's position moves on as its batches are fetched. What was fetched for an assignment that is over is thrown
away when it comes up.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import trio

from kbroker.tools.cluster import Cluster, Partition, partition_text
from kbroker.tools.failures import root_cause
from kbroker.tools.partition_offsets import CONSUMER, EARLIEST, LATEST, offsets_at_leader
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
_NO_LEADER: Final = -1
_RESPONSES_AHEAD_MAX: Final = 2
_DECOMPRESSED_BYTES_MAX: Final = 2**31 - 1
_LEADER_MOVED: Final = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.BROKER_NOT_AVAILABLE,
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
"""Or perhaps has: what is known of the partition is to be looked up anew."""

FetchedPartition = FetchResponse.FetchableTopicResponse.PartitionData


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Names, defaults and units: Kafka's ConsumerConfig.

    ``reset_to``: EARLIEST, LATEST, or None for an error. ``creates_topics``: whether brokers may, when they are asked.
    """

    min_bytes: int = 1
    max_bytes: int = 52_428_800
    max_wait_ms: int = 500
    partition_max_bytes: int = 1_048_576
    isolation_level: int = READ_UNCOMMITTED
    reset_to: int | None = LATEST
    check_crcs: bool = True
    retry_backoff_ms: int = 100
    request_timeout_ms: int = 30_000
    creates_topics: bool = False


class FetchedBatch(NamedTuple):
    """Records of one batch, those that the consumer is to see."""

    partition: Partition
    header: BatchHeader
    records: list[Record]
    next_offset: int


class NoOffset(ApiError):
    """There is no committed offset, or it is gone, and ``auto.offset.reset`` says not to choose another."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        named = ", ".join(map(partition_text, partitions))
        super().__init__(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"Undefined offset with no reset policy for partitions: [{named}]",
        )


@dataclass(slots=True, eq=False)
class _Reader:
    """One partition of the current assignment. ``offset``: what to fetch next; EARLIEST, LATEST: to be looked up."""

    partition: Partition
    offset: int
    topic_id: UUID = ZERO_UUID
    leader: int = _NO_LEADER
    leader_epoch: int = -1
    waiting: int = 0

    @property
    def can_fetch(self) -> bool:
        return self.leader != _NO_LEADER and self.offset >= 0


class Fetcher:
    """``assign`` says from where; ``run`` fetches in the background; ``next`` waits for a batch.

    ``on_start`` is told the offset that EARLIEST or LATEST turned out to be.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: FetchSettings,
        *,
        on_start: Callable[[Partition, int], None] = lambda partition, offset: None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._on_start = on_start
        self._readers: dict[Partition, _Reader] = {}
        self._ready: deque[tuple[_Reader, deque[FetchedBatch]]] = deque()
        self._changed = trio.Event()  # replaced at each change
        self._error: BaseException | None = None

    @property
    def assigned(self) -> list[Partition]:
        return list(self._readers)

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets (EARLIEST, LATEST), and nothing else from now on."""
        self._readers = {partition: _Reader(partition, offset) for partition, offset in offsets.items()}
        self._ready.clear()
        self._notify()

    async def next(self) -> FetchedBatch:
        """The next batch with records; waits for ever. Whatever ended the fetching is raised here."""
        while (batch := self._take_ready()) is None:
            if self._error is not None:
                raise self._error
            await self._changed.wait()
        # Others must have their turn, but what was taken must not get lost.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return batch

    def fail(self, error: BaseException) -> None:
        """Nothing more will be fetched."""
        self._error = error
        self._notify()

    def _take_ready(self) -> FetchedBatch | None:
        while self._ready:
            reader, batches = self._ready[0]
            if batches and self._readers.get(reader.partition) is reader:
                return batches.popleft()
            self._ready.popleft()
            reader.waiting -= 1
            self._notify()
        return None

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # Tasks

    async def run(self) -> None:
        """Find leaders and offsets, and fetch from each leader, until something fails for good."""
        try:
            async with trio.open_nursery() as nursery:
                served: set[int] = set()
                while True:
                    await self._look_up()
                    for leader in (
                        {reader.leader for reader in self._readers.values()} - served - {_NO_LEADER}
                    ):
                        served.add(leader)
                        nursery.start_soon(self._serve, leader)
                    if all(reader.can_fetch for reader in self._readers.values()):
                        await self._changed.wait()
                    else:
                        await trio.sleep(self._backoff_s)
        except* (ApiError, ConnectionLost, ProtocolError) as errors:
            self.fail(root_cause(errors))

    async def _look_up(self) -> None:
        """What is not known of the readers, as far as brokers say now. ApiError, ProtocolError."""
        lost = [reader for reader in self._readers.values() if reader.leader == _NO_LEADER]
        if lost:
            await self._find_leaders(lost)
        unplaced: dict[tuple[int, int], list[_Reader]] = {}
        for reader in self._readers.values():
            if reader.leader != _NO_LEADER and reader.offset < 0:
                unplaced.setdefault((reader.leader, reader.offset), []).append(reader)
        for (leader, special), readers in unplaced.items():
            await self._find_offsets(leader, special, readers)

    async def _find_leaders(self, readers: Sequence[_Reader]) -> None:
        response = await self._cluster.metadata(
            sorted({reader.partition[0] for reader in readers}),
            allow_auto_topic_creation=self._settings.creates_topics,
        )
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

    async def _find_offsets(self, leader: int, special: int, readers: Sequence[_Reader]) -> None:
        by_partition = {reader.partition: reader for reader in readers}
        try:
            answers = await offsets_at_leader(
                self._cluster,
                leader,
                list(by_partition),
                special,
                isolation_level=self._settings.isolation_level,
            )
        except (ConnectionLost, ApiError) as error:
            self._lose(readers, error)
            return
        for partition, answer in answers.items():
            reader = by_partition[partition]
            if isinstance(answer, ErrorCode):
                self._lose([reader], ApiError(answer))
            elif self._readers.get(partition) is reader:
                reader.offset = answer
                self._on_start(partition, answer)
        self._notify()

    def _lose(self, readers: Sequence[_Reader], error: Exception) -> None:
        """Their leader is to be looked up anew. ApiError, where that would not help."""
        if isinstance(error, ApiError) and not (error.code.retriable or error.code in _LEADER_MOVED):
            raise error
        for reader in readers:
            reader.leader = _NO_LEADER

    @property
    def _backoff_s(self) -> float:
        return self._settings.retry_backoff_ms / 1000

    async def _serve(self, leader: int) -> None:
        while True:
            changed = self._changed
            readers = [
                reader for reader in self._readers.values() if reader.leader == leader and reader.can_fetch
            ]
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
                self._lose(readers, error)
            else:
                self._take(readers, response)
            is_lost = any(reader.leader == _NO_LEADER for reader in readers)
            self._notify()
            if is_lost:
                await trio.sleep(self._backoff_s)

    def _request(self, readers: Sequence[_Reader]) -> FetchRequest:
        by_topic: dict[tuple[str, UUID], list[FetchRequest.FetchTopic.FetchPartition]] = {}
        for reader in readers:
            topic, number = reader.partition
            by_topic.setdefault((topic, reader.topic_id), []).append(
                FetchRequest.FetchTopic.FetchPartition(
                    partition=number,
                    current_leader_epoch=reader.leader_epoch,
                    fetch_offset=reader.offset,
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
        )

    # Answers

    def _take(self, readers: Sequence[_Reader], response: FetchResponse) -> None:
        """ApiError for what does not pass."""
        by_partition = {reader.partition: reader for reader in readers}
        names = {reader.topic_id: reader.partition[0] for reader in readers}
        for topic in response.responses:
            name = topic.topic or names.get(topic.topic_id, "")
            for answer in topic.partitions:
                reader = by_partition.get((name, answer.partition_index))
                if reader is None or self._readers.get(reader.partition) is not reader:
                    continue
                code = ErrorCode(answer.error_code)
                if code is ErrorCode.OFFSET_OUT_OF_RANGE:
                    if self._settings.reset_to is None:
                        raise NoOffset([reader.partition])
                    reader.offset = self._settings.reset_to
                elif code in _LEADER_MOVED:
                    reader.leader = _NO_LEADER
                elif code:
                    text = f"Fetching {partition_text(reader.partition)} failed: {code.name}"
                    raise ApiError(code, text)
                elif answer.records:
                    self._take_records(reader, answer)

    def _take_records(self, reader: _Reader, answer: FetchedPartition) -> None:
        data = answer.records
        assert isinstance(data, (bytes, bytearray, memoryview))
        visibility = _Visibility(answer, self._settings.isolation_level)
        batches: deque[FetchedBatch] = deque()
        for position, header in iterate_batches(data):
            if header.next_offset <= reader.offset:
                continue
            if self._settings.check_crcs and not crc_matches(data, position, header):
                raise ApiError(
                    ErrorCode.CORRUPT_MESSAGE,
                    f"Record batch for partition {partition_text(reader.partition)} at offset {header.base_offset} "
                    "is invalid, cause: Record is corrupt",
                )
            if visibility.shows(data, position, header):
                records = read_records(data, position, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
                if header.base_offset < reader.offset:
                    records = [record for record in records if record.offset >= reader.offset]
                if records:
                    batches.append(FetchedBatch(reader.partition, header, records, header.next_offset))
            reader.offset = header.next_offset
        if batches:
            reader.waiting += 1
            self._ready.append((reader, batches))


class _Visibility:
    """Which batches of one answer a consumer is to see. An answer names all aborted transactions that reach into it."""

    def __init__(self, answer: FetchedPartition, isolation_level: int) -> None:
        self._is_committed_only = isolation_level == READ_COMMITTED
        self._aborted = [(one.first_offset, one.producer_id) for one in answer.aborted_transactions or ()]
        heapq.heapify(self._aborted)
        self._aborting: set[int] = set()  # producers whose aborted transaction has begun

    def shows(self, data: bytes | bytearray | memoryview, position: int, header: BatchHeader) -> bool:
        """In the order of the log: not control batches, nor, if that is asked for, those of aborted transactions."""
        if not self._is_committed_only or not header.is_transactional:
            return not header.is_control
        while self._aborted and self._aborted[0][0] <= header.last_offset:
            self._aborting.add(heapq.heappop(self._aborted)[1])
        if not header.is_control:
            return header.producer_id not in self._aborting
        (marker,) = read_records(data, position, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
        if read_control_type(marker) is ControlType.ABORT:
            self._aborting.discard(header.producer_id)
        return False


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
