"""Waiting alone: there is no other task, so whoever waits holds up nobody, and needs no event loop.

Coroutines that wait in these ways only never give up their turn: ``run`` drives one from its beginning to its end. A
time limit is a time-out of the system call that waits. An interrupt is a KeyboardInterrupt, wherever it comes.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, TypeVar

from kbroker.world import Address, ClientNetwork, Connection, ConnectionLost, Part
from storage.file_slice import FileSlice

T = TypeVar("T")
R = TypeVar("R")

_SocketName = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, _SocketName]
"""One answer of the name service."""
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
        if not seconds >= 0:  # nor is it, if it is no number
            raise ValueError(f"a time limit of {seconds:g} s")
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
            self.addresses(host, None)
        except (OSError, UnicodeError):
            return False
        return True

    def addresses(self, host: str, port: int | None) -> Sequence[_Found]:
        """What the name service knows of a host. OSError, UnicodeError.

        No system call of its own that could be timed out or interrupted: so it is asked in a thread, which whoever
        loses patience leaves behind.
        """
        with contextlib.suppress(socket.gaierror):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        answers: list[Sequence[_Found] | Exception] = []

        def ask() -> None:
            try:
                answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answers.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while asking.is_alive():
            asking.join(self.seconds_left())
        (answer,) = answers
        if isinstance(answer, Exception):
            raise answer
        return answer

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
        first_failure: Exception | None = None
        found: Sequence[_Found] = ()
        try:
            found = self._alone.addresses(host, port)
        except (OSError, UnicodeError) as error:
            first_failure = error
        for number, address in enumerate(found):
            try:
                # An address at which nobody answers leaves time for the next.
                return self._connected(address, share=1 / (len(found) - number))
            except OSError as error:
                first_failure = first_failure or error
        raise ConnectionLost(f"no connection to {host}:{port}: {first_failure}") from first_failure

    def _connected(self, found: _Found, *, share: float) -> Connection:
        family, kind, protocol, _, address = found
        connecting = socket.socket(family, kind, protocol)
        try:
            self._alone.within_limits(connecting, connecting.connect, address, share=share)
            return _Connection(self._alone, connecting)
        except BaseException:
            connecting.close()
            raise

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
