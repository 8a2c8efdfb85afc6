"""How offsets and groups end: OffsetDelete, DeleteGroups, deleted topics, and retention.

Retention counts (KIP-211): while a group is empty, from the moment it became empty; for simple groups and
for topics that the members of a stable consumer group are not subscribed to, from the commit. A client of
OffsetCommit v2-4 could set a time of its own, which then counts alone. A group without members goes with
its last offset.

Kafka: ``OffsetMetadataManager.deleteOffsets``, ``cleanupExpiredOffsets``, ``onTopicsDeleted``;
``GroupCoordinatorShard.deleteGroups``, ``cleanupGroupMetadata``.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kbroker.coordination.group.config import GroupConfig
from kbroker.coordination.group.group import Group
from kbroker.coordination.group.offset_store import OffsetStore
from kbroker.coordination.group.records import (
    NO_TIMESTAMP,
    CommittedOffset,
    group_tombstone,
    offset_tombstone,
)
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import Result
from wire.errors import ApiError, ErrorCode
from wire.messages.group_offsets import OffsetDeleteRequest, OffsetDeleteResponse
from wire.messages.groups import DeleteGroupsResponse
from wire.schema import ZERO_UUID

logger = logging.getLogger(__name__)

_DeletedGroup = DeleteGroupsResponse.DeletableGroupResult
_TopicResponse = OffsetDeleteResponse.OffsetDeleteResponseTopic
_PartitionResponse = _TopicResponse.OffsetDeleteResponsePartition

_EXPIRATION_KEY = "expiration"
_MINUTE_MS = 60_000


class ExpirationDue(NamedTuple):
    """Time to look for expired offsets."""


class OffsetRemoval:
    """Writes the tombstones."""

    def __init__(self, groups: GroupRegistry, offsets: OffsetStore, config: GroupConfig) -> None:
        self._groups = groups
        self._offsets = offsets
        self._config = config

    # On request

    def delete_offsets(self, request: OffsetDeleteRequest) -> Result[OffsetDeleteResponse]:
        """OffsetDelete; ApiError with the code for the whole request."""
        group = self._existing(request.group_id)
        has_members = group.state is not GroupState.EMPTY
        if has_members and not group.uses_consumer_protocol:
            raise ApiError(ErrorCode.NON_EMPTY_GROUP)
        out: Result[OffsetDeleteResponse] = Result()
        out.response = response = OffsetDeleteResponse()
        latest = self._offsets.latest(group.group_id)
        for topic in request.topics:
            is_subscribed = group.is_subscribed_to(topic.name)
            error = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if is_subscribed else ErrorCode.NONE
            topic_response = _TopicResponse(name=topic.name)
            for partition in topic.partitions:
                index = partition.partition_index
                topic_response.partitions.append(_PartitionResponse(partition_index=index, error_code=error))
                is_there = (topic.name, index) in latest or self._offsets.is_unstable(
                    group.group_id, topic.name, index
                )
                if is_there and not is_subscribed:
                    out.records.append(offset_tombstone(group.group_id, topic.name, index))
            response.topics.append(topic_response)
        return out

    def delete_groups(self, group_ids: Sequence[str]) -> Result[list[_DeletedGroup]]:
        """DeleteGroups, for the groups of this shard."""
        out: Result[list[_DeletedGroup]] = Result(response=[], atomic=False)
        assert out.response is not None
        for group_id in group_ids:
            result = _DeletedGroup(group_id=group_id)
            out.response.append(result)
            try:
                group = self._existing(group_id)
                if group.state is not GroupState.EMPTY:
                    raise ApiError(ErrorCode.NON_EMPTY_GROUP)
            except ApiError as error:
                result.error_code = error.code
                continue
            partitions = dict.fromkeys(self._offsets.latest(group_id))
            partitions.update(dict.fromkeys(self._offsets.unstable_partitions(group_id)))
            out.records.extend(offset_tombstone(group_id, topic, index) for topic, index in partitions)
            # Timers of pending members run on, and find no group when they fire; if the tombstones cannot be
            # appended, they are still needed.
            out.records.append(group_tombstone(group_id))
        return out

    def _existing(self, group_id: str) -> Group:
        group = self._groups.get(group_id)
        if group is None or group.state is GroupState.DEAD:
            raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND)
        return group

    # By the course of time

    def schedule_expiration(self, out: Result[None]) -> None:
        out.schedule(_EXPIRATION_KEY, self._config.offsets_retention_check_interval_ms, ExpirationDue())

    def expire(self, out: Result[None], now_ms: int) -> None:
        """Tombstones for all expired offsets, and for the groups that have neither members nor offsets."""
        out.atomic = False
        for group in self._groups:
            if self._expire_offsets(group, out, now_ms) and self._may_go(group):
                out.records.append(group_tombstone(group.group_id))
        if out.records:
            logger.info("%d tombstones for expired offsets and groups", len(out.records))
        self.schedule_expiration(out)

    def _expire_offsets(self, group: Group, out: Result[None], now_ms: int) -> bool:
        """Whether no offset is left when the tombstones are applied."""
        offsets = self._offsets.latest(group.group_id)
        if offsets and not _can_expire(group):
            return False
        is_any_left = self._offsets.has_open_transactions(group.group_id)
        for (topic, index), committed in offsets.items():
            if (
                group.is_subscribed_to(topic)
                or not self._is_expired(group, committed, now_ms)
                or self._offsets.is_unstable(group.group_id, topic, index)
            ):
                is_any_left = True
            else:
                out.records.append(offset_tombstone(group.group_id, topic, index))
        return not is_any_left

    def _is_expired(self, group: Group, committed: CommittedOffset, now_ms: int) -> bool:
        if committed.expire_timestamp_ms != NO_TIMESTAMP:
            return now_ms >= committed.expire_timestamp_ms
        since_ms = committed.commit_timestamp_ms
        is_simple = group.protocol_type is None
        if not is_simple and group.state is GroupState.EMPTY and group.state_since_ms is not None:
            since_ms = group.state_since_ms
        return now_ms - since_ms >= self._config.offsets_retention_minutes * _MINUTE_MS

    def _may_go(self, group: Group) -> bool:
        return group.state is GroupState.EMPTY and not group.pending_join

    # With their topics

    def remove_topics(self, topics: Iterable[tuple[str, uuid.UUID]], out: Result[None]) -> None:
        """Tombstones for the offsets of deleted topics; one that was committed for a namesake stays."""
        out.atomic = False
        deleted: dict[str, set[uuid.UUID]] = {}
        for name, topic_id in topics:
            deleted.setdefault(name, {ZERO_UUID}).add(topic_id)
        gone: dict[tuple[str, str, int], None] = {}
        for offsets in (self._offsets.all_latest(), self._offsets.all_pending()):
            for group_id, (topic, index), committed in offsets:
                if committed.topic_id in deleted.get(topic, ()):
                    gone[group_id, topic, index] = None
        out.records.extend(offset_tombstone(group_id, topic, index) for group_id, topic, index in gone)


def _can_expire(group: Group) -> bool:
    """Whether retention applies at all: not while members may be consuming what cannot be known."""
    if group.protocol_type is None or group.state is GroupState.EMPTY:
        return True
    return (
        group.state is GroupState.STABLE
        and group.uses_consumer_protocol
        and group.subscribed_topics is not None
    )
