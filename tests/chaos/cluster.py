"""The processes of a cluster: brokers and etcd members, each on a host of its own, by name."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.broker_process import OWN_COMMAND, BrokerProcess, die_with_parent
from tests.chaos.network import Host, Network

BROKER_PORT = 9092
START_DEADLINE_S = 60.0
# Appends what the broker logs to a file ($0) over all its lives; exec keeps the process id.
_LOGGING = ("sh", "-c", 'exec "$@" 2>>"$0"')
_EMBEDDED_HOST = 10


@dataclass(frozen=True, slots=True)
class Shape:
    """What a cluster is made of. ``etcd``: a process for each broker, and three members; else one process for all."""

    brokers: int = 3
    store: str = "etcd"
    members: int = 3
    session_timeout_ms: int = 3_000
    replica_lag_ms: int = 4_000
    overrides: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def replication_factor(self) -> int:
        return min(3, self.brokers)

    @property
    def in_sync_min(self) -> int:
        return max(1, self.replication_factor - 1)


class EtcdMember:
    """An etcd process; address and data stay the same over restarts."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.name = host.name
        self.endpoint = f"http://{host.address}:2379"
        self.peer = f"http://{host.address}:2380"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, initial_cluster: str) -> None:
        line = [
            *(*self.host.prefix, "etcd", "--name", self.name, "--data-dir", str(self._directory / self.name)),
            *("--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint),
            *("--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer),
            *("--initial-cluster", initial_cluster, "--logger", "zap", "--log-level", "warn"),
            # Nothing here cuts the machine's power: what is with the kernel survives every kill.
            "--unsafe-no-fsync",
        ]
        with (self._directory / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*die_with_parent(), *line], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_healthy(self) -> bool:
        line = [*self.host.prefix, "etcdctl", "--endpoints", self.endpoint, "endpoint", "health"]
        return subprocess.run(line, capture_output=True, timeout=30, check=False).returncode == 0

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Broker:
    """A broker process. With the embedded store it is all the brokers."""

    def __init__(
        self, host: Host, directory: Path, overrides: Mapping[str, str | int], brokers: int = 1
    ) -> None:
        self.host = host
        self.name = host.name
        self.data_dir = directory / self.name
        self.log = directory / f"{self.name}.log"
        self.launched = 0.0
        self.addresses = [f"{host.address}:{BROKER_PORT + number}" for number in range(brokers)]
        self.process = BrokerProcess(
            self.data_dir,
            # Brokers of one process find one another on the loopback address, clients on the host's.
            host="0.0.0.0",
            port=BROKER_PORT,
            overrides=overrides,
            arguments=("--brokers", str(brokers)) if brokers > 1 else (),
            command=(*host.prefix, *_LOGGING, str(self.log), *OWN_COMMAND),
        )

    def launch(self) -> None:
        self.launched = time.monotonic()
        self.process.launch()

    def lose_disk(self) -> None:
        assert not self.process.running
        shutil.rmtree(self.data_dir)

    def log_tail(self, lines: int = 40) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class Cluster:
    """Everything that runs on the hosts. ``directory`` gets data directories and logs."""

    def __init__(self, network: Network, directory: Path, shape: Shape) -> None:
        self.shape = shape
        directory.mkdir(parents=True, exist_ok=True)
        self.members: list[EtcdMember] = []
        if shape.store == "etcd":
            self.members = [
                EtcdMember(network.add(f"etcd-{number}", 100 + number), directory)
                for number in range(1, shape.members + 1)
            ]
            self.brokers = [
                self._broker(network.add(f"broker-{number}", _EMBEDDED_HOST + number), directory, number)
                for number in range(1, shape.brokers + 1)
            ]
        else:
            host = network.add("brokers", _EMBEDDED_HOST)
            self.brokers = [Broker(host, directory, self._overrides(), shape.brokers)]

    def _broker(self, host: Host, directory: Path, node_id: int) -> Broker:
        endpoints = ",".join(member.endpoint for member in self.members)
        own: dict[str, str | int] = {
            "node.id": node_id,
            "listeners": f"PLAINTEXT://{host.address}:{BROKER_PORT}",
            "kbroker.metadata.store": "etcd",
            "kbroker.etcd.endpoints": endpoints,
        }
        return Broker(host, directory, {**self._overrides(), **own})

    def _overrides(self) -> dict[str, str | int]:
        shape = self.shape
        return {
            "default.replication.factor": shape.replication_factor,
            "offsets.topic.replication.factor": shape.replication_factor,
            "transaction.state.log.replication.factor": shape.replication_factor,
            "min.insync.replicas": shape.in_sync_min,
            "transaction.state.log.min.isr": shape.in_sync_min,
            "broker.session.timeout.ms": shape.session_timeout_ms,
            "broker.heartbeat.interval.ms": shape.session_timeout_ms // 6,
            "replica.lag.time.max.ms": shape.replica_lag_ms,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 100,
            "group.min.session.timeout.ms": 1_000,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
            # Many segments: rolling, and finding the place after a restart, are part of the test.
            "log.segment.bytes": 1 << 20,
            **shape.overrides,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for broker in self.brokers:
            broker.process.close()
        for member in self.members:
            member.kill()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(address for broker in self.brokers for address in broker.addresses)

    def broker(self, name: str) -> Broker:
        return next(broker for broker in self.brokers if broker.name == name)

    def member(self, name: str) -> EtcdMember:
        return next(member for member in self.members if member.name == name)

    def start(self) -> None:
        for member in self.members:
            self.launch_member(member)
        deadline = time.monotonic() + START_DEADLINE_S
        while not all(member.is_healthy() for member in self.members):
            assert time.monotonic() < deadline, "etcd does not become healthy"
            time.sleep(0.1)
        for broker in self.brokers:
            broker.launch()
        for broker in self.brokers:
            broker.process.wait_until_ready(deadline_s=START_DEADLINE_S)

    def launch_member(self, member: EtcdMember) -> None:
        member.launch(",".join(f"{each.name}={each.peer}" for each in self.members))
