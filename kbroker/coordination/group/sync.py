"""SyncGroup: the leader hands in the assignment, the members fetch theirs.

The call waits until the leader's assignment is committed to ``__consumer_offsets``. Kafka:
``GroupMetadataManager.classicGroupSyncToClassicGroup``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from kbroker.coordination.group.group import Group
from kbroker.coordination.group.rebalance import Rebalances
from kbroker.coordination.group.records import group_metadata_record
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import AppendFailure, Caller, Result
from wire.errors import ApiError, ErrorCode
from wire.messages.group_membership import SyncGroupRequest, SyncGroupResponse

logger = logging.getLogger(__name__)


class AssignmentStored(NamedTuple):
    """The record with the assignment of a generation."""

    group_id: str
    generation_id: int
    assignments: Mapping[str, bytes]


class Syncs:
    """Answers SyncGroup."""

    def __init__(self, groups: GroupRegistry, rebalances: Rebalances) -> None:
        self._groups = groups
        self._rebalances = rebalances

    def sync(self, request: SyncGroupRequest, caller: Caller) -> Result[SyncGroupResponse]:
        """Raises ApiError with the code for the response."""
        group = self._groups.get(request.group_id)
        if group is None or group.state is GroupState.EMPTY:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
        if group.state is GroupState.DEAD:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        member = group.check_member(request.member_id, request.group_instance_id)
        if request.generation_id != group.generation_id:
            raise ApiError(ErrorCode.ILLEGAL_GENERATION)
        if _differs(request.protocol_type, group.protocol_type) or _differs(
            request.protocol_name, group.protocol_name
        ):
            raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        if group.state is GroupState.PREPARING_REBALANCE:
            raise ApiError(ErrorCode.REBALANCE_IN_PROGRESS)
        out: Result[SyncGroupResponse] = Result()
        self._rebalances.member_synced(group, member.member_id, out)
        if group.state is GroupState.STABLE:
            out.response = SyncGroupResponse(
                protocol_type=group.protocol_type,
                protocol_name=group.protocol_name,
                assignment=member.assignment,
            )
            return out
        group.park_sync(member, caller, out)
        if member.member_id == group.leader_id:
            self._store(group, request, out)
        return out

    def _store(self, group: Group, request: SyncGroupRequest, out: Result[SyncGroupResponse]) -> None:
        given = {entry.member_id: entry.assignment for entry in request.assignments}
        assignments = {member_id: given.get(member_id, b"") for member_id in group.members}
        out.records.append(group_metadata_record(group, assignments))
        out.replay = False
        out.pending = AssignmentStored(group.group_id, group.generation_id, assignments)

    def assignment_stored(
        self, stored: AssignmentStored, failure: AppendFailure | None, out: Result[None], now_ms: int
    ) -> None:
        """The generation is stable; or it failed, and everybody is to join again."""
        group = self._groups.get(stored.group_id)
        if (
            group is None
            or group.state is not GroupState.COMPLETING_REBALANCE
            or group.generation_id != stored.generation_id
        ):
            return  # somebody joined or left meanwhile, and those who waited were told to join again
        if failure is None:
            for member in group.members.values():
                member.assignment = stored.assignments.get(member.member_id, b"")
            self._rebalances.propagate_assignment(group, out)
            group.transition_to(GroupState.STABLE, now_ms)
            return
        self._rebalances.propagate_error(group, failure.error, out)
        reason = f"the assignment could not be stored ({failure.error.name})"
        self._rebalances.prepare(group, reason, out, now_ms)


def _differs(requested: str | None, actual: str | None) -> bool:
    """Before version 5 requests did not say it."""
    return requested is not None and actual is not None and requested != actual
