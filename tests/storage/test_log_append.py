from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import StorageError, UnexpectedOffsetError
from storage.log_config import LogConfig
from storage.log_validator import RecordsRejectedError
from storage.producer_append import AppendOrigin
from tests.storage.support import (
    START_MS,
    FailingFilesystem,
    LogHarness,
    ManualClock,
    batch,
    disk_broken,
    disk_full,
    marker,
    read_all,
    read_headers,
    replicated,
)
from wire.errors import ApiError, ErrorCode
from wire.records import (
    LOG_APPEND_TIME,
    Compression,
    Record,
    build_batch,
    crc_matches,
    read_batch_header,
    set_base_offset,
    set_crc,
)

Edit = Callable[[bytearray], object]


def refused(harness: LogHarness, records: bytearray, code: ErrorCode, **arguments: object) -> ApiError:
    log = harness.log
    before = (log.log_end_offset, log.size_bytes, repr(log.active_producers), log.latest_epoch)
    with pytest.raises(ApiError) as raised:
        log.append_as_leader(records, 0, **arguments)  # type: ignore[arg-type]
    assert raised.value.code is code
    assert (log.log_end_offset, log.size_bytes, repr(log.active_producers), log.latest_epoch) == before
    return raised.value


def patch(records: bytearray, position: int, data: bytes, *, fix_crc: bool = True) -> bytearray:
    records[position : position + len(data)] = data
    if fix_crc:
        set_crc(records, 0, len(records))
    return records


def test_assigns_offsets_and_epoch_in_the_callers_buffer(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    first, second = batch(b"a", b"b"), batch(b"c")
    info = log.append_as_leader(first, 3)
    assert (info.first_offset, info.last_offset, info.record_count, info.size_bytes) == (0, 1, 2, len(first))
    assert (info.max_timestamp, info.log_append_time_ms, info.is_duplicate) == (START_MS + 1, -1, False)
    assert log.append_as_leader(memoryview(second), 4).first_offset == 2
    header = read_batch_header(second)
    assert (header.base_offset, header.partition_leader_epoch) == (2, 4)
    stored = Path(log.directory, "00000000000000000000.log").read_bytes()
    assert stored == first + second
    assert log.log_end_offset == 3
    assert log.latest_epoch == 4
    assert log.end_offset_for_epoch(3) == (3, 2)


def test_trailing_bytes_are_cut_off(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    records = batch(b"a")
    harness.log.append_as_leader(records + batch(b"b")[:-1], 0)
    assert harness.log.size_bytes == len(records)
    assert harness.log.log_end_offset == 1


@pytest.mark.parametrize(
    ("name", "edit", "code"),
    [
        ("empty", lambda records: records.clear(), ErrorCode.INVALID_RECORD),
        ("cut off", lambda records: records.pop(), ErrorCode.INVALID_RECORD),
        ("two batches", lambda records: records.extend(batch()), ErrorCode.INVALID_RECORD),
        ("magic 1", lambda records: patch(records, 16, b"\1"), ErrorCode.INVALID_RECORD),
        ("magic 3", lambda records: patch(records, 16, b"\3"), ErrorCode.CORRUPT_MESSAGE),
        ("short length", lambda records: patch(records, 8, b"\0\0\0\5"), ErrorCode.CORRUPT_MESSAGE),
        ("negative length", lambda records: patch(records, 8, b"\xff\0\0\5"), ErrorCode.CORRUPT_MESSAGE),
        ("CRC", lambda records: patch(records, 70, b"\xff", fix_crc=False), ErrorCode.CORRUPT_MESSAGE),
        ("base offset", lambda records: set_base_offset(records, 0, 5), ErrorCode.INVALID_RECORD),
        ("no records", lambda records: patch(records, 57, bytes(4)), ErrorCode.INVALID_RECORD),
        ("wrong count", lambda records: patch(records, 57, b"\0\0\0\2"), ErrorCode.INVALID_RECORD),
        ("negative delta", lambda records: patch(records, 23, b"\xff\xff\xff\xff"), ErrorCode.INVALID_RECORD),
        ("control", lambda records: patch(records, 21, b"\0\x20"), ErrorCode.INVALID_RECORD),
        ("codec 5", lambda records: patch(records, 21, b"\0\5"), ErrorCode.INVALID_RECORD),
        (
            "count that cannot fit",
            lambda records: patch(patch(records, 57, b"\0\0\1\0"), 23, b"\0\0\0\xff"),
            ErrorCode.INVALID_RECORD,
        ),
        (
            "producer without sequence",
            lambda records: patch(records, 43, b"\0\0\0\0\0\0\0\7\0\0"),
            ErrorCode.INVALID_RECORD,
        ),
    ],
)
def test_bad_batches_are_refused(tmp_path: Path, name: str, edit: Edit, code: ErrorCode) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_leader(batch(), 0)
    records = batch()
    edit(records)
    refused(harness, records, code)


def test_a_batch_may_be_as_large_as_allowed_and_no_larger(tmp_path: Path) -> None:
    size = len(batch(b"x" * 100))
    harness = LogHarness(tmp_path, LogConfig(max_message_bytes=size))
    harness.log.append_as_leader(batch(b"x" * 100), 0)
    refused(harness, batch(b"x" * 101), ErrorCode.MESSAGE_TOO_LARGE)


def test_a_batch_must_fit_into_a_segment(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=100))
    refused(harness, batch(b"x" * 100), ErrorCode.RECORD_LIST_TOO_LARGE)


def test_timestamps_too_far_in_the_future_are_refused(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(message_timestamp_after_max_ms=1000))
    harness.log.append_as_leader(batch(timestamp=START_MS + 1000), 0)
    error = refused(harness, batch(b"a", b"b", b"c", timestamp=START_MS + 999), ErrorCode.INVALID_TIMESTAMP)
    assert isinstance(error, RecordsRejectedError)
    assert [index for index, _ in error.record_errors] == [2]


def test_timestamps_too_old_are_refused_record_by_record(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(message_timestamp_before_max_ms=1000))
    harness.log.append_as_leader(batch(timestamp=START_MS - 1000), 0)
    harness.log.append_as_leader(batch(timestamp=-1), 0)
    error = refused(harness, batch(b"a", b"b", timestamp=START_MS - 1001), ErrorCode.INVALID_TIMESTAMP)
    assert isinstance(error, RecordsRejectedError)
    assert [index for index, _ in error.record_errors] == [0]


def test_log_append_time_replaces_the_producers(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(message_timestamp_type="LogAppendTime"))
    harness.clock.now_ms += 50
    records = batch(b"a", b"b", timestamp=5)
    info = harness.log.append_as_leader(records, 0)
    assert info.log_append_time_ms == info.max_timestamp == START_MS + 50
    header = read_batch_header(records)
    assert (header.timestamp_type, header.max_timestamp) == (LOG_APPEND_TIME, START_MS + 50)
    assert crc_matches(records, 0, header)
    assert {record.timestamp for record in read_all(harness.log)} == {START_MS + 50}
    refused(harness, patch(batch(), 21, b"\0\x08"), ErrorCode.INVALID_TIMESTAMP)


def test_a_producers_claim_of_log_append_time_is_undone(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    records = patch(batch(), 21, b"\0\x08")
    harness.log.append_as_leader(records, 0)
    header = read_batch_header(records)
    assert header.timestamp_type == 0
    assert crc_matches(records, 0, header)


def test_compacted_topics_need_keys(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(cleanup_policy=frozenset({"compact", "delete"})))
    harness.log.append_as_leader(batch(key=b""), 0)
    error = refused(harness, batch(b"a", b"b", key=None), ErrorCode.INVALID_RECORD)
    assert isinstance(error, RecordsRejectedError)
    assert [index for index, _ in error.record_errors] == [0, 1]
    refused(harness, patch(batch(), 61, b"\x7f"), ErrorCode.INVALID_RECORD)  # not decodable


@pytest.mark.parametrize("source", list(Compression))
@pytest.mark.parametrize("target", ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_the_topics_codec_wins(tmp_path: Path, source: Compression, target: str) -> None:
    harness = LogHarness(tmp_path, LogConfig(compression_type=target))
    harness.log.append_as_leader(batch(b"first"), 0)
    records = batch(b"a" * 500, b"b" * 500, compression=source, producer_id=7, producer_epoch=1, sequence=0)
    info = harness.log.append_as_leader(records, 5)
    header = read_headers(harness.log, 1)[0]
    expected = {"producer": source, "uncompressed": Compression.NONE}.get(target)
    assert header.compression is (expected if expected is not None else Compression[target.upper()])
    assert (header.base_offset, header.partition_leader_epoch, header.record_count) == (1, 5, 2)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 1, 0)
    assert info.size_bytes == header.size_bytes
    assert [record.value for record in read_all(harness.log)][1:] == [b"a" * 500, b"b" * 500]
    assert harness.log.append_as_leader(
        batch(b"a" * 500, b"b" * 500, compression=source, producer_id=7, producer_epoch=1, sequence=0), 5
    ).is_duplicate


@pytest.mark.parametrize("target", ["producer", "uncompressed"])
def test_lz4_that_java_cannot_read_is_refused(tmp_path: Path, target: str) -> None:
    harness = LogHarness(tmp_path, LogConfig(compression_type=target))
    records = batch(b"a" * 100_000, compression=Compression.LZ4)
    harness.log.append_as_leader(bytearray(records), 0)
    flags_at = 61 + 4
    linked = patch(records, flags_at, bytes([records[flags_at] & ~0x20]))
    error = refused(harness, linked, ErrorCode.INVALID_RECORD)
    assert error.message == "the blocks of the lz4 frame depend on one another"
    # Other codecs' bytes do not mean this.
    harness.log.append_as_leader(patch(batch(b"\x18" * 80), 61, b"\x04\x22\x4d\x18\x00"), 0)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(cleanup_policy=frozenset({"compact"})))
    harness.log._context.decompressed_bytes_max = 10_000
    refused(harness, batch(b"\0" * 20_000, compression=Compression.GZIP), ErrorCode.MESSAGE_TOO_LARGE)


def test_a_repeated_batch_is_answered_with_its_first_place_and_time(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    for sequence in range(0, 18, 3):
        harness.log.append_as_leader(
            batch(
                b"a",
                b"b",
                b"c",
                producer_id=7,
                producer_epoch=0,
                sequence=sequence,
                timestamp=START_MS + sequence,
            ),
            0,
        )
    end = harness.log.log_end_offset
    info = harness.log.append_as_leader(
        batch(b"a", b"b", b"c", producer_id=7, producer_epoch=0, sequence=3, timestamp=START_MS + 99), 0
    )
    assert info.is_duplicate
    assert (info.first_offset, info.last_offset) == (3, 5)
    assert info.log_append_time_ms == START_MS + 3 + 2
    assert harness.log.log_end_offset == end
    # The sixth last is forgotten.
    refused(
        harness,
        batch(b"a", b"b", b"c", producer_id=7, producer_epoch=0, sequence=0),
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    )
    # Same beginning, other end: not the same batch.
    refused(
        harness,
        batch(b"a", producer_id=7, producer_epoch=0, sequence=15),
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    )


@pytest.mark.parametrize("transactional", [False, True])
def test_a_retry_after_a_kill_is_answered_with_the_original_offset(
    tmp_path: Path, transactional: bool
) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_leader(batch(b"other"), 0)
    fields = {"producer_id": 7, "producer_epoch": 2, "transactional": transactional}
    first = harness.log.append_as_leader(batch(b"a", b"b", sequence=5, **fields), 0)
    for reopen in (harness.reopen_after_kill, harness.reopen_cleanly, harness.reopen_after_kill):
        reopen()
        again = harness.log.append_as_leader(batch(b"a", b"b", sequence=5, **fields), 0)
        assert again.is_duplicate
        assert (again.first_offset, again.last_offset) == (first.first_offset, first.last_offset) == (1, 2)
    assert harness.log.append_as_leader(batch(b"c", sequence=7, **fields), 0).first_offset == 3


def test_sequence_state_that_has_expired_accepts_any_sequence(tmp_path: Path) -> None:
    clock = ManualClock()
    harness = LogHarness(tmp_path, clock=clock)
    fields = {"producer_id": 7, "producer_epoch": 2}
    harness.log.append_as_leader(batch(sequence=0, **fields), 0)
    with pytest.raises(ApiError) as caught:
        harness.log.append_as_leader(batch(sequence=9, **fields), 0)
    assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    clock.now_ms += 24 * 60 * 60 * 1000
    harness.log.remove_expired_producers()
    assert harness.log.append_as_leader(batch(sequence=9, **fields), 0).first_offset == 1


def test_coordinators_may_append_several_batches_and_markers(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    info = harness.log.append_as_leader(batch(b"a") + batch(b"b", b"c"), 0, origin=AppendOrigin.COORDINATOR)
    assert (info.first_offset, info.last_offset, info.record_count) == (0, 2, 3)
    assert [header.base_offset for header in read_headers(harness.log, 0)] == [0, 1]
    harness.log.append_as_leader(marker(7, commit=True), 0, origin=AppendOrigin.COORDINATOR)
    assert harness.log.log_end_offset == 4


def test_a_follower_takes_offsets_and_epochs_as_they_come(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    records = replicated(0, b"a", b"b", leader_epoch=1) + replicated(5, b"f", leader_epoch=3)
    info = log.append_as_follower(records + replicated(6)[:-5])
    assert info is not None
    assert (info.first_offset, info.last_offset) == (0, 5)
    assert log.log_end_offset == 6
    assert log.end_offset_for_epoch(1) == (1, 5)
    assert [header.base_offset for header in read_headers(log, 3)] == [5]
    assert log.append_as_follower(replicated(6, leader_epoch=4), leader_epoch=3) is None
    partly = log.append_as_follower(
        replicated(6, leader_epoch=3) + replicated(7, leader_epoch=4), leader_epoch=3
    )
    assert partly is not None
    assert log.log_end_offset == 7


def test_a_follower_refuses_what_does_not_fit(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    log.append_as_follower(replicated(0, b"a", b"b"))
    with pytest.raises(UnexpectedOffsetError) as raised:
        log.append_as_follower(replicated(1))
    assert (raised.value.first_offset, raised.value.last_offset) == (1, 1)
    with pytest.raises(UnexpectedOffsetError):
        log.append_as_follower(replicated(5) + replicated(4))
    with pytest.raises(ApiError) as corrupt:
        log.append_as_follower(patch(replicated(2), 70, b"\xff", fix_crc=False))
    assert corrupt.value.code is ErrorCode.CORRUPT_MESSAGE
    assert log.log_end_offset == 2


def test_a_follower_keeps_producer_state_for_the_day_it_leads(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    log.append_as_follower(
        replicated(0, b"a", producer_id=7, producer_epoch=0, base_sequence=0)
        + replicated(1, b"b", producer_id=7, producer_epoch=0, base_sequence=1)
    )
    assert log.append_as_leader(batch(b"b", producer_id=7, producer_epoch=0, sequence=1), 1).is_duplicate
    assert log.append_as_leader(batch(b"c", producer_id=7, producer_epoch=0, sequence=2), 1).first_offset == 2


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("failure", [disk_full, disk_broken])
@pytest.mark.parametrize("where", [".log", ".index", ".timeindex"])
def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, where: str, failure: Callable[[str, int, int], int], partial: bool
) -> None:
    filesystem = FailingFilesystem()
    harness = LogHarness(tmp_path, LogConfig(index_interval_bytes=1), filesystem=filesystem)
    for number in range(3):
        harness.log.append_as_leader(batch(b"%d" % number, timestamp=START_MS + number), 0)
    size = harness.log.size_bytes
    filesystem.partial = partial
    filesystem.fail_write = lambda path, at, length: failure(path, at, length) if path.endswith(where) else 0
    with pytest.raises(StorageError) as raised:
        harness.log.append_as_leader(
            batch(b"lost", timestamp=START_MS + 9, producer_id=7, producer_epoch=0, sequence=0), 0
        )
    assert raised.value.directory == str(tmp_path)
    assert raised.value.disk_full == (failure is disk_full)
    assert harness.log.log_end_offset == 3
    assert harness.log.active_producers == {}
    assert Path(harness.log.directory, "00000000000000000000.log").stat().st_size == size
    filesystem.fail_write = lambda *_: 0
    info = harness.log.append_as_leader(
        batch(b"kept", timestamp=START_MS + 9, producer_id=7, producer_epoch=0, sequence=0), 0
    )
    assert info.first_offset == 3
    expected = [b"0", b"1", b"2", b"kept"]
    assert [record.value for record in read_all(harness.log)] == expected
    harness.reopen_after_kill()
    assert [record.value for record in read_all(harness.log)] == expected
    assert harness.log.findings == []
    found = harness.log.fetch_offset_by_timestamp(-3)
    assert found is not None
    assert found.offset == 3


def test_when_even_the_repair_fails_the_next_append_overwrites(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    harness = LogHarness(tmp_path, filesystem=filesystem)
    harness.log.append_as_leader(batch(b"a"), 0)
    filesystem.partial, filesystem.fail_write, filesystem.fail_truncate = True, disk_full, errno.EIO
    with pytest.raises(StorageError):
        harness.log.append_as_leader(batch(b"lost" * 100), 0)
    filesystem.fail_write, filesystem.fail_truncate = lambda *_: 0, 0
    harness.log.append_as_leader(batch(b"b"), 0)
    assert [record.value for record in read_all(harness.log)] == [b"a", b"b"]
    harness.reopen_after_kill()
    assert [record.value for record in read_all(harness.log)] == [b"a", b"b"]


def test_a_failed_transaction_index_takes_the_marker_back(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    harness = LogHarness(tmp_path, filesystem=filesystem)
    harness.log.append_as_leader(
        batch(b"a", producer_id=7, producer_epoch=0, sequence=0, transactional=True), 0
    )
    filesystem.fail_write = lambda path, *_: errno.ENOSPC if path.endswith(".txnindex") else 0
    filesystem.partial = True
    with pytest.raises(StorageError):
        harness.log.append_as_leader(marker(7, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    assert harness.log.log_end_offset == 1
    assert harness.log.has_ongoing_transaction(7)
    assert harness.log.size_bytes == (harness.path / f"{0:020d}.log").stat().st_size < 100
    filesystem.fail_write = lambda *_: 0
    harness.log.append_as_leader(marker(7, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    assert [entry.first_offset for entry in harness.log.aborted_transactions(0, 2)] == [0]
    harness.reopen_cleanly()
    assert [entry.first_offset for entry in harness.log.aborted_transactions(0, 2)] == [0]


def test_a_closed_log_refuses_everything(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    log.close()
    log.close()
    for call in (
        lambda: log.append_as_leader(batch(), 0),
        lambda: log.append_as_follower(replicated(0)),
        lambda: log.read(0, 100, max_offset=0),
        lambda: log.truncate_to(0),
        lambda: log.flush(),
        lambda: log.roll(),
    ):
        with pytest.raises(StorageError):
            call()


def test_flush_messages_syncs_every_so_many_records(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(flush_messages=3))
    for expected in (0, 0, 3, 3, 3, 6):
        harness.log.append_as_leader(batch(), 0)
        assert harness.log.recovery_point == expected


def test_max_timestamp_of_several_batches(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    info = log.append_as_follower(
        replicated(0, timestamp=START_MS + 5)
        + replicated(1, timestamp=START_MS)
        + replicated(2, timestamp=START_MS)
    )
    assert info is not None
    assert info.max_timestamp == START_MS + 5


def test_an_empty_header_batch_of_compaction_is_followed(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    empty = build_batch([Record(0, START_MS)], base_offset=0)[:61]
    patch(patch(patch(empty, 8, (49).to_bytes(4, "big")), 57, bytes(4)), 23, b"\0\0\0\4")
    log.append_as_follower(empty + replicated(5, b"a"))
    assert [header.base_offset for header in read_headers(log, 0)] == [0, 5]
    found = log.fetch_offset_by_timestamp(START_MS)
    assert found is not None
    assert found.offset == 5
