"""Partitions changed on request: by leaders, by brokers with broken disks, by administrators."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from kbroker.metadata import keys
from kbroker.metadata.controller import Controller
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.fresh_partitions import FreshPartitions
from kbroker.metadata.image import NO_LEADER, ImageDelta, PartitionState
from kbroker.metadata.partition_decisions import AlterPartitionChange
from kbroker.metadata.store import (
    Compare,
    Delete,
    KeyValue,
    MetadataStore,
    Operation,
    Put,
    StoreUnavailableError,
    TransactionResult,
)
from tests.kbroker.metadata.cluster import (
    TOPIC,
    Cluster,
    InterferingStore,
    Settings,
    broker,
    make_controller,
    new_topic,
    running_cluster,
)
from wire.errors import ApiError, ErrorCode

PREFERRED, UNCLEAN = 0, 1
THREE = (broker(1), broker(2), broker(3))


async def create(cluster: Cluster, *replicas: list[int], name: str = "t") -> uuid.UUID:
    topic = new_topic(name, assignments=list(enumerate(replicas)))
    (result,) = await cluster.controller.create_topics([topic])
    assert result.error_code == 0, result
    return result.topic_id


def change(topic_id: uuid.UUID, index: int, *in_sync: int, **fields: int) -> AlterPartitionChange:
    values = {"leader_epoch": 0, "partition_epoch": 0} | fields
    return AlterPartitionChange(
        topic_id, index, in_sync_replicas=tuple((node_id, node_id) for node_id in in_sync), **values
    )


async def write_state(cluster: Cluster, topic_id: uuid.UUID, index: int, state: PartitionState) -> None:
    key = keys.partition_key(topic_id, index)
    result = await cluster.store.transact([], [Put(key, keys.encode_partition(state))])
    await cluster.metadata.wait_for(result.revision)


def interfering(cluster: Cluster) -> tuple[InterferingStore, Controller]:
    store = InterferingStore(cluster.store)
    return store, make_controller(1, store, cluster.metadata, cluster.settings)


# Leaders


async def test_leader_changes_its_in_sync_sets(caplog: pytest.LogCaptureFixture) -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3], [1, 3, 2], [2, 1, 3])
        with caplog.at_level(logging.INFO):
            outcome = await cluster.controller.alter_partitions(
                1, 1, [change(topic_id, 0, 1, 2), change(topic_id, 1, 1), change(topic_id, 2, 2)]
            )
        first, second, third = (outcome[topic_id, index] for index in range(3))
        assert isinstance(first, PartitionState)
        assert isinstance(second, PartitionState)
        assert isinstance(third, ApiError)
        assert (first.in_sync_replicas, first.leader_epoch, first.partition_epoch) == ((1, 2), 0, 1)
        assert second.in_sync_replicas == (1,)
        assert third.code == ErrorCode.INVALID_REQUEST
        found = await cluster.store.get(keys.partition_key(topic_id, 0))
        assert found is not None
        assert found.mod_revision == first.state_revision
        image = await cluster.metadata.wait_for(first.state_revision)
        assert image.partition("t", 0) == first
        assert (
            "t-0: in sync [1, 2, 3] -> [1, 2] (leader epoch 0, partition epoch 1): leader 1 says: 3 fell behind"
        ) in caplog.messages


class BlindStore(InterferingStore):
    """Can only be written to."""

    async def get(self, key: str) -> None:
        raise AssertionError(f"{key} need not be read")


async def test_next_change_need_not_wait_for_the_image() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        released = trio.Event()

        async def slow(delta: ImageDelta) -> None:
            await released.wait()

        cluster.metadata.subscribe(slow)
        controller = make_controller(1, BlindStore(cluster.store), cluster.metadata, cluster.settings)
        with trio.fail_after(1):
            for partition_epoch, in_sync in enumerate([(1, 2), (1,), (1, 2, 3)]):
                outcome = await controller.alter_partitions(
                    1, 1, [change(topic_id, 0, *in_sync, partition_epoch=partition_epoch)]
                )
                state = outcome[topic_id, 0]
                assert isinstance(state, PartitionState)
                assert (state.in_sync_replicas, state.partition_epoch) == (in_sync, partition_epoch + 1)
        assert cluster.image.topics["t"].partitions[0].partition_epoch == 0
        released.set()


async def test_what_another_wrote_is_known_before_the_image_shows_it() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        moved = cluster.image.topics["t"].partitions[0]._replace(leader=2, leader_epoch=1, partition_epoch=1)
        store.before = [Put(keys.partition_key(topic_id, 0), keys.encode_partition(moved))]
        outcome = await controller.alter_partitions(1, 1, [change(topic_id, 0, 1, 2)])
        error = outcome[topic_id, 0]
        assert isinstance(error, ApiError)
        assert error.code == ErrorCode.FENCED_LEADER_EPOCH
        found = await cluster.store.get(keys.partition_key(topic_id, 0))
        assert found is not None
        assert keys.decode_partition(found.key, found.value, 0) == moved


@pytest.mark.parametrize("count", [1, 30])
async def test_replica_that_re_registers_meanwhile_is_not_added(count: int) -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, *[[1, 2]] * count)
        for index in range(count):
            alone = PartitionState((1, 2), (1,), 1, partition_epoch=1)
            await write_state(cluster, topic_id, index, alone)
        store, controller = interfering(cluster)
        store.before = [Put(keys.broker_key(2), keys.encode_broker(broker(2, broker_epoch=99)))]
        changes = [change(topic_id, index, 1, 2, partition_epoch=1) for index in range(count)]
        outcome = await controller.alter_partitions(1, 1, changes)
        assert [error.code for error in outcome.values() if isinstance(error, ApiError)] == [
            ErrorCode.INELIGIBLE_REPLICA
        ] * count


class LosingStore(InterferingStore):
    """Does as it is told, and does not say so; or does something else just behind a read."""

    loses_answer = False

    def __init__(self, store: MetadataStore) -> None:
        super().__init__(store)
        self.behind_read: dict[str, list[Operation]] = {}

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        result = await super().transact(compares, operations)
        if self.loses_answer:
            raise StoreUnavailableError("the answer is lost")
        return result

    async def get(self, key: str) -> KeyValue | None:
        found = await self._store.get(key)
        operations = self.behind_read.pop(key, None)
        if operations is not None:
            await self._store.transact([], operations)
        return found


def code_of(answer: PartitionState | ApiError) -> ErrorCode:
    assert isinstance(answer, ApiError), answer
    return ErrorCode(answer.code)


async def hold_image(cluster: Cluster) -> None:
    """From now on the image stays as it is."""

    async def hold(delta: ImageDelta) -> None:
        await trio.sleep_forever()

    cluster.metadata.subscribe(hold)
    await cluster.store.transact([], [Put(keys.broker_key(3), keys.encode_broker(broker(3, rack="r")))])
    await trio.testing.wait_all_tasks_blocked()


ALONE = PartitionState((1, 2), (1,), 1, partition_epoch=1)


async def test_a_refusal_is_not_judged_on_registrations_that_are_newer_than_the_partition() -> None:
    """The leader would take it that the follower has not joined, and acknowledge without it, when it has."""
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2], [1, 2])
        for index in range(2):
            await write_state(cluster, topic_id, index, ALONE)
        await hold_image(cluster)
        store = LosingStore(cluster.store)
        controller = make_controller(1, store, cluster.metadata, cluster.settings)
        first, second = (change(topic_id, index, 1, 2, partition_epoch=1) for index in range(2))
        store.loses_answer = True
        outcome = await controller.alter_partitions(1, 1, [first])
        assert code_of(outcome[topic_id, 0]) is ErrorCode.REQUEST_TIMED_OUT
        store.loses_answer = False
        await cluster.store.transact([], [Delete(keys.broker_key(2))])
        outcome = await controller.alter_partitions(
            1, 1, [second]
        )  # for this one registrations are read anew
        assert code_of(outcome[topic_id, 1]) is ErrorCode.INELIGIBLE_REPLICA
        outcome = await controller.alter_partitions(1, 1, [first])
        assert code_of(outcome[topic_id, 0]) is ErrorCode.INVALID_UPDATE_VERSION


async def test_registrations_are_read_before_the_partitions_that_are_judged_by_them() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2])
        await write_state(cluster, topic_id, 0, ALONE)
        await hold_image(cluster)
        store = LosingStore(cluster.store)
        controller = make_controller(1, store, cluster.metadata, cluster.settings)
        key = keys.partition_key(topic_id, 0)
        joined = ALONE._replace(in_sync_replicas=(1, 2), partition_epoch=2)
        store.before = [Put(keys.broker_key(2), keys.encode_broker(broker(2, rack="r")))]
        store.behind_read = {key: [Put(key, keys.encode_partition(joined)), Delete(keys.broker_key(2))]}
        outcome = await controller.alter_partitions(1, 1, [change(topic_id, 0, 1, 2, partition_epoch=1)])
        assert code_of(outcome[topic_id, 0]) is ErrorCode.INVALID_UPDATE_VERSION


async def test_leader_that_re_registers_meanwhile_changes_nothing() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        store.before = [Put(keys.broker_key(1), keys.encode_broker(broker(1, broker_epoch=99)))]
        with pytest.raises(ApiError) as raised:
            await controller.alter_partitions(1, 1, [change(topic_id, 0, 1, 2)])
        assert raised.value.code == ErrorCode.STALE_BROKER_EPOCH
        assert await cluster.store.get(keys.partition_key(topic_id, 0)) is None


@pytest.mark.parametrize(("node_id", "broker_epoch"), [(1, 7), (4, 4)])
async def test_broker_that_is_not_registered_like_this(node_id: int, broker_epoch: int) -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        with pytest.raises(ApiError) as raised:
            await cluster.controller.alter_partitions(node_id, broker_epoch, [change(topic_id, 0, 1)])
        assert raised.value.code == ErrorCode.STALE_BROKER_EPOCH


async def test_one_change_that_loses_its_race_does_not_stop_the_others() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, *[[1, 2, 3]] * 40)
        store, controller = interfering(cluster)
        moved = PartitionState((1, 2, 3), (2, 3), 2, 1, 1)
        store.before = [Put(keys.partition_key(topic_id, 17), keys.encode_partition(moved))]
        outcome = await controller.alter_partitions(
            1, 1, [change(topic_id, index, 1, 2) for index in range(40)]
        )
        refused = {index for (_, index), answer in outcome.items() if isinstance(answer, ApiError)}
        assert refused == {17}


async def test_partitions_that_do_not_exist() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        unknown = uuid.UUID(int=1)
        outcome = await cluster.controller.alter_partitions(
            1, 1, [change(topic_id, 1, 1), change(topic_id, -1, 1), change(unknown, 0, 1)]
        )
        assert [answer.code for answer in outcome.values() if isinstance(answer, ApiError)] == [
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.UNKNOWN_TOPIC_ID,
        ]


async def test_partition_of_a_topic_deleted_meanwhile_gets_no_key() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        store.before = [Delete(keys.topic_key("t"))]
        outcome = await controller.alter_partitions(1, 1, [change(topic_id, 0, 1)])
        error = outcome[topic_id, 0]
        assert isinstance(error, ApiError)
        assert error.code in (ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        assert await cluster.store.get(keys.partition_key(topic_id, 0)) is None


async def test_topic_that_grew_meanwhile_is_no_hindrance() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        births = [keys.newborn_partition((1, 2, 3), (1, 2, 3))] * 2
        store.before = [Put(keys.topic_key("t"), keys.encode_topic("t", topic_id, births))]
        outcome = await controller.alter_partitions(1, 1, [change(topic_id, 0, 1)])
        assert isinstance(outcome[topic_id, 0], PartitionState)


async def test_store_that_does_not_answer_leaves_the_outcome_open() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, *[[1, 2, 3]] * 200)
        store, controller = interfering(cluster)
        store.before = [StoreUnavailableError("gone")]
        outcome = await controller.alter_partitions(
            1, 1, [change(topic_id, index, 1) for index in range(200)]
        )
        assert {answer.code for answer in outcome.values() if isinstance(answer, ApiError)} == {
            ErrorCode.REQUEST_TIMED_OUT
        }
        assert len(outcome) == 200


class ForgetfulStore(InterferingStore):
    """Cannot be read."""

    async def get(self, key: str) -> None:
        raise StoreUnavailableError("gone")


async def test_store_that_goes_away_in_between_leaves_only_the_rest_open() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2], [1, 2])
        store = ForgetfulStore(cluster.store)
        controller = make_controller(1, store, cluster.metadata, cluster.settings)
        moved = PartitionState((1, 2), (1, 2), 2, 1, 1)
        store.before = [Put(keys.partition_key(topic_id, 0), keys.encode_partition(moved))]
        outcome = await controller.alter_partitions(1, 1, [change(topic_id, 0, 1), change(topic_id, 1, 1)])
        error = outcome[topic_id, 0]
        assert isinstance(error, ApiError)
        assert error.code == ErrorCode.REQUEST_TIMED_OUT
        assert isinstance(outcome[topic_id, 1], PartitionState)


async def test_what_was_read_in_between_is_forgotten_when_the_image_is_newer() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        fresh = FreshPartitions(cluster.store, cluster.metadata)
        await cluster.register(broker(2, rack="r"))
        await fresh.reread([(topic_id, 0)])
        assert fresh.image() is cluster.image
        behind = ClusterMetadata(cluster.store)
        await behind.load()
        fresh = FreshPartitions(cluster.store, behind)
        await cluster.register(broker(2, rack="s"))
        await fresh.reread([(topic_id, 0)])
        assert fresh.image().brokers[2].rack == "s"
        assert behind.image.brokers[2].rack == "r"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(behind.run)
            await cluster.register(broker(2, rack="t"))
            await behind.wait_until(lambda image: image.brokers[2].rack == "t")
            nursery.cancel_scope.cancel()
        assert fresh.image() is behind.image


async def test_partition_that_never_stands_still() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        same = Put(keys.broker_key(2), keys.encode_broker(broker(2)))
        store.before = [same] * 100
        outcome = await controller.alter_partitions(1, 1, [change(topic_id, 0, 1, 2)])
        error = outcome[topic_id, 0]
        assert isinstance(error, ApiError)
        assert error.code == ErrorCode.REQUEST_TIMED_OUT
        assert store.transactions < 10


async def test_change_that_costs_the_leadership_says_so() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2])
        outcome = await cluster.controller.alter_reassignments({("t", 0): [2, 3]})
        assert outcome == {("t", 0): None}
        answers = await cluster.controller.alter_partitions(
            1, 1, [change(topic_id, 0, 1, 2, 3, partition_epoch=1)]
        )
        error = answers[topic_id, 0]
        assert isinstance(error, ApiError)
        assert error.code == ErrorCode.NEW_LEADER_ELECTED
        state = (await cluster.metadata.wait_until(lambda image: _led_by(image, 2))).partition("t", 0)
        assert state is not None
        assert (state.replicas, state.in_sync_replicas, state.leader_epoch) == ((2, 3), (2, 3), 1)


def _led_by(image, node_id):  # type: ignore[no-untyped-def]
    return image.partition("t", 0).leader == node_id


async def test_change_that_costs_the_leadership_rests_on_the_leader_all_the_same() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2])
        await cluster.controller.alter_reassignments({("t", 0): [2, 3]})
        store, controller = interfering(cluster)
        store.before = [Put(keys.broker_key(1), keys.encode_broker(broker(1, broker_epoch=99)))]
        with pytest.raises(ApiError) as raised:
            await controller.alter_partitions(1, 1, [change(topic_id, 0, 1, 2, 3, partition_epoch=1)])
        assert raised.value.code == ErrorCode.STALE_BROKER_EPOCH


# Replicas without a log


async def test_replicas_resign_and_others_take_over() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3], [2, 1, 3], [2, 3, 1])
        alone = await create(cluster, [1], name="alone")
        unknown = uuid.UUID(int=1)
        await cluster.controller.resign(
            [(topic_id, 0), (topic_id, 1), (alone, 0), (unknown, 0), (topic_id, 9)]
        )
        image = await cluster.metadata.wait_until(
            lambda image: image.topics["alone"].partitions[0].leader == -1
        )
        first, second, third = image.topics["t"].partitions
        assert (first.leader, first.in_sync_replicas) == (2, (2, 3))
        assert (second.leader, second.in_sync_replicas) == (2, (2, 3))
        assert third.state_revision == 0
        state = image.topics["alone"].partitions[0]
        assert (state.leader, state.last_known_eligible_leader_replicas) == (NO_LEADER, (1,))


async def test_resigning_does_not_wait_for_the_image(autojump_clock: MockClock) -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        state = cluster.image.topics["t"].partitions[0]._replace(in_sync_replicas=(1, 2), partition_epoch=1)
        store.before = [
            Put(keys.partition_key(topic_id, 0), keys.encode_partition(state)),
            Put(keys.broker_key(2), keys.encode_broker(broker(2, rack="r"))),
            Put(keys.broker_key(2), keys.encode_broker(broker(2, rack="s"))),
        ]

        async def never(delta: ImageDelta) -> None:
            await trio.sleep_forever()

        cluster.metadata.subscribe(never)
        with trio.fail_after(5):
            await controller.resign([(topic_id, 0)])
        found = await cluster.store.get(keys.partition_key(topic_id, 0))
        assert found is not None
        after = keys.decode_partition(found.key, found.value, 0)
        assert (after.in_sync_replicas, after.leader, after.partition_epoch) == ((2,), 2, 2)


async def test_eligible_replica_is_not_elected_when_the_minimum_is_lowered_meanwhile() -> None:
    async with running_cluster(*THREE, settings=Settings(min_insync_replicas=2)) as cluster:
        topic_id = await create(cluster, [1, 2])
        await write_state(
            cluster, topic_id, 0, PartitionState((1, 2), (1,), 1, 0, 1, eligible_leader_replicas=(2,))
        )
        store, controller = interfering(cluster)
        # From here on 1 may commit by itself.
        config = keys.encode_config({"min.insync.replicas": "1"})
        store.before = [Put(keys.config_key((TOPIC, "t")), config)]
        with trio.fail_after(5):
            await controller.resign([(topic_id, 0)])
            image = await cluster.metadata.wait_until(
                lambda image: image.partition("t", 0).in_sync_replicas != (1,)
            )
        state = image.topics["t"].partitions[0]
        assert (state.leader, state.eligible_leader_replicas) == (NO_LEADER, ())
        assert state.last_known_eligible_leader_replicas == (1,)


async def test_resigning_while_the_store_is_away() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2, 3])
        store, controller = interfering(cluster)
        store.before = [StoreUnavailableError("gone")]
        with pytest.raises(ApiError) as raised:
            await controller.resign([(topic_id, 0)])
        assert raised.value.code == ErrorCode.REQUEST_TIMED_OUT
        await controller.resign([(topic_id, 0)])


# Administrators


async def test_electing_preferred_leaders() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2], [1, 2], [1, 2])
        await write_state(cluster, topic_id, 1, PartitionState((1, 2), (1, 2), 2, 1, 1))
        await write_state(cluster, topic_id, 2, PartitionState((1, 2), (2,), 2, 1, 1))
        wanted = [("t", 0), ("t", 1), ("t", 2), ("t", 3), ("u", 0)]
        outcome = await cluster.controller.elect_leaders(PREFERRED, wanted)
        assert {index: error and error.code for index, error in outcome.items()} == {
            ("t", 0): ErrorCode.ELECTION_NOT_NEEDED,
            ("t", 1): None,
            ("t", 2): ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
            ("t", 3): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ("u", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        }
        state = cluster.image.topics["t"].partitions[1]
        assert (state.leader, state.leader_epoch, state.partition_epoch) == (1, 2, 2)


async def test_electing_for_all_partitions_tells_only_what_was_needed() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2], [1, 2])
        await write_state(cluster, topic_id, 1, PartitionState((1, 2), (1, 2), 2, 1, 1))
        assert await cluster.controller.elect_leaders(PREFERRED, None) == {("t", 1): None}


async def test_electing_anybody() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2], [1, 2])
        lost = PartitionState((1, 2), (), NO_LEADER, 1, 1, last_known_eligible_leader_replicas=(9,))
        await write_state(cluster, topic_id, 1, lost)
        outcome = await cluster.controller.elect_leaders(UNCLEAN, [("t", 0), ("t", 1)])
        assert outcome["t", 1] is None
        error = outcome["t", 0]
        assert error is not None
        assert error.code == ErrorCode.ELECTION_NOT_NEEDED
        state = cluster.image.topics["t"].partitions[1]
        assert (state.leader, state.in_sync_replicas, state.is_recovering) == (1, (1,), True)


async def test_unknown_kind_of_election() -> None:
    async with running_cluster() as cluster:
        with pytest.raises(ApiError) as raised:
            await cluster.controller.elect_leaders(2, None)
        assert raised.value.code == ErrorCode.INVALID_REQUEST


async def test_reassigning_and_taking_back() -> None:
    async with running_cluster(*THREE) as cluster:
        await create(cluster, [1, 2], [1, 2], [1, 2])
        outcome = await cluster.controller.alter_reassignments(
            {("t", 0): [2, 3], ("t", 1): None, ("t", 2): [1, 9], ("t", 3): [1], ("u", 0): None}
        )
        assert {partition: error and error.code for partition, error in outcome.items()} == {
            ("t", 0): None,
            ("t", 1): ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
            ("t", 2): ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            ("t", 3): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ("u", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        }
        ((topic, index, state),) = await cluster.controller.list_reassignments(None)
        assert (topic.name, index, state.replicas, state.adding_replicas, state.removing_replicas) == (
            "t",
            0,
            (2, 3, 1),
            (3,),
            (1,),
        )
        assert await cluster.controller.alter_reassignments({("t", 0): None}) == {("t", 0): None}
        assert list(await cluster.controller.list_reassignments(None)) == []
        state = cluster.image.topics["t"].partitions[0]
        assert (state.replicas, state.leader, state.leader_epoch) == ((2, 1), 1, 1)
        refused = await cluster.controller.alter_reassignments(
            {("t", 0): [1, 2, 3]}, allow_replication_factor_change=False
        )
        error = refused["t", 0]
        assert error is not None
        assert error.code == ErrorCode.INVALID_REPLICATION_FACTOR


# Brokers and deleted topics


async def test_unregistering_a_broker_that_is_alive() -> None:
    async with running_cluster(*THREE) as cluster:
        await cluster.controller.unregister_broker(3)
        assert list(cluster.image.brokers) == [1, 2]
        with pytest.raises(ApiError) as raised:
            await cluster.controller.unregister_broker(3)
        assert raised.value.code == ErrorCode.BROKER_ID_NOT_REGISTERED


async def test_unregistering_a_broker_that_is_down_stops_deletions_from_waiting() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_id = await create(cluster, [1, 2], [2, 3])
        await create(cluster, [1, 3], name="u")
        await cluster.controller.delete_topics([topic_id])
        assert cluster.image.deleted_topics[topic_id].node_ids == (1, 2, 3)
        result = await cluster.store.transact([], [Delete(keys.broker_key(2)), Delete(keys.broker_key(3))])
        await cluster.metadata.wait_for(result.revision)
        await cluster.controller.unregister_broker(2)
        await cluster.controller.unregister_broker(3)
        assert cluster.image.deleted_topics[topic_id].node_ids == (1,)
        # It still has replicas, so Kafka would know it.
        await cluster.controller.unregister_broker(3)
        with pytest.raises(ApiError) as raised:
            await cluster.controller.unregister_broker(2)
        assert raised.value.code == ErrorCode.BROKER_ID_NOT_REGISTERED


async def test_deletion_ends_when_every_broker_is_done() -> None:
    async with running_cluster(*THREE) as cluster:
        topic_ids = [await create(cluster, [1, 2], [2, 3], name=name) for name in ("a", "b")]
        outcome = await cluster.controller.delete_topics(topic_ids)
        assert set(outcome.values()) == {None}
        assert {deleted.name for deleted in cluster.image.deleted_topics.values()} == {"a", "b"}
        others = [cluster.another_controller(node_id) for node_id in (2, 3)]
        async with trio.open_nursery() as nursery:
            for controller in (cluster.controller, *others):
                nursery.start_soon(controller.deletion_done, topic_ids)
        assert cluster.image.deleted_topics == {}
        assert (await cluster.store.range(keys.DELETED_TOPICS_PREFIX)).items == ()
        await cluster.controller.deletion_done([*topic_ids, uuid.UUID(int=1)])


async def test_topic_of_the_same_name_is_not_touched_by_the_deletion_of_the_first() -> None:
    async with running_cluster() as cluster:
        topic_id = await cluster.create("a")
        await cluster.controller.delete_topics([topic_id])
        again = await cluster.create("a")
        assert list(cluster.image.deleted_topics) == [topic_id]
        await cluster.controller.deletion_done([topic_id])
        assert cluster.image.topics["a"].topic_id == again


async def test_rules_come_from_the_topic_or_else_the_broker() -> None:
    async with running_cluster(*THREE, settings=Settings(min_insync_replicas=2)) as cluster:
        plain = await create(cluster, [1, 2, 3])
        strict = await create(cluster, [1, 2, 3], name="strict")
        await cluster.controller.incremental_alter_configs(
            {(TOPIC, "strict"): [("min.insync.replicas", 0, "3")]}
        )
        outcome = await cluster.controller.alter_partitions(
            1, 1, [change(plain, 0, 1, 2), change(strict, 0, 1, 2)]
        )
        eligible = {
            topic_id: answer.eligible_leader_replicas
            for (topic_id, _), answer in outcome.items()
            if isinstance(answer, PartitionState)
        }
        assert eligible == {plain: (), strict: (3,)}
