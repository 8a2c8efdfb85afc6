"""Record batches: headers, edits in place, records, control batches; against real clients and kio."""

import datetime
import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from construct import Container
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kio.records import readers as kio_readers
from kio.records import writers as kio_writers
from kio.records.schema import NewRecordBatch as KioBatch
from kio.records.schema import Record as KioRecord
from kio.records.schema import RecordHeader as KioHeader

from wire import batch_header, control_records
from wire.compression import compress
from wire.errors import ErrorCode
from wire.fixed_layout import FixedLayout
from wire.record_writer import encode_varint
from wire.records import (
    BATCH_HEADER,
    BATCH_HEADER_SIZE,
    CREATE_TIME,
    HEADER_SIZE_UP_TO_MAGIC,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    SEQUENCE_MAX,
    BatchHeader,
    Compression,
    ControlType,
    CorruptRecordError,
    DecompressionLimitError,
    EndTransactionMarker,
    InvalidBatchError,
    LegacyBatchError,
    Record,
    UnknownCodecError,
    build_batch,
    build_empty_batch,
    build_end_transaction_marker,
    crc_matches,
    increment_sequence,
    iterate_batches,
    magic_of,
    read_batch_header,
    read_control_type,
    read_end_transaction_marker,
    read_records,
    set_base_offset,
    set_crc,
    set_log_append_time,
    set_max_timestamp,
    set_partition_leader_epoch,
)

MIB = 1024 * 1024
NOW_MS = 1_700_000_000_000
RECORDS = [
    Record(offset, NOW_MS + offset, b"key", b"value %d" % offset, (("h", None),)) for offset in range(3)
]
derandomized = settings(derandomize=True, deadline=None, max_examples=100)
int64s = st.integers(-(2**63), 2**63 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
int16s = st.integers(-(2**15), 2**15 - 1)


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
    batch = bytearray(batch_header.BATCH_HEADER_LAYOUT.pack(*header)) + payload
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


# --- the header -------------------------------------------------------------------------------------

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


# --- older formats ----------------------------------------------------------------------------------


def legacy_message(magic: int) -> bytes:
    timestamp = struct.pack(">q", NOW_MS) if magic else b""
    message = struct.pack(">Ibb", 0, magic, 0) + timestamp + struct.pack(">ii", -1, -1)
    return struct.pack(">qi", 0, len(message)) + message


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


# --- from batch to batch ----------------------------------------------------------------------------


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


# --- checksum and edits in place --------------------------------------------------------------------


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
    assert not crc_matches(batch, 1, header)


@pytest.mark.parametrize("writable", [bytearray, lambda data: memoryview(bytearray(data))])
def test_offset_and_epoch_are_set_without_touching_the_checksum(
    writable: Callable[[bytes], bytearray | memoryview],
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


# --- records, both ways -----------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
payloads = st.none() | st.binary(max_size=200)
timestamps = st.integers(-1, 2**45) | int64s


@st.composite
def record_lists(draw: st.DrawFn) -> list[Record]:
    base_offset = draw(st.integers(0, 2**62))
    deltas = sorted(draw(st.sets(st.integers(0, 300) | st.integers(0, 2**31 - 1), min_size=1, max_size=8)))
    record_headers = st.lists(st.tuples(texts, payloads), max_size=3).map(tuple)
    return [
        Record(base_offset + delta, draw(timestamps), draw(payloads), draw(payloads), draw(record_headers))
        for delta in deltas
    ]


@derandomized
@given(
    records=record_lists(),
    compression=st.sampled_from(list(Compression)),
    before=st.integers(0, 3),
    delete_horizon_ms=st.none() | int64s,
)
def test_what_is_built_can_be_read(
    records: list[Record], compression: Compression, before: int, delete_horizon_ms: int | None
) -> None:
    base_offset = max(0, records[-1].offset - (2**31 - 1))
    batch = build_batch(
        records, base_offset=base_offset, compression=compression, delete_horizon_ms=delete_horizon_ms
    )
    header = read_batch_header(batch)
    assert header.size_bytes == len(batch)
    assert header.max_timestamp == max(-1, *(record.timestamp for record in records))
    assert (header.base_offset, header.last_offset) == (base_offset, records[-1].offset)
    assert header.delete_horizon_ms == delete_horizon_ms
    assert crc_matches(batch, 0, header)
    buffer = memoryview(b"#" * before + batch + b"behind")
    assert read(buffer, before) == records


@pytest.mark.parametrize(
    "number", [0, -1, 1, 63, 64, -64, -65, 8191, 8192, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
)
def test_varints_of_every_length(number: int) -> None:
    payload = record_bytes(timestamp_delta=encode_varint(number))
    assert read(batch_of(payload, base_timestamp=0))[0].timestamp == number
    if 0 <= number < 2**31:
        payload = record_bytes(offset_delta=number)
        assert read(batch_of(payload, last_offset_delta=number))[0].offset == number


def test_timestamps_that_wrap() -> None:
    # A base and a delta whose sum has more than 64 bits mean what 64-bit arithmetic makes of them.
    payload = record_bytes(timestamp_delta=encode_varint(5))
    (record,) = read(batch_of(payload, base_timestamp=2**63 - 1))
    assert record.timestamp == -(2**63) + 4
    far_apart = [Record(0, -(2**63)), Record(1, 2**63 - 1), Record(2, -1)]
    assert read(build_batch(far_apart, base_offset=0)) == far_apart


def test_nulls_and_empty_bytes_are_different() -> None:
    records = [Record(0, -1), Record(1, -1, b"", b"", (("", b""), ("", None)))]
    assert read(build_batch(records, base_offset=0)) == records


def test_any_negative_length_is_null() -> None:
    minus_two = encode_varint(-2)
    payload = record_bytes(key=minus_two, value=minus_two, headers=b"\x02\x02h" + minus_two)
    assert read(batch_of(payload)) == [Record(0, NOW_MS, None, None, (("h", None),))]


def test_header_keys_that_are_not_text_survive() -> None:
    payload = record_bytes(headers=b"\x02\x06\xff\xc3\x28\x01")
    (record,) = read(batch_of(payload))
    assert record.headers == (("\udcff\udcc3(", None),)
    rebuilt = build_batch([record], base_offset=0)
    assert rebuilt[BATCH_HEADER_SIZE:] == payload


@pytest.mark.parametrize("compression", list(Compression))
def test_the_bound_is_for_compressed_batches(compression: Compression) -> None:
    batch = build_batch([Record(0, NOW_MS, None, bytes(5_000))], base_offset=0, compression=compression)
    if compression is Compression.NONE:
        assert len(read_records(batch, decompressed_bytes_max=0)) == 1
    else:
        assert len(read_records(batch, decompressed_bytes_max=5_100)) == 1
        with pytest.raises(DecompressionLimitError):
            read_records(batch, decompressed_bytes_max=5_000)


NULL = b"\x01"
ONE = record_bytes()
TWO = record_bytes(offset_delta=1)
MALFORMED = {
    "fewer records than declared": batch_of(ONE, 2),
    "more records than declared": batch_of(ONE + TWO, 1),
    "no record declared": batch_of(ONE, 0),
    "negative count": batch_of(ONE, -1, last_offset_delta=0),
    "count beyond what fits": batch_of(ONE, 2**31 - 1, last_offset_delta=2**31 - 1),
    "no records at all": batch_of(b"", 1),
    "record cut off": batch_of(ONE[:-1]),
    "size too small": batch_of(record_bytes(size_error=-1)),
    "size too large": batch_of(record_bytes(size_error=1)),
    "size too large, bytes there": batch_of(record_bytes(size_error=1) + b"\x00"),
    "size negative": batch_of(encode_varint(-1) + ONE),
    "size huge": batch_of(encode_varint(2**31 - 1) + ONE),
    "size with no end": batch_of(b"\xff" * 20),
    "size of six bytes": batch_of(b"\x80\x80\x80\x80\x80\x01" + ONE),
    "timestamp of eleven bytes": batch_of(record_bytes(timestamp_delta=b"\x80" * 10 + b"\x01")),
    "key longer than the record": batch_of(record_bytes(key=b"\x7ek") + TWO, 2),
    "key longer than anything": batch_of(record_bytes(key=encode_varint(2**31 - 1))),
    "value longer than the record": batch_of(record_bytes(value=b"\x7ev") + TWO, 2),
    "offset delta beyond the last": batch_of(record_bytes(offset_delta=1)),
    "offset delta negative": batch_of(record_bytes(offset_delta=-1)),
    "offset delta twice": batch_of(ONE + ONE, 2),
    "offset deltas falling": batch_of(TWO + ONE, 2),
    "last offset delta negative": batch_of(ONE, last_offset_delta=-1),
    "offsets beyond 64 bits": batch_of(ONE + TWO, 2, base_offset=2**63 - 1),
    "header count negative": batch_of(record_bytes(headers=NULL)),
    "header count beyond what fits": batch_of(record_bytes(headers=b"\x04\x02h\x01")),
    "header count huge": batch_of(record_bytes(headers=encode_varint(2**31 - 1))),
    "header key null": batch_of(record_bytes(headers=b"\x02" + NULL + NULL)),
    "header key too long": batch_of(record_bytes(headers=b"\x02\x7eh\x01")),
    "header value too long": batch_of(record_bytes(headers=b"\x02\x02h\x7e")),
    "headers behind the count": batch_of(record_bytes(headers=b"\x02\x02h\x01\x02h\x01")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_records(name: str) -> None:
    batch = MALFORMED[name]
    with pytest.raises(CorruptRecordError) as caught:
        read(batch)
    assert caught.value.error_code == ErrorCode.INVALID_RECORD
    header = read_batch_header(batch)
    fields = {"attributes": Compression.GZIP, "last_offset_delta": header.last_offset_delta}
    packed = compress(Compression.GZIP, batch[BATCH_HEADER_SIZE:])
    with pytest.raises(CorruptRecordError):
        read(batch_of(packed, header.record_count, base_offset=header.base_offset, **fields))


@pytest.mark.parametrize("codec", [codec for codec in Compression if codec is not Compression.NONE])
def test_compressed_records_that_do_not_decompress(codec: Compression) -> None:
    with pytest.raises(CorruptRecordError):
        read(batch_of(b"no codec writes this", attributes=codec))


def test_a_batch_that_is_not_all_there() -> None:
    batch = build_batch(RECORDS, base_offset=0)
    with pytest.raises(InvalidBatchError, match=str(len(batch))):
        read(batch[:-1])


@pytest.mark.parametrize(
    ("records", "options"),
    [
        ([], {"base_offset": 0}),
        ([Record(5, 0)], {"base_offset": 6}),
        ([Record(0, 0), Record(0, 0)], {"base_offset": 0}),
        ([Record(1, 0), Record(0, 0)], {"base_offset": 0}),
        ([Record(2**31, 0)], {"base_offset": 0}),
        ([Record(3, 0)], {"base_offset": 0, "last_offset": 2}),
        ([Record(3, 0)], {"base_offset": 0, "last_offset": 2**31}),
        ([Record(0, 2**63)], {"base_offset": 0}),
        ([Record(0, -(2**63) - 1)], {"base_offset": 0}),
        ([Record(0, 0)], {"base_offset": 0, "producer_id": 2**63}),
        ([Record(0, 0)], {"base_offset": 0, "producer_epoch": 2**15}),
    ],
)
def test_batches_that_cannot_be(records: list[Record], options: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        build_batch(records, **options)  # type: ignore[arg-type]


# --- compaction -------------------------------------------------------------------------------------


def test_compaction_keeps_the_ends_of_a_batch() -> None:
    batch = build_batch(
        [RECORDS[1]], base_offset=0, last_offset=9, producer_id=4, producer_epoch=0, base_sequence=20
    )
    header = read_batch_header(batch)
    assert (header.base_offset, header.last_offset, header.record_count) == (0, 9, 1)
    assert header.last_sequence == 29
    assert read(batch) == [RECORDS[1]]


def test_a_batch_whose_records_are_gone() -> None:
    full = build_batch(
        RECORDS,
        base_offset=0,
        compression=Compression.ZSTD,
        producer_id=4,
        producer_epoch=2,
        base_sequence=20,
        partition_leader_epoch=6,
        is_transactional=True,
        delete_horizon_ms=NOW_MS,
    )
    before = read_batch_header(full)
    empty = build_empty_batch(before)
    after = read_batch_header(empty)
    assert len(empty) == BATCH_HEADER_SIZE == after.size_bytes
    assert crc_matches(empty, 0, after)
    assert read(empty) == []
    kept = ("base_offset", "last_offset", "last_sequence", "producer_id", "producer_epoch", "max_timestamp")
    for name in (*kept, "partition_leader_epoch", "is_transactional", "is_control", "timestamp_type"):
        assert getattr(after, name) == getattr(before, name)
    assert (after.record_count, after.base_timestamp) == (0, NO_TIMESTAMP)
    assert (after.compression, after.has_delete_horizon) == (Compression.NONE, False)


# --- control batches --------------------------------------------------------------------------------

# Written by Apache Kafka 4.4 at the end of a transaction of librdkafka's.
COMMIT_MARKER = bytes.fromhex(
    "0000000000000001000000420000000002ad381bae003000000000000001a208d0138e000001a208d0138e"
    "00000000000000430000ffffffff000000012000000008000000010c00000000000000"
)
ABORT_MARKER = bytes.fromhex(
    "00000000000000030000004200000000023918901e003000000000000001a208d0139a000001a208d0139a"
    "00000000000000430000ffffffff000000012000000008000000000c00000000000000"
)


@pytest.mark.parametrize(("marker", "is_commit"), [(COMMIT_MARKER, True), (ABORT_MARKER, False)])
def test_transaction_markers_are_kafkas(marker: bytes, is_commit: bool) -> None:
    header = read_batch_header(marker)
    assert header.is_control
    assert header.is_transactional
    (record,) = read(marker)
    control_type = ControlType.COMMIT if is_commit else ControlType.ABORT
    assert read_control_type(record) is control_type
    assert read_end_transaction_marker(record) == EndTransactionMarker(control_type, coordinator_epoch=0)
    built = build_end_transaction_marker(
        base_offset=header.base_offset,
        timestamp_ms=header.max_timestamp,
        producer_id=0x43,
        producer_epoch=0,
        is_commit=is_commit,
        coordinator_epoch=0,
        partition_leader_epoch=0,
    )
    assert built == marker


def test_the_coordinators_epoch_is_in_the_marker() -> None:
    batch = build_end_transaction_marker(
        base_offset=0,
        timestamp_ms=1,
        producer_id=1,
        producer_epoch=1,
        is_commit=True,
        coordinator_epoch=2**30,
    )
    assert read_end_transaction_marker(read(batch)[0]).coordinator_epoch == 2**30


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"\x00\x00\x00\x02", ControlType.LEADER_CHANGE),
        (b"\x00\x00\x7f\xff", ControlType.UNKNOWN),
        (b"\x00\x00\xff\xfe", ControlType.UNKNOWN),
        (b"\x00\x09\x00\x01 and more", ControlType.COMMIT),
    ],
)
def test_control_types(key: bytes, expected: ControlType) -> None:
    assert read_control_type(Record(0, 0, key, None)) is expected


@pytest.mark.parametrize("key", [None, b"", b"\x00\x00\x00", b"\xff\xff\x00\x01"])
def test_malformed_control_keys(key: bytes | None) -> None:
    with pytest.raises(CorruptRecordError):
        read_control_type(Record(0, 0, key, None))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\x00\x00\x00\x01", None),
        (b"\x00\x00\x00\x01", bytes(5)),
        (b"\x00\x00\x00\x01", b"\xff\xff" + bytes(4)),
        (b"\x00\x00\x00\x02", bytes(6)),
    ],
)
def test_malformed_transaction_markers(key: bytes, value: bytes | None) -> None:
    with pytest.raises(CorruptRecordError):
        read_end_transaction_marker(Record(0, 0, key, value))


# --- the same as others -----------------------------------------------------------------------------

GOLDEN_RECORDS = [
    Record(0, NOW_MS, None, b"value-0 " * 8),
    Record(1, NOW_MS + 1, b"key-1", b"value-1 " * 8, (("trace", b"1"), ("empty", b""))),
    Record(2, NOW_MS + 2, b"key-2", b"value-2 " * 8),
]
GOLDEN = [
    line.split()
    for line in (Path(__file__).parent / "golden" / "record_batches.txt").read_text().splitlines()
]


def test_the_golden_file_has_every_writer_with_every_codec() -> None:
    assert len(GOLDEN) == 3 * len(Compression)


@pytest.mark.parametrize(
    ("writer", "codec", "batch"), GOLDEN, ids=[f"{line[0]}-{line[1]}" for line in GOLDEN]
)
def test_batches_of_real_clients(writer: str, codec: str, batch: str) -> None:
    data = bytes.fromhex(batch)
    ((position, header),) = iterate_batches(data)
    assert (position, header.size_bytes) == (0, len(data))
    assert crc_matches(data, 0, header)
    assert header.compression is Compression[codec.upper()]
    assert header.has_producer_id == (writer == "kafka-python")
    assert read(data) == GOLDEN_RECORDS
    if codec == "none":
        rebuilt = build_batch(
            GOLDEN_RECORDS,
            base_offset=0,
            partition_leader_epoch=0,
            producer_id=header.producer_id,
            producer_epoch=header.producer_epoch,
            base_sequence=header.base_sequence,
        )
        assert rebuilt == data


plain_records = st.lists(
    st.tuples(
        st.integers(10**6, 4 * 10**9).map(lambda seconds: seconds * 1000),
        payloads,
        payloads,
        st.lists(st.tuples(texts, payloads), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=5,
).map(lambda rows: [Record(offset, *row) for offset, row in enumerate(rows)])


@derandomized
@given(records=plain_records, producer_id=int64s, producer_epoch=int16s, base_sequence=int32s)
def test_kio_writes_and_reads_the_same_batches(
    records: list[Record], producer_id: int, producer_epoch: int, base_sequence: int
) -> None:
    # kio has times in whole seconds, no codecs, and calls the last record's delta the batch's.
    batch = build_batch(
        records,
        base_offset=0,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        partition_leader_epoch=0,
    )
    kio_records = tuple(
        KioRecord(
            attributes=0,
            timestamp=datetime.datetime.fromtimestamp(record.timestamp / 1000, datetime.UTC),
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=tuple(KioHeader(key=key.encode(), value=value) for key, value in record.headers),
        )
        for record in records
    )
    out = io.BytesIO()
    kio_writers.write_batch(
        out,
        KioBatch(
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            records=kio_records,
            attributes=0,
        ),
    )
    assert out.getvalue() == batch
    assert read(out.getvalue()) == records
    kio_batch, size = kio_readers.read_batch(bytes(batch), 0)
    assert size == len(batch)
    assert kio_batch.records == kio_records


KAFKA_PYTHON_CODECS = [
    Compression.NONE,
    Compression.GZIP,
    Compression.SNAPPY,
    Compression.LZ4,
    Compression.ZSTD,
]


@pytest.mark.parametrize("codec", KAFKA_PYTHON_CODECS)
@pytest.mark.parametrize("is_transactional", [False, True])
def test_kafka_python_writes_and_reads_the_same_batches(codec: Compression, is_transactional: bool) -> None:
    records = [
        Record(index, NOW_MS + index * 1000, b"key %d" % index, b"value " * 100 * index, (("h", b"1"),))
        for index in range(200)
    ]
    builder = DefaultRecordBatchBuilder(2, codec, is_transactional, 9, 3, 17, MIB)
    for record in records:
        builder.append(record.offset, record.timestamp, record.key, record.value, list(record.headers))
    theirs = builder.build()
    header = read_batch_header(theirs)
    assert crc_matches(theirs, 0, header)
    assert read(theirs) == records
    ours = build_batch(
        records,
        base_offset=0,
        compression=codec,
        producer_id=9,
        producer_epoch=3,
        base_sequence=17,
        partition_leader_epoch=0,
        is_transactional=is_transactional,
    )
    if codec is Compression.NONE:
        assert ours == theirs
    parsed = DefaultRecordBatch(bytes(ours))
    assert parsed.validate_crc()
    read_back = [
        Record(record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
        for record in parsed
    ]
    assert read_back == records
