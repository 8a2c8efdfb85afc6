"""The transactional ids of one shard, and how their changes get into the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kbroker.coordination.machine import Result
from kbroker.coordination.transaction.records import transaction_record
from kbroker.coordination.transaction.transaction import Transaction, TransactionMetadata
from wire.errors import ApiError, ErrorCode

_CLASSIC = 0


@dataclass(frozen=True, slots=True)
class ProducerIdNeeded(Exception):
    """A decision cannot be made without a new producer id: ask for one, and ask again with it."""


@dataclass(frozen=True, slots=True)
class ProducerAnswer:
    """What InitProducerId and EndTxn answer; without a producer both are -1."""

    error: ErrorCode = ErrorCode.NONE
    producer_id: int = -1
    producer_epoch: int = -1


@dataclass(frozen=True, slots=True)
class TransactionChanged:
    """An effect of the shard: what was under way for this transactional id has come to an end."""

    transactional_id: str


@dataclass(frozen=True, slots=True)
class CompletionWritten:
    """``Machine.append_finished``: the completion of this transaction, which counts since it is in the log."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class ChangeWritten:
    """``Machine.append_finished``: the pending change of this transaction is committed, or failed.

    ``is_fence``: its producer's epoch was raised in memory before, for the abort that this is.
    """

    transaction: Transaction
    is_fence: bool = False


class TransactionRegistry:
    """Transactional ids come with their first InitProducerId, and go with a tombstone."""

    def __init__(self, transaction_version: Callable[[], int]) -> None:
        """``transaction_version``: the one that the cluster agreed on."""
        self._transactions: dict[str, Transaction] = {}
        self._transaction_version = transaction_version

    def __len__(self) -> int:
        return len(self._transactions)

    def __iter__(self) -> Iterator[Transaction]:
        return iter(list(self._transactions.values()))

    @property
    def transaction_version(self) -> int:
        return self._transaction_version()

    def check_generation(self, client_transaction_version: int) -> None:
        """UNSUPPORTED_VERSION for a client ahead of the cluster, whose log cannot tell its generation yet."""
        if client_transaction_version > self.transaction_version == _CLASSIC:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION)

    def get(self, transactional_id: str) -> Transaction | None:
        return self._transactions.get(transactional_id)

    def add(self, transaction: Transaction) -> None:
        self._transactions[transaction.transactional_id] = transaction

    def discard(self, transactional_id: str) -> None:
        self._transactions.pop(transactional_id, None)

    def write(
        self,
        transaction: Transaction,
        following: TransactionMetadata,
        out: Result[Any],
        *,
        is_fence: bool = False,
    ) -> None:
        """Have ``following`` written. It counts when it is committed, and not before."""
        transaction.begin(following)
        self._append(transaction, following, out)
        out.pending = ChangeWritten(transaction, is_fence)
        out.replay = False

    def write_completion(
        self, transaction: Transaction, completed: TransactionMetadata, out: Result[Any]
    ) -> None:
        """Have the end of a transaction written, which ``transaction.begin`` was told of.

        It counts as soon as it is in the log. Nobody is told of what comes after it before that is committed,
        and then so is this. Should it be lost before, then with all that came after: the log still says how the
        transaction ends, and its markers are sent once more.
        """
        assert transaction.pending is not None, f"{transaction} was not to be completed"
        self._append(transaction, completed, out)
        out.pending = CompletionWritten(transaction)
        out.effects.append(TransactionChanged(transaction.transactional_id))

    def _append(self, transaction: Transaction, following: TransactionMetadata, out: Result[Any]) -> None:
        out.records.append(
            transaction_record(
                transaction.transactional_id, following, transaction_version=self.transaction_version
            )
        )
        out.until_committed = True
