"""Partitions that a full disk keeps from what the metadata says of them, and replicas in failed directories."""

from __future__ import annotations

import errno
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kbroker.replication.partition import Partition, ReplicaState
from kbroker.replication.replica_manager import NoLogDirectoryLeft, ReplicaManager
from storage.errors import StorageError
from storage.log_config import LogConfig
from storage.replica_register import REPLICA_REGISTER
from storage.topic_partition import TopicPartition
from tests.storage.support import FailingFilesystem, ManualClock, batch, disk_full, make_manager
from wire.errors import ApiError, ErrorCode

NODE = 1
TOPIC_ID = uuid.UUID(int=5)
NAME = TopicPartition("t", 0)


@dataclass(frozen=True)
class State:
    leader: int = NODE
    leader_epoch: int = 0
    partition_epoch: int = 0
    replicas: tuple[int, ...] = (NODE, 2)
    in_sync_replicas: tuple[int, ...] = (NODE, 2)


class Followed:
    """Fetchers that only remember whom they follow."""

    def __init__(self) -> None:
        self.leaders: dict[str, int] = {}

    def follow(self, partition: Partition) -> None:
        self.leaders[partition.topic] = partition.leader

    def unfollow(self, partition: Partition) -> None:
        self.leaders.pop(partition.topic, None)


class NoChanges:
    def request(self, partition: Partition) -> None:
        return

    def look_again(self, partition: Partition) -> None:
        return


class Stage:
    """A replica manager on two log directories whose disks can fill up."""

    def __init__(self, path: Path) -> None:
        self.directories = [path / "a", path / "b"]
        for directory in self.directories:
            directory.mkdir()
        self.filesystem = FailingFilesystem()
        self.clock = ManualClock()
        self.offline: list[tuple[str, int]] = []
        self.fatal: list[NoLogDirectoryLeft] = []
        self.fetchers = Followed()
        self.start()

    def start(self) -> None:
        self.logs = make_manager(*self.directories, clock=self.clock, filesystem=self.filesystem)
        self.logs.open(node_id=NODE)
        self.logs.load(lambda topic: LogConfig())
        self.manager = ReplicaManager(
            node_id=NODE,
            log_manager=self.logs,
            on_no_directory_left=self.fatal.append,
            on_partitions_offline=self.offline.extend,
            is_known=lambda topic, index: True,
        )
        self.manager.join_cluster(self.fetchers, NoChanges())

    def apply(self, state: State, *, is_new: bool = True, topic_id: uuid.UUID = TOPIC_ID) -> None:
        self.manager.apply_topic(
            "t", topic_id, [(0, state)], config=LogConfig(), min_in_sync_replicas=1, are_new=is_new
        )

    def error(self) -> ErrorCode:
        try:
            self.manager.leader("t", 0)
        except ApiError as error:
            return error.code
        return ErrorCode.NONE


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.logs.abandon()


def test_a_partition_for_which_there_is_no_room_waits_to_be_applied_again(stage: Stage) -> None:
    stage.filesystem.fail_write = disk_full
    stage.apply(State())
    assert stage.manager.waiting_for_room == {"t": [0]}
    assert stage.error() is ErrorCode.KAFKA_STORAGE_ERROR
    stage.apply(State())
    assert stage.manager.waiting_for_room == {"t": [0]}
    stage.filesystem.fail_write = lambda path, position, size: 0
    stage.apply(State(), is_new=False)
    assert stage.manager.waiting_for_room == {}
    assert stage.error() is ErrorCode.NONE
    assert (stage.offline, stage.fatal) == ([], [])


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "reassigned"])
def test_a_partition_that_is_gone_waits_for_room_no_more(stage: Stage, is_deleted: bool) -> None:
    stage.filesystem.fail_write = disk_full
    stage.apply(State())
    if is_deleted:
        stage.manager.remove_topic("t")
    else:
        stage.apply(State(leader=2, replicas=(2, 3), in_sync_replicas=(2,)))
    assert stage.manager.waiting_for_room == {}


def test_what_a_full_disk_left_of_a_log_is_not_in_the_way_of_one_elsewhere(stage: Stage) -> None:
    """Else the next start would find the log in two directories."""
    first, second = map(str, stage.directories)
    stage.filesystem.fail_write = lambda path, position, size: errno.ENOSPC if path.startswith(first) else 0
    stage.apply(State())
    stage.logs.is_cordoned = lambda path: path == first
    stage.apply(State())
    log = stage.logs.get(NAME)
    assert log is not None
    assert log.log_directory == second
    stage.logs.abandon()
    stage.filesystem.fail_write = lambda path, position, size: 0
    stage.start()
    log = stage.logs.get(NAME)
    assert log is not None
    assert log.log_directory == second


def test_a_new_partition_that_waits_for_room_stays_new(stage: Stage) -> None:
    """A directory that fails meanwhile cannot have its log."""
    stage.filesystem.fail_write = disk_full
    stage.apply(State())
    stage.filesystem.fail_write = lambda path, position, size: 0
    stage.manager.fail_directory(StorageError(str(stage.directories[0]), "broken", OSError(errno.EIO, "")))
    stage.apply(State(), is_new=False)
    assert stage.error() is ErrorCode.NONE


@pytest.mark.parametrize("leads", [True, False])
def test_a_role_changes_although_there_is_no_room_to_vouch_for_the_replica(stage: Stage, leads: bool) -> None:
    stage.apply(State(in_sync_replicas=(2,), leader=2))
    log = stage.logs.get(NAME)
    assert log is not None
    log.append_as_leader(batch(b"x"), 0)
    log.flush()
    stage.filesystem.fail_write = lambda path, position, size: errno.ENOSPC * path.endswith(REPLICA_REGISTER)
    leader = NODE if leads else 3
    state = State(leader=leader, leader_epoch=1, partition_epoch=1)
    stage.apply(state)
    partition = stage.manager.get("t", 0)
    assert partition is not None
    assert partition.state is (ReplicaState.LEADER if leads else ReplicaState.FOLLOWER)
    assert stage.fetchers.leaders == ({} if leads else {"t": 3})
    assert stage.manager.waiting_for_room == {"t": [0]}
    stage.filesystem.fail_write = lambda path, position, size: 0
    stage.apply(state)
    assert stage.manager.waiting_for_room == {}
    assert (Path(log.log_directory) / REPLICA_REGISTER).read_text() == f"t 0 {TOPIC_ID}\n"


def test_a_partition_that_waits_for_room_is_logged_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage.filesystem.fail_write = disk_full
    for _ in range(5):
        stage.apply(State())
        stage.clock.now_ms += 60_000
    assert [record.levelname for record in caplog.records if "no room" in record.message] == ["ERROR"]


def fail(stage: Stage, directory: Path) -> None:
    stage.manager.fail_directory(StorageError(str(directory), "broken", OSError(errno.EIO, "")))


def hide(directory: Path, away: Path) -> None:
    """The directory's disk is dead at the next start."""
    directory.rename(away)
    directory.write_text("not a directory")


def bring_back(directory: Path, away: Path) -> None:
    directory.unlink()
    away.rename(directory)


@pytest.mark.parametrize("when", ["in service", "before the start"])
def test_a_replica_that_went_while_its_directory_was_away_can_come_back(
    stage: Stage, tmp_path: Path, when: str
) -> None:
    first = stage.directories[0]
    stage.logs.prefer_directory(NAME, str(first))
    stage.apply(State())
    old = stage.logs.get(NAME)
    assert old is not None
    old.append_as_leader(batch(b"old"), 0)
    old.flush()
    if when == "in service":
        fail(stage, first)
    else:
        stage.logs.abandon()
        hide(first, tmp_path / "away")
        stage.start()
        stage.apply(State(), is_new=False)
    assert stage.error() is ErrorCode.KAFKA_STORAGE_ERROR
    stage.apply(State(leader=2, partition_epoch=1, replicas=(2, 3), in_sync_replicas=(2, 3)), is_new=False)
    stage.apply(State(partition_epoch=2), is_new=True)
    assert stage.error() is ErrorCode.NONE
    new = stage.logs.get(NAME)
    assert new is not None
    new.append_as_leader(batch(b"new"), 1)
    stage.logs.abandon()
    # And the log that the directory still has is not in the way of the next start.
    if when == "before the start":
        bring_back(first, tmp_path / "away")
    stage.start()
    assert {name: log.directory for name, log in stage.logs.logs.items()} == {NAME: new.directory}


@pytest.mark.parametrize("when", ["in service", "before the start"])
def test_a_replica_that_is_offline_resigns_whenever_it_is_taken_for_in_sync(
    stage: Stage, tmp_path: Path, when: str
) -> None:
    """The leader may have handled a fetch of before late, when it had left the in-sync set already."""
    stage.logs.prefer_directory(NAME, str(stage.directories[0]))
    stage.apply(State(leader=2))
    if when == "in service":
        fail(stage, stage.directories[0])
        assert stage.offline == [("t", 0)]
    else:
        stage.logs.abandon()
        hide(stage.directories[0], tmp_path / "away")
        stage.start()
    stage.offline.clear()
    stage.apply(State(leader=2, partition_epoch=1, in_sync_replicas=(2,)), is_new=False)
    assert stage.offline == []
    stage.apply(State(leader=2, partition_epoch=2), is_new=False)
    assert stage.offline == [("t", 0)]
    # Where there is nobody to resign to it would only be elected again, if so it was.
    stage.apply(State(partition_epoch=3, in_sync_replicas=(NODE,)), is_new=False)
    assert stage.offline == [("t", 0)]
