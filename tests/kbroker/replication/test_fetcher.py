"""A follower's fetcher against a leader's handlers, over a network in memory, on real logs."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from kbroker.client import BrokerClient
from kbroker.handlers.api_versions import ApiVersionsHandlers
from kbroker.handlers.fetch import FetchHandlers
from kbroker.handlers.fetch_session import FetchSessions
from kbroker.handlers.offsets import OffsetHandlers
from kbroker.handlers.table import HandlerTable
from kbroker.os_world import OsWorld
from kbroker.replication.fetcher import ReplicaFetchers
from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.partition import Partition
from kbroker.replication.ports import Standing
from kbroker.replication.quota import ReplicationQuota
from kbroker.replication.replica_manager import ReplicaManager
from kbroker.server.socket_server import ListenerBinding, ServerLimits, SocketServer
from kbroker.world import ConnectionLost
from storage.errors import StorageError
from storage.filesystem import OsFilesystem
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from tests.memory_network import MemoryNetwork
from tests.running_broker import batch
from wire.records import iterate_batches, read_records

TOPIC_ID = uuid.UUID(int=7)
PORT = 9000


@dataclass(frozen=True)
class State:
    leader: int = 1
    leader_epoch: int = 0
    partition_epoch: int = 0
    replicas: tuple[int, ...] = (1, 2)
    in_sync_replicas: tuple[int, ...] = (1, 2)


@dataclass
class Settings:
    num_replica_fetchers: int = 1
    replica_fetch_wait_max_ms: int = 500
    replica_fetch_min_bytes: int = 1
    replica_fetch_response_max_bytes: int = 10 << 20
    replica_fetch_max_bytes: int = 1 << 20
    replica_fetch_backoff_ms: int = 1000
    replica_socket_timeout_ms: int = 30_000


class Time:
    """trio's clock, and threads that are none."""

    def monotonic(self) -> float:
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def run_blocking(self, function: Callable[..., object], *arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)


class World(Time):
    """What a SocketServer needs of one."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self._real = OsWorld()

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@dataclass
class Node:
    """One broker's logs and replicas."""

    node_id: int
    directory: Path
    eligible: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.logs = LogManager(
            [str(self.directory)],
            filesystem=OsFilesystem(),
            clock_ms=lambda: 1_700_000_000_000,
            random_uuid=uuid.uuid4,
            random_below=random.Random(1).randrange,
        )
        self.logs.open(node_id=self.node_id)
        self.logs.load(lambda topic: LogConfig())
        self.commits = GroupCommits(world=Time(), enabled=lambda: True)
        self.replicas = ReplicaManager(
            node_id=self.node_id,
            log_manager=self.logs,
            on_no_directory_left=lambda failure: pytest.fail(str(failure)),
            commits=self.commits,
            standing=Standing(
                monotonic=trio.current_time, may_join=lambda node_id, epoch: node_id in self.eligible
            ),
        )

    def apply(self, *states: State, topic_id: uuid.UUID = TOPIC_ID) -> list[Partition]:
        self.replicas.apply_topic(
            "t", topic_id, enumerate(states), config=LogConfig(), min_in_sync_replicas=1
        )
        found = [self.replicas.get("t", index) for index in range(len(states))]
        return [partition for partition in found if partition is not None]


class NoChanges:
    """In-sync sets stay as they are; who would like them changed is noted."""

    def __init__(self) -> None:
        self.requests: list[Partition] = []

    def request(self, partition: Partition) -> None:
        self.requests.append(partition)

    def look_again(self, partition: Partition) -> None:
        return


class Pair:
    """Broker 1 serves what it leads; broker 2 follows."""

    def __init__(self, directory: Path) -> None:
        for name in ("one", "two"):
            (directory / name).mkdir()
        self.network = MemoryNetwork()
        self.leader = Node(1, directory / "one", {2})
        self.follower = Node(2, directory / "two")
        self.changes = NoChanges()
        self.leader.replicas.join_cluster(Nobody(), self.changes)
        self.broker_epoch = 11
        self.leader_limit: Callable[[], int | None] = lambda: None
        self.leader_quota = ReplicationQuota(
            bytes_per_second=lambda: self.leader_limit(),
            samples=lambda: 11,
            sample_s=lambda: 1,
            monotonic=trio.current_time,
        )
        self.is_reachable = True
        self.fetchers = ReplicaFetchers(
            node_id=2,
            peers=self,
            world=Time(),
            settings=Settings(),
            broker_epoch=lambda: self.broker_epoch,
            waits_for_disk=lambda: True,
            on_storage_error=self.follower.replicas.fail_directory,
        )
        self.follower.replicas.join_cluster(self.fetchers, NoChanges())
        self.sessions = FetchSessions(
            slots_max=10, random=random.Random(1), topic_name=self.leader.replicas.topic_name
        )

    async def connect(self, node_id: int) -> BrokerClient:
        """The Peers port."""
        if not self.is_reachable:
            raise ConnectionLost("out of reach")
        assert node_id == 1
        return await BrokerClient.connect(self.network, "127.0.0.1", PORT)

    async def serve(self, nursery: trio.Nursery) -> SocketServer:
        table = HandlerTable()

        async def keep() -> None:
            return

        table.register(
            ApiVersionsHandlers(served=table.rows, supported_features={}, finalized_features=lambda: (0, {})),
            FetchHandlers(
                partitions=self.leader.replicas,
                sessions=self.sessions,
                fetch_bytes_max=lambda: 1 << 20,
                clock_ms=lambda: 0,
                replica_quota=self.leader_quota,
            ),
            OffsetHandlers(partitions=self.leader.replicas, keep_log_start_offsets=keep),
        )
        server = SocketServer(
            table=table,
            world=World(self.network),  # type: ignore[arg-type]
            limits=ServerLimits(1 << 20, -1, 100, 100, {}, -1),
            broker_name="leader",
        )
        await server.bind([ListenerBinding("PLAINTEXT", "127.0.0.1", PORT)])
        await nursery.start(server.run)
        return server

    async def until(self, condition: Callable[[], bool], within_s: float = 5) -> float:
        """Virtual seconds until the condition holds."""
        began = trio.current_time()
        with trio.fail_after(within_s):
            while not condition():
                await trio.sleep(0.001)
        return trio.current_time() - began


class Nobody:
    """Broker 1 fetches nothing."""

    def follow(self, partition: Partition) -> None:
        return

    def unfollow(self, partition: Partition) -> None:
        return


@asynccontextmanager
async def running_pair(directory: Path) -> AsyncIterator[Pair]:
    pair = Pair(directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(pair.leader.commits.run, pair.leader.replicas.sync_failed)
        await nursery.start(pair.follower.commits.run, pair.follower.replicas.sync_failed)
        await pair.serve(nursery)
        await nursery.start(pair.fetchers.run)
        yield pair
        nursery.cancel_scope.cancel()
    for node in (pair.leader, pair.follower):
        node.logs.abandon()


def values(partition: Partition) -> list[bytes]:
    log = partition.log
    found = log.read(log.log_start_offset, 1 << 20, max_offset=log.log_end_offset)
    if found.records is None:
        return []
    with found.records as records:
        data = records.read()
    return [
        record.value or b""
        for position, _ in iterate_batches(data)
        for record in read_records(data, position, decompressed_bytes_max=1 << 20)
    ]


async def test_what_the_leader_has_is_copied_and_committed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [leader] = pair.leader.apply(State())
        info = leader.append_as_leader(batch(b"a", b"b"), required_acks=-1)
        assert not leader.is_committed(info)
        [follower] = pair.follower.apply(State())
        await pair.until(lambda: leader.high_watermark == 2)
        assert values(follower) == [b"a", b"b"]
        assert follower.log.recovery_point == 2  # on the disk before the leader was told
        assert leader.is_committed(info)
        await pair.until(lambda: follower.high_watermark == 2)


async def test_a_record_is_fetched_as_soon_as_it_is_there(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [leader] = pair.leader.apply(State())
        pair.follower.apply(State())
        await trio.sleep(3.2)  # in the middle of a fetch that waits
        leader.append_as_leader(batch(b"a"), required_acks=-1)
        assert await pair.until(lambda: leader.high_watermark == 1) < 0.05


async def test_a_partition_that_comes_later_is_not_kept_waiting_by_a_fetch_under_way(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        pair.leader.apply(State(), State())
        pair.follower.apply(State())
        await trio.sleep(3.2)
        second = pair.leader.replicas.leader("t", 1)
        second.append_as_leader(batch(b"a"), required_acks=-1)
        pair.follower.apply(State(), State())
        assert await pair.until(lambda: second.high_watermark == 1) < 0.05
        assert len(pair.sessions) == 1  # the session that was given up is gone


async def test_an_idle_session_costs_no_look_at_its_partitions(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        partitions = pair.leader.apply(*[State()] * 20)
        pair.follower.apply(*[State()] * 20)
        await trio.sleep(5)
        reads = 0
        for partition in partitions:
            read = partition.read

            def count(*arguments: object, read: Callable[..., object] = read, **named: object) -> object:
                nonlocal reads
                reads += 1
                return read(*arguments, **named)

            partition.read = count  # type: ignore[method-assign,assignment]
        await trio.sleep(5)
        assert reads == 0
        partitions[3].append_as_leader(batch(b"a"), required_acks=-1)
        await pair.until(lambda: partitions[3].high_watermark == 1)
        assert 0 < reads < 6


async def test_a_follower_that_has_other_records_is_cut_to_where_the_logs_part(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [follower] = pair.follower.apply(State(leader=2, in_sync_replicas=(2,)))
        follower.append_as_leader(batch(b"common"), required_acks=1)
        [leader] = pair.leader.apply(State(leader=2))
        leader.append_as_follower(bytearray(stored_batches(follower)))
        follower.append_as_leader(batch(b"lost"), required_acks=1)
        follower.append_as_leader(batch(b"lost too"), required_acks=1)
        pair.leader.apply(State(leader=1, leader_epoch=1, in_sync_replicas=(1,)))
        leader.append_as_leader(batch(b"kept"), required_acks=1)
        pair.follower.apply(State(leader=1, leader_epoch=1, in_sync_replicas=(1,)))
        await pair.until(lambda: follower.log_end_offset == 2)
        assert values(follower) == [b"common", b"kept"] == values(leader)


def stored_batches(partition: Partition) -> bytes:
    log = partition.log
    found = log.read(0, 1 << 20, max_offset=log.log_end_offset)
    assert found.records is not None
    with found.records as records:
        return bytes(records.read())


async def test_a_new_replica_begins_where_the_leader_begins(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [leader] = pair.leader.apply(State(in_sync_replicas=(1,)))
        for value in (b"a", b"b", b"c"):
            leader.append_as_leader(batch(value), required_acks=1)
        leader.delete_records_before(2)
        [follower] = pair.follower.apply(State(in_sync_replicas=(1,)))
        await pair.until(lambda: follower.log_end_offset == 3)
        assert (follower.log_start_offset, values(follower)) == (2, [b"c"])


async def test_a_follower_that_has_caught_up_is_proposed_for_the_in_sync_set(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [leader] = pair.leader.apply(State(in_sync_replicas=(1,)))
        leader.append_as_leader(batch(b"a"), required_acks=1)
        pair.follower.apply(State(in_sync_replicas=(1,)))
        await pair.until(lambda: bool(pair.changes.requests))
        proposal = leader.in_sync_proposal()
        assert proposal is not None
        assert proposal.in_sync_replicas == ((1, -1), (2, 11))


async def test_a_follower_that_registered_anew_tells_again_how_far_it_is(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [leader] = pair.leader.apply(State(in_sync_replicas=(1,)))
        pair.broker_epoch = -1
        pair.follower.apply(State(in_sync_replicas=(1,)))
        await trio.sleep(2)
        assert leader.leadership.followers[2].log_end_offset == 0
        assert not pair.changes.requests  # not before it has registered
        for epoch in (11, 17):
            pair.broker_epoch = epoch
            await pair.until(lambda epoch=epoch: leader.leadership.followers[2].broker_epoch == epoch)
        assert pair.changes.requests == [leader]


async def test_a_follower_that_left_the_in_sync_set_says_anew_how_far_it_is(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Though there is no news of the partition, and neither connection nor session was lost."""
    async with running_pair(tmp_path) as pair:
        leader, other = pair.leader.apply(State(), State())
        pair.follower.apply(State(), State())
        await trio.sleep(5)
        told: list[int] = []
        noted = other.follower_fetched

        def note(*arguments: Any, **named: Any) -> None:
            told.append(1)
            noted(*arguments, **named)

        other.follower_fetched = note  # type: ignore[method-assign]
        pair.leader.apply(State(in_sync_replicas=(1,), partition_epoch=1), State())
        assert not leader.leadership.followers[2].has_told
        await pair.until(lambda: pair.changes.requests == [leader])
        assert leader.leadership.followers[2].has_told
        await trio.sleep(5)
        assert not told and len(pair.sessions) == 1


async def test_a_lost_leader_is_sought_until_it_is_there_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        pair.is_reachable = False
        [leader] = pair.leader.apply(State())
        pair.follower.apply(State())
        leader.append_as_leader(batch(b"a"), required_acks=-1)
        await trio.sleep(20)
        pair.is_reachable = True
        assert await pair.until(lambda: leader.high_watermark == 1) <= 1.0


async def test_a_follower_ahead_of_its_leader_in_the_metadata_soon_tries_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        [leader] = pair.leader.apply(State(leader_epoch=4))
        pair.follower.apply(State(leader_epoch=5))
        await trio.sleep(0.1)
        pair.leader.apply(State(leader_epoch=5, partition_epoch=1))
        leader.append_as_leader(batch(b"a"), required_acks=-1)
        assert await pair.until(lambda: leader.high_watermark == 1) < 0.5


async def test_one_that_catches_up_does_not_keep_others_waiting(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        behind, live = pair.leader.apply(State(), State())
        for _ in range(300):  # an answer has room for ten of them
            behind.append_as_leader(batch(b"x" * 100_000), required_acks=1)
        appended = live.append_as_leader(batch(b"a"), required_acks=-1)
        with pair.leader.replicas.waiting_on_commit([(live, appended)]) as waiter:
            pair.follower.apply(State(), State())
            while not live.is_committed(appended):
                await waiter.wait()
                waiter.rearm()
        assert behind.leadership is not None
        assert behind.leadership.followers[2].log_end_offset < 100


async def test_a_read_that_fails_the_directory_is_answered_and_nobody_is_forgotten(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_pair(tmp_path) as pair:
        leaders = pair.leader.apply(State(), State(), State())
        pair.follower.apply(State(), State(), State())
        await trio.sleep(3)  # all are told and quiet
        failures: list[object] = []
        pair.leader.replicas._on_no_directory_left = failures.append

        def read(*arguments: object, **options: object) -> object:
            raise StorageError(str(pair.leader.directory), "cannot read", OSError(5, "EIO"))

        leaders[1].log.read = read  # type: ignore[method-assign]
        for partition in leaders[:2]:
            partition.append_as_leader(batch(b"b"), required_acks=1)
        await trio.sleep(3)
        assert failures
        assert not [record for record in caplog.records if record.exc_info]
