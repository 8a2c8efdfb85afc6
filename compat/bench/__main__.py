"""``python -m compat.bench [--quick] [--json FILE] [--no-docs]``: three brokers, one run, one table.

The peers take turns: in every round each is started, measured and stopped, so that a busy moment of a shared machine
meets all of them. The best round counts. Ratios are to Apache Kafka, with the project's goals beside them.
Writes its part of ``docs/BENCHMARKS.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compat.bench.peers import Peer, PeerMissingError, cpu_seconds, peers
from compat.bench.report import Measure, write_section, written
from compat.reference.maven import REPOSITORY, NoReferenceError
from tests.broker_process import BrokerProcess, die_with_parent

SIZES: Final = {"100 B": 100, "1 KiB": 1024, "10 KiB": 10 * 1024}
RECORDS: Final = {"100 B": 600_000, "1 KiB": 300_000, "10 KiB": 40_000}
PARTITIONS: Final = (1, 10, 100)
ROUND_TRIPS, ROUND_TRIPS_WARM_UP = 5_000, 5_000
CONNECTIONS: Final = 1_000
START_DEADLINE_S = 120.0
QUICK_SHARE = 10


@dataclass
class Bench:
    """Measures everything once for each peer and round."""

    directory: Path
    share: int

    def __post_init__(self) -> None:
        self._brokers = 0
        self._topics = 0

    def measure(self, peer: Peer) -> Iterator[tuple[str, float]]:
        """Every measure by its key (``report.MEASURES``)."""
        yield "start_s", self._start_up(peer)
        with self._broker(peer) as broker:
            yield "idle_bytes", float(broker.resident_bytes())
            yield from self._connections(broker)
            for acks in ("1", "all"):
                yield from self._latency(broker, acks, "")
            yield from self._throughput(broker, ("1", "all"), "")
            yield from self._cpu(broker)
            yield "loaded_bytes", float(broker.resident_bytes())
        if peer.flushing is not None:
            with self._broker(peer, flushing=True) as broker:
                yield from self._latency(broker, "all", " flushed")
                yield from self._throughput(broker, ("all",), " flushed")

    def _broker(self, peer: Peer, *, flushing: bool = False) -> BrokerProcess:
        return peer.broker(self._fresh(), flushing=flushing).start(deadline_s=START_DEADLINE_S)

    def _fresh(self) -> Path:
        self._brokers += 1
        return self.directory / f"broker-{self._brokers}" / "data"

    def _topic(self, broker: BrokerProcess, partitions: int) -> str:
        self._topics += 1
        topic = f"bench-{self._topics}"
        _load(kind="create", bootstrap=broker.bootstrap_server, topic=topic, partitions=partitions)
        return topic

    def _start_up(self, peer: Peer) -> float:
        """From the start of the process to a record acknowledged by it, with a client that waits for it.

        The best of three: the first one may have to compile what an installation has compiled.
        """
        times = []
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for _ in range(3):
            command, bootstrap = peer.start_command(self._fresh())
            client = _client(kind="first_record", bootstrap=bootstrap)
            assert client.stdout is not None
            client.stdout.readline()
            started = time.perf_counter()
            broker = subprocess.Popen(
                [*die_with_parent(), *command],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env=environment,
            )
            try:
                client.stdout.readline()
                times.append(time.perf_counter() - started)
            finally:
                client.communicate()
                broker.kill()
                broker.wait()
            assert client.returncode == 0, "the first record was not acknowledged"
        return min(times)

    def _connections(self, broker: BrokerProcess) -> Iterator[tuple[str, float]]:
        before = broker.resident_bytes()
        client = _client(kind="connections", bootstrap=broker.bootstrap_server, count=CONNECTIONS)
        assert client.stdout is not None
        opened = json.loads(client.stdout.readline())
        busy = cpu_seconds(broker.pid)
        watched_s = 5.0 / self.share
        time.sleep(watched_s)
        yield "connections_bytes", float(broker.resident_bytes() - before)
        yield "connections_open_s", opened["seconds"]
        yield "connections_cpu", (cpu_seconds(broker.pid) - busy) / watched_s
        client.communicate("")

    def _latency(self, broker: BrokerProcess, acks: str, how: str) -> Iterator[tuple[str, float]]:
        found = _load(
            kind="round_trip",
            bootstrap=broker.bootstrap_server,
            topic=self._topic(broker, 1),
            size=100,
            count=max(ROUND_TRIPS // self.share, 1_000),
            warm_up=ROUND_TRIPS_WARM_UP // self.share,
            acks=acks,
        )
        for percentile in ("p50", "p99", "p999"):
            yield f"latency {percentile} acks={acks}{how}", found[f"{percentile}_us"]

    def _throughput(
        self, broker: BrokerProcess, kinds_of_acks: tuple[str, ...], how: str
    ) -> Iterator[tuple[str, float]]:
        for partitions in PARTITIONS:
            for label, size in SIZES.items():
                count = RECORDS[label] // self.share
                topic = ""
                for acks in kinds_of_acks:
                    topic = self._topic(broker, partitions)
                    work = {"topic": topic, "size": size, "count": count, "acks": acks}
                    found = _load(kind="produce", bootstrap=broker.bootstrap_server, **work)
                    yield f"produce {label} {partitions} acks={acks}{how}", found["mb_per_s"]
                if how:
                    continue
                found = _load(
                    kind="consume",
                    bootstrap=broker.bootstrap_server,
                    topic=topic,
                    size=size,
                    count=count,
                    partitions=partitions,
                )
                yield f"consume {label} {partitions}", found["mb_per_s"]

    def _cpu(self, broker: BrokerProcess) -> Iterator[tuple[str, float]]:
        """What the broker itself works for a GB of 1 KiB records, in and out."""
        size, count = SIZES["1 KiB"], RECORDS["1 KiB"] // self.share
        topic = self._topic(broker, 1)
        gigabytes = size * count / 1e9
        work = {"bootstrap": broker.bootstrap_server, "topic": topic, "size": size, "count": count}
        began = cpu_seconds(broker.pid)
        _load(kind="produce", acks="1", **work)
        produced = cpu_seconds(broker.pid)
        yield "cpu produce", (produced - began) / gigabytes
        _load(kind="consume", partitions=1, **work)
        yield "cpu consume", (cpu_seconds(broker.pid) - produced) / gigabytes


def _client(**work: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*die_with_parent(), sys.executable, "-m", "compat.bench.load", json.dumps(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def _load(**work: object) -> dict[str, float]:
    client = _client(**work)
    answer, _ = client.communicate()
    assert client.returncode == 0, f"the client failed at {work}"
    found: dict[str, float] = json.loads(answer)
    return found


def main() -> None:
    options = _parser().parse_args()
    try:
        compared = peers()
        found: dict[str, dict[str, Measure]] = {peer.name: {} for peer in compared}
        with tempfile.TemporaryDirectory(prefix="kbroker-bench-", dir=options.directory) as directory:
            bench = Bench(Path(directory), QUICK_SHARE if options.quick else 1)
            for number in range(1 if options.quick else options.rounds):
                for peer in compared:
                    for key, value in bench.measure(peer):
                        print(f"round {number + 1}: {peer.name}: {key}: {value:,.6g}", flush=True)
                        found[peer.name].setdefault(key, Measure(key)).take(value)
    except (PeerMissingError, NoReferenceError) as error:
        sys.exit(f"nothing to compare with: {error}")
    text = written(found, quick=options.quick, rounds=1 if options.quick else options.rounds)
    print(text)
    if options.json:
        values = {name: {key: measure.best for key, measure in keys.items()} for name, keys in found.items()}
        Path(options.json).write_text(json.dumps(values, indent=1), encoding="utf-8")
    if not options.no_docs:
        write_section(REPOSITORY / "docs" / "BENCHMARKS.md", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m compat.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, one round: noisier")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/BENCHMARKS.md alone")
    parser.add_argument("--directory", help="where the brokers' data goes (default: the temporary directory)")
    return parser


if __name__ == "__main__":
    main()
