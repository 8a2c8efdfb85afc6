"""The elected controller at work: several brokers over one store, under virtual time."""

from __future__ import annotations

import logging
import uuid

import pytest
import trio
from trio.testing import MockClock

from kbroker.metadata import keys
from kbroker.metadata.image import NO_LEADER, ClusterImage, ControllerRegistration
from kbroker.metadata.store import Put, StoreUnavailableError
from tests.kbroker.metadata.cluster import InterferingStore
from tests.kbroker.metadata.members import TIMEOUT_S, Members, MemberSettings, running_members


def leads(name: str, node_id: int, index: int = 0) -> object:
    def condition(image: ClusterImage) -> bool:
        state = image.partition(name, index)
        return state is not None and state.leader == node_id

    return condition


async def settled(members: Members) -> None:
    """Let everything happen that is about to happen without time passing."""
    await trio.sleep(0.5)


# The office


async def test_one_broker_is_elected(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await settled(members)
        controllers = {members[node_id].image.controller for node_id in (1, 2, 3)}
        assert len(controllers) == 1
        (controller,) = controllers
        assert controller is not None
        assert (controller.node_id, controller.controller_epoch) == (1, 1)
        assert [members[node_id].elected.is_in_office for node_id in (1, 2, 3)] == [True, False, False]
        assert members[2].image.controller == controller


async def test_another_takes_over_when_the_controller_goes_and_epochs_grow(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await settled(members)
        await members[1].leave()
        await settled(members)
        controller = members[3].image.controller
        assert controller is not None
        assert controller.node_id in (2, 3)
        assert controller.controller_epoch == 2
        begun = trio.current_time()
        members[controller.node_id].kill()
        other = members[5 - controller.node_id]
        await other.wait(
            lambda image: image.controller is not None and image.controller.node_id == other.node_id
        )
        assert trio.current_time() - begun <= TIMEOUT_S + 1
        assert other.image.controller is not None
        assert other.image.controller.controller_epoch == 3


async def test_controller_that_loses_its_session_is_elected_anew(autojump_clock: MockClock) -> None:
    async with running_members(1) as members:
        await settled(members)
        await members.store.revoke_lease(members[1].session.lease_id)
        await trio.sleep(5)
        assert members[1].lost == 1
        controller = members[1].image.controller
        assert controller is not None
        assert controller.controller_epoch == 2


async def test_deposed_controller_writes_nothing(autojump_clock: MockClock) -> None:
    async with running_members() as members:
        store = InterferingStore(members.store)
        await members.start(1, store=store)
        await settled(members)
        await members.start(2)
        topic_id = await members.create("t", [[2, 1]])
        await settled(members)
        assert members[1].elected.is_in_office
        # Just before it writes that broker 2 is gone, another broker takes the office.
        other = keys.encode_controller(ControllerRegistration(9, 2))
        store.before = [Put(keys.CONTROLLER_KEY, other)]
        await members[2].leave()
        await trio.sleep(30)
        assert store.before == []
        assert not members[1].elected.is_in_office
        assert await members.store.get(keys.partition_key(topic_id, 0)) is None


# Brokers that come and go


async def test_partitions_of_a_dead_broker_are_led_by_others(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[2, 1, 3], [3, 2], [2]])
        begun = trio.current_time()
        with caplog.at_level(logging.INFO):
            members[2].kill()
            await members[1].wait(leads("t", NO_LEADER, 2))
            await settled(members)
        assert trio.current_time() - begun <= TIMEOUT_S + 1.5
        first, second, third = members[1].image.topics["t"].partitions
        assert (first.leader, first.in_sync_replicas, first.leader_epoch) == (1, (1, 3), 1)
        assert (second.leader, second.in_sync_replicas, second.leader_epoch) == (3, (3,), 0)
        assert (third.leader, third.eligible_leader_replicas, third.leader_epoch) == (NO_LEADER, (2,), 1)
        told = [record.message for record in caplog.records if record.message.startswith("t-")]
        assert sorted(told) == [
            "t-0: leader 2 -> 1, in sync [2, 1, 3] -> [1, 3] (leader epoch 1, partition epoch 1): broker 2 is gone",
            "t-1: in sync [3, 2] -> [3] (leader epoch 0, partition epoch 1): broker 2 is gone",
            "t-2: leader 2 -> none, in sync [2] -> [], eligible [] -> [2] (leader epoch 1, partition epoch 1): "
            "broker 2 is gone",
        ]


async def test_broker_that_comes_back_leads_what_waits_for_it(autojump_clock: MockClock) -> None:
    async with running_members(1, 2) as members:
        await members.create("t", [[2]])
        await members[2].leave()
        await members[1].wait(leads("t", NO_LEADER))
        await members.start(2)
        await members[1].wait(leads("t", 2))
        state = members[1].state("t")
        assert (state.in_sync_replicas, state.eligible_leader_replicas, state.leader_epoch) == ((2,), (), 2)


async def test_new_controller_finds_what_happened_while_there_was_none(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[1, 2, 3], [2, 1, 3]])
        members[1].kill()
        members[2].kill()
        await members[3].wait(leads("t", 3, 0))
        await members[3].wait(leads("t", 3, 1))
        assert members[3].state("t").in_sync_replicas == (3,)


async def test_cluster_that_went_down_at_once_gets_new_leader_epochs(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[1, 2, 3], [1]])
        for node_id in (1, 2, 3):
            members[node_id].kill()
        async with trio.open_nursery() as nursery:
            for node_id in (1, 2, 3):
                nursery.start_soon(members.start, node_id)
        await settled(members)
        state = members[1].state("t")
        assert state.leader != NO_LEADER
        assert state.leader_epoch > 0
        assert state.in_sync_replicas == (state.leader,)
        # Nobody follows the other one: it is as it was, without a key of its own.
        alone = members[1].state("t", 1)
        assert (alone.leader, alone.leader_epoch, alone.state_revision) == (1, 0, 0)


async def test_restart_counts_as_having_been_away(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[2, 1, 3]])
        await settled(members)
        await members[2].leave()
        await members.start(2)
        await settled(members)
        state = members[1].state("t")
        assert (state.leader, state.in_sync_replicas, state.leader_epoch) == (1, (1, 3), 1)


async def test_topic_born_on_a_broker_that_has_just_died(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await settled(members)
        await members[2].leave()
        await settled(members)
        births = [keys.newborn_partition((2, 1, 3), (2, 1, 3))]
        topic_id = uuid.UUID(int=5)
        await members.store.transact(
            [], [Put(keys.topic_key("late"), keys.encode_topic("late", topic_id, births))]
        )
        await members[1].wait(leads("late", 1))


async def test_controlled_shutdown_flag_moves_leadership(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[2, 1, 3], [1, 2], [2]])
        with caplog.at_level(logging.INFO):
            assert await members[2].session.begin_controlled_shutdown(5)
            await members[1].wait(leads("t", 1))
            await settled(members)
        assert members[1].state("t").in_sync_replicas == (1, 3)
        assert members[1].state("t", 1).in_sync_replicas == (1,)
        assert members[1].state("t", 2).leader == 2
        assert "controlled shutdown of 2" in caplog.text


async def test_smaller_minimum_makes_eligible_replicas_forgotten(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[1, 2, 3]], {"min.insync.replicas": "3"})
        await members[3].leave()
        await members[1].wait(lambda image: image.topics["t"].partitions[0].eligible_leader_replicas == (3,))
        await members[1].controller.incremental_alter_configs({(2, "t"): [("min.insync.replicas", 0, "2")]})
        await members[1].wait(lambda image: image.topics["t"].partitions[0].eligible_leader_replicas == ())


# Now and then


async def test_leadership_returns_to_the_preferred_replicas(autojump_clock: MockClock) -> None:
    async with running_members(1, 2) as members:
        topic_id = await members.create("t", [[2, 1]])
        await members[2].leave()
        await members[1].wait(leads("t", 1))
        await members.start(2)
        await settled(members)
        state = members[1].state("t")
        both = state._replace(in_sync_replicas=(1, 2), partition_epoch=state.partition_epoch + 1)
        await members.store.transact([], [Put(keys.partition_key(topic_id, 0), keys.encode_partition(both))])
        await trio.sleep(200)
        assert members[1].state("t").leader == 1
        await trio.sleep(100)
        assert members[1].state("t").leader == 2
        assert members[1].state("t").in_sync_replicas == (1, 2)


async def test_leadership_stays_where_balance_is_switched_off(autojump_clock: MockClock) -> None:
    settings = MemberSettings(auto_leader_rebalance_enable=False)
    async with running_members(1, 2, settings=settings) as members:
        topic_id = await members.create("t", [[2, 1]])
        state = members[1].state("t")._replace(leader=1, leader_epoch=1, partition_epoch=1)
        await members.store.transact([], [Put(keys.partition_key(topic_id, 0), keys.encode_partition(state))])
        await trio.sleep(700)
        assert members[1].state("t").leader == 1


async def test_unclean_election_as_soon_as_the_topic_allows_it(autojump_clock: MockClock) -> None:
    async with running_members(1, 2) as members:
        topic_id = await members.create("t", [[2, 1]])
        state = members[1].state("t")._replace(in_sync_replicas=(2,), partition_epoch=1)
        await members.store.transact([], [Put(keys.partition_key(topic_id, 0), keys.encode_partition(state))])
        await members[2].leave()
        await members[1].wait(leads("t", NO_LEADER))
        await trio.sleep(700)
        assert members[1].state("t").leader == NO_LEADER
        await members[1].controller.incremental_alter_configs(
            {(2, "t"): [("unclean.leader.election.enable", 0, "true")]}
        )
        await members[1].wait(leads("t", 1))
        state = members[1].state("t")
        assert (state.in_sync_replicas, state.is_recovering) == ((1,), True)


async def test_unclean_election_by_default_of_all_brokers_waits_for_the_next_look(
    autojump_clock: MockClock,
) -> None:
    settings = MemberSettings()
    async with running_members(1, 2, settings=settings) as members:
        topic_id = await members.create("t", [[2, 1]])
        state = members[1].state("t")._replace(in_sync_replicas=(2,), partition_epoch=1)
        await members.store.transact([], [Put(keys.partition_key(topic_id, 0), keys.encode_partition(state))])
        await members[2].leave()
        await members[1].wait(leads("t", NO_LEADER))
        settings.unclean_leader_election_enable = True
        await trio.sleep(301)
        assert members[1].state("t").leader == 1


# A store in the way


async def test_store_that_is_away_for_a_while(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_members(2) as members:
        store = InterferingStore(members.store)
        await members.start(1, store=store)
        await members.create("t", [[2, 1], [2, 1]])
        await members[2].session.change(fenced=True)
        await members[2].leave()
        await members[1].wait(lambda image: image.controller is not None and image.controller.node_id == 1)
        await members[1].wait(leads("t", 1))
        await members.start(2)
        await settled(members)
        store.before = [StoreUnavailableError("not there")] * 3
        state = members[1].state("t")
        topic_id = members[1].image.topics["t"].topic_id
        await members.store.transact(
            [],
            [
                Put(
                    keys.partition_key(topic_id, 0),
                    keys.encode_partition(state._replace(in_sync_replicas=(1, 2), leader=2)),
                )
            ],
        )
        await members[2].leave()
        await members[1].wait(lambda image: image.topics["t"].partitions[0].in_sync_replicas == (1,))
        assert "not there" in caplog.text


class SilentStore(InterferingStore):
    """Does what it is told and says that it could not be reached."""

    is_silent = False

    async def transact(self, compares, operations):  # type: ignore[no-untyped-def]
        result = await super().transact(compares, operations)
        if self.is_silent:
            self.is_silent = False
            raise StoreUnavailableError("the answer is lost")
        return result


async def test_change_whose_answer_was_lost_is_told_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_members() as members:
        store = SilentStore(members.store)
        await members.start(1, store=store)
        await members.start(2)
        await members.create("t", [[2, 1]])
        await settled(members)
        with caplog.at_level(logging.INFO):
            members[2].kill()
            store.is_silent = True
            await members.store.revoke_lease(members[2].session.lease_id)
            await members[1].wait(leads("t", 1))
            await trio.sleep(5)
        told = [record.message for record in caplog.records if record.message.startswith("t-0")]
        assert len(told) == 1
        assert "broker 2 is gone" in told[0]
        assert members[1].state("t").leader_epoch == 1


async def test_race_with_a_leader_is_decided_anew(autojump_clock: MockClock) -> None:
    async with running_members(3, 2) as members:
        store = InterferingStore(members.store)
        await members.start(1, store=store)
        topic_id = await members.create("t", [[1, 2, 3]])
        await members[3].leave()
        await settled(members)
        state = members[1].state("t")
        assert state.in_sync_replicas == (1, 2)
        controller = members[1].image.controller
        assert controller is not None
        if controller.node_id == 1:
            # Just before the controller writes that 2 is gone, the leader has put 2 out itself.
            alone = state._replace(in_sync_replicas=(1,), partition_epoch=state.partition_epoch + 1)
            store.before = [Put(keys.partition_key(topic_id, 0), keys.encode_partition(alone))]
        await members[2].leave()
        await trio.sleep(1)
        after = members[1].state("t")
        assert (after.in_sync_replicas, after.leader) == ((1,), 1)


# Many partitions


@pytest.mark.slow
async def test_three_thousand_partitions_fail_over(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        for number in range(3):
            rotation = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
            await members.create(f"t{number}", [rotation[index % 3] for index in range(1000)])
        await members[2].leave()

        def is_done(image: ClusterImage) -> bool:
            return all(
                2 not in state.in_sync_replicas and state.leader in (1, 3)
                for topic in image.topics.values()
                for state in topic.partitions
            )

        await members[1].wait(is_done)
        states = [state for topic in members[1].image.topics.values() for state in topic.partitions]
        assert sum(state.leader_epoch for state in states) == 3 * 333
        assert {state.partition_epoch for state in states} == {1}
