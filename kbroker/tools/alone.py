"""Waiting alone: there is no other task, so whoever waits holds up nobody, and needs no event loop.

Coroutines that wait in these ways only never give up their turn: ``run`` drives one from its beginning to its end. A
time limit is a time-out of the system call that waits. An interrupt is a KeyboardInterrupt, wherever it comes.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, TypeVar

from kbroker.world import Address, ClientNetwork, Connection, ConnectionLost, Part
from storage.file_slice import FileSlice

T = TypeVar("T")
R = TypeVar("R")

_FOR_EVER_S: Final = 2_000_000.0
"""Three weeks; a socket's time-out can be a day or two longer at most."""


def run(main: Callable[[], Awaitable[R]]) -> R:
    """Run a coroutine that waits alone: its result, or its error."""
    try:
        next(main().__await__())
    except StopIteration as end:
        result: R = end.value
        return result
    raise RuntimeError("somebody waits here who needs trio")


class _TimeOver(BaseException):
    """Ends the blocks inside the one whose time it is; like trio's Cancelled nothing else stops it."""

    def __init__(self, whose: _Limited) -> None:
        super().__init__("time over")
        self.whose = whose


class _Limited:
    """A block with a time limit. See `kbroker.tools.waiting.Deadline`."""

    def __init__(self, entered: list[_Limited], seconds: float) -> None:
        self._entered = entered
        self._seconds = seconds
        self.ends = math.inf
        self.cancelled_caught = False

    def __enter__(self) -> _Limited:
        self.ends = time.monotonic() + self._seconds
        self._entered.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._entered.remove(self)
        self.cancelled_caught = isinstance(error, _TimeOver) and error.whose is self
        return self.cancelled_caught


class Alone:
    """See `kbroker.tools.waiting.Waiting`."""

    def __init__(self) -> None:
        self._entered: list[_Limited] = []
        """The blocks that have been entered and not left, the outermost first."""
        self.network: ClientNetwork = _Network(self)

    def move_on_after(self, seconds: float) -> _Limited:
        return _Limited(self._entered, seconds)

    async def sleep(self, seconds: float) -> None:
        self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        left = self.seconds_left()
        if left is not None and left < seconds:
            time.sleep(left)
            self.seconds_left()
        time.sleep(seconds)

    async def has_address(self, host: str) -> bool:
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return False
        return True

    def seconds_left(self) -> float | None:
        """Until the first limit; None where there is none to speak of. If one is over, its block is left."""
        now = time.monotonic()
        for block in self._entered:
            if block.ends <= now:
                raise _TimeOver(block)
        left = min((block.ends for block in self._entered), default=math.inf) - now
        return left if left < _FOR_EVER_S else None

    def within_limits(
        self, waiting: socket.socket, operation: Callable[[T], R], argument: T, *, share: float = 1.0
    ) -> R:
        """A socket's operation, for as long as the limits let it wait, or a share of that. OSError."""
        left = self.seconds_left()
        waiting.settimeout(None if left is None else left * share)
        try:
            return operation(argument)
        except TimeoutError as error:
            if error.errno is None:  # not the kernel's own, which gives up a connection
                self.seconds_left()
            raise


class _Network:
    """TCP of the operating system, IPv4 and IPv6."""

    def __init__(self, alone: Alone) -> None:
        self._alone = alone

    async def connect(self, host: str, port: int) -> Connection:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for number, (family, kind, protocol, _, address) in enumerate(found, start=1):
                connecting = socket.socket(family, kind, protocol)
                try:
                    # An address at which nobody answers leaves time for the next.
                    share = 1 / (len(found) - number + 1)
                    self._alone.within_limits(connecting, connecting.connect, address, share=share)
                    return _Connection(self._alone, connecting)
                except BaseException as error:
                    connecting.close()
                    if not isinstance(error, OSError) or number == len(found):
                        raise
        except OSError as error:
            raise ConnectionLost(f"no connection to {host}:{port}: {error}") from error
        raise ConnectionLost(f"no connection to {host}:{port}: it has no address")

    def lock(self) -> AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()


class _Connection:
    """A blocking TCP connection."""

    def __init__(self, alone: Alone, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._alone = alone
        self._socket = connected
        self.local_address = Address.of_socket_name(connected.getsockname())
        self.peer_address = Address.of_socket_name(connected.getpeername())

    async def receive_into(self, buffer: memoryview) -> int:
        try:
            return self._alone.within_limits(self._socket, self._socket.recv_into, buffer)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    async def send(self, parts: Sequence[Part]) -> None:
        data = b"".join(part.read() if isinstance(part, FileSlice) else part for part in parts)
        try:
            self._alone.within_limits(self._socket, self._socket.sendall, data)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def close(self) -> None:
        self._socket.close()
