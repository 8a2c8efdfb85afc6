"""``kafka-broker-api-versions`` against one broker."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.broker_process import BrokerProcess
from tests.tools.command_runs import Command


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with BrokerProcess(tmp_path_factory.mktemp("broker")) as broker:
        broker.start()
        yield broker.bootstrap_server


def test_versions_are_listed_by_key(bootstrap: str) -> None:
    run = Command("broker_api_versions", bootstrap).process()
    assert (run.code, run.err) == (0, "")
    first, *lines, last = run.lines
    assert re.fullmatch(rf"{re.escape(bootstrap)} \(id: \d+ rack: null isFenced: false\) -> \(", first)
    assert last == ")"
    assert all(line.startswith("\t") for line in lines)
    assert [line.endswith(",") for line in lines] == [True] * (len(lines) - 1) + [False]
    rows = [line.strip("\t,") for line in lines]
    keys = [int(re.fullmatch(r"\w+\((\d+)\): .+", row)[1]) for row in rows]  # type: ignore[index]
    assert keys == sorted(keys)
    assert {
        "Produce(0): 0 to 13 [usable: 13]",
        "Metadata(3): 0 to 13 [usable: 13]",
        "ListPartitionReassignments(46): 0 [usable: 0]",
        "StreamsGroupHeartbeat(88): UNSUPPORTED",
    } <= set(rows)
    assert not [row for row in rows if row.startswith(("BrokerHeartbeat", "Vote"))]


def test_the_brokers_have_to_be_named() -> None:
    run = Command("broker_api_versions", None)("--command-config", "/no/file")
    assert (run.code, run.first_error) == (1, 'Missing required argument "[bootstrap-server]"')
