"""CreateTopics, DeleteTopics and CreatePartitions, with the real controller behind them.

Error codes are those that Apache Kafka 4.4 gave to the same request.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from kbroker.handlers.topics import TopicHandlers
from tests.kbroker.handlers.requests import send
from tests.kbroker.metadata.cluster import Cluster, CreatableTopic, Settings, new_topic, running_cluster
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from wire.schema import ZERO_UUID

DeleteTopicState = DeleteTopicsRequest.DeleteTopicState
Growth = CreatePartitionsRequest.CreatePartitionsTopic


@dataclass
class Subject:
    cluster: Cluster
    handlers: TopicHandlers

    async def create(
        self, *topics: CreatableTopic, version: int = 7, **fields: object
    ) -> dict[str, ErrorCode]:
        request = CreateTopicsRequest(topics=list(topics), **fields)
        response = await send(self.handlers.create_topics, request, version)
        return {topic.name: ErrorCode(topic.error_code) for topic in response.topics}

    async def delete(
        self, *topics: tuple[str | None, uuid.UUID], **fields: object
    ) -> list[tuple[str | None, uuid.UUID, ErrorCode]]:
        request = DeleteTopicsRequest(
            topics=[DeleteTopicState(name=name, topic_id=topic_id) for name, topic_id in topics],
            **{"timeout_ms": 5000, **fields},
        )
        response: DeleteTopicsResponse = await send(self.handlers.delete_topics, request, 6)
        return [(t.name, t.topic_id, ErrorCode(t.error_code)) for t in response.responses]

    async def grow(self, *topics: tuple[str, int], **fields: object) -> list[tuple[str, ErrorCode]]:
        request = CreatePartitionsRequest(
            topics=[Growth(name=name, count=count, assignments=None) for name, count in topics],
            **{"timeout_ms": 5000, **fields},
        )
        response = await send(self.handlers.create_partitions, request, 3)
        return [(result.name, ErrorCode(result.error_code)) for result in response.results]


@asynccontextmanager
async def running_handlers(settings: Settings | None = None) -> AsyncIterator[Subject]:
    async with running_cluster(settings=settings) as cluster:
        yield Subject(
            cluster,
            TopicHandlers(
                controller=cluster.controller,
                current_image=lambda: cluster.image,
                settings=cluster.settings,
            ),
        )


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with running_handlers() as handlers:
        yield handlers


# CreateTopics


@pytest.mark.parametrize("version", range(2, 8))
async def test_created_topic_at_each_version(subject: Subject, version: int) -> None:
    request = CreateTopicsRequest(topics=[new_topic("a", 3, 1, configs=[("retention.ms", "5")])])
    response = await send(subject.handlers.create_topics, request, version)
    (topic,) = response.topics
    image = subject.cluster.image.topics["a"]
    assert (topic.name, topic.error_code, topic.error_message) == ("a", 0, None)
    assert len(image.partitions) == 3
    assert (topic.num_partitions, topic.replication_factor) == ((3, 1) if version >= 5 else (-1, -1))
    assert len(topic.configs) == (3 if version >= 5 else 0)
    assert topic.topic_id == (image.topic_id if version >= 7 else ZERO_UUID)


@pytest.mark.parametrize("version", range(2, 8))
async def test_refused_topic_at_each_version(subject: Subject, version: int) -> None:
    request = CreateTopicsRequest(topics=[new_topic("a", 0, 1)])
    response = await send(subject.handlers.create_topics, request, version)
    (topic,) = response.topics
    assert topic.error_code == ErrorCode.INVALID_PARTITIONS
    assert topic.error_message
    assert (topic.num_partitions, topic.replication_factor, topic.configs) == (-1, -1, [])


async def test_topic_named_twice_is_not_created(subject: Subject) -> None:
    topics = [new_topic("twice", 1, 1), new_topic("once", 1, 1), new_topic("twice", 2, 1)]
    assert await subject.create(*topics) == {
        "once": ErrorCode.NONE,
        "twice": ErrorCode.INVALID_REQUEST,
    }
    assert list(subject.cluster.image.topics) == ["once"]


async def test_metadata_log_of_kafka_cannot_be_created(subject: Subject) -> None:
    assert await subject.create(new_topic("__cluster_metadata", 1, 1)) == {
        "__cluster_metadata": ErrorCode.INVALID_REQUEST
    }
    assert await subject.create(new_topic("__consumer_offsets", 1, 1)) == {
        "__consumer_offsets": ErrorCode.NONE
    }


async def test_validation_creates_nothing(subject: Subject) -> None:
    outcome = await subject.create(new_topic("a", 1, 1), new_topic("b", 0, 1), validate_only=True)
    assert outcome == {"a": ErrorCode.NONE, "b": ErrorCode.INVALID_PARTITIONS}
    assert subject.cluster.image.topics == {}


async def test_request_for_nothing(subject: Subject) -> None:
    assert await subject.create() == {}
    assert await subject.delete() == []
    assert await subject.grow() == []


@pytest.mark.parametrize("timeout_ms", [0, -1])
async def test_request_without_time_is_not_begun(subject: Subject, timeout_ms: int) -> None:
    timed_out = ErrorCode.REQUEST_TIMED_OUT
    topic_id = await subject.cluster.create("there")
    assert await subject.create(new_topic("a", 1, 1), timeout_ms=timeout_ms) == {"a": timed_out}
    assert await subject.grow(("there", 2), timeout_ms=timeout_ms) == [("there", timed_out)]
    assert await subject.delete(("there", ZERO_UUID), timeout_ms=timeout_ms) == [
        ("there", ZERO_UUID, timed_out)
    ]
    assert subject.cluster.image.topics["there"].topic_id == topic_id
    assert len(subject.cluster.image.topics["there"].partitions) == 1


class StuckController:
    """Never comes to a decision, or fails altogether."""

    def __init__(self, error: ApiError | None = None) -> None:
        self._error = error

    async def _stick(self) -> None:
        if self._error is not None:
            raise self._error
        await trio.sleep_forever()

    async def create_topics(self, topics: Sequence[object], **how: object) -> list:
        await self._stick()
        return []

    async def catch_up(self) -> None:
        await self._stick()

    async def delete_topics(self, topic_ids: Sequence[uuid.UUID], **how: object) -> dict:
        await self._stick()
        return {}

    async def create_partitions(self, topics: Sequence[object], **how: object) -> dict:
        await self._stick()
        return {}


@pytest.mark.parametrize("error", [None, ApiError(ErrorCode.REQUEST_TIMED_OUT, "no store")])
async def test_request_that_takes_too_long_is_answered_all_the_same(
    subject: Subject, error: ApiError | None, autojump_clock: MockClock
) -> None:
    await subject.cluster.create("there")
    image = subject.cluster.image
    subject.handlers = TopicHandlers(
        controller=StuckController(error), current_image=lambda: image, settings=Settings()
    )
    timed_out = ErrorCode.REQUEST_TIMED_OUT
    begun = trio.current_time()
    outcome = await subject.create(new_topic("a"), new_topic("b"), new_topic("b"), timeout_ms=2000)
    assert outcome == {"a": timed_out, "b": timed_out}
    assert await subject.grow(("there", 2), timeout_ms=2000) == [("there", timed_out)]
    assert await subject.delete(("there", ZERO_UUID), timeout_ms=2000) == [("there", ZERO_UUID, timed_out)]
    assert trio.current_time() - begun == pytest.approx(0 if error else 6)


# DeleteTopics


@pytest.mark.parametrize("version", range(1, 6))
async def test_topics_are_deleted_by_name_at_each_version(subject: Subject, version: int) -> None:
    await subject.cluster.create("a")
    request = DeleteTopicsRequest(topic_names=["a", "nope", "a b"], timeout_ms=5000)
    response = await send(subject.handlers.delete_topics, request, version)
    outcome = {result.name: (result.error_code, bool(result.error_message)) for result in response.responses}
    unknown = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, version >= 5)
    assert outcome == {"a": (0, False), "nope": unknown, "a b": unknown}
    assert subject.cluster.image.topics == {}


async def test_topic_is_deleted_by_id_or_by_name(subject: Subject) -> None:
    first, second = await subject.cluster.create("a"), await subject.cluster.create("b")
    outcome = await subject.delete((None, first), ("b", ZERO_UUID))
    assert outcome == [("a", first, ErrorCode.NONE), ("b", second, ErrorCode.NONE)]
    assert subject.cluster.image.topics == {}


async def test_ambiguous_deletions_are_refused(subject: Subject) -> None:
    a, b, c = [await subject.cluster.create(name) for name in "abc"]
    unknown = uuid.UUID(int=5)
    outcome = await subject.delete(
        ("a", a),
        (None, ZERO_UUID),
        (None, unknown),
        ("nope", ZERO_UUID),
        (None, b),
        ("b", ZERO_UUID),
        ("c", ZERO_UUID),
        ("", ZERO_UUID),
    )
    assert sorted(outcome, key=str) == sorted(
        [
            ("a", a, ErrorCode.INVALID_REQUEST),
            (None, ZERO_UUID, ErrorCode.INVALID_REQUEST),
            (None, unknown, ErrorCode.UNKNOWN_TOPIC_ID),
            ("nope", ZERO_UUID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            ("b", b, ErrorCode.INVALID_REQUEST),
            ("c", c, ErrorCode.NONE),
            ("", ZERO_UUID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ],
        key=str,
    )
    assert sorted(subject.cluster.image.topics) == ["a", "b"]


async def test_topic_given_more_than_once_is_not_deleted(subject: Subject) -> None:
    a, b = await subject.cluster.create("a"), await subject.cluster.create("b")
    outcome = await subject.delete(
        ("a", ZERO_UUID), ("a", ZERO_UUID), ("a", ZERO_UUID), (None, b), (None, b), ("b", ZERO_UUID)
    )
    assert outcome == [
        ("a", ZERO_UUID, ErrorCode.INVALID_REQUEST),
        (None, b, ErrorCode.INVALID_REQUEST),
        ("b", b, ErrorCode.INVALID_REQUEST),
    ]
    assert {topic.topic_id for topic in subject.cluster.image.topics.values()} == {a, b}


@pytest.mark.parametrize(
    ("version", "code"),
    [(1, ErrorCode.INVALID_REQUEST), (2, ErrorCode.INVALID_REQUEST), (3, ErrorCode.TOPIC_DELETION_DISABLED)],
)
async def test_deletion_can_be_disabled(version: int, code: ErrorCode) -> None:
    async with running_handlers(Settings(delete_topic_enable=False)) as subject:
        topic_id = await subject.cluster.create("a")
        request = DeleteTopicsRequest(topic_names=["a", "nope"], timeout_ms=5000)
        response = await send(subject.handlers.delete_topics, request, version)
        assert [(r.name, r.error_code) for r in response.responses] == [("a", code), ("nope", code)]
        assert await subject.delete((None, topic_id)) == [(None, topic_id, ErrorCode.TOPIC_DELETION_DISABLED)]
        assert "a" in subject.cluster.image.topics


# CreatePartitions


@pytest.mark.parametrize("version", range(4))
async def test_topic_grows_at_each_version(subject: Subject, version: int) -> None:
    await subject.cluster.create("a")
    request = CreatePartitionsRequest(
        topics=[
            Growth(name="a", count=2, assignments=[Growth.CreatePartitionsAssignment(broker_ids=[1])]),
            Growth(name="nope", count=2, assignments=None),
        ],
        timeout_ms=5000,
    )
    response = await send(subject.handlers.create_partitions, request, version)
    assert [(r.name, r.error_code, r.error_message) for r in response.results] == [
        ("a", 0, None),
        ("nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None),
    ]
    assert len(subject.cluster.image.topics["a"].partitions) == 2


async def test_growth_named_twice_is_refused(subject: Subject) -> None:
    await subject.cluster.create("a")
    await subject.cluster.create("b")
    assert await subject.grow(("a", 3), ("b", 2), ("a", 4)) == [
        ("a", ErrorCode.INVALID_REQUEST),
        ("b", ErrorCode.NONE),
    ]
    assert len(subject.cluster.image.topics["a"].partitions) == 1


async def test_growth_that_is_only_validated(subject: Subject) -> None:
    await subject.cluster.create("a")
    assert await subject.grow(("a", 3), validate_only=True) == [("a", ErrorCode.NONE)]
    assert len(subject.cluster.image.topics["a"].partitions) == 1
