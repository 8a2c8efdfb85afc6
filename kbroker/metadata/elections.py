"""How one partition's state becomes the next: who is in sync, who may lead, which epochs count up.

Follows Kafka's ``PartitionChangeBuilder`` with eligible leader replicas switched on (KIP-966). Every change of
a partition goes through ``next_state``, whatever its cause, so the rules stand here once:

    in sync        a partition is led from its in-sync set. A leader that stays in it and is alive is kept;
                   else the first live member in the order of the replicas leads.
    eligible       whoever left the in-sync set while that was smaller than min.insync.replicas (and the last
                   member, when it becomes empty). Nothing was committed without them, so with the in-sync set
                   empty the partition may be led from these, and the one that leads is the in-sync set then.
                   They are forgotten once the in-sync set is large enough again.
    last known     the leader of the moment when the in-sync set became empty. Leads again only where unclean
                   elections are allowed, but is then tried before others; and, being a partition's only
                   replica, when it comes back (``may_return``).
    unclean        any live replica, where allowed. It is the in-sync set by itself, nobody is eligible beside it,
                   and the partition is recovering until its leader says otherwise.

    leader epoch      + 1 with every new leader, none included; when the leader is elected anew; when a replica
                      leaves the partition for good
    partition epoch   + 1 with every change

Differences from Kafka: Kafka elects a last known leader even where unclean elections are not allowed; and it
believes members of the in-sync set that were eligible under a larger min.insync.replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum
from typing import NamedTuple

from kbroker.metadata.image import NO_LEADER, PartitionState


class Election(Enum):
    """What an election is for (``PartitionChangeBuilder.Election``)."""

    PREFERRED = "preferred"
    """Lead from the first replica if it may, else as ONLINE."""
    ONLINE = "online"
    """Keep the partition led, from replicas that have everything committed."""
    UNCLEAN = "unclean"
    """Keep the partition led, by whoever is alive if need be."""


class TopicRules(NamedTuple):
    """What a topic's configs (its own, or else the broker's) say about its partitions' leaders."""

    min_in_sync_replicas: int = 1
    unclean_leader_election: bool = False

    @property
    def election(self) -> Election:
        """How partitions of the topic are kept led."""
        return Election.UNCLEAN if self.unclean_leader_election else Election.ONLINE


class Change(NamedTuple):
    """What is to be different; None leaves a part as it is.

    ``may_lead`` says of a node id whether its broker is alive and may lead. ``unfit`` replicas have lost their
    log: they leave every set, do not become eligible and cannot lead. ``may_return``: see "last known" in the
    module's docstring.
    """

    election: Election
    may_lead: Callable[[int], bool]
    min_in_sync_replicas: int
    in_sync_replicas: tuple[int, ...] | None = None
    replicas: tuple[int, ...] | None = None
    adding_replicas: tuple[int, ...] | None = None
    removing_replicas: tuple[int, ...] | None = None
    unfit: Collection[int] = ()
    is_recovering: bool | None = None
    may_return: bool = False


class _Assignment(NamedTuple):
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]


def without(node_ids: tuple[int, ...], removed: Collection[int]) -> tuple[int, ...]:
    return tuple(node_id for node_id in node_ids if node_id not in removed)


def next_state(state: PartitionState, change: Change) -> PartitionState | None:
    """The state after the change, None if it is the same. It keeps ``state_revision``: that is what to compare."""
    assignment = _complete_reassignment(_assignment_after(state, change))
    eligible = _eligible_replicas(state, change, assignment)
    leader, is_unclean = _elect(state, change, assignment, eligible)
    in_sync, is_recovering = assignment.in_sync, state.is_recovering
    if change.is_recovering is not None:
        is_recovering = change.is_recovering
    if is_unclean:
        in_sync, eligible, is_recovering = (leader,), (), True
    elif leader != NO_LEADER and leader not in in_sync:
        in_sync, eligible = (leader,), without(eligible, (leader,))
    is_elected = leader != state.leader or (leader != NO_LEADER and leader not in assignment.in_sync)
    is_smaller = not set(state.replicas) <= set(assignment.replicas)
    after = state._replace(
        replicas=assignment.replicas,
        in_sync_replicas=in_sync,
        leader=leader,
        eligible_leader_replicas=eligible,
        last_known_eligible_leader_replicas=_last_known(state, change, in_sync, eligible, leader),
        adding_replicas=assignment.adding,
        removing_replicas=assignment.removing,
        is_recovering=is_recovering,
    )
    if after == state and not is_elected:
        return None
    return after._replace(
        leader_epoch=state.leader_epoch + (is_elected or is_smaller),
        partition_epoch=state.partition_epoch + 1,
    )


def _assignment_after(state: PartitionState, change: Change) -> _Assignment:
    in_sync = state.in_sync_replicas if change.in_sync_replicas is None else change.in_sync_replicas
    return _Assignment(
        replicas=state.replicas if change.replicas is None else change.replicas,
        in_sync=without(in_sync, change.unfit),
        adding=state.adding_replicas if change.adding_replicas is None else change.adding_replicas,
        removing=state.removing_replicas if change.removing_replicas is None else change.removing_replicas,
    )


def _complete_reassignment(assignment: _Assignment) -> _Assignment:
    """A reassignment is done when all replicas that are to stay are in sync."""
    if not assignment.adding and not assignment.removing:
        return assignment
    replicas = without(assignment.replicas, assignment.removing)
    in_sync = without(assignment.in_sync, assignment.removing)
    if not replicas or not set(replicas) <= set(in_sync):
        return assignment
    return _Assignment(replicas, in_sync, (), ())


def _eligible_replicas(state: PartitionState, change: Change, assignment: _Assignment) -> tuple[int, ...]:
    required = effective_min_in_sync_replicas(change.min_in_sync_replicas, assignment.replicas)
    if len(assignment.in_sync) >= required:
        return ()
    candidates = set(state.in_sync_replicas)
    # Had the in-sync set been large enough (min.insync.replicas was lowered), it may have committed without them.
    if len(state.in_sync_replicas) < effective_min_in_sync_replicas(
        change.min_in_sync_replicas, state.replicas
    ):
        candidates.update(state.eligible_leader_replicas)
    candidates &= set(assignment.replicas)
    return tuple(sorted(candidates - set(assignment.in_sync) - set(change.unfit)))


def effective_min_in_sync_replicas(configured: int, replicas: tuple[int, ...]) -> int:
    """min.insync.replicas, but never more than there are replicas."""
    return min(configured, len(replicas))


def _elect(
    state: PartitionState, change: Change, assignment: _Assignment, eligible: tuple[int, ...]
) -> tuple[int, bool]:
    """(the leader or NO_LEADER, whether it may lack what was committed)."""
    order = list(assignment.replicas)
    # A leader that dropped out of the in-sync set has no advantage over others that are eligible.
    if state.leader in assignment.in_sync:
        order.insert(1 if change.election is Election.PREFERRED else 0, state.leader)
    sources = assignment.in_sync or eligible
    for node_id in order:
        if node_id in sources and change.may_lead(node_id):
            return node_id, False
    last_resort: list[int] = []
    if not sources and (change.may_return or change.election is Election.UNCLEAN):
        last_resort += state.last_known_eligible_leader_replicas
    if change.election is Election.UNCLEAN:
        last_resort += assignment.replicas
    for node_id in last_resort:
        if node_id in assignment.replicas and node_id not in change.unfit and change.may_lead(node_id):
            return node_id, True
    return NO_LEADER, False


def _last_known(
    state: PartitionState,
    change: Change,
    in_sync: tuple[int, ...],
    eligible: tuple[int, ...],
    leader: int,
) -> tuple[int, ...]:
    if leader != NO_LEADER:
        return ()
    if not in_sync and state.in_sync_replicas and state.leader != NO_LEADER:
        return (state.leader,)
    if not in_sync and not eligible and not state.in_sync_replicas:
        # The last one that was eligible has lost its log, or cannot get at it.
        resigned = [node_id for node_id in state.eligible_leader_replicas if node_id in change.unfit]
        if resigned:
            return (resigned[-1],)
    return state.last_known_eligible_leader_replicas
