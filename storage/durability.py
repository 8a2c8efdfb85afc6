"""What of a log is known to be on the disk, and how the rest gets there.

The recovery point is the offset before which everything is: segment bytes, the indexes and the directory
entries of segments that take no more appends, leader epochs. Recovery trusts all segments before the one that
contains it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storage.epoch_cache import LeaderEpochCache
from storage.file_cache import FileHandle
from storage.flush import PendingFlush
from storage.log_context import LogContext
from storage.producer_state import ProducerStateManager
from storage.segment import Segment
from storage.segment_list import SegmentList


@dataclass(frozen=True, slots=True)
class _Covered:
    """What one flush syncs, as it was when the flush began."""

    offset: int
    segments: list[tuple[Segment, int, bool]]  # segment, bytes, whether its indexes too
    snapshots: list[int]
    epochs_version: int
    segment_count: int
    truncations: int


class LogDurability:
    """Keeps the recovery point of one log. `names_unsynced` tells that its directory may be new."""

    def __init__(
        self,
        context: LogContext,
        segments: SegmentList,
        epochs: LeaderEpochCache,
        producers: ProducerStateManager,
        *,
        recovery_point: int,
        names_unsynced: bool,
    ) -> None:
        self._context = context
        self._segments = segments
        self._epochs = epochs
        self._producers = producers
        self._truncations = 0
        self._directory_unsynced = names_unsynced
        self._parent_unsynced = names_unsynced
        self.recovery_point = recovery_point
        self.last_flush_ms = context.clock_ms()

    def segment_added(self) -> None:
        """There is a new name in the directory."""
        self._directory_unsynced = True

    def truncated(self, end_offset: int) -> bool:
        """The log was truncated; whether that lowered the recovery point."""
        self._truncations += 1
        lowered = self.recovery_point > end_offset
        self.recovery_point = min(self.recovery_point, end_offset)
        return lowered

    def start_moved(self, log_start_offset: int) -> None:
        """Nothing before the log start needs to be durable."""
        self.recovery_point = max(self.recovery_point, log_start_offset)

    def begin(
        self, directory: str, offset: int, end_of_log: Callable[[], int], *, with_active_indexes: bool
    ) -> PendingFlush | None:
        """A flush of everything before `offset`; None when there is nothing to do. OSError from the disk."""
        if offset <= self.recovery_point and not self._directory_unsynced and not with_active_indexes:
            return None
        active = None if with_active_indexes else self._segments.active
        segments = [
            (segment, segment.size_bytes, segment is not active)
            for segment in self._segments.from_offset(self.recovery_point)
            if segment.base_offset < offset or with_active_indexes
        ]
        snapshots = list(self._producers.unsynced_snapshots)
        paths = [self._producers.snapshot_path(snapshot) for snapshot in snapshots]
        self._epochs.rewrite_if_stale()
        if self._epochs.unsynced:
            paths.append(self._epochs.path)
        log_directory = directory.rpartition("/")[0]
        directories = [directory] if self._directory_unsynced or paths else []
        if self._parent_unsynced:
            directories.append(log_directory)
        handles: list[FileHandle] = []
        for segment, _, with_indexes in segments:
            handles += segment.handles_to_sync(with_indexes=with_indexes)
        if not (handles or paths or directories) and offset <= self.recovery_point:
            return None
        covered = _Covered(
            offset, segments, snapshots, self._epochs.version, len(self._segments), self._truncations
        )
        return PendingFlush(
            self._context.filesystem,
            log_directory,
            offset,
            handles=handles,
            paths=paths,
            directories=directories,
            on_finish=lambda: self._finished(covered, end_of_log()),
        )

    def _finished(self, covered: _Covered, log_end_offset: int) -> None:
        """The disk has everything that the flush covered. The log may have grown since, or been truncated."""
        if covered.truncations != self._truncations:
            return  # what was synced is not what the log holds now
        offset = covered.offset
        for segment, size_bytes, with_indexes in covered.segments:
            segment.synced_bytes = max(segment.synced_bytes, size_bytes)
            if with_indexes:
                segment.unsynced_indexes = False
            elif segment is not self._segments.active:
                # Rolled meanwhile: its indexes are not on the disk, so recovery must still begin in it.
                segment_end = self._segments.end_of(segment, log_end_offset)
                offset = min(offset, max(segment.base_offset, segment_end - 1))
        snapshots = self._producers.unsynced_snapshots
        self._producers.unsynced_snapshots = [each for each in snapshots if each not in covered.snapshots]
        if self._epochs.version == covered.epochs_version:
            self._epochs.unsynced = False
        if len(self._segments) == covered.segment_count:
            self._directory_unsynced = False
        self._parent_unsynced = False
        self.recovery_point = max(self.recovery_point, offset)
        self.last_flush_ms = self._context.clock_ms()
