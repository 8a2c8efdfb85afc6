"""A broker whose image is late decides as if it were not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from kbroker.metadata.controller import Controller
from kbroker.metadata.decision_writer import CATCH_UP_MAX_S
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.store import MetadataStore, StoreUnavailableError, Watch, WatchBatch
from tests.kbroker.metadata.cluster import (
    TOPIC,
    Cluster,
    InterferingStore,
    broker,
    make_controller,
    new_topic,
    running_cluster,
)
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import CreatePartitionsRequest

LATE_S = 5.0
GrowingTopic = CreatePartitionsRequest.CreatePartitionsTopic
RESOURCE = (TOPIC, "t")


class LateStore(InterferingStore):
    """Changes reach its watches some seconds after they were made; ``barriers`` counts what was asked for."""

    def __init__(self, store: MetadataStore) -> None:
        super().__init__(store)
        self.barriers = 0

    async def barrier(self) -> int:
        self.barriers += 1
        return await self._store.barrier()

    def watch(self, prefix: str, from_revision: int) -> LateWatch:
        return LateWatch(self._store.watch(prefix, from_revision))


class LateWatch:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def __aenter__(self) -> LateWatch:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    def __aiter__(self) -> LateWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        batch = await self._watch.__anext__()
        await trio.sleep(LATE_S)
        return batch


@asynccontextmanager
async def two_brokers() -> AsyncIterator[tuple[Cluster, Controller, LateStore]]:
    """A cluster with its own controller, and that of a second broker, which is late."""
    async with running_cluster(broker(1), broker(2)) as cluster, trio.open_nursery() as nursery:
        await cluster.create("there")
        await cluster.controller.incremental_alter_configs({(TOPIC, "there"): [("retention.ms", 0, "1")]})
        store = LateStore(cluster.store)
        metadata = ClusterMetadata(store, sleep=trio.sleep)
        await metadata.load()
        nursery.start_soon(metadata.run)
        yield cluster, make_controller(2, store, metadata, cluster.settings), store
        nursery.cancel_scope.cancel()


def code_of(error: ApiError | None) -> ErrorCode | None:
    return None if error is None else error.code


async def creation(late: Controller, _: UUID) -> object:
    (result,) = await late.create_topics([new_topic("t")])
    return result.error_code


async def validated_creation(late: Controller, _: UUID) -> object:
    (result,) = await late.create_topics([new_topic("t")], validate_only=True)
    return result.error_code


async def creation_by_use(late: Controller, _: UUID) -> object:
    return await late.auto_create_topics(["t"])


async def deletion(late: Controller, topic_id: UUID) -> object:
    return await late.delete_topics([topic_id]) == {topic_id: None}


async def growth(late: Controller, _: UUID) -> object:
    return await late.create_partitions([GrowingTopic(name="t", count=3, assignments=None)])


async def election(late: Controller, _: UUID) -> object:
    return code_of((await late.elect_leaders(0, [("t", 0)]))["t", 0])


async def reassignment(late: Controller, _: UUID) -> object:
    return await late.alter_reassignments({("t", 0): [1, 2]})


async def configuration(late: Controller, _: UUID) -> object:
    return await late.incremental_alter_configs({RESOURCE: [("retention.ms", 0, "1")]})


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (creation, ErrorCode.TOPIC_ALREADY_EXISTS),
        (validated_creation, ErrorCode.TOPIC_ALREADY_EXISTS),
        (creation_by_use, {"t": None}),
        (deletion, True),
        (growth, {"t": None}),
        (election, ErrorCode.ELECTION_NOT_NEEDED),
        (reassignment, {("t", 0): None}),
        (configuration, {RESOURCE: None}),
    ],
)
async def test_topic_that_another_broker_has_just_made_is_known(
    asked: Callable[[Controller, UUID], Awaitable[object]], answer: object, autojump_clock: MockClock
) -> None:
    async with two_brokers() as (cluster, late, _):
        topic_id = await cluster.create("t")
        assert await asked(late, topic_id) == answer


async def test_setting_what_a_late_image_holds_to_be_set_is_no_mere_nothing(
    autojump_clock: MockClock,
) -> None:
    resource = (TOPIC, "there")
    async with two_brokers() as (cluster, late, _):
        await cluster.controller.incremental_alter_configs({resource: [("retention.ms", 0, "2")]})
        await late.incremental_alter_configs({resource: [("retention.ms", 0, "1")]})
        assert cluster.image.config(resource) == {"retention.ms": "1"}


async def test_moves_that_another_broker_has_just_begun_are_listed(autojump_clock: MockClock) -> None:
    async with two_brokers() as (cluster, late, _):
        target = 3 - cluster.image.topics["there"].partitions[0].leader
        await cluster.controller.alter_reassignments({("there", 0): [target]})
        ((topic, index, state),) = await late.list_reassignments(None)
        assert (topic.name, index, state.adding_replicas) == ("there", 0, (target,))


async def test_all_partitions_are_those_of_now(autojump_clock: MockClock) -> None:
    async with two_brokers() as (cluster, late, _):
        await cluster.controller.delete_topics([cluster.image.topics["there"].topic_id])
        assert await late.elect_leaders(0, None) == {}  # and no word of a topic that is gone


async def test_broker_that_has_just_registered_can_be_taken_out(autojump_clock: MockClock) -> None:
    async with two_brokers() as (cluster, late, _):
        await cluster.register(broker(3))
        await late.unregister_broker(3)
        assert 3 not in cluster.image.brokers


async def test_what_its_comparisons_guard_waits_for_no_barrier(autojump_clock: MockClock) -> None:
    async with two_brokers() as (_, late, store):
        (result,) = await late.create_topics([new_topic("new")])
        assert (result.error_code, store.barriers) == (0, 0)
        await late.create_topics([new_topic("new"), new_topic("newer")])
        assert store.barriers == 1


async def everybody_elected(late: Controller) -> None:
    assert await late.elect_leaders(0, None) == {}


async def refused_growth(late: Controller) -> None:
    outcome = await late.create_partitions([GrowingTopic(name="there", count=1, assignments=None)])
    assert code_of(outcome["there"]) == ErrorCode.INVALID_PARTITIONS


async def unregistered_again(late: Controller) -> None:
    await late.unregister_broker(2)


@pytest.mark.parametrize("asked", [everybody_elected, refused_growth, unregistered_again])
async def test_what_begins_with_a_barrier_needs_no_other_to_be_refused(
    asked: Callable[[Controller], Awaitable[None]], autojump_clock: MockClock
) -> None:
    async with two_brokers() as (cluster, late, store):
        await cluster.controller.alter_reassignments({("there", 0): [1, 2]})
        await cluster.controller.unregister_broker(2)
        await asked(late)
        assert store.barriers == 1


async def created(late: Controller, number: int) -> None:
    await late.create_topics([new_topic(f"new-{number}")])


async def configured(late: Controller, number: int) -> None:
    await late.incremental_alter_configs({(TOPIC, "there"): [("retention.ms", 0, str(number))]})


async def upgraded(late: Controller, number: int) -> None:
    await late.update_features([("transaction.version", number, 1)])


@pytest.mark.parametrize(("change", "callers"), [(created, 3), (configured, 3), (upgraded, 1)])
async def test_an_image_that_does_not_follow_costs_each_who_changes_something_a_bounded_time(
    change: Callable[[Controller, int], Awaitable[None]], callers: int, autojump_clock: MockClock
) -> None:
    async with running_cluster(broker(1)) as cluster:
        await cluster.create("there")
        metadata = ClusterMetadata(cluster.store)
        await metadata.load()  # and nobody runs it
        late = make_controller(2, cluster.store, metadata, cluster.settings)
        waited = []

        async def one(number: int) -> None:
            with pytest.raises(ApiError, match="may have been done") as raised:
                await change(late, number)
            assert raised.value.code == ErrorCode.REQUEST_TIMED_OUT
            waited.append(trio.current_time() - begun)

        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(1, callers + 1):
                nursery.start_soon(one, number)
        assert waited == [CATCH_UP_MAX_S] * callers


async def test_store_out_of_reach_is_told_and_nothing_is_decided(autojump_clock: MockClock) -> None:
    class Unreachable(LateStore):
        async def barrier(self) -> int:
            raise StoreUnavailableError

    async with two_brokers() as (cluster, _, _):
        store = Unreachable(cluster.store)
        metadata = ClusterMetadata(store)
        await metadata.load()
        controller = make_controller(2, store, metadata, cluster.settings)
        for refused in (
            controller.create_topics([new_topic("there")]),
            controller.list_reassignments(None),
            controller.catch_up(),
        ):
            with pytest.raises(ApiError) as raised:
                await refused
            assert raised.value.code == ErrorCode.REQUEST_TIMED_OUT


class SlowBarrier(LateStore):
    """A barrier takes a second, and fails while ``failures`` says so."""

    failures = 0

    async def barrier(self) -> int:
        await trio.sleep(1)
        revision = await super().barrier()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        return revision


@asynccontextmanager
async def behind_slow_barriers(
    failures: int = 0,
) -> AsyncIterator[tuple[Cluster, SlowBarrier, ClusterMetadata]]:
    async with running_cluster(broker(1), broker(2)) as cluster, trio.open_nursery() as nursery:
        store = SlowBarrier(cluster.store)
        store.failures = failures
        metadata = ClusterMetadata(store, sleep=trio.sleep)
        await metadata.load()
        nursery.start_soon(metadata.run)
        yield cluster, store, metadata
        nursery.cancel_scope.cancel()


async def test_who_waits_for_a_barrier_to_end_shares_the_next(autojump_clock: MockClock) -> None:
    async with behind_slow_barriers() as (_, store, metadata):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(metadata.catch_up)
            await trio.sleep(0.5)
            for _ in range(4):
                nursery.start_soon(metadata.catch_up)
        assert (store.barriers, trio.current_time() - began) == (2, 2)


async def test_nobody_shares_a_barrier_that_had_begun_before(autojump_clock: MockClock) -> None:
    async with behind_slow_barriers() as (cluster, _, metadata), trio.open_nursery() as nursery:
        nursery.start_soon(metadata.catch_up)
        await trio.sleep(0.5)
        await cluster.create("meanwhile")
        image = await metadata.catch_up()
        assert "meanwhile" in image.topics


async def test_nobody_shares_a_barrier_that_failed(autojump_clock: MockClock) -> None:
    async with behind_slow_barriers(failures=2) as (cluster, store, metadata):
        await cluster.create("there")
        seen: list[object] = []

        async def catch_up() -> None:
            try:
                seen.append("there" in (await metadata.catch_up()).topics)
            except StoreUnavailableError:
                seen.append("failed")

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(catch_up)
        assert sorted(map(str, seen)) == ["True", "True", "failed", "failed"]
        assert store.barriers == 3


async def test_others_decide_while_one_waits_for_its_barrier(autojump_clock: MockClock) -> None:
    async with behind_slow_barriers() as (cluster, store, metadata):
        controller = make_controller(2, store, metadata, cluster.settings)
        await cluster.create("there")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(controller.create_topics, [new_topic("not a name")])
            await trio.sleep(0.5)
            nursery.start_soon(controller.create_topics, [new_topic("new", assignments=[(0, [1])])])
            await trio.sleep(0.25)
            assert "new" in cluster.image.topics


async def test_an_image_that_stands_still_is_not_waited_for_for_ever(autojump_clock: MockClock) -> None:
    async with running_cluster(broker(1), broker(2)) as cluster:
        metadata = ClusterMetadata(cluster.store)
        await metadata.load()  # and nobody runs it
        controller = make_controller(2, cluster.store, metadata, cluster.settings)
        await cluster.create("there")
        began = trio.current_time()
        with pytest.raises(ApiError) as raised:
            await controller.incremental_alter_configs({(TOPIC, "there"): [("retention.ms", 0, "1")]})
        assert raised.value.code == ErrorCode.REQUEST_TIMED_OUT
        assert trio.current_time() - began == 30


async def test_a_name_that_nothing_may_have_costs_those_who_use_it_no_barrier(
    autojump_clock: MockClock,
) -> None:
    async with two_brokers() as (_, late, store):
        outcome = await late.auto_create_topics(["no name", "there"])
        assert {name: code_of(error) for name, error in outcome.items()} == {
            "no name": ErrorCode.INVALID_TOPIC_EXCEPTION,
            "there": None,
        }
        assert store.barriers == 0
