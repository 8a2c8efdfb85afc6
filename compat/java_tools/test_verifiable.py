"""The tools of Apache Kafka's own system tests: verifiable producer and consumer, transactional message copier.

The first two call ``System.exit`` from under their own shutdown hooks, so each has a process to itself.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools
from compat.reference.tools import run_tool

COUNT = 50
DEADLINE_S = 90.0


def _events(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The lines of JSON that one of them printed, when it ended as it should."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_producer_and_consumer(
    tools: Tools,
    new_topic: NewTopic,
    unique_name: UniqueName,
    record_property: Callable[[str, object], None],
) -> None:
    topic, group = new_topic(partitions=2), unique_name("group")
    tools.used.update({"kafka-verifiable-producer", "kafka-verifiable-consumer"})
    common = ("--bootstrap-server", tools.bootstrap_servers, "--topic", topic, "--max-messages", str(COUNT))

    sent = _events(
        run_tool(
            "kafka-verifiable-producer",
            [*common, "--acks=-1", "--value-prefix=7", "--repeating-keys=5"],
            deadline_s=DEADLINE_S,
        )
    )
    read = _events(
        run_tool(
            "kafka-verifiable-consumer",
            [*common, "--group-id", group, "--group-instance-id=one", "--verbose"],
            deadline_s=DEADLINE_S,
        )
    )

    acknowledged = [event for event in sent if event["name"] == "producer_send_success"]
    consumed = [event for event in read if event["name"] == "record_data"]
    commits = [event for event in read if event["name"] == "offsets_committed"]
    (summary,) = [event for event in sent if event["name"] == "tool_data"]
    assert (summary["sent"], summary["acked"]) == (COUNT, COUNT)
    assert {event["value"] for event in acknowledged} == {f"7.{number}" for number in range(COUNT)}
    for partition in range(2):
        its = [event for event in acknowledged if event["partition"] == partition]
        assert [event["offset"] for event in its] == list(range(len(its)))
        assert its == sorted(its, key=lambda event: int(event["value"].removeprefix("7.")))

    def places(events: list[dict[str, Any]]) -> set[tuple[int, int, str, str]]:
        return {(event["partition"], event["offset"], event["key"], event["value"]) for event in events}

    assert places(consumed) == places(acknowledged)
    assert len(consumed) == COUNT
    assert all(commit["success"] for commit in commits)
    committed = {one["partition"]: one["offset"] for commit in commits for one in commit["offsets"]}
    assert sum(committed.values()) == COUNT
    assert "shutdown_complete" in [event["name"] for event in read]


def test_transactional_message_copier(tools: Tools, new_topic: NewTopic, unique_name: UniqueName) -> None:
    """Copies in transactions of ten, some of which it aborts and repeats, with the group's offsets inside them."""
    source, copy, group = new_topic(), new_topic(), unique_name("group")
    values = [f"v{number}" for number in range(COUNT)]
    tools("kafka-console-producer", "--topic", source, stdin="".join(f"{value}\n" for value in values))

    tools(
        "kafka-transactional-message-copier",
        f"--input-topic={source}",
        "--input-partition=0",
        f"--output-topic={copy}",
        f"--consumer-group={group}",
        f"--transactional-id={unique_name('copier')}",
        "--transaction-size=10",
        "--enable-random-aborts",
        "--use-group-metadata",
    )
    read = tools(
        "kafka-console-consumer",
        "--topic",
        copy,
        "--from-beginning",
        f"--max-messages={COUNT}",
        "--isolation-level=read_committed",
    )

    assert read.splitlines() == values
    described = tools("kafka-consumer-groups", "--describe", "--group", group)
    assert [line.split()[3] for line in described.splitlines() if source in line] == [str(COUNT)]
