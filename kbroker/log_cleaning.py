"""The broker's log cleaner: picks logs that want compaction and drives their cleaning (Kafka: LogCleaner).

`log.cleaner.threads` tasks, each of which cleans one log at a time and rests for `log.cleaner.backoff.ms` when there
is nothing to clean. A cleaning is a chain of steps of at most about a millisecond of computing. Those that concern the
log run here, on the loop that serves the clients and owns the logs; all others run in a thread, one at a time. There
they hold the interpreter no longer than a step takes, and after each the cleaner rests, the longer the busier the loop
was with others: it takes all of an idle broker and a fifth of a busy one. (Steps on the loop itself were tried too: the
loop's thread then looks to the operating system like one that computes all the time, and is made to wait like one.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator

import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.replication.replica_manager import ReplicaManager
from kbroker.world import World
from storage.cleaner.cleanable import LogToClean
from storage.cleaner.cleaning import Cleaning, CleaningInterrupted, Place
from storage.cleaner.manager import LogCleanerManager
from storage.errors import LogCorruptError, StorageError
from storage.log_manager import LogManager

logger = logging.getLogger(__name__)

_LOOK_INTERVAL_S = 0.25
"""How soon a changed number of threads or pause is noticed."""
_BUFFER_BYTES_MIN = 4096
_MEMORY_BYTES_MIN = 4096
_MEMORY_BYTES_MAX = 2**31 - 1
_REST_PER_STEP = 4.0
"""How much longer than it worked the cleaner rests while the loop has no idle moment."""
_BUSY_SHARE_MIN = 0.15
"""The cleaner's own steps keep an otherwise idle loop as busy as this."""


class LogCleaning:
    """The cleaner of one broker. Settings are read when they are needed, so that changes take effect at once."""

    def __init__(
        self, *, config: BrokerConfig, logs: LogManager, replicas: ReplicaManager, world: World
    ) -> None:
        self._config = config
        self._logs = logs
        self._replicas = replicas
        self._world = world
        self._manager = LogCleanerManager(logs)
        self._throttle = IoThrottle()
        self._workers: set[int] = set()
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    @property
    def manager(self) -> LogCleanerManager:
        return self._manager

    async def stop(self) -> None:
        """End; returns when no cleaning is at work on the logs any more, in whatever thread."""
        self._scope.cancel()
        await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Clean until ``stop``. With ``log.cleaner.enable`` off this only waits for that."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    task_status.started()
                    if not self._config.log_cleaner_enable:
                        await trio.sleep_forever()
                    while True:
                        for number in set(range(self._config.log_cleaner_threads)) - self._workers:
                            self._workers.add(number)
                            nursery.start_soon(self._work, number)
                        await self._world.sleep(_LOOK_INTERVAL_S)
        finally:
            self._stopped.set()

    async def _work(self, number: int) -> None:
        """Clean log after log, until there are to be fewer of us."""
        while number < self._config.log_cleaner_threads:
            found = False
            try:
                found = await self._clean_next()
                self._apply_retention()
            except StorageError as error:
                self._replicas.fail_directory(error)
            if found:
                await trio.lowlevel.checkpoint()
            else:
                await self._rest()
        self._workers.discard(number)

    async def _rest(self) -> None:
        begun = self._world.monotonic()
        while (left := begun + self._config.log_cleaner_backoff_ms / 1000 - self._world.monotonic()) > 0:
            await self._world.sleep(min(left, _LOOK_INTERVAL_S))
        await trio.lowlevel.checkpoint()

    def _apply_retention(self) -> None:
        for log in self._manager.delete_old_segments():
            partition = self._replicas.get(*log.topic_partition)
            if partition is not None:
                partition.progress.notify()

    # One log

    async def _clean_next(self) -> bool:
        """Clean the log that wants it most; whether there was one and it made progress."""
        chosen = self._manager.choose()
        if chosen is None:
            return False
        config = self._config
        workers = max(config.log_cleaner_threads, 1)
        memory_bytes = min(config.log_cleaner_dedupe_buffer_size // workers, _MEMORY_BYTES_MAX)
        cleaning = self._manager.begin(
            chosen,
            memory_bytes=max(memory_bytes, _MEMORY_BYTES_MIN),
            load_factor=config.log_cleaner_io_buffer_load_factor,
            buffer_bytes=max(config.log_cleaner_io_buffer_size // workers // 2, _BUFFER_BYTES_MIN),
        )
        if cleaning is None:
            return True
        return await self._clean(chosen, cleaning)

    async def _clean(self, chosen: LogToClean, cleaning: Cleaning) -> bool:
        log = chosen.log
        begun = self._world.monotonic()
        steps = cleaning.steps()
        try:
            await self._drive(cleaning, steps)
        except CleaningInterrupted:
            logger.info("Cleaning of %s is given up: the log has changed", log.topic_partition)
            return True
        except LogCorruptError as error:
            self._manager.mark_uncleanable(log, error)
            return True
        except StorageError as error:
            if not error.disk_full:
                raise
            logger.error("No room to clean %s: %s", log.topic_partition, error)
            return False
        finally:
            steps.close()
        with trio.CancelScope(shield=True):
            await self._world.run_blocking(self._manager.finish(log, cleaning))
        logger.info(
            "%s is clean up to offset %d: %d of %d bytes and %d of %d records kept, in %.1f s",
            log.topic_partition,
            cleaning.end_offset,
            cleaning.size_bytes_after,
            cleaning.size_bytes_before,
            cleaning.records_kept,
            cleaning.records_read,
            self._world.monotonic() - begun,
        )
        return cleaning.end_offset > chosen.first_dirty_offset

    async def _drive(self, cleaning: Cleaning, steps: Generator[Place, None, None]) -> None:
        moved = 0
        load = LoopLoad(self._world.monotonic)
        trio.lowlevel.add_instrument(load)
        try:
            place = next(steps, None)
            while place is not None:
                if place is Place.OWNER:
                    place = next(steps, None)
                    continue
                begun = self._world.monotonic()
                # Shielded: a thread cannot be called back, and must not be at work when the logs are closed.
                with trio.CancelScope(shield=True):
                    place = await self._world.run_blocking(next, steps, None)
                worked_s = self._world.monotonic() - begun
                before, moved = moved, cleaning.bytes_read + cleaning.bytes_written
                await self._keep_to_io_limit(moved - before)
                await self._give_way(worked_s, load.take_busy_share())
        finally:
            trio.lowlevel.remove_instrument(load)

    async def _keep_to_io_limit(self, moved_bytes: int) -> None:
        limit = self._config.log_cleaner_io_max_bytes_per_second
        pause_s = self._throttle.pause_s(moved_bytes, limit, self._world.monotonic())
        if pause_s > 0:
            await self._world.sleep(pause_s)

    async def _give_way(self, worked_s: float, busy_share: float) -> None:
        """Rest after a step of `worked_s`, in proportion to what the loop has to do for others."""
        if busy_share > _BUSY_SHARE_MIN:
            await self._world.sleep(worked_s * _REST_PER_STEP * busy_share)
        else:
            await trio.lowlevel.checkpoint()


class LoopLoad(trio.abc.Instrument):
    """How busy the loop is: the share of the time that it does not wait for something to happen."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._taken_at = self._waiting_since = monotonic()
        self._waited_s = 0.0

    def before_io_wait(self, timeout: float) -> None:
        self._waiting_since = self._monotonic()

    def after_io_wait(self, timeout: float) -> None:
        self._waited_s += self._monotonic() - self._waiting_since

    def take_busy_share(self) -> float:
        """Between 0 and 1, since the last call."""
        now = self._monotonic()
        passed_s, waited_s = now - self._taken_at, self._waited_s
        self._taken_at, self._waited_s = now, 0.0
        return 1.0 - min(waited_s / passed_s, 1.0) if passed_s > 0 else 0.0


class IoThrottle:
    """``log.cleaner.io.max.bytes.per.second``, for all cleaner threads together (Kafka: Throttler)."""

    __slots__ = ("_paid_until",)

    def __init__(self) -> None:
        self._paid_until = 0.0

    def pause_s(self, moved_bytes: int, bytes_per_second: float, now: float) -> float:
        """How long to rest at `now` (monotonic seconds) after `moved_bytes` were read and written.

        What was not used before is not saved up.
        """
        self._paid_until = max(self._paid_until, now) + moved_bytes / max(bytes_per_second, 1.0)
        return self._paid_until - now
