"""Frames on a connection: four bytes of size, big-endian, then as many bytes. Reads them without doing I/O.

    reader = FrameReader(max_bytes)
    while True:
        while (frame := reader.next_frame()) is None:
            received = await socket.recv_into(reader.buffer_to_fill())
            if received == 0: ...                   # the peer is done; `reader.is_between_frames`?
            reader.filled(received)
        ...

Between frames the reader offers a small buffer of its own, so that small frames, several at once
perhaps, take one receive. Once it knows the size of a frame that has not arrived whole, it offers the
frame's own bytearray: the bytes of a large frame are received where they stay.

A frame's size is a claim. Its bytearray is made at once only up to FIRST_ALLOCATION_BYTES; when that
is full it grows by GROWTH_FACTOR, and so on up to the claim: a peer that announces 100 MB and falls
silent holds 64 KiB. Kafka: NetworkReceive, `socket.request.max.bytes`.
"""

import struct

from wire.errors import ProtocolError

READ_AHEAD_BYTES = 4096
FIRST_ALLOCATION_BYTES = 64 * 1024
GROWTH_FACTOR = 16

_SIZE = struct.Struct(">i")


class FrameReader:
    """Cuts what one connection receives into frames of at most `max_bytes`, the size itself not counted."""

    __slots__ = (
        "_filled",
        "_frame",
        "_frame_size",
        "_read_ahead",
        "_read_ahead_end",
        "_read_ahead_start",
        "_view",
        "max_bytes",
    )

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        # Bytes received and not yet given out: either at the start of a frame in _read_ahead, or, once
        # there is a _frame, all of them in there and none in _read_ahead.
        self._read_ahead = bytearray(READ_AHEAD_BYTES)
        self._read_ahead_start = 0
        self._read_ahead_end = 0
        self._frame: bytearray | None = None
        self._frame_size = 0
        self._filled = 0
        self._view: memoryview | None = None

    def buffer_to_fill(self) -> memoryview:
        """Where the next bytes belong: never empty, valid until `filled` is called.

        To be called when `next_frame` has returned None. The view is released by `filled`; what is
        written through a part of it later is lost, because the buffer behind it may have been replaced.
        """
        if self._frame is not None:
            self._view = memoryview(self._frame)[self._filled :]
        else:
            start, end = self._read_ahead_start, self._read_ahead_end
            assert end - start < _SIZE.size, "there are frames to take first"
            self._read_ahead[: end - start] = self._read_ahead[start:end]
            self._read_ahead_start, self._read_ahead_end = 0, end - start
            self._view = memoryview(self._read_ahead)[end - start :]
        return self._view

    def filled(self, count: int) -> None:
        """`count` bytes have been written to the beginning of what `buffer_to_fill` returned."""
        view = self._view
        assert view is not None, "nothing was offered to be filled"
        assert 0 <= count <= len(view)
        view.release()
        self._view = None
        if self._frame is None:
            self._read_ahead_end += count
            return
        self._filled += count
        allocated = len(self._frame)
        if self._filled == allocated < self._frame_size:
            # A new one and a copy: extending it in place by zeros costs ten times as much.
            larger = bytearray(min(self._frame_size, allocated * GROWTH_FACTOR))
            larger[:allocated] = self._frame
            self._frame = larger

    def next_frame(self) -> bytearray | None:
        """The next complete frame without its size, the caller's to keep; None when more bytes are needed.

        Raises ProtocolError for a negative size and for one above `max_bytes`, then and at every
        later call: where the next frame would begin is unknown.
        """
        frame = self._frame
        if frame is not None:
            if self._filled < self._frame_size:
                return None
            self._frame = None
            return frame
        start = self._read_ahead_start
        available = self._read_ahead_end - start - _SIZE.size
        if available < 0:
            return None
        (size,) = _SIZE.unpack_from(self._read_ahead, start)
        if not 0 <= size <= self.max_bytes:
            raise ProtocolError(f"frame of {size} bytes, 0 to {self.max_bytes} are allowed")
        start += _SIZE.size
        if size <= available:
            self._read_ahead_start = start + size
            return self._read_ahead[start : start + size]
        frame = bytearray(min(size, FIRST_ALLOCATION_BYTES))
        frame[:available] = self._read_ahead[start : self._read_ahead_end]
        self._frame = frame
        self._frame_size = size
        self._filled = available
        self._read_ahead_start = self._read_ahead_end = 0
        return None

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytearray]:
        """Copy `data` in and return the frames that it completes: for streams that hand out bytes.

        Raises as `next_frame` does; frames that were complete before the bad size are lost with it.
        """
        frames = []
        position = 0
        while position < len(data):
            target = self.buffer_to_fill()
            count = min(len(target), len(data) - position)
            target[:count] = data[position : position + count]
            self.filled(count)
            position += count
            while (frame := self.next_frame()) is not None:
                frames.append(frame)
        return frames

    @property
    def reserved_bytes(self) -> int:
        """Memory held for a frame that is not complete; what a bound on request bytes has to count."""
        return 0 if self._frame is None else len(self._frame)

    @property
    def announced_bytes(self) -> int:
        """The size that the frame being received claims, 0 when none is: what `reserved_bytes` may become."""
        return 0 if self._frame is None else self._frame_size

    @property
    def is_between_frames(self) -> bool:
        """Whether a peer that stops here has left nothing unfinished."""
        return self._frame is None and self._read_ahead_start == self._read_ahead_end
