"""InitProducerId of a transactional id: who may use it from now on (KIP-98, KIP-360, KIP-588).

    a new transactional id             a new producer id, epoch 0
    no transaction                     the next epoch; whoever has the one before is fenced
    ... and the epochs are used up     a new producer id, epoch 0
    an open transaction                is aborted at once under the next epoch: CONCURRENT_TRANSACTIONS, until
                                       the abort is complete and the producer asks again

A producer that names its id and epoch wants to go on after an error. It must be the one that the epoch was
given to last; asking again, because the answer was lost, gives the same answer.
"""

from __future__ import annotations

from kbroker.coordination.machine import Result
from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.config import TransactionConfig
from kbroker.coordination.transaction.ending import Endings
from kbroker.coordination.transaction.registry import ProducerAnswer, ProducerIdNeeded, TransactionRegistry
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import (
    LAST_EPOCH_OF_ID,
    NO_PRODUCER_EPOCH,
    TIMEOUT_OF_TWO_PHASE_COMMIT_MS,
    Transaction,
    TransactionMetadata,
)
from wire.errors import ApiError, ErrorCode

TRANSACTIONAL_ID_BYTES_MAX = 2**15 - 1
"""What fits the key of a record."""


class Initializations:
    def __init__(self, registry: TransactionRegistry, endings: Endings, config: TransactionConfig) -> None:
        self._registry = registry
        self._endings = endings
        self._config = config

    def initialize(
        self,
        transactional_id: str,
        *,
        timeout_ms: int,
        two_phase_commit: bool,
        keep_prepared: bool,
        expected: Producer | None,
        spare_producer_id: int | None,
        now_ms: int,
    ) -> Result[ProducerAnswer]:
        """``expected`` is the id and epoch that the producer has.

        Raises ProducerIdNeeded; ApiError: INVALID_REQUEST, INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED,
        CONCURRENT_TRANSACTIONS; TRANSACTIONAL_ID_AUTHORIZATION_FAILED where two-phase commit is off,
        UNSUPPORTED_VERSION for keeping a prepared transaction, which Apache Kafka 4.4 does not do either.
        """
        timeout_ms = self._checked_timeout_ms(transactional_id, timeout_ms, two_phase_commit, keep_prepared)
        transaction = self._registry.get(transactional_id)
        if transaction is None:
            if spare_producer_id is None:
                raise ProducerIdNeeded
            transaction = Transaction(
                transactional_id,
                TransactionMetadata(
                    producer_id=spare_producer_id,
                    producer_epoch=NO_PRODUCER_EPOCH,
                    timeout_ms=timeout_ms,
                    updated_ms=now_ms,
                ),
            )
            self._registry.add(transaction)
        metadata = transaction.metadata
        if transaction.pending is not None:
            raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
        if expected is not None and not _is_known(expected, metadata):
            raise ApiError(ErrorCode.PRODUCER_FENCED)
        if metadata.state.is_prepared:
            raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
        out: Result[ProducerAnswer] = Result()
        if metadata.state is TransactionState.ONGOING:
            self._endings.fence(transaction, out, spare_producer_id=spare_producer_id, now_ms=now_ms)
            out.response = ProducerAnswer(ErrorCode.CONCURRENT_TRANSACTIONS)
            return out
        following = _following(metadata, timeout_ms, expected, spare_producer_id, now_ms)
        self._registry.write(transaction, following, out)
        out.response = ProducerAnswer(
            producer_id=following.producer_id, producer_epoch=following.producer_epoch
        )
        return out

    def _checked_timeout_ms(
        self, transactional_id: str, timeout_ms: int, two_phase_commit: bool, keep_prepared: bool
    ) -> int:
        if not transactional_id or len(transactional_id.encode()) > TRANSACTIONAL_ID_BYTES_MAX:
            raise ApiError(ErrorCode.INVALID_REQUEST)
        if two_phase_commit and not self._config.transaction_two_phase_commit_enable:
            raise ApiError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        if keep_prepared:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION)
        if two_phase_commit:
            return TIMEOUT_OF_TWO_PHASE_COMMIT_MS
        if not 0 < timeout_ms <= self._config.transaction_max_timeout_ms:
            raise ApiError(ErrorCode.INVALID_TRANSACTION_TIMEOUT)
        return timeout_ms


def _is_known(expected: Producer, metadata: TransactionMetadata) -> bool:
    """Whether the producer's id belongs to this transactional id; its epoch is looked at later.

    It may be the id before, if that was used up: then the answer with the new one was lost. When everything
    about the transactional id was forgotten, every producer may go on with the new id.
    """
    return (
        metadata.producer_epoch == NO_PRODUCER_EPOCH
        or expected.producer_id == metadata.producer_id
        or (
            expected.producer_id == metadata.previous_producer_id
            and expected.producer_epoch >= LAST_EPOCH_OF_ID
        )
    )


def _following(
    metadata: TransactionMetadata,
    timeout_ms: int,
    expected: Producer | None,
    spare_producer_id: int | None,
    now_ms: int,
) -> TransactionMetadata:
    is_expected = expected is None or expected.producer_epoch == metadata.producer_epoch
    if metadata.is_epoch_exhausted and is_expected:
        if spare_producer_id is None:
            raise ProducerIdNeeded
        return metadata.with_new_producer_id(
            spare_producer_id, timeout_ms=timeout_ms, keep_last=expected is not None, now_ms=now_ms
        )
    if is_expected or metadata.producer_epoch == NO_PRODUCER_EPOCH:
        return metadata.with_raised_epoch(
            timeout_ms=timeout_ms, keep_last=expected is not None, now_ms=now_ms
        )
    assert expected is not None
    if expected.producer_epoch != metadata.last_producer_epoch:
        raise ApiError(ErrorCode.PRODUCER_FENCED)
    return metadata.with_same_epoch(timeout_ms=timeout_ms, now_ms=now_ms)
