"""What the logs need done now and then: syncing, checkpoints, retention, expiry, removal of deleted files.

Each chore is a task of its own that repeats; the slow part of each runs where it may block. A disk that fails
during a chore takes its log directory out of service, as it would during an append.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.replication.replica_manager import ReplicaManager
from kbroker.world import World
from storage.errors import StorageError
from storage.log_manager import LogManager

_REMOVAL_INTERVAL_MS = 1_000
# Kafka's default is to never look; it flushes a rolled segment right away, which here is found by looking.
_FLUSH_INTERVAL_MS_MAX = 5_000
_LOGS_PER_TURN = 64


class LogHousekeeping:
    """The chores of one broker's logs."""

    def __init__(
        self, *, config: BrokerConfig, logs: LogManager, replicas: ReplicaManager, world: World
    ) -> None:
        self._config = config
        self._logs = logs
        self._replicas = replicas
        self._world = world

    def start(self, nursery: trio.Nursery) -> None:
        """Run every chore in ``nursery`` until it is cancelled. Intervals are read anew each time."""
        config = self._config
        chores: list[tuple[Callable[[], int], Callable[[], Awaitable[None]]]] = [
            (lambda: min(config.log_flush_scheduler_interval_ms, _FLUSH_INTERVAL_MS_MAX), self._flush),
            (lambda: config.replica_high_watermark_checkpoint_interval_ms, self._checkpoint),
            (lambda: config.log_retention_check_interval_ms, self._apply_retention),
            (lambda: config.producer_id_expiration_check_interval_ms, self._expire_producers),
            (lambda: _REMOVAL_INTERVAL_MS, self._remove_deleted),
        ]
        for interval_ms, chore in chores:
            nursery.start_soon(self._repeat, interval_ms, chore)

    async def _repeat(self, interval_ms: Callable[[], int], chore: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._world.sleep(interval_ms() / 1000)
            try:
                await chore()
            except StorageError as error:
                self._replicas.fail_directory(error)

    async def _flush(self) -> None:
        """``flush.ms``, and segments that were rolled."""
        for pending in self._logs.pending_flushes():
            try:
                # Shielded: the thread cannot be called back, and what it synced must be accounted for.
                with trio.CancelScope(shield=True):
                    await self._world.run_blocking(pending.sync)
            except BaseException:
                pending.abandon()
                raise
            pending.finish()

    async def _checkpoint(self) -> None:
        await self._world.run_blocking(self._logs.begin_checkpoint())

    async def _apply_retention(self) -> None:
        for turn, log in enumerate(self._logs.logs.values()):
            if not log.is_closed and log.delete_old_segments():
                partition = self._replicas.get(*log.topic_partition)
                if partition is not None:
                    partition.progress.notify()
            if turn % _LOGS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _expire_producers(self) -> None:
        self._logs.remove_expired_producers()

    async def _remove_deleted(self) -> None:
        await self._world.run_blocking(self._logs.run_removals)
