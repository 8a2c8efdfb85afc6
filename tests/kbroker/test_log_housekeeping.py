"""The chores of the logs: they repeat, and a disk that fails during one goes offline without ending the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from kbroker.log_housekeeping import LogHousekeeping
from storage.errors import StorageError


class Flush:
    """A pending flush that succeeds or fails, and notes how it ended."""

    def __init__(self, error: StorageError | None, ended: list[str]) -> None:
        self._error, self._ended = error, ended

    def sync(self) -> None:
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        self._ended.append("finished")

    def abandon(self) -> None:
        self._ended.append("abandoned")


class Setting:
    """Housekeeping over fake logs, on trio's clock."""

    def __init__(self) -> None:
        self.flushes: list[Flush] = []
        self.failed: list[StorageError] = []
        self.checkpoints = 0
        config = SimpleNamespace(
            log_flush_scheduler_interval_ms=2**63 - 1,
            replica_high_watermark_checkpoint_interval_ms=5_000,
            log_retention_check_interval_ms=300_000,
            producer_id_expiration_check_interval_ms=600_000,
        )
        logs = SimpleNamespace(
            pending_flushes=lambda: iter(self.flushes),
            begin_checkpoint=lambda: self.write_checkpoint,
            logs={},
            remove_expired_producers=lambda: None,
            run_removals=lambda: None,
        )

        async def run_blocking(function: Any, *arguments: object) -> object:
            await trio.lowlevel.checkpoint()
            return function(*arguments)

        self.housekeeping = LogHousekeeping(
            config=cast(Any, config),
            logs=cast(Any, logs),
            replicas=cast(Any, SimpleNamespace(fail_directory=self.failed.append)),
            world=cast(Any, SimpleNamespace(sleep=trio.sleep, run_blocking=run_blocking)),
        )

    def write_checkpoint(self) -> None:
        self.checkpoints += 1

    async def run_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                self.housekeeping.start(nursery)


async def test_chores_repeat_at_their_intervals(autojump_clock: MockClock) -> None:
    setting = Setting()
    await setting.run_for(21)
    assert setting.checkpoints == 4
    assert not setting.failed


async def test_rolled_segments_are_flushed_although_kafkas_default_is_to_never_look(
    autojump_clock: MockClock,
) -> None:
    setting = Setting()
    ended: list[str] = []
    setting.flushes = [Flush(None, ended)]
    await setting.run_for(6)
    assert ended == ["finished"]


async def test_a_failed_sync_takes_its_directory_offline_and_the_chores_go_on(
    autojump_clock: MockClock,
) -> None:
    setting = Setting()
    ended: list[str] = []
    error = StorageError("disk", "cannot sync", OSError(5, "I/O error"))
    setting.flushes = [Flush(error, ended)]
    await setting.run_for(11)
    assert ended == ["abandoned", "abandoned"]
    assert setting.failed == [error, error]
    assert setting.checkpoints == 2
