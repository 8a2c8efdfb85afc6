"""JoinGroup (key 11, versions 0-9), Heartbeat (12, 0-4), LeaveGroup (13, 0-5), SyncGroup (14, 0-5).

JoinGroup     v1 rebalance timeout (KIP-62); v4 MEMBER_ID_REQUIRED (KIP-394); v5 group.instance.id (KIP-345);
              v6 flexible; v7 protocol type in the response (KIP-559); v8 reason (KIP-800);
              v9 skip assignment (KIP-814)
Heartbeat     v3 group.instance.id; v4 flexible
LeaveGroup    v3 several members, by instance id too (KIP-345); v4 flexible; v5 reason (KIP-800)
SyncGroup     v3 group.instance.id; v4 flexible; v5 protocol type and name (KIP-559)

JoinGroup and SyncGroup wait for the other members of the group.
"""

from __future__ import annotations

from typing import Protocol

from kbroker.handlers.table import RequestContext, handles
from wire.messages.group_membership import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)


class GroupMembership(Protocol):
    """The group coordinator, as far as members talk to it; errors are in the responses."""

    async def join_group(self, request: JoinGroupRequest, origin: RequestContext) -> JoinGroupResponse: ...

    async def sync_group(self, request: SyncGroupRequest, origin: RequestContext) -> SyncGroupResponse: ...

    async def heartbeat(self, request: HeartbeatRequest, origin: RequestContext) -> HeartbeatResponse: ...

    async def leave_group(self, request: LeaveGroupRequest, origin: RequestContext) -> LeaveGroupResponse: ...


class GroupMembershipHandlers:
    """Passes what members say on to the group coordinator."""

    def __init__(self, *, groups: GroupMembership) -> None:
        self._groups = groups

    @handles(JoinGroupRequest)
    async def join_group(self, request: JoinGroupRequest, context: RequestContext) -> JoinGroupResponse:
        return await self._groups.join_group(request, context)

    @handles(SyncGroupRequest)
    async def sync_group(self, request: SyncGroupRequest, context: RequestContext) -> SyncGroupResponse:
        return await self._groups.sync_group(request, context)

    @handles(HeartbeatRequest)
    async def heartbeat(self, request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        return await self._groups.heartbeat(request, context)

    @handles(LeaveGroupRequest)
    async def leave_group(self, request: LeaveGroupRequest, context: RequestContext) -> LeaveGroupResponse:
        return await self._groups.leave_group(request, context)
