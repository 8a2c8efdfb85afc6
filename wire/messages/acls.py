"""Access control lists (KIP-140): DescribeAcls (key 29), CreateAcls (key 30), DeleteAcls (key 31).

Versions 1-3 each, flexible from 2. 1: prefixed resource names (KIP-290). 3: users as resources (KIP-373).
"""

from __future__ import annotations

from wire.schema import Request, Response, Structure, array, int8, int16, int32, nullable_string, string


class DescribeAclsRequest(Request, api_key=29, versions="1-3", flexible="2+"):
    resource_type_filter: int = int8()
    resource_name_filter: str | None = nullable_string()
    pattern_type_filter: int = int8(default=3)
    principal_filter: str | None = nullable_string()
    host_filter: str | None = nullable_string()
    operation: int = int8()
    permission_type: int = int8()


class DescribeAclsResponse(Response, api_key=29, versions="1-3", flexible="2+"):
    class DescribeAclsResource(Structure):
        class AclDescription(Structure):
            principal: str = string()
            host: str = string()
            operation: int = int8()
            permission_type: int = int8()

        resource_type: int = int8()
        resource_name: str = string()
        pattern_type: int = int8(default=3)
        acls: list[AclDescription] = array(AclDescription)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()
    resources: list[DescribeAclsResource] = array(DescribeAclsResource)


class CreateAclsRequest(Request, api_key=30, versions="1-3", flexible="2+"):
    class AclCreation(Structure):
        resource_type: int = int8()
        resource_name: str = string()
        resource_pattern_type: int = int8(default=3)
        principal: str = string()
        host: str = string()
        operation: int = int8()
        permission_type: int = int8()

    creations: list[AclCreation] = array(AclCreation)


class CreateAclsResponse(Response, api_key=30, versions="1-3", flexible="2+"):
    class AclCreationResult(Structure):
        error_code: int = int16()
        error_message: str | None = nullable_string()

    throttle_time_ms: int = int32()
    results: list[AclCreationResult] = array(AclCreationResult)


class DeleteAclsRequest(Request, api_key=31, versions="1-3", flexible="2+"):
    class DeleteAclsFilter(Structure):
        resource_type_filter: int = int8()
        resource_name_filter: str | None = nullable_string()
        pattern_type_filter: int = int8(default=3)
        principal_filter: str | None = nullable_string()
        host_filter: str | None = nullable_string()
        operation: int = int8()
        permission_type: int = int8()

    filters: list[DeleteAclsFilter] = array(DeleteAclsFilter)


class DeleteAclsResponse(Response, api_key=31, versions="1-3", flexible="2+"):
    class DeleteAclsFilterResult(Structure):
        class DeleteAclsMatchingAcl(Structure):
            error_code: int = int16()
            error_message: str | None = nullable_string()
            resource_type: int = int8()
            resource_name: str = string()
            pattern_type: int = int8(default=3)
            principal: str = string()
            host: str = string()
            operation: int = int8()
            permission_type: int = int8()

        error_code: int = int16()
        error_message: str | None = nullable_string()
        matching_acls: list[DeleteAclsMatchingAcl] = array(DeleteAclsMatchingAcl)

    throttle_time_ms: int = int32()
    filter_results: list[DeleteAclsFilterResult] = array(DeleteAclsFilterResult)
