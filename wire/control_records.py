"""Control batches: the markers that end a transaction, and the key that says what a control record is.

Kafka: ControlRecordType, EndTransactionMarker; KIP-98.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

import construct

from wire.batch_header import NO_PARTITION_LEADER_EPOCH
from wire.compression import CorruptRecordError
from wire.fixed_layout import FixedLayout
from wire.internal.control import ControlRecordTypeSchema, EndTxnMarker
from wire.record import Record
from wire.record_writer import build_batch

_VERSION = "version" / construct.Int16sb
CONTROL_RECORD_KEY = construct.Struct(_VERSION, *ControlRecordTypeSchema.struct(0).subcons)
END_TRANSACTION_MARKER_VALUE = construct.Struct(_VERSION, *EndTxnMarker.struct(0).subcons)
_KEY = FixedLayout(CONTROL_RECORD_KEY)
_END_TRANSACTION_VALUE = FixedLayout(END_TRANSACTION_MARKER_VALUE)
_KEY_VERSION = 0
_END_TRANSACTION_VERSION = 0


class ControlType(IntEnum):
    """What a control record announces. A reader skips the ones it does not know."""

    UNKNOWN = -1
    ABORT = 0
    COMMIT = 1
    LEADER_CHANGE = 2
    SNAPSHOT_HEADER = 3
    SNAPSHOT_FOOTER = 4
    KRAFT_VERSION = 5
    KRAFT_VOTERS = 6


class EndTransactionMarker(NamedTuple):
    """How a producer's transaction ended, and the epoch of the coordinator that ended it."""

    control_type: ControlType
    coordinator_epoch: int


def build_end_transaction_marker(
    *,
    base_offset: int,
    timestamp_ms: int,
    producer_id: int,
    producer_epoch: int,
    is_commit: bool,
    coordinator_epoch: int,
    partition_leader_epoch: int = NO_PARTITION_LEADER_EPOCH,
) -> bytearray:
    """The control batch of one record that commits or aborts the producer's open transaction."""
    control_type = ControlType.COMMIT if is_commit else ControlType.ABORT
    marker = Record(
        offset=base_offset,
        timestamp=timestamp_ms,
        key=_KEY.pack(_KEY_VERSION, control_type),
        value=_END_TRANSACTION_VALUE.pack(_END_TRANSACTION_VERSION, coordinator_epoch),
    )
    return build_batch(
        [marker],
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        partition_leader_epoch=partition_leader_epoch,
        is_transactional=True,
        is_control=True,
    )


def read_control_type(record: Record) -> ControlType:
    """What the control record `record` announces; later key versions are read as far as they are known.

    Raises CorruptRecordError for a key that is null, too short or of a negative version.
    """
    _version, number = _unpack(_KEY, record.key, "control record key")
    try:
        return ControlType(number)
    except ValueError:
        return ControlType.UNKNOWN


def read_end_transaction_marker(record: Record) -> EndTransactionMarker:
    """The marker in a control record of type ABORT or COMMIT.

    Raises CorruptRecordError for any other type and for a malformed key or value.
    """
    control_type = read_control_type(record)
    if control_type not in (ControlType.ABORT, ControlType.COMMIT):
        raise CorruptRecordError(f"{control_type.name} does not end a transaction")
    _version, coordinator_epoch = _unpack(_END_TRANSACTION_VALUE, record.value, "end transaction marker")
    return EndTransactionMarker(control_type, coordinator_epoch)


def _unpack(layout: FixedLayout, data: bytes | None, what: str) -> tuple[int, int]:
    try:
        version, number = layout.unpack_from(data or b"", 0)
    except struct.error:
        raise CorruptRecordError(f"{what} is too short") from None
    if version < 0:
        raise CorruptRecordError(f"{what} of version {version}")
    return version, number
