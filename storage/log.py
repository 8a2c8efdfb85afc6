"""A partition's log: append, read, truncate, delete, flush (Kafka: UnifiedLog, LocalLog).

Synchronous, for one owner at a time. Appends go to the last segment by one positional write of the caller's own
buffer; reads give slices of the segment files. Errors: `ApiError` for what a client or follower did wrong,
`StorageError` for the disk. After an error an append has left nothing behind; a truncation or deletion that
the disk interrupted has done a part, and the log should be closed and opened again.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from storage import log_append, log_takeover, log_truncation, retention
from storage.checkpoint import LEADER_EPOCH_CHECKPOINT
from storage.cleaner.cleaning import Cleaning
from storage.cleaner.offset_map import OffsetMap
from storage.epoch_cache import EpochEndOffset
from storage.errors import LogCorruptError, StorageError
from storage.flush import PendingFlush
from storage.log_append import AppendInfo as AppendInfo
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_loader import LoadedLog, LogLoader
from storage.log_state import LogState
from storage.partition_metadata import PARTITION_METADATA, write_partition_metadata
from storage.producer_append import AppendOrigin
from storage.producer_entry import NO_OFFSET, ProducerEntry
from storage.recovery_anchor import RecoveryAnchor
from storage.recovery_report import RecoveryFinding
from storage.segment import Segment
from storage.segment_list import LogRead
from storage.timestamp_search import (
    EARLIEST_LOCAL_TIMESTAMP,
    EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP,
    LATEST_TIMESTAMP,
    MAX_TIMESTAMP,
    OffsetAtTimestamp,
    find_max_timestamp,
    find_offset_by_timestamp,
)
from storage.topic_partition import TopicPartition
from storage.transaction_index import AbortedTransaction
from storage.transaction_verification import VerificationGuard
from wire.errors import ApiError, ErrorCode
from wire.records import NO_TIMESTAMP

NO_EPOCH = -1


class Log:
    """One partition's log in one directory.

    Invariants: log_start_offset <= high_watermark <= log_end_offset; recovery_point <= log_end_offset; there is at
    least one segment, and the last one takes appends.
    """

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
        self._context = context
        self._state = LogState(
            context,
            directory,
            config,
            topic_partition,
            loaded,
            names_unsynced=names_unsynced,
            created_version=created_version,
        )
        self.topic_partition = topic_partition
        self._is_half_cut = False
        self.topic_id: UUID | None = loaded.topic_id
        self.findings: list[RecoveryFinding] = loaded.findings
        if names_unsynced and self.topic_id is not None:
            self._state.durability.file_written(PARTITION_METADATA)
        self.on_recovery_point_lowered: Callable[[Log], None] | None = None
        """Called before a truncation takes what a checkpoint may vouch for: it must say less when this returns.

        A StorageError from it stops the truncation before anything was changed.
        """
        self._state.on_recovery_point_lowered = self._recovery_point_lowered

    def _recovery_point_lowered(self) -> None:
        if self.on_recovery_point_lowered is not None:
            self.on_recovery_point_lowered(self)

    @classmethod
    def open(
        cls,
        directory: str,
        *,
        context: LogContext,
        config: LogConfig,
        topic_partition: TopicPartition,
        topic_id: UUID | None = None,
        recovery_point: int = 0,
        clean_shutdown: bool = False,
        log_start_offset: int = 0,
        recovery_anchor: RecoveryAnchor | None = None,
        is_replicated: bool = False,
    ) -> Log:
        """Open the log in `directory`, which is created when missing.

        `recovery_point`, `recovery_anchor` and `log_start_offset` are what the checkpoints say of it. One that
        `is_replicated` is cut where unsynced records are missing between others also if it is compacted. What the
        directory contains never makes this fail; what was wrong is in `findings`. StorageError when the disk
        fails, ApiError INCONSISTENT_TOPIC_ID when the directory belongs to another topic id.
        """
        parent = directory.rpartition("/")[0]
        loader = LogLoader(
            context,
            directory,
            config,
            topic_partition,
            clean_shutdown=clean_shutdown,
            recovery_point=recovery_point,
            log_start_offset=log_start_offset,
            anchor=recovery_anchor,
            is_replicated=is_replicated,
        )
        try:
            created = _make_directory(context, directory)
            loaded = loader.load()
        except OSError as error:
            loader.abandon()
            raise StorageError(parent, f"cannot open the log of {topic_partition}", error) from error
        log = cls(
            context,
            directory,
            config,
            topic_partition,
            loaded,
            # An empty log is closed without a sync.
            names_unsynced=not clean_shutdown or not loaded.log_end_offset,
            created_version=created,
        )
        if topic_id is not None:
            try:
                log.assign_topic_id(topic_id)
            except (ApiError, StorageError):
                log.abandon()
                raise
        return log

    def __repr__(self) -> str:
        return (
            f"Log({self.topic_partition}, {self.log_start_offset}..{self.log_end_offset}, "
            f"high_watermark={self.high_watermark}, segments={len(self._state.segments)})"
        )

    @property
    def directory(self) -> str:
        """The partition's directory."""
        return self._state.directory

    @property
    def log_directory(self) -> str:
        """The log directory that this log's own directory lies in."""
        return self._state.log_directory

    @property
    def config(self) -> LogConfig:
        return self._state.config

    @property
    def log_start_offset(self) -> int:
        return self._state.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """The offset that the next record gets."""
        return self._state.log_end_offset

    @property
    def high_watermark(self) -> int:
        return self._state.high_watermark

    def assign_topic_id(self, topic_id: UUID) -> None:
        """Note whose log this is, on disk; ApiError INCONSISTENT_TOPIC_ID when it is somebody else's."""
        if self.topic_id is None:
            try:
                write_partition_metadata(self._context.filesystem, self.directory, topic_id)
            except OSError as error:
                raise self._state.storage_error(f"cannot write {PARTITION_METADATA}", error) from error
            self._state.durability.file_written(PARTITION_METADATA)
            self.topic_id = topic_id
        elif self.topic_id != topic_id:
            message = f"the log of {self.topic_partition} belongs to topic id {self.topic_id}, not {topic_id}"
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID, message)

    def update_config(self, config: LogConfig) -> None:
        """Takes effect with the next append; index settings with the next segment."""
        state = self._state
        was_compact, state.config = state.config.compact, config
        if was_compact and not config.compact:
            self.stop_cleaning()

    # Appending

    def append_as_leader(
        self,
        records: bytearray | memoryview,
        leader_epoch: int,
        *,
        origin: AppendOrigin = AppendOrigin.CLIENT,
        transaction_version: int = 0,
        verification_guard: VerificationGuard | None = None,
    ) -> AppendInfo:
        """Validate, give offsets, write. `records` (writable) is edited in place and not copied.

        A batch that the producer had sent before changes nothing and is answered with its first offsets.
        Raises ApiError: CORRUPT_MESSAGE, INVALID_RECORD, INVALID_TIMESTAMP (both perhaps as
        RecordsRejectedError), MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, OUT_OF_ORDER_SEQUENCE_NUMBER,
        INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, TRANSACTION_COORDINATOR_FENCED; and StorageError.
        `transaction_version` is that of the coordinator that sends a transaction marker; `verification_guard`,
        from `start_transaction_verification`, lets a batch open a transaction.
        """
        self._state.check_open()
        return log_append.append_as_leader(
            self._state, records, leader_epoch, origin, transaction_version, verification_guard
        )

    def is_retry(self, records: bytearray | memoryview) -> bool:
        """Whether `append_as_leader` would find that a producer had these records appended before."""
        self._state.check_open()
        return log_append.is_retry(self._state, records)

    def append_as_follower(
        self, records: bytearray | memoryview, *, leader_epoch: int | None = None
    ) -> AppendInfo | None:
        """Write what the leader sent, offsets and epochs included; an incomplete last batch is left out.

        Batches of a later epoch than `leader_epoch`, and all behind them, are left out too: they came from
        a leader that this fetch was not addressed to. None when nothing remains. Raises ApiError
        CORRUPT_MESSAGE, UnexpectedOffsetError when offsets do not ascend from the log end, StorageError.
        """
        self._state.check_open()
        return log_append.append_as_follower(self._state, records, leader_epoch)

    # Rolling

    def roll(self) -> None:
        """Begin a new segment at the log end, unless the last one is empty."""
        self._state.check_open()
        if not self._state.segments.active.size_bytes:
            return
        try:
            self._state.roll(self.log_end_offset)
        except OSError as error:
            raise self._state.storage_error("cannot roll", error) from error
        except LogCorruptError as error:
            raise self._state.damaged(error) from error

    # Reading

    def read(
        self,
        offset: int,
        max_bytes: int,
        *,
        max_offset: int,
        min_one_message: bool = True,
        with_aborted_transactions: bool = False,
    ) -> LogRead:
        """Batches from the one that contains `offset`, none at or behind `max_offset` (a batch boundary).

        `max_offset` is the high watermark, the last stable offset or the log end. At most `max_bytes`, but with
        `min_one_message` always the whole first batch. ApiError: OFFSET_OUT_OF_RANGE before the log start or
        behind the log end, CORRUPT_MESSAGE where the file is damaged; StorageError.
        """
        self._state.check_open()
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise self._out_of_range(offset)
        if offset >= max_offset:
            return LogRead(None, aborted_transactions=[] if with_aborted_transactions else None)
        try:
            return self._state.segments.read(
                offset,
                max_bytes,
                max_offset=max_offset,
                end_offset=self.log_end_offset,
                min_one_message=min_one_message,
                with_aborted_transactions=with_aborted_transactions,
            )
        except OSError as error:
            raise self._state.storage_error(f"cannot read at offset {offset}", error) from error
        except LogCorruptError as error:
            raise self._state.corrupt(f"offset {offset}", error) from error

    def _out_of_range(self, offset: int) -> ApiError:
        return ApiError(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"offset {offset} of {self.topic_partition} is not within {self.log_start_offset} to {self.log_end_offset}",
        )

    # Transactions and producers

    @property
    def first_unstable_offset(self) -> int | None:
        """The first offset of an undecided transaction, or of a decided one above the high watermark."""
        offset = self._state.producers.first_unstable_offset
        return None if offset is None else max(offset, self.log_start_offset)

    @property
    def last_stable_offset(self) -> int:
        """Everything below is decided and replicated: where a read_committed consumer stops."""
        return self._state.last_stable_offset

    def aborted_transactions(self, from_offset: int, to_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions that overlap [from_offset, to_offset), in order of their markers."""
        self._state.check_open()
        try:
            return self._state.segments.aborted_transactions(from_offset, to_offset)
        except OSError as error:
            raise self._state.storage_error("cannot read the transaction index", error) from error
        except LogCorruptError as error:
            raise self._state.corrupt(f"offset {from_offset}", error) from error

    @property
    def active_producers(self) -> dict[int, ProducerEntry]:
        """By producer id; to be read only."""
        return self._state.producers.producers

    def has_ongoing_transaction(self, producer_id: int) -> bool:
        entry = self._state.producers.producers.get(producer_id)
        return entry is not None and entry.transaction_first_offset != NO_OFFSET

    def start_transaction_verification(
        self, producer_id: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool
    ) -> VerificationGuard | None:
        """What to append a producer's next transactional batch with, once the coordinator has confirmed it.

        None where the transaction is open in this log already. `sequence` is the batch's first, -1 for none;
        `supports_epoch_bump` tells transactions version 2. ApiError INVALID_PRODUCER_EPOCH.
        """
        self._state.check_open()
        return self._state.producers.start_verification(
            producer_id,
            sequence,
            producer_epoch,
            supports_epoch_bump=supports_epoch_bump,
            now_ms=self._state.context.clock_ms(),
        )

    def oldest_transaction_timestamp(self) -> int | None:
        """When the producer of the oldest open transaction wrote last; None if there is no transaction."""
        return self._state.producers.oldest_transaction_timestamp()

    def remove_expired_producers(self) -> None:
        self._state.producers.remove_expired(self._context.clock_ms())

    # Offsets

    def update_high_watermark(self, offset: int) -> int:
        """Set the high watermark, kept within the log; returns what it became."""
        return self._state.update_high_watermark(offset)

    def maybe_increment_log_start_offset(self, offset: int) -> bool:
        """Forget the records before `offset`; whether that changed anything. Segments go with the next retention run.

        ApiError OFFSET_OUT_OF_RANGE above the high watermark.
        """
        self._state.check_open()
        if offset > self.high_watermark:
            message = f"log start offset {offset} would exceed the high watermark {self.high_watermark}"
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE, message)
        if offset <= self.log_start_offset:
            return False
        self._state.set_log_start_offset(offset)
        return True

    def fetch_offset_by_timestamp(self, timestamp: int) -> OffsetAtTimestamp | None:
        """The first record at or after a timestamp, or what a special timestamp of ListOffsets asks for.

        LATEST (-1) is the log end; the caller bounds it by high watermark or last stable offset.
        None when there is no such record.
        """
        self._state.check_open()
        if timestamp in (EARLIEST_TIMESTAMP, EARLIEST_LOCAL_TIMESTAMP):
            earliest = self._state.epochs.earliest
            known = earliest is not None and earliest.start_offset <= self.log_start_offset
            epoch = earliest.epoch if known and earliest is not None else NO_EPOCH
            return OffsetAtTimestamp(NO_TIMESTAMP, self.log_start_offset, epoch)
        if timestamp == LATEST_TIMESTAMP:
            latest = self._state.epochs.latest_epoch
            return OffsetAtTimestamp(
                NO_TIMESTAMP, self.log_end_offset, NO_EPOCH if latest is None else latest
            )
        if timestamp == LATEST_TIERED_TIMESTAMP:
            return OffsetAtTimestamp(NO_TIMESTAMP, -1, NO_EPOCH)
        limit = self._context.decompressed_bytes_max
        # Segments before the log start only wait for their removal, and need not even be sound.
        segments = self._state.segments.from_offset(self.log_start_offset)
        try:
            if timestamp == MAX_TIMESTAMP:
                return find_max_timestamp(segments, self.log_start_offset, limit)
            return find_offset_by_timestamp(segments, timestamp, self.log_start_offset, limit)
        except OSError as error:
            raise self._state.storage_error("cannot search by timestamp", error) from error
        except LogCorruptError as error:
            raise self._state.corrupt(f"timestamp {timestamp}", error) from error

    # Leader epochs

    @property
    def latest_epoch(self) -> int | None:
        """The leader epoch of the last record, or of a leader that announced itself since."""
        return self._state.epochs.latest_epoch

    def epoch_for_offset(self, offset: int) -> int | None:
        return self._state.epochs.epoch_for_offset(offset)

    def end_offset_for_epoch(self, epoch: int) -> EpochEndOffset:
        """The largest known epoch up to `epoch` and where it ended; (-1, -1) when unknown."""
        return self._state.epochs.end_offset_for(epoch, self.log_end_offset)

    def assign_epoch_start_offset(self, epoch: int, start_offset: int) -> None:
        """A new leader announces where its epoch begins, before it has appended anything."""
        try:
            self._state.epochs.assign(epoch, start_offset)
        except OSError as error:
            raise self._state.storage_error("cannot note a leader epoch", error) from error

    # Truncating and deleting

    def truncate_to(self, offset: int) -> bool:
        """Remove the batches that contain `offset` or lie behind it; whether there were any.

        Meant for followers: `offset` is at or above what was ever acknowledged.
        """
        self._state.check_open()
        try:
            return log_truncation.truncate_to(self._state, offset)
        except OSError as error:
            self._is_half_cut = True
            raise self._state.storage_error(f"cannot truncate to offset {offset}", error) from error
        except LogCorruptError as error:
            raise self._state.damaged(error) from error

    def truncate_fully_and_start_at(self, offset: int, log_start_offset: int | None = None) -> None:
        """Remove everything; the next append gets `offset`."""
        self._state.check_open()
        try:
            start = offset if log_start_offset is None else log_start_offset
            log_truncation.truncate_fully_and_start_at(self._state, offset, start)
        except OSError as error:
            self._is_half_cut = True
            raise self._state.storage_error(f"cannot restart at offset {offset}", error) from error
        except LogCorruptError as error:
            raise self._state.damaged(error) from error

    def delete_old_segments(self) -> int:
        """Apply retention.ms and retention.bytes (if the policy has "delete") and the log start offset.

        Only whole segments below the high watermark go. Returns how many.
        """
        self._state.check_open()
        try:
            return retention.delete_old_segments(self._state)
        except OSError as error:
            raise self._state.storage_error("cannot delete old segments", error) from error

    # Cleaning

    def begin_cleaning(
        self,
        *,
        first_dirty_offset: int,
        first_uncleanable_offset: int,
        offset_map: OffsetMap,
        buffer_bytes: int,
    ) -> Cleaning:
        """Begin to compact the log; the offsets are those of a `LogToClean`. Drive the `steps` of what is returned.

        Until they end, old segments are not deleted, and whatever cuts or closes the log ends them. LogCorruptError
        when the log is damaged, StorageError.
        """
        self._state.check_open()
        assert self._state.cleaning is None, f"{self.topic_partition} is being cleaned already"
        try:
            cleaning = Cleaning(
                self._state,
                first_dirty_offset=first_dirty_offset,
                first_uncleanable_offset=first_uncleanable_offset,
                offset_map=offset_map,
                buffer_bytes=buffer_bytes,
            )
        except OSError as error:
            raise self._state.storage_error("cannot be cleaned", error) from error
        self._state.cleaning = cleaning
        return cleaning

    @property
    def is_being_cleaned(self) -> bool:
        return self._state.cleaning is not None

    def stop_cleaning(self) -> None:
        """End the cleaning that is under way, if there is one; what it has replaced stays. StorageError."""
        if self._state.cleaning is None:
            return
        try:
            self._state.cleaning.interrupt()
        except OSError as error:
            raise self._state.storage_error("cannot stop a cleaning", error) from error

    @property
    def before_cut(self) -> Callable[[int], None] | None:
        """Called with the offset at which the log is about to be cut; a StorageError from it prevents that."""
        return self._state.before_cut

    @before_cut.setter
    def before_cut(self, callback: Callable[[int], None] | None) -> None:
        self._state.before_cut = callback

    # Durability

    @property
    def recovery_point(self) -> int:
        """Every record before this offset survives a power loss."""
        return self._state.durability.recovery_point

    @property
    def checkpoint_offset(self) -> int:
        """What the recovery point checkpoint may say: the indexes of all segments that end before it survive too."""
        return self._state.durability.checkpoint_offset

    def note_records_by(self, note: Callable[[], None]) -> None:
        """Have the next flush of records call `note`, in any thread, before it is finished."""
        self._state.durability.note = note

    @property
    def has_note(self) -> bool:
        """Whether the next flush of records is to call what `note_records_by` was given."""
        return self._state.durability.note is not None

    @property
    def recovery_anchor(self) -> RecoveryAnchor | None:
        """Where recovery would begin, if that is known better than by segments."""
        return self._state.durability.anchor

    @property
    def anchored_ms(self) -> int:
        """When the last anchor was laid, or the log opened."""
        return self._state.durability.anchored_ms

    @property
    def unanchored_bytes(self) -> int:
        """How much of the active segment recovery would have to read."""
        return self._state.durability.unanchored_bytes

    @property
    def last_flush_ms(self) -> int:
        return self._state.durability.last_flush_ms

    @property
    def has_unflushed_segments(self) -> bool:
        """Whether a segment was rolled that is not on the disk with its indexes."""
        return self.checkpoint_offset < self._state.segments.active.base_offset

    @property
    def on_flush_due(self) -> Callable[[], None] | None:
        """Called by the append after which flush.messages records are not synced; without it the append syncs."""
        return self._state.on_flush_due

    @on_flush_due.setter
    def on_flush_due(self, callback: Callable[[], None] | None) -> None:
        self._state.on_flush_due = callback

    def flush(self, up_to_offset: int | None = None) -> None:
        """Sync everything before `up_to_offset` (the log end) and move the recovery point there."""
        self._state.flush(up_to_offset)

    def begin_flush(
        self, up_to_offset: int | None = None, *, with_active_indexes: bool = False
    ) -> PendingFlush | None:
        """The first step of a flush that syncs in another thread; None when there is nothing to sync.

        The active segment's indexes are left out unless asked for: recovery rebuilds them anyway.
        """
        return self._state.begin_flush(up_to_offset, with_active_indexes=with_active_indexes)

    def begin_anchor(self) -> PendingFlush | None:
        """A flush after which recovery would begin at the present log end; None when there is no need.

        It writes a producer snapshot. The old anchor stays in force until `finish`, and when the disk is full.
        """
        return self._state.begin_anchor()

    # Size and life

    @property
    def size_bytes(self) -> int:
        return self._state.segments.size_bytes

    @property
    def segments(self) -> list[Segment]:
        """Ascending; the last one takes appends."""
        return list(self._state.segments)

    def segments_between(self, from_offset: int, to_offset: int) -> list[Segment]:
        """The segment that contains `from_offset` and those behind it that begin before `to_offset`."""
        return self._state.segments.between(from_offset, to_offset)

    @property
    def first_segment_base_offset(self) -> int:
        return self._state.segments.first_base_offset

    @property
    def active_segment_base_offset(self) -> int:
        return self._state.segments.active.base_offset

    @property
    def is_closed(self) -> bool:
        return self._state.closed

    def close(self) -> None:
        """Flush, leave a producer snapshot for the next start, close all files."""
        if self._state.closed:
            return
        try:
            if self._is_half_cut:
                # Indexes, producers and offsets may contradict the files: only recovery can tell, so no clean mark.
                raise StorageError(
                    self.log_directory, f"{self.topic_partition}: a truncation was interrupted"
                )
            if self._state.cleaning is not None:
                self._state.cleaning.interrupt()
            self._state.producers.take_snapshot()
            dirty = self._state.segments.active.close_indexes()
            pending = self.begin_anchor() or self.begin_flush(with_active_indexes=dirty)
            if pending is not None:
                pending.run()
        except OSError as error:
            raise self._state.storage_error("cannot close", error) from error
        except LogCorruptError as error:
            # Found by reading a trusted index; the next start, without a clean mark, will sort it out.
            raise StorageError(self.log_directory, f"{self.topic_partition}: {error}") from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close all files and write nothing: the disk failed, or the log is going to be deleted."""
        self._state.closed = True
        if self._state.cleaning is not None:
            self._state.cleaning.forsake()
        self._state.segments.close()

    def rename_directory(self, name: str) -> None:
        """Give the partition's directory another name in the same log directory."""
        target = f"{self.log_directory}/{name}"
        try:
            self._context.filesystem.rename(self.directory, target)
        except OSError as error:
            raise self._state.storage_error(f"cannot rename to {name}", error) from error
        self._state.directory = target
        self._state.segments.moved(target)
        self._state.producers.moved(target)
        self._state.epochs.moved(f"{target}/{LEADER_EPOCH_CHECKPOINT}")
        self._state.durability.renamed(self.log_directory)

    # Being moved to another log directory, or being where another log is moved to

    @property
    def on_truncated(self) -> Callable[[int], None] | None:
        """Called with the new log end offset whenever the log is truncated."""
        return self._state.on_truncated

    @on_truncated.setter
    def on_truncated(self, callback: Callable[[int], None] | None) -> None:
        self._state.on_truncated = callback

    def skip_to(self, offset: int) -> None:
        """The log that this one is copied from has no records up to `offset`, its end."""
        self._state.check_open()
        try:
            log_truncation.skip_to(self._state, offset)
        except OSError as error:
            raise self._state.storage_error(f"cannot begin a segment at offset {offset}", error) from error

    def take_over(self, other: Log) -> None:
        """Become what `other` is, whose records this log has to the end: all that does not follow from the records.

        These are high watermark and log start offset, leader epochs that were announced and have no record yet, and
        producers whose records were deleted. `other` is not to be used any more. StorageError: nothing has changed
        that matters.
        """
        self._state.check_open()
        try:
            log_takeover.take_over(self._state, other._state)
        except OSError as error:
            raise self._state.storage_error("cannot take the place of another log", error) from error


def _make_directory(context: LogContext, directory: str) -> int:
    """Make the partition's directory if there is none; what `NewNames` says about it."""
    log_directory = directory.rpartition("/")[0]
    try:
        context.filesystem.make_directory(directory)
    except FileExistsError:
        return context.new_names.found(log_directory)
    except FileNotFoundError:
        context.filesystem.make_directories(directory)
    return context.new_names.created(log_directory)
