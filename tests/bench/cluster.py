"""The cluster lines of the table: three broker processes and an etcd on this machine, and three brokers in one process.

Replication is measured against replication factor 1 in the same cluster: what is left of the throughput, and what the
brokers' processors spend on a megabyte beyond it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.bench.references import run_workload
from tests.broker_process import BrokerProcess
from tests.cluster_processes import ClusterProcesses, LocalClusterProcess, partitions_at, wait_until_whole
from tests.etcd_process import running_etcd

KAFKAS_TIMES: dict[str, str | int] = {
    "broker.session.timeout.ms": 9_000,
    "broker.heartbeat.interval.ms": 2_000,
    "replica.lag.time.max.ms": 30_000,
    "offsets.topic.num.partitions": 50,
}
RECORD_BYTES = 1024
SCALE_TOPICS, SCALE_PARTITIONS = 30, 100
_DEADLINE_S = 300.0


class Lines(Protocol):
    """Where results go (``Bench``)."""

    directory: Path
    share: int

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        reference: float | None = None,
        reference_name: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None: ...


def measure(lines: Lines) -> None:
    """Throughput, latency, failover, and what replication costs."""
    with _three_processes(lines, "cluster", {}) as cluster:
        servers = cluster.bootstrap_servers
        count = 100_000 // lines.share
        produced: dict[int, float] = {}
        cost: dict[int, float] = {}
        for factor in (1, 3):
            topic = f"factor-{factor}"
            _create(servers, topic, 1, factor)
            before = _cpu_seconds(cluster)
            work = {"topic": topic, "size": RECORD_BYTES, "count": count, "acks": "all"}
            produced[factor] = run_workload(kind="produce", bootstrap=servers, **work)["mb_per_s"]
            cost[factor] = (_cpu_seconds(cluster) - before) / (count * RECORD_BYTES / 1e6)
        lines.add(
            "replication factor 3, acks=all, 1 KiB, linger 5 ms",
            produced[3],
            "MB/s",
            reference=produced[1],
            reference_name="factor 1",
        )
        lines.add("replication: CPU a MB, beyond factor 1", (cost[3] - cost[1]) * 1000, "ms")
        paced = run_workload(
            kind="paced",
            bootstrap=servers,
            topic="factor-3",
            size=RECORD_BYTES,
            count=30_000 // lines.share,
            per_second=1000,
        )
        lines.add("factor 3, acks=all, 1,000 records/s, linger 1 ms: p50", paced["p50_us"] / 1000, "ms")
        lines.add(
            "factor 3, acks=all, 1,000 records/s, linger 1 ms: p99", paced["p99_us"] / 1000, "ms", at_most=10
        )
    for session_ms in (9_000, 3_000):
        heartbeat_ms = min(2_000, session_ms // 4)
        times = {"broker.session.timeout.ms": session_ms, "broker.heartbeat.interval.ms": heartbeat_ms}
        with _three_processes(lines, f"failover-{session_ms}", times) as cluster:
            lines.add(
                f"leader killed, to the next acknowledged record; session timeout {session_ms / 1000:g} s",
                _failover_s(cluster),
                "s",
                at_most=session_ms / 1000 + 1,
            )
    local = LocalClusterProcess(lines.directory / "local", overrides=KAFKAS_TIMES)
    with local:
        started = time.perf_counter()
        local.start()
        lines.add("kbroker serve --brokers 3, until ready", time.perf_counter() - started, "s")
        lines.add("the same: resident memory, idle", local.resident_bytes() / 2**20, "MiB")


def measure_scale(lines: Lines) -> None:
    """3,000 partitions at replication factor 3."""
    topics = max(SCALE_TOPICS // lines.share, 1)
    with _three_processes(lines, "scale", {}) as cluster:
        _measure_scale(
            lines, "3 processes", topics, cluster.bootstrap_servers, list(cluster.brokers.values())
        )
        _measure_loss_of_one(lines, cluster)
    with LocalClusterProcess(lines.directory / "scale-local", overrides=KAFKAS_TIMES) as local:
        local.start()
        _measure_scale(lines, "1 process", topics, local.bootstrap_servers, [local])
        local.kill()
        seconds = _timed(lambda: (local.start(deadline_s=_DEADLINE_S), _whole(local.bootstrap_servers)))
        lines.add("  killed and started: until all are led and in sync", seconds, "s")


def _measure_scale(
    lines: Lines, where: str, topics: int, servers: str, processes: list[BrokerProcess]
) -> None:
    partitions = topics * SCALE_PARTITIONS
    name = f"{partitions:,} partitions x 3, {where}"

    def create() -> None:
        for number in range(topics):
            _create(servers, f"many-{number}", SCALE_PARTITIONS, 3)
        _whole(servers)

    lines.add(f"{name}: created and in sync", _timed(create), "s")
    lines.add("  a record to each, acks=all", _timed(lambda: _produce_to_each(servers, topics)), "s")
    time.sleep(5)
    before, began = _cpu_of(processes), time.perf_counter()
    time.sleep(10)
    lines.add("  idle: cores", (_cpu_of(processes) - before) / (time.perf_counter() - began), "")
    resident = sum(process.resident_bytes() for process in processes) / len(processes)
    lines.add("  resident memory of a process", resident / 2**20, "MiB")


def _measure_loss_of_one(lines: Lines, cluster: ClusterProcesses) -> None:
    others = cluster.bootstrap_without(2)
    cluster.brokers[2].kill()
    lines.add("  one killed: until all have a leader (session 9 s)", _timed(lambda: _led(others, 2)), "s")
    seconds = _timed(lambda: (cluster.start(), _whole(cluster.bootstrap_servers)))
    lines.add("  started again: until all are in sync", seconds, "s")


@contextmanager
def _three_processes(lines: Lines, name: str, overrides: dict[str, str | int]) -> Iterator[ClusterProcesses]:
    directory = lines.directory / name
    with (
        running_etcd(directory / "etcd") as etcd,
        ClusterProcesses(
            directory, etcd.endpoints, overrides={**KAFKAS_TIMES, "min.insync.replicas": 2, **overrides}
        ) as cluster,
    ):
        yield cluster.start()


def _create(servers: str, topic: str, partitions: int, factor: int) -> None:
    # With factor 1 the topic's own minimum is all replicas, as in Kafka.
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    admin.create_topics([NewTopic(topic, partitions, factor)])[topic].result(60)


def _failover_s(cluster: ClusterProcesses) -> float:
    """From the death of a leader to the next acknowledged record of a producer that never stops."""
    servers = cluster.bootstrap_servers
    _create(servers, "failover", 1, 3)
    wait_until_whole(servers)
    leader = partitions_at(servers, "failover")["failover", 0].leader
    acknowledged: list[float] = []
    producer = Producer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0, "log_level": 0}
    )

    def note(error: object, message: object) -> None:
        assert error is None, error
        acknowledged.append(time.perf_counter())

    def go_on_until(done: Callable[[], bool]) -> None:
        deadline = time.perf_counter() + 60
        while not done():
            assert time.perf_counter() < deadline, "no acknowledged record for a minute"
            producer.produce("failover", b"x", partition=0, on_delivery=note)
            producer.poll(0.005)

    go_on_until(lambda: len(acknowledged) > 500)
    cluster.brokers[leader].kill()
    killed = time.perf_counter()
    # What was on its way when the leader died may still arrive.
    go_on_until(lambda: acknowledged[-1] > killed + 0.5)
    producer.flush(30)
    return next(moment for moment in acknowledged if moment > killed + 0.5) - killed


def _produce_to_each(servers: str, topics: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "log_level": 0})
    for number in range(topics):
        for partition in range(SCALE_PARTITIONS):
            producer.produce(f"many-{number}", b"x", partition=partition)
        producer.poll(0)
    assert producer.flush(_DEADLINE_S) == 0


def _whole(servers: str) -> None:
    wait_until_whole(servers, deadline_s=_DEADLINE_S)


def _led(servers: str, dead: int) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while any(found.leader in (dead, -1) for found in partitions_at(servers).values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _cpu_seconds(cluster: ClusterProcesses) -> float:
    return _cpu_of(list(cluster.brokers.values()))


def _cpu_of(processes: list[BrokerProcess]) -> float:
    """Seconds that the processes have spent on processors so far."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii", errors="replace").split()
        ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")
