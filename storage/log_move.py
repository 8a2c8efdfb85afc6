"""Moving one log to another log directory while it is in use (Kafka: ReplicaAlterLogDirsThread, KIP-113).

A move copies the *current* log into a *future* log, `<topic>-<partition>.<uuid>-future` in the other directory, and
puts the future log in the current one's place once it has caught up. States:

    UNOPENED ----> COPYING ----> HANDED_OVER ----> DONE        the future log is the log now
        \\              |              |
         `--------------+--------------+----------> ENDED       cancelled, or a directory failed

UNOPENED  The directory may exist, from before a restart. Opening it recovers it, which may take long.
COPYING   The future log belongs to the move: it is open in a `LogContext` of its own, so that its steps may run in
          another thread (`begin_step` here, `Step.run` there, `finish_step` here), one at a time.
HANDED_OVER  Closed by the move and opened again with everybody else's context: from here on it belongs to the
          owner of the logs, who copies what little is missing (`copy_tail`) and swaps in the same breath.

The future log follows the current one as a follower follows a leader: truncations, the log start offset and the
high watermark reach it with the next step.

Of what was copied only that survives a restart of which the recovery point checkpoint of its directory tells
(`durable_offset`): behind it a power loss may have left a hole that looks like a gap that compaction left. There the
future log is cut off, and where the current log does not confirm it (a crash has cut that one as well).

What the disk says, at every moment (`LogManager` carries it out):
1. `-future` beside the current log: the current log counts.
2. Before the swap the future log is synced at least as far as the current one ever was, with a marker file inside.
3. The swap renames the future log to the final name. Now two directories bear it; the marker tells which of them
   counts. Nothing that is appended from here on is acknowledged for good before the new name is durable, since the
   next flush of the log syncs that as well.
4. The old log becomes `-delete`, which is made durable; then the marker goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum

from storage.errors import StorageError, UnexpectedOffsetError
from storage.file_slice import FileSlice
from storage.filesystem import Filesystem
from storage.log import Log
from storage.log_context import LogContext
from storage.segment_list import LogRead

logger = logging.getLogger(__name__)

MOVE_MARKER = "log-directory-move"
"""In a log that is to replace one in another directory; Kafka passes over files of such a name."""

_OPEN_FILES_MAX = 16


class MoveState(Enum):
    UNOPENED = "unopened"
    COPYING = "copying"
    HANDED_OVER = "handed over"
    DONE = "done"
    ENDED = "ended"


class Step:
    """One piece of copying. `run` may be called in another thread; nothing else touches the future log meanwhile."""

    def __init__(self, move: LogMove, source: FileSlice | None, *, skip_to: int | None) -> None:
        current = move.current
        self._move = move
        self._source = source
        self._skip_to = skip_to
        self._cut = move.take_cut()
        self._log_start_offset = current.log_start_offset
        self._high_watermark = current.high_watermark
        self._lower_checkpoint = move.lower(self._cut, self._log_start_offset)
        self.copied_bytes = 0
        self._settled = True

    def run(self) -> None:
        """StorageError of either directory; ApiError CORRUPT_MESSAGE or EOFError when the current log is damaged,
        or was truncated meanwhile."""
        if self._lower_checkpoint is not None:
            self._lower_checkpoint()
        log = self._move.open()
        self._settled = False
        _settle(log, self._cut, self._log_start_offset)
        self._settled = True
        if self._source is not None:
            self.copied_bytes = append_copy(log, read_source(self._move.current, self._source))
        elif self._skip_to is not None:
            log.skip_to(self._skip_to)
        follow(log, self._high_watermark, self._log_start_offset)

    def finish(self) -> None:
        """On the owner's thread, however `run` ended."""
        if self._source is not None:
            self._source.release()
        if not self._settled:
            self._move.reopen(self._cut)


def _settle(log: Log, cut: int | None, log_start_offset: int) -> None:
    """Take off what the current log has no more, at the end and at the beginning."""
    if cut is not None:
        log.truncate_to(cut)
    if log.log_end_offset < log_start_offset:
        log.truncate_fully_and_start_at(log_start_offset)


def read_source(current: Log, source: FileSlice) -> bytes:
    """What is to be copied. StorageError; EOFError when the current log was truncated."""
    try:
        return source.read()
    except OSError as error:
        raise StorageError(current.log_directory, f"cannot copy {current.topic_partition}", error) from error


def append_copy(log: Log, data: bytes) -> int:
    """Append what was read from the current log; returns how many bytes."""
    if len(data) > log.config.segment_bytes:  # segment.bytes was smaller when this batch was accepted
        log.update_config(replace(log.config, segment_bytes=len(data)))
    records = memoryview(data)
    try:
        info = log.append_as_follower(records)
    except UnexpectedOffsetError as error:
        if log.size_bytes or error.last_offset < log.log_end_offset:
            raise
        # The log start offset lies within a batch: the log begins with all of it.
        log.truncate_fully_and_start_at(error.first_offset)
        info = log.append_as_follower(records)
    return 0 if info is None else info.size_bytes


def follow(log: Log, high_watermark: int, log_start_offset: int) -> None:
    """Bring the offsets of the future log up to those of the current one."""
    high_watermark = log.update_high_watermark(max(high_watermark, log.high_watermark))
    if log.maybe_increment_log_start_offset(min(log_start_offset, high_watermark)):
        log.delete_old_segments()


class LogMove:
    """The move of one log. All methods belong to the owner's thread, `open`, `flush` and `prepare_hand_over` to the
    one in which a step runs."""

    def __init__(
        self,
        current: Log,
        directory: str,
        context: LogContext,
        *,
        durable_offset: int | None,
        prepare_checkpoint: Callable[[], Callable[[], None]],
    ) -> None:
        """`directory`: that of the future log; `context`: everybody's.

        `durable_offset` is what the checkpoint says of a future log that was found, None for a new one.
        `prepare_checkpoint` collects what the recovery point checkpoint of the directory is to say; what it returns
        writes that, in any thread (StorageError).
        """
        self.current = current
        self.directory = directory
        self.state = MoveState.UNOPENED
        self.log: Log | None = None
        self._shared = context
        self._prepare_checkpoint = prepare_checkpoint
        self._is_reconciled = durable_offset is None
        # A recovered future log may hold what the current one lost in the same crash.
        self._cut = None if durable_offset is None else min(durable_offset, current.log_end_offset)
        self.durable_offset = durable_offset or 0
        """Up to where the copy survives a power loss; its directory's checkpoint is to say so."""
        self._is_checkpointed = False
        self._is_working = False
        self._when_idle: Callable[[], None] | None = None
        current.on_truncated = self._current_truncated

    def __repr__(self) -> str:
        return f"<LogMove of {self.current.topic_partition} to {self.log_directory}, {self.state.value}>"

    @property
    def log_directory(self) -> str:
        return self.directory.rpartition("/")[0]

    def is_over(self) -> bool:
        return self.state in (MoveState.DONE, MoveState.ENDED)

    @property
    def size_bytes(self) -> int:
        return 0 if self.log is None else self.log.size_bytes

    @property
    def log_end_offset(self) -> int:
        return 0 if self.log is None else self.log.log_end_offset

    @property
    def is_caught_up(self) -> bool:
        return (
            self.has_everything_before(self.current.log_end_offset)
            and self.log_end_offset == self.current.log_end_offset
        )

    def has_everything_before(self, offset: int) -> bool:
        """Whether the future log is as the current one up to an end offset that it had."""
        return (
            self.log is not None
            and self._cut is None
            and self._is_reconciled
            and self.log.log_end_offset >= max(offset, self.current.log_start_offset)
        )

    # Truncations

    def _current_truncated(self, offset: int) -> None:
        self._cut = offset if self._cut is None else min(self._cut, offset)

    def take_cut(self) -> int | None:
        """Where the current log was truncated since the last step, if it was."""
        cut, self._cut = self._cut, None
        return cut

    def lower(self, cut: int | None, log_start_offset: int) -> Callable[[], None] | None:
        """The future log will be truncated or begin anew: how to say so on the disk before, if that is needed."""
        # One less than the cut: that may begin a segment, and the one before it is to be looked at after a crash.
        durable_offset = self.durable_offset if cut is None else min(self.durable_offset, max(cut - 1, 0))
        if self.log_end_offset < log_start_offset:
            durable_offset = 0
        # The first time, to be rid of what is said of an earlier log of the partition.
        if self._is_checkpointed and durable_offset == self.durable_offset:
            return None
        self._is_checkpointed = True
        self.durable_offset = durable_offset
        return self._prepare_checkpoint()

    @property
    def was_truncated(self) -> bool:
        """Whether the current log was truncated during the step at hand, which may have read nonsense."""
        return self._cut is not None

    def _reconcile(self, log: Log) -> None:
        """After a restart: where the two logs' leader epochs part, the future one is wrong (KIP-101)."""
        self._is_reconciled = True
        epoch, latest = log.latest_epoch, self.current.latest_epoch
        if epoch is None or latest is None:
            return
        while True:
            theirs = self.current.end_offset_for_epoch(min(epoch, latest))
            if theirs.epoch < 0:
                return
            ours = log.end_offset_for_epoch(theirs.epoch)
            end_offset = theirs.end_offset if ours.epoch < 0 else min(theirs.end_offset, ours.end_offset)
            if end_offset < log.log_end_offset:
                self._current_truncated(end_offset)
            if ours.epoch < 0 or ours.epoch == theirs.epoch:
                return
            epoch = ours.epoch

    # Copying

    def begin_step(self, bytes_max: int) -> Step:
        """The next thing to do. ApiError or StorageError when the current log cannot be read."""
        assert self.state in (MoveState.UNOPENED, MoveState.COPYING), self
        log = self.log
        self.state = MoveState.COPYING
        if log is None:
            return Step(self, None, skip_to=None)
        if not self._is_reconciled:
            self._reconcile(log)
        log.update_config(self.current.config)
        offset = log.log_end_offset
        if self._cut is not None or offset < self.current.log_start_offset:
            return Step(self, None, skip_to=None)
        read = self._read(offset, bytes_max)
        if read.records is None and offset < self.current.log_end_offset:
            return Step(self, None, skip_to=self.current.log_end_offset)
        return Step(self, read.records, skip_to=None)

    def _read(self, offset: int, bytes_max: int) -> LogRead:
        current = self.current
        bytes_max = min(bytes_max, current.config.segment_bytes)
        return current.read(offset, bytes_max, max_offset=current.log_end_offset)

    def open(self) -> Log:
        """The future log, made or recovered in a context of the move's own if need be."""
        if self.log is None:
            shared = self._shared
            context = LogContext(
                shared.filesystem,
                shared.clock_ms,
                random_below=shared.random_below,
                producer_id_expiration_ms=shared.producer_id_expiration_ms,
                decompressed_bytes_max=shared.decompressed_bytes_max,
                open_files_max=_OPEN_FILES_MAX,
            )
            context.removals = shared.removals
            self.log = Log.open(
                self.directory,
                context=context,
                config=self.current.config,
                topic_partition=self.current.topic_partition,
                topic_id=self.current.topic_id,
                recovery_point=self.durable_offset,
            )
        return self.log

    def reopen(self, cut: int | None) -> None:
        """The disk interrupted a truncation of the future log: recover it from what that has left."""
        if cut is not None:
            self._current_truncated(cut)
        if self.log is not None and not self.is_over():
            self.log.abandon()
            self.log, self.state = None, MoveState.UNOPENED

    @contextmanager
    def working(self) -> Iterator[None]:
        """For as long as a step may be running in another thread. `end` waits for that."""
        assert not self._is_working, self
        self._is_working = True
        try:
            yield
        finally:
            self._is_working = False
            if self.state is MoveState.ENDED:
                self._close()

    def flush(self) -> None:
        """Sync what was copied. StorageError: what was written is not to be relied on any more."""
        assert self.log is not None
        self.log.flush()
        self.durable_offset = self.log.checkpoint_offset

    # Taking the place

    def prepare_hand_over(self) -> None:
        """Close the future log, synced, and mark it as the one that counts once it has its final name."""
        log = self.log
        assert log is not None
        filesystem = self._shared.filesystem
        remove_marker(filesystem, self.current.directory)
        log.close()
        write_marker(filesystem, self.directory, self.current.directory)

    def hand_over(self) -> None:
        """Open the future log for its new owner."""
        old, self.log, self.state = self.log, None, MoveState.UNOPENED
        assert old is not None, self
        assert old.is_closed, self
        self.log = Log.open(
            self.directory,
            context=self._shared,
            config=self.current.config,
            topic_partition=self.current.topic_partition,
            recovery_point=old.recovery_point,
            log_start_offset=old.log_start_offset,
            clean_shutdown=True,
        )
        self.log.update_high_watermark(old.high_watermark)
        self.state = MoveState.HANDED_OVER

    def take_back(self) -> None:
        """What was to follow `hand_over` did not succeed: go on copying."""
        self.reopen(None)

    def copy_tail(self, bytes_max: int) -> bool:
        """Copy what was appended meanwhile, up to `bytes_max` bytes; whether the future log has everything now."""
        log = self.log
        assert log is not None, self
        assert self.state is MoveState.HANDED_OVER, self
        cut = self.take_cut()
        lower_checkpoint = self.lower(cut, self.current.log_start_offset)
        if lower_checkpoint is not None:
            lower_checkpoint()
        _settle(log, cut, self.current.log_start_offset)
        while bytes_max > 0 and log.log_end_offset < self.current.log_end_offset:
            read = self._read(log.log_end_offset, bytes_max)
            if read.records is None:
                log.skip_to(self.current.log_end_offset)
            else:
                with read.records as source:
                    bytes_max -= append_copy(log, read_source(self.current, source))
        follow(log, self.current.high_watermark, self.current.log_start_offset)
        return self.is_caught_up

    def swap(self, name: str) -> Log:
        """Make the future log the log, under its final name; returns it. Both logs must end at the same offset.

        StorageError when the future log's directory fails; then the current log is as good as before.
        """
        log = self.log
        assert log is not None, self
        assert self.is_caught_up, self
        log.take_over(self.current)
        if log.recovery_point < self.current.recovery_point:
            log.flush()  # what the current log has on the disk may have been acknowledged
        log.rename_directory(name)
        self.current.on_truncated = None
        self.state = MoveState.DONE
        return log

    def end(self, then: Callable[[], None] | None = None) -> None:
        """Give up and close the future log, now or when the step at hand ends; `then` is called after that."""
        assert not self.is_over(), self
        self.state = MoveState.ENDED
        self._when_idle = then
        self.current.on_truncated = None
        if not self._is_working:
            self._close()

    def _close(self) -> None:
        if self.log is not None:
            self.log.abandon()
        then, self._when_idle = self._when_idle, None
        if then is not None:
            then()


def write_marker(filesystem: Filesystem, directory: str, replaced: str) -> None:
    """Have the log in this directory count, and not what it replaces. StorageError."""
    try:
        content = f"version: 0\nreplaces: {replaced}\n".encode()
        filesystem.write_file(f"{directory}/{MOVE_MARKER}", content, sync=True)
        filesystem.sync_directory(directory)
    except OSError as error:
        parent = directory.rpartition("/")[0]
        raise StorageError(parent, f"cannot mark {directory}", error) from error


def has_marker(filesystem: Filesystem, directory: str) -> bool:
    return filesystem.exists(f"{directory}/{MOVE_MARKER}")


def remove_marker(filesystem: Filesystem, directory: str) -> None:
    """StorageError when there is one that cannot be removed, for good."""
    try:
        filesystem.remove(f"{directory}/{MOVE_MARKER}")
        filesystem.sync_directory(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        parent = directory.rpartition("/")[0]
        raise StorageError(parent, f"cannot remove the mark in {directory}", error) from error
