"""The World of one life of a node, inside the simulation."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import trio

from kbroker.world import FileSync, Network
from tests.sim.cluster.processes import Process
from tests.sim.filesystem import SimulatedFilesystem

EPOCH_MS = 1_700_000_000_000


class WallClock:
    """A computer's clock: wrong by ``skew_ms``, and going ``drift`` times too fast."""

    def __init__(self, now: Callable[[], float], *, skew_ms: int = 0, drift: float = 0.0) -> None:
        self._now = now
        self.skew_ms = skew_ms
        self.drift = drift

    def __call__(self) -> int:
        return EPOCH_MS + self.skew_ms + int(self._now() * 1000 * (1 + self.drift))


class DiskTime:
    """How long blocking calls take: mostly nothing, sometimes as long as a sync, all longer by ``slowness``."""

    def __init__(self, wait_chance: float, wait_s_max: float) -> None:
        self.wait_chance = wait_chance
        self.wait_s_max = wait_s_max
        self.slowness = 1.0


class SimulatedWorld:
    """See ``kbroker.world.World``."""

    def __init__(
        self,
        *,
        process: Process,
        filesystem: SimulatedFilesystem,
        network: Network,
        generator: random.Random,
        wall_clock: WallClock,
        disk_time: DiskTime,
        host_name: str,
    ) -> None:
        self.process = process
        self.filesystem = filesystem
        self.network = network
        self.random = generator
        self.file_sync: FileSync | None = None
        self._wall_clock = wall_clock
        self._disk_time = disk_time
        self._host_name = host_name

    def wall_clock_ms(self) -> int:
        return self._wall_clock()

    def monotonic(self) -> float:
        return trio.current_time()

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def host_name(self) -> str:
        return self._host_name

    async def sleep(self, seconds: float) -> None:
        self.process.check()
        await trio.sleep(seconds)
        self.process.check()

    async def run_blocking(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Like a thread it cannot be cancelled, and like one it may be done before or after others get their turn."""
        await self.process.step("blocking")
        waits_first = self.random.random() < 0.5
        if waits_first:
            await self._wait()
        result = function(*arguments)
        if not waits_first:
            await self._wait()
        await self.process.step("unblocked")
        return result

    async def _wait(self) -> None:
        disk_time, generator = self._disk_time, self.random
        if generator.random() < disk_time.wait_chance:
            with trio.CancelScope(shield=True):
                await trio.sleep(generator.random() * disk_time.wait_s_max * disk_time.slowness)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
