"""Record batches -> records.

The code below a batch's header is per record and therefore written flat: one-byte varints, which
most of them are, cost a table look-up. It accepts what Kafka's DefaultRecord accepts (a negative key
or value length is null, overlong varints wrap) with one exception: offsets have to rise and stay within
`last_offset_delta`. Kafka lets an uncompressed batch break that, and compaction then stumbles over it.
"""

from wire.batch_header import (
    BATCH_HEADER_SIZE,
    LOG_APPEND_TIME,
    BatchHeader,
    InvalidBatchError,
    read_batch_header,
)
from wire.compression import Compression, CorruptRecordError, ReadableBuffer, decompress
from wire.record import HEADER_KEY_ERRORS, RECORD_SIZE_MIN, Header, Record

_ZIGZAG = tuple((byte >> 1) ^ -(byte & 1) for byte in range(0x80))
"""What a one-byte varint means."""

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1
_VARINT_BYTES_MAX = 5
VARLONG_BYTES_MAX = 10
MASK_64 = 2**64 - 1


def read_records(buffer: ReadableBuffer, position: int = 0, *, decompressed_bytes_max: int) -> list[Record]:
    """The records of the one batch at `position`, control records included, copied out of `buffer`.

    The checksum is not looked at (`crc_matches`). Raises InvalidBatchError when there is no
    valid header or the batch is incomplete, CorruptRecordError when its content is malformed, and
    DecompressionLimitError when that is larger than `decompressed_bytes_max`, which bounds
    compressed batches only: the others are in memory already.
    """
    header = read_batch_header(buffer, position)
    end = position + header.size_bytes
    if end > len(buffer):
        raise InvalidBatchError(f"batch of {header.size_bytes} bytes, {len(buffer) - position} are there")
    codec = header.compression
    with memoryview(buffer) as view, view[position + BATCH_HEADER_SIZE : end] as payload:
        if header.record_count == 0 and not payload:  # compaction keeps the header of an emptied batch
            return []
        if codec is Compression.NONE:
            return _read_payload(bytes(payload), header)
        return _read_payload(decompress(codec, payload, decompressed_bytes_max), header)


def _read_payload(data: bytes, header: BatchHeader) -> list[Record]:
    if not 0 < header.record_count <= len(data) // RECORD_SIZE_MIN:
        raise CorruptRecordError(f"{header.record_count} records in {len(data)} bytes")
    if header.last_offset > _INT64_MAX:
        raise CorruptRecordError("offsets beyond 2^63 - 1")
    try:
        records, end = _read_all(data, header)
    except IndexError:
        raise CorruptRecordError("the last record ends early") from None
    if end != len(data):
        raise CorruptRecordError(f"{len(data) - end} bytes behind the last of {header.record_count} records")
    return records


def _read_all(data: bytes, header: BatchHeader) -> tuple[list[Record], int]:
    """All records and where they end; IndexError when a record reaches beyond `data`."""
    zigzag = _ZIGZAG
    new_tuple = tuple.__new__  # a third faster than Record()
    base_offset = header.base_offset
    base_timestamp = header.base_timestamp
    log_append_time = header.max_timestamp if header.timestamp_type == LOG_APPEND_TIME else None
    last_offset_delta = header.last_offset_delta
    previous_delta = -1
    records: list[Record] = []
    position = 0
    for _ in range(header.record_count):
        byte = data[position]
        if byte < 0x80:
            size = zigzag[byte]
            position += 1
        else:
            size, position = read_varint(data, position)
        end = position + size
        position += 1  # the record's attributes, of which none is defined

        byte = data[position]
        if byte < 0x80:
            timestamp = base_timestamp + zigzag[byte]
            position += 1
        else:
            delta, position = read_long_varint(data, position, VARLONG_BYTES_MAX, MASK_64)
            timestamp = base_timestamp + delta

        byte = data[position]
        if byte < 0x80:
            offset_delta = zigzag[byte]
            position += 1
        else:
            offset_delta, position = read_varint(data, position)
        if not previous_delta < offset_delta <= last_offset_delta:
            raise CorruptRecordError(
                f"offset delta {offset_delta} behind {previous_delta}, the batch ends at {last_offset_delta}"
            )
        previous_delta = offset_delta

        byte = data[position]
        if byte < 0x80:
            length = zigzag[byte]
            position += 1
        else:
            length, position = read_varint(data, position)
        key = None
        if length >= 0:
            key = data[position : position + length]
            position += length

        byte = data[position]
        if byte < 0x80:
            length = zigzag[byte]
            position += 1
        else:
            length, position = read_varint(data, position)
        value = None
        if length >= 0:
            value = data[position : position + length]
            position += length

        headers: tuple[Header, ...] = ()
        if data[position] == 0:
            position += 1
        else:
            headers, position = _read_headers(data, position, end)
        if position != end:
            raise CorruptRecordError(f"a record of {size} bytes has content of {position - end + size}")
        if log_append_time is not None:
            timestamp = log_append_time
        elif not _INT64_MIN <= timestamp <= _INT64_MAX:
            timestamp = _wrapped(timestamp)
        records.append(new_tuple(Record, (base_offset + offset_delta, timestamp, key, value, headers)))
    return records, position


def _read_headers(data: bytes, position: int, end: int) -> tuple[tuple[Header, ...], int]:
    count, position = read_varint(data, position)
    if not 0 <= count <= (end - position) // 2:  # two lengths at the least
        raise CorruptRecordError(f"{count} headers in {end - position} bytes")
    headers = []
    for _ in range(count):
        length, position = read_varint(data, position)
        if length < 0:
            raise CorruptRecordError("null header key")
        key = data[position : position + length].decode("utf-8", HEADER_KEY_ERRORS)
        position += length
        length, position = read_varint(data, position)
        value = None
        if length >= 0:
            value = data[position : position + length]
            position += length
        headers.append((key, value))
    return tuple(headers), position


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint of 32 bits and the position behind it."""
    raw = data[position]
    if raw >= 0x80:
        byte = data[position + 1]
        if byte >= 0x80:
            return read_long_varint(data, position, _VARINT_BYTES_MAX, 0xFFFF_FFFF)
        raw = raw & 0x7F | byte << 7
        position += 1
    return (raw >> 1) ^ -(raw & 1), position + 1


def read_long_varint(data: bytes, position: int, bytes_max: int, mask: int) -> tuple[int, int]:
    """A zigzag varint of any length up to `bytes_max`, cut to the bits of `mask`."""
    raw = 0
    for shift in range(0, 7 * bytes_max, 7):
        byte = data[position]
        position += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            raw &= mask
            return (raw >> 1) ^ -(raw & 1), position
    raise CorruptRecordError(f"varint of more than {bytes_max} bytes")


def _wrapped(number: int) -> int:
    """`number` as 64-bit arithmetic leaves it: a producer's sum may wrap, and so must ours."""
    return (number - _INT64_MIN) % 2**64 + _INT64_MIN
