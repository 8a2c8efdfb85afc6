"""What is timed is the thread's time, and what is awaited does not notice."""

from __future__ import annotations

import types

import pytest
import trio
from trio.testing import MockClock

from kbroker.quotas.thread_time import ThreadTime


class Work:
    """Steps that take time on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spent = 0.0

    def take(self, seconds: float) -> None:
        self.now += seconds

    def took(self, seconds: float) -> None:
        self.spent += seconds

    def timed(self, awaited):  # type: ignore[no-untyped-def]
        return ThreadTime(awaited, lambda: self.now, self.took)


async def test_waiting_is_not_counted(autojump_clock: MockClock) -> None:
    work = Work()

    async def steps() -> str:
        work.take(1)
        await trio.sleep(100)
        work.take(2)
        await trio.lowlevel.checkpoint()
        work.take(3)
        return "done"

    assert await work.timed(steps()) == "done"
    assert work.spent == 6


async def test_an_error_comes_through_and_its_step_counts() -> None:
    work = Work()

    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        work.take(4)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await work.timed(fails())
    assert work.spent == 4


async def test_cancellation_reaches_what_is_awaited(autojump_clock: MockClock) -> None:
    work = Work()
    seen: list[str] = []

    async def waits() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            seen.append("cancelled")
            work.take(1)
            raise

    with trio.move_on_after(1) as scope:
        await work.timed(waits())
    assert scope.cancelled_caught
    assert (seen, work.spent) == (["cancelled"], 1)


def test_exceptions_of_the_scheduler_are_handed_in() -> None:
    work = Work()
    seen: list[str] = []

    @types.coroutine
    def trap():  # type: ignore[no-untyped-def]
        return (yield "trap")

    async def waits() -> str:
        try:
            await trap()
        except KeyError:
            seen.append("key error")
        try:
            return str(await trap())
        finally:
            seen.append("end")

    steps = work.timed(waits()).__await__()
    assert next(steps) == "trap"
    assert steps.throw(KeyError()) == "trap"
    with pytest.raises(StopIteration) as end:
        steps.send("value")
    assert (end.value.value, seen) == ("value", ["key error", "end"])

    steps = work.timed(waits()).__await__()
    next(steps)
    steps.throw(KeyError())
    steps.close()
    assert seen[2:] == ["key error", "end"]


async def test_nested_scopes_and_tasks_work_inside(autojump_clock: MockClock) -> None:
    work = Work()

    async def nested() -> int:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
        return 7

    assert await work.timed(nested()) == 7
