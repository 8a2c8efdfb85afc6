"""Metadata, DescribeCluster and DescribeTopicPartitions, with real images behind them.

Error codes, orders and special cases are those of Apache Kafka 4.4's answers to the same requests, except
where a test says otherwise.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from kbroker.handlers.metadata import MetadataHandlers
from kbroker.metadata.image import BrokerRegistration, ClusterImage, Endpoint, PartitionState, TopicImage
from tests.kbroker.handlers.requests import send
from tests.kbroker.metadata.cluster import Cluster, Settings, broker, running_cluster
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import (
    DescribeClusterRequest,
    DescribeTopicPartitionsRequest,
    MetadataRequest,
    MetadataResponse,
)
from wire.schema import ZERO_UUID

NOT_TOLD = -(2**31)
TOPIC_OPERATIONS = 3576
CLUSTER_OPERATIONS = 8096

RequestTopic = MetadataRequest.MetadataRequestTopic
Cursor = DescribeTopicPartitionsRequest.Cursor


def asking_for(*names: str | None, topic_ids: Iterable[uuid.UUID] = (), **fields: Any) -> MetadataRequest:
    topics = [RequestTopic(name=name) for name in names]
    topics += [RequestTopic(name=None, topic_id=topic_id) for topic_id in topic_ids]
    return MetadataRequest(topics=topics, **fields)


def outcome(response: MetadataResponse) -> list[tuple[str | None, str]]:
    return [(topic.name, ErrorCode(topic.error_code).name) for topic in response.topics]


@dataclass
class Subject:
    cluster: Cluster
    handlers: MetadataHandlers

    async def metadata(self, request: MetadataRequest, version: int = 13, **context: str) -> Any:
        return await send(self.handlers.metadata, request, version, **context)


@asynccontextmanager
async def running_handlers(
    *brokers: BrokerRegistration, settings: Settings | None = None
) -> AsyncIterator[Subject]:
    async with running_cluster(*brokers, settings=settings) as cluster:
        yield Subject(
            cluster,
            MetadataHandlers(
                node_id=1,
                current_image=lambda: cluster.image,
                topic_creator=cluster.controller,
                settings=cluster.settings,
            ),
        )


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with running_handlers() as handlers:
        yield handlers


class NoCreator:
    async def auto_create_topics(
        self, names: Iterable[str], charge: object = None
    ) -> dict[str, ApiError | None]:
        raise AssertionError("nothing may be created here")


def handlers_on(
    image: ClusterImage, settings: Settings | None = None, *, node_id: int = 1
) -> MetadataHandlers:
    return MetadataHandlers(
        node_id=node_id,
        current_image=lambda: image,
        topic_creator=NoCreator(),
        settings=settings or Settings(),
    )


def image_with(
    brokers: Iterable[BrokerRegistration], *states: PartitionState, name: str = "a"
) -> ClusterImage:
    topic = TopicImage(name, uuid.UUID(int=1), states, 1)
    return ClusterImage(
        cluster_id="cluster",
        brokers={registration.node_id: registration for registration in brokers},
        topics={name: topic},
        topics_by_id={topic.topic_id: topic},
        topics_by_collision_key={name: topic},
    )


# Metadata


@pytest.mark.parametrize("version", range(14))
async def test_metadata_at_each_version(version: int) -> None:
    async with running_handlers(broker(1, rack="r1"), broker(2)) as subject:
        await subject.cluster.create("a", 2, 2)
        request = asking_for("a", "nope", allow_auto_topic_creation=version < 4)
        subject.cluster.settings.auto_create_topics_enable = False
        response = await subject.metadata(request, version)
        racks = ["r1" if version >= 1 else None, None]
        assert [(b.node_id, b.host, b.port, b.rack) for b in response.brokers] == [
            (1, "host1", 9092, racks[0]),
            (2, "host2", 9092, racks[1]),
        ]
        assert response.controller_id == (1 if version >= 1 else -1)
        assert outcome(response) == [("a", "NONE"), ("nope", "UNKNOWN_TOPIC_OR_PARTITION")]
        topic = response.topics[0]
        assert topic.topic_id == (subject.cluster.image.topics["a"].topic_id if version >= 10 else ZERO_UUID)
        assert topic.topic_authorized_operations == NOT_TOLD
        assert response.topics[1].topic_id == ZERO_UUID
        assert [p.partition_index for p in topic.partitions] == [0, 1]
        for partition, state in zip(
            topic.partitions, subject.cluster.image.topics["a"].partitions, strict=True
        ):
            assert (partition.error_code, partition.leader_id) == (0, state.leader)
            assert partition.leader_epoch == (0 if version >= 7 else -1)
            assert (tuple(partition.replica_nodes), tuple(partition.isr_nodes)) == (
                state.replicas,
                state.in_sync_replicas,
            )
            assert partition.offline_replicas == []
        assert response.error_code == 0


@pytest.mark.parametrize("version", range(14))
async def test_all_topics_or_none(subject: Subject, version: int) -> None:
    await subject.cluster.create("a")
    await subject.cluster.create("__consumer_offsets")
    everything = ["__consumer_offsets", "a"]
    if version >= 1:
        response = await subject.metadata(MetadataRequest(topics=None), version)
        assert sorted(topic.name for topic in response.topics) == everything
        assert {topic.name: topic.is_internal for topic in response.topics} == {
            "a": False,
            "__consumer_offsets": True,
        }
    response = await subject.metadata(asking_for(), version)
    assert sorted(topic.name for topic in response.topics) == (everything if version == 0 else [])


async def test_cluster_id_is_told_from_version_two_on() -> None:
    handlers = handlers_on(image_with([broker(1)]))
    for version in range(14):
        response = await send(handlers.metadata, asking_for(), version)
        assert response.cluster_id == ("cluster" if version >= 2 else None)


async def test_topics_named_twice_are_told_once_in_the_order_asked(subject: Subject) -> None:
    for name in ("a", "b"):
        await subject.cluster.create(name)
    assert outcome(await subject.metadata(asking_for("b", "a", "b"))) == [("b", "NONE"), ("a", "NONE")]


async def test_impossible_and_internal_names(subject: Subject) -> None:
    request = asking_for("a b", "", "..", "__transaction_state", allow_auto_topic_creation=False)
    response = await subject.metadata(request)
    assert outcome(response) == [
        ("a b", "INVALID_TOPIC_EXCEPTION"),
        ("", "INVALID_TOPIC_EXCEPTION"),
        ("..", "INVALID_TOPIC_EXCEPTION"),
        ("__transaction_state", "UNKNOWN_TOPIC_OR_PARTITION"),
    ]
    assert [topic.is_internal for topic in response.topics] == [False, False, False, True]


# Topic ids


@pytest.mark.parametrize("version", [12, 13])
async def test_topics_by_id(subject: Subject, version: int) -> None:
    topic_id, unknown = await subject.cluster.create("a"), uuid.UUID(int=9)
    response = await subject.metadata(asking_for(topic_ids=[topic_id, unknown, topic_id]), version)
    assert [(t.name, t.topic_id, ErrorCode(t.error_code)) for t in response.topics] == [
        (None, unknown, ErrorCode.UNKNOWN_TOPIC_ID),
        ("a", topic_id, ErrorCode.NONE),
    ]


async def test_names_do_not_count_where_an_id_is_given(subject: Subject) -> None:
    a = await subject.cluster.create("a")
    await subject.cluster.create("b")
    request = MetadataRequest(topics=[RequestTopic(name="new", topic_id=a), RequestTopic(name="b")])
    assert outcome(await subject.metadata(request)) == [("a", "NONE")]
    assert sorted(subject.cluster.image.topics) == ["a", "b"]


@pytest.mark.parametrize(
    ("version", "topic"),
    [
        (10, RequestTopic(name=None, topic_id=uuid.UUID(int=1))),
        (11, RequestTopic(name=None)),
        (11, RequestTopic(name="a", topic_id=uuid.UUID(int=1))),
        # Apache Kafka fails at this with UNKNOWN_SERVER_ERROR.
        (12, RequestTopic(name=None)),
        (13, RequestTopic(name=None)),
    ],
)
async def test_request_that_makes_no_sense_is_invalid(
    subject: Subject, version: int, topic: RequestTopic
) -> None:
    response = await subject.metadata(MetadataRequest(topics=[topic, RequestTopic(name="b")]), version)
    assert outcome(response) == [
        (topic.name or "", "INVALID_REQUEST"),
        ("b", "INVALID_REQUEST"),
    ]
    assert (response.brokers, response.cluster_id, response.controller_id) == ([], None, -1)
    assert response.error_code == (ErrorCode.INVALID_REQUEST if version >= 13 else 0)
    assert subject.cluster.image.topics == {}


# Automatic creation


@pytest.mark.parametrize("version", [0, 3, 4, 13])
async def test_missing_topic_is_created_and_told_at_once(subject: Subject, version: int) -> None:
    await subject.cluster.create("there")
    response = await subject.metadata(asking_for("there", "new"), version)
    assert outcome(response) == [("there", "NONE"), ("new", "NONE")]
    (partition,) = response.topics[1].partitions
    assert (partition.leader_id, partition.isr_nodes) == (1, [1])
    assert "new" in subject.cluster.image.topics


async def test_nothing_is_created_unless_both_sides_want_it(subject: Subject) -> None:
    unknown = [("new", "UNKNOWN_TOPIC_OR_PARTITION")]
    assert outcome(await subject.metadata(asking_for("new", allow_auto_topic_creation=False))) == unknown
    subject.cluster.settings.auto_create_topics_enable = False
    assert outcome(await subject.metadata(asking_for("new"))) == unknown
    assert subject.cluster.image.topics == {}


async def test_topic_that_cannot_be_created_says_why(subject: Subject) -> None:
    await subject.cluster.create("a.b")
    response = await subject.metadata(asking_for("a_b", "a b", "new", "__cluster_metadata"))
    assert outcome(response) == [
        ("a_b", "INVALID_TOPIC_EXCEPTION"),
        ("a b", "INVALID_TOPIC_EXCEPTION"),
        ("new", "NONE"),
        ("__cluster_metadata", "UNKNOWN_TOPIC_OR_PARTITION"),
    ]
    subject.cluster.settings.default_replication_factor = 3
    response = await subject.metadata(asking_for("other"))
    assert outcome(response) == [("other", "INVALID_REPLICATION_FACTOR")]


async def test_creation_that_fails_as_a_whole_does_not_hide_the_rest() -> None:
    class Unreachable:
        async def auto_create_topics(
            self, names: Iterable[str], charge: object = None
        ) -> dict[str, ApiError | None]:
            assert list(names) == ["new"]
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT)

    image = image_with([broker(1)], PartitionState((1,), (1,), 1))
    handlers = MetadataHandlers(
        node_id=1, current_image=lambda: image, topic_creator=Unreachable(), settings=Settings()
    )
    response = await send(handlers.metadata, asking_for("a", "new"), 13)
    assert outcome(response) == [("a", "NONE"), ("new", "REQUEST_TIMED_OUT")]


async def test_internal_topic_is_created_with_its_own_partitions(subject: Subject) -> None:
    response = await subject.metadata(asking_for("__consumer_offsets"))
    (topic,) = response.topics
    assert (topic.error_code, topic.is_internal, len(topic.partitions)) == (0, True, 50)


# Authorized operations


@pytest.mark.parametrize("version", range(8, 14))
async def test_operations_are_told_when_asked_for(subject: Subject, version: int) -> None:
    await subject.cluster.create("a")
    request = asking_for(
        "a",
        "a b",
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=version <= 10,
    )
    response = await subject.metadata(request, version)
    assert [t.topic_authorized_operations for t in response.topics] == [TOPIC_OPERATIONS] * 2
    expected = CLUSTER_OPERATIONS if version <= 10 else NOT_TOLD
    assert response.cluster_authorized_operations == expected


async def test_operations_on_an_unknown_id_are_not_told(subject: Subject) -> None:
    request = asking_for(topic_ids=[uuid.UUID(int=9)], include_topic_authorized_operations=True)
    response = await subject.metadata(request)
    assert [t.topic_authorized_operations for t in response.topics] == [NOT_TOLD]


# Brokers that are not there, or not for this client


REPLICAS = (1, 2, 3)
STATE = PartitionState(REPLICAS, (1, 2), 1, 7)
TWO_LISTENERS = {"PLAINTEXT": Endpoint("inside", 1), "OUTSIDE": Endpoint("", 2)}


async def partition_seen(image: ClusterImage, version: int, **context: str) -> Any:
    response = await send(handlers_on(image).metadata, asking_for("a"), version, **context)
    return response.topics[0].partitions[0]


async def test_replicas_on_missing_and_fenced_brokers_are_offline() -> None:
    image = image_with([broker(1), broker(2, fenced=True)], STATE)
    partition = await partition_seen(image, 13)
    assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, 1, 7)
    assert (partition.replica_nodes, partition.isr_nodes) == ([1, 2, 3], [1, 2])
    assert partition.offline_replicas == [2, 3]


async def test_oldest_clients_are_not_told_of_brokers_that_are_away() -> None:
    partition = await partition_seen(image_with([broker(1), broker(2, fenced=True)], STATE), 0)
    assert partition.error_code == ErrorCode.REPLICA_NOT_AVAILABLE
    assert (partition.leader_id, partition.replica_nodes, partition.isr_nodes) == (1, [1], [1])
    partition = await partition_seen(image_with([broker(n) for n in REPLICAS], STATE), 0)
    assert (partition.error_code, partition.replica_nodes) == (0, [1, 2, 3])


@pytest.mark.parametrize("version", [0, 5, 6, 13])
@pytest.mark.parametrize("leader", [-1, 3])
async def test_partition_whose_leader_is_away(version: int, leader: int) -> None:
    partition = await partition_seen(
        image_with([broker(1), broker(2)], STATE._replace(leader=leader)), version
    )
    assert (partition.error_code, partition.leader_id) == (ErrorCode.LEADER_NOT_AVAILABLE, -1)


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (0, ErrorCode.LEADER_NOT_AVAILABLE),
        (5, ErrorCode.LEADER_NOT_AVAILABLE),
        (6, ErrorCode.LISTENER_NOT_FOUND),
        (13, ErrorCode.LISTENER_NOT_FOUND),
    ],
)
async def test_leader_that_lacks_the_client_s_listener(version: int, code: ErrorCode) -> None:
    image = image_with([broker(1), broker(2, endpoints=TWO_LISTENERS), broker(3)], STATE)
    partition = await partition_seen(image, version, listener_name="OUTSIDE")
    assert (partition.error_code, partition.leader_id) == (code, -1)
    assert partition.offline_replicas == ([1, 3] if version >= 5 else [])


async def test_client_is_told_the_endpoints_of_its_own_listener() -> None:
    image = image_with([broker(2, endpoints=TWO_LISTENERS), broker(1), broker(3, fenced=True)])
    handlers = handlers_on(image)
    for context, expected in (
        ({"listener_name": "PLAINTEXT"}, [(1, "host1", 9092), (2, "inside", 1)]),
        ({"listener_name": "OUTSIDE", "local_host": "10.0.0.1"}, [(2, "10.0.0.1", 2)]),
    ):
        response = await send(handlers.metadata, asking_for(), 13, **context)
        assert [(b.node_id, b.host, b.port) for b in response.brokers] == expected


# DescribeCluster


@pytest.mark.parametrize("version", range(3))
async def test_cluster_at_each_version(version: int) -> None:
    image = image_with([broker(2, rack="r"), broker(1), broker(3, fenced=True)])
    response = await send(handlers_on(image).describe_cluster, DescribeClusterRequest(), version)
    assert (response.error_code, response.error_message) == (0, None)
    assert (response.endpoint_type, response.cluster_id, response.controller_id) == (1, "cluster", 1)
    assert [(b.broker_id, b.host, b.port, b.rack, b.is_fenced) for b in response.brokers] == [
        (1, "host1", 9092, None, False),
        (2, "host2", 9092, "r", False),
    ]
    assert response.cluster_authorized_operations == NOT_TOLD


async def test_fenced_brokers_and_operations_are_told_when_asked_for() -> None:
    image = image_with([broker(1), broker(3, fenced=True)])
    request = DescribeClusterRequest(include_fenced_brokers=True, include_cluster_authorized_operations=True)
    response = await send(handlers_on(image).describe_cluster, request, 2)
    assert [(b.broker_id, b.is_fenced) for b in response.brokers] == [(1, False), (3, True)]
    assert response.cluster_authorized_operations == CLUSTER_OPERATIONS


@pytest.mark.parametrize(
    ("node_id", "listener_name", "named"),
    [(3, "PLAINTEXT", 3), (2, "PLAINTEXT", 2), (4, "PLAINTEXT", 2), (3, "OUTSIDE", 2), (3, "INSIDE", -1)],
)
async def test_the_broker_that_answers_carries_out_admin_requests_if_it_can_be_reached(
    node_id: int, listener_name: str, named: int
) -> None:
    """Broker 1 is fenced, 4 is not registered, and only 2 has the OUTSIDE listener."""
    image = image_with([broker(1, fenced=True), broker(2, endpoints=TWO_LISTENERS), broker(3)])
    handlers = handlers_on(image, node_id=node_id)
    described = await send(
        handlers.describe_cluster, DescribeClusterRequest(), 2, listener_name=listener_name
    )
    told = await send(handlers.metadata, asking_for(), 13, listener_name=listener_name)
    assert (described.controller_id, told.controller_id) == (named, named)


@pytest.mark.parametrize(
    ("endpoint_type", "code"),
    [
        (2, ErrorCode.MISMATCHED_ENDPOINT_TYPE),
        (0, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
        (3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
        (-1, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
    ],
)
async def test_other_kinds_of_endpoints(endpoint_type: int, code: ErrorCode) -> None:
    request = DescribeClusterRequest(endpoint_type=endpoint_type)
    response = await send(handlers_on(image_with([broker(1)])).describe_cluster, request, 2)
    assert response.error_code == code
    assert response.error_message
    assert (response.cluster_id, response.brokers, response.controller_id) == ("", [], -1)


# DescribeTopicPartitions


Page = tuple[list[tuple[str, str, list[int]]], tuple[str, int] | None]


async def page(subject: Subject, *names: str, **fields: Any) -> Page:
    request = DescribeTopicPartitionsRequest(
        topics=[DescribeTopicPartitionsRequest.TopicRequest(name=name) for name in names], **fields
    )
    response = await send(subject.handlers.describe_topic_partitions, request, 0)
    cursor = response.next_cursor
    return [
        (topic.name, ErrorCode(topic.error_code).name, [p.partition_index for p in topic.partitions])
        for topic in response.topics
    ], None if cursor is None else (cursor.topic_name, cursor.partition_index)


@pytest.fixture
async def three_topics(subject: Subject) -> Subject:
    for name, partitions in (("a", 3), ("b", 1), ("c", 4)):
        await subject.cluster.create(name, partitions)
    return subject


A, B, C = ("a", "NONE", [0, 1, 2]), ("b", "NONE", [0]), ("c", "NONE", [0, 1, 2, 3])


async def test_partitions_of_topics_in_the_order_of_names(three_topics: Subject) -> None:
    assert await page(three_topics, "c", "a", "a") == ([A, C], None)
    assert await page(three_topics) == ([A, B, C], None)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (8, ([A, B, C], None)),
        (7, ([A, B, ("c", "NONE", [0, 1, 2])], ("c", 3))),
        (4, ([A, B], ("c", 0))),
        (3, ([A], ("b", 0))),
        (1, ([("a", "NONE", [0])], ("a", 1))),
        (0, ([("a", "NONE", [0])], ("a", 1))),
        (-5, ([("a", "NONE", [0])], ("a", 1))),
    ],
)
async def test_response_is_limited(three_topics: Subject, limit: int, expected: Page) -> None:
    assert await page(three_topics, "a", "b", "c", response_partition_limit=limit) == expected


async def test_broker_limits_responses_too(three_topics: Subject) -> None:
    three_topics.cluster.settings.max_request_partition_size_limit = 3
    assert await page(three_topics, "a", "b", "c") == ([A], ("b", 0))


@pytest.mark.parametrize(
    ("names", "cursor", "expected"),
    [
        (("a", "b", "c"), ("a", 2), ([("a", "NONE", [2]), B, C], None)),
        (("a", "b", "c"), ("b", 0), ([B, C], None)),
        (("a", "b", "c"), ("b", 7), ([("b", "NONE", []), C], None)),
        (("a", "b", "c"), ("bb", 0), ([(name, "INVALID_REQUEST", []) for name in "abc"], None)),
        (("a", "c"), ("a", -1), ([(name, "INVALID_REQUEST", []) for name in "ac"], None)),
        (("a", "zz"), ("zz", 0), ([("zz", "UNKNOWN_TOPIC_OR_PARTITION", [])], None)),
        ((), ("c", 1), ([("c", "NONE", [1, 2, 3])], None)),
        ((), ("bb", 3), ([C], None)),
        ((), ("c", -1), ([], None)),
    ],
)
async def test_cursor(
    three_topics: Subject, names: tuple[str, ...], cursor: tuple[str, int], expected: Page
) -> None:
    at = Cursor(topic_name=cursor[0], partition_index=cursor[1])
    assert await page(three_topics, *names, cursor=at) == expected


async def test_pages_add_up_to_the_whole(three_topics: Subject) -> None:
    found: list[tuple[str, int]] = []
    cursor: Cursor | None = None
    while True:
        topics, following = await page(three_topics, response_partition_limit=2, cursor=cursor)
        found += [(name, index) for name, _, indexes in topics for index in indexes]
        if following is None:
            break
        cursor = Cursor(topic_name=following[0], partition_index=following[1])
    assert found == [(name, index) for name, _, indexes in (A, B, C) for index in indexes]


async def test_topics_that_do_not_exist_count_for_nothing(three_topics: Subject) -> None:
    assert await page(three_topics, "aa", "a b", "c", "zz", response_partition_limit=4) == (
        [("a b", "INVALID_TOPIC_EXCEPTION", []), ("aa", "UNKNOWN_TOPIC_OR_PARTITION", []), C],
        ("zz", 0),
    )


async def test_everything_told_of_a_partition() -> None:
    state = STATE._replace(eligible_leader_replicas=(3,), last_known_eligible_leader_replicas=(2,))
    handlers = handlers_on(
        image_with(
            [broker(1), broker(2, fenced=True)], state, state._replace(leader=3), name="__consumer_offsets"
        )
    )
    response = await send(handlers.describe_topic_partitions, DescribeTopicPartitionsRequest(), 0)
    (topic,) = response.topics
    assert (topic.topic_id, topic.is_internal) == (uuid.UUID(int=1), True)
    assert topic.topic_authorized_operations == TOPIC_OPERATIONS
    partition, without_leader = topic.partitions
    assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, 1, 7)
    assert (partition.replica_nodes, partition.isr_nodes, partition.offline_replicas) == (
        [1, 2, 3],
        [1, 2],
        [2, 3],
    )
    assert (partition.eligible_leader_replicas, partition.last_known_elr) == ([3], [2])
    assert (without_leader.error_code, without_leader.leader_id) == (0, -1)
