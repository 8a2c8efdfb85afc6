"""AddPartitionsToTxn (key 24, versions 0-5), AddOffsetsToTxn (25, 0-4), EndTxn (26, 0-5), DescribeTransactions
(65, 0), ListTransactions (66, 0-2).

AddPartitionsToTxn    v2 PRODUCER_FENCED (KIP-588); v3 flexible; v4 for brokers: several transactions at once, or only
                      to ask what is in them (KIP-890)
AddOffsetsToTxn       v2 PRODUCER_FENCED; v3 flexible; v4 TRANSACTION_ABORTABLE
EndTxn                v2 PRODUCER_FENCED; v3 flexible; v4 TRANSACTION_ABORTABLE; v5 transactions v2: the response tells
                      the producer's next epoch
DescribeTransactions  KIP-664
ListTransactions      v1 by duration (KIP-994); v2 by a pattern (KIP-1152)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import trio

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC, is_internal_topic
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ErrorCode
from wire.messages.transactions import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    EndTxnRequest,
    EndTxnResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)

TopicPartition = tuple[str, int]

_Transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction
_TopicResult = AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
_PartitionResult = AddPartitionsToTxnResponse.AddPartitionsToTxnPartitionResult
_TransactionResult = AddPartitionsToTxnResponse.AddPartitionsToTxnResult

_FENCED_SINCE = 2
_BATCHED_SINCE = 4
_CLASSIC, _TRANSACTIONS_V2 = 0, 2


class TransactionService(Protocol):
    """The transaction coordinator; errors are in what it returns."""

    async def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Sequence[TopicPartition],
        *,
        verify_only: bool,
        transaction_version: int,
        is_patient: bool = True,
    ) -> dict[TopicPartition, ErrorCode]:
        """One code per partition; who is patient waits a little for the transaction before to be completed."""
        ...

    async def end_transaction(self, request: EndTxnRequest, origin: RequestContext) -> EndTxnResponse: ...

    def describe_transactions(self, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse: ...

    def list_transactions(self, request: ListTransactionsRequest) -> ListTransactionsResponse: ...


class TransactionHandlers:
    """Sorts out partitions that do not exist, and passes the rest on to the transaction coordinator."""

    def __init__(
        self,
        *,
        transactions: TransactionService,
        has_partition: Callable[[str, int], bool],
        offsets_partition_for: Callable[[str], int],
    ) -> None:
        """``offsets_partition_for(group_id)`` is the partition of ``__consumer_offsets`` with its offsets."""
        self._transactions = transactions
        self._has_partition = has_partition
        self._offsets_partition_for = offsets_partition_for

    @handles(AddPartitionsToTxnRequest)
    async def add_partitions_to_txn(
        self, request: AddPartitionsToTxnRequest, context: RequestContext
    ) -> AddPartitionsToTxnResponse:
        if context.api_version >= _BATCHED_SINCE:
            return await self._add_batch(request.transactions, context.api_version)
        transaction = _Transaction(
            transactional_id=request.v3_and_below_transactional_id,
            producer_id=request.v3_and_below_producer_id,
            producer_epoch=request.v3_and_below_producer_epoch,
            topics=request.v3_and_below_topics,
        )
        return AddPartitionsToTxnResponse(
            results_by_topic_v3_and_below=await self._add(transaction, context.api_version)
        )

    async def _add_batch(
        self, transactions: Sequence[_Transaction], version: int
    ) -> AddPartitionsToTxnResponse:
        """What other brokers ask: for all transactions at once, as none of them is to wait for another one."""
        results = [_TransactionResult(transactional_id=each.transactional_id) for each in transactions]

        async def add(transaction: _Transaction, result: _TransactionResult) -> None:
            result.topic_results = await self._add(transaction, version)

        async with trio.open_nursery() as nursery:
            for transaction, result in zip(transactions, results, strict=True):
                nursery.start_soon(add, transaction, result)
        return AddPartitionsToTxnResponse(results_by_transaction=results)

    async def _add(self, transaction: _Transaction, version: int) -> list[_TopicResult]:
        partitions = list(
            dict.fromkeys((topic.name, index) for topic in transaction.topics for index in topic.partitions)
        )
        codes = self._refused(partitions, version)
        if not codes:
            codes = await self._transactions.add_partitions(
                transaction.transactional_id,
                transaction.producer_id,
                transaction.producer_epoch,
                partitions,
                verify_only=transaction.verify_only,
                transaction_version=_TRANSACTIONS_V2 if version >= _BATCHED_SINCE else _CLASSIC,
                # A broker comes again by itself, and has other questions that wait meanwhile.
                is_patient=version < _BATCHED_SINCE,
            )
            if not transaction.verify_only:
                return _topic_results(
                    transaction.topics,
                    (
                        (topic.name, index, _for_version(codes[topic.name, index], version))
                        for topic in transaction.topics
                        for index in topic.partitions
                    ),
                )
        # All or none are added: those that could have been are told that they were not tried.
        return _topic_results(
            transaction.topics,
            (
                (topic, index, codes.get((topic, index), ErrorCode.OPERATION_NOT_ATTEMPTED))
                for topic, index in partitions
            ),
        )

    def _refused(self, partitions: Sequence[TopicPartition], version: int) -> dict[TopicPartition, ErrorCode]:
        """Partitions that cannot be added; clients must not name the broker's own topics."""
        refused: dict[TopicPartition, ErrorCode] = {}
        for topic, index in partitions:
            if version < _BATCHED_SINCE and is_internal_topic(topic):
                refused[topic, index] = ErrorCode.TOPIC_AUTHORIZATION_FAILED
            elif not self._has_partition(topic, index):
                refused[topic, index] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return refused

    @handles(AddOffsetsToTxnRequest)
    async def add_offsets_to_txn(
        self, request: AddOffsetsToTxnRequest, context: RequestContext
    ) -> AddOffsetsToTxnResponse:
        partition = (CONSUMER_OFFSETS_TOPIC, self._offsets_partition_for(request.group_id))
        codes = await self._transactions.add_partitions(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            [partition],
            verify_only=False,
            transaction_version=_CLASSIC,
        )
        return AddOffsetsToTxnResponse(error_code=_for_version(codes[partition], context.api_version))

    @handles(EndTxnRequest)
    async def end_txn(self, request: EndTxnRequest, context: RequestContext) -> EndTxnResponse:
        return await self._transactions.end_transaction(request, context)

    @handles(DescribeTransactionsRequest)
    async def describe_transactions(
        self, request: DescribeTransactionsRequest, context: RequestContext
    ) -> DescribeTransactionsResponse:
        return self._transactions.describe_transactions(request)

    @handles(ListTransactionsRequest)
    async def list_transactions(
        self, request: ListTransactionsRequest, context: RequestContext
    ) -> ListTransactionsResponse:
        return self._transactions.list_transactions(request)


def _for_version(code: ErrorCode, version: int) -> ErrorCode:
    """Clients before KIP-588 do not know PRODUCER_FENCED."""
    if code is ErrorCode.PRODUCER_FENCED and version < _FENCED_SINCE:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return code


def _topic_results(
    asked: Iterable[AddPartitionsToTxnRequest.AddPartitionsToTxnTopic],
    codes: Iterable[tuple[str, int, ErrorCode]],
) -> list[_TopicResult]:
    """From (topic, partition, error); a topic without partitions is in the answer, too."""
    topics = {topic.name: _TopicResult(name=topic.name) for topic in asked}
    for topic, index, code in codes:
        result = topics.setdefault(topic, _TopicResult(name=topic))
        result.results_by_partition.append(_PartitionResult(partition_index=index, partition_error_code=code))
    return list(topics.values())
