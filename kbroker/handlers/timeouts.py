"""Waking up those who have waited long enough, for handlers that wait often and hardly ever until the end.

A cancel scope for each request costs a sixth of all that a small acks=all request costs. Here a waiter is noted in
a dict, and a task looks through that ten times a second for as long as anybody waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

TICK_S = 0.1
"""How late a waiter may be woken."""


class Wakeable(Protocol):
    def wake(self) -> None: ...


class Timeouts:
    """Deadlines in seconds of the given clock. A waiter that is woken has to look at the clock by itself."""

    def __init__(self, *, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._deadlines: dict[Wakeable, float] = {}
        self._is_running = False

    def add(self, waiter: Wakeable, deadline: float) -> None:
        """Wake ``waiter`` soon after ``deadline``, again and again until it is discarded."""
        self._deadlines[waiter] = deadline
        if not self._is_running:
            self._is_running = True
            trio.lowlevel.spawn_system_task(self._run)  # it ends by itself

    def discard(self, waiter: Wakeable) -> None:
        del self._deadlines[waiter]

    async def _run(self) -> None:
        try:
            while self._deadlines:
                await self._sleep(TICK_S)
                now = self._monotonic()
                for waiter in [waiter for waiter, deadline in self._deadlines.items() if deadline <= now]:
                    waiter.wake()
        finally:
            self._is_running = False
