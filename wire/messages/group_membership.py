"""Membership in a group of the classic protocol: join, agree on an assignment, stay, leave.

JoinGroup (key 11, versions 0-9, flexible from 6).
- 1: a rebalance timeout besides the session timeout. 4: a first join is told its member id, and must come again
  with it (KIP-394). 5: static members (KIP-345). 7: the response names the protocol type (KIP-559).
- 8: a reason, for the log (KIP-800). 9: a leader that need not compute an assignment is told so (KIP-814).

SyncGroup (key 14, versions 0-5, flexible from 4). 3: static members. 5: protocol type and name (KIP-559).

Heartbeat (key 12, versions 0-4, flexible from 4). 3: static members.

LeaveGroup (key 13, versions 0-5, flexible from 4). 3: several members at once, static ones too. 5: a reason.
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    binary,
    boolean,
    int16,
    int32,
    nullable_string,
    string,
)


class JoinGroupRequest(Request, api_key=11, versions="0-9", flexible="6+"):
    class JoinGroupRequestProtocol(Structure):
        name: str = string()
        metadata: bytes = binary()

    group_id: str = string()
    session_timeout_ms: int = int32()
    rebalance_timeout_ms: int = int32("1+", default=-1, ignorable=True)
    member_id: str = string()
    group_instance_id: str | None = nullable_string("5+", default=None)
    protocol_type: str = string()
    protocols: list[JoinGroupRequestProtocol] = array(JoinGroupRequestProtocol)
    reason: str | None = nullable_string("8+", default=None, ignorable=True)


class JoinGroupResponse(Response, api_key=11, versions="0-9", flexible="6+"):
    class JoinGroupResponseMember(Structure):
        member_id: str = string()
        group_instance_id: str | None = nullable_string("5+", default=None, ignorable=True)
        metadata: bytes = binary()

    throttle_time_ms: int = int32("2+", ignorable=True)
    error_code: int = int16()
    generation_id: int = int32(default=-1)
    protocol_type: str | None = nullable_string("7+", default=None, ignorable=True)
    protocol_name: str | None = nullable_string(nullable="7+")
    leader: str = string()
    skip_assignment: bool = boolean("9+")
    member_id: str = string()
    members: list[JoinGroupResponseMember] = array(JoinGroupResponseMember)


class HeartbeatRequest(Request, api_key=12, versions="0-4", flexible="4+"):
    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = nullable_string("3+", default=None)


class HeartbeatResponse(Response, api_key=12, versions="0-4", flexible="4+"):
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()


class LeaveGroupRequest(Request, api_key=13, versions="0-5", flexible="4+"):
    class MemberIdentity(Structure):
        member_id: str = string()
        group_instance_id: str | None = nullable_string(default=None)
        reason: str | None = nullable_string("5+", default=None, ignorable=True)

    group_id: str = string()
    member_id: str = string("0-2")
    members: list[MemberIdentity] = array(MemberIdentity, "3+")


class LeaveGroupResponse(Response, api_key=13, versions="0-5", flexible="4+"):
    class MemberResponse(Structure):
        member_id: str = string()
        group_instance_id: str | None = nullable_string()
        error_code: int = int16()

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    members: list[MemberResponse] = array(MemberResponse, "3+")


class SyncGroupRequest(Request, api_key=14, versions="0-5", flexible="4+"):
    class SyncGroupRequestAssignment(Structure):
        member_id: str = string()
        assignment: bytes = binary()

    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = nullable_string("3+", default=None)
    protocol_type: str | None = nullable_string("5+", default=None, ignorable=True)
    protocol_name: str | None = nullable_string("5+", default=None, ignorable=True)
    assignments: list[SyncGroupRequestAssignment] = array(SyncGroupRequestAssignment)


class SyncGroupResponse(Response, api_key=14, versions="0-5", flexible="4+"):
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    protocol_type: str | None = nullable_string("5+", default=None, ignorable=True)
    protocol_name: str | None = nullable_string("5+", default=None, ignorable=True)
    assignment: bytes = binary()
