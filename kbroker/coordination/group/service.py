"""The group coordinator of this broker: requests in, responses out (Kafka's ``GroupCoordinatorService``).

Finds the shard that a group belongs to, has the runtime call it, and turns errors into the response that the
request's clients understand. Which error is told in which field follows Kafka to the letter.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import trio

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.coordination.group.config import GroupConfig
from kbroker.coordination.group.shard import GroupShard
from kbroker.coordination.partitioning import partition_for
from kbroker.coordination.ports import Producer, RequestOrigin, ShardLog, World
from kbroker.coordination.runtime import CoordinatorRuntime, error_for_clients
from wire.errors import ApiError, ErrorCode
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
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.groups import DeleteGroupsResponse, DescribeGroupsResponse, ListGroupsResponse
from wire.messages.transactions import TxnOffsetCommitRequest, TxnOffsetCommitResponse

_DescribedGroup = DescribeGroupsResponse.DescribedGroup
_DeletedGroup = DeleteGroupsResponse.DeletableGroupResult
_FetchedGroup = OffsetFetchResponse.OffsetFetchResponseGroup

_NULLABLE_PROTOCOL_SINCE = 7
_REBALANCE_TIMEOUT_SINCE = 1
_PROTOCOL_REQUIRED_SINCE = 5
_MEMBERS_SINCE = 3


class GroupCoordinator:
    """The groups of every partition of ``__consumer_offsets`` that this broker leads."""

    def __init__(
        self,
        *,
        world: World,
        config: GroupConfig,
        log_for: Callable[[int], ShardLog],
        partition_count: Callable[[], int],
    ) -> None:
        """``partition_count`` is that of ``__consumer_offsets``: of the topic, or as it would be created."""
        self._config = config
        self._partition_count = partition_count
        self._runtime: CoordinatorRuntime[GroupShard] = CoordinatorRuntime(
            name=CONSUMER_OFFSETS_TOPIC,
            clock=world,
            machine_for=lambda partition: GroupShard(config=config, new_uuid=world.uuid4),
            log_for=log_for,
            commit_timeout_ms=config.offsets_commit_timeout_ms,
        )

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``stop``."""
        await self._runtime.run(task_status=task_status)

    def stop(self) -> None:
        """Answer everybody who waits; all later calls get COORDINATOR_NOT_AVAILABLE."""
        self._runtime.stop()

    def load(self, partition: int, leader_epoch: int) -> None:
        """This broker leads a partition of ``__consumer_offsets`` since ``leader_epoch``."""
        self._runtime.load(partition, leader_epoch)

    def unload(self, partition: int, leader_epoch: int | None = None) -> None:
        """It is led elsewhere since ``leader_epoch``, or was deleted."""
        self._runtime.unload(partition, leader_epoch)

    def topics_deleted(self, topics: Sequence[tuple[str, uuid.UUID]]) -> None:
        """Topics, by (name, id), are gone: so are the offsets committed for them."""
        self._runtime.write_all(lambda shard, now_ms: shard.remove_topics(topics))

    def partition_for(self, group_id: str) -> int:
        """The partition of ``__consumer_offsets`` that the group belongs to."""
        return partition_for(group_id, self._partition_count())

    def error_for_clients(self, code: ErrorCode) -> ErrorCode:
        """What a client is told when the log of its group answered ``code``."""
        return error_for_clients(code)

    # Membership

    async def join_group(self, request: JoinGroupRequest, origin: RequestOrigin) -> JoinGroupResponse:
        """Waits for the end of the join phase."""
        response = await self._join_group(request, origin)
        if origin.api_version < _NULLABLE_PROTOCOL_SINCE:
            response.protocol_name = response.protocol_name or ""
        else:
            response.protocol_name = response.protocol_name or None
        return response

    async def _join_group(self, request: JoinGroupRequest, origin: RequestOrigin) -> JoinGroupResponse:
        if not request.group_id:
            return JoinGroupResponse(member_id=request.member_id, error_code=ErrorCode.INVALID_GROUP_ID)
        timeout_ms = request.session_timeout_ms
        config = self._config
        if not config.group_min_session_timeout_ms <= timeout_ms <= config.group_max_session_timeout_ms:
            return JoinGroupResponse(
                member_id=request.member_id, error_code=ErrorCode.INVALID_SESSION_TIMEOUT
            )
        if origin.api_version < _REBALANCE_TIMEOUT_SINCE:
            request.rebalance_timeout_ms = timeout_ms
        try:
            return await self._runtime.write(
                self.partition_for(request.group_id),
                lambda shard, caller, now_ms: shard.join(request, origin, caller, now_ms),
            )
        except ApiError as error:
            return JoinGroupResponse(error_code=error.code)

    async def sync_group(self, request: SyncGroupRequest, origin: RequestOrigin) -> SyncGroupResponse:
        """Waits for the leader's assignment."""
        if not request.group_id:
            return SyncGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        lacks_protocol = request.protocol_type is None or request.protocol_name is None
        if origin.api_version >= _PROTOCOL_REQUIRED_SINCE and lacks_protocol:
            return SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        try:
            return await self._runtime.write(
                self.partition_for(request.group_id),
                lambda shard, caller, now_ms: shard.sync(request, caller),
            )
        except ApiError as error:
            return SyncGroupResponse(error_code=error.code)

    async def heartbeat(self, request: HeartbeatRequest, origin: RequestOrigin) -> HeartbeatResponse:
        if not request.group_id:
            return HeartbeatResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        try:
            return await self._runtime.write(
                self.partition_for(request.group_id), lambda shard, caller, now_ms: shard.heartbeat(request)
            )
        except ApiError as error:
            if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                return HeartbeatResponse()  # the member will be given a fresh session when its group is back
            return HeartbeatResponse(error_code=error.code)

    async def leave_group(self, request: LeaveGroupRequest, origin: RequestOrigin) -> LeaveGroupResponse:
        if origin.api_version < _MEMBERS_SINCE:
            request.members = [LeaveGroupRequest.MemberIdentity(member_id=request.member_id)]
        response = await self._leave_group(request)
        if origin.api_version < _MEMBERS_SINCE:
            code = response.error_code or response.members[0].error_code
            return LeaveGroupResponse(error_code=code)
        return response

    async def _leave_group(self, request: LeaveGroupRequest) -> LeaveGroupResponse:
        if not request.group_id:
            return LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        try:
            return await self._runtime.write(
                self.partition_for(request.group_id),
                lambda shard, caller, now_ms: shard.leave(request, now_ms),
            )
        except ApiError as error:
            if error.code is not ErrorCode.UNKNOWN_MEMBER_ID:
                return LeaveGroupResponse(error_code=error.code)
            # The group is unknown, and so are its members.
            return LeaveGroupResponse(
                members=[
                    LeaveGroupResponse.MemberResponse(
                        member_id=member.member_id,
                        group_instance_id=member.group_instance_id,
                        error_code=ErrorCode.UNKNOWN_MEMBER_ID,
                    )
                    for member in request.members
                ]
            )

    # Offsets

    async def commit_offsets(
        self, request: OffsetCommitRequest, origin: RequestOrigin
    ) -> OffsetCommitResponse:
        """The topics of the request have names, exist, and have their ids."""
        try:
            return await self._runtime.write(
                self.partition_for(request.group_id),
                lambda shard, caller, now_ms: shard.commit_offsets(request, origin, now_ms),
            )
        except ApiError as error:
            topic_class = OffsetCommitResponse.OffsetCommitResponseTopic
            return OffsetCommitResponse(
                topics=[
                    topic_class(
                        name=topic.name,
                        topic_id=topic.topic_id,
                        partitions=[
                            topic_class.OffsetCommitResponsePartition(
                                partition_index=partition.partition_index, error_code=error.code
                            )
                            for partition in topic.partitions
                        ],
                    )
                    for topic in request.topics
                ]
            )

    async def commit_transactional_offsets(
        self,
        request: TxnOffsetCommitRequest,
        origin: RequestOrigin,
        *,
        verification_guard: object | None = None,
    ) -> TxnOffsetCommitResponse:
        """The transaction is known to be open; topics have both name and id.

        ``verification_guard`` is what the group's log gave out when that was asked for.
        """
        try:
            if not request.group_id:
                raise ApiError(ErrorCode.INVALID_GROUP_ID)
            return await self._runtime.write(
                self.partition_for(request.group_id),
                lambda shard, caller, now_ms: shard.commit_transactional_offsets(request, origin, now_ms),
                Producer(request.producer_id, request.producer_epoch, verification_guard),
            )
        except ApiError as error:
            topic_class = TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
            return TxnOffsetCommitResponse(
                topics=[
                    topic_class(
                        name=topic.name,
                        topic_id=topic.topic_id,
                        partitions=[
                            topic_class.TxnOffsetCommitResponsePartition(
                                partition_index=partition.partition_index, error_code=error.code
                            )
                            for partition in topic.partitions
                        ],
                    )
                    for topic in request.topics
                ]
            )

    async def complete_transaction(
        self,
        partition: int,
        producer: tuple[int, int],
        *,
        coordinator_epoch: int,
        committed: bool,
        transaction_version: int = 0,
    ) -> None:
        """Write the marker of (producer id, epoch) to a partition of ``__consumer_offsets``; ApiError if it fails."""
        await self._runtime.complete_transaction(
            partition,
            Producer(*producer),
            coordinator_epoch=coordinator_epoch,
            committed=committed,
            transaction_version=transaction_version,
        )

    async def fetch_offsets(
        self, request: OffsetFetchRequest.OffsetFetchRequestGroup, *, require_stable: bool
    ) -> _FetchedGroup:
        """One group's offsets; the topics of the request have names, None asks for all."""
        partition = self.partition_for(request.group_id)
        try:
            if require_stable:
                return await self._runtime.write(
                    partition, lambda shard, caller, now_ms: shard.fetch_stable_offsets(request)
                )
            return self._runtime.read(partition, lambda shard: shard.fetch_offsets(request))
        except ApiError as error:
            code = error.code
            if code is ErrorCode.COORDINATOR_NOT_AVAILABLE and not self._runtime.stopped:
                # Clients before 3.9 do not expect that of OffsetFetch; this they answer with a new look-up.
                code = ErrorCode.NOT_COORDINATOR
            return _FetchedGroup(group_id=request.group_id, error_code=code)

    async def delete_offsets(self, request: OffsetDeleteRequest) -> OffsetDeleteResponse:
        if not request.group_id:
            return OffsetDeleteResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        try:
            return await self._runtime.write(
                self.partition_for(request.group_id),
                lambda shard, caller, now_ms: shard.delete_offsets(request),
            )
        except ApiError as error:
            return OffsetDeleteResponse(error_code=error.code)

    # Groups

    def describe_groups(self, group_ids: Sequence[str], origin: RequestOrigin) -> list[_DescribedGroup]:
        described: list[_DescribedGroup] = []
        for partition, ids in self._by_partition(group_ids).items():
            described.extend(self._describe_groups(partition, ids, origin))
        return described

    def _describe_groups(
        self, partition: int, group_ids: Sequence[str], origin: RequestOrigin
    ) -> list[_DescribedGroup]:
        try:
            return self._runtime.read(partition, lambda shard: shard.describe_groups(group_ids, origin))
        except ApiError as error:
            return [_DescribedGroup(group_id=group_id, error_code=error.code) for group_id in group_ids]

    def list_groups(self, states: Sequence[str], types: Sequence[str]) -> ListGroupsResponse:
        """The groups that this broker coordinates."""
        response = ListGroupsResponse()
        try:
            for groups in self._runtime.read_all(lambda shard: shard.list_groups(states, types)):
                response.groups.extend(groups)
        except ApiError as error:
            response.error_code = error.code
        return response

    async def delete_groups(self, group_ids: Sequence[str]) -> list[_DeletedGroup]:
        deleted: list[_DeletedGroup] = []
        for partition, ids in self._by_partition(group_ids).items():
            deleted.extend(await self._delete_groups(partition, ids))
        return deleted

    async def _delete_groups(self, partition: int, group_ids: Sequence[str]) -> list[_DeletedGroup]:
        try:
            return await self._runtime.write(
                partition, lambda shard, caller, now_ms: shard.delete_groups(group_ids)
            )
        except ApiError as error:
            return [_DeletedGroup(group_id=group_id, error_code=error.code) for group_id in group_ids]

    def _by_partition(self, group_ids: Sequence[str]) -> dict[int, list[str]]:
        by_partition: dict[int, list[str]] = {}
        for group_id in group_ids:
            by_partition.setdefault(self.partition_for(group_id), []).append(group_id)
        return by_partition
