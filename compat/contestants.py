"""Who is judged: kbroker, Apache Kafka as the reference, or a broker that runs somewhere already.

``Contestant`` starts brokers of its kind with the same settings on either side: Kafka's names and values are both
sides' language, and what only one side knows is dropped by the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat.reference.server_properties import CONTROLLER_LISTENER
from tests.broker_process import OWN_COMMAND, BrokerProcess, free_port
from tests.cluster_processes import free_ports_in_a_row, wait_until_whole

Overrides = Mapping[str, str | int]
KBROKER = "kbroker"
APACHE_KAFKA = "apache-kafka"
EXTERNAL = "external"
REFERENCE_COMMAND = (sys.executable, "-m", "compat.reference")
START_DEADLINE_S = 120.0

SETTINGS: Overrides = {
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1_000,
    # Fifty partitions each would be most of what the start of the reference takes.
    "offsets.topic.num.partitions": 5,
    "transaction.state.log.num.partitions": 5,
}
"""What every broker of the suite is started with."""


@dataclass(frozen=True)
class Contestant:
    """One kind of broker; ``command`` takes the arguments of ``kbroker serve``."""

    name: str
    command: tuple[str, ...]

    @property
    def heap(self) -> Mapping[str, str]:
        """Environment of a broker that shares the machine with the cases: a heap that leaves them room."""
        return {"KAFKA_HEAP_OPTS": "-Xmx512m -Xms128m"} if self.name == APACHE_KAFKA else {}

    def broker(
        self, data_dir: Path, *, port: int | None = None, overrides: Overrides | None = None
    ) -> BrokerProcess:
        """One broker of its own, not started yet; closing it is the caller's."""
        return BrokerProcess(
            data_dir,
            port=port,
            overrides={**SETTINGS, **(overrides or {})},
            environment=self.heap,
            command=self.command,
        )

    @contextmanager
    def cluster(
        self, directory: Path, *, count: int = 3, overrides: Overrides | None = None
    ) -> Iterator[Cluster]:
        """``count`` brokers that replicate, started and whole; a process for each."""
        make = _kraft_brokers if self.name == APACHE_KAFKA else _etcd_brokers
        with make(self, directory, count, {**SETTINGS, **REPLICATED, **(overrides or {})}) as brokers:
            cluster = Cluster(brokers)
            try:
                for broker in brokers.values():
                    broker.launch()
                for broker in brokers.values():
                    broker.wait_until_ready(deadline_s=START_DEADLINE_S)
                yield cluster
            finally:
                for broker in brokers.values():
                    broker.close()


class Cluster:
    """Running brokers by node id."""

    def __init__(self, brokers: Mapping[int, BrokerProcess]) -> None:
        self.brokers = brokers

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_server for broker in self.brokers.values())

    def make_whole(self) -> None:
        """Start who does not run, and wait until every replica is in sync."""
        for broker in self.brokers.values():
            if not broker.running:
                broker.start(deadline_s=START_DEADLINE_S)
        wait_until_whole(self.bootstrap_servers, deadline_s=START_DEADLINE_S)


REPLICATED: Overrides = {
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "share.coordinator.state.topic.replication.factor": 3,
    "share.coordinator.state.topic.min.isr": 2,
    "default.replication.factor": 3,
    # A failover that a case can wait for.
    "broker.session.timeout.ms": 3_000,
    "broker.heartbeat.interval.ms": 500,
}


def contestant(name: str, command: tuple[str, ...] | None = None) -> Contestant:
    """By name; ``command`` stands in for kbroker's own."""
    if name == APACHE_KAFKA:
        return Contestant(name, REFERENCE_COMMAND)
    return Contestant(KBROKER, command or OWN_COMMAND)


@contextmanager
def _kraft_brokers(
    one: Contestant, directory: Path, count: int, overrides: Overrides
) -> Iterator[dict[int, BrokerProcess]]:
    """Combined nodes: every one is broker and voter."""
    controllers = {node_id: free_port() for node_id in range(1, count + 1)}
    voters = ",".join(f"{node_id}@127.0.0.1:{port}" for node_id, port in controllers.items())
    first_port = free_ports_in_a_row(count)
    brokers = {}
    for node_id, controller_port in controllers.items():
        port = first_port + node_id - 1
        listeners = f"PLAINTEXT://127.0.0.1:{port},{CONTROLLER_LISTENER}://127.0.0.1:{controller_port}"
        own: Overrides = {"node.id": node_id, "listeners": listeners, "controller.quorum.voters": voters}
        brokers[node_id] = one.broker(
            directory / f"broker-{node_id}", port=port, overrides={**overrides, **own}
        )
    yield brokers


@contextmanager
def _etcd_brokers(
    one: Contestant, directory: Path, count: int, overrides: Overrides
) -> Iterator[dict[int, BrokerProcess]]:
    """Brokers that share an etcd, which the caller's machine must have."""
    from tests.etcd_process import running_etcd

    with running_etcd(directory / "etcd") as etcd:
        store: Overrides = {
            "kbroker.metadata.store": "etcd",
            "kbroker.etcd.endpoints": ",".join(etcd.endpoints),
        }
        yield {
            node_id: one.broker(
                directory / f"broker-{node_id}", overrides={**overrides, **store, "node.id": node_id}
            )
            for node_id in range(1, count + 1)
        }
