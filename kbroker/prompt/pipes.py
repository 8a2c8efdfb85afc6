"""Standard input and output as file descriptors: read and written without holding up the event loop.

A pipe or terminal is waited for, so that an interrupt, a heartbeat or a deadline comes through meanwhile. A file is
always ready, which epoll refuses to say of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import trio

_READ_BYTES: Final = 1 << 16
_WRITE_BYTES: Final = 4096
"""POSIX's PIPE_BUF on Linux: a pipe that is writable takes so much without blocking."""


async def lines(descriptor: int) -> AsyncGenerator[bytes, None]:
    """The lines that are typed, piped or in a file, without their ends (LF or CRLF). OSError."""
    rest: list[bytes] = []
    while True:
        await _when_ready(trio.lowlevel.wait_readable, descriptor)
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            break
        first, *others = data.split(b"\n")
        rest.append(first)
        if others:
            yield _without_return(b"".join(rest))
            for line in others[:-1]:
                yield _without_return(line)
            rest = [others[-1]]
    if last := b"".join(rest):
        yield last


async def write(descriptor: int, data: bytes) -> None:
    """Write all of it, as its reader takes it. BrokenPipeError, OSError."""
    view = memoryview(data)
    while view:
        is_file = await _when_ready(trio.lowlevel.wait_writable, descriptor)
        written = os.write(descriptor, view if is_file else view[:_WRITE_BYTES])
        view = view[written:]


async def wait_for_no_reader(descriptor: int) -> None:
    """Returns when whoever read from this pipe is gone; never if it is no pipe."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        # The writing end is never readable; the error that its lost reader leaves there ends the wait.
        await trio.lowlevel.wait_readable(descriptor)
    else:
        await trio.sleep_forever()


async def _when_ready(wait: Callable[[int], Awaitable[None]], descriptor: int) -> bool:
    """Wait; whether it is a file, for which there is no waiting."""
    try:
        await wait(descriptor)
    except PermissionError:
        await trio.lowlevel.checkpoint()
        return True
    return False


def _without_return(line: bytes) -> bytes:
    return line.removesuffix(b"\r")
