"""What the logs need done now and then: syncing, checkpoints, retention, expiry, removal of deleted files.

Each chore is a task of its own that repeats; the slow part of each runs where it may block. A disk that fails
during a chore takes its log directory out of service, as it would during an append, and a full one is tried
again the next time. Syncing goes through the group commits, which keep two syncs of one log apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.replica_manager import ReplicaManager
from kbroker.world import World
from storage.checkpoint import (
    HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
)
from storage.errors import StorageError
from storage.log import Log
from storage.log_manager import LogManager

_REMOVAL_INTERVAL_MS = 1_000
# Kafka's default is to never look; it flushes a rolled segment right away, which here is found by looking.
_FLUSH_INTERVAL_MS_MAX = 5_000
_FULL_DISK_RETRY_INTERVAL_MS = 5_000
_INTERVAL_MS_MIN = 1
_LOGS_PER_TURN = 64


class LogHousekeeping:
    """The chores of one broker's logs."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        logs: LogManager,
        replicas: ReplicaManager,
        commits: GroupCommits,
        world: World,
        apply_waiting: Callable[[], Awaitable[None]],
    ) -> None:
        """``apply_waiting`` tries again what the metadata wants and a full disk has refused."""
        self._config = config
        self._logs = logs
        self._replicas = replicas
        self._commits = commits
        self._world = world
        self._apply_waiting = apply_waiting
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    async def stop(self) -> None:
        """End; returns when no chore is at work on the logs any more, in whatever thread."""
        self._scope.cancel()
        await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Repeat every chore until ``stop``. Intervals are read anew each time."""
        config = self._config
        chores: list[tuple[Callable[[], int], Callable[[], Awaitable[None]]]] = [
            (lambda: min(config.log_flush_scheduler_interval_ms, _FLUSH_INTERVAL_MS_MAX), self._flush),
            (lambda: config.replica_high_watermark_checkpoint_interval_ms, self._anchor),
            (
                lambda: config.log_flush_start_offset_checkpoint_interval_ms,
                lambda: self._checkpoint(LOG_START_OFFSET_CHECKPOINT),
            ),
            (
                lambda: config.replica_high_watermark_checkpoint_interval_ms,
                lambda: self._checkpoint(HIGH_WATERMARK_CHECKPOINT),
            ),
            (lambda: config.log_retention_check_interval_ms, self._apply_retention),
            (lambda: config.producer_id_expiration_check_interval_ms, self._expire_producers),
            (lambda: _REMOVAL_INTERVAL_MS, self._remove_deleted),
            (lambda: _FULL_DISK_RETRY_INTERVAL_MS, self._apply_waiting),
        ]
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for interval_ms, chore in chores:
                        nursery.start_soon(self._repeat, interval_ms, chore)
                    task_status.started()
        finally:
            self._stopped.set()

    async def _repeat(self, interval_ms: Callable[[], int], chore: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._world.sleep(max(interval_ms(), _INTERVAL_MS_MIN) / 1000)
            try:
                await chore()
            except StorageError as error:
                self._replicas.fail_directory(error)

    async def _flush(self) -> None:
        """``flush.ms``, and segments that were rolled."""
        for log, offset in self._logs.flushes_due():
            try:
                await self._commits.flush(log, offset)
            except StorageError as error:
                self._replicas.fail_directory(error)

    async def _anchor(self) -> None:
        """What recovery after a crash begins with: moved where much was written, or some time has passed."""
        for log in self._logs.logs_to_anchor(self._config.log_flush_offset_checkpoint_interval_ms):
            try:
                await self._commits.anchor(log)
            except StorageError as error:
                self._replicas.fail_directory(error)
        await self._checkpoint(RECOVERY_POINT_CHECKPOINT)

    async def _checkpoint(self, name: str) -> None:
        await self._in_thread(self._logs.begin_checkpoint(name))

    async def _apply_retention(self) -> None:
        for turn, log in enumerate(self._logs.logs.values()):
            if not log.is_closed:
                self._apply_retention_to(log)
            if turn % _LOGS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    def _apply_retention_to(self, log: Log) -> None:
        """A disk that fails here must not keep the logs in other directories from being cut."""
        try:
            deleted = log.delete_old_segments()
        except StorageError as error:
            self._replicas.fail_directory(error)
            return
        partition = self._replicas.get(*log.topic_partition) if deleted else None
        if partition is not None:
            partition.progress.notify()

    async def _expire_producers(self) -> None:
        self._logs.remove_expired_producers()

    async def _remove_deleted(self) -> None:
        await self._in_thread(self._logs.run_removals)

    async def _in_thread(self, function: Callable[[], object]) -> None:
        # Shielded: a thread cannot be called back, and who closes the logs must find nobody at work on them.
        with trio.CancelScope(shield=True):
            await self._world.run_blocking(function)
