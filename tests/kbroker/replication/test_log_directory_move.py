"""Moves between log directories as a broker carries them out: errors in Kafka's order, throttle, failing disks."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.log_directory_move import LogDirectoryMoves, Throttle
from kbroker.replication.partition import Partition, ReplicaState
from kbroker.replication.replica_manager import ReplicaManager
from storage.errors import StorageError
from storage.file_slice import FileSlice
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.log_move import LogMove, MoveState, Step
from storage.replica_register import REPLICA_REGISTER
from storage.topic_partition import TopicPartition
from tests.storage.support import TOPIC_ID, FailingFilesystem, batch, make_manager, read_all
from wire.errors import ApiError, ErrorCode

CONFIG = LogConfig(segment_bytes=4096, retention_ms=-1, file_delete_delay_ms=0)
NAME = TopicPartition("orders", 0)


class State:
    leader = 1
    leader_epoch = 0
    partition_epoch = 0
    replicas = (1,)
    in_sync_replicas = (1,)


class InlineWorld:
    """Threads that block the caller, after a breath; a clock that moves with the sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.before: Callable[[object], None] = lambda function: None
        """Called with what a thread is about to do."""

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await trio.lowlevel.checkpoint()

    async def run_blocking(self, function: Any, *arguments: object) -> Any:
        await trio.lowlevel.checkpoint()
        self.before(function)
        result = function(*arguments)
        await trio.lowlevel.checkpoint()
        return result


class Stage:
    """A broker's logs in two directories, as far as moves are concerned."""

    def __init__(self, path: Path) -> None:
        self.one, self.two = str(path / "1"), str(path / "2")
        self.filesystem = FailingFilesystem()
        self.world = InlineWorld()
        self.rate: int | None = None
        self.logs: LogManager = make_manager(path / "1", path / "2", filesystem=self.filesystem)
        self.logs.open(node_id=1)
        self.logs.load(lambda topic: CONFIG)
        self.commits = GroupCommits(world=self.world, enabled=lambda: True)
        self.failures: list[Exception] = []
        self.replicas = ReplicaManager(
            node_id=1, log_manager=self.logs, on_no_directory_left=self.failures.append, commits=self.commits
        )
        self.known: set[tuple[str, int]] = set()
        self.moves = LogDirectoryMoves(
            world=self.world,
            logs=self.logs,
            replicas=self.replicas,
            commits=self.commits,
            bytes_per_second=lambda: self.rate,
            threads=2,
            is_known=lambda topic, index: (topic, index) in self.known,
        )

    def create(self, topic: str = "orders", partitions: int = 1) -> Partition:
        for index in range(partitions):
            self.logs.prefer_directory(TopicPartition(topic, index), self.one)
        self.replicas.apply_topic(
            topic,
            TOPIC_ID,
            [(index, State()) for index in range(partitions)],
            config=CONFIG,
            min_in_sync_replicas=1,
        )
        return self.replicas.leader(topic, 0)

    def move(self, path: str, topic: str = "orders", index: int = 0) -> ErrorCode:
        try:
            self.moves.move(topic, index, path)
        except ApiError as error:
            return error.code
        return ErrorCode.NONE

    @property
    def log(self) -> Log:
        return self.logs.logs[NAME]

    async def moved_to(self, path: str) -> None:
        with trio.fail_after(5):
            while self.log.log_directory != path or list(self.logs.moves):
                await trio.lowlevel.checkpoint()
            for _ in range(20):
                await trio.lowlevel.checkpoint()

    async def wait_until(self, condition: Any) -> None:
        with trio.fail_after(5):
            while not condition():
                await trio.lowlevel.checkpoint()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.logs.abandon()


@asynccontextmanager
async def serving(stage: Stage) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.commits.run, stage.replicas.sync_failed)
        await nursery.start(stage.moves.run)
        yield
        await stage.moves.stop()
        await stage.commits.stop()


def append(partition: Partition, count: int = 1) -> None:
    for _ in range(count):
        partition.append_as_leader(batch(b"x" * 100), required_acks=-1)


@contextmanager
def disk(stage: Stage, code: int, *, syncs: bool = False) -> Iterator[None]:
    """The second directory's disk fails for a while."""

    def fail(path: str, position: int, size: int) -> int:
        return code if path.startswith(stage.two + "/orders") else 0

    if syncs:
        stage.filesystem.fail_sync = code
    else:
        stage.filesystem.fail_write = fail
    yield
    stage.filesystem.fail_sync = 0
    stage.filesystem.fail_write = lambda path, position, size: 0


class TestErrors:
    async def test_in_the_order_of_kafka(self, stage: Stage) -> None:
        partition = stage.create()
        assert stage.move("/nowhere", "x" * 215) is ErrorCode.INVALID_TOPIC_EXCEPTION
        assert stage.move("/nowhere", "nope") is ErrorCode.LOG_DIR_NOT_FOUND
        assert stage.move(stage.two + "/") is ErrorCode.LOG_DIR_NOT_FOUND
        stage.logs.is_cordoned = lambda path: path == stage.two
        assert stage.move(stage.two, "nope") is ErrorCode.INVALID_REPLICA_ASSIGNMENT
        assert stage.move(stage.two) is ErrorCode.INVALID_REPLICA_ASSIGNMENT
        stage.logs.is_cordoned = lambda path: False
        assert stage.move(stage.two, "nope") is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert stage.move(stage.two, "orders", 1) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        stage.known.add(("orders", 1))
        assert stage.move(stage.two, "orders", 1) is ErrorCode.REPLICA_NOT_AVAILABLE
        assert stage.move(stage.one) is ErrorCode.NONE
        stage.replicas.fail_directory(StorageError(stage.two, "broken"))
        assert stage.move(stage.two) is ErrorCode.KAFKA_STORAGE_ERROR
        assert stage.move(stage.one) is ErrorCode.NONE
        stage.replicas.fail_directory(StorageError(stage.one, "broken"))
        assert partition.state is ReplicaState.OFFLINE
        assert stage.move(stage.one) is ErrorCode.KAFKA_STORAGE_ERROR

    async def test_the_longest_name_that_can_be_moved(self, stage: Stage) -> None:
        assert stage.move(stage.one, "x" * 213) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert stage.move(stage.one, "x" * 214) is ErrorCode.INVALID_TOPIC_EXCEPTION

    async def test_a_partition_that_is_not_here_yet_is_made_where_it_was_wished(self, stage: Stage) -> None:
        stage.create("other", 3)  # so that the second directory would be the choice
        assert stage.move(stage.one) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        stage.replicas.apply_topic("orders", TOPIC_ID, [(0, State())], config=CONFIG, min_in_sync_replicas=1)
        assert stage.log.log_directory == stage.one


async def test_a_replica_moves_under_its_clients(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 100)
    old = stage.log
    read = partition.read(0, 1 << 20, offset_max=100, min_one_batch=True, with_aborted=False)
    assert isinstance(read.records, FileSlice)
    async with serving(stage):
        assert stage.move(stage.two) is ErrorCode.NONE
        while stage.log is old:
            append(partition)
            info = partition.append_as_leader(batch(b"y"), required_acks=-1)
            with stage.replicas.waiting_on_commit([(partition, info)]) as waiter:
                with trio.fail_after(5):
                    while not partition.is_committed(info):
                        waiter.rearm()
                        await waiter.wait()
        await stage.moved_to(stage.two)
        append(partition, 3)
    assert partition.log is stage.log
    assert [record.offset for record in read_all(partition.log)] == list(range(partition.log_end_offset))
    assert partition.high_watermark == partition.log_end_offset
    with read.records as records:  # of the old log, whose files are renamed by now
        assert len(records.read()) == read.size_bytes
    stage.logs.run_removals()
    assert not (Path(stage.one) / "orders-0").exists()


async def test_an_append_that_waits_for_the_disk_is_acknowledged_by_the_new_log(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 3)
    info = partition.append_as_leader(batch(), required_acks=1)
    async with serving(stage):
        stage.move(stage.two)
        await stage.moved_to(stage.two)
        await stage.wait_until(lambda: partition.is_committed(info))


async def test_a_new_wish_replaces_the_old_one(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 50)
    stage.rate = 0
    async with serving(stage):
        stage.move(stage.two)
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        [move] = stage.logs.moves
        stage.move(stage.two)
        assert list(stage.logs.moves) == [move]
        stage.move(stage.one)
        assert (move.is_over(), list(stage.logs.moves)) == (True, [])
        stage.rate = None
        stage.move(stage.two)
        await stage.moved_to(stage.two)


async def test_moves_go_on_after_a_restart(stage: Stage, tmp_path: Path) -> None:
    partition = stage.create()
    append(partition, 50)
    stage.rate = 0
    async with serving(stage):
        stage.move(stage.two)
        await trio.lowlevel.checkpoint()
    stage.logs.close()
    stage = Stage(tmp_path)
    stage.replicas.apply_topic("orders", TOPIC_ID, [(0, State())], config=CONFIG, min_in_sync_replicas=1)
    async with serving(stage):
        await stage.moved_to(stage.two)
    assert len(read_all(stage.log)) == 50
    stage.logs.abandon()


async def test_a_topic_deleted_while_it_moves(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 50)
    stage.rate = 10_000
    async with serving(stage):
        stage.move(stage.two)
        await stage.wait_until(lambda: any(move.log_end_offset for move in stage.logs.moves))
        stage.replicas.remove_topic("orders")
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert list(stage.logs.moves) == []
        stage.logs.context.clock_ms.now_ms += 60_000  # type: ignore[attr-defined]
        stage.logs.run_removals()
        for path in (stage.one, stage.two):
            assert [each.name for each in Path(path).iterdir() if each.is_dir()] == []


async def test_a_full_target_is_waited_for(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 50)
    async with serving(stage):
        with disk(stage, errno.ENOSPC):
            stage.move(stage.two)
            for _ in range(200):
                await trio.lowlevel.checkpoint()
            assert stage.log.log_directory == stage.one
            append(partition)
        await stage.moved_to(stage.two)
    assert len(read_all(stage.log)) == 51


async def test_a_target_without_room_for_a_sync_is_copied_to_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = stage.create()
    append(partition, 50)
    refused: list[LogMove] = []

    def flush_once(move: LogMove) -> None:
        refused.append(move)
        monkeypatch.undo()
        raise StorageError(stage.two, "cannot sync", OSError(errno.ENOSPC, "injected"))

    monkeypatch.setattr(LogMove, "flush", flush_once)
    async with serving(stage):
        stage.move(stage.two)
        await stage.moved_to(stage.two)
    assert refused[0].state is MoveState.ENDED
    assert len(read_all(stage.log)) == 50


async def test_a_target_that_fails_costs_only_the_move(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 50)
    async with serving(stage):
        with disk(stage, errno.EIO):
            stage.move(stage.two)
            await stage.wait_until(lambda: stage.logs.directories[1].error is not None)
        append(partition)
        assert list(stage.logs.moves) == []
        assert stage.move(stage.two) is ErrorCode.KAFKA_STORAGE_ERROR
    assert (len(read_all(stage.log)), stage.failures) == (51, [])


async def test_a_source_that_fails_ends_the_move(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 50)
    stage.rate = 1000
    async with serving(stage):
        stage.move(stage.two)
        await stage.wait_until(lambda: any(move.log_end_offset for move in stage.logs.moves))
        stage.replicas.fail_directory(StorageError(stage.one, "broken"))
        for _ in range(50):
            await trio.lowlevel.checkpoint()
    assert partition.state is ReplicaState.OFFLINE
    assert stage.logs.directories[1].error is None
    assert list(stage.logs.moves) == []


async def test_a_truncation_while_a_piece_is_copied(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 5)
    log = stage.log

    def replace_the_end(function: object) -> None:
        is_step = isinstance(getattr(function, "__self__", None), Step)
        if is_step and all(move.log is not None for move in stage.logs.moves):  # the first one opens it
            stage.world.before = lambda function: None
            log.truncate_to(2)
            append(partition)
            partition.append_as_leader(batch(b"something longer" * 10), required_acks=1)

    stage.world.before = replace_the_end
    async with serving(stage):
        stage.move(stage.two)
        await stage.moved_to(stage.two)
    assert [record.value for record in read_all(stage.log)] == [b"x" * 100] * 3 + [b"something longer" * 10]


async def test_a_damaged_log_stays_where_it_is(stage: Stage) -> None:
    partition = stage.create()
    append(partition, 5)
    path = Path(stage.log.directory) / f"{0:020d}.log"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    async with serving(stage):
        stage.move(stage.two)
        for _ in range(200):
            await trio.lowlevel.checkpoint()
        assert stage.log.log_directory == stage.one
        append(partition)
        # Somebody repairs it, and asks again.
        with path.open("r+b") as file:
            file.write(data)
        stage.move(stage.two)
        await stage.moved_to(stage.two)
    assert len(read_all(stage.log)) == 6


class TestThrottle:
    async def test_copying_keeps_to_the_rate(self) -> None:
        world = InlineWorld()
        throttle = Throttle(lambda: 1000, world)
        for _ in range(10):
            await throttle.wait()
            throttle.count(500)
        await throttle.wait()
        assert world.now == pytest.approx(5.0, abs=0.3)

    async def test_a_new_rate_counts_at_once(self) -> None:
        world = InlineWorld()
        rates = iter([1, 1, 1, 1])
        throttle = Throttle(lambda: next(rates, 1_000_000), world)
        throttle.count(100_000)
        await throttle.wait()
        assert world.now < 2

    async def test_nothing_passes_at_zero(self) -> None:
        world = InlineWorld()
        rate = 0
        throttle = Throttle(lambda: rate, world)
        passed = False

        async def wait() -> None:
            nonlocal passed
            await throttle.wait()
            passed = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            assert not passed
            rate = 1
        assert passed

    async def test_steps_are_small_where_the_rate_is(self) -> None:
        assert Throttle(lambda: 100_000, InlineWorld()).step_bytes == 25_000
        assert Throttle(lambda: 0, InlineWorld()).step_bytes == 4096
        assert Throttle(lambda: None, InlineWorld()).step_bytes == 512 * 1024


@pytest.mark.parametrize("is_flushed", [True, False], ids=["entered", "to be entered"])
async def test_the_register_tells_of_a_replica_where_it_was_moved_to(stage: Stage, is_flushed: bool) -> None:
    partition = stage.create()
    stage.logs.registers.vouch_for(NAME)
    append(partition, 3)
    if is_flushed:
        stage.log.flush()
    async with serving(stage):
        assert stage.move(stage.two) is ErrorCode.NONE
        await stage.moved_to(stage.two)
        old, new = (Path(directory) / REPLICA_REGISTER for directory in (stage.one, stage.two))
        assert new.read_text() == f"orders 0 {TOPIC_ID}\n"
        assert not old.exists() or old.read_text() == ""
