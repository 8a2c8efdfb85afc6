"""May a broker lead, and what are its replicas worth."""

from __future__ import annotations

import errno
import random
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from kbroker.metadata.image import BrokerRegistration, ClusterImage, PartitionState, TopicImage
from kbroker.standing import (
    Reports,
    given_up_for_nothing,
    is_in_doubt,
    is_known_to_be_alive,
    judge_replicas,
    standing_of,
    watch_session,
)
from storage.filesystem import OsFilesystem
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.replica_register import Standing
from storage.topic_partition import TopicPartition
from tests.running_broker import batch
from tests.storage.support import make_manager
from wire.errors import ApiError, ErrorCode

NODE = 1
TOPIC_ID = uuid.UUID(int=9)
KEY = (TOPIC_ID, 0)
NAME = TopicPartition("t", 0)


def image_of(**state: object) -> ClusterImage:
    born = PartitionState(replicas=(1, 2, 3), in_sync_replicas=(1, 2, 3), leader=2)
    topic = TopicImage("t", TOPIC_ID, (born._replace(**state),), 5)
    return ClusterImage(topics={"t": topic}, topics_by_id={TOPIC_ID: topic})


LAST_KNOWN = {"leader": -1, "in_sync_replicas": (), "last_known_eligible_leader_replicas": (NODE,)}


class Disk:
    """A log directory that brokers come and go on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start()

    def start(self) -> None:
        self.logs = LogManager(
            [str(self.path)],
            filesystem=OsFilesystem(),
            clock_ms=lambda: 1_700_000_000_000,
            random_uuid=uuid.uuid4,
            random_below=random.Random(1).randrange,
        )
        self.logs.open(node_id=NODE)
        self.logs.load(lambda topic: LogConfig())

    def restart(self) -> None:
        self.logs.abandon()
        self.start()

    def write(self, count: int = 1) -> None:
        log = self.logs.create(NAME, TOPIC_ID, LogConfig())
        self.logs.registers.vouch_for(NAME)
        for _ in range(count):
            log.append_as_leader(batch(b"x"), 0)
        log.flush()

    def lose_log(self) -> None:
        self.logs.abandon()
        shutil.rmtree(self.path / NAME.directory_name)
        self.start()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    made.logs.registers.forget_replicas(lambda name, topic_id: True)
    yield made
    made.logs.abandon()


def test_a_replica_that_is_whole_has_nothing_to_tell(disk: Disk) -> None:
    disk.write()
    disk.restart()
    assert judge_replicas(image_of(), NODE, disk.logs) == ({}, {})


def test_a_replica_that_the_disk_has_lost_is_unfit_until_the_cluster_knows(disk: Disk) -> None:
    disk.write()
    disk.lose_log()
    assert judge_replicas(image_of(), NODE, disk.logs).unfit == {KEY: NAME}
    disk.logs.registers.mark_replicas({NAME: TOPIC_ID}, Standing.LOST)
    disk.logs.create(NAME, TOPIC_ID, LogConfig())  # made anew in its place
    disk.restart()
    assert judge_replicas(image_of(), NODE, disk.logs).unfit == {KEY: NAME}
    disk.logs.registers.mark_replicas({NAME: TOPIC_ID}, Standing.RESIGNED)
    disk.restart()
    # In sync again means that it has caught up since, even where there was nothing to catch up with.
    assert judge_replicas(image_of(), NODE, disk.logs).unfit == {}
    # But it is not what it was when it was the last that could have led.
    assert judge_replicas(image_of(**LAST_KNOWN), NODE, disk.logs).whole == {}
    disk.write()
    disk.restart()
    assert judge_replicas(image_of(**LAST_KNOWN), NODE, disk.logs).whole == {KEY: NAME}


def test_a_log_that_never_had_a_record_on_the_disk_may_be_missing(disk: Disk) -> None:
    disk.logs.create(NAME, TOPIC_ID, LogConfig())
    disk.logs.registers.vouch_for(NAME)
    disk.lose_log()
    assert judge_replicas(image_of(state_revision=8), NODE, disk.logs) == ({}, {})


def test_on_a_new_disk_every_replica_is_lost(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert judge_replicas(image_of(), NODE, disk.logs).unfit == {KEY: NAME}
    disk.logs.abandon()


def test_a_log_that_ends_before_what_a_checkpoint_vouches_for_is_unfit(disk: Disk) -> None:
    disk.write(3)
    disk.logs.checkpoint()
    disk.logs.abandon()
    segment = disk.path / NAME.directory_name / "00000000000000000000.log"
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size // 2)
    disk.start()
    assert judge_replicas(image_of(), NODE, disk.logs).unfit == {KEY: NAME}


def test_what_a_former_life_gave_up_late_is_noticed_when_it_comes(disk: Disk) -> None:
    """Its log directory had failed, and is fine now: this life had looked before that was known."""
    disk.write()
    disk.restart()
    before, after = image_of(in_sync_replicas=(NODE,), leader=-1), image_of(**LAST_KNOWN)
    assert judge_replicas(before, NODE, disk.logs).whole == {}

    def given_up(image: ClusterImage, node_id: int = NODE) -> list[tuple[uuid.UUID, int]]:
        topic = image.topics["t"]
        changed = [(topic, 0, before.topics["t"].partitions[0], topic.partitions[0])]
        delta = cast(Any, SimpleNamespace(after=image, partitions_changed=changed))
        return given_up_for_nothing(delta, node_id, disk.logs)

    assert given_up(after) == [KEY]
    assert given_up(after, node_id=2) == []
    assert given_up(image_of(**LAST_KNOWN | {"in_sync_replicas": (2,), "leader": 2})) == []
    assert given_up(image_of(**LAST_KNOWN, eligible_leader_replicas=(3,))) == []
    disk.lose_log()
    assert given_up(after) == []


class BreakingFilesystem(OsFilesystem):
    """A filesystem of which one directory cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = ""

    def read_file(self, path: str) -> bytes:
        if self.broken and path.startswith(self.broken):
            raise OSError(errno.EIO, "Input/output error", path)
        return super().read_file(path)


def test_what_a_directory_that_is_dead_at_the_start_may_have_is_unfit_until_it_is_back(
    tmp_path: Path,
) -> None:
    directories = [tmp_path / "a", tmp_path / "b"]
    for path in directories:
        path.mkdir()
    filesystem = BreakingFilesystem()

    def start() -> LogManager:
        logs = make_manager(*directories, filesystem=filesystem)
        logs.open(node_id=NODE)
        logs.load(lambda topic: LogConfig())
        return logs

    logs = start()
    logs.registers.forget_replicas(lambda name, topic_id: True)
    log = logs.create(NAME, TOPIC_ID, LogConfig(), directory=str(directories[1]))
    logs.registers.vouch_for(NAME)
    log.append_as_leader(batch(b"x"), 0)
    log.flush()
    logs.abandon()
    filesystem.broken = str(directories[1])
    logs = start()
    assert judge_replicas(image_of(), NODE, logs).unfit == {KEY: NAME}
    assert logs.may_be_out_of_reach(NAME)
    logs.abandon()
    filesystem.broken = ""
    logs = start()
    assert judge_replicas(image_of(), NODE, logs) == ({}, {})
    assert judge_replicas(image_of(**LAST_KNOWN), NODE, logs).whole == {KEY: NAME}
    logs.abandon()


@pytest.mark.parametrize(
    "state",
    [
        {"replicas": (1,), "in_sync_replicas": (1,), "leader": 1},
        {"in_sync_replicas": (2, 3)},
    ],
    ids=["the only replica", "out of sync anyway"],
)
def test_whose_loss_need_not_be_told(disk: Disk, state: dict[str, object]) -> None:
    disk.write()
    disk.lose_log()
    assert judge_replicas(image_of(**state), NODE, disk.logs) == ({}, {})


def test_an_eligible_replica_counts_as_well(disk: Disk) -> None:
    disk.write()
    disk.lose_log()
    image = image_of(in_sync_replicas=(), leader=-1, eligible_leader_replicas=(1, 2))
    assert judge_replicas(image, NODE, disk.logs).unfit == {KEY: NAME}


def test_the_last_one_that_could_have_led_is_told_to_be_back_if_it_is_whole(disk: Disk) -> None:
    disk.write()
    disk.restart()
    assert judge_replicas(image_of(**LAST_KNOWN), NODE, disk.logs).whole == {KEY: NAME}
    disk.lose_log()
    assert judge_replicas(image_of(**LAST_KNOWN), NODE, disk.logs).whole == {}


@dataclass
class Session:
    """A BrokerSession as far as it is watched."""

    secure_until: float = 10.0
    in_doubt_until: float = 0.0
    news_due_at: float = 0.0
    broker_epoch: int = 1
    registration: object = field(default_factory=lambda: SimpleNamespace(node_id=NODE))

    def is_secure(self) -> bool:
        return trio.current_time() < self.secure_until


class Time:
    def monotonic(self) -> float:
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_a_session_that_is_not_renewed_is_told_in_time_and_so_is_its_return(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    session, told = Session(secure_until=trio.current_time() + 10), []
    began = trio.current_time()
    nursery.start_soon(
        watch_session,
        session,
        session.is_secure,
        lambda: False,
        Time(),
        lambda secure: told.append((round(trio.current_time() - began, 1), secure)),
        lambda: None,
    )
    await trio.sleep(20)
    assert told == [(10.0, False)]
    session.secure_until = trio.current_time() + 100
    await trio.sleep(1)
    assert [secure for _, secure in told] == [False, True]
    assert told[1][0] <= 20.1


async def test_a_session_lost_and_had_again_within_one_look_is_told(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    session, told = Session(secure_until=trio.current_time() + 1000), []
    nursery.start_soon(
        watch_session, session, session.is_secure, lambda: False, Time(), told.append, lambda: None
    )
    await trio.sleep(5.5)
    session.broker_epoch = 2
    await trio.sleep(1.5)
    assert told == [True]


def registered_as(broker_epoch: int) -> ClusterImage:
    return ClusterImage(brokers={NODE: BrokerRegistration(NODE, broker_epoch, uuid.UUID(int=1), {})})


async def test_a_broker_that_registered_anew_leads_when_its_image_holds_that_registration(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Before that it may not know of who was elected while it was gone."""
    session, told = Session(secure_until=trio.current_time() + 1000), []
    image = registered_as(1)

    def is_secure() -> bool:
        return is_known_to_be_alive(cast(Any, session), image)

    nursery.start_soon(watch_session, session, is_secure, lambda: False, Time(), told.append, lambda: None)
    await trio.sleep(5.5)
    assert is_secure()
    session.broker_epoch = 2  # lost, and had again at once
    assert not is_secure()
    await trio.sleep(5)
    assert told == [False]
    image = ClusterImage()  # it has followed to where the broker was gone
    assert not is_secure()
    image = registered_as(2)
    assert is_secure()
    await trio.sleep(0.1)
    assert told == [False, True]
    session.secure_until = trio.current_time()
    assert not is_secure()


async def test_it_is_in_doubt_who_leads_until_others_can_have_been_elected(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    session, told = Session(secure_until=began + 10, in_doubt_until=began + 12), []
    image = registered_as(1)

    def may_be_told_soon() -> bool:
        return is_in_doubt(cast(Any, session), image, trio.current_time())

    nursery.start_soon(
        watch_session,
        session,
        session.is_secure,
        may_be_told_soon,
        Time(),
        told.append,
        lambda: told.append(round(trio.current_time() - began, 1)),
    )
    await trio.sleep(9.9)
    assert not may_be_told_soon()
    await trio.sleep(0.2)
    assert (may_be_told_soon(), told) == (True, [False])
    await trio.sleep(2)
    assert (may_be_told_soon(), told) == (False, [False, 12.0])
    await trio.sleep(10)
    assert told == [False, 12.0]
    session.broker_epoch, session.secure_until, session.in_doubt_until = 2, began + 400, began + 402
    session.news_due_at = trio.current_time() + 12
    assert may_be_told_soon(), "registered anew, and the image does not have it yet"
    await trio.sleep(11.9)
    assert may_be_told_soon()
    await trio.sleep(0.2)
    assert not may_be_told_soon(), "however often the session is renewed"
    session.news_due_at = trio.current_time() + 12
    image = registered_as(2)
    assert not may_be_told_soon()


@pytest.mark.parametrize(
    ("broker_epoch", "changes", "may"),
    [
        (7, {}, True),
        (6, {}, False),
        (8, {}, False),
        (7, {"fenced": True}, False),
        (7, {"in_controlled_shutdown": True}, False),
    ],
    ids=["as registered", "an earlier life", "not known yet", "fenced", "shutting down"],
)
def test_who_may_be_taken_for_in_sync(broker_epoch: int, changes: dict[str, Any], may: bool) -> None:
    """As Kafka's Partition.isReplicaIsrEligible."""
    registered = BrokerRegistration(2, 7, uuid.UUID(int=2), {}, **changes)
    image = ClusterImage(brokers={2: registered})
    config = cast(Any, SimpleNamespace(replica_lag_time_max_ms=1))
    standing = standing_of(config, Time(), lambda: image, lambda: True, lambda: False)
    assert standing.may_join(2, broker_epoch) is may
    assert not standing.may_join(3, 3)


async def test_what_has_happened_is_reported_until_it_is_known(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    attempts: list[list[int]] = []

    async def report(things: list[int]) -> None:
        attempts.append(things)
        if len(attempts) < 3:
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT)

    reports = Reports("numbers", report, trio.sleep)
    nursery.start_soon(reports.run)
    reports.add([1, 2])
    await trio.sleep(5)
    assert attempts == [[1, 2]] * 3
    reports.add([3])
    await trio.sleep(1)
    assert attempts[3:] == [[3]]
