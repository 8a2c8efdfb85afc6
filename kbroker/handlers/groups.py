"""FindCoordinator (key 10, versions 0-6), DescribeGroups (15, 0-6), ListGroups (16, 0-5), DeleteGroups (42, 0-3).

FindCoordinator  v1 key type: group or transaction; v3 flexible; v4 several keys (KIP-699); v6 share groups (KIP-932)
DescribeGroups   v3 authorized operations (KIP-430); v4 group.instance.id; v5 flexible; v6 GROUP_ID_NOT_FOUND (KIP-1043)
ListGroups       v3 flexible; v4 filter by state (KIP-518); v5 filter by type (KIP-848)
DeleteGroups     v2 flexible; v3 error messages

A transactional id is found by the same rule as a group, in ``__transaction_state``. Share groups are not served,
so their key type is refused as Apache Kafka refuses it where share groups are off: INVALID_REQUEST.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC
from kbroker.handlers.table import BrokerWithEndpoints, RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.groups import (
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)

_GROUP_TYPE = 0
_TRANSACTION_TYPE = 1
_SHARE_TYPE = 2
_COORDINATOR_TOPICS = {_GROUP_TYPE: CONSUMER_OFFSETS_TOPIC, _TRANSACTION_TYPE: TRANSACTION_STATE_TOPIC}

_BATCHED_SINCE = 4
_NO_NODE_ID = -1
_NO_PORT = -1

_ALL_GROUP_OPERATIONS = sum(1 << operation for operation in (3, 6, 8, 10, 11))
"""Without an authorizer everything is allowed: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS."""

_Coordinator = FindCoordinatorResponse.Coordinator


class CoordinatorNode(BrokerWithEndpoints, Protocol):
    """A broker that may be a coordinator."""

    @property
    def node_id(self) -> int: ...


class Coordinators(Protocol):
    """Knows who coordinates what."""

    async def find(self, topic: str, key: str) -> CoordinatorNode:
        """The broker that coordinates ``key`` in the coordinator's ``topic``; ApiError if there is none."""
        ...


class Groups(Protocol):
    """The group coordinator, as administrators see it; errors are in the responses."""

    def describe_groups(
        self, group_ids: Sequence[str], origin: RequestContext
    ) -> list[DescribeGroupsResponse.DescribedGroup]: ...

    def list_groups(self, states: Sequence[str], types: Sequence[str]) -> ListGroupsResponse: ...

    async def delete_groups(
        self, group_ids: Sequence[str]
    ) -> list[DeleteGroupsResponse.DeletableGroupResult]: ...


class GroupHandlers:
    """Finds coordinators, and describes, lists and deletes groups."""

    def __init__(self, *, groups: Groups, coordinators: Coordinators) -> None:
        self._groups = groups
        self._coordinators = coordinators

    @handles(FindCoordinatorRequest)
    async def find_coordinator(
        self, request: FindCoordinatorRequest, context: RequestContext
    ) -> FindCoordinatorResponse:
        if context.api_version >= _BATCHED_SINCE:
            return FindCoordinatorResponse(
                coordinators=[
                    await self._find(request.key_type, key, context) for key in request.coordinator_keys
                ]
            )
        found = await self._find(request.key_type, request.key, context)
        error = ErrorCode(found.error_code)
        return FindCoordinatorResponse(
            error_code=error,
            # Kafka sends the name of NONE as a message, too.
            error_message=error.description if error else error.name,
            node_id=found.node_id,
            host=found.host,
            port=found.port,
        )

    async def _find(self, key_type: int, key: str, context: RequestContext) -> _Coordinator:
        topic = _COORDINATOR_TOPICS.get(key_type)
        if topic is None:
            refusal = ErrorCode.INVALID_REQUEST
            return _Coordinator(
                key=key,
                node_id=_NO_NODE_ID,
                port=_NO_PORT,
                error_code=refusal,
                error_message="" if key_type == _SHARE_TYPE else refusal.description,
            )
        try:
            node = await self._coordinators.find(topic, key)
            endpoint = context.advertised_endpoint(node)
            if endpoint is None:
                raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        except ApiError as error:
            return _Coordinator(key=key, node_id=_NO_NODE_ID, host="", port=_NO_PORT, error_code=error.code)
        host, port = endpoint
        return _Coordinator(key=key, node_id=node.node_id, host=host, port=port)

    @handles(DescribeGroupsRequest)
    async def describe_groups(
        self, request: DescribeGroupsRequest, context: RequestContext
    ) -> DescribeGroupsResponse:
        described = self._groups.describe_groups(request.groups, context)
        if request.include_authorized_operations:
            for group in described:
                if group.error_code == ErrorCode.NONE:
                    group.authorized_operations = _ALL_GROUP_OPERATIONS
        return DescribeGroupsResponse(groups=described)

    @handles(ListGroupsRequest)
    async def list_groups(self, request: ListGroupsRequest, context: RequestContext) -> ListGroupsResponse:
        return self._groups.list_groups(request.states_filter, request.types_filter)

    @handles(DeleteGroupsRequest)
    async def delete_groups(
        self, request: DeleteGroupsRequest, context: RequestContext
    ) -> DeleteGroupsResponse:
        return DeleteGroupsResponse(
            results=await self._groups.delete_groups(list(dict.fromkeys(request.groups_names)))
        )
