"""Waiting for partitions to make progress: the purgatory, as tasks and events.

A waiter registers one event with every partition that it cares for, looks at their state, and sleeps
until any of them moves. Registering before looking is what makes a wake-up impossible to miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio


class Progress:
    """The waiters of one partition; woken, all of them, whenever something readable changed."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[Waiter, None] = {}

    def notify(self) -> None:
        if self._waiters:
            for waiter in list(self._waiters):
                waiter.wake()

    def add(self, waiter: Waiter) -> None:
        self._waiters[waiter] = None

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


@contextmanager
def waiting_on(progresses: Iterable[Progress]) -> Iterator[Waiter]:
    """A waiter registered with each of ``progresses`` for the duration of the block."""
    waiter = Waiter()
    registered = list(progresses)
    for progress in registered:
        progress.add(waiter)
    try:
        yield waiter
    finally:
        for progress in registered:
            progress.discard(waiter)
