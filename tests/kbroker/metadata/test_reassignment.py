"""Moving partitions: begun, completed, cancelled, listed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest

from kbroker.metadata.elections import TopicRules
from kbroker.metadata.image import NO_LEADER, ClusterImage, PartitionState, TopicImage
from kbroker.metadata.partition_decisions import settle
from kbroker.metadata.reassignment import begin_reassignment, cancel_reassignment, reassignments
from tests.kbroker.metadata.cluster import broker, image_of
from wire.errors import ApiError, ErrorCode

CLEAN = TopicRules(min_in_sync_replicas=1)
UNCLEAN = TopicRules(min_in_sync_replicas=1, unclean_leader_election=True)
SIX = image_of(*(broker(node_id) for node_id in range(1, 7)))


def partition(
    replicas: Sequence[int],
    in_sync: Sequence[int] | None = None,
    leader: int | None = None,
    adding: Sequence[int] = (),
    removing: Sequence[int] = (),
    **fields: object,
) -> PartitionState:
    in_sync = replicas if in_sync is None else in_sync
    return PartitionState(
        tuple(replicas),
        tuple(in_sync),
        in_sync[0] if leader is None else leader,
        5,
        9,
        adding_replicas=tuple(adding),
        removing_replicas=tuple(removing),
        state_revision=7,
    )._replace(**fields)


def begun(
    state: PartitionState,
    target: Sequence[int],
    image: ClusterImage = SIX,
    *,
    may_change_factor: bool = True,
) -> PartitionState | ErrorCode | None:
    topic = TopicImage("t", uuid.UUID(int=1), (state,), 1)
    try:
        return begin_reassignment(
            image, topic, state, CLEAN, target, allow_replication_factor_change=may_change_factor
        )
    except ApiError as error:
        return error.code


def cancelled(
    state: PartitionState, rules: TopicRules = CLEAN, image: ClusterImage = SIX
) -> PartitionState | ErrorCode:
    topic = TopicImage("t", uuid.UUID(int=1), (state,), 1)
    try:
        return cancel_reassignment(image, topic, state, rules)
    except ApiError as error:
        return error.code


def changed(state: PartitionState, *, leader_epochs: int = 0, **fields: object) -> PartitionState:
    return state._replace(partition_epoch=10, leader_epoch=5 + leader_epochs, **fields)


STATE = partition((1, 2, 3))


@pytest.mark.parametrize(
    ("state", "target", "expected"),
    [
        (STATE, (1, 2, 3), None),
        (STATE, (3, 2, 1), changed(STATE, replicas=(3, 2, 1))),
        (
            STATE,
            (1, 2, 4),
            changed(STATE, replicas=(1, 2, 4, 3), adding_replicas=(4,), removing_replicas=(3,)),
        ),
        (STATE, (1, 2, 3, 4), changed(STATE, replicas=(1, 2, 3, 4), adding_replicas=(4,))),
        (STATE, (2, 3), changed(STATE, replicas=(2, 3), in_sync_replicas=(2, 3), leader=2, leader_epochs=1)),
        (STATE, (1,), changed(STATE, replicas=(1,), in_sync_replicas=(1,), leader_epochs=1)),
        (
            STATE,
            (4, 5),
            changed(STATE, replicas=(4, 5, 1, 2, 3), adding_replicas=(4, 5), removing_replicas=(1, 2, 3)),
        ),
        # A replica that is to go has nothing to wait for, one that stays and is behind has.
        (
            partition((1, 2, 3), (1, 3)),
            (1, 2),
            changed(partition((1, 2, 3), (1, 3)), replicas=(1, 2, 3), removing_replicas=(3,)),
        ),
    ],
)
def test_beginning(state: PartitionState, target: tuple[int, ...], expected: PartitionState | None) -> None:
    assert begun(state, target) == expected


UNDER_WAY = partition((4, 5, 1, 2), (1, 2), adding=(4, 5), removing=(1, 2))


@pytest.mark.parametrize(
    ("target", "replicas", "adding", "removing"),
    [
        ((4, 5), (4, 5, 1, 2), (4, 5), (1, 2)),
        ((4, 6), (4, 6, 1, 2, 5), (4, 5, 6), (1, 2, 5)),
        ((1, 4), (1, 4, 2, 5), (4, 5), (2, 5)),
        ((1, 2, 4, 5), (1, 2, 4, 5), (4, 5), ()),
    ],
)
def test_move_that_replaces_another_under_way(
    target: tuple[int, ...], replicas: tuple[int, ...], adding: tuple[int, ...], removing: tuple[int, ...]
) -> None:
    after = begun(UNDER_WAY, target) or UNDER_WAY
    assert isinstance(after, PartitionState)
    assert (after.replicas, after.adding_replicas, after.removing_replicas) == (replicas, adding, removing)
    # Whatever it was replaced with, taking it back gives the replicas from before.
    back = cancelled(after)
    assert isinstance(back, PartitionState)
    assert (sorted(back.replicas), back.in_sync_replicas, back.is_reassigning) == ([1, 2], (1, 2), False)


def test_move_back_to_where_the_partition_came_from() -> None:
    after = begun(UNDER_WAY, (1, 2))
    assert isinstance(after, PartitionState)
    assert (after.replicas, after.is_reassigning, after.leader) == ((1, 2), False, 1)


@pytest.mark.parametrize("target", [(), (1, 1), (1, 7), (1, 2, 7)])
def test_brokers_that_a_partition_cannot_move_to(target: tuple[int, ...]) -> None:
    assert begun(STATE, target) == ErrorCode.INVALID_REPLICA_ASSIGNMENT


def test_replica_may_stay_on_a_broker_that_is_down() -> None:
    image = image_of(broker(1), broker(2), broker(4))
    assert begun(STATE, (1, 2, 3), image) == changed(STATE, in_sync_replicas=(1, 2))
    after = begun(STATE, (1, 3, 4), image)
    assert isinstance(after, PartitionState)
    assert (after.replicas, after.in_sync_replicas) == ((1, 3, 4, 2), (1, 2))


@pytest.mark.parametrize(
    ("state", "target", "is_refused"),
    [
        (STATE, (1, 2, 4), False),
        (STATE, (1, 2), True),
        (STATE, (1, 2, 3, 4), True),
        (UNDER_WAY, (1, 6), False),
        (UNDER_WAY, (1, 4, 6), True),
        (partition((4, 1, 2), (1, 2), adding=(4,)), (1, 2, 3), False),
    ],
)
def test_replication_factor_that_may_not_change(
    state: PartitionState, target: tuple[int, ...], is_refused: bool
) -> None:
    outcome = begun(state, target, may_change_factor=False)
    assert (outcome == ErrorCode.INVALID_REPLICATION_FACTOR) == is_refused
    assert begun(state, target) != ErrorCode.INVALID_REPLICATION_FACTOR


def test_completing() -> None:
    image = image_of(*(broker(node_id) for node_id in range(1, 7)))
    caught_up = UNDER_WAY._replace(in_sync_replicas=(1, 2, 4, 5))
    topic = TopicImage("t", uuid.UUID(int=1), (caught_up,), 1)
    assert settle(image, topic, caught_up, CLEAN) == changed(
        caught_up,
        replicas=(4, 5),
        in_sync_replicas=(4, 5),
        adding_replicas=(),
        removing_replicas=(),
        leader=4,
        leader_epochs=1,
    )


def test_taking_back() -> None:
    assert cancelled(UNDER_WAY) == changed(
        UNDER_WAY, replicas=(1, 2), adding_replicas=(), removing_replicas=(), leader_epochs=1
    )
    state = partition((1, 2, 3, 4), (1, 2, 3), adding=(4,), removing=(1,))
    assert cancelled(state) == changed(
        state, replicas=(1, 2, 3), adding_replicas=(), removing_replicas=(), leader_epochs=1
    )
    led_by_new = UNDER_WAY._replace(leader=4, in_sync_replicas=(4, 2))
    assert cancelled(led_by_new) == changed(
        led_by_new,
        replicas=(1, 2),
        in_sync_replicas=(2,),
        adding_replicas=(),
        removing_replicas=(),
        leader=2,
        leader_epochs=1,
    )


def test_nothing_to_take_back() -> None:
    assert cancelled(STATE) == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


def test_taking_back_when_only_new_replicas_are_in_sync() -> None:
    state = partition((4, 5, 1, 2), (4,), adding=(4, 5), removing=(1, 2))
    assert cancelled(state) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert cancelled(state, UNCLEAN) == changed(
        state,
        replicas=(1, 2),
        in_sync_replicas=(1,),
        adding_replicas=(),
        removing_replicas=(),
        leader=1,
        leader_epochs=1,
        is_recovering=True,
    )
    eligible = state._replace(eligible_leader_replicas=(2,))
    rules = TopicRules(min_in_sync_replicas=2)
    assert cancelled(eligible, rules) == changed(
        eligible,
        replicas=(1, 2),
        in_sync_replicas=(2,),
        eligible_leader_replicas=(),
        adding_replicas=(),
        removing_replicas=(),
        leader=2,
        leader_epochs=1,
    )


def test_taking_back_while_nobody_is_there_to_lead() -> None:
    image = image_of(broker(4))
    state = partition((4, 5, 1), (4, 1), 4, adding=(4, 5), removing=(1,))
    after = cancelled(state, TopicRules(min_in_sync_replicas=2), image)
    assert isinstance(after, PartitionState)
    assert (after.replicas, after.leader) == ((1,), NO_LEADER)
    assert (after.in_sync_replicas, after.eligible_leader_replicas) == ((), (1,))


def test_listing() -> None:
    a = TopicImage("a", uuid.UUID(int=1), (STATE, UNDER_WAY), 1)
    b = TopicImage("b", uuid.UUID(int=2), (UNDER_WAY,), 1)
    image = ClusterImage(topics={"a": a, "b": b})
    assert [(topic.name, index) for topic, index, _ in reassignments(image, None)] == [("a", 1), ("b", 0)]
    wanted = [("a", [0, 1, 2, -1]), ("c", [0])]
    assert list(reassignments(image, wanted)) == [(a, 1, UNDER_WAY)]
