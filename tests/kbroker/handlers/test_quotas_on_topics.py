"""controller_mutation_rate (KIP-599): what requests may do to topics and their partitions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from kbroker.handlers.metadata import MetadataHandlers
from kbroker.handlers.topics import TopicHandlers
from kbroker.metadata import keys
from kbroker.metadata.store import Put
from tests.kbroker.handlers.requests import send
from tests.kbroker.metadata.cluster import (
    Cluster,
    InterferingStore,
    make_controller,
    new_topic,
    running_cluster,
)
from tests.kbroker.quotas.quota_clock import QuotaClock, quotas_of_the_client
from wire.errors import ErrorCode
from wire.messages.metadata import MetadataRequest
from wire.messages.topics import CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest

OK, REFUSED = ErrorCode.NONE, ErrorCode.THROTTLING_QUOTA_EXCEEDED
TIME = {"timeout_ms": 5000}


class Subject:
    """One partition a second, eleven at once."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clock = QuotaClock()
        self.manager = quotas_of_the_client(self.clock, controller_mutation_rate=1.0)
        self.handlers = TopicHandlers(
            controller=cluster.controller, current_image=lambda: cluster.image, settings=cluster.settings
        )

    async def send(self, handler: Any, request: Any, version: int) -> Any:
        return await send(handler, request, version, quotas=self.manager.begin("User:u", "c", 0))

    async def create(self, *counts: int, version: int = 7, **fields: object) -> tuple[list[int], int]:
        before = len(self.cluster.image.topics)
        topics = [new_topic(f"t{before + index}", count, 1) for index, count in enumerate(counts)]
        request = CreateTopicsRequest(topics=topics, **{**TIME, **fields})
        response = await self.send(self.handlers.create_topics, request, version)
        return [topic.error_code for topic in response.topics], response.throttle_time_ms

    def tokens(self) -> float:
        measured = self.manager.mutations.measured("u", "c")
        assert measured is not None
        return measured.usage.tokens(1.0, self.manager.now_ms())  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with running_cluster() as cluster:
        yield Subject(cluster)


async def test_creation_is_refused_once_the_quota_is_used_up(subject: Subject) -> None:
    assert await subject.create(20, 1) == ([OK, REFUSED], 9000)
    assert list(subject.cluster.image.topics) == ["t0"]
    assert await subject.create(1) == ([REFUSED], 9000)
    subject.clock.now += 9
    assert await subject.create(1) == ([OK], 0)


@pytest.mark.parametrize("version", range(2, 6))
async def test_clients_that_do_not_know_the_error_are_throttled(subject: Subject, version: int) -> None:
    assert await subject.create(20, 1, version=version) == ([OK, OK], 10_000)
    assert len(subject.cluster.image.topics) == 2


async def test_what_is_refused_for_another_reason_costs_nothing(subject: Subject) -> None:
    await subject.create(0, 5)
    assert subject.tokens() == 6


async def test_validation_costs_as_much_as_creation(subject: Subject) -> None:
    assert await subject.create(20, 1, validate_only=True) == ([OK, REFUSED], 9000)


async def test_a_decision_made_again_is_charged_once(subject: Subject) -> None:
    store = InterferingStore(subject.cluster.store)
    cluster = subject.cluster
    store.before = [Put(keys.topic_key("t0"), keys.encode_topic("t0", UUID(int=9), []))]
    controller = make_controller(1, store, cluster.metadata, cluster.settings)  # type: ignore[arg-type]
    subject.handlers = TopicHandlers(
        controller=controller, current_image=lambda: cluster.image, settings=cluster.settings
    )
    codes, _ = await subject.create(2, 3)
    assert codes == [ErrorCode.TOPIC_ALREADY_EXISTS, OK]
    assert subject.tokens() == 6


async def test_what_has_grown_meanwhile_is_charged_for_all_of_it(subject: Subject) -> None:
    cluster = subject.cluster
    topic_id = await cluster.create("t", 1)
    store = InterferingStore(cluster.store)
    births = [keys.newborn_partition((1,), (1,))] * 5
    store.before = [Put(keys.topic_key("t"), keys.encode_topic("t", topic_id, births))]
    controller = make_controller(1, store, cluster.metadata, cluster.settings)  # type: ignore[arg-type]
    subject.handlers = TopicHandlers(
        controller=controller, current_image=lambda: cluster.image, settings=cluster.settings
    )
    request = DeleteTopicsRequest(topic_names=["t"], **TIME)
    response = await subject.send(subject.handlers.delete_topics, request, 5)
    assert [topic.error_code for topic in response.responses] == [OK]
    assert subject.tokens() == 6


@pytest.mark.parametrize(
    ("version", "codes", "topics"), [(4, [OK, OK], 0), (5, [OK, REFUSED], 1), (6, [OK, REFUSED], 1)]
)
async def test_deletion(subject: Subject, version: int, codes: list[int], topics: int) -> None:
    for count in (15, 1):
        await subject.cluster.create(f"t{count}", count)
    names = ["t15", "t1"]
    request = DeleteTopicsRequest(
        topic_names=names if version < 6 else [],
        topics=[DeleteTopicsRequest.DeleteTopicState(name=name) for name in names] if version >= 6 else [],
        **TIME,
    )
    response = await subject.send(subject.handlers.delete_topics, request, version)
    assert [topic.error_code for topic in response.responses] == codes
    assert len(subject.cluster.image.topics) == topics
    assert response.throttle_time_ms == (5000 if version < 5 else 4000)


@pytest.mark.parametrize(("version", "codes"), [(2, [OK, OK]), (3, [OK, REFUSED])])
async def test_growth_counts_new_partitions_only(subject: Subject, version: int, codes: list[int]) -> None:
    for name in ("a", "b"):
        await subject.cluster.create(name, 5)
    topic = CreatePartitionsRequest.CreatePartitionsTopic
    request = CreatePartitionsRequest(
        topics=[topic(name="a", count=18, assignments=None), topic(name="b", count=6, assignments=None)],
        **TIME,
    )
    response = await subject.send(subject.handlers.create_partitions, request, version)
    assert [result.error_code for result in response.results] == codes
    assert response.throttle_time_ms == (3000 if version < 3 else 2000)


async def test_a_topic_that_metadata_may_not_make_yet_is_not_there(subject: Subject) -> None:
    cluster = subject.cluster
    handlers = MetadataHandlers(
        node_id=1,
        current_image=lambda: cluster.image,
        topic_creator=cluster.controller,
        settings=cluster.settings,
    )
    assert await subject.create(20) == ([OK], 0)
    topic = MetadataRequest.MetadataRequestTopic(name="wanted")
    response = await subject.send(
        handlers.metadata, MetadataRequest(topics=[topic], allow_auto_topic_creation=True), 12
    )
    assert [found.error_code for found in response.topics] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    assert response.throttle_time_ms == 0
    subject.clock.now += 9
    response = await subject.send(
        handlers.metadata, MetadataRequest(topics=[topic], allow_auto_topic_creation=True), 12
    )
    assert [found.error_code for found in response.topics] == [OK]
