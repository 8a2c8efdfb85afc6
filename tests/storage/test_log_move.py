"""Moving a log to another directory: copying, catching up, taking the place, and what a crash leaves."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import IncompatibleDirectoryError, StorageError
from storage.filesystem import OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.log_move import MOVE_MARKER, LogMove, MoveState
from storage.producer_append import AppendOrigin
from storage.topic_partition import TopicPartition
from tests.storage.support import (
    PARTITION,
    TOPIC_ID,
    FailingFilesystem,
    ManualClock,
    batch,
    make_manager,
    marker,
    read_all,
    replicated,
)
from wire.errors import ApiError, ErrorCode

SIZE = len(batch())
CONFIG = LogConfig(segment_bytes=4 * SIZE, index_interval_bytes=1, retention_ms=-1, file_delete_delay_ms=0)


def started(path: Path, *, config: LogConfig = CONFIG, **settings: object) -> LogManager:
    manager = make_manager(path / "1", path / "2", **settings)
    manager.open(node_id=1)
    manager.load(lambda topic: config)
    return manager


def with_log(path: Path, *, config: LogConfig = CONFIG, **settings: object) -> tuple[LogManager, Log]:
    """A manager of two directories, and a log in the first."""
    manager = started(path, config=config, **settings)
    return manager, manager.create(PARTITION, TOPIC_ID, config, directory=str(path / "1"))


def commit(log: Log) -> None:
    log.update_high_watermark(log.log_end_offset)


def append(log: Log, *values: bytes, **arguments: object) -> None:
    log.append_as_leader(batch(*values, **arguments), 0)  # type: ignore[arg-type]
    commit(log)


def begin(manager: LogManager, path: Path, number: int = 2) -> LogMove:
    move = manager.begin_move(PARTITION, str(path / str(number)))
    assert move is not None
    return move


def copy_step(move: LogMove, bytes_max: int = 2 * SIZE) -> None:
    step = move.begin_step(bytes_max)
    try:
        with move.working():
            step.run()
    finally:
        step.finish()


def catch_up(move: LogMove, bytes_max: int = 2 * SIZE) -> None:
    while not move.is_caught_up:
        copy_step(move, bytes_max)


def hand_over(move: LogMove) -> None:
    catch_up(move)
    move.flush()
    move.prepare_hand_over()
    move.hand_over()


def finish(manager: LogManager, move: LogMove) -> Log:
    """The rest of a move, in the order in which the broker does it."""
    while not move.copy_tail(2 * SIZE):
        pass
    old = manager.finish_move(move)
    new = manager.get(PARTITION)
    assert new is not None
    assert old.is_closed
    new.flush()
    manager.retire(old, new)()
    return new


def moved(manager: LogManager, path: Path, number: int = 2) -> Log:
    move = begin(manager, path, number)
    hand_over(move)
    return finish(manager, move)


def contents(log: Log) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in read_all(log)]


def directories(path: Path) -> dict[str, list[str]]:
    """Names of partition directories in each log directory, with ids of futures and the like cut out."""
    return {
        directory.name: sorted(
            "".join([each.name.split(".")[0], *each.name.partition(".")[2][32:]])
            for each in directory.iterdir()
            if each.is_dir()
        )
        for directory in sorted(path.iterdir())
    }


def test_a_log_moves_with_all_that_it_has(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for number in range(20):
        append(log, b"%d" % number, b"more", producer_id=7, producer_epoch=0, sequence=2 * number)
    log.maybe_increment_log_start_offset(9)
    log.assign_epoch_start_offset(3, log.log_end_offset)
    before = (contents(log), log.log_start_offset, log.log_end_offset, log.high_watermark, log.latest_epoch)
    new = moved(manager, tmp_path)
    assert (
        contents(new),
        new.log_start_offset,
        new.log_end_offset,
        new.high_watermark,
        new.latest_epoch,
    ) == before
    assert new.log_directory == str(tmp_path / "2")
    assert manager.get(PARTITION) is new
    assert manager.logs_in(manager.directories[0]) == []
    assert manager.logs_in(manager.directories[1]) == [new]
    assert not manager.is_moving(PARTITION)
    assert directories(tmp_path) == {"1": ["orders-0-delete"], "2": ["orders-0"]}
    assert not (tmp_path / "2" / "orders-0" / MOVE_MARKER).exists()
    manager.run_removals()
    assert directories(tmp_path) == {"1": [], "2": ["orders-0"]}
    # The producer goes on, and its last batch is recognised.
    again = batch(b"19", b"more", producer_id=7, producer_epoch=0, sequence=38)
    assert new.append_as_leader(again, 3).is_duplicate
    new.append_as_leader(batch(b"new", producer_id=7, producer_epoch=0, sequence=40), 3)
    manager.close()
    manager = started(tmp_path)
    log = manager.logs[PARTITION]
    assert log.log_directory == str(tmp_path / "2")
    assert contents(log) == [*before[0], (40, b"new")]
    assert log.log_start_offset == 9
    manager.close()


def test_checkpoints_tell_of_a_log_where_it_is(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for _ in range(5):
        append(log, b"one", b"two")
    log.maybe_increment_log_start_offset(1)
    manager.checkpoint()
    new = moved(manager, tmp_path)
    assert new.recovery_point == 10
    for name, offset in (("replication-offset-checkpoint", 10), ("log-start-offset-checkpoint", 1)):
        assert (tmp_path / "1" / name).read_text() == "0\n0\n"
        assert (tmp_path / "2" / name).read_text() == f"0\n1\norders 0 {offset}\n"
    assert (tmp_path / "1" / "recovery-point-offset-checkpoint").read_text() == "0\n0\n"
    manager.abandon()


def test_what_is_appended_while_copying_comes_along(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for number in range(6):
        append(log, b"%d" % number)
    move = begin(manager, tmp_path)
    copy_step(move)
    copy_step(move)
    assert (move.log_end_offset, move.is_caught_up) == (2, False)
    append(log, b"6")
    catch_up(move)
    append(log, b"7")
    assert not move.is_caught_up
    hand_over(move)
    append(log, b"8")
    new = finish(manager, move)
    assert [value for _, value in contents(new)] == [b"%d" % number for number in range(9)]
    manager.abandon()


def test_what_was_synced_of_the_old_log_is_synced_of_the_new_one(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    manager, log = with_log(tmp_path, filesystem=filesystem)
    append(log)
    move = begin(manager, tmp_path)
    hand_over(move)
    append(log)
    log.flush()
    assert move.copy_tail(SIZE)
    assert move.log is not None
    assert move.log.recovery_point == 1
    filesystem.synced.clear()
    manager.finish_move(move)
    new = manager.logs[PARTITION]
    assert new.recovery_point == 2
    assert any(path.endswith(".log") for path in filesystem.synced)
    # The name is not durable yet, so nothing more may be acknowledged before a flush, which syncs that as well.
    filesystem.synced.clear()
    new.flush()
    assert str(tmp_path / "2") in filesystem.synced
    manager.abandon()


def test_open_transactions_go_on_in_the_new_log(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    append(log, b"a", producer_id=1, producer_epoch=0, sequence=0, transactional=True)
    log.append_as_leader(marker(1, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    append(log, b"b", producer_id=2, producer_epoch=0, sequence=0, transactional=True)
    new = moved(manager, tmp_path)
    assert (new.last_stable_offset, new.high_watermark) == (2, 3)
    assert [(each.first_offset, each.last_offset) for each in new.aborted_transactions(0, 3)] == [(0, 1)]
    assert new.has_ongoing_transaction(2)
    new.append_as_leader(marker(2, commit=False), 0, origin=AppendOrigin.COORDINATOR)
    commit(new)
    assert new.last_stable_offset == 4
    assert [each.producer_id for each in new.aborted_transactions(0, 4)] == [1, 2]
    manager.abandon()


@pytest.mark.parametrize("clean", [True, False])
def test_producers_whose_records_are_gone_are_known_still(tmp_path: Path, clean: bool) -> None:
    manager, log = with_log(tmp_path)
    append(log, b"a", producer_id=7, producer_epoch=0, sequence=0)
    log.roll()
    append(log, b"b")
    log.maybe_increment_log_start_offset(1)
    log.delete_old_segments()
    new = moved(manager, tmp_path)
    assert list(new.active_producers) == [7]
    append(new, b"c")
    new.flush()
    manager.checkpoint()
    if clean:
        manager.close()
    else:
        manager.abandon()
    manager = started(tmp_path)
    log = manager.logs[PARTITION]
    assert log.append_as_leader(batch(b"a", producer_id=7, producer_epoch=0, sequence=0), 0).is_duplicate
    manager.abandon()


def test_gaps_that_compaction_left_stay(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for offset in (0, 5, 6, 30, 31, 90):
        log.append_as_follower(replicated(offset, b"%d" % offset, leader_epoch=offset // 10))
    log.truncate_to(60)  # an end in a gap
    commit(log)
    expected = [(0, b"0"), (5, b"5"), (6, b"6"), (30, b"30"), (31, b"31")]
    assert (contents(log), log.log_end_offset) == (expected, 60)
    new = moved(manager, tmp_path)
    assert (contents(new), new.log_end_offset) == (expected, 60)
    assert new.end_offset_for_epoch(0) == log.end_offset_for_epoch(0)
    append(new, b"60")
    manager.abandon()
    manager = started(tmp_path)
    assert contents(manager.logs[PARTITION]) == [*expected, (60, b"60")]
    manager.abandon()


def test_a_log_start_within_a_batch(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    append(log, b"gone")
    log.roll()
    append(log, b"gone", b"gone", b"kept")
    append(log, b"too")
    log.maybe_increment_log_start_offset(3)
    log.delete_old_segments()
    new = moved(manager, tmp_path)
    assert (new.log_start_offset, contents(new)) == (3, [(3, b"kept"), (4, b"too")])
    manager.abandon()


def test_an_empty_log_moves_with_its_offset(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    log.truncate_fully_and_start_at(1000)
    new = moved(manager, tmp_path)
    assert (new.log_start_offset, new.log_end_offset, new.high_watermark) == (1000, 1000, 1000)
    append(new, b"first")
    manager.abandon()
    manager = started(tmp_path)
    assert contents(manager.logs[PARTITION]) == [(1000, b"first")]
    manager.abandon()


def test_deleted_records_go_in_the_future_log_too(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for number in range(20):
        append(log, b"%d" % number)
    move = begin(manager, tmp_path)
    catch_up(move)
    assert move.log is not None
    assert len(move.log.segments) == 5
    log.maybe_increment_log_start_offset(13)
    copy_step(move)
    assert (move.log.log_start_offset, move.log.first_segment_base_offset) == (13, 12)
    # Behind what was copied: the future log begins anew.
    append(log, b"20")
    log.maybe_increment_log_start_offset(21)
    hand_over(move)
    new = finish(manager, move)
    assert (new.log_start_offset, new.log_end_offset, contents(new)) == (21, 21, [])
    manager.abandon()


def test_truncations_reach_the_future_log(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for offset in range(12):
        log.append_as_follower(replicated(offset, b"old %d" % offset))
    move = begin(manager, tmp_path)
    copy_step(move, 9 * SIZE)
    copy_step(move, 9 * SIZE)
    log.truncate_to(3)
    assert not move.is_caught_up
    for offset in range(3, 9):
        log.append_as_follower(replicated(offset, b"new %d" % offset))
    hand_over(move)
    log.truncate_to(5)
    log.append_as_follower(replicated(5, b"newest"))
    new = finish(manager, move)
    expected = [b"old 0", b"old 1", b"old 2", b"new 3", b"new 4", b"newest"]
    assert [value for _, value in contents(new)] == expected
    manager.abandon()


def test_a_truncation_between_reading_and_writing(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    for offset in range(4):
        log.append_as_follower(replicated(offset, b"old %d" % offset))
    move = begin(manager, tmp_path)
    copy_step(move)
    step = move.begin_step(4 * SIZE)
    log.truncate_to(2)
    log.append_as_follower(replicated(2, b"a value that is longer than it was"))
    try:
        with move.working(), pytest.raises((ApiError, EOFError)):
            step.run()
    finally:
        step.finish()
    assert move.was_truncated
    hand_over(move)
    assert [value for _, value in contents(finish(manager, move))][1:] == [
        b"old 1",
        b"a value that is longer than it was",
    ]
    manager.abandon()


def test_a_batch_larger_than_the_segment_size_of_today(tmp_path: Path) -> None:
    manager, log = with_log(tmp_path)
    log.update_config(replace(CONFIG, segment_bytes=2000))
    append(log, b"x" * 1000)
    log.update_config(replace(CONFIG, segment_bytes=100))
    new = moved(manager, tmp_path)
    assert contents(new) == [(0, b"x" * 1000)]
    assert new.config.segment_bytes == 100
    manager.abandon()


class TestRestart:
    def test_a_move_goes_on(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        for number in range(9):
            append(log, b"%d" % number)
        move = begin(manager, tmp_path)
        copy_step(move)
        copy_step(move, 3 * SIZE)
        move.flush()
        copy_step(move)  # not synced, and so not trusted after the restart
        manager.close()
        assert directories(tmp_path) == {"1": ["orders-0"], "2": ["orders-0-future"]}
        manager = started(tmp_path)
        [move] = manager.moves
        assert (move.current, move.state) == (manager.logs[PARTITION], MoveState.UNOPENED)
        copy_step(move)
        assert move.log_end_offset == 3
        hand_over(move)
        assert len(contents(finish(manager, move))) == 9
        manager.close()
        assert directories(tmp_path) == {"1": ["orders-0-delete"], "2": ["orders-0"]}

    def test_what_the_current_log_lost_in_the_crash_is_cut_off(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        for number in range(6):
            append(log, b"%d" % number)
        move = begin(manager, tmp_path)
        catch_up(move)
        move.flush()
        manager.checkpoint()
        manager.abandon()
        # The machine lost the current log's last two batches, not the future log's.
        with open(tmp_path / "1" / "orders-0" / f"{4:020d}.log", "r+b") as file:
            file.truncate(0)
        manager = started(tmp_path)
        log = manager.logs[PARTITION]
        assert log.log_end_offset == 4
        append(log, b"another 4")
        append(log, b"another 5")
        append(log, b"another 6")
        [move] = manager.moves
        hand_over(move)
        assert [value for _, value in contents(finish(manager, move))][4:] == [
            b"another 4",
            b"another 5",
            b"another 6",
        ]
        manager.abandon()

    def test_what_a_later_leader_never_had_is_cut_off(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        for offset, epoch in ((0, 1), (1, 1), (2, 2), (3, 2)):
            log.append_as_follower(replicated(offset, b"%d" % offset, leader_epoch=epoch))
        move = begin(manager, tmp_path)
        catch_up(move)
        move.flush()
        manager.moves.abandon()  # as with a target that is offline for a while
        log.truncate_to(2)
        for offset in (2, 3, 4):
            log.append_as_follower(replicated(offset, b"new %d" % offset, leader_epoch=3))
        manager.close()
        manager = started(tmp_path)
        [move] = manager.moves
        hand_over(move)
        assert [value for _, value in contents(finish(manager, move))] == [
            b"0",
            b"1",
            b"new 2",
            b"new 3",
            b"new 4",
        ]
        manager.abandon()

    def test_two_copies_of_one_log(self, tmp_path: Path) -> None:
        manager, _ = with_log(tmp_path)
        begin(manager, tmp_path)
        manager.abandon()
        (tmp_path / "2" / f"orders-0.{'a' * 32}-future").mkdir()
        manager = started(tmp_path)
        assert len(list(manager.moves)) == 1
        assert directories(tmp_path) == {"1": ["orders-0"], "2": ["orders-0-delete", "orders-0-future"]}
        manager.abandon()

    def test_a_copy_whose_log_is_gone_is_set_aside(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log)
        move = begin(manager, tmp_path)
        catch_up(move)
        manager.abandon()
        (tmp_path / "1" / "orders-0").rename(tmp_path / "gone")
        manager = started(tmp_path)
        assert list(manager.moves) == []
        (tmp_path / "gone").rename(tmp_path / "1" / "x-0")
        assert directories(tmp_path) == {"1": ["x-0"], "2": ["orders-0-stray"]}
        manager.abandon()

    def test_a_copy_whose_log_is_in_an_offline_directory_waits_for_it(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log)
        move = begin(manager, tmp_path)
        catch_up(move)
        manager.abandon()
        (tmp_path / "1").rename(tmp_path / "away")
        (tmp_path / "1").write_text("not a directory")
        manager = started(tmp_path)
        assert list(manager.moves) == []
        manager.abandon()
        (tmp_path / "1").unlink()
        (tmp_path / "away").rename(tmp_path / "1")
        manager = started(tmp_path)
        assert [move.current for move in manager.moves] == [manager.logs[PARTITION]]
        manager.abandon()

    @pytest.mark.parametrize("target", ["1", "2"])
    def test_of_two_logs_the_one_counts_that_has_replaced_the_other(
        self, tmp_path: Path, target: str
    ) -> None:
        manager, log = with_log(tmp_path)
        append(log, b"0")
        if target == "1":
            log = moved(manager, tmp_path)
            manager.run_removals()
        move = begin(manager, tmp_path, int(target))
        hand_over(move)
        assert move.copy_tail(SIZE)
        manager.finish_move(move)
        append(manager.logs[PARTITION], b"1")
        manager.abandon()
        assert directories(tmp_path) == {"1": ["orders-0"], "2": ["orders-0"]}
        manager = started(tmp_path)
        log = manager.logs[PARTITION]
        assert (log.log_directory, len(contents(log))) == (str(tmp_path / target), 2)
        manager.run_removals()
        other = "2" if target == "1" else "1"
        assert directories(tmp_path) == {target: ["orders-0"], other: []}
        assert not (tmp_path / target / "orders-0" / MOVE_MARKER).exists()
        manager.abandon()

    def test_the_mark_of_an_earlier_move_does_not_count(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log, b"0")
        (tmp_path / "1" / "orders-0" / MOVE_MARKER).touch()
        move = begin(manager, tmp_path)
        hand_over(move)
        assert move.copy_tail(SIZE)
        manager.finish_move(move)
        manager.abandon()
        manager = started(tmp_path)
        assert manager.logs[PARTITION].log_directory == str(tmp_path / "2")
        manager.abandon()

    def test_records_deleted_during_the_move_stay_deleted(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        for number in range(4):
            append(log, b"%d" % number)
        move = begin(manager, tmp_path)
        catch_up(move)
        log.maybe_increment_log_start_offset(2)
        manager.checkpoint()
        hand_over(move)
        assert move.copy_tail(SIZE)
        manager.finish_move(move)
        manager.abandon()
        manager = started(tmp_path)
        assert contents(manager.logs[PARTITION]) == [(2, b"2"), (3, b"3")]
        manager.abandon()

    def test_two_logs_of_no_move_are_a_case_for_the_operator(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log)
        manager.abandon()
        shutil.copytree(tmp_path / "1" / "orders-0", tmp_path / "2" / "orders-0")
        with pytest.raises(IncompatibleDirectoryError, match="remove one of them"):
            started(tmp_path)


class TestEnds:
    def test_asked_for_twice(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        assert manager.begin_move(PARTITION, log.log_directory) is None
        move = begin(manager, tmp_path)
        assert manager.begin_move(PARTITION, str(tmp_path / "2")) is None
        assert not move.is_over()
        # Back to where it is: the move is cancelled.
        assert manager.begin_move(PARTITION, log.log_directory) is None
        assert move.is_over()
        assert directories(tmp_path) == {"1": ["orders-0"], "2": ["orders-0-delete"]}
        append(log)
        manager.abandon()

    def test_cancelled_while_a_step_runs(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log)
        move = begin(manager, tmp_path)
        step = move.begin_step(SIZE)
        with move.working():
            manager.delete([PARTITION])
            assert directories(tmp_path) == {"1": ["orders-0-delete"], "2": ["orders-0-future"]}
            step.run()
        step.finish()
        assert directories(tmp_path) == {"1": ["orders-0-delete"], "2": ["orders-0-delete"]}
        assert move.log is not None
        assert move.log.is_closed
        manager.abandon()

    def test_a_failing_target_leaves_the_log_where_it_is(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log)
        move = begin(manager, tmp_path)
        copy_step(move)
        assert manager.fail_directory(StorageError(str(tmp_path / "2"), "broken")) == []
        assert move.is_over()
        append(log)
        with pytest.raises(ApiError) as raised:  # as Kafka: the offline one might hold a future log
            manager.begin_move(PARTITION, str(tmp_path / "2"))
        assert raised.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        manager.abandon()

    def test_a_failing_source_interrupts_the_move(self, tmp_path: Path) -> None:
        manager, log = with_log(tmp_path)
        append(log)
        move = begin(manager, tmp_path)
        copy_step(move)
        assert manager.fail_directory(StorageError(str(tmp_path / "1"), "broken")) == [PARTITION]
        assert move.is_over()
        assert directories(tmp_path)["2"] == ["orders-0-future"]
        manager.abandon()

    @pytest.mark.parametrize("partial", [True, False])
    def test_a_full_target_costs_nothing(self, tmp_path: Path, partial: bool) -> None:
        filesystem = FailingFilesystem()
        manager, log = with_log(tmp_path, filesystem=filesystem)
        for number in range(8):
            append(log, b"%d" % number)
        move = begin(manager, tmp_path)
        copy_step(move)
        copy_step(move)
        filesystem.partial = partial
        filesystem.fail_write = lambda path, position, size: (
            errno.ENOSPC if path.startswith(str(tmp_path / "2")) else 0
        )
        with pytest.raises(StorageError) as raised:
            copy_step(move)
        assert raised.value.disk_full
        append(log, b"8")
        filesystem.fail_write = lambda path, position, size: 0
        hand_over(move)
        assert [value for _, value in contents(finish(manager, move))] == [
            b"%d" % number for number in range(9)
        ]
        manager.abandon()

    def test_a_truncation_that_the_disk_refuses_is_made_up_for(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        manager, log = with_log(tmp_path, filesystem=filesystem)
        for offset in range(3):
            log.append_as_follower(replicated(offset, b"old %d" % offset))
        move = begin(manager, tmp_path)
        catch_up(move)
        log.truncate_to(1)
        filesystem.fail_truncate = errno.ENOSPC
        with pytest.raises(StorageError):
            copy_step(move)
        filesystem.fail_truncate = 0
        for offset in range(1, 4):
            log.append_as_follower(replicated(offset, b"new %d" % offset))
        hand_over(move)
        values = [value for _, value in contents(finish(manager, move))]
        assert values == [b"old 0", b"new 1", b"new 2", b"new 3"]
        manager.abandon()

    def test_a_swap_that_the_disk_refuses_leaves_the_log_as_it_was(self, tmp_path: Path) -> None:
        class NoRename(OsFilesystem):
            refuses = False

            def rename(self, source: str, target: str) -> None:
                if self.refuses and "-future" in source and not target.startswith(source):
                    raise OSError(errno.ENOSPC, "injected", target)
                super().rename(source, target)

        filesystem = NoRename()
        manager, log = with_log(tmp_path, filesystem=filesystem)
        append(log, producer_id=7, producer_epoch=0, sequence=0)
        move = begin(manager, tmp_path)
        hand_over(move)
        assert move.copy_tail(SIZE)
        filesystem.refuses = True
        with pytest.raises(StorageError):
            manager.finish_move(move)
        append(log, producer_id=7, producer_epoch=0, sequence=1)
        filesystem.refuses = False
        move.take_back()
        hand_over(move)
        assert len(contents(finish(manager, move))) == 2
        manager.abandon()


def test_where_a_partition_is_made_can_be_said_before(tmp_path: Path) -> None:
    manager = started(tmp_path)
    for partition in range(3):
        manager.prefer_directory(TopicPartition("a", partition), str(tmp_path / "2"))
    manager.prefer_directory(TopicPartition("a", 0), str(tmp_path / "1"))
    made = [
        manager.create(TopicPartition("a", each), TOPIC_ID, CONFIG).log_directory[-1] for each in range(3)
    ]
    assert made == ["1", "2", "2"]
    manager.delete([TopicPartition("a", 1)])
    assert manager.create(TopicPartition("a", 1), TOPIC_ID, CONFIG).log_directory[-1] == "1"
    manager.abandon()


def test_cordoned_directories_get_no_new_logs(tmp_path: Path) -> None:
    manager = started(tmp_path, clock=ManualClock())
    manager.is_cordoned = lambda path: path.endswith("1")
    for partition in range(3):
        assert manager.create(TopicPartition("a", partition), TOPIC_ID, CONFIG).log_directory[-1] == "2"
    manager.abandon()
