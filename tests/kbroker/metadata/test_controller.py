"""What the controller grants and refuses. Error codes are those that Apache Kafka 4.4 gave to the same request."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Sequence

import pytest
import trio

from kbroker.metadata import keys
from kbroker.metadata.controller import PRODUCER_ID_BLOCK_SIZE
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import ClusterImage
from kbroker.metadata.store import Delete, Put, StoreUnavailableError
from tests.kbroker.metadata.cluster import (
    TOPIC,
    Cluster,
    CreatableTopic,
    InterferingStore,
    InternalTopic,
    Settings,
    broker,
    make_controller,
    new_topic,
    running_cluster,
)
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import CreatePartitionsRequest, CreateTopicsResponse

Growth = CreatePartitionsRequest.CreatePartitionsTopic
CreatableTopicResult = CreateTopicsResponse.CreatableTopicResult


def growth(name: str, count: int, assignments: list[list[int]] | None = None) -> Growth:
    return Growth(
        name=name,
        count=count,
        assignments=None
        if assignments is None
        else [Growth.CreatePartitionsAssignment(broker_ids=ids) for ids in assignments],
    )


async def read_afresh(cluster: Cluster) -> ClusterImage:
    return await ClusterMetadata(cluster.store, sleep=trio.sleep).load()


def codes(results: Sequence[CreatableTopicResult]) -> list[tuple[str, str]]:
    return [(result.name, ErrorCode(result.error_code).name) for result in results]


# CreateTopics


async def test_created_topic_is_in_the_image_and_told_in_full() -> None:
    async with running_cluster(broker(1), broker(2)) as cluster:
        (result,) = await cluster.controller.create_topics(
            [new_topic("my.topic", 6, 2, configs=[("retention.ms", "5")])]
        )
        topic = cluster.image.topic("my.topic")
        assert topic is not None
        assert (result.name, result.error_code, result.error_message) == ("my.topic", 0, None)
        assert (result.topic_id, result.num_partitions, result.replication_factor) == (topic.topic_id, 6, 2)
        assert result.configs is not None
        assert [(c.name, c.value, c.config_source, c.is_sensitive) for c in result.configs] == [
            ("cleanup.policy", "delete", 5, False),
            ("retention.ms", "5", 1, False),
            ("secret", None, 5, True),
        ]
        assert cluster.image.topic_config("my.topic") == {"retention.ms": "5"}
        for state in topic.partitions:
            assert sorted(state.replicas) == [1, 2]
            assert state.in_sync_replicas == state.replicas
            assert state.leader == state.replicas[0]
            assert (state.leader_epoch, state.partition_epoch) == (0, 0)
        assert Counter(state.leader for state in topic.partitions) == {1: 3, 2: 3}


async def test_minus_one_stands_for_the_defaults() -> None:
    settings = Settings(num_partitions=4, default_replication_factor=2)
    async with running_cluster(broker(1), broker(2), settings=settings) as cluster:
        results = await cluster.controller.create_topics(
            [new_topic("a"), new_topic("b", 1), new_topic("c", -1, 1)]
        )
        assert [(r.num_partitions, r.replication_factor) for r in results] == [(4, 2), (1, 2), (4, 1)]


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (new_topic("", 1, 1), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("a b", 0, 0), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("there", 0, 0), ErrorCode.TOPIC_ALREADY_EXISTS),
        (new_topic("there_x", 0, 0), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("a", 1, 1, configs=[("retention.ms", None)]), ErrorCode.INVALID_CONFIG),
        (new_topic("a", 0, 1, configs=[("nope", "1")]), ErrorCode.INVALID_CONFIG),
        (new_topic("a", 0, 1), ErrorCode.INVALID_PARTITIONS),
        (new_topic("a", -2, 1), ErrorCode.INVALID_PARTITIONS),
        (new_topic("a", 1, 0), ErrorCode.INVALID_REPLICATION_FACTOR),
        (new_topic("a", 0, -2), ErrorCode.INVALID_REPLICATION_FACTOR),
        (new_topic("a", 1, 4), ErrorCode.INVALID_REPLICATION_FACTOR),
        (new_topic("a", 1, -1, assignments=[(0, [1])]), ErrorCode.INVALID_REQUEST),
        (new_topic("a", -1, 1, assignments=[(0, [1])]), ErrorCode.INVALID_REQUEST),
        (new_topic("a", assignments=[(1, [1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [1]), (2, [1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(-1, [1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [1]), (0, [1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [1, 1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [9])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [1]), (1, [1, 2])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (new_topic("a", assignments=[(0, [3])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ],
    ids=lambda value: value.name if isinstance(value, ErrorCode) else None,
)
@pytest.mark.parametrize("validate_only", [False, True])
async def test_refused_topic(topic: CreatableTopic, code: ErrorCode, validate_only: bool) -> None:
    async with running_cluster(broker(1), broker(2), broker(3, fenced=True)) as cluster:
        await cluster.create("there")
        await cluster.create("there.x")
        revision = cluster.image.revision
        (result,) = await cluster.controller.create_topics([topic], validate_only=validate_only)
        assert ErrorCode(result.error_code) == code
        assert result.error_message
        assert (result.num_partitions, result.replication_factor, result.topic_id.int) == (-1, -1, 0)
        assert cluster.image.revision == revision


async def test_validate_only_writes_nothing_and_answers_as_if_it_had() -> None:
    async with running_cluster() as cluster:
        revision = cluster.image.revision
        topics = [new_topic("a", 3, 1, configs=[("retention.ms", "5")]), new_topic("b", 0)]
        results = await cluster.controller.create_topics(topics, validate_only=True)
        assert codes(results) == [("a", "NONE"), ("b", "INVALID_PARTITIONS")]
        assert (results[0].num_partitions, results[0].replication_factor) == (3, 1)
        assert (await cluster.store.range("")).revision == revision


async def test_one_bad_topic_does_not_stop_the_others() -> None:
    async with running_cluster() as cluster:
        topics = [new_topic("a", 1, 1), new_topic("b", 0, 1), new_topic("c", 1, 1)]
        results = await cluster.controller.create_topics(topics)
        assert codes(results) == [("a", "NONE"), ("b", "INVALID_PARTITIONS"), ("c", "NONE")]
        assert sorted(cluster.image.topics) == ["a", "c"]


async def test_names_that_collide_within_one_request() -> None:
    # Apache Kafka lets both pass; the store has room for one of them only.
    async with running_cluster() as cluster:
        results = await cluster.controller.create_topics([new_topic("a.b"), new_topic("a_b")])
        assert codes(results) == [("a.b", "NONE"), ("a_b", "INVALID_TOPIC_EXCEPTION")]


async def test_manual_assignment_is_taken_as_it_is() -> None:
    async with running_cluster(broker(1), broker(2), broker(3, fenced=True)) as cluster:
        topic = new_topic("a", assignments=[(1, [1, 2]), (0, [3, 2])])
        (result,) = await cluster.controller.create_topics([topic])
        assert (result.num_partitions, result.replication_factor) == (2, 2)
        image = cluster.image.topic("a")
        assert image is not None
        assert [(p.replicas, p.in_sync_replicas, p.leader) for p in image.partitions] == [
            ((3, 2), (2,), 2),
            ((1, 2), (1, 2), 1),
        ]


async def test_request_for_too_many_partitions_is_refused_as_a_whole() -> None:
    async with running_cluster() as cluster:
        for topics in (
            [new_topic("a", 10_001, 1), new_topic("b", 1, 1)],
            [new_topic("a", 5_000, 1), new_topic("b", 5_000, 1)],
            [new_topic("a", 2**31 - 1, 1)],
        ):
            results = await cluster.controller.create_topics(topics)
            assert {result.error_code for result in results} == {ErrorCode.POLICY_VIOLATION}
        assert cluster.image.topics == {}
        await cluster.create("a", 9_999)
        assert len(cluster.image.topics["a"].partitions) == 9_999


async def test_more_topics_than_fit_into_one_transaction() -> None:
    async with running_cluster() as cluster:
        topics = [new_topic(f"t{n}", 1, 1, configs=[("retention.ms", "5")]) for n in range(300)]
        results = await cluster.controller.create_topics(topics)
        assert {result.error_code for result in results} == {0}
        assert len(cluster.image.topics) == 300
        assert len(cluster.image.configs) == 300


async def test_two_controllers_that_create_the_same_topic() -> None:
    async with running_cluster(broker(1), broker(2)) as cluster:
        results: list[CreatableTopicResult] = []

        async def create(node_id: int) -> None:
            topics = [new_topic("both", 1, 1), new_topic(f"only{node_id}", 1, 1)]
            results.extend(await cluster.another_controller(node_id).create_topics(topics))

        async with trio.open_nursery() as nursery:
            for node_id in range(1, 6):
                nursery.start_soon(create, node_id)
        assert Counter(codes(results)) == {
            ("both", "NONE"): 1,
            ("both", "TOPIC_ALREADY_EXISTS"): 4,
            **{(f"only{node_id}", "NONE"): 1 for node_id in range(1, 6)},
        }
        (winner,) = [result for result in results if result.name == "both" and not result.error_code]
        assert cluster.image.topics["both"].topic_id == winner.topic_id


# Automatic creation


async def test_auto_created_topics() -> None:
    async with running_cluster(settings=Settings(num_partitions=3)) as cluster:
        await cluster.create("there")
        await cluster.create("x.y")
        outcome = await cluster.controller.auto_create_topics(
            ["new", "there", "a b", "x_y", "__cluster_metadata", "new"]
        )
        assert {name: error and error.code for name, error in outcome.items()} == {
            "new": None,
            "there": None,
            "a b": ErrorCode.INVALID_TOPIC_EXCEPTION,
            "x_y": ErrorCode.INVALID_TOPIC_EXCEPTION,
            "__cluster_metadata": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        }
        assert len(cluster.image.topics["new"].partitions) == 3


async def test_auto_creation_asked_for_many_times_at_once_happens_once() -> None:
    async with running_cluster() as cluster:
        outcomes: list[dict[str, ApiError | None]] = []

        async def create() -> None:
            outcomes.append(await cluster.controller.auto_create_topics(["a"]))

        before = cluster.image.revision
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(create)
        assert outcomes == [{"a": None}] * 10
        assert cluster.image.revision == before + 1


async def test_internal_topic_is_made_as_its_configs_say_on_as_many_brokers_as_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_cluster(broker(1), broker(2)) as cluster:
        with caplog.at_level(logging.WARNING):
            assert await cluster.controller.auto_create_topics(["__consumer_offsets"]) == {
                "__consumer_offsets": None
            }
            cluster.settings.internal_topics["__transaction_state"] = InternalTopic(7, 3, {})
            await cluster.controller.auto_create_topics(["__transaction_state"])
        topic = cluster.image.topics["__consumer_offsets"]
        assert topic.is_internal
        assert [len(state.replicas) for state in topic.partitions] == [2] * 50
        assert cluster.image.topic_config("__consumer_offsets") == {"cleanup.policy": "compact"}
        assert len(cluster.image.topics["__transaction_state"].partitions) == 7
        assert len([r for r in caplog.records if "replication factor 2 instead of 3" in r.message]) == 1


async def test_default_replication_factor_is_not_reduced() -> None:
    async with running_cluster(settings=Settings(default_replication_factor=3)) as cluster:
        outcome = await cluster.controller.auto_create_topics(["a"])
        error = outcome["a"]
        assert error is not None
        assert error.code == ErrorCode.INVALID_REPLICATION_FACTOR


# DeleteTopics


async def test_deleted_topic_leaves_nothing_behind() -> None:
    async with running_cluster() as cluster:
        topic = new_topic("a.b", 2, 1, configs=[("retention.ms", "5")])
        (created,) = await cluster.controller.create_topics([topic])
        await cluster.create("other")
        state = cluster.image.topics["a.b"].partitions[0]._replace(leader_epoch=1)
        key = keys.partition_key(created.topic_id, 0)
        await cluster.store.transact([], [Put(key, keys.encode_partition(state))])
        assert await cluster.controller.delete_topics([created.topic_id]) == {created.topic_id: None}
        assert list(cluster.image.topics) == ["other"]
        remaining = [item.key for item in (await cluster.store.range("")).items]
        deleted = keys.deleted_topic_key(created.topic_id)
        assert remaining == ["brokers/1", deleted, "topics/other"]
        await cluster.controller.deletion_done([created.topic_id])
        assert await cluster.store.get(deleted) is None
        assert cluster.image.deleted_topics == {}


async def test_deleting_an_unknown_id() -> None:
    async with running_cluster() as cluster:
        topic_id = await cluster.create("a")
        unknown = uuid.UUID(int=1)
        outcome = await cluster.controller.delete_topics([unknown, topic_id, topic_id])
        assert outcome[topic_id] is None
        error = outcome[unknown]
        assert error is not None
        assert error.code == ErrorCode.UNKNOWN_TOPIC_ID
        assert cluster.image.topics == {}


async def test_topic_created_again_has_another_id_and_none_of_the_old_configs() -> None:
    async with running_cluster() as cluster:
        (first,) = await cluster.controller.create_topics([new_topic("a", configs=[("retention.ms", "5")])])
        await cluster.controller.delete_topics([first.topic_id])
        second = await cluster.create("a")
        assert second != first.topic_id
        assert cluster.image.topic_config("a") == {}


# CreatePartitions


async def test_topic_grows() -> None:
    async with running_cluster(broker(1), broker(2)) as cluster:
        await cluster.create("a", 2, 2)
        old = cluster.image.topics["a"].partitions
        assert await cluster.controller.create_partitions([growth("a", 5)]) == {"a": None}
        partitions = cluster.image.topics["a"].partitions
        assert len(partitions) == 5
        assert partitions[:2] == old
        assert all(sorted(state.replicas) == [1, 2] for state in partitions)
        assert await read_afresh(cluster) == cluster.image


async def test_topic_grows_by_assignment() -> None:
    async with running_cluster(broker(1), broker(2)) as cluster:
        await cluster.create("a", 1, 1)
        outcome = await cluster.controller.create_partitions([growth("a", 3, [[2], [1]])])
        assert outcome == {"a": None}
        assert [p.replicas for p in cluster.image.topics["a"].partitions[1:]] == [(2,), (1,)]


async def test_growth_keeps_the_state_that_partitions_have_reached() -> None:
    async with running_cluster() as cluster:
        topic_id = await cluster.create("a", 2)
        moved = cluster.image.topics["a"].partitions[1]._replace(leader_epoch=4, replicas=(1, 2))
        result = await cluster.store.transact(
            [], [Put(keys.partition_key(topic_id, 1), keys.encode_partition(moved))]
        )
        await cluster.metadata.wait_for(result.revision)
        await cluster.controller.create_partitions([growth("a", 3)])
        assert await read_afresh(cluster) == cluster.image
        assert cluster.image.topics["a"].partitions[1].leader_epoch == 4


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (growth("a", 2), ErrorCode.INVALID_PARTITIONS),
        (growth("a", 2, [[9]]), ErrorCode.INVALID_PARTITIONS),
        (growth("a", 1), ErrorCode.INVALID_PARTITIONS),
        (growth("a", -1), ErrorCode.INVALID_PARTITIONS),
        (growth("nope", 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (growth("a b", 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (growth("a", 3, []), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 4, [[1]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 3, [[9]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 3, [[]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 3, [[1, 1]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 3, [[1, 2]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 3, [[3]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (growth("a", 10_003), ErrorCode.POLICY_VIOLATION),
    ],
)
async def test_refused_growth(request_: Growth, code: ErrorCode) -> None:
    async with running_cluster(broker(1), broker(2), broker(3, fenced=True)) as cluster:
        await cluster.create("a", 2, 1)
        revision = cluster.image.revision
        (error,) = (await cluster.controller.create_partitions([request_])).values()
        assert error is not None
        assert error.code == code
        assert cluster.image.revision == revision


async def test_growth_that_is_only_validated() -> None:
    async with running_cluster() as cluster:
        await cluster.create("a", 2)
        outcome = await cluster.controller.create_partitions([growth("a", 3)], validate_only=True)
        assert outcome == {"a": None}
        assert len(cluster.image.topics["a"].partitions) == 2


async def test_concurrent_growth_never_shrinks_a_topic() -> None:
    async with running_cluster() as cluster:
        await cluster.create("a", 1)

        async def grow(node_id: int) -> None:
            await cluster.another_controller(node_id).create_partitions([growth("a", node_id)])

        async with trio.open_nursery() as nursery:
            for node_id in range(2, 8):
                nursery.start_soon(grow, node_id)
        assert len(cluster.image.topics["a"].partitions) == 7


# Producer ids


async def test_blocks_of_producer_ids_never_overlap() -> None:
    async with running_cluster() as cluster:
        blocks: list[range] = []

        async def allocate(node_id: int) -> None:
            controller = cluster.another_controller(node_id)
            blocks.extend([await controller.allocate_producer_id_block() for _ in range(3)])

        async with trio.open_nursery() as nursery:
            for node_id in range(4):
                nursery.start_soon(allocate, node_id)
        blocks.sort(key=lambda block: block.start)
        assert blocks == [
            range(n * PRODUCER_ID_BLOCK_SIZE, (n + 1) * PRODUCER_ID_BLOCK_SIZE) for n in range(12)
        ]


async def test_producer_ids_end_somewhere() -> None:
    async with running_cluster() as cluster:
        last = 2**63 - 1 - PRODUCER_ID_BLOCK_SIZE
        await cluster.store.transact([], [Put(keys.PRODUCER_IDS_KEY, keys.encode_producer_ids(last))])
        assert (await cluster.controller.allocate_producer_id_block()).stop == 2**63 - 1
        with pytest.raises(ApiError) as raised:
            await cluster.controller.allocate_producer_id_block()
        assert raised.value.code == ErrorCode.UNKNOWN_SERVER_ERROR


# Races and failures


def taken_by_another(name: str) -> Put:
    births = [keys.newborn_partition((1,), (1,))] * 2
    return Put(keys.topic_key(name), keys.encode_topic(name, uuid.UUID(int=77), births))


async def test_topic_that_another_broker_created_first_is_found_to_exist() -> None:
    async with running_cluster() as cluster:
        store = InterferingStore(cluster.store)
        cluster.controller = make_controller(1, store, cluster.metadata, cluster.settings)
        store.before = [taken_by_another("a")]
        results = await cluster.controller.create_topics([new_topic("a"), new_topic("b")])
        assert codes(results) == [("a", "TOPIC_ALREADY_EXISTS"), ("b", "NONE")]
        assert cluster.image.topics["a"].topic_id == uuid.UUID(int=77)
        assert results[1].topic_id == cluster.image.topics["b"].topic_id


async def test_growth_is_decided_anew_when_another_broker_was_faster() -> None:
    async with running_cluster() as cluster:
        await cluster.create("a")
        store = InterferingStore(cluster.store)
        cluster.controller = make_controller(1, store, cluster.metadata, cluster.settings)
        topic_id = cluster.image.topics["a"].topic_id
        births = [keys.newborn_partition((1,), (1,))] * 3
        store.before = [Put(keys.topic_key("a"), keys.encode_topic("a", topic_id, births))]
        outcome = await cluster.controller.create_partitions([growth("a", 3)])
        assert outcome["a"] is not None
        assert outcome["a"].code == ErrorCode.INVALID_PARTITIONS


async def test_topic_that_another_broker_deleted_first_is_unknown() -> None:
    async with running_cluster() as cluster:
        topic_id = await cluster.create("a")
        store = InterferingStore(cluster.store)
        cluster.controller = make_controller(1, store, cluster.metadata, cluster.settings)
        store.before = [Delete(keys.topic_key("a"))]
        outcome = await cluster.controller.delete_topics([topic_id])
        assert outcome[topic_id] is not None
        assert outcome[topic_id].code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_config_of_a_topic_deleted_meanwhile_is_not_written() -> None:
    async with running_cluster() as cluster:
        await cluster.create("a")
        store = InterferingStore(cluster.store)
        cluster.controller = make_controller(1, store, cluster.metadata, cluster.settings)
        store.before = [Delete(keys.topic_key("a"))]
        outcome = await cluster.controller.incremental_alter_configs(
            {(TOPIC, "a"): [("retention.ms", 0, "5")]}
        )
        assert outcome[TOPIC, "a"] is not None
        assert outcome[TOPIC, "a"].code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert await cluster.store.get(keys.config_key((TOPIC, "a"))) is None


async def test_decision_that_never_wins_gives_up() -> None:
    async with running_cluster() as cluster:
        await cluster.create("a")
        store = InterferingStore(cluster.store)
        cluster.controller = make_controller(1, store, cluster.metadata, cluster.settings)
        topic_id = cluster.image.topics["a"].topic_id
        same = Put(
            keys.topic_key("a"), keys.encode_topic("a", topic_id, [keys.newborn_partition((1,), (1,))])
        )
        store.before = [same] * 100
        with pytest.raises(ApiError) as raised:
            await cluster.controller.create_partitions([growth("a", 3)])
        assert raised.value.code == ErrorCode.REQUEST_TIMED_OUT
        assert 1 < store.transactions < 100


async def test_store_that_is_out_of_reach_times_requests_out(caplog: pytest.LogCaptureFixture) -> None:
    async with running_cluster() as cluster:
        store = InterferingStore(cluster.store)
        cluster.controller = make_controller(1, store, cluster.metadata, cluster.settings)
        for act in (
            lambda: cluster.controller.create_topics([new_topic("a")]),
            lambda: cluster.controller.allocate_producer_id_block(),
        ):
            store.before = [StoreUnavailableError("gone")]
            with pytest.raises(ApiError) as raised:
                await act()
            assert raised.value.code == ErrorCode.REQUEST_TIMED_OUT
        assert "gone" in caplog.text
        await cluster.create("a")  # and works again


async def test_cancelled_caller_leaves_the_controller_usable() -> None:
    async with running_cluster() as cluster:
        for delay_s in (0, 0.0001):
            with trio.move_on_after(delay_s):
                await cluster.controller.create_topics([new_topic(f"a{delay_s}".replace(".", "-"))])
        await cluster.create("b")
        assert "b" in cluster.image.topics
