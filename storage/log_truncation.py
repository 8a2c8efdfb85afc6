"""Taking records off the end of a log, or all of them (Kafka: UnifiedLog.truncateTo, truncateFullyAndStartAt)."""

from __future__ import annotations

import logging

from storage import log_append
from storage.covering_batch import build_covering_batch
from storage.errors import LogCorruptError
from storage.index_file import INT32_MAX
from storage.log_state import LogState
from storage.producer_rebuild import rebuild_producer_state
from storage.segment import BatchSpan, Segment

logger = logging.getLogger(__name__)


def truncate_to(log: LogState, offset: int) -> bool:
    """Remove the batches that contain `offset` or lie behind it; whether there were any.

    OSError and LogCorruptError when it was interrupted halfway.
    """
    if offset >= log.log_end_offset:
        # A leader that never got a record may have left an epoch at the end.
        log.epochs.truncate_from_end(log.log_end_offset)
        return False
    if offset < log.segments.first_base_offset:
        truncate_fully_and_start_at(log, offset, offset)
    else:
        _truncate(log, offset)
    return True


def _truncate(log: LogState, offset: int) -> None:
    log.begin_cut(offset)
    kept = len(log.segments) - len(log.segments.from_offset(offset))
    log.segments.check_transaction_index(kept)
    base_offset = log.segments[kept].base_offset
    # Should the end come to lie in a gap, the segment before it must be recovered: its indexes are not synced below.
    log.lower_recovery_point(offset, checkpoint_offset=max(base_offset, offset - 1))
    log.remove_segments([segment for segment in log.segments if segment.base_offset > offset], durably=True)
    target = log.segments.active
    leaves_gap = _end_before(target, offset) < offset
    if leaves_gap:
        # The end lies in a gap or within a batch that goes. Without a segment that begins there, the next start would
        # find an earlier end. It comes first: a start in between finishes the work.
        log.segments.add(offset, log.config)
        log.durability.segment_added()
    target.truncate_to(offset, log.context.clock_ms())
    log.epochs.truncate_from_end(offset)
    if leaves_gap:
        _cover(log, target, offset - 1)
        target.become_inactive()
    log.log_start_offset = min(log.log_start_offset, offset)
    log.set_log_end_offset(offset)
    _rebuild_producers(log)


def _end_before(segment: Segment, offset: int) -> int:
    """Where a segment ends once the batches that contain `offset` or lie behind it are gone."""
    end = segment.base_offset
    for _, header in segment.batches_from_offset(offset - 1):
        if header.last_offset >= offset:
            break
        end = header.next_offset
    return end


def _cover(log: LogState, segment: Segment, offset: int) -> None:
    """Let a segment end with `offset`, of which the log has nothing: see `covering_batch`. It is synced."""
    if offset - segment.base_offset > INT32_MAX:
        return
    epoch = log.epochs.latest_epoch
    header, batch = build_covering_batch(offset, -1 if epoch is None else epoch)
    segment.append(batch, [BatchSpan(offset, offset, header.max_timestamp, header.size_bytes)])
    segment.handle.file().sync()


def truncate_fully_and_start_at(log: LogState, offset: int, log_start_offset: int) -> None:
    """Remove everything; the next append gets `offset`. Errors as `truncate_to`."""
    # In an order that leaves a sound log, and a segment, wherever it is cut off. (Only for an offset before the
    # first segment there is a moment without one, which the next start fills.)
    segments = log.segments
    log.begin_cut(offset, everything=True)
    # Should it be interrupted, the segment before the new one must be recovered: its indexes are cut, and not closed.
    log.lower_recovery_point(offset, checkpoint_offset=max(offset - 1, 0), drop_anchor=True)
    # First of all, and on the disk: a snapshot that came back would tell the new log of producers of the old one.
    log.producers.truncate_fully_and_start_at(offset)
    log.context.filesystem.sync_directory(log.directory)
    log.remove_segments([segment for segment in segments if segment.base_offset > offset], durably=True)
    if len(segments) and segments.active.base_offset <= offset:
        segments.active.truncate_to(offset, log.context.clock_ms())
    if not len(segments) or segments.active.base_offset != offset:
        segments.add(offset, log.config)
        log.durability.segment_added()
    log.remove_segments([segment for segment in segments if segment is not segments.active], durably=True)
    log.epochs.clear()
    log.log_start_offset = log_start_offset
    log.set_log_end_offset(offset)
    log.update_high_watermark(offset)


def skip_to(log: LogState, offset: int) -> None:
    """Let the log end at `offset`, behind a gap. What tells so on the disk is a batch without records."""
    assert offset >= log.log_end_offset, (offset, log.log_end_offset)
    if offset > log.log_end_offset:
        epoch = log.epochs.latest_epoch
        _, batch = build_covering_batch(offset - 1, -1 if epoch is None else epoch)
        log_append.append_as_follower(log, batch, None)


def _rebuild_producers(log: LogState) -> None:
    try:
        rebuild_producer_state(
            log.producers,
            list(log.segments),
            start_offset=log.segments.first_base_offset,
            end_offset=log.log_end_offset,
            now_ms=log.context.clock_ms(),
        )
    except LogCorruptError as error:
        logger.error("Producer state of %s is incomplete: %s", log.topic_partition, error)
        log.producers.end_offset = log.log_end_offset
