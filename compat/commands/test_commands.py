"""Every command line, run by Apache Kafka's tool and by kbroker's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from compat.commands.case import Case
from compat.commands.cases import ALL_CASES
from compat.commands.comparison import Difference, report
from compat.commands.known import KNOWN, known_of, unexpected
from compat.commands.our_commands import COMMANDS, OurCommands
from compat.commands.runs import Stage

Property = Callable[[str, object], None]


class KnownDifferenceError(AssertionError):
    """All that differs is known to."""


def _parameters(*, offline: bool) -> Iterable[object]:
    return [
        pytest.param(case, id=f"{case.tool}-{case.slug}") for case in ALL_CASES if case.offline == offline
    ]


@pytest.mark.parametrize("tool", COMMANDS)
def test_an_installed_script_says_what_its_fork_says(tool: str, our_commands: OurCommands) -> None:
    """The fork server's word is taken for all else; the script beside this Python is what users start."""
    script = Path(sys.executable).with_name(tool)
    flag = "--help" if tool == "kafka-producer-perf-test" else "--version"
    installed = subprocess.run([script, flag], capture_output=True, text=True, timeout=60, check=False)
    forked = our_commands.run(tool, [flag], deadline_s=60)
    assert (installed.returncode, installed.stdout, installed.stderr) == (
        forked.returncode,
        forked.stdout,
        forked.stderr,
    )


def test_every_command_has_cases() -> None:
    assert {case.tool for case in ALL_CASES} == set(COMMANDS)


def test_known_differences_are_of_cases() -> None:
    assert {entry.case for entry in KNOWN} <= {case.identifier for case in ALL_CASES}


@pytest.mark.parametrize("case", _parameters(offline=True))
def test_what_needs_no_broker(
    case: Case, offstage: Stage, request: pytest.FixtureRequest, record_property: Property
) -> None:
    _judge(case, "", offstage, request, record_property)


@pytest.mark.parametrize("case", _parameters(offline=False))
def test_what_a_broker_is_asked(
    target: str, case: Case, stage: Stage, request: pytest.FixtureRequest, record_property: Property
) -> None:
    _judge(case, target, stage, request, record_property)


def _judge(
    case: Case, target: str, stage: Stage, request: pytest.FixtureRequest, record_property: Property
) -> None:
    record_property("command", case.tool)
    record_property("command_lines", len(case.lines))
    known = known_of(case, target)
    if known:
        reason = "; ".join(entry.reason for entry in known)
        request.applymarker(pytest.mark.xfail(strict=True, raises=KnownDifferenceError, reason=reason))
    found: list[Difference] = stage.differences(case)
    record_property("command_lines_differing", len({each.command_line for each in found}))
    if found:
        text = report(case.identifier, found)
        if known and not unexpected(found, known):
            raise KnownDifferenceError(text)
        pytest.fail(text, pytrace=False)
