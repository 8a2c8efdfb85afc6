"""LeaveGroup: members leave, administrators remove static members by instance id (KIP-345, KIP-571).

Kafka: ``GroupMetadataManager.classicGroupLeaveToClassicGroup``.
"""

from __future__ import annotations

import logging

from kbroker.coordination.group.group import Group
from kbroker.coordination.group.member import UNKNOWN_MEMBER_ID
from kbroker.coordination.group.rebalance import Rebalances, session_key
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import Result
from wire.errors import ApiError, ErrorCode
from wire.messages.group_membership import LeaveGroupRequest, LeaveGroupResponse, SyncGroupResponse

logger = logging.getLogger(__name__)

_Identity = LeaveGroupRequest.MemberIdentity
_MemberResponse = LeaveGroupResponse.MemberResponse


class Leaves:
    """Answers LeaveGroup."""

    def __init__(self, groups: GroupRegistry, rebalances: Rebalances) -> None:
        self._groups = groups
        self._rebalances = rebalances

    def leave(self, request: LeaveGroupRequest, now_ms: int) -> Result[LeaveGroupResponse]:
        """Each member has a code of its own in the response. ApiError UNKNOWN_MEMBER_ID: no such group."""
        group = self._groups.get(request.group_id)
        if group is None:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
        if group.state is GroupState.DEAD:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        out: Result[LeaveGroupResponse] = Result()
        responses = [self._leave_one(group, identity, out) for identity in request.members]
        out.response = LeaveGroupResponse(members=responses)
        if any(response.error_code == ErrorCode.NONE for response in responses):
            if group.is_in(GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
                self._rebalances.prepare(group, "members left", out, now_ms)
            else:
                self._rebalances.complete_join_if_all_joined(group, out, now_ms)
        return out

    def _leave_one(
        self, group: Group, identity: _Identity, out: Result[LeaveGroupResponse]
    ) -> _MemberResponse:
        response = _MemberResponse(member_id=identity.member_id, group_instance_id=identity.group_instance_id)
        try:
            member_id = self._member_id(group, identity)
        except ApiError as error:
            response.error_code = error.code
            return response
        logger.info(
            "group %s: %s leaves; client reason: %s",
            group.group_id, member_id, identity.reason or "not provided",
        )  # fmt: skip
        member = group.members.get(member_id)
        if member is not None:
            group.answer_join(member, ErrorCode.UNKNOWN_MEMBER_ID, out, member_id=UNKNOWN_MEMBER_ID)
            group.answer_sync(member, SyncGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID), out)
        group.remove(member_id)
        out.cancel(session_key(group.group_id, member_id))
        return response

    def _member_id(self, group: Group, identity: _Identity) -> str:
        """Whom the identity names: a member, or one who was about to become one."""
        instance_id = identity.group_instance_id
        if identity.member_id == UNKNOWN_MEMBER_ID:
            member_id = None if instance_id is None else group.static_member_ids.get(instance_id)
            if member_id is None:
                raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
            return member_id
        if identity.member_id in group.pending_join:
            return identity.member_id
        return group.check_member(identity.member_id, instance_id).member_id
