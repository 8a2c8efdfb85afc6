"""The records of ``__transaction_state``, as Apache Kafka 4.4 writes them: one key per transactional id.

    key                                  value
    0  TransactionLogKey(transactional)  TransactionLogValue v1 (v0: transaction.version is 0), or none

Keys and values of versions that are not known here are passed over when the log is read.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from kbroker.coordination.machine import CoordinatorRecord
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import TransactionMetadata
from wire.errors import ProtocolError
from wire.internal.transaction_log import TransactionLogKey, TransactionLogValue
from wire.schema import read_version_prefix

_KEY_VERSION = 0
_FLEXIBLE_VALUE = 1
_FLEXIBLE_SINCE_TRANSACTION_VERSION = 1


class TransactionChange(NamedTuple):
    """The content of a record; without metadata the transactional id is forgotten."""

    transactional_id: str
    metadata: TransactionMetadata | None


def transaction_record(
    transactional_id: str, metadata: TransactionMetadata, *, transaction_version: int
) -> CoordinatorRecord:
    """``transaction_version`` is the cluster's; below 1 older brokers must be able to read the value.

    EncodeError when the transactional id does not fit a key (32,767 bytes).
    """
    partitions = None
    if metadata.state is not TransactionState.EMPTY:
        partitions = [
            TransactionLogValue.PartitionsSchema(
                topic=topic, partition_ids=[partition for _, partition in members]
            )
            for topic, members in groupby(sorted(metadata.partitions), key=lambda member: member[0])
        ]
    value = TransactionLogValue(
        producer_id=metadata.producer_id,
        producer_epoch=metadata.producer_epoch,
        transaction_timeout_ms=metadata.timeout_ms,
        transaction_status=metadata.state.value,
        transaction_partitions=partitions,
        transaction_last_update_timestamp_ms=metadata.updated_ms,
        transaction_start_timestamp_ms=metadata.start_ms,
    )
    version = 0
    if transaction_version >= _FLEXIBLE_SINCE_TRANSACTION_VERSION:
        version = _FLEXIBLE_VALUE
        value.previous_producer_id = metadata.previous_producer_id
        value.next_producer_id = metadata.next_producer_id
        value.client_transaction_version = metadata.client_transaction_version
    return CoordinatorRecord(
        TransactionLogKey(transactional_id=transactional_id).encode_versioned(_KEY_VERSION),
        value.encode_versioned(version),
        TransactionChange(transactional_id, metadata),
    )


def transaction_tombstone(transactional_id: str) -> CoordinatorRecord:
    return CoordinatorRecord(
        TransactionLogKey(transactional_id=transactional_id).encode_versioned(_KEY_VERSION),
        None,
        TransactionChange(transactional_id, None),
    )


def decode(key: bytes, value: bytes | None) -> TransactionChange | None:
    """What a record of the log says; None if its version is not known here. ProtocolError if it is garbled."""
    if read_version_prefix(key) != TransactionLogKey.record_type:
        return None
    _, transaction_key = TransactionLogKey.decode_versioned(key)
    if value is None:
        return TransactionChange(transaction_key.transactional_id, None)
    if not 0 <= read_version_prefix(value) <= _FLEXIBLE_VALUE:
        return None
    _, log_value = TransactionLogValue.decode_versioned(value)
    return TransactionChange(transaction_key.transactional_id, _metadata(log_value))


def _metadata(value: TransactionLogValue) -> TransactionMetadata:
    try:
        state = TransactionState(value.transaction_status)
    except ValueError as error:
        raise ProtocolError(f"there is no transaction state {value.transaction_status}") from error
    partitions = [] if state is TransactionState.EMPTY else value.transaction_partitions or []
    return TransactionMetadata(
        producer_id=value.producer_id,
        producer_epoch=value.producer_epoch,
        timeout_ms=value.transaction_timeout_ms,
        state=state,
        previous_producer_id=value.previous_producer_id,
        next_producer_id=value.next_producer_id,
        partitions=frozenset(
            (member.topic, partition) for member in partitions for partition in member.partition_ids
        ),
        start_ms=value.transaction_start_timestamp_ms,
        updated_ms=value.transaction_last_update_timestamp_ms,
        client_transaction_version=value.client_transaction_version,
    )
