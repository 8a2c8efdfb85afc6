"""producer_byte_rate, consumer_byte_rate and request_percentage on a whole broker.

Throttle times are those of the answers; a client that does not want to wait for them connects anew. Rates are chosen so
that the answer does not depend on how fast the machine is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from kbroker.client import BrokerClient
from tests.kbroker.test_data_path import Topic, values
from tests.running_broker import RunningBroker, batch, running_broker
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.messages.client_quotas import AlterClientQuotasRequest, AlterClientQuotasResponse
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.produce import ProduceRequest, ProduceResponse

Entry = AlterClientQuotasRequest.EntryData
BIG = b"x" * 30_000


class Subject:
    """A broker with a topic; ``admin`` has no quotas, clients are called "slow"."""

    def __init__(self, broker: RunningBroker, admin: BrokerClient, topic: Topic) -> None:
        self.broker, self.admin, self.topic = broker, admin, topic

    async def limit(self, **values: float | None) -> None:
        request = AlterClientQuotasRequest(
            entries=[
                Entry(
                    entity=[Entry.EntityData(entity_type="client-id", entity_name="slow")],
                    ops=[
                        Entry.OpData(key=key, value=value or 0.0, remove=value is None)
                        for key, value in values.items()
                    ],
                )
            ]
        )
        (entry,) = (await self.admin.request(request, AlterClientQuotasResponse)).entries
        assert entry.error_code == 0, entry

    async def client(self) -> BrokerClient:
        return await self.broker.client("slow")

    async def produce(self, client: BrokerClient, value: bytes, acks: int = -1) -> int:
        data = ProduceRequest.TopicProduceData(
            name=self.topic.name,
            topic_id=self.topic.topic_id,
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=batch(value))
            ],
        )
        request = ProduceRequest(acks=acks, timeout_ms=10_000, topic_data=[data])
        if not acks:
            await client.send(request, version=13)
            return 0
        response = await client.request(request, ProduceResponse)
        assert response.responses[0].partition_responses[0].error_code == 0
        return response.throttle_time_ms

    async def fetch(self, client: BrokerClient, version: int = 17, **fields: object) -> FetchResponse:
        request = self.topic.fetch_request(0, **fields)
        return await client.request(request, FetchResponse, version=version)


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    async with running_broker(tmp_path / "data") as broker, await broker.client("admin") as admin:
        yield Subject(broker, admin, await Topic.create(admin))


@pytest.mark.parametrize("acks", [1, -1])
async def test_a_producer_over_its_rate_is_told_to_wait(subject: Subject, acks: int) -> None:
    await subject.limit(producer_byte_rate=1000.0)
    async with await subject.client() as client:
        # 30,000 bytes over 10 s against 1,000 a second, and the request around them.
        throttle_ms = await subject.produce(client, BIG, acks)
        assert 20_000 <= throttle_ms < 21_000
    assert await subject.produce(subject.admin, BIG) == 0
    assert (await subject.topic.list_offset(-1)).offset == 2


async def test_a_producer_without_answers_is_held_back_all_the_same(subject: Subject) -> None:
    await subject.limit(producer_byte_rate=1000.0, request_percentage=1e-9)
    async with await subject.client() as client:
        await subject.produce(client, BIG, acks=0)
        with trio.move_on_after(1.5) as scope:
            await client.request(ApiVersionsRequest(), ApiVersionsResponse)
        assert scope.cancelled_caught
    assert (await subject.topic.list_offset(-1)).offset == 1


async def test_a_request_without_an_answer_costs_no_thread_time(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path / "data", quota__window__size__seconds="60") as broker,
        await broker.client("admin") as admin,
    ):
        subject = Subject(broker, admin, await Topic.create(admin))
        async with await subject.client() as client:
            await subject.limit(request_percentage=1e-9)
            await subject.produce(client, BIG, acks=0)
            with trio.fail_after(30):
                answer = await client.request(ApiVersionsRequest(), ApiVersionsResponse, version=2)
            assert answer.throttle_time_ms == 60_000


@pytest.mark.parametrize("version", [4, 7, 12, 17])
async def test_a_fetch_over_the_rate_is_answered_without_records(subject: Subject, version: int) -> None:
    await subject.produce(subject.admin, BIG)
    await subject.limit(consumer_byte_rate=1000.0)
    async with await subject.client() as client:
        response = await subject.fetch(client, version)
        # A batch above the window's worth never comes (Kafka's too); the session was not begun.
        assert (response.error_code, response.session_id, response.responses) == (0, 0, [])
        assert 20_000 <= response.throttle_time_ms < 22_000
    await subject.limit(consumer_byte_rate=None)
    async with await subject.client() as client:
        response = await subject.fetch(client, version)
        assert values(response.responses[0].partitions[0]) == [(0, BIG)]
        assert response.throttle_time_ms == 0


async def test_a_session_outlives_a_fetch_that_is_throttled(subject: Subject) -> None:
    async with await subject.client() as client:
        session_id = (await subject.fetch(client)).session_id
        assert session_id
        await subject.produce(subject.admin, BIG)
        await subject.limit(consumer_byte_rate=1000.0)

        def incremental(epoch: int) -> FetchRequest:
            return FetchRequest(
                session_id=session_id, session_epoch=epoch, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20
            )

        response = await client.request(incremental(1), FetchResponse)
        assert (response.error_code, response.session_id, response.responses) == (0, session_id, [])
        assert response.throttle_time_ms >= 20_000
    await subject.limit(consumer_byte_rate=None)
    response = await subject.admin.request(incremental(2), FetchResponse)
    assert values(response.responses[0].partitions[0]) == [(0, BIG)]


async def test_a_fetch_asks_for_no_more_than_the_rate_allows(subject: Subject) -> None:
    for _ in range(4):
        await subject.produce(subject.admin, BIG)
    await subject.limit(consumer_byte_rate=7000.0)
    async with await subject.client() as client:
        # Records for all of the window's worth, and the bytes around them: as much too much as a moment's waiting.
        assert 0 < (await subject.fetch(client)).throttle_time_ms < 100
        response = await subject.fetch(client)
        assert [offset for offset, _ in values(response.responses[0].partitions[0])] == [0, 1]
        assert response.throttle_time_ms == 0
        assert (await subject.fetch(client, session_epoch=-1)).throttle_time_ms > 5000


async def test_the_time_of_the_brokers_thread_is_used_up(subject: Subject) -> None:
    await subject.limit(request_percentage=1e-9)
    async with await subject.client() as client:
        assert (await client.request(ApiVersionsRequest(), ApiVersionsResponse)).throttle_time_ms == 1000
    async with await subject.client() as client:
        response = await subject.fetch(client)
        assert (response.throttle_time_ms, response.responses) == (1000, [])
    assert (await subject.admin.request(ApiVersionsRequest(), ApiVersionsResponse)).throttle_time_ms == 0


async def test_quotas_outlive_the_broker(tmp_path: Path) -> None:
    for life in range(2):
        async with running_broker(tmp_path / "data") as broker, await broker.client("admin") as admin:
            subject = Subject(broker, admin, await Topic.create(admin))
            if life == 0:
                await subject.limit(producer_byte_rate=1000.0)
            async with await subject.client() as client:
                assert await subject.produce(client, BIG) >= 20_000
