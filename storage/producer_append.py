"""Checking a producer's batches before they are written (Kafka: ProducerAppendInfo).

Idempotence (KIP-98, KIP-360): sequences continue without a gap, an older epoch is refused, a new epoch starts
at 0, a producer of which nothing is known may continue anywhere. Nothing in the partition's state changes
until the append has succeeded and `ProducerStateManager.apply` takes the result over.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import NamedTuple

from storage.producer_entry import NO_OFFSET, BatchMetadata, ProducerEntry
from storage.transaction_verification import Verification
from wire.errors import ApiError, ErrorCode
from wire.records import NO_PRODUCER_EPOCH, NO_SEQUENCE, SEQUENCE_MAX, ControlType, EndTransactionMarker

logger = logging.getLogger(__name__)

TRANSACTION_VERSION_2 = 2
_EPOCH_MAX = (1 << 15) - 1


class AppendOrigin(Enum):
    """Who appends, which decides how much is checked (Kafka: AppendOrigin)."""

    CLIENT = "client"
    """A produce request: everything."""

    COORDINATOR = "coordinator"
    """A group or transaction coordinator of this broker: no sequences, control batches allowed."""

    REPLICATION = "replication"
    """A follower or a scan of the log: the leader has checked already."""


class CompletedTransaction(NamedTuple):
    """`last_offset` is the marker's."""

    producer_id: int
    first_offset: int
    last_offset: int
    is_aborted: bool


class ProducerAppend:
    """The state of one producer as it will be after the append at hand."""

    __slots__ = ("_current", "_origin", "_verification", "entry", "started_transactions")

    def __init__(
        self,
        producer_id: int,
        current: ProducerEntry | None,
        origin: AppendOrigin,
        verification: Verification | None = None,
    ) -> None:
        """`verification` is the producer's pending one, if there is any."""
        current = current or ProducerEntry(producer_id)
        self._current = current
        self._origin = origin
        self._verification = verification
        self.entry = ProducerEntry(
            producer_id,
            producer_epoch=current.producer_epoch,
            coordinator_epoch=current.coordinator_epoch,
            last_timestamp=current.last_timestamp,
            transaction_first_offset=current.transaction_first_offset,
        )
        """Only the batches of this append; `apply` adds them to the others."""
        self.started_transactions: list[int] = []

    def append_data(
        self,
        *,
        producer_epoch: int,
        base_sequence: int,
        last_sequence: int,
        first_offset: int,
        last_offset: int,
        timestamp: int,
        is_transactional: bool,
    ) -> None:
        """A data batch. Raises ApiError: INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_TXN_STATE."""
        entry = self.entry
        self._check_epoch(producer_epoch, first_offset)
        if self._origin is AppendOrigin.CLIENT:
            self._check_sequence(producer_epoch, base_sequence, first_offset)
        entry.set_epoch(producer_epoch)
        entry.add_batch(BatchMetadata(last_sequence, last_offset, last_offset - first_offset, timestamp))
        entry.last_timestamp = timestamp
        if is_transactional:
            if entry.transaction_first_offset == NO_OFFSET:
                entry.transaction_first_offset = first_offset
                self.started_transactions.append(first_offset)
        elif entry.transaction_first_offset != NO_OFFSET:
            error = ApiError(
                ErrorCode.INVALID_TXN_STATE,
                f"producer {entry.producer_id} has an open transaction, "
                f"but the batch at offset {first_offset} is not transactional",
            )
            if self._origin is not AppendOrigin.REPLICATION:
                raise error
            logger.warning("Replicated batch: %s", error)

    def append_marker(
        self,
        marker: EndTransactionMarker,
        *,
        producer_epoch: int,
        offset: int,
        timestamp: int,
        transaction_version: int = 0,
    ) -> CompletedTransaction | None:
        """A transaction marker; None if it ended nothing.

        Raises ApiError: INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED. With transactions version 2
        (KIP-890) a marker bumps the epoch, so one that does not is late or repeated.
        """
        entry = self.entry
        if transaction_version >= TRANSACTION_VERSION_2 and self._origin is not AppendOrigin.REPLICATION:
            if self._repeats_last_marker(producer_epoch):
                logger.info(
                    "Idempotent transaction marker of producer %d, epoch %d",
                    entry.producer_id,
                    producer_epoch,
                )
            elif producer_epoch <= entry.producer_epoch:
                raise self._stale_epoch(producer_epoch, offset)
        else:
            self._check_epoch(producer_epoch, offset)
        self._check_coordinator_epoch(marker, offset)
        completed = None
        if entry.transaction_first_offset != NO_OFFSET:
            completed = CompletedTransaction(
                entry.producer_id,
                entry.transaction_first_offset,
                offset,
                marker.control_type is ControlType.ABORT,
            )
        entry.set_epoch(producer_epoch)
        entry.coordinator_epoch = marker.coordinator_epoch
        entry.transaction_first_offset = NO_OFFSET
        entry.last_timestamp = timestamp
        return completed

    def _repeats_last_marker(self, producer_epoch: int) -> bool:
        entry = self.entry
        if producer_epoch != entry.producer_epoch:
            return False
        return entry.transaction_first_offset == NO_OFFSET or producer_epoch == _EPOCH_MAX

    def _stale_epoch(self, producer_epoch: int, offset: int) -> ApiError:
        return ApiError(
            ErrorCode.INVALID_PRODUCER_EPOCH,
            f"epoch {producer_epoch} of producer {self.entry.producer_id} at offset {offset} is older than "
            f"the last one seen, {self.entry.producer_epoch}",
        )

    def _check_epoch(self, producer_epoch: int, offset: int) -> None:
        if producer_epoch < self.entry.producer_epoch:
            error = self._stale_epoch(producer_epoch, offset)
            if self._origin is not AppendOrigin.REPLICATION:
                raise error
            logger.warning("Replicated batch: %s", error)

    def _check_sequence(self, producer_epoch: int, base_sequence: int, offset: int) -> None:
        entry, current = self.entry, self._current
        if self._verification is not None:
            self._check_first_sequence(self._verification, base_sequence, offset)
        if producer_epoch != entry.producer_epoch:
            if base_sequence != 0 and entry.producer_epoch != NO_PRODUCER_EPOCH:
                raise ApiError(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"epoch {producer_epoch} of producer {entry.producer_id} begins at sequence {base_sequence}"
                    f" instead of 0 (offset {offset}, previous epoch {entry.producer_epoch})",
                )
            return
        if current.producer_epoch == NO_PRODUCER_EPOCH:
            return  # nothing is known (any more): its records may have been deleted or its state expired
        if entry.batches:
            last_sequence = entry.last_sequence
        elif producer_epoch == current.producer_epoch:
            last_sequence = current.last_sequence
        else:
            last_sequence = NO_SEQUENCE
        expected = 0 if last_sequence == SEQUENCE_MAX else last_sequence + 1
        if base_sequence != expected:
            raise ApiError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"producer {entry.producer_id} sent sequence {base_sequence} for offset {offset}, "
                f"expected {expected}",
            )

    def _check_first_sequence(self, verification: Verification, base_sequence: int, offset: int) -> None:
        """The first batch of a transaction, while nothing of the producer may be known here (KIP-890)."""
        if verification.supports_epoch_bump and base_sequence != 0 and not self._current.batches:
            # Every transaction has a new epoch, so its first batch here has sequence 0.
            expected = 0
        else:
            expected = verification.lowest_sequence
            if base_sequence <= expected:
                return
        raise ApiError(
            ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
            f"producer {self.entry.producer_id} sent sequence {base_sequence} first for offset {offset}, "
            f"before sequence {expected}",
        )

    def _check_coordinator_epoch(self, marker: EndTransactionMarker, offset: int) -> None:
        if marker.coordinator_epoch >= self.entry.coordinator_epoch:
            return
        message = (
            f"marker of coordinator epoch {marker.coordinator_epoch} for producer {self.entry.producer_id} "
            f"at offset {offset} is older than {self.entry.coordinator_epoch}"
        )
        if self._origin is not AppendOrigin.REPLICATION:
            raise ApiError(ErrorCode.TRANSACTION_COORDINATOR_FENCED, message)
        logger.info("Replicated %s", message)
