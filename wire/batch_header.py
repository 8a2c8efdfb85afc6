"""The header of a record batch (magic 2): read it, step from batch to batch, edit it in place.

A broker handles batches whole. It needs their 61-byte headers, their checksum, and the few fields
that it sets itself: base offset and partition leader epoch, which the checksum leaves out on purpose,
and the timestamp of topics with log-append time. Records inside are the business of `record_reader`.

Layout: KIP-98, "Message Format"; Kafka: DefaultRecordBatch. Message sets of magic 0 and 1, which
Kafka 4 no longer takes from producers, are recognised and refused (KIP-724).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import construct
from crc32c import crc32c

from wire.compression import Compression, ReadableBuffer
from wire.errors import ErrorCode, ProtocolError
from wire.fixed_layout import FixedLayout

WritableBuffer = bytearray | memoryview

BATCH_HEADER = construct.Struct(
    "base_offset" / construct.Int64sb,
    "batch_length" / construct.Int32sb,  # of what follows this field
    "partition_leader_epoch" / construct.Int32sb,
    "magic" / construct.Int8sb,
    "crc" / construct.Int32ub,  # CRC-32C of everything from the attributes to the batch's end
    "attributes" / construct.Int16sb,
    "last_offset_delta" / construct.Int32sb,
    "base_timestamp" / construct.Int64sb,
    "max_timestamp" / construct.Int64sb,
    "producer_id" / construct.Int64sb,
    "producer_epoch" / construct.Int16sb,
    "base_sequence" / construct.Int32sb,
    "record_count" / construct.Int32sb,
)

BATCH_HEADER_LAYOUT = FixedLayout(BATCH_HEADER)
BATCH_HEADER_SIZE = BATCH_HEADER_LAYOUT.size_bytes

_BASE_OFFSET_AT, _BASE_OFFSET = BATCH_HEADER_LAYOUT.field("base_offset")
_BATCH_LENGTH_AT, _BATCH_LENGTH = BATCH_HEADER_LAYOUT.field("batch_length")
_EPOCH_AT, _EPOCH = BATCH_HEADER_LAYOUT.field("partition_leader_epoch")
_MAGIC_AT, _MAGIC = BATCH_HEADER_LAYOUT.field("magic")
_CRC_AT, _CRC = BATCH_HEADER_LAYOUT.field("crc")
_ATTRIBUTES_AT, _ATTRIBUTES = BATCH_HEADER_LAYOUT.field("attributes")
_MAX_TIMESTAMP_AT, _MAX_TIMESTAMP = BATCH_HEADER_LAYOUT.field("max_timestamp")

LOG_OVERHEAD = _EPOCH_AT
"""Bytes of base offset and length, which `batch_length` does not count."""

HEADER_SIZE_UP_TO_MAGIC = _CRC_AT
"""Bytes after which the magic is known; offset, length and magic stand at the same place in every format."""

CURRENT_MAGIC = 2
LEGACY_MAGICS = (0, 1)
_BATCH_LENGTH_MIN = BATCH_HEADER_SIZE - LOG_OVERHEAD
_LEGACY_LENGTH_MIN = 14
"""What an empty message of magic 0 takes behind its length: crc, magic, attributes, two null lengths."""

NO_TIMESTAMP = -1
NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1
NO_PARTITION_LEADER_EPOCH = -1
SEQUENCE_MAX = 2**31 - 1

CREATE_TIME = 0
LOG_APPEND_TIME = 1

COMPRESSION_MASK = 0x07
TIMESTAMP_TYPE_FLAG = 0x08
TRANSACTIONAL_FLAG = 0x10
CONTROL_FLAG = 0x20
DELETE_HORIZON_FLAG = 0x40

_CODECS = tuple(Compression)


class InvalidBatchError(ProtocolError):
    """Bytes that are not the header of a record batch. `error_code`: what a producer is told."""

    error_code = ErrorCode.CORRUPT_MESSAGE


class LegacyBatchError(InvalidBatchError):
    """A message set of magic 0 or 1, well formed perhaps, but no longer supported."""

    error_code = ErrorCode.INVALID_RECORD

    def __init__(self, magic: int) -> None:
        super().__init__(f"message format v{magic} is not supported")
        self.magic = magic


class UnknownCodecError(InvalidBatchError):
    """Attributes that name a codec which does not exist (Kafka answers UNKNOWN_SERVER_ERROR)."""

    error_code = ErrorCode.INVALID_RECORD

    def __init__(self, number: int) -> None:
        super().__init__(f"unknown compression codec {number}")


def increment_sequence(sequence: int, increment: int) -> int:
    """The sequence number `increment` records later; behind 2^31 - 1 comes 0."""
    return (sequence + increment) % (SEQUENCE_MAX + 1)


class BatchHeader(NamedTuple):
    """The fields of a batch header as they stand in the bytes; offsets absolute, timestamps in ms.

    Nothing but magic and minimum length has been checked: counts, deltas and flags are what the
    sender wrote. A tuple, because `read_batch_header` runs for every batch.
    """

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """Of the whole batch, header included."""
        return self.batch_length + LOG_OVERHEAD

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return increment_sequence(self.base_sequence, self.last_offset_delta)

    @property
    def compression(self) -> Compression:
        """Raises UnknownCodecError for the numbers 5 to 7, which mean nothing."""
        number = self.attributes & COMPRESSION_MASK
        if number >= len(_CODECS):
            raise UnknownCodecError(number)
        return _CODECS[number]

    @property
    def timestamp_type(self) -> int:
        """CREATE_TIME (0) or LOG_APPEND_TIME (1)."""
        return LOG_APPEND_TIME if self.attributes & TIMESTAMP_TYPE_FLAG else CREATE_TIME

    @property
    def is_transactional(self) -> bool:
        return self.attributes & TRANSACTIONAL_FLAG != 0

    @property
    def is_control(self) -> bool:
        return self.attributes & CONTROL_FLAG != 0

    @property
    def has_delete_horizon(self) -> bool:
        return self.attributes & DELETE_HORIZON_FLAG != 0

    @property
    def delete_horizon_ms(self) -> int | None:
        """When the cleaner may drop tombstones and markers (KIP-534); `base_timestamp` then holds it."""
        return self.base_timestamp if self.has_delete_horizon else None

    @property
    def has_producer_id(self) -> bool:
        return self.producer_id > NO_PRODUCER_ID


assert BatchHeader._fields == BATCH_HEADER_LAYOUT.names

_unpack_header = BATCH_HEADER_LAYOUT.unpack_from
_new_tuple = tuple.__new__


def read_batch_header(buffer: ReadableBuffer, offset: int = 0) -> BatchHeader:
    """The header at `offset`; the batch's records need not be in the buffer.

    Raises InvalidBatchError for fewer than 61 bytes, an impossible length or an unknown magic, and
    its kind LegacyBatchError for magic 0 and 1.
    """
    try:
        fields = _unpack_header(buffer, offset)
    except struct.error:
        raise _refusal(buffer, offset) from None
    if fields[3] != CURRENT_MAGIC or fields[1] < _BATCH_LENGTH_MIN:
        raise _refusal(buffer, offset)
    return _new_tuple(BatchHeader, fields)


def _refusal(buffer: ReadableBuffer, offset: int) -> InvalidBatchError:
    """What is wrong with a header that cannot be read; checked in the order in which Kafka checks."""
    left = len(buffer) - offset
    length = _BATCH_LENGTH.unpack_from(buffer, offset + _BATCH_LENGTH_AT)[0] if left >= LOG_OVERHEAD else None
    magic = magic_of(buffer, offset) if left >= HEADER_SIZE_UP_TO_MAGIC else CURRENT_MAGIC
    if magic in LEGACY_MAGICS and length is not None and length >= _LEGACY_LENGTH_MIN:
        return LegacyBatchError(magic)
    if length is not None and length < _BATCH_LENGTH_MIN:
        return InvalidBatchError(f"batch length {length} is below the least possible {_BATCH_LENGTH_MIN}")
    if magic != CURRENT_MAGIC:
        return InvalidBatchError(f"unknown magic {magic}")
    return InvalidBatchError(f"{left} bytes are too few for a batch header of {BATCH_HEADER_SIZE}")


def magic_of(buffer: ReadableBuffer, position: int = 0) -> int:
    """The message format of the batch or message set at `position`, -128 to 127; 2 is the current one.

    Raises InvalidBatchError when the buffer ends before it.
    """
    try:
        (magic,) = _MAGIC.unpack_from(buffer, position + _MAGIC_AT)
    except struct.error:
        raise InvalidBatchError("the buffer ends before the magic of a batch") from None
    return int(magic)


def iterate_batches(buffer: ReadableBuffer, position: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """The batches that lie complete in the buffer, each with its position, first to last.

    An incomplete one at the end is no error and is left out: fetch responses are cut anywhere, and
    Kafka reads produce requests the same way. The last position plus size tells how far the complete
    ones reach. Raises as `read_batch_header` does, once the batches before have been given out.
    """
    end = len(buffer)
    while end - position >= BATCH_HEADER_SIZE:
        fields = _unpack_header(buffer, position)
        if fields[3] != CURRENT_MAGIC or fields[1] < _BATCH_LENGTH_MIN:
            raise _refusal(buffer, position)
        next_position = position + LOG_OVERHEAD + fields[1]
        if next_position > end:
            return
        yield position, _new_tuple(BatchHeader, fields)
        position = next_position
    # Too short for a batch, yet perhaps a whole message of an older format, or no batch at all.
    if end - position >= LOG_OVERHEAD:
        (length,) = _BATCH_LENGTH.unpack_from(buffer, position + _BATCH_LENGTH_AT)
        if length < _BATCH_LENGTH_MIN:
            raise _refusal(buffer, position)
    if end - position >= HEADER_SIZE_UP_TO_MAGIC and magic_of(buffer, position) != CURRENT_MAGIC:
        raise _refusal(buffer, position)


def crc_matches(buffer: ReadableBuffer, position: int, header: BatchHeader) -> bool:
    """Whether the bytes of the batch at `position` have the checksum that its header states.

    False also when the buffer ends before the batch does.
    """
    end = position + header.size_bytes
    return len(buffer) >= end and crc32c(memoryview(buffer)[position + _ATTRIBUTES_AT : end]) == header.crc


def set_base_offset(buffer: WritableBuffer, position: int, base_offset: int) -> None:
    """Give the batch at `position` its place in the log. The checksum does not cover it."""
    _BASE_OFFSET.pack_into(buffer, position + _BASE_OFFSET_AT, base_offset)


def set_partition_leader_epoch(buffer: WritableBuffer, position: int, leader_epoch: int) -> None:
    """Note in the batch at `position` which leader appended it. The checksum does not cover it."""
    _EPOCH.pack_into(buffer, position + _EPOCH_AT, leader_epoch)


def set_log_append_time(
    buffer: WritableBuffer, position: int, header: BatchHeader, timestamp_ms: int
) -> None:
    """Turn the batch at `position`, whose header was `header`, into one with log-append time.

    All its records now have this timestamp, whatever they say themselves.
    """
    set_max_timestamp(buffer, position, header, LOG_APPEND_TIME, timestamp_ms)


def set_max_timestamp(
    buffer: WritableBuffer, position: int, header: BatchHeader, timestamp_type: int, max_timestamp_ms: int
) -> None:
    """Set timestamp type and maximum timestamp of the batch at `position`, whose header was `header`.

    The checksum, which covers both, is computed anew unless nothing changes. Kafka: setMaxTimestamp,
    which a leader calls for every batch: with CREATE_TIME too, so a producer cannot claim the other type.
    """
    if header.timestamp_type == timestamp_type and header.max_timestamp == max_timestamp_ms:
        return
    attributes = header.attributes & ~TIMESTAMP_TYPE_FLAG
    if timestamp_type == LOG_APPEND_TIME:
        attributes |= TIMESTAMP_TYPE_FLAG
    _ATTRIBUTES.pack_into(buffer, position + _ATTRIBUTES_AT, attributes)
    _MAX_TIMESTAMP.pack_into(buffer, position + _MAX_TIMESTAMP_AT, max_timestamp_ms)
    set_crc(buffer, position, header.size_bytes)


def set_crc(buffer: WritableBuffer, position: int, size_bytes: int) -> None:
    """Compute the checksum of the batch of `size_bytes` at `position` and write it into its header."""
    with memoryview(buffer) as view, view[position + _ATTRIBUTES_AT : position + size_bytes] as covered:
        _CRC.pack_into(buffer, position + _CRC_AT, crc32c(covered))
