"""The World of a broker in production: trio and the operating system."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from kbroker.kernel_sync import open_kernel_sync
from kbroker.world import Address, Connection, ConnectionLost, FileSync, Listener, Network, Part
from storage.file_slice import FileSlice
from storage.filesystem import Filesystem, OsFilesystem

T = TypeVar("T")

_BUFFERS_PER_SEND_MAX = 64
_IMMEDIATE_OPERATIONS_MAX = 16
_ACCEPT_ERRORS_TO_RETRY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ACCEPT_RETRY_DELAY_S = 0.1


class OsConnection:
    """A TCP connection of the operating system.

    An operation that can be done at once is done without a trip through trio's scheduler (that trip costs
    more than a small request); every sixteenth such operation yields, so that one busy peer cannot hold others.
    Trying a receive first pays even between requests: a client on the same machine often answers while the
    kernel still delivers the response to it.
    """

    __slots__ = ("_immediate", "_socket", "local_address", "peer_address")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._immediate = 0
        self.local_address = Address.of_socket_name(connected.getsockname())
        self.peer_address = Address.of_socket_name(connected.getpeername())

    async def receive_into(self, buffer: memoryview) -> int:
        if self._is_turn_over():
            await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._socket.recv_into(buffer)
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_readable)
            except OSError as error:
                raise ConnectionLost(str(error)) from error

    async def send(self, parts: Sequence[Part]) -> None:
        pending: list[bytes | bytearray | memoryview] = []
        for part in parts:
            if not isinstance(part, FileSlice):
                pending.append(part)
            elif part.fileno() < 0:
                pending.append(part.read())
            else:
                await self._send_buffers(pending, more=True)
                pending = []
                await self._send_file(part)
        await self._send_buffers(pending, more=False)

    async def _send_buffers(self, buffers: Sequence[bytes | bytearray | memoryview], *, more: bool) -> None:
        flags = socket.MSG_MORE if more else 0
        left = [buffer for buffer in buffers if len(buffer)]
        while left:
            if self._is_turn_over():
                await trio.lowlevel.checkpoint()
            try:
                if len(left) == 1:  # most responses are one short piece
                    sent = self._socket.send(left[0], flags)
                else:
                    sent = self._socket.sendmsg(left[:_BUFFERS_PER_SEND_MAX], (), flags)
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_writable)
                continue
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            left = _without_first(left, sent)

    async def _send_file(self, file_slice: FileSlice) -> None:
        position, left = file_slice.offset, len(file_slice)
        while left:
            if self._is_turn_over():
                await trio.lowlevel.checkpoint()
            try:
                sent = os.sendfile(self._socket.fileno(), file_slice.fileno(), position, left)
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_writable)
                continue
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if sent == 0:
                raise ConnectionLost("the log file ended before the slice that was promised")
            position += sent
            left -= sent

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._immediate = 0
        try:
            await wait(self._socket)
        except (trio.ClosedResourceError, OSError, ValueError) as error:
            raise ConnectionLost(str(error)) from error

    def _is_turn_over(self) -> bool:
        """Whether this task has done so much without waiting that others must have a turn."""
        self._immediate += 1
        if self._immediate <= _IMMEDIATE_OPERATIONS_MAX:
            return False
        self._immediate = 0
        return True

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def _without_first(
    buffers: list[bytes | bytearray | memoryview], count: int
) -> list[bytes | bytearray | memoryview]:
    """What is left of ``buffers`` after their first ``count`` bytes went out."""
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [memoryview(buffer)[count:], *buffers[index + 1 :]]
        count -= len(buffer)
    return []


class OsListener:
    """A listening TCP socket."""

    __slots__ = ("_socket", "address")

    def __init__(self, listening: trio.socket.SocketType) -> None:
        self._socket = listening
        self.address = Address.of_socket_name(listening.getsockname())

    async def accept(self) -> Connection:
        while True:
            try:
                accepted, _ = await self._socket.accept()
            except trio.ClosedResourceError as error:
                raise ConnectionLost("the listener was closed") from error
            except OSError as error:
                if error.errno in _ACCEPT_ERRORS_TO_RETRY:
                    await trio.sleep(_ACCEPT_RETRY_DELAY_S)
                    continue
                if error.errno == errno.EBADF:
                    raise ConnectionLost("the listener was closed") from error
                continue
            try:
                return OsConnection(socket.socket(fileno=accepted.detach()))
            except OSError:
                continue  # gone again before it was served

    def close(self) -> None:
        self._socket.close()


class OsNetwork:
    """TCP of the operating system, IPv4 and IPv6."""

    async def listen(self, host: str, port: int) -> Listener:
        addresses = await trio.socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # An empty host means every address: prefer the socket that takes IPv6 and IPv4 alike.
        wanted = None if host else socket.AF_INET6
        family, kind, protocol, _, address = min(
            addresses, key=lambda found: found[0] != (wanted or found[0])
        )
        listening = trio.socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host else 0)
            await listening.bind(address)
            listening.listen(1024)
        except BaseException:
            listening.close()
            raise
        return OsListener(listening)

    async def connect(self, host: str, port: int) -> Connection:
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise ConnectionLost(f"no connection to {host}:{port}: {error}") from error
        connected = socket.socket(fileno=stream.socket.detach())
        try:
            return OsConnection(connected)
        except OSError as error:  # the other side has gone already, and has no address any more
            connected.close()
            raise ConnectionLost(f"no connection to {host}:{port}: {error}") from error

    def lock(self) -> trio.Lock:
        return trio.Lock()


class OsWorld:
    """The World of a broker in production: trio and the operating system."""

    def __init__(self) -> None:
        self.filesystem: Filesystem = OsFilesystem()
        self.network: Network = OsNetwork()
        self.random = random.Random()
        self.file_sync: FileSync | None = open_kernel_sync(self.run_blocking)

    def wall_clock_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return trio.current_time()

    def uuid4(self) -> uuid.UUID:
        return uuid.uuid4()

    def host_name(self) -> str:
        return socket.gethostname()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def run_blocking(self, function: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(function, *arguments)
