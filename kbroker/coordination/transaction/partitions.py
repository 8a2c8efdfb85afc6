"""AddPartitionsToTxn and AddOffsetsToTxn: which partitions a transaction has; and asking whether it has them.

The first partitions open a transaction. A leader that is about to append transactional records asks whether the
partition belongs to the open transaction (KIP-890): then the transaction's marker will reach it, and no
transaction hangs.
"""

from __future__ import annotations

from collections.abc import Iterable

from kbroker.coordination.machine import Result
from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.registry import TransactionRegistry
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import TopicPartition, Transaction, TransactionMetadata
from wire.errors import ApiError, ErrorCode


class Partitions:
    def __init__(self, registry: TransactionRegistry) -> None:
        self._registry = registry

    def add(
        self,
        transactional_id: str,
        producer: Producer,
        partitions: Iterable[TopicPartition],
        *,
        client_transaction_version: int,
        now_ms: int,
    ) -> Result[ErrorCode]:
        """All or none. ApiError: INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED,
        CONCURRENT_TRANSACTIONS, UNSUPPORTED_VERSION.
        """
        transaction = self._find(transactional_id)
        if transaction.pending is not None:
            raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
        metadata = _checked(transaction, producer)
        added = frozenset(partitions)
        out: Result[ErrorCode] = Result(ErrorCode.NONE)
        if metadata.state is TransactionState.ONGOING and added <= metadata.partitions:
            return out
        self._registry.check_generation(client_transaction_version)
        following = metadata.with_partitions(
            added, client_transaction_version=client_transaction_version, now_ms=now_ms
        )
        self._registry.write(transaction, following, out)
        return out

    def verify(
        self, transactional_id: str, producer: Producer, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, ErrorCode]:
        """NONE for partitions of the open transaction, TRANSACTION_ABORTABLE for others; ApiError as ``add``.

        A change that is being written does not matter: the append itself is checked once more.
        """
        members = _checked(self._find(transactional_id), producer).partitions
        return {
            partition: ErrorCode.NONE if partition in members else ErrorCode.TRANSACTION_ABORTABLE
            for partition in partitions
        }

    def _find(self, transactional_id: str) -> Transaction:
        if not transactional_id:
            raise ApiError(ErrorCode.INVALID_REQUEST)
        transaction = self._registry.get(transactional_id)
        if transaction is None:
            raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        return transaction


def _checked(transaction: Transaction, producer: Producer) -> TransactionMetadata:
    metadata = transaction.metadata
    if metadata.producer_id != producer.producer_id:
        raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    if metadata.producer_epoch != producer.producer_epoch:
        raise ApiError(ErrorCode.PRODUCER_FENCED)
    if metadata.state.is_prepared:
        raise ApiError(ErrorCode.CONCURRENT_TRANSACTIONS)
    return metadata
