"""A partition's log: append, read, truncate, delete, flush (Kafka: UnifiedLog, LocalLog).

Synchronous, for one owner at a time. Appends go to the last segment by one positional write of the caller's own
buffer; reads give slices of the segment files. Errors: `ApiError` for what a client or follower did wrong,
`StorageError` for the disk. After an error an append has left nothing behind; a truncation or deletion that
the disk interrupted has done a part, and the log should be closed and opened again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from storage.checkpoint import LEADER_EPOCH_CHECKPOINT
from storage.durability import LogDurability
from storage.epoch_cache import EpochEndOffset
from storage.errors import LogCorruptError, StorageError, UnexpectedOffsetError
from storage.flush import PendingFlush
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_loader import LoadedLog, LogLoader
from storage.log_validator import AssignedBatch, ValidatedRecords, parse_batches, validate_and_assign
from storage.partition_metadata import PARTITION_METADATA, write_partition_metadata
from storage.producer_append import AppendOrigin
from storage.producer_checks import ProducerChecks
from storage.producer_entry import NO_OFFSET, BatchMetadata, ProducerEntry
from storage.producer_rebuild import rebuild_producer_state
from storage.recovery_report import RecoveryFinding
from storage.retention import (
    Rule,
    before_log_start,
    beyond_retention_bytes,
    beyond_retention_ms,
    deletable_segments,
)
from storage.segment import BatchSpan, Segment
from storage.segment_list import LogRead, SegmentList
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
from wire.errors import ApiError, ErrorCode
from wire.records import NO_TIMESTAMP, crc_matches

logger = logging.getLogger(__name__)

NO_EPOCH = -1


class AppendInfo(NamedTuple):
    """Where an append landed. Offsets are inclusive.

    `log_append_time_ms` is -1 on topics with create time, except for a duplicate: that answers with the offsets
    and the timestamp of the batch that was appended first.
    """

    first_offset: int
    last_offset: int
    max_timestamp: int
    log_append_time_ms: int
    log_start_offset: int
    record_count: int
    size_bytes: int
    is_duplicate: bool = False


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
        self._clock_ms = context.clock_ms
        self.directory = directory
        self.config = config
        self.topic_partition = topic_partition
        self.topic_id: UUID | None = loaded.topic_id
        self.findings: list[RecoveryFinding] = loaded.findings
        self._segments = SegmentList(context, directory, loaded.segments)
        self._epochs = loaded.epochs
        self._producers = loaded.producer_state
        self.log_start_offset = loaded.log_start_offset
        self.log_end_offset = loaded.log_end_offset
        self.high_watermark = loaded.log_start_offset
        self._durability = LogDurability(
            context,
            self._segments,
            self._epochs,
            self._producers,
            recovery_point=max(loaded.recovery_point, loaded.log_start_offset),
            names_unsynced=names_unsynced,
            created_version=created_version,
        )
        if names_unsynced and self.topic_id is not None:
            self._durability.file_written(f"{directory}/{PARTITION_METADATA}")
        self.on_recovery_point_lowered: Callable[[Log], None] | None = None
        """Called when a truncation put the log end below the recovery point, which a checkpoint may hold."""
        self._closed = False

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
    ) -> Log:
        """Open the log in `directory`, which is created when missing.

        What the directory contains never makes this fail; what was wrong is in `findings`. StorageError when
        the disk fails, ApiError INCONSISTENT_TOPIC_ID when the directory belongs to another topic id.
        """
        parent = directory.rpartition("/")[0]
        try:
            created = _make_directory(context, directory)
            loader = LogLoader(
                context,
                directory,
                config,
                topic_partition,
                clean_shutdown=clean_shutdown,
                recovery_point=recovery_point,
                log_start_offset=log_start_offset,
            )
            loaded = loader.load()
        except OSError as error:
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
            log.assign_topic_id(topic_id)
        return log

    def __repr__(self) -> str:
        return (
            f"Log({self.topic_partition}, {self.log_start_offset}..{self.log_end_offset}, "
            f"high_watermark={self.high_watermark}, segments={len(self._segments)})"
        )

    @property
    def log_directory(self) -> str:
        """The log directory that this log's own directory lies in."""
        return self.directory.rpartition("/")[0]

    def assign_topic_id(self, topic_id: UUID) -> None:
        """Note whose log this is, on disk; ApiError INCONSISTENT_TOPIC_ID when it is somebody else's."""
        if self.topic_id is None:
            try:
                write_partition_metadata(self._context.filesystem, self.directory, topic_id)
            except OSError as error:
                raise self._storage_error(f"cannot write {PARTITION_METADATA}", error) from error
            self._durability.file_written(f"{self.directory}/{PARTITION_METADATA}")
            self.topic_id = topic_id
        elif self.topic_id != topic_id:
            message = f"the log of {self.topic_partition} belongs to topic id {self.topic_id}, not {topic_id}"
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID, message)

    def update_config(self, config: LogConfig) -> None:
        """Takes effect with the next append; index settings with the next segment."""
        self.config = config

    # Appending

    def append_as_leader(
        self,
        records: bytearray | memoryview,
        leader_epoch: int,
        *,
        origin: AppendOrigin = AppendOrigin.CLIENT,
        transaction_version: int = 0,
    ) -> AppendInfo:
        """Validate, give offsets, write. `records` (writable) is edited in place and not copied.

        A batch that the producer had sent before changes nothing and is answered with its first offsets.
        Raises ApiError: CORRUPT_MESSAGE, INVALID_RECORD, INVALID_TIMESTAMP (both perhaps as
        RecordsRejectedError), MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, OUT_OF_ORDER_SEQUENCE_NUMBER,
        INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, TRANSACTION_COORDINATOR_FENCED; and StorageError.
        `transaction_version` is that of the coordinator that sends a transaction marker.
        """
        self._check_open()
        batches = parse_batches(records, origin)
        validated = validate_and_assign(
            records,
            batches,
            config=self.config,
            origin=origin,
            next_offset=self.log_end_offset,
            leader_epoch=leader_epoch,
            now_ms=self._clock_ms(),
            decompressed_bytes_max=self._context.decompressed_bytes_max,
        )
        epochs = [(leader_epoch, self.log_end_offset)] if leader_epoch >= 0 else []
        return self._append(validated, epochs, origin, transaction_version)

    def append_as_follower(
        self, records: bytearray | memoryview, *, leader_epoch: int | None = None
    ) -> AppendInfo | None:
        """Write what the leader sent, offsets and epochs included; an incomplete last batch is left out.

        Batches of a later epoch than `leader_epoch`, and all behind them, are left out too: they came from
        a leader that this fetch was not addressed to. None when nothing remains. Raises ApiError
        CORRUPT_MESSAGE, UnexpectedOffsetError when offsets do not ascend from the log end, StorageError.
        """
        self._check_open()
        assigned: list[AssignedBatch] = []
        epochs: list[tuple[int, int]] = []
        next_offset = self.log_end_offset
        for position, header in parse_batches(records, AppendOrigin.REPLICATION):
            epoch = header.partition_leader_epoch
            if leader_epoch is not None and epoch > leader_epoch:
                break
            if not crc_matches(records, position, header):
                raise ApiError(
                    ErrorCode.CORRUPT_MESSAGE, f"CRC does not match at offset {header.base_offset}"
                )
            if header.base_offset < next_offset or header.last_offset_delta < 0:
                message = (
                    f"{self.topic_partition}: offset {header.base_offset} where {next_offset} comes next"
                )
                raise UnexpectedOffsetError(message, header.base_offset, header.last_offset)
            if epoch >= 0 and (not epochs or epochs[-1][0] != epoch):
                epochs.append((epoch, header.base_offset))
            next_offset = header.next_offset
            span = BatchSpan(header.base_offset, header.last_offset, header.max_timestamp, header.size_bytes)
            assigned.append(AssignedBatch(position, header, span))
        if not assigned:
            return None
        end = assigned[-1].position + assigned[-1].span.size_bytes
        view = memoryview(records)[:end]
        return self._append(
            ValidatedRecords(view, assigned, NO_TIMESTAMP), epochs, AppendOrigin.REPLICATION, 0
        )

    def _append(
        self,
        validated: ValidatedRecords,
        epochs: list[tuple[int, int]],
        origin: AppendOrigin,
        transaction_version: int,
    ) -> AppendInfo:
        records, batches, log_append_time_ms = validated
        if len(records) > self.config.segment_bytes:
            message = f"{len(records)} bytes exceed segment.bytes, {self.config.segment_bytes}"
            raise ApiError(ErrorCode.RECORD_LIST_TOO_LARGE, message)
        producers = ProducerChecks(self._producers, origin, transaction_version)
        for position, header, span in batches:
            if header.producer_id >= 0:
                duplicate = producers.find_duplicate(header)
                if duplicate is not None:
                    return self._duplicate_info(duplicate)
                producers.check(header, span, records, position)
        spans = [batch.span for batch in batches]
        whole = spans[0]
        if len(spans) > 1:
            max_timestamp = max(span.max_timestamp for span in spans)
            whole = BatchSpan(whole.base_offset, spans[-1].last_offset, max_timestamp, len(records))
        try:
            for epoch, start_offset in epochs:
                self._epochs.assign(epoch, start_offset)
            self._write(records, spans, whole, producers.aborted_transactions())
        except OSError as error:
            raise self._storage_error("cannot append", error) from error
        except LogCorruptError as error:
            raise self._damaged(error) from error
        self.log_end_offset = whole.last_offset + 1
        producers.apply(self.log_end_offset)
        if self.log_end_offset - self._durability.recovery_point >= self.config.flush_messages:
            self.flush()
        return AppendInfo(
            whole.base_offset,
            whole.last_offset,
            whole.max_timestamp,
            log_append_time_ms,
            self.log_start_offset,
            sum([batch.header.record_count for batch in batches]),
            whole.size_bytes,
        )

    def _duplicate_info(self, batch: BatchMetadata) -> AppendInfo:
        return AppendInfo(
            batch.first_offset,
            batch.last_offset,
            batch.timestamp,
            batch.timestamp,
            self.log_start_offset,
            batch.offset_delta + 1,
            0,
            is_duplicate=True,
        )

    def _write(
        self,
        records: bytearray | memoryview,
        spans: list[BatchSpan],
        whole: BatchSpan,
        aborted: list[AbortedTransaction],
    ) -> None:
        """Put the bytes into the segment and aborted transactions into its index; all or nothing."""
        segment = self._segments.active
        if segment.should_roll(self.config, whole, self._clock_ms()):
            segment = self._roll(whole.base_offset)
        position, largest = segment.size_bytes, segment.largest
        segment.append(records, spans)
        try:
            for transaction in aborted:
                segment.transaction_index.append(transaction)
        except OSError:
            segment.undo_append(position, whole.base_offset, largest)
            raise

    # Rolling

    def roll(self) -> None:
        """Begin a new segment at the log end, unless the last one is empty."""
        self._check_open()
        if not self._segments.active.size_bytes:
            return
        try:
            self._roll(self.log_end_offset)
        except OSError as error:
            raise self._storage_error("cannot roll", error) from error
        except LogCorruptError as error:
            raise self._damaged(error) from error

    def _roll(self, next_offset: int) -> Segment:
        """Begin a new segment. It may start behind the log end when a follower's next offset does."""
        base_offset = max(next_offset, self.log_end_offset)
        old = self._segments.active
        if old.base_offset == base_offset and not old.size_bytes:
            return old  # an empty segment is as good as a new one, whatever asked for it
        old.become_inactive()
        new = self._segments.add(base_offset, self.config)
        self._durability.segment_added()
        # A snapshot at a segment's start lets that segment be recovered without reading the ones before.
        self._producers.end_offset = base_offset
        self._producers.try_snapshot()
        logger.debug("%s rolled at offset %d", self.topic_partition, base_offset)
        return new

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
        self._check_open()
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise self._out_of_range(offset)
        if offset >= max_offset:
            return LogRead(None, aborted_transactions=[] if with_aborted_transactions else None)
        try:
            return self._segments.read(
                offset,
                max_bytes,
                max_offset=max_offset,
                end_offset=self.log_end_offset,
                min_one_message=min_one_message,
                with_aborted_transactions=with_aborted_transactions,
            )
        except OSError as error:
            raise self._storage_error(f"cannot read at offset {offset}", error) from error
        except LogCorruptError as error:
            raise self._corrupt(f"offset {offset}", error) from error

    def _corrupt(self, where: str, error: LogCorruptError) -> ApiError:
        logger.error("%s cannot be read at %s: %s", self.topic_partition, where, error)
        return ApiError(ErrorCode.CORRUPT_MESSAGE, f"the log of {self.topic_partition} is damaged at {where}")

    def _damaged(self, error: LogCorruptError) -> ApiError:
        """A write met damage that reading the log since a clean shutdown had not."""
        logger.error("%s cannot be written: %s", self.topic_partition, error)
        return ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"the log of {self.topic_partition} is damaged")

    def _out_of_range(self, offset: int) -> ApiError:
        return ApiError(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"offset {offset} of {self.topic_partition} is not within {self.log_start_offset} to {self.log_end_offset}",
        )

    # Transactions and producers

    @property
    def first_unstable_offset(self) -> int | None:
        """The first offset of an undecided transaction, or of a decided one above the high watermark."""
        offset = self._producers.first_unstable_offset
        return None if offset is None else max(offset, self.log_start_offset)

    @property
    def last_stable_offset(self) -> int:
        """Everything below is decided and replicated: where a read_committed consumer stops."""
        offset = self.first_unstable_offset
        return self.high_watermark if offset is None else min(offset, self.high_watermark)

    def aborted_transactions(self, from_offset: int, to_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions that overlap [from_offset, to_offset), in order of their markers."""
        self._check_open()
        try:
            return self._segments.aborted_transactions(from_offset, to_offset)
        except OSError as error:
            raise self._storage_error("cannot read the transaction index", error) from error
        except LogCorruptError as error:
            raise self._corrupt(f"offset {from_offset}", error) from error

    @property
    def active_producers(self) -> dict[int, ProducerEntry]:
        """By producer id; to be read only."""
        return self._producers.producers

    def has_ongoing_transaction(self, producer_id: int) -> bool:
        entry = self._producers.producers.get(producer_id)
        return entry is not None and entry.transaction_first_offset != NO_OFFSET

    def oldest_transaction_timestamp(self) -> int | None:
        """When the producer of the oldest open transaction wrote last; None if there is no transaction."""
        return self._producers.oldest_transaction_timestamp()

    def remove_expired_producers(self) -> None:
        self._producers.remove_expired(self._clock_ms())

    # Offsets

    def update_high_watermark(self, offset: int) -> int:
        """Set the high watermark, kept within the log; returns what it became."""
        offset = min(max(offset, self.log_start_offset), self.log_end_offset)
        self.high_watermark = offset
        self._producers.on_high_watermark(offset)
        return offset

    def maybe_increment_log_start_offset(self, offset: int) -> bool:
        """Forget the records before `offset`; whether that changed anything. Segments go with the next retention run.

        ApiError OFFSET_OUT_OF_RANGE above the high watermark.
        """
        self._check_open()
        if offset > self.high_watermark:
            message = f"log start offset {offset} would exceed the high watermark {self.high_watermark}"
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE, message)
        if offset <= self.log_start_offset:
            return False
        self._set_log_start_offset(offset)
        return True

    def _set_log_start_offset(self, offset: int) -> None:
        self._epochs.truncate_from_start(offset)
        self.log_start_offset = offset
        self.high_watermark = max(self.high_watermark, offset)
        self._durability.start_moved(offset)
        self._producers.on_log_start_offset(offset)

    def fetch_offset_by_timestamp(self, timestamp: int) -> OffsetAtTimestamp | None:
        """The first record at or after a timestamp, or what a special timestamp of ListOffsets asks for.

        LATEST (-1) is the log end; the caller bounds it by high watermark or last stable offset.
        None when there is no such record.
        """
        self._check_open()
        if timestamp in (EARLIEST_TIMESTAMP, EARLIEST_LOCAL_TIMESTAMP):
            earliest = self._epochs.earliest
            known = earliest is not None and earliest.start_offset <= self.log_start_offset
            epoch = earliest.epoch if known and earliest is not None else NO_EPOCH
            return OffsetAtTimestamp(NO_TIMESTAMP, self.log_start_offset, epoch)
        if timestamp == LATEST_TIMESTAMP:
            latest = self._epochs.latest_epoch
            return OffsetAtTimestamp(
                NO_TIMESTAMP, self.log_end_offset, NO_EPOCH if latest is None else latest
            )
        if timestamp == LATEST_TIERED_TIMESTAMP:
            return OffsetAtTimestamp(NO_TIMESTAMP, -1, NO_EPOCH)
        limit = self._context.decompressed_bytes_max
        try:
            if timestamp == MAX_TIMESTAMP:
                return find_max_timestamp(self._segments, self.log_start_offset, limit)
            return find_offset_by_timestamp(self._segments, timestamp, self.log_start_offset, limit)
        except OSError as error:
            raise self._storage_error("cannot search by timestamp", error) from error
        except LogCorruptError as error:
            raise self._corrupt(f"timestamp {timestamp}", error) from error

    # Leader epochs

    @property
    def latest_epoch(self) -> int | None:
        """The leader epoch of the last record, or of a leader that announced itself since."""
        return self._epochs.latest_epoch

    def epoch_for_offset(self, offset: int) -> int | None:
        return self._epochs.epoch_for_offset(offset)

    def end_offset_for_epoch(self, epoch: int) -> EpochEndOffset:
        """The largest known epoch up to `epoch` and where it ended; (-1, -1) when unknown."""
        return self._epochs.end_offset_for(epoch, self.log_end_offset)

    def assign_epoch_start_offset(self, epoch: int, start_offset: int) -> None:
        """A new leader announces where its epoch begins, before it has appended anything."""
        try:
            self._epochs.assign(epoch, start_offset)
        except OSError as error:
            raise self._storage_error("cannot note a leader epoch", error) from error

    # Truncating and deleting

    def truncate_to(self, offset: int) -> bool:
        """Remove the batches that contain `offset` or lie behind it; whether there were any.

        Meant for followers: `offset` is at or above what was ever acknowledged.
        """
        self._check_open()
        try:
            if offset >= self.log_end_offset:
                # A leader that never got a record may have left an epoch at the end.
                self._epochs.truncate_from_end(self.log_end_offset)
                return False
            if offset < self._segments.first_base_offset:
                self._truncate_fully(offset, offset)
            else:
                self._truncate(offset)
        except OSError as error:
            raise self._storage_error(f"cannot truncate to offset {offset}", error) from error
        except LogCorruptError as error:
            raise self._damaged(error) from error
        return True

    def truncate_fully_and_start_at(self, offset: int, log_start_offset: int | None = None) -> None:
        """Remove everything; the next append gets `offset`."""
        self._check_open()
        try:
            self._truncate_fully(offset, offset if log_start_offset is None else log_start_offset)
        except OSError as error:
            raise self._storage_error(f"cannot restart at offset {offset}", error) from error
        except LogCorruptError as error:
            raise self._damaged(error) from error

    def _truncate(self, offset: int) -> None:
        self._remove_segments([segment for segment in self._segments if segment.base_offset > offset])
        active = self._segments.active
        active.truncate_to(offset, self._clock_ms())
        self._epochs.truncate_from_end(offset)
        self.log_start_offset = min(self.log_start_offset, offset)
        self._set_log_end_offset(offset)
        self._rebuild_producers()
        if active.next_offset() < offset:
            # The end lies in a gap or within a batch that went. Without a segment that begins there, the next
            # start would find an earlier end.
            active.become_inactive()
            self._segments.add(offset, self.config)
            self._durability.segment_added()

    def _truncate_fully(self, offset: int, log_start_offset: int) -> None:
        # In an order that leaves a sound log, and a segment, wherever it is cut off. (Only for an offset before the
        # first segment there is a moment without one, which the next start fills.)
        segments = self._segments
        self._remove_segments([segment for segment in segments if segment.base_offset > offset])
        if len(segments) and segments.active.base_offset <= offset:
            segments.active.truncate_to(offset, self._clock_ms())
        if not len(segments) or segments.active.base_offset != offset:
            segments.add(offset, self.config)
            self._durability.segment_added()
        self._remove_segments([segment for segment in segments if segment is not segments.active])
        self._epochs.clear()
        self._producers.truncate_fully_and_start_at(offset)
        self.log_start_offset = log_start_offset
        self._set_log_end_offset(offset)
        self.update_high_watermark(offset)

    def _set_log_end_offset(self, offset: int) -> None:
        self.log_end_offset = offset
        self.high_watermark = min(self.high_watermark, offset)
        if self._durability.truncated(offset) and self.on_recovery_point_lowered is not None:
            self.on_recovery_point_lowered(self)

    def _rebuild_producers(self) -> None:
        try:
            rebuild_producer_state(
                self._producers,
                list(self._segments),
                start_offset=self._segments.first_base_offset,
                end_offset=self.log_end_offset,
                now_ms=self._clock_ms(),
            )
        except LogCorruptError as error:
            logger.error("Producer state of %s is incomplete: %s", self.topic_partition, error)
            self._producers.end_offset = self.log_end_offset

    def delete_old_segments(self) -> int:
        """Apply retention.ms and retention.bytes (if the policy has "delete") and the log start offset.

        Only whole segments below the high watermark go. Returns how many.
        """
        self._check_open()
        deleted = 0
        try:
            deleted = self._delete_while(before_log_start(self._segments, self.log_start_offset))
            if self.config.delete:
                deleted += self._delete_while(beyond_retention_bytes(self._segments, self.config))
                deleted += self._delete_while(beyond_retention_ms(self.config, self._clock_ms()))
        except OSError as error:
            raise self._storage_error("cannot delete old segments", error) from error
        except LogCorruptError as error:
            logger.error("Retention of %s stops at a damaged segment: %s", self.topic_partition, error)
        return deleted

    def _delete_while(self, rule: Rule | None) -> int:
        if rule is None:
            return 0
        deletable = deletable_segments(
            self._segments, rule, high_watermark=self.high_watermark, end_offset=self.log_end_offset
        )
        if not deletable:
            return 0
        if len(deletable) == len(self._segments):
            self._roll(self.log_end_offset)
        remaining_base = self._segments[len(deletable)].base_offset
        # The new start is in memory first, so that nobody looks for what is about to go.
        if remaining_base > self.log_start_offset:
            self._set_log_start_offset(remaining_base)
        logger.info("%s drops its segments before offset %d", self.topic_partition, remaining_base)
        self._remove_segments(deletable)
        return len(deletable)

    def _remove_segments(self, segments: list[Segment]) -> None:
        self._segments.remove(segments, self.config.file_delete_delay_ms)
        for segment in segments:
            self._producers.delete_snapshot(segment.base_offset)

    # Durability

    @property
    def recovery_point(self) -> int:
        """Everything before this offset survives a power loss."""
        return self._durability.recovery_point

    @property
    def last_flush_ms(self) -> int:
        return self._durability.last_flush_ms

    @property
    def has_unflushed_segments(self) -> bool:
        """Whether a segment was rolled that the recovery point has not passed."""
        return self.recovery_point < self._segments.active.base_offset

    def flush(self, up_to_offset: int | None = None) -> None:
        """Sync everything before `up_to_offset` (the log end) and move the recovery point there."""
        pending = self.begin_flush(up_to_offset)
        if pending is not None:
            self._finish_flush(pending)

    def _finish_flush(self, pending: PendingFlush) -> None:
        try:
            pending.sync()
        except StorageError:
            pending.abandon()
            raise
        pending.finish()

    def begin_flush(
        self, up_to_offset: int | None = None, *, with_active_indexes: bool = False
    ) -> PendingFlush | None:
        """The first step of a flush that syncs in another thread; None when there is nothing to sync.

        The active segment's indexes are left out unless asked for: recovery rebuilds them anyway.
        """
        self._check_open()
        offset = self.log_end_offset if up_to_offset is None else min(up_to_offset, self.log_end_offset)
        try:
            return self._durability.begin(
                self.directory, offset, lambda: self.log_end_offset, with_active_indexes=with_active_indexes
            )
        except OSError as error:
            raise self._storage_error("cannot flush", error) from error

    # Size and life

    @property
    def size_bytes(self) -> int:
        return self._segments.size_bytes

    @property
    def segments(self) -> list[Segment]:
        """Ascending; the last one takes appends."""
        return list(self._segments)

    @property
    def first_segment_base_offset(self) -> int:
        return self._segments.first_base_offset

    @property
    def active_segment_base_offset(self) -> int:
        return self._segments.active.base_offset

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Flush, leave a producer snapshot for the next start, close all files."""
        if self._closed:
            return
        try:
            self._producers.take_snapshot()
            dirty = self._segments.active.close_indexes()
            pending = self.begin_flush(with_active_indexes=dirty)
            if pending is not None:
                self._finish_flush(pending)
        except OSError as error:
            raise self._storage_error("cannot close", error) from error
        except LogCorruptError as error:
            # Found by reading a trusted index; the next start, without a clean mark, will sort it out.
            raise StorageError(self.log_directory, f"{self.topic_partition}: {error}") from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close all files and write nothing: the disk failed, or the log is going to be deleted."""
        self._closed = True
        self._segments.close()

    def rename_directory(self, name: str) -> None:
        """Give the partition's directory another name in the same log directory."""
        target = f"{self.log_directory}/{name}"
        try:
            self._context.filesystem.rename(self.directory, target)
        except OSError as error:
            raise self._storage_error(f"cannot rename to {name}", error) from error
        self.directory = target
        self._segments.moved(target)
        self._producers.moved(target)
        self._epochs.moved(f"{target}/{LEADER_EPOCH_CHECKPOINT}")

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(self.log_directory, f"the log of {self.topic_partition} is closed")

    def _storage_error(self, message: str, error: OSError) -> StorageError:
        return StorageError(self.log_directory, f"{self.topic_partition}: {message}", error)


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
