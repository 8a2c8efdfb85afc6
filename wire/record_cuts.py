"""Where the records of a batch begin and end, and what compaction asks of them, without taking them apart.

A compacted batch is made of pieces of the original one: offsets and timestamps are stored as distances from the
batch's base, so that a record's bytes stay good as long as the base does. Kafka: MemoryRecords.filterTo.
"""

from collections.abc import Sequence
from typing import NamedTuple

from wire.batch_header import (
    BATCH_HEADER_LAYOUT,
    BATCH_HEADER_SIZE,
    CREATE_TIME,
    DELETE_HORIZON_FLAG,
    LOG_OVERHEAD,
    NO_TIMESTAMP,
    BatchHeader,
    set_crc,
)
from wire.compression import CorruptRecordError
from wire.record import RECORD_SIZE_MIN
from wire.record_reader import MASK_64, VARLONG_BYTES_MAX, read_long_varint, read_varint
from wire.record_writer import encode_varint

_INT64_MIN = -(2**63)


class RecordCut(NamedTuple):
    """One record at `data[start:end]`; its content begins at `body`, behind its length."""

    start: int
    body: int
    end: int
    offset_delta: int
    timestamp_delta: int
    key: bytes | None
    is_tombstone: bool


def check_record_count(header: BatchHeader, data: bytes) -> None:
    """CorruptRecordError when the uncompressed records `data` cannot be as many as the header says."""
    if not 0 <= header.record_count <= len(data) // RECORD_SIZE_MIN:
        raise CorruptRecordError(f"{header.record_count} records in {len(data)} bytes")


def cut_records(data: bytes, position: int, count: int) -> list[RecordCut]:
    """The next `count` records of the uncompressed records `data` of a batch, from a record boundary on.

    CorruptRecordError when there are fewer, or they make no sense.
    """
    try:
        return _cut(data, position, count)
    except IndexError:
        raise CorruptRecordError("the last record ends early") from None


def _cut(data: bytes, position: int, count: int) -> list[RecordCut]:
    new_tuple = tuple.__new__
    size_of_data = len(data)
    cuts: list[RecordCut] = []
    for _ in range(count):
        start = position
        size, body = read_varint(data, position)
        end = body + size
        position = body + 1
        byte = data[position]
        if byte < 0x80:
            timestamp_delta = (byte >> 1) ^ -(byte & 1)
            position += 1
        else:
            timestamp_delta, position = read_long_varint(data, position, VARLONG_BYTES_MAX, MASK_64)
        offset_delta, position = read_varint(data, position)
        byte = data[position]
        if byte < 0x80:
            length = (byte >> 1) ^ -(byte & 1)
            position += 1
        else:
            length, position = read_varint(data, position)
        key = None
        if length >= 0:
            key = data[position : position + length]
            position += length
        length, position = read_varint(data, position)
        if length > 0:
            position += length
        if not position < end <= size_of_data:
            raise CorruptRecordError(f"a record of {size} bytes has content of {position - body}")
        position = end
        cuts.append(new_tuple(RecordCut, (start, body, end, offset_delta, timestamp_delta, key, length < 0)))
    return cuts


def join_records(
    header: BatchHeader, data: bytes, kept: Sequence[RecordCut], *, delete_horizon_ms: int | None
) -> tuple[bytes, BatchHeader]:
    """The uncompressed records `kept` (at least one) of a batch, and the header they want.

    Base offset, last offset and producer stay, so that sequence numbers are what they were (KIP-98). With
    `delete_horizon_ms`, that becomes the base of the timestamps (KIP-534); None leaves base and horizon as they are.
    Length and CRC of the header are for `assemble_batch` to set.
    """
    base_timestamp = header.base_timestamp
    if delete_horizon_ms is None:
        payload = _joined(data, kept)
        attributes = header.attributes
    else:
        attributes = header.attributes | DELETE_HORIZON_FLAG
        shift = base_timestamp - delete_horizon_ms
        payload = b"".join([_shifted(data, cut, shift) for cut in kept])
    max_timestamp = header.max_timestamp
    if header.timestamp_type == CREATE_TIME:
        latest = max([cut.timestamp_delta for cut in kept])
        max_timestamp = max(NO_TIMESTAMP, base_timestamp + latest)
    changed = header._replace(
        attributes=attributes,
        base_timestamp=base_timestamp if delete_horizon_ms is None else delete_horizon_ms,
        max_timestamp=max_timestamp,
        record_count=len(kept),
    )
    return payload, changed


def assemble_batch(header: BatchHeader, payload: bytes) -> bytearray:
    """The batch of a header and its (compressed) records, with the length and CRC that belong to them."""
    size_bytes = BATCH_HEADER_SIZE + len(payload)
    batch = bytearray(BATCH_HEADER_LAYOUT.pack(*header._replace(batch_length=size_bytes - LOG_OVERHEAD)))
    batch += payload
    set_crc(batch, 0, size_bytes)
    return batch


def _joined(data: bytes, kept: Sequence[RecordCut]) -> bytes:
    """Neighbours are copied as one piece."""
    pieces: list[bytes] = []
    start = end = kept[0].start
    for cut in kept:
        if cut.start != end:
            pieces.append(data[start:end])
            start = cut.start
        end = cut.end
    pieces.append(data[start:end])
    return b"".join(pieces)


def _shifted(data: bytes, cut: RecordCut, shift: int) -> bytes:
    """The record with its timestamp delta `shift` larger."""
    _, behind = read_long_varint(data, cut.body + 1, VARLONG_BYTES_MAX, MASK_64)
    delta = (cut.timestamp_delta + shift - _INT64_MIN) % 2**64 + _INT64_MIN  # wraps, as the reader's sum does
    body = data[cut.body : cut.body + 1] + encode_varint(delta) + data[behind : cut.end]
    return encode_varint(len(body)) + body
