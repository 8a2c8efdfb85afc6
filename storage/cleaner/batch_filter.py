"""What compaction keeps of a batch (Kafka: Cleaner.cleanInto, MemoryRecords.filterTo; KIP-98, KIP-534).

A record goes when a later one has its key, when its transaction was aborted, when it has no key, or when it is a
tombstone whose delete horizon has passed. The horizon is set when a tombstone, or a marker without a transaction, is
cleaned for the first time: delete.retention.ms from then. A batch without records goes too, except the last one of a
producer that is still known (its sequence number is in the header) and the last one below the high watermark (the
end of the log is in it).

    batch                          kept if
    data, not aborted              it has a record to keep; or, emptied, it is one of those two
    data, aborted                  (emptied) it is one of those two
    marker, batches of it left     always
    marker, none left              its delete horizon has not passed; or, emptied, it is one of those two
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from storage.cleaner.offset_map import OffsetMap
from storage.cleaner.transactions import CleanedTransactions
from storage.transaction_index import AbortedTransaction
from wire.record_cuts import RecordCut
from wire.records import BatchHeader


class LastRecord(NamedTuple):
    """The last thing that an active producer wrote; `data_offset` is -1 when that was a marker."""

    data_offset: int
    producer_epoch: int


class Fate(Enum):
    """What is to happen to a batch before its records are looked at."""

    DELETE = "delete"
    EMPTY = "empty"
    """Only its header stays."""
    KEEP = "keep"
    """A control batch that stays with its record."""
    LOOK = "look"
    """The records decide."""


class BatchDecision(NamedTuple):
    fate: Fate
    keep_empty: bool
    """Whether the header stays when no record does."""
    needs_horizon: bool = False
    """A marker whose transaction has nothing left: if it has no delete horizon, it gets one."""


class BatchFilter:
    """Decides for one pass over a log, batch by batch in offset order.

    `last_records` and `high_watermark` are those of the log when its segment group is begun.
    """

    def __init__(
        self,
        offset_map: OffsetMap,
        transactions: CleanedTransactions,
        *,
        now_ms: int,
        delete_retention_ms: int,
    ) -> None:
        self._map = offset_map
        self._transactions = transactions
        self._now_ms = now_ms
        self._new_horizon_ms = now_ms + delete_retention_ms
        self.last_records: Mapping[int, LastRecord] = {}
        self.high_watermark = -1
        self.keyless_records = 0
        """How many were dropped because a compacted log has no use for them."""

    def decide(self, header: BatchHeader, batch: bytes | memoryview) -> BatchDecision:
        """The fate of a whole batch."""
        keep_empty = header.next_offset == self.high_watermark or self._is_last_of_producer(header)
        if header.is_control:
            can_go = self._transactions.on_control_batch(header, batch)
            if not can_go:
                return BatchDecision(Fate.KEEP, keep_empty)
            if self._is_past_horizon(header) or not header.record_count:
                return BatchDecision(Fate.EMPTY if keep_empty else Fate.DELETE, keep_empty)
            return BatchDecision(Fate.KEEP, keep_empty, needs_horizon=True)
        aborted = self._transactions.on_data_batch(header)
        if aborted or not header.record_count:
            return BatchDecision(Fate.EMPTY if keep_empty else Fate.DELETE, keep_empty)
        return BatchDecision(Fate.LOOK, keep_empty)

    def keeps(self, header: BatchHeader, cut: RecordCut) -> bool:
        """Whether a data record stays."""
        offset = header.base_offset + cut.offset_delta
        if offset > self._map.latest_offset:
            return True  # not looked at in this pass
        if cut.key is None:
            self.keyless_records += 1
            return False
        if offset < self._map.get(cut.key):
            return False
        return not (cut.is_tombstone and self._is_past_horizon(header))

    def new_horizon_ms(self, header: BatchHeader, needs_horizon: bool) -> int | None:
        """The delete horizon that a kept batch gets; None when it has one already, or needs none."""
        return self._new_horizon_ms if needs_horizon and not header.has_delete_horizon else None

    def take_kept_transactions(self) -> list[AbortedTransaction]:
        """What the transaction index must say of the batches decided on since the last call."""
        return self._transactions.take_kept()

    def _is_past_horizon(self, header: BatchHeader) -> bool:
        return header.has_delete_horizon and header.base_timestamp <= self._now_ms

    def _is_last_of_producer(self, header: BatchHeader) -> bool:
        if not header.has_producer_id:
            return False
        last = self.last_records.get(header.producer_id)
        if last is None:
            return False
        if last.data_offset >= 0:
            return header.last_offset == last.data_offset
        return header.is_control and header.producer_epoch == last.producer_epoch
