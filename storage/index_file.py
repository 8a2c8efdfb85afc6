"""What the offset index and the time index have in common (Kafka: AbstractIndex).

An index is a sorted array of fixed-size big-endian entries. Lookups go through a read-only mapping of the
written entries; appends are positional writes. Kafka writes through the mapping into a preallocated file
and trims it when the segment is rolled; here the file is simply as long as its entries, which is the same
content without two dangers: storing into a sparse page of a full disk kills the process with SIGBUS, while
a write says ENOSPC, and thousands of mostly idle partitions would each carry 20 MiB of preallocation.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from struct import Struct

from storage.errors import CorruptIndexError
from storage.file_cache import FileCache, FileHandle, MappingHandle
from storage.index_extent import EMPTY_EXTENT, IndexExtent, cut_to, extend

logger = logging.getLogger(__name__)

INT32_MAX = 0x7FFFFFFF


class IndexFile(ABC):
    """An append-only array of (key, value) entries on disk; subclasses give the two a meaning.

    Nothing is read from the disk before the first use. Both columns ascend, so a search may use either.
    """

    entry: Struct
    """Layout of one entry, two big-endian integers."""

    __slots__ = ("_cache", "_entry_count", "_extent", "_handle", "_mapping", "_size_bytes_max", "base_offset")

    def __init__(self, cache: FileCache, path: str, base_offset: int, size_bytes_max: int) -> None:
        self._cache = cache
        self._handle = FileHandle(cache, path)
        self._mapping = MappingHandle(cache, self._handle)
        self._entry_count = -1
        self._extent = EMPTY_EXTENT  # of some of the entries; it spares reading those again
        self._size_bytes_max = size_bytes_max
        self.base_offset = base_offset

    @property
    def path(self) -> str:
        return self._handle.path

    @property
    def entry_count(self) -> int:
        """How many entries there are; the first call asks the file for its size.

        CorruptIndexError when the file is missing or holds a fraction of an entry.
        """
        if self._entry_count < 0:
            self._load()
        return self._entry_count

    @property
    def entries_max(self) -> int:
        """How many entries fit into segment.index.bytes."""
        return self._size_bytes_max // self.entry.size

    @property
    def is_full(self) -> bool:
        return self.entry_count >= self.entries_max

    @property
    def size_bytes(self) -> int:
        return self.entry_count * self.entry.size

    def can_hold(self, offset: int) -> bool:
        """Whether the offset is expressible relative to the base offset, in 31 bits."""
        return 0 <= offset - self.base_offset <= INT32_MAX

    def create(self) -> None:
        """Make the empty file of a new segment."""
        self._handle.file(create=True).truncate(0)
        self._entry_count = 0
        self._extent = EMPTY_EXTENT
        self._entries_changed()

    def _load(self) -> None:
        try:
            size = self._cache.filesystem.file_size(self.path)
        except FileNotFoundError:
            raise CorruptIndexError(f"{self.path} is missing") from None
        if size % self.entry.size:
            raise CorruptIndexError(f"{self.path} has {size} bytes, not a multiple of {self.entry.size}")
        self._entry_count = size // self.entry.size
        try:
            self._entries_changed()
        except CorruptIndexError:
            self._entry_count = -1
            raise

    @abstractmethod
    def _entries_changed(self) -> None:
        """The number of entries changed other than by an append: take over the new last entry."""

    def _read_entry(self, slot: int) -> tuple[int, int]:
        """The entry as stored, from disk; for the few that are read outside a search."""
        data = self._handle.file().pread(self.entry.size, slot * self.entry.size)
        if len(data) != self.entry.size:
            raise CorruptIndexError(f"{self.path} ends before entry {slot}")
        key, value = self.entry.unpack(data)
        return key, value

    def _write_entry(self, key: int, value: int) -> None:
        file, size_bytes = self._handle.file(create=True), self.size_bytes
        try:
            file.pwrite((self.entry.pack(key, value),), size_bytes)
        except OSError:
            with suppress(OSError):
                # A part of an entry would have the whole index rebuilt at the next start.
                file.truncate(size_bytes)
            raise
        self._entry_count += 1

    def _view(self) -> memoryview:
        return self._mapping.view(self.size_bytes)

    def _last_slot_at_or_below(self, target: int, column: int) -> int:
        """The last slot whose key (column 0) or value (column 1) is at most `target`; -1 if there is none."""
        count = self.entry_count
        if count == 0:
            return -1
        view = self._view()
        unpack, size = self.entry.unpack_from, self.entry.size
        low, high = 0, count  # the answer is in [low - 1, high - 1]
        while low < high:
            middle = (low + high) >> 1
            if unpack(view, middle * size)[column] <= target:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def truncate_to_entries(self, count: int) -> None:
        """Keep the first `count` entries, in the file too."""
        if count == self.entry_count:
            return
        # The mapping must be gone before the file shrinks: touching a page behind the end is fatal.
        self._mapping.close()
        self._handle.file(create=True).truncate(count * self.entry.size)
        self._entry_count = count
        self._extent = EMPTY_EXTENT
        self._entries_changed()

    def reset(self) -> None:
        """Start over with no entries, whatever the file holds; also creates a missing file."""
        self._mapping.close()
        self.create()

    def extent(self) -> IndexExtent:
        """All entries and their checksum; reads only what was added since the last call."""
        self._extent = extend(self._handle, self._extent, self.size_bytes)
        return self._extent

    def cut_to(self, extent: IndexExtent) -> None:
        """Keep just the entries of an extent, whatever lies behind them; CorruptIndexError if they are not there.

        To be called before anything else was read: it does not trust the file's size.
        """
        if extent.size_bytes % self.entry.size:
            raise CorruptIndexError(f"{self.path} has no {extent.size_bytes} bytes of entries")
        cut_to(self._handle, extent)
        self._mapping.close()
        self._entry_count = extent.size_bytes // self.entry.size
        self._extent = extent
        self._entries_changed()

    def file_handle(self) -> FileHandle:
        return self._handle

    def close(self) -> None:
        self._mapping.close()
        self._handle.close()

    def renamed(self, path: str) -> None:
        self._handle.renamed(path)
