"""Hostile batches, seeded: whatever the bytes, a reader returns or raises a ProtocolError.

One seed is one case: a failure names its seed, and `run_case(codec, seed)` repeats it.
"""

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.batches import NOW_MS, batch_of
from wire.compression import compress
from wire.errors import ProtocolError
from wire.records import (
    BATCH_HEADER_SIZE,
    Compression,
    Record,
    build_batch,
    crc_matches,
    iterate_batches,
    magic_of,
    read_batch_header,
    read_control_type,
    read_end_transaction_marker,
    read_records,
    set_crc,
)

CASES = 4_000
DECOMPRESSED_BYTES_MAX = 64 * 1024
RECORDS = [
    Record(0, NOW_MS, None, b"a value", (("header", b"value"), ("null", None))),
    Record(1, NOW_MS + 70, b"key", None),
    Record(3, NOW_MS - 5, b"k" * 70, b"v" * 300, (("\u00fc\u4e16", b""),)),
    Record(100, NOW_MS + 10**6, b"", b""),
]
INTERESTING_BYTES = (0x00, 0x01, 0x02, 0x7E, 0x7F, 0x80, 0x81, 0xFE, 0xFF)


def flip_bit(data: bytearray, source: random.Random) -> None:
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def set_byte(data: bytearray, source: random.Random) -> None:
    data[source.randrange(len(data))] = source.choice(INTERESTING_BYTES)


def set_number(data: bytearray, source: random.Random) -> None:
    number = source.choice((0, 1, -1, -2, 2**31 - 1, -(2**31), len(data), source.randrange(-(2**31), 2**31)))
    position = source.randrange(len(data))
    data[position : position + 4] = struct.pack(">i", number)


def cut_off(data: bytearray, source: random.Random) -> None:
    del data[source.randrange(len(data)) :]


def cut_out(data: bytearray, source: random.Random) -> None:
    position = source.randrange(len(data))
    del data[position : position + source.randrange(1, 9)]


def insert(data: bytearray, source: random.Random) -> None:
    position = source.randrange(len(data) + 1)
    data[position:position] = source.choice(
        (source.randbytes(source.randrange(1, 9)), b"\xff" * 12, bytes(12))
    )


def repeat(data: bytearray, source: random.Random) -> None:
    start, target = source.randrange(len(data)), source.randrange(len(data))
    data[target:target] = data[start : start + source.randrange(1, 40)]


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bit,
    set_byte,
    set_number,
    cut_off,
    cut_out,
    insert,
    repeat,
)


def mutate(data: bytearray, source: random.Random) -> None:
    for _ in range(source.randrange(1, 4)):
        if data:
            source.choice(MUTATIONS)(data, source)


def hostile_batch(codec: Compression, source: random.Random) -> bytearray:
    """A batch that is wrong in one of three places: anywhere, in its records, or in its compressed bytes."""
    plain = build_batch(RECORDS, base_offset=0)
    place = source.randrange(3)
    if place == 0:
        batch = build_batch(RECORDS, base_offset=0, compression=codec)
        mutate(batch, source)
        if len(batch) >= BATCH_HEADER_SIZE and source.random() < 0.7:
            struct.pack_into(">i", batch, 8, len(batch) - 12)
            set_crc(batch, 0, len(batch))
        return batch
    payload = plain[BATCH_HEADER_SIZE:]
    if place == 1:
        mutate(payload, source)
    packed = bytearray(compress(codec, payload))
    if place == 2:
        mutate(packed, source)
    last_offset_delta = source.choice((RECORDS[-1].offset, RECORDS[-1].offset, 2**31 - 1))
    return batch_of(bytes(packed), len(RECORDS), attributes=codec, last_offset_delta=last_offset_delta)


def examine(batch: bytearray) -> list[Record]:
    """What a broker does with bytes that claim to be batches; the first one's records, if they are sound."""
    magic_of(batch)
    for position, header in iterate_batches(batch):
        crc_matches(batch, position, header)
        assert position + header.size_bytes <= len(batch)
    header = read_batch_header(batch)
    assert header.last_sequence >= -(2**31)
    records = read_records(batch, decompressed_bytes_max=DECOMPRESSED_BYTES_MAX)
    assert len(records) == header.record_count
    assert (
        sum(len(record.key or b"") + len(record.value or b"") for record in records) <= DECOMPRESSED_BYTES_MAX
    )
    for record in records:
        assert header.base_offset <= record.offset <= header.last_offset
        assert -(2**63) <= record.timestamp < 2**63
    return records


def run_case(codec: Compression, seed: int) -> bool:
    """Whether the case's bytes were taken for a batch; raises for anything but a ProtocolError."""
    batch = hostile_batch(codec, random.Random(seed))
    before = bytes(batch)
    try:
        records = examine(batch)
    except ProtocolError:
        return False
    finally:
        assert batch == before, "reading changed the bytes"
    if records:
        # Compaction must be able to write what was read, however odd.
        header = read_batch_header(batch)
        rebuilt = build_batch(records, base_offset=header.base_offset, last_offset=header.last_offset)
        assert read_records(rebuilt, decompressed_bytes_max=0) == records
    return True


@pytest.mark.parametrize("codec", list(Compression))
def test_mutated_batches(codec: Compression) -> None:
    taken = 0
    for seed in range(CASES):
        try:
            taken += run_case(codec, seed)
        except Exception as error:
            error.add_note(f"run_case({codec!r}, {seed})")
            raise
    # Neither answer may be the only one, else the fuzzer reaches nothing.
    assert CASES // 20 < taken < CASES * 19 // 20


@settings(derandomize=True, deadline=None, max_examples=200)
@given(data=st.binary(max_size=150), codec=st.integers(0, 7), count=st.integers(-1, 20))
def test_arbitrary_records(data: bytes, codec: int, count: int) -> None:
    batch = batch_of(data, count, attributes=codec)
    try:
        assert len(read_records(batch, decompressed_bytes_max=1_000)) == count
    except ProtocolError:
        pass


@settings(derandomize=True, deadline=None, max_examples=200)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        examine(bytearray(data))
    except ProtocolError:
        pass


@settings(derandomize=True, deadline=None, max_examples=100)
@given(key=st.none() | st.binary(max_size=8), value=st.none() | st.binary(max_size=8))
def test_arbitrary_control_records(key: bytes | None, value: bytes | None) -> None:
    for reader in (read_control_type, read_end_transaction_marker):
        try:
            reader(Record(0, 0, key, value))
        except ProtocolError:
            pass
