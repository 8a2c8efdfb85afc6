"""The records of ``__consumer_offsets`` for classic groups and offsets, as Apache Kafka 4.4 writes them.

    key                                       value
    1  OffsetCommitKey(group, topic, p)       OffsetCommitValue v4 (v1: the client gave a retention), or none
    2  GroupMetadataKey(group)                GroupMetadataValue v3, or none
    0  LegacyOffsetCommitKey                  read only: logs written before 0.9 have them

Keys of other types (the records of the newer group protocols) are passed over.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import NamedTuple

from kbroker.coordination.group.group import Group
from kbroker.coordination.machine import CoordinatorRecord
from wire.internal.consumer_offsets import (
    GroupMetadataKey,
    GroupMetadataValue,
    LegacyOffsetCommitKey,
    LegacyOffsetCommitValue,
    OffsetCommitKey,
    OffsetCommitValue,
)
from wire.schema import ZERO_UUID, read_version_prefix

_OFFSET_COMMIT_VERSION = 4
_OFFSET_COMMIT_VERSION_WITH_EXPIRY = 1
_GROUP_METADATA_VERSION = 3
_KEY_VERSION = 0

NO_TIMESTAMP = -1


class CommittedOffset(NamedTuple):
    """What was committed for one partition.

    ``leader_epoch`` -1: not known. ``expire_timestamp_ms`` -1: the broker's retention applies.
    ``topic_id`` is zero when the commit did not know it. ``record_offset`` is where the record stands in the
    log, -1 while it is being decided about.
    """

    offset: int
    leader_epoch: int
    metadata: str
    commit_timestamp_ms: int
    expire_timestamp_ms: int = NO_TIMESTAMP
    topic_id: uuid.UUID = ZERO_UUID
    record_offset: int = -1


class OffsetChange(NamedTuple):
    """The content of an offset's record; None takes the offset away."""

    group_id: str
    topic: str
    partition: int
    committed: CommittedOffset | None


class GroupChange(NamedTuple):
    """The content of a group's record; None takes the group away."""

    group_id: str
    value: GroupMetadataValue | None


Content = OffsetChange | GroupChange


def offset_commit_record(
    group_id: str, topic: str, partition: int, committed: CommittedOffset
) -> CoordinatorRecord:
    value = OffsetCommitValue(
        offset=committed.offset,
        leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        commit_timestamp=committed.commit_timestamp_ms,
        expire_timestamp=committed.expire_timestamp_ms,
        topic_id=committed.topic_id,
    )
    expires = committed.expire_timestamp_ms != NO_TIMESTAMP
    version = _OFFSET_COMMIT_VERSION_WITH_EXPIRY if expires else _OFFSET_COMMIT_VERSION
    return CoordinatorRecord(
        OffsetCommitKey(group=group_id, topic=topic, partition=partition).encode_versioned(_KEY_VERSION),
        value.encode_versioned(version),
        OffsetChange(group_id, topic, partition, committed),
    )


def offset_tombstone(group_id: str, topic: str, partition: int) -> CoordinatorRecord:
    return CoordinatorRecord(
        OffsetCommitKey(group=group_id, topic=topic, partition=partition).encode_versioned(_KEY_VERSION),
        None,
        OffsetChange(group_id, topic, partition, None),
    )


def group_metadata_record(group: Group, assignments: Mapping[str, bytes]) -> CoordinatorRecord:
    """The group as it is, with these assignments by member id (one for each member)."""
    value = GroupMetadataValue(
        protocol_type=group.protocol_type or "",
        generation=group.generation_id,
        protocol=group.protocol_name,
        leader=group.leader_id,
        current_state_timestamp=NO_TIMESTAMP if group.state_since_ms is None else group.state_since_ms,
        members=[
            GroupMetadataValue.MemberMetadata(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_timeout_ms,
                session_timeout=member.session_timeout_ms,
                subscription=member.metadata(group.protocol_name),
                assignment=assignments[member.member_id],
            )
            for member in group.members.values()
        ],
    )
    return _group_record(group.group_id, value)


def new_group_record(group: Group) -> CoordinatorRecord:
    """A group that has no generation yet; its members, if it has any, are not durable."""
    timestamp_ms = NO_TIMESTAMP if group.state_since_ms is None else group.state_since_ms
    value = GroupMetadataValue(
        protocol_type="", generation=0, protocol=None, leader=None, current_state_timestamp=timestamp_ms
    )
    return _group_record(group.group_id, value)


def _group_record(group_id: str, value: GroupMetadataValue) -> CoordinatorRecord:
    return CoordinatorRecord(
        GroupMetadataKey(group=group_id).encode_versioned(_KEY_VERSION),
        value.encode_versioned(_GROUP_METADATA_VERSION),
        GroupChange(group_id, value),
    )


def group_tombstone(group_id: str) -> CoordinatorRecord:
    key = GroupMetadataKey(group=group_id).encode_versioned(_KEY_VERSION)
    return CoordinatorRecord(key, None, GroupChange(group_id, None))


def decode(key: bytes, value: bytes | None) -> Content | None:
    """What a record of the log says; None if its type is none of ours. ProtocolError if it is garbled."""
    record_type = read_version_prefix(key)
    if record_type == OffsetCommitKey.record_type:
        _, commit_key = OffsetCommitKey.decode_versioned(key)
        committed = None if value is None else _committed_offset(OffsetCommitValue.decode_versioned(value)[1])
        return OffsetChange(commit_key.group, commit_key.topic, commit_key.partition, committed)
    if record_type == GroupMetadataKey.record_type:
        _, group_key = GroupMetadataKey.decode_versioned(key)
        metadata = None if value is None else GroupMetadataValue.decode_versioned(value)[1]
        return GroupChange(group_key.group, metadata)
    if record_type == LegacyOffsetCommitKey.record_type:
        _, legacy_key = LegacyOffsetCommitKey.decode_versioned(key)
        legacy = None if value is None else LegacyOffsetCommitValue.decode_versioned(value)[1]
        committed = None
        if legacy is not None:
            committed = CommittedOffset(legacy.offset, -1, legacy.metadata, legacy.commit_timestamp)
        return OffsetChange(legacy_key.group, legacy_key.topic, legacy_key.partition, committed)
    return None


def _committed_offset(value: OffsetCommitValue) -> CommittedOffset:
    return CommittedOffset(
        value.offset,
        value.leader_epoch,
        value.metadata,
        value.commit_timestamp,
        value.expire_timestamp,
        value.topic_id,
    )
