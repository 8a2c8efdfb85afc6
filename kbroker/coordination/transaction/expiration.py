"""Transactions that take too long are aborted; transactional ids that nobody uses are forgotten.

Both are looked for in intervals, as in Kafka: so a time-out may come late by
``transaction.abort.timed.out.transaction.cleanup.interval.ms``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kbroker.coordination.machine import Result
from kbroker.coordination.transaction.config import TransactionConfig
from kbroker.coordination.transaction.ending import has_timed_out
from kbroker.coordination.transaction.records import transaction_tombstone
from kbroker.coordination.transaction.registry import TransactionRegistry


@dataclass(frozen=True, slots=True)
class TimeOutsDue:
    """A timer's event: look for transactions that have taken too long."""


@dataclass(frozen=True, slots=True)
class ExpirationDue:
    """A timer's event: look for transactional ids that nobody uses."""


@dataclass(frozen=True, slots=True)
class TransactionTimedOut:
    """An effect of the shard: call ``abort_timed_out``, with a producer id if it asks for one."""

    transactional_id: str


class Expiration:
    def __init__(self, registry: TransactionRegistry, config: TransactionConfig) -> None:
        self._registry = registry
        self._config = config

    def schedule(self, out: Result[Any]) -> None:
        self._schedule_time_outs(out)
        self._schedule_expiration(out)

    def look_for_time_outs(self, out: Result[Any], now_ms: int) -> None:
        for transaction in self._registry:
            if has_timed_out(transaction, now_ms):
                out.effects.append(TransactionTimedOut(transaction.transactional_id))
        self._schedule_time_outs(out)

    def expire(self, out: Result[Any], now_ms: int) -> None:
        """Nobody waits for the tombstones: an id is forgotten as soon as its tombstone is in the log."""
        out.records.extend(transaction_tombstone(name) for name in self._expired(now_ms))
        out.atomic = False
        self._schedule_expiration(out)

    def _expired(self, now_ms: int) -> Iterator[str]:
        unused_since_ms = now_ms - self._config.transactional_id_expiration_ms
        for transaction in self._registry:
            metadata = transaction.metadata
            if (
                transaction.pending is None
                and metadata.state.is_settled
                and metadata.updated_ms <= unused_since_ms
            ):
                yield transaction.transactional_id

    def _schedule_time_outs(self, out: Result[Any]) -> None:
        interval_ms = self._config.transaction_abort_timed_out_transaction_cleanup_interval_ms
        out.schedule(TimeOutsDue(), interval_ms, TimeOutsDue())

    def _schedule_expiration(self, out: Result[Any]) -> None:
        interval_ms = self._config.transaction_remove_expired_transaction_cleanup_interval_ms
        out.schedule(ExpirationDue(), interval_ms, ExpirationDue())
