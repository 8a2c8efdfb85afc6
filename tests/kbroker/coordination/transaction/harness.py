"""Drives one TransactionShard without trio and without a log on disk: the runtime's part, in virtual time.

Records go to ``log`` and are committed at once, unless ``holding`` (``release`` commits them), or fail with
``append_error``. Markers wait in ``markers`` until a test says that they are written. ``crash`` starts a new shard
from what the log has kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kbroker.coordination.machine import AppendFailure, CoordinatorRecord, Result, Schedule
from kbroker.coordination.ports import Producer
from kbroker.coordination.timers import TimerQueue
from kbroker.coordination.transaction.completion import MarkersToSend
from kbroker.coordination.transaction.expiration import TransactionTimedOut
from kbroker.coordination.transaction.registry import ProducerAnswer, ProducerIdNeeded, TransactionChanged
from kbroker.coordination.transaction.shard import TransactionShard
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import Transaction, TransactionMetadata
from wire.errors import ApiError, ErrorCode

ID = "the-id"
EPOCH_MS = 1_700_000_000_000
TIMEOUT_MS = 60_000
CLASSIC, V2 = 0, 2
A, B = ("t", 0), ("u", 1)


@dataclass(frozen=True)
class FixedConfig:
    """A TransactionConfig with Kafka's defaults."""

    transaction_max_timeout_ms: int = 900_000
    transactional_id_expiration_ms: int = 604_800_000
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = 10_000
    transaction_remove_expired_transaction_cleanup_interval_ms: int = 3_600_000
    add_partitions_to_txn_retry_backoff_max_ms: int = 100
    transaction_two_phase_commit_enable: bool = False


class Answer:
    """The answer to one call, when it comes."""

    def __init__(self) -> None:
        self.responses: list[Any] = []
        self.error: ErrorCode | None = None

    def __repr__(self) -> str:
        return f"<Answer {self.error or self.responses or 'not yet'}>"

    @property
    def is_given(self) -> bool:
        return bool(self.responses) or self.error is not None

    def give(self, response: Any) -> None:
        assert not self.is_given, f"{self} is given twice"
        self.responses.append(response)

    def fail(self, error: ErrorCode) -> None:
        assert not self.is_given, f"{self} is given twice"
        self.error = error

    @property
    def response(self) -> Any:
        assert self.responses, f"{self} has no response"
        return self.responses[0]

    @property
    def code(self) -> ErrorCode:
        if self.error is not None:
            return self.error
        response = self.response
        return response if isinstance(response, ErrorCode) else ErrorCode(response.error)

    @property
    def producer(self) -> Producer:
        response = self.response
        assert isinstance(response, ProducerAnswer)
        assert response.error is ErrorCode.NONE, response
        return Producer(response.producer_id, response.producer_epoch)


class Uncommitted(NamedTuple):
    offset: int
    answer: Answer | None
    result: Result[Any]


class Harness:
    def __init__(self, *, transaction_version: int = V2, **config: Any) -> None:
        self.config = replace(FixedConfig(), **config)
        self.transaction_version = transaction_version
        self.now_ms = EPOCH_MS
        self.log: list[CoordinatorRecord] = []
        self.committed = 0
        self.append_error: ErrorCode | None = None
        self.holding = False
        self.next_producer_id = 1000
        self.has_producer_ids = True
        self._start()

    def _start(self) -> None:
        self.uncommitted: list[Uncommitted] = []
        self.markers: list[MarkersToSend] = []
        self.timers = TimerQueue()
        self.shard = TransactionShard(
            config=self.config, transaction_version=lambda: self.transaction_version
        )
        for offset, record in enumerate(self.log):
            content = self.shard.decode(record.key, record.value)
            assert content is not None
            self.shard.replay(offset, -1, content)
        self.committed = len(self.log)
        self.execute(self.shard.loaded(self.now_ms), None)

    def crash(self, *, keep_uncommitted: int | None = None) -> None:
        """A new shard out of the log, of which ``keep_uncommitted`` (default: all) uncommitted records are left."""
        if keep_uncommitted is not None:
            del self.log[self.committed + keep_uncommitted :]
        self._start()

    # The runtime's part

    def execute(self, result: Result[Any], answer: Answer | None) -> None:
        for change in result.timers:
            if isinstance(change, Schedule):
                deadline = (self.now_ms + change.delay_ms) / 1000
                self.timers.schedule(self, change.key, deadline, change.event)
            else:
                self.timers.cancel(self, change.key)
        for effect in result.effects:
            self._carry_out(effect)
        if not result.records:
            if answer is not None:
                answer.give(result.response)
            return
        if self.append_error is not None:
            failure = AppendFailure(self.append_error, written=False)
            self._finish(Uncommitted(0, answer, result), failure)
            return
        for record in result.records:
            self.log.append(record)
            if result.replay:
                self.shard.replay(len(self.log) - 1, -1, record.content)
        assert result.pending is None or result.until_committed
        self.uncommitted.append(Uncommitted(len(self.log), answer, result))
        if not self.holding:
            self.release()

    def _carry_out(self, effect: object) -> None:
        if isinstance(effect, MarkersToSend):
            self.markers.append(effect)
            return
        if isinstance(effect, TransactionChanged):
            return
        assert isinstance(effect, TransactionTimedOut)
        name = effect.transactional_id
        self.call(lambda spare: self.shard.abort_timed_out(name, spare_producer_id=spare, now_ms=self.now_ms))

    def release(self) -> None:
        """All that was appended is committed."""
        self.committed = len(self.log)
        while self.uncommitted:
            self._finish(self.uncommitted.pop(0), None)

    def _finish(self, done: Uncommitted, failure: AppendFailure | None) -> None:
        if done.result.pending is not None:
            self.execute(self.shard.append_finished(done.result.pending, failure, self.now_ms), None)
        if done.answer is None:
            return
        if failure is not None:
            done.answer.fail(failure.error)
        else:
            done.answer.give(done.result.response)

    def sleep(self, duration_ms: int) -> None:
        until = self.now_ms + duration_ms
        while (timer := self.timers.pop_due(until / 1000)) is not None:
            self.now_ms = max(self.now_ms, round(timer.deadline * 1000))
            self.execute(self.shard.timer_fired(timer.event, self.now_ms), None)
        self.now_ms = until

    def call(self, operation: Callable[[int | None], Result[Any]]) -> Answer:
        """``operation`` is given a producer id when it asks for one."""
        answer = Answer()
        try:
            try:
                result = operation(None)
            except ProducerIdNeeded:
                if not self.has_producer_ids:
                    raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS) from None
                self.next_producer_id += 1
                result = operation(self.next_producer_id)
            self.execute(result, answer)
        except ApiError as error:
            answer.fail(error.code)
        return answer

    # What clients do

    def init(
        self,
        expected: Producer | None = None,
        *,
        name: str = ID,
        timeout_ms: int = TIMEOUT_MS,
        two_phase_commit: bool = False,
        keep_prepared: bool = False,
    ) -> Answer:
        return self.call(
            lambda spare: self.shard.initialize(
                name,
                timeout_ms=timeout_ms,
                two_phase_commit=two_phase_commit,
                keep_prepared=keep_prepared,
                expected=expected,
                spare_producer_id=spare,
                now_ms=self.now_ms,
            )
        )

    def add(
        self, producer: Producer, *partitions: tuple[str, int], name: str = ID, version: int = CLASSIC
    ) -> Answer:
        return self.call(
            lambda spare: self.shard.add_partitions(
                name,
                producer,
                partitions or (A,),
                client_transaction_version=version,
                now_ms=self.now_ms,
            )
        )

    def verify(self, producer: Producer, *partitions: tuple[str, int], name: str = ID) -> Any:
        """Partition -> code, or the code of the whole request."""
        try:
            return self.shard.verify_partitions(name, producer, partitions or (A,))
        except ApiError as error:
            return error.code

    def end(self, producer: Producer, *, committed: bool, name: str = ID, version: int = CLASSIC) -> Answer:
        return self.call(
            lambda spare: self.shard.end(
                name,
                producer,
                committed=committed,
                client_transaction_version=version,
                spare_producer_id=spare,
                now_ms=self.now_ms,
            )
        )

    # What markers do

    def write_markers(
        self, partitions: Iterable[tuple[str, int]] | None = None, markers: MarkersToSend | None = None
    ) -> None:
        """The oldest wanted markers (or these) are written, for all of their partitions (or these)."""
        if markers is None:
            markers = next(each for each in self.markers if self.shard.is_sending(each))
        written = markers.partitions if partitions is None else partitions
        self.execute(self.shard.markers_written(markers, written, self.now_ms), None)

    def write_all_markers(self) -> None:
        for markers in [each for each in self.markers if self.shard.is_sending(each)]:
            self.write_markers(markers=markers)

    # What can be seen

    def transaction(self, name: str = ID) -> Transaction:
        transaction = self.shard.transactions.get(name)
        assert transaction is not None, f"{name} is not known"
        return transaction

    @property
    def metadata(self) -> TransactionMetadata:
        return self.transaction().metadata

    @property
    def state(self) -> TransactionState:
        return self.metadata.state

    @property
    def producer(self) -> Producer:
        """The id and epoch as they are now."""
        return Producer(self.metadata.producer_id, self.metadata.producer_epoch)

    def put(self, metadata: TransactionMetadata, name: str = ID) -> None:
        """As if the log had said so."""
        self.shard.transactions.add(Transaction(name, metadata))


def harness_in(state: TransactionState, **settings: Any) -> tuple[Harness, Producer]:
    """A harness whose transaction came to ``state`` on the shortest way, and the producer that did it."""
    harness = Harness(**settings)
    version = harness.transaction_version
    harness.init()  # so that there is an epoch before
    producer = harness.init().producer
    if state is TransactionState.EMPTY:
        return harness, producer
    assert harness.add(producer, A, B, version=version).code is ErrorCode.NONE
    if state is TransactionState.ONGOING:
        return harness, producer
    committed = state in (TransactionState.PREPARE_COMMIT, TransactionState.COMPLETE_COMMIT)
    assert harness.end(producer, committed=committed, version=version).code is ErrorCode.NONE
    if state in (TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT):
        harness.write_markers()
    assert harness.state is state
    return harness, producer
