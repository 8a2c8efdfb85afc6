"""kafka-console-producer and kafka-console-consumer."""

from __future__ import annotations

import pytest

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools

PRINT_EVERYTHING = (
    "--formatter-property=print.partition=true",
    "--formatter-property=print.offset=true",
    "--formatter-property=print.headers=true",
    "--formatter-property=print.key=true",
)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_lines_come_back_as_they_went_in(tools: Tools, new_topic: NewTopic, codec: str) -> None:
    topic = new_topic()
    lines = [f"line {number} \N{SNOWMAN}" for number in range(200)]

    tools(
        "kafka-console-producer",
        "--topic",
        topic,
        "--compression-codec",
        codec,
        stdin="".join(f"{line}\n" for line in lines),
    )
    printed = tools("kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "200")

    assert printed.splitlines() == lines


def test_keys_headers_and_nulls(tools: Tools, new_topic: NewTopic) -> None:
    topic = new_topic()
    reader = (
        "--reader-property=parse.headers=true",
        "--reader-property=parse.key=true",
        "--reader-property=null.marker=NULL",
    )

    tools(
        "kafka-console-producer", "--topic", topic, *reader, stdin="a:1,b:2\tkey\tvalue\nNULL\tNULL\tNULL\n"
    )
    printed = tools(
        "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages=2", *PRINT_EVERYTHING
    )

    assert printed.splitlines() == [
        "Partition:0\tOffset:0\ta:1,b:2\tkey\tvalue",
        "Partition:0\tOffset:1\tNO_HEADERS\tnull\tnull",
    ]


def test_keys_choose_the_partition(tools: Tools, new_topic: NewTopic) -> None:
    """The partition of a key is the producer's choice; the count of partitions is what the broker says."""
    topic = new_topic(partitions=3)
    keyed = "".join(f"k{number % 6}:{number}\n" for number in range(60))
    reader = ("--reader-property=parse.key=true", "--reader-property=key.separator=:")

    tools("kafka-console-producer", "--topic", topic, *reader, stdin=keyed)
    printed = tools(
        "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages=60", *PRINT_EVERYTHING
    )

    rows = [line.split("\t") for line in printed.splitlines()]
    partitions_by_key: dict[str, set[str]] = {}
    for partition, _, _, key, _ in rows:
        partitions_by_key.setdefault(key, set()).add(partition)
    assert sorted(partitions_by_key) == [f"k{number}" for number in range(6)]
    assert all(len(partitions) == 1 for partitions in partitions_by_key.values())
    assert len(set().union(*partitions_by_key.values())) > 1
    for key in partitions_by_key:
        values = [int(row[4]) for row in rows if row[3] == key]
        assert values == [number for number in range(60) if f"k{number % 6}" == key]


def test_reads_a_partition_from_an_offset_to_a_timeout(tools: Tools, new_topic: NewTopic) -> None:
    topic = new_topic()
    tools("kafka-console-producer", "--topic", topic, stdin="zero\none\ntwo\n")

    done = tools.run(
        "kafka-console-consumer", "--topic", topic, "--partition=0", "--offset=1", "--timeout-ms=1500"
    )

    assert done.returncode == 0
    assert done.stdout.splitlines() == ["one", "two"]
    assert "Processed a total of 2 messages" in done.stderr


def test_a_group_goes_on_where_it_stopped(tools: Tools, new_topic: NewTopic, unique_name: UniqueName) -> None:
    topic, group = new_topic(), unique_name("group")
    tools("kafka-console-producer", "--topic", topic, stdin="a\nb\nc\nd\n")
    line = ("kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning")

    first = tools(*line, "--max-messages=3")
    second = tools(*line, "--max-messages=1")

    assert first.splitlines() == ["a", "b", "c"]
    assert second.splitlines() == ["d"]


def test_internal_topics_hold_kafkas_own_records(
    tools: Tools, new_topic: NewTopic, unique_name: UniqueName
) -> None:
    """The formatters for ``__consumer_offsets`` decode what the group coordinator has written."""
    topic, group = new_topic(), unique_name("group")
    tools("kafka-console-producer", "--topic", topic, stdin="a\nb\n")
    tools(
        "kafka-console-consumer",
        "--topic",
        topic,
        "--group",
        group,
        "--from-beginning",
        "--max-messages=2",
    )
    line = (
        "kafka-console-consumer",
        "--topic",
        "__consumer_offsets",
        "--from-beginning",
        "--timeout-ms=3000",
    )

    commits = tools(*line, "--formatter=org.apache.kafka.tools.consumer.OffsetsMessageFormatter")
    groups = tools(*line, "--formatter=org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter")

    (last_commit, *_) = [line for line in reversed(commits.splitlines()) if f'"group":"{group}"' in line]
    assert f'"topic":"{topic}","partition":0' in last_commit
    assert '"offset":2' in last_commit
    (last_state, *_) = [line for line in reversed(groups.splitlines()) if f'"group":"{group}"' in line]
    assert '"protocolType":"consumer"' in last_state
    assert '"members":[]' in last_state
