"""What of a log may be cleaned, and whether that is worth it (Kafka: LogCleanerManager.cleanableOffsets, LogToClean).

    log start          first dirty offset              first uncleanable offset        log end
        |--- cleaned before ---|------- to be cleaned now -------|--- not yet ---|

Not yet: the active segment, everything from the first unstable offset on, and from the first segment on whose newest
record is younger than min.compaction.lag.ms. The border is always that of a segment.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

from storage.log import Log
from storage.segment import Segment

logger = logging.getLogger(__name__)


class CleanableOffsets(NamedTuple):
    """[first_dirty_offset, first_uncleanable_offset) may be cleaned."""

    first_dirty_offset: int
    first_uncleanable_offset: int
    checkpoint_is_wrong: bool
    """The checkpoint lay outside of the log and is to be set to `first_dirty_offset`."""


@dataclass(frozen=True, slots=True)
class LogToClean:
    """A log with its dirty part; `cleanable_ratio` is dirty bytes / (clean + dirty bytes)."""

    log: Log
    first_dirty_offset: int
    first_uncleanable_offset: int
    clean_bytes: int
    cleanable_bytes: int
    is_overdue: bool
    """A dirty record is older than max.compaction.lag.ms."""

    @property
    def cleanable_ratio(self) -> float:
        total = self.clean_bytes + self.cleanable_bytes
        return self.cleanable_bytes / total if total else 0.0

    @property
    def should_be_cleaned(self) -> bool:
        if self.is_overdue and self.cleanable_bytes:
            return True
        return self.cleanable_ratio > self.log.config.min_cleanable_dirty_ratio


def cleanable_offsets(log: Log, checkpoint: int | None, now_ms: int) -> CleanableOffsets:
    """`checkpoint` is the offset behind what was cleaned before; None: nothing was. LogCorruptError, OSError."""
    start = log.log_start_offset
    first_dirty = start if checkpoint is None else checkpoint
    checkpoint_is_wrong = not start <= first_dirty <= log.log_end_offset
    if checkpoint_is_wrong:
        # Below the start: records were deleted. Behind the end: the log lost some, so all of it counts as dirty.
        level = logging.DEBUG if first_dirty < start and log.config.delete else logging.WARNING
        message = "%s was cleaned up to offset %d, which it does not have: beginning at %d"
        logger.log(level, message, log.topic_partition, first_dirty, start)
        first_dirty = start
    first_uncleanable = min(log.last_stable_offset, log.active_segment_base_offset)
    lag_ms = log.config.min_compaction_lag_ms
    if lag_ms > 0:
        for segment in _segments_between(log, first_dirty, first_uncleanable):
            if segment.retention_timestamp() > now_ms - lag_ms:
                first_uncleanable = min(first_uncleanable, segment.base_offset)
                break
    return CleanableOffsets(first_dirty, max(first_dirty, first_uncleanable), checkpoint_is_wrong)


def log_to_clean(log: Log, offsets: CleanableOffsets, now_ms: int) -> LogToClean:
    """Measure a log. LogCorruptError, OSError."""
    first_dirty, uncleanable, _ = offsets
    segments = log.segments
    inside = [segment.base_offset for segment in segments if segment.base_offset <= uncleanable]
    # The segment that holds the border is left alone as a whole.
    first_uncleanable = inside[-1] if inside else log.active_segment_base_offset
    clean = [segment for segment in segments if segment.base_offset < first_dirty]
    dirty = _segments_between(log, min(first_dirty, first_uncleanable), first_uncleanable)
    return LogToClean(
        log,
        first_dirty,
        first_uncleanable,
        sum([segment.size_bytes for segment in clean]),
        sum([segment.size_bytes for segment in dirty]),
        _is_overdue(log, first_dirty, now_ms),
    )


def _is_overdue(log: Log, first_dirty: int, now_ms: int) -> bool:
    limit_ms = now_ms - log.config.max_compaction_lag_ms
    if limit_ms <= 0:
        return False
    dirty = _segments_between(log, first_dirty, log.active_segment_base_offset)
    return any(0 < segment.first_timestamp() < limit_ms for segment in dirty)


def _segments_between(log: Log, from_offset: int, to_offset: int) -> list[Segment]:
    """As `Log.segments_between`, but none for an empty range."""
    if from_offset >= to_offset:
        return []
    return log.segments_between(from_offset, to_offset)
