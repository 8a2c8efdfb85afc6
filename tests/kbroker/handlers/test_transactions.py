"""AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, DescribeTransactions, ListTransactions and InitProducerId at every
version, through the codec."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kbroker.handlers.producer_ids import ProducerIdHandlers
from kbroker.handlers.transactions import TransactionHandlers
from tests.kbroker.coordination.transaction.test_service import ID, Stage, serving
from tests.kbroker.handlers.requests import send
from wire.errors import ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    DescribeTransactionsRequest,
    EndTxnRequest,
    EndTxnResponse,
    ListTransactionsRequest,
)

OK = ErrorCode.NONE
UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
NOT_ATTEMPTED = ErrorCode.OPERATION_NOT_ATTEMPTED
OFFSETS_PARTITION = 3

_Topic = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
_Transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction


class Subject:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.partitions = {("t", 0), ("t", 1), ("u", 0), ("__consumer_offsets", 0)}
        self.transactions = TransactionHandlers(
            transactions=stage.transactions,
            has_partition=lambda topic, index: (topic, index) in self.partitions,
            offsets_partition_for=lambda group_id: OFFSETS_PARTITION,
        )
        self.producers = ProducerIdHandlers(producers=stage.transactions)

    async def init(self, version: int = 5, **values: object) -> InitProducerIdResponse:
        request = InitProducerIdRequest(transactional_id=ID, transaction_timeout_ms=60_000)
        for name, value in values.items():
            setattr(request, name, value)
        response = await send(self.producers.init_producer_id, request, version)
        assert isinstance(response, InitProducerIdResponse)
        return response

    async def producer(self) -> tuple[int, int]:
        response = await self.init()
        return response.producer_id, response.producer_epoch

    async def add(
        self, version: int, producer: tuple[int, int], topics: dict[str, list[int]], name: str = ID
    ) -> list[tuple[str, int, ErrorCode]]:
        named = [_Topic(name=topic, partitions=indexes) for topic, indexes in topics.items()]
        if version >= 4:
            transaction = _Transaction(
                transactional_id=name, producer_id=producer[0], producer_epoch=producer[1], topics=named
            )
            results = await self.batch(version, transaction)
            assert list(results) == [name]
            return results[name]
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=name,
            v3_and_below_producer_id=producer[0],
            v3_and_below_producer_epoch=producer[1],
            v3_and_below_topics=named,
        )
        response = await send(self.transactions.add_partitions_to_txn, request, version)
        return flat(response.results_by_topic_v3_and_below)

    async def batch(
        self, version: int, *transactions: _Transaction
    ) -> dict[str, list[tuple[str, int, ErrorCode]]]:
        request = AddPartitionsToTxnRequest(transactions=list(transactions))
        response = await send(self.transactions.add_partitions_to_txn, request, version)
        assert response.error_code == OK
        return {
            result.transactional_id: flat(result.topic_results) for result in response.results_by_transaction
        }

    async def end(self, version: int, producer: tuple[int, int], *, committed: bool = True) -> EndTxnResponse:
        request = EndTxnRequest(
            transactional_id=ID, producer_id=producer[0], producer_epoch=producer[1], committed=committed
        )
        response = await send(self.transactions.end_txn, request, version)
        assert isinstance(response, EndTxnResponse)
        return response


def flat(
    topics: list[AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult],
) -> list[tuple[str, int, ErrorCode]]:
    return [
        (topic.name, partition.partition_index, ErrorCode(partition.partition_error_code))
        for topic in topics
        for partition in topic.results_by_partition
    ]


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with serving(Stage()) as stage:
        yield Subject(stage)


@pytest.mark.parametrize("version", range(6))
async def test_partitions_are_added(subject: Subject, version: int) -> None:
    producer = await subject.producer()
    added = await subject.add(version, producer, {"t": [1, 0], "u": [0]})
    assert added == [("t", 1, OK), ("t", 0, OK), ("u", 0, OK)]
    assert subject.stage.state() == "Ongoing"


@pytest.mark.parametrize("version", range(6))
async def test_a_partition_that_does_not_exist_fails_all(subject: Subject, version: int) -> None:
    producer = await subject.producer()
    added = await subject.add(version, producer, {"t": [0, 7], "nope": [0]})
    assert added == [("t", 0, NOT_ATTEMPTED), ("t", 7, UNKNOWN), ("nope", 0, UNKNOWN)]
    assert subject.stage.state() == "Empty"


@pytest.mark.parametrize("version", range(6))
async def test_clients_cannot_add_the_brokers_own_topics(subject: Subject, version: int) -> None:
    producer = await subject.producer()
    added = await subject.add(version, producer, {"__consumer_offsets": [0], "t": [0]})
    if version >= 4:
        assert added == [("__consumer_offsets", 0, OK), ("t", 0, OK)]
    else:
        refused = ErrorCode.TOPIC_AUTHORIZATION_FAILED
        assert added == [("__consumer_offsets", 0, refused), ("t", 0, NOT_ATTEMPTED)]


@pytest.mark.parametrize("version", range(6))
async def test_a_fenced_producer_is_told_so_in_words_it_knows(subject: Subject, version: int) -> None:
    producer = await subject.producer()
    await subject.producer()
    expected = ErrorCode.INVALID_PRODUCER_EPOCH if version < 2 else ErrorCode.PRODUCER_FENCED
    assert await subject.add(version, producer, {"t": [0]}) == [("t", 0, expected)]
    if version < 5:
        request = AddOffsetsToTxnRequest(
            transactional_id=ID, producer_id=producer[0], producer_epoch=producer[1], group_id="g"
        )
        response = await send(subject.transactions.add_offsets_to_txn, request, version)
        assert response.error_code == expected
    assert (await subject.end(version, producer)).error_code == expected


@pytest.mark.parametrize("version", [4, 5])
async def test_brokers_ask_about_several_transactions_at_once(subject: Subject, version: int) -> None:
    mine, other = await subject.producer(), await subject.stage.producer("other")
    await subject.add(3, mine, {"t": [0]})
    asked = [
        _Transaction(
            transactional_id=ID, producer_id=mine[0], producer_epoch=mine[1], verify_only=True,
            topics=[_Topic(name="t", partitions=[0, 1, 0])],
        ),
        _Transaction(
            transactional_id="other", producer_id=other[0], producer_epoch=other[1],
            topics=[_Topic(name="u", partitions=[0])],
        ),
        _Transaction(
            transactional_id="", producer_id=1, producer_epoch=1, topics=[_Topic(name="u", partitions=[0])]
        ),
    ]  # fmt: skip
    assert await subject.batch(version, *asked) == {
        ID: [("t", 0, OK), ("t", 1, ErrorCode.TRANSACTION_ABORTABLE)],
        "other": [("u", 0, OK)],
        "": [("u", 0, ErrorCode.INVALID_REQUEST)],
    }
    assert subject.stage.state("other") == "Ongoing"


async def test_a_partition_that_is_named_twice_is_answered_twice(subject: Subject) -> None:
    producer = await subject.producer()
    added = await subject.add(3, producer, {"t": [0, 0]})
    assert added == [("t", 0, OK), ("t", 0, OK)]


@pytest.mark.parametrize("version", range(5))
async def test_offsets_join_a_transaction_by_the_partition_of_their_group(
    subject: Subject, version: int
) -> None:
    producer = await subject.producer()
    request = AddOffsetsToTxnRequest(
        transactional_id=ID, producer_id=producer[0], producer_epoch=producer[1], group_id="g"
    )
    response = await send(subject.transactions.add_offsets_to_txn, request, version)
    assert response.error_code == OK
    described = await send(
        subject.transactions.describe_transactions, DescribeTransactionsRequest(transactional_ids=[ID]), 0
    )
    topics = described.transaction_states[0].topics
    assert [(topic.topic, topic.partitions) for topic in topics] == [
        ("__consumer_offsets", [OFFSETS_PARTITION])
    ]


@pytest.mark.parametrize("version", range(6))
async def test_a_transaction_ends(subject: Subject, version: int) -> None:
    producer_id, epoch = await subject.producer()
    await subject.add(3, (producer_id, epoch), {"t": [0]})
    response = await subject.end(version, (producer_id, epoch))
    assert response.error_code == OK
    expected = (producer_id, epoch + 1) if version >= 5 else (-1, -1)
    assert (response.producer_id, response.producer_epoch) == expected


@pytest.mark.parametrize("version", range(7))
async def test_init_producer_id_at_every_version(subject: Subject, version: int) -> None:
    first = await subject.init(version)
    assert (first.error_code, first.producer_id, first.producer_epoch) == (OK, 101, 0)
    if version >= 3:
        again = await subject.init(version, producer_id=101, producer_epoch=0)
        assert (again.error_code, again.producer_id, again.producer_epoch) == (OK, 101, 1)
    plain = await subject.init(version, transactional_id=None)
    assert (plain.error_code, plain.producer_id, plain.producer_epoch) == (OK, 102, 0)


async def test_two_phase_commit_is_off(subject: Subject) -> None:
    response = await subject.init(6, enable2_pc=True)
    assert response.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    response = await subject.init(6, keep_prepared_txn=True)
    assert response.error_code == ErrorCode.UNSUPPORTED_VERSION


@pytest.mark.parametrize("version", range(3))
async def test_transactions_are_listed(subject: Subject, version: int) -> None:
    await subject.producer()
    await subject.stage.producer("other")
    request = ListTransactionsRequest(state_filters=["Empty"], duration_filter=-1)
    if version >= 2:
        request.transactional_id_pattern = "o.*"
    response = await send(subject.transactions.list_transactions, request, version)
    assert response.error_code == OK
    listed = sorted(each.transactional_id for each in response.transaction_states)
    assert listed == (["other"] if version >= 2 else [ID, "other"])
