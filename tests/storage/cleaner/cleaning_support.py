"""Driving a cleaning to its end in a test, and what compaction must leave of a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from storage.cleaner.cleanable import cleanable_offsets, log_to_clean
from storage.cleaner.cleaning import Cleaning, Place
from storage.cleaner.offset_map import OffsetMap
from storage.log import Log
from storage.log_config import LogConfig
from wire.records import (
    BatchHeader,
    ControlType,
    Record,
    iterate_batches,
    read_end_transaction_marker,
    read_records,
)

COMPACTED = LogConfig(
    segment_bytes=1000,
    index_interval_bytes=100,
    file_delete_delay_ms=0,
    delete_retention_ms=1000,
    min_cleanable_dirty_ratio=0.0,
    cleanup_policy=frozenset({"compact"}),
)


def config(**changes: object) -> LogConfig:
    return replace(COMPACTED, **changes)  # type: ignore[arg-type]


class Cleaner:
    """Cleans one log as the broker's cleaner would, without a checkpoint file. `checkpoint` is None at first."""

    def __init__(
        self, *, memory_bytes: int = 1 << 16, load_factor: float = 0.9, buffer_bytes: int = 4096
    ) -> None:
        self.checkpoint: int | None = None
        self.memory_bytes = memory_bytes
        self.load_factor = load_factor
        self.buffer_bytes = buffer_bytes

    def begin(self, log: Log) -> Cleaning:
        log.update_high_watermark(log.log_end_offset)
        now_ms = log._context.clock_ms()
        chosen = log_to_clean(log, cleanable_offsets(log, self.checkpoint, now_ms), now_ms)
        return log.begin_cleaning(
            first_dirty_offset=chosen.first_dirty_offset,
            first_uncleanable_offset=chosen.first_uncleanable_offset,
            offset_map=OffsetMap(self.memory_bytes, self.load_factor),
            buffer_bytes=self.buffer_bytes,
        )

    def finish(self, cleaning: Cleaning) -> None:
        self.checkpoint = cleaning.end_offset

    def clean(self, log: Log, between: Callable[[Place], None] = lambda place: None) -> Cleaning:
        """One pass; `between` is called before each step."""
        cleaning = self.begin(log)
        for place in cleaning.steps():
            between(place)
        self.finish(cleaning)
        return cleaning


def clean(log: Log, **settings: int) -> Cleaning:
    """Roll, and clean everything."""
    log.roll()
    return Cleaner(**settings).clean(log)


def batches_of(log: Log) -> list[tuple[BatchHeader, bytes]]:
    """All batches of all segments, whatever the log start offset."""
    found = []
    for segment in log.segments:
        for position, header in segment.walk():
            found.append((header, segment.read_batch(position, header)))
    return found


def records_of(log: Log) -> list[Record]:
    """All data records in the files."""
    found: list[Record] = []
    for header, data in batches_of(log):
        if header.record_count and not header.is_control:
            found += read_records(data, decompressed_bytes_max=1 << 24)
    return found


def offsets_of(log: Log) -> list[int]:
    return [record.offset for record in records_of(log)]


def read_committed(log: Log) -> list[Record]:
    """What a read_committed consumer gets, from the log start to the last stable offset (KIP-98's client side)."""
    offset, end = log.log_start_offset, log.last_stable_offset
    found: list[Record] = []
    while offset < end:
        result = log.read(offset, 1 << 20, max_offset=end, with_aborted_transactions=True)
        if result.records is None:
            break
        with result.records as records:
            data = records.read()
        coming = sorted(result.aborted_transactions or [], key=lambda each: each.first_offset)
        aborted: set[int] = set()
        for position, header in iterate_batches(data):
            offset = header.next_offset
            if header.record_count < 1:
                continue
            while coming and coming[0].first_offset <= header.last_offset:
                aborted.add(coming.pop(0).producer_id)
            if header.is_control:
                aborted.discard(header.producer_id)
            elif not (header.is_transactional and header.producer_id in aborted):
                found += read_records(data, position, decompressed_bytes_max=1 << 24)
    return found


def latest_values(records: list[Record]) -> dict[bytes, tuple[int, bytes]]:
    """Offset and value of the last record of each key that does not delete it."""
    latest: dict[bytes, tuple[int, bytes]] = {}
    for record in records:
        assert record.key is not None
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = (record.offset, record.value)
    return latest


def aborted_by_scan(log: Log) -> set[tuple[int, int]]:
    """(producer id, offset) of the abort markers of which a data batch, perhaps an empty one, is in the log."""
    found, begun = set(), set()
    for header, data in batches_of(log):
        if header.is_control and header.record_count:
            marker = read_end_transaction_marker(read_records(data, decompressed_bytes_max=1000)[0])
            if header.producer_id in begun and marker.control_type is ControlType.ABORT:
                found.add((header.producer_id, header.base_offset))
            begun.discard(header.producer_id)
        elif header.is_transactional and not header.is_control:
            begun.add(header.producer_id)
    return found


def aborted_by_index(log: Log) -> set[tuple[int, int]]:
    return {(entry.producer_id, entry.last_offset) for entry in log.aborted_transactions(0, 1 << 62)}


def check_files(log: Log) -> None:
    """Offsets ascend, CRCs match, indexes say what the batches say, and no file of a cleaning is left."""
    next_offset = log.segments[0].base_offset
    for segment in log.segments:
        assert segment.base_offset >= next_offset
        largest = -1
        for position, header in segment.walk():
            assert header.base_offset >= next_offset
            next_offset = header.next_offset
            largest = max(largest, header.max_timestamp)
            assert segment.position_of(header.last_offset) == position
            read_records(segment.read_batch(position, header), decompressed_bytes_max=1 << 24)
        assert segment.largest.timestamp == largest
        for entry in segment.transaction_index.entries:
            assert segment.base_offset <= entry.last_offset < next_offset
