"""Taking a batch apart into records and putting some of them together again, against the reader and the writer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.record_cuts import assemble_batch, check_record_count, cut_records, join_records
from wire.records import (
    BATCH_HEADER_SIZE,
    CorruptRecordError,
    Record,
    build_batch,
    crc_matches,
    read_batch_header,
    read_records,
)

_timestamps = st.integers(-(2**40), 2**50)
_bytes = st.none() | st.binary(max_size=200)
_headers = st.lists(st.tuples(st.text(max_size=5), _bytes), max_size=3).map(tuple)


@given(
    st.lists(st.tuples(st.integers(1, 300), _timestamps, _bytes, _bytes, _headers), min_size=1, max_size=8),
    st.data(),
    st.none() | _timestamps,
)
def test_what_is_kept_reads_as_it_did(
    drawn: list[tuple], data: st.DataObject, horizon_ms: int | None
) -> None:
    offset, records = 99, []
    for gap, timestamp, key, value, headers in drawn:
        offset += gap
        records.append(Record(offset, timestamp, key, value, headers))
    batch = bytes(
        build_batch(records, base_offset=100, last_offset=offset + 3, producer_id=5, base_sequence=9)
    )
    header = read_batch_header(batch)
    payload = batch[BATCH_HEADER_SIZE:]
    cuts = cut_records(payload, 0, len(records))
    assert [100 + cut.offset_delta for cut in cuts] == [record.offset for record in records]
    assert [cut.key for cut in cuts] == [record.key for record in records]
    assert [cut.is_tombstone for cut in cuts] == [record.value is None for record in records]
    assert cuts[-1].end == len(payload)
    kept = data.draw(st.lists(st.sampled_from(range(len(records))), min_size=1, unique=True).map(sorted))
    joined, changed = join_records(
        header, payload, [cuts[index] for index in kept], delete_horizon_ms=horizon_ms
    )
    result = assemble_batch(changed, joined)
    after = read_batch_header(result)
    assert crc_matches(result, 0, after)
    assert read_records(result, decompressed_bytes_max=0) == [records[index] for index in kept]
    assert after.delete_horizon_ms == horizon_ms
    assert after.max_timestamp == max(-1, *(records[index].timestamp for index in kept))
    same = ("base_offset", "last_offset", "producer_id", "base_sequence", "partition_leader_epoch")
    assert [getattr(after, name) for name in same] == [getattr(header, name) for name in same]


def test_in_pieces() -> None:
    records = [Record(index, 5, b"%d" % index, b"v") for index in range(10)]
    payload = bytes(build_batch(records, base_offset=0))[BATCH_HEADER_SIZE:]
    first = cut_records(payload, 0, 4)
    assert first + cut_records(payload, first[-1].end, 6) == cut_records(payload, 0, 10)


@pytest.mark.parametrize(
    "damage", [b"", b"\x10", b"\x0c\x00\x00\x00\x01\x01", b"\x02\x00\x00\x00\x01\x01\x00"]
)
def test_malformed_records(damage: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        cut_records(damage, 0, 1)


def test_a_count_that_cannot_be() -> None:
    header = read_batch_header(build_batch([Record(0, 0)], base_offset=0))
    check_record_count(header, b"1234567")
    with pytest.raises(CorruptRecordError):
        check_record_count(header, b"123456")
