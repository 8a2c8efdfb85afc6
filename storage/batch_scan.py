"""Walking through the batches of a segment file.

`walk_headers` hops from header to header and trusts the content; lookups and rebuilds of indexes use it.
`scan_batches` reads everything and checks every CRC; recovery uses it. Both raise `LogCorruptError` at the
first place that is not a plausible batch: lengths, magic, ascending offsets.
"""

from __future__ import annotations

from collections.abc import Iterator

from storage.errors import LogCorruptError
from storage.file_cache import FileHandle
from wire.records import BATCH_HEADER_SIZE, BatchHeader, InvalidBatchError, crc_matches, read_batch_header

_WALK_CHUNK_BYTES = 4096
_SCAN_CHUNK_BYTES = 1 << 20


def walk_headers(
    handle: FileHandle, position: int, end: int, *, offset_min: int, offset_max: int
) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of every batch in [position, end), both at batch boundaries.

    `offset_min` and `offset_max` are the least and the largest offset that may occur.
    """
    chunk = b""
    chunk_position = position
    with handle as file:
        while position < end:
            at = position - chunk_position
            if at + BATCH_HEADER_SIZE > len(chunk):
                chunk = file.pread(min(_WALK_CHUNK_BYTES, end - position), position)
                chunk_position, at = position, 0
            header = _plausible_header(handle.path, chunk, at, position, offset_min)
            if header.last_offset > offset_max:
                reason = f"offset {header.last_offset} is beyond {offset_max}"
                raise LogCorruptError(handle.path, position, reason)
            next_position = position + header.size_bytes
            if next_position > end:
                raise LogCorruptError(handle.path, position, f"batch of {header.size_bytes} bytes is cut off")
            yield position, header
            position, offset_min = next_position, header.next_offset


def scan_batches(
    handle: FileHandle, position: int, end: int, *, offset_min: int
) -> Iterator[tuple[int, BatchHeader, memoryview]]:
    """(position, header, bytes) of every batch in [position, end), each with a valid CRC.

    The bytes are good until the next step.
    """
    buffer = bytearray(min(_SCAN_CHUNK_BYTES, max(end - position, BATCH_HEADER_SIZE)))
    filled, at = 0, 0  # the buffer holds [position - at, position - at + filled)
    with handle as file:
        while position < end:
            if filled - at < BATCH_HEADER_SIZE:
                filled, at = file.pread_into(_window(buffer, end - position), position), 0
            header = _plausible_header(handle.path, memoryview(buffer)[:filled], at, position, offset_min)
            size = header.size_bytes
            if position + size > end:
                raise LogCorruptError(handle.path, position, f"batch of {size} bytes is cut off")
            if size > filled - at:
                if size > len(buffer):
                    buffer = bytearray(size)
                filled, at = file.pread_into(_window(buffer, end - position), position), 0
            if filled - at < size or not crc_matches(buffer, at, header):
                raise LogCorruptError(handle.path, position, "CRC does not match")
            yield position, header, memoryview(buffer)[at : at + size]
            position, at, offset_min = position + size, at + size, header.next_offset


def header_at(handle: FileHandle, position: int) -> BatchHeader:
    """The header of the batch that starts at a position; LogCorruptError when there is none."""
    data = handle.file().pread(BATCH_HEADER_SIZE, position)
    return _plausible_header(handle.path, data, 0, position, 0)


def find_valid_batch(handle: FileHandle, position: int, end: int, *, offset_min: int) -> int | None:
    """The position of some valid batch behind a bad place, or None: tells a damaged middle from a torn tail.

    Looks at byte positions where the high bytes of a plausible base offset stand, within bounded effort:
    a `None` is no proof when the region is large and repetitive.
    """
    tries = _CANDIDATES_MAX
    needle = offset_min.to_bytes(8, "big")[:_NEEDLE_BYTES]
    with handle as file:
        size = min(end - position, _SEARCH_BYTES_MAX)
        data = file.pread(size, position)
        at = data.find(needle, 1)
        while at >= 0 and tries > 0:
            if _is_valid_batch(data, at, offset_min):
                return position + at
            at = data.find(needle, at + 1)
            tries -= 1
    return None


_NEEDLE_BYTES = 5
_CANDIDATES_MAX = 20_000
_SEARCH_BYTES_MAX = 16 << 20


def _is_valid_batch(data: bytes, at: int, offset_min: int) -> bool:
    try:
        header = read_batch_header(data, at)
    except InvalidBatchError:
        return False
    return header.base_offset >= offset_min and crc_matches(data, at, header)


def _window(buffer: bytearray, size: int) -> memoryview:
    return memoryview(buffer)[: min(len(buffer), size)]


def _plausible_header(
    path: str, data: bytes | memoryview, at: int, position: int, offset_min: int
) -> BatchHeader:
    try:
        header = read_batch_header(data, at)
    except InvalidBatchError as error:
        raise LogCorruptError(path, position, str(error)) from None
    if header.base_offset < offset_min or header.last_offset_delta < 0:
        reason = f"offsets {header.base_offset} to {header.last_offset} after {offset_min - 1}"
        raise LogCorruptError(path, position, reason, overlapping_offset=header.base_offset)
    return header
