from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.handlers.timeouts import TICK_S, Timeouts
from kbroker.replication.progress import Waiter


@pytest.fixture
def timeouts() -> Timeouts:
    return Timeouts(monotonic=trio.current_time, sleep=trio.sleep)


async def test_who_waits_is_woken_soon_after_the_deadline(
    timeouts: Timeouts, autojump_clock: MockClock
) -> None:
    for wait_s in (0.05, 0.35, 30.0):
        waiter, start = Waiter(), trio.current_time()
        timeouts.add(waiter, start + wait_s)
        await waiter.wait()
        timeouts.discard(waiter)
        assert wait_s <= trio.current_time() - start <= wait_s + TICK_S + 0.001


async def test_nobody_else_is_woken_and_nothing_runs_when_nobody_waits(
    timeouts: Timeouts, autojump_clock: MockClock
) -> None:
    early, late = Waiter(), Waiter()
    timeouts.add(early, trio.current_time() + 1)
    timeouts.add(late, trio.current_time() + 2)
    await early.wait()
    assert not late._event.is_set()
    timeouts.discard(early)
    timeouts.discard(late)
    await trio.sleep(1)
    assert not timeouts._is_running
    timeouts.add(late, trio.current_time() + 1)  # it begins again
    await late.wait()
    timeouts.discard(late)


async def test_a_waiter_that_was_woken_and_waits_on_is_woken_again(
    timeouts: Timeouts, autojump_clock: MockClock
) -> None:
    waiter = Waiter()
    timeouts.add(waiter, trio.current_time())
    for _ in range(2):
        await waiter.wait()
        waiter.rearm()
    timeouts.discard(waiter)
    await wait_all_tasks_blocked()
