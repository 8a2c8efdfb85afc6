"""SyncGroup: the assignment reaches every member once, and only when it is durable."""

from __future__ import annotations

import pytest

from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import SESSION_MS, Harness
from wire.errors import ErrorCode


@pytest.fixture
def shard() -> Harness:
    return Harness()


@pytest.fixture
def joined(shard: Harness) -> list[str]:
    """Two members that know generation 1; the first one leads."""
    members = [shard.join_dynamic()[0], shard.join_dynamic()[0]]
    shard.sleep(6_000)
    return members


def test_followers_wait_for_the_leader(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    waiting = shard.sync(follower, 1)
    assert waiting.is_parked
    done = shard.sync(leader, 1, {leader: b"mine", follower: b"yours"})
    assert (done.response.assignment, waiting.response.assignment) == (b"mine", b"yours")
    assert (waiting.response.protocol_type, waiting.response.protocol_name) == ("consumer", "range")
    assert shard.group.state is GroupState.STABLE


def test_follower_that_syncs_after_the_leader(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    shard.sync(leader, 1, {follower: b"yours"})
    assert shard.sync(follower, 1).response.assignment == b"yours"


def test_whom_the_leader_forgot_has_nothing(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    shard.sync(leader, 1, {"somebody else": b"x"})
    assert shard.sync(follower, 1).response.assignment == b""
    assert shard.restarted().member(follower).assignment == b""


def test_assignment_is_in_the_log_before_anybody_knows_it(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    calls = [shard.sync(follower, 1)]
    shard.holding = True
    calls.append(shard.sync(leader, 1, {leader: b"a", follower: b"b"}))
    assert all(call.is_parked for call in calls)
    assert shard.group.state is GroupState.COMPLETING_REBALANCE
    restored = shard.restarted().group
    assert [member.assignment for member in restored.members.values()] == [b"a", b"b"]
    shard.release()
    assert [call.response.assignment for call in calls] == [b"b", b"a"]


@pytest.mark.parametrize("written", [False, True])
def test_assignment_that_cannot_be_stored(shard: Harness, joined: list[str], written: bool) -> None:
    leader, follower = joined
    calls = [shard.sync(follower, 1)]
    error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    shard.holding, shard.append_error = written, None if written else error
    calls.append(shard.sync(leader, 1, {leader: b"a"}))
    shard.time_out_commits()
    assert [call.code for call in calls] == [error, error]
    assert shard.group.state is GroupState.PREPARING_REBALANCE
    shard.holding, shard.append_error = False, None
    rejoined = [shard.join(member) for member in joined]
    assert [call.response.generation_id for call in rejoined] == [2, 2]


def test_member_that_joins_before_the_assignment_is_stored(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    shard.holding = True
    calls = [shard.sync(follower, 1), shard.sync(leader, 1, {leader: b"a"})]
    shard.join(instance="new")
    assert [call.code for call in calls] == [ErrorCode.REBALANCE_IN_PROGRESS] * 2
    shard.release()
    assert shard.group.state is GroupState.PREPARING_REBALANCE
    assert shard.member(leader).assignment == b""


def test_assignments_of_the_last_generation_are_gone_when_the_next_fails(shard: Harness) -> None:
    leader, follower = shard.stable_group(None, None)
    for member in (leader, follower):
        shard.join(member)
    assert shard.member(follower).assignment == follower.encode()
    shard.join(instance="new")
    assert [member.assignment for member in shard.group.members.values()] == [b""] * 3


def test_sync_of_another_protocol(shard: Harness, joined: list[str]) -> None:
    inconsistent = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert shard.sync(joined[0], 1, protocol_type="connect").code is inconsistent
    assert shard.sync(joined[0], 1, protocol_name="sticky").code is inconsistent
    assert shard.sync(joined[0], 1, protocol_type="consumer", protocol_name="range").code is ErrorCode.NONE


def test_a_repeated_sync_takes_the_place_of_the_first(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    lost, again = shard.sync(follower, 1), shard.sync(follower, 1)
    assert lost.code is ErrorCode.REBALANCE_IN_PROGRESS
    shard.sync(leader, 1, {follower: b"x"})
    assert again.response.assignment == b"x"


def test_who_waits_does_not_run_into_its_session_timeout(shard: Harness, joined: list[str]) -> None:
    leader, follower = joined
    waiting = shard.sync(follower, 1)
    for _ in range(5):
        shard.sleep(SESSION_MS - 1)
        shard.heartbeat(leader, 1)
    assert waiting.is_parked
    shard.sync(leader, 1)
    assert waiting.code is ErrorCode.NONE
    shard.heartbeat(leader, 1)
    shard.sleep(SESSION_MS - 1)
    assert follower in shard.group.members
    shard.sleep(1)
    assert follower not in shard.group.members, "its session began when it was answered"


def test_sync_to_a_group_that_does_not_exist(shard: Harness) -> None:
    assert shard.sync("member", 1).code is ErrorCode.UNKNOWN_MEMBER_ID
