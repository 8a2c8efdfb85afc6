"""Segments of a few batches, which no broker's configuration allows: logs that roll many times within a short life.

What a power failure takes out of the middle of a log shows only between two segments, and only if both were not synced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storage.log_config import LogConfig
from storage.segment import BatchSpan, Segment


@contextmanager
def segments_of(segment_bytes: int) -> Iterator[None]:
    """For the time of one run every log, internal topics' included, rolls once a segment has so many bytes.

    As large an append as ever still fits: that is not limited to the size of a segment here.
    """
    original = Segment.should_roll

    def should_roll(segment: Segment, config: LogConfig, span: BatchSpan, now_ms: int) -> bool:
        return segment.size_bytes >= segment_bytes or original(segment, config, span, now_ms)

    setattr(Segment, "should_roll", should_roll)  # noqa: B010
    try:
        yield
    finally:
        setattr(Segment, "should_roll", original)  # noqa: B010
