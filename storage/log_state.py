"""What an open log consists of, and the few moves that several of its operations share.

`Log` is the front; behind it append, truncation and retention are modules of their own that work on this state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from storage.durability import LogDurability
from storage.epoch_cache import LeaderEpochCache
from storage.errors import LogCorruptError, StorageError
from storage.flush import PendingFlush
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_loader import LoadedLog
from storage.producer_state import ProducerStateManager
from storage.segment import Segment
from storage.segment_list import SegmentList
from storage.topic_partition import TopicPartition
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


class Interruptible(Protocol):
    """Something that works on inactive segments beside the log's owner (`storage.cleaner.cleaning`)."""

    def interrupt(self) -> None:
        """The log is about to be cut or closed: settle what is half done, and stop. OSError from the disk."""

    def forsake(self) -> None:
        """Stop, and do not touch the disk any more."""


class LogState:
    """The parts of one log and its offsets.

    Invariants: log_start_offset <= high_watermark <= log_end_offset; recovery_point <= log_end_offset; there is at
    least one segment, and the last one takes appends.
    """

    __slots__ = (
        "before_cut",
        "cleaning",
        "closed",
        "config",
        "context",
        "directory",
        "durability",
        "epochs",
        "high_watermark",
        "log_end_offset",
        "log_start_offset",
        "on_flush_due",
        "on_recovery_point_lowered",
        "on_truncated",
        "producers",
        "segments",
        "topic_partition",
    )

    def __init__(
        self,
        context: LogContext,
        directory: str,
        config: LogConfig,
        topic_partition: TopicPartition,
        loaded: LoadedLog,
        *,
        names_unsynced: bool,
        created_version: int,
    ) -> None:
        self.context = context
        self.directory = directory
        self.config = config
        self.topic_partition = topic_partition
        self.segments = SegmentList(context, directory, loaded.segments)
        self.epochs: LeaderEpochCache = loaded.epochs
        self.producers: ProducerStateManager = loaded.producer_state
        self.log_start_offset = loaded.log_start_offset
        self.log_end_offset = loaded.log_end_offset
        self.high_watermark = loaded.log_start_offset
        self.durability = LogDurability(
            context,
            self.segments,
            self.epochs,
            self.producers,
            recovery_point=max(loaded.recovery_point, loaded.log_start_offset),
            anchor=loaded.anchor,
            names_unsynced=names_unsynced,
            created_version=created_version,
        )
        self.on_recovery_point_lowered: Callable[[], None] | None = None
        self.on_truncated: Callable[[int], None] | None = None
        self.on_flush_due: Callable[[], None] | None = None
        self.before_cut: Callable[[int], None] | None = None
        self.cleaning: Interruptible | None = None
        self.closed = False

    @property
    def log_directory(self) -> str:
        return self.directory.rpartition("/")[0]

    # Offsets

    def update_high_watermark(self, offset: int) -> int:
        """Set the high watermark, kept within the log; returns what it became."""
        offset = min(max(offset, self.log_start_offset), self.log_end_offset)
        self.high_watermark = offset
        self.producers.on_high_watermark(offset)
        return offset

    def set_log_start_offset(self, offset: int) -> None:
        """Move the log start up; the segments before it go with the next retention run."""
        self.epochs.truncate_from_start(offset)
        self.log_start_offset = offset
        self.high_watermark = max(self.high_watermark, offset)
        self.producers.on_log_start_offset(offset)

    def lower_recovery_point(
        self, offset: int, *, checkpoint_offset: int | None = None, drop_anchor: bool = False
    ) -> None:
        """The log is about to be cut at `offset`: no checkpoint may claim more, so that a crash finds none.

        What `on_recovery_point_lowered` raises (StorageError) leaves everything as it was.
        """
        before = self.durability.lower(offset, checkpoint_offset=checkpoint_offset, drop_anchor=drop_anchor)
        if before is not None and self.on_recovery_point_lowered is not None:
            try:
                self.on_recovery_point_lowered()
            except BaseException:
                self.durability.restore(before)
                raise

    def set_log_end_offset(self, offset: int) -> None:
        """The log was cut at `offset`, after `lower_recovery_point`."""
        if self.on_truncated is not None:
            self.on_truncated(offset)
        self.log_end_offset = offset
        self.high_watermark = min(self.high_watermark, offset)
        self.durability.truncated()

    def begin_cut(self, offset: int, *, everything: bool = False) -> None:
        """Records from `offset` on (or all) are about to go: who works on them stops, who has noted more is told.

        OSError and StorageError leave the log as it was.
        """
        # Below the high watermark lie the markers that decide what the cleaning takes for aborted.
        untouched_from = max(self.segments.active.base_offset, self.high_watermark)
        if self.cleaning is not None and (everything or offset < untouched_from):
            self.cleaning.interrupt()
        if self.before_cut is not None:
            self.before_cut(offset)

    @property
    def last_stable_offset(self) -> int:
        """Everything below is decided and replicated."""
        offset = self.producers.first_unstable_offset
        if offset is None:
            return self.high_watermark
        return min(max(offset, self.log_start_offset), self.high_watermark)

    # Segments

    def replace_segments(self, old: list[Segment], new: Segment) -> None:
        """Neighbouring inactive segments have become one; OSError when their files cannot be taken away."""
        self.segments.replace(old, new)
        for segment in old:
            self.context.removals.add_files(segment.mark_deleted(), self.config.file_delete_delay_ms)
        for segment in old[1:]:
            self.producers.delete_snapshot(segment.base_offset)

    def roll(self, next_offset: int) -> Segment:
        """Begin a new segment. It may start behind the log end when a follower's next offset does."""
        base_offset = max(next_offset, self.log_end_offset)
        old = self.segments.active
        if old.base_offset == base_offset and not old.size_bytes:
            return old  # an empty segment is as good as a new one, whatever asked for it
        old.become_inactive()
        self.durability.before_roll(old, base_offset)
        new = self.segments.add(base_offset, self.config)
        self.durability.segment_added()
        # A snapshot at a segment's start lets that segment be recovered without reading the ones before.
        self.producers.end_offset = base_offset
        self.producers.try_snapshot()
        logger.debug("%s rolled at offset %d", self.topic_partition, base_offset)
        return new

    def remove_segments(self, segments: list[Segment], *, durably: bool = False) -> None:
        """Take segments from the beginning or the end out of the log, with their producer snapshots."""
        self.segments.remove(segments, self.config.file_delete_delay_ms, durably=durably)
        for segment in segments:
            self.producers.delete_snapshot(segment.base_offset)

    # Durability

    def flush_due(self) -> None:
        """flush.messages records are not synced: do it, or have it done."""
        if self.on_flush_due is None:
            self.flush()
        else:
            self.on_flush_due()

    def flush(self, up_to_offset: int | None = None) -> None:
        """Sync everything before `up_to_offset` (the log end) and move the recovery point there."""
        pending = self.begin_flush(up_to_offset)
        if pending is not None:
            pending.run()

    def begin_flush(
        self, up_to_offset: int | None = None, *, with_active_indexes: bool = False
    ) -> PendingFlush | None:
        """See `Log.begin_flush`."""
        self.check_open()
        offset = self.log_end_offset if up_to_offset is None else min(up_to_offset, self.log_end_offset)
        try:
            return self.durability.begin(
                self.directory, offset, lambda: self.log_end_offset, with_active_indexes=with_active_indexes
            )
        except OSError as error:
            raise self.storage_error("cannot flush", error) from error

    def begin_anchor(self) -> PendingFlush | None:
        """See `Log.begin_anchor`."""
        self.check_open()
        try:
            return self.durability.begin_anchor(
                self.directory, self.log_end_offset, lambda: self.log_end_offset
            )
        except OSError as error:
            raise self.storage_error("cannot anchor recovery", error) from error
        except LogCorruptError as error:
            logger.error("Recovery of %s gets no new anchor: %s", self.topic_partition, error)
            return None

    # Failing

    def check_open(self) -> None:
        if self.closed:
            raise StorageError(self.log_directory, f"the log of {self.topic_partition} is closed")

    def storage_error(self, message: str, error: OSError) -> StorageError:
        return StorageError(self.log_directory, f"{self.topic_partition}: {message}", error)

    def corrupt(self, where: str, error: LogCorruptError) -> ApiError:
        """A read met damage."""
        logger.error("%s cannot be read at %s: %s", self.topic_partition, where, error)
        return ApiError(ErrorCode.CORRUPT_MESSAGE, f"the log of {self.topic_partition} is damaged at {where}")

    def damaged(self, error: LogCorruptError) -> ApiError:
        """A write met damage that reading the log since a clean shutdown had not."""
        logger.error("%s cannot be written: %s", self.topic_partition, error)
        return ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"the log of {self.topic_partition} is damaged")
