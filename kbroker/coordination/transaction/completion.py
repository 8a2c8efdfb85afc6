"""From a decision in the log over its markers to the completed transaction.

    PREPARE_* committed, or found in the log --> markers to all partitions --> COMPLETE_* written

The markers are an effect of the shard: ``markers.py`` sends them and tells which partitions have theirs. What it
tells is about one object, the ``MarkersToSend`` that this shard made: after a reload there is another one, and what
is said of the old one no longer counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kbroker.coordination.machine import Result
from kbroker.coordination.transaction.registry import TransactionRegistry
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import TopicPartition, Transaction

RETRY_MS = 1000
"""Pause before the completion of a transaction is written once more."""


@dataclass(frozen=True, eq=False, slots=True)
class MarkersToSend:
    """The markers of one transaction: an effect of the shard. Two are never equal."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    committed: bool
    transaction_version: int
    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class CompletionDue:
    """A timer's event: write the completion that could not be written."""

    transactional_id: str


class Completions:
    def __init__(self, registry: TransactionRegistry) -> None:
        self._registry = registry
        self._sending: dict[str, MarkersToSend] = {}

    def begin(self, transaction: Transaction, out: Result[Any], now_ms: int) -> None:
        """How the transaction ends is committed; nothing but its completion can happen to it now."""
        metadata = transaction.metadata
        assert metadata.state.is_prepared, f"{transaction} is not to be completed"
        # Pending from now on, so that nothing comes between; written when the markers are.
        transaction.begin(metadata.completed(now_ms))
        if not metadata.partitions:
            self._write(transaction, out, now_ms)
            return
        markers = self._sending[transaction.transactional_id] = MarkersToSend(
            transactional_id=transaction.transactional_id,
            producer_id=metadata.producer_id,
            producer_epoch=metadata.producer_epoch,
            committed=metadata.state is TransactionState.PREPARE_COMMIT,
            transaction_version=metadata.client_transaction_version,
            partitions=metadata.partitions,
        )
        out.effects.append(markers)

    def is_sending(self, markers: MarkersToSend) -> bool:
        """Whether the markers are still wanted."""
        return self._sending.get(markers.transactional_id) is markers

    def markers_written(
        self, markers: MarkersToSend, partitions: Iterable[TopicPartition], out: Result[Any], now_ms: int
    ) -> None:
        """These partitions have their marker, or are gone; after the last one the transaction is complete."""
        if not self.is_sending(markers):
            return
        transaction = self._registry.get(markers.transactional_id)
        assert transaction is not None, f"{markers} belongs to nobody"
        transaction.without_partitions(partitions)
        if not transaction.metadata.partitions:
            del self._sending[markers.transactional_id]
            self._write(transaction, out, now_ms)

    def give_up(self, markers: MarkersToSend) -> None:
        """A partition refused its marker for good: the transaction stays as it is, as in Kafka."""
        if self.is_sending(markers):
            del self._sending[markers.transactional_id]

    def write_later(self, transaction: Transaction, out: Result[Any], delay_ms: int = RETRY_MS) -> None:
        """The markers are written, so there is no way back: should the log refuse it, it is asked again."""
        event = CompletionDue(transaction.transactional_id)
        out.schedule(event, delay_ms, event)

    def completion_due(self, event: CompletionDue, out: Result[Any], now_ms: int) -> None:
        transaction = self._registry.get(event.transactional_id)
        assert transaction is not None, f"{event} is about nobody"
        self._write(transaction, out, now_ms)

    def _write(self, transaction: Transaction, out: Result[Any], now_ms: int) -> None:
        self._registry.write_completion(transaction, transaction.metadata.completed(now_ms), out)
