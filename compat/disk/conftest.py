"""Directories that both brokers have written, once for all cases."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest
import trio

from compat.contestants import APACHE_KAFKA, KBROKER, START_DEADLINE_S, Contestant
from compat.disk.differences import Written
from compat.disk.dump import Dumper
from compat.disk.observation import Observation, Partition, leader_epochs, observe
from compat.disk.operations import Operations
from compat.disk.workload import SETTINGS, leave_unfinished, write_all, write_cluster
from compat.reference.tool_runner import ToolRunner
from tests.broker_process import BrokerProcess, BrokerStartError

Seen = tuple[Observation, Mapping[Partition, int]]
# So that the metadata is in a snapshot, with records behind it.
SNAPSHOTS = {"metadata.log.max.record.bytes.between.snapshots": 2_000}


@pytest.fixture(scope="session")
def written(
    contestants: Callable[[str], Contestant], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Written]:
    """The directory of a contestant that has done the whole workload and was stopped with SIGTERM."""
    found: dict[str, Written] = {}

    def by(name: str) -> Written:
        if name not in found:
            data_dir = tmp_path_factory.mktemp(f"{name}-disk") / "data"
            begun_ms = _now_ms()
            with contestants(name).broker(data_dir, overrides=SETTINGS) as broker:
                broker.start(deadline_s=START_DEADLINE_S)
                seen = trio.run(_write_all, broker)
                broker.terminate()
            found[name] = Written(name, data_dir, begun_ms, _now_ms(), *seen)
        return found[name]

    return by


async def _write_all(broker: BrokerProcess) -> Seen:
    await write_all(broker.bootstrap_server, broker.data_dir)
    return await _see(broker)


async def _see(broker: BrokerProcess) -> Seen:
    async with await Operations.to(broker.bootstrap_server) as operations:
        return await observe(operations), await leader_epochs(operations)


@pytest.fixture(scope="session")
def both_written(written: Callable[[str], Written]) -> tuple[Written, Written]:
    """What Apache Kafka has written, and what kbroker has."""
    return written(APACHE_KAFKA), written(KBROKER)


@dataclass(frozen=True)
class KilledKafka:
    """``left`` when it died; and how kbroker did not start on the directory while it ran."""

    left: Written
    refusal: BrokerStartError


@pytest.fixture(scope="session")
def killed_kafka(
    written: Callable[[str], Written],
    contestants: Callable[[str], Contestant],
    tmp_path_factory: pytest.TempPathFactory,
) -> KilledKafka:
    """An Apache Kafka that was started a second time, had more to do, and died of SIGKILL."""
    data_dir = tmp_path_factory.mktemp("killed") / "data"
    shutil.copytree(written(APACHE_KAFKA).data_dir, data_dir)
    begun_ms = _now_ms()
    with contestants(APACHE_KAFKA).broker(data_dir, overrides={**SETTINGS, **SNAPSHOTS}) as broker:
        broker.start(deadline_s=START_DEADLINE_S)
        seen = trio.run(_write_more, broker)
        with contestants(KBROKER).broker(data_dir) as refused, pytest.raises(BrokerStartError) as refusal:
            refused.start(deadline_s=START_DEADLINE_S)
        broker.kill()
    left = Written(APACHE_KAFKA, data_dir, begun_ms, _now_ms(), *seen)
    return KilledKafka(left, refusal.value)


async def _write_more(broker: BrokerProcess) -> Seen:
    async with await Operations.to(broker.bootstrap_server) as operations:
        await write_cluster(operations)
        await leave_unfinished(operations)
    return await _see(broker)


@pytest.fixture(scope="session")
def dumper(java_class_path: str) -> Iterator[Dumper]:
    """Apache Kafka's kafka-dump-log."""
    with ToolRunner() as runner:
        yield Dumper(runner.run)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
