"""What all clients of the simulation have."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from tests.anomalies.history import Operation
from tests.sim.cluster.clients.brokers import Brokers
from tests.sim.cluster.network import HostNetwork
from tests.sim.cluster.processes import Process

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation


class Client:
    """A computer with one client on it, which works until ``is_finishing`` and then comes to an end.

    ``progress`` counts what has come off; where it ``must_progress`` there has to be some once everything has healed.
    """

    must_progress = False

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.simulation = simulation
        self.name = name
        self.random = random.Random(f"{simulation.seed} {name}")
        self.host = simulation.network.add_host(name, simulation.next_client_address())
        self.brokers = Brokers(
            HostNetwork(self.host, Process(name)),
            simulation.bootstrap,
            self.random,
            simulation.coverage,
            client_id=name,
            request_timeout_s=self.random.choice((2.0, 5.0, 12.0)),
        )
        self.is_finishing = False
        self.progress = 0
        self.finished = trio.Event()

    @property
    def now(self) -> float:
        return self.simulation.now()

    def record(self, operation: Operation) -> None:
        self.simulation.history.append(operation)

    def found(self, finding: str) -> None:
        self.simulation.found(f"{self.name}: {finding}")

    async def run(self) -> None:
        try:
            await self.work()
        finally:
            self.brokers.close()
        self.finished.set()

    async def work(self) -> None:
        raise NotImplementedError
