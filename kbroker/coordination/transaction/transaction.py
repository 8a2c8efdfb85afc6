"""A transactional id: what the log says of it, and the change that is being written (``TransactionMetadata``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kbroker.coordination.transaction.states import PREVIOUS_STATES, TransactionState

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_TIMESTAMP = -1

PRODUCER_EPOCH_MAX = 2**15 - 1
"""Only fencing raises an epoch this far: a producer is never given it."""

LAST_EPOCH_OF_ID = PRODUCER_EPOCH_MAX - 1
"""After this epoch the producer gets another id."""

TIMEOUT_OF_TWO_PHASE_COMMIT_MS = 2**31 - 1
"""A transaction with this time-out is ended by its external coordinator alone (KIP-939)."""

TRANSACTIONS_V2 = 2
"""The ``transaction.version`` from which on every transaction has an epoch of its own (KIP-890)."""

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionMetadata:
    """One state of a transactional id, as its record has it.

    previous_producer_id: the one before the last change; how a retry is recognised that comes with an id
        which was used up. next_producer_id: the one that the transaction gets when it is complete, else -1.
    last_producer_epoch: the one before the epoch was raised, -1 if none; not in the log.
    start_ms: since when the transaction is open, -1 before the first. updated_ms: when this was decided.
    client_transaction_version: the generation in which the client works, 0 to 2.
    """

    producer_id: int
    producer_epoch: int
    timeout_ms: int
    state: TransactionState = TransactionState.EMPTY
    previous_producer_id: int = NO_PRODUCER_ID
    next_producer_id: int = NO_PRODUCER_ID
    last_producer_epoch: int = NO_PRODUCER_EPOCH
    partitions: frozenset[TopicPartition] = frozenset()
    start_ms: int = NO_TIMESTAMP
    updated_ms: int = NO_TIMESTAMP
    client_transaction_version: int = 0

    @property
    def is_epoch_exhausted(self) -> bool:
        return self.producer_epoch >= LAST_EPOCH_OF_ID

    @property
    def has_timeout(self) -> bool:
        return self.timeout_ms != TIMEOUT_OF_TWO_PHASE_COMMIT_MS

    # What may come next. Each of these only says what would be written.

    def with_raised_epoch(self, *, timeout_ms: int, keep_last: bool, now_ms: int) -> TransactionMetadata:
        """InitProducerId: the next epoch. ``keep_last``: the producer named its epoch, and may ask again."""
        assert not self.is_epoch_exhausted, "the epochs of this producer id are used up"
        return self._initialized(
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch + 1,
            last_producer_epoch=self.producer_epoch if keep_last else NO_PRODUCER_EPOCH,
            timeout_ms=timeout_ms,
            now_ms=now_ms,
        )

    def with_same_epoch(self, *, timeout_ms: int, now_ms: int) -> TransactionMetadata:
        """InitProducerId asked again: the epoch was raised for this very producer already."""
        return self._initialized(
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            last_producer_epoch=self.last_producer_epoch,
            timeout_ms=timeout_ms,
            now_ms=now_ms,
        )

    def with_new_producer_id(
        self, producer_id: int, *, timeout_ms: int, keep_last: bool, now_ms: int
    ) -> TransactionMetadata:
        """InitProducerId when the epochs are used up."""
        return self._initialized(
            producer_id=producer_id,
            producer_epoch=0,
            last_producer_epoch=self.producer_epoch if keep_last else NO_PRODUCER_EPOCH,
            timeout_ms=timeout_ms,
            now_ms=now_ms,
        )

    def _initialized(
        self, *, producer_id: int, producer_epoch: int, last_producer_epoch: int, timeout_ms: int, now_ms: int
    ) -> TransactionMetadata:
        return replace(
            self,
            state=TransactionState.EMPTY,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            last_producer_epoch=last_producer_epoch,
            previous_producer_id=self.producer_id,
            timeout_ms=timeout_ms,
            partitions=frozenset(),
            start_ms=NO_TIMESTAMP,
            updated_ms=now_ms,
        )

    def with_partitions(
        self, added: frozenset[TopicPartition], *, client_transaction_version: int, now_ms: int
    ) -> TransactionMetadata:
        """AddPartitionsToTxn: the first partitions open the transaction."""
        return replace(
            self,
            state=TransactionState.ONGOING,
            previous_producer_id=self.producer_id,
            partitions=self.partitions | added,
            start_ms=now_ms if self.state.is_settled else self.start_ms,
            updated_ms=now_ms,
            client_transaction_version=client_transaction_version,
        )

    def prepared(
        self,
        state: TransactionState,
        *,
        client_transaction_version: int,
        next_producer_id: int,
        started_now: bool,
        now_ms: int,
    ) -> TransactionMetadata:
        """EndTxn; in transactions v2 it raises the epoch. ``started_now``: there was no transaction to end."""
        epoch, last_epoch = self.producer_epoch, self.last_producer_epoch
        if client_transaction_version >= TRANSACTIONS_V2:
            last_epoch = epoch
            # An epoch at its maximum was fenced by a coordinator of the classic generation.
            epoch = min(epoch + 1, PRODUCER_EPOCH_MAX)
        return replace(
            self,
            state=state,
            previous_producer_id=self.producer_id,
            producer_epoch=epoch,
            last_producer_epoch=last_epoch,
            next_producer_id=next_producer_id,
            start_ms=now_ms if started_now else self.start_ms,
            updated_ms=now_ms,
            client_transaction_version=client_transaction_version,
        )

    def completed(self, now_ms: int) -> TransactionMetadata:
        """All markers are written; the producer gets its next id now, if the epochs were used up."""
        is_commit = self.state is TransactionState.PREPARE_COMMIT
        takes_next_id = (
            self.client_transaction_version >= TRANSACTIONS_V2 and self.next_producer_id != NO_PRODUCER_ID
        )
        return replace(
            self,
            state=TransactionState.COMPLETE_COMMIT if is_commit else TransactionState.COMPLETE_ABORT,
            previous_producer_id=self.producer_id,
            producer_id=self.next_producer_id if takes_next_id else self.producer_id,
            producer_epoch=0 if takes_next_id else self.producer_epoch,
            next_producer_id=NO_PRODUCER_ID,
            partitions=frozenset(),
            updated_ms=now_ms,
        )


class Transaction:
    """A transactional id on its coordinator.

    pending: what is being written; until that is committed, or has failed, nothing else may happen.
    has_failed_fence: the epoch was raised to fence a producer, but the abort could not be written; the next
        attempt must not raise it again, or attempts would use up the epochs.
    """

    __slots__ = ("has_failed_fence", "metadata", "pending", "transactional_id")

    def __init__(self, transactional_id: str, metadata: TransactionMetadata) -> None:
        self.transactional_id = transactional_id
        self.metadata = metadata
        self.pending: TransactionMetadata | None = None
        self.has_failed_fence = False

    def __repr__(self) -> str:
        return f"<Transaction {self.transactional_id!r} {self.metadata} pending={self.pending}>"

    def begin(self, following: TransactionMetadata) -> None:
        """``following`` is going to be written."""
        assert self.pending is None, f"{self} is in the middle of a change"
        assert self.metadata.state in PREVIOUS_STATES[following.state], f"{self} cannot become {following}"
        assert following.producer_id >= 0, f"{self} would lose its producer id"
        assert following.producer_epoch >= 0, f"{self} would lose its epoch"
        self.pending = following

    def commit(self) -> None:
        """What was pending is committed."""
        assert self.pending is not None, f"{self} is not in the middle of a change"
        self.metadata = self.pending
        self.pending = None
        if self.metadata.state.is_prepared:
            self.has_failed_fence = False

    def give_up(self) -> None:
        """What was pending could not be written."""
        self.pending = None

    def without_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions have their marker. Only in memory: after a restart they are given it again."""
        assert self.metadata.state.is_prepared, f"{self} has no markers to write"
        self.metadata = replace(self.metadata, partitions=self.metadata.partitions.difference(partitions))
