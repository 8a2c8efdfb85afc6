"""Opening a log: from the files of a partition's directory to a consistent state (Kafka: LogLoader).

After a clean shutdown the files are trusted: the newest producer snapshot is loaded and the end of the log
is read off the last segment; everything else waits until it is used. Otherwise everything from the recovery
anchor on is read (see `recovery_anchor`), or without one from the beginning of the segment with the recovery
point on: each batch's CRC is checked, indexes, epochs and producer state are rebuilt, and the log is cut at the
first bad place, which is reported (see `recovery_report`). What lies before is trusted as after a clean shutdown.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from dataclasses import dataclass
from uuid import UUID

from storage.batch_scan import find_valid_batch
from storage.checkpoint import LEADER_EPOCH_CHECKPOINT
from storage.epoch_cache import EpochEntry, LeaderEpochCache, decode_epoch_entries
from storage.errors import CorruptCheckpointError, CorruptIndexError, LogCorruptError
from storage.file_names import LOG_SUFFIX, offset_file_name
from storage.index_file import INT32_MAX
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_directory_scan import DirectoryContent, scan_log_directory
from storage.partition_metadata import PARTITION_METADATA, decode_partition_metadata
from storage.producer_rebuild import rebuild_producer_state
from storage.producer_state import ProducerStateManager
from storage.recovery_anchor import RecoveryAnchor
from storage.recovery_report import FindingKind, RecoveryFinding
from storage.segment import Segment
from storage.segment_recovery import SegmentRecovery, note_epoch
from storage.topic_partition import TopicPartition

logger = logging.getLogger(__name__)

_HOLE_OFFSETS_MAX = 1 << 30


@dataclass(slots=True)
class LoadedLog:
    """The parts of a log. There is at least one segment; the last one takes appends."""

    segments: list[Segment]
    log_start_offset: int
    log_end_offset: int
    recovery_point: int
    anchor: RecoveryAnchor | None
    epochs: LeaderEpochCache
    producer_state: ProducerStateManager
    topic_id: UUID | None
    findings: list[RecoveryFinding]


class LogLoader:
    """Loads one log. The directory must exist; it may be empty."""

    def __init__(
        self,
        context: LogContext,
        directory: str,
        config: LogConfig,
        topic_partition: TopicPartition,
        *,
        clean_shutdown: bool,
        recovery_point: int,
        log_start_offset: int,
        anchor: RecoveryAnchor | None = None,
        is_replicated: bool = False,
    ) -> None:
        """``is_replicated``: other brokers have what is missing here (see `_has_hole_behind`)."""
        self._is_replicated = is_replicated
        self._context = context
        self._filesystem = context.filesystem
        self._directory = directory
        self._config = config
        self._topic_partition = topic_partition
        self._clean_shutdown = clean_shutdown
        self._recovery_point = recovery_point
        self._log_start_offset = log_start_offset
        self._anchor = anchor
        self._findings: list[RecoveryFinding] = []
        self._segments: list[Segment] = []
        self._clean_end: int | None = None

    def load(self) -> LoadedLog:
        """OSError when the disk fails; nothing that the files contain makes it fail."""
        content = scan_log_directory(self._context.cache, self._directory)
        topic_id = self._read_topic_id() if content.has_metadata else None
        self._segments = [self._segment(base, content) for base in content.segments]
        epochs = self._read_epochs(content)
        state = ProducerStateManager(
            self._filesystem,
            self._directory,
            snapshots=content.snapshots,
            producer_id_expiration_ms=self._context.producer_id_expiration_ms,
        )
        first = self._first_segment_to_recover()
        log_end_offset = None
        if first is None:
            log_end_offset = self._clean_end
        else:
            log_end_offset = self._recover(first, epochs, state)
            # Whoever wrote the epochs may have died before they were synced.
            epochs.unsynced = content.has_epochs or epochs.unsynced
        log_end_offset = self._restart_if_start_is_lost(log_end_offset, epochs, state)
        log_start_offset = max(self._log_start_offset, self._segments[0].base_offset)
        # A leader that has announced its epoch and got no record yet left it at the log end. After a clean
        # shutdown that still holds; keeping it spares most idle partitions a rewritten file at every start.
        epochs.truncate_from_end(log_end_offset + 1 if self._clean_shutdown else log_end_offset)
        epochs.truncate_from_start(log_start_offset)
        state.remove_stray_snapshots([segment.base_offset for segment in self._segments])
        self._rebuild_producers(state, self._segments, log_end_offset)
        if first is not None:
            state.unsynced_snapshots = state.snapshots  # the same goes for them
        recovery_point = log_end_offset if first is None else min(self._recovery_point, log_end_offset)
        return LoadedLog(
            self._segments,
            log_start_offset,
            log_end_offset,
            recovery_point,
            self._anchor_within(log_end_offset),
            epochs,
            state,
            topic_id,
            self._findings,
        )

    def abandon(self) -> None:
        """Loading failed: close what it opened."""
        for segment in self._segments:
            segment.close()

    def _report(self, finding: RecoveryFinding) -> None:
        level = logging.INFO if finding.kind is FindingKind.TORN_TAIL else logging.ERROR
        logger.log(level, "%s", finding)
        self._findings.append(finding)

    # Reading the small files

    def _segment(self, base_offset: int, content: DirectoryContent) -> Segment:
        path = f"{self._directory}/{offset_file_name(base_offset, LOG_SUFFIX)}"
        segment = Segment(
            self._context.cache,
            self._directory,
            base_offset,
            self._config,
            size_bytes=self._filesystem.file_size(path),
            created_ms=self._context.clock_ms(),
            jitter_ms=self._context.jitter_ms(self._config),
            has_transaction_index=base_offset in content.transaction_indexes,
        )
        segment.synced_bytes = segment.size_bytes
        segment.indexes_synced(segment.index_version)
        return segment

    def _read_topic_id(self) -> UUID | None:
        path = f"{self._directory}/{PARTITION_METADATA}"
        try:
            return decode_partition_metadata(self._filesystem.read_file(path))
        except CorruptCheckpointError as error:
            self._report(self._finding(FindingKind.CORRUPT_METADATA, path, str(error)))
            return None

    def _read_epochs(self, content: DirectoryContent) -> LeaderEpochCache:
        path = f"{self._directory}/{LEADER_EPOCH_CHECKPOINT}"
        entries: list[EpochEntry] = []
        if content.has_epochs:
            try:
                entries = decode_epoch_entries(self._filesystem.read_file(path))
            except CorruptCheckpointError as error:
                self._report(self._finding(FindingKind.CORRUPT_EPOCHS, path, str(error)))
                return self._rebuild_epochs(path)
        return LeaderEpochCache(self._filesystem, path, entries)

    def _rebuild_epochs(self, path: str) -> LeaderEpochCache:
        epochs = LeaderEpochCache(self._filesystem, path, [])
        epochs.clear(force=True)
        for segment in self._segments:
            try:
                for _, header in segment.walk():
                    note_epoch(epochs, header)
            except LogCorruptError as error:
                logger.error("Leader epochs are known only up to %s", error)
                break
        return epochs

    def _finding(self, kind: FindingKind, path: str, detail: str) -> RecoveryFinding:
        return RecoveryFinding(kind, self._topic_partition, path, detail)

    # Deciding how much to read

    def _first_segment_to_recover(self) -> int | None:
        """The index of the first segment whose content must be checked; None if nothing speaks for it."""
        if not self._segments:
            return None
        first = len(self._segments)
        if not self._clean_shutdown:
            bases = [segment.base_offset for segment in self._segments]
            # What lies before the log start only waits for its removal, and need not be sound.
            first = max(bisect_right(bases, max(self._recovery_point, self._log_start_offset)) - 1, 0)
        elif self._find_end() is None:
            first -= 1
        elif not self._transaction_index_is_sound(self._segments[-1]):
            first -= 1  # appends go there; those of other segments are repaired when they are used
        return first if first < len(self._segments) else None

    def _transaction_index_is_sound(self, segment: Segment) -> bool:
        try:
            return segment.transaction_index.entries is not None
        except CorruptIndexError as error:
            path = segment.transaction_index.path
            self._report(self._finding(FindingKind.CORRUPT_TRANSACTION_INDEX, path, str(error)))
            return False

    def _find_end(self) -> int | None:
        """The log end offset, unless the end cannot be read."""
        try:
            self._clean_end = self._segments[-1].next_offset()
        except LogCorruptError as error:
            logger.error("The end of the log is damaged in spite of a clean shutdown: %s", error)
        return self._clean_end

    # Recovering segments

    def _recover(self, first: int, epochs: LeaderEpochCache, state: ProducerStateManager) -> int:
        """Check and rebuild the segments from index `first` on; returns the log end offset."""
        index = first
        next_offset = self._segments[first].base_offset
        while index < len(self._segments):
            segment = self._segments[index]
            anchor = self._use_anchor(segment) if index == first else None
            recovery = SegmentRecovery(segment, epochs, state, self._offset_limit(index), anchor)
            if anchor is None:
                recovery.prepare()
            position, reads = recovery.cut_position, recovery.cut_position < segment.size_bytes
            if reads:
                logger.info("Recovering segment %s from byte %d on", segment.handle.path, position)
            if index == first:
                self._bring_state_to(index, anchor, state)
            else:
                state.end_offset = max(state.end_offset, segment.base_offset)
                state.try_snapshot()
            error = recovery.run()
            if error is None and self._has_hole_behind(index, recovery.next_offset):
                reason = f"offset {recovery.next_offset} is missing, later ones are not"
                hole = LogCorruptError(segment.handle.path, segment.size_bytes, reason)
                self._cut(index, recovery, hole, state, kind=FindingKind.HOLE)
            if error is not None:
                self._cut(index, recovery, error, state)
                if recovery.has_suspect_content:
                    # Indexes and producer state hold a batch that was cut off: once more without it.
                    recovery = SegmentRecovery(segment, epochs, state, self._offset_limit(index), anchor)
                    recovery.prepare()
                    self._bring_state_to(index, anchor, state)
                    recovery.run()
            if reads or index + 1 < len(self._segments):  # an anchor takes away what closed the time index
                segment.finish_indexing()
            next_offset = recovery.next_offset
            index += 1
        return next_offset

    def _has_hole_behind(self, index: int, next_offset: int) -> bool:
        """Whether segment `index` lost its end in a power failure, and a later one is there.

        A replica with a hole looks complete by where it ends: it would be taken for in sync, and could lead. Cut, it
        fetches what it lacks. Where there is no other replica, what lies behind the hole was not acknowledged with
        acks=all either, as that takes everything before it; kept, it would make the retries of its producer come out
        of order. (A segment that ends within a batch is cut in any case, as in Kafka.) Only a compacted log that nobody
        else has stays as it is: Kafka, or an earlier version, may have left the gap on purpose.

        That nothing but a power failure leaves a gap there holds for compacted logs too, and does not rest on the
        recovery point being up to date: the cleaner and truncations cover what they take off the end of a segment (see
        `covering_batch`), and a follower's segment begins at the log end, wherever its first batch does. The exception
        is a gap of so many offsets that no index bridges it; no power failure takes so much.
        """
        return (
            (self._is_replicated or not self._config.compact)
            and next_offset >= self._recovery_point
            and index + 1 < len(self._segments)
            and 0 < self._segments[index + 1].base_offset - next_offset <= _HOLE_OFFSETS_MAX
        )

    def _use_anchor(self, segment: Segment) -> RecoveryAnchor | None:
        """The anchor, if it is about this segment and the files bear it out; the indexes are taken back to it then."""
        anchor, self._anchor = self._anchor, None
        if (
            anchor is None
            or self._clean_shutdown
            or anchor.offset > self._recovery_point
            or anchor.segment_base_offset != segment.base_offset
        ):
            return None
        try:
            segment.resume_at(anchor)
        except (CorruptIndexError, LogCorruptError) as error:
            logger.info("Recovery of %s reads the whole segment: %s", self._topic_partition, error)
            return None
        self._anchor = anchor
        return anchor

    def _anchor_within(self, log_end_offset: int) -> RecoveryAnchor | None:
        """The anchor that stays in force: one that was just used, or the one that a clean shutdown laid at the end."""
        anchor, last = self._anchor, self._segments[-1]
        if anchor is not None and self._clean_shutdown:
            end = (anchor.offset, anchor.segment_base_offset, anchor.position)
            return anchor if end == (log_end_offset, last.base_offset, last.size_bytes) else None
        return anchor

    def _offset_limit(self, index: int) -> int:
        """What all offsets of a segment lie below: the next one's first, or what its index can express."""
        if index + 1 < len(self._segments):
            return self._segments[index + 1].base_offset
        return self._segments[index].base_offset + INT32_MAX + 1

    def _bring_state_to(self, index: int, anchor: RecoveryAnchor | None, state: ProducerStateManager) -> None:
        """Make the producer state that of the anchor in a segment, or of the segment's beginning."""
        state.end_offset = -1  # not to be believed: reload
        if anchor is None:
            self._rebuild_producers(state, self._segments[:index], self._segments[index].base_offset)
        elif anchor.has_producers:
            self._rebuild_producers(state, self._segments[: index + 1], anchor.offset)
        else:
            state.start_empty_at(anchor.offset)

    def _rebuild_producers(
        self, state: ProducerStateManager, segments: list[Segment], end_offset: int
    ) -> None:
        try:
            rebuild_producer_state(
                state,
                segments,
                start_offset=self._segments[0].base_offset,
                end_offset=end_offset,
                now_ms=self._context.clock_ms(),
            )
        except LogCorruptError as error:
            # Behind the damage there may be good records, so the log stays; the state is as far as it got.
            self._report(self._finding(FindingKind.DAMAGED_BATCH, error.path, str(error)))
            state.end_offset = end_offset

    def _cut(
        self,
        index: int,
        recovery: SegmentRecovery,
        error: LogCorruptError,
        state: ProducerStateManager,
        *,
        kind: FindingKind | None = None,
    ) -> None:
        """Make segment `index` end where `recovery` stopped, and the log with it.

        Only if the next segment begins with just the next offset, nothing was lost, and what follows stays. So it does
        if that is an empty one, at the end, which the batches run into: a truncation was interrupted that made it.
        """
        position, offset = recovery.cut_position, recovery.next_offset
        segment, later = self._segments[index], self._segments[index + 1 :]
        lost_bytes = segment.size_bytes - position
        is_new_end = recovery.overlaps_next and len(later) == 1 and not later[0].size_bytes
        if is_new_end or (later and later[0].base_offset == offset):
            later = []
            kind = FindingKind.TORN_TAIL
        elif kind is None:
            kind = self._kind_of_cut(segment, later, position, offset)
        self._report(
            RecoveryFinding(
                kind,
                self._topic_partition,
                segment.handle.path,
                f"byte {error.position}: {error.reason}",
                offset=offset,
                lost_bytes=lost_bytes + sum(other.size_bytes for other in later),
                lost_segments=len(later),
            )
        )
        self._drop(later, state)  # before the cut: a crash in between must not leave a hole
        if later:
            self._filesystem.sync_directory(self._directory)
        segment.truncate_bytes(position)

    def _kind_of_cut(self, segment: Segment, later: list[Segment], position: int, offset: int) -> FindingKind:
        """Whether a cut removes just an unfinished write, or what should have been good."""
        if offset < self._recovery_point or any(other.size_bytes for other in later):
            return FindingKind.CORRUPT_LOG
        end = segment.size_bytes
        behind = find_valid_batch(segment.handle, position, end, offset_min=offset)
        return FindingKind.TORN_TAIL if behind is None else FindingKind.CORRUPT_LOG

    def _drop(self, segments: list[Segment], state: ProducerStateManager) -> None:
        """Remove segments from the end of the log, the last one first."""
        for segment in reversed(segments):
            self._segments.remove(segment)
            state.delete_snapshot(segment.base_offset)
            self._context.removals.add_files(segment.mark_deleted(), self._config.file_delete_delay_ms)
            # It must not come back behind what is appended next.
            self._filesystem.sync_directory(self._directory)

    def _restart_if_start_is_lost(
        self, log_end_offset: int | None, epochs: LeaderEpochCache, state: ProducerStateManager
    ) -> int:
        """A log needs a segment, and its end cannot lie before its start; returns the end offset."""
        start = self._log_start_offset
        if log_end_offset is not None and log_end_offset >= start:
            return log_end_offset
        if log_end_offset is not None or self._recovery_point > start:
            detail = f"the log ends at {log_end_offset} but began at {start}"
            self._report(self._finding(FindingKind.LOST_SEGMENTS, self._directory, detail))
            self._drop(list(self._segments), state)
            epochs.clear()
            state.truncate_fully_and_start_at(start)
        segment = Segment.create(
            self._context.cache,
            self._directory,
            start,
            self._config,
            now_ms=self._context.clock_ms(),
            jitter_ms=self._context.jitter_ms(self._config),
        )
        self._segments.append(segment)
        return start
