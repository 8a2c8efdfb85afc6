"""A chaos run from the first process to the verdict.

The seed decides what is done to whom and when, and what clients are like; what they and the kernel make of it is not
in our hands.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.anomalies.checker import Anomaly, check, report
from tests.anomalies.history import Operation, read_history
from tests.chaos import availability
from tests.chaos.aftermath import Aftermath
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.faults import Kind, blows
from tests.chaos.nemesis import Event, Nemesis
from tests.chaos.network import Network
from tests.chaos.replicas import differences
from tests.chaos.workshop import TOPICS, Workshop

SESSION_TIMEOUTS_MS = (3_000, 3_000, 6_000, 9_000)
_WARM_UP_S = 5.0
_LOOK_S = 0.5
_STOP_S = 60.0
_FINDING_CHARACTERS_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: of faults; starting up and reading everything at the end come on top."""

    seed: int
    seconds: float
    directory: Path
    shape: Shape
    rate: float = 120.0
    kinds: Sequence[Kind] = tuple(Kind)
    client_debug: str = ""


@dataclass
class Outcome:
    """What a run found. findings: what is wrong beside the history; times in seconds."""

    anomalies: list[Anomaly] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.anomalies or self.findings)

    def text(self) -> str:
        """The report."""
        findings = [f"found: {finding[-_FINDING_CHARACTERS_MAX:]}" for finding in self.findings]
        return "\n".join([*self.lines, *findings, report(self.anomalies)])


def run(plan: Plan) -> Outcome:
    """Carry out the plan. It must be called in a namespace of the process's own (``network``)."""
    chance = random.Random(plan.seed)
    outcome = Outcome()
    with Network() as network, Cluster(network, plan.directory / "cluster", plan.shape) as cluster:
        workshop = Workshop(
            cluster.bootstrap_servers,
            plan.directory / "clients",
            random.Random(chance.random()),
            plan.client_debug,
        )
        aftermath = Aftermath(cluster.bootstrap_servers, workshop.directory / "aftermath.history")
        replication_factor = plan.shape.replication_factor
        nemesis = Nemesis(cluster, workshop, lambda: not aftermath.not_in_sync(replication_factor))
        try:
            cluster.start()
            aftermath.create_topics(replication_factor)
            workshop.hire_everybody(plan.rate)
            _wait(_WARM_UP_S, nemesis)
            began = time.monotonic()
            _strike(plan, chance, nemesis)
            seconds = time.monotonic() - began
            _settle(aftermath, workshop, nemesis, replication_factor, outcome)
            outcome.findings += _stop(cluster, plan, in_sync=not aftermath.findings)
        finally:
            workshop.close()
            aftermath.close()
        outcome.findings += [*nemesis.findings, *workshop.all_findings(), *aftermath.findings]
        history = read_history(workshop.histories)
    gave_up = ", ".join(f"{count} {reason}" for reason, count in sorted(workshop.gave_up.items()))
    outcome.lines.append(f"clients that gave up and were started again: {gave_up or 'none'}")
    outcome.lines += [availability.summary(history, seconds), *_outages(history, nemesis.events)]
    outcome.anomalies = check(history)
    return outcome


def _strike(plan: Plan, chance: random.Random, nemesis: Nemesis) -> None:
    end = time.monotonic() + plan.seconds
    for quiet_s, faults in blows(chance, nemesis.victims, plan.kinds):
        if time.monotonic() + quiet_s > end:
            break
        _wait(quiet_s, nemesis)
        event = nemesis.strike(faults)
        print(f"{event.began - end + plan.seconds:7.1f} s  {event}", flush=True)


def _wait(seconds: float, nemesis: Nemesis) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))
        nemesis.look_after_processes()


def _settle(
    aftermath: Aftermath, workshop: Workshop, nemesis: Nemesis, replication_factor: int, outcome: Outcome
) -> None:
    """Everything is healed: it goes on within a minute, everybody reaches the end, and everything is read."""
    healed = time.monotonic()
    progress_s = aftermath.await_progress()
    outcome.lines.append(f"healed: every partition acknowledges after {progress_s:.1f} s")
    nemesis.look_after_processes()
    aftermath.await_all_in_sync(replication_factor)
    outcome.lines.append(f"healed: every replica in sync after {time.monotonic() - healed:.1f} s")
    workshop.dismiss("producer")
    aftermath.await_consumed(nemesis.look_after_processes)
    workshop.dismiss("transformer", "member")
    workshop.dismiss("reader")
    aftermath.read_everything()
    outcome.lines.append(f"healed: everything consumed and read after {time.monotonic() - healed:.1f} s")


def _stop(cluster: Cluster, plan: Plan, *, in_sync: bool) -> list[str]:
    """Brokers end in good order, and their replicas are the same where they were in sync."""
    found = []
    for broker in cluster.brokers:
        try:
            code = broker.process.terminate(deadline_s=_STOP_S)
        except subprocess.TimeoutExpired:
            found.append(f"{broker.name} did not end within {_STOP_S:.0f} s:\n{broker.log_tail()}")
            continue
        if code != 0:
            found.append(f"{broker.name} ended with {code}:\n{broker.log_tail()}")
    if in_sync:
        data_dirs = [broker.data_dir for broker in cluster.brokers]
        found += differences(data_dirs, TOPICS, plan.shape.replication_factor)
    for broker in cluster.brokers:
        log = broker.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in log:
            found.append(f"{broker.name} logged an exception:\n{log[log.index('Traceback') :][:3_000]}")
    return found


def _outages(history: Sequence[Operation], events: Sequence[Event]) -> list[str]:
    """The longest unavailability after each blow, until the next one."""
    acknowledgements = availability.Acknowledgements(history)
    lines = ["longest time without an acknowledgement by some partition, after each blow:"]
    for event, following in zip(events, [*events[1:], None], strict=True):
        assert event.undone is not None
        # After the last one, producers stop at some time: what it did shows in the progress after healing.
        end = event.undone if following is None else following.began
        outage = acknowledgements.longest_outage(event.began, end)
        place = f"{outage.partition[0]}-{outage.partition[1]}" if outage.partition else "-"
        lines.append(f"  {outage.seconds:5.1f} s of {end - event.began:5.1f} s  {place:10}  {event}")
    return lines


def check_again(directory: Path) -> Outcome:
    """The checker on the histories that an earlier run kept."""
    return Outcome(anomalies=check(read_history(sorted((directory / "clients").glob("*.history")))))
