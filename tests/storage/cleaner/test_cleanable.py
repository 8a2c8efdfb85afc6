"""What may be cleaned, which log comes first, and what the checkpoint file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.cleaner.checkpoints import CleanerCheckpoints
from storage.cleaner.cleanable import cleanable_offsets, log_to_clean
from storage.cleaner.manager import LogCleanerManager
from storage.errors import StorageError
from storage.filesystem import OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.producer_append import AppendOrigin
from storage.topic_partition import TopicPartition
from tests.storage.cleaner.cleaning_support import config
from tests.storage.support import START_MS, TOPIC_ID, FailingFilesystem, LogHarness, batch, make_manager

SIZE = len(batch())
ONE, TWO = TopicPartition("one", 0), TopicPartition("two", 0)


def fill(log: Log, segments: int, *, timestamp: int = START_MS) -> None:
    for number in range(segments):
        log.append_as_leader(batch(timestamp=timestamp + number), 0)
        log.append_as_leader(batch(timestamp=timestamp + number), 0)
        log.roll()
    log.update_high_watermark(log.log_end_offset)


@pytest.fixture
def harness(tmp_path: Path) -> LogHarness:
    return LogHarness(tmp_path, config(segment_bytes=1 << 20))


class TestOffsets:
    def test_everything_but_the_active_segment(self, harness: LogHarness) -> None:
        fill(harness.log, 3)
        assert cleanable_offsets(harness.log, None, START_MS) == (0, 6, False)
        assert cleanable_offsets(harness.log, 4, START_MS) == (4, 6, False)
        chosen = log_to_clean(harness.log, cleanable_offsets(harness.log, 4, START_MS), START_MS)
        assert (chosen.clean_bytes, chosen.cleanable_bytes) == (4 * SIZE, 2 * SIZE)
        assert chosen.cleanable_ratio == pytest.approx(1 / 3)

    @pytest.mark.parametrize("checkpoint", [1, 7])
    def test_a_checkpoint_outside_of_the_log(self, harness: LogHarness, checkpoint: int) -> None:
        fill(harness.log, 3)
        harness.log.maybe_increment_log_start_offset(2)
        assert cleanable_offsets(harness.log, checkpoint, START_MS) == (2, 6, True)

    def test_not_from_the_high_watermark_on(self, harness: LogHarness) -> None:
        fill(harness.log, 3)
        harness.log.update_high_watermark(3)
        offsets = cleanable_offsets(harness.log, None, START_MS)
        assert offsets.first_uncleanable_offset == 3
        assert log_to_clean(harness.log, offsets, START_MS).first_uncleanable_offset == 2

    def test_not_from_an_undecided_transaction_on(self, harness: LogHarness) -> None:
        fill(harness.log, 2)
        open_transaction = batch(producer_id=7, producer_epoch=0, sequence=0, transactional=True)
        harness.log.append_as_leader(open_transaction, 0, origin=AppendOrigin.COORDINATOR)
        harness.log.roll()
        fill(harness.log, 1)
        chosen = log_to_clean(harness.log, cleanable_offsets(harness.log, None, START_MS), START_MS)
        assert chosen.first_uncleanable_offset == 4

    def test_minimum_lag(self, harness: LogHarness) -> None:
        harness.log.update_config(config(min_compaction_lag_ms=100))
        fill(harness.log, 4)
        # The third segment's records are of START_MS + 2.
        found = [
            cleanable_offsets(harness.log, None, START_MS + now).first_uncleanable_offset
            for now in (0, 100, 102, 103, 200)
        ]
        assert found == [0, 2, 6, 8, 8]

    def test_maximum_lag(self, harness: LogHarness) -> None:
        harness.log.update_config(config(max_compaction_lag_ms=100, min_cleanable_dirty_ratio=0.9))
        fill(harness.log, 10)
        offsets = cleanable_offsets(harness.log, 18, START_MS)
        assert not log_to_clean(harness.log, offsets, START_MS + 109).should_be_cleaned
        assert log_to_clean(harness.log, offsets, START_MS + 110).should_be_cleaned
        nothing = cleanable_offsets(harness.log, 20, START_MS)
        assert not log_to_clean(harness.log, nothing, START_MS + 1000).should_be_cleaned

    def test_the_ratio_must_be_exceeded(self, harness: LogHarness) -> None:
        fill(harness.log, 4)
        offsets = cleanable_offsets(harness.log, 4, START_MS)
        for ratio, expected in ((0.49, True), (0.5, False)):
            harness.log.update_config(config(min_cleanable_dirty_ratio=ratio))
            assert log_to_clean(harness.log, offsets, START_MS).should_be_cleaned is expected


class TestManager:
    def test_the_dirtiest_log_comes_first(self, tmp_path: Path) -> None:
        logs = make_manager(tmp_path)
        logs.open(node_id=1)
        logs.load(lambda topic: config())
        manager = LogCleanerManager(logs)
        directory = logs.directories[0].path
        first, second = logs.create(ONE, TOPIC_ID, config()), logs.create(TWO, TOPIC_ID, config())
        deleting = logs.create(TopicPartition("three", 0), TOPIC_ID, LogConfig(min_cleanable_dirty_ratio=0.0))
        assert manager.choose() is None
        for log in (first, second, deleting):
            fill(log, 4)
        logs.cleaner_checkpoints.begin_update(directory, ONE, 6)
        chosen = manager.choose()
        assert chosen is not None
        assert chosen.log is second
        cleaning = manager.begin(chosen, memory_bytes=1 << 16, load_factor=0.9, buffer_bytes=1 << 12)
        assert cleaning is not None
        other = manager.choose()  # one cleaning a log
        assert other is not None
        assert other.log is first
        for _ in cleaning.steps():
            pass
        manager.finish(second, cleaning)()
        logs.cleaner_checkpoints.begin_update(directory, ONE, 8)
        assert manager.choose() is None
        logs.close()

    def test_a_wrong_checkpoint_is_set_right(self, tmp_path: Path) -> None:
        logs = make_manager(tmp_path)
        logs.open(node_id=1)
        logs.load(lambda topic: config())
        log = logs.create(ONE, TOPIC_ID, config())
        fill(log, 2)
        logs.cleaner_checkpoints.begin_update(logs.directories[0].path, ONE, 1000)
        chosen = LogCleanerManager(logs).choose()
        assert chosen is not None
        assert chosen.first_dirty_offset == 0
        assert logs.cleaner_checkpoints.offset_of(logs.directories[0].path, ONE) == 0
        logs.close()


class TestCheckpoints:
    def test_a_truncation_is_told_before_it_happens(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        logs = make_manager(tmp_path, filesystem=filesystem)
        logs.open(node_id=1)
        logs.load(lambda topic: config())
        log = logs.create(ONE, TOPIC_ID, config())
        fill(log, 4)
        path = logs.directories[0].path
        logs.cleaner_checkpoints.begin_update(path, ONE, 6)()
        filesystem.fail_write = lambda name, position, size: 5 if "cleaner" in name else 0
        with pytest.raises(StorageError):
            log.truncate_to(3)
        assert log.log_end_offset == 8
        assert logs.cleaner_checkpoints.offset_of(path, ONE) == 6
        filesystem.fail_write = lambda name, position, size: 0
        log.truncate_to(7)
        assert (tmp_path / "cleaner-offset-checkpoint").read_text() == "0\n1\none 0 6\n"
        log.truncate_to(3)
        assert (tmp_path / "cleaner-offset-checkpoint").read_text() == "0\n1\none 0 3\n"
        logs.close()

    def test_a_new_log_does_not_inherit_the_offset_of_a_deleted_one(self, tmp_path: Path) -> None:
        logs = make_manager(tmp_path)
        logs.open(node_id=1)
        logs.load(lambda topic: config())
        for name in (ONE, TWO):
            logs.create(name, TOPIC_ID, config())
            logs.cleaner_checkpoints.begin_update(logs.directories[0].path, name, 6)()
        logs.delete([ONE])
        assert (tmp_path / "cleaner-offset-checkpoint").read_text() == "0\n1\ntwo 0 6\n"
        logs.close()
        # A crash came before the file was written.
        (tmp_path / "cleaner-offset-checkpoint").write_text("0\n2\none 0 6\ntwo 0 6\n")
        logs.open(node_id=1)
        logs.load(lambda topic: config())
        assert (tmp_path / "cleaner-offset-checkpoint").read_text() == "0\n1\ntwo 0 6\n"
        logs.close()

    def test_a_log_takes_its_offset_to_another_directory(self, tmp_path: Path) -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        checkpoints = CleanerCheckpoints(OsFilesystem())
        for path in (old, new):
            path.mkdir()
            checkpoints.load(str(path))
        checkpoints.begin_update(str(old), ONE, 5)()
        checkpoints.begin_update(str(new), TWO, 7)()
        checkpoints.moved(ONE, str(old), str(new))
        checkpoints.moved(
            TWO, str(old), str(new)
        )  # was never cleaned there: what the new directory says is stale
        assert (old / "cleaner-offset-checkpoint").read_text() == "0\n0\n"
        assert (new / "cleaner-offset-checkpoint").read_text() == "0\n1\none 0 5\n"
