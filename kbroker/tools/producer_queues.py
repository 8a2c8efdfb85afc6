"""One partition's records on their way to its leader: how they gather, and how they are sent again. No I/O.

What holds for an idempotent producer, whatever answers are lost:

- A batch gets its sequence number when it is first sent and keeps it until a broker says what became of it. A broker
  recognises the last five batches of a producer, so one that is in doubt is sent again as it is.
- Batches go one at a time from a failure until something is acknowledged. So do the first under a producer id: a broker
  that has no state of a producer takes any number for its first.
- A batch that is refused as out of order behind another that failed is sent again behind that one. The first of them
  so refused means that the broker has neither it nor anything behind it: what waits is numbered anew, from 0, under
  another producer id.
- A batch that was given up may have been written. What is behind it is sent under the numbers it has, and the broker
  says: accepted, and all is well; out of order, and there is a hole, over which nothing was written.

Kafka: ProducerBatch, RecordAccumulator, TransactionManager (which raises the epoch instead of taking another id).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kbroker.tools.cluster import Partition, partition_text
from kbroker.tools.producer_settings import ProducerSettings
from wire.errors import ApiError, ErrorCode
from wire.records import (
    BATCH_HEADER_SIZE,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    Record,
    build_batch,
    increment_sequence,
)

Headers = tuple[tuple[str, bytes | None], ...]
Done = Callable[[ApiError | None], None]
"""Called once for each record, with None or with what went wrong."""


class ProducerId(NamedTuple):
    """A producer id and its epoch, as InitProducerId gives them."""

    number: int
    epoch: int


NO_PRODUCER: Final = ProducerId(NO_PRODUCER_ID, -1)
_RECORD_OVERHEAD_MAX: Final = 21
_BACKOFF_DOUBLINGS_MAX: Final = 20
_NUMBERS_DO_NOT_FIT: Final = frozenset(
    {ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER}
)
_WRITTEN: Final = frozenset({ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER})


@dataclass(slots=True, eq=False)
class Batch:
    """Records that go together.

    ``created``: in the clock's seconds. ``attempts``: how often a broker may have had it.
    """

    created: float
    records: list[Record] = field(default_factory=list)
    done: list[Done | None] = field(default_factory=list)
    size_bytes: int = BATCH_HEADER_SIZE
    attempts: int = 0
    sequence: int = NO_SEQUENCE
    encoded: bytearray | None = None
    is_full: bool = False

    @property
    def buffered_bytes(self) -> int:
        """What its records count for in the producer's memory."""
        return self.size_bytes - BATCH_HEADER_SIZE

    def halves(self) -> list[Batch]:
        """The same records in two batches, which take over the numbers."""
        middle = (len(self.records) + 1) // 2
        halves: list[Batch] = []
        for start, end in ((0, middle), (middle, len(self.records))):
            half = Batch(self.created, done=self.done[start:end], is_full=True)
            half.records = [
                record._replace(offset=index) for index, record in enumerate(self.records[start:end])
            ]
            half.size_bytes += sum(
                record_size_max(record.key, record.value, record.headers) for record in half.records
            )
            if self.sequence != NO_SEQUENCE:
                half.sequence = increment_sequence(self.sequence, start)
            halves.append(half)
        return halves


Outcome = tuple[Batch, ApiError | None]


class PartitionQueue:
    """The batches of one partition, oldest first. ``waiting``: to be sent, perhaps again. ``under_way``: unanswered."""

    def __init__(self, partition: Partition, settings: ProducerSettings) -> None:
        self.partition = partition
        self.waiting: deque[Batch] = deque()
        self.under_way: list[Batch] = []
        self.in_transaction = False
        self._settings = settings
        self._producer = NO_PRODUCER
        self._next_sequence = 0
        self._is_proven = not settings.idempotent
        self._failures_in_a_row = 0
        self._not_before = -math.inf

    @property
    def is_empty(self) -> bool:
        """Nothing is owed to anybody."""
        return not self.waiting and not self.under_way

    @property
    def needs_producer(self) -> bool:
        """Whether ``write_as`` has to come before ``number``."""
        return self._settings.idempotent and self._producer == NO_PRODUCER

    @property
    def producer(self) -> ProducerId:
        """Under which it is written; NO_PRODUCER: none yet, or none any more."""
        return self._producer

    # Gathering

    def add(
        self,
        now: float,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        size_bytes: int,
        done: Done | None,
    ) -> bool:
        """Put a record behind the others; whether that makes a difference to who sends."""
        limit = self._settings.batch_size_bytes
        batch = self.waiting[-1] if self.waiting else None
        if batch is not None and (batch.is_full or batch.attempts or batch.encoded is not None):
            batch = None
        elif batch is not None and batch.size_bytes + size_bytes > limit:
            batch.is_full = True
            batch = None
        is_new = batch is None
        if batch is None:
            batch = Batch(now)
            self.waiting.append(batch)
        batch.records.append(Record(len(batch.records), timestamp_ms, key, value, headers))
        batch.done.append(done)
        batch.size_bytes += size_bytes
        batch.is_full = batch.size_bytes >= limit
        return is_new or batch.is_full

    # Sending

    def ready(self, now: float, *, hurry: bool) -> tuple[Sequence[Batch], float]:
        """The batches that may go now, each in a request behind the one before, and when there may be more.

        ``hurry``: do not wait for batches to fill.
        """
        if self.under_way or not self.waiting:
            return (), math.inf
        if self._not_before > now:
            return (), self._not_before
        limit = self._settings.requests_under_way_max if self._settings.idempotent and self._is_proven else 1
        found: list[Batch] = []
        for batch in self.waiting:
            if len(found) == limit:
                break
            due = batch.created + self._settings.linger_ms / 1000
            if not (hurry or batch.is_full or batch.encoded is not None or due <= now):
                return found, due
            found.append(batch)
        return found, math.inf

    def start(self, batch: Batch) -> None:
        """The first that waits is under way from now on."""
        assert self.waiting[0] is batch
        self.under_way.append(self.waiting.popleft())

    def write_as(self, producer: ProducerId) -> None:
        """Write under this producer, numbered from 0."""
        self._producer, self._next_sequence = producer, 0

    def number(self, batch: Batch) -> bytearray:
        """A batch as it goes over the wire; its number stays what it was."""
        assert not self.needs_producer
        if self._settings.idempotent and batch.sequence == NO_SEQUENCE:
            batch.sequence = self._next_sequence
            self._next_sequence = increment_sequence(self._next_sequence, len(batch.records))
        if batch.encoded is None:
            batch.encoded = build_batch(
                batch.records,
                base_offset=0,
                compression=self._settings.compression,
                compression_level=self._settings.compression_level,
                producer_id=self._producer.number,
                producer_epoch=self._producer.epoch,
                base_sequence=batch.sequence,
                is_transactional=self._settings.transactional_id is not None,
            )
        return batch.encoded

    # What became of them

    def settle(self, outcomes: Sequence[Outcome], now: float, *, was_sent: bool = True) -> Sequence[Outcome]:
        """Take in what was said about all batches under way, in their order; those that are done with.

        The others wait again, in front. ``was_sent``: whether a broker may have seen them.
        """
        assert [batch for batch, _ in outcomes] == self.under_way
        self.under_way = []
        finished: list[Outcome] = []
        again: list[Batch] = []
        is_first_failure = True
        starts_anew = False
        for batch, error in outcomes:
            if error is None or error.code in _WRITTEN:
                finished.append((batch, None))
                continue
            batch.attempts += was_sent
            if error.code is ErrorCode.MESSAGE_TOO_LARGE and len(batch.records) > 1:
                again += batch.halves()
            elif self._may_be_sent_again(batch, error, now, is_first_failure=is_first_failure):
                starts_anew = starts_anew or (is_first_failure and error.code in _NUMBERS_DO_NOT_FIT)
                again.append(batch)
            else:
                finished.append((batch, error))
            is_first_failure = False
        self.waiting.extendleft(reversed(again))
        self._note(failed=not is_first_failure, now=now)
        if starts_anew:
            self._start_anew()
        return finished

    def expired(self, now: float) -> Sequence[Outcome]:
        """Take out what has waited for too long to be delivered yet (delivery.timeout.ms)."""
        found: list[Outcome] = []
        while self.waiting and not self.under_way:
            batch = self.waiting[0]
            age_s = now - batch.created
            if age_s <= self._settings.delivery_timeout_ms / 1000:
                break
            self.waiting.popleft()
            text = (
                f"Expiring {len(batch.records)} record(s) for {partition_text(self.partition)}:"
                f"{int(age_s * 1000)} ms has passed since batch creation"
            )
            found.append((batch, ApiError(ErrorCode.REQUEST_TIMED_OUT, text)))
        return found

    def _may_be_sent_again(
        self, batch: Batch, error: ApiError, now: float, *, is_first_failure: bool
    ) -> bool:
        is_late = now - batch.created > self._settings.delivery_timeout_ms / 1000
        if is_late or batch.attempts > self._settings.retries:
            return False
        if error.code in _NUMBERS_DO_NOT_FIT:
            if self._settings.transactional_id is None:
                return self._settings.idempotent
            return not is_first_failure and error.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        return error.code.retriable

    def _note(self, *, failed: bool, now: float) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        if self._settings.idempotent:
            self._is_proven = not failed
        if failed:
            doublings = min(self._failures_in_a_row - 1, _BACKOFF_DOUBLINGS_MAX)
            backoff_ms = self._settings.retry_backoff_ms * 2**doublings
            self._not_before = now + min(backoff_ms, self._settings.retry_backoff_max_ms) / 1000

    def _start_anew(self) -> None:
        self._producer = NO_PRODUCER
        for batch in self.waiting:
            batch.sequence, batch.encoded = NO_SEQUENCE, None


def record_size_max(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """At most so many bytes does a record take in a batch (AbstractRecords.estimateSizeInBytesUpperBound)."""
    size = _RECORD_OVERHEAD_MAX + _field_size(key) + _field_size(value) + _varint_size(len(headers))
    for name, header in headers:
        size += _field_size(name.encode("utf-8", "surrogateescape")) + _field_size(header)
    return size


def _field_size(data: bytes | None) -> int:
    return 1 if data is None else _varint_size(len(data)) + len(data)


def _varint_size(number: int) -> int:
    return max(1, -(-(number * 2).bit_length() // 7))
