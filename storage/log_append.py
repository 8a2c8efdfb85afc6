"""Appending to a log: validate, give offsets, check producers, write (Kafka: UnifiedLog.append)."""

from __future__ import annotations

import logging
from functools import partial
from typing import NamedTuple

from storage.errors import LogCorruptError, UnexpectedOffsetError
from storage.index_file import INT32_MAX
from storage.log_state import LogState
from storage.log_validator import AssignedBatch, ValidatedRecords, parse_batches, validate_and_assign
from storage.producer_append import AppendOrigin
from storage.producer_checks import ProducerChecks
from storage.producer_entry import BatchMetadata, ProducerEntry
from storage.producer_recall import recall_batches
from storage.segment import BatchSpan
from storage.transaction_index import AbortedTransaction
from storage.transaction_verification import VerificationGuard
from wire.errors import ApiError, ErrorCode
from wire.records import NO_TIMESTAMP, InvalidBatchError, crc_matches, iterate_batches

logger = logging.getLogger(__name__)


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


def append_as_leader(
    log: LogState,
    records: bytearray | memoryview,
    leader_epoch: int,
    origin: AppendOrigin,
    transaction_version: int,
    verification_guard: VerificationGuard | None,
) -> AppendInfo:
    """See `Log.append_as_leader`."""
    batches = parse_batches(records, origin)
    validated = validate_and_assign(
        records,
        batches,
        config=log.config,
        origin=origin,
        next_offset=log.log_end_offset,
        leader_epoch=leader_epoch,
        now_ms=log.context.clock_ms(),
        decompressed_bytes_max=log.context.decompressed_bytes_max,
    )
    epochs = [(leader_epoch, log.log_end_offset)] if leader_epoch >= 0 else []
    return _append(log, validated, epochs, origin, transaction_version, verification_guard)


def is_retry(log: LogState, records: bytearray | memoryview) -> bool:
    """See `Log.is_retry`."""
    try:
        header = next((header for _, header in iterate_batches(records)), None)
    except InvalidBatchError:
        return False
    if header is None or header.producer_id < 0:
        return False
    checks = ProducerChecks(log.producers, AppendOrigin.CLIENT, partial(_recall, log))
    return checks.find_duplicate(header) is not None


def append_as_follower(
    log: LogState, records: bytearray | memoryview, leader_epoch: int | None
) -> AppendInfo | None:
    """See `Log.append_as_follower`."""
    assigned: list[AssignedBatch] = []
    epochs: list[tuple[int, int]] = []
    next_offset = log.log_end_offset
    for position, header in parse_batches(records, AppendOrigin.REPLICATION):
        epoch = header.partition_leader_epoch
        if leader_epoch is not None and epoch > leader_epoch:
            break
        if not crc_matches(records, position, header):
            raise ApiError(ErrorCode.CORRUPT_MESSAGE, f"CRC does not match at offset {header.base_offset}")
        if header.base_offset < next_offset or header.last_offset_delta < 0:
            message = f"{log.topic_partition}: offset {header.base_offset} where {next_offset} comes next"
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
    validated = ValidatedRecords(view, assigned, NO_TIMESTAMP)
    return _append(log, validated, epochs, AppendOrigin.REPLICATION)


def _append(
    log: LogState,
    validated: ValidatedRecords,
    epochs: list[tuple[int, int]],
    origin: AppendOrigin,
    transaction_version: int = 0,
    verification_guard: VerificationGuard | None = None,
) -> AppendInfo:
    records, batches, log_append_time_ms = validated
    if len(records) > log.config.segment_bytes:
        message = f"{len(records)} bytes exceed segment.bytes, {log.config.segment_bytes}"
        raise ApiError(ErrorCode.RECORD_LIST_TOO_LARGE, message)
    producers: ProducerChecks | None = None
    for position, header, span in batches:
        if header.producer_id >= 0:
            if producers is None:
                producers = ProducerChecks(
                    log.producers,
                    origin,
                    partial(_recall, log),
                    transaction_version,
                    verification_guard,
                    log.context.requires_verification,
                )
            duplicate = producers.find_duplicate(header)
            if duplicate is not None:
                return _duplicate_info(log, duplicate)
            producers.check(header, span, records, position)
    spans = [batch.span for batch in batches]
    whole = spans[0]
    if len(spans) > 1:
        max_timestamp = max(span.max_timestamp for span in spans)
        whole = BatchSpan(whole.base_offset, spans[-1].last_offset, max_timestamp, len(records))
    try:
        for epoch, start_offset in epochs:
            log.epochs.assign(epoch, start_offset)
        _write(log, records, spans, whole, producers.aborted_transactions() if producers is not None else [])
    except OSError as error:
        raise log.storage_error("cannot append", error) from error
    except LogCorruptError as error:
        raise log.damaged(error) from error
    log.log_end_offset = whole.last_offset + 1
    if producers is not None:
        producers.apply(log.log_end_offset)
    else:
        log.producers.end_offset = log.log_end_offset
    if log.log_end_offset - log.durability.recovery_point >= log.config.flush_messages:
        log.flush_due()
    return AppendInfo(
        whole.base_offset,
        whole.last_offset,
        whole.max_timestamp,
        log_append_time_ms,
        log.log_start_offset,
        sum([batch.header.record_count for batch in batches]),
        whole.size_bytes,
    )


def _recall(log: LogState, entry: ProducerEntry) -> list[BatchMetadata]:
    try:
        return recall_batches(log.segments, entry, log.log_start_offset)
    except OSError as error:
        raise log.storage_error("cannot read", error) from error
    except LogCorruptError as error:
        logger.error(
            "%s: what producer %d sent before cannot be told: %s",
            log.topic_partition,
            entry.producer_id,
            error,
        )
        return []


def _duplicate_info(log: LogState, batch: BatchMetadata) -> AppendInfo:
    return AppendInfo(
        batch.first_offset,
        batch.last_offset,
        batch.timestamp,
        batch.timestamp,
        log.log_start_offset,
        batch.offset_delta + 1,
        0,
        is_duplicate=True,
    )


def _write(
    log: LogState,
    records: bytearray | memoryview,
    spans: list[BatchSpan],
    whole: BatchSpan,
    aborted: list[AbortedTransaction],
) -> None:
    """Put the bytes into the segment and aborted transactions into its index; all or nothing."""
    segment = log.segments.active
    if segment.should_roll(log.config, whole, log.context.clock_ms()):
        # At the log end, though a follower's batch may begin behind it: should the write fail, a batch that begins
        # earlier may come next. Only a gap that an index cannot bridge makes a segment begin at the batch.
        fits = whole.last_offset - log.log_end_offset <= INT32_MAX
        segment = log.roll(log.log_end_offset if fits else whole.base_offset)
    position, largest = segment.size_bytes, segment.largest
    segment.append(records, spans)
    try:
        for transaction in aborted:
            if not segment.transaction_index.present:
                log.durability.file_added()
            segment.append_aborted(transaction)
    except OSError:
        segment.undo_append(position, whole.base_offset, largest)
        raise
