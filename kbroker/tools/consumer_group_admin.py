"""Consumer groups as Kafka's AdminClient sees them: listed, described, their offsets read, changed and deleted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from kbroker.tools.cluster import Cluster, NotReachable, Partition, by_topic
from kbroker.tools.coordinators import Coordinator, ErrorOf
from kbroker.tools.log_lines import log
from wire.errors import ApiError, ErrorCode
from wire.internal.consumer_protocol import ConsumerProtocolAssignment
from wire.messages.consumer_groups import ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.groups import (
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)

_CONSUMER_TYPES: Final = ("consumer", "")
_NAMES_VERSION: Final = 9
"""Of OffsetCommit and OffsetFetch: later versions name topics by id."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    group_id: str
    state: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """``upgraded``: whether it speaks the consumer protocol; None where the broker does not tell."""

    member_id: str
    instance_id: str
    client_id: str
    host: str
    assignment: list[Partition]
    target: list[Partition]
    epoch: int | None = None
    upgraded: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Description:
    group_id: str
    state: str
    assignor: str
    coordinator_id: int
    members: list[Member]
    epoch: int | None = None
    target_epoch: int | None = None


@dataclass(frozen=True)
class Committed:
    offset: int
    leader_epoch: int = -1


@dataclass(frozen=True)
class OffsetDeletion:
    """``error``: of the whole request. ``partitions``: what became of each."""

    error: ApiError | None = None
    partitions: dict[Partition, ApiError | None] = field(default_factory=dict)


_LOGGER: Final = "kbroker.tools.consumer_group_admin"
_NOBODY_TO_LIST: Final = (
    "java.util.concurrent.ExecutionException: org.apache.kafka.common.KafkaException: "
    "Failed to find brokers to send ListGroups"
)


class ConsumerGroups:
    """The groups of one cluster; methods raise ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._coordinators: dict[str, Coordinator] = {}

    async def list(self, states: Collection[str] = (), types: Collection[str] = ()) -> list[Listing]:
        """All groups of consumers, of all brokers; of these states and types only."""
        found: dict[str, Listing] = {}
        try:
            await self._cluster.connect()
        except NotReachable as error:
            log("WARN", error.message or "", _LOGGER)
            raise NotReachable(_NOBODY_TO_LIST) from None
        for node_id in sorted(self._cluster.brokers):

            async def attempt(node_id: int = node_id) -> ListGroupsResponse:
                request = ListGroupsRequest()
                response = await self._cluster.once(node_id, request, ListGroupsResponse)
                if response.error_code:
                    raise ApiError(ErrorCode(response.error_code))
                return response

            for group in (await self._cluster.retrying(attempt)).groups:
                kind = (group.group_type or "classic").lower()
                if group.protocol_type not in _CONSUMER_TYPES or kind not in ("classic", "consumer"):
                    continue
                state = group.group_state or "Unknown"
                if (not states or state in states) and (not types or kind in types):
                    listing = Listing(group_id=group.group_id, state=state, type=kind.capitalize())
                    found.setdefault(group.group_id, listing)
        return list(found.values())

    async def describe(self, group_id: str) -> Description:
        """GROUP_ID_NOT_FOUND if there is no such group."""
        try:
            return await self._describe_consumer_group(group_id)
        except ApiError as error:
            if error.code not in (ErrorCode.GROUP_ID_NOT_FOUND, ErrorCode.UNSUPPORTED_VERSION):
                raise
        return await self._describe_classic_group(group_id)

    async def _describe_consumer_group(self, group_id: str) -> Description:
        request = ConsumerGroupDescribeRequest(group_ids=[group_id])

        def error(response: ConsumerGroupDescribeResponse) -> ApiError | None:
            (group,) = response.groups
            return _error(group.error_code, group.error_message)

        coordinator_id, response = await self._ask(group_id, request, ConsumerGroupDescribeResponse, error)
        (group,) = response.groups
        return Description(
            group_id=group_id,
            state=group.group_state,
            assignor=group.assignor_name,
            coordinator_id=coordinator_id,
            epoch=group.group_epoch,
            target_epoch=group.assignment_epoch,
            members=[
                Member(
                    member_id=member.member_id,
                    instance_id=member.instance_id or "",
                    client_id=member.client_id,
                    host=member.client_host,
                    assignment=_flat(member.assignment),
                    target=_flat(member.target_assignment),
                    epoch=member.member_epoch,
                    upgraded=None if member.member_type < 0 else member.member_type == 1,
                )
                for member in group.members
            ],
        )

    async def _describe_classic_group(self, group_id: str) -> Description:
        request = DescribeGroupsRequest(groups=[group_id])

        def error(response: DescribeGroupsResponse) -> ApiError | None:
            (group,) = response.groups
            return _error(group.error_code, group.error_message)

        coordinator_id, response = await self._ask(group_id, request, DescribeGroupsResponse, error)
        (group,) = response.groups
        if group.group_state == "Dead" and not group.members:
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} not found.")
        if group.protocol_type not in _CONSUMER_TYPES:
            raise ValueError(f"GroupId {group_id} is not a consumer group ({group.protocol_type}).")
        return Description(
            group_id=group_id,
            state=group.group_state,
            assignor=group.protocol_data,
            coordinator_id=coordinator_id,
            members=[
                Member(
                    member_id=member.member_id,
                    instance_id=member.group_instance_id or "",
                    client_id=member.client_id,
                    host=member.client_host,
                    assignment=_decoded(member.member_assignment),
                    target=[],
                )
                for member in group.members
            ],
        )

    async def committed(self, group_id: str) -> dict[Partition, Committed]:
        """All offsets that the group has committed."""
        group = OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group_id, topics=None)

        def error(response: OffsetFetchResponse) -> ApiError | None:
            (group,) = response.groups
            return _error(group.error_code)

        _, response = await self._ask(
            group_id,
            OffsetFetchRequest(groups=[group]),
            OffsetFetchResponse,
            error,
            version_max=_NAMES_VERSION,
        )
        return {
            (topic.name, partition.partition_index): Committed(
                partition.committed_offset, partition.committed_leader_epoch
            )
            for topic in response.groups[0].topics
            for partition in topic.partitions
            if not partition.error_code and partition.committed_offset >= 0
        }

    async def commit(self, group_id: str, offsets: Mapping[Partition, int]) -> None:
        """Change the offsets of a group without members; the first partition's error."""
        if not offsets:
            return
        partition_class = OffsetCommitRequest.OffsetCommitRequestTopic.OffsetCommitRequestPartition
        request = OffsetCommitRequest(
            group_id=group_id,
            topics=[
                OffsetCommitRequest.OffsetCommitRequestTopic(
                    name=topic,
                    partitions=[
                        partition_class(
                            partition_index=number,
                            committed_offset=offsets[topic, number],
                            committed_metadata="",
                        )
                        for number in numbers
                    ],
                )
                for topic, numbers in by_topic(sorted(offsets)).items()
            ],
        )

        def error(response: OffsetCommitResponse) -> ApiError | None:
            for topic in response.topics:
                for partition in topic.partitions:
                    if partition.error_code:
                        return _error(partition.error_code)
            return None

        await self._ask(group_id, request, OffsetCommitResponse, error, version_max=_NAMES_VERSION)

    async def delete(self, group_id: str) -> None:
        """Delete a group that has no members."""

        def error(response: DeleteGroupsResponse) -> ApiError | None:
            (result,) = response.results
            return _error(result.error_code)

        await self._ask(group_id, DeleteGroupsRequest(groups_names=[group_id]), DeleteGroupsResponse, error)

    async def delete_offsets(self, group_id: str, partitions: Collection[Partition]) -> OffsetDeletion:
        """Forget what a group committed for these partitions."""
        partition_class = OffsetDeleteRequest.OffsetDeleteRequestTopic.OffsetDeleteRequestPartition
        request = OffsetDeleteRequest(
            group_id=group_id,
            topics=[
                OffsetDeleteRequest.OffsetDeleteRequestTopic(
                    name=topic, partitions=[partition_class(partition_index=number) for number in numbers]
                )
                for topic, numbers in by_topic(sorted(partitions)).items()
            ],
        )

        def error_of(response: OffsetDeleteResponse) -> ApiError | None:
            return _error(response.error_code)

        try:
            _, response = await self._ask(group_id, request, OffsetDeleteResponse, error_of)
        except ApiError as error:
            return OffsetDeletion(error, dict.fromkeys(partitions, error))
        outcome: dict[Partition, ApiError | None] = {
            (topic.name, partition.partition_index): _error(partition.error_code)
            for topic in response.topics
            for partition in topic.partitions
        }
        first = next((failure for failure in outcome.values() if failure is not None), None)
        return OffsetDeletion(first, outcome)

    async def _ask(
        self,
        group_id: str,
        request: Request,
        response_class: type[ResponseT],
        error_of: ErrorOf[ResponseT],
        *,
        version_max: int | None = None,
    ) -> tuple[int, ResponseT]:
        """The group's coordinator, and what it answered."""
        coordinator = self._coordinators.get(group_id)
        if coordinator is None:
            coordinator = self._coordinators[group_id] = Coordinator(self._cluster, group_id)
        response = await coordinator.ask(request, response_class, error_of, version_max=version_max)
        return coordinator.node_id, response


def _error(code: int, message: str | None = None) -> ApiError | None:
    return ApiError(ErrorCode(code), message) if code else None


def _flat(assignment: ConsumerGroupDescribeResponse.Assignment) -> list[Partition]:
    return [
        (topic.topic_name, number) for topic in assignment.topic_partitions for number in topic.partitions
    ]


def _decoded(assignment: bytes) -> list[Partition]:
    if not assignment:
        return []
    _, message = ConsumerProtocolAssignment.decode_versioned(assignment)
    return [(topic.topic, number) for topic in message.assigned_partitions for number in topic.partitions]
