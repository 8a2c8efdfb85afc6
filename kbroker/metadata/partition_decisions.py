"""What is decided about partitions that exist: plain functions from an image to new partition states.

Nothing is written here and nothing awaited; ``partition_controller`` (what somebody asks for) and
``elected_controller`` (what follows from brokers that come and go) do that. They follow Kafka's
``ReplicationControlManager``. ``elections`` has the rules by which one state follows another, ``reassignment``
what is decided about moving partitions to other brokers.

How a broker counts, for a partition that has a replica on it (``settle``):

    registered since before the partition's state was written     stays what it is
    registered since then                                         it has been away: leaves the in-sync set, may lead
    in controlled shutdown                                        leaves where another can take over, else stays
    fenced, or not registered                                     leaves

That a broker was away is read off the revisions: a registration that came into being after the state is the
registration of a broker that restarted (or lost its session) since, and nobody has drawn the conclusions yet.
This holds because a state is only ever written together with a comparison of the registrations of all that are
in sync in it. So a controller that has just been elected finds what its predecessor left undone, and a cluster
whose brokers all went down at once gets new leader epochs, without which followers could not find out that a
leader lost the end of its log. Partitions with one replica are spared that: nobody follows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from kbroker.metadata.elections import (
    Change,
    Election,
    TopicRules,
    effective_min_in_sync_replicas,
    next_state,
    without,
)
from kbroker.metadata.image import NO_LEADER, ClusterImage, PartitionState, TopicImage
from wire.errors import ApiError, ErrorCode

UNKNOWN_BROKER_EPOCH: Final = -1


class ProposedChange(Protocol):
    """What a leader proposes: see ``AlterPartitionChange``."""

    @property
    def topic_id(self) -> UUID: ...

    @property
    def index(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def partition_epoch(self) -> int: ...

    @property
    def in_sync_replicas(self) -> Sequence[tuple[int, int]]: ...

    @property
    def is_recovering(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class AlterPartitionChange:
    """What a leader proposes (KIP-497): the in-sync set that its partition should have.

    ``leader_epoch`` and ``partition_epoch`` are those of the state that the leader knows.
    ``in_sync_replicas`` holds (node id, broker epoch); the epoch is the one that the replica fetched with, or
    -1 if it is not known (KIP-903).
    """

    topic_id: UUID
    index: int
    leader_epoch: int
    partition_epoch: int
    in_sync_replicas: tuple[tuple[int, int], ...]
    is_recovering: bool = False


def settle(
    image: ClusterImage,
    topic: TopicImage,
    state: PartitionState,
    rules: TopicRules,
    *,
    unfit: Collection[int] = (),
) -> PartitionState | None:
    """The state that follows from which brokers are there now; None if it is the one that there is.

    ``unfit``: see ``elections.Change``.
    """
    gone: list[int] = []
    leaving: list[int] = []
    for node_id in state.in_sync_replicas:
        broker = image.brokers.get(node_id)
        if broker is None or broker.fenced or node_id in unfit:
            gone.append(node_id)
        elif broker.in_controlled_shutdown:
            leaving.append(node_id)
        elif image.was_away(topic, state, node_id):
            gone.append(node_id)
    if not gone and not leaving and not unfit and _is_in_order(state, rules):
        return None
    in_sync = without(state.in_sync_replicas, gone)
    may_stay: Collection[int] = ()
    if leaving:
        others = without(without(in_sync, leaving) or state.eligible_leader_replicas, unfit)
        if any(image.is_active(node_id) for node_id in others):
            in_sync = without(in_sync, leaving)
        elif state.leader in leaving:
            may_stay = (state.leader,)
    return next_state(
        state,
        Change(
            rules.election,
            lambda node_id: node_id not in unfit and (node_id in may_stay or image.is_active(node_id)),
            rules.min_in_sync_replicas,
            in_sync_replicas=in_sync,
            unfit=unfit,
            may_return=_may_return(image, state),
        ),
    )


def settled(
    image: ClusterImage, topic: TopicImage, state: PartitionState, rules: TopicRules
) -> PartitionState:
    """What other decisions about the partition start from, so that none is made on a state out of date."""
    return settle(image, topic, state, rules) or state


def _may_return(image: ClusterImage, state: PartitionState) -> bool:
    """Whether the broker of a partition's only replica has restarted since that lost its log."""
    broker = image.brokers.get(state.replicas[0])
    return len(state.replicas) == 1 and broker is not None and broker.created_revision > state.state_revision


def _is_in_order(state: PartitionState, rules: TopicRules) -> bool:
    """Whether there is nothing to do as long as all in-sync replicas are there."""
    if state.leader == NO_LEADER or state.is_reassigning:
        return False
    required = effective_min_in_sync_replicas(rules.min_in_sync_replicas, state.replicas)
    return not state.eligible_leader_replicas or len(state.in_sync_replicas) < required


def alter_partition(
    image: ClusterImage,
    topic: TopicImage,
    state: PartitionState,
    rules: TopicRules,
    node_id: int,
    change: ProposedChange,
) -> PartitionState | None:
    """The state that the leader ``node_id`` proposes, None if that is the one there is.

    ApiError as Kafka gives it: NOT_CONTROLLER where the leader knows a newer state than this image has,
    FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, INVALID_REQUEST, INELIGIBLE_REPLICA. The leader of the new
    state may be another one, when the change completes a reassignment.
    """
    _check_proposal(topic, state, node_id, change)
    # It has been away: a new leader is elected, perhaps it again, and only the new epoch counts.
    if image.was_away(topic, state, node_id):
        raise ApiError(
            ErrorCode.NEW_LEADER_ELECTED, "The leader's registration is newer than its leadership."
        )
    for replica, broker_epoch in change.in_sync_replicas:
        reason = _ineligibility(image, topic, state, replica, broker_epoch)
        if reason is not None:
            raise ApiError(ErrorCode.INELIGIBLE_REPLICA, f"Broker {replica} {reason}.")
    return next_state(
        state,
        Change(
            rules.election,
            image.is_active,
            rules.min_in_sync_replicas,
            in_sync_replicas=tuple(replica for replica, _ in change.in_sync_replicas),
            is_recovering=change.is_recovering,
        ),
    )


def _check_proposal(topic: TopicImage, state: PartitionState, node_id: int, change: ProposedChange) -> None:
    if change.leader_epoch > state.leader_epoch or change.partition_epoch > state.partition_epoch:
        raise ApiError(ErrorCode.NOT_CONTROLLER, "This broker does not know of that epoch yet.")
    if change.leader_epoch < state.leader_epoch:
        raise ApiError(ErrorCode.FENCED_LEADER_EPOCH, f"The leader epoch is {state.leader_epoch}.")
    if node_id != state.leader:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"The leader is broker {state.leader}, not {node_id}.")
    if change.partition_epoch < state.partition_epoch:
        raise ApiError(ErrorCode.INVALID_UPDATE_VERSION, f"The partition epoch is {state.partition_epoch}.")
    node_ids = [replica for replica, _ in change.in_sync_replicas]
    if len(set(node_ids)) < len(node_ids) or not set(node_ids) <= set(state.replicas):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"{node_ids} are not replicas of the partition, each once.")
    if node_id not in node_ids:
        raise ApiError(ErrorCode.INVALID_REQUEST, "The in-sync set must include the leader.")
    if change.is_recovering and len(node_ids) > 1:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Nobody can be in sync with a leader that is recovering.")
    if change.is_recovering and not state.is_recovering:
        raise ApiError(ErrorCode.INVALID_REQUEST, "The leader is not recovering.")


def _ineligibility(
    image: ClusterImage, topic: TopicImage, state: PartitionState, replica: int, broker_epoch: int
) -> str | None:
    broker = image.brokers.get(replica)
    if broker is None:
        return "is not registered"
    if broker.in_controlled_shutdown:
        return "is shutting down"
    if broker.fenced:
        return "is fenced"
    if broker_epoch not in (UNKNOWN_BROKER_EPOCH, broker.broker_epoch):
        return f"has broker epoch {broker.broker_epoch}, not {broker_epoch}"
    # Without an epoch nobody can tell whether it was in sync before it restarted or after.
    if (
        broker_epoch == UNKNOWN_BROKER_EPOCH
        and replica != state.leader
        and replica in state.in_sync_replicas
        and image.was_away(topic, state, replica)
    ):
        return "has restarted since it was in sync"
    return None


def resign(
    image: ClusterImage, topic: TopicImage, state: PartitionState, rules: TopicRules, node_id: int
) -> PartitionState | None:
    """The state without a replica that lost its log, or the directory of it; None if it was in no set."""
    if node_id not in state.in_sync_replicas + state.eligible_leader_replicas and node_id != state.leader:
        return None
    return settle(image, topic, state, rules, unfit=(node_id,))


def reclaim(state: PartitionState, node_id: int) -> PartitionState | None:
    """The state in which a replica is eligible again that was the last to be it, and has its log after all.

    Its log directory had failed, and is back whole; nobody has led since, so it has everything that was committed.
    """
    has_others = state.in_sync_replicas or state.eligible_leader_replicas or state.leader != NO_LEADER
    if has_others or state.last_known_eligible_leader_replicas != (node_id,):
        return None
    return state._replace(
        eligible_leader_replicas=(node_id,),
        last_known_eligible_leader_replicas=(),
        partition_epoch=state.partition_epoch + 1,
    )


def elect_by_hand(
    image: ClusterImage, topic: TopicImage, state: PartitionState, rules: TopicRules, election: Election
) -> PartitionState:
    """What ElectLeaders asks for: PREFERRED, or UNCLEAN whatever the topic's configs say of that.

    ELECTION_NOT_NEEDED, PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE.
    """
    has_wanted = state.leader == state.replicas[0] if election is Election.PREFERRED else state.leader >= 0
    if has_wanted:
        raise ApiError(ErrorCode.ELECTION_NOT_NEEDED)
    base = settled(image, topic, state, rules)
    after = next_state(base, Change(election, image.is_active, rules.min_in_sync_replicas)) or base
    if after.leader != state.leader:
        return after
    if election is Election.PREFERRED:
        raise ApiError(ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE)
    raise ApiError(ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE)


def balance(
    image: ClusterImage, topic: TopicImage, state: PartitionState, rules: TopicRules
) -> PartitionState | None:
    """The state with the preferred leader, if it is not that already and can be."""
    preferred = state.replicas[0]
    if state.leader in (preferred, NO_LEADER) or preferred not in state.in_sync_replicas:
        return None
    base = settled(image, topic, state, rules)
    after = next_state(base, Change(Election.PREFERRED, image.is_active, rules.min_in_sync_replicas)) or base
    return None if after is state else after


def partitions_on(
    image: ClusterImage, node_ids: Collection[int]
) -> Iterator[tuple[TopicImage, int, PartitionState]]:
    """Every partition with a replica on one of these brokers."""
    for topic in image.topics.values():
        for index, state in enumerate(topic.partitions):
            if any(node_id in state.replicas for node_id in node_ids):
                yield topic, index, state


def reason_to_settle(
    image: ClusterImage, topic: TopicImage, before: PartitionState, after: PartitionState
) -> str:
    """Why ``settle`` changed the state, as the log tells it."""
    reasons = [
        _reason_of_absence(image, node_id)
        for node_id in before.in_sync_replicas
        if node_id not in after.in_sync_replicas or image.was_away(topic, before, node_id)
    ]
    if reasons:
        return ", ".join(reasons)
    if before.leader == NO_LEADER and after.leader != NO_LEADER:
        return f"broker {after.leader} is back"
    if before.is_reassigning and not after.is_reassigning:
        return "reassignment completed"
    return "min.insync.replicas" if before.eligible_leader_replicas else "settling"


def _reason_of_absence(image: ClusterImage, node_id: int) -> str:
    broker = image.brokers.get(node_id)
    if broker is None:
        return f"broker {node_id} is gone"
    if broker.fenced:
        return f"broker {node_id} is fenced"
    if broker.in_controlled_shutdown:
        return f"controlled shutdown of {node_id}"
    return f"broker {node_id} was away"
