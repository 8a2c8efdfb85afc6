from __future__ import annotations

import errno
import resource
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest

from storage.errors import DirectoryInUseError, IncompatibleDirectoryError, StorageError
from storage.filesystem import OsFilesystem
from storage.log_config import LogConfig
from storage.log_directory import OffsetCheckpoint
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from storage.uuid_text import uuid_to_text
from tests.storage.support import (
    START_MS,
    TOPIC_ID,
    FailingFilesystem,
    ManualClock,
    batch,
    disk_broken,
    disk_full,
    make_manager,
    read_all,
)
from wire.errors import ApiError, ErrorCode

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
CONFIG = LogConfig()
ROOT = Path(__file__).resolve().parents[2]


def started(*directories: Path, config: LogConfig = CONFIG, **settings: object) -> LogManager:
    manager = make_manager(*directories, **settings)  # type: ignore[arg-type]
    manager.open(node_id=1)
    manager.load(lambda topic: config)
    return manager


def test_a_new_directory_is_given_to_this_node(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    manager = started(path)
    assert len(manager.cluster_id) == 22
    text = (path / "meta.properties").read_text()
    directory_id = manager.directories[0].directory_id
    assert directory_id is not None
    assert f"cluster.id={manager.cluster_id}\nnode.id=1\n" in text
    assert f"directory.id={uuid_to_text(directory_id)}\n" in text
    manager.close()
    again = started(path)
    assert (again.cluster_id, again.directories[0].directory_id) == (manager.cluster_id, directory_id)
    again.close()


def test_ids_do_not_look_like_options(tmp_path: Path) -> None:
    bad = uuid.UUID(bytes=b"\xf8" + bytes(15))
    assert uuid_to_text(bad).startswith("-")
    ids = iter([bad, uuid.UUID(int=1), bad, bad, uuid.UUID(int=2)])
    manager = started(tmp_path, random_uuid=lambda: next(ids))
    assert manager.cluster_id == uuid_to_text(uuid.UUID(int=1))
    assert manager.directories[0].directory_id == uuid.UUID(int=2)
    manager.abandon()


def test_the_directory_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    started(tmp_path).close()
    with pytest.raises(IncompatibleDirectoryError):
        make_manager(tmp_path).open(node_id=2)
    with pytest.raises(IncompatibleDirectoryError):
        make_manager(tmp_path).open(node_id=1, cluster_id="other")
    started(tmp_path).close()  # and the failed attempts hold no lock


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    manager = started(tmp_path)
    with pytest.raises(DirectoryInUseError) as raised:
        make_manager(tmp_path).open(node_id=1)
    assert str(tmp_path) in str(raised.value)
    manager.close()
    started(tmp_path).close()


def test_a_directory_may_be_named_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError):
        make_manager(tmp_path / "data", tmp_path / "link")
    with pytest.raises(ValueError):
        make_manager()


def test_logs_are_created_once_and_found_again(tmp_path: Path) -> None:
    manager = started(tmp_path)
    log = manager.create(A0, TOPIC_ID, CONFIG)
    assert manager.create(A0, TOPIC_ID, CONFIG) is log
    assert manager.get(A0) is log
    assert manager.get(A1) is None
    log.append_as_leader(batch(b"x"), 0)
    log.update_high_watermark(1)
    with pytest.raises(ApiError) as raised:
        manager.create(A0, uuid.UUID(int=9), CONFIG)
    assert raised.value.code is ErrorCode.INCONSISTENT_TOPIC_ID
    manager.close()
    again = started(tmp_path)
    found = again.get(A0)
    assert found is not None
    assert found.topic_id == TOPIC_ID
    assert found.high_watermark == 1
    assert [record.value for record in read_all(found)] == [b"x"]
    again.close()


def test_kafkas_files_in_a_log_directory(tmp_path: Path) -> None:
    manager = started(tmp_path)
    for name in (A0, A1):
        log = manager.create(name, TOPIC_ID, CONFIG)
        log.append_as_leader(batch(b"a", b"b"), 0)
        log.update_high_watermark(2)
    log.maybe_increment_log_start_offset(1)
    manager.close(broker_epoch=7)
    assert (tmp_path / ".kafka_cleanshutdown").read_text() == '{"version":0,"brokerEpoch":7}'
    assert (tmp_path / "recovery-point-offset-checkpoint").read_text() == "0\n2\na 0 2\na 1 2\n"
    assert (tmp_path / "replication-offset-checkpoint").read_text() == "0\n2\na 0 2\na 1 2\n"
    assert (tmp_path / "log-start-offset-checkpoint").read_text() == "0\n1\na 1 1\n"
    assert {path.name for path in tmp_path.iterdir()} == {
        ".kafka_cleanshutdown",
        ".lock",
        "meta.properties",
        "recovery-point-offset-checkpoint",
        "kbroker-recovery-anchors",
        "replication-offset-checkpoint",
        "log-start-offset-checkpoint",
        "a-0",
        "a-1",
    }
    again = started(tmp_path)
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    assert again.get(A1).log_start_offset == 1  # type: ignore[union-attr]
    again.abandon()


def test_without_the_clean_mark_logs_are_recovered(tmp_path: Path) -> None:
    manager = started(tmp_path)
    for name in (A0, A1):
        manager.create(name, TOPIC_ID, CONFIG).append_as_leader(batch(b"x"), 0)
    manager.checkpoint()
    manager.abandon()
    path = tmp_path / "a-1" / f"{0:020d}.log"
    path.write_bytes(path.read_bytes() + b"torn")
    again = started(tmp_path)
    assert [(finding.topic_partition, finding.lost_bytes) for finding in again.findings] == [(A1, 4)]
    for name in (A0, A1):
        assert again.get(name).log_end_offset == 1  # type: ignore[union-attr]
    again.close()
    (tmp_path / "recovery-point-offset-checkpoint").write_text("rubbish")
    clean = started(tmp_path)
    assert clean.findings == []
    assert clean.get(A0).recovery_point == 1  # type: ignore[union-attr]
    clean.close()


def test_deleted_logs_are_gone_at_once_and_removed_later(tmp_path: Path) -> None:
    clock = ManualClock()
    manager = started(tmp_path, clock=clock)
    for name in (A0, A1):
        log = manager.create(name, TOPIC_ID, CONFIG)
        log.append_as_leader(batch(b"old"), 0)
        log.update_high_watermark(1)
    manager.checkpoint()
    manager.delete([A0, B0], delay_ms=1000)
    assert manager.get(A0) is None
    assert log.append_as_leader(batch(), 0).first_offset == 1
    (marked,) = tmp_path.glob("a-0.*-delete")
    for name in ("recovery-point", "replication"):
        assert "a 0" not in (tmp_path / f"{name}-offset-checkpoint").read_text()
    anew = manager.create(A0, uuid.UUID(int=5), CONFIG)
    assert (anew.log_end_offset, anew.high_watermark, anew.recovery_point) == (0, 0, 0)
    assert manager.run_removals() == 1
    clock.now_ms += 1000
    assert manager.run_removals() == 0
    assert not marked.exists()
    manager.close()


def test_deleting_works_on_a_full_disk(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    manager = started(tmp_path, filesystem=filesystem)
    manager.create(A0, TOPIC_ID, CONFIG).append_as_leader(batch(b"old"), 0)
    manager.checkpoint()
    filesystem.fail_write = disk_full
    manager.delete([A0], delay_ms=0)
    manager.run_removals()
    assert not list(tmp_path.glob("a-0*"))
    filesystem.fail_write = lambda *_: 0
    manager.checkpoint()
    assert "a 0" not in (tmp_path / "recovery-point-offset-checkpoint").read_text()
    manager.close()


def test_a_new_log_inherits_nothing_from_a_deleted_one_that_is_still_in_a_checkpoint(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    manager = started(tmp_path, filesystem=filesystem)
    log = manager.create(A0, TOPIC_ID, CONFIG)
    for _ in range(10):
        log.append_as_leader(batch(), 0)
    log.update_high_watermark(10)
    log.maybe_increment_log_start_offset(8)
    manager.checkpoint()
    filesystem.fail_write = lambda path, position, size: errno.ENOSPC if "checkpoint" in path else 0
    manager.delete([A0])
    with pytest.raises(StorageError) as refused:
        manager.create(A0, uuid.UUID(int=2), CONFIG)
    assert refused.value.disk_full
    filesystem.fail_write = lambda path, position, size: 0
    log = manager.create(A0, uuid.UUID(int=2), CONFIG)
    log.append_as_leader(batch(), 0)
    log.flush()
    manager.abandon()
    again = started(tmp_path)
    assert again.findings == []
    assert (again.logs[A0].log_start_offset, again.logs[A0].log_end_offset) == (0, 1)
    again.abandon()


def test_a_new_log_inherits_nothing_from_one_that_was_on_its_way_to_its_directory(tmp_path: Path) -> None:
    paths = (tmp_path / "one", tmp_path / "two")
    manager = started(*paths)
    log = manager.create(A0, TOPIC_ID, CONFIG, directory=str(paths[0]))
    for _ in range(10):
        log.append_as_leader(batch(), 0)
    log.update_high_watermark(10)
    log.maybe_increment_log_start_offset(8)
    manager.begin_move(A0, manager.path_of(str(paths[1])))
    manager.checkpoint()
    manager.delete([A0])
    log = manager.create(A0, uuid.UUID(int=2), CONFIG, directory=str(paths[1]))
    log.append_as_leader(batch(), 0)
    log.flush()
    manager.abandon()
    again = started(*paths)
    assert again.findings == []
    assert (again.logs[A0].log_start_offset, again.logs[A0].log_end_offset) == (0, 1)
    again.abandon()


def test_a_removal_that_a_crash_interrupted_is_resumed(tmp_path: Path) -> None:
    manager = started(tmp_path)
    manager.create(A0, TOPIC_ID, CONFIG).append_as_leader(batch(), 0)
    manager.delete([A0])
    manager.abandon()
    (marked,) = tmp_path.glob("*-delete")
    (marked / f"{0:020d}.log").unlink()
    again = started(tmp_path)
    assert again.get(A0) is None
    again.run_removals()
    assert not marked.exists()
    again.close()


def test_a_deleted_log_can_still_be_sent(tmp_path: Path) -> None:
    manager = started(tmp_path)
    log = manager.create(A0, TOPIC_ID, CONFIG)
    log.append_as_leader(batch(b"in flight"), 0)
    file_slice = log.read(0, 1000, max_offset=1).records
    assert file_slice is not None
    manager.delete([A0], delay_ms=0)
    manager.run_removals()
    assert b"in flight" in file_slice.read()
    file_slice.release()
    manager.close()


def test_foreign_directories_are_left_alone(tmp_path: Path) -> None:
    for name in (
        "lost+found",
        "notes",
        "__cluster_metadata-0",
        f"a-0.{'f' * 32}-stray",
        f"a-0.{'f' * 32}-future",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "metadata.db").write_bytes(b"mine")
    manager = started(tmp_path)
    assert manager.logs == {}
    manager.close()
    assert (tmp_path / "lost+found").exists()
    assert (tmp_path / f"a-0.{'f' * 32}-stray").exists()


def test_topic_configs_are_asked_for_once_a_topic(tmp_path: Path) -> None:
    manager = started(tmp_path)
    for name in (A0, A1, B0):
        manager.create(name, TOPIC_ID, CONFIG)
    manager.close()
    asked: list[str] = []

    def config(topic: str) -> LogConfig:
        asked.append(topic)
        return LogConfig(retention_ms=len(asked))

    again = make_manager(tmp_path)
    again.open(node_id=1)
    again.load(config)
    assert asked == ["a", "b"]
    assert again.get(B0).config.retention_ms == 2  # type: ignore[union-attr]
    again.close()


class TestSeveralDirectories:
    def test_new_logs_go_where_there_are_fewest(self, tmp_path: Path) -> None:
        manager = started(tmp_path / "1", tmp_path / "2")
        logs = [manager.create(TopicPartition("t", number), TOPIC_ID, CONFIG) for number in range(6)]
        assert [log.log_directory[-1] for log in logs] == ["1", "2"] * 3
        chosen = manager.create(A0, TOPIC_ID, CONFIG, directory=str(tmp_path / "2"))
        assert chosen.log_directory == str(tmp_path / "2")
        assert len(manager.logs_in(manager.directories[1])) == 4
        manager.close()
        again = started(tmp_path / "1", tmp_path / "2")
        assert len(again.logs) == 7
        again.close()

    def test_a_partition_in_two_directories_is_refused(self, tmp_path: Path) -> None:
        manager = started(tmp_path / "1", tmp_path / "2")
        manager.create(A0, TOPIC_ID, CONFIG, directory=str(tmp_path / "1"))
        manager.close()
        (tmp_path / "2" / "a-0").mkdir()
        again = make_manager(tmp_path / "1", tmp_path / "2")
        again.open(node_id=1)
        with pytest.raises(IncompatibleDirectoryError):
            again.load(lambda topic: CONFIG)
        again.abandon()

    def test_a_failed_directory_goes_offline_and_the_rest_serves(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        manager = started(tmp_path / "1", tmp_path / "2", filesystem=filesystem)
        logs = [manager.create(name, TOPIC_ID, CONFIG) for name in (A0, A1)]
        for log in logs:
            log.append_as_leader(batch(b"x"), 0)
        filesystem.fail_write = lambda path, *_: errno.EIO if str(tmp_path / "1") in path else 0
        with pytest.raises(StorageError) as raised:
            logs[0].append_as_leader(batch(b"y"), 0)
        assert manager.fail_directory(raised.value) == [A0]
        assert manager.fail_directory(raised.value) == []
        assert manager.has_live_directory
        assert manager.get(A0) is None
        assert set(manager.offline_partitions) == {A0}
        assert [directory.error is None for directory in manager.directories] == [False, True]
        with pytest.raises(ApiError) as refused:
            manager.create(A0, TOPIC_ID, CONFIG)
        assert refused.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        logs[1].append_as_leader(batch(b"z"), 0)
        assert manager.create(B0, TOPIC_ID, CONFIG).log_directory == str(tmp_path / "2")
        manager.checkpoint()
        manager.close()
        assert not (tmp_path / "1" / ".kafka_cleanshutdown").exists()
        again = started(tmp_path / "1", tmp_path / "2")
        assert again.get(A0).log_end_offset == 1  # type: ignore[union-attr]
        assert again.get(A1).log_end_offset == 2  # type: ignore[union-attr]
        again.close()

    def test_a_directory_that_fails_at_start_is_offline(self, tmp_path: Path) -> None:
        (tmp_path / "1").write_bytes(b"not a directory")
        manager = started(tmp_path / "1", tmp_path / "2")
        assert [directory.error is None for directory in manager.directories] == [False, True]
        assert manager.create(A0, TOPIC_ID, CONFIG).log_directory == str(tmp_path / "2")
        manager.close()

    def test_without_any_directory_there_is_no_start(self, tmp_path: Path) -> None:
        (tmp_path / "1").write_bytes(b"not a directory")
        with pytest.raises(StorageError):
            make_manager(tmp_path / "1").open(node_id=1)


class TestHousekeeping:
    def test_rolled_segments_and_overdue_logs_are_flushed(self, tmp_path: Path) -> None:
        clock = ManualClock()
        manager = started(tmp_path, clock=clock)
        rolled = manager.create(A0, TOPIC_ID, CONFIG)
        rolled.append_as_leader(batch(), 0)
        rolled.roll()
        rolled.append_as_leader(batch(), 0)
        overdue = manager.create(A1, TOPIC_ID, LogConfig(flush_ms=1000))
        overdue.append_as_leader(batch(), 0)
        idle = manager.create(B0, TOPIC_ID, CONFIG)
        idle.append_as_leader(batch(), 0)
        self.flush(manager)
        assert [log.recovery_point for log in (rolled, overdue, idle)] == [1, 0, 0]
        clock.now_ms += 1000
        self.flush(manager)
        assert [log.recovery_point for log in (rolled, overdue, idle)] == [1, 1, 0]
        assert list(manager.flushes_due()) == []
        manager.close()

    def flush(self, manager: LogManager) -> None:
        for log, offset in manager.flushes_due():
            log.flush(offset)

    def test_a_later_checkpoint_is_not_overwritten_by_an_earlier_one(self, tmp_path: Path) -> None:
        manager = started(tmp_path)
        log = manager.create(A0, TOPIC_ID, CONFIG)
        for _ in range(4):
            log.append_as_leader(batch(), 0)
        log.flush()
        earlier = manager.begin_checkpoint()
        log.truncate_to(2)  # writes the lowered recovery point at once
        path = tmp_path / "recovery-point-offset-checkpoint"
        assert path.read_text() == "0\n1\na 0 1\n"
        earlier()
        assert path.read_text() == "0\n1\na 0 1\n"
        manager.checkpoint()
        assert path.read_text() == "0\n1\na 0 1\n"
        manager.close()

    def test_of_prepared_checkpoints_the_latest_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint"
        checkpoint = OffsetCheckpoint(OsFilesystem(), str(path))
        checkpoint.prepare({A0: 1})()
        stale = checkpoint.prepare({A0: 2})
        checkpoint.prepare({A0: 1})()  # what the file says already
        stale()
        assert path.read_text() == "0\n1\na 0 1\n"

    def test_a_checkpoint_that_fails_names_its_directory(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        manager = started(tmp_path, filesystem=filesystem)
        manager.create(A0, TOPIC_ID, CONFIG)
        filesystem.fail_write = disk_broken
        with pytest.raises(StorageError) as raised:
            manager.checkpoint()
        assert raised.value.directory == str(tmp_path)
        manager.close()
        assert not (tmp_path / ".kafka_cleanshutdown").exists()

    def test_retention_and_expiry(self, tmp_path: Path) -> None:
        clock = ManualClock()
        config = LogConfig(segment_bytes=len(batch()), retention_ms=1000)
        manager = started(tmp_path, clock=clock, config=config)
        for name in (A0, A1):
            log = manager.create(name, TOPIC_ID, config)
            for sequence in range(3):
                records = batch(timestamp=START_MS, producer_id=7, producer_epoch=0, sequence=sequence)
                log.append_as_leader(records, 0)
            log.update_high_watermark(3)
        clock.now_ms += 1001
        assert manager.delete_old_segments() == 6
        clock.now_ms += 24 * 60 * 60 * 1000
        manager.remove_expired_producers()
        assert all(not log.active_producers for log in manager.logs.values())
        manager.close()


@pytest.mark.parametrize("stale", ["first", "second"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "deleted"])
def test_a_log_of_an_earlier_topic_of_its_name_is_set_aside(
    stale: str, is_known: bool, tmp_path: Path
) -> None:
    """It was made anew elsewhere while the directory of the old one was offline."""
    old_id, new_id = TOPIC_ID, uuid.UUID(int=9)
    paths = {"first": tmp_path / "1", "second": tmp_path / "2"}
    for place, path in paths.items():
        manager = started(path)
        log = manager.create(A0, old_id if place == stale else new_id, CONFIG)
        log.append_as_leader(batch(*[place.encode()] * (3 if place == stale else 1)), 0)
        log.flush()
        manager.checkpoint()
        cluster_id = manager.cluster_id
        manager.abandon()
        for other in paths.values():  # both belong to one cluster
            if not other.exists():
                made = make_manager(other)
                made.open(node_id=1, cluster_id=cluster_id)
                made.abandon()
    manager = make_manager(*paths.values())
    manager.open(node_id=1)
    manager.load(lambda topic: CONFIG, topic_id=lambda topic: new_id if is_known else None)
    [kept] = manager.logs.values()
    asides = [entry for path in paths.values() for entry in path.iterdir() if entry.name.endswith("-stray")]
    assert len(asides) == 1
    assert asides[0].name.startswith("a-0.")
    if is_known:
        fresh = "first" if stale == "second" else "second"
        assert kept.topic_id == new_id
        assert [record.value for record in read_all(kept)] == [fresh.encode()]
        assert asides[0].parent == paths[stale]
        assert not manager.shortened  # what the checkpoint says of the other log is not about this one
    manager.abandon()
    again = make_manager(*paths.values())
    again.open(node_id=1)
    again.load(lambda topic: CONFIG)
    assert [log.topic_id for log in again.logs.values()] == [kept.topic_id]
    again.abandon()


def test_two_logs_of_one_topic_are_for_somebody_else_to_decide(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    manager = started(one)
    manager.create(A0, TOPIC_ID, CONFIG)
    cluster_id = manager.cluster_id
    manager.abandon()
    manager = make_manager(two)
    manager.open(node_id=1, cluster_id=cluster_id)
    manager.load(lambda topic: CONFIG)
    manager.create(A0, TOPIC_ID, CONFIG)
    manager.abandon()
    manager = make_manager(one, two)
    manager.open(node_id=1)
    with pytest.raises(IncompatibleDirectoryError):
        manager.load(lambda topic: CONFIG, topic_id=lambda topic: TOPIC_ID)
    manager.abandon()


@pytest.mark.slow
def test_logs_far_beyond_the_descriptor_limit(tmp_path: Path) -> None:
    """In a process of its own, which may open 64 files: 300 logs, all written, read, reopened."""
    program = f"""
        import random, resource, sys, time, uuid
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from storage.filesystem import OsFilesystem
        from storage.log_config import LogConfig
        from storage.log_manager import LogManager
        from storage.topic_partition import TopicPartition
        from wire.records import Record, build_batch, iterate_batches
        def start():
            manager = LogManager([{str(tmp_path)!r}], filesystem=OsFilesystem(), clock_ms=lambda: {START_MS},
                                 random_uuid=uuid.uuid4, random_below=random.randrange)
            manager.open(node_id=1)
            manager.load(lambda topic: LogConfig())
            return manager
        manager = start()
        for turn in range(3):
            for number in range(300):
                log = manager.create(TopicPartition("t", number), uuid.UUID(int=1 + number), LogConfig())
                records = [Record(0, {START_MS} + turn, b"k", b"%d" % number)]
                log.append_as_leader(build_batch(records, base_offset=0), 0)
        for clean in (True, False):
            manager.close() if clean else manager.abandon()
            manager = start()
            assert len(manager.logs) == 300 and not manager.findings, manager.findings
            reads = [log.read(1, 1000, max_offset=3) for log in manager.logs.values()]
            for read in reads:
                assert [header.base_offset for _, header in iterate_batches(read.records.read())] == [1, 2]
        manager.close()
        print("fine")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "fine\n", result.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64


def test_the_bound_on_open_files_follows_the_process(tmp_path: Path) -> None:
    class Narrow(OsFilesystem):
        def open_files_max(self) -> int:
            return 100

    assert make_manager(tmp_path, filesystem=Narrow()).context.cache.open_files_max == 50
    assert make_manager(tmp_path, open_files_max=7).context.cache.open_files_max == 7
