"""How much of an index file is meant, and how to recognise it again."""

from __future__ import annotations

from typing import NamedTuple

from crc32c import crc32c

from storage.errors import CorruptIndexError
from storage.file_cache import FileHandle

_CHUNK_BYTES = 1 << 20


class IndexExtent(NamedTuple):
    """The first `size_bytes` of an index file and their CRC-32C."""

    size_bytes: int
    crc: int


EMPTY_EXTENT = IndexExtent(0, 0)


def extend(handle: FileHandle, known: IndexExtent, size_bytes: int) -> IndexExtent:
    """The extent of `size_bytes`, when that of fewer is known: only what lies between is read.

    CorruptIndexError when the file is shorter; OSError from the disk, FileNotFoundError among them.
    """
    position, crc = known
    if position < size_bytes:
        with handle as file:
            while position < size_bytes:
                data = file.pread(min(_CHUNK_BYTES, size_bytes - position), position)
                if not data:
                    raise CorruptIndexError(f"{handle.path} has {position} of {size_bytes} bytes")
                crc = crc32c(data, crc)
                position += len(data)
    return IndexExtent(size_bytes, crc)


def cut_to(handle: FileHandle, extent: IndexExtent) -> None:
    """Cut the file down to an extent; CorruptIndexError, and nothing is changed, when it does not begin with that."""
    try:
        with handle as file:
            size_bytes = file.size()
            if extend(handle, EMPTY_EXTENT, min(size_bytes, extent.size_bytes)) != extent:
                raise CorruptIndexError(f"{handle.path} is not what it was when it was synced")
            if size_bytes > extent.size_bytes:
                file.truncate(extent.size_bytes)
    except FileNotFoundError:
        raise CorruptIndexError(f"{handle.path} is missing") from None
