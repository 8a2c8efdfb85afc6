"""Going without anybody noticing."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from kbroker.metadata.controlled_shutdown import shut_down_controlled
from kbroker.metadata.image import NO_LEADER
from tests.kbroker.metadata.members import Member, running_members


async def shut_down(member: Member, timeout_s: float = 10.0) -> bool:
    return await shut_down_controlled(
        member.session, member.metadata, member.node_id, timeout_s=timeout_s, monotonic=trio.current_time
    )


async def test_leadership_has_moved_when_the_shutdown_is_granted(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[1, 2, 3], [2, 1], [2], [2, 3, 1]])
        await trio.sleep(0.5)
        begun = trio.current_time()
        assert await shut_down(members[2])
        assert trio.current_time() - begun < 1
        first, second, third, fourth = members[2].image.topics["t"].partitions
        assert (first.leader, first.in_sync_replicas) == (1, (1, 3))
        assert (second.leader, second.in_sync_replicas) == (1, (1,))
        assert (third.leader, third.in_sync_replicas) == (2, (2,))
        assert (fourth.leader, fourth.in_sync_replicas) == (3, (3, 1))
        await members[2].leave()
        await members[1].wait(lambda image: image.topics["t"].partitions[2].leader == NO_LEADER)
        # Nothing but that was left to do.
        assert [state.partition_epoch for state in members[1].image.topics["t"].partitions] == [1, 1, 1, 1]


async def test_controller_itself_goes(autojump_clock: MockClock) -> None:
    async with running_members(1, 2) as members:
        await members.create("t", [[1, 2]])
        await trio.sleep(0.5)
        assert members[1].elected.is_in_office
        assert await shut_down(members[1])
        assert members[2].state("t").leader == 2


async def test_broker_on_its_own_goes_at_once_and_writes_nothing(autojump_clock: MockClock) -> None:
    async with running_members(1) as members:
        await members.create("t", [[1]] * 5)
        await trio.sleep(0.5)
        revision = (await members.store.range("")).revision
        assert await shut_down(members[1])
        assert (await members.store.range("")).revision == revision
        await members[1].leave()
        await members.start(1)
        await trio.sleep(0.5)
        assert {state.state_revision for state in members[1].image.topics["t"].partitions} == {0}


async def test_brokers_that_all_go_at_once(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        await members.create("t", [[1, 2, 3], [2, 3, 1]])
        await trio.sleep(0.5)
        granted: list[bool] = []

        async def go(member: Member) -> None:
            granted.append(await shut_down(member))
            await member.leave()

        async with trio.open_nursery() as nursery:
            for node_id in (1, 2, 3):
                nursery.start_soon(go, members[node_id])
        assert granted == [True] * 3


async def test_time_runs_out_when_there_is_no_controller(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_members(1, 2) as members:
        await members.create("t", [[1, 2]])
        await trio.sleep(0.5)
        member = members[1]
        # Nobody reacts to anything.
        for other in members.by_node_id.values():
            other.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(member.metadata.run)
            begun = trio.current_time()
            assert not await shut_down(member, timeout_s=3)
            assert trio.current_time() - begun == pytest.approx(3)
            nursery.cancel_scope.cancel()
        assert "still need it" in caplog.text
