"""Opening logs that a crash, a bad disk or a careless hand has left in every possible state."""

from __future__ import annotations

import logging
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from struct import pack

import pytest

from storage.log_config import LogConfig
from storage.producer_append import AppendOrigin
from storage.recovery_report import FindingKind
from tests.storage.support import (
    START_MS,
    TOPIC_ID,
    FailingFilesystem,
    LogHarness,
    batch,
    marker,
    read_all,
    read_headers,
    replicated,
)
from wire.errors import ApiError, ErrorCode

SIZE = len(batch())
CONFIG = LogConfig(segment_bytes=10 * SIZE, index_interval_bytes=2 * SIZE)


def fill(harness: LogHarness, count: int) -> None:
    """One-record batches of an idempotent producer; values and epochs tell where each belongs."""
    first = harness.log.log_end_offset
    for offset in range(first, first + count):
        records = batch(
            b"%05d" % offset,
            timestamp=START_MS + offset,
            producer_id=7,
            producer_epoch=0,
            sequence=offset,
        )
        harness.log.append_as_leader(records, offset // 7)


def values(harness: LogHarness) -> list[bytes | None]:
    return [record.value for record in read_all(harness.log)]


def expected(count: int, start: int = 0) -> list[bytes]:
    return [b"%05d" % offset for offset in range(start, count)]


def segment_file(harness: LogHarness, base: int, suffix: str = ".log") -> Path:
    return harness.path / f"{base:020d}{suffix}"


def flip(path: Path, position: int, mask: int = 0x01) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


def kinds(harness: LogHarness) -> list[FindingKind]:
    return [finding.kind for finding in harness.log.findings]


@pytest.fixture
def harness(tmp_path: Path) -> LogHarness:
    """Offsets 0 to 24 in segments that begin at 0, 10 and 20; nothing flushed."""
    harness = LogHarness(tmp_path, CONFIG)
    fill(harness, 25)
    assert [segment.base_offset for segment in harness.log.segments] == [0, 10, 20]
    return harness


def test_after_a_kill_everything_written_is_there(harness: LogHarness) -> None:
    producers = harness.log.active_producers[7].batches
    harness.reopen_after_kill()
    assert values(harness) == expected(25)
    assert harness.log.findings == []
    assert harness.log.recovery_point == 0
    assert harness.log.active_producers[7].batches == producers
    assert harness.log.end_offset_for_epoch(2) == (2, 21)
    fill(harness, 5)
    assert values(harness) == expected(30)


@pytest.mark.parametrize("cut", range(1, SIZE + 1))
def test_a_torn_tail_is_cut_off(harness: LogHarness, cut: int) -> None:
    path = segment_file(harness, 20)
    size = path.stat().st_size
    harness.log.abandon()
    path.write_bytes(path.read_bytes()[: size - cut])
    harness.reopen_after_kill()
    assert values(harness) == expected(24)
    assert path.stat().st_size == size - SIZE
    assert kinds(harness) == ([FindingKind.TORN_TAIL] if cut < SIZE else [])
    assert not any(finding.is_data_loss for finding in harness.log.findings)
    fill(harness, 3)
    harness.reopen_after_kill()
    assert values(harness) == expected(27)
    assert harness.log.findings == []


@pytest.mark.parametrize("tail", [bytes(1), bytes(500), b"\xff" * 100, bytes(batch())[:70], b"\0" * 60])
def test_rubbish_behind_the_end_is_cut_off(harness: LogHarness, tail: bytes) -> None:
    path = segment_file(harness, 20)
    path.write_bytes(path.read_bytes() + tail)
    harness.reopen_after_kill()
    assert values(harness) == expected(25)
    (finding,) = harness.log.findings
    assert finding.kind is FindingKind.TORN_TAIL
    assert (finding.offset, finding.lost_bytes) == (25, len(tail))


@pytest.mark.parametrize("position", [3 * SIZE + 70, 3 * SIZE + 8, 3 * SIZE + 16, 3 * SIZE + 18])
def test_damage_with_good_batches_behind_it_is_reported_loudly(
    harness: LogHarness, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    flip(segment_file(harness, 20), position)
    with caplog.at_level(logging.ERROR):
        harness.reopen_after_kill()
    assert values(harness) == expected(23)
    (finding,) = harness.log.findings
    assert finding.kind is FindingKind.CORRUPT_LOG
    assert finding.is_data_loss
    assert (finding.offset, finding.lost_bytes, finding.lost_segments) == (23, 2 * SIZE, 0)
    assert "cut at offset 23" in caplog.text
    assert harness.log.active_producers[7].last_sequence == 22
    fill(harness, 4)
    assert values(harness) == expected(27)


def test_damage_in_an_earlier_segment_drops_the_later_ones(harness: LogHarness) -> None:
    flip(segment_file(harness, 10), 5 * SIZE + 70)
    harness.reopen_after_kill()
    assert values(harness) == expected(15)
    (finding,) = harness.log.findings
    assert finding.kind is FindingKind.CORRUPT_LOG
    assert (finding.offset, finding.lost_segments, finding.lost_bytes) == (15, 1, 10 * SIZE)
    assert segment_file(harness, 20, ".log.deleted").exists()
    assert harness.log.latest_epoch == 2
    assert harness.log.active_producers[7].last_sequence == 14
    harness.reopen_after_kill()
    assert values(harness) == expected(15)
    assert harness.log.findings == []


def test_damage_before_the_recovery_point_is_data_loss_even_at_the_end(harness: LogHarness) -> None:
    harness.log.flush()
    harness.checkpoint()
    assert harness.recovery_point == 25
    flip(segment_file(harness, 20), 4 * SIZE + 70)
    harness.reopen_after_kill()
    assert values(harness) == expected(24)
    assert kinds(harness) == [FindingKind.CORRUPT_LOG]


def test_segments_before_the_recovery_point_are_trusted_and_not_read(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    harness = LogHarness(tmp_path, CONFIG, filesystem=filesystem)
    fill(harness, 25)
    harness.log.flush(20)
    harness.checkpoint()
    flip(segment_file(harness, 0), 70)
    flip(segment_file(harness, 10), 70)
    read: list[str] = []
    original = FailingFilesystem.open

    class Watching(FailingFilesystem):
        def open(self, path: str, *, create: bool = False) -> object:  # type: ignore[override]
            read.append(path)
            return original(self, path, create=create)

    harness.filesystem = Watching()
    harness.reopen_after_kill()
    assert harness.log.log_end_offset == 25
    assert harness.log.findings == []
    assert {Path(path).name[:20] for path in read if path.endswith(".log")} == {f"{20:020d}"}


def test_a_wrong_base_offset_is_found_although_no_crc_covers_it(harness: LogHarness) -> None:
    flip(segment_file(harness, 20), 2 * SIZE + 6)  # offset 22 becomes 278
    harness.reopen_after_kill()
    assert values(harness) == expected(22)
    assert kinds(harness) == [FindingKind.CORRUPT_LOG]
    assert harness.log.active_producers[7].last_sequence == 21
    fill(harness, 2)
    harness.reopen_after_kill()
    assert values(harness) == expected(24)


def test_a_base_offset_that_goes_back_is_found(harness: LogHarness) -> None:
    flip(segment_file(harness, 20), 2 * SIZE + 7, 0x10)  # offset 22 becomes 6
    harness.reopen_after_kill()
    assert values(harness) == expected(22)
    assert kinds(harness) == [FindingKind.CORRUPT_LOG]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("damage", ["missing", "empty", "odd", "zeros", "flipped", "foreign"])
def test_indexes_are_rebuilt(harness: LogHarness, suffix: str, damage: str, clean: bool) -> None:
    if clean:
        harness.log.close()
        harness.checkpoint()
    else:
        harness.log.flush(20)
        harness.checkpoint()
        harness.log.abandon()
    for base in (0, 10, 20):
        path = segment_file(harness, base, suffix)
        data = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "odd":
            path.write_bytes(data + b"\0")
        elif damage == "zeros":
            path.write_bytes(bytes(len(data)))
        elif damage == "flipped":
            path.write_bytes(bytes(byte ^ 0x15 for byte in data))
        else:
            path.write_bytes(segment_file(harness, 0, ".index").read_bytes() * 3)
    harness.log = harness._open(clean=clean)
    for offset in range(25):
        assert read_headers(harness.log, offset)[0].base_offset == offset
        found = harness.log.fetch_offset_by_timestamp(START_MS + offset)
        assert found is not None
        assert found.offset == offset
    assert harness.log.findings == []


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (4, 3 * SIZE + 5),  # no batch begins there
        (4, 6 * SIZE),  # a later batch: what lies between would be skipped
        (4, -1),
        (20, 9 * SIZE - 1),  # the last entry is looked at first
        (16, 8),
    ],
)
def test_an_index_that_the_log_contradicts_is_not_believed(harness: LogHarness, at: int, value: int) -> None:
    harness.log.close()
    harness.checkpoint()
    path = segment_file(harness, 0, ".index")
    good = path.read_bytes()
    assert good[:8] == pack(">ii", 3, 3 * SIZE)
    path.write_bytes(good[:at] + pack(">i", value) + good[at + 4 :])
    harness.log = harness._open(clean=True)
    for offset in range(3, 10):
        assert read_headers(harness.log, offset)[0].base_offset == offset
    assert path.read_bytes() == good


def test_producer_state_is_the_same_from_snapshots_and_from_a_scan(harness: LogHarness) -> None:
    scanned = shutil.copytree(harness.path, harness.path.parent / "scanned")
    for path in scanned.glob("*.snapshot"):
        path.unlink()
    harness.reopen_after_kill()
    by_snapshot = harness.log.active_producers
    other = LogHarness.__new__(LogHarness)
    other.__dict__.update(harness.__dict__)
    other.path = scanned
    other.log = other._open(clean=False)
    assert other.log.active_producers == by_snapshot
    harness.reopen_cleanly()
    assert harness.log.active_producers[7].batches == by_snapshot[7].batches[-1:]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("damage", ["missing", "flipped", "empty"])
def test_damaged_snapshots_only_cost_time(harness: LogHarness, damage: str, clean: bool) -> None:
    if clean:
        harness.log.close()
        harness.checkpoint()
    for path in harness.path.glob("*.snapshot"):
        if damage == "missing":
            path.unlink()
        elif damage == "flipped":
            flip(path, 20)
        else:
            path.write_bytes(b"")
    harness.log.abandon()
    harness.log = harness._open(clean=clean)
    assert harness.log.append_as_leader(
        batch(b"again", producer_id=7, producer_epoch=0, sequence=24), 9
    ).is_duplicate
    assert (
        harness.log.append_as_leader(
            batch(b"next", producer_id=7, producer_epoch=0, sequence=25), 9
        ).first_offset
        == 25
    )


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("content", [b"\xff", b"7\n1\n", b"0\n9\n0 0\n", b"0\n2\n5 0\n3 9\n"])
def test_leader_epochs_are_rebuilt(harness: LogHarness, content: bytes, clean: bool) -> None:
    if clean:
        harness.log.close()
        harness.checkpoint()
    (harness.path / "leader-epoch-checkpoint").write_bytes(content)
    harness.log.abandon()
    harness.log = harness._open(clean=clean)
    assert kinds(harness) == [FindingKind.CORRUPT_EPOCHS]
    assert [harness.log.epoch_for_offset(offset) for offset in (0, 6, 7, 20, 24)] == [0, 0, 1, 2, 3]
    harness.reopen_after_kill()
    assert harness.log.findings == []
    assert harness.log.epoch_for_offset(20) == 2


@pytest.mark.parametrize("clean", [True, False])
def test_epochs_that_the_log_does_not_have_are_dropped(harness: LogHarness, clean: bool) -> None:
    if clean:
        harness.log.close()
        harness.checkpoint()
    harness.log.abandon()
    (harness.path / "leader-epoch-checkpoint").write_bytes(b"0\n4\n0 0\n3 21\n8 25\n9 26\n")
    harness.log = harness._open(clean=clean)
    # After a clean shutdown, the epoch of a leader that got no record yet still holds.
    assert harness.log.latest_epoch == (8 if clean else 3)


def test_epochs_that_the_disk_never_got_are_recovered_from_the_batches(harness: LogHarness) -> None:
    harness.log.flush(10)
    harness.checkpoint()
    (harness.path / "leader-epoch-checkpoint").write_bytes(b"0\n2\n0 0\n1 7\n")
    harness.reopen_after_kill()
    assert [harness.log.epoch_for_offset(offset) for offset in (13, 14, 21)] == [1, 2, 3]


def test_damaged_partition_metadata_is_reported_and_written_anew(harness: LogHarness) -> None:
    (harness.path / "partition.metadata").write_bytes(b"version: 0\ntopic_id: ?")
    harness.reopen_after_kill()
    assert kinds(harness) == [FindingKind.CORRUPT_METADATA]
    assert harness.log.topic_id == TOPIC_ID
    harness.reopen_after_kill()
    assert harness.log.findings == []


def test_a_directory_of_another_topic_is_refused(harness: LogHarness) -> None:
    (harness.path / "partition.metadata").write_bytes(b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ")
    with pytest.raises(ApiError) as raised:
        harness.reopen_after_kill()
    assert raised.value.code is ErrorCode.INCONSISTENT_TOPIC_ID
    assert str(uuid.UUID(int=1)) in str(raised.value)


@pytest.mark.parametrize("clean", [True, False])
def test_a_transaction_index_is_rebuilt(tmp_path: Path, clean: bool) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=4 * SIZE))
    for sequence in range(6):
        for producer_id in (1, 2):
            records = batch(producer_id=producer_id, producer_epoch=0, sequence=sequence, transactional=True)
            harness.log.append_as_leader(records, 0)
        for producer_id in (2, 1):
            records = marker(producer_id, commit=False)
            harness.log.append_as_leader(records, 0, origin=AppendOrigin.COORDINATOR)
    before = harness.log.aborted_transactions(0, 100)
    assert len(before) == 12
    if clean:
        harness.log.close()
    else:
        harness.log.flush()
    harness.checkpoint()
    indexes = sorted(harness.path.glob("*.txnindex"))
    assert len(indexes) > 3
    flip(indexes[1], 1)
    harness.log.abandon()
    harness.log = harness._open(clean=clean)
    assert harness.log.findings == []  # nobody has looked at it yet
    assert harness.log.aborted_transactions(0, 100) == before
    harness.reopen_cleanly()
    assert harness.log.aborted_transactions(0, 100) == before


@pytest.mark.parametrize("damage", [b"", b"\0" * 33, b"\1" * 34])
def test_a_transaction_index_that_truncation_or_an_append_needs_is_rebuilt(
    tmp_path: Path, damage: bytes
) -> None:
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=4 * SIZE))
    for sequence in range(6):
        records = batch(producer_id=1, producer_epoch=0, sequence=sequence, transactional=True)
        harness.log.append_as_leader(records, 0)
        harness.log.append_as_leader(marker(1, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    before = harness.log.aborted_transactions(0, 100)
    harness.log.close()
    harness.checkpoint()
    indexes = sorted(harness.path.glob("*.txnindex"))
    for path in (indexes[1], indexes[-1]):
        path.write_bytes(path.read_bytes() + damage)
    harness.log = harness._open(clean=True)
    assert kinds(harness) == ([FindingKind.CORRUPT_TRANSACTION_INDEX] if damage else [])
    end = before[3].last_offset
    harness.log.truncate_to(end)
    assert harness.log.aborted_transactions(0, 100) == before[:3]
    harness.log.append_as_leader(marker(1, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    harness.reopen_after_kill()
    found = harness.log.aborted_transactions(0, 100)
    assert [each[:3] for each in found] == [each[:3] for each in before[:4]]


def test_producers_outlive_their_records(tmp_path: Path) -> None:
    """The state of deleted records is in no file but the snapshots."""
    harness = LogHarness(tmp_path, LogConfig(segment_bytes=2 * SIZE))
    harness.log.append_as_leader(batch(), 0)
    records = batch(producer_id=1, producer_epoch=0, sequence=0, transactional=True)
    harness.log.append_as_leader(records, 0)
    harness.log.update_high_watermark(2)
    harness.log.maybe_increment_log_start_offset(2)
    harness.log.append_as_leader(batch(), 0)
    assert harness.log.delete_old_segments() == 1
    harness.log.flush()
    harness.checkpoint()
    for _ in range(2):
        harness.reopen_after_kill()
        assert harness.log.has_ongoing_transaction(1)
        assert harness.log.first_unstable_offset == 2


def test_a_damaged_end_after_a_clean_shutdown_is_recovered(harness: LogHarness) -> None:
    harness.log.close()
    harness.checkpoint()
    path = segment_file(harness, 20)
    path.write_bytes(path.read_bytes()[:-3])
    harness.log = harness._open(clean=True)
    assert values(harness) == expected(24)
    assert kinds(harness) == [FindingKind.CORRUPT_LOG]


def test_a_damaged_header_after_a_clean_shutdown_is_an_error_for_its_readers_only(
    harness: LogHarness,
) -> None:
    harness.log.close()
    harness.checkpoint()
    flip(segment_file(harness, 0), 5 * SIZE + 16)
    harness.log = harness._open(clean=True)
    assert harness.log.log_end_offset == 25
    with pytest.raises(ApiError) as raised:
        harness.log.read(5, 1000, max_offset=25)
    assert raised.value.code is ErrorCode.CORRUPT_MESSAGE
    assert read_headers(harness.log, 20)[0].base_offset == 20


def test_a_log_whose_files_are_gone_restarts_at_its_start(harness: LogHarness) -> None:
    harness.log.update_high_watermark(25)
    harness.log.maybe_increment_log_start_offset(12)
    harness.log.flush()
    harness.checkpoint()
    harness.log.abandon()
    for path in harness.path.glob("0*"):
        path.unlink()
    harness.log = harness._open(clean=False)
    assert kinds(harness) == [FindingKind.LOST_SEGMENTS]
    assert (harness.log.log_start_offset, harness.log.log_end_offset) == (12, 12)
    assert harness.log.append_as_leader(batch(), 9).first_offset == 12


def test_a_log_that_ends_before_its_start_restarts_there(harness: LogHarness) -> None:
    harness.log.update_high_watermark(25)
    harness.log.maybe_increment_log_start_offset(24)
    harness.log.flush()
    harness.checkpoint()
    harness.log.abandon()
    for base in (10, 20):
        segment_file(harness, base).unlink()
    harness.log = harness._open(clean=False)
    assert FindingKind.LOST_SEGMENTS in kinds(harness)
    assert (harness.log.log_start_offset, harness.log.log_end_offset) == (24, 24)
    assert harness.log.active_producers == {}
    assert harness.log.latest_epoch is None


def test_a_new_log_is_no_finding(tmp_path: Path) -> None:
    assert LogHarness(tmp_path).log.findings == []


class TestUnfinishedFiles:
    def test_deleted_and_orphaned_files_go(self, harness: LogHarness) -> None:
        for name in (
            f"{5:020d}.log.deleted",
            f"{5:020d}.index.deleted",
            f"{7:020d}.index",
            f"{7:020d}.txnindex",
            "leader-epoch-checkpoint.tmp",
        ):
            (harness.path / name).write_bytes(b"x")
        (harness.path / "notes.txt").write_bytes(b"mine")
        harness.reopen_after_kill()
        names = {path.name for path in harness.path.iterdir()}
        assert not any(name.startswith((f"{5:020d}", f"{7:020d}")) for name in names)
        assert "leader-epoch-checkpoint.tmp" not in names
        assert "notes.txt" in names
        assert values(harness) == expected(25)

    def compacted(self, harness: LogHarness, suffix: str) -> None:
        """The first two segments as one, without offsets 3 to 17, as a cleaner would have written it."""
        harness.log.close()
        harness.checkpoint()
        first = segment_file(harness, 0).read_bytes()
        second = segment_file(harness, 10).read_bytes()
        segment_file(harness, 0, ".log" + suffix).write_bytes(first[: 3 * SIZE] + second[8 * SIZE :])
        for kind in (".index", ".timeindex"):
            segment_file(harness, 0, kind + suffix).write_bytes(b"")

    def test_a_clean_that_was_not_finished_is_forgotten(self, harness: LogHarness) -> None:
        self.compacted(harness, ".cleaned")
        harness.reopen_after_kill()
        assert values(harness) == expected(25)
        assert not list(harness.path.glob("*.cleaned"))

    @pytest.mark.parametrize("progress", range(4))
    def test_a_swap_that_had_begun_is_completed(self, harness: LogHarness, progress: int) -> None:
        self.compacted(harness, ".swap")
        if progress > 0:
            for kind in (".log", ".index", ".timeindex"):
                segment_file(harness, 0, kind).rename(segment_file(harness, 0, kind + ".deleted"))
        if progress > 1:
            for kind in (".log", ".index", ".timeindex"):
                segment_file(harness, 10, kind).rename(segment_file(harness, 10, kind + ".deleted"))
        if progress > 2:
            segment_file(harness, 0, ".index.swap").rename(segment_file(harness, 0, ".index"))
        harness.reopen_after_kill()
        kept = [*range(3), *range(18, 25)]
        assert values(harness) == [b"%05d" % offset for offset in kept]
        assert [segment.base_offset for segment in harness.log.segments] == [0, 20]
        assert not list(harness.path.glob("*.swap"))

    def test_a_swap_whose_renaming_was_not_finished_is_forgotten(self, harness: LogHarness) -> None:
        self.compacted(harness, ".cleaned")
        segment_file(harness, 10, ".log.swap").write_bytes(b"")
        harness.reopen_after_kill()
        assert values(harness) == expected(25)
        assert not list(harness.path.glob("*.swap"))


def test_a_clean_start_reads_little(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    harness = LogHarness(tmp_path, CONFIG, filesystem=filesystem)
    fill(harness, 95)
    harness.log.close()
    harness.checkpoint()
    filesystem.opens = 0
    harness.log = harness._open(clean=True)
    assert harness.log.log_end_offset == 95
    assert harness.log.recovery_point == 95
    assert filesystem.opens <= 2  # the end of the last segment and its index; small files are read apart


def test_a_gap_is_no_damage(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    for offset in (0, 5, 17):
        harness.log.append_as_follower(replicated(offset))
    harness.reopen_after_kill()
    assert [record.offset for record in read_all(harness.log)] == [0, 5, 17]
    assert harness.log.findings == []


class TestAHoleBetweenUnsyncedSegments:
    """A power failure took the end of one segment, at a batch boundary, and left the next."""

    def harness(self, path: Path, config: LogConfig = CONFIG, *, is_replicated: bool = True) -> LogHarness:
        return LogHarness(path, config, is_replicated=is_replicated)

    def lose_end(self, harness: LogHarness) -> None:
        """Of 25 records, 10 to a segment, offsets 7, 8 and 9 go."""
        harness.log.abandon()
        with segment_file(harness, 0).open("r+b") as file:
            file.truncate(7 * SIZE)
        harness.reopen_after_kill()

    @pytest.mark.parametrize("is_replicated", [True, False])
    def test_a_log_is_cut_there_and_goes_on(self, tmp_path: Path, is_replicated: bool) -> None:
        harness = self.harness(tmp_path, is_replicated=is_replicated)
        fill(harness, 25)
        self.lose_end(harness)
        assert harness.log.log_end_offset == 7
        assert values(harness) == expected(7)
        assert kinds(harness) == [FindingKind.HOLE]
        assert not harness.log.findings[0].is_data_loss
        fill(harness, 8)  # appends go on, the producer's sequence included
        harness.reopen_after_kill()
        assert values(harness) == expected(15)
        assert kinds(harness) == []

    def test_an_empty_segment_behind_it_hides_nothing(self, tmp_path: Path) -> None:
        harness = self.harness(tmp_path)
        fill(harness, 10)
        harness.log.roll()
        self.lose_end(harness)
        assert harness.log.log_end_offset == 7

    def test_the_only_copy_of_a_compacted_log_keeps_what_is_behind_it(self, tmp_path: Path) -> None:
        compacted = replace(CONFIG, cleanup_policy=frozenset({"compact"}))
        harness = self.harness(tmp_path, compacted, is_replicated=False)
        fill(harness, 25)
        self.lose_end(harness)
        assert values(harness) == [*expected(7), *expected(25, 10)]
        assert kinds(harness) == []

    def test_a_compacted_log_is_cut_as_well(self, tmp_path: Path) -> None:
        harness = self.harness(tmp_path, replace(CONFIG, cleanup_policy=frozenset({"compact"})))
        fill(harness, 25)
        self.lose_end(harness)
        assert harness.log.log_end_offset == 7
        assert kinds(harness) == [FindingKind.HOLE]

    def test_gaps_that_a_leader_sent_are_no_holes(self, tmp_path: Path) -> None:
        """A follower's segment begins where the one before ended, wherever its first batch does."""
        harness = self.harness(tmp_path, replace(CONFIG, segment_bytes=2 * SIZE))
        offsets = [0, 5, 17, 40, 41, 90, 91]
        for offset in offsets:
            harness.log.append_as_follower(replicated(offset, b"%d" % offset))
        assert len(harness.log.segments) > 3
        harness.reopen_after_kill()
        assert [record.offset for record in read_all(harness.log)] == offsets
        assert kinds(harness) == []

    @pytest.mark.parametrize("end", [12, 13, 20, 39])
    def test_an_end_in_a_gap_is_no_hole(self, tmp_path: Path, end: int) -> None:
        harness = self.harness(tmp_path)
        for offset in (0, 10, 11, 40):
            harness.log.append_as_follower(replicated(offset, leader_epoch=3))
        harness.log.truncate_to(end)
        harness.log.append_as_follower(replicated(end, leader_epoch=4))
        epochs = harness.log._state.epochs.entries
        harness.reopen_after_kill()
        assert [record.offset for record in read_all(harness.log)] == [0, 10, 11, end]
        assert harness.log._state.epochs.entries == epochs
        assert kinds(harness) == []

    def test_an_end_in_a_batch_is_no_hole(self, tmp_path: Path) -> None:
        harness = self.harness(tmp_path)
        fill(harness, 5)
        harness.log.append_as_follower(replicated(5, b"5", b"6"))
        harness.log.flush()
        harness.checkpoint()
        harness.log.truncate_to(6)
        harness.log.append_as_follower(replicated(6, b"6"))
        harness.reopen_after_kill()
        assert [record.offset for record in read_all(harness.log)] == [0, 1, 2, 3, 4, 6]
        assert kinds(harness) == []

    def test_an_end_that_a_move_has_skipped_to_is_no_hole(self, tmp_path: Path) -> None:
        harness = self.harness(tmp_path)
        fill(harness, 25)
        harness.log.skip_to(60)
        harness.log.append_as_follower(replicated(60, b"60"))
        harness.reopen_after_kill()
        assert [record.offset for record in read_all(harness.log)] == [*range(25), 60]
        assert kinds(harness) == []
