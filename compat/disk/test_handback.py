"""Apache Kafka serves a log directory that kbroker has written, or has served for a while."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from compat.contestants import APACHE_KAFKA, KBROKER, START_DEADLINE_S, Contestant
from compat.disk.differences import Written
from compat.disk.observation import Observation, Partition, leader_epochs, observe
from compat.disk.operations import Operations, Producer, record
from compat.disk.workload import BEGINNING_MS, TOPIC
from tests.broker_process import BrokerProcess, BrokerStartError

RETENTION = {"retention.ms": "123456789"}


async def work_a_little(broker: BrokerProcess) -> tuple[Observation, dict[Partition, int]]:
    """What kbroker does before Apache Kafka goes on; what clients see in the end."""
    async with await Operations.to(broker.bootstrap_server) as operations:
        await operations.create_topic("made-here", 3, RETENTION)
        await operations.alter_config(TOPIC, "codecs", {"max.message.bytes": "500000"})
        await operations.delete_topic("sparse")
        producer = await operations.producer()
        for _ in range(2):
            one = [record(BEGINNING_MS, b"key", b"value")]
            await operations.produce("made-here", one, partition=1, producer=producer)
        await operations.commit("made-here", {("made-here", 1): 1})
        return await observe(operations), await leader_epochs(operations)


async def seen_and_gone_on(broker: BrokerProcess, before: Observation) -> Observation:
    """What clients see of Apache Kafka; then it does what shows whether producers and their ids go on."""
    async with await Operations.to(broker.bootstrap_server) as operations:
        seen = await observe(operations)
        ((producer_id, epoch, last_sequence, *_),) = before.producers["made-here", 1]
        here = ("made-here", 1)
        one = [record(BEGINNING_MS, b"key", b"value")]
        again = Producer(producer_id, epoch, None, {here: last_sequence})
        assert await operations.produce("made-here", one, partition=1, producer=again) == 1
        assert await operations.produce("made-here", one, partition=1, producer=again) == 2
        used = {row[0] for producers in before.producers.values() for row in producers}
        used |= {producer_id for _, producer_id, *_ in before.transactions.values()}
        assert (await operations.producer()).producer_id > max(used)
        await operations.create_topic("made-there", 1)
        await operations.produce("made-there", one)
    return seen


@pytest.mark.parametrize("origin", [KBROKER, APACHE_KAFKA])
def test_there_and_back(
    origin: str,
    written: Callable[[str], Written],
    contestants: Callable[[str], Contestant],
    tmp_path: Path,
) -> None:
    """A directory of either's; kbroker works on it, then Apache Kafka does, and then kbroker again."""
    data_dir = tmp_path / "data"
    shutil.copytree(written(origin).data_dir, data_dir)
    with contestants(KBROKER).broker(data_dir) as kbroker:
        kbroker.start(deadline_s=START_DEADLINE_S)
        before, epochs = trio.run(work_a_little, kbroker)
        refused = exported(data_dir)
        assert refused.returncode == 1
        assert "in use" in refused.stderr
        kbroker.terminate()
    done = exported(data_dir)
    assert done.returncode == 0, done.stderr
    with contestants(APACHE_KAFKA).broker(data_dir) as kafka:
        kafka.start(deadline_s=START_DEADLINE_S)
        seen = trio.run(seen_and_gone_on, kafka, before)
        new_epochs = trio.run(epochs_of, kafka)
        kafka.terminate()
    for name, value in vars(before).items():
        assert getattr(seen, name) == value, name
    assert all(new_epochs[partition] > epoch for partition, epoch in epochs.items())
    assert not [path for path in data_dir.iterdir() if path.name.endswith("-stray")]
    with contestants(KBROKER).broker(data_dir) as kbroker:
        with pytest.raises(BrokerStartError, match="Apache Kafka has run on"):
            kbroker.start(deadline_s=START_DEADLINE_S)
        (data_dir / "kbroker-metadata.sqlite").unlink()
        kbroker.start(deadline_s=START_DEADLINE_S)
        last = trio.run(topics_of, kbroker)
    assert last == {*before.topics, "made-there"}


def exported(data_dir: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kbroker", "export-kafka", "--data-dir", str(data_dir)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


async def epochs_of(broker: BrokerProcess) -> dict[Partition, int]:
    async with await Operations.to(broker.bootstrap_server) as operations:
        return await leader_epochs(operations)


async def topics_of(broker: BrokerProcess) -> set[str]:
    async with await Operations.to(broker.bootstrap_server) as operations:
        return set((await observe(operations)).topics)
