"""Replicas on a disk whose syncs end when the test says so, or fail."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.partition import Partition
from kbroker.replication.replica_manager import NoLogDirectoryLeft, ReplicaManager
from storage.filesystem import File
from storage.log import AppendInfo
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from tests.running_broker import batch
from tests.storage.support import FailingFilesystem
from wire.errors import ApiError, ErrorCode

NODE = 1
TOPIC_ID = uuid.UUID(int=7)


@dataclass(frozen=True)
class State:
    leader: int = NODE
    leader_epoch: int = 0
    replicas: tuple[int, ...] = (NODE,)
    in_sync_replicas: tuple[int, ...] = (NODE,)

    @property
    def partition_epoch(self) -> int:
        """Rises as replicas are added, and as they leave the in-sync set."""
        return 2 * len(self.replicas) - len(self.in_sync_replicas)


class SlowWorld:
    """What takes time begins at once and goes on when ``proceed`` is called; with ``is_fast`` it does not wait."""

    def __init__(self) -> None:
        self.is_fast = True
        self.running = 0
        self.running_max = 0
        self.runs = 0
        self._parked = trio.lowlevel.ParkingLot()

    def monotonic(self) -> float:
        return trio.current_time()

    async def run_blocking(self, function: Callable[..., Any], *arguments: object) -> Any:
        self.runs += 1
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        try:
            if self.is_fast:
                await trio.lowlevel.checkpoint()
            else:
                await self._parked.park()
            return function(*arguments)
        finally:
            self.running -= 1

    async def proceed(self) -> None:
        """Let what runs now end, and everybody who waited for it go on."""
        await wait_all_tasks_blocked()
        self._parked.unpark_all()
        await wait_all_tasks_blocked()

    def stop_waiting(self) -> None:
        self.is_fast = True
        self._parked.unpark_all()


class Kernel:
    """Stands in for ``kbroker.kernel_sync``, on the same world's time."""

    def __init__(self, world: SlowWorld) -> None:
        self._world = world
        self.rounds: list[int] = []

    def takes(self, file: File) -> bool:
        return True

    async def sync(self, files: Sequence[File]) -> OSError | None:
        self.rounds.append(len(files))
        error: OSError | None = await self._world.run_blocking(_sync_each, files)
        return error


def _sync_each(files: Sequence[File]) -> OSError | None:
    try:
        for file in files:
            file.sync()
    except OSError as error:
        return error
    return None


class SlowDisk:
    """Replicas of topic ``t`` on two log directories, with group commit."""

    def __init__(self, directory: Path, *, with_kernel: bool = False) -> None:
        self.world = SlowWorld()
        self.filesystem = FailingFilesystem()
        self.enabled = True
        self.config = LogConfig()
        paths = [directory / "a", directory / "b"]
        for path in paths:
            path.mkdir()
        self.logs = LogManager(
            [str(path) for path in paths],
            filesystem=self.filesystem,
            clock_ms=lambda: 1_700_000_000_000,
            random_uuid=uuid.uuid4,
            random_below=random.Random(1).randrange,
        )
        self.logs.open(node_id=NODE)
        self.logs.load(lambda topic: self.config)
        self.kernel = Kernel(self.world)
        self.commits = GroupCommits(
            world=self.world,
            enabled=lambda: self.enabled,
            file_sync=self.kernel if with_kernel else None,
        )
        self.fatal: list[NoLogDirectoryLeft] = []
        self.offline: list[tuple[str, int]] = []
        self.replicas = ReplicaManager(
            node_id=NODE,
            log_manager=self.logs,
            on_no_directory_left=self.fatal.append,
            on_partitions_offline=self.offline.extend,
            commits=self.commits,
        )

    def lead(self, *states: State, config: LogConfig | None = None, min_in_sync: int = 1) -> list[Partition]:
        """Partitions 0, 1, … of the topic, led here if the states say so; they lie in the two directories by turns."""
        self.replicas.apply_topic(
            "t",
            TOPIC_ID,
            enumerate(states or (State(),)),
            config=config or self.config,
            min_in_sync_replicas=min_in_sync,
        )
        found = [self.replicas.get("t", index) for index in range(len(states or (State(),)))]
        return [partition for partition in found if partition is not None]

    async def warm_up(self, *partitions: Partition) -> None:
        """The first sync of a log has more to do than those that follow: get it over."""
        for partition in partitions:
            partition.append_as_leader(batch(b"first"), required_acks=-1)
        await wait_all_tasks_blocked()
        assert all(partition.committed_offset == partition.log_end_offset for partition in partitions)
        self.filesystem.synced.clear()
        self.world.runs = self.world.running_max = 0

    @property
    def segment_syncs(self) -> int:
        return sum(path.endswith(".log") for path in self.filesystem.synced)

    async def wait_until_committed(
        self, partition: Partition, info: AppendInfo, outcomes: list[ErrorCode]
    ) -> None:
        """As the Produce handler does, noting the answer."""
        try:
            with self.replicas.waiting_on_commit([(partition, info)]) as waiter:
                while not partition.is_committed(info):
                    waiter.rearm()
                    if partition.is_committed(info):
                        break
                    await waiter.wait()
        except ApiError as error:
            outcomes.append(error.code)
        else:
            outcomes.append(ErrorCode.NONE)

    def produce(
        self, nursery: trio.Nursery, partition: Partition, outcomes: list[ErrorCode], *values: bytes
    ) -> AppendInfo:
        """Append with acks=all; the answer is added to ``outcomes`` when it comes."""
        info = partition.append_as_leader(batch(*(values or (b"x",))), required_acks=-1)
        nursery.start_soon(self.wait_until_committed, partition, info, outcomes)
        return info


@asynccontextmanager
async def slow_disk(
    directory: Path, *, with_kernel: bool = False
) -> AsyncIterator[tuple[SlowDisk, trio.Nursery]]:
    """A SlowDisk with its group commits running, and a nursery for who waits."""
    disk = SlowDisk(directory, with_kernel=with_kernel)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(disk.commits.run, disk.replicas.sync_failed)
            try:
                yield disk, nursery
            finally:
                nursery.cancel_scope.cancel()
                disk.world.stop_waiting()  # a sync that runs is not cancelled
    disk.logs.abandon()
