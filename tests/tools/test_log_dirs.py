"""``kafka-log-dirs`` against a cluster of three."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.tools.command_runs import Command, Run, new_topic, produce, three_brokers


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with three_brokers(tmp_path_factory.mktemp("brokers")) as server:
        yield server


@pytest.fixture
def log_dirs(bootstrap: str) -> Command:
    return Command("log_dirs", bootstrap)


def test_directories_are_described_in_one_line_of_json(log_dirs: Command, bootstrap: str) -> None:
    topic = new_topic(bootstrap, "--replica-assignment", "1:3,3:1")
    other = new_topic(bootstrap, "--replica-assignment", "1:2")
    produce(bootstrap, topic, partition=0, timestamps_ms=[1, 2])
    run = log_dirs.process("--describe", "--broker-list", "3,1", "--topic-list", topic)
    assert (run.code, run.err) == (0, "")
    first, second, text = run.lines
    assert first == "Querying brokers for log directories information"
    assert second == "Received log directory information from brokers 1,3"
    assert text.startswith(
        '{"brokers":[{"broker":1,"logDirs":[{"partitions":[{"partition":"' + topic + '-0","size":'
    )
    found = json.loads(text)
    assert found["version"] == 1
    for broker in found["brokers"]:
        (directory,) = broker["logDirs"]
        assert list(directory) == ["partitions", "error", "logDir"]
        assert directory["error"] is None
        names = [one["partition"] for one in directory["partitions"]]
        assert names == [f"{topic}-0", f"{topic}-1"]
        sizes = {one["partition"]: one["size"] for one in directory["partitions"]}
        assert sizes[f"{topic}-0"] > 0
        assert sizes[f"{topic}-1"] == 0
        assert [one["isFuture"] for one in directory["partitions"]] == [False, False]
    everything = log_dirs("--describe").lines
    assert everything[1] == "Received log directory information from brokers 1,2,3"
    assert f'"{other}-0"' in everything[2]


def test_brokers_that_are_not_there_are_told(log_dirs: Command) -> None:
    assert log_dirs("--describe", "--broker-list", "1,9") == Run(
        1,
        "",
        "ERROR: The given brokers do not exist from --broker-list: 9. Current existent brokers: 1,2,3\n",
    )
    assert log_dirs("--describe", "--broker-list", "x") == Run(1, "", 'For input string: "x"\n')


def test_it_has_to_be_said_what_to_do(log_dirs: Command) -> None:
    run = log_dirs()
    assert (run.code, run.out, run.first_error) == (1, "", 'Missing required argument "[describe]"')
