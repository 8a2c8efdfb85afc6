"""`.txnindex`: the aborted transactions whose abort marker lies in the segment (Kafka: TransactionIndex).

Entries of 34 bytes: int16 version 0, int64 producer id, int64 first offset of the transaction, int64 offset of
its marker, int64 last stable offset once the marker was written. The file exists only if there are any.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import NamedTuple

from storage.errors import CorruptIndexError
from storage.file_cache import FileCache, FileHandle
from storage.index_extent import EMPTY_EXTENT, IndexExtent, cut_to, extend

logger = logging.getLogger(__name__)

_ENTRY = Struct(">hqqqq")
_VERSION = 0


class AbortedTransaction(NamedTuple):
    """`first_offset` and `last_offset` (the marker's) are inclusive."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


def encode_aborted_transaction(transaction: AbortedTransaction) -> bytes:
    """Its entry in the index."""
    return _ENTRY.pack(_VERSION, *transaction)


class AbortedTransactions(NamedTuple):
    """What one segment knows about a range; unless `complete`, the next segment must be asked too."""

    transactions: list[AbortedTransaction]
    complete: bool


class TransactionIndex:
    """Aborted transactions of one segment, read once and then kept in memory."""

    __slots__ = ("_cache", "_entries", "_extent", "_handle", "_present", "base_offset")

    def __init__(self, cache: FileCache, path: str, base_offset: int, *, present: bool) -> None:
        self._cache = cache
        self._handle = FileHandle(cache, path)
        self._present = present
        self._entries: list[AbortedTransaction] | None = None if present else []
        self._extent = EMPTY_EXTENT
        self.base_offset = base_offset

    @property
    def path(self) -> str:
        return self._handle.path

    @property
    def present(self) -> bool:
        """Whether the file exists."""
        return self._present

    @property
    def entries(self) -> list[AbortedTransaction]:
        """All entries; CorruptIndexError when the file makes no sense."""
        if self._entries is None:
            self._entries = self._load()
        return self._entries

    def append(self, aborted: AbortedTransaction) -> None:
        entries = self.entries
        assert not entries or aborted.last_offset > entries[-1].last_offset, f"{self.path}: {aborted}"
        file = self._handle.file(create=True)
        self._present = True
        size_bytes = len(entries) * _ENTRY.size
        try:
            file.pwrite((encode_aborted_transaction(aborted),), size_bytes)
        except OSError:
            self._cut_quietly(size_bytes)
            raise
        entries.append(aborted)

    def _cut_quietly(self, size_bytes: int) -> None:
        """Remove what a failed append left; should that fail too, the next append or a rebuild mends it."""
        try:
            self._handle.file().truncate(size_bytes)
        except OSError as error:
            logger.error(
                "Cannot remove a failed append behind byte %d of %s: %s", size_bytes, self.path, error
            )

    def collect(self, from_offset: int, upper_bound_offset: int) -> AbortedTransactions:
        """Transactions that overlap [from_offset, upper_bound_offset)."""
        found = []
        for entry in self.entries:
            if entry.last_offset >= from_offset and entry.first_offset < upper_bound_offset:
                found.append(entry)
            if entry.last_stable_offset >= upper_bound_offset:
                return AbortedTransactions(found, True)
        return AbortedTransactions(found, False)

    def truncate_to(self, offset: int) -> None:
        """Drop the transactions whose marker is at `offset` or later."""
        if not self._present:
            return
        kept = [entry for entry in self.entries if entry.last_offset < offset]
        if len(kept) < len(self.entries):
            self._handle.file().truncate(len(kept) * _ENTRY.size)
            self._entries = kept
            self._extent = EMPTY_EXTENT

    def reset(self) -> None:
        """Drop everything, whatever the file holds."""
        if self._present:
            self._handle.file().truncate(0)
        self._entries = []
        self._extent = EMPTY_EXTENT

    def replace(self, entries: list[AbortedTransaction]) -> None:
        """Write all entries anew."""
        self.reset()
        for entry in entries:
            self.append(entry)

    def extent(self) -> IndexExtent:
        """All entries and their checksum; reads only what was added since the last call."""
        if self._present:
            self._extent = extend(self._handle, self._extent, len(self.entries) * _ENTRY.size)
        return self._extent

    def cut_to(self, extent: IndexExtent) -> None:
        """Keep just the entries of an extent; CorruptIndexError if they are not there or make no sense."""
        if self._present:
            cut_to(self._handle, extent)
            self._entries = self._load()
        elif extent.size_bytes:
            raise CorruptIndexError(f"{self.path} is missing")
        self._extent = extent

    def file_handle(self) -> FileHandle:
        return self._handle

    def close(self) -> None:
        self._handle.close()

    def renamed(self, path: str) -> None:
        self._handle.renamed(path)

    def _load(self) -> list[AbortedTransaction]:
        data = self._cache.filesystem.read_file(self.path)
        if len(data) % _ENTRY.size:
            raise CorruptIndexError(f"{self.path} has {len(data)} bytes, not a multiple of {_ENTRY.size}")
        entries: list[AbortedTransaction] = []
        previous = self.base_offset - 1
        for version, *fields in _ENTRY.iter_unpack(data):
            entry = AbortedTransaction(*fields)
            if version != _VERSION:
                raise CorruptIndexError(f"{self.path} holds an entry of version {version}")
            if not previous < entry.last_offset or not 0 <= entry.first_offset <= entry.last_offset:
                raise CorruptIndexError(f"{self.path} is not ascending at {entry}")
            previous = entry.last_offset
            entries.append(entry)
        return entries
