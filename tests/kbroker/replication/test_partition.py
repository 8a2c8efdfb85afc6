"""A partition's leader state, its high watermark, and who waits for it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from kbroker.replication.replica_manager import NoLogDirectoryLeft, ReplicaManager
from kbroker.replication.shard_log import PartitionShardLog
from storage.errors import StorageError
from storage.filesystem import OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from tests.running_broker import batch
from wire.errors import ApiError, ErrorCode
from wire.records import Record, read_records

NODE = 1
TOPIC_ID = uuid.UUID(int=5)


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


class Replicas:
    """A replica manager on two log directories."""

    def __init__(self, directories: list[Path]) -> None:
        self.logs = LogManager(
            [str(directory) for directory in directories],
            filesystem=OsFilesystem(),
            clock_ms=lambda: 1_700_000_000_000,
            random_uuid=uuid.uuid4,
            random_below=random.Random(1).randrange,
        )
        self.logs.open(node_id=NODE)
        self.logs.load(lambda topic: LogConfig())
        self.fatal: list[NoLogDirectoryLeft] = []
        self.manager = self.new_manager()

    def new_manager(self) -> ReplicaManager:
        return ReplicaManager(node_id=NODE, log_manager=self.logs, on_no_directory_left=self.fatal.append)

    def apply(
        self, *states: State, topic: str = "t", topic_id: uuid.UUID = TOPIC_ID, min_in_sync: int = 1
    ) -> None:
        self.manager.apply_topic(
            topic, topic_id, enumerate(states), config=LogConfig(), min_in_sync_replicas=min_in_sync
        )


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    made = Replicas([tmp_path / "a", tmp_path / "b"])
    yield made
    made.logs.abandon()


def code_of(error: pytest.ExceptionInfo[ApiError]) -> ErrorCode:
    return error.value.code


def test_a_leader_appends_and_its_high_watermark_follows(replicas: Replicas) -> None:
    replicas.apply(State(leader_epoch=3))
    partition = replicas.manager.leader("t", 0)
    info = partition.append_as_leader(batch(b"a", b"b"), required_acks=-1)
    assert (info.first_offset, info.last_offset) == (0, 1)
    assert partition.high_watermark == 2
    assert partition.is_committed(info)
    assert partition.end_offset_for_epoch(3) == (3, 2)


def test_with_another_replica_in_sync_the_high_watermark_waits(replicas: Replicas) -> None:
    replicas.apply(State(replicas=(1, 2), in_sync_replicas=(1, 2)))
    partition = replicas.manager.leader("t", 0)
    info = partition.append_as_leader(batch(b"a"), required_acks=1)
    assert partition.high_watermark == 0
    assert not partition.is_committed(info)
    replicas.apply(State(replicas=(1, 2), in_sync_replicas=(1,)))
    assert partition.high_watermark == 1


def test_acks_all_needs_min_insync_replicas_as_far_as_there_are_replicas(replicas: Replicas) -> None:
    replicas.apply(State(replicas=(1, 2), in_sync_replicas=(1,)), min_in_sync=2)
    partition = replicas.manager.leader("t", 0)
    with pytest.raises(ApiError) as refused:
        partition.append_as_leader(batch(b"a"), required_acks=-1)
    assert code_of(refused) is ErrorCode.NOT_ENOUGH_REPLICAS
    assert partition.log_end_offset == 0
    partition.append_as_leader(batch(b"a"), required_acks=1)
    replicas.apply(State(leader_epoch=1), min_in_sync=2)
    partition.append_as_leader(batch(b"b"), required_acks=-1)


def test_a_retry_of_what_was_appended_is_not_told_that_it_was_not(replicas: Replicas) -> None:
    replicas.apply(State(replicas=(1, 2), in_sync_replicas=(1, 2)), min_in_sync=2)
    partition = replicas.manager.leader("t", 0)
    producer = {"producer_id": 7, "producer_epoch": 0}
    first = partition.append_as_leader(batch(b"a", base_sequence=0, **producer), required_acks=-1)
    replicas.apply(State(replicas=(1, 2), in_sync_replicas=(1,)), min_in_sync=2)
    again = partition.append_as_leader(batch(b"a", base_sequence=0, **producer), required_acks=-1)
    assert (again.first_offset, again.is_duplicate) == (first.first_offset, True)
    assert not partition.is_committed(again)
    with pytest.raises(ApiError) as refused:
        partition.append_as_leader(batch(b"b", base_sequence=1, **producer), required_acks=-1)
    assert code_of(refused) is ErrorCode.NOT_ENOUGH_REPLICAS


def test_leader_epochs_fence_clients(replicas: Replicas) -> None:
    replicas.apply(State(leader_epoch=5))
    partition = replicas.manager.leader("t", 0)
    partition.check_leader_epoch(-1)
    partition.check_leader_epoch(5)
    with pytest.raises(ApiError) as fenced:
        partition.check_leader_epoch(4)
    assert code_of(fenced) is ErrorCode.FENCED_LEADER_EPOCH
    with pytest.raises(ApiError) as unknown:
        partition.check_leader_epoch(6)
    assert code_of(unknown) is ErrorCode.UNKNOWN_LEADER_EPOCH


def test_an_older_epoch_of_the_metadata_changes_nothing(replicas: Replicas) -> None:
    replicas.apply(State(leader_epoch=5))
    replicas.apply(State(leader_epoch=4))
    assert replicas.manager.leader("t", 0).leader_epoch == 5


def test_a_partition_led_elsewhere_is_not_served(replicas: Replicas) -> None:
    replicas.apply(State(leader=2, replicas=(1, 2)))
    with pytest.raises(ApiError) as refused:
        replicas.manager.leader("t", 0)
    assert code_of(refused) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    with pytest.raises(ApiError) as unknown:
        replicas.manager.leader("t", 1)
    assert code_of(unknown) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_topic_created_anew_under_its_name_starts_empty(replicas: Replicas) -> None:
    replicas.apply(State())
    replicas.manager.leader("t", 0).append_as_leader(batch(b"a"), required_acks=1)
    other = uuid.UUID(int=6)
    replicas.apply(State(), topic_id=other)
    partition = replicas.manager.leader("t", 0)
    assert (partition.topic_id, partition.log_end_offset) == (other, 0)
    assert replicas.manager.topic_name(TOPIC_ID) is None
    assert replicas.manager.topic_name(other) == "t"


async def test_removing_a_topic_wakes_who_waits_and_takes_the_log_away(replicas: Replicas) -> None:
    replicas.apply(State())
    partition = replicas.manager.leader("t", 0)
    directory = Path(partition.log.directory)
    with trio.fail_after(5), replicas.manager.waiting_on([partition]) as waiter:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiter.wait)
            await wait_all_tasks_blocked()
            replicas.manager.remove_topic("t")
    assert not directory.exists()
    with pytest.raises(ApiError) as closed:
        partition.append_as_leader(batch(b"a"), required_acks=1)
    assert code_of(closed) is ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_an_append_wakes_each_waiter_once_and_leaves_none_registered(replicas: Replicas) -> None:
    replicas.apply(State(), State())
    first, second = replicas.manager.leader("t", 0), replicas.manager.leader("t", 1)
    with replicas.manager.waiting_on([first, second]) as waiter:
        second.append_as_leader(batch(b"a"), required_acks=1)
        with trio.fail_after(5):
            await waiter.wait()
        waiter.rearm()
        with trio.move_on_after(0.01) as nothing_more:
            await waiter.wait()
        assert nothing_more.cancelled_caught
    assert first.progress.waiter_count == second.progress.waiter_count == 0


def test_a_failed_directory_takes_its_partitions_offline_and_no_others(replicas: Replicas) -> None:
    replicas.apply(State(), State())
    first, second = replicas.manager.leader("t", 0), replicas.manager.leader("t", 1)
    assert first.log.log_directory != second.log.log_directory
    replicas.manager.fail_directory(StorageError(first.log.log_directory, "broken", OSError(5, "I/O error")))
    with pytest.raises(ApiError) as offline:
        replicas.manager.leader("t", 0)
    assert code_of(offline) is ErrorCode.KAFKA_STORAGE_ERROR
    replicas.manager.leader("t", 1).append_as_leader(batch(b"a"), required_acks=1)
    assert not replicas.fatal
    replicas.manager.fail_directory(StorageError(second.log.log_directory, "broken", OSError(5, "I/O error")))
    assert len(replicas.fatal) == 1


def test_a_directory_that_fails_while_a_partition_is_taken_up_stops_nobody_else(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_the_first(log: Log, epoch: int, start_offset: int) -> None:
        if log.topic_partition.partition == 0:
            raise StorageError(log.log_directory, "broken", OSError(5, "I/O error"))

    monkeypatch.setattr(Log, "assign_epoch_start_offset", fail_for_the_first)
    replicas.apply(State(), State())
    with pytest.raises(ApiError) as offline:
        replicas.manager.leader("t", 0)
    assert code_of(offline) is ErrorCode.KAFKA_STORAGE_ERROR
    replicas.manager.leader("t", 1)


def test_a_full_disk_does_not_keep_a_partition_from_being_led(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(log: Log, epoch: int, start_offset: int) -> None:
        raise StorageError(log.log_directory, "full", OSError(28, "No space left on device"))

    monkeypatch.setattr(Log, "assign_epoch_start_offset", fail)
    replicas.apply(State(leader_epoch=4))
    partition = replicas.manager.leader("t", 0)
    partition.append_as_leader(batch(b"a"), required_acks=1)
    assert partition.log.latest_epoch == 4


def test_a_full_disk_is_not_a_failed_directory(replicas: Replicas) -> None:
    replicas.apply(State())
    partition = replicas.manager.leader("t", 0)
    replicas.manager.fail_directory(
        StorageError(partition.log.log_directory, "full", OSError(28, "No space left on device"))
    )
    partition.append_as_leader(batch(b"a"), required_acks=1)


def test_logs_that_the_metadata_does_not_know_are_set_aside(replicas: Replicas) -> None:
    replicas.apply(State())
    known = Path(replicas.manager.leader("t", 0).log.directory)
    replicas.apply(State(), topic="stray", topic_id=uuid.UUID(int=9))
    stray = Path(replicas.manager.leader("stray", 0).log.directory)
    again = replicas.new_manager()
    again.remove_strays(lambda name, topic_id: topic_id == TOPIC_ID, lambda topic, topic_id: False)
    again.apply_topic("t", TOPIC_ID, [(0, State())], config=LogConfig(), min_in_sync_replicas=1)
    assert known.exists()
    assert not stray.exists()
    assert [path.name for path in stray.parent.iterdir() if path.name.endswith("-stray")]


# The coordinator's view


async def test_a_shard_log_appends_and_reads_back_everything(replicas: Replicas) -> None:
    replicas.apply(State())
    log = PartitionShardLog(replicas.manager.leader("t", 0))
    assert log.append([Record(0, 1, b"k", b"v"), Record(1, 1, b"k2", None)]) == 2
    assert log.append([Record(0, 1, b"k3", b"v3")]) == 3
    with trio.fail_after(5):
        await log.wait_committed(3)
    assert log.high_watermark == 3
    pieces = b"".join(log.read_all())
    first = read_records(pieces, 0, decompressed_bytes_max=1000)
    assert [(record.offset, record.key, record.value) for record in first] == [
        (0, b"k", b"v"),
        (1, b"k2", None),
    ]


async def test_a_shard_log_that_is_lost_ends_the_wait(replicas: Replicas) -> None:
    replicas.apply(State(replicas=(1, 2), in_sync_replicas=(1, 2)))
    log = PartitionShardLog(replicas.manager.leader("t", 0))
    end = log.append([Record(0, 1, b"k", b"v")])

    async def wait() -> None:
        with pytest.raises(ApiError) as lost:
            await log.wait_committed(end)
        assert code_of(lost) is ErrorCode.NOT_LEADER_OR_FOLLOWER

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            replicas.manager.remove_topic("t")
