"""Which batches were aborted, and which markers still have records (Kafka: CleanedTransactionMetadata).

Everything that is cleaned lies below the last stable offset, so every transaction met here is decided. A marker may go
once none of its transaction's batches is left, and not before: without it a reader would take the records for
undecided ones, or those of an aborted transaction for good.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.transaction_index import AbortedTransaction
from wire.errors import ProtocolError
from wire.records import BatchHeader, ControlType, read_control_type, read_records

_CONTROL_BATCH_BYTES_MAX = 1 << 16


class CleanedTransactions:
    """The transactions open at the place that a scan has reached; batches come in offset order.

    `kept_aborted` collects what the transaction index of the cleaned segment must hold; take it with `take_kept`.
    """

    __slots__ = ("_aborted", "_coming", "_committed", "_kept")

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        """`aborted` are those that overlap the range of the scan; others, that ended before it, do no harm."""
        # From the last to the first, since they are taken from the end.
        self._coming = sorted(set(aborted), key=lambda each: each.first_offset, reverse=True)
        self._aborted: dict[int, tuple[AbortedTransaction, bool]] = {}
        """By producer id: its aborted transaction, and whether a batch of it was seen."""
        self._committed: set[int] = set()
        self._kept: list[AbortedTransaction] = []

    def on_data_batch(self, header: BatchHeader) -> bool:
        """Whether the batch's records were aborted and may go."""
        self._begin_up_to(header.last_offset)
        if not header.is_transactional:
            return False
        found = self._aborted.get(header.producer_id)
        if found is None or found[0].last_offset < header.base_offset:
            self._committed.add(header.producer_id)
            return False
        self._aborted[header.producer_id] = (found[0], True)
        return True

    def on_control_batch(self, header: BatchHeader, batch: bytes | memoryview) -> bool:
        """Whether nothing is left of what the marker decided. Other control batches are none of our business."""
        self._begin_up_to(header.last_offset)
        if header.record_count < 1:
            return True  # emptied by an earlier cleaning, when that was so
        control_type = _control_type(batch)
        if control_type is ControlType.COMMIT:
            had_batches = header.producer_id in self._committed
            self._committed.discard(header.producer_id)
            return not had_batches
        if control_type is ControlType.ABORT:
            transaction, had_batches = self._aborted.pop(header.producer_id, (None, False))
            if transaction is not None and had_batches:
                self._kept.append(transaction)
                return False
            return True
        return False

    def take_kept(self) -> list[AbortedTransaction]:
        """The aborted transactions whose markers were kept since the last call."""
        kept, self._kept = self._kept, []
        return kept

    def _begin_up_to(self, offset: int) -> None:
        coming = self._coming
        while coming and coming[-1].first_offset <= offset:
            transaction = coming.pop()
            current = self._aborted.get(transaction.producer_id)
            if current is None or current[0].last_offset < transaction.first_offset:
                self._aborted[transaction.producer_id] = (transaction, False)


def _control_type(batch: bytes | memoryview) -> ControlType:
    try:
        return read_control_type(read_records(batch, decompressed_bytes_max=_CONTROL_BATCH_BYTES_MAX)[0])
    except ProtocolError:
        return ControlType.UNKNOWN
