"""The client processes of a run: started, killed, paused, started again as another life."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.broker_process import REPOSITORY, die_with_parent
from tests.chaos.clients.client import FATAL, FENCED, HUNG, Assignment
from tests.chaos.clients.transformer import INPUT, OUTPUTS

PLAIN = "plain"
TOPICS = {PLAIN: 6, INPUT: 4, **dict.fromkeys(OUTPUTS, 4)}
_END_DEADLINE_S = 150.0


@dataclass(slots=True)
class _Life:
    assignment: Assignment
    process: subprocess.Popen[bytes]


@dataclass
class Workshop:
    """``directory`` gets the histories, the findings and what clients print, one file for each life.

    gave_up: how often clients ended by themselves, by the error that they could not go on with.
    """

    bootstrap_servers: str
    directory: Path
    chance: random.Random
    debug: str = ""
    findings: list[str] = field(default_factory=list)
    gave_up: Counter[str] = field(default_factory=Counter)
    _plans: dict[str, Assignment] = field(default_factory=dict)
    _running: dict[str, _Life] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._plans)

    def hire(
        self, role: str, name: str, topics: dict[str, int], *, rate: float = 0.0, isolation: str = ""
    ) -> None:
        """A client from now on, over all its lives."""
        self._plans[name] = Assignment(
            role=role,
            name=name,
            life=0,
            bootstrap_servers=self.bootstrap_servers,
            history="",
            topics=topics,
            seed=0,
            rate=rate,
            isolation=isolation,
            debug=self.debug,
        )
        self.start(name)

    def hire_everybody(self, rate: float) -> None:
        """The workload; ``rate`` in records per second over all producers."""
        numbers, plain = {INPUT: TOPICS[INPUT]}, {PLAIN: TOPICS[PLAIN]}
        outputs = {topic: TOPICS[topic] for topic in OUTPUTS}
        for number in range(2):
            self.hire("producer", f"producer-{number}", plain, rate=rate / 3)
        self.hire("producer", "filler", numbers, rate=rate / 3)
        for number in range(2):
            self.hire("transformer", f"transformer-{number}", outputs)
            self.hire("member", f"member-{number}", plain)
        self.hire("reader", "reader-uncommitted", {**plain, **outputs}, isolation="read_uncommitted")
        self.hire("reader", "reader-committed", {**numbers, **outputs}, isolation="read_committed")

    def start(self, name: str) -> None:
        """The next life of a client."""
        last = self._plans[name]
        life = last.life + 1
        assignment = replace(
            last,
            life=life,
            history=str(self.directory / f"{name}.{life}.history"),
            seed=self.chance.randrange(1 << 30),
        )
        self._plans[name] = assignment
        line = [sys.executable, "-m", "tests.chaos.clients", assignment.to_json()]
        with (self.directory / f"{name}.{life}.output").open("wb") as output:
            process = subprocess.Popen(
                [*die_with_parent(), *line],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._running[name] = _Life(assignment, process)

    def kill(self, name: str) -> None:
        life = self._running.pop(name)
        life.process.kill()
        life.process.wait()

    def pause(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        if name in self._running:
            self._running[name].process.send_signal(number)

    def restart_ended(self) -> None:
        """A client that gave up is started again, as a service manager would."""
        for name, life in list(self._running.items()):
            if life.process.poll() is not None:
                self._judge(life)
                self.start(name)

    def dismiss(self, *roles: str) -> None:
        """Ask all clients of these roles to end in good order, and wait until they have."""
        leaving = {name: life for name, life in self._running.items() if life.assignment.role in roles}
        for life in leaving.values():
            life.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_DEADLINE_S
        for name, life in leaving.items():
            del self._running[name]
            try:
                life.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.findings.append(
                    f"{life.assignment.process} does not end {_END_DEADLINE_S:.0f} s after SIGTERM"
                )
                life.process.kill()
                life.process.wait()
            else:
                self._judge(life)

    def _judge(self, life: _Life) -> None:
        code = life.process.returncode
        output = Path(life.assignment.history).with_suffix(".output").read_text(errors="replace")
        if code == HUNG:
            self.gave_up["hung in librdkafka"] += 1
        elif code in (FENCED, FATAL):
            told = re.findall(r"^[\d.]+ ended: .*?\bcode=(\w+)", output, re.MULTILINE)
            self.gave_up[told[-1] if told else f"exit code {code}"] += 1
        elif code != 0:
            self.findings.append(f"{life.assignment.process} ended with {code}:\n{output[-2000:]}")

    def close(self) -> None:
        """End all by force."""
        for name in list(self._running):
            self.kill(name)

    @property
    def histories(self) -> list[Path]:
        return sorted(self.directory.glob("*.history"))

    def all_findings(self) -> list[str]:
        """What was wrong with clients, as seen from outside and by themselves."""
        told = [
            line
            for path in sorted(self.directory.glob("*.findings"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [*self.findings, *told]
