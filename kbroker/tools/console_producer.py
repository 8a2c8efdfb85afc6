"""``kafka-console-producer``: each line of standard input is a record."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Final, NoReturn

import trio

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.client_properties import key_values
from kbroker.tools.cluster import Cluster, parse_address
from kbroker.tools.interrupts import ending_on_signals
from kbroker.tools.java_errors import java_text
from kbroker.tools.line_reader import READER_CLASS, LineReader, LineRecord, LineSplitter
from kbroker.tools.log_lines import log
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import Producer, producing
from kbroker.tools.session import PRODUCER, Connected, run
from wire.errors import ApiError

DESCRIPTION: Final = "This tool helps to read data from standard input and publish it to Kafka."
_READ_BYTES: Final = 1 << 16
_CALLBACK: Final = "org.apache.kafka.clients.producer.internals.ErrorLoggingCallback"

# Flag, default, producer property; a property that is given otherwise keeps its value unless the flag is given.
_MERGED: Final = (
    ("timeout", "1000", "linger.ms"),
    ("request-required-acks", "-1", "acks"),
    ("request-timeout-ms", "1500", "request.timeout.ms"),
    ("message-send-max-retries", "3", "retries"),
    ("retry-backoff-ms", "100", "retry.backoff.ms"),
    ("socket-buffer-size", "102400", "send.buffer.bytes"),
    ("max-memory-bytes", "33554432", "buffer.memory"),
    ("batch-size", "16384", "batch.size"),
    ("max-partition-memory-bytes", "16384", "batch.size"),
    ("metadata-expiry-ms", "300000", "metadata.max.age.ms"),
    ("max-block-ms", "60000", "max.block.ms"),
)
_HELP: Final = {
    "timeout": "linger.ms: how long a record may wait for others, in ms.",
    "request-required-acks": "acks: the acknowledgements that a request needs.",
    "request-timeout-ms": "request.timeout.ms: how long to wait for the answer to a request.",
    "message-send-max-retries": "retries: how often a batch is sent again.",
    "retry-backoff-ms": "retry.backoff.ms: the pause before a batch is sent again.",
    "socket-buffer-size": "send.buffer.bytes: the size of the TCP send buffer.",
    "max-memory-bytes": "buffer.memory: how many bytes may wait to be sent.",
    "batch-size": "batch.size: the bytes of a batch.",
    "max-partition-memory-bytes": "(Deprecated) The same as --batch-size.",
    "metadata-expiry-ms": "metadata.max.age.ms: after what time the cluster is looked at again.",
    "max-block-ms": "max.block.ms: how long a send may wait for the cluster or for room.",
}


def arguments() -> Arguments:
    """The flags."""
    parser = Arguments("kafka-console-producer", DESCRIPTION, help_with_mistakes=True)
    parser.add_argument("--topic", metavar="TOPIC", help="REQUIRED: The topic to produce to.")
    parser.add_argument(
        "--bootstrap-server", metavar="HOST:PORT,...", help="REQUIRED: The server(s) to connect to."
    )
    parser.add_argument("--sync", action="store_true", help="Wait for each record's acknowledgement.")
    parser.add_argument(
        "--compression-codec",
        nargs="?",
        const="gzip",
        metavar="CODEC",
        help="none, gzip, snappy, lz4 or zstd; gzip if it has no value.",
    )
    for name, default, _ in _MERGED:
        kind = str if name == "request-required-acks" else int
        parser.add_argument(f"--{name}", type=kind, help=f"{_HELP[name]} Default: {default}.")
    parser.add_argument("--line-reader", default=READER_CLASS, metavar="CLASS", help="How lines are read.")
    parser.add_argument(
        "--reader-property", action="append", default=[], metavar="KEY=VALUE", help=_READER_HELP
    )
    parser.add_argument(
        "--property", action="append", default=[], metavar="KEY=VALUE", help="(DEPRECATED) --reader-property."
    )
    parser.add_argument("--reader-config", metavar="FILE", help="Properties file for the reader.")
    parser.add_argument(
        "--command-property", action="append", default=[], metavar="KEY=VALUE", help="A producer property."
    )
    parser.add_argument(
        "--producer-property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="(DEPRECATED) --command-property.",
    )
    parser.add_argument("--command-config", metavar="FILE", help="Properties file for the producer.")
    parser.add_argument(
        "--producer.config", dest="producer_config", metavar="FILE", help="(DEPRECATED) --command-config."
    )
    return parser


_READER_HELP: Final = (
    "A property of the reader: parse.key, parse.headers, ignore.error (true or false), key.separator, "
    "headers.delimiter (both a tab by default), headers.separator (,), headers.key.separator (:), null.marker."
)


def check(parser: Arguments, options: argparse.Namespace) -> None:
    """Exit with 1 if the flags do not fit together; warn of deprecated ones."""
    parser.require(options, "topic")
    if not options.bootstrap_server:
        parser.error("Error while validating the bootstrap address\n")
    try:
        for text in options.bootstrap_server.split(","):
            parse_address(text)
    except ValueError:
        parser.error("Please provide valid host:port like host1:9091,host2:9092\n")
    for new, old in (
        ("command-config", "producer.config"),
        ("command-property", "producer-property"),
        ("reader-property", "property"),
    ):
        new_value, old_value = (
            getattr(options, name.replace("-", "_").replace(".", "_")) for name in (new, old)
        )
        if new_value and old_value:
            parser.error(f"Options --{new} and --{old} cannot be specified together.")
        if old_value:
            print(
                f"Warning: --{old} is deprecated and will be removed in a future version. Use --{new} instead.",
                file=sys.stdout,
            )
    if options.max_partition_memory_bytes is not None:
        print(
            "Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. "
            "Use --batch-size instead."
        )


def producer_properties(options: argparse.Namespace) -> dict[str, str]:
    """The producer's configuration: file, properties, then what flags say. NotStartedError, ValueError."""
    properties = read_properties(options.command_config or options.producer_config)
    properties |= key_values(options.command_property or options.producer_property)
    properties["compression.type"] = options.compression_codec or "none"
    if not properties.get("client.id"):
        properties["client.id"] = "console-producer"
    for name, default, key in _MERGED:
        value = getattr(options, name.replace("-", "_"))
        if value is not None or key not in properties:
            properties[key] = default if value is None else str(value)
    return properties


def line_reader(options: argparse.Namespace) -> LineReader:
    """How lines become records. NotStartedError, ValueError."""
    return LineReader(
        read_properties(options.reader_config) | key_values(options.reader_property or options.property)
    )


async def produce(
    cluster: Cluster,
    options: argparse.Namespace,
    settings: ProducerSettings,
    reader: LineReader,
    lines: AsyncIterator[str],
) -> None:
    """Send all lines. CommandError for a line that cannot be read."""
    async with producing(cluster, settings) as producer:
        async for line in lines:
            record = reader.record(line)
            await _send(producer, options, record)


async def _send(producer: Producer, options: argparse.Namespace, record: LineRecord) -> None:
    outcome: list[ApiError | None] = []

    def done(error: ApiError | None) -> None:
        outcome.append(error)
        if error is not None and not options.sync:
            _log_failure(options.topic, record, error)

    try:
        await producer.send(options.topic, record.key, record.value, record.headers, done=done)
    except ApiError as error:
        if options.sync or producer.fatal is not None:
            raise
        _log_failure(options.topic, record, error)
        return
    if options.sync:
        await producer.flush()
        if outcome and outcome[0] is not None:
            raise outcome[0]


def _log_failure(topic: str, record: LineRecord, error: ApiError) -> None:
    def size(data: bytes | None) -> str:
        return "null" if data is None else f"{len(data)} bytes"

    log(
        "ERROR",
        f"Error when sending message to topic {topic} with key: {size(record.key)}, value: {size(record.value)} "
        "with error:",
        _CALLBACK,
    )
    print(java_text(error), file=sys.stderr)


async def standard_input() -> AsyncIterator[str]:
    """The lines that are typed or piped in."""
    splitter = LineSplitter()
    prompt = sys.stdin.isatty() and sys.stdout.isatty()
    descriptor = sys.stdin.fileno()
    while True:
        if prompt:
            print(">", end="", flush=True)
        data = await trio.to_thread.run_sync(
            partial(os.read, descriptor, _READ_BYTES), abandon_on_cancel=True
        )
        for line in splitter.feed(data) if data else splitter.end():
            yield line
        if not data:
            return


async def command(options: argparse.Namespace) -> None:
    """The whole command."""
    reader = line_reader(options)
    properties = producer_properties(options)
    settings = ProducerSettings.from_properties(properties)
    connected = Connected(options.bootstrap_server, properties, client=PRODUCER)
    async with ending_on_signals(), connected as cluster:
        await produce(cluster, options, settings, reader, standard_input())


def main() -> NoReturn:
    """The console script."""
    parser = arguments()
    options = parser.parse()
    check(parser, options)
    if options.line_reader != READER_CLASS:
        parser.refuse(f"{options.line_reader}: only {READER_CLASS} can read lines here")
    run(partial(command, options), to_stderr=True, runner=trio.run)
