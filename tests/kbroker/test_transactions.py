"""Transactions through a whole broker: the coordinator's topic, and what is left of transactions after a restart."""

from __future__ import annotations

from pathlib import Path

import trio

from kbroker.client import BrokerClient
from tests.running_broker import batch, create_topic, running_broker
from wire.errors import ErrorCode
from wire.messages.configs import DescribeConfigsRequest, DescribeConfigsResponse
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    EndTxnRequest,
    EndTxnResponse,
)

ID = "the-id"
TRANSACTION = 1
READ_COMMITTED = 1
_TOPIC_RESOURCE = 2
FEW = {"transaction__state__log__num__partitions": "2"}


class TransactionalProducer:
    """Sends one request after the other, as transactions v2 have it."""

    def __init__(self, client: BrokerClient) -> None:
        self.client = client
        self.producer_id = self.epoch = -1

    async def find_coordinator(self) -> FindCoordinatorResponse:
        request = FindCoordinatorRequest(key=ID, key_type=TRANSACTION)
        return await self.client.request(request, FindCoordinatorResponse, version=2)

    async def init(self) -> ErrorCode:
        request = InitProducerIdRequest(transactional_id=ID, transaction_timeout_ms=60_000)
        while True:
            response = await self.client.request(request, InitProducerIdResponse, version=5)
            if response.error_code != ErrorCode.CONCURRENT_TRANSACTIONS:
                break
            await trio.sleep(0.001)
        self.producer_id, self.epoch = response.producer_id, response.producer_epoch
        return ErrorCode(response.error_code)

    async def add(self, topic: str) -> ErrorCode:
        named = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=[0])
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=ID,
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[named],
        )
        while True:
            response = await self.client.request(request, AddPartitionsToTxnResponse, version=3)
            result = response.results_by_topic_v3_and_below[0].results_by_partition[0]
            if result.partition_error_code != ErrorCode.CONCURRENT_TRANSACTIONS:
                return ErrorCode(result.partition_error_code)
            await trio.sleep(0.001)

    async def produce(self, topic: str, value: bytes, sequence: int = 0) -> ErrorCode:
        records = batch(
            value,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            base_sequence=sequence,
            is_transactional=True,
        )
        data = ProduceRequest.TopicProduceData(
            name=topic,
            partition_data=[ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=records)],
        )
        request = ProduceRequest(transactional_id=ID, acks=-1, timeout_ms=5000, topic_data=[data])
        response = await self.client.request(request, ProduceResponse, version=12)
        return ErrorCode(response.responses[0].partition_responses[0].error_code)

    async def end(self, *, committed: bool) -> ErrorCode:
        request = EndTxnRequest(
            transactional_id=ID,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            committed=committed,
        )
        response = await self.client.request(request, EndTxnResponse, version=5)
        if response.error_code == ErrorCode.NONE:
            self.producer_id, self.epoch = response.producer_id, response.producer_epoch
        return ErrorCode(response.error_code)

    async def state(self) -> str:
        """Once the markers are written."""
        request = DescribeTransactionsRequest(transactional_ids=[ID])
        while True:
            response = await self.client.request(request, DescribeTransactionsResponse)
            state = response.transaction_states[0].transaction_state
            if not state.startswith("Prepare"):
                return state
            await trio.sleep(0.001)


async def readable(client: BrokerClient, topic: str) -> int:
    """The last stable offset, as read_committed sees it."""
    partition = FetchRequest.FetchTopic.FetchPartition(
        partition=0, fetch_offset=0, partition_max_bytes=1 << 20
    )
    request = FetchRequest(
        isolation_level=READ_COMMITTED,
        max_wait_ms=0,
        min_bytes=0,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=[partition])],
    )
    response = await client.request(request, FetchResponse, version=11)
    return response.responses[0].partitions[0].last_stable_offset


async def test_asking_for_a_transactional_ids_coordinator_makes_kafkas_topic(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        found = await TransactionalProducer(client).find_coordinator()
        assert (found.error_code, found.node_id) == (ErrorCode.NONE, 1)
        metadata = await client.request(
            MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="__transaction_state")]),
            MetadataResponse,
        )
        topic = metadata.topics[0]
        assert topic.is_internal
        assert len(topic.partitions) == 50
        asked = DescribeConfigsRequest.DescribeConfigsResource(
            resource_type=_TOPIC_RESOURCE, resource_name="__transaction_state"
        )
        described = await client.request(DescribeConfigsRequest(resources=[asked]), DescribeConfigsResponse)
        configs = {each.name: each.value for each in described.results[0].configs}
        assert configs["cleanup.policy"] == "compact"
        assert configs["compression.type"] == "uncompressed"
        assert configs["segment.bytes"] == "104857600"


async def test_transactions_are_what_they_were_after_a_restart(tmp_path: Path) -> None:
    async with running_broker(tmp_path, **FEW) as broker, await broker.client() as client:
        await create_topic(client, "t")
        producer = TransactionalProducer(client)
        await producer.find_coordinator()
        assert await producer.init() is ErrorCode.NONE
        assert await producer.produce("t", b"committed") is ErrorCode.NONE
        assert await producer.end(committed=True) is ErrorCode.NONE
        assert await producer.state() == "CompleteCommit"
        assert await producer.add("t") is ErrorCode.NONE
        assert await producer.produce("t", b"open") is ErrorCode.NONE
        assert await readable(client, "t") == 2
        before = producer.producer_id, producer.epoch
    async with running_broker(tmp_path, **FEW) as broker, await broker.client() as client:
        producer = TransactionalProducer(client)
        assert await producer.state() == "Ongoing"
        producer.producer_id, producer.epoch = before
        assert await producer.end(committed=True) is ErrorCode.NONE
        assert await producer.state() == "CompleteCommit"
        assert await readable(client, "t") == 4
        # The next producer of this transactional id fences the one that was stopped.
        successor = TransactionalProducer(client)
        assert await successor.init() is ErrorCode.NONE
        assert successor.producer_id == before[0]
        assert await producer.produce("t", b"late") is ErrorCode.INVALID_PRODUCER_EPOCH
        assert await producer.end(committed=False) is ErrorCode.PRODUCER_FENCED


async def test_a_new_epoch_aborts_the_old_ones_open_transaction_at_once(tmp_path: Path) -> None:
    async with running_broker(tmp_path, **FEW) as broker, await broker.client() as client:
        await create_topic(client, "t")
        old, new = TransactionalProducer(client), TransactionalProducer(client)
        await old.find_coordinator()
        assert await old.init() is ErrorCode.NONE
        assert await old.produce("t", b"aborted") is ErrorCode.NONE
        assert await readable(client, "t") == 0
        assert await new.init() is ErrorCode.NONE
        assert new.epoch == old.epoch + 2
        assert await readable(client, "t") == 2
        assert await old.produce("t", b"late", sequence=1) is ErrorCode.INVALID_PRODUCER_EPOCH
