"""The harness finds what is wrong, and a short run with faults is clean; ``make chaos`` runs longer."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import etcd_process
from tests.anomalies.history import (
    FinalRead,
    HistoryFile,
    Operation,
    Poll,
    Record,
    Send,
    Transaction,
    read_history,
)
from tests.broker_process import REPOSITORY
from tests.chaos import network
from tests.chaos.availability import Acknowledgements, summary
from tests.chaos.clients.client import Assignment
from tests.chaos.replicas import differences
from tests.chaos.run import Outcome, check_again
from tests.chaos.workshop import Workshop

MISSING = network.missing() or etcd_process.MISSING


def sends(*ended: float, partition: int = 0) -> list[Operation]:
    return [
        Send(
            process="p",
            begun=at - 0.1,
            ended=at,
            topic="t",
            partition=partition,
            value=f"{partition}:{at}",
            outcome="ok",
            producer="p",
            sequence=number,
            offset=number,
        )
        for number, at in enumerate(ended)
    ]


def final(history: list[Operation]) -> FinalRead:
    records = [
        Record(each.topic, each.partition, each.offset or 0, each.value)
        for each in history
        if isinstance(each, Send)
    ]
    return FinalRead(
        topic="t",
        partition=0,
        isolation="read_uncommitted",
        records=tuple(records),
        log_start=0,
        end=len(records),
        high_watermark=len(records),
    )


def keep(directory: Path, *operations: Operation) -> Path:
    """What a run leaves in its directory."""
    (directory / "clients").mkdir()
    with HistoryFile(directory / "clients" / "one.history") as file:
        file.write(*operations)
    return directory


def test_an_anomaly_in_kept_histories_makes_the_outcome_red(tmp_path: Path) -> None:
    history = sends(1.0, 2.0, 3.0)
    lost = replace(final(history), records=final(history).records[:2], end=2, high_watermark=2)
    outcome = check_again(keep(tmp_path, *history, lost))
    assert not outcome.clean
    assert "lost write: 1" in outcome.text()
    assert "'0:3.0' was acknowledged and is not in t-0 at the end" in outcome.text()


def test_the_command_ends_with_1_on_an_anomaly_and_with_0_without(tmp_path: Path) -> None:
    history = sends(1.0, 2.0)
    clean, red = tmp_path / "clean", tmp_path / "red"
    for directory in (clean, red):
        directory.mkdir()
    keep(clean, *history, final(history))
    keep(red, *history, *sends(9.0), final(history))
    assert command("--check", str(clean)).returncode == 0
    found = command("--check", str(red))
    assert found.returncode == 1
    assert "inconsistent offset: 1" in found.stdout


def command(*arguments: str, deadline_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )


def until(condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_finding_beside_the_history_is_red_too() -> None:
    assert Outcome().clean
    outcome = Outcome(findings=["no progress"])
    assert not outcome.clean
    assert "found: no progress" in outcome.text()


def test_outages_are_of_the_worst_partition_within_the_window() -> None:
    acknowledged = Acknowledgements(
        [*sends(0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 10.0), *sends(0.0, 5.0, 10.0, partition=1)]
    )
    assert acknowledged.longest_outage(0.0, 4.0).seconds == 4.0
    assert acknowledged.longest_outage(0.0, 4.0).partition == ("t", 1)
    assert acknowledged.longest_outage(3.0, 10.0).seconds == 5.0
    assert acknowledged.longest_outage(4.5, 8.5).seconds == 4.0
    assert acknowledged.longest_outage(20.0, 21.0).seconds == 1.0


def test_what_is_not_acknowledged_is_no_availability() -> None:
    unanswered = [replace(each, outcome="unknown") for each in sends(1.0, 2.0, 3.0) if isinstance(each, Send)]
    acknowledged = Acknowledgements([*sends(0.0, 4.0), *unanswered])
    assert acknowledged.longest_outage(0.0, 4.0).seconds == 4.0


def test_the_summary_counts() -> None:
    transaction = Transaction(id="t", process="p", begun=0, ended=1, outcome="committed")
    poll = Poll(process="r", begun=0, ended=1, isolation="read_committed", records=(Record("t", 0, 0, "v"),))
    text = summary([*sends(1.0, 2.0), transaction, poll], seconds=2.0)
    assert "sends: 2 (2 ok), 1 acknowledged a second" in text
    assert "transactions: 1 (1 committed)" in text
    assert "polls: 1 with 1 records" in text


def replica(directory: Path, *segments: bytes) -> Path:
    partition = directory / "t-0"
    partition.mkdir(parents=True)
    for number, content in enumerate(segments):
        (partition / f"{number:020}.log").write_bytes(content)
    return directory


def test_replicas_are_compared_over_their_segments(tmp_path: Path) -> None:
    dirs = [
        replica(tmp_path / "1", b"abc", b"def"),
        replica(tmp_path / "2", b"abcdef"),
        replica(tmp_path / "3", b"ab", b"cdef"),
    ]
    assert list(differences(dirs, {"t": 1}, 3)) == []
    (tmp_path / "2" / "t-0" / f"{0:020}.log").write_bytes(b"abcxef")
    (found,) = differences(dirs, {"t": 1}, 3)
    assert found.endswith("from byte 3 on")
    (tmp_path / "2" / "t-0" / f"{0:020}.log").write_bytes(b"abcd")
    (found,) = differences(dirs, {"t": 1}, 3)
    assert found.endswith("from byte 4 on")


def test_a_replica_that_is_not_there_is_told(tmp_path: Path) -> None:
    (found,) = differences([replica(tmp_path / "1", b"abc"), tmp_path / "2"], {"t": 1}, 2)
    assert found.startswith("t-0 has 1 replicas on disk")
    (found,) = differences([tmp_path / "2"], {"t": 1}, 2)
    assert found.startswith("t-0 has 0 replicas on disk")


def test_an_assignment_survives_its_line() -> None:
    assignment = Assignment("reader", "r", 3, "h:1", "/somewhere/r.3.history", {"t": 2}, 7)
    assert Assignment.from_json(assignment.to_json()) == assignment
    assert assignment.partitions == [("t", 0), ("t", 1)]
    assert assignment.findings_path == Path("/somewhere/r.3.findings")


def has_lines(path: Path) -> bool:
    return path.exists() and "\n" in path.read_text()


@pytest.mark.slow
def test_clients_are_killed_paused_restarted_and_dismissed(tmp_path: Path) -> None:
    """Without any broker: what a producer sends is recorded as unknown from its beginning."""
    workshop = Workshop("127.0.0.1:1", tmp_path, random.Random(1))
    try:
        workshop.hire("producer", "p", {"t": 1}, rate=200.0)
        until(lambda: has_lines(tmp_path / "p.1.history"))
        workshop.pause("p")
        workshop.resume("p")
        workshop.kill("p")
        workshop.start("p")
        until(lambda: has_lines(tmp_path / "p.2.history"))
        assert workshop.names == ("p",)
    finally:
        workshop.close()
    history = read_history(workshop.histories)
    assert {each.process for each in history if isinstance(each, Send)} == {"p.1", "p.2"}
    assert {each.outcome for each in history if isinstance(each, Send)} == {"unknown"}
    assert workshop.all_findings() == []


@pytest.mark.slow
def test_a_client_that_gave_up_is_restarted_and_one_that_broke_is_told(tmp_path: Path) -> None:
    workshop = Workshop("127.0.0.1:1", tmp_path, random.Random(1))
    try:
        workshop.hire("no such role", "broken", {"t": 1})

        def told() -> bool:
            workshop.restart_ended()
            return bool(workshop.findings)

        until(told)
        assert workshop.all_findings()[0].startswith("broken.1 ended with 1")
        assert (tmp_path / "broken.2.output").exists()
    finally:
        workshop.close()


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
@pytest.mark.slow
@pytest.mark.chaos
def test_a_cluster_survives_a_minute_of_faults(tmp_path: Path) -> None:
    done = command(*("--minutes", "0.5", "--seed", "2026", "--keep", str(tmp_path / "run")), deadline_s=600.0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no anomalies" in done.stdout
