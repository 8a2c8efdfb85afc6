"""EndTxn, in both generations, and the aborts that nobody asked for: fencing and time-outs.

``states.py`` has the table of answers. The generation is that of the request (version 5 means transactions v2,
KIP-890); aborts of the coordinator's own are in the generation that the cluster agreed on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kbroker.coordination.machine import Result
from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.registry import ProducerAnswer, ProducerIdNeeded, TransactionRegistry
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import (
    LAST_EPOCH_OF_ID,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    PRODUCER_EPOCH_MAX,
    TRANSACTIONS_V2,
    Transaction,
    TransactionMetadata,
)
from wire.errors import ApiError, ErrorCode

_CLASSIC = 0

_DECIDED = {True: TransactionState.PREPARE_COMMIT, False: TransactionState.PREPARE_ABORT}
_COMPLETE = {True: TransactionState.COMPLETE_COMMIT, False: TransactionState.COMPLETE_ABORT}


class Endings:
    def __init__(self, registry: TransactionRegistry) -> None:
        self._registry = registry

    def end(
        self,
        transactional_id: str,
        producer: Producer,
        *,
        committed: bool,
        client_transaction_version: int,
        spare_producer_id: int | None,
        now_ms: int,
    ) -> Result[ProducerAnswer]:
        """The answer is given as soon as the decision is committed; markers and completion follow.

        Raises ProducerIdNeeded; ApiError: INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED,
        CONCURRENT_TRANSACTIONS, INVALID_TXN_STATE, UNSUPPORTED_VERSION.
        """
        if not transactional_id:
            raise ApiError(ErrorCode.INVALID_REQUEST)
        transaction = self._registry.get(transactional_id)
        if transaction is None:
            raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        if client_transaction_version < TRANSACTIONS_V2:
            return self._end_classic(transaction, producer, committed=committed, now_ms=now_ms)
        return self._end_v2(
            transaction, producer, committed=committed, spare_producer_id=spare_producer_id, now_ms=now_ms
        )

    def _end_classic(
        self, transaction: Transaction, producer: Producer, *, committed: bool, now_ms: int
    ) -> Result[ProducerAnswer]:
        metadata = transaction.metadata
        if metadata.producer_id != producer.producer_id:
            raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        if metadata.producer_epoch != producer.producer_epoch:
            raise ApiError(ErrorCode.PRODUCER_FENCED)
        if transaction.pending is not None:
            raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
        out = Result(ProducerAnswer())
        if metadata.state is TransactionState.ONGOING:
            following = metadata.prepared(
                _DECIDED[committed],
                client_transaction_version=_CLASSIC,
                next_producer_id=NO_PRODUCER_ID,
                started_now=False,
                now_ms=now_ms,
            )
            self._registry.write(transaction, following, out)
        elif metadata.state is _DECIDED[committed]:
            raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
        elif metadata.state is not _COMPLETE[committed]:
            raise ApiError(ErrorCode.INVALID_TXN_STATE)
        return out

    def _end_v2(
        self,
        transaction: Transaction,
        producer: Producer,
        *,
        committed: bool,
        spare_producer_id: int | None,
        now_ms: int,
    ) -> Result[ProducerAnswer]:
        # Looked at first: the request may come with the id or epoch that is being written.
        if transaction.pending is not None:
            raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
        metadata = transaction.metadata
        is_id_used_up = _is_id_used_up(metadata, producer)
        if metadata.producer_id != producer.producer_id and not is_id_used_up:
            raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        if is_id_used_up or metadata.producer_epoch == producer.producer_epoch + 1:
            return _answer_repeated(metadata, committed)
        if metadata.producer_epoch != producer.producer_epoch or metadata.state.is_prepared:
            raise ApiError(ErrorCode.PRODUCER_FENCED)
        is_open = metadata.state is TransactionState.ONGOING
        if committed and not is_open:
            raise ApiError(ErrorCode.INVALID_TXN_STATE)
        self._registry.check_generation(TRANSACTIONS_V2)
        # A producer may abort what has not begun: its records may be on the way to a partition still.
        following = self._prepared_v2(
            metadata,
            _DECIDED[committed],
            client_transaction_version=TRANSACTIONS_V2,
            spare_producer_id=spare_producer_id,
            started_now=not is_open,
            now_ms=now_ms,
        )
        out: Result[ProducerAnswer] = Result()
        self._registry.write(transaction, following, out)
        completed = following.completed(now_ms)
        out.response = ProducerAnswer(
            producer_id=completed.producer_id, producer_epoch=completed.producer_epoch
        )
        return out

    def _prepared_v2(
        self,
        metadata: TransactionMetadata,
        state: TransactionState,
        *,
        client_transaction_version: int,
        spare_producer_id: int | None,
        started_now: bool,
        now_ms: int,
    ) -> TransactionMetadata:
        next_producer_id = NO_PRODUCER_ID
        if metadata.is_epoch_exhausted:
            if spare_producer_id is None:
                raise ProducerIdNeeded
            next_producer_id = spare_producer_id
        return metadata.prepared(
            state,
            client_transaction_version=client_transaction_version,
            next_producer_id=next_producer_id,
            started_now=started_now,
            now_ms=now_ms,
        )

    def fence(
        self, transaction: Transaction, out: Result[Any], *, spare_producer_id: int | None, now_ms: int
    ) -> None:
        """Abort an open transaction under the next epoch, which is given to nobody. ProducerIdNeeded."""
        metadata = transaction.metadata
        assert metadata.state is TransactionState.ONGOING, f"{transaction} is not open"
        version = self._registry.transaction_version
        if version >= TRANSACTIONS_V2:
            following = self._prepared_v2(
                metadata,
                TransactionState.PREPARE_ABORT,
                client_transaction_version=version,
                spare_producer_id=spare_producer_id,
                started_now=False,
                now_ms=now_ms,
            )
            self._registry.write(transaction, following, out)
            return
        if not transaction.has_failed_fence:
            # In memory at once: whatever becomes of the abort, the old epoch is over.
            metadata = transaction.metadata = replace(
                metadata,
                producer_epoch=min(metadata.producer_epoch + 1, PRODUCER_EPOCH_MAX),
                last_producer_epoch=NO_PRODUCER_EPOCH,
            )
        following = metadata.prepared(
            TransactionState.PREPARE_ABORT,
            client_transaction_version=_CLASSIC,
            next_producer_id=NO_PRODUCER_ID,
            started_now=False,
            now_ms=now_ms,
        )
        self._registry.write(transaction, following, out, is_fence=True)

    def abort_timed_out(
        self, transactional_id: str, *, spare_producer_id: int | None, now_ms: int
    ) -> Result[bool]:
        """Fence a transaction, if it is still one that has taken too long: whether it was. ProducerIdNeeded."""
        transaction = self._registry.get(transactional_id)
        if transaction is None or not has_timed_out(transaction, now_ms):
            return Result(response=False)
        out = Result(response=True)
        self.fence(transaction, out, spare_producer_id=spare_producer_id, now_ms=now_ms)
        return out


def has_timed_out(transaction: Transaction, now_ms: int) -> bool:
    metadata = transaction.metadata
    return (
        transaction.pending is None
        and metadata.state is TransactionState.ONGOING
        and metadata.has_timeout
        and metadata.start_ms + metadata.timeout_ms < now_ms
    )


def _is_id_used_up(metadata: TransactionMetadata, producer: Producer) -> bool:
    """Whether the producer still has the id before, with its last epoch: it never heard of the new one."""
    return (
        metadata.previous_producer_id == producer.producer_id
        and producer.producer_epoch == LAST_EPOCH_OF_ID
        and metadata.producer_epoch == 0
    )


def _answer_repeated(metadata: TransactionMetadata, committed: bool) -> Result[ProducerAnswer]:
    """To a producer with the epoch before: it may have asked for this very end, and missed the answer."""
    if metadata.state is _COMPLETE[committed]:
        return Result(
            ProducerAnswer(producer_id=metadata.producer_id, producer_epoch=metadata.producer_epoch)
        )
    if metadata.state is _DECIDED[committed]:
        raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
    if metadata.state in (TransactionState.EMPTY, TransactionState.ONGOING):
        raise ApiError(ErrorCode.PRODUCER_FENCED)
    raise ApiError(ErrorCode.INVALID_TXN_STATE)
