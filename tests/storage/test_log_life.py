"""Rolling, truncating, deleting, flushing."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.log_config import LogConfig
from tests.storage.support import (
    START_MS,
    FailingFilesystem,
    LogHarness,
    ManualClock,
    batch,
    disk_full,
    make_context,
    read_all,
    read_headers,
    replicated,
)
from wire.errors import ApiError, ErrorCode

SIZE = len(batch())


def bases(harness: LogHarness) -> list[int]:
    return [segment.base_offset for segment in harness.log.segments]


def files(harness: LogHarness) -> set[str]:
    return {path.name for path in harness.path.iterdir()}


def test_rolls_by_size(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=3 * SIZE))
    for _ in range(7):
        harness.log.append_as_leader(batch(), 0)
    assert bases(harness) == [0, 3, 6]


def test_rolls_by_the_first_batchs_timestamp(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_ms=1000))
    for timestamp in (0, 1000, 1001, 2001, 2002):
        harness.log.append_as_leader(batch(timestamp=START_MS + timestamp), 0)
    assert bases(harness) == [0, 2, 4]
    harness.reopen_cleanly()
    harness.log.append_as_leader(batch(timestamp=START_MS + 3002), 0)
    assert bases(harness) == [0, 2, 4]
    harness.log.append_as_leader(batch(timestamp=START_MS + 3003), 0)
    assert bases(harness) == [0, 2, 4, 6]


def test_rolls_by_the_clock_without_timestamps(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_ms=1000))
    harness.log.append_as_leader(batch(timestamp=-1), 0)
    harness.clock.now_ms += 1000
    harness.log.append_as_leader(batch(timestamp=-1), 0)
    assert bases(harness) == [0]
    harness.clock.now_ms += 1
    harness.log.append_as_leader(batch(timestamp=-1), 0)
    assert bases(harness) == [0, 2]


def test_jitter_rolls_earlier(tmp_path: Path) -> None:
    context = make_context()
    context.random_below = lambda bound: bound - 1
    config = LogConfig(segment_ms=1000, segment_jitter_ms=400)
    assert context.jitter_ms(config) == 399
    assert context.jitter_ms(replace(config, segment_jitter_ms=5000)) == 999
    assert context.jitter_ms(replace(config, segment_jitter_ms=0)) == 0
    harness = LogHarness(tmp_path, config)
    for segment in harness.log.segments:
        segment.jitter_ms = 399
    for timestamp in (0, 601, 602):
        harness.log.append_as_leader(batch(timestamp=START_MS + timestamp), 0)
    assert bases(harness) == [0, 2]


def test_compacted_topics_roll_for_their_maximum_lag(tmp_path: Path) -> None:
    config = LogConfig(segment_ms=5000, max_compaction_lag_ms=1000, cleanup_policy=frozenset({"compact"}))
    harness = LogHarness(tmp_path, config)
    for timestamp in (0, 1001):
        harness.log.append_as_leader(batch(timestamp=START_MS + timestamp), 0)
    assert bases(harness) == [0, 1]


def test_rolls_when_an_index_is_full(tmp_path: Path) -> None:
    config = LogConfig(segment_index_bytes=36, index_interval_bytes=1)
    harness = LogHarness(tmp_path, config)
    for number in range(8):
        harness.log.append_as_leader(batch(timestamp=START_MS + number), 0)
    # The time index has room for three entries, one of them kept for closing; the first batch makes none.
    assert bases(harness) == [0, 3, 6]
    for segment in harness.log.segments[:-1]:
        assert segment.time_index.entry_count == 2
        assert segment.time_index.last.offset == segment.base_offset + 2


def test_rolls_before_offsets_leave_31_bits(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_follower(replicated(0))
    harness.log.append_as_follower(replicated(2**31 - 1))
    assert bases(harness) == [0]
    harness.log.append_as_follower(replicated(2**31))
    assert bases(harness) == [0, 2**31]


def test_rolling_an_empty_segment_does_nothing(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.roll()
    assert bases(harness) == [0]
    harness.log.append_as_leader(batch(), 0)
    harness.log.roll()
    harness.log.roll()
    assert bases(harness) == [0, 1]


def test_a_roll_leaves_kafkas_files(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=0), 0)
    harness.log.roll()
    assert files(harness) == {
        *(f"{base:020d}{suffix}" for base in (0, 1) for suffix in (".log", ".index", ".timeindex")),
        f"{1:020d}.snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata",
    }
    assert (harness.path / f"{0:020d}.timeindex").stat().st_size == 12


def test_the_index_is_sparse(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(index_interval_bytes=10 * SIZE))
    for number in range(100):
        harness.log.append_as_leader(batch(timestamp=START_MS + number), 0)
    (segment,) = harness.log.segments
    assert segment.offset_index.entry_count == 9
    assert segment.offset_index.lookup(11) == (11, 11 * SIZE)


@pytest.mark.parametrize("reopen", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 2, 3, 10, 11, 28, 29])
def test_truncation(tmp_path: Path, offset: int, reopen: bool) -> None:
    harness = LogHarness(
        tmp_path, LogConfig(segment_bytes=4 * len(batch(b"a", b"b")), index_interval_bytes=1)
    )
    for number in range(15):
        epoch = number // 4
        records = batch(
            b"a", b"b", producer_id=7, producer_epoch=0, sequence=2 * number, timestamp=START_MS + number
        )
        harness.log.append_as_leader(records, epoch)
    harness.log.update_high_watermark(30)
    harness.log.flush()
    if reopen:
        harness.reopen_cleanly()
        harness.log.update_high_watermark(30)
    log = harness.log
    assert log.truncate_to(offset)
    kept = offset - offset % 2
    assert log.log_end_offset == offset
    assert log.high_watermark == log.recovery_point == offset
    assert [record.offset for record in read_all(log)] == list(range(kept))
    assert log.latest_epoch == (None if not offset else (offset - 1) // 8)
    if kept:
        assert log.active_producers[7].last_sequence == kept - 1
    else:
        assert log.active_producers == {}
    log.append_as_follower(replicated(offset, b"new", leader_epoch=9))
    assert [record.offset for record in read_all(log)] == [*range(kept), offset]
    harness.checkpoint()
    harness.reopen_after_kill()
    assert harness.log.findings == []
    assert [record.offset for record in read_all(harness.log)] == [*range(kept), offset]
    assert harness.log.log_end_offset == offset + 1
    newest = harness.log.fetch_offset_by_timestamp(-3)
    assert newest is not None


@pytest.mark.parametrize("clean", [True, False])
def test_a_truncation_into_a_gap_ends_the_log_there_for_good(tmp_path: Path, clean: bool) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_follower(replicated(0, b"a", b"b") + replicated(10, b"c"))
    for offset in (7, 1):
        harness.log.truncate_to(offset)
        harness.checkpoint()
        if clean:
            harness.reopen_cleanly()
        else:
            harness.reopen_after_kill()
        assert harness.log.log_end_offset == offset
        assert harness.log.findings == []
    assert read_all(harness.log) == []


def test_truncating_behind_the_end_only_drops_epochs(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_leader(batch(), 1)
    harness.log.assign_epoch_start_offset(2, 1)
    assert not harness.log.truncate_to(1)
    assert not harness.log.truncate_to(5)
    assert harness.log.latest_epoch == 1
    assert harness.log.log_end_offset == 1


def test_truncating_before_the_first_segment_restarts_the_log(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.truncate_fully_and_start_at(10)
    harness.log.append_as_follower(replicated(10))
    assert harness.log.truncate_to(5)
    assert (harness.log.log_start_offset, harness.log.log_end_offset) == (5, 5)
    assert bases(harness) == [5]


def test_full_truncation(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=SIZE))
    for sequence in range(5):
        harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=sequence), 3)
    harness.log.truncate_fully_and_start_at(100, log_start_offset=40)
    log = harness.log
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (40, 100, 100)
    assert log.latest_epoch is None
    assert log.active_producers == {}
    assert bases(harness) == [100]
    harness.clock.now_ms += 60_000
    log._context.removals.run_due()
    assert files(harness) == {
        f"{100:020d}.log",
        f"{100:020d}.index",
        f"{100:020d}.timeindex",
        "leader-epoch-checkpoint",
        "partition.metadata",
    }
    assert log.append_as_leader(batch(), 4).first_offset == 100
    harness.checkpoint()
    harness.reopen_after_kill()
    assert (harness.log.log_start_offset, harness.log.log_end_offset) == (100, 101)


def test_a_log_may_restart_at_the_offset_it_began_with(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_leader(batch(b"old"), 0)
    harness.log.truncate_fully_and_start_at(0)
    harness.log.append_as_leader(batch(b"new"), 0)
    harness.clock.now_ms += 60_000
    harness.log._context.removals.run_due()
    assert [record.value for record in read_all(harness.log)] == [b"new"]
    harness.reopen_after_kill()
    assert [record.value for record in read_all(harness.log)] == [b"new"]


class TestRetention:
    """Ten segments of one batch each, a second apart, then an empty active one."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> LogHarness:
        harness = LogHarness(tmp_path, LogConfig(segment_bytes=SIZE, retention_ms=-1))
        for number in range(10):
            records = batch(
                timestamp=START_MS + 1000 * number, producer_id=7, producer_epoch=0, sequence=number
            )
            harness.log.append_as_leader(records, number // 5)
        harness.log.update_high_watermark(10)
        return harness

    def config(self, harness: LogHarness, **settings: object) -> None:
        harness.log.update_config(replace(harness.config, **settings))  # type: ignore[arg-type]

    def test_nothing_goes_without_a_limit(self, harness: LogHarness) -> None:
        harness.clock.now_ms += 10**12
        assert harness.log.delete_old_segments() == 0

    def test_by_age(self, harness: LogHarness) -> None:
        self.config(harness, retention_ms=10_000)
        harness.clock.now_ms = START_MS + 13_000
        assert harness.log.delete_old_segments() == 3
        assert harness.log.log_start_offset == 3
        assert bases(harness) == list(range(3, 10))
        assert {f"{base:020d}.log.deleted" for base in range(3)} <= files(harness)
        assert harness.log.fetch_offset_by_timestamp(-2) == (-1, 3, 0)

    def test_by_age_of_the_file_without_timestamps(self, tmp_path: Path) -> None:
        harness = LogHarness(tmp_path, LogConfig(segment_bytes=SIZE, retention_ms=10_000))
        harness.log.append_as_leader(batch(timestamp=-1), 0)
        harness.log.append_as_leader(batch(timestamp=-1), 0)
        harness.log.update_high_watermark(2)
        written_ms = harness.filesystem.modified_ms(f"{harness.path}/{1:020d}.log")
        harness.clock.now_ms = written_ms + 10_000
        assert harness.log.delete_old_segments() in (0, 1)
        harness.clock.now_ms = written_ms + 10_001
        harness.log.delete_old_segments()
        assert harness.log.log_start_offset == 2

    def test_everything_may_go(self, harness: LogHarness) -> None:
        self.config(harness, retention_ms=1)
        harness.clock.now_ms = START_MS + 60_000
        assert harness.log.delete_old_segments() == 10
        assert (harness.log.log_start_offset, harness.log.log_end_offset) == (10, 10)
        assert bases(harness) == [10]
        assert harness.log.latest_epoch == 1
        harness.reopen_cleanly()
        assert (harness.log.log_start_offset, harness.log.log_end_offset) == (10, 10)
        # A producer is remembered although its records are gone.
        assert harness.log.append_as_leader(
            batch(producer_id=7, producer_epoch=0, sequence=9), 2
        ).is_duplicate

    def test_by_size(self, harness: LogHarness) -> None:
        self.config(harness, retention_bytes=4 * SIZE + 1)
        assert harness.log.delete_old_segments() == 5
        assert harness.log.size_bytes == 5 * SIZE
        self.config(harness, retention_bytes=4 * SIZE)
        assert harness.log.delete_old_segments() == 1

    def test_never_above_the_high_watermark(self, harness: LogHarness) -> None:
        harness.log.update_high_watermark(4)
        self.config(harness, retention_bytes=0)
        assert harness.log.delete_old_segments() == 4
        assert harness.log.log_start_offset == 4

    def test_compaction_alone_keeps_old_segments(self, harness: LogHarness) -> None:
        self.config(harness, retention_ms=1, retention_bytes=1, cleanup_policy=frozenset({"compact"}))
        harness.clock.now_ms += 10**9
        assert harness.log.delete_old_segments() == 0
        harness.log.maybe_increment_log_start_offset(4)
        assert harness.log.delete_old_segments() == 4

    def test_deleted_records(self, harness: LogHarness) -> None:
        assert harness.log.maybe_increment_log_start_offset(4)
        assert not harness.log.maybe_increment_log_start_offset(4)
        assert not harness.log.maybe_increment_log_start_offset(3)
        assert [record.offset for record in read_all(harness.log)] == list(range(4, 10))
        with pytest.raises(ApiError) as raised:
            harness.log.maybe_increment_log_start_offset(11)
        assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
        harness.checkpoint()
        harness.reopen_after_kill()
        assert harness.log.log_start_offset == 4

    def test_works_on_a_full_disk(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        harness = LogHarness(tmp_path, LogConfig(segment_bytes=SIZE), filesystem=filesystem)
        for number in range(4):
            harness.log.append_as_leader(batch(timestamp=START_MS), number)
        harness.log.update_high_watermark(4)
        filesystem.fail_write, filesystem.partial = disk_full, True
        self.config(harness, retention_bytes=2 * SIZE)
        assert harness.log.delete_old_segments() == 2
        assert harness.log.log_start_offset == 2
        assert harness.log.end_offset_for_epoch(2) == (2, 3)
        filesystem.fail_write = lambda *_: 0
        harness.log.flush()
        harness.reopen_cleanly()
        assert harness.log.end_offset_for_epoch(2) == (2, 3)
        assert harness.log.findings == []

    def test_removal_waits(self, harness: LogHarness) -> None:
        self.config(harness, retention_bytes=0, file_delete_delay_ms=5000)
        harness.log.delete_old_segments()
        removals = harness.log._context.removals
        assert removals.run_due() > 0
        harness.clock.now_ms += 5000
        assert removals.run_due() == 0
        assert not any(name.endswith(".deleted") for name in files(harness))


class TestFlush:
    @pytest.fixture
    def filesystem(self) -> FailingFilesystem:
        return FailingFilesystem()

    @pytest.fixture
    def harness(self, tmp_path: Path, filesystem: FailingFilesystem) -> LogHarness:
        return LogHarness(tmp_path, filesystem=filesystem)

    def synced(self, harness: LogHarness, filesystem: FailingFilesystem) -> set[str]:
        names = {path.removeprefix(f"{harness.path}/") for path in filesystem.synced}
        filesystem.synced.clear()
        return names

    def test_syncs_the_segment_and_what_is_new_about_the_log(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        self.synced(harness, filesystem)
        harness.log.append_as_leader(batch(), 0)
        assert harness.log.recovery_point == 0
        harness.log.flush()
        assert harness.log.recovery_point == 1
        assert self.synced(harness, filesystem) == {
            f"{0:020d}.log",
            "leader-epoch-checkpoint",
            "partition.metadata",
            str(harness.path),
            str(harness.path.parent),
        }
        harness.log.append_as_leader(batch(), 0)
        harness.log.flush()
        assert self.synced(harness, filesystem) == {f"{0:020d}.log"}
        harness.log.flush()
        assert self.synced(harness, filesystem) == set()

    def test_syncs_indexes_and_snapshot_of_rolled_segments_before_the_recovery_point_passes(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=0), 0)
        harness.log.flush()
        self.synced(harness, filesystem)
        harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=1), 0)
        harness.log.roll()
        assert harness.log.has_unflushed_segments
        harness.log.append_as_leader(batch(), 0)
        harness.log.flush(2)
        assert harness.log.recovery_point == 2
        assert not harness.log.has_unflushed_segments
        assert self.synced(harness, filesystem) == {
            f"{0:020d}.log",
            f"{0:020d}.index",
            f"{0:020d}.timeindex",
            f"{2:020d}.snapshot",
            str(harness.path),
        }

    def test_a_segment_that_is_rolled_during_a_flush_is_not_passed(self, harness: LogHarness) -> None:
        harness.log.append_as_leader(batch(), 0)
        harness.log.append_as_leader(batch(), 0)
        pending = harness.log.begin_flush()
        assert pending is not None
        harness.log.roll()
        pending.sync()
        pending.finish()
        assert harness.log.recovery_point == 2
        assert harness.log.checkpoint_offset == 1  # the first segment's indexes are not on the disk
        assert harness.log.has_unflushed_segments
        harness.log.flush()
        assert harness.log.checkpoint_offset == 2
        assert not harness.log.has_unflushed_segments

    def test_a_truncation_during_a_flush_voids_it(self, harness: LogHarness) -> None:
        for _ in range(4):
            harness.log.append_as_leader(batch(), 0)
        pending = harness.log.begin_flush()
        assert pending is not None
        harness.log.truncate_to(2)
        harness.log.append_as_leader(batch(), 0)
        harness.log.append_as_leader(batch(), 0)
        pending.sync()
        pending.finish()
        assert harness.log.recovery_point == 0

    def test_appends_go_on_during_a_flush(self, harness: LogHarness, filesystem: FailingFilesystem) -> None:
        harness.log.append_as_leader(batch(), 0)
        pending = harness.log.begin_flush()
        assert pending is not None
        harness.log.append_as_leader(batch(), 1)
        pending.sync()
        pending.finish()
        assert harness.log.recovery_point == 1
        self.synced(harness, filesystem)
        harness.log.flush()
        assert self.synced(harness, filesystem) >= {f"{0:020d}.log", "leader-epoch-checkpoint"}

    def test_a_failing_disk_keeps_the_recovery_point(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        harness.log.append_as_leader(batch(), 0)
        filesystem.fail_sync = errno.EIO
        with pytest.raises(StorageError) as raised:
            harness.log.flush()
        assert not raised.value.disk_full
        assert harness.log.recovery_point == 0
        assert filesystem.open_paths.count(f"{harness.path}/{0:020d}.log") == 1
        harness.log.abandon()
        assert filesystem.open_paths == []

    def test_closing_syncs_everything(self, harness: LogHarness, filesystem: FailingFilesystem) -> None:
        harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=0), 0)
        self.synced(harness, filesystem)
        harness.log.close()
        assert self.synced(harness, filesystem) >= {
            f"{0:020d}.log",
            f"{0:020d}.index",
            f"{0:020d}.timeindex",
            f"{1:020d}.snapshot",
            "leader-epoch-checkpoint",
            str(harness.path),
        }
        assert harness.log.recovery_point == 1
        assert filesystem.open_paths == []

    def test_an_untouched_log_is_closed_without_a_sync(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        harness.log.append_as_leader(batch(), 0)
        harness.reopen_cleanly()
        self.synced(harness, filesystem)
        opens = filesystem.opens
        harness.log.close()
        assert self.synced(harness, filesystem) == set()
        assert filesystem.opens == opens


def test_a_failed_roll_leaves_the_log_usable(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=2 * SIZE), filesystem=filesystem)
    harness.log.append_as_leader(batch(), 0)
    harness.log.append_as_leader(batch(), 0)
    filesystem.fail_truncate = errno.ENOSPC
    with pytest.raises(StorageError):
        harness.log.append_as_leader(batch(), 0)
    assert bases(harness) == [0]
    filesystem.fail_truncate = 0
    harness.log.append_as_leader(batch(), 0)
    assert bases(harness) == [0, 2]
    harness.reopen_after_kill()
    assert [record.offset for record in read_all(harness.log)] == [0, 1, 2]


def test_renaming_the_directory_keeps_the_log_working(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, LogConfig(index_interval_bytes=1))
    for sequence in range(3):
        harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=sequence), 0)
    harness.log.rename_directory("orders-0.renamed")
    harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=3), 1)
    harness.log.roll()
    assert [record.offset for record in read_all(harness.log)] == [0, 1, 2, 3]
    assert not harness.path.exists()
    harness.log.close()
    assert (tmp_path / "orders-0.renamed" / f"{4:020d}.snapshot").exists()


def test_a_log_of_another_topic_id_is_refused(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path, clock=ManualClock())
    import uuid

    with pytest.raises(ApiError) as raised:
        harness.log.assign_topic_id(uuid.UUID(int=5))
    assert raised.value.code is ErrorCode.INCONSISTENT_TOPIC_ID


def test_expiry_runs_on_the_logs_clock(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=0), 0)
    harness.clock.now_ms += 24 * 60 * 60 * 1000
    harness.log.remove_expired_producers()
    info = harness.log.append_as_leader(batch(producer_id=7, producer_epoch=0, sequence=50), 0)
    assert info.first_offset == 1
    assert read_headers(harness.log, 1)[0].base_sequence == 50


def test_an_epoch_without_records_is_kept_over_a_clean_shutdown_only(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    harness.log.assign_epoch_start_offset(3, 0)
    checkpoint = harness.path / "leader-epoch-checkpoint"
    written = checkpoint.stat().st_mtime_ns
    assert harness.reopen_cleanly().latest_epoch == 3
    # Idle partitions are many: opening one must not rewrite what it holds already.
    assert checkpoint.stat().st_mtime_ns == written
    assert harness.reopen_after_kill().latest_epoch is None
