"""The same batches as Apache Kafka, librdkafka, kafka-python and kio read and write."""

import datetime as dt
import io
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.records import readers as kio_readers
from kio.records import schema as kio_schema
from kio.records import writers as kio_writers

from tests.wire.batches import MIB, NOW_MS, PAYLOADS, TEXTS, read
from wire.records import (
    Compression,
    ControlType,
    CorruptRecordError,
    EndTransactionMarker,
    Record,
    build_batch,
    build_end_transaction_marker,
    crc_matches,
    iterate_batches,
    read_batch_header,
    read_control_type,
    read_end_transaction_marker,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of importlib.resources.read_text, at import
    from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

kio: Any = kio_schema  # whose integers are types of their own
derandomized = settings(derandomize=True, deadline=None, max_examples=100)
int64s = st.integers(-(2**63), 2**63 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
int16s = st.integers(-(2**15), 2**15 - 1)


# --- control batches ------------------------------------------------------------------------------

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


# --- whole batches --------------------------------------------------------------------------------

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
        PAYLOADS,
        PAYLOADS,
        st.lists(st.tuples(TEXTS, PAYLOADS), max_size=2).map(tuple),
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
        kio.Record(
            attributes=0,
            timestamp=dt.datetime.fromtimestamp(record.timestamp / 1000, dt.UTC),
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=tuple(kio.RecordHeader(key=key.encode(), value=value) for key, value in record.headers),
        )
        for record in records
    )
    out = io.BytesIO()
    kio_writers.write_batch(
        out,
        kio.NewRecordBatch(
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


@pytest.mark.parametrize("codec", list(Compression))
@pytest.mark.parametrize("is_transactional", [False, True])
def test_kafka_python_writes_and_reads_the_same_batches(codec: Compression, is_transactional: bool) -> None:
    records = [
        Record(index, NOW_MS + index * 1000, b"key %d" % index, b"value " * index, (("h", b"1"),))
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
