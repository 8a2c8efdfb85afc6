"""A producer for the commands: batches per partition, retries in order, idempotence as Kafka's producer has it.

Records gather in one queue for each partition. One task for each broker takes ready batches of the partitions that it
leads and keeps up to five requests under way; what fails and may pass goes back to the front of its queue, with its
sequence numbers, so that order holds and nothing is written twice. After a batch that was given up a partition goes on
under a producer id of its own, as its numbers have a hole (Kafka's producer raises its epoch for that).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

import trio

from kbroker.client import RequestNotSent
from kbroker.tools.cluster import TRANSACTION, Cluster, Partition
from kbroker.tools.partitioning import StickyPartitioner, partition_of_key
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.metadata import MetadataResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
)
from wire.records import BATCH_HEADER_SIZE, NO_PRODUCER_ID, Record, build_batch, increment_sequence
from wire.schema import ZERO_UUID, Message, Request

Headers = tuple[tuple[str, bytes | None], ...]
Done = Callable[[ApiError | None], None]

ResponseT = TypeVar("ResponseT", bound=Message)

_RECORD_OVERHEAD_MAX: Final = 21
_ADD_PARTITIONS_VERSION: Final = 3  # newer ones are for brokers
_EXPIRY_CHECK_S: Final = 1.0
_FRESH_IDS = frozenset(
    {ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER}
)


@dataclass(slots=True, eq=False)
class _Batch:
    created: float
    records: list[Record] = field(default_factory=list)
    done: list[Done | None] = field(default_factory=list)
    size_bytes: int = BATCH_HEADER_SIZE
    attempts: int = 0
    encoded: bytearray | None = None
    sequence: int = -1
    full: bool = False


@dataclass(slots=True, eq=False)
class _Queue:
    """One partition's batches, oldest first, and the producer that it is written under."""

    partition: Partition
    batches: deque[_Batch] = field(default_factory=deque)
    under_way: int = 0
    not_before: float = 0.0
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = -1
    next_sequence: int = 0
    in_transaction: bool = False


@dataclass(slots=True)
class _Topic:
    topic_id: UUID
    partition_count: int
    available: list[int]
    fetched: float


class Producer:
    """Made by ``producing``. ``send`` takes a record, ``flush`` waits until all were answered."""

    def __init__(self, cluster: Cluster, settings: ProducerSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._topics: dict[str, _Topic] = {}
        self._leaders: dict[Partition, int] = {}
        self._queues: dict[Partition, _Queue] = {}
        self._sticky: dict[str, StickyPartitioner] = {}
        self._buffered_bytes = 0
        self._flushing = 0
        self._changed = trio.Event()  # replaced at each change
        self._workers: set[int] = set()
        self._producer: tuple[int, int] | None = None
        self._coordinator = -1
        self.fatal: ApiError | None = None

    # For users

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        done: Done | None = None,
    ) -> None:
        """Queue a record. ``done`` is called once, with None or with what went wrong.

        Waits while the buffer is full or the topic is not known. ApiError if that does not pass, or if the record is
        too large.
        """
        if self.fatal is not None:
            raise self.fatal
        size = _size_estimate(key, value, headers)
        if size + BATCH_HEADER_SIZE > self._settings.max_request_bytes:
            raise ApiError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"The message is {size + BATCH_HEADER_SIZE} bytes when serialized which is larger than "
                f"{self._settings.max_request_bytes}, which is the value of the max.request.size configuration.",
            )
        found = self._topics.get(topic)
        if found is None or trio.current_time() - found.fetched > self._settings.metadata_max_age_ms / 1000:
            found = await self._find_topic(topic)
        if partition is None:
            partition = self._choose(topic, found, key, size)
        if self._buffered_bytes + size > self._settings.buffer_memory_bytes and self._buffered_bytes:
            await self._wait_for_room(size)
        self._append((topic, partition), key, value, headers, timestamp_ms, size, done)

    async def flush(self) -> None:
        """Send all that is queued, and wait for the answers."""
        self._flushing += 1
        self._notify()
        try:
            while any(queue.batches or queue.under_way for queue in self._queues.values()):
                await self._changed.wait()
        finally:
            self._flushing -= 1

    # Transactions

    async def init_transactions(self) -> None:
        """Get the producer id of the transactional id. ApiError."""
        self._producer = await self._init_producer_id()

    async def commit(self) -> None:
        """Flush, and commit what was sent since the last commit. ApiError."""
        await self.flush()
        if self.fatal is not None:
            raise self.fatal
        if not any(queue.in_transaction for queue in self._queues.values()):
            return
        assert self._producer is not None
        request = EndTxnRequest(
            transactional_id=self._settings.transactional_id or "",
            producer_id=self._producer[0],
            producer_epoch=self._producer[1],
            committed=True,
        )
        response = await self._ask_coordinator(request, EndTxnResponse, lambda answer: answer.error_code)
        if response.producer_id >= 0:  # an epoch for each transaction (KIP-890)
            renewed = (response.producer_id, response.producer_epoch)
            if renewed != self._producer:
                self._producer = renewed
                for queue in self._queues.values():
                    queue.producer_id, queue.producer_epoch, queue.next_sequence = *renewed, 0
        for queue in self._queues.values():
            queue.in_transaction = False

    # Queueing

    async def _find_topic(self, topic: str) -> _Topic:
        try:
            with trio.fail_after(self._settings.max_block_ms / 1000):
                while True:
                    found = await self._refresh_topic(topic)
                    if found is not None:
                        return found
                    await trio.sleep(self._settings.retry_backoff_ms / 1000)
        except trio.TooSlowError:
            raise ApiError(
                ErrorCode.REQUEST_TIMED_OUT,
                f"Topic {topic} not present in metadata after {self._settings.max_block_ms} ms.",
            ) from None

    async def _refresh_topic(self, topic: str) -> _Topic | None:
        response = await self._cluster.metadata([topic], allow_auto_topic_creation=True)
        return self._take_metadata(response).get(topic)

    def _take_metadata(self, response: MetadataResponse) -> dict[str, _Topic]:
        taken: dict[str, _Topic] = {}
        for topic in response.topics:
            if topic.error_code:
                if not ErrorCode(topic.error_code).retriable:
                    error = ApiError(ErrorCode(topic.error_code))
                    if error.code is ErrorCode.INVALID_TOPIC_EXCEPTION:
                        error = ApiError(error.code, f"Invalid topics: [{topic.name}]")
                    raise error
                continue
            name = topic.name or ""
            if not topic.partitions:
                continue
            for partition in topic.partitions:
                self._leaders[name, partition.partition_index] = partition.leader_id
            available = [part.partition_index for part in topic.partitions if part.leader_id >= 0]
            taken[name] = _Topic(topic.topic_id, len(topic.partitions), available, trio.current_time())
        self._topics.update(taken)
        self._notify()
        return taken

    def _choose(self, topic: str, found: _Topic, key: bytes | None, size: int) -> int:
        if key is not None and not self._settings.ignore_keys:
            return partition_of_key(key, found.partition_count)
        if found.partition_count == 1:
            return 0
        sticky = self._sticky.get(topic)
        if sticky is None:
            sticky = self._sticky[topic] = StickyPartitioner(self._settings.batch_size_bytes)
        return sticky.partition(found.available or range(found.partition_count), size)

    async def _wait_for_room(self, size: int) -> None:
        try:
            with trio.fail_after(self._settings.max_block_ms / 1000):
                while (
                    self._buffered_bytes and self._buffered_bytes + size > self._settings.buffer_memory_bytes
                ):
                    await self._changed.wait()
        except trio.TooSlowError:
            raise ApiError(
                ErrorCode.REQUEST_TIMED_OUT,
                f"Failed to allocate {size} bytes within the configured max blocking time "
                f"{self._settings.max_block_ms} ms.",
            ) from None

    def _append(
        self,
        partition: Partition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None,
        size: int,
        done: Done | None,
    ) -> None:
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = _Queue(partition)
        batch = queue.batches[-1] if queue.batches else None
        if batch is None or batch.full or batch.attempts or batch.encoded is not None:
            batch = None
        elif batch.size_bytes + size > self._settings.batch_size_bytes:
            batch.full = True
            batch = None
        if batch is None:
            batch = _Batch(trio.current_time())
            queue.batches.append(batch)
            wake = True
        else:
            wake = False
        batch.records.append(
            Record(
                len(batch.records),
                time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms,
                key,
                value,
                headers,
            )
        )
        batch.done.append(done)
        batch.size_bytes += size
        self._buffered_bytes += size
        if batch.size_bytes >= self._settings.batch_size_bytes:
            batch.full = wake = True
        if wake:
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # Sending

    async def run(self, nursery: trio.Nursery) -> None:
        """Give every broker that leads one of the partitions a task, for ever."""
        while True:
            changed = self._changed
            self._expire()
            for queue in list(self._queues.values()):
                leader = self._leaders.get(queue.partition, -1)
                if leader >= 0 and leader not in self._workers:
                    self._workers.add(leader)
                    nursery.start_soon(self._work, leader)
            leaderless = [
                queue
                for queue in self._queues.values()
                if queue.batches and not queue.under_way and self._leaders.get(queue.partition, -1) < 0
            ]
            if leaderless:
                await self._refresh_soon(leaderless)
                continue
            with trio.move_on_after(_EXPIRY_CHECK_S):
                await changed.wait()

    def _expire(self) -> None:
        limit_s = self._settings.delivery_timeout_ms / 1000
        for queue in list(self._queues.values()):
            hole = False
            while queue.batches and not queue.under_way:
                batch = queue.batches[0]
                age_s = trio.current_time() - batch.created
                if age_s <= limit_s:
                    break
                queue.batches.popleft()
                hole = hole or batch.sequence >= 0
                text = (
                    f"Expiring {len(batch.records)} record(s) for {queue.partition[0]}-{queue.partition[1]}:"
                    f"{int(age_s * 1000)} ms has passed since batch creation"
                )
                self._give_up(queue, batch, ApiError(ErrorCode.REQUEST_TIMED_OUT, text))
            if hole and self._settings.transactional_id is None:
                self._renumber(queue)

    async def _work(self, leader: int) -> None:
        while True:
            changed = self._changed
            requests, wake_at = self._drain(leader)
            if not requests:
                with trio.move_on_at(wake_at):
                    await changed.wait()
                continue
            await self._send(leader, requests)
            self._notify()

    def _drain(self, leader: int) -> tuple[list[list[tuple[_Queue, _Batch]]], float]:
        """The batches to send now, as the requests they go into, and when to look again if there are none."""
        now = trio.current_time()
        wake_at = math.inf
        requests: list[list[tuple[_Queue, _Batch]]] = []
        sizes: list[int] = []
        limit = self._settings.requests_under_way_max if self._settings.idempotent else 1
        for queue in self._queues.values():
            if not queue.batches or self._leaders.get(queue.partition) != leader or queue.under_way:
                continue
            if queue.not_before > now:
                wake_at = min(wake_at, queue.not_before)
                continue
            place = 0
            for batch in list(queue.batches):
                ready_at = batch.created + self._settings.linger_ms / 1000
                urgent = self._flushing or batch.full or batch.encoded is not None or self._room_is_needed()
                if not urgent and ready_at > now:
                    wake_at = min(wake_at, ready_at)
                    break
                while (
                    place < len(requests)
                    and sizes[place] + batch.size_bytes > self._settings.max_request_bytes
                ):
                    place += 1
                if place >= limit:
                    break
                if place == len(requests):
                    requests.append([])
                    sizes.append(0)
                requests[place].append((queue, batch))
                sizes[place] += batch.size_bytes
                queue.batches.popleft()
                queue.under_way += 1
                place += 1  # one batch of a partition in each request
        return requests, wake_at

    def _room_is_needed(self) -> bool:
        return self._buffered_bytes * 2 > self._settings.buffer_memory_bytes

    async def _send(self, leader: int, requests: list[list[tuple[_Queue, _Batch]]]) -> None:
        try:
            await self._prepare(requests)
            messages = [self._request(request) for request in requests]
            if self._settings.acks == 0:
                for message in messages:
                    await self._cluster.tell(leader, message)
                for queue, batch in _batches(requests):
                    self._succeed(queue, batch)
                return
            responses = await self._cluster.once_all(
                leader,
                messages,
                ProduceResponse,
                timeout_s=self._settings.request_timeout_ms / 1000,
            )
        except RequestNotSent as error:
            for _, batch in _batches(requests):
                batch.attempts -= 1  # waits for the broker as long as it may take
            await self._failed(_batches(requests), ApiError(ErrorCode.NETWORK_EXCEPTION, str(error)))
        except (ConnectionLost, ProtocolError) as error:
            await self._failed(_batches(requests), ApiError(ErrorCode.NETWORK_EXCEPTION, str(error)))
        except ApiError as error:
            if error.code is ErrorCode.BROKER_NOT_AVAILABLE:  # the leader moved, and its broker left
                error = ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER, error.message)
            await self._failed(_batches(requests), error)
        else:
            await self._answered(requests, responses)

    async def _prepare(self, requests: list[list[tuple[_Queue, _Batch]]]) -> None:
        if self._settings.transactional_id is not None:
            await self._add_to_transaction(
                [queue for queue, _ in _batches(requests) if not queue.in_transaction]
            )
        for queue, batch in _batches(requests):
            if self._settings.idempotent and queue.producer_id < 0:
                if self._producer is None:
                    self._producer = await self._init_producer_id()
                queue.producer_id, queue.producer_epoch = self._producer
                queue.next_sequence = 0
            if self._settings.idempotent and batch.sequence < 0:
                batch.sequence = queue.next_sequence
                queue.next_sequence = increment_sequence(queue.next_sequence, len(batch.records))
                batch.encoded = None
            if batch.encoded is None:
                batch.encoded = build_batch(
                    batch.records,
                    base_offset=0,
                    compression=self._settings.compression,
                    compression_level=self._settings.compression_level,
                    producer_id=queue.producer_id,
                    producer_epoch=queue.producer_epoch,
                    base_sequence=batch.sequence,
                    is_transactional=self._settings.transactional_id is not None,
                )

    def _request(self, batches: list[tuple[_Queue, _Batch]]) -> ProduceRequest:
        by_topic: dict[str, list[ProduceRequest.TopicProduceData.PartitionProduceData]] = {}
        for queue, batch in batches:
            topic, partition = queue.partition
            data = ProduceRequest.TopicProduceData.PartitionProduceData(
                index=partition, records=batch.encoded
            )
            by_topic.setdefault(topic, []).append(data)
        return ProduceRequest(
            transactional_id=self._settings.transactional_id,
            acks=self._settings.acks,
            timeout_ms=self._settings.request_timeout_ms,
            topic_data=[
                ProduceRequest.TopicProduceData(
                    name=topic, topic_id=self._topics[topic].topic_id, partition_data=partitions
                )
                for topic, partitions in by_topic.items()
            ],
        )

    async def _answered(
        self, requests: list[list[tuple[_Queue, _Batch]]], responses: Sequence[ProduceResponse]
    ) -> None:
        names = {topic.topic_id: name for name, topic in self._topics.items() if topic.topic_id != ZERO_UUID}
        failed: list[tuple[_Queue, _Batch, ApiError]] = []
        for request, response in zip(requests, responses, strict=True):
            answers = {
                (topic.name or names.get(topic.topic_id, ""), partition.index): partition
                for topic in response.responses
                for partition in topic.partition_responses
            }
            for queue, batch in request:
                answer = answers.get(queue.partition)
                if answer is None:
                    error = ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, "The response left the partition out.")
                    failed.append((queue, batch, error))
                elif answer.error_code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                    self._succeed(queue, batch)
                else:
                    failed.append(
                        (queue, batch, ApiError(ErrorCode(answer.error_code), answer.error_message))
                    )
        by_queue: dict[_Queue, list[tuple[_Batch, ApiError]]] = {}
        for queue, batch, error in failed:
            by_queue.setdefault(queue, []).append((batch, error))
        for queue, its in by_queue.items():
            self._settle(queue, its)
        if failed:
            await self._refresh_soon(list(by_queue))

    async def _failed(self, batches: list[tuple[_Queue, _Batch]], error: ApiError) -> None:
        by_queue: dict[_Queue, list[tuple[_Batch, ApiError]]] = {}
        for queue, batch in batches:
            by_queue.setdefault(queue, []).append((batch, error))
        for queue, its in by_queue.items():
            self._settle(queue, its)
        await self._refresh_soon(list(by_queue))

    def _settle(self, queue: _Queue, failed: list[tuple[_Batch, ApiError]]) -> None:
        """Give up the batches of a partition that failed for good, put the others back, in their order."""
        again: list[_Batch] = []
        hole = False
        for batch, error in failed:
            queue.under_way -= 1
            batch.attempts += 1
            if error.code is ErrorCode.MESSAGE_TOO_LARGE and len(batch.records) > 1:
                batch.attempts -= 1
                again += _halves(batch)
                hole = True
            elif self._may_pass(queue, batch, error, first=not again and not hole):
                again.append(batch)
                if error.code in _FRESH_IDS:
                    hole = hole or (len(again) == 1 and self._settings.transactional_id is None)
            else:
                hole = True
                self._give_up(queue, batch, error)
        queue.batches.extendleft(reversed(again))
        queue.not_before = trio.current_time() + self._settings.retry_backoff_ms / 1000
        if hole and self._settings.idempotent and self._settings.transactional_id is None:
            self._renumber(queue)

    def _renumber(self, queue: _Queue) -> None:
        """Go on under a new producer id: the numbers that the broker knows do not continue."""
        if self._producer is not None and self._producer[0] == queue.producer_id:
            self._producer = None
        queue.producer_id = NO_PRODUCER_ID
        for batch in queue.batches:
            batch.sequence, batch.encoded = -1, None

    def _may_pass(self, queue: _Queue, batch: _Batch, error: ApiError, *, first: bool) -> bool:
        age_s = trio.current_time() - batch.created
        if batch.attempts > self._settings.retries or age_s > self._settings.delivery_timeout_ms / 1000:
            return False
        if error.code in _FRESH_IDS:
            # What follows a batch that has to be sent again is out of order until that is there.
            if self._settings.transactional_id is not None:
                return not first and error.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
            return self._settings.idempotent
        return error.code.retriable

    def _succeed(self, queue: _Queue, batch: _Batch) -> None:
        queue.under_way -= 1
        self._release(batch, None)

    def _give_up(self, queue: _Queue, batch: _Batch, error: ApiError) -> None:
        if self._settings.transactional_id is not None:
            self.fatal = error
        self._release(batch, error)

    def _release(self, batch: _Batch, error: ApiError | None) -> None:
        self._buffered_bytes -= batch.size_bytes - BATCH_HEADER_SIZE
        for done in batch.done:
            if done is not None:
                done(error)
        self._notify()

    async def _refresh_soon(self, queues: list[_Queue]) -> None:
        topics = sorted({queue.partition[0] for queue in queues if queue.batches})
        if not topics:
            return
        await trio.sleep(self._settings.retry_backoff_ms / 1000)
        try:
            self._take_metadata(await self._cluster.metadata(topics))
        except (ApiError, ConnectionLost):
            pass  # the next attempt asks again

    # Producer ids and transactions

    async def _init_producer_id(self) -> tuple[int, int]:
        request = InitProducerIdRequest(
            transactional_id=self._settings.transactional_id,
            transaction_timeout_ms=self._settings.transaction_timeout_ms
            if self._settings.transactional_id is not None
            else 2**31 - 1,
        )
        if self._settings.transactional_id is not None:
            response = await self._ask_coordinator(
                request, InitProducerIdResponse, lambda answer: answer.error_code
            )
            return response.producer_id, response.producer_epoch

        async def attempt() -> tuple[int, int]:
            response = await self._cluster.any(request, InitProducerIdResponse)
            if response.error_code:
                raise ApiError(ErrorCode(response.error_code))
            return response.producer_id, response.producer_epoch

        return await self._cluster.retrying(attempt)

    async def _ask_coordinator(
        self,
        request: Request,
        response_class: type[ResponseT],
        error_code_of: Callable[[ResponseT], int],
        *,
        version_max: int | None = None,
    ) -> ResponseT:
        async def attempt() -> ResponseT:
            if self._coordinator < 0:
                self._coordinator = await self._cluster.coordinator(
                    self._settings.transactional_id or "", TRANSACTION
                )
            try:
                response = await self._cluster.once(
                    self._coordinator, request, response_class, version_max=version_max
                )
            except ConnectionLost:
                self._coordinator = -1
                raise
            if code := error_code_of(response):
                self._coordinator = -1
                raise ApiError(ErrorCode(code))
            return response

        return await self._cluster.retrying(attempt)

    async def _add_to_transaction(self, queues: list[_Queue]) -> None:
        if not queues:
            return
        assert self._producer is not None, "init_transactions comes first"
        by_topic: dict[str, set[int]] = {}
        for queue in queues:
            by_topic.setdefault(queue.partition[0], set()).add(queue.partition[1])
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self._settings.transactional_id or "",
            v3_and_below_producer_id=self._producer[0],
            v3_and_below_producer_epoch=self._producer[1],
            v3_and_below_topics=[
                AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=sorted(partitions))
                for topic, partitions in by_topic.items()
            ],
        )

        def error_code(response: AddPartitionsToTxnResponse) -> int:
            for topic in response.results_by_topic_v3_and_below:
                for partition in topic.results_by_partition:
                    if partition.partition_error_code:
                        return partition.partition_error_code
            return 0

        await self._ask_coordinator(
            request, AddPartitionsToTxnResponse, error_code, version_max=_ADD_PARTITIONS_VERSION
        )
        for queue in queues:
            queue.in_transaction = True


def _batches(requests: list[list[tuple[_Queue, _Batch]]]) -> list[tuple[_Queue, _Batch]]:
    return [pair for request in requests for pair in request]


def _halves(batch: _Batch) -> list[_Batch]:
    middle = (len(batch.records) + 1) // 2
    halves = []
    for records, done in (
        (batch.records[:middle], batch.done[:middle]),
        (batch.records[middle:], batch.done[middle:]),
    ):
        half = _Batch(batch.created, attempts=batch.attempts, full=True, done=done)
        half.records = [record._replace(offset=index) for index, record in enumerate(records)]
        half.size_bytes += sum(_size_estimate(record.key, record.value, record.headers) for record in records)
        halves.append(half)
    return halves


def _no_such_partition(partition: Partition) -> ApiError:
    return ApiError(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Partition {partition[1]} of topic {partition[0]} is unknown."
    )


def _size_estimate(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """At most so many bytes does a record take in a batch (AbstractRecords.estimateSizeInBytesUpperBound)."""
    size = _RECORD_OVERHEAD_MAX + _field_size(key) + _field_size(value) + _varint_size(len(headers))
    for name, header in headers:
        size += _field_size(name.encode("utf-8", "surrogateescape")) + _field_size(header)
    return size


def _field_size(data: bytes | None) -> int:
    return 1 if data is None else _varint_size(len(data)) + len(data)


def _varint_size(number: int) -> int:
    return max(1, -(-(number * 2).bit_length() // 7))


@asynccontextmanager
async def producing(cluster: Cluster, settings: ProducerSettings) -> AsyncIterator[Producer]:
    """A producer for the length of a block, which ends with a flush unless it fails."""
    producer = Producer(cluster, settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(producer.run, nursery)
        yield producer
        await producer.flush()
        nursery.cancel_scope.cancel()
