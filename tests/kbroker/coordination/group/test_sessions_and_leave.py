"""Heartbeats, sessions that end, and members that leave."""

from __future__ import annotations

import pytest

from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import GROUP, SESSION_MS, Harness
from wire.errors import ErrorCode


@pytest.fixture
def shard() -> Harness:
    return Harness()


class TestSessions:
    def test_heartbeats_keep_a_member(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        for _ in range(5):
            shard.sleep(SESSION_MS - 1)
            assert shard.heartbeat(member_id, 1).code is ErrorCode.NONE
        assert shard.group.state is GroupState.STABLE

    def test_silence_ends_a_membership(self, shard: Harness) -> None:
        first, second = shard.stable_group(None, None)
        shard.sleep(SESSION_MS - 1)
        shard.heartbeat(first, 1)
        shard.sleep(1)
        assert list(shard.group.members) == [first]
        assert shard.heartbeat(first, 1).code is ErrorCode.REBALANCE_IN_PROGRESS
        assert shard.heartbeat(second, 1).code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_the_last_member_fails(self, shard: Harness) -> None:
        shard.stable_group(None)
        shard.sleep(SESSION_MS)
        assert (shard.group.state, shard.group.generation_id) == (GroupState.EMPTY, 2)
        assert shard.restarted().group.state is GroupState.EMPTY

    def test_commits_keep_a_member(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        for _ in range(3):
            shard.sleep(SESSION_MS - 1)
            shard.commit({("t", 0): 1}, member_id, 1)
        assert shard.group.state is GroupState.STABLE

    def test_a_failed_leader_is_succeeded(self, shard: Harness) -> None:
        leader, follower = shard.stable_group(None, None)
        shard.sleep(SESSION_MS - 1)
        shard.heartbeat(follower, 1)
        shard.sleep(1)
        assert leader not in shard.group.members
        assert shard.join(follower).response.leader == follower

    def test_who_fails_while_others_rejoin_is_not_awaited(self, shard: Harness) -> None:
        leader, _ = shard.stable_group(None, None)
        call = shard.join(leader)
        shard.sleep(SESSION_MS - 1)
        assert call.is_parked
        shard.sleep(1)
        assert call.response.generation_id == 2

    def test_who_waits_in_a_rebalance_has_no_session(self, shard: Harness) -> None:
        leader, follower = shard.stable_group(None, None)
        call = shard.join(leader)
        for _ in range(4):
            shard.sleep(SESSION_MS - 1)
            shard.heartbeat(follower, 1)
        assert call.is_parked
        shard.join(follower)
        assert call.code is ErrorCode.NONE

    def test_members_of_a_restored_group_get_a_fresh_session(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        shard.sleep(SESSION_MS - 1)
        restored = shard.restarted()
        restored.sleep(SESSION_MS - 1)
        assert restored.heartbeat(member_id, 1).code is ErrorCode.NONE
        restored.sleep(SESSION_MS)
        assert restored.group.state is GroupState.EMPTY

    def test_heartbeat_to_a_group_that_does_not_exist(self, shard: Harness) -> None:
        assert shard.heartbeat("member", 1).code is ErrorCode.UNKNOWN_MEMBER_ID


class TestLeave:
    def test_one_of_two(self, shard: Harness) -> None:
        leader, follower = shard.stable_group(None, None)
        assert shard.leave(follower).response.members[0].error_code == ErrorCode.NONE
        assert shard.group.state is GroupState.PREPARING_REBALANCE
        assert shard.join(leader).response.generation_id == 2

    def test_the_last_one(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        shard.leave(member_id)
        assert shard.group.state is GroupState.EMPTY
        restored = shard.restarted().group
        assert (restored.state, restored.generation_id) == (GroupState.EMPTY, 2)
        assert restored.protocol_type == "consumer"

    def test_the_leader(self, shard: Harness) -> None:
        leader, follower = shard.stable_group(None, None)
        shard.leave(leader)
        assert shard.group.leader_id == follower

    def test_by_instance_id(self, shard: Harness) -> None:
        first, _ = shard.stable_group("a", "b")
        call = shard.leave(("", "b"), ("", "nobody"), ("", None))
        unknown = ErrorCode.UNKNOWN_MEMBER_ID
        assert [member.error_code for member in call.response.members] == [0, unknown, unknown]
        assert [member.group_instance_id for member in call.response.members] == ["b", "nobody", None]
        assert list(shard.group.members) == [first]

    def test_several_at_once_rebalance_once(self, shard: Harness) -> None:
        members = shard.stable_group(None, None, None)
        shard.leave(*members[1:])
        assert shard.join(members[0]).response.generation_id == 2

    def test_nobody_known_changes_nothing(self, shard: Harness) -> None:
        shard.stable_group(None)
        assert shard.leave("stranger").response.members[0].error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert shard.group.state is GroupState.STABLE

    def test_pending_member(self, shard: Harness) -> None:
        (leader,) = shard.stable_group(None)
        pending = shard.new_member_id()
        call = shard.join(leader)
        assert shard.leave(pending).response.members[0].error_code == ErrorCode.NONE
        assert call.response.generation_id == 2
        assert shard.join(pending).code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_member_that_waits_in_join(self, shard: Harness) -> None:
        leader, _ = shard.stable_group(None, None)
        call = shard.join(leader)
        shard.leave(leader)
        assert call.code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_member_that_waits_in_sync(self, shard: Harness) -> None:
        shard.join_dynamic()
        follower, _ = shard.join_dynamic()
        shard.sleep(6_000)
        call = shard.sync(follower, 1)
        shard.leave(follower)
        assert call.code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_it_waits_until_the_empty_group_is_committed(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        shard.holding = True
        call = shard.leave(member_id)
        assert call.is_parked
        shard.release()
        assert call.code is ErrorCode.NONE

    def test_it_cannot_be_stored(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        shard.append_error = ErrorCode.NOT_COORDINATOR
        assert shard.leave(member_id).error is ErrorCode.NOT_COORDINATOR
        assert shard.group.state is GroupState.EMPTY, "the member is gone all the same"

    def test_group_that_does_not_exist(self, shard: Harness) -> None:
        assert shard.leave("member").error is ErrorCode.UNKNOWN_MEMBER_ID
        assert shard.shard.groups.get(GROUP) is None
