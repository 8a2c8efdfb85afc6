"""Static members (KIP-345): replaced without a rebalance, fenced, and durable."""

from __future__ import annotations

import pytest

from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import SESSION_MS, Harness
from wire.errors import ErrorCode


@pytest.fixture
def shard() -> Harness:
    return Harness()


def test_static_member_is_taken_in_without_a_detour(shard: Harness) -> None:
    call = shard.join(instance="i")
    assert call.is_parked
    shard.sleep(3_000)
    assert call.response.member_id.startswith("i-")
    assert call.response.members[0].group_instance_id == "i"


class TestRestartOfAMember:
    def test_follower_of_a_stable_group(self, shard: Harness) -> None:
        leader, follower = shard.stable_group("a", "b")
        call = shard.join(instance="b")
        response = call.response
        assert response.error_code == ErrorCode.NONE
        assert response.member_id not in (leader, follower)
        assert (response.generation_id, response.leader) == (1, leader)
        assert (response.members, response.skip_assignment) == ([], False)
        assert shard.group.state is GroupState.STABLE
        synced = shard.sync(response.member_id, 1, instance="b")
        assert synced.response.assignment == follower.encode(), "the assignment stays with the instance"

    def test_leader_of_a_stable_group_is_told_not_to_assign(self, shard: Harness) -> None:
        leader, _ = shard.stable_group("a", "b")
        response = shard.join(instance="a").response
        assert response.leader == response.member_id != leader
        assert response.skip_assignment is True
        assert len(response.members) == 2
        assert shard.group.leader_id == response.member_id

    @pytest.mark.parametrize("version", [5, 8])
    def test_leader_with_an_older_client_is_told_that_it_does_not_lead(
        self, shard: Harness, version: int
    ) -> None:
        leader, _ = shard.stable_group("a", "b")
        response = shard.join(instance="a", version=version).response
        assert response.leader == leader
        assert response.members == []
        assert response.skip_assignment is False
        assert shard.group.leader_id == response.member_id

    def test_the_new_member_id_is_durable(self, shard: Harness) -> None:
        shard.stable_group("a", "b")
        new = shard.join(instance="b", session_ms=20_000).response.member_id
        restored = shard.restarted()
        assert restored.group.static_member_ids["b"] == new
        assert restored.member(new).session_timeout_ms == 20_000
        assert restored.sync(new, 1, instance="b").code is ErrorCode.NONE

    def test_it_waits_until_the_new_member_id_is_committed(self, shard: Harness) -> None:
        shard.stable_group("a", "b")
        shard.holding = True
        call = shard.join(instance="b")
        assert call.is_parked
        shard.release()
        assert call.code is ErrorCode.NONE

    @pytest.mark.parametrize("written", [False, True])
    def test_nothing_changes_if_it_cannot_be_stored(self, shard: Harness, written: bool) -> None:
        _, follower = shard.stable_group("a", "b")
        if written:
            shard.holding = True
        else:
            shard.append_error = ErrorCode.NOT_COORDINATOR
        call = shard.join(instance="b", session_ms=30_000)
        shard.time_out_commits()
        shard.append_error, shard.holding = None, False
        assert call.code is (ErrorCode.COORDINATOR_NOT_AVAILABLE if written else ErrorCode.NOT_COORDINATOR)
        assert call.response.member_id == ""
        assert shard.group.static_member_ids["b"] == follower
        assert shard.member(follower).session_timeout_ms == SESSION_MS
        assert shard.group.awaiting_join_count == 0
        shard.sleep(SESSION_MS - 1)
        assert shard.heartbeat(follower, 1, instance="b").code is ErrorCode.NONE
        shard.sleep(SESSION_MS)
        assert follower not in shard.group.members, "its session goes on"

    def test_rebalance_that_begins_before_it_is_stored(self, shard: Harness) -> None:
        leader, _ = shard.stable_group("a", "b")
        shard.holding = True
        call = shard.join(instance="b")
        rejoined = shard.join(leader, instance="a")
        shard.release()
        assert call.response.generation_id == rejoined.response.generation_id == 2

    def test_other_protocol_means_a_rebalance(self, shard: Harness) -> None:
        shard.stable_group("a", protocols=["range", "sticky"])
        call = shard.join(instance="a", protocols=["sticky", "range"])
        assert call.response.generation_id == 2
        assert call.response.protocol_name == "sticky"

    def test_before_the_assignment_came(self, shard: Harness) -> None:
        first = shard.join(instance="a")
        second = shard.join(instance="b")
        shard.sleep(6_000)
        old = second.response.member_id
        waiting = shard.sync(old, 1, instance="b")
        call = shard.join(instance="b")
        assert waiting.code is ErrorCode.FENCED_INSTANCE_ID
        assert call.is_parked
        assert shard.group.state is GroupState.PREPARING_REBALANCE
        shard.join(first.response.member_id, instance="a")
        assert call.response.generation_id == 2

    def test_while_joining(self, shard: Harness) -> None:
        shard.join(instance="a")
        waiting = shard.join(instance="b")
        again = shard.join(instance="b")
        assert waiting.code is ErrorCode.FENCED_INSTANCE_ID
        assert waiting.response.member_id.startswith("b-")
        shard.sleep(6_000)
        assert again.response.generation_id == 1
        assert len(shard.group.members) == 2

    def test_while_joining_it_has_no_session(self, shard: Harness) -> None:
        (leader,) = shard.stable_group("a", session_ms=1_800_000)
        shard.join(instance="b")
        again = shard.join(instance="b")
        shard.sleep(SESSION_MS * 3)
        assert again.is_parked
        shard.join(leader, instance="a")
        assert again.code is ErrorCode.NONE

    def test_while_others_rejoin(self, shard: Harness) -> None:
        leader, _ = shard.stable_group("a", "b")
        rejoined = shard.join(leader, instance="a")
        assert rejoined.is_parked
        call = shard.join(instance="b")
        assert call.response.generation_id == rejoined.response.generation_id == 2

    def test_before_it_synced(self, shard: Harness) -> None:
        first = shard.join(instance="a")
        shard.join(instance="b")
        shard.sleep(6_000)
        shard.sync(first.response.member_id, 1, instance="a")
        assert shard.group.state is GroupState.STABLE
        shard.join(instance="b")
        new = shard.group.static_member_ids["b"]
        shard.sync(new, 1, instance="b")
        for _ in range(10):
            shard.sleep(SESSION_MS - 1)
            shard.heartbeat(new, 1)
            shard.heartbeat(first.response.member_id, 1)
        assert shard.group.state is GroupState.STABLE


class TestFencing:
    def test_calls_of_the_old_member_id(self, shard: Harness) -> None:
        _, old = shard.stable_group("a", "b")
        shard.join(instance="b")
        fenced = ErrorCode.FENCED_INSTANCE_ID
        assert shard.heartbeat(old, 1, instance="b").code is fenced
        assert shard.sync(old, 1, instance="b").code is fenced
        assert shard.join(old, instance="b").code is fenced
        assert shard.commit({("t", 0): 1}, old, 1, instance="b").error is fenced
        assert shard.commit_in_transaction(7, {("t", 0): 1}, old, 1, instance="b").error is fenced
        assert shard.leave((old, "b")).response.members[0].error_code == fenced

    def test_calls_of_an_instance_that_the_group_does_not_know(self, shard: Harness) -> None:
        member_id, _ = shard.stable_group("a", "b")
        unknown = ErrorCode.UNKNOWN_MEMBER_ID
        assert shard.heartbeat(member_id, 1, instance="c").code is unknown
        assert shard.sync(member_id, 1, instance="c").code is unknown
        assert shard.join(member_id, instance="c").code is unknown
        assert shard.commit({("t", 0): 1}, member_id, 1, instance="c").error is unknown
        assert shard.leave((member_id, "c")).response.members[0].error_code == unknown

    def test_old_member_id_without_the_instance_id(self, shard: Harness) -> None:
        _, old = shard.stable_group("a", "b")
        shard.join(instance="b")
        assert shard.heartbeat(old, 1).code is ErrorCode.UNKNOWN_MEMBER_ID


class TestSessions:
    def test_a_static_member_that_is_away_keeps_its_place_for_a_session(self, shard: Harness) -> None:
        leader, follower = shard.stable_group("a", "b")
        shard.heartbeat(leader, 1)
        shard.sleep(SESSION_MS - 1)
        shard.heartbeat(leader, 1)
        assert shard.group.state is GroupState.STABLE
        shard.sleep(1)
        assert follower not in shard.group.members
        assert "b" not in shard.group.static_member_ids
        assert shard.group.state is GroupState.PREPARING_REBALANCE

    def test_session_of_the_old_member_id_is_no_more(self, shard: Harness) -> None:
        shard.stable_group("a", "b")
        new = shard.join(instance="b").response.member_id
        live = len(shard.timers)
        shard.sleep(SESSION_MS // 2)
        for member_id in shard.group.members:
            shard.heartbeat(member_id, 1)
        shard.sleep(SESSION_MS // 2 + 1)
        assert new in shard.group.members
        assert live == len(shard.timers) == 3
