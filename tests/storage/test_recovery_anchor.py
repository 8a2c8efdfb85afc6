"""Recovery that begins at an anchor: reads only from there, ends where a full scan ends, and believes no false one."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import CorruptCheckpointError, StorageError
from storage.index_extent import IndexExtent
from storage.log_config import LogConfig
from storage.producer_append import AppendOrigin
from storage.recovery_anchor import RecoveryAnchor, decode_anchors, encode_anchors
from storage.recovery_report import FindingKind
from storage.segment import Segment
from storage.topic_partition import TopicPartition
from tests.storage.support import (
    PARTITION,
    START_MS,
    FailingFilesystem,
    LogHarness,
    batch,
    disk_full,
    marker,
    read_all,
    replicated,
)

SIZE = len(batch(b"%05d" % 0, producer_id=7, producer_epoch=0))
CONFIG = LogConfig(segment_bytes=20 * SIZE, index_interval_bytes=2 * SIZE)
ANCHOR = RecoveryAnchor(
    9, 4, 700, 0xFEDCBA98, IndexExtent(16, 5), IndexExtent(24, 6), IndexExtent(0, 0), True
)


def append(harness: LogHarness, count: int = 1, *, producer_id: int = 7, size: int = 5) -> None:
    for _ in range(count):
        offset = harness.log.log_end_offset
        entry = harness.log.active_producers.get(producer_id)
        sequence = 0 if entry is None else entry.last_sequence + 1
        records = batch(
            b"%0*d" % (size, offset),
            timestamp=START_MS + offset * 7 % 11,
            producer_id=producer_id,
            producer_epoch=0 if producer_id >= 0 else -1,
            sequence=sequence if producer_id >= 0 else -1,
        )
        harness.log.append_as_leader(records, offset // 7)


def values(harness: LogHarness) -> list[bytes | None]:
    return [record.value for record in read_all(harness.log)]


def state_of(harness: LogHarness) -> dict[str, object]:
    """Everything that recovery rebuilds."""
    log = harness.log
    return {
        "offsets": (log.log_start_offset, log.log_end_offset),
        "records": values(harness),
        "producers": {
            # A snapshot knows the last batch only.
            key: (entry.producer_epoch, entry.batches[-1:], entry.transaction_first_offset)
            for key, entry in log.active_producers.items()
        },
        "unstable": log.first_unstable_offset,
        "aborted": log.aborted_transactions(0, log.log_end_offset + 1),
        "epochs": [
            log.epoch_for_offset(offset) for offset in range(log.log_start_offset, log.log_end_offset)
        ],
        "largest": [segment.largest for segment in log.segments],
        "by time": [log.fetch_offset_by_timestamp(START_MS + moment) for moment in range(12)],
    }


def path_of(harness: LogHarness, suffix: str, base: int = 0) -> Path:
    return harness.path / f"{base:020d}{suffix}"


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.fixture
def filesystem() -> FailingFilesystem:
    return FailingFilesystem()


@pytest.fixture
def harness(tmp_path: Path, filesystem: FailingFilesystem) -> LogHarness:
    return LogHarness(tmp_path, CONFIG, filesystem=filesystem)


class TestTheFile:
    def test_it_is_read_as_it_was_written(self) -> None:
        anchors = {PARTITION: ANCHOR, TopicPartition("b.c_d-e", 17): replace(ANCHOR, has_producers=False)}
        assert decode_anchors(encode_anchors(anchors)) == anchors
        assert decode_anchors(encode_anchors({})) == {}
        assert encode_anchors({PARTITION: ANCHOR}).splitlines()[:3] == [
            b"0",
            b"1",
            b"orders 0 9 4 700 4275878552 16 5 24 6 0 0 1",
        ]

    def test_a_damaged_one_is_not_believed(self) -> None:
        data = encode_anchors({PARTITION: ANCHOR})
        for position in range(len(data)):
            for damaged in (
                data[:position],
                data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :],
            ):
                with pytest.raises(CorruptCheckpointError):
                    decode_anchors(damaged)
        with pytest.raises(CorruptCheckpointError):
            decode_anchors(data + b"\n")


class TestReadingLittle:
    def test_only_what_lies_behind_the_anchor_is_read(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        harness.log.update_config(replace(CONFIG, segment_bytes=1 << 20))
        append(harness, 300, size=1000)
        harness.anchor()
        append(harness, 3)
        before = state_of(harness)
        filesystem.log_bytes_read = 0
        harness.reopen_after_kill()
        assert filesystem.log_bytes_read < 20_000 < harness.log.size_bytes / 10
        assert harness.log.findings == []
        assert state_of(harness) == before

    def test_an_idle_log_is_not_written_to(self, harness: LogHarness, filesystem: FailingFilesystem) -> None:
        append(harness, 5)
        harness.log.append_as_leader(batch(timestamp=START_MS), 3)
        harness.anchor()
        written: list[str] = []
        filesystem.fail_write = lambda path, position, size: written.append(path) or 0  # type: ignore[func-returns-value]
        for _ in range(3):
            harness.reopen_after_kill()
            assert harness.log.recovery_anchor == harness.recovery_anchor
            assert harness.log.unanchored_bytes == 0
            assert harness.log.begin_anchor() is None
        assert written == []

    def test_damage_in_front_of_the_anchor_is_found_by_readers(self, harness: LogHarness) -> None:
        append(harness, 10)
        harness.anchor()
        append(harness, 2)
        flip(path_of(harness, ".log"), 2 * SIZE + 70)
        harness.reopen_after_kill()
        assert harness.log.log_end_offset == 12
        assert harness.log.findings == []

    @pytest.mark.parametrize("cut", [1, 30, SIZE - 1])
    def test_a_torn_tail_behind_the_anchor(self, harness: LogHarness, cut: int) -> None:
        append(harness, 10)
        harness.anchor()
        append(harness, 3)
        path = path_of(harness, ".log")
        path.write_bytes(path.read_bytes()[:-cut])
        harness.reopen_after_kill()
        assert values(harness) == [b"%05d" % offset for offset in range(12)]
        assert [finding.kind for finding in harness.log.findings] == [FindingKind.TORN_TAIL]
        append(harness, 3)
        harness.reopen_after_kill()
        assert len(values(harness)) == 15
        assert harness.log.findings == []

    def test_a_wrong_base_offset_behind_the_anchor(self, harness: LogHarness) -> None:
        append(harness, 10)
        harness.anchor()
        append(harness, 4)
        flip(path_of(harness, ".log"), 11 * SIZE + 6)
        harness.reopen_after_kill()
        assert values(harness) == [b"%05d" % offset for offset in range(11)]
        assert harness.log.active_producers[7].last_sequence == 10
        assert [finding.kind for finding in harness.log.findings] == [FindingKind.CORRUPT_LOG]

    def test_the_log_rolled_since(self, harness: LogHarness) -> None:
        append(harness, 18)
        harness.anchor()
        append(harness, 30)
        assert len(harness.log.segments) == 3
        before = state_of(harness)
        harness.reopen_after_kill()
        assert state_of(harness) == before
        assert harness.log.checkpoint_offset == 18

    def test_after_a_clean_stop_there_is_an_anchor_at_the_end(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        append(harness, 15)
        harness.reopen_cleanly()
        assert harness.log.recovery_anchor is not None
        assert harness.log.recovery_anchor.offset == 15
        append(harness, 1)
        before = state_of(harness)
        harness.reopen_after_kill()
        assert state_of(harness) == before
        harness.reopen_cleanly()
        assert state_of(harness) == before

    def test_without_producers_no_snapshot_is_needed(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        append(harness, 9, producer_id=-1)
        assert not harness.anchor().has_producers
        assert list(harness.path.glob("*.snapshot")) == []
        append(harness, 2, producer_id=-1)
        append(harness, 2, producer_id=3)
        before = state_of(harness)
        filesystem.log_bytes_read = 0
        harness.reopen_after_kill()
        assert filesystem.log_bytes_read < 10 * SIZE + 500
        assert state_of(harness) == before

    def test_an_idle_log_without_producers_is_not_read(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        harness.log.update_config(replace(CONFIG, segment_bytes=1 << 20))
        append(harness, 300, size=1000, producer_id=-1)
        harness.anchor()
        filesystem.log_bytes_read = 0
        harness.reopen_after_kill()
        assert filesystem.log_bytes_read < 20_000
        assert harness.log.active_producers == {}

    def test_segments_before_the_log_start_need_not_be_sound(self, harness: LogHarness) -> None:
        """DeleteRecords made them rubbish before they were synced; a power loss then took them."""
        append(harness, 50)
        harness.log.update_high_watermark(50)
        harness.log.maybe_increment_log_start_offset(45)
        assert harness.log.recovery_point == 0
        harness.checkpoint()
        path = path_of(harness, ".log")
        path.write_bytes(path.read_bytes()[:-30])
        harness.reopen_after_kill()
        assert values(harness) == [b"%05d" % offset for offset in range(45, 50)]
        assert harness.log.findings == []
        assert harness.log.fetch_offset_by_timestamp(START_MS) is not None


def test_transactions_go_on_across_an_anchor(harness: LogHarness) -> None:
    def data(producer_id: int, sequence: int) -> bytearray:
        return batch(producer_id=producer_id, producer_epoch=0, sequence=sequence, transactional=True)

    def end(producer_id: int) -> None:
        harness.log.append_as_leader(marker(producer_id, commit=False), 0, origin=AppendOrigin.COORDINATOR)

    harness.log.append_as_leader(data(1, 0), 0)
    harness.log.append_as_leader(data(2, 0), 0)
    end(1)
    harness.log.append_as_leader(data(1, 1), 0)
    harness.anchor()
    end(2)
    harness.log.append_as_leader(data(2, 1), 0)
    end(1)
    harness.log.update_high_watermark(harness.log.log_end_offset)
    before = state_of(harness)
    harness.reopen_after_kill()
    harness.log.update_high_watermark(harness.log.log_end_offset)
    assert state_of(harness) == before
    assert len(harness.log.aborted_transactions(0, 100)) == 3


class TestFalseAnchors:
    """Whatever is wrong with an anchor or what it is about: the whole segment is read, and the result is the same."""

    def damage(name: str, change: Callable[[LogHarness], None]) -> object:  # type: ignore[misc]
        return pytest.param(change, id=name)

    def moved(**changes: object) -> Callable[[LogHarness], None]:  # type: ignore[misc]
        def change(harness: LogHarness) -> None:
            assert harness.recovery_anchor is not None
            harness.recovery_anchor = replace(harness.recovery_anchor, **changes)

        return change

    @pytest.mark.parametrize(
        "change",
        [
            damage("offset index flipped", lambda harness: flip(path_of(harness, ".index"), 9)),
            damage("time index flipped", lambda harness: flip(path_of(harness, ".timeindex"), 3)),
            damage("transaction index flipped", lambda harness: flip(path_of(harness, ".txnindex"), 3)),
            damage("offset index empty", lambda harness: path_of(harness, ".index").write_bytes(b"")),
            damage("offset index gone", lambda harness: path_of(harness, ".index").unlink()),
            damage("time index gone", lambda harness: path_of(harness, ".timeindex").unlink()),
            damage("transaction index gone", lambda harness: path_of(harness, ".txnindex").unlink()),
            damage("another last batch", moved(last_batch_crc=17)),
            damage("another position", moved(position=9 * SIZE)),
            damage("a position within a batch", moved(position=9 * SIZE + 3)),
            damage("a position behind the end", moved(position=90 * SIZE)),
            damage("another offset", moved(offset=8)),
            damage("an offset above the recovery point", moved(offset=13)),
            damage("another segment", moved(segment_base_offset=1)),
            damage("more index than there is", moved(offset_index=IndexExtent(8000, 1))),
            damage("a fraction of an entry", moved(time_index=IndexExtent(13, 1))),
            damage("lowered recovery point", lambda harness: setattr(harness, "recovery_point", 4)),
        ],
    )
    def test_they_only_cost_time(
        self, harness: LogHarness, filesystem: FailingFilesystem, change: Callable[[LogHarness], None]
    ) -> None:
        records = batch(producer_id=1, producer_epoch=0, sequence=0, transactional=True)
        harness.log.append_as_leader(records, 0)
        harness.log.append_as_leader(marker(1, commit=False), 0, origin=AppendOrigin.COORDINATOR)
        append(harness, 10)
        harness.anchor()
        append(harness, 3)
        before = state_of(harness)
        good = {suffix: path_of(harness, suffix).read_bytes() for suffix in (".index", ".txnindex")}
        change(harness)
        harness.log.abandon()
        filesystem.log_bytes_read = 0
        harness.log = harness._open(clean=False)
        assert filesystem.log_bytes_read >= harness.log.size_bytes
        assert harness.log.findings == []
        assert state_of(harness) == before
        assert harness.log.recovery_anchor is None
        assert good == {suffix: path_of(harness, suffix).read_bytes() for suffix in good}

    def test_rubbish_behind_what_was_synced_of_the_indexes_is_cut_off(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        """As in a file that Kafka had preallocated, or one whose last pages a power loss tore."""
        append(harness, 12)
        harness.anchor()
        append(harness, 5)
        before = state_of(harness)
        for suffix in (".index", ".timeindex"):
            path = path_of(harness, suffix)
            path.write_bytes(path.read_bytes() + b"\xff" * 13 + bytes(1000))
        harness.log.abandon()
        filesystem.log_bytes_read = 0
        harness.log = harness._open(clean=False)
        assert filesystem.log_bytes_read < 17 * SIZE
        assert state_of(harness) == before
        append(harness, 5)
        harness.reopen_after_kill()
        assert len(values(harness)) == 22

    @pytest.mark.parametrize("damage", ["missing", "flipped", "empty"])
    def test_a_damaged_snapshot_costs_reading_headers(self, harness: LogHarness, damage: str) -> None:
        append(harness, 12)
        harness.anchor()
        append(harness, 2)
        path = path_of(harness, ".snapshot", 12)
        if damage == "missing":
            path.unlink()
        elif damage == "flipped":
            flip(path, 20)
        else:
            path.write_bytes(b"")
        before = state_of(harness)
        harness.reopen_after_kill()
        assert state_of(harness) == before

    def test_a_stale_snapshot_behind_the_anchor_is_not_believed(self, harness: LogHarness) -> None:
        append(harness, 12)
        anchor = harness.anchor()
        append(harness, 4)
        stale = path_of(harness, ".snapshot", 12).read_bytes()
        path_of(harness, ".snapshot", 15).write_bytes(stale)
        harness.reopen_after_kill()
        assert harness.log.active_producers[7].last_sequence == 15
        assert harness.log.recovery_anchor == anchor


class TestLaying:
    def test_everything_that_it_speaks_of_is_synced(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        records = batch(producer_id=1, producer_epoch=0, sequence=0, transactional=True)
        harness.log.append_as_leader(records, 0)
        harness.log.append_as_leader(marker(1, commit=False), 0, origin=AppendOrigin.COORDINATOR)
        append(harness, 10)
        harness.log.flush()
        filesystem.synced.clear()
        harness.anchor()
        names = {Path(path).name for path in filesystem.synced}
        base = f"{0:020d}"
        assert names >= {
            f"{base}.index",
            f"{base}.timeindex",
            f"{base}.txnindex",
            f"{12:020d}.snapshot",
            "orders-0",
        }
        filesystem.synced.clear()
        append(harness, 10)
        harness.anchor()
        names = {Path(path).name for path in filesystem.synced}
        assert names >= {f"{base}.log", f"{base}.index", f"{base}.timeindex", f"{22:020d}.snapshot"}

    def test_index_entries_that_come_while_the_disk_is_busy_are_synced_by_the_next_one(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        append(harness, 5)
        pending = harness.log.begin_anchor()
        assert pending is not None
        append(harness, 5)
        pending.run()
        assert harness.log.recovery_anchor is not None
        assert harness.log.recovery_anchor.offset == 5
        filesystem.synced.clear()
        harness.anchor()
        assert f"{0:020d}.index" in {Path(path).name for path in filesystem.synced}

    def test_a_truncation_meanwhile_voids_it(self, harness: LogHarness) -> None:
        append(harness, 10)
        pending = harness.log.begin_anchor()
        assert pending is not None
        harness.log.truncate_to(4)
        append(harness, 8)
        pending.run()
        assert harness.log.recovery_anchor is None
        assert harness.log.recovery_point == 0

    def test_a_roll_meanwhile(self, harness: LogHarness) -> None:
        append(harness, 10)
        pending = harness.log.begin_anchor()
        assert pending is not None
        append(harness, 1)
        harness.log.roll()
        append(harness, 2)
        pending.run()
        harness.checkpoint()
        assert harness.recovery_anchor is not None
        assert harness.recovery_anchor.offset == harness.recovery_point == 10
        before = state_of(harness)
        harness.reopen_after_kill()
        assert state_of(harness) == before
        harness.log.flush()
        harness.anchor()
        assert harness.recovery_anchor.segment_base_offset == 11

    def test_a_roll_right_at_it(self, harness: LogHarness) -> None:
        append(harness, 10)
        pending = harness.log.begin_anchor()
        assert pending is not None
        harness.log.roll()
        pending.run()
        assert (harness.log.recovery_point, harness.log.checkpoint_offset) == (10, 9)
        assert harness.log.recovery_anchor is None
        harness.log.flush()
        assert harness.log.checkpoint_offset == 10
        assert harness.log.unanchored_bytes == 0

    def test_a_roll_where_everything_is_synced_syncs_the_indexes(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        """Or recovery would trust them, and a power loss has taken them."""
        append(harness, 10)
        harness.log.flush()
        assert harness.log.checkpoint_offset == 10
        filesystem.synced.clear()
        harness.log.roll()
        base = f"{0:020d}"
        assert {f"{base}.index", f"{base}.timeindex"} <= {Path(path).name for path in filesystem.synced}
        append(harness, 1)
        filesystem.synced.clear()
        harness.log.roll()
        assert not filesystem.synced  # the checkpoint offset is in the segment still

    def test_snapshots_do_not_pile_up(self, harness: LogHarness) -> None:
        for _ in range(12):
            append(harness, 4)
            harness.anchor()
        bases = {segment.base_offset for segment in harness.log.segments}
        found = {int(path.stem) for path in harness.path.glob("*.snapshot")}
        assert found - bases <= {44, 48}
        assert 48 in found
        harness.reopen_after_kill()
        found = {int(path.stem) for path in harness.path.glob("*.snapshot")}
        assert found - bases <= {44, 48}

    def test_a_full_disk_keeps_the_old_one(self, harness: LogHarness, filesystem: FailingFilesystem) -> None:
        append(harness, 4)
        anchor = harness.anchor()
        append(harness, 4)
        filesystem.fail_write = disk_full
        with pytest.raises(StorageError) as raised:
            harness.log.begin_anchor()
        assert raised.value.disk_full
        assert harness.log.recovery_anchor == anchor
        filesystem.fail_write = lambda path, position, size: 0
        before = state_of(harness)
        harness.reopen_after_kill()
        assert state_of(harness) == before

    def test_a_damaged_segment_gets_none(self, harness: LogHarness) -> None:
        append(harness, 10)
        harness.log.close()
        harness.checkpoint()
        flip(path_of(harness, ".log"), 4 * SIZE + 16)
        path_of(harness, ".timeindex").write_bytes(b"\0" * 7)
        harness.log = harness._open(clean=True)
        append(harness, 5)
        assert harness.log.begin_anchor() is None
        assert harness.log.recovery_anchor is not None
        assert harness.log.recovery_anchor.offset == 10


class TestTruncation:
    def test_the_checkpoint_is_lowered_before_anything_goes(self, harness: LogHarness) -> None:
        append(harness, 10)
        harness.anchor()
        seen: list[tuple[int, int, RecoveryAnchor | None]] = []
        harness.log.on_recovery_point_lowered = lambda log: seen.append(
            (log.log_end_offset, log.checkpoint_offset, log.recovery_anchor)
        )
        harness.log.truncate_to(10)
        assert seen == []
        harness.log.truncate_to(6)
        assert seen == [(10, 5, None)]

    @pytest.mark.parametrize("everything", [False, True])
    def test_when_it_cannot_be_the_log_stays(self, harness: LogHarness, everything: bool) -> None:
        append(harness, 10)
        anchor = harness.anchor()

        def refuse(log: object) -> None:
            raise StorageError(str(harness.path), "no", OSError(errno.ENOSPC, "full"))

        harness.log.on_recovery_point_lowered = refuse
        before = state_of(harness)
        truncate = harness.log.truncate_fully_and_start_at if everything else harness.log.truncate_to
        with pytest.raises(StorageError):
            truncate(3)
        assert state_of(harness) == before
        log = harness.log
        assert (log.recovery_point, log.checkpoint_offset, log.recovery_anchor) == (10, 10, anchor)

    def test_what_is_written_in_the_place_of_what_was_cut_off(self, harness: LogHarness) -> None:
        append(harness, 10)
        stale = harness.anchor()
        harness.log.truncate_to(6)
        harness.log.append_as_follower(replicated(6, b"%05d" % 6, leader_epoch=0))
        append(harness, 5, producer_id=8)
        harness.log.flush()
        harness.checkpoint()
        assert harness.recovery_anchor is None
        before = state_of(harness)
        # Even if somebody had kept it (a crash between the two files, before this was forbidden):
        harness.recovery_anchor = stale
        harness.reopen_after_kill()
        assert state_of(harness) == before

    def test_snapshots_are_gone_for_good_before_everything_else_goes(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        append(harness, 10)
        harness.anchor()
        found: list[list[str]] = []
        sync_directory = filesystem.sync_directory

        def look(path: str) -> None:
            if path == str(harness.path):
                found.append([each.name for each in harness.path.glob("*.snapshot")])
                assert found[1:] or path_of(harness, ".log").stat().st_size == 10 * SIZE
            sync_directory(path)

        filesystem.sync_directory = look  # type: ignore[method-assign]
        harness.log.truncate_fully_and_start_at(10)
        assert found[0] == []

    def test_a_cut_within_a_batch_leaves_no_trusted_unsynced_index(self, tmp_path: Path) -> None:
        harness = LogHarness(tmp_path, CONFIG)
        for _ in range(4):
            harness.log.append_as_leader(batch(b"a", b"b"), 0)
        harness.log.flush()
        harness.log.truncate_to(5)
        assert [segment.base_offset for segment in harness.log.segments] == [0, 5]
        assert (harness.log.recovery_point, harness.log.checkpoint_offset) == (5, 4)
        assert harness.recovery_point == 4
        harness.log.flush()
        assert harness.log.checkpoint_offset == 5

    def test_a_cut_within_a_batch_that_was_interrupted_is_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(BaseException):
            pass

        def die(*arguments: object) -> None:
            raise Killed

        harness = LogHarness(tmp_path, CONFIG)
        for _ in range(4):
            harness.log.append_as_leader(batch(b"a", b"b"), 0)
        harness.log.flush()
        harness.checkpoint()
        with monkeypatch.context() as patch:
            patch.setattr(Segment, "truncate_to", die)
            with pytest.raises(Killed):
                harness.log.truncate_to(5)
        harness.reopen_after_kill()
        assert (harness.log.log_end_offset, len(values(harness))) == (5, 4)
        assert not any(finding.is_data_loss for finding in harness.log.findings)

    def test_an_anchor_below_the_cut_stays(self, harness: LogHarness) -> None:
        append(harness, 6)
        anchor = harness.anchor()
        append(harness, 6)
        harness.log.truncate_to(8)
        assert harness.log.recovery_anchor == anchor
        append(harness, 3)
        before = state_of(harness)
        harness.reopen_after_kill()
        assert state_of(harness) == before

    def test_the_cut_is_synced(self, harness: LogHarness, filesystem: FailingFilesystem) -> None:
        """A power loss must not bring back what was cut off, behind what is appended next."""
        append(harness, 6)
        filesystem.synced.clear()
        harness.log.truncate_to(3)
        assert str(path_of(harness, ".log")) in filesystem.synced


class TestAfterAKill:
    def test_what_the_dead_process_wrote_is_synced_before_the_recovery_point_passes_it(
        self, harness: LogHarness, filesystem: FailingFilesystem
    ) -> None:
        append(harness, 8)
        harness.reopen_after_kill()
        filesystem.synced.clear()
        harness.log.flush()
        assert harness.log.recovery_point == 8
        names = {Path(path).name for path in filesystem.synced}
        assert {f"{0:020d}.log", "leader-epoch-checkpoint", "partition.metadata"} <= names

    def test_likewise_behind_an_anchor(self, harness: LogHarness, filesystem: FailingFilesystem) -> None:
        append(harness, 8)
        harness.anchor()
        append(harness, 8)
        harness.reopen_after_kill()
        filesystem.synced.clear()
        harness.log.flush()
        assert str(path_of(harness, ".log")) in filesystem.synced

    def test_two_kills_in_a_row(self, harness: LogHarness) -> None:
        append(harness, 8)
        anchor = harness.anchor()
        for _ in range(3):
            append(harness, 2)
            before = state_of(harness)
            harness.reopen_after_kill()
            assert state_of(harness) == before
            assert harness.log.recovery_anchor == anchor

    def test_a_copy_that_was_scanned_in_full_is_the_same(self, harness: LogHarness) -> None:
        append(harness, 9)
        harness.anchor()
        append(harness, 9)
        harness.log.abandon()
        shutil.copytree(harness.path, harness.path.parent / "copy" / harness.path.name)
        scanned = LogHarness(harness.path.parent / "copy", CONFIG)
        harness.log = harness._open(clean=False)
        assert state_of(harness) == state_of(scanned)
        for suffix in (".index", ".log"):
            assert path_of(harness, suffix).read_bytes() == path_of(scanned, suffix).read_bytes()
