"""Opening a log: from the files of a partition's directory to a consistent state (Kafka: LogLoader).

After a clean shutdown the files are trusted: the newest producer snapshot is loaded and the end of the log
is read off the last segment; everything else waits until it is used. Otherwise every segment from the one with
the recovery point on is read in full: each batch's CRC is checked, indexes, epochs and producer state are
rebuilt, and the log is cut at the first bad place, which is reported (see `recovery_report`).
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from dataclasses import dataclass
from uuid import UUID

from storage.batch_scan import find_valid_batch, scan_batches
from storage.checkpoint import LEADER_EPOCH_CHECKPOINT, decode_epochs
from storage.epoch_cache import EpochEntry, LeaderEpochCache
from storage.errors import CorruptCheckpointError, CorruptIndexError, LogCorruptError
from storage.file_names import LOG_SUFFIX, offset_file_name
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_directory_scan import DirectoryContent, scan_log_directory
from storage.partition_metadata import PARTITION_METADATA, decode_partition_metadata
from storage.producer_rebuild import marker_of, rebuild_producer_state
from storage.producer_state import ProducerStateManager
from storage.recovery_report import FindingKind, RecoveryFinding
from storage.segment import Segment
from storage.topic_partition import TopicPartition
from storage.transaction_index import AbortedTransaction
from wire.records import BatchHeader

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LoadedLog:
    """The parts of a log. There is at least one segment; the last one takes appends."""

    segments: list[Segment]
    log_start_offset: int
    log_end_offset: int
    recovery_point: int
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
    ) -> None:
        self._context = context
        self._filesystem = context.filesystem
        self._directory = directory
        self._config = config
        self._topic_partition = topic_partition
        self._clean_shutdown = clean_shutdown
        self._recovery_point = recovery_point
        self._log_start_offset = log_start_offset
        self._findings: list[RecoveryFinding] = []
        self._segments: list[Segment] = []

    def load(self) -> LoadedLog:
        """OSError when the disk fails; nothing that the files contain makes it fail."""
        content = scan_log_directory(self._context.cache, self._directory)
        topic_id = self._read_topic_id() if content.has_metadata else None
        epochs = self._read_epochs(content)
        self._segments = [self._segment(base, content) for base in content.segments]
        if epochs is None:
            epochs = self._rebuild_epochs()
        state = ProducerStateManager(
            self._filesystem,
            self._directory,
            snapshots=content.snapshots,
            producer_id_expiration_ms=self._context.producer_id_expiration_ms,
        )
        first_to_recover = self._first_segment_to_recover()
        log_end_offset = self._log_end_offset_if_clean() if first_to_recover is None else None
        if log_end_offset is None and self._segments:
            log_end_offset = self._recover(first_to_recover or 0, epochs, state)
        log_end_offset = self._restart_if_start_is_lost(log_end_offset, epochs, state)
        log_start_offset = max(self._log_start_offset, self._segments[0].base_offset)
        epochs.truncate_from_end(log_end_offset)
        epochs.truncate_from_start(log_start_offset)
        state.remove_stray_snapshots([segment.base_offset for segment in self._segments])
        self._rebuild_producers(state, log_start_offset, log_end_offset)
        recovery_point = log_end_offset
        if first_to_recover is not None or self._findings:
            recovery_point = min(self._recovery_point, log_end_offset)
        return LoadedLog(
            self._segments,
            log_start_offset,
            log_end_offset,
            recovery_point,
            epochs,
            state,
            topic_id,
            self._findings,
        )

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
            jitter_ms=self._jitter_ms(),
            has_transaction_index=base_offset in content.transaction_indexes,
        )
        segment.synced_bytes = segment.size_bytes
        segment.unsynced_indexes = False
        return segment

    def _jitter_ms(self) -> int:
        bound = min(self._config.segment_jitter_ms, self._config.segment_ms)
        return self._context.random_below(bound) if bound > 0 else 0

    def _read_topic_id(self) -> UUID | None:
        path = f"{self._directory}/{PARTITION_METADATA}"
        try:
            return decode_partition_metadata(self._filesystem.read_file(path))
        except CorruptCheckpointError as error:
            self._report(FindingKind.CORRUPT_METADATA, path, str(error))
            return None

    def _read_epochs(self, content: DirectoryContent) -> LeaderEpochCache | None:
        path = f"{self._directory}/{LEADER_EPOCH_CHECKPOINT}"
        if not content.has_epochs:
            return LeaderEpochCache(self._filesystem, path, [])
        try:
            pairs = decode_epochs(self._filesystem.read_file(path))
            entries = [EpochEntry(*pair) for pair in pairs]
            for before, after in zip(entries, entries[1:], strict=False):
                if not (before.epoch < after.epoch and before.start_offset < after.start_offset):
                    raise CorruptCheckpointError(f"{before} is followed by {after}")
        except CorruptCheckpointError as error:
            self._report(FindingKind.CORRUPT_EPOCHS, path, str(error))
            return None
        return LeaderEpochCache(self._filesystem, path, entries)

    def _rebuild_epochs(self) -> LeaderEpochCache:
        path = f"{self._directory}/{LEADER_EPOCH_CHECKPOINT}"
        epochs = LeaderEpochCache(self._filesystem, path, [])
        for segment in self._segments:
            try:
                for _, header in segment.walk():
                    _note_epoch(epochs, header)
            except LogCorruptError as error:
                logger.error("Leader epochs are known only up to %s", error)
                break
        return epochs

    # Deciding how much to read

    def _first_segment_to_recover(self) -> int | None:
        """The index of the first segment whose content must be checked; None if all are fine."""
        if not self._segments:
            return None
        first = None
        if not self._clean_shutdown:
            bases = [segment.base_offset for segment in self._segments]
            first = max(bisect_right(bases, self._recovery_point) - 1, 0)
        for index, segment in enumerate(self._segments[:first]):
            if segment.transaction_index.present and not self._transaction_index_is_sound(segment):
                return index
        return first

    def _transaction_index_is_sound(self, segment: Segment) -> bool:
        try:
            return segment.transaction_index.entries is not None
        except CorruptIndexError as error:
            path = segment.transaction_index.path
            self._report(FindingKind.CORRUPT_TRANSACTION_INDEX, path, str(error))
            return False

    def _log_end_offset_if_clean(self) -> int | None:
        """The end offset, or None when the last segment is not what a clean shutdown leaves."""
        if not self._segments:
            return None
        try:
            return self._segments[-1].next_offset()
        except LogCorruptError as error:
            logger.error("The end of the log cannot be read in spite of a clean shutdown: %s", error)
            return None

    # Recovering segments

    def _recover(self, first: int, epochs: LeaderEpochCache, state: ProducerStateManager) -> int:
        """Check and rebuild the segments from index `first` on; returns the log end offset."""
        index, ends_at = first, None
        self._state_at(index, state)
        while index < len(self._segments):
            segment = self._segments[index]
            logger.info("Recovering segment %s", segment.handle.path)
            try:
                next_offset = self._recover_segment(segment, ends_at, epochs, state)
            except _SuspectBatchError as error:
                # The batch before the contradiction is the one with the wrong offset: do without it.
                self._cut(index, error.position, error.offset, str(error))
                self._state_at(index, state)
                continue
            index += 1
            if index < len(self._segments):
                state.end_offset = max(state.end_offset, self._segments[index].base_offset)
                state.take_snapshot()
        return next_offset

    def _state_at(self, index: int, state: ProducerStateManager) -> None:
        base_offset = self._segments[index].base_offset
        state.end_offset = -1  # whatever it holds, start from a snapshot or from nothing
        self._rebuild_producers(state, self._log_start_offset, base_offset, self._segments[:index])
