"""``kafka-reassign-partitions`` against a cluster of three."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kbroker.tools import reassign_partitions
from kbroker.tools import reassignment_plans as plans
from kbroker.tools.cluster import Cluster
from kbroker.tools.reassignment_state import Reassignment
from kbroker.tools.session import CommandError
from tests.cluster_processes import partitions_at
from tests.tools.command_runs import Command, Run, new_topic, produce, three_brokers
from wire.messages.metadata import MetadataResponse
from wire.messages.reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)
from wire.schema import Request


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with three_brokers(tmp_path_factory.mktemp("brokers")) as server:
        yield server


@pytest.fixture
def reassign(bootstrap: str) -> Command:
    return Command("reassign_partitions", bootstrap)


def plan_file(directory: Path, *partitions: dict[str, Any]) -> str:
    path = directory / "plan.json"
    path.write_text(json.dumps({"version": 1, "partitions": partitions}))
    return str(path)


def wait_for_replicas(bootstrap: str, topic: str, *replicas: int) -> None:
    deadline = time.monotonic() + 15
    while partitions_at(bootstrap, topic)[topic, 0].replicas != replicas:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_nothing_moves(reassign: Command) -> None:
    deadline = time.monotonic() + 15
    while reassign("--list").out != "No partition reassignments found.\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def throttle_lines(bootstrap: str, topic: str) -> list[str]:
    configs = Command("configs", bootstrap)
    lines = [
        *configs("--describe", "--topic", topic).lines,
        *configs("--describe", "--entity-type", "brokers").lines,
    ]
    return [line.split()[0] for line in lines if "throttled" in line]


def test_partitions_move_under_a_throttle_that_is_lifted(
    reassign: Command, bootstrap: str, tmp_path: Path
) -> None:
    topic = new_topic(bootstrap, "--replica-assignment", "1:2")
    produce(bootstrap, topic, partition=0, timestamps_ms=[1])
    path = plan_file(tmp_path, {"topic": topic, "partition": 0, "replicas": [3, 2]})
    started = reassign.process("--execute", "--reassignment-json-file", path, "--throttle", "1000000")
    assert (started.code, started.err) == (0, "")
    lines = started.lines
    current = json.loads(lines[2])
    directories = current["partitions"][0].pop("log_dirs")
    assert current == {"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": [1, 2]}]}
    assert all(Path(directory).is_absolute() for directory in directories)
    assert [*lines[:2], *lines[3:]] == [
        "Current partition replica assignment",
        "",
        "",
        "Save this to use as the --reassignment-json-file option during rollback",
        "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is "
        "removed.",
        "The inter-broker throttle limit was set to 1000000 B/s",
        f"Successfully started partition reassignment for {topic}-0",
    ]
    assert throttle_lines(bootstrap, topic) == [
        "follower.replication.throttled.replicas=0:3",
        "leader.replication.throttled.replicas=0:1,0:2",
        *(["follower.replication.throttled.rate=1000000", "leader.replication.throttled.rate=1000000"] * 3),
    ]
    wait_for_replicas(bootstrap, topic, 3, 2)
    wait_until_nothing_moves(reassign)
    status = f"Status of partition reassignment:\nReassignment of partition {topic}-0 is completed.\n\n"
    kept = reassign("--verify", "--reassignment-json-file", path, "--preserve-throttles")
    assert kept == Run(0, status, "")
    assert reassign.process("--verify", "--reassignment-json-file", path) == Run(
        0,
        f"{status}Clearing broker-level throttles on brokers 1,2,3\nClearing topic-level throttles on topic {topic}\n",
        "",
    )
    assert throttle_lines(bootstrap, topic) == []


def test_what_is_not_as_planned_is_told(reassign: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap, "--replica-assignment", "1:2")
    path = plan_file(
        tmp_path, {"topic": topic, "partition": 0, "replicas": [2, 3], "log_dirs": ["any", "/nowhere"]}
    )
    run = reassign("--verify", "--reassignment-json-file", path, "--preserve-throttles")
    assert run == Run(
        0,
        "Status of partition reassignment:\n"
        f"There is no active reassignment of partition {topic}-0, but replica set is 1,2 rather than 2,3.\n"
        f"Partition {topic}-0 is not found in any live log dir on broker 3. There is likely an offline log "
        "directory on the broker.\n",
        "",
    )
    cancelled = reassign("--cancel", "--reassignment-json-file", path, "--preserve-throttles")
    assert cancelled == Run(
        0,
        "None of the specified partition reassignments are active.\n"
        "None of the specified partition moves are active.",
        "",
    )


def test_a_directory_that_is_not_there_is_told(reassign: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap, "--replica-assignment", "1:2")
    path = plan_file(
        tmp_path, {"topic": topic, "partition": 0, "replicas": [1, 2], "log_dirs": ["any", "/nowhere"]}
    )
    run = reassign("--execute", "--reassignment-json-file", path)
    assert run.code == 1
    assert run.lines[-2:] == [
        f"Successfully started partition reassignment for {topic}-0",
        f"Error: Failed to alter dir for {topic}-0-2",
    ]


def test_a_replication_factor_may_be_kept(reassign: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap, "--replica-assignment", "1:2")
    path = plan_file(tmp_path, {"topic": topic, "partition": 0, "replicas": [1, 2, 3]})
    run = reassign("--execute", "--reassignment-json-file", path, "--disallow-replication-factor-change")
    assert run.code == 1
    assert run.lines[-2] == "Error reassigning partition(s):"
    assert run.lines[-1].startswith(f"{topic}-0: ")
    assert partitions_at(bootstrap, topic)[topic, 0].replicas == (1, 2)


def test_a_proposal_spreads_partitions(reassign: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap, "--replica-assignment", "1:2,1:2,1:2")
    path = tmp_path / "topics.json"
    path.write_text(json.dumps({"topics": [{"topic": topic}], "version": 1}))
    run = reassign.process("--generate", "--topics-to-move-json-file", str(path), "--broker-list", "1,2,3")
    assert run.code == 0, run
    assert [run.lines[0], run.lines[2], run.lines[3]] == [
        "Current partition replica assignment",
        "",
        "Proposed partition reassignment configuration",
    ]
    proposed = json.loads(run.lines[4])["partitions"]
    assert [one["partition"] for one in proposed] == [0, 1, 2]
    assert sorted(one["replicas"][0] for one in proposed) == [1, 2, 3]
    assert all(len(set(one["replicas"])) == 2 and one["log_dirs"] == ["any", "any"] for one in proposed)
    few = reassign("--generate", "--topics-to-move-json-file", str(path), "--broker-list", "1")
    assert few == Run(
        1,
        "Error: The target replication factor of 2 cannot be reached because only 1 broker(s) are registered or some "
        "brokers have all their log directories cordoned.\n",
        "",
    )
    twice = reassign("--generate", "--topics-to-move-json-file", str(path), "--broker-list", "1,1")
    assert twice.out == "Error: Broker list contains duplicate entries: [1]\n"


@pytest.mark.parametrize(
    ("topic", "replicas", "error"),
    [
        ("{known}", [1, 9], "Error: Unknown broker id 9"),
        (
            "missing",
            [1],
            "Error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Topic missing not found.",
        ),
    ],
)
def test_what_is_not_there_is_told(
    reassign: Command, bootstrap: str, tmp_path: Path, topic: str, replicas: list[int], error: str
) -> None:
    name = topic.replace("{known}", new_topic(bootstrap))
    path = plan_file(tmp_path, {"topic": name, "partition": 0, "replicas": replicas})
    assert reassign.process("--execute", "--reassignment-json-file", path) == Run(1, f"{error}\n", "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nonsense", "The input string is not a valid JSON"),
        ("{}", "Partition reassignment list cannot be empty"),
        ('{"version": 3}', "Not supported version field value 3"),
        (
            '{"partitions": [{"topic": "t", "partition": 0, "replicas": []}]}',
            "Partition replica list cannot be empty",
        ),
        (
            '{"partitions": [{"topic": "t", "partition": 0, "replicas": [1]}, '
            '{"topic": "t", "partition": 0, "replicas": [2]}]}',
            "Partition reassignment contains duplicate topic partitions: t-0",
        ),
        (
            '{"partitions": [{"topic": "t", "partition": 0, "replicas": [1, 1]}]}',
            "Partition replica lists may not contain duplicate entries: t-0 contains multiple entries for 1",
        ),
        (
            '{"partitions": [{"topic": "t", "partition": 0, "replicas": [1, 2], "log_dirs": ["any"]}]}',
            "Size of replicas list [1, 2] is different from size of log dirs list [any] for partition t-0",
        ),
    ],
)
def test_files_that_are_wrong_are_told(reassign: Command, tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    assert reassign("--execute", "--reassignment-json-file", str(path)) == Run(1, f"Error: {error}\n", "")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--execute"], 'Missing required argument "[reassignment-json-file]"'),
        (
            ["--execute", "--list"],
            "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list",
        ),
        (["--list", "--throttle", "5"], 'Option "[throttle]" can\'t be used with action "[list]"'),
        (
            ["--list", "--bootstrap-controller", "h:1"],
            "Please don't specify both --bootstrap-server and --bootstrap-controller",
        ),
    ],
)
def test_flags_that_make_no_sense_are_told(reassign: Command, arguments: list[str], error: str) -> None:
    run = reassign(*arguments)
    assert (run.code, run.out, run.first_error) == (1, "", error)


def test_it_has_to_be_said_where_the_brokers_are() -> None:
    run = Command("reassign_partitions", None)("--list")
    assert (run.code, run.first_error) == (
        1,
        "Please specify either --bootstrap-server or --bootstrap-controller",
    )


class MovingCluster(Cluster):
    """A cluster of brokers 1 and 2 that moves ``t-0`` until it is told to stop."""

    def __init__(self) -> None:
        self.request_timeout_s = 1.0
        self.brokers = {
            node_id: MetadataResponse.MetadataResponseBroker(node_id=node_id, host="h", port=1)
            for node_id in (1, 2)
        }
        self.asked: list[Request] = []

    async def controller(self, request, response_class, *, errors=None):  # type: ignore[no-untyped-def]
        self.asked.append(request)
        if isinstance(request, ListPartitionReassignmentsRequest):
            topic = ListPartitionReassignmentsResponse.OngoingTopicReassignment
            moving = Reassignment(
                partition_index=0, replicas=[1, 2], adding_replicas=[2], removing_replicas=[1]
            )
            adding = Reassignment(
                partition_index=1, replicas=[1, 2], adding_replicas=[2], removing_replicas=[]
            )
            return ListPartitionReassignmentsResponse(
                error_message=None, topics=[topic(name="t", partitions=[adding, moving])]
            )
        assert isinstance(request, AlterPartitionReassignmentsRequest)
        return AlterPartitionReassignmentsResponse(error_message=None, responses=[])


async def test_what_moves_is_listed_and_cancelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = MovingCluster()
    where = ["--bootstrap-server", "h:1"]
    await reassign_partitions.execute(reassign_partitions.parse([*where, "--list"]), cluster)
    assert capsys.readouterr().out == (
        "Current partition reassignments:\n"
        "t-0: replicas: 1,2. adding: 2. removing: 1.\n"
        "t-1: replicas: 1,2. adding: 2.\n"
    )
    path = plan_file(tmp_path, *({"topic": "t", "partition": index, "replicas": [2]} for index in (0, 1)))
    options = reassign_partitions.parse(
        [*where, "--cancel", "--reassignment-json-file", path, "--preserve-throttles"]
    )
    await reassign_partitions.execute(options, cluster)
    assert capsys.readouterr().out == (
        "Successfully cancelled partition reassignments for: t-0,t-1\n"
        "None of the specified partition moves are active."
    )
    request = cluster.asked[-1]
    assert isinstance(request, AlterPartitionReassignmentsRequest)
    (topic,) = request.topics
    assert sorted((one.partition_index, one.replicas) for one in topic.partitions) == [(0, None), (1, None)]
    again = reassign_partitions.parse([*where, "--execute", "--reassignment-json-file", path])
    with pytest.raises(reassign_partitions.TerseError, match="there is an existing partition assignment"):
        await reassign_partitions.execute(again, cluster)
    await reassign_partitions.execute(
        reassign_partitions.parse([*where, "--verify", "--reassignment-json-file", path]), cluster
    )
    assert capsys.readouterr().out == (
        "Status of partition reassignment:\n"
        "Reassignment of partition t-0 is still in progress.\n"
        "Reassignment of partition t-1 is still in progress.\n\n"
    )


def test_replicas_go_to_racks_that_have_none_yet() -> None:
    racks: dict[int, str | None] = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"}
    current = {("t", index): [1, 2, 3] for index in range(12)}
    proposal = plans.propose(current, racks, start=4)
    assert all(len({racks[broker] for broker in replicas}) == 3 for replicas in proposal.values())
    leaders = [replicas[0] for replicas in proposal.values()]
    assert {leaders.count(broker) for broker in racks} == {2}
    assert proposal["t", 0] != proposal["t", 6], "the same leader, but other followers the second time round"


def test_throttles_name_who_sends_and_who_receives() -> None:
    under_way = {
        ("t", 0): Reassignment(
            partition_index=0, replicas=[1, 2, 3], adding_replicas=[3], removing_replicas=[1]
        )
    }
    moving = plans.moves(under_way, {("t", 0): [4], ("t", 1): [2, 3]}, {("t", 1): [1, 2]})
    assert plans.throttled_replicas(moving, leaders=True) == {"t": "0:1,0:2,1:1,1:2"}
    assert plans.throttled_replicas(moving, leaders=False) == {"t": "0:4,1:3"}


def test_a_plan_is_read_as_it_is_written() -> None:
    text = plans.plan_text({("b", 0): [2, 1], ("a", 1): [1]}, {plans.Replica(1, "b", 0): "/data"})
    assert text == (
        '{"version":1,"partitions":[{"topic":"a","partition":1,"replicas":[1],"log_dirs":["any"]},'
        '{"topic":"b","partition":0,"replicas":[2,1],"log_dirs":["any","/data"]}]}'
    )
    plan = plans.parse_plan(text)
    assert plan.partitions == {("a", 1): [1], ("b", 0): [2, 1]}
    assert plan.directories == {plans.Replica(1, "b", 0): "/data"}
    with pytest.raises(CommandError, match="Expected `int` value"):
        plans.parse_plan('{"partitions": [{"topic": "t", "partition": 0, "replicas": ["1"]}]}')
