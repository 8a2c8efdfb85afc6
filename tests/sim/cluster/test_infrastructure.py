"""The parts of the simulation by themselves: processes that stop and die, the network, the store's links."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio

from kbroker.metadata.store import Compare, Put, StoreUnavailableError, WatchCompactedError
from kbroker.world import Connection, ConnectionLost
from tests.sim.cluster.agenda import Agenda, virtual_clock
from tests.sim.cluster.network import Host, HostNetwork, Latency, SimulatedNetwork
from tests.sim.cluster.processes import Process, Scheduler
from tests.sim.cluster.store import STORE, SimulatedStore, StoreServer
from tests.sim.cluster.trace import Trace
from tests.sim.coverage import Coverage
from tests.sim.filesystem import Crashed


class Surroundings:
    """Two hosts with a process each, the network between them, and a store."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.scheduler = Scheduler(1)
        self.clock = virtual_clock(self.agenda, self.scheduler.moved_on)
        generator, coverage = random.Random(1), Coverage()
        trace = Trace(verbose=False, now=self.clock.current_time)
        self.network = SimulatedNetwork(self.agenda, generator, trace, coverage, Latency(pieces_chance=0.5))
        self.hosts = [self.network.add_host("one", "10.0.0.1"), self.network.add_host("two", "10.0.0.2")]
        self.processes = [Process("one"), Process("two")]
        self.network.add_host(STORE, "10.0.1.1")
        self.server = StoreServer(self.agenda, generator, self.clock.current_time)
        self.store = SimulatedStore(
            self.server, self.network, "one", self.processes[0], generator, trace, coverage
        )

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        with self.scheduler.installed():
            trio.run(main, clock=self.clock)

    def network_of(self, at: int) -> HostNetwork:
        return HostNetwork(self.hosts[at], self.processes[at])

    async def connected(self) -> tuple[Connection, Connection]:
        listener = await self.network_of(1).listen("10.0.0.2", 9092)
        client = await self.network_of(0).connect("10.0.0.2", 9092)
        return client, await listener.accept()

    def host(self, at: int) -> Host:
        return self.hosts[at]


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


async def receive(connection: Connection, size: int) -> bytes:
    got = b""
    while len(got) < size:
        buffer = bytearray(size - len(got))
        count = await connection.receive_into(memoryview(buffer))
        assert count
        got += buffer[:count]
    return got


# Processes


def test_a_paused_process_goes_on_with_what_it_believed(around: Surroundings) -> None:
    process, seen = around.processes[0], []

    async def check_and_act() -> None:
        lease_ends = trio.current_time() + 1.0
        assert trio.current_time() < lease_ends  # the check, before the pause
        await process.step("send")
        seen.append(("acted", trio.current_time() >= lease_ends))
        seen.append(("checks again", trio.current_time() < lease_ends))

    async def look_at_the_clock() -> None:
        await trio.sleep(2)
        seen.append(("woke", trio.current_time() >= 10))

    async def main() -> None:
        process.trap = ("send", 0, process.pause)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run, check_and_act)
            nursery.start_soon(process.run, look_at_the_clock)
            await trio.sleep(10)
            assert seen == []
            process.resume()

    around.run(main)
    assert sorted(seen) == [("acted", True), ("checks again", False), ("woke", True)]


def test_a_dead_process_does_nothing_to_its_world(around: Surroundings) -> None:
    done = []

    async def work() -> None:
        client, _ = await around.connected()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                with pytest.raises(Crashed):
                    await client.send([b"farewell"])
                done.append("fenced")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(around.processes[0].run, work)
            await trio.sleep(1)
            around.processes[0].kill()
            nursery.cancel_scope.cancel()

    around.run(main)
    assert done == ["fenced"]


# The network


def test_streams_keep_their_order_over_a_cut(around: Surroundings) -> None:
    async def main() -> None:
        client, server = await around.connected()
        sent = [bytes([number]) * 50 for number in range(40)]
        for number, data in enumerate(sent):
            if number == 10:
                around.network.cut("one", "two")
            if number == 30:
                around.network.heal("one", "two")
            await client.send([data])
            await trio.sleep(0.0005)
        assert await receive(server, 2000) == b"".join(sent)

    around.run(main)


def test_a_one_way_cut_is_one_way(around: Surroundings) -> None:
    async def main() -> None:
        client, server = await around.connected()
        around.network.cut("one", "two")
        await client.send([b"question"])
        await server.send([b"unasked"])
        assert await receive(client, 7) == b"unasked"
        with trio.move_on_after(100) as scope:
            await receive(server, 8)
        assert scope.cancelled_caught
        with pytest.raises(ConnectionLost):
            await around.network_of(0).connect("10.0.0.2", 9092)

    around.run(main)


def test_after_a_power_loss_the_peer_learns_when_it_sends_and_the_host_is_up(around: Surroundings) -> None:
    async def main() -> None:
        client, _ = await around.connected()
        around.host(1).end_of(around.processes[1], silently=True)
        around.host(1).power_off()
        with trio.move_on_after(1000) as half_open:
            await receive(client, 1)
        assert half_open.cancelled_caught
        await client.send([b"anybody there?"])
        with trio.move_on_after(1000) as still_half_open:
            await receive(client, 1)
        assert still_half_open.cancelled_caught
        around.host(1).power_on()
        with pytest.raises(ConnectionLost):
            await receive(client, 1)

    around.run(main)


def test_a_killed_process_is_noticed_at_once(around: Surroundings) -> None:
    async def main() -> None:
        client, _ = await around.connected()
        around.host(1).end_of(around.processes[1], silently=False)
        assert await client.receive_into(memoryview(bytearray(1))) == 0
        with pytest.raises(ConnectionLost):
            await around.network_of(0).connect("10.0.0.2", 9092)

    around.run(main)


# The store


def test_what_the_store_does_not_answer_may_have_happened(around: Surroundings) -> None:
    async def main() -> None:
        around.network.cut(STORE, "one")
        with pytest.raises(StoreUnavailableError):
            await around.store.transact([], [Put("a", b"1")])
        assert around.server.keys["a"].value == b"1"
        around.network.heal(STORE, "one")
        outcomes = set()
        for number in range(20):
            around.network.cut("one", STORE)
            with pytest.raises(StoreUnavailableError):
                await around.store.transact([Compare(f"k{number}", 0)], [Put(f"k{number}", b"")])
            assert f"k{number}" not in around.server.keys
            around.network.heal("one", STORE)
            await trio.sleep(5)
            outcomes.add(f"k{number}" in around.server.keys)
        assert outcomes == {True, False}, "it is lost, or comes late"

    around.run(main)


def test_a_watch_that_was_cut_off_for_long_is_compacted(around: Surroundings) -> None:
    async def main() -> None:
        await around.store.transact([], [Put("a", b"")])
        around.server.transact([], [Put("b", b"")])
        around.server.compact()
        async with around.store.watch("", 1) as watch:
            with pytest.raises(WatchCompactedError):
                await watch.__anext__()

    around.run(main)


def test_leases_end_while_their_holder_is_cut_off(around: Surroundings) -> None:
    async def main() -> None:
        lease_id = await around.store.grant_lease(2.0)
        await around.store.transact([], [Put("a", b"", lease_id)])
        around.network.cut("one", STORE)
        await trio.sleep(1.9)
        assert around.server.lives(lease_id)
        await trio.sleep(0.2)
        assert not around.server.keys

    around.run(main)
