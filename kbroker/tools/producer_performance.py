"""``kafka-producer-perf-test``: how fast records can be produced, and with what latency."""

from __future__ import annotations

import argparse
import random
import sys
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import trio

from kbroker.tools.arguments import read_properties
from kbroker.tools.cluster import Cluster
from kbroker.tools.interrupts import ending_on_signals
from kbroker.tools.java_errors import java_text
from kbroker.tools.plain_arguments import DOUBLE, INTEGER, LONG, PlainArguments
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import Producer, producing
from kbroker.tools.session import PRODUCER, Connected, run
from wire.errors import ApiError

_LATENCIES_MAX: Final = 500_000
_TRANSACTION_MS: Final = 3000
_MEGABYTE: Final = 1024.0 * 1024.0
_YIELD_EVERY: Final = 64


def arguments() -> PlainArguments:
    """The flags."""
    parser = PlainArguments(
        "kafka-producer-perf-test", description="This tool is used to verify the producer performance."
    )
    parser.add_argument("--bootstrap-server", metavar="HOST:PORT,...", help="The server(s) to connect to.")
    parser.add_argument("--topic", required=True, help="Produce records to this topic.")
    parser.add_argument("--num-records", required=True, type=LONG, help="Number of records to produce.")
    payload = parser.add_mutually_exclusive_group(required=True)
    payload.add_argument("--record-size", type=INTEGER, help="Record size in bytes.")
    payload.add_argument(
        "--payload-file", help="File of payloads (UTF-8), of which one is chosen for each record."
    )
    payload.add_argument("--payload-monotonic", action="store_true", help="Payloads are numbers that rise.")
    parser.add_argument("--payload-delimiter", default="\\n", help="What separates payloads in the file.")
    parser.add_argument(
        "--throughput", required=True, type=DOUBLE, help="At most so many records/sec; -1: no limit."
    )
    parser.add_argument(
        "--producer-props", nargs="+", metavar="KEY=VALUE", help="(DEPRECATED) --command-property."
    )
    parser.add_argument("--command-property", nargs="+", metavar="KEY=VALUE", help="Producer properties.")
    parser.add_argument(
        "--producer.config", dest="producer_config", metavar="FILE", help="(DEPRECATED) --command-config."
    )
    parser.add_argument("--command-config", metavar="FILE", help="Properties file for the producer.")
    parser.add_argument(
        "--print-metrics", action="store_true", help="Print metrics at the end (there are none here)."
    )
    parser.add_argument("--transactional-id", help="Produce in transactions of this id.")
    parser.add_argument("--transaction-duration-ms", type=LONG, help="How long each transaction lasts.")
    parser.add_argument("--warmup-records", type=LONG, default=0, help="Records before the steady state.")
    parser.add_argument(
        "--reporting-interval", type=LONG, default=5000, metavar="MS", help="Between lines of progress."
    )
    parser.add_argument("--record-key-range", type=LONG, help="Keys are numbers below this.")
    parser.add_argument(
        "--key-distribution", choices=("none", "range", "random"), default="none", help="Which keys."
    )
    parser.add_argument("--random-seed", type=LONG, default=0, help="Of payloads and keys.")
    return parser


def check(parser: PlainArguments, options: argparse.Namespace) -> None:
    """Exit with 1 if the flags do not fit together; warn of deprecated ones."""
    wrong = (
        (options.num_records <= 0, "--num-records should be greater than zero."),
        (
            max(options.warmup_records, 0) >= options.num_records,
            "The value for --warmup-records must be strictly fewer than the number of records in the test, "
            "--num-records.",
        ),
        (
            options.record_size is not None and options.record_size <= 0,
            "--record-size should be greater than zero.",
        ),
        (
            not any(
                (
                    options.bootstrap_server,
                    options.command_property,
                    options.producer_props,
                    options.producer_config,
                    options.command_config,
                )
            ),
            "At least one of --bootstrap-server, --command-property, --producer-props, --producer.config or "
            "--command-config must be specified.",
        ),
        (
            options.command_property and options.producer_props,
            "--command-property and --producer-props cannot be specified together.",
        ),
        (
            options.command_config and options.producer_config,
            "--command-config and --producer.config cannot be specified together.",
        ),
        (
            options.transaction_duration_ms is not None and options.transaction_duration_ms <= 0,
            "--transaction-duration-ms should be greater than zero.",
        ),
        (options.reporting_interval <= 0, "--reporting-interval should be greater than zero."),
        (
            options.record_key_range is not None and options.record_key_range <= 0,
            "--record-key-range should be greater than zero.",
        ),
        (
            options.key_distribution != "none" and options.record_key_range is None,
            "--record-key-range is required when --key-distribution is 'range' or 'random'.",
        ),
        (
            options.key_distribution == "none" and options.record_key_range is not None,
            "--key-distribution must be 'range' or 'random' when --record-key-range is specified.",
        ),
    )
    for is_wrong, message in wrong:
        if is_wrong:
            parser.error(message)
    for old, new, given in (
        ("producer-props", "command-property", options.producer_props),
        ("producer.config", "command-config", options.producer_config),
    ):
        if given:
            print(
                f"Option --{old} has been deprecated and will be removed in a future version. Use --{new} instead."
            )


def producer_properties(options: argparse.Namespace) -> dict[str, str]:
    """The producer's configuration; NotStartedError, ValueError."""
    properties = read_properties(options.command_config or options.producer_config)
    for text in options.command_property or options.producer_props or ():
        pieces = text.split("=")
        if len(pieces) != 2:
            raise ValueError(f"Invalid property: {text}")
        properties[pieces[0]] = pieces[1]
    if not properties.get("client.id"):
        properties["client.id"] = "perf-producer-client"
    if options.bootstrap_server is not None:
        properties["bootstrap.servers"] = options.bootstrap_server
    if options.transactional_id is not None:
        properties["transactional.id"] = options.transactional_id
    elif options.transaction_duration_ms is not None:
        properties.setdefault("transactional.id", f"performance-producer-{uuid.uuid4()}")
    return properties


def read_payloads(path: str, delimiter: str) -> list[bytes]:
    """The payloads of a file; ValueError if it has none."""
    file = Path(path)
    print(f"Reading payloads from: {file.absolute()}")
    if not file.exists() or not file.stat().st_size:
        raise ValueError("File does not exist or empty file provided.")
    parts = file.read_bytes().split(("\n" if delimiter == "\\n" else delimiter).encode())
    if parts and not parts[-1]:
        parts.pop()
    print(f"Number of records read: {len(parts)}")
    return parts


@dataclass
class Stats:
    """Counts and latencies (ms), in all and since the last line of progress."""

    record_count: int
    reporting_interval_ms: int
    is_steady: bool = False
    is_silent: bool = False
    count: int = 0
    bytes: int = 0
    iteration: int = 0
    latency_sum: int = 0
    latency_max: int = 0
    latencies: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = self._window_start = _now_ms()
        self._sampling = self.record_count // min(self.record_count, _LATENCIES_MAX)
        self._window = [0, 0, 0, 0]  # records, bytes, sum and maximum of latencies

    def record(self, latency_ms: int, size: int, now_ms: int) -> None:
        """One record was acknowledged."""
        self.count += 1
        self.bytes += size
        self.latency_sum += latency_ms
        self.latency_max = max(self.latency_max, latency_ms)
        window = self._window
        window[0] += 1
        window[1] += size
        window[2] += latency_ms
        window[3] = max(window[3], latency_ms)
        if self.iteration % self._sampling == 0:
            self.latencies.append(latency_ms)
        if now_ms - self._window_start >= self.reporting_interval_ms:
            if self.is_steady and self.count == window[0]:
                print("In steady state.")
            if not self.is_silent:
                self._print_window()
            self._window_start, self._window = now_ms, [0, 0, 0, 0]
        self.iteration += 1

    def _print_window(self) -> None:
        elapsed_ms = max(1, _now_ms() - self._window_start)
        records, size, latency_sum, latency_max = self._window
        print(
            f"{records} records sent, {1000.0 * records / elapsed_ms:.1f} records/sec "
            f"({1000.0 * size / elapsed_ms / _MEGABYTE:.2f} MB/sec), {latency_sum / records:.1f} ms avg latency, "
            f"{latency_max:.1f} ms max latency.",
            flush=True,
        )

    def print_total(self) -> None:
        """The last line."""
        elapsed_ms = max(1, _now_ms() - self._start)
        average = f"{self.latency_sum / self.count:.2f}" if self.count else "NaN"
        half, most, nearly, last = self.percentiles((0.5, 0.95, 0.99, 0.999))
        print(
            f"{self.count}{' steady state' if self.is_steady else ''} records sent, "
            f"{1000.0 * self.count / elapsed_ms:f} records/sec "
            f"({1000.0 * self.bytes / elapsed_ms / _MEGABYTE:.2f} MB/sec), {average} ms avg latency, "
            f"{self.latency_max:.2f} ms max latency, {half} ms 50th, {most} ms 95th, {nearly} ms 99th, "
            f"{last} ms 99.9th."
        )

    def percentiles(self, shares: tuple[float, ...]) -> list[int]:
        """The latencies that these shares of the records do not exceed."""
        ranked = sorted(self.latencies)
        return [ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0 for share in shares]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Payloads:
    """What records hold."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._random = random.Random(options.random_seed)
        self._from_file = (
            read_payloads(options.payload_file, options.payload_delimiter)
            if options.payload_file is not None
            else []
        )
        # One piece of random letters, of which every record gets another slice.
        size = options.record_size or 0
        self._letters = (
            bytes(65 + letter % 26 for letter in self._random.randbytes(size + 4096)) if size else b""
        )

    def value(self, number: int) -> bytes:
        if self._from_file:
            return self._random.choice(self._from_file)
        if self._options.payload_monotonic:
            return str(number).encode()
        start = self._random.randrange(4096)
        return self._letters[start : start + self._options.record_size]

    def key(self, number: int) -> bytes | None:
        if self._options.key_distribution == "none":
            return None
        limit = self._options.record_key_range
        chosen = (
            number % limit if self._options.key_distribution == "range" else self._random.randrange(limit)
        )
        return str(chosen).encode()


class Throttle:
    """Holds a sender to so many records a second."""

    def __init__(self, records_per_s: float) -> None:
        self._records_per_s = records_per_s
        self._start = trio.current_time()

    async def wait(self, sent: int) -> None:
        if self._records_per_s > 0:
            await trio.sleep_until(self._start + sent / self._records_per_s)
        elif sent % _YIELD_EVERY == 0:  # the sending tasks must have their turn
            await trio.lowlevel.checkpoint()


async def measure(cluster: Cluster, options: argparse.Namespace, properties: dict[str, str]) -> list[Stats]:
    """Produce all records; the statistics, of everything and perhaps of the steady state. ApiError."""
    payloads = Payloads(options)
    settings = ProducerSettings.from_properties(properties)
    async with producing(cluster, settings) as producer:
        if settings.transactional_id is not None:
            await producer.init_transactions()
        stats = [Stats(options.num_records, options.reporting_interval)]
        await _send_all(producer, options, settings, payloads, stats)
        if settings.transactional_id is not None:
            await producer.commit()
        else:
            await producer.flush()
    return stats


async def _send_all(
    producer: Producer,
    options: argparse.Namespace,
    settings: ProducerSettings,
    payloads: Payloads,
    stats: list[Stats],
) -> None:
    transaction_ms = options.transaction_duration_ms or _TRANSACTION_MS
    transaction_start: int | None = None
    throttle = Throttle(options.throughput)
    for number in range(options.num_records):
        if options.warmup_records > 0 and number == options.warmup_records:
            steady = Stats(
                options.num_records - options.warmup_records, options.reporting_interval, is_steady=True
            )
            stats[0].is_silent = True
            stats.append(steady)
        value = payloads.value(number)
        now_ms = _now_ms()
        if transaction_start is None:
            transaction_start = now_ms
        done = partial(_done, tuple(stats), now_ms, len(value))
        try:
            await producer.send(options.topic, payloads.key(number), value, timestamp_ms=now_ms, done=done)
        except ApiError as error:
            if producer.fatal is not None:
                raise
            print(java_text(error), file=sys.stderr)
        if settings.transactional_id is not None and now_ms - transaction_start >= transaction_ms:
            await producer.commit()
            transaction_start = None
        await throttle.wait(number + 1)


def _done(stats: tuple[Stats, ...], start_ms: int, size: int, error: ApiError | None) -> None:
    if error is not None:
        print(java_text(error), file=sys.stderr)
        return
    now_ms = _now_ms()
    for each in stats:
        each.record(now_ms - start_ms, size, now_ms)


async def command(options: argparse.Namespace) -> None:
    """The whole command."""
    properties = producer_properties(options)
    connected = Connected(properties.get("bootstrap.servers", ""), properties, client=PRODUCER)
    if options.warmup_records > 0:
        print(
            f"Warmup first {options.warmup_records} records. Steady state results will print after the complete test "
            "summary."
        )
    async with ending_on_signals(), connected as cluster:
        stats = await measure(cluster, options, properties)
    for each in stats:
        each.print_total()


def main() -> NoReturn:
    """The console script."""
    parser = arguments()
    if len(sys.argv) == 1:
        parser.print_help()
        sys.exit(0)
    options = parser.parse_args()
    check(parser, options)
    run(partial(command, options), to_stderr=True, runner=trio.run)
