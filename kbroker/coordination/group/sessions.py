"""Heartbeat, and what becomes of members that stop sending it.

Kafka: ``GroupMetadataManager.classicGroupHeartbeatToClassicGroup``, ``expireClassicGroupMemberHeartbeat``.
"""

from __future__ import annotations

import logging
from typing import Any

from kbroker.coordination.group.group import Group
from kbroker.coordination.group.member import UNKNOWN_MEMBER_ID, Member
from kbroker.coordination.group.rebalance import Rebalances, SessionExpired
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import Result
from wire.errors import ApiError, ErrorCode
from wire.messages.group_membership import HeartbeatRequest, HeartbeatResponse

logger = logging.getLogger(__name__)


class Sessions:
    """Answers Heartbeat, and removes members whose session timeout has passed."""

    def __init__(self, groups: GroupRegistry, rebalances: Rebalances) -> None:
        self._groups = groups
        self._rebalances = rebalances

    def heartbeat(self, request: HeartbeatRequest) -> Result[HeartbeatResponse]:
        """Raises ApiError with the code for the response."""
        group = self._groups.get(request.group_id)
        if group is None:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
        if group.state is GroupState.DEAD:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        member = group.check_member(request.member_id, request.group_instance_id)
        if request.generation_id != group.generation_id:
            raise ApiError(ErrorCode.ILLEGAL_GENERATION)
        out: Result[HeartbeatResponse] = Result()
        self._rebalances.restart_session(group, member, out)
        is_rebalancing = group.state is GroupState.PREPARING_REBALANCE
        out.response = HeartbeatResponse(
            error_code=ErrorCode.REBALANCE_IN_PROGRESS if is_rebalancing else ErrorCode.NONE
        )
        return out

    def session_expired(self, event: SessionExpired, out: Result[Any], now_ms: int) -> None:
        group = self._groups.get(event.group_id)
        if group is None or group.state is GroupState.DEAD:
            return
        if event.member_id in group.pending_join:
            logger.info("group %s: pending member %s did not join", group.group_id, event.member_id)
            group.remove(event.member_id)
            self._continue_join_phase(group, out, now_ms)
            return
        member = group.members.get(event.member_id)
        if member is None or member.is_exempt_from_session:
            return
        logger.info("group %s: member %s has failed", group.group_id, event.member_id)
        self._remove(group, member, out, now_ms)

    def _remove(self, group: Group, member: Member, out: Result[Any], now_ms: int) -> None:
        # A new member may still wait in JoinGroup; told that it is unknown, it joins again if it lives.
        group.answer_join(member, ErrorCode.UNKNOWN_MEMBER_ID, out, member_id=UNKNOWN_MEMBER_ID)
        group.remove(member.member_id)
        if group.is_in(GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
            self._rebalances.prepare(group, f"the session of {member.member_id} expired", out, now_ms)
        else:
            self._continue_join_phase(group, out, now_ms)

    def _continue_join_phase(self, group: Group, out: Result[Any], now_ms: int) -> None:
        """Whoever was waited for is gone; this ends the initial delay, too, as in Kafka."""
        if group.state is GroupState.PREPARING_REBALANCE and group.all_have_joined:
            self._rebalances.complete_join(group, out, now_ms)
