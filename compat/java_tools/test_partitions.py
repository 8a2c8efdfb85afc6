"""kafka-get-offsets, kafka-delete-records and kafka-log-dirs; kafka-replica-verification over one copy is moot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat.conftest import RunningBroker
from compat.java_tools.invocation import NewTopic, Tools

SIZES = {0: 3, 1: 0, 2: 5}
FIRST_TIMESTAMP_MS = 1_700_000_000_000


@pytest.fixture
def topic(tools: Tools, new_topic: NewTopic) -> str:
    """Three partitions with as many records as SIZES says; the record at offset n is n seconds after the first."""
    from confluent_kafka import Producer

    name = new_topic(partitions=len(SIZES))
    producer = Producer({"bootstrap.servers": tools.bootstrap_servers})
    for partition, count in SIZES.items():
        for number in range(count):
            timestamp_ms = FIRST_TIMESTAMP_MS + number * 1_000
            producer.produce(name, b"v%d" % number, partition=partition, timestamp=timestamp_ms)
    assert producer.flush(30) == 0
    return name


def _offsets(tools: Tools, *arguments: str) -> dict[tuple[str, int], int]:
    """What kafka-get-offsets prints: ``topic:partition:offset``."""
    lines = [line.rsplit(":", 2) for line in tools("kafka-get-offsets", *arguments).splitlines()]
    return {(topic, int(partition)): int(offset) for topic, partition, offset in lines}


def test_offsets_by_time_and_name(tools: Tools, topic: str) -> None:
    line = ("--topic", topic)

    assert _offsets(tools, *line) == {(topic, index): count for index, count in SIZES.items()}
    assert _offsets(tools, *line, "--time=earliest") == {(topic, 0): 0, (topic, 1): 0, (topic, 2): 0}
    assert _offsets(tools, *line, "--time=max-timestamp") == {(topic, 0): 2, (topic, 2): 4}
    assert _offsets(tools, *line, f"--time={FIRST_TIMESTAMP_MS + 1_500}") == {(topic, 0): 2, (topic, 2): 2}
    assert _offsets(tools, *line, f"--time={FIRST_TIMESTAMP_MS + 60_000}") == {}
    assert _offsets(tools, "--topic-partitions", f"{topic}:1-3") == {(topic, 1): 0, (topic, 2): 5}
    assert _offsets(tools, *line, "--partitions=0,2") == {(topic, 0): 3, (topic, 2): 5}
    assert "Could not match any topic-partitions" in tools.refused(
        "kafka-get-offsets", "--topic", f"{topic}-absent"
    )


def test_records_are_deleted_up_to_an_offset(tools: Tools, topic: str, tmp_path: Path) -> None:
    wanted = tmp_path / "offsets.json"
    partitions = [
        {"topic": topic, "partition": 0, "offset": 2},
        {"topic": topic, "partition": 2, "offset": -1},
    ]
    wanted.write_text(json.dumps({"partitions": partitions, "version": 1}))

    printed = tools("kafka-delete-records", "--offset-json-file", str(wanted))
    read = tools(
        "kafka-console-consumer", "--topic", topic, "--partition=0", "--offset=earliest", "--max-messages=1"
    )

    assert f"partition: {topic}-0\tlow_watermark: 2" in printed
    assert f"partition: {topic}-2\tlow_watermark: 5" in printed
    assert _offsets(tools, "--topic", topic, "--time=earliest") == {
        (topic, 0): 2,
        (topic, 1): 0,
        (topic, 2): 5,
    }
    assert read == "v2\n"


def test_deleting_past_the_end_is_refused(tools: Tools, topic: str, tmp_path: Path) -> None:
    wanted = tmp_path / "offsets.json"
    wanted.write_text(
        json.dumps({"partitions": [{"topic": topic, "partition": 0, "offset": 9}], "version": 1})
    )

    printed = tools("kafka-delete-records", "--offset-json-file", str(wanted))

    assert "OffsetOutOfRangeException" in printed
    assert _offsets(tools, "--topic", topic, "--time=earliest")[topic, 0] == 0


def test_log_directories_hold_what_was_written(tools: Tools, topic: str, broker: RunningBroker) -> None:
    printed = tools("kafka-log-dirs", "--describe", "--topic-list", topic)

    answer = json.loads(printed[printed.index("{") :])
    (one,) = answer["brokers"]
    (directory,) = one["logDirs"]
    sizes = {int(found["partition"].rsplit("-", 1)[1]): found for found in directory["partitions"]}
    assert directory["error"] is None
    assert sorted(sizes) == sorted(SIZES)
    for index, count in SIZES.items():
        assert (sizes[index]["size"] > 0) == (count > 0)
        assert (sizes[index]["offsetLag"], sizes[index]["isFuture"]) == (0, False)
    if broker.process is not None:
        segment = Path(directory["logDir"]) / f"{topic}-2" / f"{0:020}.log"
        assert sizes[2]["size"] == segment.stat().st_size


def test_log_directories_of_a_broker_that_is_not_there(tools: Tools) -> None:
    assert "do not exist" in tools.refused("kafka-log-dirs", "--describe", "--broker-list=4711")
