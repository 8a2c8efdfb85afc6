"""DescribeTransactions and ListTransactions: what can be seen of the transactional ids of a shard (KIP-664)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby

from kbroker.coordination.transaction.pattern import Pattern
from kbroker.coordination.transaction.registry import TransactionRegistry
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import TransactionMetadata
from wire.errors import ErrorCode
from wire.messages.transactions import DescribeTransactionsResponse, ListTransactionsResponse

DescribedTransaction = DescribeTransactionsResponse.TransactionState
ListedTransaction = ListTransactionsResponse.TransactionState


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which transactional ids ListTransactions asks for; None lets everything pass.

    longer_than_ms: only those whose last transaction began longer ago than this (KIP-994).
    """

    states: Collection[TransactionState] | None = None
    producer_ids: Collection[int] | None = None
    longer_than_ms: int | None = None
    pattern: Pattern | None = None

    def passes(self, transactional_id: str, metadata: TransactionMetadata, now_ms: int) -> bool:
        if self.states is not None and metadata.state not in self.states:
            return False
        if self.producer_ids is not None and metadata.producer_id not in self.producer_ids:
            return False
        if self.longer_than_ms is not None and now_ms - metadata.start_ms <= self.longer_than_ms:
            return False
        return self.pattern is None or self.pattern.matches(transactional_id)


class Descriptions:
    def __init__(self, registry: TransactionRegistry) -> None:
        self._registry = registry

    def describe(self, transactional_id: str) -> DescribedTransaction:
        """While markers are being written, only the partitions that still lack theirs."""
        transaction = self._registry.get(transactional_id)
        if transaction is None:
            return DescribedTransaction(
                transactional_id=transactional_id, error_code=ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
            )
        metadata = transaction.metadata
        return DescribedTransaction(
            transactional_id=transactional_id,
            transaction_state=metadata.state.label,
            transaction_timeout_ms=metadata.timeout_ms,
            transaction_start_time_ms=metadata.start_ms,
            producer_id=metadata.producer_id,
            producer_epoch=metadata.producer_epoch,
            topics=[
                DescribedTransaction.TopicData(topic=topic, partitions=[index for _, index in members])
                for topic, members in groupby(sorted(metadata.partitions), key=lambda member: member[0])
            ],
        )

    def list(self, wanted: TransactionFilter, now_ms: int) -> list[ListedTransaction]:
        return [
            ListedTransaction(
                transactional_id=transaction.transactional_id,
                producer_id=transaction.metadata.producer_id,
                transaction_state=transaction.metadata.state.label,
            )
            for transaction in self._registry
            if wanted.passes(transaction.transactional_id, transaction.metadata, now_ms)
        ]
