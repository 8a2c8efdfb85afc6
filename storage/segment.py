"""One segment of a log: `.log` with its batches, and the three indexes beside it (Kafka: LogSegment)."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from storage.batch_scan import header_at, walk_headers
from storage.errors import DISK_FULL_ERRNOS, CorruptIndexError, LogCorruptError
from storage.file_cache import FileCache, FileHandle
from storage.file_names import (
    DELETED_SUFFIX,
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    SEGMENT_SUFFIXES,
    SWAP_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    offset_file_name,
)
from storage.file_slice import FileSlice
from storage.filesystem import Buffer
from storage.index_file import INT32_MAX
from storage.log_config import LogConfig
from storage.offset_index import OffsetIndex, OffsetPosition
from storage.recovery_anchor import RecoveryAnchor
from storage.time_index import NO_TIMESTAMP, TimeIndex, TimestampOffset
from storage.transaction_index import AbortedTransaction, TransactionIndex
from wire.records import BatchHeader

logger = logging.getLogger(__name__)

_TAIL_BATCHES_MAX = 256
_UNKNOWN = -1


class BatchSpan(NamedTuple):
    """What a segment needs to know about a batch that it stores."""

    base_offset: int
    last_offset: int
    max_timestamp: int
    size_bytes: int


class Segment:
    """A segment file of known size. Nothing is opened or read before it is needed.

    Errors: `OSError` from the disk; `LogCorruptError` when the file does not hold batches where it should.
    A damaged offset or time index is rebuilt from the segment when it is noticed.
    """

    __slots__ = (
        "_bytes_since_index_entry",
        "_cache",
        "_created_ms",
        "_damaged",
        "_directory",
        "_first_timestamp",
        "_index_interval_bytes",
        "_largest",
        "_offset_index",
        "_segment_index_bytes",
        "_swap_suffixes",
        "_synced_index_version",
        "_tail_from",
        "_tail_last_offsets",
        "_tail_positions",
        "_time_index",
        "_untrimmed",
        "base_offset",
        "handle",
        "index_version",
        "jitter_ms",
        "size_bytes",
        "synced_bytes",
        "transaction_index",
    )

    def __init__(
        self,
        cache: FileCache,
        directory: str,
        base_offset: int,
        config: LogConfig,
        *,
        size_bytes: int,
        created_ms: int,
        jitter_ms: int = 0,
        has_transaction_index: bool = False,
        is_swap: bool = False,
    ) -> None:
        """With `is_swap` the files still have the names that the loader would complete (`finish_swap`)."""
        self._cache = cache
        self._directory = directory
        self._swap_suffixes = frozenset(SEGMENT_SUFFIXES if is_swap else ())
        self.base_offset = base_offset
        self.handle = FileHandle(cache, self._path(LOG_SUFFIX))
        self.size_bytes = size_bytes
        self.jitter_ms = jitter_ms
        self.synced_bytes = 0
        """How much of the file is known to be on the disk."""
        self.index_version = 1
        """Counts the changes of the three indexes."""
        self._synced_index_version = 0
        self.transaction_index = TransactionIndex(
            cache, self._path(TRANSACTION_INDEX_SUFFIX), base_offset, present=has_transaction_index
        )
        self._created_ms = created_ms
        self._index_interval_bytes = config.index_interval_bytes
        self._segment_index_bytes = config.segment_index_bytes
        self._offset_index: OffsetIndex | None = None
        self._time_index: TimeIndex | None = None
        self._bytes_since_index_entry = 0
        self._damaged = False  # the indexes could not be rebuilt to the end, and get no more entries
        self._untrimmed = False  # behind `size_bytes` lies what a failed append left
        self._first_timestamp: int | None = None
        self._largest: TimestampOffset | None = (
            None if size_bytes else TimestampOffset(NO_TIMESTAMP, base_offset)
        )
        # The last batches appended, so that readers at the end of the log cost no I/O. Complete from
        # `_tail_from` on.
        self._tail_from = _UNKNOWN if size_bytes else base_offset
        self._tail_last_offsets: list[int] = []
        self._tail_positions: list[int] = []

    @classmethod
    def create(
        cls,
        cache: FileCache,
        directory: str,
        base_offset: int,
        config: LogConfig,
        *,
        now_ms: int,
        jitter_ms: int,
    ) -> Segment:
        """A new segment with its empty files; left-over files of the same name are emptied."""
        segment = cls(
            cache, directory, base_offset, config, size_bytes=0, created_ms=now_ms, jitter_ms=jitter_ms
        )
        try:
            cache.filesystem.remove(segment.transaction_index.path)
        except FileNotFoundError:
            pass
        try:
            segment._new_offset_index().create()
            segment._new_time_index().create()
            # Last, since a directory that has no .log for an index is tidied up, while the reverse is a repair.
            segment.handle.file(create=True).truncate(0)
        except OSError:
            segment.close()
            raise
        return segment

    def _path(self, suffix: str) -> str:
        stage = SWAP_SUFFIX if suffix in self._swap_suffixes else ""
        return f"{self._directory}/{offset_file_name(self.base_offset, suffix)}{stage}"

    def __repr__(self) -> str:
        return f"Segment(base_offset={self.base_offset}, size_bytes={self.size_bytes})"

    # Indexes

    @property
    def offset_index(self) -> OffsetIndex:
        """The index, checked at first use and rebuilt when it cannot be right."""
        index = self._offset_index
        if index is None:
            index = self._new_offset_index()
            try:
                index.check(self.size_bytes)
                if index.entry_count and not self._is_batch(index.last):
                    raise CorruptIndexError(f"the log does not confirm {index.last}")
            except CorruptIndexError as error:
                self._rebuild_because(error)
        return index

    def _is_batch(self, entry: OffsetPosition) -> bool:
        """Whether a batch that ends with the entry's offset starts at its position."""
        if not 0 <= entry.position < self.size_bytes:
            return False
        try:
            header = header_at(self.handle, entry.position)
        except LogCorruptError:
            return False
        return header.base_offset >= self.base_offset and header.last_offset == entry.offset

    @property
    def time_index(self) -> TimeIndex:
        """The index, checked at first use and rebuilt when it cannot be right."""
        index = self._time_index
        if index is None:
            index = self._new_time_index()
            try:
                index.check()
                self._check_last_time(index)
            except CorruptIndexError as error:
                self._rebuild_because(error)
        return index

    def _check_last_time(self, index: TimeIndex) -> None:
        """Retention relies on the last entry, so it must be one that the log confirms."""
        if index.entry_count:
            if not self._confirms(index.last):
                raise CorruptIndexError(
                    f"{index.path} ends with {index.last}, which the log does not confirm"
                )
        elif self.size_bytes and self.first_timestamp() > NO_TIMESTAMP:
            raise CorruptIndexError(f"{index.path} is empty, the log is not")

    def _confirms(self, entry: TimestampOffset) -> bool:
        """Whether the batch that ends at the entry's offset has its timestamp."""
        position = self.position_of(entry.offset)
        if position is None:
            return False
        header = header_at(self.handle, position)
        return header.last_offset == entry.offset and header.max_timestamp == entry.timestamp

    def _new_offset_index(self) -> OffsetIndex:
        path = self._path(OFFSET_INDEX_SUFFIX)
        self._offset_index = OffsetIndex(self._cache, path, self.base_offset, self._segment_index_bytes)
        return self._offset_index

    def _new_time_index(self) -> TimeIndex:
        path = self._path(TIME_INDEX_SUFFIX)
        self._time_index = TimeIndex(self._cache, path, self.base_offset, self._segment_index_bytes)
        return self._time_index

    def _rebuild_because(self, error: Exception) -> None:
        logger.error("Rebuilding the indexes of %s: %s", self.handle.path, error)
        self.rebuild_indexes()

    def rebuild_indexes(self) -> None:
        """Write offset and time index anew from the batch headers, as far as these can be read."""
        self.start_indexing()
        try:
            for position, header in self.walk():
                self.index_batch(position, header)
        except LogCorruptError as error:
            logger.error("Indexes end where the segment is damaged: %s", error)
            self._damaged = True
        self.finish_indexing()

    def start_indexing(self) -> None:
        """Empty offset and time index; `index_batch` for every batch in order must follow."""
        (self._offset_index or self._new_offset_index()).reset()
        (self._time_index or self._new_time_index()).reset()
        self._bytes_since_index_entry = 0
        self._largest = TimestampOffset(NO_TIMESTAMP, self.base_offset)
        self._first_timestamp = None
        self._damaged = False
        self.indexes_changed()

    def index_batch(self, position: int, header: BatchHeader) -> None:
        span = BatchSpan(header.base_offset, header.last_offset, header.max_timestamp, header.size_bytes)
        self._index(position, span)

    def finish_indexing(self) -> None:
        """The largest timestamp closes the time index, as in a segment that was rolled."""
        largest = self.largest
        if largest.timestamp > NO_TIMESTAMP and not self._damaged:
            self.time_index.maybe_append(*largest, closing=True)

    def _index(self, position: int, span: BatchSpan) -> None:
        """Take note of a batch, with an index entry when enough bytes lie behind the last one."""
        largest = self.largest
        if span.max_timestamp > largest.timestamp:
            self._largest = largest = TimestampOffset(span.max_timestamp, span.last_offset)
        if self._bytes_since_index_entry > self._index_interval_bytes and not self._damaged:
            if self.offset_index.is_full or self.time_index.is_full:
                # Of an append of several batches, or since segment.index.bytes was lowered: lookups walk further.
                return
            self.indexes_changed()
            self.offset_index.append(span.last_offset, position)
            self.time_index.maybe_append(*largest)
            self._bytes_since_index_entry = 0
        self._bytes_since_index_entry += span.size_bytes

    def append_aborted(self, transaction: AbortedTransaction) -> None:
        """An abort marker was written: note what it ended."""
        self.indexes_changed()
        self.transaction_index.append(transaction)

    # What the disk has

    @property
    def unsynced_indexes(self) -> bool:
        """Whether an index was written to since it was last known to be on the disk."""
        return self._synced_index_version < self.index_version

    def indexes_changed(self) -> None:
        self.index_version += 1

    def indexes_synced(self, version: int) -> None:
        """The disk has the indexes as they were when `index_version` was `version`."""
        self._synced_index_version = max(self._synced_index_version, version)

    def anchor(self, end_offset: int, *, has_producers: bool) -> RecoveryAnchor | None:
        """Describes the segment as it is, ending at `end_offset`; None while there is something wrong with it."""
        if self._damaged or self._untrimmed:
            return None
        last_batch_crc = 0
        if self.size_bytes:
            header = self._last_header()
            if header is None or header.next_offset != end_offset:
                return None
            last_batch_crc = header.crc
        return RecoveryAnchor(
            end_offset,
            self.base_offset,
            self.size_bytes,
            last_batch_crc,
            self.offset_index.extent(),
            self.time_index.extent(),
            self.transaction_index.extent(),
            has_producers,
        )

    def _last_header(self) -> BatchHeader | None:
        if self._tail_positions:
            return header_at(self.handle, self._tail_positions[-1])
        last = None
        for _, header in self._walk_from_index((1 << 63) - 1):
            last = header
        return last

    def resume_at(self, anchor: RecoveryAnchor) -> None:
        """Take the indexes back to an anchor; `index_batch` for every batch from its position on must follow.

        CorruptIndexError or LogCorruptError when the segment is not what the anchor describes.
        """
        if anchor.position > self.size_bytes:
            raise CorruptIndexError(f"{self.handle.path} has {self.size_bytes} of {anchor.position} bytes")
        offset_index, time_index = self._new_offset_index(), self._new_time_index()
        offset_index.cut_to(anchor.offset_index)
        time_index.cut_to(anchor.time_index)
        self.transaction_index.cut_to(anchor.transaction_index)
        # The time index knows the largest timestamp of all batches that the offset index has passed.
        largest, start = time_index.last, offset_index.last.position
        next_offset, last_batch_crc = self.base_offset, 0
        for _, header in self.walk(start, anchor.position):
            if header.max_timestamp > largest.timestamp:
                largest = TimestampOffset(header.max_timestamp, header.last_offset)
            next_offset, last_batch_crc = header.next_offset, header.crc
        if anchor.position and (next_offset, last_batch_crc) != (anchor.offset, anchor.last_batch_crc):
            raise CorruptIndexError(f"{self.handle.path} has another batch before byte {anchor.position}")
        self._bytes_since_index_entry = anchor.position - start
        self._largest = largest
        self._first_timestamp = None
        self._damaged = False
        self.synced_bytes = anchor.position - 1  # it may have been cut just here, and that not synced
        if largest == time_index.last and anchor.position == self.size_bytes:
            self.indexes_synced(self.index_version)
        else:
            self.indexes_changed()  # a clean close has to add the largest timestamp

    # Timestamps

    @property
    def largest(self) -> TimestampOffset:
        """The largest timestamp, and the last offset of the batch that brought it; -1 if there is none."""
        if self._largest is None:
            last = self.time_index.last  # a rebuild sets _largest itself
            if self._largest is None:
                self._largest = last
        return self._largest

    def retention_timestamp(self) -> int:
        """What retention.ms counts from: the largest timestamp, or the time of the last write."""
        timestamp = self.largest.timestamp
        if timestamp >= 0 and not self._damaged:
            return timestamp
        return max(timestamp, self._cache.filesystem.modified_ms(self.handle.path))

    def first_timestamp(self) -> int:
        """Largest timestamp of the first batch, or -1."""
        if self._first_timestamp is None:
            if not self.size_bytes:
                return NO_TIMESTAMP
            try:
                self._first_timestamp = header_at(self.handle, 0).max_timestamp
            except LogCorruptError as error:
                logger.error("Cannot tell when the segment began: %s", error)
                self._first_timestamp = NO_TIMESTAMP
        return self._first_timestamp

    # Appending

    def should_roll(self, config: LogConfig, span: BatchSpan, now_ms: int) -> bool:
        """Whether the next append, of which `span` tells the whole, belongs into a new segment."""
        if self.size_bytes > config.segment_bytes - span.size_bytes:
            return True
        if (
            self.size_bytes
            and self._age_ms(now_ms, span.max_timestamp) > config.segment_ms_max - self.jitter_ms
        ):
            return True
        index = self.offset_index
        return index.is_full or self.time_index.is_full or not index.can_hold(span.last_offset)

    def _age_ms(self, now_ms: int, timestamp: int) -> int:
        first = self.first_timestamp()
        return timestamp - first if first >= 0 else now_ms - self._created_ms

    def append(self, records: Buffer, batches: Sequence[BatchSpan]) -> None:
        """Write `records`, which consist of `batches`, behind the others. After an OSError nothing has changed."""
        position = self.size_bytes
        before = (self.largest, self._first_timestamp, self._bytes_since_index_entry)
        if position == 0:
            self._first_timestamp = batches[0].max_timestamp
        try:
            self.handle.file().pwrite((records,), position)
            at = position
            for span in batches:
                self._index(at, span)
                at += span.size_bytes
        except OSError:
            self._largest, self._first_timestamp, self._bytes_since_index_entry = before
            self._cut_quietly(position, batches[0].base_offset)
            raise
        self._note_tail(position, batches)
        self.size_bytes = at

    def undo_append(self, position: int, base_offset: int, before: TimestampOffset) -> None:
        """Take back the last append, which began at `position` with `base_offset`."""
        self._largest = before
        self.size_bytes = position
        self._forget_tail()
        if not position:
            self._first_timestamp = None
        self._cut_quietly(position, base_offset)

    def _cut_quietly(self, position: int, base_offset: int) -> None:
        """Remove what a failed append left. If even that fails, later appends overwrite it, and recovery
        cuts it off. Either way the file is to be synced again, or a power loss brings the rest back."""
        self.synced_bytes = min(self.synced_bytes, position - 1)
        try:
            self.handle.file().truncate(position)
            self.offset_index.truncate_to(base_offset)
            self.time_index.truncate_to(base_offset)
            self.transaction_index.truncate_to(base_offset)
        except OSError as error:
            self._untrimmed = True
            if error.errno not in DISK_FULL_ERRNOS:
                raise  # not a disk to go on with, whatever made the append fail
            logger.error(
                "Cannot remove a failed append behind byte %d of %s: %s", position, self.handle.path, error
            )

    def _note_tail(self, position: int, batches: Sequence[BatchSpan]) -> None:
        last_offsets, positions = self._tail_last_offsets, self._tail_positions
        if self._tail_from < 0:
            self._tail_from = batches[0].base_offset
        for span in batches:
            last_offsets.append(span.last_offset)
            positions.append(position)
            position += span.size_bytes
        if len(last_offsets) > 2 * _TAIL_BATCHES_MAX:
            dropped = len(last_offsets) - _TAIL_BATCHES_MAX
            self._tail_from = last_offsets[dropped - 1] + 1
            del last_offsets[:dropped], positions[:dropped]

    def _forget_tail(self) -> None:
        self._tail_from = _UNKNOWN if self.size_bytes else self.base_offset
        self._tail_last_offsets.clear()
        self._tail_positions.clear()

    # Reading

    def walk(self, position: int = 0, end: int | None = None) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of the batches from a batch boundary to another, or to the end."""
        return walk_headers(
            self.handle,
            position,
            self.size_bytes if end is None else end,
            offset_min=self.base_offset,
            offset_max=self.base_offset + INT32_MAX,
        )

    def position_of(self, offset: int) -> int | None:
        """Where the first batch that contains `offset` or begins behind it starts; None if there is none."""
        if 0 <= self._tail_from <= offset:
            index = bisect_left(self._tail_last_offsets, offset)
            return self._tail_positions[index] if index < len(self._tail_positions) else None
        for position, header in self._walk_from_index(offset):
            if header.last_offset >= offset:
                return position
        return None

    def _walk_from_index(self, offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """The batches from the index entry for `offset` on. An entry that the log contradicts is not believed."""
        if not self.size_bytes:
            return iter(())
        start = self._indexed_position(offset)
        if start is None:
            self._rebuild_because(CorruptIndexError("the offset index does not fit the log"))
            start = self._indexed_position(offset)
            if start is None:
                raise LogCorruptError(self.handle.path, 0, "a fresh index does not fit the log")
        return self.walk(start)

    def _indexed_position(self, offset: int) -> int | None:
        """Where to start looking for `offset`, or None when there is no batch where the index says."""
        if self.size_bytes <= self._index_interval_bytes and self._offset_index is None:
            return 0  # too small for an entry: leave the index file alone
        try:
            entry = self.offset_index.lookup(offset)
        except CorruptIndexError:
            return None
        return entry.position if entry.position == 0 or self._is_batch(entry) else None

    def header_at(self, position: int) -> BatchHeader:
        return header_at(self.handle, position)

    def next_offset(self) -> int:
        """The offset behind the last batch, found from the last index entry."""
        if self._tail_last_offsets:
            return self._tail_last_offsets[-1] + 1
        next_offset = self.base_offset
        for _, header in self._walk_from_index((1 << 63) - 1):
            next_offset = header.next_offset
        return next_offset

    def slice(self, position: int, size: int) -> FileSlice:
        return FileSlice(self.handle, position, size, in_memory=self._cache.crowded)

    def read_batch(self, position: int, header: BatchHeader) -> bytes:
        """The whole batch; LogCorruptError when the file ends before it does."""
        data = self.handle.file().pread(header.size_bytes, position)
        if len(data) != header.size_bytes:
            raise LogCorruptError(self.handle.path, position, "batch is cut off")
        return data

    def batches_from_timestamp(self, timestamp: int, start_offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """The batches from where the first record at or behind both bounds may lie."""
        entry = self.time_index.lookup(timestamp)
        if entry.timestamp > NO_TIMESTAMP and not self._confirms(entry):
            self._rebuild_because(CorruptIndexError(f"the log does not confirm {entry}"))
            entry = self.time_index.lookup(timestamp)
        return self._walk_from_index(max(entry.offset, start_offset))

    def batches_from_offset(self, offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """The batches from somewhere at or before `offset` on."""
        return self._walk_from_index(offset)

    def windows_before(self, offset: int, window_bytes: int) -> Iterator[list[BatchHeader]]:
        """The batches before that of `offset`, from the last ones back, about so many bytes of them at a time."""
        end = self.position_of(offset)
        if end is None:
            end = self.size_bytes
        while end > 0:
            start = self.base_offset
            if end > window_bytes:
                start = self.offset_index.lookup_position(end - window_bytes).offset
            window: list[BatchHeader] = []
            window_begins = 0
            for position, header in self._walk_from_index(start):
                if position >= end:
                    break
                if not window:
                    window_begins = position
                window.append(header)
            yield window
            end = window_begins

    def upper_bound_offset(self, position: int) -> int | None:
        """An offset that no batch before `position` reaches, if the index knows one."""
        return self.offset_index.upper_bound_offset(position)

    # Truncating, closing, deleting

    def truncate_to(self, offset: int, now_ms: int) -> int:
        """Remove the batches that contain `offset` or lie behind it; returns how many bytes went."""
        position = self.position_of(offset)
        self.offset_index.truncate_to(offset)
        self.time_index.truncate_to(offset)
        self.transaction_index.truncate_to(offset)
        self.indexes_changed()
        if position is None:
            return 0
        removed = self.size_bytes - position
        self.truncate_bytes(position)
        if position == 0:
            self._created_ms = now_ms
        self._largest = self._find_largest()
        return removed

    def truncate_bytes(self, position: int) -> None:
        """Cut the file at a batch boundary, without regard for the indexes.

        On the disk too: else a power loss could bring back what was cut off, behind what is appended next.
        """
        file = self.handle.file()
        file.truncate(position)
        file.sync()
        self.size_bytes = position
        self.synced_bytes = min(self.synced_bytes, position)
        self._bytes_since_index_entry = 0
        self._forget_tail()
        if not position:
            self._first_timestamp = None

    def _find_largest(self) -> TimestampOffset:
        """The largest timestamp after a truncation: the time index knows most, the log the rest."""
        largest = self.time_index.last
        start = self._indexed_position(largest.offset) if self.size_bytes else None
        if start is not None:
            for _, header in self.walk(start):
                if header.max_timestamp > largest.timestamp:
                    largest = TimestampOffset(header.max_timestamp, header.last_offset)
        return largest

    def become_inactive(self) -> None:
        """The segment takes no more appends: its largest timestamp closes the time index."""
        if self._untrimmed:
            self.handle.file().truncate(self.size_bytes)
            self._untrimmed = False
            self.synced_bytes = min(self.synced_bytes, self.size_bytes - 1)
        self.finish_indexing()
        self.indexes_changed()

    def close_indexes(self) -> bool:
        """Before a clean close: like `become_inactive`, if the segment was written to; whether it was."""
        # A segment that was emptied may have a transaction index to forget.
        if self._untrimmed or (
            (self.size_bytes or self.transaction_index.present)
            and (self.unsynced_indexes or self.synced_bytes < self.size_bytes or self._lacks_largest())
        ):
            self.become_inactive()
            return True
        return False

    def _lacks_largest(self) -> bool:
        """Whether the time index does not end with the largest timestamp, because all else was synced already."""
        largest = self._largest  # None: nothing was appended since the segment was opened
        return largest is not None and largest.timestamp > self.time_index.last.timestamp

    def handles_to_sync(self, *, with_indexes: bool) -> list[FileHandle]:
        """The files that have (perhaps) unwritten bytes."""
        handles = [self.handle] if self.synced_bytes < self.size_bytes else []
        if with_indexes and self.unsynced_indexes:
            handles += [self.offset_index.file_handle(), self.time_index.file_handle()]
            if self.transaction_index.present:
                handles.append(self.transaction_index.file_handle())
        return handles

    def close(self) -> None:
        """Close the files. The segment may be used again; it then opens them again."""
        self.handle.close()
        self.transaction_index.close()
        for index in (self._offset_index, self._time_index):
            if index is not None:
                index.close()

    def mark_deleted(self) -> list[str]:
        """Rename the files to `.deleted` and return the new names. Slices in flight stay readable."""
        self.close()
        renamed = []
        for suffix in SEGMENT_SUFFIXES:  # .log first: without it the rest is rubbish to the loader
            path = self._path(suffix)
            try:
                self._cache.filesystem.rename(path, path + DELETED_SUFFIX)
            except FileNotFoundError:
                continue
            renamed.append(path + DELETED_SUFFIX)
            if suffix == LOG_SUFFIX and self.transaction_index.present:
                # A power loss must not bring the segment back without the index, which nobody would miss.
                self._cache.filesystem.sync_directory(self._directory)
        return renamed

    def finish_swap(self, suffixes: Iterable[str]) -> None:
        """Give files of a swapped-in segment their final names."""
        for suffix in suffixes:
            path = self._path(suffix)
            if suffix in self._swap_suffixes:
                if suffix != TRANSACTION_INDEX_SUFFIX or self.transaction_index.present:
                    self._cache.filesystem.rename(path, path.removesuffix(SWAP_SUFFIX))
                self._swap_suffixes -= {suffix}
        self._renamed()

    def moved(self, directory: str) -> None:
        """The partition's directory was renamed."""
        self._directory = directory
        self._renamed()

    def _renamed(self) -> None:
        self.handle.renamed(self._path(LOG_SUFFIX))
        self.transaction_index.renamed(self._path(TRANSACTION_INDEX_SUFFIX))
        if self._offset_index is not None:
            self._offset_index.renamed(self._path(OFFSET_INDEX_SUFFIX))
        if self._time_index is not None:
            self._time_index.renamed(self._path(TIME_INDEX_SUFFIX))
