"""``kafka-get-offsets`` against one broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kbroker.tools import get_offsets
from kbroker.tools.cluster import Cluster
from kbroker.tools.topic_filters import partition_rule
from tests.broker_process import BrokerProcess
from tests.tools.command_runs import Command, Run, new_topic, produce
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import MetadataResponse


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with BrokerProcess(tmp_path_factory.mktemp("broker")) as broker:
        broker.start()
        yield broker.bootstrap_server


@pytest.fixture(scope="module")
def topic(bootstrap: str) -> str:
    """Eleven partitions, of which 1 has three records and 10 has one."""
    name = new_topic(bootstrap, "--partitions", "11")
    produce(bootstrap, name, partition=1, timestamps_ms=[1_000, 3_000, 2_000])
    produce(bootstrap, name, partition=10, timestamps_ms=[5_000])
    return name


@pytest.fixture
def offsets(bootstrap: str) -> Command:
    return Command("get_offsets", bootstrap)


def test_ends_are_told_in_the_order_of_the_names(offsets: Command, topic: str) -> None:
    run = offsets.process("--topic", topic)
    assert (run.code, run.err) == (0, "")
    assert run.lines == [
        f"{topic}:{index}:{ {1: 3, 10: 1}.get(index, 0) }" for index in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)
    ]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("latest", ["1:3", "10:1"]),
        ("-1", ["1:3", "10:1"]),
        ("earliest", ["1:0", "10:0"]),
        ("-2", ["1:0", "10:0"]),
        ("max-timestamp", ["1:1", "10:0"]),
        ("-3", ["1:1", "10:0"]),
        ("earliest-local", ["1:0", "10:0"]),
        ("1001", ["1:1", "10:0"]),
        ("3001", ["10:0"]),
        ("9999", []),
    ],
)
def test_offsets_of_a_time(offsets: Command, topic: str, time: str, expected: list[str]) -> None:
    run = offsets("--topic", topic, "--partitions", "10,1", "--time", time)
    assert run == Run(0, "".join(f"{topic}:{one}\n" for one in expected), "")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("{topic}:1", [1]),
        ("{topic}:1-3", [1, 2]),
        ("{topic}:9-,{topic}:-2", [0, 1, 10, 9]),
        (":10", [10]),
        ("t-.*:3", [3]),
    ],
)
def test_partitions_are_chosen_by_pattern(
    offsets: Command, topic: str, rules: str, expected: list[int]
) -> None:
    lines = offsets("--topic-partitions", rules.format(topic=topic)).lines
    assert [int(line.split(":")[1]) for line in lines if line.startswith(topic)] == expected


def test_internal_topics_are_left_out_on_demand(offsets: Command, topic: str, bootstrap: str) -> None:
    Command("topics", bootstrap)("--create", "--topic", "__consumer_offsets", "--if-not-exists")
    assert "__consumer_offsets:0:0" in offsets().lines
    shown = offsets("--exclude-internal-topics").lines
    assert f"{topic}:1:3" in shown
    assert not [line for line in shown if line.startswith("__")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--topic", "nix"], "Could not match any topic-partitions with the specified filters"),
        (
            ["--time", "foo"],
            "Malformed time argument foo. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or "
            "earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format "
            "timestamp",
        ),
        (
            ["--partitions", "a"],
            "--partitions expects a comma separated list of numeric partition ids, but received: a",
        ),
        (
            ["--topic", "t", "--topic-partitions", "t"],
            "--topic-partitions cannot be used with --topic or --partitions",
        ),
        (
            ["--topic-partitions", "t:a"],
            "org.apache.kafka.tools.TerseException: Invalid rule specification: t:a",
        ),
        (["--foo"], "foo is not a recognized option"),
    ],
)
def test_mistakes_are_told_on_standard_error(offsets: Command, arguments: list[str], error: str) -> None:
    assert offsets(*arguments) == Run(1, "", f"Error occurred: {error}\n")


def test_the_brokers_have_to_be_named_well() -> None:
    missing = Command("get_offsets", None)("--topic", "t")
    assert (missing.code, missing.first_error) == (1, 'Missing required argument "[bootstrap-server]"')
    wrong = Command("get_offsets", "localhost")("--topic", "t")
    assert (wrong.code, wrong.first_error) == (
        1,
        "Please provide valid host:port like host1:9091,host2:9092",
    )


async def test_one_partitions_error_costs_no_other_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    class FakeCluster(Cluster):
        def __init__(self) -> None:
            pass

        async def metadata(self, topics: object = None, **_: object) -> MetadataResponse:
            topic = MetadataResponse.MetadataResponseTopic
            return MetadataResponse(
                topics=[
                    topic(
                        name="t",
                        partitions=[
                            topic.MetadataResponsePartition(partition_index=index) for index in range(3)
                        ],
                    )
                ]
            )

        async def at_leaders(self, partitions, ask):  # type: ignore[no-untyped-def]
            refused = ApiError(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
            return {partition: refused if partition[1] == 1 else 7 for partition in partitions}

    await get_offsets.execute(get_offsets.parse(["--bootstrap-server", "h:1"]), FakeCluster())
    captured = capsys.readouterr()
    assert captured.out == "t:0:7\nt:2:7\n"
    assert captured.err == (
        "Skip getting offsets for topic-partition t-1 due to error: "
        "org.apache.kafka.common.errors.TopicAuthorizationException: Topic authorization failed.\n"
    )


def test_ranges_have_no_last_partition() -> None:
    rule = partition_rule("a|b:2-4")
    assert [index for index in range(6) if rule(("b", index))] == [2, 3]
    assert not rule(("c", 2))
