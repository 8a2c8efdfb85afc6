"""A cluster of broker processes that share an etcd: three of ``kbroker serve`` on free ports, node ids from 1 on.

``kbroker serve --brokers 3``, a cluster in one process, is ``LocalClusterProcess``.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import confluent_kafka
from confluent_kafka.admin import AdminClient

from tests.broker_process import BrokerProcess, free_port

Overrides = Mapping[str, str | int]

SESSION_TIMEOUT_MS = 3_000
START_DEADLINE_S = 60.0

QUICK: Overrides = {
    "broker.session.timeout.ms": SESSION_TIMEOUT_MS,
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 2_000,
    # Fewer partitions than Kafka's fifty: what is tried here does not depend on how many there are.
    "offsets.topic.num.partitions": 5,
    "transaction.state.log.num.partitions": 5,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1_000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
}
"""Kafka's times, shortened to what a test can wait for."""


class PartitionView(NamedTuple):
    """What Metadata says of a partition; ``leader`` -1 for none."""

    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        return self.leader >= 0 and set(self.in_sync) == set(self.replicas)


def partitions_at(bootstrap_servers: str, topic: str | None = None) -> dict[tuple[str, int], PartitionView]:
    """Every partition (of one topic), as a client that asks these servers is told."""
    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        topics = client.list_topics(topic, timeout=30).topics
    except confluent_kafka.KafkaException as error:
        raise AssertionError(f"no metadata from {bootstrap_servers}: {error}") from error
    return {
        (name, index): PartitionView(found.leader, tuple(found.replicas), tuple(found.isrs))
        for name, one in topics.items()
        for index, found in one.partitions.items()
    }


def wait_until_whole(
    bootstrap_servers: str, *, deadline_s: float = 30.0
) -> dict[tuple[str, int], PartitionView]:
    """Until every partition has a leader and all its replicas in sync; how they stood then.

    Another broker asked right after may not have heard of it yet.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        found = partitions_at(bootstrap_servers)
        if all(partition.is_whole for partition in found.values()):
            return found
        assert time.monotonic() < deadline, {name: one for name, one in found.items() if not one.is_whole}
        time.sleep(0.02)


class ClusterProcesses:
    """Brokers 1 to ``count``, each a process with a data directory of its own; usable as a context manager."""

    def __init__(
        self,
        directory: Path,
        etcd_endpoints: Sequence[str],
        *,
        count: int = 3,
        overrides: Overrides | None = None,
        own_overrides: Mapping[int, Overrides] | None = None,
    ) -> None:
        """``own_overrides``: settings of single brokers, by node id."""
        self._directory = directory
        self._common: Overrides = {
            **QUICK,
            "kbroker.metadata.store": "etcd",
            "kbroker.etcd.endpoints": ",".join(etcd_endpoints),
            "kbroker.etcd.key.prefix": f"{uuid.uuid4().hex}/",
            **(overrides or {}),
        }
        self.brokers: dict[int, BrokerProcess] = {}
        for node_id in range(1, count + 1):
            self.add(node_id, (own_overrides or {}).get(node_id))

    def add(self, node_id: int, own_overrides: Overrides | None = None) -> BrokerProcess:
        """One more broker, not started yet."""
        broker = BrokerProcess(
            self._directory / f"broker-{node_id}",
            overrides={**self._common, "node.id": node_id, **(own_overrides or {})},
        )
        self.brokers[node_id] = broker
        return broker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for broker in self.brokers.values():
            broker.close()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_server for broker in self.brokers.values())

    def start(self) -> Self:
        """Start those that do not run, all at once, and wait until they are ready."""
        started = [broker for broker in self.brokers.values() if not broker.running]
        for broker in started:
            broker.launch()
        for broker in started:
            broker.wait_until_ready(deadline_s=START_DEADLINE_S)
        return self

    def make_whole(self) -> None:
        """Start who does not run, and wait until everything is in sync on every broker's word."""
        self.start()
        try:
            for broker in self.brokers.values():
                wait_until_whole(broker.bootstrap_server)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.stderr()}") from error

    def bootstrap_without(self, node_id: int) -> str:
        """Of all others."""
        return ",".join(broker.bootstrap_server for other, broker in self.brokers.items() if other != node_id)

    def lose_disk(self, node_id: int) -> None:
        """Empty the data directory of a broker that does not run."""
        broker = self.brokers[node_id]
        assert not broker.running
        shutil.rmtree(broker.data_dir)

    def logs(self, topic: str) -> list[str]:
        """The logs of a topic that are left on any broker, as ``broker-1/topic-0``.

        A deleted one keeps its files for a minute, under a name that ends in ``-delete``.
        """
        return sorted(
            f"{path.parent.name}/{path.name}"
            for broker in self.brokers.values()
            for path in broker.data_dir.glob(f"{topic}-*")
            if not path.name.endswith("-delete")
        )

    def stderr(self) -> str:
        return "\n".join(f"--- broker {node_id}\n{broker.stderr}" for node_id, broker in self.brokers.items())


class LocalClusterProcess(BrokerProcess):
    """``kbroker serve --brokers N``: brokers 1 to N on consecutive ports of one process."""

    def __init__(
        self,
        data_dir: Path,
        *,
        count: int = 3,
        overrides: Overrides | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.count = count
        super().__init__(
            data_dir,
            port=free_ports_in_a_row(count),
            overrides={**QUICK, **(overrides or {})},
            arguments=("--brokers", str(count)),
            command=command,
        )

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{self.host}:{self.port + number}" for number in range(self.count))


def free_ports_in_a_row(count: int) -> int:
    """The first of so many ports on which nothing listens."""
    for _ in range(1_000):
        first = free_port()
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {count} free ports in a row")


@contextlib.contextmanager
def running_cluster(
    directory: Path, etcd_endpoints: Sequence[str], **arguments: object
) -> Iterator[ClusterProcesses]:
    """A started cluster that lives as long as the block."""
    with ClusterProcesses(directory, etcd_endpoints, **arguments) as cluster:  # type: ignore[arg-type]
        yield cluster.start()
