"""A plain connection to a broker: frames out, frames in, and what it looks like when there is no answer.

It blocks: a case decides itself in which order several connections send and wait.
"""

from __future__ import annotations

import contextlib
import socket

from wire.framing import FrameReader
from wire.headers import encode_request
from wire.schema import Request

ANSWER_DEADLINE_S = 30.0
CLIENT_ID = "wire"
_RESPONSE_BYTES_MAX = 64 * 1024 * 1024


class NoAnswer(Exception):
    """There is no frame and will be none; ``closed`` tells whether the broker hung up or only kept quiet."""

    def __init__(self, reason: str, *, closed: bool) -> None:
        super().__init__(reason)
        self.closed = closed


class WireConnection:
    """One TCP connection, with correlation ids from 1."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=ANSWER_DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames = FrameReader(_RESPONSE_BYTES_MAX)
        self._correlation_id = 0
        self.usable = True

    def next_correlation_id(self) -> int:
        self._correlation_id += 1
        return self._correlation_id

    def send(self, request: Request, version: int, *, client_id: str | None = CLIENT_ID) -> int:
        """Encode and send; the correlation id. EncodeError for what the version cannot carry."""
        correlation_id = self.next_correlation_id()
        parts = encode_request(request, version, correlation_id, client_id)
        self.send_bytes(b"".join(bytes(part) for part in parts))  # type: ignore[arg-type]
        return correlation_id

    def send_bytes(self, data: bytes) -> None:
        """Send as it is; a broker that has hung up shows when an answer is waited for."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def receive(self, *, deadline_s: float = ANSWER_DEADLINE_S) -> bytearray:
        """The next frame without its size. NoAnswer where the broker hung up or ``deadline_s`` passed."""
        self._socket.settimeout(deadline_s)
        while (frame := self._frames.next_frame()) is None:
            try:
                count = self._socket.recv_into(self._frames.buffer_to_fill())
            except TimeoutError:
                self.close()
                raise NoAnswer(f"no answer in {deadline_s:g} s", closed=False) from None
            except ConnectionError:
                count = 0
            if count == 0:
                self.close()
                raise NoAnswer("the connection was closed", closed=True)
            self._frames.filled(count)
        return frame

    def close(self) -> None:
        self.usable = False
        self._socket.close()
