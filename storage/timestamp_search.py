"""From timestamps to offsets, for ListOffsets (Kafka: UnifiedLog.fetchOffsetByTimestamp)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from storage.log_config import INT64_MAX
from storage.segment import Segment
from storage.time_index import TimestampOffset
from wire.errors import ProtocolError
from wire.records import LOG_APPEND_TIME, NO_TIMESTAMP, BatchHeader, Record, read_records

LATEST_TIMESTAMP = -1
EARLIEST_TIMESTAMP = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL_TIMESTAMP = -4
LATEST_TIERED_TIMESTAMP = -5


class OffsetAtTimestamp(NamedTuple):
    """`timestamp` is -1 for the special timestamps; `leader_epoch` is -1 when unknown."""

    timestamp: int
    offset: int
    leader_epoch: int


def find_offset_by_timestamp(
    segments: Iterable[Segment], timestamp: int, start_offset: int, decompressed_bytes_max: int
) -> OffsetAtTimestamp | None:
    """The first record at or behind both bounds; None when there is none."""
    for segment in segments:
        if segment.retention_timestamp() >= timestamp:
            found = _find_in_segment(segment, timestamp, start_offset, decompressed_bytes_max)
            if found is not None:
                return found
            # Only records before the start are that late: Kafka gives up here, though later segments may have some.
    return None


def _find_in_segment(
    segment: Segment, timestamp: int, start_offset: int, decompressed_bytes_max: int
) -> OffsetAtTimestamp | None:
    for position, header in segment.batches_from_timestamp(timestamp, start_offset):
        if header.max_timestamp < timestamp or header.last_offset < start_offset or header.record_count < 1:
            continue
        for record in _records(segment, position, header, timestamp, start_offset, decompressed_bytes_max):
            if record.timestamp >= timestamp and record.offset >= start_offset:
                return OffsetAtTimestamp(record.timestamp, record.offset, header.partition_leader_epoch)
    return None


def find_max_timestamp(
    segments: Iterable[Segment], start_offset: int, decompressed_bytes_max: int
) -> OffsetAtTimestamp | None:
    """The first record at or behind `start_offset` with the largest timestamp (KIP-734); None without timestamps."""
    newest: tuple[TimestampOffset, Segment] | None = None
    for segment in segments:
        largest = _largest(segment, start_offset)
        if newest is None or largest.timestamp > newest[0].timestamp:
            newest = largest, segment
    if newest is None or newest[0].timestamp == NO_TIMESTAMP:
        return None
    found = _find_in_segment(newest[1], newest[0].timestamp, start_offset, decompressed_bytes_max)
    # In the batch that the log start cuts, the record with the largest timestamp may be a deleted one.
    return found or _find_max_by_reading(segments, start_offset, decompressed_bytes_max)


def _find_max_by_reading(
    segments: Iterable[Segment], start_offset: int, decompressed_bytes_max: int
) -> OffsetAtTimestamp | None:
    newest: OffsetAtTimestamp | None = None
    for segment in segments:
        for position, header in segment.batches_from_offset(start_offset):
            if header.last_offset < start_offset or header.record_count < 1:
                continue
            if newest is not None and header.max_timestamp <= newest.timestamp:
                continue
            for record in _records(
                segment, position, header, INT64_MAX, start_offset, decompressed_bytes_max
            ):
                if record.offset >= start_offset and (newest is None or record.timestamp > newest.timestamp):
                    newest = OffsetAtTimestamp(record.timestamp, record.offset, header.partition_leader_epoch)
    return newest


def _largest(segment: Segment, start_offset: int) -> TimestampOffset:
    """The segment's largest timestamp, without regard for what was deleted from its beginning."""
    largest = segment.largest
    if largest.offset >= start_offset or largest.timestamp == NO_TIMESTAMP:
        return largest
    remaining = TimestampOffset(NO_TIMESTAMP, segment.base_offset)
    for _, header in segment.batches_from_offset(start_offset):
        if header.last_offset >= start_offset and header.max_timestamp > remaining.timestamp:
            remaining = TimestampOffset(header.max_timestamp, header.last_offset)
    return remaining


def _records(
    segment: Segment,
    position: int,
    header: BatchHeader,
    timestamp: int,
    start_offset: int,
    decompressed_bytes_max: int,
) -> list[Record]:
    """The batch's records, or a stand-in for its first where the header alone decides.

    A batch whose records cannot be decoded answers with its beginning: a consumer that starts there misses
    nothing.
    """
    first_timestamp = header.base_timestamp
    if header.timestamp_type == LOG_APPEND_TIME:
        first_timestamp = header.max_timestamp
    first = Record(header.base_offset, first_timestamp)
    # Compaction may have taken the first record.
    is_whole = header.record_count == header.last_offset_delta + 1
    if (
        is_whole
        and first_timestamp >= timestamp
        and header.base_offset >= start_offset
        and not header.has_delete_horizon
    ):
        return [first]
    try:
        data = segment.read_batch(position, header)
        return read_records(data, decompressed_bytes_max=decompressed_bytes_max)
    except ProtocolError:
        return [Record(max(header.base_offset, start_offset), header.max_timestamp)]
