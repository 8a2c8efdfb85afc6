"""kafka-console-consumer against a broker: what it prints, where it starts, and how it ends."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from kbroker.tools import console_consumer
from kbroker.tools.client_properties import SettingError
from kbroker.tools.cluster import Cluster
from kbroker.tools.consumer_group_admin import ConsumerGroups
from kbroker.tools.consuming import ConsumerSettings, consuming
from kbroker.tools.group_membership import Subscription, range_assignment
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import producing
from kbroker.tools.record_formatters import PACKAGE
from kbroker.tools.session import CommandError, Connected
from tests.broker_process import BrokerProcess
from tests.tools.command_line import run_command, start_command
from wire.messages.topics import CreateTopicsRequest, CreateTopicsResponse

STAMP = 1_700_000_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    overrides = {
        "num.partitions": 2,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    with BrokerProcess(tmp_path_factory.mktemp("broker"), overrides=overrides) as process:
        yield process.start()


def connected(broker: BrokerProcess) -> Connected:
    return Connected(broker.bootstrap_server, {})


async def create(cluster: Cluster, topic: str, partitions: int = 2) -> None:
    wanted = CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=partitions, replication_factor=1)
    response = await cluster.controller(
        CreateTopicsRequest(topics=[wanted], timeout_ms=5000), CreateTopicsResponse
    )
    assert response.topics[0].error_code == 0


async def fill(cluster: Cluster, topic: str, values: int, partitions: int = 2) -> None:
    """Values ``0`` to ``values - 1``, in turn in the partitions; even ones have a key and headers."""
    await create(cluster, topic, partitions)
    async with producing(cluster, ProducerSettings()) as producer:
        for number in range(values):
            even = number % 2 == 0
            await producer.send(
                topic,
                b"k%d" % number if even else None,
                b"%d" % number,
                (("h", b"x"), ("n", None)) if even else (),
                partition=number % partitions,
                timestamp_ms=STAMP + number,
            )


UNTIL_THE_END = ("--timeout-ms", "3000")
"""All there is, and no more: as long as a record may take to come beside other load."""


async def consume(broker: BrokerProcess, *flags: str) -> tuple[str, int]:
    """What the command prints with these flags, and how many records it counts."""
    parser = console_consumer.arguments()
    options = parser.parse(["--bootstrap-server", broker.bootstrap_server, *flags])
    console_consumer.check(parser, options)
    properties = console_consumer.consumer_properties(parser, options)
    offset = console_consumer.starting_offset(parser, options)
    out = io.BytesIO()
    session = console_consumer.Session(options, console_consumer.make_formatter(options), out)
    async with Connected(options.bootstrap_server, properties) as cluster:
        with trio.fail_after(20):
            await session.consume(cluster, ConsumerSettings.from_properties(properties), offset)
    return out.getvalue().decode(), session.count


def read_flags(flags: list[str]) -> None:
    parser = console_consumer.arguments()
    options = parser.parse(flags)
    console_consumer.check(parser, options)
    console_consumer.consumer_properties(parser, options)
    console_consumer.starting_offset(parser, options)


def innermost(error: BaseException) -> BaseException:
    """The one error within nested groups."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


async def test_everything_from_the_beginning(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "all", 10)
    ended = run_command(
        "console_consumer",
        "--bootstrap-server",
        broker.bootstrap_server,
        "--topic",
        "all",
        "--from-beginning",
        "--timeout-ms",
        "700",
    )
    assert ended.code == 0
    assert sorted(ended.out.split()) == [str(number) for number in range(10)]
    assert ended.err.endswith(
        "ERROR Error processing message, terminating consumer process:  "
        "(org.apache.kafka.tools.consumer.ConsoleConsumer)\n"
        "org.apache.kafka.common.errors.TimeoutException\nProcessed a total of 10 messages\n"
    )


async def test_all_columns(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "columns", 4)
    flags = [
        text
        for name in ("timestamp", "partition", "offset", "delivery", "epoch", "headers", "key", "value")
        for text in ("--formatter-property", f"print.{name}=true")
    ]
    where = ["--topic", "columns", "--partition", "0", "--offset", "1", "--max-messages", "1"]
    assert await consume(broker, *where, *flags) == (
        f"CreateTime:{STAMP + 2}\tPartition:0\tOffset:1\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\th:x,n:null\tk2\t2\n",
        1,
    )
    where = ["--topic", "columns", "--partition", "1", "--from-beginning", "--max-messages", "2"]
    more = ["--formatter-property", "null.literal=NIL", "--formatter-property", "key.separator=|"]
    some = ["--formatter-property", "print.key=true", "--formatter-property", "print.headers=true"]
    assert (await consume(broker, *where, *more, *some))[0] == "NO_HEADERS|NIL|1\nNO_HEADERS|NIL|3\n"
    keys_only = ["--formatter-property", "print.value=false", "--formatter-property", "print.key=true"]
    assert (await consume(broker, *where, *keys_only))[0] == "null\nnull\n"


async def test_deserializers(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await create(cluster, "numbers")
        async with producing(cluster, ProducerSettings()) as producer:
            await producer.send("numbers", b"\xff\xff\xff\xfe", (7).to_bytes(8, "big"), partition=0)
            await producer.send("numbers", b"\0\0\0\1", b"short", partition=0)
    where = [
        "--topic",
        "numbers",
        "--partition",
        "0",
        "--from-beginning",
        "--formatter-property",
        "print.key=true",
    ]
    classes = [
        "--key-deserializer",
        "org.apache.kafka.common.serialization.IntegerDeserializer",
        "--value-deserializer",
        "org.apache.kafka.common.serialization.LongDeserializer",
    ]
    assert (await consume(broker, *where, *classes, "--max-messages", "1"))[0] == "-2\t7\n"
    with pytest.raises(BaseExceptionGroup) as raised:
        await consume(broker, *where, *classes, "--max-messages", "2")
    error = innermost(raised.value)
    assert isinstance(error, CommandError)
    assert str(error) == "Size of data received by LongDeserializer is not 8"
    text, count = await consume(broker, *where, *classes, "--max-messages", "2", "--skip-message-on-error")
    assert (text, count) == ("-2\t7\n1\t", 2)  # a column that can be read is printed, as by Java


async def test_a_partition_is_read_from_its_end_unless_told_otherwise(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "ends", 6)
    at = ["--topic", "ends", "--partition", "0"]
    briefly = ["--timeout-ms", "300"]
    assert await consume(broker, *at, *briefly) == ("", 0)
    assert await consume(broker, *at, *briefly, "--offset", "latest") == ("", 0)
    assert await consume(broker, *at, "--max-messages", "1", "--offset", "2") == ("4\n", 1)
    three = [*at, "--max-messages", "3"]
    assert await consume(broker, *three, "--offset", "earliest") == ("0\n2\n4\n", 3)
    # Beyond the end: auto.offset.reset says where to go on.
    reset = ["--command-property", "auto.offset.reset=earliest"]
    assert await consume(broker, *three, "--offset", "99", *reset) == ("0\n2\n4\n", 3)


async def test_a_group_goes_on_where_it_stopped(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "resumed", 10)
        group = ["--topic", "resumed", "--group", "g1", "--from-beginning"]
        first, _ = await consume(broker, *group, "--max-messages", "7")
        committed = await ConsumerGroups(cluster).committed("g1")
        assert sum(each.offset for each in committed.values()) == 7
        second, count = await consume(broker, *group, "--max-messages", "3")
        assert count == 3
        assert sorted((first + second).split()) == [str(number) for number in range(10)]
        assert (await ConsumerGroups(cluster).describe("g1")).state == "Empty"


async def test_a_group_of_its_own_commits_nothing(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "uncommitted", 2)
        assert (await consume(broker, "--topic", "uncommitted", "--from-beginning", "--max-messages", "2"))[
            1
        ] == 2
        groups = [each.group_id for each in await ConsumerGroups(cluster).list()]
        for group_id in groups:
            if group_id.startswith("console-consumer-"):
                assert await ConsumerGroups(cluster).committed(group_id) == {}


async def test_only_what_is_committed(broker: BrokerProcess) -> None:
    settings = ProducerSettings(transactional_id="tx")
    async with connected(broker) as cluster:
        await create(cluster, "transactional")
        async with producing(cluster, settings) as producer:
            await producer.init_transactions()
            await producer.send("transactional", None, b"committed", partition=0)
            await producer.commit()
            await producer.send("transactional", None, b"aborted", partition=0)
            await producer.flush()
            async with producing(cluster, settings) as next_producer:
                await next_producer.init_transactions()  # fences the first, whose transaction is aborted
                await next_producer.send("transactional", None, b"also committed", partition=0)
                await next_producer.commit()
    at = ["--topic", "transactional", "--partition", "0", "--from-beginning", *UNTIL_THE_END]
    assert (await consume(broker, *at, "--isolation-level", "read_committed"))[
        0
    ] == "committed\nalso committed\n"
    assert (await consume(broker, *at))[0] == "committed\naborted\nalso committed\n"


async def test_two_members_share_the_partitions_and_a_leaving_one_gives_its_back(
    broker: BrokerProcess,
) -> None:
    settings = ConsumerSettings.from_properties(
        {"group.id": "shared", "heartbeat.interval.ms": "100", "auto.offset.reset": "earliest"}
    )
    async with connected(broker) as cluster:
        await fill(cluster, "shared", 2)
        subscription = Subscription(["shared"])
        async with consuming(cluster, settings, subscription=subscription) as first:
            assert {(await first.next(5)) is None, (await first.next(5)) is None} == {False}
            async with consuming(cluster, settings, subscription=subscription) as second:
                groups = ConsumerGroups(cluster)
                with trio.fail_after(10):
                    while sorted(
                        len(member.assignment) for member in (await groups.describe("shared")).members
                    ) != [1, 1]:
                        await trio.sleep(0.05)
                assert second is not first
            with trio.fail_after(10):
                while [len(member.assignment) for member in (await groups.describe("shared")).members] != [2]:
                    await trio.sleep(0.05)


async def test_topics_by_pattern(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "pattern-a", 2)
        await fill(cluster, "pattern-b", 2)
        await fill(cluster, "other-pattern-c", 2)
    text, count = await consume(broker, "--include", "pattern-.*", "--from-beginning", *UNTIL_THE_END)
    assert (sorted(text.split()), count) == (["0", "0", "1", "1"], 4)


async def test_internal_topics_as_json(broker: BrokerProcess) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "internal", 2, partitions=1)
    await consume(broker, "--topic", "internal", "--group", "json", "--from-beginning", "--max-messages", "2")
    at = ["--topic", "__consumer_offsets", "--partition", "0", "--from-beginning", *UNTIL_THE_END]
    text, _ = await consume(broker, *at, "--formatter", PACKAGE + "OffsetsMessageFormatter")
    start = '{"key":{"type":1,"data":{"group":"json","topic":"internal","partition":0}},"value":{"version":4,"data":{'
    assert start + '"offset":2,"leaderEpoch":0,"metadata":"","commitTimestamp":' in text
    assert "\n" not in text
    text, _ = await consume(broker, *at, "--formatter", PACKAGE + "GroupMetadataMessageFormatter")
    assert (
        '{"key":{"type":2,"data":{"group":"json"}},"value":{"version":3,"data":{"protocolType":"consumer"'
        in text
    )
    assert '"type":1' not in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_after_leaving_the_group(
    broker: BrokerProcess, number: signal.Signals, code: int
) -> None:
    topic, group = f"signal{code}", f"group{code}"
    async with connected(broker) as cluster:
        await fill(cluster, topic, 2)
        process = start_command(
            "console_consumer",
            "--bootstrap-server",
            broker.bootstrap_server,
            "--topic",
            topic,
            "--group",
            group,
            "--from-beginning",
        )
        assert process.stdout is not None
        assert sorted(await trio.to_thread.run_sync(lambda: [process.stdout.readline() for _ in "12"])) == [  # type: ignore[union-attr]
            b"0\n",
            b"1\n",
        ]
        process.send_signal(number)
        started = time.monotonic()
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (code, b"", b"Processed a total of 2 messages\n")
        assert time.monotonic() - started < 5
        groups = ConsumerGroups(cluster)
        assert (await groups.describe(group)).state == "Empty"
        assert {each.offset for each in (await groups.committed(group)).values()} == {1}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--bootstrap-server", "h:1"],
            "Exactly one of the following arguments is required: [topic], [include]",
        ),
        (
            ["--topic", "t", "--include", "t"],
            "Exactly one of the following arguments is required: [topic], [include]",
        ),
        (["--topic", "t"], 'Missing required argument "[bootstrap-server]"'),
        (["--topic", "t", "--offset", "3"], "The partition is required when offset is specified."),
        (["--include", "t", "--partition", "3"], "The topic is required when partition is specified."),
        (
            ["--topic", "t", "--partition", "3", "--offset", "3", "--from-beginning"],
            "Options from-beginning and offset cannot be specified together.",
        ),
        (
            ["--topic", "t", "--partition", "3", "--bootstrap-server", "h:1", "--group", "g"],
            "Options group and partition cannot be specified together.",
        ),
        (
            ["--topic", "t", "--bootstrap-server", "h:1", "--group", "g", "--command-property", "group.id=h"],
            "The group ids provided in different places",
        ),
        (
            ["--topic", "t", "--bootstrap-server", "h:1", "--partition", "0", "--offset", "-3"],
            "The provided offset value '-3' is incorrect. Valid values are 'earliest', 'latest', or a non-negative ",
        ),
        (
            [
                *("--topic", "t", "--bootstrap-server", "h:1", "--from-beginning"),
                *("--command-property", "auto.offset.reset=latest"),
            ],
            "Can't simultaneously specify --from-beginning and 'auto.offset.reset=latest', please remove one option",
        ),
    ],
)
def test_mistakes_in_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_flags(flags)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(message)


def test_properties(tmp_path: Path) -> None:
    file = tmp_path / "consumer.properties"
    file.write_text("group.id=from-file\nfetch.min.bytes=5\n")
    parser = console_consumer.arguments()
    options = parser.parse(["--topic", "t", "--bootstrap-server", "h:1", "--command-config", str(file)])
    properties = console_consumer.consumer_properties(parser, options)
    settings = ConsumerSettings.from_properties(properties)
    assert settings.group is not None
    assert settings.group.group_id == "from-file"
    assert settings.auto_commit
    assert settings.fetch.min_bytes == 5
    for wrong in ({"auto.offset.reset": "middle"}, {"isolation.level": "x"}, {"fetch.min.bytes": "x"}):
        with pytest.raises(SettingError):
            ConsumerSettings.from_properties(wrong)


async def test_no_committed_offset_and_no_policy(
    broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connected(broker) as cluster:
        await fill(cluster, "strict", 1)
    printed, count = await consume(
        broker, "--topic", "strict", "--group", "strict", "--command-property", "auto.offset.reset=none"
    )
    assert (printed, count) == ("", 0)
    assert "Undefined offset with no reset policy for partitions: [strict-" in capsys.readouterr().err


def test_ranges() -> None:
    wanted = {"a": ["t", "u"], "b": ["t"], "c": ["t", "u"]}
    assert range_assignment(wanted, {"t": 4, "u": 1}) == {
        "a": [("t", 0), ("t", 1), ("u", 0)],
        "b": [("t", 2)],
        "c": [("t", 3)],
    }
