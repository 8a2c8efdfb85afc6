"""Membership in a consumer group of the classic protocol: join, assign (range), heartbeat, commit, leave.

Kafka: ConsumerCoordinator, AbstractCoordinator, RangeAssignor. The eager protocol: before a rebalance everything is
given back, after it everything is handed out anew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import trio

from kbroker.tools.cluster import Cluster, Partition, by_topic
from kbroker.tools.coordinators import Coordinator
from wire.errors import ApiError, ErrorCode
from wire.internal.consumer_protocol import ConsumerProtocolAssignment, ConsumerProtocolSubscription
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
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)

PROTOCOL_TYPE: Final = "consumer"
RANGE: Final = "range"
_SUBSCRIPTION_VERSION: Final = 1
_JOIN_AGAIN = frozenset(
    {ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION, ErrorCode.UNKNOWN_MEMBER_ID}
)
_COORDINATOR_VERSION_OFFSETS: Final = 9
"""Of OffsetCommit and OffsetFetch: later ones name topics by id."""


class Position(NamedTuple):
    """An offset to commit, and the epoch of the leader that wrote what lies before it (-1: unknown)."""

    offset: int
    leader_epoch: int = -1


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """Names, defaults and units: Kafka's ConsumerConfig."""

    group_id: str
    group_instance_id: str | None = None
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 300_000
    creates_topics: bool = False


class Subscription:
    """Names of topics, or a pattern that names must match whole (internal topics never do)."""

    def __init__(self, topics: Collection[str] = (), pattern: str | None = None) -> None:
        self.topics = sorted(topics)
        self.pattern = None if pattern is None else re.compile(pattern)

    async def names(self, cluster: Cluster) -> list[str]:
        """The topics that it means now."""
        if self.pattern is None:
            return self.topics
        response = await cluster.metadata(None)
        return sorted(
            topic.name
            for topic in response.topics
            if topic.name and not topic.is_internal and self.pattern.fullmatch(topic.name)
        )


class GroupMember:
    """One member. ``join`` until it returns an assignment, then ``heartbeat`` until it says to join again."""

    def __init__(self, cluster: Cluster, settings: GroupSettings, subscription: Subscription) -> None:
        self._cluster = cluster
        self._settings = settings
        self._subscription = subscription
        self._coordinator = Coordinator(cluster, settings.group_id)
        self.member_id = ""
        self.generation_id = -1
        self._planned: dict[str, int] = {}  # by the leader: how many partitions each topic had
        self._leads = False

    @property
    def lacks_topics(self) -> bool:
        """Whether a topic was not there when it was to be handed out. Only a leader can tell."""
        return self._leads and 0 in self._planned.values()

    async def join(self) -> list[Partition]:
        """Take part in a rebalance, however often it starts anew; the partitions that this member got. ApiError."""
        while True:
            try:
                return await self._join()
            except ApiError as error:
                if error.code is ErrorCode.UNKNOWN_MEMBER_ID:
                    self._forget()
                elif error.code not in _JOIN_AGAIN:
                    raise

    async def heartbeat(self) -> bool:
        """Stay a member; returns when a rebalance is due, with whether what was assigned is still this member's."""
        while True:
            await trio.sleep(self._settings.heartbeat_interval_ms / 1000)
            request = HeartbeatRequest(
                group_id=self._settings.group_id,
                generation_id=self.generation_id,
                member_id=self.member_id,
                group_instance_id=self._settings.group_instance_id,
            )
            try:
                await self._ask(
                    request, HeartbeatResponse, timeout_s=self._settings.session_timeout_ms / 1000
                )
            except ApiError as error:
                if error.code not in _JOIN_AGAIN:
                    raise
                if error.code is ErrorCode.UNKNOWN_MEMBER_ID:
                    self._forget()
                return error.code is ErrorCode.REBALANCE_IN_PROGRESS

    async def topics_changed(self) -> bool:
        """Whether the leader would hand out something else now. Only a leader can tell."""
        return self._leads and self._planned != await self._partition_counts(self._planned)

    async def commit(self, positions: Mapping[Partition, Position]) -> None:
        """Commit. ApiError of the first partition that was refused, but for those that are not there any more."""
        if not positions:
            return
        committed: dict[
            str, list[OffsetCommitRequest.OffsetCommitRequestTopic.OffsetCommitRequestPartition]
        ] = {}
        for (topic, partition), position in positions.items():
            committed.setdefault(topic, []).append(
                OffsetCommitRequest.OffsetCommitRequestTopic.OffsetCommitRequestPartition(
                    partition_index=partition,
                    committed_offset=position.offset,
                    committed_leader_epoch=position.leader_epoch,
                    committed_metadata="",
                )
            )
        request = OffsetCommitRequest(
            group_id=self._settings.group_id,
            generation_id_or_member_epoch=self.generation_id,
            member_id=self.member_id,
            group_instance_id=self._settings.group_instance_id,
            topics=[
                OffsetCommitRequest.OffsetCommitRequestTopic(name=topic, partitions=partitions)
                for topic, partitions in committed.items()
            ],
        )
        await self._ask(request, OffsetCommitResponse, version_max=_COORDINATOR_VERSION_OFFSETS)

    async def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The committed offsets of those partitions that have one."""
        group = OffsetFetchRequest.OffsetFetchRequestGroup(
            group_id=self._settings.group_id,
            topics=[
                OffsetFetchRequest.OffsetFetchRequestGroup.OffsetFetchRequestTopics(
                    name=topic, partition_indexes=numbers
                )
                for topic, numbers in by_topic(partitions).items()
            ],
        )
        request = OffsetFetchRequest(groups=[group], require_stable=True)
        response = await self._ask(request, OffsetFetchResponse, version_max=_COORDINATOR_VERSION_OFFSETS)
        return {
            (topic.name, partition.partition_index): partition.committed_offset
            for topic in response.groups[0].topics
            for partition in topic.partitions
            if partition.committed_offset >= 0
        }

    async def leave(self) -> None:
        """Say goodbye, so that the others need not wait for a timeout. A static member just stays away."""
        if not self.member_id or self._settings.group_instance_id is not None:
            return
        request = LeaveGroupRequest(
            group_id=self._settings.group_id,
            members=[
                LeaveGroupRequest.MemberIdentity(
                    member_id=self.member_id, reason="the consumer is being closed"
                )
            ],
        )
        self._forget()
        try:
            await self._ask(request, LeaveGroupResponse)
        except ApiError:
            pass  # it is on its way out all the same

    # Joining

    def _forget(self) -> None:
        self.member_id, self.generation_id, self._leads = "", -1, False

    async def _join(self) -> list[Partition]:
        topics = await self._subscription.names(self._cluster)
        subscription = ConsumerProtocolSubscription(topics=topics)
        request = JoinGroupRequest(
            group_id=self._settings.group_id,
            session_timeout_ms=self._settings.session_timeout_ms,
            rebalance_timeout_ms=self._settings.max_poll_interval_ms,
            member_id=self.member_id,
            group_instance_id=self._settings.group_instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=[
                JoinGroupRequest.JoinGroupRequestProtocol(
                    name=RANGE, metadata=subscription.encode_versioned(_SUBSCRIPTION_VERSION)
                )
            ],
        )
        timeout_s = self._settings.max_poll_interval_ms / 1000 + 5
        try:
            joined = await self._ask(request, JoinGroupResponse, timeout_s=timeout_s)
        except _MemberIdRequired as required:
            self.member_id = request.member_id = required.member_id
            joined = await self._ask(request, JoinGroupResponse, timeout_s=timeout_s)
        self.member_id, self.generation_id = joined.member_id, joined.generation_id
        self._leads = joined.leader == joined.member_id
        assignments = await self._assign(joined) if self._leads and not joined.skip_assignment else []
        sync = SyncGroupRequest(
            group_id=self._settings.group_id,
            generation_id=self.generation_id,
            member_id=self.member_id,
            group_instance_id=self._settings.group_instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=joined.protocol_name,
            assignments=assignments,
        )
        synced = await self._ask(sync, SyncGroupResponse, timeout_s=timeout_s)
        return _partitions_in(synced.assignment)

    async def _assign(self, joined: JoinGroupResponse) -> list[SyncGroupRequest.SyncGroupRequestAssignment]:
        wanted: dict[str, list[str]] = {}
        ranked = sorted(
            joined.members,
            key=lambda member: (member.group_instance_id or member.member_id, member.member_id),
        )
        # Static members come first, in the order of their instance ids (RangeAssignor).
        ranked.sort(key=lambda member: member.group_instance_id is None)
        for member in ranked:
            _, subscription = ConsumerProtocolSubscription.decode_versioned(member.metadata)
            wanted[member.member_id] = subscription.topics
        topics = sorted({topic for topics in wanted.values() for topic in topics})
        self._planned = await self._partition_counts(topics)
        return [
            SyncGroupRequest.SyncGroupRequestAssignment(
                member_id=member_id, assignment=_encoded_assignment(partitions)
            )
            for member_id, partitions in range_assignment(wanted, self._planned).items()
        ]

    async def _partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions they have now; those of the pattern are among them. 0: it is not there."""
        names = set(topics)
        if self._subscription.pattern is not None:
            names |= set(await self._subscription.names(self._cluster))
        response = await self._cluster.metadata(
            sorted(names), allow_auto_topic_creation=self._settings.creates_topics
        )
        if wrong := [
            topic.name for topic in response.topics if topic.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        ]:
            raise ApiError(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"Invalid topics: [{', '.join(map(str, wrong))}]"
            )
        counts = {topic.name: len(topic.partitions) for topic in response.topics if not topic.error_code}
        return {name: counts.get(name, 0) for name in sorted(names)}

    # Asking

    async def _ask(
        self,
        request: Request,
        response_class: type[ResponseT],
        *,
        timeout_s: float | None = None,
        version_max: int | None = None,
    ) -> ResponseT:
        return await self._coordinator.ask(
            request,
            response_class,
            _error_of,
            timeout_s=timeout_s,
            version_max=version_max,
            patience_s=math.inf,  # a rebalance may take its time
        )


class _MemberIdRequired(ApiError):
    def __init__(self, member_id: str) -> None:
        super().__init__(ErrorCode.MEMBER_ID_REQUIRED)
        self.member_id = member_id


def _error_of(response: Message) -> ApiError | None:
    if isinstance(response, OffsetCommitResponse):
        codes = [partition.error_code for topic in response.topics for partition in topic.partitions]
        # Of a topic that was deleted nobody will ever ask where to go on.
        codes = [code for code in codes if code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    elif isinstance(response, OffsetFetchResponse):
        (group,) = response.groups
        codes = [group.error_code, *(part.error_code for topic in group.topics for part in topic.partitions)]
    else:
        codes = [getattr(response, "error_code", 0)]
    code = next((ErrorCode(code) for code in codes if code), ErrorCode.NONE)
    if code is ErrorCode.MEMBER_ID_REQUIRED:
        assert isinstance(response, JoinGroupResponse)
        return _MemberIdRequired(response.member_id)
    return ApiError(code) if code else None


def range_assignment(
    wanted: Mapping[str, Collection[str]], partition_counts: Mapping[str, int]
) -> dict[str, list[Partition]]:
    """Each topic's partitions in ranges over the members that want it; members in the order of ``wanted``."""
    assignment: dict[str, list[Partition]] = {member_id: [] for member_id in wanted}
    for topic, count in sorted(partition_counts.items()):
        members = [member_id for member_id, topics in wanted.items() if topic in topics]
        start = 0
        for index, member_id in enumerate(members):
            size = count // len(members) + (index < count % len(members))
            assignment[member_id] += [(topic, number) for number in range(start, start + size)]
            start += size
    return assignment


def _encoded_assignment(partitions: Collection[Partition]) -> bytes:
    assignment = ConsumerProtocolAssignment(
        assigned_partitions=[
            ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=numbers)
            for topic, numbers in by_topic(partitions).items()
        ]
    )
    return bytes(assignment.encode_versioned(_SUBSCRIPTION_VERSION))


def _partitions_in(data: bytes) -> list[Partition]:
    if not data:
        return []
    _, assignment = ConsumerProtocolAssignment.decode_versioned(data)
    return [(topic.topic, number) for topic in assignment.assigned_partitions for number in topic.partitions]


__all__ = ["GroupMember", "GroupSettings", "Position", "Subscription", "range_assignment"]
