"""Ends by a signal: a command that is interrupted finishes what it has begun, and leaves with 128 + the signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@asynccontextmanager
async def ending_on_signals() -> AsyncIterator[trio.CancelScope]:
    """The block is cancelled by SIGINT, SIGTERM or SIGHUP, and SystemExit follows it.

    What it still does then may take time. Who does not want to wait for that sends a second signal, which ends the
    process on the spot.
    """
    received: list[int] = []

    async def watch(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for number in signals:
            if received:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            received.append(number)
            scope.cancel()

    with trio.open_signal_receiver(*_ENDING) as signals:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(watch, signals, scope)
                yield scope
            nursery.cancel_scope.cancel()
    if received:
        sys.stdout.flush()
        raise SystemExit(128 + received[0])
