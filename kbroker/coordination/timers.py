"""Keyed timers without a clock: who drives them asks for the next deadline and takes what is due.

A heartbeat moves its member's timer by a session timeout, many times for each time that a timer fires. So
moving one to a later moment only changes a number; its place in the heap is corrected when it comes up.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any

_HEAP_SLACK = 64


class Timer:
    """One scheduled event. ``deadline`` is on the driver's monotonic clock, in seconds."""

    __slots__ = ("deadline", "event", "is_live", "key", "owner", "queued_deadline")

    def __init__(self, owner: Hashable, key: Hashable, deadline: float, event: Any) -> None:
        self.owner = owner
        self.key = key
        self.deadline = deadline
        self.queued_deadline = deadline
        self.event = event
        self.is_live = True


class TimerQueue:
    """The timers of several owners; a key is unique within its owner."""

    def __init__(self) -> None:
        self._timers: dict[Hashable, dict[Hashable, Timer]] = {}
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = count()
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def schedule(self, owner: Hashable, key: Hashable, deadline: float, event: Any) -> bool:
        """Set or move a timer; True if it became the first of all, so that a sleeping driver must look."""
        timers = self._timers.setdefault(owner, {})
        timer = timers.get(key)
        if timer is not None and deadline >= timer.queued_deadline:
            timer.deadline = deadline
            timer.event = event
            return False
        if timer is not None:
            timer.is_live = False
            self._live -= 1
        timer = timers[key] = Timer(owner, key, deadline, event)
        self._live += 1
        is_first = not self._heap or deadline < self._heap[0][0]
        heappush(self._heap, (deadline, next(self._sequence), timer))
        self._shrink()
        return is_first

    def cancel(self, owner: Hashable, key: Hashable) -> None:
        timer = self._timers.get(owner, {}).pop(key, None)
        if timer is not None:
            timer.is_live = False
            self._live -= 1
            self._shrink()

    def cancel_all(self, owner: Hashable) -> None:
        for timer in self._timers.pop(owner, {}).values():
            timer.is_live = False
            self._live -= 1
        self._shrink()

    def next_deadline(self) -> float:
        """When to look again, in seconds; infinity if nothing is scheduled. Never after a timer is due."""
        return self._heap[0][0] if self._heap else inf

    def pop_due(self, now: float) -> Timer | None:
        """Take out the timer that has been due the longest; None if none is due at ``now``."""
        while self._heap and self._heap[0][0] <= now:
            timer = heappop(self._heap)[2]
            if not timer.is_live:
                continue
            if timer.deadline > timer.queued_deadline:
                timer.queued_deadline = timer.deadline
                heappush(self._heap, (timer.deadline, next(self._sequence), timer))
                continue
            timer.is_live = False
            self._live -= 1
            del self._timers[timer.owner][timer.key]
            return timer
        return None

    def _shrink(self) -> None:
        """Keep the dead from outnumbering the living: cancelled timers may have far deadlines."""
        if len(self._heap) > 2 * self._live + _HEAP_SLACK:
            self._heap = [entry for entry in self._heap if entry[2].is_live]
            heapify(self._heap)
