"""``python -m tests.bench [--quick] [--json FILE]``: one table from one run, with ratios and the goals of the project.

Every line stands beside a reference measured in the same run on the same machine: these machines are shared, so a
ratio says something and a bare number little. The best of several rounds counts, on both sides. With
``--bootstrap-server`` throughput and latency of whatever broker is there are measured, and kbroker is not started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsNetwork
from kbroker.world import ConnectionLost
from tests.bench import cleaner, cluster, codec, recovery
from tests.bench.references import (
    disk_mb_per_s,
    mock_cluster,
    run_closed_loop,
    run_workload,
    sendfile_mb_per_s,
    sync_p50_us,
)
from tests.broker_process import BrokerProcess
from tests.running_broker import batch, create_topic
from wire.messages.produce import ProduceRequest, ProduceResponse

SIZES = {"100 B": 100, "1 KiB": 1024, "10 KiB": 10 * 1024}
RECORDS = {"100 B": 600_000, "1 KiB": 300_000, "10 KiB": 40_000}
QUICK_SHARE = 5
START_DEADLINE_S = 30
PARTS = (
    "start_up",
    "memory",
    "latency",
    "throughput",
    "group_commit",
    "transactions",
    "cleaning",
    "recovery",
    "many_partitions",
    "cluster",
    "scale",
    "codecs",
)
PARTS_OF_ANY_BROKER = ("latency", "throughput", "transactions")
# Records in one transaction -> transactions in one round.
TRANSACTIONS = {1: 1_000, 100: 500, 10_000: 30}
RECOVERED_BYTES = (100 << 20, 10 << 30)
RECOVERED_BYTES_QUICK = (20 << 20, 200 << 20)


@dataclass(frozen=True)
class Line:
    """One line of the table; ``ratio`` is value to reference, and ``goal`` what the ratio (or value) is to be."""

    what: str
    value: str
    reference: str = ""
    ratio: str = ""
    goal: str = ""
    met: str = ""


class Bench:
    """Collects lines; ``quick`` makes everything a fifth as long, and noisier."""

    def __init__(self, directory: Path, *, quick: bool, bootstrap_server: str | None = None) -> None:
        self.directory = directory
        self.bootstrap_server = bootstrap_server
        # A broker that was there before may have the topics of another run.
        self.run_id = f"bench-{time.time_ns():x}"
        self.rounds = 1 if quick else 3
        self.share = QUICK_SHARE if quick else 1
        self.quick = quick
        self.lines: list[Line] = []

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
    ) -> None:
        """One line; the goal is on the ratio where there is a reference, else on the value itself."""
        compared = value if reference is None else value / reference
        goal = met = ""
        if at_least is not None:
            goal, met = f"≥ {at_least:g}", "yes" if compared >= at_least else "no"
        if at_most is not None:
            goal, met = f"≤ {at_most:g}", "yes" if compared <= at_most else "no"
        line = Line(
            what=what,
            value=f"{value:,.1f} {unit}" if value < 1000 else f"{value:,.0f} {unit}",
            reference="" if reference is None else f"{reference_name} {reference:,.1f}",
            ratio="" if reference is None else f"{compared:.2f}",
            goal=goal,
            met=met,
        )
        self.lines.append(line)
        print(_row(line), flush=True)

    def best(
        self, measure: Callable[[int], dict[str, float]], key: str, *, least: bool = False
    ) -> dict[str, float]:
        """The best of the rounds, by ``key``."""
        found = [measure(number) for number in range(self.rounds)]
        return (min if least else max)(found, key=lambda measured: measured[key])

    def broker(self, name: str, **overrides: str) -> BrokerProcess:
        return BrokerProcess(self.directory / name, overrides=overrides)

    @contextlib.contextmanager
    def server(self, name: str) -> Iterator[str]:
        """The given broker's address, or that of a new kbroker."""
        if self.bootstrap_server is not None:
            yield self.bootstrap_server
            return
        with self.broker(name).start() as broker:
            yield broker.bootstrap_server

    # Throughput and latency

    def throughput(self) -> None:
        sendfile = max(sendfile_mb_per_s(self.directory, 512 // self.share) for _ in range(self.rounds))
        disk = max(disk_mb_per_s(self.directory, 1024 // self.share) for _ in range(self.rounds))
        self.add("reference: 1 MiB writes to the disk", disk, "MB/s")
        self.add("reference: sendfile over loopback", sendfile, "MB/s")
        for label, size in SIZES.items():
            self._throughput_of(label, size, RECORDS[label] // self.share, disk, sendfile)

    def _throughput_of(self, label: str, size: int, count: int, disk: float, sendfile: float) -> None:
        def work(kind: str, bootstrap: str) -> Callable[[int], dict[str, float]]:
            return lambda number: run_workload(
                kind=kind,
                bootstrap=bootstrap,
                topic=f"{self.run_id}-{size}-{number}",
                size=size,
                count=count,
            )

        def drain(bootstrap: str, *, create: bool) -> dict[str, float]:
            # A part is enough: the mock keeps all of it in memory.
            filling = {"topic": f"{self.run_id}-fill-{size}", "size": size, "count": count // 3}
            run_workload(kind="fill", bootstrap=bootstrap, create=create, **filling)
            return self.best(lambda _: run_workload(kind="drain", bootstrap=bootstrap, **filling), "mb_per_s")

        with mock_cluster() as mock:
            mock_produce = self.best(work("produce", mock), "mb_per_s")["mb_per_s"]
        with mock_cluster() as mock:
            client_takes = drain(mock, create=False)["mb_per_s"]
        with self.server(f"throughput-{size}") as server:
            produced = self.best(work("produce", server), "mb_per_s")
            consumed = self.best(work("consume", server), "mb_per_s")
            drained = drain(server, create=True)
        slower, name = min((disk, "disk"), (mock_produce, "mock"))
        self.add(
            f"produce {label}, acks=1, linger 5 ms",
            produced["mb_per_s"],
            "MB/s",
            reference=slower,
            reference_name=name,
            at_least=0.7 if label == "1 KiB" else None,
        )
        self.add(f"produce {label}", produced["records_per_s"], "records/s")
        self.add(
            f"consume {label}",
            consumed["mb_per_s"],
            "MB/s",
            reference=sendfile,
            reference_name="sendfile",
        )
        self.add(f"consume {label}", consumed["records_per_s"], "records/s")
        self.add(
            f"consume {label}, 4 MB a partition, as from the mock",
            drained["mb_per_s"],
            "MB/s",
            reference=client_takes,
            reference_name="client",
            at_least=0.5 if label == "1 KiB" else None,
        )

    def latency(self) -> None:
        count = 5000 // self.share

        def work(bootstrap: str) -> Callable[[int], dict[str, float]]:
            return lambda number: run_workload(
                kind="round_trip",
                bootstrap=bootstrap,
                topic=f"{self.run_id}-latency-{number}",
                size=100,
                count=count,
            )

        with mock_cluster() as mock, self.server("latency") as server:
            reference = self.best(work(mock), "p50_us", least=True)
            measured = self.best(work(server), "p50_us", least=True)
        self.add(
            "single record, acks=1, p50",
            measured["p50_us"],
            "µs",
            reference=reference["p50_us"],
            reference_name="mock",
            at_most=3,
        )
        self.add(
            "single record, acks=1, p99",
            measured["p99_us"],
            "µs",
            reference=reference["p99_us"],
            reference_name="mock",
        )

    # Durability and transactions

    def group_commit(self) -> None:
        """acks=all with and without group commit, beside acks=1 of the same run, which never waits for the disk."""
        self.add("reference: fdatasync of a small write, p50", sync_p50_us(self.directory), "µs")
        with (
            self.broker("synced").start() as synced,
            self.broker("unsynced", **{"kbroker.acks.all.sync": "false"}).start() as unsynced,
        ):
            for broker in (synced, unsynced):
                trio.run(_create_partitions, broker.port, 1, 64)
            for producers, partitions in ((1, 1), (64, 1), (64, 64)):
                self._group_commit_of(synced, unsynced, producers, partitions)

    def _group_commit_of(
        self, synced: BrokerProcess, unsynced: BrokerProcess, producers: int, partitions: int
    ) -> None:
        kinds = {"acks=1": (synced, 1), "on": (synced, -1), "off": (unsynced, -1)}
        best: dict[str, dict[str, float]] = {}
        # The kinds take turns, so that a busy moment of the machine meets all of them.
        for _ in range(self.rounds + 2):
            for kind, (broker, acks) in kinds.items():
                measured = run_closed_loop(
                    bootstrap=broker.bootstrap_server,
                    topic="many-0",
                    acks=acks,
                    producers=producers,
                    count=(2_000 if producers == 1 else 10_000) // self.share,
                    partitions=partitions,
                )
                if kind not in best or measured["mean_us"] < best[kind]["mean_us"]:
                    best[kind] = measured
        who = f"{producers} producers" if producers > 1 else "1 producer"
        if partitions > 1:
            who += f", {partitions} partitions"
        reference = best["acks=1"]
        for kind in ("on", "off"):
            goal = 2 if kind == "on" and producers == 64 and partitions == 1 else None
            what = f"acks=all, group commit {kind}, {who}"
            self.add(
                f"{what}, mean",
                best[kind]["mean_us"],
                "µs",
                reference=reference["mean_us"],
                reference_name="acks=1",
                at_most=goal,
            )
            self.add(
                f"{what}, p99",
                best[kind]["p99_us"],
                "µs",
                reference=reference["p99_us"],
                reference_name="acks=1",
            )
            self.add(
                f"{what}",
                best[kind]["per_s"],
                "records/s",
                reference=reference["per_s"],
                reference_name="acks=1",
            )

    def transactions(self) -> None:
        with self.server("transactions") as server:
            for records, count in TRANSACTIONS.items():
                measured = self.best(
                    lambda number, records=records, count=count: run_workload(  # type: ignore[misc]
                        kind="transactions",
                        bootstrap=server,
                        topic=f"{self.run_id}-transactions-{records}-{number}",
                        size=100,
                        count=max(count // self.share, 10),
                        records=records,
                    ),
                    "transactions_per_s",
                )
                what = f"transactions of {records:,} record{'s' if records > 1 else ''} of 100 B"
                self.add(what, measured["transactions_per_s"], "transactions/s")
                self.add(what, measured["records_per_s"], "records/s")
                self.add(f"{what}, commit p50", measured["p50_us"], "µs")
                self.add(f"{what}, commit p99", measured["p99_us"], "µs")

    def cleaning(self) -> None:
        for label in ("100 B", "1 KiB"):
            speeds = [
                cleaner.measure(SIZES[label], log_bytes=(64 << 20) // self.share) for _ in range(self.rounds)
            ]
            best = max(speeds, key=lambda speed: speed.megabytes_per_second)
            self.add(f"cleaner, values of {label}", best.megabytes_per_second, "MB/s")
            self.add(f"cleaner, values of {label}", best.records_per_second, "records/s")

    def recovery(self) -> None:
        """The size of the log must not matter: only what lies behind the recovery anchor is read."""
        sizes = RECOVERED_BYTES_QUICK if self.quick else RECOVERED_BYTES
        small, large = (
            recovery.measure(self.broker(f"recovery-{size}"), size, rounds=max(self.rounds, 3))
            for size in sizes
        )
        what = f"restart after a kill, log of {large.megabytes:,.0f} MB"
        name = f"{small.megabytes:,.0f} MB:"
        self.add(
            f"{what}, until ready",
            large.ready_s,
            "s",
            reference=small.ready_s,
            reference_name=name,
            at_most=1.5,
        )
        self.add(
            f"{what}, opening the log",
            large.load_s * 1000,
            "ms",
            reference=small.load_s * 1000,
            reference_name=name,
        )

    # Start and size

    def start_up(self) -> None:
        times = []
        for number in range(self.rounds * 2):
            with self.broker(f"start-{number}") as broker:
                started = time.perf_counter()
                broker.launch()
                trio.run(_first_acknowledged_record, broker.port)
                times.append(time.perf_counter() - started)
        self.add("start-up to the first acknowledged record", min(times), "s", at_most=0.7)

    def memory(self) -> None:
        with self.broker("memory").start() as broker:
            time.sleep(1)
            self.add("resident memory, idle", broker.resident_bytes() / 2**20, "MiB", at_most=60)
            trio.run(_create_partitions, broker.port, 10, 100)
            self.add("resident memory, 1,000 partitions", broker.resident_bytes() / 2**20, "MiB")

    def many_partitions(self) -> None:
        topics = 100 // self.share
        with self.broker("many") as broker:
            broker.start()
            trio.run(_create_partitions, broker.port, topics, 100)
            broker.terminate()
            started = time.perf_counter()
            broker.start(deadline_s=120)
            seconds = time.perf_counter() - started
            self.add(f"restart with {topics * 100:,} partitions, until ready", seconds, "s", at_most=10)
            self.add(f"resident memory, {topics * 100:,} partitions", broker.resident_bytes() / 2**20, "MiB")

    def cluster(self) -> None:
        cluster.measure(self)

    def scale(self) -> None:
        cluster.measure_scale(self)

    def codecs(self) -> None:
        for row in codec.run(0.1 if self.quick else 0.4):
            what = f"codec: {row.operation} {row.message}"
            self.lines.append(
                Line(
                    what=what,
                    value=f"{row.compiled_us:.2f} µs",
                    reference="construct / kio",
                    ratio=f"{row.times_construct:.1f}x / {row.times_kio:.2f}x faster",
                    goal="≥ 8x / > 1x",
                    met=("yes" if row.times_construct >= 8 else "no")
                    + " / "
                    + ("yes" if row.times_kio > 1 else "no"),
                )
            )
            print(_row(self.lines[-1]), flush=True)


async def _first_acknowledged_record(port: int) -> None:
    """As soon as the port answers: create a topic, append one record with acks=1."""
    with trio.fail_after(START_DEADLINE_S):
        while True:
            try:
                client = await BrokerClient.connect(OsNetwork(), "127.0.0.1", port)
                break
            except ConnectionLost:
                await trio.sleep(0.005)
        async with client:
            await create_topic(client, "first")
            data = ProduceRequest.TopicProduceData(
                name="first",
                partition_data=[
                    ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=batch(b"x"))
                ],
            )
            request = ProduceRequest(acks=1, timeout_ms=1000, topic_data=[data])
            response = await client.request(request, ProduceResponse, version=12)
            assert response.responses[0].partition_responses[0].error_code == 0


async def _create_partitions(port: int, topics: int, partitions: int) -> None:
    async with await BrokerClient.connect(OsNetwork(), "127.0.0.1", port) as client:
        for number in range(topics):
            await create_topic(client, f"many-{number}", partitions)


COLUMNS = (52, 20, 22, 22, 12, 10)


def _row(line: Line) -> str:
    cells = (line.what, line.value, line.reference, line.ratio, line.goal, line.met)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, COLUMNS, strict=True)).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, one round: noisy")
    parser.add_argument("--json", metavar="FILE", help="write the lines as JSON too")
    parser.add_argument("--bootstrap-server", metavar="HOST:PORT", help="measure the broker that is there")
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args()
    parts = PARTS if options.bootstrap_server is None else PARTS_OF_ANY_BROKER
    print(_row(Line("", "value", "reference", "ratio", "goal", "met")))
    with tempfile.TemporaryDirectory(prefix="kbroker-bench-", dir=Path.cwd()) as directory:
        bench = Bench(Path(directory), quick=options.quick, bootstrap_server=options.bootstrap_server)
        for part in options.only or parts:
            getattr(bench, part)()
    if options.json:
        Path(options.json).write_text(
            json.dumps([asdict(line) for line in bench.lines], indent=1, ensure_ascii=False)
        )


if __name__ == "__main__":
    main()
