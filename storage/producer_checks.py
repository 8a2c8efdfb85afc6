"""The producers' side of one append: check every batch first, take over the outcome when it is written."""

from __future__ import annotations

from collections.abc import Callable

from storage.producer_append import AppendOrigin, CompletedTransaction, ProducerAppend
from storage.producer_entry import BatchMetadata, ProducerEntry
from storage.producer_rebuild import marker_of
from storage.producer_state import ProducerStateManager
from storage.segment import BatchSpan
from storage.transaction_index import AbortedTransaction
from storage.transaction_verification import VerificationGuard
from wire.errors import ApiError, ErrorCode
from wire.records import BatchHeader


def _never() -> bool:
    return False


class ProducerChecks:
    """Accumulates what the batches of one append will change. `apply` it, or forget it."""

    __slots__ = (
        "_appends",
        "_completed",
        "_guard",
        "_origin",
        "_recall",
        "_requires_verification",
        "_state",
        "_transaction_version",
        "_transactional",
    )

    def __init__(
        self,
        state: ProducerStateManager,
        origin: AppendOrigin,
        recall: Callable[[ProducerEntry], list[BatchMetadata]],
        transaction_version: int = 0,
        guard: VerificationGuard | None = None,
        requires_verification: Callable[[], bool] = _never,
    ) -> None:
        """`recall` looks in the log for what an entry has forgotten (`producer_recall`).

        `guard` is the proof that a batch may open a transaction, which `requires_verification` may demand.
        """
        self._state = state
        self._recall = recall
        self._origin = origin
        self._transaction_version = transaction_version
        self._appends: dict[int, ProducerAppend] = {}
        self._completed: list[CompletedTransaction] = []
        self._guard = guard
        self._requires_verification = requires_verification
        self._transactional: list[BatchHeader] = []

    def find_duplicate(self, header: BatchHeader) -> BatchMetadata | None:
        """The batch that this one repeats, if a client sent it and it is among the producer's last five."""
        if self._origin is not AppendOrigin.CLIENT:
            return None
        entry = self._state.producers.get(header.producer_id)
        if entry is None:
            return None
        duplicate = entry.find_duplicate(header)
        if duplicate is None and entry.may_have_forgotten(header):
            entry.recalled(self._recall(entry))
            duplicate = entry.find_duplicate(header)
        return duplicate

    def check(
        self, header: BatchHeader, span: BatchSpan, records: bytearray | memoryview, position: int
    ) -> None:
        """Check a batch that has a producer id, at its place in `records`; ApiError as `ProducerAppend` raises it."""
        producer_id = header.producer_id
        if header.is_transactional:
            if not header.is_control and self._origin is not AppendOrigin.REPLICATION:
                self._check_transaction(header)
            self._transactional.append(header)
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

    def _check_transaction(self, header: BatchHeader) -> None:
        """A batch goes into the producer's open transaction, or may open one (Kafka: UnifiedLog)."""
        producer_id, producer_epoch = header.producer_id, header.producer_epoch
        if self._state.has_ongoing_transaction(producer_id, producer_epoch):
            return
        self._state.check_epoch(producer_id, producer_epoch)
        verified = self._state.verifications.is_guarded_by(producer_id, self._guard)
        if not verified and self._requires_verification():
            message = f"the batch of producer {producer_id} is not part of an ongoing transaction"
            raise ApiError(ErrorCode.INVALID_TXN_STATE, message)

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """What the transaction index must record. A follower's append may end several, one after another."""
        aborted: list[AbortedTransaction] = []
        ended: set[int] = set()
        for completed in self._completed:
            if completed.is_aborted:
                appends = self._appends.values()
                last_stable_offset = self._state.last_stable_offset_after(completed, appends, ended)
                aborted.append(
                    AbortedTransaction(
                        completed.producer_id,
                        completed.first_offset,
                        completed.last_offset,
                        last_stable_offset,
                    )
                )
            ended.add(completed.first_offset)
        return aborted

    def apply(self, end_offset: int) -> None:
        """The batches are in the log, which now ends at `end_offset`."""
        for append in self._appends.values():
            self._state.apply(append)
        for completed in self._completed:
            self._state.complete(completed)
        for header in self._transactional:
            if header.is_control:
                self._state.verifications.marker_appended(header.producer_id, header.producer_epoch)
            else:
                self._state.verifications.data_appended(header.producer_id)
        self._state.end_offset = end_offset
