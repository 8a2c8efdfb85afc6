"""A network in memory, for tests: the Network port without an operating system."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import trio
from trio.testing import memory_stream_pair

from kbroker.world import Address, Connection, ConnectionLost, Listener, Part
from storage.file_slice import FileSlice


class MemoryConnection:
    """One end of a connection in memory."""

    def __init__(self, stream: trio.StapledStream[object, object], local: Address, peer: Address) -> None:
        self._stream = stream
        self.local_address = local
        self.peer_address = peer

    async def receive_into(self, buffer: memoryview) -> int:
        try:
            data = await self._stream.receive_some(len(buffer))
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise ConnectionLost(str(error)) from error
        buffer[: len(data)] = data
        return len(data)

    async def send(self, parts: Sequence[Part]) -> None:
        data = b"".join(part.read() if isinstance(part, FileSlice) else bytes(part) for part in parts)
        try:
            await self._stream.send_all(data)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise ConnectionLost(str(error)) from error

    def close(self) -> None:
        self._stream.send_stream.close()  # type: ignore[attr-defined]
        self._stream.receive_stream.close()  # type: ignore[attr-defined]


class MemoryListener:
    """A port of a MemoryNetwork."""

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self._network = network
        self.address = address
        self.offer, self._accept = trio.open_memory_channel[MemoryConnection](100)

    async def accept(self) -> Connection:
        try:
            return await self._accept.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            raise ConnectionLost("the listener was closed") from error

    def close(self) -> None:
        self._network.listeners.pop(self.address.port, None)
        self.offer.close()
        self._accept.close()


class MemoryNetwork:
    """All hosts are one; ports are given out from 40000."""

    def __init__(self) -> None:
        self.listeners: dict[int, MemoryListener] = {}
        self._next_port = 40_000

    async def listen(self, host: str, port: int) -> Listener:
        if port in self.listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        self.listeners[port] = MemoryListener(self, Address(host, port))
        return self.listeners[port]

    async def connect(self, host: str, port: int) -> Connection:
        listener = self.listeners.get(port)
        if listener is None:
            raise ConnectionLost(f"no connection to {host}:{port}: refused")
        ours, theirs = memory_stream_pair()
        local, self._next_port = Address("127.0.0.1", self._next_port), self._next_port + 1
        await listener.offer.send(MemoryConnection(theirs, listener.address, local))
        return MemoryConnection(ours, local, listener.address)

    def lock(self) -> trio.Lock:
        return trio.Lock()
