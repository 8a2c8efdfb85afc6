"""What the simulation has found, as one short story each: on the simulated disk, where power losses are at hand."""

from __future__ import annotations

import errno
import random
import uuid
from dataclasses import replace

import pytest

from storage.checkpoint import RECOVERY_POINT_CHECKPOINT, decode_offsets
from storage.errors import StorageError
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.producer_append import AppendOrigin
from storage.topic_partition import TopicPartition
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk, Loss
from tests.sim.filesystem import WRITES, Fault, SimulatedFilesystem
from tests.storage.support import START_MS, batch, marker, read_all, replicated

NAME = TopicPartition("t", 0)
TOPIC_ID = uuid.UUID(int=7)
CONFIG = LogConfig(segment_bytes=200, index_interval_bytes=0, retention_ms=-1, file_delete_delay_ms=0)


class Story:
    """One broker's logs through kills, clean shutdowns and power losses that take all that was not synced."""

    def __init__(self, *directories: str, config: LogConfig = CONFIG) -> None:
        self.config = config
        self.directories = directories or ("/d",)
        self.disk = Disk(random.Random(1), lambda: START_MS, Coverage())
        self.start()

    def start(self) -> None:
        self.filesystem = SimulatedFilesystem(self.disk)
        self.manager = LogManager(
            self.directories,
            filesystem=self.filesystem,
            clock_ms=lambda: START_MS,
            random_uuid=uuid.uuid4,
            random_below=lambda below: 0,
        )
        self.manager.open(node_id=1, cluster_id="c")
        self.manager.load(lambda topic: self.config)

    def create(self, directory: str | None = None) -> Log:
        return self.manager.create(NAME, TOPIC_ID, self.config, directory=directory)

    @property
    def log(self) -> Log:
        log = self.manager.get(NAME)
        assert log is not None
        return log

    def kill(self) -> Log:
        self.filesystem.kill()
        self.start()
        return self.log

    def lose_power(self) -> None:
        self.filesystem.kill()
        self.disk.name_changes.clear()
        self.disk.locks.clear()
        self.disk._settle(self.disk.root, Loss.NOTHING_SURVIVES, set())
        self.start()

    def stop_cleanly(self) -> None:
        self.manager.close()
        self.filesystem.kill()


def test_a_new_log_directory_does_not_vanish_with_what_was_synced_in_it() -> None:
    story = Story("/new/d")
    story.create().append_as_leader(batch(b"x"), 0)
    story.log.flush()
    story.lose_power()
    assert [record.value for record in read_all(story.log)] == [b"x"]


def test_a_clean_shutdown_after_a_flush_closes_the_time_index() -> None:
    story = Story(config=replace(CONFIG, index_interval_bytes=4096))
    story.create()
    for timestamp in (START_MS, START_MS + 10):
        story.log.append_as_leader(batch(timestamp=timestamp), 0)
        story.log.flush()
        story.stop_cleanly()
        story.start()
    assert story.log.fetch_offset_by_timestamp(-3) == (START_MS + 10, 1, 0)


def test_a_smaller_index_does_not_stop_recovery() -> None:
    story = Story(config=replace(CONFIG, segment_bytes=10_000))
    log = story.create()
    for _ in range(20):
        log.append_as_leader(batch(), 0)
    story.config = replace(CONFIG, segment_bytes=10_000, segment_index_bytes=48)
    log = story.kill()
    assert [record.offset for record in read_all(log)] == list(range(20))
    assert log.append_as_leader(batch(), 0).first_offset == 20


def test_several_batches_at_once_may_fill_an_index() -> None:
    log = Story(config=replace(CONFIG, segment_bytes=10_000, segment_index_bytes=48)).create()
    records = bytearray()
    for offset in range(20):
        records += replicated(offset)
    log.append_as_follower(records)
    assert len(read_all(log)) == 20


def test_a_log_start_that_was_checkpointed_does_not_fall_back_with_deleted_segments() -> None:
    story = Story()
    log = story.create()
    for _ in range(8):
        log.append_as_leader(batch(b"x" * 50), 0)
    log.flush()
    log.update_high_watermark(8)
    log.maybe_increment_log_start_offset(log.segments[2].base_offset)
    start = log.log_start_offset
    assert log.delete_old_segments() == 2
    story.manager.checkpoint()
    story.manager.run_removals()
    story.lose_power()
    assert story.log.log_start_offset == start


def test_a_truncation_below_the_log_start_survives_a_kill() -> None:
    story = Story()
    log = story.create()
    for _ in range(6):
        log.append_as_leader(batch(b"x" * 50), 0)
    log.update_high_watermark(6)
    log.maybe_increment_log_start_offset(5)
    story.manager.checkpoint()
    log.truncate_to(2)
    log.append_as_leader(batch(b"new"), 1)
    log = story.kill()
    assert log.log_start_offset <= 2
    assert read_all(log)[-1].value == b"new"


def test_a_deleted_log_does_not_stand_in_the_way_of_its_successor_elsewhere() -> None:
    story = Story("/d0", "/d1")
    story.manager.checkpoint()  # which will say the same after the deletion, and so not be written again
    story.create("/d0")
    story.filesystem.sync_directory("/d0")
    story.manager.delete([NAME])
    story.create("/d1").append_as_leader(batch(b"x"), 0)
    story.log.flush()
    story.lose_power()
    assert [record.value for record in read_all(story.log)] == [b"x"]


def test_what_is_appended_after_a_loss_is_not_taken_for_what_a_checkpoint_vouched_for() -> None:
    story = Story()
    log = story.create()
    for _ in range(6):
        log.append_as_leader(batch(b"x" * 20), 0)
    log.flush()
    story.manager.checkpoint()
    story.filesystem.kill()
    for segment in log.segments[1:]:  # as if the disk had lost them
        SimulatedFilesystem(story.disk).remove(segment.handle.path)
    SimulatedFilesystem(story.disk).sync_directory("/d/t-0")
    story.start()
    told = decode_offsets(story.filesystem.read_file(f"/d/{RECOVERY_POINT_CHECKPOINT}"))
    assert told[NAME] <= story.log.log_end_offset < 6


def test_transactions_that_end_in_one_append_are_noted_one_after_the_other() -> None:
    log = Story(config=replace(CONFIG, segment_bytes=10_000)).create()

    def of(producer_id: int, offset: int) -> bytearray:
        return replicated(
            offset, producer_id=producer_id, producer_epoch=0, base_sequence=0, is_transactional=True
        )

    def abort(producer_id: int, offset: int) -> bytearray:
        records = marker(producer_id, commit=False)
        records[:8] = offset.to_bytes(8, "big")
        records[12:16] = bytes(4)
        return records

    log.append_as_follower(of(1, 0) + of(2, 1) + abort(2, 2) + abort(1, 3))
    found = [tuple(each) for each in log.aborted_transactions(0, 4)]
    assert found == [(2, 1, 2, 0), (1, 0, 3, 4)]


def test_a_part_of_an_index_entry_is_taken_away_again() -> None:
    story = Story(config=replace(CONFIG, segment_bytes=10_000))
    log = story.create()
    log.append_as_leader(batch(), 0)
    log.append_as_leader(batch(), 0)
    fault = Fault(WRITES, "/d/t-0/00000000000000000000.index", errno.ENOSPC)
    story.disk.random = random.Random(4)  # a part of the entry, not all and not nothing
    story.filesystem.faults.append(fault)
    with pytest.raises(StorageError):
        log.append_as_leader(batch(), 0)
    assert fault.count == 0
    assert story.filesystem.file_size("/d/t-0/00000000000000000000.index") % 8 == 0


def test_a_truncation_that_was_interrupted_is_not_followed_by_a_clean_shutdown() -> None:
    story = Story()
    log = story.create()
    for _ in range(4):
        log.append_as_leader(batch(b"x", b"y" * 20), 0)
    fault = Fault(WRITES | {"truncate"}, "/d/t-0/0", errno.ENOSPC, count=-1)
    story.filesystem.faults.append(fault)
    with pytest.raises(StorageError):
        log.truncate_to(3)
    story.filesystem.faults.clear()
    story.stop_cleanly()
    assert not SimulatedFilesystem(story.disk).exists("/d/.kafka_cleanshutdown")


def test_an_emptied_segment_forgets_its_aborted_transactions_for_good() -> None:
    story = Story()
    log = story.create()
    arguments = {"producer_id": 1, "producer_epoch": 0, "sequence": 0, "transactional": True}
    log.append_as_leader(batch(**arguments), 0)  # type: ignore[arg-type]
    log.append_as_leader(marker(1, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    log.roll()
    log.flush()
    log.truncate_fully_and_start_at(0)
    story.stop_cleanly()
    story.lose_power()
    assert story.log.log_end_offset == 0
    assert story.log.aborted_transactions(0, 100) == []


def test_a_refused_batch_behind_a_gap_leaves_no_segment_that_begins_behind_the_next_one() -> None:
    story = Story()
    log = story.create()
    log.append_as_follower(replicated(0, b"x" * 60))
    fault = Fault(
        frozenset({"write"}), "/d/t-0/", errno.ENOSPC, delay=1
    )  # the old segment's time index is closed
    story.filesystem.faults.append(fault)
    with pytest.raises(StorageError):
        log.append_as_follower(replicated(9, b"y" * 60))
    assert fault.count == 0
    assert log.append_as_leader(batch(b"z" * 60), 1).first_offset == 1
    log.flush()
    log = story.kill()
    assert [(record.offset, record.value) for record in read_all(log)] == [(0, b"x" * 60), (1, b"z" * 60)]
