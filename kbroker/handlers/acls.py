"""DescribeAcls (key 29, versions 1-3), CreateAcls (30, 1-3), DeleteAcls (31, 1-3).

v2 flexible; v3 user resources.

There is no authorizer, so they get what Apache Kafka answers where there is none: SECURITY_DISABLED for all of it
(``AclApis``, KIP-140).
"""

from __future__ import annotations

from typing import Final

from kbroker.handlers.table import RequestContext, handles
from wire.errors import ErrorCode
from wire.messages.acls import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)

NO_AUTHORIZER: Final = "No Authorizer is configured."
NO_AUTHORIZER_ON_THE_BROKER: Final = "No Authorizer is configured on the broker"


class AclHandlers:
    """Says that nothing is authorized here, so that clients need not guess it from a missing API."""

    @handles(DescribeAclsRequest)
    async def describe_acls(
        self, request: DescribeAclsRequest, context: RequestContext
    ) -> DescribeAclsResponse:
        return DescribeAclsResponse(
            error_code=ErrorCode.SECURITY_DISABLED, error_message=NO_AUTHORIZER_ON_THE_BROKER
        )

    @handles(CreateAclsRequest)
    async def create_acls(self, request: CreateAclsRequest, context: RequestContext) -> CreateAclsResponse:
        refused = CreateAclsResponse.AclCreationResult(
            error_code=ErrorCode.SECURITY_DISABLED, error_message=NO_AUTHORIZER
        )
        return CreateAclsResponse(results=[refused for _ in request.creations])

    @handles(DeleteAclsRequest)
    async def delete_acls(self, request: DeleteAclsRequest, context: RequestContext) -> DeleteAclsResponse:
        refused = DeleteAclsResponse.DeleteAclsFilterResult(
            error_code=ErrorCode.SECURITY_DISABLED, error_message=NO_AUTHORIZER
        )
        return DeleteAclsResponse(filter_results=[refused for _ in request.filters])
