"""What two tools printed, side by side, after everything that may differ was reduced to what must be equal."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from fnmatch import fnmatchcase
from typing import Final, Protocol

from compat.commands.case import Case

STDOUT: Final = "stdout"
STDERR: Final = "stderr"


@dataclass(frozen=True)
class Outcome:
    """How one command line ended: ``exit_code`` is None where it had to be killed at the deadline."""

    exit_code: int | None
    stdout: str
    stderr: str

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str] | subprocess.TimeoutExpired) -> Outcome:
        code = done.returncode if isinstance(done, subprocess.CompletedProcess) else None
        return cls(code, str(done.stdout), str(done.stderr))


class Reduction(Protocol):
    """Turns a text into what must be the same on both sides."""

    def reduce(self, text: str) -> str: ...


@dataclass(frozen=True)
class Rule:
    """What is allowed to differ; ``cases`` are fnmatch patterns of the cases' identifiers.

    ``twins``: only where either tool has a state of its own.
    """

    reason: str
    how: Reduction
    cases: tuple[str, ...] = ("*",)
    streams: tuple[str, ...] = (STDOUT, STDERR)
    twins: bool = False

    def is_for(self, case: Case, stream: str) -> bool:
        is_meant = any(fnmatchcase(case.identifier, pattern) for pattern in self.cases)
        return is_meant and stream in self.streams and (case.twins or not self.twins)


@dataclass(frozen=True)
class Difference:
    """The lines of one stream that only one of the tools printed, or the exit codes.

    ``changed``: such lines, each with ``-`` (Apache Kafka's) or ``+`` (ours) before it; ``shown``: the same with a few
    lines around them, for readers.
    """

    command_line: str
    about: str
    changed: tuple[str, ...]
    shown: str


def reduced(rules: Sequence[Rule], case: Case, stream: str, text: str) -> str:
    """The text as the rules leave it, one after the other."""
    for rule in rules:
        if rule.is_for(case, stream):
            text = rule.how.reduce(text)
    return text


def differences(
    rules: Sequence[Rule], case: Case, command_line: str, theirs: Outcome, ours: Outcome
) -> list[Difference]:
    """All of them, of one command line."""
    found = []
    if theirs.exit_code != ours.exit_code or theirs.exit_code is None:
        changed = (f"-{_code(theirs)}", f"+{_code(ours)}")
        found.append(Difference(command_line, "exit code", changed, "\n".join(changed)))
    for stream in (STDOUT, STDERR):
        texts = [reduced(rules, case, stream, getattr(side, stream)) for side in (theirs, ours)]
        if texts[0] != texts[1]:
            found.append(_difference(command_line, stream, *texts))
    return found


def report(case: str, found: Sequence[Difference]) -> str:
    """For a reader: each command line with what differs, ``-`` Apache Kafka's and ``+`` kbroker's."""
    lines = [f"{case}: - is Apache Kafka's, + is kbroker's"]
    for command_line in dict.fromkeys(each.command_line for each in found):
        lines.append(f"$ {command_line}")
        for each in found:
            if each.command_line == command_line:
                lines.append(f"  {each.about}")
                lines += [f"    {line}" for line in each.shown.splitlines()]
    return "\n".join(lines)


def _code(outcome: Outcome) -> str:
    return "killed at the deadline" if outcome.exit_code is None else str(outcome.exit_code)


def _difference(command_line: str, stream: str, theirs: str, ours: str) -> Difference:
    _, _, *shown = (
        line for line in unified_diff(_lines(theirs), _lines(ours), n=2, lineterm="") if line[:2] != "@@"
    )
    changed = tuple(line for line in shown if line[0] in "-+")
    return Difference(command_line, stream, changed, "\n".join(shown))


def _lines(text: str) -> list[str]:
    """Lines of which the last one tells whether anything ended it."""
    *lines, last = text.split("\n")
    return [*lines, f"{last} (no end of line)"] if last else lines
