"""Waiting for partitions to make progress: the purgatory, as tasks and events.

A waiter registers one event with every partition that it cares for, looks at their state, and sleeps
until any of them moves. Registering before looking is what makes a wake-up impossible to miss.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import trio


class Progress:
    """The waiters of one partition, each with the offset from which on it wants to be woken; 0 for any change."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[Waiter, int] = {}

    def notify(self, reached: int | None = None) -> None:
        """Wake who waits for nothing behind offset ``reached``, or everybody."""
        if self._waiters:
            for waiter, offset in list(self._waiters.items()):
                if reached is None or offset <= reached:
                    waiter.wake()

    def add(self, waiter: Waiter, offset: int = 0) -> None:
        self._waiters[waiter] = min(offset, self._waiters.get(waiter, offset))

    def discard(self, waiter: Waiter) -> None:
        self._waiters.pop(waiter, None)

    @property
    def waiter_count(self) -> int:
        return len(self._waiters)


class Waiter:
    """One task's interest in several partitions."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def wake(self) -> None:
        self._event.set()

    def rearm(self) -> None:
        """Forget earlier wake-ups; call before looking at the state that the next wait is about."""
        if self._event.is_set():
            self._event = trio.Event()

    async def wait(self) -> None:
        await self._event.wait()


# Each acks=all request needs one, and @contextmanager would cost twice as much.
class waiting_on:
    """``with waiting_on(progresses) as waiter``: registered with each, at an offset, for the length of the block."""

    __slots__ = ("_progresses", "_waiter")

    def __init__(self, progresses: Iterable[tuple[Progress, int]]) -> None:
        self._progresses = list(progresses)
        self._waiter = Waiter()

    def __enter__(self) -> Waiter:
        for progress, offset in self._progresses:
            progress.add(self._waiter, offset)
        return self._waiter

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for progress, _ in self._progresses:
            progress.discard(self._waiter)
