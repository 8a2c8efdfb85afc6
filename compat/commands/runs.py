"""The running of a case: its lines, by Apache Kafka's tool and by ours, and everything in which they differ."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from compat.commands.allowed import RULES
from compat.commands.case import DEADLINE_S, Case, Given, Line, Observation
from compat.commands.comparison import Difference, Outcome, differences
from compat.commands.scene import OURS, THEIRS, Broker, Scene

T = TypeVar("T")
_AFTERWARDS: Final = "then, by Apache Kafka's tool: "


class Runner(Protocol):
    """Runs a tool, named as its script, to its end."""

    def run(
        self, tool: str, arguments: Sequence[str], *, stdin: str, deadline_s: float
    ) -> subprocess.CompletedProcess[str]: ...


@dataclass
class Stage:
    """What cases share: either side's tools, the broker (None where there is none), and the states made so far."""

    theirs: Runner
    ours: Runner
    broker: Broker | None
    directory: Path
    token: str = ""
    """Begins all names, where the broker may have seen another run."""
    _shared: dict[Given, Scene] = field(default_factory=dict)
    _failed: set[Given] = field(default_factory=set)

    def differences(self, case: Case) -> list[Difference]:
        """Run the case, and compare."""
        theirs, ours = self._twins(case) if case.twins else (self._shared_scene(case),) * 2
        found = []
        for line in case.lines:
            command_line = f"{line.tool} {theirs.fill(line.words)}"
            run = partial(_outcome, self.theirs, theirs, line), partial(_outcome, self.ours, ours, line)
            outcomes = (run[0](), run[1]()) if case.alone else _at_once(*run)
            found += differences(RULES, case, command_line, *outcomes)
            if case.twins and self.broker is not None:
                self.broker.settle()
        for each in case.after:
            if isinstance(each, Line):
                command_line = f"{_AFTERWARDS}{each.tool} {theirs.fill(each.words)}"
                outcomes = _outcome(self.theirs, theirs, each), _outcome(self.theirs, ours, each)
            else:
                command_line = f"then, {each.__name__}"
                outcomes = _at_once(partial(_seen, each, theirs), partial(_seen, each, ours))
            found += differences(RULES, case, command_line, *outcomes)
        return found

    def _twins(self, case: Case) -> tuple[Scene, Scene]:
        def make(twin: str) -> Scene:
            scene = self._scene(f"{case.tool}-{case.slug}", twin)
            scene.write(case.files)
            if case.given is not None:
                case.given(scene)
            return scene

        return _at_once(partial(make, THEIRS), partial(make, OURS))

    def _shared_scene(self, case: Case) -> Scene:
        """The scene of everybody who only looks at this state."""
        scene = self._made_once(case)
        scene.write(case.files)
        return scene

    def _made_once(self, case: Case) -> Scene:
        if case.given is None:
            return self._scene(f"{case.tool}-{case.slug}", THEIRS)
        assert case.given not in self._failed, (
            "the state could not be made, see the first case that has failed"
        )
        if case.given not in self._shared:
            scene = self._scene(case.given.__name__.replace("_", "-"), THEIRS)
            self._failed.add(case.given)
            case.given(scene)
            self._failed.remove(case.given)
            self._shared[case.given] = scene
        return self._shared[case.given]

    def _scene(self, name: str, twin: str) -> Scene:
        return Scene(f"{self.token}{name}", twin, self.directory / name, self.broker)


def _at_once(first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """Both results. The first runs in this thread, since a Java process is to die with it."""
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(second)
        return first(), running.result()


def _seen(observation: Observation, scene: Scene) -> Outcome:
    return Outcome(0, scene.plain(observation(scene)), "")


def _outcome(runner: Runner, scene: Scene, line: Line) -> Outcome:
    try:
        done = runner.run(
            line.tool, scene.words(line.words), stdin=scene.fill(line.stdin), deadline_s=DEADLINE_S
        )
        outcome = Outcome.of(done)
    except subprocess.TimeoutExpired as late:
        outcome = Outcome.of(late)
    return Outcome(outcome.exit_code, scene.plain(outcome.stdout), scene.plain(outcome.stderr))
