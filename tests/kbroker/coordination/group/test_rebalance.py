"""The phases of a rebalance, and the timers that end them."""

from __future__ import annotations

import pytest

from kbroker.coordination.group.group import GENERATION_MAX
from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import GROUP, REBALANCE_MS, SESSION_MS, Harness
from wire.errors import ErrorCode


class TestInitialDelay:
    def test_one_member_waits_for_the_delay(self) -> None:
        shard = Harness()
        _, call = shard.join_dynamic()
        shard.sleep(2_999)
        assert call.is_parked
        shard.sleep(1)
        assert call.response.generation_id == 1

    def test_every_new_member_extends_it(self) -> None:
        shard = Harness()
        _, first = shard.join_dynamic()
        for _ in range(4):
            shard.sleep(2_900)
            shard.join_dynamic()
        assert first.is_parked
        shard.sleep(5_000)
        assert len(first.response.members) == 5

    def test_but_not_beyond_the_rebalance_timeout(self) -> None:
        shard = Harness()
        _, first = shard.join_dynamic(rebalance_ms=8_000)
        for _ in range(3):
            shard.sleep(2_000)
            shard.join_dynamic(rebalance_ms=8_000)
        shard.sleep(1_999)
        assert first.is_parked
        shard.join_dynamic(rebalance_ms=8_000)
        shard.sleep(1)
        assert len(first.response.members) == 5

    def test_a_later_rebalance_of_an_empty_group_waits_again(self) -> None:
        shard = Harness()
        shard.leave(*shard.stable_group(None, None))
        _, call = shard.join_dynamic()
        shard.sleep(2_999)
        assert call.is_parked
        shard.sleep(1)
        assert call.code is ErrorCode.NONE

    def test_members_that_came_to_an_earlier_one_do_not_extend_it(self) -> None:
        shard = Harness()
        first, _ = shard.join_dynamic(rebalance_ms=3_000)
        second, _ = shard.join_dynamic(rebalance_ms=3_000)
        shard.sleep(3_000)
        shard.leave(first, second)
        _, call = shard.join_dynamic()
        shard.sleep(3_000)
        assert call.code is ErrorCode.NONE

    def test_no_delay(self) -> None:
        shard = Harness(group_initial_rebalance_delay_ms=0)
        _, call = shard.join_dynamic()
        shard.sleep(0)
        assert call.response.generation_id == 1

    def test_all_leave_before_it_is_over(self) -> None:
        shard = Harness()
        member_id, call = shard.join_dynamic()
        shard.leave(member_id)
        assert call.code is ErrorCode.UNKNOWN_MEMBER_ID
        assert shard.group.state is GroupState.PREPARING_REBALANCE
        shard.sleep(3_000)
        assert (shard.group.state, shard.group.generation_id) == (GroupState.EMPTY, 1)

    def test_pending_members_are_not_waited_for(self) -> None:
        shard = Harness()
        pending = shard.new_member_id()
        _, call = shard.join_dynamic()
        shard.sleep(3_000)
        assert call.response.generation_id == 1
        assert shard.join(pending).is_parked


class TestJoinPhase:
    def test_who_does_not_join_in_time_is_out(self) -> None:
        shard = Harness()
        leader, follower = shard.stable_group(None, None, session_ms=1_800_000)
        call = shard.join(leader)
        shard.sleep(REBALANCE_MS - 1)
        assert call.is_parked
        shard.sleep(1)
        assert call.response.generation_id == 2
        assert list(shard.group.members) == [leader]
        assert shard.heartbeat(follower, 1).code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_the_slowest_member_sets_the_time(self) -> None:
        shard = Harness()
        shard.join_dynamic(rebalance_ms=10_000, session_ms=1_800_000)
        shard.join_dynamic(rebalance_ms=90_000, session_ms=1_800_000)
        shard.sleep(6_000)
        leader, follower = shard.group.members
        shard.sync(follower, 1)
        shard.sync(leader, 1)
        call = shard.join(leader)
        shard.sleep(89_999)
        assert call.is_parked
        shard.sleep(1)
        assert call.response.generation_id == 2

    def test_another_member_leads_if_the_leader_is_out(self) -> None:
        shard = Harness()
        _, second, third = shard.stable_group(None, None, None, session_ms=1_800_000)
        calls = [shard.join(second, protocols={"range": b"new"}), shard.join(third)]
        shard.sleep(REBALANCE_MS)
        assert [call.response.leader for call in calls] == [second, second]
        assert len(calls[0].response.members) == 2

    def test_a_static_leader_that_is_away_stays_but_does_not_lead(self) -> None:
        shard = Harness()
        leader, follower = shard.stable_group("a", "b", session_ms=1_800_000)
        call = shard.join(follower, instance="b", protocols={"range": b"new"})
        shard.sleep(REBALANCE_MS)
        assert call.response.leader == follower
        assert {member.member_id for member in call.response.members} == {leader, follower}

    def test_only_static_members_that_are_all_away(self) -> None:
        shard = Harness()
        shard.stable_group("a", "b", session_ms=1_800_000)
        joined, call = shard.join_dynamic()
        shard.leave(joined)
        assert call.code is ErrorCode.UNKNOWN_MEMBER_ID
        shard.sleep(REBALANCE_MS * 3)
        assert shard.group.state is GroupState.PREPARING_REBALANCE
        assert shard.group.generation_id == 1
        again = shard.join(instance="a")
        shard.sleep(REBALANCE_MS)
        assert again.response.generation_id == 2

    def test_leave_ends_it_when_nobody_else_is_awaited(self) -> None:
        shard = Harness()
        leader, follower = shard.stable_group(None, None)
        call = shard.join(leader)
        assert call.is_parked
        shard.leave(follower)
        assert call.response.generation_id == 2

    def test_all_leave(self) -> None:
        shard = Harness()
        leader, follower = shard.stable_group(None, None)
        shard.join(leader)
        shard.leave(leader, follower)
        assert (shard.group.state, shard.group.generation_id) == (GroupState.EMPTY, 2)
        assert shard.group.protocol_name is None
        assert shard.group.leader_id is None
        assert shard.restarted().group.generation_id == 2


class TestSyncPhase:
    def test_who_does_not_sync_in_time_is_out(self) -> None:
        shard = Harness()
        leader, _ = shard.join_dynamic(session_ms=1_800_000)
        follower, _ = shard.join_dynamic(session_ms=1_800_000)
        shard.sleep(6_000)
        shard.sync(leader, 1)
        assert shard.group.state is GroupState.STABLE
        shard.sleep(REBALANCE_MS)
        assert list(shard.group.members) == [leader]
        assert shard.group.state is GroupState.PREPARING_REBALANCE
        assert shard.join(leader).response.generation_id == 2
        assert shard.heartbeat(follower, 1).code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_a_leader_that_does_not_assign_is_out(self) -> None:
        shard = Harness()
        leader, _ = shard.join_dynamic(session_ms=1_800_000)
        follower, _ = shard.join_dynamic(session_ms=1_800_000)
        shard.sleep(6_000)
        waiting = shard.sync(follower, 1)
        shard.sleep(REBALANCE_MS)
        assert waiting.code is ErrorCode.REBALANCE_IN_PROGRESS
        assert list(shard.group.members) == [follower]
        assert shard.join(follower).response.leader == follower
        assert leader not in shard.group.members

    def test_nobody_syncs(self) -> None:
        shard = Harness()
        shard.join_dynamic(session_ms=1_800_000)
        shard.join_dynamic(session_ms=1_800_000)
        shard.sleep(6_000 + REBALANCE_MS)
        assert not shard.group.members
        assert shard.group.state is GroupState.EMPTY

    def test_all_synced_ends_the_watch(self) -> None:
        shard = Harness()
        members = shard.stable_group(None, None, session_ms=1_800_000)
        shard.sleep(REBALANCE_MS * 2)
        assert list(shard.group.members) == members
        assert shard.group.state is GroupState.STABLE

    def test_watch_of_an_earlier_generation_does_not_count(self) -> None:
        shard = Harness()
        leader, _ = shard.join_dynamic(session_ms=1_800_000)
        shard.sleep(3_000)
        shard.sleep(REBALANCE_MS - 10)
        call = shard.join(leader, protocols={"range": b"new"}, session_ms=1_800_000)
        assert call.response.generation_id == 2
        shard.sleep(REBALANCE_MS - 1)
        assert shard.group.state is GroupState.COMPLETING_REBALANCE
        shard.sleep(1)
        assert shard.group.state is GroupState.EMPTY


@pytest.mark.parametrize("generation", [1, 2**31 - 2])
def test_generations_grow(generation: int) -> None:
    shard = Harness()
    (member_id,) = shard.stable_group(None)
    shard.group.generation_id = generation
    assert shard.join(member_id).response.generation_id == generation + 1


def test_generation_after_the_last_is_the_first_again() -> None:
    shard = Harness()
    (member_id,) = shard.stable_group(None)
    shard.group.generation_id = GENERATION_MAX
    call = shard.join(member_id)
    assert call.response.generation_id == 0
    assert shard.sync(member_id, 0).code is ErrorCode.NONE
    assert shard.heartbeat(member_id, 0).code is ErrorCode.NONE
    assert shard.commit({("t", 0): 1}, member_id, 0).response.topics[0].partitions[0].error_code == 0
    assert shard.restarted().group.generation_id == 0


def test_timers_of_a_deleted_group_do_nothing() -> None:
    shard = Harness()
    shard.new_member_id(session_ms=SESSION_MS)
    assert shard.delete_group() is ErrorCode.NONE
    shard.sleep(SESSION_MS)
    assert shard.shard.groups.get(GROUP) is None


def test_pending_member_of_a_group_that_could_not_be_deleted_is_still_watched() -> None:
    shard = Harness()
    shard.new_member_id(session_ms=SESSION_MS)
    shard.append_error = ErrorCode.NOT_COORDINATOR
    assert shard.delete_group() is ErrorCode.NOT_COORDINATOR
    shard.sleep(SESSION_MS)
    assert not shard.group.pending_join
