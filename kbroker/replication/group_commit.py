"""Group commit: what is acknowledged with acks=all is on the disk (``kbroker.acks.all.sync``).

An append asks for a round (``request``) and its caller waits on the partition's ``commit_progress``. One round
syncs all logs of a log directory that were asked for, in a thread; who asks meanwhile is in the next one. So
however many wait, each waits for the rest of one round and for one more.

The states of a committer, one for each log directory (``CommitQueue``, without I/O):

    IDLE       nobody has asked
      | request
    GATHERING  a round is due; whoever is ready to run appends first
      | begin: Log.begin_flush of every log that was asked for, on the owner's thread
    SYNCING    threads wait for the disk; requests gather for the next round
      | end: PendingFlush.finish, which moves recovery points, and the replicas are told
      +--> IDLE, or GATHERING if somebody has asked, or a log has not come as far as was asked
    FAILED     a sync has failed. Final: requests are ignored, the directory goes offline with its replicas.

Rules that the rest relies on:

* A failed sync is never tried again. The kernel tells an error once and forgets the pages: a second try may
  succeed without the data. That holds for a full disk too, when it is the sync that reports it.
* A flush that cannot even begin because the disk is full is refused: nothing is lost, waiters are told, and it
  is tried again, with the next round or after ``RETRY_S``.
* No two syncs of one log overlap, or the one could hear of an error and the other not. Therefore everybody who
  syncs a live log does it through here (``flush``), with a round of its own that keeps no other log waiting.
* A log that is closed, deleted or truncated while it is synced: its files stay open (pinned) until the sync has
  ended, its recovery point does not move, and its replica answers its waiters by its own state.
* Cancelling a waiter cancels nothing here; ``stop`` lets the running sync end and be accounted for.

Followers acknowledge a record by fetching behind it, and "in sync" means "on disk": a follower has what it appended
synced before it sends its next fetch (``fetcher.py``), so the leader's high watermark needs no second notion of
progress, and the fetch that waits meanwhile gathers more. Readers never wait for the leader's own disk: a consumer may
see a record that a power failure takes back, as with Apache Kafka.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import trio

from storage.errors import StorageError
from storage.filesystem import File
from storage.flush import PendingFlush
from storage.log import Log

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""How long a log whose flush could not begin, on a full disk, waits for the next try."""

# Measured with ext4 on a virtual disk, one small append a file, p50 in ms, by number of files: one thread
# 1: 0.2, 8: 1.1, 64: 7.1; eight threads 8: 0.6, 64: 2.3. A second thread does not pay below four files.
_FILES_FOR_SECOND_LANE = 4
_LANES_MAX = 16


class SyncedReplica(Protocol):
    """A replica whose log is synced on request."""

    @property
    def log(self) -> Log: ...

    def sync_finished(self) -> None:
        """Everything before ``log.recovery_point`` is on the disk now."""
        ...

    def sync_refused(self) -> None:
        """The disk is too full even to begin; the append is in the log, and the sync will be tried again."""
        ...


class OutsideWorld(Protocol):
    """The part of the World that syncing needs."""

    def monotonic(self) -> float: ...

    async def run_blocking(self, function: Callable[..., Any], *arguments: object) -> Any: ...


class FileSync(Protocol):
    """Syncs files without a thread (``kbroker.kernel_sync``)."""

    def takes(self, file: File) -> bool: ...

    async def sync(self, files: Sequence[File]) -> OSError | None: ...


class _Wanted(NamedTuple):
    replica: SyncedReplica
    offset: int


class Round(NamedTuple):
    """What one round syncs."""

    flushes: list[PendingFlush]
    members: dict[Log, _Wanted]


class CommitQueue:
    """Who asked for which logs of one directory. See the module's docstring for its states."""

    def __init__(self, syncing: set[Log]) -> None:
        """``syncing``: the logs that somebody syncs right now, shared by all who do."""
        self._syncing = syncing
        self._wanted: dict[Log, _Wanted] = {}
        self._refused: dict[Log, _Wanted] = {}
        self.retry_at = math.inf
        """When what was refused is to be tried again (monotonic seconds)."""
        self.failed = False

    @property
    def is_due(self) -> bool:
        """Whether a round would have something to do."""
        return any(log not in self._syncing for log in self._wanted)

    def request(self, replica: SyncedReplica) -> None:
        """Have the replica's log synced up to its present end."""
        if not self.failed:
            log = replica.log
            self._wanted[log] = _Wanted(replica, log.log_end_offset)

    def begin(self, now: float) -> Round:
        """Begin a flush of every wanted log that nobody syncs. After a StorageError nothing has begun."""
        if now >= self.retry_at:
            self._wanted = {**self._refused, **self._wanted}
            self._refused.clear()
            self.retry_at = math.inf
        round = Round([], {})
        for log, wanted in list(self._wanted.items()):
            if log in self._syncing:
                continue
            del self._wanted[log]
            if log.is_closed:
                continue
            try:
                pending = log.begin_flush()
            except StorageError as error:
                if not error.disk_full:
                    self.fail(round)
                    raise
                self._refuse(log, wanted, error, now)
                continue
            if pending is None:
                wanted.replica.sync_finished()
                continue
            round.flushes.append(pending)
            round.members[log] = wanted
            self._syncing.add(log)
        return round

    def _refuse(self, log: Log, wanted: _Wanted, error: StorageError, now: float) -> None:
        if not self._refused:
            logger.error("Cannot sync for want of room, will try again: %s", error)
            self.retry_at = now + RETRY_S
        self._refused[log] = wanted
        wanted.replica.sync_refused()

    def finish(self, round: Round) -> None:
        """The disk has everything that the round was about."""
        for pending in round.flushes:
            pending.finish()
        for log, wanted in round.members.items():
            self._syncing.discard(log)
            # Less than was asked for when the log rolled or was truncated meanwhile.
            if not log.is_closed and log.recovery_point < min(wanted.offset, log.log_end_offset):
                self._wanted.setdefault(log, wanted)
            wanted.replica.sync_finished()

    def fail(self, round: Round) -> None:
        """The disk has failed, and with it everything that was or will be asked for."""
        self.failed = True
        for pending in round.flushes:
            pending.abandon()
        self._syncing.difference_update(round.members)
        self._wanted.clear()
        self._refused.clear()
        self.retry_at = math.inf


class GroupCommits:
    """The group commits of one broker's log directories."""

    def __init__(
        self, *, world: OutsideWorld, enabled: Callable[[], bool], file_sync: FileSync | None = None
    ) -> None:
        """``enabled``: whether acks=all waits for the disk; asked at each append.

        What ``file_sync`` does not take, or everything without it, is synced in threads.
        """
        self._world = world
        self._file_sync = file_sync
        self._enabled = enabled
        self._syncing: set[Log] = set()
        self._committers: dict[str, _Committer] = {}
        self._ended = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._on_failure: Callable[[StorageError], None] | None = None
        self._stopped = trio.Event()

    @property
    def enabled(self) -> bool:
        return self._enabled()

    def request(self, replica: SyncedReplica) -> None:
        """Have the replica's log synced up to its present end, soon; the replica is told when that is done."""
        directory = replica.log.log_directory
        committer = self._committers.get(directory)
        if committer is None:
            committer = self._committers[directory] = _Committer(self, CommitQueue(self._syncing))
            if self._nursery is not None:
                self._nursery.start_soon(committer.run)
        committer.queue.request(replica)
        committer.wake()

    def is_syncing(self, log: Log) -> bool:
        return log in self._syncing

    async def flush(self, log: Log, up_to_offset: int | None = None) -> None:
        """Sync one log by itself, keeping no round of others waiting. Nothing happens to a log that is closed.

        StorageError if the disk fails. When it was the sync that failed, the directory is offline by then; what
        is to follow when it could not even begin is up to the caller (``ReplicaManager.fail_directory``).
        """
        await self._sync_alone(log, lambda: log.begin_flush(up_to_offset))

    async def anchor(self, log: Log) -> None:
        """Like ``flush``, of all that recovery needs in order to begin at the log's end (``Log.begin_anchor``)."""
        await self._sync_alone(log, log.begin_anchor)

    async def _sync_alone(self, log: Log, begin: Callable[[], PendingFlush | None]) -> None:
        while log in self._syncing:
            await self._ended.park()
        if log.is_closed or (pending := begin()) is None:
            return
        self._syncing.add(log)
        succeeded = False
        try:
            error = await self.sync([pending])
            succeeded = error is None
        finally:
            if succeeded:
                pending.finish()
            else:
                pending.abandon()
            self._syncing.discard(log)
            self.sync_ended()
        if error is not None:
            self.directory_failed(error)
            raise error

    async def run(
        self,
        on_failure: Callable[[StorageError], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until ``stop``. ``on_failure`` takes the directory of a failed sync offline, full disk or not."""
        self._on_failure = on_failure
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for committer in self._committers.values():
                    nursery.start_soon(committer.run)
                nursery.start_soon(trio.sleep_forever)
                task_status.started()
        finally:
            self._nursery = None
            self._stopped.set()

    async def stop(self) -> None:
        """End; returns when no sync runs any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            await self._stopped.wait()

    # For the committers

    def now(self) -> float:
        return self._world.monotonic()

    async def sync(self, flushes: Sequence[PendingFlush]) -> StorageError | None:
        """Wait for the disk; returns its error. Shielded: what was synced must be accounted for.

        The flushes are of one log directory.
        """
        files: list[File] = []
        others: list[PendingFlush] = []
        for flush in flushes:
            if self._is_for_kernel(flush.plain_files):
                files += flush.plain_files
            else:
                others.append(flush)
        errors: list[StorageError] = []
        with trio.CancelScope(shield=True):
            if not others:
                await self._sync_in_kernel(flushes[0].log_directory, files, errors)
            else:
                lanes = 1
                if len(others) >= _FILES_FOR_SECOND_LANE:
                    lanes = min(len(others) // 2, _LANES_MAX)
                async with trio.open_nursery() as nursery:
                    for number in range(lanes):
                        nursery.start_soon(self._sync_lane, others[number::lanes], errors)
                    if files:
                        nursery.start_soon(self._sync_in_kernel, others[0].log_directory, files, errors)
        return errors[0] if errors else None

    def _is_for_kernel(self, files: Sequence[File]) -> bool:
        file_sync = self._file_sync
        return file_sync is not None and bool(files) and all(file_sync.takes(file) for file in files)

    async def _sync_in_kernel(
        self, log_directory: str, files: Sequence[File], errors: list[StorageError]
    ) -> None:
        assert self._file_sync is not None
        error = await self._file_sync.sync(files)
        if error is not None:
            errors.append(StorageError(log_directory, "cannot sync", error))

    async def _sync_lane(self, flushes: Sequence[PendingFlush], errors: list[StorageError]) -> None:
        error: StorageError | None = await self._world.run_blocking(_sync_all, flushes)
        if error is not None:
            errors.append(error)

    def directory_failed(self, error: StorageError) -> None:
        assert self._on_failure is not None
        self._on_failure(error)

    def sync_ended(self) -> None:
        """Somebody's sync is over: who waited for a log that was in it can go on."""
        self._ended.unpark_all()
        for committer in self._committers.values():
            if committer.queue.is_due:
                committer.wake()


class _Committer:
    """The task that makes the rounds of one log directory."""

    __slots__ = ("_commits", "_woken", "queue")

    def __init__(self, commits: GroupCommits, queue: CommitQueue) -> None:
        self._commits = commits
        self._woken = trio.Event()
        self.queue = queue

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        queue = self.queue
        while not queue.failed:
            if queue.is_due:
                # After a round, who waited for it goes on first; what they ask for now is in the next one.
                await trio.lowlevel.checkpoint()
            else:
                # Waking up takes a turn of the scheduler: whoever is ready in this one is in the round too.
                with trio.move_on_at(queue.retry_at):
                    await self._woken.wait()
            self._woken = trio.Event()
            try:
                round = queue.begin(self._commits.now())
            except StorageError as error:
                self._commits.directory_failed(error)
                return
            if round.flushes:
                await self._sync(round)

    async def _sync(self, round: Round) -> None:
        try:
            error = await self._commits.sync(round.flushes)
        except BaseException:
            self.queue.fail(round)
            raise
        if error is None:
            self.queue.finish(round)
        else:
            self.queue.fail(round)
            self._commits.directory_failed(error)
        self._commits.sync_ended()


def _sync_all(flushes: Sequence[PendingFlush]) -> StorageError | None:
    """Runs in a thread."""
    try:
        for flush in flushes:
            flush.sync()
    except StorageError as error:
        return error
    return None
