"""Batches and records put together byte by byte, right and wrong ones."""

import struct

from hypothesis import strategies as st

from wire.batch_header import BATCH_HEADER_LAYOUT
from wire.record_writer import encode_varint
from wire.records import BATCH_HEADER_SIZE, LOG_OVERHEAD, BatchHeader, Record, read_records, set_crc

MIB = 1024 * 1024
NOW_MS = 1_700_000_000_000
RECORDS = [
    Record(offset, NOW_MS + offset, b"key", b"value %d" % offset, (("h", None),)) for offset in range(3)
]

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
PAYLOADS = st.none() | st.binary(max_size=200)


def read(buffer: bytes | bytearray | memoryview, position: int = 0) -> list[Record]:
    return read_records(buffer, position, decompressed_bytes_max=MIB)


def batch_of(payload: bytes, record_count: int = 1, **fields: int) -> bytearray:
    """A batch with the given bytes for records and a right checksum."""
    header = BatchHeader(
        base_offset=0,
        batch_length=BATCH_HEADER_SIZE - LOG_OVERHEAD + len(payload),
        partition_leader_epoch=-1,
        magic=2,
        crc=0,
        attributes=0,
        last_offset_delta=record_count - 1,
        base_timestamp=NOW_MS,
        max_timestamp=NOW_MS,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=record_count,
    )._replace(**fields)
    batch = bytearray(BATCH_HEADER_LAYOUT.pack(*header)) + payload
    set_crc(batch, 0, len(batch))
    return batch


def record_bytes(
    *,
    timestamp_delta: bytes = b"\x00",
    offset_delta: int = 0,
    key: bytes = b"\x02k",
    value: bytes = b"\x02v",
    headers: bytes = b"\x00",
    size_error: int = 0,
) -> bytes:
    body = b"\x00" + timestamp_delta + encode_varint(offset_delta) + key + value + headers
    return encode_varint(len(body) + size_error) + body


def legacy_message(magic: int) -> bytes:
    timestamp = struct.pack(">q", NOW_MS) if magic else b""
    message = struct.pack(">Ibb", 0, magic, 0) + timestamp + struct.pack(">ii", -1, -1)
    return struct.pack(">qi", 0, len(message)) + message
