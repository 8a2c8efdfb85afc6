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
    files: list[str]
    epochs_version: int
    segment_count: int
    truncations: int
    log_directory: str | None  # if its names were synced, and up to which change of them
    names_version: int


class LogDurability:
    """Keeps the recovery point of one log.

    `names_unsynced` tells that its files may be new; `created_version` is what `NewNames` gave for its
    directory.
    """

    def __init__(
        self,
        context: LogContext,
        segments: SegmentList,
        epochs: LeaderEpochCache,
        producers: ProducerStateManager,
        *,
        recovery_point: int,
        names_unsynced: bool,
        created_version: int,
    ) -> None:
        self._context = context
        self._created_version = created_version
        self._segments = segments
        self._epochs = epochs
        self._producers = producers
        self._truncations = 0
        self._directory_unsynced = names_unsynced
        self._unsynced_files: list[str] = []
        self.recovery_point = recovery_point
        self.last_flush_ms = context.clock_ms()

    def file_written(self, path: str) -> None:
        """A small file of the log was written, and is to be synced with the next flush."""
        self._unsynced_files.append(path)
        self._directory_unsynced = True

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
        nothing_new = not self._directory_unsynced or offset == 0  # a log without records has nothing to lose
        if offset <= self.recovery_point and not with_active_indexes and nothing_new:
            return None
        active = None if with_active_indexes else self._segments.active
        segments = [
            (segment, segment.size_bytes, segment is not active)
            for segment in self._segments.from_offset(self.recovery_point)
            if segment.base_offset < offset or with_active_indexes
        ]
        snapshots = list(self._producers.unsynced_snapshots)
        files = list(self._unsynced_files)
        paths = [*files, *(self._producers.snapshot_path(snapshot) for snapshot in snapshots)]
        self._epochs.rewrite_if_stale()
        if self._epochs.unsynced:
            paths.append(self._epochs.path)
        log_directory = directory.rpartition("/")[0]
        directories = [directory] if self._directory_unsynced or paths else []
        names = self._context.new_names
        names_version = names.version(log_directory)
        if names.is_unsynced(log_directory, self._created_version):
            directories.append(log_directory)
        handles: list[FileHandle] = []
        for segment, _, with_indexes in segments:
            handles += segment.handles_to_sync(with_indexes=with_indexes)
        if not (handles or paths or directories) and offset <= self.recovery_point:
            return None
        covered = _Covered(
            offset,
            segments,
            snapshots,
            files,
            self._epochs.version,
            len(self._segments),
            self._truncations,
            log_directory if log_directory in directories else None,
            names_version,
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
        if covered.log_directory is not None:
            self._context.new_names.synced(covered.log_directory, covered.names_version)
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
        self._unsynced_files = [path for path in self._unsynced_files if path not in covered.files]
        if len(self._segments) == covered.segment_count and not self._unsynced_files:
            self._directory_unsynced = False
        self.recovery_point = max(self.recovery_point, offset)
        self.last_flush_ms = self._context.clock_ms()
