"""What of a log is known to be on the disk, and how the rest gets there.

Three offsets, each at most the one before:

`recovery_point`     every record before it is on the disk, with the leader epochs and the names that it needs. Each
                     group commit moves it, with one sync of the segment.
`checkpoint_offset`  so are the indexes of all segments that end before it. This is what Kafka's checkpoint file may
                     say: recovery trusts the segments before the one that contains it. It stays behind while a
                     segment was rolled and its indexes are not synced yet.
`anchor.offset`      so are the active segment's indexes as far as they were then, and a producer snapshot. Recovery
                     reads from there on (see `recovery_anchor`). Housekeeping moves it (`begin_anchor`).

All three fall only when the log is truncated, and the disk is told before the log is touched (`lower`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from storage.epoch_cache import LeaderEpochCache
from storage.file_cache import FileHandle
from storage.flush import PendingFlush
from storage.log_context import LogContext
from storage.producer_state import ProducerStateManager
from storage.recovery_anchor import RecoveryAnchor
from storage.segment import Segment
from storage.segment_list import SegmentList


class DurableOffsets(NamedTuple):
    """See the module's docstring."""

    recovery_point: int
    checkpoint_offset: int
    anchor: RecoveryAnchor | None


@dataclass(frozen=True, slots=True)
class _Covered:
    """What one flush syncs, as it was when the flush began."""

    offset: int
    segments: list[tuple[Segment, int, int | None]]  # segment, bytes, which version of its indexes if any
    snapshots: list[int]
    files: list[str]
    epochs_version: int
    names_version: int
    changes: int
    log_directory: str | None  # if its names were synced, and up to which change of them
    log_directory_version: int
    anchor: RecoveryAnchor | None
    note: Callable[[], None] | None


class LogDurability:
    """Keeps the three offsets of one log.

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
        anchor: RecoveryAnchor | None,
        names_unsynced: bool,
        created_version: int,
    ) -> None:
        self._context = context
        self._created_version = created_version
        self._segments = segments
        self._epochs = epochs
        self._producers = producers
        self._changes = 0  # of what a flush that is under way relies on
        self._names_version = 1  # counts the changes of names in the partition's directory
        self._synced_names_version = 0 if names_unsynced else 1
        self._unsynced_files: list[str] = []  # names in the partition's directory
        self.recovery_point = recovery_point
        self.checkpoint_offset = recovery_point
        self.anchor = anchor
        self.last_flush_ms = self.anchored_ms = context.clock_ms()
        self.note: Callable[[], None] | None = None
        """To be called, in any thread, by the first flush of records (see `replica_register`)."""

    def file_written(self, name: str) -> None:
        """A small file in the log's directory was written, and is to be synced with the next flush."""
        self._unsynced_files.append(name)
        self._names_version += 1

    def before_roll(self, segment: Segment, base_offset: int) -> None:
        """The active segment gets a successor at `base_offset`, and no more index entries.

        Where the checkpoint offset is at the end already, it comes to lie in the new segment: recovery will trust
        the old one, so its indexes are synced now. OSError from the disk.
        """
        if self.checkpoint_offset >= base_offset and segment.unsynced_indexes:
            version = segment.index_version
            for handle in segment.handles_to_sync(with_indexes=True):
                handle.file().sync()
            if self.has_unsynced_names:  # that of a transaction index, perhaps
                self._context.filesystem.sync_directory(segment.handle.path.rpartition("/")[0])
            segment.indexes_synced(version)

    @property
    def has_unsynced_names(self) -> bool:
        """Whether a power loss may undo a change of names in the partition's directory."""
        return self._synced_names_version < self._names_version

    def segment_added(self) -> None:
        """There is a new name in the directory."""
        self._names_version += 1

    def file_added(self) -> None:
        """A segment gets a transaction index, whose name has to last as well."""
        self._names_version += 1

    def renamed(self, log_directory: str) -> None:
        """The partition's directory has another name. A flush that is under way may have missed files by theirs."""
        self._changes += 1
        self._names_version += 1
        self._created_version = self._context.new_names.created(log_directory)

    # Falling

    def lower(
        self, end_offset: int, *, checkpoint_offset: int | None = None, drop_anchor: bool = False
    ) -> DurableOffsets | None:
        """The log is about to be cut at `end_offset`: claim no more than remains, or even less of the indexes.

        None if nothing was claimed; otherwise a checkpoint may hold what was, must be written anew before the log is
        touched, and `restore` takes the result if that fails.
        """
        before = DurableOffsets(self.recovery_point, self.checkpoint_offset, self.anchor)
        self.recovery_point = min(self.recovery_point, end_offset)
        self.checkpoint_offset = min(
            self.checkpoint_offset, end_offset if checkpoint_offset is None else checkpoint_offset
        )
        if self.anchor is not None and (drop_anchor or self.anchor.offset > self.checkpoint_offset):
            self.anchor = None
        after = DurableOffsets(self.recovery_point, self.checkpoint_offset, self.anchor)
        return before if after[1:] != before[1:] else None

    def restore(self, offsets: DurableOffsets) -> None:
        """Take back a `lower` that the disk could not be told of."""
        self.recovery_point, self.checkpoint_offset, self.anchor = offsets

    def truncated(self) -> None:
        """The log was cut: what is being synced is not what it holds now, and snapshots are gone."""
        self._changes += 1
        self._names_version += 1

    # Rising

    @property
    def unanchored_bytes(self) -> int:
        """How much of the active segment recovery would have to read."""
        active, anchor = self._segments.active, self.anchor
        if anchor is None or anchor.segment_base_offset != active.base_offset:
            return active.size_bytes
        return active.size_bytes - anchor.position

    def begin_anchor(
        self, directory: str, log_end_offset: int, end_of_log: Callable[[], int]
    ) -> PendingFlush | None:
        """A flush of everything, indexes and producers included; None when the anchor is at the log end.

        OSError from the disk, LogCorruptError from a damaged segment: the old anchor stays.
        """
        if not self.unanchored_bytes:
            return None
        producers = self._producers
        anchor = self._segments.active.anchor(log_end_offset, has_producers=not producers.is_empty)
        if anchor is None:
            return None
        if anchor.has_producers:
            producers.take_snapshot()
            producers.remove_old_snapshots([segment.base_offset for segment in self._segments])
        return self.begin(directory, log_end_offset, end_of_log, with_active_indexes=True, anchor=anchor)

    def begin(
        self,
        directory: str,
        offset: int,
        end_of_log: Callable[[], int],
        *,
        with_active_indexes: bool,
        anchor: RecoveryAnchor | None = None,
    ) -> PendingFlush | None:
        """A flush of everything before `offset`; None when there is nothing to do. OSError from the disk."""
        names_unsynced = self.has_unsynced_names
        # A log that never had records has nothing to lose; one that lost them must not get them back.
        note = self.note if offset > 0 else None
        nothing_new = (not names_unsynced and note is None) or (offset == 0 and not self._changes)
        if offset <= self.checkpoint_offset and not with_active_indexes and nothing_new:
            return None
        active = None if with_active_indexes else self._segments.active
        segments = [
            (segment, segment.size_bytes, None if segment is active else segment.index_version)
            for segment in self._segments.from_offset(self.checkpoint_offset)
            if segment.base_offset < offset or with_active_indexes
        ]
        snapshots = list(self._producers.unsynced_snapshots)
        files = list(self._unsynced_files)
        paths = [f"{directory}/{name}" for name in files]
        paths += [self._producers.snapshot_path(snapshot) for snapshot in snapshots]
        self._epochs.rewrite_if_stale()
        if self._epochs.unsynced:
            paths.append(self._epochs.path)
        log_directory = directory.rpartition("/")[0]
        directories = [directory] if names_unsynced or paths else []
        names = self._context.new_names
        log_directory_version = names.version(log_directory)
        if names.is_unsynced(log_directory, self._created_version):
            directories.append(log_directory)
        handles: list[FileHandle] = []
        for segment, _, index_version in segments:
            handles += segment.handles_to_sync(with_indexes=index_version is not None)
        if not (handles or paths or directories or anchor or note) and offset <= self.checkpoint_offset:
            return None
        covered = _Covered(
            offset,
            segments,
            snapshots,
            files,
            self._epochs.version,
            self._names_version,
            self._changes,
            log_directory if log_directory in directories else None,
            log_directory_version,
            anchor,
            note,
        )
        return PendingFlush(
            self._context.filesystem,
            log_directory,
            offset,
            handles=handles,
            paths=paths,
            directories=directories,
            on_finish=lambda: self._finished(covered, end_of_log()),
            note=note,
        )

    def _finished(self, covered: _Covered, log_end_offset: int) -> None:
        """The disk has everything that the flush covered. The log may have grown since, or been truncated."""
        if covered.log_directory is not None:
            self._context.new_names.synced(covered.log_directory, covered.log_directory_version)
        if covered.note is self.note:
            self.note = None
        if covered.changes != self._changes:
            return  # what was synced is not what the log holds now
        checkpoint_offset = covered.offset
        for segment, size_bytes, index_version in covered.segments:
            segment.synced_bytes = max(segment.synced_bytes, size_bytes)
            if index_version is not None:
                segment.indexes_synced(index_version)
            if segment.unsynced_indexes and segment is not self._segments.active:
                # Rolled meanwhile: its indexes are not on the disk, so recovery must still begin in it.
                segment_end = self._segments.end_of(segment, log_end_offset)
                checkpoint_offset = min(checkpoint_offset, max(segment.base_offset, segment_end - 1))
        snapshots = self._producers.unsynced_snapshots
        self._producers.unsynced_snapshots = [each for each in snapshots if each not in covered.snapshots]
        if self._epochs.version == covered.epochs_version:
            self._epochs.unsynced = False
        self._unsynced_files = [name for name in self._unsynced_files if name not in covered.files]
        self._synced_names_version = max(self._synced_names_version, covered.names_version)
        self.recovery_point = max(self.recovery_point, covered.offset)
        self.checkpoint_offset = max(self.checkpoint_offset, checkpoint_offset)
        self.last_flush_ms = self._context.clock_ms()
        if covered.anchor is not None and covered.anchor.offset <= self.checkpoint_offset:
            self.anchor = covered.anchor
            self.anchored_ms = self.last_flush_ms
