"""Records of `__share_group_state`: snapshots of a share partition's state, and updates to them (KIP-932).

A key's first two bytes are its record type; its value's are the value's version.
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    CoordinatorKey,
    InternalRecord,
    Structure,
    array,
    int8,
    int16,
    int32,
    int64,
    string,
    uuid,
)


class ShareSnapshotKey(CoordinatorKey, record_type=0, versions="0"):
    group_id: str = string()
    topic_id: UUID = uuid()
    partition: int = int32()


class ShareSnapshotValue(InternalRecord, versions="0", flexible="0+"):
    class StateBatch(Structure):
        first_offset: int = int64()
        last_offset: int = int64()
        delivery_state: int = int8()
        delivery_count: int = int16()

    snapshot_epoch: int = int32()
    state_epoch: int = int32()
    leader_epoch: int = int32()
    start_offset: int = int64()
    delivery_complete_count: int = int32(default=-1, tag=0)
    create_timestamp: int = int64()
    write_timestamp: int = int64()
    state_batches: list[StateBatch] = array(StateBatch)


class ShareUpdateKey(CoordinatorKey, record_type=1, versions="0"):
    group_id: str = string()
    topic_id: UUID = uuid()
    partition: int = int32()


class ShareUpdateValue(InternalRecord, versions="0", flexible="0+"):
    class StateBatch(Structure):
        first_offset: int = int64()
        last_offset: int = int64()
        delivery_state: int = int8()
        delivery_count: int = int16()

    snapshot_epoch: int = int32()
    leader_epoch: int = int32()
    start_offset: int = int64()
    delivery_complete_count: int = int32(default=-1, tag=0)
    state_batches: list[StateBatch] = array(StateBatch)
