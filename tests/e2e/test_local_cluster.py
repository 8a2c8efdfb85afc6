"""``kbroker serve --brokers 3``: a cluster in one process, with its metadata in that process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker_process import BrokerProcess, BrokerStartError
from tests.cluster_load import Load, check_exactly_once
from tests.cluster_processes import QUICK, LocalClusterProcess, partitions_at, wait_until_whole
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Client, Message, Setting, TopicPartition, consume

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kbroker_itself")]

Numbered = Callable[..., list[Message]]

CLIENT = ConfluentClient()
EARLIEST: dict[str, Setting] = {"auto.offset.reset": "earliest"}
COMMITTED: dict[str, Setting] = {**EARLIEST, "isolation.level": "read_committed"}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalClusterProcess]:
    with LocalClusterProcess(tmp_path / "data") as process:
        yield process.start()
        assert "Traceback" not in process.stderr, process.stderr


def test_it_says_where_its_brokers_are(local: LocalClusterProcess) -> None:
    first = local.port
    assert local.ready_line is not None
    assert f"bootstrap=127.0.0.1:{first},127.0.0.1:{first + 1},127.0.0.1:{first + 2}" in local.ready_line
    assert "node.id=1,2,3" in local.ready_line
    with CLIENT.admin(f"127.0.0.1:{first + 1}") as admin:  # any of them
        found = admin.describe_cluster()
    assert found.brokers == {number + 1: ("127.0.0.1", first + number) for number in range(3)}
    assert found.controller_id in found.brokers


def test_every_client_uses_it(client: Client, local: LocalClusterProcess, numbered: Numbered) -> None:
    servers = local.bootstrap_servers
    with client.admin(servers) as admin:
        admin.create_topic("my-topic", 6, replication_factor=2)
        placed = admin.describe_topic("my-topic")
        assert sorted(one.leader for one in placed) == [1, 1, 2, 2, 3, 3]
    with client.transactional_producer(servers, "id") as producer:
        for is_kept in (True, False):
            producer.begin()
            producer.send("my-topic", numbered(60, partitions=6))
            if is_kept:
                producer.commit()
            else:
                producer.abort()
    with client.consumer(servers, "group", COMMITTED) as consumer:
        consumer.subscribe("my-topic")
        found = consume(consumer, 60) + consumer.poll(0.5)
        assert sorted(int(record.value or b"") for record in found) == list(range(60))
        consumer.commit()
    assert "WARNING" not in local.stderr, local.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_keeps_everything(number: signal.Signals, local: LocalClusterProcess) -> None:
    servers = local.bootstrap_servers
    with CLIENT.admin(servers) as admin:
        admin.create_topic("t", 6, replication_factor=3, configs={"min.insync.replicas": "2"})
    with Load(servers, "t", producer={"enable.idempotence": "true"}) as load:
        for _ in range(2):
            local.signal(number)
            exit_code = local.wait()
            assert exit_code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
            local.start()
            load.wait_for(100)
    check_exactly_once(load.report)
    wait_until_whole(servers)
    found = partitions_at(servers, "t")
    assert sorted(one.leader for one in found.values()) == [1, 1, 2, 2, 3, 3]
    with CLIENT.consumer(servers, "load-of-t", EARLIEST) as consumer:
        committed = [consumer.committed(TopicPartition("t", index)) for index in range(6)]
    assert sum(offset or 0 for offset in committed) == len(load.report.acknowledged)


def test_one_broker_becomes_three_over_its_data(tmp_path: Path, numbered: Numbered) -> None:
    with LocalClusterProcess(tmp_path / "data") as three:
        with BrokerProcess(tmp_path / "data", port=three.port, overrides=QUICK) as one:
            one.start()
            with CLIENT.producer(one.bootstrap_server) as producer:
                producer.send("t", numbered(50))
            assert one.terminate() == 0
        three.start()
        with CLIENT.admin(three.bootstrap_servers) as admin:
            admin.create_topic("u", 3, replication_factor=3)
        with CLIENT.consumer(three.bootstrap_servers, settings=EARLIEST) as consumer:
            consumer.assign(TopicPartition("t", 0))
            assert len(consume(consumer, 50)) == 50
        found = partitions_at(three.bootstrap_servers)
        assert found["t", 0].replicas == (1,)
        assert len(found["u", 0].replicas) == 3
        directories = {path.name for path in three.data_dir.iterdir() if path.is_dir()}
        assert {"t-0", "kbroker-node.2", "kbroker-node.3"} <= directories


def test_it_has_no_use_for_etcd(tmp_path: Path) -> None:
    overrides = {"kbroker.metadata.store": "etcd"}
    with (
        LocalClusterProcess(tmp_path / "data", overrides=overrides) as process,
        pytest.raises(BrokerStartError) as refused,
    ):
        process.start()
    assert refused.value.exit_code == 2
    assert "need no etcd" in refused.value.output
