"""The ACL APIs without an authorizer; codes and texts are those of Apache Kafka 4.4's answers."""

from __future__ import annotations

import pytest

from kbroker.handlers.acls import AclHandlers
from tests.kbroker.handlers.requests import send
from wire.errors import ErrorCode
from wire.messages.acls import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

pytestmark = pytest.mark.parametrize("version", [1, 2, 3])
DISABLED = (ErrorCode.SECURITY_DISABLED, "No Authorizer is configured.")


async def test_describe(version: int) -> None:
    answer = await send(AclHandlers().describe_acls, DescribeAclsRequest(), version)
    assert (answer.error_code, answer.error_message) == (
        ErrorCode.SECURITY_DISABLED,
        "No Authorizer is configured on the broker",
    )
    assert answer.resources == []


@pytest.mark.parametrize("count", [0, 2])
async def test_create_and_delete_answer_for_each(version: int, count: int) -> None:
    creation = CreateAclsRequest.AclCreation(
        resource_type=2,
        resource_name="t",
        resource_pattern_type=3,
        principal="User:a",
        host="*",
        operation=2,
        permission_type=3,
    )
    created = await send(AclHandlers().create_acls, CreateAclsRequest(creations=[creation] * count), version)
    assert [(one.error_code, one.error_message) for one in created.results] == [DISABLED] * count
    a_filter = DeleteAclsRequest.DeleteAclsFilter(
        resource_type_filter=1, pattern_type_filter=1, operation=1, permission_type=1
    )
    deleted = await send(AclHandlers().delete_acls, DeleteAclsRequest(filters=[a_filter] * count), version)
    assert [(one.error_code, one.error_message) for one in deleted.filter_results] == [DISABLED] * count
