"""Records of a batch: written, read, refused; what compaction leaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.batches import NOW_MS, PAYLOADS, RECORDS, TEXTS, batch_of, read, record_bytes
from wire.compression import compress
from wire.errors import ErrorCode
from wire.record_writer import encode_varint
from wire.records import (
    BATCH_HEADER_SIZE,
    NO_TIMESTAMP,
    Compression,
    CorruptRecordError,
    DecompressionLimitError,
    InvalidBatchError,
    Record,
    build_batch,
    build_empty_batch,
    crc_matches,
    read_batch_header,
    read_records,
)

derandomized = settings(derandomize=True, deadline=None, max_examples=100)
int64s = st.integers(-(2**63), 2**63 - 1)


# --- records, both ways ---------------------------------------------------------------------------

timestamps = st.integers(-1, 2**45) | int64s


@st.composite
def record_lists(draw: st.DrawFn) -> list[Record]:
    base_offset = draw(st.integers(0, 2**62))
    deltas = sorted(draw(st.sets(st.integers(0, 300) | st.integers(0, 2**31 - 1), min_size=1, max_size=8)))
    record_headers = st.lists(st.tuples(TEXTS, PAYLOADS), max_size=3).map(tuple)
    return [
        Record(base_offset + delta, draw(timestamps), draw(PAYLOADS), draw(PAYLOADS), draw(record_headers))
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


def test_bits_beyond_a_varints_type_are_dropped() -> None:
    five_bytes_for_1 = b"\x82\x80\x80\x80\x10"
    ten_bytes_for_minus_1 = b"\x81" + b"\x80" * 8 + b"\x7e"
    payload = record_bytes(key=five_bytes_for_1 + b"k", timestamp_delta=ten_bytes_for_minus_1)
    assert read(batch_of(payload)) == [Record(0, NOW_MS - 1, b"k", b"v")]


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
    "timestamp with no end": batch_of(record_bytes(timestamp_delta=b"\x80" * 10)),
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
    "header key null, the sizes right": batch_of(record_bytes(headers=b"\x04" + NULL + b"\x02h" + NULL)),
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
        ([Record(0, 0), Record(1, -(2**63) - 1)], {"base_offset": 0}),
        ([Record(0, 0)], {"base_offset": 0, "producer_id": 2**63}),
        ([Record(0, 0)], {"base_offset": 0, "producer_epoch": 2**15}),
    ],
)
def test_batches_that_cannot_be(records: list[Record], options: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        build_batch(records, **options)  # type: ignore[arg-type]


# --- compaction -----------------------------------------------------------------------------------


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
