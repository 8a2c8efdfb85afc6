"""`.timeindex`: from timestamps to offsets (Kafka: TimeIndex).

Entries are (int64 timestamp in milliseconds, int32 offset relative to the base offset): no record before the
offset has a later timestamp. The timestamp is the largest seen so far in the segment, the offset is the last
one of the batch that brought it. The last entry of a rolled or closed segment is the segment's largest
timestamp, which retention relies on.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from storage.errors import CorruptIndexError
from storage.file_cache import FileCache
from storage.index_file import IndexFile

NO_TIMESTAMP = -1


class TimestampOffset(NamedTuple):
    timestamp: int
    offset: int


class TimeIndex(IndexFile):
    """Sparse time index. `last` is (-1, base offset) while there are no entries."""

    entry = Struct(">qi")

    __slots__ = ("_last",)

    def __init__(self, cache: FileCache, path: str, base_offset: int, size_bytes_max: int) -> None:
        super().__init__(cache, path, base_offset, size_bytes_max)
        self._last = TimestampOffset(NO_TIMESTAMP, base_offset)

    @property
    def last(self) -> TimestampOffset:
        if self._entry_count < 0:
            self._load()
        return self._last

    @property
    def is_full(self) -> bool:
        """One slot is kept for the entry that closes the segment."""
        return self.entry_count >= self.entries_max - 1

    def maybe_append(self, timestamp: int, offset: int, *, closing: bool = False) -> None:
        """Add an entry if the timestamp is larger than the last one; `closing` may use the last slot."""
        last = self.last
        if timestamp <= last.timestamp:
            return
        assert closing or not self.is_full, f"{self.path} is full"
        assert self._entry_count == 0 or offset >= last.offset, f"{self.path}: {offset} < {last}"
        self._write_entry(timestamp, offset - self.base_offset)
        self._last = TimestampOffset(timestamp, offset)

    def lookup(self, timestamp: int) -> TimestampOffset:
        """The last entry at or before `timestamp`, or (-1, base offset)."""
        last = self.last
        if timestamp >= last.timestamp:
            return last
        slot = self._last_slot_at_or_below(timestamp, 0)
        return self._entry_at(slot) if slot >= 0 else TimestampOffset(NO_TIMESTAMP, self.base_offset)

    def truncate_to(self, offset: int) -> None:
        """Drop the entries for `offset` and everything after it."""
        self.truncate_to_entries(self._last_slot_at_or_below(offset - self.base_offset - 1, 1) + 1)

    def check(self) -> None:
        """CorruptIndexError when first and last entry contradict each other."""
        if self.entry_count == 0:
            return
        first, last = self._entry_at(0), self.last
        if last.timestamp < first.timestamp:
            raise CorruptIndexError(f"{self.path} is not ascending: {first} to {last}")
        if not self.base_offset <= first.offset <= last.offset:
            raise CorruptIndexError(f"{self.path} is not ascending: {first} to {last}")

    def _entry_at(self, slot: int) -> TimestampOffset:
        timestamp, relative_offset = self._read_entry(slot)
        return TimestampOffset(timestamp, self.base_offset + relative_offset)

    def _entries_changed(self) -> None:
        count = self._entry_count
        self._last = self._entry_at(count - 1) if count else TimestampOffset(NO_TIMESTAMP, self.base_offset)
