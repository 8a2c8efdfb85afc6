"""Which replicas ever had records on the disk: told through crashes, and apart from those that were lost."""

from __future__ import annotations

import errno
import random
from uuid import UUID

import pytest

from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.replica_register import REPLICA_REGISTER, Entry, ReplicaRegister, Standing
from storage.topic_partition import TopicPartition
from tests.running_broker import batch
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import Fault, SimulatedFilesystem

DIRECTORY = "/data"
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
ID, OTHER_ID = UUID(int=1), UUID(int=2)


@pytest.fixture
def disk() -> Disk:
    made = Disk(random.Random(1), lambda: 1_700_000_000_000, Coverage())
    SimulatedFilesystem(made).make_directories(DIRECTORY)
    SimulatedFilesystem(made).sync_directory("/")
    return made


def register_on(disk: Disk) -> ReplicaRegister:
    found = ReplicaRegister(SimulatedFilesystem(disk), DIRECTORY)
    found.load()
    return found


def manager_on(disk: Disk, *directories: str) -> LogManager:
    manager = LogManager(
        directories or [DIRECTORY],
        filesystem=SimulatedFilesystem(disk),
        clock_ms=lambda: 1_700_000_000_000,
        random_uuid=lambda: UUID(int=7, version=4),
        random_below=lambda n: 0,
    )
    manager.open(node_id=1)
    manager.load(lambda topic: LogConfig())
    return manager


def test_what_was_entered_survives_the_loss_of_power(disk: Disk) -> None:
    register_on(disk).add(T0, ID)
    disk.lose_power()
    found = register_on(disk)
    assert found.has(T0, ID)
    assert not found.has(T0, OTHER_ID)
    assert not found.has(T1, ID)


def test_a_line_that_was_cut_short_vouches_for_nothing_and_is_written_over(disk: Disk) -> None:
    register_on(disk).add(T0, ID)
    filesystem = SimulatedFilesystem(disk)
    path = f"{DIRECTORY}/{REPLICA_REGISTER}"
    filesystem.write_file(path, filesystem.read_file(path) + b"t 1 0000", sync=True)
    found = register_on(disk)
    assert list(found.entries) == [T0]
    found.add(T1, OTHER_ID)
    assert register_on(disk).has(T1, OTHER_ID)


def test_a_lost_replica_stays_lost_until_it_has_records_again(disk: Disk) -> None:
    register = register_on(disk)
    register.add(T0, ID)
    for standing in (Standing.LOST, Standing.RESIGNED):
        register.mark({T0: ID}, standing)
        assert register_on(disk).entries[T0] == Entry(ID, standing)
        assert not register_on(disk).has(T0, ID)
    register_on(disk).add(T0, ID)
    assert register_on(disk).has(T0, ID)


def test_who_is_not_known_any_more_is_struck_out(disk: Disk) -> None:
    register = register_on(disk)
    register.add(T0, ID)
    register.add(T1, OTHER_ID)
    register.keep_only(lambda name, topic_id: topic_id == ID)
    assert list(register_on(disk).entries) == [T0]


def test_a_directory_is_new_until_its_replicas_have_been_told(disk: Disk) -> None:
    manager = manager_on(disk)
    assert manager.registers.has_new_directory
    manager.registers.forget_replicas(lambda name, topic_id: True)
    manager.abandon()
    again = manager_on(disk)
    assert not again.registers.has_new_directory
    again.abandon()


@pytest.mark.parametrize("has_records", [True, False])
def test_a_missing_log_is_lost_if_records_of_it_were_ever_on_the_disk(disk: Disk, has_records: bool) -> None:
    manager = manager_on(disk)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    log = manager.create(T0, ID, LogConfig())
    manager.registers.vouch_for(T0)
    if has_records:
        log.append_as_leader(batch(b"x"), 0)
        log.flush()
    manager.abandon()
    filesystem = SimulatedFilesystem(disk)
    for entry in filesystem.scan(f"{DIRECTORY}/t-0"):
        filesystem.remove(f"{DIRECTORY}/t-0/{entry.name}")
    filesystem.remove_directory(f"{DIRECTORY}/t-0")
    again = manager_on(disk)
    assert again.registers.is_lost(T0, ID) is has_records
    assert not again.registers.is_lost(T0, OTHER_ID)
    # A log made in its place does not make it what it was.
    again.create(T0, ID, LogConfig())
    assert again.registers.is_lost(T0, ID) is has_records
    again.abandon()


def test_a_replica_with_records_is_entered_before_a_flush_is_finished(disk: Disk) -> None:
    manager = manager_on(disk)
    log = manager.create(T0, ID, LogConfig())
    manager.registers.vouch_for(T0)
    log.append_as_leader(batch(b"x"), 0)
    pending = log.begin_flush()
    assert pending is not None
    assert pending.plain_files == []  # there is more to do than to sync files
    pending.sync()
    assert register_on(disk).has(T0, ID)
    pending.finish()
    log.append_as_leader(batch(b"y"), 0)
    following = log.begin_flush()
    assert following is not None
    assert following.plain_files
    following.abandon()
    manager.abandon()


SECOND = "/data2"


@pytest.fixture
def two(disk: Disk) -> Disk:
    SimulatedFilesystem(disk).make_directories(SECOND)
    SimulatedFilesystem(disk).sync_directory("/")
    return disk


def both(disk: Disk) -> LogManager:
    return manager_on(disk, DIRECTORY, SECOND)


def entries_of(disk: Disk) -> list[Entry | None]:
    """What the two registers say of partition 0."""
    found = []
    for directory in (DIRECTORY, SECOND):
        register = ReplicaRegister(SimulatedFilesystem(disk), directory)
        register.load()
        found.append(register.entries.get(T0))
    return found


def write(manager: LogManager, directory: str) -> None:
    log = manager.create(T0, ID, LogConfig(), directory=directory)
    manager.registers.vouch_for(T0)
    log.append_as_leader(batch(b"x"), 0)
    log.flush()


def lose(disk: Disk, directory: str) -> None:
    filesystem = SimulatedFilesystem(disk)
    for entry in filesystem.scan(f"{directory}/t-0"):
        filesystem.remove(f"{directory}/t-0/{entry.name}")
    filesystem.remove_directory(f"{directory}/t-0")
    filesystem.sync_directory(directory)


def test_a_log_of_which_its_leader_had_nothing_is_empty_and_not_lost(disk: Disk) -> None:
    manager = manager_on(disk)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    log = manager.create(T0, ID, LogConfig())
    manager.registers.vouch_for(T0)
    log.append_as_leader(batch(b"x"), 0)
    log.flush()
    log.truncate_to(0)
    manager.abandon()
    manager = manager_on(disk)
    assert not manager.registers.is_lost(T0, ID)
    manager.abandon()
    manager = manager_on(disk)
    log = manager.logs[T0]
    manager.registers.vouch_for(T0)
    for _ in range(2):
        log.append_as_leader(batch(b"y"), 1)
        log.flush()
        # Nobody vouches for it again: it may have been in sync all the time.
        assert register_on(disk).has(T0, ID)
        log.truncate_to(0)
        assert not register_on(disk).tells_of(T0)
    log.append_as_leader(batch(b"z"), 1)
    log.flush()
    manager.abandon()
    lose(disk, DIRECTORY)
    manager = manager_on(disk)
    assert manager.registers.is_lost(T0, ID)
    manager.abandon()


@pytest.mark.parametrize("standing", [Standing.LOST, Standing.RESIGNED])
@pytest.mark.parametrize("remade_in", [DIRECTORY, SECOND])
@pytest.mark.parametrize("lost_in", [DIRECTORY, SECOND])
def test_a_lost_replica_that_is_whole_again_is_whole_whichever_directory_it_is_in(
    two: Disk, lost_in: str, remade_in: str, standing: Standing
) -> None:
    manager = both(two)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    write(manager, lost_in)
    manager.abandon()
    lose(two, lost_in)
    manager = both(two)
    assert manager.registers.is_lost(T0, ID)
    manager.registers.mark_replicas({T0: ID}, standing)
    assert manager.registers.is_lost(T0, ID) is (standing is Standing.LOST)
    write(manager, remade_in)
    assert not manager.registers.is_lost(T0, ID)
    assert manager.registers.has_all_records(T0, ID)
    manager.abandon()
    two.lose_power()
    manager = both(two)
    assert manager.registers.has_all_records(T0, ID)
    assert entries_of(two) == [Entry(ID) if path == remade_in else None for path in (DIRECTORY, SECOND)]
    manager.abandon()


def test_a_replica_is_marked_where_its_log_is(two: Disk) -> None:
    manager = both(two)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    write(manager, SECOND)
    manager.registers.mark_replicas({T0: ID}, Standing.LOST)
    assert entries_of(two) == [None, Entry(ID, Standing.LOST)]
    manager.abandon()


def test_a_line_that_could_not_be_struck_out_is_struck_out_the_next_time(two: Disk) -> None:
    manager = both(two)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    manager.registers.mark_replicas({T0: ID}, Standing.RESIGNED)
    filesystem = manager.context.filesystem
    assert isinstance(filesystem, SimulatedFilesystem)
    filesystem.faults.append(Fault(frozenset({"write_file"}), f"{DIRECTORY}/", errno.ENOSPC))
    write(manager, SECOND)  # the other directory is in order, and serves
    assert manager.has_live_directory
    assert entries_of(two) == [Entry(ID, Standing.RESIGNED), Entry(ID)]
    filesystem.faults.clear()
    manager.registers.vouch_for(T0)
    assert entries_of(two) == [None, Entry(ID)]
    assert manager.registers.has_all_records(T0, ID)
    manager.abandon()


@pytest.mark.parametrize("is_flushed", [True, False], ids=["entered", "to be entered"])
def test_what_is_known_of_a_replica_moves_with_its_log(two: Disk, is_flushed: bool) -> None:
    manager = both(two)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    log = manager.create(T0, ID, LogConfig(), directory=DIRECTORY)
    manager.registers.vouch_for(T0)
    log.append_as_leader(batch(b"x"), 0)
    if is_flushed:
        log.flush()
    log = move(manager, SECOND)
    log.flush()
    assert entries_of(two) == [None, Entry(ID)]
    manager.abandon()
    lose(two, SECOND)
    manager = both(two)
    assert manager.registers.is_lost(T0, ID)
    manager.abandon()


def test_a_move_does_not_vouch_for_a_replica_for_which_nobody_has(two: Disk) -> None:
    manager = both(two)
    manager.registers.forget_replicas(lambda name, topic_id: True)
    manager.registers.mark_replicas({T0: ID}, Standing.RESIGNED)
    manager.create(T0, ID, LogConfig(), directory=DIRECTORY).append_as_leader(batch(b"x"), 0)
    move(manager, SECOND).flush()
    assert not manager.registers.has_all_records(T0, ID)
    manager.abandon()


def move(manager: LogManager, path: str) -> Log:
    """Have the log of partition 0 moved; returns the new one."""
    under_way = manager.begin_move(T0, path)
    assert under_way is not None
    while not under_way.has_everything_before(under_way.current.log_end_offset):
        step = under_way.begin_step(1 << 20)
        step.run()
        step.finish()
    under_way.flush()
    under_way.prepare_hand_over()
    under_way.hand_over()
    while not under_way.copy_tail(1 << 20):
        pass
    old = manager.finish_move(under_way)
    new = manager.logs[T0]
    manager.retire(old, new)()
    return new
