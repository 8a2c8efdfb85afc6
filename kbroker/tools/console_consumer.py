"""``kafka-console-consumer``: records of topics on standard output."""

from __future__ import annotations

import argparse
import math
import random
import sys
from functools import partial
from typing import BinaryIO, Final, NoReturn

import trio

from kbroker.tools.arguments import Arguments, integer_flag, read_properties
from kbroker.tools.client_properties import key_values
from kbroker.tools.cluster import Cluster
from kbroker.tools.consuming import Consumer, ConsumerSettings, consuming
from kbroker.tools.failures import NotStartedError
from kbroker.tools.fetching import EARLIEST, LATEST, FetchedBatch
from kbroker.tools.group_membership import Subscription
from kbroker.tools.interrupts import ending_on_signals
from kbroker.tools.java_errors import java_text
from kbroker.tools.java_order import java_order
from kbroker.tools.log_lines import log, log_line
from kbroker.tools.record_formatters import DEFAULT, Formatter, UnreadableRecordError, formatter
from kbroker.tools.session import CONSUMER, CommandError, Connected, run
from wire.errors import ApiError

DESCRIPTION: Final = "This tool helps to read data from Kafka topics and outputs it to standard output."
_LOGGER: Final = "org.apache.kafka.tools.consumer.ConsoleConsumer"
_SERIALIZATION_EXCEPTION: Final = "org.apache.kafka.common.errors.SerializationException"
_NO_TIMEOUT: Final = math.inf


def arguments() -> Arguments:
    """The flags."""
    parser = Arguments("kafka-console-consumer", DESCRIPTION, help_with_mistakes=True)
    parser.add_argument("--topic", metavar="TOPIC", help="The topic to consume from.")
    parser.add_argument(
        "--include", metavar="REGEX", help="A pattern that the names of topics must match whole."
    )
    parser.add_argument(
        "--partition", type=int, metavar="N", help="The partition; from its end unless --offset is given."
    )
    parser.add_argument(
        "--offset", metavar="OFFSET", help="Where to start: a number, earliest or latest (the default)."
    )
    parser.add_argument(
        "--command-property", action="append", default=[], metavar="KEY=VALUE", help="A consumer property."
    )
    parser.add_argument(
        "--consumer-property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="(DEPRECATED) --command-property.",
    )
    parser.add_argument("--command-config", metavar="FILE", help="Properties file for the consumer.")
    parser.add_argument(
        "--consumer.config", dest="consumer_config", metavar="FILE", help="(DEPRECATED) --command-config."
    )
    parser.add_argument("--formatter", default=DEFAULT, metavar="CLASS", help="How records are printed.")
    parser.add_argument(
        "--formatter-property", action="append", default=[], metavar="KEY=VALUE", help=_FORMATTER_HELP
    )
    parser.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="(DEPRECATED) --formatter-property.",
    )
    parser.add_argument("--formatter-config", metavar="FILE", help="Properties file for the formatter.")
    parser.add_argument(
        "--from-beginning", action="store_true", help="Start at the earliest record if nothing was committed."
    )
    parser.add_argument("--max-messages", metavar="N", help="End after so many records.")
    parser.add_argument("--timeout-ms", type=int, metavar="MS", help="End when no record came for so long.")
    parser.add_argument(
        "--skip-message-on-error", action="store_true", help="Go on behind a record that cannot be printed."
    )
    parser.add_argument(
        "--bootstrap-server", metavar="HOST:PORT,...", help="REQUIRED: The server(s) to connect to."
    )
    parser.add_argument("--key-deserializer", metavar="CLASS", help="The deserializer of keys.")
    parser.add_argument("--value-deserializer", metavar="CLASS", help="The deserializer of values.")
    parser.add_argument(
        "--enable-systest-events", action="store_true", help="Print shutdown_complete at the end."
    )
    parser.add_argument(
        "--isolation-level", metavar="LEVEL", help="read_uncommitted (the default) or read_committed."
    )
    parser.add_argument("--group", metavar="GROUP", help="The consumer group.")
    return parser


_FORMATTER_HELP: Final = (
    "A property of the formatter: print.timestamp, print.key, print.offset, print.epoch, print.partition, "
    "print.headers, print.value (true or false), key.separator, line.separator, headers.separator, null.literal, "
    "key.deserializer, value.deserializer, header.deserializer."
)


def check(parser: Arguments, options: argparse.Namespace) -> None:
    """Exit with 1 if the flags do not fit together; warn of deprecated ones."""
    if (options.topic is None) == (options.include is None):
        parser.error("Exactly one of the following arguments is required: [topic], [include]")
    if options.partition is not None:
        if options.topic is None:
            parser.error("The topic is required when partition is specified.")
        if options.from_beginning and options.offset is not None:
            parser.error("Options from-beginning and offset cannot be specified together.")
    elif options.offset is not None:
        parser.error("The partition is required when offset is specified.")
    parser.require(options, "bootstrap-server")
    for new, old, old_name in (
        (options.command_property, options.consumer_property, "consumer-property"),
        (options.command_config, options.consumer_config, "consumer.config"),
        (options.formatter_property, options.property, "property"),
    ):
        new_name = {"consumer-property": "command-property", "consumer.config": "command-config"}.get(
            old_name, "formatter-property"
        )
        if new and old:
            parser.error(f"Options --{old_name} and --{new_name} cannot be specified together.")
        if old:
            print(
                f"Option --{old_name} is deprecated and will be removed in a future version. "
                f"Use --{new_name} instead."
            )


def consumer_properties(parser: Arguments, options: argparse.Namespace) -> dict[str, str]:
    """The consumer's configuration; exits with 1 where what several places say does not fit. NotStartedError."""
    in_file = read_properties(options.command_config or options.consumer_config)
    given = key_values(options.command_property or options.consumer_property)
    found = [options.group, in_file.get("group.id"), given.get("group.id")]
    groups = list(dict.fromkeys(group for group in found if group is not None))
    if len(groups) > 1:
        detected = ", ".join(f"'{group}'" for group in java_order(groups))
        parser.error(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via "
            f"'--consumer.config') do not match. Detected group ids: {detected}"
        )
    if groups and options.partition is not None:
        parser.error("Options group and partition cannot be specified together.")
    properties = in_file | given
    reset = properties.get("auto.offset.reset")
    if reset is None:
        properties["auto.offset.reset"] = "earliest" if options.from_beginning else "latest"
    elif options.from_beginning and reset != "earliest":
        print(
            f"Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', "
            "please remove one option",
            file=sys.stderr,
        )
        sys.exit(1)
    if not properties.get("client.id"):
        properties["client.id"] = "console-consumer"
    if options.isolation_level is not None or "isolation.level" not in properties:
        properties["isolation.level"] = options.isolation_level or "read_uncommitted"
    if groups:
        properties["group.id"] = groups.pop()
    else:
        properties["group.id"] = f"console-consumer-{random.randrange(100_000)}"
        properties.setdefault("enable.auto.commit", "false")
    return properties


def starting_offset(parser: Arguments, options: argparse.Namespace) -> int:
    """Where ``--partition`` starts: an offset, EARLIEST or LATEST."""
    if options.offset is None:
        return EARLIEST if options.from_beginning else LATEST
    special = {"earliest": EARLIEST, "latest": LATEST}.get(options.offset.lower())
    if special is not None:
        return special
    if not (options.offset.isascii() and options.offset.isdecimal()):
        parser.error(
            f"The provided offset value '{options.offset}' is incorrect. Valid values are 'earliest', 'latest', "
            "or a non-negative long."
        )
    return int(options.offset)


def make_formatter(options: argparse.Namespace) -> Formatter:
    """What prints the records; CommandError, NotStartedError, ValueError."""
    properties = read_properties(options.formatter_config)
    if options.key_deserializer:
        properties["key.deserializer"] = options.key_deserializer
    if options.value_deserializer:
        properties["value.deserializer"] = options.value_deserializer
    properties |= key_values(options.formatter_property or options.property)
    return formatter(options.formatter, properties)


class Session:
    """What one run prints, and how much that was."""

    def __init__(self, options: argparse.Namespace, formatter: Formatter, output: BinaryIO) -> None:
        self._options = options
        self._formatter = formatter
        self._output = output
        self._left = math.inf
        self.count = 0

    async def consume(self, cluster: Cluster, settings: ConsumerSettings, offset: int) -> None:
        """Print until there were enough records, or none for too long. ApiError, ProtocolError, CommandError."""
        options = self._options
        limit = integer_flag(options, "max-messages")
        if limit not in (None, -1):
            self._left = limit
        if options.partition is not None:
            where = {(options.topic, options.partition): offset}
            async with consuming(cluster, settings, offsets=where) as consumer:
                await self._print_all(consumer)
        else:
            subscription = Subscription([options.topic] if options.topic else (), options.include)
            async with consuming(cluster, settings, subscription=subscription) as consumer:
                await self._print_all(consumer)

    async def _print_all(self, consumer: Consumer) -> None:
        timeout_ms = self._options.timeout_ms
        timeout_s = _NO_TIMEOUT if timeout_ms is None or timeout_ms < 0 else timeout_ms / 1000
        while self._left > 0:
            try:
                batch = await consumer.next(timeout_s)
            except ApiError as error:
                _log_end(java_text(error))
                return
            if batch is None:
                _log_end("org.apache.kafka.common.errors.TimeoutException")
                return
            try:
                next_offset = self._print(batch)
                self._output.flush()
            except BrokenPipeError:
                print("Unable to write to standard out, closing consumer.", file=sys.stderr)
                return
            consumer.consumed(batch, next_offset)

    def _print(self, batch: FetchedBatch) -> int:
        """Print a batch as far as its records are wanted; the offset behind the last. CommandError."""
        for record in batch.records:
            if not self._left:
                return record.offset
            self._left -= 1
            self.count += 1
            try:
                self._output.write(self._formatter.format(batch, record))
            except UnreadableRecordError as error:
                self._output.write(error.written)
                if not self._options.skip_message_on_error:
                    raise
                log("ERROR", "Error processing message, skipping this message: ", _LOGGER)
                print(f"{_SERIALIZATION_EXCEPTION}: {error}", file=sys.stderr)
        return batch.next_offset


def _log_end(exception: str) -> None:
    log("ERROR", "Error processing message, terminating consumer process: ", _LOGGER)
    print(exception, file=sys.stderr)


async def command(
    options: argparse.Namespace, properties: dict[str, str], offset: int, formatter: Formatter
) -> None:
    """The whole command."""
    settings = ConsumerSettings.from_properties(properties)
    session = Session(options, formatter, sys.stdout.buffer)
    connected = Connected(options.bootstrap_server, properties, patient=True, client=CONSUMER)
    async with ending_on_signals(), connected as cluster:
        try:
            await session.consume(cluster, settings, offset)
        finally:
            print(f"Processed a total of {session.count} messages", file=sys.stderr)
            if options.enable_systest_events:
                print("shutdown_complete")


def failed(reason: str) -> str:
    """How an error that ends the command is told."""
    return f"{log_line('ERROR', 'Unknown error when running consumer: ', _LOGGER)}\n{reason}"


def main() -> NoReturn:
    """The console script."""
    parser = arguments()
    options = parser.parse()
    check(parser, options)
    try:
        properties = consumer_properties(parser, options)
        offset = starting_offset(parser, options)
    except NotStartedError as error:
        parser.refuse(str(error))
    except (CommandError, ValueError) as error:
        parser.error(str(error))
    try:
        printer = make_formatter(options)
    except (CommandError, ValueError) as error:
        parser.error(str(error))
    run(
        partial(command, options, properties, offset, printer), failed=failed, to_stderr=True, runner=trio.run
    )
