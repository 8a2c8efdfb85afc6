"""Records -> record batches: for coordinators, compaction, the command line and tests.

What clients produce is stored as it came. Kafka: MemoryRecordsBuilder, DefaultRecord.
"""

import struct
from collections.abc import Sequence

from wire.batch_header import (
    BATCH_HEADER_LAYOUT,
    BATCH_HEADER_SIZE,
    CONTROL_FLAG,
    CREATE_TIME,
    CURRENT_MAGIC,
    DELETE_HORIZON_FLAG,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    NO_PARTITION_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_FLAG,
    TRANSACTIONAL_FLAG,
    BatchHeader,
    set_crc,
)
from wire.compression import Compression, compress
from wire.record import HEADER_KEY_ERRORS, Header, Record

_ONE_BYTE_VARINTS = tuple(bytes((raw,)) for raw in range(0x80))
_NULL = _ONE_BYTE_VARINTS[1]  # the length -1
_NO_HEADERS = _ONE_BYTE_VARINTS[0]
_NO_ATTRIBUTES = b"\x00"
_INT32_MAX = 2**31 - 1
_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1


def build_batch(
    records: Sequence[Record],
    *,
    base_offset: int,
    last_offset: int | None = None,
    compression: Compression = Compression.NONE,
    compression_level: int | None = None,
    timestamp_type: int = CREATE_TIME,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    partition_leader_epoch: int = NO_PARTITION_LEADER_EPOCH,
    is_transactional: bool = False,
    is_control: bool = False,
    delete_horizon_ms: int | None = None,
) -> bytearray:
    """One batch of `records`: at least one, offsets rising, the first not below `base_offset`.

    `last_offset` is what the header states as the batch's end when the last records are gone
    (compaction keeps it, and with it the producer's last sequence); None means the last record's.
    With LOG_APPEND_TIME the batch's time is the latest of the records'. Everything that
    `read_records` returned can be written, wrapped timestamps and odd header keys included.
    Raises ValueError for records that no batch can hold.
    """
    if not records:
        raise ValueError("a batch needs a record; build_empty_batch makes one without")
    if last_offset is None:
        last_offset = records[-1].offset
    if not records[-1].offset - base_offset <= last_offset - base_offset <= _INT32_MAX:
        raise ValueError(f"offsets {base_offset} to {records[-1].offset} cannot end at {last_offset}")
    base_timestamp = records[0].timestamp if delete_horizon_ms is None else delete_horizon_ms
    payload: bytes | bytearray = _encode_records(records, base_offset, base_timestamp)
    if compression is not Compression.NONE:
        payload = compress(compression, payload, compression_level)
    attributes = (
        compression
        | (TIMESTAMP_TYPE_FLAG if timestamp_type == LOG_APPEND_TIME else 0)
        | (TRANSACTIONAL_FLAG if is_transactional else 0)
        | (CONTROL_FLAG if is_control else 0)
        | (DELETE_HORIZON_FLAG if delete_horizon_ms is not None else 0)
    )
    return _assemble(
        BatchHeader(
            base_offset=base_offset,
            batch_length=BATCH_HEADER_SIZE + len(payload) - LOG_OVERHEAD,
            partition_leader_epoch=partition_leader_epoch,
            magic=CURRENT_MAGIC,
            crc=0,
            attributes=attributes,
            last_offset_delta=last_offset - base_offset,
            base_timestamp=base_timestamp,
            max_timestamp=max(NO_TIMESTAMP, *(record.timestamp for record in records)),
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            record_count=len(records),
        ),
        payload,
    )


def build_empty_batch(header: BatchHeader) -> bytearray:
    """What compaction leaves of a batch whose records are all gone while its producer is still known.

    Offsets, epoch, producer, sequence, time and kind stay; codec and delete horizon go with the
    records. Kafka: DefaultRecordBatch.writeEmptyHeader.
    """
    kept_flags = TIMESTAMP_TYPE_FLAG | TRANSACTIONAL_FLAG | CONTROL_FLAG
    return _assemble(
        header._replace(
            batch_length=BATCH_HEADER_SIZE - LOG_OVERHEAD,
            attributes=header.attributes & kept_flags,
            base_timestamp=NO_TIMESTAMP,
            record_count=0,
        ),
        b"",
    )


def _assemble(header: BatchHeader, payload: bytes | bytearray) -> bytearray:
    try:
        batch = bytearray(BATCH_HEADER_LAYOUT.pack(*header))
    except struct.error as error:
        raise ValueError(f"no batch header can hold this: {error}") from None
    batch += payload
    set_crc(batch, 0, len(batch))
    return batch


def _encode_records(records: Sequence[Record], base_offset: int, base_timestamp: int) -> bytearray:
    out = bytearray()
    previous_offset = base_offset - 1
    for offset, timestamp, key, value, headers in records:
        if offset <= previous_offset:
            raise ValueError(f"offset {offset} cannot follow {previous_offset}")
        previous_offset = offset
        if not _INT64_MIN <= timestamp <= _INT64_MAX:
            raise ValueError(f"timestamp {timestamp} has more than 64 bits")
        timestamp_delta = timestamp - base_timestamp
        if not _INT64_MIN <= timestamp_delta <= _INT64_MAX:  # the reader's sum wraps back
            timestamp_delta = (timestamp_delta - _INT64_MIN) % 2**64 + _INT64_MIN
        body = b"".join(
            (
                _NO_ATTRIBUTES,
                encode_varint(timestamp_delta),
                encode_varint(offset - base_offset),
                _NULL if key is None else encode_varint(len(key)),
                key or b"",
                _NULL if value is None else encode_varint(len(value)),
                value or b"",
                _encode_headers(headers) if headers else _NO_HEADERS,
            )
        )
        out += encode_varint(len(body))
        out += body
    return out


def _encode_headers(headers: Sequence[Header]) -> bytes:
    parts = [encode_varint(len(headers))]
    for name, value in headers:
        key = name.encode("utf-8", HEADER_KEY_ERRORS)
        parts += (encode_varint(len(key)), key)
        if value is None:
            parts.append(_NULL)
        else:
            parts += (encode_varint(len(value)), value)
    return b"".join(parts)


def encode_varint(number: int) -> bytes:
    """A signed number of at most 64 bits, zigzag, seven bits a byte, lowest first."""
    raw = (number << 1) ^ (number >> 63)
    if raw < 0x80:
        return _ONE_BYTE_VARINTS[raw]
    if raw < 0x4000:
        return bytes((raw & 0x7F | 0x80, raw >> 7))
    out = bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)
