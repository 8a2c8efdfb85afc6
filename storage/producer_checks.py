"""The producers' side of one append: check every batch first, take over the outcome when it is written."""

from __future__ import annotations

from storage.producer_append import AppendOrigin, CompletedTransaction, ProducerAppend
from storage.producer_entry import BatchMetadata
from storage.producer_rebuild import marker_of
from storage.producer_state import ProducerStateManager
from storage.segment import BatchSpan
from storage.transaction_index import AbortedTransaction
from wire.records import BatchHeader


class ProducerChecks:
    """Accumulates what the batches of one append will change. `apply` it, or forget it."""

    __slots__ = ("_appends", "_completed", "_origin", "_state", "_transaction_version")

    def __init__(self, state: ProducerStateManager, origin: AppendOrigin, transaction_version: int) -> None:
        self._state = state
        self._origin = origin
        self._transaction_version = transaction_version
        self._appends: dict[int, ProducerAppend] = {}
        self._completed: list[CompletedTransaction] = []

    def find_duplicate(self, header: BatchHeader) -> BatchMetadata | None:
        """The batch that this one repeats, if a client sent it and it is among the producer's last five."""
        if self._origin is not AppendOrigin.CLIENT:
            return None
        entry = self._state.producers.get(header.producer_id)
        return entry.find_duplicate(header) if entry is not None else None

    def check(
        self, header: BatchHeader, span: BatchSpan, records: bytearray | memoryview, position: int
    ) -> None:
        """Check a batch that has a producer id, at its place in `records`; ApiError as `ProducerAppend` raises it."""
        producer_id = header.producer_id
        append = self._appends.get(producer_id)
        if append is None:
            append = self._appends[producer_id] = self._state.prepare(producer_id, self._origin)
        if not header.is_control:
            append.append_data(
                producer_epoch=header.producer_epoch,
                base_sequence=header.base_sequence,
                last_sequence=header.last_sequence,
                first_offset=span.base_offset,
                last_offset=span.last_offset,
                timestamp=span.max_timestamp,
                is_transactional=header.is_transactional,
            )
            return
        with memoryview(records) as view:
            marker = marker_of(view[position : position + span.size_bytes], header)
        if marker is None:
            return
        completed = append.append_marker(
            marker,
            producer_epoch=header.producer_epoch,
            offset=span.base_offset,
            timestamp=span.max_timestamp,
            transaction_version=self._transaction_version,
        )
        if completed is not None:
            self._completed.append(completed)

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """What the transaction index must record."""
        return [
            AbortedTransaction(
                completed.producer_id,
                completed.first_offset,
                completed.last_offset,
                self._state.last_stable_offset_after(completed, self._appends.values()),
            )
            for completed in self._completed
            if completed.is_aborted
        ]

    def apply(self, end_offset: int) -> None:
        """The batches are in the log, which now ends at `end_offset`."""
        for append in self._appends.values():
            self._state.apply(append)
        for completed in self._completed:
            self._state.complete(completed)
        self._state.end_offset = end_offset
