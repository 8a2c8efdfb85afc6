"""The two files that say where recovery begins: when they are written, in which order, what may not outlive a crash."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from storage import log_manager
from storage.checkpoint import decode_offsets
from storage.errors import StorageError
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.recovery_anchor import RECOVERY_ANCHORS, RecoveryAnchor, decode_anchors
from storage.topic_partition import TopicPartition
from tests.storage.support import (
    TOPIC_ID,
    FailingFilesystem,
    ManualClock,
    batch,
    make_manager,
    read_all,
)

A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)
POINTS = "recovery-point-offset-checkpoint"


def started(directory: Path, *, load: bool = True, **settings: object) -> LogManager:
    manager = make_manager(directory, **settings)  # type: ignore[arg-type]
    manager.open(node_id=1, cluster_id="cluster")
    if load:
        manager.load(lambda topic: LogConfig())
    return manager


def create(manager: LogManager, name: TopicPartition = A0, count: int = 3) -> Log:
    log = manager.create(name, TOPIC_ID, LogConfig())
    append(log, count)
    return log


def append(log: Log, count: int = 1) -> None:
    for _ in range(count):
        log.append_as_leader(batch(b"%d" % log.log_end_offset), 0)


def lay(log: Log) -> RecoveryAnchor:
    pending = log.begin_anchor()
    assert pending is not None
    pending.run()
    assert log.recovery_anchor is not None
    return log.recovery_anchor


def points(path: Path) -> dict[TopicPartition, int]:
    return decode_offsets((path / POINTS).read_bytes())


def anchors(path: Path) -> dict[TopicPartition, RecoveryAnchor]:
    return decode_anchors((path / RECOVERY_ANCHORS).read_bytes())


def test_anchors_outlive_a_kill(tmp_path: Path) -> None:
    manager = started(tmp_path)
    log = create(manager)
    create(manager, A1)
    anchor = lay(log)
    append(log)
    manager.checkpoint()
    assert (points(tmp_path), anchors(tmp_path)) == ({A0: 3, A1: 0}, {A0: anchor})
    manager.abandon()
    for _ in range(2):
        again = started(tmp_path)
        assert again.get(A0).recovery_anchor == anchor  # type: ignore[union-attr]
        assert again.get(A0).log_end_offset == 4  # type: ignore[union-attr]
        assert again.get(A1).recovery_anchor is None  # type: ignore[union-attr]
        again.abandon()


def test_a_clean_stop_leaves_anchors_for_a_later_kill(tmp_path: Path) -> None:
    manager = started(tmp_path)
    create(manager)
    manager.close()
    (anchor,) = anchors(tmp_path).values()
    assert anchor.offset == 3
    again = started(tmp_path)
    assert again.get(A0).recovery_anchor == anchor  # type: ignore[union-attr]
    again.close()


def test_one_that_does_not_fit_is_forgotten_on_the_disk_too(tmp_path: Path) -> None:
    """Or the log might grow until it fits by chance."""
    manager = started(tmp_path)
    log = create(manager)
    lay(log)
    lay_second = create(manager, A1)
    lay(lay_second)
    manager.checkpoint()
    manager.abandon()
    path = tmp_path / "a-0" / f"{0:020d}.log"
    path.write_bytes(path.read_bytes()[:-1])
    again = started(tmp_path)
    assert again.get(A0).log_end_offset == 2  # type: ignore[union-attr]
    assert set(anchors(tmp_path)) == {A1}
    again.abandon()


def test_a_new_log_does_not_inherit_what_the_checkpoints_said_of_a_deleted_one(tmp_path: Path) -> None:
    """The process dies after the directory was renamed, before the checkpoints are written."""
    manager = started(tmp_path)
    log = create(manager, count=30)
    log.update_high_watermark(30)
    log.maybe_increment_log_start_offset(20)
    lay(log)
    manager.checkpoint()
    names = (POINTS, RECOVERY_ANCHORS, "log-start-offset-checkpoint", "replication-offset-checkpoint")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    manager.delete([A0])
    manager.abandon()
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    manager = started(tmp_path)
    create(manager, count=5)
    manager.abandon()
    manager = started(tmp_path)
    found = manager.get(A0)
    assert found is not None
    assert [record.value for record in read_all(found)] == [b"%d" % offset for offset in range(5)]
    assert manager.findings == []
    manager.close()


class TestOrder:
    """An anchor counts only with a recovery point at or above it."""

    @pytest.fixture
    def filesystem(self) -> FailingFilesystem:
        return FailingFilesystem()

    @pytest.fixture
    def manager(self, tmp_path: Path, filesystem: FailingFilesystem) -> LogManager:
        return started(tmp_path, filesystem=filesystem)

    def written(self, filesystem: FailingFilesystem) -> list[str]:
        found = [Path(path).name.removesuffix(".tmp") for path in filesystem.synced if path.endswith(".tmp")]
        filesystem.synced.clear()
        return [name for name in found if name in (POINTS, RECOVERY_ANCHORS)]

    def test_points_rise_first_and_fall_last(
        self, tmp_path: Path, manager: LogManager, filesystem: FailingFilesystem
    ) -> None:
        log = create(manager)
        lay(log)
        filesystem.synced.clear()
        manager.checkpoint()
        assert self.written(filesystem) == [POINTS, RECOVERY_ANCHORS]
        log.truncate_to(1)
        assert self.written(filesystem) == [RECOVERY_ANCHORS, POINTS]
        assert (points(tmp_path), anchors(tmp_path)) == ({A0: 0}, {})

    def test_nothing_new_is_not_written(self, manager: LogManager, filesystem: FailingFilesystem) -> None:
        lay(create(manager))
        manager.checkpoint()
        self.written(filesystem)
        manager.checkpoint()
        assert self.written(filesystem) == []

    def test_what_was_prepared_before_a_truncation_is_not_written_after_it(
        self, tmp_path: Path, manager: LogManager
    ) -> None:
        log = create(manager)
        lay(log)
        write = manager.begin_checkpoint()
        log.truncate_to(1)
        write()
        assert (points(tmp_path), anchors(tmp_path)) == ({A0: 0}, {})

    @pytest.mark.parametrize("position", [0, 1])
    def test_a_disk_that_refuses_the_lower_point_keeps_the_log(
        self, tmp_path: Path, manager: LogManager, filesystem: FailingFilesystem, position: int
    ) -> None:
        log = create(manager)
        anchor = lay(log)
        manager.checkpoint()
        name = (POINTS, RECOVERY_ANCHORS)[position]
        filesystem.fail_write = lambda path, position, size: errno.EIO if name in path else 0
        with pytest.raises(StorageError):
            log.truncate_to(1)
        assert log.log_end_offset == log.recovery_point == 3
        assert log.recovery_anchor == anchor
        assert points(tmp_path) == {A0: 3}
        filesystem.fail_write = lambda path, position, size: 0
        assert log.truncate_to(1)
        assert points(tmp_path) == {A0: 0}

    def test_on_a_full_disk_the_anchors_go(
        self, tmp_path: Path, manager: LogManager, filesystem: FailingFilesystem
    ) -> None:
        log = create(manager)
        lay(log)
        manager.checkpoint()
        filesystem.fail_write = lambda path, position, size: errno.ENOSPC if RECOVERY_ANCHORS in path else 0
        assert log.truncate_to(1)
        assert points(tmp_path) == {A0: 0}
        assert not (tmp_path / RECOVERY_ANCHORS).exists()
        filesystem.fail_write = lambda path, position, size: 0
        append(log)
        lay(log)
        manager.checkpoint()
        assert set(anchors(tmp_path)) == {A0}

    def test_a_full_disk_at_the_start_does_not_stop_it(
        self, tmp_path: Path, manager: LogManager, filesystem: FailingFilesystem
    ) -> None:
        lay(create(manager))
        create(manager, A1)
        manager.checkpoint()
        manager.abandon()
        path = tmp_path / "a-0" / f"{0:020d}.log"
        path.write_bytes(path.read_bytes()[:-1])
        (tmp_path / "a-1").rename(tmp_path / "elsewhere")
        filesystem.fail_write = lambda path, position, size: errno.ENOSPC if "checkpoint" in path else 0
        again = started(tmp_path, filesystem=filesystem)
        assert again.has_live_directory
        assert again.get(A0).log_end_offset == 2  # type: ignore[union-attr]
        again.abandon()


class TestWhichLogsGetOne:
    def test_those_that_grew_much_or_have_waited_long(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock()
        manager = started(tmp_path, clock=clock)
        log, other = create(manager), create(manager, A1, count=0)
        assert manager.logs_to_anchor(1000) == []
        clock.now_ms += 1000
        assert manager.logs_to_anchor(1000) == [log]  # the other is empty
        lay(log)
        clock.now_ms += 1000
        assert manager.logs_to_anchor(1000) == []  # idle
        append(log)
        assert manager.logs_to_anchor(1000) == [log]
        lay(log)
        monkeypatch.setattr(log_manager, "UNANCHORED_BYTES_MAX", 200)
        append(log, 2)
        assert manager.logs_to_anchor(1000) == []
        append(log)
        assert manager.logs_to_anchor(1000) == [log]
        lay(log)
        log.roll()
        assert manager.logs_to_anchor(0) == []
        append(log)
        append(other)
        assert manager.logs_to_anchor(0) == [log, other]
        other.abandon()
        assert manager.logs_to_anchor(0) == [log]
        manager.abandon()
