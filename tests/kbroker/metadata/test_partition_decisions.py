"""What is decided about partitions when brokers come and go, leaders propose, disks fail and people ask."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import pytest

from kbroker.metadata.elections import Election, TopicRules
from kbroker.metadata.image import (
    NO_LEADER,
    BrokerRegistration,
    ClusterImage,
    PartitionState,
    TopicImage,
)
from kbroker.metadata.partition_decisions import (
    AlterPartitionChange,
    alter_partition,
    balance,
    elect_by_hand,
    reason_to_settle,
    resign,
    settle,
)
from tests.kbroker.metadata.cluster import broker, image_of
from wire.errors import ApiError, ErrorCode

TOPIC_ID = uuid.UUID(int=1)
STATE_REVISION = 50
CLEAN = TopicRules(min_in_sync_replicas=2)
UNCLEAN = TopicRules(min_in_sync_replicas=2, unclean_leader_election=True)
EASY = TopicRules(min_in_sync_replicas=1)


def partition(in_sync: Iterable[int], leader: int, **fields: object) -> PartitionState:
    return PartitionState((1, 2, 3), tuple(in_sync), leader, 5, 9, state_revision=STATE_REVISION)._replace(
        **fields
    )


def topic_of(state: PartitionState) -> TopicImage:
    return TopicImage("t", TOPIC_ID, (state,), revision=10)


def brokers(
    *node_ids: int, fenced: int = 0, leaving: int | tuple[int, ...] = 0, away: int | tuple[int, ...] = 0
) -> ClusterImage:
    """These are registered; ``away``: since after the state was written."""
    leaving = leaving if isinstance(leaving, tuple) else (leaving,)
    away = away if isinstance(away, tuple) else (away,)
    registrations: list[BrokerRegistration] = [
        broker(
            node_id,
            fenced=node_id == fenced,
            in_controlled_shutdown=node_id in leaving,
            created_revision=60 if node_id in away else 40,
            revision=61,
        )
        for node_id in node_ids
    ]
    return image_of(*registrations)


def settled(
    image: ClusterImage, state: PartitionState, rules: TopicRules = CLEAN
) -> tuple[object, ...] | None:
    """(in sync, leader, eligible, leader epochs more), None if nothing changes."""
    after = settle(image, topic_of(state), state, rules)
    if after is None:
        return None
    assert after.partition_epoch == state.partition_epoch + 1
    return (
        after.in_sync_replicas,
        after.leader,
        after.eligible_leader_replicas,
        after.leader_epoch - state.leader_epoch,
    )


ALL = partition((1, 2, 3), 1)


@pytest.mark.parametrize(
    ("image", "state", "rules", "outcome"),
    [
        (brokers(1, 2, 3), ALL, CLEAN, None),
        # Gone, or fenced
        (brokers(2, 3), ALL, CLEAN, ((2, 3), 2, (), 1)),
        (brokers(1, 2, 3, fenced=1), ALL, CLEAN, ((2, 3), 2, (), 1)),
        (brokers(1, 3), ALL, CLEAN, ((1, 3), 1, (), 0)),
        (brokers(3), ALL, CLEAN, ((3,), 3, (1, 2), 1)),
        (brokers(3), ALL, EASY, ((3,), 3, (), 1)),
        (brokers(), ALL, CLEAN, ((), NO_LEADER, (1, 2, 3), 1)),
        (brokers(2, 3), partition((1,), 1), EASY, ((), NO_LEADER, (1,), 1)),
        (brokers(2, 3), partition((1,), 1), CLEAN, ((), NO_LEADER, (1,), 1)),
        (
            brokers(2, 3),
            partition((1,), 1, eligible_leader_replicas=(3,)),
            CLEAN,
            ((3,), 3, (1,), 1),
        ),
        # Where unclean elections are allowed
        (brokers(2, 3), partition((1,), 1), UNCLEAN, ((2,), 2, (), 1)),
        (brokers(2), partition((1,), 1, eligible_leader_replicas=(3,)), UNCLEAN, ((2,), 2, (), 1)),
        # Back
        (
            brokers(1, 2, 3, away=1),
            partition((), NO_LEADER, eligible_leader_replicas=(1, 2)),
            CLEAN,
            ((1,), 1, (2,), 1),
        ),
        (
            brokers(2, 3, away=2),
            partition((), NO_LEADER, eligible_leader_replicas=(1, 2)),
            CLEAN,
            ((2,), 2, (1,), 1),
        ),
        (brokers(3, away=3), partition((), NO_LEADER, eligible_leader_replicas=(1,)), CLEAN, None),
        # Away in between: nobody noticed that they were gone
        (brokers(1, 2, 3, away=3), ALL, CLEAN, ((1, 2), 1, (), 0)),
        (brokers(1, 2, 3, away=1), ALL, CLEAN, ((2, 3), 2, (), 1)),
        (brokers(1, 2, 3, away=(1, 2, 3)), ALL, CLEAN, ((1,), 1, (2, 3), 1)),
        (brokers(2, 3, away=(2, 3)), ALL, CLEAN, ((2,), 2, (1, 3), 1)),
        (brokers(1, 2, 3, away=(1, 2, 3)), partition((3,), 3), EASY, ((3,), 3, (), 1)),
        # In controlled shutdown
        (brokers(1, 2, 3, leaving=1), ALL, CLEAN, ((2, 3), 2, (), 1)),
        (brokers(1, 2, 3, leaving=2), ALL, CLEAN, ((1, 3), 1, (), 0)),
        (brokers(1, 2, 3, leaving=1), partition((1,), 1), CLEAN, None),
        (
            brokers(1, 2, 3, leaving=1),
            partition((1,), 1, eligible_leader_replicas=(2,)),
            CLEAN,
            ((2,), 2, (1,), 1),
        ),
        (brokers(1, leaving=1), ALL, CLEAN, ((1,), 1, (2, 3), 0)),
        (brokers(1, 2, 3, leaving=(1, 2, 3)), ALL, CLEAN, None),
        (brokers(1, 2, leaving=(1, 2)), partition((1, 2), 1), UNCLEAN, None),
        (brokers(2, 3, leaving=2), partition((1, 2), 1), CLEAN, ((2,), NO_LEADER, (1,), 1)),
        # A smaller min.insync.replicas, and a leader that is missing
        (brokers(1, 2, 3), partition((1, 2), 1, eligible_leader_replicas=(3,)), CLEAN, ((1, 2), 1, (), 0)),
        (brokers(1, 2, 3), partition((1, 2), NO_LEADER), CLEAN, ((1, 2), 1, (), 1)),
    ],
)
def test_settling(
    image: ClusterImage, state: PartitionState, rules: TopicRules, outcome: tuple[object, ...] | None
) -> None:
    assert settled(image, state, rules) == outcome
    after = settle(image, topic_of(state), state, rules)
    if after is not None:
        # And then it is settled: the new state is written after all those registrations.
        written = after._replace(state_revision=100)
        assert settle(image, topic_of(written), written, rules) is None


def test_only_replica_is_spared_a_new_epoch_when_its_broker_comes_back() -> None:
    alone = PartitionState((1,), (1,), 1, state_revision=0)
    image = brokers(1, away=1)
    assert settle(image, topic_of(alone), alone, CLEAN) is None
    assert settle(image, topic_of(alone._replace(replicas=(1, 2))), alone, CLEAN) is None
    follower = alone._replace(replicas=(1, 2))
    assert settled(image, follower) == ((1,), 1, (), 1)


def test_only_replica_that_lost_its_log_leads_again_when_its_broker_has_restarted() -> None:
    alone = PartitionState((1,), (1,), 1, 5, 9, state_revision=STATE_REVISION)
    lost = resign(brokers(1), topic_of(alone), alone, CLEAN, 1)
    assert lost is not None
    assert (lost.leader, lost.in_sync_replicas, lost.last_known_eligible_leader_replicas) == (
        NO_LEADER,
        (),
        (1,),
    )
    assert settle(brokers(1), topic_of(lost), lost, CLEAN) is None
    back = settle(brokers(1, away=1), topic_of(lost), lost, CLEAN)
    assert back is not None
    assert (back.leader, back.in_sync_replicas, back.is_recovering) == (1, (1,), True)


@pytest.mark.parametrize(
    ("image", "state", "rules", "reason"),
    [
        (brokers(2, 3), ALL, CLEAN, "broker 1 is gone"),
        (brokers(3), ALL, CLEAN, "broker 1 is gone, broker 2 is gone"),
        (brokers(1, 2, 3, fenced=1), ALL, CLEAN, "broker 1 is fenced"),
        (brokers(1, 2, 3, leaving=2), ALL, CLEAN, "controlled shutdown of 2"),
        (brokers(1, 2, 3, away=3), ALL, CLEAN, "broker 3 was away"),
        (brokers(1, 2, 3, away=1), partition((1,), 1), EASY, "broker 1 was away"),
        (
            brokers(1, away=1),
            partition((), NO_LEADER, eligible_leader_replicas=(1,)),
            CLEAN,
            "broker 1 is back",
        ),
        (brokers(1, 2, 3), partition((1, 2), 1, eligible_leader_replicas=(3,)), CLEAN, "min.insync.replicas"),
    ],
)
def test_reasons(image: ClusterImage, state: PartitionState, rules: TopicRules, reason: str) -> None:
    after = settle(image, topic_of(state), state, rules)
    assert after is not None
    assert reason_to_settle(image, topic_of(state), state, after) == reason


# What leaders propose


def proposal(*in_sync: int | tuple[int, int], **fields: object) -> AlterPartitionChange:
    members = tuple(member if isinstance(member, tuple) else (member, member) for member in in_sync)
    values = {"leader_epoch": 5, "partition_epoch": 9, "is_recovering": False} | fields
    return AlterPartitionChange(TOPIC_ID, 0, in_sync_replicas=members, **values)


def altered(
    change: AlterPartitionChange,
    state: PartitionState = ALL,
    image: ClusterImage | None = None,
    node_id: int = 1,
    rules: TopicRules = CLEAN,
) -> PartitionState | ErrorCode | None:
    if image is None:
        image = brokers(1, 2, 3, 4)
    try:
        return alter_partition(image, topic_of(state), state, rules, node_id, change)
    except ApiError as error:
        return error.code


def test_proposal_that_is_granted() -> None:
    assert altered(proposal(1, 2)) == ALL._replace(in_sync_replicas=(1, 2), partition_epoch=10)
    assert altered(proposal(1)) == ALL._replace(
        in_sync_replicas=(1,), eligible_leader_replicas=(2, 3), partition_epoch=10
    )
    grown = partition((1, 2), 1)
    assert altered(proposal(1, 2, (3, -1)), grown) == grown._replace(
        in_sync_replicas=(1, 2, 3), partition_epoch=10
    )
    assert altered(proposal(1, 2, 3)) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (proposal(1, 2, leader_epoch=6), ErrorCode.NOT_CONTROLLER),
        (proposal(1, 2, partition_epoch=10), ErrorCode.NOT_CONTROLLER),
        (proposal(1, 2, leader_epoch=4), ErrorCode.FENCED_LEADER_EPOCH),
        (proposal(1, 2, leader_epoch=4, partition_epoch=8), ErrorCode.FENCED_LEADER_EPOCH),
        (proposal(1, 2, partition_epoch=8), ErrorCode.INVALID_UPDATE_VERSION),
        (proposal(1, 4), ErrorCode.INVALID_REQUEST),
        (proposal(1, 2, 2), ErrorCode.INVALID_REQUEST),
        (proposal(2, 3), ErrorCode.INVALID_REQUEST),
        (proposal(), ErrorCode.INVALID_REQUEST),
        (proposal(1, is_recovering=True), ErrorCode.INVALID_REQUEST),
        (proposal(1, 2, is_recovering=True), ErrorCode.INVALID_REQUEST),
        (proposal(1, (2, 3)), ErrorCode.INELIGIBLE_REPLICA),
    ],
)
def test_proposal_that_is_refused(change: AlterPartitionChange, code: ErrorCode) -> None:
    assert altered(change) == code


def test_proposal_of_another_than_the_leader() -> None:
    assert altered(proposal(1, 2), node_id=2) == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    "image", [brokers(1, 3), brokers(1, 2, 3, fenced=2), brokers(1, 2, 3, leaving=2)], ids=str
)
def test_replica_that_cannot_be_counted_on(image: ClusterImage) -> None:
    assert altered(proposal(1, 2), partition((1,), 1), image) == ErrorCode.INELIGIBLE_REPLICA


def test_replica_that_restarted_counts_only_with_its_new_epoch() -> None:
    image = brokers(1, 2, 3, away=2)
    assert altered(proposal(1, (2, -1), 3), image=image) == ErrorCode.INELIGIBLE_REPLICA
    assert altered(proposal(1, 2), image=image) == ALL._replace(in_sync_replicas=(1, 2), partition_epoch=10)
    # It was not in sync before, so the leader has seen it since.
    joined = partition((1,), 1)
    assert altered(proposal(1, (2, -1)), joined, image) == joined._replace(
        in_sync_replicas=(1, 2), partition_epoch=10
    )


def test_leader_that_was_away_is_to_be_elected_anew_first() -> None:
    image = brokers(1, 2, 3, away=1)
    assert altered(proposal(1, 2), image=image) == ErrorCode.NEW_LEADER_ELECTED


def test_leader_says_that_it_has_recovered() -> None:
    state = partition((1,), 1, is_recovering=True)
    assert altered(proposal(1, is_recovering=True), state, rules=EASY) is None
    assert altered(proposal(1, 2, is_recovering=True), state) == ErrorCode.INVALID_REQUEST
    assert altered(proposal(1, 2), state) == state._replace(
        in_sync_replicas=(1, 2), is_recovering=False, partition_epoch=10
    )


def test_proposal_that_completes_a_reassignment_may_cost_the_leadership() -> None:
    state = partition((1, 2), 1, replicas=(2, 3, 1), adding_replicas=(3,), removing_replicas=(1,))
    assert altered(proposal(1, 2, 3), state) == state._replace(
        replicas=(2, 3),
        in_sync_replicas=(2, 3),
        leader=2,
        adding_replicas=(),
        removing_replicas=(),
        leader_epoch=6,
        partition_epoch=10,
    )


# Replicas that lost their log


@pytest.mark.parametrize(
    ("node_id", "state", "rules", "outcome"),
    [
        (1, ALL, CLEAN, ((2, 3), 2, ())),
        (2, ALL, CLEAN, ((1, 3), 1, ())),
        (1, partition((1, 2), 1), CLEAN, ((2,), 2, ())),
        (1, partition((1,), 1, eligible_leader_replicas=(2,)), CLEAN, ((2,), 2, ())),
        (2, partition((1,), 1, eligible_leader_replicas=(2, 3)), CLEAN, ((1,), 1, (3,))),
        (1, partition((1,), 1), CLEAN, ((), NO_LEADER, ())),
        (1, partition((1,), 1), UNCLEAN, ((2,), 2, ())),
        (1, partition((), NO_LEADER, eligible_leader_replicas=(1, 2)), CLEAN, ((2,), 2, ())),
    ],
)
def test_resigning(
    node_id: int, state: PartitionState, rules: TopicRules, outcome: tuple[object, ...]
) -> None:
    after = resign(brokers(1, 2, 3), topic_of(state), state, rules, node_id)
    assert after is not None
    assert (after.in_sync_replicas, after.leader, after.eligible_leader_replicas) == outcome


def test_resigning_from_nothing() -> None:
    state = partition((1,), 1)
    assert resign(brokers(1, 2, 3), topic_of(state), state, CLEAN, 2) is None
    lost = partition((), NO_LEADER, last_known_eligible_leader_replicas=(1,))
    assert resign(brokers(1, 2, 3), topic_of(lost), lost, UNCLEAN, 1) is None


def test_resigning_before_the_broker_is_registered() -> None:
    state = partition((1,), 1, eligible_leader_replicas=(2,))
    after = resign(brokers(2), topic_of(state), state, CLEAN, 1)
    assert after is not None
    assert (after.in_sync_replicas, after.leader, after.eligible_leader_replicas) == ((2,), 2, ())


def test_last_of_all_that_resigns_is_remembered() -> None:
    state = partition((1,), 1)
    after = resign(brokers(1, 2, 3), topic_of(state), state, CLEAN, 1)
    assert after is not None
    assert after.last_known_eligible_leader_replicas == (1,)
    assert settle(brokers(1, 2, 3), topic_of(after), after, CLEAN) is None
    assert settled(brokers(1, 2, 3), after, UNCLEAN) == ((1,), 1, (), 1)


# By hand, and now and then


@pytest.mark.parametrize(
    ("election", "image", "state", "outcome"),
    [
        (Election.PREFERRED, brokers(1, 2, 3), partition((1, 2), 2), 1),
        (Election.PREFERRED, brokers(1, 2, 3), ALL, ErrorCode.ELECTION_NOT_NEEDED),
        (
            Election.PREFERRED,
            brokers(1, 2, 3),
            partition((2,), 2),
            ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
        ),
        (Election.PREFERRED, brokers(2, 3), partition((2,), 2), ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE),
        (Election.PREFERRED, brokers(2, 3), partition((2,), NO_LEADER), 2),
        (Election.UNCLEAN, brokers(1, 2, 3), ALL, ErrorCode.ELECTION_NOT_NEEDED),
        (Election.UNCLEAN, brokers(2), partition((), NO_LEADER, eligible_leader_replicas=(1,)), 2),
        (
            Election.UNCLEAN,
            brokers(4),
            partition((), NO_LEADER, eligible_leader_replicas=(1,)),
            ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        ),
    ],
)
def test_election_by_hand(
    election: Election, image: ClusterImage, state: PartitionState, outcome: int | ErrorCode
) -> None:
    if isinstance(outcome, ErrorCode):
        with pytest.raises(ApiError) as raised:
            elect_by_hand(image, topic_of(state), state, CLEAN, election)
        assert raised.value.code == outcome
    else:
        after = elect_by_hand(image, topic_of(state), state, CLEAN, election)
        assert after.leader == outcome
        assert after.leader_epoch == state.leader_epoch + 1


@pytest.mark.parametrize(
    ("image", "state", "leader"),
    [
        (brokers(1, 2, 3), ALL, None),
        (brokers(1, 2, 3), partition((1, 2), 2), 1),
        (brokers(2, 3), partition((1, 2), 2), 2),  # out of date, and settled on the way
        (brokers(1, 2, 3), partition((2,), 2), None),
        (brokers(1, 2, 3), partition((), NO_LEADER, eligible_leader_replicas=(1,)), None),
    ],
)
def test_balance(image: ClusterImage, state: PartitionState, leader: int | None) -> None:
    after = balance(image, topic_of(state), state, CLEAN)
    assert (None if after is None else after.leader) == leader
