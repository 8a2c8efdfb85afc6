"""What is to happen at which virtual moment, and the clock that jumps from one moment to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

import trio
from trio._core import _run as trio_run
from trio.testing import MockClock


class Agenda:
    """Calls to be made at given times, in the order of time and then of their entry.

    A call must not await, and must not raise. ``run`` makes them under any clock; ``virtual_clock`` does so by itself.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._earlier = trio.Event()

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._calls, (when, self._count, call))
        if self._calls[0][1] == self._count:
            self._earlier.set()

    @property
    def next_time(self) -> float:
        """inf if there is nothing to be done."""
        return self._calls[0][0] if self._calls else inf

    def run_due(self, now: float) -> None:
        calls = self._calls
        while calls and calls[0][0] <= now:
            heappop(calls)[2]()

    async def run(self) -> None:
        """Make the calls for ever."""
        while True:
            self._earlier = trio.Event()
            with trio.move_on_at(self.next_time):
                await self._earlier.wait()
            self.run_due(trio.current_time())


def virtual_clock(agenda: Agenda, on_jump: Callable[[], None] = lambda: None) -> MockClock:
    """Stands still while any task can run; then it jumps to the next deadline, or to the agenda's next call.

    Making the calls here, and not in a task, saves half the time of a small message. (Trio asks for a MockClock where
    time is to jump, and lets nobody derive from it.)
    """
    clock: Any = MockClock(autojump_threshold=0)
    now = 0.0

    def jump() -> None:
        nonlocal now
        runner = trio_run.GLOBAL_RUN_CONTEXT.runner
        when = min(runner.deadlines.next_deadline(), agenda.next_time)
        if when == inf:
            raise AssertionError("all tasks wait, and nothing will ever happen")
        now = max(now, when)
        on_jump()
        agenda.run_due(now)

    clock.current_time = lambda: now
    clock.deadline_to_sleep_time = lambda deadline: 0 if deadline <= now else 999_999_999
    clock._autojump = jump
    made: MockClock = clock
    return made
