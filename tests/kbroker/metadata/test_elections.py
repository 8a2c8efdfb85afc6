"""How one partition state follows another: the cases of Kafka's PartitionChangeBuilderTest, with ELR switched on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kbroker.metadata.elections import Change, Election, next_state
from kbroker.metadata.image import NO_LEADER, PartitionState

PREFERRED, ONLINE, UNCLEAN = Election.PREFERRED, Election.ONLINE, Election.UNCLEAN


def state_of(
    replicas: tuple[int, ...], in_sync: tuple[int, ...], leader: int, **fields: object
) -> PartitionState:
    return PartitionState(replicas, in_sync, leader, 100, 200, state_revision=7)._replace(**fields)


FOO = state_of((2, 1, 3), (2, 1, 3), 1)
BAR = state_of((1, 2, 3, 4), (1, 2, 3), 1, adding_replicas=(4,), removing_replicas=(1,))
BAZ = state_of((2, 1, 3), (1, 3), 3)
OFFLINE = state_of(
    (2, 1, 3),
    (),
    NO_LEADER,
    eligible_leader_replicas=(3,),
    last_known_eligible_leader_replicas=(2,),
)
FOUR = state_of((1, 2, 3, 4), (1, 2, 3, 4), 1)


def all_but(*node_ids: int) -> Callable[[int], bool]:
    return lambda node_id: node_id not in node_ids


def only(*node_ids: int) -> Callable[[int], bool]:
    return lambda node_id: node_id in node_ids


def after(
    state: PartitionState,
    election: Election = ONLINE,
    may_lead: Callable[[int], bool] = lambda node_id: True,
    minimum: int = 2,
    **changes: object,
) -> PartitionState | None:
    return next_state(state, Change(election, may_lead, minimum, **changes))


def changed(state: PartitionState, *, leader_epochs: int = 0, **fields: object) -> PartitionState:
    return state._replace(
        leader_epoch=state.leader_epoch + leader_epochs, partition_epoch=state.partition_epoch + 1, **fields
    )


@pytest.mark.parametrize(
    ("state", "election", "may_lead", "in_sync", "leader"),
    [
        (FOO, PREFERRED, all_but(3), None, 2),
        (FOO, ONLINE, all_but(3), None, 1),
        (FOO, UNCLEAN, all_but(3), None, 1),
        (FOO, ONLINE, all_but(3), (1, 3), 1),
        (FOO, UNCLEAN, all_but(3), (1, 3), 1),
        (FOO, ONLINE, all_but(3), (3,), NO_LEADER),
        (FOO, UNCLEAN, all_but(3), (3,), 2),
        (FOO, ONLINE, all_but(3), (2, 3), 2),
        (BAZ, PREFERRED, all_but(), None, 3),
        (BAZ, ONLINE, all_but(), None, 3),
        (BAZ, UNCLEAN, all_but(), None, 3),
        (BAZ, PREFERRED, all_but(), (2, 1, 3), 2),
        (BAZ, ONLINE, all_but(3), (1, 3), 1),
        # Preferred, but outside of the in-sync set.
        (FOO, PREFERRED, all_but(), (1, 3), 1),
    ],
)
def test_who_is_elected(
    state: PartitionState,
    election: Election,
    may_lead: Callable[[int], bool],
    in_sync: tuple[int, ...] | None,
    leader: int,
) -> None:
    result = after(state, election, may_lead, in_sync_replicas=in_sync) or state
    assert result.leader == leader
    assert result.leader_epoch == state.leader_epoch + (leader != state.leader)


@pytest.mark.parametrize(
    ("state", "election", "may_lead"),
    [
        (FOO, ONLINE, all_but(3)),
        (FOO, UNCLEAN, all_but(3)),
        (BAR, ONLINE, all_but(3)),
        (BAR, UNCLEAN, all_but(3)),
        (BAZ, PREFERRED, all_but()),
        (OFFLINE, ONLINE, only(1)),
        (OFFLINE, PREFERRED, only(1, 2)),
    ],
)
def test_nothing_to_change(
    state: PartitionState, election: Election, may_lead: Callable[[int], bool]
) -> None:
    assert after(state, election, may_lead) is None


def test_smaller_and_larger_in_sync_sets_leave_the_leader_epoch_alone() -> None:
    assert after(FOO, may_lead=all_but(3), in_sync_replicas=(2, 1)) == changed(FOO, in_sync_replicas=(2, 1))
    smaller = FOO._replace(in_sync_replicas=(2, 1))
    assert after(smaller, in_sync_replicas=(2, 1, 3)) == changed(smaller, in_sync_replicas=(2, 1, 3))


def test_leader_that_left_the_in_sync_set_is_replaced() -> None:
    assert after(FOO, may_lead=all_but(3), in_sync_replicas=(2, 3)) == changed(
        FOO, in_sync_replicas=(2, 3), leader=2, leader_epochs=1
    )


# Reassignment


def test_new_order_of_the_replicas_is_no_reason_for_a_new_leader_epoch() -> None:
    assert after(FOO, replicas=(3, 2, 1)) == changed(FOO, replicas=(3, 2, 1))


def test_replica_that_leaves_for_good_raises_the_leader_epoch() -> None:
    assert after(FOO, replicas=(2, 1), in_sync_replicas=(2, 1)) == changed(
        FOO, replicas=(2, 1), in_sync_replicas=(2, 1), leader_epochs=1
    )


def test_reassignment_is_complete_when_all_that_stay_are_in_sync() -> None:
    assert after(BAR, may_lead=all_but(3), in_sync_replicas=(1, 2, 3, 4)) == changed(
        BAR,
        replicas=(2, 3, 4),
        in_sync_replicas=(2, 3, 4),
        adding_replicas=(),
        removing_replicas=(),
        leader=2,
        leader_epochs=1,
    )
    assert after(BAR, in_sync_replicas=(1, 2, 4)) == changed(BAR, in_sync_replicas=(1, 2, 4))


def test_reassignment_that_only_takes_replicas_away_is_complete_at_once() -> None:
    assert after(FOO, may_lead=all_but(3), replicas=(1, 2, 3), removing_replicas=(3,)) == changed(
        FOO, replicas=(1, 2), in_sync_replicas=(2, 1), leader_epochs=1
    )


def test_leader_that_is_taken_away_does_not_stay_even_if_nobody_else_can_lead() -> None:
    state = state_of((2, 3, 0, 1), (0, 1), 0, adding_replicas=(2, 3), removing_replicas=(0, 1))
    assert after(state, may_lead=only(), in_sync_replicas=(0, 1, 2, 3)) == changed(
        state,
        replicas=(2, 3),
        in_sync_replicas=(2, 3),
        adding_replicas=(),
        removing_replicas=(),
        leader=NO_LEADER,
        leader_epochs=1,
    )


# Eligible leader replicas


def test_who_leaves_a_set_smaller_than_the_minimum_stays_eligible() -> None:
    assert after(FOUR, PREFERRED, all_but(3), 3, in_sync_replicas=(1, 2)) == changed(
        FOUR, in_sync_replicas=(1, 2), eligible_leader_replicas=(3, 4)
    )


def test_who_leaves_a_set_that_stays_large_enough_does_not() -> None:
    assert after(FOUR, minimum=3, in_sync_replicas=(1, 2, 3)) == changed(FOUR, in_sync_replicas=(1, 2, 3))


def test_the_minimum_is_never_more_than_there_are_replicas() -> None:
    state = state_of((1, 2), (1,), 1, eligible_leader_replicas=(2,))
    assert after(state, minimum=3, in_sync_replicas=(1, 2)) == changed(
        state, in_sync_replicas=(1, 2), eligible_leader_replicas=()
    )


def test_nobody_is_eligible_once_the_set_is_large_enough() -> None:
    state = FOUR._replace(in_sync_replicas=(1, 2), eligible_leader_replicas=(3,))
    assert after(state, minimum=3, in_sync_replicas=(1, 2, 3)) == changed(
        state, in_sync_replicas=(1, 2, 3), eligible_leader_replicas=()
    )
    # Without 3 it is large enough as well, and 3 may lack what is committed from then on.
    assert after(state, minimum=3, in_sync_replicas=(1, 2, 4)) == changed(
        state, in_sync_replicas=(1, 2, 4), eligible_leader_replicas=()
    )


def test_new_member_of_a_set_still_too_small_changes_nothing_for_the_eligible() -> None:
    state = FOUR._replace(in_sync_replicas=(1,), eligible_leader_replicas=(3,))
    assert after(state, minimum=3, in_sync_replicas=(1, 4)) == changed(state, in_sync_replicas=(1, 4))


def test_unfit_replicas_are_not_eligible() -> None:
    state = FOUR._replace(in_sync_replicas=(1,), eligible_leader_replicas=(2, 3))
    assert after(state, PREFERRED, all_but(3), 3, unfit=(3,)) == changed(state, eligible_leader_replicas=(2,))


def test_eligible_replica_leads_when_the_in_sync_set_is_empty() -> None:
    state = FOUR._replace(in_sync_replicas=(1,), eligible_leader_replicas=(3,))
    assert after(state, PREFERRED, all_but(1), 3, in_sync_replicas=()) == changed(
        state, in_sync_replicas=(3,), eligible_leader_replicas=(1,), leader=3, leader_epochs=1
    )


def test_eligible_replica_waits_as_long_as_somebody_is_in_sync() -> None:
    state = state_of((1, 2, 3), (2,), NO_LEADER, eligible_leader_replicas=(1,))
    assert after(state, may_lead=only(1)) is None


def test_in_sync_set_can_become_empty() -> None:
    gone = after(FOUR, PREFERRED, only(), 3, in_sync_replicas=())
    assert gone == changed(
        FOUR,
        in_sync_replicas=(),
        eligible_leader_replicas=(1, 2, 3, 4),
        last_known_eligible_leader_replicas=(1,),
        leader=NO_LEADER,
        leader_epochs=1,
    )
    assert gone is not None
    without_2 = after(gone, PREFERRED, only(), 3, unfit=(2,))
    assert without_2 == changed(gone, eligible_leader_replicas=(1, 3, 4))


def test_eligible_replicas_from_under_a_larger_minimum_are_not_believed() -> None:
    # 3 was eligible with a minimum of 3. With 2, the leader and 2 may have committed without it.
    state = FOUR._replace(in_sync_replicas=(1, 2), eligible_leader_replicas=(3,))
    assert after(state, may_lead=only(3), minimum=2, in_sync_replicas=()) == changed(
        state,
        in_sync_replicas=(),
        eligible_leader_replicas=(1, 2),
        last_known_eligible_leader_replicas=(1,),
        leader=NO_LEADER,
        leader_epochs=1,
    )


def test_replicas_that_are_taken_away_are_not_eligible() -> None:
    state = BAR._replace(in_sync_replicas=(1, 2, 3, 4))
    result = after(state, may_lead=all_but(1), minimum=4, in_sync_replicas=(2, 3, 4))
    assert result is not None
    assert (result.replicas, result.eligible_leader_replicas) == ((2, 3, 4), ())


# The last resort


LOST = state_of((1, 2, 3, 4), (), NO_LEADER, last_known_eligible_leader_replicas=(3,))


@pytest.mark.parametrize(
    ("election", "may_lead", "leader"),
    [
        (UNCLEAN, all_but(), 3),  # the last known leader first
        (UNCLEAN, all_but(1, 3), 2),
        (ONLINE, all_but(), NO_LEADER),
        (PREFERRED, all_but(), NO_LEADER),
    ],
)
def test_only_unclean_elections_have_a_last_resort(
    election: Election, may_lead: Callable[[int], bool], leader: int
) -> None:
    result = after(LOST, election, may_lead)
    if leader == NO_LEADER:
        assert result is None
        return
    assert result == changed(
        LOST,
        in_sync_replicas=(leader,),
        last_known_eligible_leader_replicas=(),
        leader=leader,
        leader_epochs=1,
        is_recovering=True,
    )


def test_last_known_leader_does_not_come_before_eligible_replicas() -> None:
    state = LOST._replace(eligible_leader_replicas=(2,))
    result = after(state, UNCLEAN)
    assert result is not None
    assert (result.leader, result.is_recovering) == (2, False)


def test_unclean_election_makes_a_set_of_its_own() -> None:
    assert after(FOO, UNCLEAN, all_but(3), in_sync_replicas=(3,)) == changed(
        FOO, in_sync_replicas=(2,), leader=2, leader_epochs=1, is_recovering=True
    )
    assert after(OFFLINE, UNCLEAN, only(1)) == changed(
        OFFLINE,
        in_sync_replicas=(1,),
        eligible_leader_replicas=(),
        last_known_eligible_leader_replicas=(),
        leader=1,
        leader_epochs=1,
        is_recovering=True,
    )


def test_only_replica_may_return() -> None:
    state = state_of((1,), (), NO_LEADER, last_known_eligible_leader_replicas=(1,))
    assert after(state) is None
    assert after(state, may_return=True) == changed(
        state,
        in_sync_replicas=(1,),
        last_known_eligible_leader_replicas=(),
        leader=1,
        leader_epochs=1,
        is_recovering=True,
    )
    assert after(state, may_lead=only(), may_return=True) is None


def test_new_leader_goes_on_recovering_until_it_says_otherwise() -> None:
    state = state_of((1, 2, 3), (1,), 1, is_recovering=True)
    gone = after(state, may_lead=only(), in_sync_replicas=())
    assert gone is not None
    back = after(gone, may_lead=only(1))
    assert back is not None
    assert (gone.leader, gone.is_recovering) == (NO_LEADER, True)
    assert (back.leader, back.in_sync_replicas, back.is_recovering) == (1, (1,), True)
    recovered = after(back, in_sync_replicas=(1, 2), is_recovering=False)
    assert recovered is not None
    assert (recovered.is_recovering, recovered.leader_epoch) == (False, back.leader_epoch)


def test_state_keeps_the_revision_that_is_to_be_compared() -> None:
    result = after(FOO, in_sync_replicas=(1,))
    assert result is not None
    assert result.state_revision == FOO.state_revision
