"""A consumer of assigned partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.anomalies.history import Assigned, Isolation, Poll, Position
from tests.sim.cluster.clients.brokers import Partition, Unanswered
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.clients.fetching import Place, Truncated, fetch

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation


class Reader(Client):
    """Reads its partitions from their beginnings, one fetch after the other."""

    def __init__(
        self, simulation: Simulation, name: str, partitions: list[Partition], isolation: Isolation
    ) -> None:
        super().__init__(simulation, name)
        self._places = [Place(partition, 0) for partition in partitions]
        self._isolation: Isolation = isolation
        self._pace_s = self.random.choice((0.5, 1.5, 3.0))

    async def work(self) -> None:
        self._assigned()
        while not self.is_finishing:
            place = self.random.choice(self._places)
            begun = self.now
            try:
                found = await fetch(self.brokers, place, self._isolation, max_wait_ms=700)
            except Unanswered:
                await self.brokers.pause()
                continue
            except Truncated as truncated:
                if not self.simulation.may_take_back_reads:
                    self.found(str(truncated))
                place.offset, place.last_epoch, place.validated_epoch = 0, -1, -1
                self._assigned()
                continue
            if found is not None and found.records:
                self.progress += 1
                self.record(
                    Poll(
                        process=self.name,
                        begun=begun,
                        ended=self.now,
                        isolation=self._isolation,
                        records=tuple(found.records),
                        positions=(Position(*place.partition, place.offset),),
                    )
                )
            await self.brokers.pause(self._pace_s)

    def _assigned(self) -> None:
        positions = tuple((*place.partition, place.offset) for place in self._places)
        self.record(Assigned(process=self.name, at=self.now, positions=positions))
