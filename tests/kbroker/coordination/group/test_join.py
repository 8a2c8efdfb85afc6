"""JoinGroup: who becomes a member, who waits, and who is told the generation again."""

from __future__ import annotations

import pytest

from kbroker.coordination.group.join import NEW_MEMBER_JOIN_TIMEOUT_MS
from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import GROUP, REBALANCE_MS, SESSION_MS, Harness
from wire.errors import ErrorCode


def test_dynamic_member_is_given_an_id_first() -> None:
    shard = Harness()
    call = shard.join(client_id="app")
    assert call.code is ErrorCode.MEMBER_ID_REQUIRED
    assert call.response.member_id.startswith("app-")
    assert call.response.generation_id == -1
    assert list(shard.group.pending_join) == [call.response.member_id]
    assert shard.group.state is GroupState.EMPTY


@pytest.mark.parametrize("version", [0, 3])
def test_old_dynamic_member_is_taken_in_at_once(version: int) -> None:
    shard = Harness()
    call = shard.join(version=version)
    assert call.is_parked
    assert shard.group.state is GroupState.PREPARING_REBALANCE
    shard.sleep(3_000)
    assert call.response.generation_id == 1
    assert call.response.leader == call.response.member_id


def test_join_with_the_given_id() -> None:
    shard = Harness()
    member_id, call = shard.join_dynamic(protocols={"range": b"topics"})
    assert call.is_parked
    assert not shard.group.pending_join
    shard.sleep(3_000)
    response = call.response
    assert response.error_code == ErrorCode.NONE
    assert (response.generation_id, response.leader, response.member_id) == (1, member_id, member_id)
    assert (response.protocol_type, response.protocol_name) == ("consumer", "range")
    assert [(member.member_id, member.metadata) for member in response.members] == [(member_id, b"topics")]
    assert shard.group.state is GroupState.COMPLETING_REBALANCE


def test_only_the_leader_is_told_the_members() -> None:
    shard = Harness()
    leader, leader_call = shard.join_dynamic()
    follower, follower_call = shard.join_dynamic()
    shard.sleep(6_000)
    assert {member.member_id for member in leader_call.response.members} == {leader, follower}
    assert follower_call.response.members == []
    assert follower_call.response.leader == leader


def test_client_id_and_address_are_those_of_the_member() -> None:
    shard = Harness()
    member_id, _ = shard.join_dynamic(client_id="app")
    assert shard.member(member_id).client_id == "app"
    assert shard.member(member_id).client_host == "/127.0.0.1"


def test_a_client_without_a_client_id_can_join() -> None:
    shard = Harness()
    member_id, _ = shard.join_dynamic(client_id=None)
    assert shard.member(member_id).client_id == ""


def test_member_id_of_an_unknown_group() -> None:
    shard = Harness()
    call = shard.join("somebody")
    assert call.code is ErrorCode.UNKNOWN_MEMBER_ID
    assert call.response.member_id == "somebody"
    assert shard.shard.groups.get(GROUP) is None


def test_unknown_member_id_of_a_known_group() -> None:
    shard = Harness()
    shard.stable_group(None)
    assert shard.join("somebody").code is ErrorCode.UNKNOWN_MEMBER_ID


def test_pending_member_that_claims_to_be_static() -> None:
    shard = Harness()
    member_id = shard.new_member_id()
    assert shard.join(member_id, instance="i").code is ErrorCode.UNKNOWN_SERVER_ERROR


@pytest.mark.parametrize(
    "arguments",
    [{"protocols": []}, {"protocol_type": ""}],
    ids=["no protocol", "no protocol type"],
)
def test_join_without_a_protocol(arguments: dict[str, object]) -> None:
    assert Harness().join(**arguments).code is ErrorCode.INCONSISTENT_GROUP_PROTOCOL  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [{"protocols": ["sticky"]}, {"protocol_type": "connect"}],
    ids=["no common protocol", "another protocol type"],
)
def test_join_with_other_protocols_than_the_group(arguments: dict[str, object]) -> None:
    shard = Harness()
    shard.stable_group(None, protocols=["range", "roundrobin"])
    assert shard.join(**arguments).code is ErrorCode.INCONSISTENT_GROUP_PROTOCOL  # type: ignore[arg-type]
    assert shard.group.state is GroupState.STABLE


def test_an_empty_group_takes_any_protocol_type() -> None:
    shard = Harness()
    (member_id,) = shard.stable_group(None)
    shard.leave(member_id)
    assert shard.group.state is GroupState.EMPTY
    _, call = shard.join_dynamic(protocol_type="connect")
    shard.sleep(3_000)
    assert call.response.protocol_type == "connect"
    assert call.response.generation_id == 3


def test_the_protocol_that_all_know_and_most_prefer_is_chosen() -> None:
    shard = Harness()
    calls = [
        shard.join(version=0, protocols=protocols)
        for protocols in (["a", "b", "c"], ["x", "b", "c"], ["c", "b"], ["c", "b", "a"])
    ]
    shard.sleep(60_000)
    # a is not known to all; b and c have two votes each, and the first vote decides.
    assert [call.response.protocol_name for call in calls] == ["b"] * 4


def test_rejoin_while_others_are_awaited() -> None:
    shard = Harness()
    first, second = shard.stable_group(None, None)
    shard.join(first)
    call = shard.join(second, protocols={"range": b"new"})
    assert shard.group.state is GroupState.COMPLETING_REBALANCE
    assert call.response.generation_id == 2
    assert shard.member(second).protocols[0].metadata == b"new"


def test_a_repeated_join_takes_the_place_of_the_first() -> None:
    shard = Harness()
    leader, _ = shard.stable_group(None, None)
    lost = shard.join(leader)
    again = shard.join(leader)
    assert lost.code is ErrorCode.REBALANCE_IN_PROGRESS
    assert again.is_parked
    assert shard.group.awaiting_join_count == 1


def test_follower_without_changes_does_not_disturb_a_stable_group() -> None:
    shard = Harness()
    leader, follower = shard.stable_group(None, None)
    call = shard.join(follower)
    assert shard.group.state is GroupState.STABLE
    assert (call.response.generation_id, call.response.leader) == (1, leader)
    assert call.response.members == []
    assert call.response.skip_assignment is False


def test_follower_with_changes_begins_a_rebalance() -> None:
    shard = Harness()
    _, follower = shard.stable_group(None, None)
    assert shard.join(follower, protocols={"range": b"changed"}).is_parked
    assert shard.group.state is GroupState.PREPARING_REBALANCE


def test_leader_begins_a_rebalance_without_changes() -> None:
    shard = Harness()
    leader, _ = shard.stable_group(None, None)
    assert shard.join(leader).is_parked
    assert shard.group.state is GroupState.PREPARING_REBALANCE


def test_join_again_before_the_assignment_came() -> None:
    shard = Harness()
    leader, _ = shard.join_dynamic()
    follower, _ = shard.join_dynamic()
    shard.sleep(6_000)
    again = shard.join(leader).response
    assert (again.generation_id, len(again.members)) == (1, 2)
    assert shard.join(follower).response.members == []
    assert shard.group.state is GroupState.COMPLETING_REBALANCE


def test_join_with_changes_before_the_assignment_came() -> None:
    shard = Harness()
    _, _ = shard.join_dynamic()
    follower, _ = shard.join_dynamic()
    shard.sleep(6_000)
    waiting = shard.sync(follower, 1)
    assert shard.join(follower, protocols={"range": b"changed"}).is_parked
    assert waiting.code is ErrorCode.REBALANCE_IN_PROGRESS
    assert shard.group.state is GroupState.PREPARING_REBALANCE


def test_new_member_of_a_stable_group() -> None:
    shard = Harness()
    (leader,) = shard.stable_group(None)
    _, new = shard.join_dynamic()
    assert new.is_parked
    assert shard.heartbeat(leader, 1).code is ErrorCode.REBALANCE_IN_PROGRESS
    rejoined = shard.join(leader)
    assert rejoined.response.generation_id == new.response.generation_id == 2
    assert rejoined.response.leader == leader


def test_pending_member_is_awaited() -> None:
    shard = Harness()
    (leader,) = shard.stable_group(None)
    pending = shard.new_member_id()
    rejoined = shard.join(leader)
    assert rejoined.is_parked
    new = shard.join(pending)
    assert rejoined.response.generation_id == new.response.generation_id == 2


def test_pending_member_that_does_not_come_is_forgotten() -> None:
    shard = Harness()
    (leader,) = shard.stable_group(None)
    shard.new_member_id(session_ms=7_000)
    rejoined = shard.join(leader)
    shard.sleep(6_999)
    assert rejoined.is_parked
    shard.sleep(1)
    assert rejoined.response.generation_id == 2
    assert not shard.group.pending_join


def test_new_member_that_waits_too_long_is_removed() -> None:
    shard = Harness()
    (leader,) = shard.stable_group(None, rebalance_ms=3_600_000, session_ms=1_800_000)
    _, new = shard.join_dynamic(rebalance_ms=3_600_000)
    shard.sleep(NEW_MEMBER_JOIN_TIMEOUT_MS - 1)
    assert new.is_parked
    shard.sleep(1)
    assert new.code is ErrorCode.UNKNOWN_MEMBER_ID
    assert new.response.member_id == ""
    assert list(shard.group.members) == [leader]


def test_new_member_is_not_bound_to_its_session_timeout() -> None:
    shard = Harness(group_initial_rebalance_delay_ms=0)
    (leader,) = shard.stable_group(None, session_ms=100_000)
    _, new = shard.join_dynamic(session_ms=6_000)
    shard.sleep(30_000)
    assert new.is_parked
    shard.join(leader)
    assert new.code is ErrorCode.NONE


class TestGroupMaxSize:
    def test_stable_group_is_full(self) -> None:
        shard = Harness(group_max_size=2)
        leader, _ = shard.stable_group(None, None)
        call = shard.join()
        assert call.code is ErrorCode.GROUP_MAX_SIZE_REACHED
        assert call.response.member_id == ""
        assert shard.join(leader).is_parked, "members may join again"

    def test_empty_group_hands_out_any_number_of_ids(self) -> None:
        shard = Harness(group_max_size=1)
        first, second = shard.new_member_id(), shard.new_member_id()
        assert shard.join(second).is_parked
        assert shard.join(first).code is ErrorCode.GROUP_MAX_SIZE_REACHED
        assert first not in shard.group.pending_join

    def test_who_joins_first_stays_when_the_limit_was_lowered(self) -> None:
        shard = Harness()
        members = shard.stable_group(None, None, None)
        smaller = Harness(shard.log, group_max_size=2)
        assert smaller.group.state is GroupState.PREPARING_REBALANCE
        calls = {member_id: smaller.join(member_id) for member_id in reversed(members)}
        assert calls[members[0]].code is ErrorCode.GROUP_MAX_SIZE_REACHED
        smaller.sleep(REBALANCE_MS)
        assert [calls[member_id].code for member_id in members[1:]] == [ErrorCode.NONE] * 2
        assert set(smaller.group.members) == set(members[1:])


class TestNewGroupRecord:
    def test_a_new_group_is_written_down(self) -> None:
        shard = Harness()
        shard.new_member_id()
        assert len(shard.log) == 1
        assert shard.restarted().group.state is GroupState.EMPTY

    def test_without_it_there_is_no_group(self) -> None:
        shard = Harness()
        shard.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert shard.join().error is ErrorCode.COORDINATOR_NOT_AVAILABLE
        static = shard.join(instance="i")
        assert static.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert shard.shard.groups.get(GROUP) is None
        shard.append_error = None
        shard.sleep(SESSION_MS * 2)
        assert shard.join(instance="i").is_parked, "nothing is left of the first attempts"

    def test_member_waits_for_the_record_to_be_committed(self) -> None:
        shard = Harness()
        shard.holding = True
        call = shard.join()
        assert call.is_parked
        shard.release()
        assert call.code is ErrorCode.MEMBER_ID_REQUIRED

    def test_record_that_is_late_does_no_harm(self) -> None:
        shard = Harness()
        shard.holding = True
        call = shard.join()
        shard.time_out_commits()
        assert call.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert shard.group.state is GroupState.EMPTY
