"""The states of a classic group, and which may follow which (Kafka's ``ClassicGroupState``).

                                   join of the first member
        +--------- EMPTY ------------------------------------> PREPARING_REBALANCE <--+
        |            ^                                            |       ^           |
        |            +------------- all members are gone ---------+       |           |
        |                                                         |       | join, leave, session
        | last offset expired,          all expected members      |       | or sync timeout
        | group deleted, or             have joined, or time      v       |           |
        | the shard is unloaded         is up              COMPLETING_REBALANCE       |
        | (from every state)                                      |                   |
        v                                leader's assignment      v                   |
       DEAD                              is committed           STABLE ---------------+

What a call gets in each state (a member that passed the checks of member id, instance id and generation):

    call        EMPTY             PREPARING            COMPLETING            STABLE               DEAD
    join (new)  parked            parked               rebalances, parked    rebalances, parked   UNAVAILABLE
    join (old)  UNKNOWN_MEMBER    parked               generation again, or  generation again if  UNAVAILABLE
                                                       rebalances if its     a follower without
                                                       protocols changed     changes, or rebalances
    sync        UNKNOWN_MEMBER    REBALANCE_IN_PROG    parked; the leader's  assignment           UNAVAILABLE
                                                       ends the wait
    heartbeat   UNKNOWN_MEMBER    REBALANCE_IN_PROG    ok                    ok                   UNAVAILABLE
    leave       UNKNOWN_MEMBER    ok, may complete     ok, rebalances        ok, rebalances       UNAVAILABLE
    commit      UNKNOWN_MEMBER    ok                   REBALANCE_IN_PROG     ok                   UNAVAILABLE
    commit (*)  ok                UNKNOWN_MEMBER       UNKNOWN_MEMBER        UNKNOWN_MEMBER       UNAVAILABLE
    fetch       ok                ok                   ok                    ok                   no offsets
    delete      ok                NON_EMPTY_GROUP      NON_EMPTY_GROUP       NON_EMPTY_GROUP      NOT_FOUND

(*) without member id and generation: admin clients and consumers that assign partitions by themselves.
"""

from __future__ import annotations

from enum import Enum


class GroupState(Enum):
    """The value is the name that DescribeGroups and ListGroups use."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


PREVIOUS_STATES: dict[GroupState, frozenset[GroupState]] = {
    GroupState.EMPTY: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.PREPARING_REBALANCE: frozenset(
        {GroupState.EMPTY, GroupState.COMPLETING_REBALANCE, GroupState.STABLE}
    ),
    GroupState.COMPLETING_REBALANCE: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.STABLE: frozenset({GroupState.COMPLETING_REBALANCE}),
    GroupState.DEAD: frozenset(GroupState),
}
"""From which states a group may come into each state."""
