"""The performance tools; what they count is checked, not how fast it was."""

from __future__ import annotations

import re
from pathlib import Path

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools

RECORDS = 2_000


def _last_offset(tools: Tools, topic: str) -> int:
    """The end of a topic with one partition."""
    return int(tools("kafka-get-offsets", "--topic", topic).rsplit(":", 1)[1])


def test_producer(tools: Tools, new_topic: NewTopic) -> None:
    topic = new_topic()

    printed = tools(
        "kafka-producer-perf-test",
        "--topic",
        topic,
        f"--num-records={RECORDS}",
        "--record-size=100",
        "--throughput=-1",
        "--print-metrics",
        "--command-property",
        "acks=all",
        "compression.type=lz4",
    )

    assert re.search(
        rf"^{RECORDS} records sent, [\d.]+ records/sec \([\d.]+ MB/sec\), ", printed, re.MULTILINE
    )
    assert re.search(r"producer-topic-metrics:record-error-total:\{.*\} : 0\.000", printed)
    assert _last_offset(tools, topic) == RECORDS


def test_transactional_producer(tools: Tools, new_topic: NewTopic, unique_name: UniqueName) -> None:
    topic, transactional_id = new_topic(), unique_name("perf")

    printed = tools(
        "kafka-producer-perf-test",
        "--topic",
        topic,
        f"--num-records={RECORDS}",
        "--record-size=100",
        "--throughput=4000",
        "--transactional-id",
        transactional_id,
        "--transaction-duration-ms=100",
    )
    read = tools(
        "kafka-console-consumer",
        "--topic",
        topic,
        "--from-beginning",
        f"--max-messages={RECORDS}",
        "--isolation-level=read_committed",
    )

    assert f"{RECORDS} records sent" in printed
    assert len(read.splitlines()) == RECORDS
    markers = _last_offset(tools, topic) - RECORDS
    assert markers > 1, "a marker for each transaction, and there were several"
    states = tools("kafka-transactions", "list").splitlines()
    assert [line.split()[3] for line in states if line.startswith(transactional_id)] == ["CompleteCommit"]


def test_payloads_from_a_file(tools: Tools, new_topic: NewTopic, tmp_path: Path) -> None:
    topic, payloads = new_topic(), tmp_path / "payloads"
    payloads.write_text("one\ntwo\nthree\n")

    tools(
        "kafka-producer-perf-test",
        "--topic",
        topic,
        "--num-records=30",
        f"--payload-file={payloads}",
        "--throughput=-1",
    )
    read = tools("kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages=30")

    assert set(read.splitlines()) == {"one", "two", "three"}


def test_consumer(tools: Tools, new_topic: NewTopic, unique_name: UniqueName) -> None:
    topic, group = new_topic(partitions=3), unique_name("group")
    tools(
        "kafka-producer-perf-test",
        "--topic",
        topic,
        f"--num-records={RECORDS}",
        "--record-size=100",
        "--throughput=-1",
    )

    printed = tools(
        "kafka-consumer-perf-test",
        "--topic",
        topic,
        "--group",
        group,
        f"--num-records={RECORDS}",
        "--timeout=20000",
    )

    header, row = [line.split(", ") for line in printed.splitlines() if ", " in line]
    counted = dict(zip(header, row, strict=True))
    assert int(counted["data.consumed.in.nMsg"]) == RECORDS
    assert float(counted["data.consumed.in.MB"]) == round(RECORDS * 100 / 1024 / 1024, 4)
    assert "WARNING" not in printed


def test_end_to_end_latency(tools: Tools, unique_name: UniqueName) -> None:
    """It makes its topic itself, and compares every record that it reads with the one that it has sent."""
    topic = unique_name("latency")

    printed = tools(
        "kafka-e2e-latency",
        "--topic",
        topic,
        "--num-records=100",
        "--producer-acks=all",
        "--record-size=100",
        "--num-headers=1",
    )

    assert re.search(r"^Avg latency: [\d.]+ ms$", printed, re.MULTILINE)
    assert re.search(r"^Percentiles: 50th = \d+, 99th = \d+, 99\.9th = \d+$", printed, re.MULTILINE)
    assert _last_offset(tools, topic) == 100
