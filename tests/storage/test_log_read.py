from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.producer_append import AppendOrigin
from tests.storage.support import (
    START_MS,
    FailingFilesystem,
    LogHarness,
    batch,
    marker,
    read_all,
    read_headers,
    replicated,
)
from wire.errors import ApiError, ErrorCode
from wire.records import Compression, iterate_batches

SMALL = LogConfig(segment_bytes=800, index_interval_bytes=200)


@pytest.fixture
def harness(tmp_path: Path) -> LogHarness:
    """Offsets 0 to 299 in 100 batches of three, in many segments with indexes."""
    harness = LogHarness(tmp_path, SMALL)
    for number in range(100):
        harness.log.append_as_leader(batch(b"a", b"b", b"c", timestamp=START_MS + 10 * number), 0)
    assert len(harness.log.segments) > 10
    return harness


def as_it_is(harness: LogHarness) -> None:
    """The log as it was written: its last batches are remembered."""


def reopened(harness: LogHarness) -> None:
    harness.reopen_cleanly()


def recovered(harness: LogHarness) -> None:
    harness.reopen_after_kill()


every_way = pytest.mark.parametrize("prepare", [as_it_is, reopened, recovered])


@every_way
def test_a_read_begins_with_the_batch_that_holds_the_offset(
    harness: LogHarness, prepare: Callable[[LogHarness], None]
) -> None:
    prepare(harness)
    for offset in range(300):
        headers = read_headers(harness.log, offset)
        assert headers[0].base_offset == offset - offset % 3, offset
        assert [header.base_offset % 3 for header in headers] == [0] * len(headers)


@every_way
def test_a_read_never_passes_the_maximum_offset(
    harness: LogHarness, prepare: Callable[[LogHarness], None]
) -> None:
    prepare(harness)
    for maximum in range(3, 300, 12):
        for offset in range(0, maximum, 7):
            headers = read_headers(harness.log, offset, max_offset=maximum)
            assert headers[0].base_offset <= offset
            assert headers[-1].next_offset <= maximum
        segment_start = next(
            segment.base_offset for segment in reversed(harness.log.segments) if segment.base_offset < maximum
        )
        assert read_headers(harness.log, segment_start, max_offset=maximum)[-1].next_offset == maximum
        assert read_headers(harness.log, maximum, max_offset=maximum) == []
        assert read_headers(harness.log, maximum + 1, max_offset=maximum) == []


def test_reads_outside_the_log_are_refused(harness: LogHarness) -> None:
    log = harness.log
    log.update_high_watermark(300)
    log.maybe_increment_log_start_offset(30)
    assert read_headers(log, 300) == []
    for offset in (-1, 29, 301):
        with pytest.raises(ApiError) as raised:
            log.read(offset, 1000, max_offset=300)
        assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_the_byte_limit_cuts_anywhere_but_not_the_first_batch(harness: LogHarness) -> None:
    log = harness.log
    size = len(batch(b"a", b"b", b"c"))
    for limit in (0, 1, size - 1, size):
        with log.read(3, limit, max_offset=300).records as records:  # type: ignore[union-attr]
            assert len(records) == size
    with log.read(3, size + 5, max_offset=300).records as records:  # type: ignore[union-attr]
        assert len(records) == size + 5
        assert [header.base_offset for _, header in iterate_batches(records.read())] == [3]


def test_without_the_promise_of_one_message_a_read_may_be_too_small(harness: LogHarness) -> None:
    nothing = harness.log.read(3, 0, max_offset=300, min_one_message=False)
    assert nothing.records is None
    assert nothing.is_cut_short
    little = harness.log.read(3, 10, max_offset=300, min_one_message=False)
    assert little.size_bytes == 10
    assert little.is_cut_short
    enough = harness.log.read(3, 10_000, max_offset=300, min_one_message=False)
    assert not enough.is_cut_short


def test_gaps_of_compaction_are_stepped_over(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_follower(replicated(0) + replicated(10))
    harness.log.roll()
    harness.log.append_as_follower(replicated(20, b"x", b"y"))
    for _ in range(2):
        assert [header.base_offset for header in read_headers(harness.log, 5)] == [10]
        for offset in (11, 19, 20, 21):
            assert read_headers(harness.log, offset)[0].base_offset == 20
        harness.reopen_cleanly()


def test_a_segment_may_begin_behind_the_end_of_the_one_before(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_follower(replicated(0))
    harness.log.append_as_follower(replicated(2**31 + 7))
    assert [segment.base_offset for segment in harness.log.segments] == [0, 2**31 + 7]
    assert read_headers(harness.log, 1)[0].base_offset == 2**31 + 7
    harness.reopen_after_kill()
    assert harness.log.log_end_offset == 2**31 + 8
    assert read_headers(harness.log, 5)[0].base_offset == 2**31 + 7


def test_a_slice_outlives_the_segment(harness: LogHarness) -> None:
    log = harness.log
    log.update_high_watermark(300)
    expected = read_headers(log, 0)
    file_slice = log.read(0, 1 << 20, max_offset=300).records
    assert file_slice is not None
    log.maybe_increment_log_start_offset(300)
    assert log.delete_old_segments() > 10
    harness.clock.now_ms += 120_000
    log._context.removals.run_due()
    assert not Path(log.directory, "00000000000000000000.log.deleted").exists()
    with file_slice:
        assert [header for _, header in iterate_batches(file_slice.read())] == expected


def test_many_slices_in_flight_do_not_use_up_descriptors(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    context = LogContext(filesystem, lambda: START_MS, open_files_max=8)
    harness = LogHarness(tmp_path, SMALL, filesystem=filesystem)
    for _ in range(100):
        harness.log.append_as_leader(batch(b"a" * 100), 0)
    harness.log.close()
    from storage.log import Log  # opened a second time, with few descriptors

    log = Log.open(
        str(harness.path), context=context, config=SMALL, topic_partition=harness.log.topic_partition
    )
    reads = [log.read(segment.base_offset, 1 << 20, max_offset=100) for segment in log.segments]
    assert len(reads) > 10
    assert len(filesystem.open_paths) <= 8
    for segment, read in zip(log.segments, reads, strict=True):
        assert read.records is not None
        headers = [header for _, header in iterate_batches(read.records.read())]
        assert headers[0].base_offset == segment.base_offset
        read.records.release()


@every_way
def test_offsets_by_timestamp(harness: LogHarness, prepare: Callable[[LogHarness], None]) -> None:
    prepare(harness)
    log = harness.log
    for number in range(100):
        for delta, offset in ((0, 0), (1, 1), (2, 2), (3, 3), (9, 3)):
            found = log.fetch_offset_by_timestamp(START_MS + 10 * number + delta)
            if number == 99 and delta > 2:
                assert found is None
            else:
                assert found is not None
                assert found.offset == 3 * number + offset
                assert found.leader_epoch == 0
    found = log.fetch_offset_by_timestamp(0)
    assert found is not None
    assert (found.offset, found.timestamp) == (0, START_MS)
    newest = log.fetch_offset_by_timestamp(-3)
    assert newest is not None
    assert (newest.offset, newest.timestamp) == (299, START_MS + 992)


def test_timestamps_out_of_order(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, SMALL)
    for timestamp in (50, 40, 90, 10, 60, 90, 20):
        harness.log.append_as_leader(batch(timestamp=START_MS + timestamp), 0)
    for _ in range(2):
        for timestamp, offset in ((45, 0), (50, 0), (51, 2), (90, 2)):
            found = harness.log.fetch_offset_by_timestamp(START_MS + timestamp)
            assert found is not None
            assert found.offset == offset
        assert harness.log.fetch_offset_by_timestamp(START_MS + 91) is None
        newest = harness.log.fetch_offset_by_timestamp(-3)
        assert newest is not None
        assert newest.offset == 2
        harness.reopen_cleanly()


@pytest.mark.parametrize("codec", list(Compression))
def test_timestamps_inside_compressed_batches(tmp_path: Path, codec: Compression) -> None:
    log = LogHarness(tmp_path).log
    log.append_as_leader(batch(b"a", b"b", b"c", compression=codec), 2)
    found = log.fetch_offset_by_timestamp(START_MS + 1)
    assert found == (START_MS + 1, 1, 2)


def test_log_append_time_answers_with_the_first_record_of_the_batch(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(message_timestamp_type="LogAppendTime"))
    harness.log.append_as_leader(batch(b"a", b"b", timestamp=1), 0)
    harness.clock.now_ms += 10
    harness.log.append_as_leader(batch(b"c", b"d", timestamp=1), 0)
    assert harness.log.fetch_offset_by_timestamp(START_MS + 1) == (START_MS + 10, 2, 0)
    assert harness.log.fetch_offset_by_timestamp(-3) == (START_MS + 10, 2, 0)


def test_deleted_records_are_not_found_by_timestamp(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    for timestamp in (90, 10, 50, 20):
        harness.log.append_as_leader(batch(timestamp=START_MS + timestamp), 0)
    harness.log.roll()
    harness.log.append_as_leader(batch(timestamp=START_MS + 40), 0)
    harness.log.update_high_watermark(5)
    for start, newest, first_after_30 in ((0, 0, 0), (1, 2, 2), (3, 4, 4), (4, 4, 4)):
        harness.log.maybe_increment_log_start_offset(start)
        assert harness.log.fetch_offset_by_timestamp(-3)[1] == newest  # type: ignore[index]
        assert harness.log.fetch_offset_by_timestamp(START_MS + 30)[1] == first_after_30  # type: ignore[index]
    harness.log.maybe_increment_log_start_offset(5)
    assert harness.log.fetch_offset_by_timestamp(-3) is None
    assert harness.log.fetch_offset_by_timestamp(START_MS) is None


def test_special_timestamps(tmp_path: Path) -> None:
    log = LogHarness(tmp_path).log
    assert log.fetch_offset_by_timestamp(-1) == (-1, 0, -1)
    assert log.fetch_offset_by_timestamp(-2) == (-1, 0, -1)
    assert log.fetch_offset_by_timestamp(-3) is None
    assert log.fetch_offset_by_timestamp(START_MS) is None
    for epoch in (2, 4):
        log.append_as_leader(batch(b"a", b"b"), epoch)
    log.update_high_watermark(4)
    log.maybe_increment_log_start_offset(1)
    assert log.fetch_offset_by_timestamp(-1) == (-1, 4, 4)
    assert log.fetch_offset_by_timestamp(-2) == (-1, 1, 2)
    assert log.fetch_offset_by_timestamp(-4) == (-1, 1, 2)
    assert log.fetch_offset_by_timestamp(-5) == (-1, -1, -1)
    assert log.fetch_offset_by_timestamp(START_MS) == (START_MS + 1, 1, 2)


class TestTransactions:
    """Producers 1 and 2 with transactions across segments."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> LogHarness:
        return LogHarness(tmp_path, LogConfig(segment_bytes=400, index_interval_bytes=100))

    def data(self, harness: LogHarness, producer_id: int, sequence: int) -> int:
        records = batch(producer_id=producer_id, producer_epoch=0, sequence=sequence, transactional=True)
        return harness.log.append_as_leader(records, 0).first_offset

    def end(self, harness: LogHarness, producer_id: int, *, commit: bool) -> int:
        records = marker(producer_id, commit=commit)
        return harness.log.append_as_leader(records, 0, origin=AppendOrigin.COORDINATOR).first_offset

    def test_the_last_stable_offset_waits_for_decision_and_replication(self, harness: LogHarness) -> None:
        log = harness.log
        log.append_as_leader(batch(), 0)  # 0
        self.data(harness, 1, 0)  # 1
        self.data(harness, 2, 0)  # 2
        log.update_high_watermark(3)
        assert (log.first_unstable_offset, log.last_stable_offset) == (1, 1)
        self.end(harness, 1, commit=True)  # 3
        assert log.last_stable_offset == 1
        log.update_high_watermark(4)
        assert log.last_stable_offset == 2
        self.end(harness, 2, commit=False)  # 4
        log.update_high_watermark(5)
        assert (log.first_unstable_offset, log.last_stable_offset) == (None, 5)
        assert read_headers(log, 0, max_offset=2)[-1].next_offset == 2

    def test_reads_name_the_aborted_transactions_they_overlap(self, harness: LogHarness) -> None:
        log = harness.log
        for sequence in range(30):
            self.data(harness, 1, 3 * sequence)
            self.data(harness, 2, sequence)
            self.data(harness, 1, 3 * sequence + 1)
            self.end(harness, 1, commit=False)
            self.end(harness, 2, commit=sequence % 2 == 0)
            self.data(harness, 1, 3 * sequence + 2)
            self.end(harness, 1, commit=True)
        assert len(log.segments) > 5
        expected = [(1, 7 * n, 7 * n + 3) for n in range(30)]
        expected += [(2, 7 * n + 1, 7 * n + 4) for n in range(30) if n % 2]
        for prepare in (as_it_is, reopened, recovered):
            prepare(harness)
            log = harness.log
            for offset in range(0, 210, 5):
                result = log.read(offset, 300, max_offset=210, with_aborted_transactions=True)
                assert result.records is not None
                with result.records as records:
                    headers = [header for _, header in iterate_batches(records.read())]
                assert result.aborted_transactions is not None
                found = {entry[:3] for entry in result.aborted_transactions}
                needed = {
                    entry for entry in expected if entry[2] >= offset and entry[1] < headers[-1].next_offset
                }
                assert needed <= found <= set(expected)
                assert all(entry[2] >= offset for entry in found)
            assert {entry[:3] for entry in log.aborted_transactions(0, 210)} == set(expected)

    def test_nothing_is_aborted_in_an_empty_read(self, harness: LogHarness) -> None:
        assert (
            harness.log.read(0, 100, max_offset=0, with_aborted_transactions=True).aborted_transactions == []
        )
        assert harness.log.read(0, 100, max_offset=0).aborted_transactions is None

    def test_open_transactions_survive_every_kind_of_restart(self, harness: LogHarness) -> None:
        for sequence in range(10):
            self.data(harness, 1, sequence)
            harness.log.append_as_leader(batch(), 0)
        for prepare in (reopened, recovered):
            prepare(harness)
            assert harness.log.first_unstable_offset == 0
            assert harness.log.has_ongoing_transaction(1)
        self.end(harness, 1, commit=False)
        harness.reopen_after_kill()
        assert [entry[:3] for entry in harness.log.aborted_transactions(0, 100)] == [(1, 0, 20)]
        harness.log.update_high_watermark(21)
        assert harness.log.last_stable_offset == 21


def test_everything_is_read_back_in_order(harness: LogHarness) -> None:
    assert [record.offset for record in read_all(harness.log)] == list(range(300))
