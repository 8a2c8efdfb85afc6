"""Tools that move leaders and replicas, in a cluster of three: kafka-leader-election, kafka-reassign-partitions,
kafka-replica-verification."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat.conftest import UniqueName
from compat.contestants import START_DEADLINE_S, Cluster
from compat.java_tools.invocation import Tools
from compat.reference.tools import command_line
from tests.broker_process import die_with_parent
from tests.cluster_processes import PartitionView, partitions_at

DEADLINE_S = 60.0


@pytest.fixture
def tools(cluster: Cluster, tools_for: Callable[[str], Tools]) -> Tools:
    """Tools for the cluster."""
    return tools_for(cluster.bootstrap_servers)


@pytest.fixture
def placed(tools: Tools, unique_name: UniqueName) -> Callable[..., str]:
    """Makes a topic whose replicas are where they are asked for: ``placed([1, 2], [2, 3])`` is its name."""

    def make(*replicas: list[int]) -> str:
        name = unique_name("topic")
        assignment = ",".join(":".join(map(str, of_one)) for of_one in replicas)
        tools("kafka-topics", "--create", "--topic", name, "--replica-assignment", assignment)
        return name

    return make


def _partitions(cluster: Cluster, topic: str) -> dict[int, PartitionView]:
    """As a broker that is up says."""
    up = ",".join(one.bootstrap_server for one in cluster.brokers.values() if one.running)
    return {index: view for (_, index), view in partitions_at(up, topic).items()}


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_leaders_are_elected(
    cluster: Cluster, tools: Tools, tools_for: Callable[[str], Tools], placed: Callable[..., str]
) -> None:
    """Unclean, where all that were in sync are gone; then the preferred ones, once everybody is back."""
    three, two = placed([1, 2, 3]), placed([1, 2])
    first, second, third = (cluster.brokers[node_id] for node_id in (1, 2, 3))
    second.kill()
    _wait_for(lambda: _partitions(cluster, two)[0].in_sync == (1,), "broker 2 stayed in sync")
    tools_for(first.bootstrap_server)(
        "kafka-console-producer", "--topic", two, "--command-property=acks=1", stdin="will be lost\n"
    )
    first.kill()
    second.start(deadline_s=START_DEADLINE_S)
    left = tools_for(f"{second.bootstrap_server},{third.bootstrap_server}")
    _wait_for(
        lambda: two in left("kafka-topics", "--describe", "--unavailable-partitions"), f"{two} has a leader"
    )

    unclean = left("kafka-leader-election", "--election-type=unclean", "--topic", two, "--partition=0")
    _wait_for(lambda: _partitions(cluster, two)[0].leader == 2, "broker 2 does not lead")
    end = left("kafka-get-offsets", "--topic", two)
    cluster.make_whole()
    before = _partitions(cluster, three)[0].leader
    preferred = tools("kafka-leader-election", "--election-type=preferred", "--topic", three, "--partition=0")
    again = tools("kafka-leader-election", "--election-type=preferred", "--topic", three, "--partition=0")

    assert f"Successfully completed leader election (UNCLEAN) for partitions {two}-0" in unclean
    assert end == f"{two}:0:0\n"
    assert before != 1
    assert f"Successfully completed leader election (PREFERRED) for partitions {three}-0" in preferred
    assert f"Valid replica already elected for partitions {three}-0" in again
    assert _partitions(cluster, three)[0].leader == 1


def test_the_partitions_of_a_file_are_elected(
    tools: Tools, placed: Callable[..., str], unique_name: UniqueName, tmp_path: Path
) -> None:
    topic, absent = placed([2, 3]), unique_name("absent")
    known, unknown = tmp_path / "known.json", tmp_path / "unknown.json"
    known.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0}]}))
    unknown.write_text(json.dumps({"partitions": [{"topic": absent, "partition": 0}]}))
    line = ("kafka-leader-election", "--election-type=preferred", "--path-to-json-file")

    assert f"Valid replica already elected for partitions {topic}-0" in tools(*line, str(known))
    assert f"{absent}-0" in tools.refused(*line, str(unknown))


class Reassignment:
    """A plan in a file, and kafka-reassign-partitions to carry it out."""

    def __init__(self, tools: Tools, file: Path, topic: str, targets: dict[int, list[int]]) -> None:
        partitions = [
            {"topic": topic, "partition": partition, "replicas": replicas}
            for partition, replicas in targets.items()
        ]
        file.write_text(json.dumps({"version": 1, "partitions": partitions}))
        self._tools = tools
        self._file = file
        self._completed = [
            f"Reassignment of partition {topic}-{partition} is completed." for partition in targets
        ]

    def __call__(self, action: str, *arguments: str) -> str:
        return self._tools(
            "kafka-reassign-partitions", action, "--reassignment-json-file", str(self._file), *arguments
        )

    def wait_until_complete(self) -> None:
        """Until ``--verify`` says so of every partition.

        The broker that it asks may have heard of none of it yet, or of the end only: then it says neither "still in
        progress" nor "completed".
        """

        def complete() -> bool:
            said = self("--verify")
            return all(line in said for line in self._completed)

        _wait_for(complete, "the reassignment does not end")


def test_replicas_are_moved(
    cluster: Cluster, tools: Tools, placed: Callable[..., str], tmp_path: Path
) -> None:
    topic = placed([1, 2], [2, 1])
    lines = "".join(f"line {number}\n" for number in range(100))
    tools("kafka-console-producer", "--topic", topic, stdin=lines)
    move = Reassignment(tools, tmp_path / "plan.json", topic, {0: [3, 2], 1: [2, 3]})

    started = move("--execute", "--throttle=10000000")
    move.wait_until_complete()
    read = tools("kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages=100")
    configs = tools("kafka-configs", "--describe", "--topic", topic)

    assert f"Successfully started partition reassignments for {topic}-0,{topic}-1" in started
    current = json.loads(re.search(r"^\{.*\}$", started, re.MULTILINE)[0])  # type: ignore[index]
    assert [one["replicas"] for one in current["partitions"]] == [[1, 2], [2, 1]]
    assert {index: view.replicas for index, view in _partitions(cluster, topic).items()} == {
        0: (3, 2),
        1: (2, 3),
    }
    assert sorted(read.splitlines()) == sorted(lines.splitlines())
    assert "throttled" not in configs, "verify takes the throttle away"


def test_a_move_is_throttled_listed_and_cancelled(
    cluster: Cluster, tools: Tools, placed: Callable[..., str], tmp_path: Path
) -> None:
    topic = placed([1, 2])
    tools(
        "kafka-producer-perf-test",
        "--topic",
        topic,
        "--num-records=3000",
        "--record-size=1000",
        "--throughput=-1",
    )
    move = Reassignment(tools, tmp_path / "plan.json", topic, {0: [2, 3]})

    move("--execute", "--throttle=1000")
    going_on = move("--verify")
    listed = tools("kafka-reassign-partitions", "--list")
    throttles = tools("kafka-configs", "--describe", "--topic", topic)
    of_broker = tools("kafka-configs", "--describe", "--broker=1")
    cancelled = move("--cancel")

    assert f"Reassignment of partition {topic}-0 is still in progress." in going_on
    assert re.search(rf"^{topic}-0: replicas: [\d,]+\. adding: 3\. removing: 1\.$", listed, re.MULTILINE)
    assert "leader.replication.throttled.replicas=0:1,0:2" in throttles
    assert "follower.replication.throttled.replicas=0:3" in throttles
    assert "leader.replication.throttled.rate=1000" in of_broker
    assert f"Successfully cancelled partition reassignment for: {topic}-0" in cancelled
    # The old ones, in the order that they had while both old and new ones were there: 2, 3, 1.
    _wait_for(lambda: _partitions(cluster, topic)[0].replicas == (2, 1), "the replicas are not the old ones")
    assert topic not in tools("kafka-reassign-partitions", "--list")
    assert "throttled" not in tools("kafka-configs", "--describe", "--topic", topic)
    assert "throttled" not in tools("kafka-configs", "--describe", "--broker=1")


def test_a_plan_is_generated(
    cluster: Cluster, tools: Tools, placed: Callable[..., str], tmp_path: Path
) -> None:
    topic = placed([1], [1], [1])
    wanted = tmp_path / "topics.json"
    wanted.write_text(json.dumps({"topics": [{"topic": topic}], "version": 1}))
    line = ("kafka-reassign-partitions", "--generate", "--topics-to-move-json-file", str(wanted))

    printed = tools(*line, "--broker-list=2,3")
    nobody = tools.refused(*line, "--broker-list=4711")

    current, proposed = (json.loads(plan) for plan in re.findall(r"^\{.*\}$", printed, re.MULTILINE))

    def replicas(plan: Any) -> dict[int, list[int]]:
        assert {one["topic"] for one in plan["partitions"]} == {topic}
        return {one["partition"]: one["replicas"] for one in plan["partitions"]}

    assert replicas(current) == {0: [1], 1: [1], 2: [1]}
    assert sorted(node_id for one in replicas(proposed).values() for node_id in one) in ([2, 2, 3], [2, 3, 3])
    assert "InvalidReplicationFactorException" in nobody
    assert {view.replicas for view in _partitions(cluster, topic).values()} == {(1,)}


def test_replicas_are_verified(tools: Tools, placed: Callable[..., str]) -> None:
    """It fetches from every replica as none of the cluster's and compares checksums, for as long as it runs."""
    topic = placed([1, 2, 3], [3, 1, 2])
    tools("kafka-console-producer", "--topic", topic, stdin="".join(f"{number}\n" for number in range(100)))
    tools.used.add("kafka-replica-verification")
    line = command_line(
        "kafka-replica-verification",
        "--broker-list",
        tools.bootstrap_servers,
        "--topics-include",
        topic,
        "--report-interval-ms=500",
    )

    process = subprocess.Popen(
        [*die_with_parent(), *line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    assert process.stdout is not None
    said: list[str] = []
    try:
        for printed in process.stdout:
            said.append(printed)
            if "max lag is" in printed:
                break
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()

    assert re.search(rf"max lag is 0 for partition {topic}-\d at offset \d+ among 2 partitions", said[-1]), (
        said
    )
