"""A partition's queue against a broker that refuses, forgets to answer and loses connections: in order, and once."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from functools import partial

import pytest

from kbroker.tools.producer_queues import (
    NO_PRODUCER,
    Batch,
    PartitionQueue,
    ProducerId,
    record_size_max,
)
from kbroker.tools.producer_settings import ProducerSettings
from wire.errors import ApiError, ErrorCode
from wire.records import increment_sequence, read_batch_header, read_records

VALUE_BYTES = 8
SETTINGS = ProducerSettings(batch_size_bytes=200, linger_ms=0, delivery_timeout_ms=10_000)
LOST = ErrorCode.NETWORK_EXCEPTION
Answer = ErrorCode | None


class Log:
    """A partition's leader as Kafka has it: the last five batches of each producer are recognised."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self._recent: dict[tuple[int, int], deque[tuple[int, int]]] = {}

    def append(self, data: bytearray) -> ErrorCode:
        header = read_batch_header(data)
        producer = (header.producer_id, header.producer_epoch)
        recent = self._recent.setdefault(producer, deque(maxlen=5))
        numbers = (header.base_sequence, header.last_sequence)
        if numbers in recent:
            return ErrorCode.NONE
        # The first batch of a producer that is not known may have any number.
        if recent and header.base_sequence != increment_sequence(recent[-1][1], 1):
            return ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        recent.append(numbers)
        records = read_records(data, decompressed_bytes_max=1 << 20)
        self.values += [int(record.value or b"") for record in records]
        return ErrorCode.NONE


class Producing:
    """A queue, its partition's log, and what the user was told about each value."""

    def __init__(self, settings: ProducerSettings = SETTINGS) -> None:
        self.queue = PartitionQueue(("t", 0), settings)
        self.log = Log()
        self.now = 0.0
        self.told: dict[int, ErrorCode | None] = {}
        self._next_value = 0
        self._next_producer_id = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            value = b"%0*d" % (VALUE_BYTES, self._next_value)
            done = partial(self._tell, self._next_value)
            self.queue.add(self.now, 0, None, value, (), record_size_max(None, value, ()), done)
            self._next_value += 1

    def _tell(self, value: int, error: ApiError | None) -> None:
        assert value not in self.told
        self.told[value] = None if error is None else error.code

    def take(self) -> Sequence[Batch]:
        """What the queue has ready, under way and numbered."""
        batches, _ = self.queue.ready(self.now, hurry=True)
        for batch in batches:
            self.queue.start(batch)
            if self.queue.needs_producer:
                self.queue.write_as(ProducerId(self._next_producer_id, 0))
                self._next_producer_id += 1
            self.queue.number(batch)
        return batches

    def answer(self, batches: Sequence[Batch], codes: Sequence[ErrorCode], *, was_sent: bool = True) -> None:
        outcomes = [
            (batch, ApiError(code) if code else None) for batch, code in zip(batches, codes, strict=True)
        ]
        self.finish(self.queue.settle(outcomes, self.now, was_sent=was_sent))

    def finish(self, outcomes: Sequence[tuple[Batch, ApiError | None]]) -> None:
        for batch, error in outcomes:
            for done in batch.done:
                assert done is not None
                done(error)

    def deliver(self) -> Sequence[Batch]:
        """One round without faults."""
        self.now += 2.0
        batches = self.take()
        self.answer(batches, [self.log.append(self.queue.number(batch)) for batch in batches])
        return batches


def deliver_with_faults(producing: Producing, chance: random.Random) -> None:
    """One round in which anything may happen."""
    batches = producing.take()
    if not batches:
        return
    fate = chance.choice(("answered", "answered", "connection lost", "not sent"))
    if fate == "not sent":
        producing.answer(batches, [LOST] * len(batches), was_sent=False)
        return
    arrived = len(batches) if fate == "answered" else chance.randrange(len(batches) + 1)
    codes: list[ErrorCode] = []
    for batch in batches[:arrived]:
        refusal = chance.choice(
            (
                *(None,) * 6,
                ErrorCode.NOT_ENOUGH_REPLICAS,
                ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                ErrorCode.MESSAGE_TOO_LARGE if len(batch.records) > 1 and not batch.attempts else None,
                ErrorCode.INVALID_RECORD if not batch.attempts else None,
            )
        )
        if refusal is None or refusal is ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND:
            code = producing.log.append(producing.queue.number(batch))
            codes.append(code or refusal or ErrorCode.NONE)
        else:
            codes.append(refusal)
    if fate == "connection lost":
        codes = [LOST] * len(batches)
    producing.answer(batches, codes)


@pytest.mark.parametrize("seed", range(100))
def test_nothing_acknowledged_is_lost_and_nothing_is_written_twice_or_out_of_order(seed: int) -> None:
    chance = random.Random(seed)
    producing = Producing()
    for _ in range(60):
        producing.send(chance.randrange(12))
        producing.now += chance.choice((0.0, 0.05, 1.0, 1.0, 4.0))
        producing.finish(producing.queue.expired(producing.now))
        deliver_with_faults(producing, chance)
    while not producing.queue.is_empty:
        producing.deliver()
    written = producing.log.values
    assert written == sorted(set(written))
    assert {value for value, error in producing.told.items() if error is None} <= set(written)
    assert len(producing.told) == producing._next_value


def test_the_first_batches_of_a_producer_and_those_behind_a_failure_go_alone() -> None:
    producing = Producing()
    producing.send(40)
    assert len(producing.deliver()) == 1
    assert len(producing.deliver()) == 5
    batches = producing.take()
    producing.answer(batches, [LOST] * len(batches))
    producing.now += 2.0
    assert producing.take() == [batches[0]]


def test_what_is_in_doubt_keeps_its_number() -> None:
    producing = Producing()
    producing.send(1)
    (batch,) = producing.take()
    first = bytes(producing.queue.number(batch))
    producing.answer([batch], [LOST])
    producing.send(1)  # goes into another batch
    producing.now += 2.0
    (again,) = producing.take()
    assert again is batch
    assert bytes(producing.queue.number(again)) == first


def test_a_hole_is_noticed_by_what_is_behind_it() -> None:
    producing = Producing()
    producing.send(1)
    producing.deliver()
    producing.send(1)
    former = producing.queue.producer
    lost = producing.take()
    producing.answer(lost, [LOST])
    producing.send(1)
    producing.now += 10.5
    producing.finish(producing.queue.expired(producing.now))
    producing.send(1)
    assert producing.told == {0: None, 1: ErrorCode.REQUEST_TIMED_OUT, 2: ErrorCode.REQUEST_TIMED_OUT}
    (behind,) = producing.take()
    producing.answer([behind], [producing.log.append(producing.queue.number(behind))])
    assert producing.queue.producer == NO_PRODUCER
    producing.deliver()
    assert producing.queue.producer != former
    assert producing.log.values == [0, 3]


def test_what_is_behind_an_expired_batch_that_was_written_is_not_written_twice() -> None:
    settings = ProducerSettings(batch_size_bytes=1, linger_ms=0, delivery_timeout_ms=10_000)
    producing = Producing(settings)
    producing.send(1)
    producing.deliver()
    producing.send(1)
    producing.now += 6.0
    producing.send(1)
    batches = producing.take()
    for batch in batches:
        producing.log.append(producing.queue.number(batch))
    producing.answer(batches, [LOST, LOST])
    producing.now += 5.0
    producing.finish(producing.queue.expired(producing.now))
    producing.deliver()
    assert producing.told == {0: None, 1: ErrorCode.REQUEST_TIMED_OUT, 2: None}
    assert producing.log.values == [0, 1, 2]


def test_a_batch_that_is_too_large_is_halved_under_its_numbers() -> None:
    producing = Producing()
    producing.send(3)
    (batch,) = producing.take()
    producing.answer([batch], [ErrorCode.MESSAGE_TOO_LARGE])
    first, second = producing.queue.waiting
    assert [len(half.records) for half in (first, second)] == [2, 1]
    assert (first.sequence, second.sequence) == (0, 2)
    producing.deliver()
    producing.deliver()
    assert producing.log.values == [0, 1, 2]


def test_retries_are_counted_and_grow_apart() -> None:
    producing = Producing(ProducerSettings(linger_ms=0, retries=3, retry_backoff_ms=100))
    producing.send(1)
    waits = []
    while not producing.told:
        batches = producing.take()
        if not batches:
            _, ready_at = producing.queue.ready(producing.now, hurry=True)
            waits.append(round(ready_at - producing.now, 3))
            producing.now = ready_at
            continue
        producing.answer(batches, [ErrorCode.NOT_ENOUGH_REPLICAS])
    assert waits == [0.1, 0.2, 0.4]
    assert producing.told == {0: ErrorCode.NOT_ENOUGH_REPLICAS}


def test_what_never_left_does_not_count_as_a_retry() -> None:
    producing = Producing(ProducerSettings(linger_ms=0, retries=0))
    producing.send(1)
    for _ in range(5):
        producing.answer(producing.take(), [LOST], was_sent=False)
        producing.now += 2.0
    producing.deliver()
    assert producing.told == {0: None}


def test_without_idempotence_one_batch_at_a_time() -> None:
    producing = Producing(ProducerSettings(batch_size_bytes=200, linger_ms=0, idempotent=False))
    producing.send(40)
    for _ in range(3):
        (batch,) = producing.take()
        assert batch.sequence == -1
        producing.answer([batch], [ErrorCode.NONE])


def test_records_wait_for_company_as_long_as_linger_says() -> None:
    producing = Producing(ProducerSettings(batch_size_bytes=200, linger_ms=50))
    producing.send(1)
    assert producing.queue.ready(0.0, hurry=False) == ([], 0.05)
    assert len(producing.queue.ready(0.0, hurry=True)[0]) == 1
    assert len(producing.queue.ready(0.05, hurry=False)[0]) == 1
    producing.send(6)  # the first batch is full
    assert len(producing.queue.ready(0.0, hurry=False)[0]) == 1
