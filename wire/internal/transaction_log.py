"""Records of `__transaction_state`: one key per transactional id (KIP-98).

A key's first two bytes are its record type, 0; its value's are the value's version: 0, or 1, which is flexible.
A null value is a tombstone.
"""

from __future__ import annotations

from wire.schema import (
    CoordinatorKey,
    InternalRecord,
    Structure,
    array,
    int8,
    int16,
    int32,
    int64,
    nullable_array,
    string,
)


class TransactionLogKey(CoordinatorKey, record_type=0, versions="0"):
    transactional_id: str = string()


class TransactionLogValue(InternalRecord, versions="0-1", flexible="1+"):
    class PartitionsSchema(Structure):
        topic: str = string()
        partition_ids: list[int] = array(int32)

    producer_id: int = int64()
    previous_producer_id: int = int64("1+", default=-1, tag=0)
    next_producer_id: int = int64("1+", default=-1, tag=1)
    producer_epoch: int = int16()
    next_producer_epoch: int = int16("1+", default=-1, tag=3)
    transaction_timeout_ms: int = int32()
    transaction_status: int = int8()
    transaction_partitions: list[PartitionsSchema] | None = nullable_array(PartitionsSchema)
    transaction_last_update_timestamp_ms: int = int64()
    transaction_start_timestamp_ms: int = int64()
    client_transaction_version: int = int16("1+", tag=2)
