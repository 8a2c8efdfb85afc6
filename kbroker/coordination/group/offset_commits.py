"""OffsetCommit and TxnOffsetCommit: who may commit, and what is written.

Whoever names no member and no generation may commit while the group is empty: admin clients, and consumers
that assign partitions by themselves. A group that does not exist is then made by its first offset, a simple
group. Kafka: ``OffsetMetadataManager.commitOffset``, ``ClassicGroup.validateOffsetCommit``.
"""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple, Protocol

from kbroker.coordination.group.config import GroupConfig
from kbroker.coordination.group.group import Group
from kbroker.coordination.group.rebalance import Rebalances
from kbroker.coordination.group.records import NO_TIMESTAMP, CommittedOffset, offset_commit_record
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import Result
from kbroker.coordination.ports import RequestOrigin
from wire.errors import ApiError, ErrorCode
from wire.messages.group_offsets import OffsetCommitRequest, OffsetCommitResponse
from wire.messages.transactions import TxnOffsetCommitRequest, TxnOffsetCommitResponse

_GROUP_ID_NOT_FOUND_SINCE = 9
_TRANSACTIONAL_GROUP_ID_NOT_FOUND_SINCE = 6
_BROKER_RETENTION = -1
_TIMESTAMP_MAX = 2**63 - 1

_TopicResponse = OffsetCommitResponse.OffsetCommitResponseTopic
_PartitionResponse = _TopicResponse.OffsetCommitResponsePartition
_TxnTopicResponse = TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
_TxnPartitionResponse = _TxnTopicResponse.TxnOffsetCommitResponsePartition


class _Committer(NamedTuple):
    """Who commits, whatever the request."""

    member_id: str
    group_instance_id: str | None
    generation_id: int
    is_transactional: bool


class _RequestedPartition(Protocol):
    """One partition of either request."""

    partition_index: int
    committed_offset: int
    committed_leader_epoch: int
    committed_metadata: str | None


class OffsetCommits:
    """Answers OffsetCommit and TxnOffsetCommit; raises ApiError with the code for all partitions."""

    def __init__(self, groups: GroupRegistry, rebalances: Rebalances, config: GroupConfig) -> None:
        self._groups = groups
        self._rebalances = rebalances
        self._config = config

    def commit(
        self, request: OffsetCommitRequest, origin: RequestOrigin, now_ms: int
    ) -> Result[OffsetCommitResponse]:
        """The topics of the request have their names and, where they are known, their ids."""
        out: Result[OffsetCommitResponse] = Result()
        group = self._groups.get(request.group_id)
        generation_id = request.generation_id_or_member_epoch
        if group is not None:
            _check_committer(
                group, _Committer(request.member_id, request.group_instance_id, generation_id, False)
            )
            if group.is_in(GroupState.STABLE, GroupState.PREPARING_REBALANCE):
                # A commit is a sign of life, too.
                self._rebalances.restart_session(group, group.members[request.member_id], out)
        elif generation_id >= 0:
            knows_not_found = origin.api_version >= _GROUP_ID_NOT_FOUND_SINCE
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND if knows_not_found else ErrorCode.ILLEGAL_GENERATION)
        expire_timestamp_ms = NO_TIMESTAMP
        if request.retention_time_ms != _BROKER_RETENTION:
            expire_timestamp_ms = min(now_ms + request.retention_time_ms, _TIMESTAMP_MAX)
        out.response = response = OffsetCommitResponse()
        for topic in request.topics:
            topic_response = _TopicResponse(name=topic.name, topic_id=topic.topic_id)
            for partition in topic.partitions:
                committed = _committed(partition, now_ms, expire_timestamp_ms, topic.topic_id)
                error = self._record(request.group_id, topic.name, partition.partition_index, committed, out)
                topic_response.partitions.append(
                    _PartitionResponse(partition_index=partition.partition_index, error_code=error)
                )
            response.topics.append(topic_response)
        return out

    def commit_transactional(
        self, request: TxnOffsetCommitRequest, origin: RequestOrigin, now_ms: int
    ) -> Result[TxnOffsetCommitResponse]:
        """The offsets stay pending until the marker of the transaction comes; topics as for ``commit``."""
        out: Result[TxnOffsetCommitResponse] = Result()
        group = self._groups.get(request.group_id)
        generation_id = request.generation_id_or_member_epoch
        if group is not None:
            _check_committer(
                group, _Committer(request.member_id, request.group_instance_id, generation_id, True)
            )
        elif generation_id >= 0:
            knows_not_found = origin.api_version >= _TRANSACTIONAL_GROUP_ID_NOT_FOUND_SINCE
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND if knows_not_found else ErrorCode.ILLEGAL_GENERATION)
        out.response = response = TxnOffsetCommitResponse()
        for topic in request.topics:
            topic_response = _TxnTopicResponse(name=topic.name, topic_id=topic.topic_id)
            for partition in topic.partitions:
                committed = _committed(partition, now_ms, NO_TIMESTAMP, topic.topic_id)
                error = self._record(request.group_id, topic.name, partition.partition_index, committed, out)
                topic_response.partitions.append(
                    _TxnPartitionResponse(partition_index=partition.partition_index, error_code=error)
                )
            response.topics.append(topic_response)
        return out

    def _record(
        self, group_id: str, topic: str, partition: int, committed: CommittedOffset, out: Result[Any]
    ) -> ErrorCode:
        if _java_length(committed.metadata) > self._config.offset_metadata_max_bytes:
            return ErrorCode.OFFSET_METADATA_TOO_LARGE
        out.records.append(offset_commit_record(group_id, topic, partition, committed))
        return ErrorCode.NONE


def _committed(
    partition: _RequestedPartition, now_ms: int, expire_timestamp_ms: int, topic_id: uuid.UUID
) -> CommittedOffset:
    return CommittedOffset(
        partition.committed_offset,
        partition.committed_leader_epoch,
        partition.committed_metadata or "",
        now_ms,
        expire_timestamp_ms,
        topic_id,
    )


def _check_committer(group: Group, committer: _Committer) -> None:
    """ApiError unless the group takes commits from this one now."""
    if group.state is GroupState.DEAD:
        raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
    if committer.generation_id < 0 and group.state is GroupState.EMPTY:
        return
    if committer.generation_id >= 0 or committer.member_id or committer.group_instance_id is not None:
        group.check_member(committer.member_id, committer.group_instance_id)
        if committer.generation_id != group.generation_id:
            raise ApiError(ErrorCode.ILLEGAL_GENERATION)
    elif not committer.is_transactional:
        raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
    if not committer.is_transactional and group.state is GroupState.COMPLETING_REBALANCE:
        # It has the new generation already, but no assignment of it.
        raise ApiError(ErrorCode.REBALANCE_IN_PROGRESS)


def _java_length(text: str) -> int:
    """The length that Kafka compares, whatever the config's name says: UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
