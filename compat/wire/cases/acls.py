"""DescribeAcls, CreateAcls, DeleteAcls, on brokers that have no authorizer."""

from __future__ import annotations

from compat.wire.arrange import standing_topic
from compat.wire.case import Cases
from compat.wire.scene import Scene
from wire.messages.acls import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

DESCRIBE_ACLS = Cases(DescribeAclsRequest)
CREATE_ACLS = Cases(CreateAclsRequest)
DELETE_ACLS = Cases(DeleteAclsRequest)

UNKNOWN, ANY, TOPIC, USER = 0, 1, 2, 7
"""Resource types; the first two are operations and permissions as well."""
LITERAL, READ, ALLOW = 3, 3, 3
ALICE = "User:alice"


def creation(at: Scene, **others: object) -> CreateAclsRequest.AclCreation:
    fields: dict[str, object] = {
        "resource_type": TOPIC,
        "resource_name": standing_topic(at).name,
        "resource_pattern_type": LITERAL,
        "principal": ALICE,
        "host": "*",
        "operation": READ,
        "permission_type": ALLOW,
    }
    return CreateAclsRequest.AclCreation(**(fields | others))


def any_of(resource_type: int = ANY) -> DescribeAclsRequest:
    return DescribeAclsRequest(
        resource_type_filter=resource_type,
        resource_name_filter=None,
        pattern_type_filter=ANY,
        principal_filter=None,
        host_filter=None,
        operation=ANY,
        permission_type=ANY,
    )


def matching(**others: object) -> DeleteAclsRequest.DeleteAclsFilter:
    fields: dict[str, object] = {
        "resource_type_filter": ANY,
        "resource_name_filter": None,
        "pattern_type_filter": ANY,
        "principal_filter": ALICE,
        "host_filter": None,
        "operation": ANY,
        "permission_type": ANY,
    }
    return DeleteAclsRequest.DeleteAclsFilter(**(fields | others))


DESCRIBE_ACLS.add("all", lambda at: any_of())
DESCRIBE_ACLS.add("a topic's", lambda at: any_of(TOPIC))
DESCRIBE_ACLS.add("a user's", lambda at: any_of(USER), "3+")
DESCRIBE_ACLS.add("an unknown type", lambda at: any_of(UNKNOWN))

CREATE_ACLS.add("one", lambda at: CreateAclsRequest(creations=[creation(at)]))
CREATE_ACLS.add("none", lambda at: CreateAclsRequest())
CREATE_ACLS.add(
    "a good and a bad one",
    lambda at: CreateAclsRequest(creations=[creation(at), creation(at, principal="nobody's")]),
)
for name, wrong in (
    ("an unknown resource type", {"resource_type": UNKNOWN}),
    ("any resource type", {"resource_type": ANY}),
    ("any operation", {"operation": ANY}),
    ("an unknown permission", {"permission_type": UNKNOWN}),
    ("an empty name", {"resource_name": ""}),
):
    CREATE_ACLS.add(name, lambda at, wrong=wrong: CreateAclsRequest(creations=[creation(at, **wrong)]))

DELETE_ACLS.add("somebody's", lambda at: DeleteAclsRequest(filters=[matching()]))
DELETE_ACLS.add("none", lambda at: DeleteAclsRequest())
DELETE_ACLS.add(
    "everybody's, and a topic's",
    lambda at: DeleteAclsRequest(
        filters=[matching(principal_filter=None), matching(resource_type_filter=TOPIC)]
    ),
)
DELETE_ACLS.add("an unknown operation", lambda at: DeleteAclsRequest(filters=[matching(operation=UNKNOWN)]))
