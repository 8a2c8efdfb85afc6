"""The codecs of record batches: gzip, snappy, lz4 and zstd, both ways, with a bound on what comes out.

What is written is what Apache Kafka's Java client writes (snappy in the framing of the xerial
library, lz4 frames of independent 64 KiB blocks), so that every client reads it. What is read is
anything that Kafka's own readers take: gzip of several members, snappy with the framing or without
(librdkafka writes raw blocks), zstd of several frames, any of them without a content size.

A decompressor works in steps and stops at its bound, so a batch that swells a million times costs
no more than the bound. Kafka: `org.apache.kafka.common.compress`, KIP-110 (zstd), KIP-390 (levels).
"""

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import cramjam
import lz4.frame
import zstandard

from wire.errors import ErrorCode, ProtocolError

ReadableBuffer = bytes | bytearray | memoryview


class CorruptRecordError(ProtocolError):
    """Compressed data or a record that does not follow its format. `error_code`: what a producer is told.

    Kafka answers INVALID_RECORD for a malformed record. For data that does not decompress it answers
    UNKNOWN_SERVER_ERROR, which stops an idempotent producer; here that is INVALID_RECORD as well.
    """

    error_code = ErrorCode.INVALID_RECORD


class DecompressionLimitError(ProtocolError):
    """Data that decompresses to more than the bound its reader set."""

    error_code = ErrorCode.INVALID_RECORD

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"decompresses to more than the allowed {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class Compression(IntEnum):
    """A codec, numbered as in the low three bits of a batch's attributes. Names: Kafka's, in upper case."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class CompressionLevels(NamedTuple):
    """The levels that a codec takes; `default` is valid even where it lies outside the range (gzip's -1)."""

    minimum: int
    maximum: int
    default: int

    def allows(self, level: int) -> bool:
        return self.minimum <= level <= self.maximum or level == self.default


COMPRESSION_LEVELS = {
    Compression.GZIP: CompressionLevels(minimum=1, maximum=9, default=-1),
    Compression.LZ4: CompressionLevels(minimum=1, maximum=17, default=9),
    Compression.ZSTD: CompressionLevels(minimum=-131072, maximum=22, default=3),
}
"""The ranges of `compression.gzip.level`, `compression.lz4.level` and `compression.zstd.level`."""


def compress(codec: Compression, data: ReadableBuffer, level: int | None = None) -> bytes:
    """`data` as `codec` writes it; `level` None is the codec's default.

    Raises ValueError for a level that `COMPRESSION_LEVELS` does not allow.
    """
    levels = COMPRESSION_LEVELS.get(codec)
    if level is not None and (levels is None or not levels.allows(level)):
        raise ValueError(f"{codec.name.lower()} has no compression level {level}")
    if codec is Compression.NONE:
        return bytes(data)
    if codec is Compression.SNAPPY:
        return _compress_snappy(data)
    assert levels is not None
    return _COMPRESSORS[codec](data, levels.default if level is None else level)


def decompress(codec: Compression, data: ReadableBuffer, limit_bytes: int) -> bytes:
    """What `data` holds, at most `limit_bytes` of it.

    Raises DecompressionLimitError when there is more, CorruptRecordError when `data` is malformed
    or ends early. Memory: about twice the result while its pieces are joined, never much more than
    twice `limit_bytes`.
    """
    return _DECOMPRESSORS[codec](data, limit_bytes)


# --- reading in steps -------------------------------------------------------------------------------

FIRST_STEP_BYTES = 64 * 1024
INPUT_SLICE_BYTES = 16 * 1024


def _drain(read: Callable[[int], bytes], limit_bytes: int) -> bytes:
    """All that `read(n)` gives (at most n bytes a call, nothing at the end), in steps that double."""
    pieces = []
    produced = 0
    step_bytes = FIRST_STEP_BYTES
    # One byte more than allowed is asked for, so that "exactly full" and "too much" can be told apart.
    while piece := read(min(step_bytes, limit_bytes + 1 - produced)):
        produced += len(piece)
        if produced > limit_bytes:
            raise DecompressionLimitError(limit_bytes)
        pieces.append(piece)
        step_bytes *= 2
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _copy(data: ReadableBuffer, limit_bytes: int) -> bytes:
    if len(data) > limit_bytes:
        raise DecompressionLimitError(limit_bytes)
    return bytes(data)


# --- gzip -------------------------------------------------------------------------------------------

_GZIP_WINDOW_BITS = 15 + 16  # zlib's way to ask for a gzip header and trailer
_GZIP_MAGIC = b"\x1f\x8b"


def _compress_gzip(data: ReadableBuffer, level: int) -> bytes:
    return zlib.compress(data, level, wbits=_GZIP_WINDOW_BITS)


class _GzipReader:
    """Reads the members of a gzip file one after the other.

    As java.util.zip.GZIPInputStream does, it takes bytes behind a complete member that do not begin
    another one for padding.
    """

    def __init__(self, data: ReadableBuffer) -> None:
        self._view = memoryview(data)
        self._position = 0
        self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)

    def read(self, size_bytes: int) -> bytes:
        while True:
            if self._member.eof:
                if self._view[self._position : self._position + 2] != _GZIP_MAGIC:
                    return b""
                self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            # Input goes in by slices because zlib hands back what it did not take as a copy: with
            # the whole rest each time, a thousand tiny members would copy it a thousand times.
            source = self._view[self._position : self._position + INPUT_SLICE_BYTES]
            piece = self._member.decompress(source, size_bytes)
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._position += len(source) - len(rest)
            if piece:
                return piece
            if not self._member.eof and not source:
                raise CorruptRecordError("gzip data ends early")


def _decompress_gzip(data: ReadableBuffer, limit_bytes: int) -> bytes:
    try:
        return _drain(_GzipReader(data).read, limit_bytes)
    except zlib.error as error:
        raise CorruptRecordError(f"gzip: {error}") from None


# --- snappy -----------------------------------------------------------------------------------------

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)  # version, oldest version that can read it
_XERIAL_BLOCK_BYTES = 32 * 1024
_INT32 = struct.Struct(">i")
(_XERIAL_MAGIC_AS_LENGTH,) = _INT32.unpack_from(_XERIAL_MAGIC)


def _compress_snappy(data: ReadableBuffer) -> bytes:
    view = memoryview(data)
    parts = [_XERIAL_HEADER]
    for start in range(0, len(view), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(view[start : start + _XERIAL_BLOCK_BYTES]))
        parts += (_INT32.pack(len(block)), block)
    return b"".join(parts)


def _decompress_snappy(data: ReadableBuffer, limit_bytes: int) -> bytes:
    view = memoryview(data)
    if view[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return _decompress_snappy_block(view, 0, limit_bytes)
    if len(view) < len(_XERIAL_HEADER):
        raise CorruptRecordError("snappy framing ends within its header")
    pieces = []
    produced = 0
    position = len(_XERIAL_HEADER)
    while position < len(view):
        try:
            (length,) = _INT32.unpack_from(view, position)
        except struct.error:
            raise CorruptRecordError("snappy framing ends within a block length") from None
        if length == _XERIAL_MAGIC_AS_LENGTH:  # a stream appended to a stream brings its own header
            position += len(_XERIAL_HEADER)
            continue
        position += _INT32.size
        if not 0 < length <= len(view) - position:
            raise CorruptRecordError(f"snappy block of {length} bytes, {len(view) - position} are left")
        piece = _decompress_snappy_block(view[position : position + length], produced, limit_bytes)
        pieces.append(piece)
        produced += len(piece)
        position += length
    return b"".join(pieces)


def _decompress_snappy_block(block: memoryview, produced: int, limit_bytes: int) -> bytes:
    """One raw block; its decompressed length stands in front and is checked before anything is allocated."""
    try:
        if produced + cramjam.snappy.decompress_raw_len(block) > limit_bytes:
            raise DecompressionLimitError(limit_bytes)
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise CorruptRecordError(str(error)) from None


# --- lz4 --------------------------------------------------------------------------------------------

_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_FLAGS_AT = 4
_LZ4_INDEPENDENT = 0x20
_LZ4_FAST = 0
_LZ4_HIGH_COMPRESSION_LEVELS = range(3, 13)


def _compress_lz4(data: ReadableBuffer, level: int) -> bytes:
    # Kafka's default level is its number for the fast compressor; every other one is lz4's
    # high-compression mode, where liblz4 has no levels below 3 or above 12.
    if level == COMPRESSION_LEVELS[Compression.LZ4].default:
        level = _LZ4_FAST
    else:
        level = min(max(level, _LZ4_HIGH_COMPRESSION_LEVELS[0]), _LZ4_HIGH_COMPRESSION_LEVELS[-1])
    compressed: bytes = lz4.frame.compress(
        data,
        compression_level=level,
        block_size=lz4.frame.BLOCKSIZE_MAX64KB,
        block_linked=False,  # the Java client refuses blocks that depend on one another
        store_size=False,
    )
    return compressed


class _Lz4Reader:
    """Reads one lz4 frame; like the Java client it ends with the frame, whatever follows."""

    def __init__(self, data: ReadableBuffer) -> None:
        self._rest = memoryview(data)
        self._context = lz4.frame.create_decompression_context()
        self._finished = False

    def read(self, size_bytes: int) -> bytes:
        while not self._finished:
            piece: bytes
            piece, taken, self._finished = lz4.frame.decompress_chunk(
                self._context, self._rest, max_length=size_bytes
            )
            self._rest = self._rest[taken:]
            if piece:
                return piece
            if not taken and not self._finished:
                raise CorruptRecordError("lz4 frame ends early")
        return b""


def has_dependent_blocks(lz4_frame: ReadableBuffer) -> bool:
    """Whether blocks of the frame need what comes before them, which Kafka's readers refuse. False for no frame."""
    head = bytes(lz4_frame[: _LZ4_FLAGS_AT + 1])
    return (
        len(head) > _LZ4_FLAGS_AT
        and head.startswith(_LZ4_MAGIC)
        and not head[_LZ4_FLAGS_AT] & _LZ4_INDEPENDENT
    )


def _decompress_lz4(data: ReadableBuffer, limit_bytes: int) -> bytes:
    try:
        return _drain(_Lz4Reader(data).read, limit_bytes)
    except RuntimeError as error:  # all that the lz4 package raises
        raise CorruptRecordError(f"lz4: {error}") from None


# --- zstd -------------------------------------------------------------------------------------------

_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SKIPPABLE_MAGIC = 0x184D2A50  # to ...5F
_ZSTD_RUN_BLOCK = 1
_UINT32_LITTLE = struct.Struct("<I")


def _compress_zstd(data: ReadableBuffer, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(data)


def _decompress_zstd(data: ReadableBuffer, limit_bytes: int) -> bytes:
    view = memoryview(data)
    # The streaming reader takes data that ends early for data that ends. So the frames are walked
    # first; that costs one step per 128 KiB of content.
    try:
        position = 0
        while position < len(view) or position == 0:
            position = _end_of_zstd_frame(view, position)
    except (struct.error, IndexError):
        position = len(view) + 1
    if position > len(view):
        raise CorruptRecordError("zstd frame ends early")
    try:
        with zstandard.ZstdDecompressor().stream_reader(view, read_across_frames=True) as reader:
            return _drain(reader.read, limit_bytes)
    except zstandard.ZstdError as error:
        raise CorruptRecordError(str(error)) from None


def _end_of_zstd_frame(view: memoryview, position: int) -> int:
    """Where the frame at `position` ends by its block headers (RFC 8878, section 3.1)."""
    (magic,) = _UINT32_LITTLE.unpack_from(view, position)
    position += 4
    if magic & ~0xF == _ZSTD_SKIPPABLE_MAGIC:
        (size,) = _UINT32_LITTLE.unpack_from(view, position)
        return position + 4 + int(size)
    if magic != _ZSTD_MAGIC:
        raise CorruptRecordError("not a zstd frame")
    descriptor = view[position]
    is_single_segment = descriptor >> 5 & 1
    content_size_bytes = (is_single_segment, 2, 4, 8)[descriptor >> 6]
    dictionary_id_bytes = (0, 1, 2, 4)[descriptor & 3]
    position += 1 + (not is_single_segment) + dictionary_id_bytes + content_size_bytes
    is_last = 0
    while not is_last:
        block = view[position] | view[position + 1] << 8 | view[position + 2] << 16
        is_last = block & 1
        position += 3 + (1 if block >> 1 & 3 == _ZSTD_RUN_BLOCK else block >> 3)
    return position + (4 if descriptor >> 2 & 1 else 0)


_COMPRESSORS: dict[Compression, Callable[[ReadableBuffer, int], bytes]] = {
    Compression.GZIP: _compress_gzip,
    Compression.LZ4: _compress_lz4,
    Compression.ZSTD: _compress_zstd,
}
_DECOMPRESSORS: dict[Compression, Callable[[ReadableBuffer, int], bytes]] = {
    Compression.NONE: _copy,
    Compression.GZIP: _decompress_gzip,
    Compression.SNAPPY: _decompress_snappy,
    Compression.LZ4: _decompress_lz4,
    Compression.ZSTD: _decompress_zstd,
}
