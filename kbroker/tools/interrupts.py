"""Ends by a signal: a command that is interrupted finishes what it has begun, and leaves with 128 + the signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def ending_on_signals() -> AsyncIterator[trio.CancelScope]:
    """The block is cancelled by SIGINT or SIGTERM; after it, and what follows the block, use ``exit_by``."""
    scope = InterruptScope()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, signals, scope)
            with scope.scope:
                yield scope.scope
            nursery.cancel_scope.cancel()
    if scope.number:
        sys.stdout.flush()
        raise SystemExit(128 + scope.number)


class InterruptScope:
    """A cancel scope, and the signal that cancelled it (0: none)."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.number = 0


async def _watch(signals: AsyncIterator[int], interrupt: InterruptScope) -> None:
    async for number in signals:
        interrupt.number = number
        interrupt.scope.cancel()
