"""Headers of record batches: read, step from batch to batch, checksum, edits in place."""

from collections.abc import Callable

import pytest
from construct import Container
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.batches import NOW_MS, RECORDS, batch_of, legacy_message, read, record_bytes
from wire import batch_header, control_records
from wire.errors import ErrorCode
from wire.fixed_layout import FixedLayout
from wire.records import (
    BATCH_HEADER,
    BATCH_HEADER_SIZE,
    CREATE_TIME,
    HEADER_SIZE_UP_TO_MAGIC,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    NO_SEQUENCE,
    SEQUENCE_MAX,
    BatchHeader,
    Compression,
    InvalidBatchError,
    LegacyBatchError,
    UnknownCodecError,
    build_batch,
    crc_matches,
    increment_sequence,
    iterate_batches,
    magic_of,
    read_batch_header,
    set_base_offset,
    set_crc,
    set_log_append_time,
    set_max_timestamp,
    set_partition_leader_epoch,
)

derandomized = settings(derandomize=True, deadline=None, max_examples=100)
int64s = st.integers(-(2**63), 2**63 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
int16s = st.integers(-(2**15), 2**15 - 1)


# --- the header -----------------------------------------------------------------------------------

headers = st.builds(
    BatchHeader,
    base_offset=int64s,
    batch_length=st.integers(BATCH_HEADER_SIZE - LOG_OVERHEAD, 2**31 - 1),
    partition_leader_epoch=int32s,
    magic=st.just(2),
    crc=st.integers(0, 2**32 - 1),
    attributes=int16s,
    last_offset_delta=int32s,
    base_timestamp=int64s,
    max_timestamp=int64s,
    producer_id=int64s,
    producer_epoch=int16s,
    base_sequence=int32s,
    record_count=int32s,
)


@derandomized
@given(header=headers)
def test_the_unpacker_and_the_construct_are_one_schema(header: BatchHeader) -> None:
    data = BATCH_HEADER.build(header._asdict())
    assert len(data) == BATCH_HEADER_SIZE == BATCH_HEADER.sizeof() == 61
    assert read_batch_header(data) == header
    assert Container(read_batch_header(b"..." + data, 3)._asdict()) == BATCH_HEADER.parse(data)


@pytest.mark.parametrize(
    "schema",
    [BATCH_HEADER, control_records.CONTROL_RECORD_KEY, control_records.END_TRANSACTION_MARKER_VALUE],
)
def test_single_fields_stand_where_the_construct_puts_them(schema: object) -> None:
    layout = FixedLayout(schema)
    values = {name: 3 + number for number, name in enumerate(layout.names)}
    data = layout.schema.build(values)
    for name, value in values.items():
        position, field = layout.field(name)
        assert field.unpack_from(data, position) == (value,)
    with pytest.raises(KeyError):
        layout.field("no such field")


def test_fields_have_the_places_that_kafka_documents() -> None:
    assert (LOG_OVERHEAD, HEADER_SIZE_UP_TO_MAGIC) == (12, 17)
    positions = {name: batch_header.BATCH_HEADER_LAYOUT.field(name)[0] for name in BatchHeader._fields}
    assert list(positions.values()) == [0, 8, 12, 16, 17, 21, 23, 27, 35, 43, 51, 53, 57]


def test_what_a_header_tells() -> None:
    header = read_batch_header(
        build_batch(
            RECORDS,
            base_offset=0,
            producer_id=7,
            producer_epoch=1,
            base_sequence=SEQUENCE_MAX - 1,
            partition_leader_epoch=5,
        )
    )._replace(base_offset=100)
    assert (header.last_offset, header.next_offset) == (102, 103)
    assert header.last_sequence == 0
    assert (header.producer_id, header.producer_epoch, header.has_producer_id) == (7, 1, True)
    assert (header.record_count, header.partition_leader_epoch) == (3, 5)
    assert (header.base_timestamp, header.max_timestamp) == (NOW_MS, NOW_MS + 2)
    assert header.delete_horizon_ms is None
    assert not (header.is_control or header.is_transactional or header.has_delete_horizon)
    assert header.timestamp_type == CREATE_TIME
    assert header.compression is Compression.NONE


@pytest.mark.parametrize(
    ("attributes", "name", "value"),
    [
        *((int(codec), "compression", codec) for codec in Compression),
        (0x08, "timestamp_type", LOG_APPEND_TIME),
        (0x10, "is_transactional", True),
        (0x20, "is_control", True),
        (0x40, "has_delete_horizon", True),
        (0x40, "delete_horizon_ms", NOW_MS),
        (0x80, "is_control", False),
        (-32768 | 0x20, "is_control", True),
    ],
)
def test_attributes(attributes: int, name: str, value: object) -> None:
    header = read_batch_header(batch_of(record_bytes(), attributes=attributes))
    assert getattr(header, name) == value


@pytest.mark.parametrize("number", [5, 6, 7])
def test_unknown_codecs(number: int) -> None:
    batch = batch_of(record_bytes(), attributes=number)
    with pytest.raises(UnknownCodecError, match=str(number)):
        read_batch_header(batch).compression  # noqa: B018
    with pytest.raises(UnknownCodecError):
        read(batch)


@pytest.mark.parametrize(
    ("base", "increment", "expected"),
    [(0, 4, 4), (SEQUENCE_MAX, 1, 0), (SEQUENCE_MAX - 2, 5, 2), (5, 0, 5), (SEQUENCE_MAX, 0, SEQUENCE_MAX)],
)
def test_sequence_numbers_begin_again_at_0(base: int, increment: int, expected: int) -> None:
    assert increment_sequence(base, increment) == expected
    header = read_batch_header(batch_of(b"", base_sequence=base, last_offset_delta=increment))
    assert header.last_sequence == expected


@pytest.mark.parametrize(("producer_id", "expected"), [(-1, False), (0, True), (2**63 - 1, True)])
def test_producer_ids_begin_at_0(producer_id: int, expected: bool) -> None:
    assert read_batch_header(batch_of(b"", producer_id=producer_id)).has_producer_id is expected


def test_without_a_sequence_there_is_no_last_one() -> None:
    assert read_batch_header(build_batch(RECORDS, base_offset=0)).last_sequence == NO_SEQUENCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_length": 48}, "48"),
        ({"batch_length": -1}, "-1"),
        ({"batch_length": -(2**31)}, "-2147483648"),
        ({"magic": 3}, "magic 3"),
        ({"magic": -1}, "magic -1"),
        ({"magic": 0, "batch_length": 13}, "13"),
    ],
)
def test_impossible_headers(change: dict[str, int], message: str) -> None:
    batch = batch_of(record_bytes(), **change)
    for attempt in (read_batch_header, read, lambda buffer: list(iterate_batches(buffer))):
        with pytest.raises(InvalidBatchError, match=message) as caught:
            attempt(batch)
        assert caught.value.error_code == ErrorCode.CORRUPT_MESSAGE


def test_a_header_that_is_cut_off() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    for size in range(BATCH_HEADER_SIZE):
        with pytest.raises(InvalidBatchError, match=f"{size} bytes"):
            read_batch_header(batch[:size])
    assert read_batch_header(batch[:BATCH_HEADER_SIZE]) == read_batch_header(batch)
    with pytest.raises(InvalidBatchError):
        read_batch_header(batch, len(batch) + 5)


# --- older formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("magic", [0, 1])
def test_older_message_formats_are_recognised(magic: int) -> None:
    message = legacy_message(magic)
    assert len(message) < BATCH_HEADER_SIZE
    for buffer in (message, message * 5, message + bytes(100)):
        assert magic_of(buffer) == magic
        for attempt in (read_batch_header, read, lambda data: list(iterate_batches(data))):
            with pytest.raises(LegacyBatchError) as caught:
                attempt(buffer)
            assert caught.value.magic == magic
            assert caught.value.error_code == ErrorCode.INVALID_RECORD


def test_the_magic_is_at_the_same_place_in_every_format() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    assert magic_of(batch) == 2
    assert magic_of(legacy_message(1) + batch, len(legacy_message(1))) == 2
    with pytest.raises(InvalidBatchError):
        magic_of(batch[:16])


# --- from batch to batch --------------------------------------------------------------------------


def test_batches_follow_one_another() -> None:
    batches = [build_batch(RECORDS[:count], base_offset=0) for count in (1, 3, 2)]
    found = list(iterate_batches(b"".join(batches)))
    assert [header.record_count for _, header in found] == [1, 3, 2]
    assert [position for position, _ in found] == [0, len(batches[0]), len(batches[0]) + len(batches[1])]
    assert list(iterate_batches(b"".join(batches), found[1][0])) == found[1:]
    assert list(iterate_batches(b"")) == []


def test_an_incomplete_batch_at_the_end_is_left_out() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    for size in range(len(batch)):
        assert [position for position, _ in iterate_batches(batch + batch[:size])] == [0]


@pytest.mark.parametrize(
    "tail",
    [
        batch_of(record_bytes(), magic=9),
        batch_of(record_bytes(), magic=9)[:17],
        batch_of(record_bytes(), batch_length=13)[:12],
        batch_of(record_bytes(), batch_length=-1)[:40],
        legacy_message(1),
    ],
)
def test_what_is_no_batch_is_found_behind_one_that_is(tail: bytes) -> None:
    batches = iterate_batches(bytes(build_batch(RECORDS, base_offset=0)) + tail)
    assert next(batches)[0] == 0
    with pytest.raises(InvalidBatchError):
        next(batches)


# --- checksum and edits in place ------------------------------------------------------------------


def test_the_checksum_covers_everything_from_the_attributes_on() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    header = read_batch_header(batch)
    assert crc_matches(batch, 0, header)
    for position in range(21, len(batch)):
        batch[position] ^= 0x10
        assert not crc_matches(batch, 0, header)
        batch[position] ^= 0x10
    assert not crc_matches(batch, 0, header._replace(crc=header.crc ^ 1))
    assert not crc_matches(batch[:-1], 0, header)
    short = batch[:-1]
    set_crc(short, 0, len(short))
    assert not crc_matches(short, 0, read_batch_header(short))
    assert not crc_matches(batch, 1, header)


@pytest.mark.parametrize("writable", [bytearray, lambda data: memoryview(bytearray(data))])
def test_offset_and_epoch_are_set_without_touching_the_checksum(
    writable: Callable[[bytearray], bytearray | memoryview],
) -> None:
    batch = build_batch(RECORDS, base_offset=0)
    buffer = writable(batch * 2)
    set_base_offset(buffer, len(batch), 2**40)
    set_partition_leader_epoch(buffer, len(batch), 77)
    expected = read_batch_header(batch)._replace(base_offset=2**40, partition_leader_epoch=77)
    assert read_batch_header(buffer, len(batch)) == expected
    assert crc_matches(buffer, len(batch), expected)
    assert buffer[: len(batch)] == batch
    moved = [record._replace(offset=record.offset + 2**40) for record in RECORDS]
    assert read(buffer, len(batch)) == moved


def test_log_append_time_is_every_records_time() -> None:
    batch = build_batch(RECORDS, base_offset=0, is_transactional=True, compression=Compression.LZ4)
    before = bytearray(batch)
    header = read_batch_header(batch)
    set_log_append_time(batch, 0, header, 123)
    changed = read_batch_header(batch)
    assert (changed.timestamp_type, changed.max_timestamp) == (LOG_APPEND_TIME, 123)
    assert changed.is_transactional
    assert changed.compression is Compression.LZ4
    assert crc_matches(batch, 0, changed)
    assert read(batch) == [record._replace(timestamp=123) for record in RECORDS]
    set_max_timestamp(batch, 0, changed, CREATE_TIME, header.max_timestamp)
    assert batch == before


def test_one_batch_among_others_gets_a_timestamp() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    buffer = memoryview(batch * 3)
    set_log_append_time(buffer, len(batch), read_batch_header(batch), 123)
    assert [header.max_timestamp for _, header in iterate_batches(buffer)] == [NOW_MS + 2, 123, NOW_MS + 2]
    assert all(crc_matches(buffer, position, header) for position, header in iterate_batches(buffer))


def test_a_timestamp_that_does_not_change_costs_no_checksum() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    header = read_batch_header(batch)
    batch[-1] ^= 1
    set_max_timestamp(batch, 0, header, CREATE_TIME, header.max_timestamp)
    assert read_batch_header(batch) == header
    assert not crc_matches(batch, 0, header)


def test_edits_leave_no_view_behind_that_would_keep_the_buffer_from_growing() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    header = read_batch_header(batch)
    assert crc_matches(batch, 0, header)
    set_log_append_time(batch, 0, header, 1)
    read(batch)
    batch += b"more"
