"""Every call in every state of a group: the table of ``states.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kbroker.coordination.group.states import PREVIOUS_STATES, GroupState
from tests.kbroker.coordination.group.harness import GROUP, Call, Harness
from wire.errors import ErrorCode

EMPTY, PREPARING, COMPLETING, STABLE, DEAD = GroupState
OK = ErrorCode.NONE
PARKED = None

LEADER, FOLLOWER = "leader", "follower"


def in_state(state: GroupState) -> tuple[Harness, dict[str, str], int]:
    """A group in this state, its members by role, and their generation."""
    shard = Harness()
    members = shard.stable_group(None, None)
    shard.commit({("committed", 0): 5}, members[0], 1)
    generation = 1
    if state is EMPTY:
        shard.leave(*members)
    elif state is PREPARING:
        shard.new_member_id()
        shard.join(members[1], protocols={"range": b"changed"})
    elif state is COMPLETING:
        for member in members:
            shard.join(member)
        generation = 2
    elif state is DEAD:
        shard.execute(shard.shard.unloaded(), None)
    assert shard.group.state is state
    return shard, dict(zip((LEADER, FOLLOWER), members, strict=True)), generation


Action = Callable[[Harness, dict[str, str], int], Call]

ACTIONS: dict[str, Action] = {
    "join of a new member": lambda shard, members, generation: shard.join(),
    "join of a new static member": lambda shard, members, generation: shard.join(instance="i"),
    "join of the leader": lambda shard, members, generation: shard.join(members[LEADER]),
    "join of a follower": lambda shard, members, generation: shard.join(members[FOLLOWER]),
    "join of a changed follower": lambda shard, members, generation: shard.join(
        members[FOLLOWER], protocols={"range": b"changed again"}
    ),
    "join of a stranger": lambda shard, members, generation: shard.join("stranger"),
    "sync of the leader": lambda shard, members, generation: shard.sync(members[LEADER], generation),
    "sync of a follower": lambda shard, members, generation: shard.sync(members[FOLLOWER], generation),
    "sync of a stranger": lambda shard, members, generation: shard.sync("stranger", generation),
    "sync of an old generation": lambda shard, members, generation: shard.sync(
        members[LEADER], generation - 1
    ),
    "heartbeat": lambda shard, members, generation: shard.heartbeat(members[FOLLOWER], generation),
    "heartbeat of a stranger": lambda shard, members, generation: shard.heartbeat("stranger", generation),
    "heartbeat of an old generation": lambda shard, members, generation: shard.heartbeat(
        members[FOLLOWER], generation - 1
    ),
    "leave": lambda shard, members, generation: shard.leave(members[FOLLOWER]),
    "commit": lambda shard, members, generation: shard.commit({("t", 0): 1}, members[LEADER], generation),
    "commit of a stranger": lambda shard, members, generation: shard.commit(
        {("t", 0): 1}, "stranger", generation
    ),
    "commit of an old generation": lambda shard, members, generation: shard.commit(
        {("t", 0): 1}, members[LEADER], generation - 1
    ),
    "commit without a member": lambda shard, members, generation: shard.commit({("t", 0): 1}),
    "transactional commit": lambda shard, members, generation: shard.commit_in_transaction(
        7, {("t", 0): 1}, members[LEADER], generation
    ),
    "transactional commit without a member": lambda shard, members, generation: shard.commit_in_transaction(
        7, {("t", 0): 1}
    ),
}

UNKNOWN = ErrorCode.UNKNOWN_MEMBER_ID
REBALANCING = ErrorCode.REBALANCE_IN_PROGRESS
UNAVAILABLE = ErrorCode.COORDINATOR_NOT_AVAILABLE
GENERATION = ErrorCode.ILLEGAL_GENERATION
ID_REQUIRED = ErrorCode.MEMBER_ID_REQUIRED

TABLE: dict[str, tuple[ErrorCode | None, ErrorCode | None, ErrorCode | None, ErrorCode | None, ErrorCode]] = {
    # call                                  EMPTY        PREPARING    COMPLETING   STABLE       DEAD
    "join of a new member":                  (ID_REQUIRED, ID_REQUIRED, ID_REQUIRED, ID_REQUIRED, UNAVAILABLE),
    "join of a new static member":           (PARKED,      PARKED,      PARKED,      PARKED,      UNAVAILABLE),
    "join of the leader":                    (UNKNOWN,     PARKED,      OK,          PARKED,      UNAVAILABLE),
    "join of a follower":                    (UNKNOWN,     PARKED,      OK,          OK,          UNAVAILABLE),
    "join of a changed follower":            (UNKNOWN,     PARKED,      PARKED,      PARKED,      UNAVAILABLE),
    "join of a stranger":                    (UNKNOWN,     UNKNOWN,     UNKNOWN,     UNKNOWN,     UNAVAILABLE),
    "sync of the leader":                    (UNKNOWN,     REBALANCING, OK,          OK,          UNAVAILABLE),
    "sync of a follower":                    (UNKNOWN,     REBALANCING, PARKED,      OK,          UNAVAILABLE),
    "sync of a stranger":                    (UNKNOWN,     UNKNOWN,     UNKNOWN,     UNKNOWN,     UNAVAILABLE),
    "sync of an old generation":             (UNKNOWN,     GENERATION,  GENERATION,  GENERATION,  UNAVAILABLE),
    "heartbeat":                             (UNKNOWN,     REBALANCING, OK,          OK,          UNAVAILABLE),
    "heartbeat of a stranger":               (UNKNOWN,     UNKNOWN,     UNKNOWN,     UNKNOWN,     UNAVAILABLE),
    "heartbeat of an old generation":        (UNKNOWN,     GENERATION,  GENERATION,  GENERATION,  UNAVAILABLE),
    "leave":                                 (UNKNOWN,     OK,          OK,          OK,          UNAVAILABLE),
    "commit":                                (UNKNOWN,     OK,          REBALANCING, OK,          UNAVAILABLE),
    "commit of a stranger":                  (UNKNOWN,     UNKNOWN,     UNKNOWN,     UNKNOWN,     UNAVAILABLE),
    "commit of an old generation":           (UNKNOWN,     GENERATION,  GENERATION,  GENERATION,  UNAVAILABLE),
    "commit without a member":               (OK,          UNKNOWN,     UNKNOWN,     UNKNOWN,     UNAVAILABLE),
    "transactional commit":                  (UNKNOWN,     OK,          OK,          OK,          UNAVAILABLE),
    "transactional commit without a member": (OK,          OK,          OK,          OK,          UNAVAILABLE),
}  # fmt: skip

DELETE_GROUP = (OK, *[ErrorCode.NON_EMPTY_GROUP] * 3, ErrorCode.GROUP_ID_NOT_FOUND)


def code_of(call: Call) -> ErrorCode | None:
    if call.is_parked:
        return PARKED
    if call.name in ("join", "sync", "heartbeat") or call.error is not None:
        return call.code
    response = call.response
    if call.name == "leave":
        return ErrorCode(response.error_code or response.members[0].error_code)
    return ErrorCode(response.topics[0].partitions[0].error_code)


@pytest.mark.parametrize("state", GroupState)
@pytest.mark.parametrize("name", TABLE)
def test_call(name: str, state: GroupState) -> None:
    shard, members, generation = in_state(state)
    expected = TABLE[name][list(GroupState).index(state)]
    assert code_of(ACTIONS[name](shard, members, generation)) == expected


def test_the_table_covers_every_action() -> None:
    assert set(TABLE) == set(ACTIONS)


@pytest.mark.parametrize("state", GroupState)
def test_delete_group(state: GroupState) -> None:
    shard, _, _ = in_state(state)
    assert shard.delete_group() == DELETE_GROUP[list(GroupState).index(state)]
    if state is EMPTY:
        assert shard.shard.groups.get(GROUP) is None


@pytest.mark.parametrize("state", GroupState)
def test_fetch_offsets(state: GroupState) -> None:
    shard, _, _ = in_state(state)
    assert shard.fetch() == ({} if state is DEAD else {("committed", 0): 5})


@pytest.mark.parametrize("state", GroupState)
def test_describe_and_list(state: GroupState) -> None:
    shard, _, _ = in_state(state)
    (listed,) = shard.shard.list_groups([], [])
    assert listed.group_state == state.value
    assert len(shard.group.members) == (0 if state is EMPTY else 2)


@pytest.mark.parametrize("state", GroupState)
def test_unload_answers_everybody(state: GroupState) -> None:
    shard, members, generation = in_state(state)
    calls = [shard.join(instance="i")]
    if state is COMPLETING:
        shard, members, generation = in_state(state)
        calls = [shard.sync(members[FOLLOWER], generation)]
    shard.execute(shard.shard.unloaded(), None)
    assert shard.group.state is DEAD
    wanted = UNAVAILABLE if state is DEAD else ErrorCode.NOT_COORDINATOR
    assert [call.code for call in calls] == [wanted]


def test_transitions_are_those_of_kafka() -> None:
    assert {
        EMPTY: {PREPARING},
        PREPARING: {EMPTY, COMPLETING, STABLE},
        COMPLETING: {PREPARING},
        STABLE: {COMPLETING},
        DEAD: {EMPTY, PREPARING, COMPLETING, STABLE, DEAD},
    } == PREVIOUS_STATES


@pytest.mark.parametrize(
    ("before", "after"),
    [(a, b) for a in GroupState for b in GroupState if a not in PREVIOUS_STATES[b]],
)
def test_other_transitions_are_refused(before: GroupState, after: GroupState) -> None:
    shard, _, _ = in_state(before)
    with pytest.raises(AssertionError):
        shard.group.transition_to(after, 0)
