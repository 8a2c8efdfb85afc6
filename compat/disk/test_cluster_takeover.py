"""Three nodes of Apache Kafka, one of which stopped before the others: three kbrokers with etcd take over."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from compat.contestants import APACHE_KAFKA, KBROKER, START_DEADLINE_S, Contestant
from tests.broker_process import BrokerProcess, BrokerStartError
from tests.cluster_processes import wait_until_whole
from tests.etcd_process import MISSING as NO_ETCD
from tests.etcd_process import running_etcd

TOPIC, GROUP = "replicated", "readers"
NODES = (1, 2, 3)
RECORDS = 300
READ = 150
_DRY_RUN = re.compile(r"up to epoch (\d+), offset (\d+);")
_FLUSH_S = 60.0


def produce(bootstrap_servers: str, numbers: range) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "log_level": 0}
    )
    for number in numbers:
        producer.produce(TOPIC, key=str(number), value=str(number), partition=number % 3)
    assert producer.flush(_FLUSH_S) == 0


def consumed(bootstrap_servers: str, count: int) -> list[int]:
    """The next ``count`` records of the group, and then its offsets are committed."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        consumer.subscribe([TOPIC])
        found = []
        while len(found) < count:
            message = consumer.poll(_FLUSH_S)
            assert message is not None, f"{len(found)} of {count} records came"
            assert message.error() is None, message.error()
            found.append(int(message.value()))
        consumer.commit(asynchronous=False)
        return found
    finally:
        consumer.close()


def import_kafka(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kbroker", "import-kafka", "--data-dir", str(directory), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


class Left(NamedTuple):
    """Data directories by node id, and what the group has read."""

    directories: dict[int, Path]
    read: list[int]


@pytest.fixture
def left(contestants: Callable[[str], Contestant], tmp_path: Path) -> Left:
    """What three nodes have left. Node 3 missed the last hundred records, and who leads since it went."""
    with contestants(APACHE_KAFKA).cluster(tmp_path) as cluster:
        servers = cluster.bootstrap_servers
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        topic = NewTopic(TOPIC, 3, 3, config={"min.insync.replicas": "2"})
        admin.create_topics([topic])[TOPIC].result()
        wait_until_whole(servers, deadline_s=START_DEADLINE_S)
        produce(servers, range(200))
        read = consumed(servers, READ)
        cluster.brokers[3].terminate(deadline_s=START_DEADLINE_S)
        produce(servers, range(200, RECORDS))
        for node_id in (1, 2):
            cluster.brokers[node_id].kill()
        return Left({node_id: cluster.brokers[node_id].data_dir for node_id in NODES}, read)


@contextmanager
def kbrokers(
    contestant: Contestant, directories: dict[int, Path], settings: dict[str, str | int]
) -> Iterator[dict[int, BrokerProcess]]:
    with ExitStack() as stack:
        yield {
            node_id: stack.enter_context(
                contestant.broker(directory, overrides={**settings, "node.id": node_id})
            )
            for node_id, directory in directories.items()
        }


def test_three_brokers_take_over(
    left: Left,
    contestants: Callable[[str], Contestant],
    missing: Callable[[str], None],
    tmp_path: Path,
) -> None:
    if NO_ETCD is not None:
        missing(NO_ETCD)
    directories = left.directories
    reach = {
        node_id: tuple(map(int, _DRY_RUN.findall(import_kafka(directory, "--dry-run").stdout)[0]))
        for node_id, directory in directories.items()
    }
    furthest = max(reach, key=lambda node_id: reach[node_id])
    assert reach[3] < reach[furthest]
    with running_etcd(tmp_path / "etcd") as etcd:
        endpoints = ",".join(etcd.endpoints)
        settings: dict[str, str | int] = {
            "kbroker.metadata.store": "etcd",
            "kbroker.etcd.endpoints": endpoints,
            "broker.session.timeout.ms": 3_000,
        }
        with kbrokers(contestants(KBROKER), directories, settings) as brokers:
            with pytest.raises(BrokerStartError, match="kbroker import-kafka"):
                brokers[1].start(deadline_s=START_DEADLINE_S)
            done = import_kafka(
                directories[furthest],
                *("--override", "kbroker.metadata.store=etcd"),
                *("--override", f"kbroker.etcd.endpoints={endpoints}"),
            )
            assert done.returncode == 0, done.stderr
            for broker in brokers.values():
                broker.launch()
            for broker in brokers.values():
                broker.wait_until_ready(deadline_s=START_DEADLINE_S)
            servers = ",".join(broker.bootstrap_server for broker in brokers.values())
            wait_until_whole(servers, deadline_s=START_DEADLINE_S)
            rest = consumed(servers, RECORDS - READ)
            produce(servers, range(RECORDS, RECORDS + 30))
            assert sorted(consumed(servers, 30)) == list(range(RECORDS, RECORDS + 30))
    assert sorted(left.read + rest) == list(range(RECORDS))
