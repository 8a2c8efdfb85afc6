"""``kafka-leader-election`` against a cluster of three."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_processes import partitions_at
from tests.tools.command_runs import Command, Run, new_topic, three_brokers


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with three_brokers(tmp_path_factory.mktemp("brokers")) as server:
        yield server


@pytest.fixture
def elect(bootstrap: str) -> Command:
    return Command("leader_election", bootstrap)


def led_by_another(bootstrap: str, directory: Path) -> str:
    """A topic whose partition 0 is led by broker 1 and should be by 2."""
    topic = new_topic(bootstrap, "--replica-assignment", "1:2")
    plan = directory / "plan.json"
    plan.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0, "replicas": [2, 1]}]}))
    moved = Command("reassign_partitions", bootstrap)("--execute", "--reassignment-json-file", str(plan))
    assert moved.code == 0, moved
    deadline = time.monotonic() + 10
    while partitions_at(bootstrap, topic)[topic, 0].replicas != (2, 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert partitions_at(bootstrap, topic)[topic, 0].leader == 1
    return topic


def test_preferred_replicas_become_leaders(elect: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = led_by_another(bootstrap, tmp_path)
    arguments = ("--election-type", "preferred", "--topic", topic, "--partition", "0")
    assert elect.process(*arguments) == Run(
        0, f"Successfully completed leader election (PREFERRED) for partitions {topic}-0\n", ""
    )
    assert partitions_at(bootstrap, topic)[topic, 0].leader == 2
    assert elect(*arguments) == Run(0, f"Valid replica already elected for partitions {topic}-0\n", "")


def test_all_partitions_that_need_it_get_their_leader(elect: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = led_by_another(bootstrap, tmp_path)
    assert elect("--election-type", "PREFERRED", "--all-topic-partitions") == Run(
        0, f"Successfully completed leader election (PREFERRED) for partitions {topic}-0\n", ""
    )
    assert elect("--election-type", "preferred", "--all-topic-partitions") == Run(0, "", "")


def test_partitions_of_a_file_one_of_which_is_missing(elect: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap)
    path = tmp_path / "partitions.json"
    listed = [{"topic": name, "partition": 0} for name in ("missing", topic)]
    path.write_text(json.dumps({"partitions": listed}))
    run = elect.process("--election-type", "unclean", "--path-to-json-file", str(path))
    assert (run.code, run.err) == (1, "1 replica(s) could not be elected\n")
    first, second = run.lines
    assert first == f"Valid replica already elected for partitions {topic}-0"
    assert second.startswith(
        "Error completing leader election (UNCLEAN) for partition: missing-0: "
        "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: "
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nonsense", "Replica election data is empty"),
        ("{}", 'Replica election data is missing "partitions" field'),
        (
            '{"partitions": [{"topic": "t", "partition": 0}, {"topic": "t", "partition": 0}]}',
            "Replica election data contains duplicate partitions: [t-0]",
        ),
        (None, "java.io.IOException: Unable to read file {path}"),
    ],
)
def test_files_that_are_wrong_are_told(elect: Command, tmp_path: Path, text: str | None, error: str) -> None:
    path = tmp_path / "partitions.json"
    if text is not None:
        path.write_text(text)
    run = elect("--election-type", "preferred", "--path-to-json-file", str(path))
    assert run == Run(1, "", error.replace("{path}", str(path)) + "\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--topic", "t", "--partition", "0"], "Missing required option(s): election-type"),
        (["--election-type", "preferred", "--topic", "t"], "Missing required option(s): partition"),
        (
            ["--election-type", "preferred"],
            "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file",
        ),
        (
            ["--election-type", "preferred", "--all-topic-partitions", "--partition", "1"],
            "Option partition is only allowed if topic is used",
        ),
        (["--election-type", "foo"], "Cannot parse argument 'foo' of option election-type"),
        (["--partition", "x"], "Cannot parse argument 'x' of option partition"),
    ],
)
def test_flags_that_make_no_sense_are_told(elect: Command, arguments: list[str], error: str) -> None:
    assert elect(*arguments) == Run(1, "", f"{error}\n")


def test_the_old_name_of_a_flag_is_warned_of(elect: Command, tmp_path: Path) -> None:
    config = tmp_path / "client.properties"
    config.write_text("client.id=x\n")
    run = elect("--election-type", "unclean", "--all-topic-partitions", "--admin.config", str(config))
    assert run == Run(
        0,
        "Option --admin.config has been deprecated and will be removed in a future version. Use --command-config "
        "instead.\n",
        "",
    )
