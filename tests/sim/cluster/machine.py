"""A computer with a disk, on which one broker lives after the other.

    off --boot--> running --+-- killed -----> down   everything written so far stays
                            +-- power loss -> down   what was not synced is lost or torn
                            +-- stopped ----> down   cleanly, leadership handed over first
                            +-- gave up ----> down   it ended by itself: store out of reach, disk failed
                            +-- paused <-> running

Who takes a machine down says when it boots again; a broker that gave up is started again soon, as by an init system.
"""

from __future__ import annotations

import random
from math import inf
from typing import TYPE_CHECKING

import trio

from kbroker.broker import Broker, BrokerReady, StartError
from kbroker.config.broker_config import BrokerConfig
from kbroker.replication.replica_manager import NoLogDirectoryLeft
from tests.sim.cluster.network import Host, HostNetwork
from tests.sim.cluster.processes import Process
from tests.sim.cluster.store import SimulatedStore, SimulatedStoreAccess
from tests.sim.cluster.world import DiskTime, SimulatedWorld, WallClock
from tests.sim.disk import DirectoryNode, Disk, FileNode
from tests.sim.filesystem import SimulatedFilesystem

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

LOG_DIRECTORY = "/data"
PORT = 9092
_START_AGAIN_S = 1.0


class _LifesFilesystem(SimulatedFilesystem):
    """Takes the whole life along when it is killed in the middle of a call."""

    life: Life | None = None

    def kill(self) -> None:
        super().kill()
        if self.life is not None:
            self.life.die(silently=False)


class Life:
    """One process of a broker."""

    def __init__(self, machine: Machine, number: int) -> None:
        simulation = machine.simulation
        self.machine = machine
        self.number = number
        self.name = f"broker-{machine.node_id}.{number}"
        self.process = Process(self.name)
        self.scope = trio.CancelScope()
        generator = random.Random(f"{simulation.seed} {self.name}")
        self.filesystem = _LifesFilesystem(machine.disk, machine.disk_trace)
        self.filesystem.life = self
        self.ready: BrokerReady | None = None
        self.is_stopping = False
        world = SimulatedWorld(
            process=self.process,
            filesystem=self.filesystem,
            network=HostNetwork(machine.host, self.process),
            generator=generator,
            wall_clock=machine.wall_clock,
            disk_time=machine.disk_time,
            host_name=machine.host.address,
        )
        store = SimulatedStore(
            simulation.store,
            simulation.network,
            machine.host.name,
            self.process,
            generator,
            simulation.trace,
            simulation.coverage,
        )
        self.store = store
        self.broker = Broker(
            config=BrokerConfig(machine.settings), world=world, store=SimulatedStoreAccess(store)
        )

    def die(self, *, silently: bool) -> None:
        """The process is no more, from this moment on; ``silently`` if its host is not either."""
        if self.process.is_dead:
            return
        self.process.kill()
        self.filesystem.kill()
        self.machine.host.end_of(self.process, silently=silently)
        self.scope.cancel()

    async def run(self) -> str:
        """Until it ends or dies; how it ended."""
        ended = "died"

        async def main() -> None:
            nonlocal ended
            with self.scope:
                try:
                    async with trio.open_nursery() as nursery:
                        self.ready = await nursery.start(self.broker.run)
                        self.machine.simulation.trace.tell(f"{self.name} is ready")
                    ended = "stopped"
                except BaseException as error:
                    if self.process.is_dead:
                        return
                    ended = self._reason_of(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.process.run, main)
        return ended

    def _reason_of(self, error: BaseException) -> str:
        """Why it ended by itself; anything that a broker must not end with is a finding."""
        errors = list(_leaves(error))
        if all(isinstance(each, (StartError, NoLogDirectoryLeft)) for each in errors):
            if all(isinstance(each, StartError) or self.filesystem.errors for each in errors):
                return f"gave up: {errors[0]}"
        elif all(isinstance(each, trio.Cancelled) for each in errors):
            raise error
        self.machine.simulation.found(f"{self.name} ended with {error!r}", error)
        return f"failed: {errors[0]!r}"


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


class Machine:
    """See the module's docstring; ``run`` is its life as a whole."""

    def __init__(
        self, simulation: Simulation, node_id: int, host: Host, settings: dict[str, str], disk_time: DiskTime
    ) -> None:
        self.simulation = simulation
        self.node_id = node_id
        self.host = host
        self.settings = settings
        self.disk_time = disk_time
        self.wall_clock = WallClock(simulation.now)
        self.disk = Disk(
            random.Random(f"{simulation.seed} disk {node_id}"), self.wall_clock, simulation.coverage
        )
        self.disk.root.entries[LOG_DIRECTORY[1:]] = self.disk.root.durable[LOG_DIRECTORY[1:]] = (
            DirectoryNode()
        )
        self.disk_trace = 0
        self.life: Life | None = None
        self.lives = 0
        self.boot_at = 0.0
        """When it is to run again, once it is down."""
        self._due = trio.Event()

    @property
    def is_running(self) -> bool:
        return self.life is not None and not self.life.process.is_dead

    @property
    def is_paused(self) -> bool:
        return self.life is not None and self.life.process.is_paused

    def boot_after(self, seconds: float) -> None:
        self.boot_at = self.simulation.now() + seconds
        self._due.set()

    async def run(self) -> None:
        while True:
            while self.simulation.now() < self.boot_at:
                self._due = trio.Event()
                with trio.move_on_at(self.boot_at):
                    await self._due.wait()
            self.boot_at = self.simulation.now() + _START_AGAIN_S
            await self._live()

    async def _live(self) -> None:
        simulation = self.simulation
        if not self.host.is_up:
            self.host.power_on()
        self.lives += 1
        life = self.life = Life(self, self.lives)
        simulation.trace.tell(f"{life.name} starts")
        ended = await life.run()
        life.die(silently=False)
        self.disk_trace = life.filesystem.trace
        self.life = None
        simulation.trace.tell(f"{life.name} {ended}")
        simulation.coverage.count("life", ended.partition(":")[0])

    def has_synced(self, directory: str) -> bool:
        """Whether the disk has everything in the log files of this directory."""
        logs = self.disk.root.entries[LOG_DIRECTORY[1:]]
        assert isinstance(logs, DirectoryNode)
        node = logs.entries.get(directory)
        return (
            isinstance(node, DirectoryNode)
            and logs.durable.get(directory) is node
            and all(
                node.durable.get(name) is file and isinstance(file, FileNode) and not file.changes
                for name, file in node.entries.items()
                if name.endswith(".log")
            )
        )

    def has_unsynced_segments(self) -> bool:
        """Whether a log has records in more than one segment that the disk does not have."""
        logs = self.disk.root.entries[LOG_DIRECTORY[1:]]
        assert isinstance(logs, DirectoryNode)
        return any(
            sum(
                isinstance(file, FileNode) and bool(file.changes) and len(file.content) > 0
                for name, file in node.entries.items()
                if name.endswith(".log")
            )
            > 1
            for node in logs.entries.values()
            if isinstance(node, DirectoryNode)
        )

    # Faults

    def kill(self, down_s: float) -> None:
        """kill -9."""
        if self.life is not None:
            self.life.die(silently=False)
        self.boot_after(down_s)

    def lose_power(self, down_s: float) -> None:
        if self.life is not None:
            self.life.die(silently=True)
        self.host.power_off()
        loss = self.disk.lose_power()
        self.simulation.trace.tell(f"{self.host.name} lost power: {loss.value}")
        self.boot_after(down_s)

    def stop(self, down_s: float) -> None:
        """SIGTERM."""
        if self.life is not None and self.life.ready is not None:
            self.life.is_stopping = True
            self.life.broker.stop()
        self.boot_after(down_s)

    def pause(self) -> None:
        if self.life is not None:
            self.life.process.pause()

    def resume(self) -> None:
        if self.life is not None and self.life.process.is_paused:
            self.life.process.resume()

    def stay_down(self) -> None:
        self.boot_at = inf
