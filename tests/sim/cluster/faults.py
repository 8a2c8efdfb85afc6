"""The schedule of faults: what strikes whom, and when it is over."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import trio

from kbroker.metadata.image import ClusterImage
from tests.sim.cluster.machine import LOG_DIRECTORY, Machine
from tests.sim.cluster.store import STORE
from tests.sim.disk import DirectoryNode
from tests.sim.filesystem import SYNCS, WRITES, Fault

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

Undo = Callable[[], None]


def _nothing() -> None:
    return


@dataclass(slots=True)
class _GuardedFault(Fault):
    """An error that only comes while ``may_strike``."""

    may_strike: Callable[[], bool] = lambda: True

    def strikes(self, operation: str, path: str) -> bool:
        return self.may_strike() and Fault.strikes(self, operation, path)


class LostReplicas:
    """Replicas whose disk lost them and that have not been in sync again since: they save nobody."""

    def __init__(self) -> None:
        self._lost: dict[tuple[UUID, int, int], bool] = {}
        """(topic id, partition, node id) -> whether it has left the in-sync set since"""
        self._ever: set[tuple[UUID, int]] = set()

    def lose(self, image: ClusterImage, node_id: int) -> None:
        for topic in image.topics.values():
            for index, state in enumerate(topic.partitions):
                if node_id in state.replicas:
                    self._ever.add((topic.topic_id, index))
                    self._lost[topic.topic_id, index, node_id] = node_id not in state.in_sync_replicas

    def saw(self, image: ClusterImage) -> None:
        """The metadata has changed."""
        for (topic_id, index, node_id), has_left in list(self._lost.items()):
            topic = image.topic_by_id(topic_id)
            is_in_sync = topic is not None and node_id in topic.partitions[index].in_sync_replicas
            if topic is None or (is_in_sync and has_left):
                del self._lost[topic_id, index, node_id]
            elif not is_in_sync:
                self._lost[topic_id, index, node_id] = True

    def __bool__(self) -> bool:
        return bool(self._lost)

    def took_the_last(self, image: ClusterImage) -> bool:
        """Whether a partition is offline for good, since everybody else had left when a replica turned out to be lost.

        A lost replica that is dead counts as in sync until its session ends, and may inherit the partition meanwhile.
        That nobody leads then is what was promised: the others may lack records.
        """
        return any(
            not state.in_sync_replicas
            and not state.eligible_leader_replicas
            and (topic.topic_id, index) in self._ever
            for topic in image.topics.values()
            for index, state in enumerate(topic.partitions)
        )

    def has(self, topic_id: UUID, index: int, node_id: int) -> bool:
        return (topic_id, index, node_id) in self._lost

    def can_do_without(self, image: ClusterImage, node_id: int, is_running: Callable[[int], bool]) -> bool:
        """Whether every partition on this node has a good replica in sync elsewhere, which is there to stay.

        One whose machine is down, or has just come back, is about to leave the in-sync set: it saves nobody.
        """
        return all(
            any(
                other != node_id
                and (topic.topic_id, index, other) not in self._lost
                and is_running(other)
                and other in image.brokers
                and not image.was_away(topic, state, other)
                for other in state.in_sync_replicas or state.eligible_leader_replicas
            )
            for topic in image.topics.values()
            for index, state in enumerate(topic.partitions)
            if node_id in state.replicas
        )


class Faults:
    """Strikes until ``heal`` is called."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._network = simulation.network
        self._settings = simulation.settings
        self.random = random.Random(f"{simulation.seed} faults")
        self.lost = LostReplicas()
        self._undo: dict[int, Undo] = {}
        self._count = 0
        self._is_over = False
        self._kinds: dict[str, Callable[[], tuple[str, Undo]]] = {
            "kill": self._kill,
            "kill in a call": self._kill_in_a_call,
            "power loss": self._lose_power,
            "power loss everywhere": self._lose_power_everywhere,
            "power loss after a roll": self._lose_power_after_a_roll,
            "controlled restart": self._restart,
            "pause": self._pause,
            "pause before a send": self._pause_before_a_send,
            "partition": self._partition,
            "one-way cut": self._one_way_cut,
            "cut from the store": self._cut_from_the_store,
            "cut from the brokers": self._cut_from_the_brokers,
            "store outage": self._store_outage,
            "broken connections": self._break_connections,
            "slow links": self._slow_links,
            "slow disk": self._slow_disk,
            "compaction": self._compact,
            "clock jump": self._jump_clock,
            "disk error": self._disk_error,
            "disk lost": self._lose_disk,
            "directory lost": self._lose_directory,
        }

    async def run(self, nursery: trio.Nursery) -> None:
        settings = self._settings
        kinds, weights = list(settings.faults), list(settings.faults.values())
        while True:
            await trio.sleep(self.random.expovariate(1 / settings.pace_s))
            if self._is_over:
                return
            kind = self.random.choices(kinds, weights)[0]
            told, undo = self._kinds[kind]()
            if not told:
                self._simulation.coverage.count("fault not possible", kind)
                continue
            self._simulation.coverage.count("fault", kind)
            self._simulation.trace.tell(f"FAULT {kind}: {told}")
            if undo is not _nothing:
                nursery.start_soon(self._undo_later, kind, undo)

    async def _undo_later(self, kind: str, undo: Undo) -> None:
        self._count += 1
        number = self._count
        self._undo[number] = undo
        await trio.sleep(self.random.choice((0.5, 2.0, 6.0, 15.0)) * self.random.uniform(0.5, 1.5))
        if self._undo.pop(number, None) is not None:
            undo()
            self._simulation.trace.tell(f"over: {kind}")

    def heal(self) -> None:
        """Everything is well from now on, and every machine is started."""
        self._is_over = True
        for undo in self._undo.values():
            undo()
        self._undo.clear()
        for machine in self._simulation.machines:
            machine.disk_time.slowness = 1.0
            if machine.life is not None:
                machine.life.filesystem.faults.clear()
                machine.life.filesystem.crash_in = 0
                machine.life.process.trap = None
            machine.resume()
            if machine.boot_at > self._simulation.now():
                machine.boot_after(0)

    def _machine(self, *, running: bool = True) -> Machine | None:
        found = [machine for machine in self._simulation.machines if machine.is_running or not running]
        return self.random.choice(found) if found else None

    def _down_s(self) -> float:
        return self.random.choice((0.1, 1.0, 5.0, 15.0)) * self.random.uniform(0.5, 1.5)

    # Processes and power

    def _kill(self) -> tuple[str, Undo]:
        machine = self._machine()
        if machine is None:
            return "", _nothing
        machine.kill(self._down_s())
        return machine.host.name, _nothing

    def _kill_in_a_call(self) -> tuple[str, Undo]:
        machine = self._machine()
        if machine is None or machine.life is None:
            return "", _nothing
        down_s = self._down_s()
        steps = self.random.choice((1, 5, 30, 200))
        if self.random.random() < 0.5:
            machine.life.filesystem.crash_in = steps
            return f"{machine.host.name} in file operation {steps}", _nothing
        kind = self.random.choice(("send", "receive", "store", "store answer", "blocking", "unblocked"))
        machine.life.process.trap = (kind, steps % 7, lambda: machine.kill(down_s))
        return f"{machine.host.name} in {kind} {steps % 7}", _nothing

    def _lose_power(self) -> tuple[str, Undo]:
        machine = self._machine(running=False)
        assert machine is not None
        self._simulation.took_back_reads()
        machine.lose_power(self._down_s())
        return machine.host.name, _nothing

    def _lose_power_everywhere(self) -> tuple[str, Undo]:
        self._simulation.took_back_reads()
        for machine in self._simulation.machines:
            machine.lose_power(self._down_s())
        return "all", _nothing

    def _lose_power_after_a_roll(self) -> tuple[str, Undo]:
        """When two segments of a log are not synced: the later one may survive, and leave a hole."""
        machine = self._machine()
        if machine is None or machine.life is None or machine.is_paused:
            return "", _nothing
        process, down_s = machine.life.process, self._down_s()

        def strike() -> None:
            if machine.has_unsynced_segments():
                self._simulation.took_back_reads()
                machine.lose_power(down_s)
            else:
                process.trap = ("blocking", 0, strike)

        process.trap = ("blocking", 0, strike)

        def undo() -> None:
            process.trap = None

        return machine.host.name, undo

    def _restart(self) -> tuple[str, Undo]:
        machine = self._machine()
        if machine is None or machine.is_paused:
            return "", _nothing
        # Whoever restarts in order hands over to replicas that the store takes for good, lost ones among them.
        if self.lost and not self._can_do_without(machine):
            return "", _nothing
        machine.stop(self._down_s())
        return machine.host.name, _nothing

    def _pause(self) -> tuple[str, Undo]:
        machine = self._machine()
        if machine is None or machine.life is None or machine.is_paused:
            return "", _nothing
        life = machine.life
        life.process.pause()
        return life.name, life.process.resume

    def _pause_before_a_send(self) -> tuple[str, Undo]:
        machine = self._machine()
        if machine is None or machine.life is None or machine.is_paused:
            return "", _nothing
        life = machine.life
        steps = self.random.randrange(10)
        kind = self.random.choice(("send", "send", "store", "store answer", "unblocked"))
        life.process.trap = (kind, steps, life.process.pause)

        def undo() -> None:
            life.process.trap = None
            life.process.resume()

        return f"{life.name}, {kind} {steps}", undo

    # Network

    def _cut_all(self, ways: list[tuple[str, str]]) -> Undo:
        for source, target in ways:
            self._network.cut(source, target)

        def undo() -> None:
            for source, target in ways:
                self._network.heal(source, target)

        return undo

    def _host_names(self) -> list[str]:
        return [host.name for host in self._network.hosts.values()]

    def _broker_names(self) -> list[str]:
        return [machine.host.name for machine in self._simulation.machines]

    def _partition(self) -> tuple[str, Undo]:
        names = self._host_names()
        side = [name for name in names if self.random.random() < self.random.choice((0.2, 0.5))]
        others = [name for name in names if name not in side]
        if not side or not others:
            return "", _nothing
        ways = [(one, other) for one in side for other in others]
        ways += [(other, one) for one, other in ways]
        return f"{', '.join(side)} from the others", self._cut_all(ways)

    def _one_way_cut(self) -> tuple[str, Undo]:
        name = self.random.choice(self._broker_names())
        others = [other for other in self._host_names() if other != name]
        if self.random.random() < 0.5:
            others = [self.random.choice(others)]
        if self.random.random() < 0.5:
            return f"from {name} to {', '.join(others)}", self._cut_all([(name, other) for other in others])
        return f"from {', '.join(others)} to {name}", self._cut_all([(other, name) for other in others])

    def _cut_from_the_store(self) -> tuple[str, Undo]:
        name = self.random.choice(self._broker_names())
        ways = self.random.choice(([(name, STORE), (STORE, name)], [(name, STORE)], [(STORE, name)]))
        return f"{ways}", self._cut_all(ways)

    def _cut_from_the_brokers(self) -> tuple[str, Undo]:
        """The store and the clients still reach it."""
        name = self.random.choice(self._broker_names())
        others = [other for other in self._broker_names() if other != name]
        return name, self._cut_all([(name, other) for other in others] + [(other, name) for other in others])

    def _store_outage(self) -> tuple[str, Undo]:
        names = self._broker_names()
        ways = [(name, STORE) for name in names] + [(STORE, name) for name in names]
        return "all", self._cut_all(ways)

    def _break_connections(self) -> tuple[str, Undo]:
        chance = self.random.choice((0.1, 0.5, 1.0))
        broken = [each for each in self._network.connections() if self.random.random() < chance]
        for connection in broken:
            self._network.break_connection(connection)
        return f"{len(broken)} connections", _nothing

    def _slow_links(self) -> tuple[str, Undo]:
        name = self.random.choice(self._broker_names())
        factor = self.random.choice((10.0, 100.0))
        links = [self._network.link(name, other) for other in self._host_names() if other != name]
        for link in links:
            link.slowness *= factor

        def undo() -> None:
            for link in links:
                link.slowness /= factor

        return f"{name} {factor:g} times", undo

    # Disks, clocks and the store

    def _slow_disk(self) -> tuple[str, Undo]:
        machine = self._machine(running=False)
        assert machine is not None
        disk_time, factor = machine.disk_time, self.random.choice((10.0, 50.0))
        disk_time.slowness = factor

        def undo() -> None:
            disk_time.slowness = 1.0

        return f"{machine.host.name} {factor:g} times", undo

    def _compact(self) -> tuple[str, Undo]:
        self._simulation.store.compact()
        return "the store's history", _nothing

    def _jump_clock(self) -> tuple[str, Undo]:
        machine = self._machine(running=False)
        assert machine is not None
        machine.wall_clock.skew_ms = self.random.randrange(-120_000, 120_000)
        machine.wall_clock.drift = self.random.choice((0.0, 0.001, -0.001))
        return f"{machine.host.name} is {machine.wall_clock.skew_ms} ms off", _nothing

    def _disk_error(self) -> tuple[str, Undo]:
        machine = self._machine()
        if machine is None or machine.life is None:
            return "", _nothing
        # What a failed sync forgets was in the page cache only, as with a power loss.
        self._simulation.took_back_reads()
        operations = self.random.choice((SYNCS, WRITES, frozenset({"sync"})))
        # As with restarts: whoever resigns leaves its place to replicas that may be lost.
        fault = _GuardedFault(
            operations,
            LOG_DIRECTORY,
            errno.EIO,
            may_strike=lambda: not self.lost or self._can_do_without(machine),
        )
        machine.life.filesystem.faults.append(fault)
        return machine.host.name, _nothing

    def _losable(self) -> Machine | None:
        """A machine that can lose its disk without any acknowledged record being lost."""
        machine = self._machine(running=False)
        assert machine is not None
        return machine if self._can_do_without(machine) else None

    def _can_do_without(self, machine: Machine) -> bool:
        machines = self._simulation.machines
        return self.lost.can_do_without(
            self._simulation.truth, machine.node_id, lambda node_id: machines[node_id - 1].is_running
        )

    def _lose_disk(self) -> tuple[str, Undo]:
        machine = self._losable()
        if machine is None:
            return "", _nothing
        self._simulation.took_back_reads()
        self.lost.lose(self._simulation.truth, machine.node_id)
        machine.lose_power(self._down_s())
        root = machine.disk.root
        root.entries[LOG_DIRECTORY[1:]] = root.durable[LOG_DIRECTORY[1:]] = DirectoryNode()
        return machine.host.name, _nothing

    def _lose_directory(self) -> tuple[str, Undo]:
        machine = self._losable()
        if machine is None:
            return "", _nothing
        directory = machine.disk.root.entries[LOG_DIRECTORY[1:]]
        assert isinstance(directory, DirectoryNode)
        names = [name for name, node in directory.entries.items() if isinstance(node, DirectoryNode)]
        if not names:
            return "", _nothing
        self._simulation.took_back_reads()
        self.lost.lose(self._simulation.truth, machine.node_id)
        machine.lose_power(self._down_s())
        name = self.random.choice(names)
        for image in (directory.entries, directory.durable):
            image.pop(name, None)
        return f"{name} of {machine.host.name}", _nothing
