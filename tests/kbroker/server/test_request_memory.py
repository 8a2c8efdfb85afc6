"""The bound on bytes of requests in hand."""

import trio
from trio.testing import wait_all_tasks_blocked

from kbroker.server.request_memory import RequestMemory


async def test_bytes_beyond_the_bound_wait_for_bytes_to_come_back() -> None:
    memory = RequestMemory(100)
    await memory.acquire(80)
    got: list[int] = []

    async def take(size: int) -> None:
        await memory.acquire(size)
        got.append(size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, 40)
        await wait_all_tasks_blocked()
        assert got == []
        memory.release(80)
    assert got == [40]
    assert memory.bytes_in_use == 40


async def test_first_come_first_served_even_if_a_later_one_would_fit() -> None:
    memory = RequestMemory(100)
    await memory.acquire(80)
    got: list[int] = []

    async def take(size: int) -> None:
        await memory.acquire(size)
        got.append(size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, 50)
        await wait_all_tasks_blocked()
        nursery.start_soon(take, 10)
        await wait_all_tasks_blocked()
        assert got == []
        memory.release(80)
    assert sorted(got) == [10, 50]


async def test_a_request_larger_than_the_bound_goes_alone() -> None:
    memory = RequestMemory(100)
    with trio.fail_after(1):
        await memory.acquire(1000)
    memory.release(1000)
    assert memory.bytes_in_use == 0


async def test_who_gives_up_waiting_takes_nothing_and_blocks_nobody() -> None:
    memory = RequestMemory(100)
    await memory.acquire(80)
    with trio.move_on_after(0):
        await memory.acquire(90)
    with trio.fail_after(1):
        await memory.acquire(20)
    assert memory.bytes_in_use == 100


async def test_no_bound() -> None:
    memory = RequestMemory(-1)
    with trio.fail_after(1):
        await memory.acquire(2**40)
        await memory.acquire(2**40)
