"""kafka-consumer-groups, and kafka-groups beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools, table

DEADLINE_S = 30.0
VALUES = 10


@pytest.fixture
def topic(tools: Tools, new_topic: NewTopic) -> str:
    """Two partitions with ten records between them, in both some."""
    name = new_topic(partitions=2)
    tools(
        "kafka-producer-perf-test",
        "--topic",
        name,
        f"--num-records={VALUES}",
        "--payload-monotonic",
        "--throughput=-1",
        "--command-property=partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner",
    )
    return name


@pytest.fixture
def group(tools: Tools, topic: str, unique_name: UniqueName) -> str:
    """A group without members that has read the topic to its end."""
    name = unique_name("group")
    tools(
        "kafka-console-consumer",
        "--topic",
        topic,
        "--group",
        name,
        "--from-beginning",
        f"--max-messages={VALUES}",
    )
    return name


@pytest.fixture
def member(tools: Tools, topic: str, group: str) -> Iterator[confluent_kafka.Consumer]:
    """A member that holds the topic's partitions."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": tools.bootstrap_servers,
            "group.id": group,
            "client.id": "the-member",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    deadline = time.monotonic() + DEADLINE_S
    while len(consumer.assignment()) < 2:
        consumer.poll(0.1)
        assert time.monotonic() < deadline, "the member has no partitions"
    yield consumer
    consumer.close()


def _offsets(tools: Tools, group: str) -> dict[int, int]:
    """Committed offsets by partition, of a group that reads one topic."""
    described = tools("kafka-consumer-groups", "--describe", "--group", group, "--offsets")
    return {int(row["PARTITION"]): int(row["CURRENT-OFFSET"]) for row in table(described)}


def test_an_empty_group_is_described(tools: Tools, topic: str, group: str) -> None:
    done = tools.run("kafka-consumer-groups", "--describe", "--group", group)
    state = tools("kafka-consumer-groups", "--describe", "--group", group, "--state")
    listed = table(tools("kafka-consumer-groups", "--list", "--state"))
    stable = tools("kafka-consumer-groups", "--list", "--state=Stable").split()
    kinds = [line.split() for line in tools("kafka-groups", "--list", "--consumer").splitlines()]

    rows = table(done.stdout)
    assert f"Consumer group '{group}' has no active members." in done.stderr
    assert [(row["GROUP"], row["TOPIC"], row["PARTITION"]) for row in rows] == [
        (group, topic, "0"),
        (group, topic, "1"),
    ]
    assert [row["CURRENT-OFFSET"] for row in rows] == [row["LOG-END-OFFSET"] for row in rows]
    assert sum(int(row["LOG-END-OFFSET"]) for row in rows) == VALUES
    assert all(
        row["LAG"] == "0" and row["CONSUMER-ID"] == row["HOST"] == row["CLIENT-ID"] == "-" for row in rows
    )
    assert state.split()[-3:] == ["-", "Empty", "0"]
    assert {"GROUP": group, "STATE": "Empty"} in listed
    assert group not in stable
    assert [group, "Classic", "consumer"] in kinds


def test_a_live_group_is_described_and_protected(
    tools: Tools, topic: str, group: str, member: confluent_kafka.Consumer
) -> None:
    offsets = table(tools("kafka-consumer-groups", "--describe", "--group", group))
    state = tools("kafka-consumer-groups", "--describe", "--group", group, "--state")
    members = tools("kafka-consumer-groups", "--describe", "--group", group, "--members", "--verbose")
    reset = tools.run(
        "kafka-consumer-groups",
        "--group",
        group,
        "--reset-offsets",
        "--to-earliest",
        "--topic",
        topic,
        "--execute",
    )
    deletion = tools("kafka-consumer-groups", "--delete", "--group", group)
    of_offsets = tools.run(
        "kafka-consumer-groups", "--delete-offsets", "--group", group, "--topic", topic
    ).stdout

    consumer_id = member.memberid()
    assert {row["CONSUMER-ID"] for row in offsets} == {consumer_id}
    assert {row["CLIENT-ID"] for row in offsets} == {"the-member"}
    assert {row["HOST"] for row in offsets} == {"/127.0.0.1"}
    assert state.split()[-3:] == ["range", "Stable", "1"]
    (row,) = [line for line in members.splitlines() if consumer_id in line]
    assert f"{topic}:0,1" in row.replace("(", ":").replace(")", "")
    assert "the current state is Stable" in reset.stdout + reset.stderr
    assert "GroupNotEmptyException" in deletion
    assert "GroupSubscribedToTopicException" in of_offsets or "subscribed" in of_offsets
    assert sum(_offsets(tools, group).values()) == VALUES


def test_offsets_are_reset(tools: Tools, topic: str, group: str) -> None:
    def reset(*how: str) -> dict[int, int]:
        printed = tools("kafka-consumer-groups", "--group", group, "--reset-offsets", *how)
        rows = table("\n".join(line for line in printed.splitlines() if not line.startswith("Warn")))
        assert {(row["GROUP"], row["TOPIC"]) for row in rows} == {(group, topic)}
        return {int(row["PARTITION"]): int(row["NEW-OFFSET"]) for row in rows}

    ends = _offsets(tools, group)
    whole = ("--topic", topic)

    assert reset("--to-earliest", *whole, "--dry-run") == {0: 0, 1: 0}
    assert _offsets(tools, group) == ends
    assert reset("--to-earliest", *whole, "--execute") == {0: 0, 1: 0}
    assert _offsets(tools, group) == {0: 0, 1: 0}
    assert reset("--shift-by=2", "--topic", f"{topic}:0", "--execute") == {0: 2}
    assert _offsets(tools, group) == {0: 2, 1: 0}
    assert reset("--to-current", *whole, "--execute") == {0: 2, 1: 0}
    assert reset("--shift-by=100", *whole, "--execute") == ends
    assert reset("--to-offset=1", *whole, "--execute") == {0: 1, 1: 1}
    assert reset("--by-duration=PT1H", "--all-topics", "--execute") == {0: 0, 1: 0}
    assert reset("--to-datetime=2100-01-01T00:00:00.000", *whole, "--execute") == ends
    assert reset("--to-latest", *whole, "--execute") == ends
    assert _offsets(tools, group) == ends


def test_offsets_are_exported_and_read_back(tools: Tools, topic: str, group: str, tmp_path: Path) -> None:
    line = ("kafka-consumer-groups", "--group", group, "--reset-offsets")
    exported = tmp_path / "offsets.csv"

    exported.write_text(tools(*line, "--to-offset=3", "--topic", topic, "--dry-run", "--export"))
    assert sorted(exported.read_text().split()) == [f"{topic},0,3", f"{topic},1,3"]
    tools(*line, "--from-file", str(exported), "--execute")

    assert _offsets(tools, group) == {0: 3, 1: 3}


def test_offsets_and_groups_are_deleted(tools: Tools, topic: str, group: str) -> None:
    line = ("kafka-consumer-groups", "--group", group)

    removed = tools(*line, "--delete-offsets", "--topic", f"{topic}:0")
    left = _offsets(tools, group)
    deleted = tools(*line, "--delete")
    again = tools(*line, "--delete")
    gone = tools.run(*line, "--describe")

    assert [topic, "0", "Successful"] in [row.split() for row in removed.splitlines()]
    assert list(left) == [1]
    assert f"Deletion of requested consumer groups ('{group}') was successful." in deleted
    assert "GroupIdNotFoundException" in again
    assert f"Group {group} not found." in gone.stdout
    assert group not in tools("kafka-consumer-groups", "--list").splitlines()


def test_a_group_made_by_a_reset_alone(tools: Tools, topic: str, unique_name: UniqueName) -> None:
    group = unique_name("group")

    tools(
        "kafka-consumer-groups",
        "--group",
        group,
        "--reset-offsets",
        "--to-latest",
        "--topic",
        topic,
        "--execute",
    )

    assert sum(_offsets(tools, group).values()) == VALUES
