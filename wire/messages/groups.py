"""Groups as a whole: who coordinates them, which there are, what they look like, and their deletion.

FindCoordinator (key 10, versions 0-6, flexible from 3). 1: transactional ids, too. 4: several keys at once
(KIP-699). 6: share groups, whose keys are `group:topic id:partition` (KIP-932).

DescribeGroups (key 15, versions 0-6, flexible from 5). 3: authorized operations (KIP-430). 4: static members.
6: GROUP_ID_NOT_FOUND for a group that does not exist, instead of a dead one (KIP-1043).

ListGroups (key 16, versions 0-5, flexible from 3). 4: filtered by state (KIP-518). 5: and by type (KIP-848).

DeleteGroups (key 42, versions 0-3, flexible from 2): KIP-229. 3: error messages.
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    binary,
    boolean,
    int8,
    int16,
    int32,
    nullable_string,
    string,
)


class FindCoordinatorRequest(Request, api_key=10, versions="0-6", flexible="3+"):
    key: str = string("0-3")
    key_type: int = int8("1+")
    coordinator_keys: list[str] = array(string, "4+")


class FindCoordinatorResponse(Response, api_key=10, versions="0-6", flexible="3+"):
    class Coordinator(Structure):
        key: str = string()
        node_id: int = int32()
        host: str = string()
        port: int = int32()
        error_code: int = int16()
        error_message: str | None = nullable_string(ignorable=True)

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16("0-3")
    error_message: str | None = nullable_string("1-3", ignorable=True)
    node_id: int = int32("0-3")
    host: str = string("0-3")
    port: int = int32("0-3")
    coordinators: list[Coordinator] = array(Coordinator, "4+")


class DescribeGroupsRequest(Request, api_key=15, versions="0-6", flexible="5+"):
    groups: list[str] = array(string)
    include_authorized_operations: bool = boolean("3+")


class DescribeGroupsResponse(Response, api_key=15, versions="0-6", flexible="5+"):
    class DescribedGroup(Structure):
        class DescribedGroupMember(Structure):
            member_id: str = string()
            group_instance_id: str | None = nullable_string("4+", default=None, ignorable=True)
            client_id: str = string()
            client_host: str = string()
            member_metadata: bytes = binary()
            member_assignment: bytes = binary()

        error_code: int = int16()
        error_message: str | None = nullable_string("6+", default=None)
        group_id: str = string()
        group_state: str = string()
        protocol_type: str = string()
        protocol_data: str = string()
        members: list[DescribedGroupMember] = array(DescribedGroupMember)
        authorized_operations: int = int32("3+", default=-(2**31))

    throttle_time_ms: int = int32("1+", ignorable=True)
    groups: list[DescribedGroup] = array(DescribedGroup)


class ListGroupsRequest(Request, api_key=16, versions="0-5", flexible="3+"):
    states_filter: list[str] = array(string, "4+")
    types_filter: list[str] = array(string, "5+")


class ListGroupsResponse(Response, api_key=16, versions="0-5", flexible="3+"):
    class ListedGroup(Structure):
        group_id: str = string()
        protocol_type: str = string()
        group_state: str = string("4+", ignorable=True)
        group_type: str = string("5+", ignorable=True)

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    groups: list[ListedGroup] = array(ListedGroup)


class DeleteGroupsRequest(Request, api_key=42, versions="0-3", flexible="2+"):
    groups_names: list[str] = array(string)


class DeleteGroupsResponse(Response, api_key=42, versions="0-3", flexible="2+"):
    class DeletableGroupResult(Structure):
        group_id: str = string()
        error_code: int = int16()
        error_message: str | None = nullable_string("3+", default=None, ignorable=True)

    throttle_time_ms: int = int32()
    results: list[DeletableGroupResult] = array(DeletableGroupResult)
