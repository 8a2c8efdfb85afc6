"""The segment that a cleaning writes, `.cleaned` files until it is whole (Kafka: UnifiedLog.createNewCleanedSegment).

Its indexes are small enough to be kept in memory until the end. Nothing here touches the log.
"""

from __future__ import annotations

from struct import Struct

from storage.covering_batch import build_covering_batch
from storage.errors import LogCorruptError
from storage.file_names import (
    CLEANED_SUFFIX,
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    SEGMENT_SUFFIXES,
    SWAP_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    offset_file_name,
)
from storage.filesystem import Buffer, File, Filesystem
from storage.index_file import INT32_MAX
from storage.log_config import LogConfig
from storage.offset_index import OffsetIndex
from storage.time_index import TimeIndex
from storage.transaction_index import AbortedTransaction, encode_aborted_transaction
from wire.records import NO_TIMESTAMP, BatchHeader

_OFFSET_ENTRY: Struct = OffsetIndex.entry
_TIME_ENTRY: Struct = TimeIndex.entry


class CleanedSegment:
    """Collects batches in offset order. `create`, then `add` and `write`, then `finish`; or `discard` at any time."""

    def __init__(self, filesystem: Filesystem, directory: str, base_offset: int, config: LogConfig) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self.base_offset = base_offset
        self.next_offset = base_offset
        """The offset behind the last batch."""
        self.size_bytes = 0
        self._interval_bytes = config.index_interval_bytes
        self._entries_max = config.segment_index_bytes // max(_OFFSET_ENTRY.size, _TIME_ENTRY.size) - 1
        self._file: File | None = None
        self._buffer = bytearray()
        self._offset_entries = bytearray()
        self._time_entries = bytearray()
        self._since_entry_bytes = 0
        self._largest = (NO_TIMESTAMP, base_offset)
        self._indexed_timestamp = NO_TIMESTAMP
        self._leader_epoch = -1
        self._transactions: list[AbortedTransaction] = []

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer)

    @property
    def has_transaction_index(self) -> bool:
        return bool(self._transactions)

    def path(self, suffix: str, stage: str = CLEANED_SUFFIX) -> str:
        return f"{self._directory}/{offset_file_name(self.base_offset, suffix)}{stage}"

    def create(self) -> None:
        """Make the empty file, in place of what an earlier attempt may have left."""
        self.discard()
        self._file = self._filesystem.open(self.path(LOG_SUFFIX), create=True)
        self._file.truncate(0)

    def add(self, header: BatchHeader, batch: Buffer) -> None:
        """Take a batch; `header` is its own."""
        last_offset = header.last_offset
        if last_offset - self.base_offset > INT32_MAX:
            reason = f"offset {last_offset} is too far from {self.base_offset}"
            raise LogCorruptError(self.path(LOG_SUFFIX), self.size_bytes, reason)
        if header.max_timestamp > self._largest[0]:
            self._largest = (header.max_timestamp, last_offset)
        if self._since_entry_bytes > self._interval_bytes:
            self._index(last_offset)
        self._since_entry_bytes += len(batch)
        self._buffer += batch
        self.size_bytes += len(batch)
        self.next_offset = last_offset + 1
        self._leader_epoch = header.partition_leader_epoch

    def add_aborted(self, transactions: list[AbortedTransaction]) -> None:
        """Aborted transactions whose markers were added."""
        self._transactions += transactions

    def _index(self, last_offset: int) -> None:
        if len(self._offset_entries) < self._entries_max * _OFFSET_ENTRY.size:
            self._offset_entries += _OFFSET_ENTRY.pack(last_offset - self.base_offset, self.size_bytes)
            self._since_entry_bytes = 0
        if len(self._time_entries) < self._entries_max * _TIME_ENTRY.size:
            self._index_time()

    def _index_time(self) -> None:
        timestamp, offset = self._largest
        if timestamp > self._indexed_timestamp:
            self._time_entries += _TIME_ENTRY.pack(timestamp, offset - self.base_offset)
            self._indexed_timestamp = timestamp

    def cover(self, offset: int, like: BatchHeader | None) -> None:
        """Make sure that the segment reaches `offset`, the last before the next segment, by a batch without records.

        Recovery takes a gap between two segments for a hole (see `covering_batch`). And it tells from the offsets in a
        `.swap` file which segments that replaces: where all the last records of a group went, it would take the last
        segments of the group for others, and bring them back.
        """
        if self.next_offset > offset or offset - self.base_offset > INT32_MAX:
            return
        epoch = self._leader_epoch if like is None else like.partition_leader_epoch
        self.add(*build_covering_batch(offset, epoch))

    def write(self) -> None:
        """Put down what was added."""
        assert self._file is not None, "create comes first"
        buffer, self._buffer = self._buffer, bytearray()
        if buffer:
            self._file.pwrite((buffer,), self.size_bytes - len(buffer))

    def finish(self, modified_ms: int) -> None:
        """Write and sync everything; the `.log` file gets the given time of modification."""
        self.write()
        self._index_time()
        assert self._file is not None
        self._file.sync()
        self._file.close()
        self._file = None
        filesystem = self._filesystem
        filesystem.set_modified_ms(self.path(LOG_SUFFIX), modified_ms)
        filesystem.write_file(self.path(OFFSET_INDEX_SUFFIX), self._offset_entries, sync=True)
        filesystem.write_file(self.path(TIME_INDEX_SUFFIX), self._time_entries, sync=True)
        if self._transactions:
            entries = b"".join([encode_aborted_transaction(each) for each in self._transactions])
            filesystem.write_file(self.path(TRANSACTION_INDEX_SUFFIX), entries, sync=True)

    def rename_to_swap(self) -> None:
        """From `.cleaned` to `.swap`: whole, and waiting to replace others."""
        for suffix in SEGMENT_SUFFIXES:
            if suffix != TRANSACTION_INDEX_SUFFIX or self._transactions:
                self._filesystem.rename(self.path(suffix), self.path(suffix, SWAP_SUFFIX))

    def close(self) -> None:
        """Leave the files as they are."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def discard(self) -> None:
        """Remove the files, whatever there is of them."""
        self.close()
        for stage in (CLEANED_SUFFIX, SWAP_SUFFIX):
            for suffix in SEGMENT_SUFFIXES:
                try:
                    self._filesystem.remove(self.path(suffix, stage))
                except FileNotFoundError:
                    pass
