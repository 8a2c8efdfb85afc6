"""kafka-console-producer against a broker: what lines become, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from kbroker.tools import console_producer
from kbroker.tools.client_properties import SettingError
from kbroker.tools.consuming import ConsumerSettings, consuming
from kbroker.tools.fetching import EARLIEST, FetchedBatch
from kbroker.tools.line_reader import LineReader, LineSplitter
from kbroker.tools.partitioning import murmur2, partition_of_key
from kbroker.tools.producer_settings import ALL, ProducerSettings
from kbroker.tools.producing import producing
from kbroker.tools.session import CommandError, Connected
from tests.broker_process import BrokerProcess
from tests.tools.command_line import run_command, start_command
from wire.compression import Compression
from wire.errors import ApiError, ErrorCode


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    overrides = {"num.partitions": 3, "offsets.topic.num.partitions": 1, "message.max.bytes": 20_000}
    with BrokerProcess(tmp_path_factory.mktemp("broker"), overrides=overrides) as process:
        yield process.start()


async def batches(broker: BrokerProcess, topic: str, count: int) -> list[FetchedBatch]:
    """All batches of a topic's three partitions, until there are ``count`` records."""
    settings = ConsumerSettings.from_properties({})
    found: list[FetchedBatch] = []
    offsets = {(topic, number): EARLIEST for number in range(3)}
    async with (
        Connected(broker.bootstrap_server, {}) as cluster,
        consuming(cluster, settings, offsets=offsets) as consumer,
    ):
        while sum(len(batch.records) for batch in found) < count:
            batch = await consumer.next(5)
            assert batch is not None, found
            found.append(batch)
    return sorted(found, key=lambda batch: (batch.partition, batch.header.base_offset))


async def produce(broker: BrokerProcess, topic: str, lines: list[str], *flags: str) -> None:
    async def typed() -> object:
        for line in lines:
            yield line

    parser = console_producer.arguments()
    options = parser.parse(["--bootstrap-server", broker.bootstrap_server, "--topic", topic, *flags])
    console_producer.check(parser, options)
    properties = console_producer.producer_properties(options)
    settings = ProducerSettings.from_properties(properties)
    reader = console_producer.line_reader(options)
    async with Connected(options.bootstrap_server, properties) as cluster:
        await console_producer.produce(cluster, options, settings, reader, typed())  # type: ignore[arg-type]


def test_hash_is_kafkas() -> None:
    # The first values of Kafka's UtilsTest.testMurmur2, signed there.
    assert [
        murmur2(key) - (1 << 32 if murmur2(key) >> 31 else 0)
        for key in (b"21", b"foobar", b"a-little-bit-long-string")
    ] == [
        -973932308,
        -790332482,
        -985981536,
    ]
    assert murmur2(b"abc") == 479470107
    assert partition_of_key(b"foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7


async def test_lines_become_values_of_one_batch(broker: BrokerProcess) -> None:
    ended = run_command(
        "console_producer",
        "--bootstrap-server",
        broker.bootstrap_server,
        "--topic",
        "values",
        given=b"a\r\n\nz\xff",
    )
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    (batch,) = await batches(broker, "values", 3)
    assert [record.value for record in batch.records] == [b"a", b"", "z\ufffd".encode()]
    assert [record.key for record in batch.records] == [None] * 3
    assert batch.header.has_producer_id
    assert batch.header.base_sequence == 0


async def test_keys_headers_and_nulls(broker: BrokerProcess) -> None:
    flags = [
        text
        for setting in ("parse.key=true", "parse.headers=true", "key.separator=|", "null.marker=NULL")
        for text in ("--reader-property", setting)
    ]
    await produce(broker, "parsed", ["h:1,i:NULL\tk|v", "NULL\tk|NULL", "h:a:b\tNULL|x|y"], *flags)
    records = [record for batch in await batches(broker, "parsed", 3) for record in batch.records]
    assert {(record.key, record.value, record.headers) for record in records if record.key} == {
        (b"k", None, ()),
        (b"k", b"v", (("h", b"1"), ("i", None))),
    }
    (keyless,) = (record for record in records if record.key is None)
    assert (keyless.value, keyless.headers) == (b"x|y", (("h", b"a:b"),))


async def test_keys_choose_the_partition_and_order_holds_over_batches(broker: BrokerProcess) -> None:
    lines = [f"key{number % 5}:{number}" for number in range(300)]
    flags = [
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
        "--batch-size",
        "200",
    ]
    await produce(broker, "keyed", lines, *flags)
    found = await batches(broker, "keyed", 300)
    by_key: dict[bytes | None, list[int]] = {}
    for batch in found:
        for record in batch.records:
            assert record.key is not None and record.value is not None
            assert batch.partition[1] == partition_of_key(record.key, 3)
            by_key.setdefault(record.key, []).append(int(record.value))
    assert by_key == {b"key%d" % key: list(range(key, 300, 5)) for key in range(5)}
    sequences = [(batch.partition, batch.header.base_sequence, batch.header.base_offset) for batch in found]
    assert all(sequence == offset for _, sequence, offset in sequences)
    assert len(sequences) > 30


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_codecs(broker: BrokerProcess, codec: str) -> None:
    await produce(broker, f"codec-{codec}", ["x" * 1000] * 3, "--compression-codec", codec)
    (batch,) = await batches(broker, f"codec-{codec}", 3)
    assert batch.header.compression is Compression[codec.upper()]
    assert [record.value for record in batch.records] == [b"x" * 1000] * 3


@pytest.mark.parametrize("acks", ["0", "1"])
async def test_without_idempotence(broker: BrokerProcess, acks: str) -> None:
    await produce(broker, f"acks{acks}", ["a", "b"], "--request-required-acks", acks, "--sync")
    found = await batches(broker, f"acks{acks}", 2)
    assert [record.value for batch in found for record in batch.records] in ([b"a", b"b"], [b"b", b"a"])
    assert not any(batch.header.has_producer_id for batch in found)


async def test_a_batch_that_is_too_large_is_cut_until_records_fit(broker: BrokerProcess) -> None:
    failures: list[ErrorCode | None] = []
    settings = ProducerSettings(batch_size_bytes=100_000, linger_ms=1000)
    async with Connected(broker.bootstrap_server, {}) as cluster, producing(cluster, settings) as producer:
        for size in (9_000, 9_000, 9_000, 30_000, 9_000):
            await producer.send(
                "large",
                None,
                b"v" * size,
                partition=0,
                done=lambda error: failures.append(None if error is None else error.code),
            )
    assert sorted(failures, key=lambda code: code or 0) == [None] * 4 + [ErrorCode.MESSAGE_TOO_LARGE]
    found = await batches(broker, "large", 4)
    assert [len(record.value or b"") for batch in found for record in batch.records] == [9_000] * 4


async def test_what_no_request_can_hold_is_refused_at_once(broker: BrokerProcess) -> None:
    async with (
        Connected(broker.bootstrap_server, {}) as cluster,
        producing(cluster, ProducerSettings()) as producer,
    ):
        with pytest.raises(
            ApiError, match=r"The message is 10000\d\d bytes when serialized|max.request.size"
        ):
            await producer.send("huge", None, b"v" * 1_048_576)


async def test_a_failed_record_is_logged_and_the_command_goes_on(broker: BrokerProcess) -> None:
    ended = run_command(
        "console_producer",
        "--bootstrap-server",
        broker.bootstrap_server,
        "--topic",
        "some-fail",
        given=b"small\n" + b"x" * 30_000 + b"\n",
    )
    assert ended.code == 0
    assert (
        "ERROR Error when sending message to topic some-fail with key: null, value: 30000 bytes with error:"
        in ended.err
    )
    assert "\norg.apache.kafka.common.errors.RecordTooLargeException: " in ended.err
    (batch,) = await batches(broker, "some-fail", 1)
    assert [record.value for record in batch.records] == [b"small"]


def test_a_line_without_its_key_ends_the_command(broker: BrokerProcess) -> None:
    ended = run_command(
        "console_producer",
        "--bootstrap-server",
        broker.bootstrap_server,
        "--topic",
        "unparsed",
        "--reader-property",
        "parse.key=true",
        given=b"no tab\n",
    )
    assert ended.code == 1
    assert ended.err == "No key separator found on line number 1: 'no tab'\n"


async def test_what_was_typed_before_a_line_that_is_wrong_is_delivered(broker: BrokerProcess) -> None:
    flags = ["--reader-property", "parse.key=true", "--timeout", "60000"]
    server = ["--bootstrap-server", broker.bootstrap_server]
    ended = run_command("console_producer", *server, "--topic", "before", *flags, given=b"k\tv\nno tab\n")
    assert ended.code == 1
    (batch,) = await batches(broker, "before", 1)
    assert batch.records[0].value == b"v"


async def test_an_interrupt_sends_what_was_typed(broker: BrokerProcess) -> None:
    server = ["--bootstrap-server", broker.bootstrap_server]
    process = start_command("console_producer", *server, "--topic", "interrupted", "--timeout", "60000")
    assert process.stdin is not None
    process.stdin.write(b"typed\n")
    process.stdin.flush()
    async with Connected(broker.bootstrap_server, {}) as cluster:  # with the first line comes the topic
        with trio.fail_after(20):
            while all(topic.name != "interrupted" for topic in (await cluster.metadata()).topics):
                await trio.sleep(0.05)
        await trio.sleep(0.3)  # the line is in the producer's hands, and waits there for others
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")
    (batch,) = await batches(broker, "interrupted", 1)
    assert batch.records[0].value == b"typed"


def test_records_for_an_unreachable_broker_are_told_one_by_one() -> None:
    """As Java: the exit code says nothing of them."""
    ended = run_command(
        "console_producer",
        "--bootstrap-server",
        "127.0.0.1:1",
        "--topic",
        "t",
        "--command-property",
        "max.block.ms=300",
        given=b"a\nb\n",
    )
    assert ended.code == 0
    assert ended.err.count("ERROR Error when sending message to topic t with key: null") == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bootstrap-server", "h:1"], 'Missing required argument "[topic]"'),
        (["--topic", "t"], "Error while validating the bootstrap address\n"),
        (
            ["--topic", "t", "--bootstrap-server", "h"],
            "Please provide valid host:port like host1:9091,host2:9092\n",
        ),
        (
            ["--topic", "t", "--bootstrap-server", "h:1", "--property", "a=b", "--reader-property", "c=d"],
            "Options --reader-property and --property cannot be specified together.",
        ),
    ],
)
def test_mistakes_in_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = console_producer.arguments()
    with pytest.raises(SystemExit) as ended:
        console_producer.check(parser, parser.parse(flags))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(message)


def test_flags_files_and_properties_merge_as_kafkas_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "producer.properties"
    file.write_text("linger.ms=7\nacks=1\nclient.id=mine\ncompression.type=zstd\n")
    parser = console_producer.arguments()
    options = parser.parse(
        [
            *("--topic", "t", "--bootstrap-server", "h:1", "--batch-size", "5"),
            *("--producer-property", "acks=0", "--producer.config", str(file)),
        ]
    )
    console_producer.check(parser, options)
    properties = console_producer.producer_properties(options)
    assert properties["linger.ms"] == "7"
    assert properties["acks"] == "0"
    assert properties["batch.size"] == "5"
    assert properties["retries"] == "3"
    assert properties["request.timeout.ms"] == "1500"
    assert properties["compression.type"] == "none"
    assert properties["client.id"] == "mine"
    warnings = capsys.readouterr().out
    assert "Warning: --producer.config is deprecated" in warnings
    assert "Warning: --producer-property is deprecated" in warnings


def test_settings() -> None:
    assert ProducerSettings.from_properties({}) == ProducerSettings()
    assert ProducerSettings.from_properties({}).acks == ALL
    assert not ProducerSettings.from_properties({"acks": "1"}).idempotent
    assert not ProducerSettings.from_properties({"retries": "0"}).idempotent
    for properties, message in (
        ({"acks": "2"}, "Invalid value 2 for configuration acks"),
        ({"acks": "1", "enable.idempotence": "true"}, "Must set acks to all"),
        ({"compression.type": "rar"}, "Invalid value rar for configuration compression.type"),
        ({"linger.ms": "soon"}, "Invalid value soon for configuration linger.ms"),
    ):
        with pytest.raises(SettingError, match=message):
            ProducerSettings.from_properties(properties)


def test_line_ends_may_come_in_pieces() -> None:
    splitter = LineSplitter()
    assert [line for piece in (b"a\r", b"\nb", b"c\r", b"d\n", b"e") for line in splitter.feed(piece)] == [
        "a",
        "bc",
        "d",
    ]
    assert list(splitter.end()) == ["e"]


def test_reader_properties_must_differ() -> None:
    with pytest.raises(CommandError, match=r"headers\.delimiter and headers\.separator may not be equal"):
        LineReader({"headers.delimiter": ","})
    with pytest.raises(CommandError, match=r"null\.marker and key\.separator may not be equal"):
        LineReader({"null.marker": "\t", "headers.delimiter": ";"})
    reader = LineReader({"parse.key": "true", "ignore.error": "true"})
    assert reader.record("no key").value == b"no key"
