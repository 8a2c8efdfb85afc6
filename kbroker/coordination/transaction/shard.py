"""One shard of the transaction coordinator: the transactional ids of one partition of ``__transaction_state``.

A ``kbroker.coordination.machine.Machine``: the runtime calls it with what clients ask, with timers that
fired, with the fate of the records that it wanted appended, and with the records of the log.

Its effects are ``MarkersToSend``, ``TransactionTimedOut`` and ``TransactionChanged``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kbroker.coordination.machine import AppendFailure, Result
from kbroker.coordination.transaction.completion import CompletionDue, Completions, MarkersToSend
from kbroker.coordination.transaction.config import TransactionConfig
from kbroker.coordination.transaction.description import Descriptions
from kbroker.coordination.transaction.ending import Endings
from kbroker.coordination.transaction.expiration import Expiration, ExpirationDue, TimeOutsDue
from kbroker.coordination.transaction.initialization import Initializations
from kbroker.coordination.transaction.partitions import Partitions
from kbroker.coordination.transaction.records import TransactionChange, decode
from kbroker.coordination.transaction.registry import (
    ChangeWritten,
    CompletionWritten,
    TransactionChanged,
    TransactionRegistry,
)
from kbroker.coordination.transaction.transaction import TopicPartition, Transaction


class TransactionShard:
    """The parts answer the calls; see their modules."""

    def __init__(self, *, config: TransactionConfig, transaction_version: Callable[[], int]) -> None:
        """``transaction_version`` is the one that the cluster agreed on, 0 to 2."""
        self.transactions = TransactionRegistry(transaction_version)
        self._completions = Completions(self.transactions)
        self._expiration = Expiration(self.transactions, config)
        endings = Endings(self.transactions)
        partitions = Partitions(self.transactions)
        descriptions = Descriptions(self.transactions)
        self.initialize = Initializations(self.transactions, endings, config).initialize
        self.add_partitions = partitions.add
        self.verify_partitions = partitions.verify
        self.end = endings.end
        self.abort_timed_out = endings.abort_timed_out
        self.is_sending = self._completions.is_sending
        self.describe = descriptions.describe
        self.list = descriptions.list

    def markers_written(
        self, markers: MarkersToSend, partitions: Iterable[TopicPartition], now_ms: int
    ) -> Result[None]:
        out: Result[None] = Result()
        self._completions.markers_written(markers, partitions, out, now_ms)
        return out

    def markers_refused(self, markers: MarkersToSend) -> Result[None]:
        self._completions.give_up(markers)
        return Result()

    # What the runtime calls

    def loaded(self, now_ms: int) -> Result[None]:
        """Go on with what was decided before the shard came here."""
        out: Result[None] = Result()
        self._expiration.schedule(out)
        for transaction in self.transactions:
            if transaction.metadata.state.is_prepared:
                if transaction.metadata.partitions:
                    self._completions.begin(transaction, out, now_ms)
                else:
                    transaction.begin(transaction.metadata.completed(now_ms))
                    self._completions.write_later(transaction, out, delay_ms=0)
        return out

    def unloaded(self) -> Result[None]:
        """Nobody waits here but for the log, and the runtime answers those."""
        return Result()

    def timer_fired(self, event: Any, now_ms: int) -> Result[None]:
        out: Result[None] = Result()
        match event:
            case TimeOutsDue():
                self._expiration.look_for_time_outs(out, now_ms)
            case ExpirationDue():
                self._expiration.expire(out, now_ms)
            case CompletionDue():
                self._completions.completion_due(event, out, now_ms)
            case _:
                raise AssertionError(f"nobody scheduled {event!r}")
        return out

    def append_finished(self, pending: Any, failure: AppendFailure | None, now_ms: int) -> Result[None]:
        assert failure is None or not failure.written, "a record in the log is waited for"
        out: Result[None] = Result()
        match pending:
            case CompletionWritten():
                if failure is not None:
                    self._completions.write_later(pending.transaction, out)
            case ChangeWritten():
                self._change_finished(pending, out, is_committed=failure is None, now_ms=now_ms)
            case _:
                raise AssertionError(f"nobody wanted {pending!r} appended")
        return out

    def _change_finished(
        self, change: ChangeWritten, out: Result[None], *, is_committed: bool, now_ms: int
    ) -> None:
        transaction = change.transaction
        if not is_committed:
            transaction.give_up()
            transaction.has_failed_fence |= change.is_fence
        else:
            transaction.commit()
            if transaction.metadata.state.is_prepared:
                self._completions.begin(transaction, out, now_ms)
                return
        out.effects.append(TransactionChanged(transaction.transactional_id))

    # Replaying

    def decode(self, key: bytes, value: bytes | None) -> TransactionChange | None:
        return decode(key, value)

    def replay(self, offset: int, producer_id: int, content: TransactionChange) -> None:
        """All records while loading; later on tombstones and completions, which count once they are written."""
        if content.metadata is None:
            self.transactions.discard(content.transactional_id)
        else:
            self.transactions.add(Transaction(content.transactional_id, content.metadata))

    def replay_end_transaction(self, offset: int, producer_id: int, committed: bool) -> None:
        """There are no transactions in this topic."""

    def advance_committed(self, offset: int) -> None:
        """What counts is what this shard's own appends come to."""
