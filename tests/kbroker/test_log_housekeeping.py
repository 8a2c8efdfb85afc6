"""The chores of the logs: they repeat, and a disk that fails during one goes offline without ending the others."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from kbroker.log_housekeeping import LogHousekeeping
from storage.checkpoint import (
    HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
)
from storage.errors import StorageError

BROKEN = StorageError("disk", "cannot sync", OSError(errno.EIO, "I/O error"))


class FakeLog:
    """A log whose retention works or fails."""

    is_closed = False
    topic_partition = ("t", 0)

    def __init__(self, error: StorageError | None = None) -> None:
        self._error = error
        self.retentions = 0

    def delete_old_segments(self) -> int:
        self.retentions += 1
        if self._error is not None:
            raise self._error
        return 0


class Setting:
    """Housekeeping over fake logs and group commits, on trio's clock."""

    def __init__(self) -> None:
        self.due: list[tuple[str, int]] = []
        self.to_anchor: list[str] = []
        self.flushed: list[tuple[str, int]] = []
        self.anchored: list[str] = []
        self.broken: set[str] = set()
        self.failed: list[StorageError] = []
        self.checkpoints: list[str] = []
        self.logs: dict[str, FakeLog] = {}
        self.in_thread = 0
        self.retries = 0
        self.sync_s = 0
        config = SimpleNamespace(
            log_flush_scheduler_interval_ms=2**63 - 1,
            log_flush_offset_checkpoint_interval_ms=60_000,
            log_flush_start_offset_checkpoint_interval_ms=10_000,
            replica_high_watermark_checkpoint_interval_ms=5_000,
            log_retention_check_interval_ms=300_000,
            producer_id_expiration_check_interval_ms=600_000,
        )
        logs = SimpleNamespace(
            flushes_due=lambda: iter(self.due),
            logs_to_anchor=lambda interval_ms: self.to_anchor if interval_ms == 60_000 else [],
            begin_checkpoint=lambda name: lambda: self.checkpoints.append(name),
            logs=self.logs,
            remove_expired_producers=lambda: None,
            run_removals=lambda: None,
        )
        self.housekeeping = LogHousekeeping(
            config=cast(Any, config),
            logs=cast(Any, logs),
            replicas=cast(Any, SimpleNamespace(fail_directory=self.failed.append)),
            commits=cast(Any, SimpleNamespace(flush=self.flush, anchor=self.anchor)),
            world=cast(Any, SimpleNamespace(sleep=trio.sleep, run_blocking=self.run_blocking)),
            apply_waiting=self.apply_waiting,
        )

    async def flush(self, log: str, up_to_offset: int) -> None:
        self.flushed.append((log, up_to_offset))
        await self.sync(log)

    async def anchor(self, log: str) -> None:
        self.anchored.append(log)
        await self.sync(log)

    async def sync(self, log: str) -> None:
        await trio.sleep(self.sync_s)
        if log in self.broken:
            raise BROKEN

    async def apply_waiting(self) -> None:
        self.retries += 1

    async def run_blocking(self, function: Any, *arguments: object) -> object:
        self.in_thread += 1
        await trio.sleep(1)
        self.in_thread -= 1
        return function(*arguments)

    async def run_for(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.housekeeping.run)
            await trio.sleep(seconds)
            await self.housekeeping.stop()


async def test_chores_repeat_at_their_intervals(autojump_clock: MockClock) -> None:
    setting = Setting()
    await setting.run_for(26)
    assert setting.checkpoints.count(HIGH_WATERMARK_CHECKPOINT) == 4
    assert setting.checkpoints.count(RECOVERY_POINT_CHECKPOINT) == 4
    assert setting.checkpoints.count(LOG_START_OFFSET_CHECKPOINT) == 2
    assert not setting.failed


async def test_rolled_segments_are_flushed_although_kafkas_default_is_to_never_look(
    autojump_clock: MockClock,
) -> None:
    setting = Setting()
    setting.due = [("log", 7)]
    await setting.run_for(6)
    assert setting.flushed == [("log", 7)]


async def test_a_failed_sync_takes_its_directory_offline_and_the_chores_go_on(
    autojump_clock: MockClock,
) -> None:
    setting = Setting()
    setting.due = [("broken", 1), ("sound", 1)]
    setting.to_anchor = ["broken", "sound"]
    setting.broken = {"broken"}
    await setting.run_for(12)
    assert [log for log, _ in setting.flushed] == ["broken", "sound"] * 2
    assert setting.anchored == ["broken", "sound"] * 2
    assert setting.failed == [BROKEN] * 4
    assert setting.checkpoints.count(RECOVERY_POINT_CHECKPOINT) == 2


async def test_the_recovery_point_is_written_after_the_anchors(autojump_clock: MockClock) -> None:
    setting = Setting()
    setting.to_anchor = ["first", "second"]
    setting.sync_s = 1
    async with trio.open_nursery() as nursery:
        await nursery.start(setting.housekeeping.run)
        await trio.sleep(6.5)
        assert setting.anchored == ["first", "second"]
        assert RECOVERY_POINT_CHECKPOINT not in setting.checkpoints
        await trio.sleep(2)
        assert RECOVERY_POINT_CHECKPOINT in setting.checkpoints
        await setting.housekeeping.stop()


async def test_retention_passes_over_a_log_whose_disk_fails(autojump_clock: MockClock) -> None:
    setting = Setting()
    broken, sound = setting.logs["a"], setting.logs["b"] = FakeLog(BROKEN), FakeLog()
    await setting.run_for(301)
    assert (broken.retentions, sound.retentions) == (1, 1)
    assert setting.failed == [BROKEN]


async def test_stopping_waits_for_what_is_in_a_thread(autojump_clock: MockClock) -> None:
    """Who closes the logs next must find nobody at work on them."""
    setting = Setting()
    async with trio.open_nursery() as nursery:
        await nursery.start(setting.housekeeping.run)
        await trio.sleep(5.5)
        assert setting.in_thread
        await setting.housekeeping.stop()
        assert not setting.in_thread


async def test_what_a_full_disk_refused_is_tried_again_now_and_then(autojump_clock: MockClock) -> None:
    setting = Setting()
    await setting.run_for(21)
    assert setting.retries == 4
