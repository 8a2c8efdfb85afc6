"""Which neighbouring segments are cleaned into one (Kafka: Cleaner.groupSegmentsBySize)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from storage.index_file import INT32_MAX
from storage.log_config import LogConfig
from storage.segment import Segment


class SourceSegment(NamedTuple):
    """A segment to be cleaned, with what other threads may know of it."""

    segment: Segment
    base_offset: int
    path: str
    size_bytes: int


def source_of(segment: Segment) -> SourceSegment:
    return SourceSegment(segment, segment.base_offset, segment.handle.path, segment.size_bytes)


def group_segments(
    segments: Sequence[Segment], config: LogConfig, *, end_offset: int
) -> list[list[SourceSegment]]:
    """Ascending groups, each of which fits into one segment by size, index sizes and 31 bits of relative offset.

    `end_offset` is an offset that none of the segments reaches.
    """
    groups: list[list[SourceSegment]] = []
    group: list[SourceSegment] = []
    size = index_size = time_index_size = 0
    for number, segment in enumerate(segments):
        next_base = segments[number + 1].base_offset if number + 1 < len(segments) else end_offset
        size += segment.size_bytes
        index_size += segment.offset_index.size_bytes
        time_index_size += segment.time_index.size_bytes
        if group and (
            size > config.segment_bytes
            or index_size > config.segment_index_bytes
            or time_index_size > config.segment_index_bytes
            or (segment.size_bytes and next_base - 1 - group[0].base_offset > INT32_MAX)
        ):
            groups.append(group)
            group = []
            size = segment.size_bytes
            index_size = segment.offset_index.size_bytes
            time_index_size = segment.time_index.size_bytes
        group.append(source_of(segment))
    if group:
        groups.append(group)
    return groups
