"""Moving partitions to other brokers (KIP-455): what is decided about it, as plain functions.

Follows Kafka's ``PartitionReassignmentReplicas`` and ``PartitionReassignmentRevert``. A reassignment goes

    begun       the partition has the replicas it is to have, then those that are to go; which are new and which
                are to go is written beside them
    completed   by the change that brings all that are to stay into the in-sync set (``elections.next_state``):
                often the beginning itself, when replicas only go or change places
    cancelled   what was new goes again, what was to go stays

One difference: where a reassignment replaces another under way, Kafka forgets which replicas the first one had
added, and cancelling leaves them in place. Here they stay known as added, and what was to go and is wanted
after all is not to go any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kbroker.metadata.elections import Change, Election, TopicRules, next_state, without
from kbroker.metadata.image import ClusterImage, PartitionState, TopicImage
from kbroker.metadata.partition_decisions import settled
from wire.errors import ApiError, ErrorCode


def begin_reassignment(
    image: ClusterImage,
    topic: TopicImage,
    state: PartitionState,
    rules: TopicRules,
    target: Sequence[int],
    *,
    allow_replication_factor_change: bool = True,
) -> PartitionState | None:
    """The state that moves the partition to ``target``, None if it is there.

    INVALID_REPLICA_ASSIGNMENT; INVALID_REPLICATION_FACTOR if that would change and may not (KIP-860).
    """
    _check_target(image, state, target)
    if not allow_replication_factor_change:
        _check_replication_factor(state, target)
    base = settled(image, topic, state, rules)
    removing = sorted(set(base.replicas) - set(target))
    replicas = (*target, *removing)
    new = (set(target) - set(base.replicas)) | set(base.adding_replicas)
    after = next_state(
        base,
        Change(
            Election.ONLINE,
            image.is_active,
            rules.min_in_sync_replicas,
            replicas=replicas,
            adding_replicas=tuple(sorted(new & set(replicas))),
            removing_replicas=tuple(removing),
        ),
    )
    return after or (None if base is state else base)


def _check_target(image: ClusterImage, state: PartitionState, target: Sequence[int]) -> None:
    if not target:
        raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, "The list of replicas is empty.")
    if len(set(target)) < len(target):
        raise ApiError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"A broker stands twice in the list {list(target)}."
        )
    for node_id in target:
        # A replica that is there already may be away for a while: Kafka knows its broker all the same.
        if node_id not in image.brokers and node_id not in state.replicas:
            raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"No broker {node_id} is registered.")


def _check_replication_factor(state: PartitionState, target: Sequence[int]) -> None:
    current = len(set(state.replicas) - set(state.removing_replicas))
    if len(target) != current:
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"The replication factor would change from {current} to {len(target)}.",
        )


def cancel_reassignment(
    image: ClusterImage, topic: TopicImage, state: PartitionState, rules: TopicRules
) -> PartitionState:
    """The state with the replicas from before; NO_REASSIGNMENT_IN_PROGRESS.

    INVALID_REPLICA_ASSIGNMENT if only new replicas have everything and unclean elections are not allowed.
    """
    if not state.is_reassigning:
        raise ApiError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
    base = settled(image, topic, state, rules)
    if not base.is_reassigning:
        return base  # completed, but for the writing of it
    replicas = without(base.replicas, base.adding_replicas)
    in_sync = without(base.in_sync_replicas, base.adding_replicas)
    is_unclean = not in_sync and not set(base.eligible_leader_replicas) & set(replicas)
    if not replicas or (is_unclean and not rules.unclean_leader_election):
        raise ApiError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "None of the replicas from before has everything that was committed.",
        )
    after = next_state(
        base,
        Change(
            rules.election,
            image.is_active,
            rules.min_in_sync_replicas,
            replicas=replicas,
            in_sync_replicas=in_sync,
            adding_replicas=(),
            removing_replicas=(),
        ),
    )
    assert after is not None, "the reassignment was under way"
    return after


def reassignments(
    image: ClusterImage, wanted: Sequence[tuple[str, Sequence[int]]] | None
) -> Iterator[tuple[TopicImage, int, PartitionState]]:
    """Those under way: of all partitions, or of the (topic name, indexes) wanted."""
    if wanted is None:
        wanted = [(topic.name, range(len(topic.partitions))) for topic in image.topics.values()]
    for name, indexes in wanted:
        topic = image.topic(name)
        if topic is None:
            continue
        for index in indexes:
            if 0 <= index < len(topic.partitions) and topic.partitions[index].is_reassigning:
                yield topic, index, topic.partitions[index]
