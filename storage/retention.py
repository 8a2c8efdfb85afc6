"""Which segments a log may drop: retention.ms, retention.bytes, the log start offset (Kafka: UnifiedLog).

Only whole segments from the beginning, and only below the high watermark, so that the log start never
passes it. Compaction is another matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from storage.errors import LogCorruptError
from storage.log_config import LogConfig
from storage.log_state import LogState
from storage.segment import Segment
from storage.segment_list import SegmentList

logger = logging.getLogger(__name__)

Rule = Callable[[Segment, int], bool]
"""(segment, offset behind it) -> whether it may go."""


def delete_old_segments(log: LogState) -> int:
    """Drop what lies before the log start and, if the policy has "delete", what is too old or too much.

    Returns how many segments went; OSError from the disk.
    """
    deleted = 0
    if log.cleaning is not None:
        return 0  # as in Kafka, where a log is either cleaned or has old segments deleted; the cleaner comes back to it
    try:
        deleted = _delete_while(log, before_log_start(log.segments, log.log_start_offset))
        if log.config.delete:
            deleted += _delete_while(log, beyond_retention_bytes(log.segments, log.config))
            deleted += _delete_while(log, beyond_retention_ms(log.config, log.context.clock_ms()))
    except LogCorruptError as error:
        logger.error("Retention of %s stops at a damaged segment: %s", log.topic_partition, error)
    return deleted


def _delete_while(log: LogState, rule: Rule | None) -> int:
    if rule is None:
        return 0
    segments = log.segments
    deletable = deletable_segments(
        segments, rule, high_watermark=log.high_watermark, end_offset=log.log_end_offset
    )
    if not deletable:
        return 0
    if len(deletable) == len(segments):
        log.roll(log.log_end_offset)
    if log.durability.has_unsynced_names:
        # The name of the first segment that stays may be all that will tell where the log ended.
        log.context.filesystem.sync_directory(log.directory)
    remaining_base = segments[len(deletable)].base_offset
    # The new start is in memory first, so that nobody looks for what is about to go.
    if remaining_base > log.log_start_offset:
        log.set_log_start_offset(remaining_base)
    logger.info("%s drops its segments before offset %d", log.topic_partition, remaining_base)
    log.remove_segments(deletable)
    return len(deletable)


def deletable_segments(
    segments: SegmentList, rule: Rule, *, high_watermark: int, end_offset: int
) -> list[Segment]:
    """The first segments for which the rule holds; never an empty last one."""
    found = []
    for segment in segments:
        segment_end = segments.end_of(segment, end_offset)
        if high_watermark < segment_end or (segment is segments.active and not segment.size_bytes):
            break
        if not rule(segment, segment_end):
            break
        found.append(segment)
    return found


def before_log_start(segments: SegmentList, log_start_offset: int) -> Rule:
    """All records of the segment lie before the log start. The active segment stays."""
    return lambda segment, segment_end: segment is not segments.active and segment_end <= log_start_offset


def beyond_retention_bytes(segments: SegmentList, config: LogConfig) -> Rule | None:
    """The log is larger than retention.bytes even without the segment; None if there is no limit."""
    excess = segments.size_bytes - config.retention_bytes
    if config.retention_bytes < 0 or excess < 0:
        return None

    def rule(segment: Segment, segment_end: int) -> bool:
        nonlocal excess
        if excess < segment.size_bytes:
            return False
        excess -= segment.size_bytes
        return True

    return rule


def beyond_retention_ms(config: LogConfig, now_ms: int) -> Rule | None:
    """The segment's latest record is older than retention.ms; None if there is no limit."""
    if config.retention_ms < 0:
        return None
    return lambda segment, segment_end: now_ms - segment.retention_timestamp() > config.retention_ms
