"""Moves replicas between log directories in the background (Kafka: ReplicaAlterLogDirsManager, KIP-113).

``storage.log_move`` is the move; here is who drives it, one task for each:

    copy a piece (in a thread) --> throttle, let others work --> ... caught up --> sync (in a thread)
        ^                                                                             |
        '------------- more than a little was appended meanwhile --------------------'
                                                                                      | little
    hand over --> copy what is left, sync, copy, sync --> nothing left: swap, without a pause in between
    --> make the new name durable (in a thread) --> remove the old log

A full target disk makes a move wait. A target that fails ends the move, and the replica stays where it is; a source
that fails takes the partition offline, and the move goes on after a restart. A damaged record makes the move stand
still, until it is asked for again or the broker starts anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import trio

from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.partition import ReplicaState
from kbroker.replication.replica_manager import ReplicaManager
from storage.errors import StorageError
from storage.log import Log
from storage.log_manager import LogManager
from storage.log_move import LogMove, MoveState
from storage.topic_partition import FILE_NAME_LENGTH_MAX, TopicPartition
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

_STEP_BYTES = 512 * 1024
_STEP_BYTES_MIN = 4096
_TAIL_BYTES = 256 * 1024
_SYNCED_TAILS = 3
_UNSYNCED_BYTES_MAX = 64 << 20
_RETRY_S = 1.0
_REST_S_MAX = 0.05
_THROTTLE_LOOK_S = 0.25


class MoveWorld(Protocol):
    """The part of the World that moving needs."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    async def run_blocking(self, function: Callable[..., Any], *arguments: object) -> Any: ...


class _SyncFailed(Exception):
    """A copy could not be synced, for want of room: what was written of it is not to be relied on."""


class Throttle:
    """Keeps all moves together to ``bytes_per_second``, which is asked again and again.

    None lets everything pass, 0 nothing.
    """

    def __init__(self, bytes_per_second: Callable[[], int | None], world: MoveWorld) -> None:
        self._bytes_per_second = bytes_per_second
        self._world = world
        self._debt_bytes = 0.0
        self._paid_at = world.monotonic()

    @property
    def step_bytes(self) -> int:
        """How much to copy at once, so that a slow move is a steady one."""
        rate = self._bytes_per_second()
        return _STEP_BYTES if rate is None else max(min(_STEP_BYTES, rate // 4), _STEP_BYTES_MIN)

    def count(self, copied_bytes: int) -> None:
        self._pay()
        self._debt_bytes += copied_bytes

    def _pay(self) -> int | None:
        rate, now = self._bytes_per_second(), self._world.monotonic()
        left = 0.0 if rate is None else self._debt_bytes - rate * (now - self._paid_at)
        self._debt_bytes, self._paid_at = max(left, 0.0), now
        return rate

    async def wait(self) -> None:
        """Return when more may be copied."""
        while (rate := self._pay()) == 0 or self._debt_bytes > 0:
            left_s = self._debt_bytes / rate if rate else _THROTTLE_LOOK_S
            await self._world.sleep(min(left_s, _THROTTLE_LOOK_S))


class LogDirectoryMoves:
    """The moves of one broker."""

    def __init__(
        self,
        *,
        world: MoveWorld,
        logs: LogManager,
        replicas: ReplicaManager,
        commits: GroupCommits,
        bytes_per_second: Callable[[], int | None],
        threads: int,
        is_known: Callable[[str, int], bool] = lambda topic, index: False,
    ) -> None:
        """``threads``: how many moves copy at the same time; ``is_known``: whether the cluster has a partition."""
        self._world = world
        self._logs = logs
        self._replicas = replicas
        self._commits = commits
        self._is_known = is_known
        self._throttle = Throttle(bytes_per_second, world)
        self._threads = trio.CapacityLimiter(threads)
        self._nursery: trio.Nursery | None = None
        self._stalled: set[LogMove] = set()
        self._stopped = trio.Event()

    # Asking for moves

    def move(self, topic: str, index: int, path: str) -> None:
        """Have a replica moved to the log directory at ``path``, or made there if it is not here yet.

        ApiError, in Kafka's order: INVALID_TOPIC_EXCEPTION for a name too long to be moved, LOG_DIR_NOT_FOUND,
        KAFKA_STORAGE_ERROR for a directory or partition that is offline, INVALID_REPLICA_ASSIGNMENT for a cordoned
        directory, UNKNOWN_TOPIC_OR_PARTITION, REPLICA_NOT_AVAILABLE when another broker has the partition.
        """
        name = TopicPartition(topic, index)
        if len(f"{name}.-future") + 32 > FILE_NAME_LENGTH_MAX:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, "the topic's name is too long to be moved")
        self._check_directory(path)
        partition = self._replicas.get(topic, index)
        offline = partition is not None and partition.state is ReplicaState.OFFLINE
        if offline or self._logs.is_offline(name):
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"{name} is offline")
        if partition is None:
            self._logs.prefer_directory(name, path)
            known = self._is_known(topic, index)
            raise ApiError(ErrorCode.REPLICA_NOT_AVAILABLE if known else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        try:
            move = self._logs.begin_move(name, path)
        except StorageError as error:
            self._replicas.fail_directory(error)
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error
        if move is None:
            move = self._logs.moves.get(name)
            if move not in self._stalled:
                return
        assert move is not None
        self._start(move)

    def _check_directory(self, path: str) -> None:
        directory = next((each for each in self._logs.directories if each.path == path), None)
        if directory is None:
            raise ApiError(ErrorCode.LOG_DIR_NOT_FOUND, f"{path} is not one of log.dirs")
        if directory.error is not None:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"{path} is offline")
        if self._logs.is_cordoned(path):
            raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"{path} is cordoned")

    # Driving them

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry out moves until ``stop``, those first that a restart found under way."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for move in self._logs.moves:
                    self._start(move)
                nursery.start_soon(trio.sleep_forever)
                task_status.started()
        finally:
            self._nursery = None
            self._stopped.set()

    async def stop(self) -> None:
        """Interrupt all moves; returns when none touches the logs any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            await self._stopped.wait()

    def _start(self, move: LogMove) -> None:
        self._stalled.discard(move)
        if self._nursery is not None:
            self._nursery.start_soon(self._carry_out, move)

    async def _carry_out(self, move: LogMove) -> None:
        name = move.current.topic_partition
        logger.info("Moving %s to %s", name, move.log_directory)
        while not move.is_over():
            try:
                if move.state is MoveState.HANDED_OVER:
                    move.take_back()
                await self._catch_up(move)
                await self._take_place(move)
            except StorageError as error:
                await self._failed(error)
            except _SyncFailed:
                move = await self._begin_again(move)
            except (ApiError, EOFError) as error:
                if not move.is_over():
                    logger.error("%s cannot be moved to %s: %s", name, move.log_directory, error)
                    self._stalled.add(move)
                return

    async def _failed(self, error: StorageError) -> None:
        """Where a directory is taken offline its moves are over; a full disk is tried again."""
        self._replicas.fail_directory(error)
        if error.disk_full:
            await self._world.sleep(_RETRY_S)

    async def _begin_again(self, move: LogMove) -> LogMove:
        """A new future log instead of one that cannot be trusted, once there may be room."""
        await self._world.sleep(_RETRY_S)
        name = move.current.topic_partition
        if move.is_over():
            return move
        self._logs.moves.cancel(name)
        try:
            return self._logs.begin_move(name, move.log_directory) or move
        except ApiError:  # another directory failed meanwhile
            return move

    async def _catch_up(self, move: LogMove) -> None:
        """Copy until the future log has all that there was a moment ago, synced but for its last bytes."""
        is_synced, unsynced_bytes = False, 0
        while not move.is_over():
            await self._throttle.wait()
            end_offset = move.current.log_end_offset
            unsynced_bytes += await self._copy_step(move)
            is_near = move.has_everything_before(end_offset)
            if is_near and is_synced and unsynced_bytes <= _TAIL_BYTES:
                return
            if is_near or unsynced_bytes > _UNSYNCED_BYTES_MAX:
                await self._in_thread(move, move.flush, syncs=True)
                is_synced, unsynced_bytes = is_near, 0

    async def _copy_step(self, move: LogMove) -> int:
        if move.is_over():
            return 0
        began = self._world.monotonic()
        step = move.begin_step(self._throttle.step_bytes)
        try:
            await self._in_thread(move, step.run)
        except (ApiError, EOFError):
            if not move.was_truncated:
                raise
        finally:
            step.finish()
        self._throttle.count(step.copied_bytes)
        # Copying small batches keeps the interpreter busy; clients get at least as much of it.
        await self._world.sleep(min(self._world.monotonic() - began, _REST_S_MAX))
        return step.copied_bytes

    async def _in_thread(self, move: LogMove, function: Callable[[], None], *, syncs: bool = False) -> None:
        async with self._threads:
            if move.is_over():
                return
            with move.working():
                try:
                    await self._world.run_blocking(function)
                except StorageError as error:
                    if move.is_over():
                        return  # its directory is gone, or going
                    if syncs and error.disk_full:
                        raise _SyncFailed from error
                    raise

    async def _take_place(self, move: LogMove) -> None:
        await self._in_thread(move, move.prepare_hand_over, syncs=True)
        if move.is_over():
            return
        move.hand_over()
        assert move.log is not None
        for _ in range(_SYNCED_TAILS):
            while not move.is_over() and not move.copy_tail(_TAIL_BYTES):
                await trio.lowlevel.checkpoint()
            await self._sync(move.log)
        while not move.is_over() and not move.copy_tail(_TAIL_BYTES):
            await trio.lowlevel.checkpoint()
        if not move.is_over():
            await self._swap(move)

    async def _sync(self, log: Log) -> bool:
        try:
            await self._commits.flush(log)
        except StorageError as error:
            self._replicas.sync_failed(error)
            return False
        return True

    async def _swap(self, move: LogMove) -> None:
        """From here to the replaced log nothing is awaited: no append comes in between."""
        name = move.current.topic_partition
        try:
            old = self._logs.finish_move(move)
        except StorageError as error:
            if error.disk_full:
                raise _SyncFailed from error
            raise
        new = self._logs.get(name)
        assert new is not None
        partition = self._replicas.get(*name)
        if partition is not None:
            partition.replace_log(new)
        if not await self._sync(new) or new.is_closed:
            return
        await self._world.run_blocking(self._logs.retire(old, new))
        logger.info("Moved %s from %s to %s", name, old.log_directory, new.log_directory)
