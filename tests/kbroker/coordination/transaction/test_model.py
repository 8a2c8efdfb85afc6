"""Random producers, brokers that crash between any two steps, and logs that fail: what must hold all the same.

The model knows only what clients were told. It holds the shard to that:

- an epoch is given to one producer only, and whoever has an older one is refused;
- a transaction whose end was answered, or was to be seen in a marker, never gets a marker of the other outcome;
- when everything has come to rest, every partition of a transaction that was answered has its marker;
- what the shard knows is what its log says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from kbroker.coordination.machine import Result
from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.completion import RETRY_MS, MarkersToSend
from kbroker.coordination.transaction.records import decode
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import (
    LAST_EPOCH_OF_ID,
    NO_PRODUCER_EPOCH,
)
from tests.kbroker.coordination.transaction.harness import CLASSIC, ID, V2, Answer, Harness
from wire.errors import ErrorCode

COMPLETE = (TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT)
PARTITIONS = [("t", 0), ("t", 1), ("u", 0)]


class Model:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.version = self.random.choice([CLASSIC, V2])
        self.harness = Harness(transaction_version=self.version)
        self.given: list[Producer] = []
        self.added: dict[Producer, set[tuple[str, int]]] = {}
        self.outcomes: dict[Producer, bool] = {}
        self.asked: set[tuple[Producer, bool]] = set()
        self.waiting: list[tuple[Answer, Callable[[Answer], None]]] = []
        self.seen: list[MarkersToSend] = []
        if self.random.random() < 0.4:
            self._use_up_epochs()

    def _use_up_epochs(self) -> None:
        """As if the transactional id were very old."""
        self.harness.init()
        old = replace(self.harness.metadata, producer_epoch=LAST_EPOCH_OF_ID - self.random.randrange(6))
        self.harness.put(old)
        out: Result[ErrorCode] = Result(ErrorCode.NONE)
        self.harness.shard.transactions.write(
            self.harness.transaction(), old.with_same_epoch(timeout_ms=1000, now_ms=old.updated_ms), out
        )
        self.harness.execute(out, None)

    def run(self, steps: int) -> None:
        actions = [
            (self.transact, 12),
            (self.init, 5),
            (self.add, 8),
            (self.end, 12),
            (self.one_marker_is_written, 6),
            (self.markers_are_written, 10),
            (self.time_passes, 5),
            (self.log_is_slow, 4),
            (self.log_catches_up, 12),
            (self.log_fails, 2),
            (self.log_recovers, 8),
            (self.broker_crashes, 4),
        ]
        names, weights = zip(*actions, strict=True)
        for _ in range(steps):
            self.random.choices(names, weights)[0]()
            self.told()
            self.check_that_what_the_shard_knows_is_in_its_log()
            self.check_that_only_the_newest_producer_may_write()
        self.come_to_rest()

    # What clients were told

    def told(self) -> None:
        """Take in the answers that have come meanwhile."""
        still: list[tuple[Answer, Callable[[Answer], None]]] = []
        for answer, what_then in self.waiting:
            if not answer.is_given:
                still.append((answer, what_then))
            elif answer.code is ErrorCode.NONE:
                what_then(answer)
        self.waiting = still
        for markers in self.harness.markers:
            if markers not in self.seen:
                self.seen.append(markers)
                if self.version == V2:
                    # The end raised the epoch.
                    producer = Producer(markers.producer_id, markers.producer_epoch - 1)
                    self.decided(producer, markers.committed)
                    # What a client was told is in the transaction has to be in its end.
                    assert self.added.get(producer, set()) <= markers.partitions, (producer, markers)

    def decided(self, producer: Producer, committed: bool) -> None:
        if self.version == V2:  # classic transactions share their epoch with the next ones
            assert self.outcomes.setdefault(producer, committed) is committed, (producer, committed)

    def ask(self, answer: Answer, what_then: Callable[[Answer], None]) -> None:
        self.waiting.append((answer, what_then))
        self.told()

    def init(self) -> None:
        expected = self.pick() if self.random.random() < 0.4 else None

        def given(answer: Answer) -> None:
            producer = answer.producer
            if expected is None:
                assert producer not in self.given, f"{producer} was given out before"
            if producer not in self.given:
                self.given.append(producer)

        self.ask(self.harness.init(expected, timeout_ms=1000), given)

    def transact(self) -> None:
        """As a producer does it, without waiting for the answers."""
        producer = self.known_producer()
        if producer is None or producer not in self.given:
            self.init()
            return
        self.add(producer)
        if self.random.random() < 0.6:
            self.end(producer)

    def pick(self) -> Producer | None:
        """Rather a late one than an early one."""
        return self.random.choice(self.given[-3:]) if self.given else None

    def add(self, producer: Producer | None = None) -> None:
        producer = producer or self.pick()
        if producer is None:
            return
        partitions = self.random.sample(PARTITIONS, self.random.randint(1, 2))

        def added(_: Answer) -> None:
            self.added.setdefault(producer, set()).update(partitions)

        self.ask(self.harness.add(producer, *partitions, version=self.version), added)

    def end(self, producer: Producer | None = None) -> None:
        producer = producer or self.pick()
        if producer is None:
            return
        committed = self.random.random() < 0.5
        # A replaced producer may hear that its transaction was aborted, as it was. And answers get lost.
        may_decide = producer == self.known_producer() or not committed or (producer, committed) in self.asked
        self.asked.add((producer, committed))

        def ended(answer: Answer) -> None:
            assert may_decide, f"{producer} was replaced, or never began"
            self.decided(producer, committed)
            if self.version == V2 and answer.producer not in self.given:
                self.given.append(answer.producer)
            if self.version == CLASSIC:
                self.added.pop(producer, None)

        self.ask(self.harness.end(producer, committed=committed, version=self.version), ended)

    # What brokers do

    def one_marker_is_written(self) -> None:
        for markers in self.wanted()[:1]:
            partition = self.random.choice(sorted(markers.partitions))
            self.harness.write_markers([partition], markers)

    def markers_are_written(self) -> None:
        self.harness.write_all_markers()
        if self.seen and self.random.random() < 0.3:  # and late ones of an earlier shard or transaction
            self.harness.write_markers(markers=self.random.choice(self.seen))

    def wanted(self) -> list[MarkersToSend]:
        return [each for each in self.harness.markers if self.harness.shard.is_sending(each)]

    def time_passes(self) -> None:
        self.harness.sleep(self.random.choice([1, RETRY_MS, 20_000]))

    def log_is_slow(self) -> None:
        self.harness.holding = True

    def log_catches_up(self) -> None:
        self.harness.holding = False
        self.harness.release()

    def log_fails(self) -> None:
        self.harness.append_error = self.random.choice(
            [ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR]
        )

    def log_recovers(self) -> None:
        self.harness.append_error = None

    def broker_crashes(self) -> None:
        """Clients hear nothing of what was on the way; of the log's uncommitted end some may be left."""
        self.waiting.clear()
        self.harness.holding = False
        self.harness.crash(keep_uncommitted=self.random.randint(0, 2))

    def come_to_rest(self) -> None:
        """No transaction is left half-way, whatever happened."""
        self.log_recovers()
        self.log_catches_up()
        for _ in range(4):
            self.harness.sleep(20_000)
            self.harness.write_all_markers()
            self.told()
        transaction = self.harness.shard.transactions.get(ID)
        if transaction is not None:
            assert transaction.pending is None
            assert transaction.metadata.state.is_settled

    # What must hold

    def known_producer(self) -> Producer | None:
        transaction = self.harness.shard.transactions.get(ID)
        return None if transaction is None else self.harness.producer

    def check_that_what_the_shard_knows_is_in_its_log(self) -> None:
        harness = self.harness
        transaction = harness.shard.transactions.get(ID)
        logged = None
        for record in harness.log[max(harness.committed - 1, 0) :]:
            change = decode(record.key, record.value)
            assert change is not None
            assert change.metadata is not None
            is_completion = change.metadata.state in COMPLETE  # these count since they are written
            if (logged is None and harness.committed) or is_completion:
                logged = change.metadata
        if transaction is None or transaction.metadata.producer_epoch == NO_PRODUCER_EPOCH:
            assert logged is None
            return
        assert logged is not None
        known = replace(transaction.metadata, last_producer_epoch=NO_PRODUCER_EPOCH)
        if known.state.is_prepared:
            assert known.partitions <= logged.partitions  # markers that are written already
            known = replace(known, partitions=logged.partitions)
        if self.version == CLASSIC:
            # A value of version 0 knows less; and a fence counts before it is in the log.
            assert known.producer_epoch - logged.producer_epoch in (0, 1)
            known = replace(
                known,
                producer_epoch=logged.producer_epoch,
                previous_producer_id=-1,
                next_producer_id=-1,
                client_transaction_version=0,
            )
        assert known == logged

    def check_that_only_the_newest_producer_may_write(self) -> None:
        known = self.known_producer()
        for producer in self.given[-5:]:
            if producer != known:
                assert isinstance(self.harness.verify(producer), ErrorCode), producer


@pytest.mark.parametrize("seed", range(60))
def test_random_life(seed: int) -> None:
    Model(seed).run(150)
