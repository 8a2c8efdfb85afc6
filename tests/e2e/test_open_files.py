"""Clients that take every connection they can get leave the broker the descriptors that it needs for its files."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

from tests.broker_process import OWN_COMMAND, BrokerProcess
from tests.cluster_processes import LocalClusterProcess, wait_until_whole

OPEN_FILES_MAX = 160
FLUSH_DEADLINE_S = 20
WITH_FEW_FILES = ("sh", "-c", f'ulimit -n {OPEN_FILES_MAX} && exec "$@"', "sh", *OWN_COMMAND)
INDEXED = {"index.interval.bytes": "0"}


def send(producer: Producer, count: int) -> list[object]:
    """The errors of ``count`` records, one after another."""
    errors: list[object] = []
    for number in range(count):
        producer.produce(
            "log", b"%d" % number, b"%d" % number, on_delivery=lambda error, _: errors.append(error)
        )
        producer.flush(FLUSH_DEADLINE_S)
    return errors


def test_clients_cannot_take_the_descriptors_that_the_logs_need(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, command=WITH_FEW_FILES) as broker, contextlib.ExitStack() as idle:
        broker.start()
        settings = {"bootstrap.servers": broker.bootstrap_server}
        admin = AdminClient(settings)
        admin.create_topics([NewTopic("log", 1, config=INDEXED)])["log"].result()
        producer = Producer({**settings, "acks": "all", "topic.metadata.refresh.interval.ms": 200})
        assert send(producer, 1) == [None]
        for _ in range(2 * OPEN_FILES_MAX):
            connection = idle.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(
                (broker.host, broker.port)
            )  # those that there is no room for wait in the backlog
        admin.create_partitions([NewPartitions("log", 20)])["log"].result()
        assert send(producer, 40) == [None] * 40
        assert "offline" not in broker.stderr


def test_brokers_of_one_process_share_its_descriptors(tmp_path: Path) -> None:
    with LocalClusterProcess(tmp_path, command=WITH_FEW_FILES) as cluster:
        cluster.start()
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
        admin.create_topics([NewTopic("log", 60, 3, config=INDEXED)])["log"].result()
        wait_until_whole(cluster.bootstrap_servers)
        assert "offline" not in cluster.stderr
