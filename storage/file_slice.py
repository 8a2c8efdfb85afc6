"""A range of a segment file on its way to somebody: a fetch response, a scan."""

from __future__ import annotations

from types import TracebackType

from storage.file_cache import FileHandle


class FileSlice:
    """`size` bytes of a file from `offset`, as a payload that the server can hand to sendfile.

    The file stays open and readable until `release`, whatever happens to its segment or its handle. When
    too many files are pinned already, the bytes are read at once instead: `fileno` is then -1 and the
    caller uses `read`. Releasing twice is harmless; a slice that is garbage-collected releases itself.
    """

    __slots__ = ("_bytes", "_handle", "offset", "size")

    def __init__(self, handle: FileHandle, offset: int, size: int, *, in_memory: bool = False) -> None:
        self.offset = offset
        self.size = size
        self._bytes: bytes | None = None
        self._handle: FileHandle | None = None
        if in_memory:
            self._bytes = _read_exactly(handle, offset, size)
        else:
            handle.pin()
            self._handle = handle

    def __len__(self) -> int:
        return self.size

    def fileno(self) -> int:
        """The descriptor to send from, or -1 when the bytes are in memory."""
        if self._handle is None:
            return -1
        return self._handle.file().fileno()

    def read(self) -> bytes:
        """All bytes. EOFError when the file was truncated under the slice."""
        if self._bytes is not None:
            return self._bytes
        if self._handle is None:
            raise ValueError("slice was released")
        return _read_exactly(self._handle, self.offset, self.size)

    def release(self) -> None:
        handle, self._handle = self._handle, None
        self._bytes = None
        if handle is not None:
            handle.unpin()

    def __enter__(self) -> FileSlice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"FileSlice(offset={self.offset}, size={self.size})"


def _read_exactly(handle: FileHandle, offset: int, size: int) -> bytes:
    data = handle.file().pread(size, offset)
    if len(data) != size:
        raise EOFError(f"{handle.path} ends before byte {offset + size}")
    return data
