"""``kafka-topics`` against a cluster of three."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbroker.tools.java_order import java_order
from kbroker.tools.session import CommandError
from kbroker.tools.topic_filters import TopicFilter
from kbroker.tools.topics import parse_replica_assignment
from tests.tools.command_runs import Command, Run, new_topic, three_brokers

FAILED = "Error while executing topic command : "
ANY_TOPIC_ID = re.compile(r"TopicId: [A-Za-z0-9_-]{22}\t")


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with three_brokers(tmp_path_factory.mktemp("brokers")) as server:
        yield server


@pytest.fixture
def topics(bootstrap: str) -> Command:
    return Command("topics", bootstrap)


def described(run: Run) -> list[str]:
    """The lines without the topics' ids, which must be there."""
    assert run.code == 0, run
    lines = run.out.splitlines()
    for line in lines:
        assert line.startswith("\t") or ANY_TOPIC_ID.search(line), line
    return [ANY_TOPIC_ID.sub("", line) for line in lines]


def test_created_topics_are_announced_listed_and_described(topics: Command) -> None:
    created = topics.process(
        "--create", "--topic", "my-topic", "--partitions", "6", "--replication-factor", "2"
    )
    assert created == Run(0, "Created topic my-topic.\n", "")
    assert "my-topic" in topics("--list").lines
    first, *others = described(topics("--describe", "--topic", "my-topic"))
    assert first == "Topic: my-topic\tPartitionCount: 6\tReplicationFactor: 2\tConfigs: "
    assert [line.split("\t")[:3] for line in others] == [
        ["", "Topic: my-topic", f"Partition: {index}"] for index in range(6)
    ]


def test_partitions_are_described_as_kafka_describes_them(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap, "--replica-assignment", "1:2,3:1")
    lines = described(topics("--describe", "--topic", name))
    assert lines[1:] == [
        f"\tTopic: {name}\tPartition: 0\tLeader: 1\tReplicas: 1,2\tIsr: 1,2\tElr: \tLastKnownElr: ",
        f"\tTopic: {name}\tPartition: 1\tLeader: 3\tReplicas: 3,1\tIsr: 3,1\tElr: \tLastKnownElr: ",
    ]


def test_partitions_come_page_by_page_in_order(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap, "--partitions", "5")
    paged = described(topics("--describe", "--topic", name, "--partition-size-limit-per-response", "2"))
    assert paged == described(topics("--describe", "--topic", name))
    assert [line.split("\t")[2] for line in paged[1:]] == [f"Partition: {index}" for index in range(5)]


def test_a_topic_that_exists_is_an_error_unless_it_may(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap)
    again = topics.process("--create", "--topic", name)
    assert again.code == 1
    assert again.out.startswith(FAILED)
    assert again.out.count("\n") == 1
    assert topics("--create", "--topic", name, "--if-not-exists") == Run(0, "", "")


def test_without_counts_the_cluster_decides(topics: Command, bootstrap: str) -> None:
    first, *_ = described(topics("--describe", "--topic", new_topic(bootstrap)))
    assert "\tPartitionCount: 1\tReplicationFactor: 1\t" in first


def test_settings_are_shown_in_order_and_may_be_asked_for(topics: Command, bootstrap: str) -> None:
    plain = new_topic(bootstrap)
    name = new_topic(
        bootstrap, "--config", "retention.ms=1000", "--config", "cleanup.policy = compact,delete"
    )
    first, *_ = described(topics("--describe", "--topic", name))
    assert first.endswith("\tConfigs: cleanup.policy=compact,delete,retention.ms=1000")
    changed = described(topics("--describe", "--topics-with-overrides", "--topic", f"{plain},{name}"))
    assert changed == [first]


def test_dots_and_underscores_are_warned_of(topics: Command) -> None:
    run = topics("--create", "--topic", "dotted.topic")
    assert run == Run(
        0,
        "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. "
        "To avoid issues it is best to use either, but not both.\nCreated topic dotted.topic.\n",
        "",
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--config", "nonsense=1"], "Unknown topic config name: nonsense"),
        (
            ["--config", "retention.ms=abc"],
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            ["--config", "preallocate=perhaps"],
            "Invalid value perhaps for configuration preallocate: Expected value to be either true or false",
        ),
        (
            ["--config", "retention.ms=-5"],
            "Invalid value -5 for configuration retention.ms: Value must be at least -1",
        ),
        (
            ["--config", "segment.bytes=99999999999"],
            "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT",
        ),
        (
            ["--config", "min.cleanable.dirty.ratio=2"],
            "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            ["--config", "cleanup.policy=compact,x"],
            "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            ["--config", "message.timestamp.type=x"],
            "Invalid value x for configuration message.timestamp.type: String must be one of: CreateTime, "
            "LogAppendTime",
        ),
        (
            ["--config", "retention.ms"],
            'requirement failed: Invalid topic config: all configs to be added must be in the format "key=val".',
        ),
        (
            ["--config", "retention.ms="],
            'requirement failed: Invalid topic config: all configs to be added must be in the format "key=val".',
        ),
        (["--replication-factor", "0"], "The replication factor must be between 1 and 32767 inclusive"),
        (["--replication-factor", "32768"], "The replication factor must be between 1 and 32767 inclusive"),
        (["--partitions", "0"], "The partitions must be greater than 0"),
        (["--partitions", "abc"], "Cannot parse argument 'abc' of option partitions"),
        (
            ["--replica-assignment", "1:1"],
            "Partition replica lists may not contain duplicate entries: 1",
        ),
        (["--replica-assignment", "1:2,1"], "Partition 1 has different replication factor: [1]"),
        (["--replica-assignment", "1:x"], 'For input string: "x"'),
    ],
)
def test_what_cannot_be_created_is_told(topics: Command, arguments: list[str], reason: str) -> None:
    assert topics("--create", "--topic", "refused", *arguments) == Run(1, f"{FAILED}{reason}\n", "")
    assert "refused" not in topics("--list").lines


def test_what_the_broker_refuses_is_told_in_its_words(topics: Command) -> None:
    run = topics.process("--create", "--topic", "refused", "--replication-factor", "9")
    assert run.code == 1
    assert re.fullmatch(rf"{FAILED}.*\b9\b.*\n", run.out)


def test_topics_are_listed_in_order_by_expression(topics: Command, bootstrap: str) -> None:
    names = sorted(new_topic(bootstrap) for _ in range(3))
    assert topics("--list", "--topic", f"{names[2]}, {names[0]}").lines == [names[0], names[2]]
    assert topics("--list", "--topic", names[0][:-1]).lines == [""]
    assert set(names) <= set(topics("--list", "--topic", "t-.*").lines)


def test_internal_topics_are_left_out_on_demand(topics: Command, bootstrap: str) -> None:
    offsets = "__consumer_offsets"
    topics("--create", "--topic", offsets, "--partitions", "2", "--if-not-exists")
    name = new_topic(bootstrap)
    assert {offsets, name} <= set(topics("--list").lines)
    without = topics("--list", "--exclude-internal").lines
    assert name in without
    assert offsets not in without
    assert f"Topic: {offsets}\t" not in topics("--describe", "--exclude-internal").out


def test_partitions_are_added(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap, "--replica-assignment", "1:2,2:3")
    assert topics("--alter", "--topic", name, "--partitions", "3") == Run(0, "", "")
    assigned = topics(
        "--alter", "--topic", name, "--partitions", "5", "--replica-assignment", "1:2,2:3,1:2,3:2,2:1"
    )
    assert assigned == Run(0, "", "")
    lines = described(topics("--describe", "--topic", name))
    assert "\tPartitionCount: 5\t" in lines[0]
    assert ["\tReplicas: 3,2\t" in lines[4], "\tReplicas: 2,1\t" in lines[5]] == [True, True]
    fewer = topics("--alter", "--topic", name, "--partitions", "2")
    assert fewer.code == 1
    assert fewer.out.startswith(FAILED)


def test_topics_are_deleted(topics: Command, bootstrap: str) -> None:
    one, other = new_topic(bootstrap), new_topic(bootstrap)
    assert topics.process("--delete", "--topic", f"{one},{other}") == Run(0, "", "")
    assert not {one, other} & set(topics("--list").lines)


@pytest.mark.parametrize("action", [["--describe"], ["--delete"], ["--alter", "--partitions", "2"]])
def test_a_topic_that_is_missing_is_an_error_unless_it_may_be(topics: Command, action: list[str]) -> None:
    missing = topics(*action, "--topic", "missing")
    assert missing == Run(1, f"{FAILED}Topic 'missing' does not exist as expected\n", "")
    assert topics(*action, "--topic", "missing", "--if-exists") == Run(0, "", "")


def test_a_topic_is_described_by_its_id(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap, "--replica-assignment", "2:3")
    found = re.search(r"TopicId: (\S+)\t", topics("--describe", "--topic", name).out)
    assert found is not None
    lines = described(topics("--describe", "--topic-id", found[1]))
    assert lines == [
        f"Topic: {name}\tPartitionCount: 1\tReplicationFactor: 2\tConfigs: ",
        f"\tTopic: {name}\tPartition: 0\tLeader: 2\tReplicas: 2,3\tIsr: 2,3\tElr: N/A\tLastKnownElr: N/A",
    ]
    unknown = "AAAAAAAAAAAAAAAAAAAAAQ"
    missing = topics("--describe", "--topic-id", unknown)
    assert missing == Run(1, f"{FAILED}TopicId '{unknown}' does not exist as expected\n", "")
    assert topics("--describe", "--topic-id", "AAAA").out == (
        f"{FAILED}Input string `AAAA` decoded as 3 bytes, which is not equal to the expected 16 bytes of a "
        "base64-encoded UUID\n"
    )


def test_a_topic_id_of_zeros_is_none(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap)
    zero = "A" * 22
    both = topics("--describe", "--topic", name, "--topic-id", zero, "--if-exists").lines
    assert both == [
        "Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID",
        *topics("--describe", "--topic", name).lines,
    ]
    assert topics("--describe", "--topic-id", "not an id").out == f"{FAILED}Illegal base64 character 20\n"


def test_reports_show_the_partitions_that_they_are_about(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap, "--replica-assignment", "1:2,2:3", "--config", "min.insync.replicas=2")
    assert [
        line.split("\t")[2]
        for line in described(topics("--describe", "--topic", name, "--at-min-isr-partitions"))
    ] == [
        "Partition: 0",
        "Partition: 1",
    ]
    for report in ("--under-replicated-partitions", "--under-min-isr-partitions", "--unavailable-partitions"):
        assert topics("--describe", "--topic", name, report) == Run(0, "", "")
    under = new_topic(bootstrap, "--config", "min.insync.replicas=2")
    assert (
        described(topics("--describe", "--topic", under, "--under-min-isr-partitions"))
        == described(topics("--describe", "--topic", under))[1:]
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["--list", "--describe"],
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
        ),
        (["--list", "--if-exists"], 'Option "[if-exists]" can\'t be used with option "[list]"'),
        (["--create"], 'Missing required argument "[topic]"'),
        (["--alter", "--topic", "t"], 'Missing required argument "[partitions]"'),
        (
            ["--create", "--topic", "t", "--partitions", "1", "--replica-assignment", "1:2"],
            'Option "[replica-assignment]" can\'t be used with option "[partitions]"',
        ),
        (
            ["--alter", "--topic", "t", "--partitions", "1", "--config", "a=b"],
            'Option combination "[[bootstrap-server], [config]]" can\'t be used with option "[alter]" (To alter topic '
            "configurations, the kafka-configs tool can be used.)",
        ),
        (
            ["--describe", "--topics-with-overrides", "--unavailable-partitions"],
            'Option "[unavailable-partitions]" can\'t be used with option "[topics-with-overrides]"',
        ),
        (["--describe", "--if-exists"], "--topic or --topic-id is required to describe a topic"),
        (["--foo"], "foo is not a recognized option"),
        (["--topic"], "Option topic requires an argument"),
        (
            ["--list", "--topic", "a", "--topic", "b"],
            "Found multiple arguments for option topic, but you asked for only one",
        ),
    ],
)
def test_flags_that_make_no_sense_are_told(topics: Command, arguments: list[str], error: str) -> None:
    run = topics(*arguments)
    assert (run.code, run.out, run.first_error) == (1, "", error)


def test_without_flags_or_with_help_the_usage_is_told() -> None:
    for arguments, what in (
        ([], "Create, delete, describe, or change a topic."),
        (["--help"], "This tool helps to create, delete, describe, or change a topic."),
    ):
        run = Command("topics", None).process(*arguments)
        assert (run.code, run.out) == (1, "")
        assert run.first_error == what
        assert "--replica-assignment" in run.err
    nowhere = Command("topics", None)("--list")
    assert (nowhere.code, nowhere.err) == (1, "--bootstrap-server must be specified\n")


def test_flags_are_read_as_joptsimple_reads_them(topics: Command, bootstrap: str) -> None:
    name = new_topic(bootstrap)
    assert topics("-list", f"--topic={name}", "stray").lines == [name]
    assert topics("--list", "-topic", name, "--", "--foo").lines == [name]
    for wrong, shown in (("--li", "li"), ("-foo", "f")):
        assert topics(wrong).err == f"{shown} is not a recognized option\n"


def test_an_expression_that_is_none_is_told(topics: Command) -> None:
    assert topics("--describe", "--topic", "t[") == Run(1, f"{FAILED}t[ is an invalid regex.\n", "")


def test_a_broker_that_is_not_there_is_told_in_time(tmp_path: Path) -> None:
    config = tmp_path / "client.properties"
    config.write_text("default.api.timeout.ms=300\nrequest.timeout.ms=200\n")
    run = Command("topics", "127.0.0.1:1").process("--list", "--command-config", str(config))
    assert run.code == 1
    assert run.out.startswith(f"{FAILED}Timed out waiting for a node assignment.")


def test_expressions_match_whole_names() -> None:
    assert TopicFilter(" 'a, b.*' ").allows("b1")
    assert TopicFilter("a|b.*").allows("a")
    assert not TopicFilter("a").allows("ab")
    with pytest.raises(CommandError, match="is an invalid regex"):
        TopicFilter("*")


def test_names_come_in_the_order_of_java_hash_maps() -> None:
    """As Apache Kafka 4.4's commands printed these on OpenJDK 17."""
    assert java_order(["k1", "many", "t1", "t2", "zz"], sized=True) == ["zz", "many", "t1", "k1", "t2"]
    quotas = ["consumer_byte_rate", "controller_mutation_rate", "producer_byte_rate", "request_percentage"]
    assert java_order(quotas, sized=True) == [quotas[2], quotas[0], quotas[1], quotas[3]]
    filler = [f"filler.{number}" for number in range(30)]
    configs = ["retention.ms", "preallocate", "cleanup.policy", "compression.type", "max.message.bytes"]
    found = [name for name in java_order([*configs, *filler]) if name in configs]
    assert found == ["compression.type", "cleanup.policy", "retention.ms", "max.message.bytes", "preallocate"]


def test_assignments_are_lists_of_brokers() -> None:
    assert parse_replica_assignment("") == []
    assert parse_replica_assignment("1: 2,3:1,") == [[1, 2], [3, 1]]
