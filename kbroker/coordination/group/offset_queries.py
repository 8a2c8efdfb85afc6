"""OffsetFetch: the committed offsets of one group (Kafka's ``OffsetMetadataManager.fetchOffsets``).

A group or partition without an offset is no error: the offset is -1. An offset that was committed for a
topic of the same name that was deleted since does not count, where both ids are known. With
``require_stable`` a partition that an open transaction has written to is UNSTABLE_OFFSET_COMMIT (KIP-447),
and the answer waits for what was written before it to become committed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from kbroker.coordination.group.offset_store import OffsetStore, TopicPartition
from kbroker.coordination.group.records import CommittedOffset
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import Result
from wire.errors import ErrorCode
from wire.messages.group_offsets import OffsetFetchRequest, OffsetFetchResponse
from wire.schema import ZERO_UUID

_Group = OffsetFetchResponse.OffsetFetchResponseGroup
_Topic = _Group.OffsetFetchResponseTopics
_Partition = _Topic.OffsetFetchResponsePartitions
_NO_OFFSET = -1


class OffsetQueries:
    """Answers one group of an OffsetFetch request."""

    def __init__(self, groups: GroupRegistry, offsets: OffsetStore) -> None:
        self._groups = groups
        self._offsets = offsets

    def fetch(self, request: OffsetFetchRequest.OffsetFetchRequestGroup) -> _Group:
        """The offsets that every in-sync replica has. Topics have names; None asks for all there are."""
        return self._response(request, self._offsets.committed(request.group_id), unstable=())

    def fetch_stable(self, request: OffsetFetchRequest.OffsetFetchRequestGroup) -> Result[_Group]:
        """The latest offsets, as soon as they are committed."""
        unstable = self._offsets.unstable_partitions(request.group_id)
        response = self._response(request, self._offsets.latest(request.group_id), unstable)
        return Result(response=response, after_earlier_writes=True)

    def _response(
        self,
        request: OffsetFetchRequest.OffsetFetchRequestGroup,
        offsets: Mapping[TopicPartition, CommittedOffset],
        unstable: Collection[TopicPartition],
    ) -> _Group:
        group = self._groups.get(request.group_id)
        if group is None or group.state is GroupState.DEAD:
            offsets = {}
        response = _Group(group_id=request.group_id)
        if request.topics is None:
            topics: dict[str, _Topic] = {}
            for name, index in offsets:
                topic = topics.setdefault(name, _Topic(name=name))
                topic.partitions.append(_partition(offsets, unstable, (name, index), ZERO_UUID))
            response.topics.extend(topics.values())
            return response
        for requested in request.topics:
            topic = _Topic(name=requested.name, topic_id=requested.topic_id)
            for index in requested.partition_indexes:
                partition = _partition(offsets, unstable, (requested.name, index), requested.topic_id)
                topic.partitions.append(partition)
            response.topics.append(topic)
        return response


def _partition(
    offsets: Mapping[TopicPartition, CommittedOffset],
    unstable: Collection[TopicPartition],
    partition: TopicPartition,
    topic_id: uuid.UUID,
) -> _Partition:
    index = partition[1]
    if partition in unstable:
        error = ErrorCode.UNSTABLE_OFFSET_COMMIT
        return _Partition(partition_index=index, committed_offset=_NO_OFFSET, error_code=error)
    committed = offsets.get(partition)
    if committed is None or _is_other_topic(committed.topic_id, topic_id):
        return _Partition(partition_index=index, committed_offset=_NO_OFFSET)
    return _Partition(
        partition_index=index,
        committed_offset=committed.offset,
        committed_leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
    )


def _is_other_topic(committed: uuid.UUID, requested: uuid.UUID) -> bool:
    return committed not in (ZERO_UUID, requested) and requested != ZERO_UUID
