"""Reading the batches of a segment piece by piece, with checks, in any thread.

Files are opened by path and closed again: the log's own handles belong to the log's owner.
"""

from __future__ import annotations

from storage.errors import LogCorruptError
from storage.filesystem import File, Filesystem
from wire.records import BATCH_HEADER_SIZE, BatchHeader, InvalidBatchError, crc_matches, read_batch_header


class BatchReader:
    """The batches of the file at `path` in [position, end), both batch boundaries.

    `fill` reads at least one whole batch (that is what blocks), `take` gives them out until None. LogCorruptError at
    the first place that is not a batch with a valid CRC: damage must not be copied under a CRC that is right.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        path: str,
        position: int,
        end: int,
        *,
        offset_min: int,
        buffer_bytes: int,
    ) -> None:
        self._filesystem = filesystem
        self._path = path
        self._position = position
        self._end = end
        self._offset_min = offset_min
        self._buffer_bytes = max(buffer_bytes, BATCH_HEADER_SIZE)
        self._file: File | None = None
        self._data = b""
        self._view = memoryview(self._data)
        self._at = 0
        self.bytes_read = 0

    @property
    def at_end(self) -> bool:
        return self._position >= self._end

    def fill(self) -> None:
        if self._file is None:
            self._file = self._filesystem.open(self._path)
        self._read(self._buffer_bytes)
        size_bytes = self._header(0).size_bytes
        if size_bytes > len(self._data):
            self._read(size_bytes)

    def _read(self, size_bytes: int) -> None:
        assert self._file is not None
        self._data = self._file.pread(min(size_bytes, self._end - self._position), self._position)
        self._view = memoryview(self._data)
        self._at = 0

    def take(self) -> tuple[BatchHeader, memoryview] | None:
        """The next batch; None when `fill` is needed, or at the end."""
        data, at = self._data, self._at
        left = len(data) - at
        if left < BATCH_HEADER_SIZE and at:
            return None
        if self.at_end:
            return None
        header = self._header(at)
        size_bytes = header.size_bytes
        if size_bytes > left:
            if at:
                return None
            raise LogCorruptError(self._path, self._position, f"batch of {size_bytes} bytes is cut off")
        if not crc_matches(data, at, header):
            raise LogCorruptError(self._path, self._position, "CRC does not match")
        self._at = at + size_bytes
        self._position += size_bytes
        self._offset_min = header.next_offset
        self.bytes_read += size_bytes
        return header, self._view[at : at + size_bytes]

    def _header(self, at: int) -> BatchHeader:
        try:
            header = read_batch_header(self._data, at)
        except InvalidBatchError as error:
            raise LogCorruptError(self._path, self._position, str(error)) from None
        if header.base_offset < self._offset_min or header.last_offset_delta < 0:
            reason = f"offsets {header.base_offset} to {header.last_offset} after {self._offset_min - 1}"
            raise LogCorruptError(self._path, self._position, reason)
        return header

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
