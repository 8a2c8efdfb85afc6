"""``kafka-consumer-perf-test``: how fast records can be consumed."""

from __future__ import annotations

import argparse
import random
import re
import time
from datetime import datetime
from functools import partial
from typing import Final, NoReturn

import trio

from kbroker.tools.arguments import Arguments, integer_flag, read_properties
from kbroker.tools.client_properties import key_values
from kbroker.tools.cluster import Cluster
from kbroker.tools.consuming import Consumer, ConsumerSettings, consuming
from kbroker.tools.group_membership import Subscription
from kbroker.tools.interrupts import ending_on_signals
from kbroker.tools.session import CONSUMER, CommandError, Connected, run

DESCRIPTION: Final = "This tool is used to verify the consumer performance."
DATE_FORMAT: Final = "yyyy-MM-dd HH:mm:ss:SSS"
_DATE_LETTERS: Final = "GyMwWDdFEuaHkKhmsSzZXYL"
_MEGABYTE: Final = 1024.0 * 1024.0
_JOIN_COLUMNS: Final = ", rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"


def arguments() -> Arguments:
    """The flags."""
    parser = Arguments("kafka-consumer-perf-test", DESCRIPTION, help_with_mistakes=True)
    parser.add_argument(
        "--bootstrap-server", metavar="HOST:PORT,...", help="REQUIRED: The server(s) to connect to."
    )
    parser.add_argument("--topic", help="The topic to consume from.")
    parser.add_argument(
        "--include", metavar="REGEX", help="A pattern that the names of topics must match whole."
    )
    parser.add_argument("--group", metavar="GROUP", help="The group; perf-consumer-NNNNN by default.")
    parser.add_argument(
        "--fetch-size",
        default=str(1024 * 1024),
        metavar="BYTES",
        help="Of a partition in a fetch. Default: 1048576.",
    )
    parser.add_argument(
        "--command-property", action="append", default=[], metavar="KEY=VALUE", help="A consumer property."
    )
    parser.add_argument("--from-latest", action="store_true", help="Start at the end, not at the beginning.")
    parser.add_argument(
        "--socket-buffer-size", default=str(2 * 1024 * 1024), metavar="BYTES", help="Taken, not used."
    )
    parser.add_argument(
        "--consumer.config", dest="consumer_config", metavar="FILE", help="(DEPRECATED) --command-config."
    )
    parser.add_argument("--command-config", metavar="FILE", help="Properties file for the consumer.")
    parser.add_argument(
        "--print-metrics", action="store_true", help="Print metrics at the end (there are none here)."
    )
    parser.add_argument(
        "--show-detailed-stats", action="store_true", help="A line for each reporting interval."
    )
    parser.add_argument(
        "--timeout",
        nargs="?",
        const="10000",
        default="10000",
        metavar="MS",
        help="End when no record came for so long. Default: 10000.",
    )
    parser.add_argument("--messages", metavar="N", help="(DEPRECATED) --num-records.")
    parser.add_argument("--num-records", metavar="N", help="REQUIRED: The number of records to consume.")
    parser.add_argument(
        "--reporting-interval",
        default="5000",
        metavar="MS",
        help="Between lines of progress. Default: 5000.",
    )
    parser.add_argument(
        "--date-format", default=DATE_FORMAT, metavar="FORMAT", help="As java.text.SimpleDateFormat has it."
    )
    parser.add_argument("--hide-header", action="store_true", help="Do not print the header.")
    return parser


def check(parser: Arguments, options: argparse.Namespace) -> None:
    """Exit with 1 if the flags do not fit together; warn of deprecated ones."""
    parser.require(options, "bootstrap-server")
    for names in (("topic", "include"), ("messages", "num-records")):
        given = [name for name in names if getattr(options, name.replace("-", "_")) is not None]
        if len(given) != 1:
            parser.error(f"Exactly one of the following arguments is required: [{'], ['.join(names)}]")
    if options.consumer_config and options.command_config:
        parser.error('Option "[consumer.config]" can\'t be used with option "[command-config]"')
    if options.messages is not None:
        print("Warning: --messages is deprecated. Use --num-records instead.")
        options.num_records = options.messages
    if options.consumer_config:
        print("Warning: --consumer.config is deprecated. Use --command-config instead.")


def read_values(options: argparse.Namespace) -> None:
    """Turn flags that take numbers into such, and look at the date format; CommandError."""
    if unknown := re.search("[A-Za-z]", re.sub(f"'[^']*'|[{_DATE_LETTERS}]", "", options.date_format)):
        raise CommandError(f"Illegal pattern character '{unknown[0]}'")
    for name in ("num-records", "fetch-size", "socket-buffer-size", "reporting-interval", "timeout"):
        setattr(options, name.replace("-", "_"), integer_flag(options, name))
    if options.reporting_interval <= 0:
        raise CommandError("Reporting interval must be greater than 0.")


def consumer_properties(options: argparse.Namespace) -> dict[str, str]:
    """The consumer's configuration; NotStartedError, ValueError."""
    properties = read_properties(options.consumer_config or options.command_config)
    properties |= key_values(options.command_property)
    properties["group.id"] = options.group or f"perf-consumer-{random.randrange(100_000)}"
    properties["max.partition.fetch.bytes"] = str(options.fetch_size)
    properties["auto.offset.reset"] = "latest" if options.from_latest else "earliest"
    properties["check.crcs"] = "false"
    if not properties.get("client.id"):
        properties["client.id"] = "perf-consumer-client"
    return properties


_DATE_PARTS: Final = (
    ("yyyy", "%Y"),
    ("yy", "%y"),
    ("MM", "%m"),
    ("dd", "%d"),
    ("HH", "%H"),
    ("mm", "%M"),
    ("ss", "%S"),
)


def format_time(time_ms: int, pattern: str) -> str:
    """A moment in the letters of SimpleDateFormat (those of ``_DATE_PARTS``, and SSS)."""
    moment = datetime.fromtimestamp(time_ms / 1000)
    text = pattern.replace("%", "%%").replace("SSS", f"{time_ms % 1000:03d}")
    for letters, directive in _DATE_PARTS:
        text = text.replace(letters, directive)
    return moment.strftime(text)


class Measurement:
    """One run. ``consume`` until there were enough records; times in ms."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.records = 0
        self.bytes = 0
        self.join_ms = 0
        self._join_ms_in_round = 0
        self._join_start = self._last_report = self.start = _now_ms()
        self._last_records = 0
        self._last_bytes = 0

    def joined(self) -> None:
        elapsed = _now_ms() - self._join_start
        self.join_ms += elapsed
        self._join_ms_in_round += elapsed

    def leaves(self) -> None:
        self._join_start = _now_ms()

    async def consume(self, consumer: Consumer) -> None:
        """Take records until there were enough, or none for too long. ApiError, ProtocolError."""
        options = self._options
        consumer.on_assigned, consumer.on_revoked = self.joined, self.leaves
        while self.records < options.num_records:
            batch = await consumer.next(options.timeout / 1000)
            if batch is None:
                print(
                    "WARNING: Exiting before consuming the expected number of records: timeout "
                    f"({options.timeout} ms) exceeded. You can use the --timeout option to increase the timeout."
                )
                return
            self.records += len(batch.records)
            self.bytes += sum(len(record.key or b"") + len(record.value or b"") for record in batch.records)
            consumer.consumed(batch)
            now = _now_ms()
            if now - self._last_report >= options.reporting_interval:
                if options.show_detailed_stats:
                    self._print_progress(now)
                self._join_ms_in_round = 0
                self._last_report, self._last_records, self._last_bytes = now, self.records, self.bytes

    def _print_progress(self, now: int) -> None:
        elapsed_s = (now - self._last_report) / 1000
        fetch_ms = now - self._last_report - self._join_ms_in_round
        megabytes = (self.bytes - self._last_bytes) / _MEGABYTE
        records = self.records - self._last_records
        megabytes_per_s = megabytes / (fetch_ms / 1000) if fetch_ms > 0 else 0.0
        records_per_s = records / (fetch_ms / 1000) if fetch_ms > 0 else 0.0
        print(
            f"{format_time(now, self._options.date_format)}, 0, {self.bytes / _MEGABYTE:.4f}, "
            f"{megabytes / elapsed_s:.4f}, {self.records}, {records / elapsed_s:.4f}, {self._join_ms_in_round}, "
            f"{fetch_ms}, {megabytes_per_s:.4f}, {records_per_s:.4f}",
            flush=True,
        )

    def print_total(self, end: int) -> None:
        """The line of the whole run."""
        elapsed_s = max(end - self.start, 1) / 1000
        fetch_ms = end - self.start - self.join_ms
        fetch_s = max(fetch_ms, 1) / 1000
        megabytes = self.bytes / _MEGABYTE
        pattern = self._options.date_format
        print(
            f"{format_time(self.start, pattern)}, {format_time(end, pattern)}, {megabytes:.4f}, "
            f"{megabytes / elapsed_s:.4f}, {self.records}, {self.records / elapsed_s:.4f}, {self.join_ms}, {fetch_ms}, "
            f"{megabytes / fetch_s:.4f}, {self.records / fetch_s:.4f}"
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def measure(cluster: Cluster, options: argparse.Namespace, properties: dict[str, str]) -> None:
    """Consume, and print what that took. ApiError, ProtocolError."""
    measurement = Measurement(options)
    subscription = Subscription([options.topic] if options.topic else (), options.include)
    settings = ConsumerSettings.from_properties(properties)
    async with consuming(cluster, settings, subscription=subscription) as consumer:
        await measurement.consume(consumer)
        end = _now_ms()
    if not options.show_detailed_stats:
        measurement.print_total(end)


async def command(options: argparse.Namespace) -> None:
    """The whole command."""
    if not options.hide_header:
        first = "time, threadId" if options.show_detailed_stats else "start.time, end.time"
        print(f"{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec{_JOIN_COLUMNS}")
    read_values(options)
    properties = consumer_properties(options)
    connected = Connected(options.bootstrap_server, properties, patient=True, client=CONSUMER)
    async with ending_on_signals(), connected as cluster:
        await measure(cluster, options, properties)


def main() -> NoReturn:
    """The console script."""
    parser = arguments()
    options = parser.parse()
    check(parser, options)
    run(partial(command, options), to_stderr=True, runner=trio.run)
