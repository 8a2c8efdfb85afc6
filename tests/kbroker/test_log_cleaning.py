"""The broker's cleaner at work: it finds what to clean, keeps to its limits, and leaves coordinators their state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from kbroker.client import BrokerClient
from kbroker.log_cleaning import IoThrottle, LogCleaning, LoopLoad
from storage.filesystem import OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from tests.running_broker import create_topic, running_broker
from tests.storage.cleaner.cleaning_support import config, latest_values, records_of
from tests.storage.support import TOPIC_ID, FailingFilesystem, ManualClock, batch, disk_broken, make_manager
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse

NAMES = [TopicPartition("compacted", number) for number in range(3)]


class Setting:
    """The cleaner over real logs, on trio's clock."""

    def __init__(
        self, *directories: Path, filesystem: OsFilesystem | None = None, **settings: object
    ) -> None:
        self.clock = ManualClock()
        self.logs: LogManager = make_manager(
            *directories, clock=self.clock, filesystem=filesystem or OsFilesystem()
        )
        self.logs.open(node_id=1)
        self.logs.load(lambda topic: config())
        self.failed: list[Exception] = []
        self.notified: list[TopicPartition] = []
        self.settings = SimpleNamespace(
            log_cleaner_enable=True,
            log_cleaner_threads=1,
            log_cleaner_backoff_ms=1000,
            log_cleaner_dedupe_buffer_size=1 << 20,
            log_cleaner_io_buffer_size=1 << 16,
            log_cleaner_io_buffer_load_factor=0.9,
            log_cleaner_io_max_bytes_per_second=1e300,
        )
        self.settings.__dict__.update(settings)

        async def run_blocking(function: Any, *arguments: object) -> object:
            await trio.lowlevel.checkpoint()
            return function(*arguments)

        def get(topic: str, index: int) -> object:
            name = TopicPartition(topic, index)
            return SimpleNamespace(progress=SimpleNamespace(notify=lambda: self.notified.append(name)))

        self.cleaning = LogCleaning(
            config=cast(Any, self.settings),
            logs=self.logs,
            replicas=cast(Any, SimpleNamespace(fail_directory=self.fail, get=get)),
            world=cast(
                Any,
                SimpleNamespace(sleep=trio.sleep, run_blocking=run_blocking, monotonic=trio.current_time),
            ),
        )

    def fail(self, error: Exception) -> None:
        self.failed.append(error)

    def create(self, name: TopicPartition, settings: LogConfig | None = None) -> Log:
        return self.logs.create(name, TOPIC_ID, settings or config())

    def fill(self, log: Log, count: int = 20) -> None:
        for number in range(count):
            log.append_as_leader(batch(b"%d" % number, key=b"%d" % (number % 3)), 0)
        log.roll()
        log.update_high_watermark(log.log_end_offset)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.cleaning.run)
            yield
            await self.cleaning.stop()

    def checkpoint(self, name: TopicPartition) -> int | None:
        return self.logs.cleaner_checkpoints.offset_of(self.logs.directories[0].path, name)


async def test_dirty_logs_are_cleaned_one_after_another(tmp_path: Path, autojump_clock: MockClock) -> None:
    setting = Setting(tmp_path)
    logs = [setting.create(name) for name in NAMES]
    async with setting.running():
        await trio.sleep(3)
        for log in logs:
            setting.fill(log)
        await trio.sleep(3)
        assert [[record.offset for record in records_of(log)] for log in logs] == [[17, 18, 19]] * 3
        setting.fill(logs[1])
        await trio.sleep(3)
        assert [record.offset for record in records_of(logs[1])] == [37, 38, 39]
    text = (tmp_path / "cleaner-offset-checkpoint").read_text()
    assert text.splitlines()[:2] == ["0", "3"]
    assert sorted(text.splitlines()[2:]) == ["compacted 0 20", "compacted 1 40", "compacted 2 20"]
    setting.logs.close()
    again = Setting(tmp_path)
    assert [again.checkpoint(name) for name in NAMES] == [20, 40, 20]
    again.logs.abandon()


async def test_nothing_is_cleaned_when_it_is_off_or_has_no_threads(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    for settings in ({"log_cleaner_enable": False}, {"log_cleaner_threads": 0}):
        setting = Setting(tmp_path / str(settings), **settings)
        log = setting.create(NAMES[0])
        setting.fill(log)
        async with setting.running():
            await trio.sleep(100)
            assert len(records_of(log)) == 20
            setting.settings.log_cleaner_threads = 2
            await trio.sleep(5)
        assert len(records_of(log)) == (20 if settings == {"log_cleaner_enable": False} else 3)
        setting.logs.abandon()


async def test_a_policy_that_becomes_compact(tmp_path: Path, autojump_clock: MockClock) -> None:
    setting = Setting(tmp_path)
    log = setting.create(NAMES[0], config(cleanup_policy=frozenset({"delete"})))
    setting.fill(log)
    async with setting.running():
        await trio.sleep(5)
        assert len(records_of(log)) == 20
        log.update_config(config())
        await trio.sleep(5)
    assert len(records_of(log)) == 3
    setting.logs.abandon()


async def test_compact_and_delete(tmp_path: Path, autojump_clock: MockClock) -> None:
    setting = Setting(tmp_path)
    policy = frozenset({"compact", "delete"})
    log = setting.create(NAMES[0], config(cleanup_policy=policy, retention_ms=1000, segment_bytes=1 << 20))
    setting.fill(log)
    async with setting.running():
        await trio.sleep(5)
        assert len(records_of(log)) == 3
        setting.clock.now_ms += 10_000
        await trio.sleep(5)
    assert log.log_start_offset == 20
    assert setting.notified == [NAMES[0]]
    setting.logs.abandon()


async def test_a_damaged_log_is_left_alone_and_the_others_are_not(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    setting = Setting(tmp_path)
    logs = [setting.create(name) for name in NAMES]
    for log in logs:
        setting.fill(log)
    path = Path(logs[0].segments[1].handle.path)
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    async with setting.running():
        await trio.sleep(100)
    assert setting.cleaning.manager.uncleanable == {NAMES[0]}
    assert len([each for each in caplog.records if "is not cleaned any more" in each.message]) == 1
    assert [len(records_of(log)) for log in logs[1:]] == [3, 3]
    assert not setting.failed
    setting.logs.delete([NAMES[0]])
    setting.cleaning.manager.choose()
    assert setting.cleaning.manager.uncleanable == set()
    setting.logs.abandon()


async def test_a_failing_disk_takes_its_directory_offline(tmp_path: Path, autojump_clock: MockClock) -> None:
    filesystem = FailingFilesystem()
    setting = Setting(tmp_path, filesystem=filesystem)
    log = setting.create(NAMES[0])
    setting.fill(log)
    filesystem.fail_write = disk_broken
    setting.settings.log_cleaner_backoff_ms = 10**9
    async with setting.running():
        await trio.sleep(5)
    assert len(setting.failed) == 1
    assert not log.is_being_cleaned
    setting.logs.abandon()


async def test_deleting_truncating_and_moving_while_it_is_cleaned(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    setting = Setting(tmp_path, log_cleaner_io_max_bytes_per_second=200.0)
    logs = [setting.create(name) for name in NAMES[:2]]
    for log in logs:
        setting.fill(log)
    async with setting.running():
        await trio.sleep(2)
        first = next(log for log in logs if log.is_being_cleaned)
        second = next(log for log in logs if log is not first)
        setting.logs.delete([first.topic_partition])
        setting.settings.log_cleaner_io_max_bytes_per_second = 1000.0
        await trio.sleep(15)
        while not second.is_being_cleaned:
            setting.fill(second)
            await trio.sleep(1.5)
        second.truncate_to(5)
        assert (setting.checkpoint(second.topic_partition) or 0) <= 5
        await trio.sleep(30)
        setting.fill(second, 3)
        await trio.sleep(60)
        assert latest_values(records_of(second)).keys() == {b"0", b"1", b"2"}
        assert second.log_end_offset == 8
    assert not setting.failed
    setting.logs.abandon()


async def test_it_stops_within_a_step(tmp_path: Path, autojump_clock: MockClock) -> None:
    setting = Setting(tmp_path, log_cleaner_io_max_bytes_per_second=1.0)
    log = setting.create(NAMES[0])
    setting.fill(log)
    async with setting.running():
        await trio.sleep(5)
        assert log.is_being_cleaned
        with trio.fail_after(0.1):
            await setting.cleaning.stop()
        assert not log.is_being_cleaned
    assert not list(tmp_path.rglob("*.cleaned"))
    setting.logs.close()


def test_the_io_limit_is_an_average_over_all_threads() -> None:
    throttle = IoThrottle()
    assert throttle.pause_s(500, 1000.0, 10.0) == pytest.approx(0.5)
    assert throttle.pause_s(500, 1000.0, 10.0) == pytest.approx(1.0)
    assert throttle.pause_s(0, 1000.0, 11.5) == 0
    assert throttle.pause_s(1, 1e300, 20.0) == pytest.approx(0)


async def test_the_busy_share_of_the_loop(autojump_clock: MockClock) -> None:
    now = [0.0]
    load = LoopLoad(lambda: now[0])
    load.before_io_wait(1)
    now[0] = 3.0
    load.after_io_wait(1)
    now[0] = 4.0
    assert load.take_busy_share() == pytest.approx(0.25)
    now[0] = 5.0
    assert load.take_busy_share() == 1.0
    assert load.take_busy_share() == 0.0


async def commit(client: BrokerClient, group: str, offset: int) -> None:
    topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
    partition = topic_class.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=f"m{offset}"
    )
    request = OffsetCommitRequest(
        group_id=group, member_id="", topics=[topic_class(name="t", partitions=[partition])]
    )
    with trio.fail_after(10):
        while True:
            response = await client.request(request, OffsetCommitResponse, version=8)
            if response.topics[0].partitions[0].error_code == 0:
                return
            await trio.sleep(0.05)


async def committed(client: BrokerClient, group: str) -> tuple[int, str | None]:
    group_class = OffsetFetchRequest.OffsetFetchRequestGroup
    topics = [group_class.OffsetFetchRequestTopics(name="t", partition_indexes=[0])]
    request = OffsetFetchRequest(groups=[group_class(group_id=group, topics=topics)])
    with trio.fail_after(10):
        while True:
            response = await client.request(request, OffsetFetchResponse, version=8)
            if response.groups[0].error_code == 0:
                partition = response.groups[0].topics[0].partitions[0]
                return partition.committed_offset, partition.metadata
            await trio.sleep(0.05)


async def find_coordinator(client: BrokerClient, key: str, key_type: int) -> None:
    """Have the coordinator's topic made."""
    request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=[key])
    with trio.fail_after(10):
        while True:
            response = await client.request(request, FindCoordinatorResponse, version=4)
            if response.coordinators[0].error_code == 0:
                return
            await trio.sleep(0.05)


async def init_producer_id(client: BrokerClient, transactional_id: str) -> tuple[int, int]:
    request = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=60_000)
    with trio.fail_after(10):
        while True:
            response = await client.request(request, InitProducerIdResponse, version=4)
            if response.error_code == 0:
                return response.producer_id, response.producer_epoch
            await trio.sleep(0.05)


async def cleaned(directory: Path, topic: str, offset_min: int) -> None:
    """Wait until the one partition of `topic` is clean up to an offset."""
    checkpoint = directory / "cleaner-offset-checkpoint"
    with trio.fail_after(10):
        while True:
            lines = checkpoint.read_text().splitlines() if checkpoint.exists() else []
            offsets = [int(line.split()[2]) for line in lines if line.startswith(f"{topic} 0 ")]
            if offsets and offsets[0] >= offset_min:
                return
            await trio.sleep(0.02)


QUICK_CLEANER = {
    "log.cleaner.backoff.ms": "20",
    "log.cleaner.min.cleanable.ratio": "0.01",
    "log.roll.ms": "20",
}


async def test_a_group_coordinator_loads_the_same_state_from_a_cleaned_log(tmp_path: Path) -> None:
    settings = QUICK_CLEANER | {"offsets.topic.num.partitions": "1"}
    directory = tmp_path / "data"
    async with running_broker(directory, **settings) as broker, await broker.client() as client:
        await create_topic(client, "t")
        await find_coordinator(client, "group-0", 0)
        for offset in range(100):
            await commit(client, f"group-{offset % 4}", offset)
        await cleaned(directory, "__consumer_offsets", 60)
    logs = list((directory / "__consumer_offsets-0").glob("*.log"))
    assert sum(path.stat().st_size for path in logs) < 100 * 130 / 2
    async with running_broker(directory, **settings) as broker, await broker.client() as client:
        for number in range(4):
            assert await committed(client, f"group-{number}") == (96 + number, f"m{96 + number}")


async def test_a_transaction_coordinator_loads_the_same_state_from_a_cleaned_log(tmp_path: Path) -> None:
    settings = QUICK_CLEANER | {
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
    }
    directory = tmp_path / "data"
    before = {}
    async with running_broker(directory, **settings) as broker, await broker.client() as client:
        await find_coordinator(client, "id-0", 1)
        for number in range(90):
            transactional_id = f"id-{number % 3}"
            if number == 89:
                await trio.sleep(0.03)  # log.roll.ms: nothing but the last record is in the active segment
            before[transactional_id] = await init_producer_id(client, transactional_id)
        await cleaned(directory, "__transaction_state", 60)
    logs = list((directory / "__transaction_state-0").glob("*.log"))
    assert sum(path.stat().st_size for path in logs) < 90 * 130 / 2
    async with running_broker(directory, **settings) as broker, await broker.client() as client:
        for transactional_id, (producer_id, epoch) in before.items():
            assert await init_producer_id(client, transactional_id) == (producer_id, epoch + 1)
