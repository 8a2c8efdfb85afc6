"""kafka-producer-perf-test and kafka-consumer-perf-test: counts, lines, keys, payloads and transactions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbroker.tools import consumer_performance, producer_performance
from kbroker.tools.consuming import ConsumerSettings, consuming
from kbroker.tools.fetching import EARLIEST
from kbroker.tools.session import Connected
from tests.broker_process import BrokerProcess
from tests.tools.command_line import run_command

TOTAL = re.compile(
    r"(\d+)( steady state)? records sent, [\d.]+ records/sec \([\d.]+ MB/sec\), [\d.]+ ms avg latency, "
    r"[\d.]+ ms max latency, \d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99.9th\."
)
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    overrides = {
        "num.partitions": 2,
        "transaction.state.log.num.partitions": 1,
        "offsets.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    with BrokerProcess(tmp_path_factory.mktemp("broker"), overrides=overrides) as process:
        yield process.start()


async def produce(broker: BrokerProcess, topic: str, *flags: str) -> list[producer_performance.Stats]:
    parser = producer_performance.arguments()
    options = parser.parse_args(["--topic", topic, "--bootstrap-server", broker.bootstrap_server, *flags])
    producer_performance.check(parser, options)
    properties = producer_performance.producer_properties(options)
    async with Connected(properties["bootstrap.servers"], properties) as cluster:
        return await producer_performance.measure(cluster, options, properties)


async def records(
    broker: BrokerProcess, topic: str, count: int, **properties: str
) -> list[tuple[bytes | None, bytes | None]]:
    settings = ConsumerSettings.from_properties(
        {key.replace("_", "."): value for key, value in properties.items()}
    )
    found: list[tuple[bytes | None, bytes | None]] = []
    async with (
        Connected(broker.bootstrap_server, {}) as cluster,
        consuming(cluster, settings, offsets={(topic, number): EARLIEST for number in (0, 1)}) as consumer,
    ):
        while len(found) < count:
            batch = await consumer.next(5)
            assert batch is not None
            found += [(record.key, record.value) for record in batch.records]
        assert await consumer.next(0.3) is None
    return found


def test_both_as_commands(broker: BrokerProcess) -> None:
    server = ["--bootstrap-server", broker.bootstrap_server, "--topic", "perf"]
    ended = run_command(
        "producer_performance", *server, "--num-records", "5000", "--record-size", "100", "--throughput", "-1"
    )
    assert (ended.code, ended.err) == (0, "")
    total = TOTAL.fullmatch(ended.out.splitlines()[-1])
    assert total is not None
    assert total[1] == "5000"
    ended = run_command("consumer_performance", *server, "--num-records", "5000", "--timeout", "5000")
    assert (ended.code, ended.err) == (0, "")
    header, line = ended.out.splitlines()
    assert header == (
        "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, "
        "fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
    )
    assert re.fullmatch(
        rf"{STAMP}, {STAMP}, 0\.4768, [\d.]+, 5000, [\d.]+, \d+, \d+, [\d.]+, [\d.]+", line
    ), line


def test_too_few_records_to_consume(broker: BrokerProcess) -> None:
    ended = run_command(
        "consumer_performance",
        "--bootstrap-server",
        broker.bootstrap_server,
        "--topic",
        "empty",
        "--messages",
        "5",
        "--timeout",
        "300",
        "--hide-header",
    )
    assert ended.code == 0
    warning, exiting, line = ended.out.splitlines()
    assert warning == "Warning: --messages is deprecated. Use --num-records instead."
    assert exiting.startswith(
        "WARNING: Exiting before consuming the expected number of records: timeout (300 ms) exceeded."
    )
    assert ", 0.0000, 0.0000, 0, 0.0000, " in line


async def test_keys_and_payloads(broker: BrokerProcess, tmp_path: Path) -> None:
    many = ["--num-records", "60", "--throughput", "-1"]
    await produce(
        broker,
        "ranged",
        *many,
        "--payload-monotonic",
        "--key-distribution",
        "range",
        "--record-key-range",
        "7",
    )
    found = await records(broker, "ranged", 60)
    assert sorted(int(value or b"") for _, value in found) == list(range(60))
    assert all(int(key or b"") == int(value or b"") % 7 for key, value in found)
    file = tmp_path / "payloads"
    file.write_text("one;two;three")
    await produce(broker, "from-file", *many, "--payload-file", str(file), "--payload-delimiter", ";")
    assert {value for _, value in await records(broker, "from-file", 60)} == {b"one", b"two", b"three"}
    await produce(broker, "sized", *many, "--record-size", "33")
    sized = await records(broker, "sized", 60)
    assert {len(value or b"") for _, value in sized} == {33}
    assert {key for key, _ in sized} == {None}
    assert all(re.fullmatch(rb"[A-Z]+", value or b"") for _, value in sized)


async def test_transactions_are_committed(broker: BrokerProcess) -> None:
    stats = await produce(
        broker,
        "in-transactions",
        *("--num-records", "200", "--record-size", "10", "--throughput", "1000"),
        *("--transactional-id", "perf", "--transaction-duration-ms", "30"),
    )
    assert [each.count for each in stats] == [200]
    assert len(await records(broker, "in-transactions", 200, isolation_level="read_committed")) == 200


async def test_steady_state_and_throttling(broker: BrokerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    stats = await produce(
        broker,
        "warm",
        *("--num-records", "300", "--record-size", "10", "--throughput", "1000", "--warmup-records", "100"),
        *("--reporting-interval", "50"),
    )
    assert [each.count for each in stats] == [300, 200]
    printed = capsys.readouterr().out
    assert "In steady state." in printed
    assert re.search(
        r"^\d+ records sent, [\d.]+ records/sec \([\d.]+ MB/sec\), [\d.]+ ms avg latency, [\d.]+ ms max latency\.$",
        printed,
        re.MULTILINE,
    )
    stats[1].print_total()
    total = TOTAL.fullmatch(capsys.readouterr().out.strip())
    assert total is not None
    assert total[2] == " steady state"
    rate = float(re.search(r"sent, ([\d.]+)", total[0])[1])  # type: ignore[index]
    assert 300 < rate < 1300


async def test_detailed_stats(broker: BrokerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    await produce(broker, "detailed", "--num-records", "100", "--record-size", "10", "--throughput", "-1")
    parser = consumer_performance.arguments()
    options = parser.parse(
        [
            *("--bootstrap-server", broker.bootstrap_server, "--topic", "detailed", "--num-records", "100"),
            *("--show-detailed-stats", "--reporting-interval", "1"),
        ]
    )
    consumer_performance.check(parser, options)
    await consumer_performance.command(options)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("time, threadId, data.consumed.in.MB")
    assert lines
    assert all(
        re.fullmatch(rf"{STAMP}, 0, [\d.]+, [\d.]+, \d+, [\d.]+, \d+, -?\d+, [\d.]+, [\d.]+", line)
        for line in lines
    )


def test_percentiles() -> None:
    stats = producer_performance.Stats(1000, 10**9)
    for latency in range(1000):
        stats.record(latency, 10, 0)
    assert stats.percentiles((0.5, 0.95, 0.99, 0.999)) == [500, 950, 990, 999]
    assert (stats.count, stats.bytes, stats.latency_max) == (1000, 10_000, 999)


def test_dates() -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:007",
        consumer_performance.format_time(1_700_000_000_007, consumer_performance.DATE_FORMAT),
    )
    assert consumer_performance.format_time(1_700_000_000_007, "yy%SSS") == "23%007"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num-records", "0", "--record-size", "1"], "--num-records should be greater than zero."),
        (["--num-records", "1", "--record-size", "0"], "--record-size should be greater than zero."),
        (
            ["--num-records", "1"],
            "one of the arguments --record-size --payload-file --payload-monotonic is required",
        ),
        (
            ["--num-records", "1", "--record-size", "1", "--key-distribution", "range"],
            "--record-key-range is required when --key-distribution is 'range' or 'random'.",
        ),
    ],
)
def test_producer_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = producer_performance.arguments()
    given = ["--topic", "t", "--throughput", "-1", "--bootstrap-server", "h:1", *flags]
    with pytest.raises(SystemExit) as ended:
        producer_performance.check(parser, parser.parse_args(given))
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
