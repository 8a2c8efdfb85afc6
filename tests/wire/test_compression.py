"""Codecs: round trips, what other writers make, what bombs and broken data get."""

import gzip
import random
import struct
import tracemalloc
import zlib

import cramjam
import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.compression import (
    COMPRESSION_LEVELS,
    Compression,
    CorruptRecordError,
    DecompressionLimitError,
    compress,
    decompress,
    has_dependent_blocks,
)

MIB = 1024 * 1024
COMPRESSING = [codec for codec in Compression if codec is not Compression.NONE]
TEXT = b"The quick brown fox jumps over the lazy dog. " * 40
all_codecs = pytest.mark.parametrize("codec", list(Compression))
compressing_codecs = pytest.mark.parametrize("codec", COMPRESSING)


def mixed_bytes(size: int) -> bytes:
    """Compressible and incompressible stretches alternating, so that codecs use all their block kinds."""
    source = random.Random(size)
    data = bytearray()
    while len(data) < size:
        data += source.randbytes(5_000) + b"abcdefgh" * 1_000 + bytes(150_000)
    return bytes(data[:size])


@all_codecs
@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, 64 * 1024, 700_000])
def test_what_is_compressed_comes_back(codec: Compression, size: int) -> None:
    data = mixed_bytes(size)
    assert decompress(codec, compress(codec, data), size) == data


@all_codecs
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(codec: Compression, kind: type) -> None:
    assert decompress(codec, kind(compress(codec, kind(TEXT))), 10_000) == TEXT
    inside = memoryview(b"<" + compress(codec, memoryview(b"<" + TEXT + b">")[1:-1]) + b">")[1:-1]
    assert decompress(codec, inside, 10_000) == TEXT


@pytest.mark.parametrize(
    ("codec", "level"),
    [(Compression.GZIP, level) for level in (-1, 1, 9)]
    + [(Compression.LZ4, level) for level in (1, 2, 9, 12, 17)]
    + [(Compression.ZSTD, level) for level in (-131072, -1, 0, 3, 19)],
)
def test_levels_that_kafka_takes(codec: Compression, level: int) -> None:
    assert decompress(codec, compress(codec, TEXT, level), len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("codec", "level"),
    [
        (Compression.GZIP, 0),
        (Compression.GZIP, 10),
        (Compression.GZIP, -2),
        (Compression.LZ4, 0),
        (Compression.LZ4, 18),
        (Compression.ZSTD, 23),
        (Compression.ZSTD, -131073),
        (Compression.SNAPPY, 1),
        (Compression.NONE, 1),
    ],
)
def test_levels_that_kafka_refuses(codec: Compression, level: int) -> None:
    with pytest.raises(ValueError, match=str(level)):
        compress(codec, TEXT, level)


@pytest.mark.parametrize(("codec", "weak", "strong"), [(Compression.GZIP, 1, 9), (Compression.ZSTD, -50, 19)])
def test_the_level_matters(codec: Compression, weak: int, strong: int) -> None:
    data = random.Random(1).choices(b"abcdefgh", k=50_000)
    assert len(compress(codec, bytes(data), strong)) < len(compress(codec, bytes(data), weak))


def test_lz4_level_9_is_the_fast_one() -> None:
    data = bytes(random.Random(1).choices(b"abcd", k=50_000))
    default = compress(Compression.LZ4, data)
    assert compress(Compression.LZ4, data, COMPRESSION_LEVELS[Compression.LZ4].default) == default
    assert default == lz4_frame(data, compression_level=0, block_linked=False, store_size=False)
    assert len(compress(Compression.LZ4, data, 17)) < len(default)


def test_frames_look_as_the_java_client_writes_them() -> None:
    assert compress(Compression.SNAPPY, TEXT)[:16] == b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    # Version 1, independent blocks, no content size, no checksums; blocks of 64 KiB.
    for data in (TEXT, mixed_bytes(200_000)):
        assert compress(Compression.LZ4, data)[:7] == bytes.fromhex("04224d18 60 40 82")
    assert compress(Compression.GZIP, TEXT)[:3] == b"\x1f\x8b\x08"


def test_lz4_frames_of_dependent_blocks_are_known() -> None:
    assert has_dependent_blocks(lz4_frame(LONG, block_linked=True))
    assert not has_dependent_blocks(lz4_frame(LONG, block_linked=False))
    assert not has_dependent_blocks(compress(Compression.LZ4, LONG))
    for no_frame in (b"", b"\x04\x22\x4d\x18", b"\x04\x22\x4d\x19\x00\x00"):
        assert not has_dependent_blocks(no_frame)


def test_snappy_blocks_are_as_large_as_the_java_clients() -> None:
    framed = compress(Compression.SNAPPY, bytes(70_000))
    lengths = []
    position = 16
    while position < len(framed):
        (size,) = struct.unpack_from(">i", framed, position)
        lengths.append(len(bytes(cramjam.snappy.decompress_raw(framed[position + 4 : position + 4 + size]))))
        position += 4 + size
    assert lengths == [32768, 32768, 70_000 - 65536]


# --- what others write ------------------------------------------------------------------------------


def zstd(data: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)  # type: ignore[arg-type]


def lz4_frame(data: bytes, **options: object) -> bytes:
    frame: bytes = lz4.frame.compress(data, **options)
    return frame


SKIPPABLE = struct.pack("<II", 0x184D2A53, 4) + b"note"
LONG = mixed_bytes(300_000)
FOREIGN = {
    "gzip with a name": (
        Compression.GZIP,
        b"\x1f\x8b\x08\x08" + bytes(6) + b"f\0" + gzip.compress(LONG)[10:],
        LONG,
    ),
    "gzip of two members": (Compression.GZIP, gzip.compress(TEXT) + gzip.compress(LONG), TEXT + LONG),
    "gzip with an empty member": (Compression.GZIP, gzip.compress(b"") + gzip.compress(TEXT), TEXT),
    "gzip with padding": (Compression.GZIP, gzip.compress(TEXT) + bytes(9), TEXT),
    "raw snappy": (Compression.SNAPPY, bytes(cramjam.snappy.compress_raw(LONG)), LONG),
    "raw snappy of nothing": (Compression.SNAPPY, b"\x00", b""),
    "two snappy streams": (
        Compression.SNAPPY,
        compress(Compression.SNAPPY, TEXT) + compress(Compression.SNAPPY, LONG),
        TEXT + LONG,
    ),
    "snappy framing with nothing in it": (Compression.SNAPPY, compress(Compression.SNAPPY, b""), b""),
    "lz4 with all checksums": (
        Compression.LZ4,
        lz4_frame(LONG, block_checksum=True, content_checksum=True, block_linked=False),
        LONG,
    ),
    "lz4 with its size": (Compression.LZ4, lz4_frame(LONG, store_size=True), LONG),
    "lz4 in linked blocks": (Compression.LZ4, lz4_frame(LONG, block_linked=True, store_size=False), LONG),
    "lz4 in large blocks": (
        Compression.LZ4,
        lz4_frame(LONG, block_size=lz4.frame.BLOCKSIZE_MAX4MB, store_size=False),
        LONG,
    ),
    "lz4 with something behind": (Compression.LZ4, lz4_frame(TEXT) + lz4_frame(TEXT), TEXT),
    "zstd without its size": (Compression.ZSTD, zstd(LONG, write_content_size=False), LONG),
    "zstd with a checksum": (Compression.ZSTD, zstd(LONG, write_checksum=True), LONG),
    "zstd of several frames": (
        Compression.ZSTD,
        zstd(b"")
        + zstd(TEXT, write_content_size=False)
        + SKIPPABLE
        + zstd(LONG, write_checksum=True)
        + SKIPPABLE,
        TEXT + LONG,
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_other_writers_make(name: str) -> None:
    codec, data, expected = FOREIGN[name]
    assert decompress(codec, data, len(expected)) == expected
    if expected:
        with pytest.raises(DecompressionLimitError):
            decompress(codec, data, len(expected) - 1)


# --- bounds -----------------------------------------------------------------------------------------


@all_codecs
def test_the_limit_is_exact(codec: Compression) -> None:
    data = compress(codec, LONG)
    assert len(decompress(codec, data, len(LONG))) == len(LONG)
    with pytest.raises(DecompressionLimitError) as caught:
        decompress(codec, data, len(LONG) - 1)
    assert caught.value.limit_bytes == len(LONG) - 1
    with pytest.raises(DecompressionLimitError):
        decompress(codec, data, 0)
    assert decompress(codec, compress(codec, b""), 0) == b""


def bomb(codec: Compression) -> bytes:
    """At least 32 MiB, packed as tightly as the codec can."""
    if codec is Compression.SNAPPY:
        return bytes(cramjam.snappy.compress_raw(bytes(32 * MIB)))
    if codec is Compression.GZIP:
        return compress(codec, bytes(32 * MIB), 9)
    if codec is Compression.ZSTD:  # without its size, so that nothing gives it away
        return zstd(bytes(32 * MIB), write_content_size=False)
    return compress(codec, bytes(32 * MIB), 17)


@compressing_codecs
def test_a_bomb_costs_no_more_than_the_limit(codec: Compression) -> None:
    data = bomb(codec)
    limit_bytes = MIB
    tracemalloc.start()
    try:
        with pytest.raises(DecompressionLimitError):
            decompress(codec, data, limit_bytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * limit_bytes


def test_a_framed_snappy_bomb_stops_at_the_block_that_is_too_much() -> None:
    block = bytes(cramjam.snappy.compress_raw(bytes(MIB)))
    framed = compress(Compression.SNAPPY, b"") + (struct.pack(">i", len(block)) + block) * 20
    with pytest.raises(DecompressionLimitError):
        decompress(Compression.SNAPPY, framed, 3 * MIB)
    assert len(decompress(Compression.SNAPPY, framed, 20 * MIB)) == 20 * MIB


LIES = {
    # The length in front says 4 GiB - 1 or 100 KiB, and nothing comes.
    "snappy, too much": (Compression.SNAPPY, b"\xff\xff\xff\xff\x0f", DecompressionLimitError),
    "snappy, too little": (Compression.SNAPPY, b"\xa0\x8d\x06", CorruptRecordError),
    # A content size of 2^60 with one byte of content.
    "zstd": (
        Compression.ZSTD,
        struct.pack("<IBQ", 0xFD2FB528, 0b1110_0000, 2**60) + b"\x09\x00\x00x",
        CorruptRecordError,
    ),
    "lz4": (
        Compression.LZ4,
        struct.pack("<IBBQ", 0x184D2204, 0b0110_1000, 0x40, 2**60) + b"\x00" + struct.pack("<I", 0),
        CorruptRecordError,
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_declared_size_is_not_believed(name: str) -> None:
    codec, data, error = LIES[name]
    tracemalloc.start()
    try:
        with pytest.raises(error):
            decompress(codec, data, 10 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB


def test_thousands_of_empty_gzip_members_are_nothing() -> None:
    assert decompress(Compression.GZIP, gzip.compress(b"") * 3_000 + gzip.compress(b"x"), 1) == b"x"


# --- broken data ------------------------------------------------------------------------------------


@compressing_codecs
def test_data_that_ends_early_is_corrupt(codec: Compression) -> None:
    data = compress(codec, TEXT)
    for size in range(len(data)):
        if codec is Compression.SNAPPY and size == 16:
            continue  # the framing's header alone: a stream without blocks
        with pytest.raises(CorruptRecordError):
            decompress(codec, data[:size], MIB)


@pytest.mark.parametrize("write_content_size", [True, False])
@pytest.mark.parametrize("write_checksum", [True, False])
def test_zstd_frames_of_several_blocks_that_end_early(write_content_size: bool, write_checksum: bool) -> None:
    data = zstd(LONG, write_content_size=write_content_size, write_checksum=write_checksum)
    for size in [*range(20), *range(20, len(data), 977), *range(len(data) - 8, len(data))]:
        with pytest.raises(CorruptRecordError):
            decompress(Compression.ZSTD, zstd(TEXT) + data[:size] if size else b"", 10 * MIB)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (Compression.GZIP, b"not gzip at all"),
        (Compression.GZIP, zlib.compress(TEXT)),
        (Compression.GZIP, gzip.compress(TEXT)[:-8] + bytes(8)),
        (Compression.GZIP, gzip.compress(TEXT) + b"\x1f\x8b\x08"),
        (Compression.SNAPPY, b""),
        (Compression.SNAPPY, b"\x05abc"),
        (Compression.SNAPPY, compress(Compression.SNAPPY, b"") + struct.pack(">i", 0)),
        (Compression.SNAPPY, compress(Compression.SNAPPY, b"") + struct.pack(">i", -1) + b"x"),
        (Compression.SNAPPY, compress(Compression.SNAPPY, b"") + struct.pack(">i", 2**31 - 1) + b"x"),
        (Compression.LZ4, b"not lz4 at all"),
        (Compression.LZ4, b"\x04\x22\x4d\x18\xff\xff\xff\xff"),
        (Compression.ZSTD, b"not zstd at all"),
        (Compression.ZSTD, zstd(TEXT) + b"something else"),
        (Compression.ZSTD, struct.pack("<II", 0x184D2A50, 2**32 - 1)),
        (Compression.ZSTD, zstd(TEXT, write_checksum=True)[:-4] + bytes(4)),
    ],
)
def test_broken_data_is_corrupt(codec: Compression, data: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        decompress(codec, data, 10 * MIB)


@compressing_codecs
@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.binary(max_size=300), limit_bytes=st.integers(0, 2_000))
def test_arbitrary_bytes_give_data_within_the_limit_or_a_protocol_error(
    codec: Compression, data: bytes, limit_bytes: int
) -> None:
    magic = compress(codec, b"")[:7]
    for candidate in (data, magic + data):
        try:
            assert len(decompress(codec, candidate, limit_bytes)) <= limit_bytes
        except (CorruptRecordError, DecompressionLimitError):
            pass
