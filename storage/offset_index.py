"""`.index`: from offsets to positions in the segment (Kafka: OffsetIndex).

Entries are (int32 offset relative to the base offset, int32 position), one for about every
index.interval.bytes of log. The offset is the last one of the batch that starts at the position.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from storage.errors import CorruptIndexError
from storage.file_cache import FileCache
from storage.index_file import IndexFile


class OffsetPosition(NamedTuple):
    offset: int
    position: int


class OffsetIndex(IndexFile):
    """Sparse offset index. `last_offset` is the base offset while there are no entries."""

    entry = Struct(">ii")

    __slots__ = ("_last",)

    def __init__(self, cache: FileCache, path: str, base_offset: int, size_bytes_max: int) -> None:
        super().__init__(cache, path, base_offset, size_bytes_max)
        self._last = OffsetPosition(base_offset, 0)

    @property
    def last(self) -> OffsetPosition:
        """The last entry, or (base offset, 0)."""
        if self._entry_count < 0:
            self._load()
        return self._last

    def append(self, offset: int, position: int) -> None:
        """Add an entry. Both columns must ascend and the index must not be full: a broken invariant else."""
        assert not self.is_full, f"{self.path} is full"
        assert self._entry_count == 0 or offset > self._last.offset, f"{self.path}: {offset} <= {self._last}"
        assert self.can_hold(offset), f"{self.path}: offset {offset} is too far from the base"
        self._write_entry(offset - self.base_offset, position)
        self._last = OffsetPosition(offset, position)

    def lookup(self, offset: int) -> OffsetPosition:
        """The last entry at or before `offset`, or (base offset, 0)."""
        last = self.last
        if offset >= last.offset:
            return last
        slot = self._last_slot_at_or_below(offset - self.base_offset, 0)
        return self._entry_at(slot) if slot >= 0 else OffsetPosition(self.base_offset, 0)

    def lookup_position(self, position: int) -> OffsetPosition:
        """The last entry at or before a position, or (base offset, 0)."""
        slot = self._last_slot_at_or_below(position, 1)
        return self._entry_at(slot) if slot >= 0 else OffsetPosition(self.base_offset, 0)

    def upper_bound_offset(self, position: int) -> int | None:
        """The offset of the first entry at or behind a position: no batch before the position has it."""
        slot = self._last_slot_at_or_below(position - 1, 1) + 1
        return self._entry_at(slot).offset if slot < self.entry_count else None

    def truncate_to(self, offset: int) -> None:
        """Drop the entries for `offset` and everything after it."""
        self.truncate_to_entries(self._last_slot_at_or_below(offset - self.base_offset - 1, 0) + 1)

    def check(self, segment_size_bytes: int) -> None:
        """CorruptIndexError when the entries cannot belong to a segment of this size."""
        if self.entry_count == 0:
            return
        first, last = self._entry_at(0), self.last
        if not (self.base_offset <= first.offset <= last.offset and 0 <= first.position <= last.position):
            raise CorruptIndexError(f"{self.path} is not ascending: {first} to {last}")
        if last.position >= segment_size_bytes:
            raise CorruptIndexError(f"{self.path} points to {last.position} of {segment_size_bytes} bytes")

    def _entry_at(self, slot: int) -> OffsetPosition:
        relative_offset, position = self._read_entry(slot)
        return OffsetPosition(self.base_offset + relative_offset, position)

    def _entries_changed(self) -> None:
        count = self._entry_count
        self._last = self._entry_at(count - 1) if count else OffsetPosition(self.base_offset, 0)
