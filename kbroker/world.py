"""Everything that the broker takes from outside itself: clocks, network, files, randomness, threads.

Nothing else of the broker calls ``time``, ``socket``, ``open``, ``random`` or ``uuid4``: what stands behind these ports
does, so that the same broker runs on the operating system (`kbroker.os_world`) and inside a simulation that replays
from a seed.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from storage.file_slice import FileSlice
from storage.filesystem import File, Filesystem

T = TypeVar("T")

_PORT_MAX = 65_535

Part = bytes | bytearray | memoryview | FileSlice
"""What can be sent: bytes in memory, or a slice of a file that the kernel copies by itself."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host (numeric, without brackets or zone) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """``HOST:PORT`` or ``[HOST]:PORT``; without a host it is this machine, as for Java. ValueError."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isdecimal() or int(port) > _PORT_MAX:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host.removeprefix("[").removesuffix("]") or "localhost", int(port))

    @classmethod
    def of_socket_name(cls, name: tuple[str | int, ...]) -> Address:
        """From what the operating system calls one end of a connection, IPv4 or IPv6."""
        host = str(name[0]).split("%", 1)[0]
        return cls(host.removeprefix("::ffff:"), int(name[1]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ConnectionLost(Exception):
    """The peer went away, or the connection broke."""


class Connection(Protocol):
    """One established, ordered byte stream; read by one task and written by one task at a time."""

    @property
    def local_address(self) -> Address: ...

    @property
    def peer_address(self) -> Address: ...

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes and put them into ``buffer``; 0 at the end of the stream, ConnectionLost if it broke."""
        ...

    async def send(self, parts: Sequence[Part]) -> None:
        """Send all of ``parts`` in order, waiting while the peer reads slowly; ConnectionLost if it broke."""
        ...

    def close(self) -> None: ...


class Listener(Protocol):
    """A bound, listening address."""

    @property
    def address(self) -> Address: ...

    async def accept(self) -> Connection: ...

    def close(self) -> None: ...


class ClientNetwork(Protocol):
    """Where connections go to."""

    async def connect(self, host: str, port: int) -> Connection:
        """ConnectionLost if nobody answers there."""
        ...

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Mutual exclusion among the tasks that share a connection."""
        ...


class Network(ClientNetwork, Protocol):
    """Where connections come from and go to."""

    async def listen(self, host: str, port: int) -> Listener:
        """Bind and listen; port 0 takes a free one. An OSError says why it is not possible."""
        ...


class FileSync(Protocol):
    """Syncs files of the operating system without a thread."""

    def takes(self, file: File) -> bool:
        """Whether it can sync this file."""
        ...

    async def sync(self, files: Sequence[File]) -> OSError | None:
        """Wait until the disk has what was written to the files; the first error. It cannot be cancelled."""
        ...


class World(Protocol):
    """The outside of one node."""

    @property
    def filesystem(self) -> Filesystem: ...

    @property
    def network(self) -> Network: ...

    @property
    def random(self) -> random.Random: ...

    @property
    def file_sync(self) -> FileSync | None:
        """None where ``File.sync`` in a thread must do."""
        ...

    def wall_clock_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never runs backwards. The clock of all trio deadlines."""
        ...

    def uuid4(self) -> uuid.UUID: ...

    def host_name(self) -> str:
        """The name under which other machines of the network are likely to find this one."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def run_blocking(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function that may block for long; the caller waits, the broker's other tasks do not."""
        ...
