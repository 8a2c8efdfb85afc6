"""Every command line, run by Apache Kafka's tool and by kbroker's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from compat.commands.case import Case
from compat.commands.cases import ALL_CASES
from compat.commands.comparison import Difference, report
from compat.commands.known import known_of, unexpected
from compat.commands.runs import Stage

Property = Callable[[str, object], None]


class KnownDifferenceError(AssertionError):
    """All that differs is known to."""


def _parameters(*, offline: bool) -> Iterable[object]:
    return [
        pytest.param(case, id=f"{case.tool}-{case.slug}") for case in ALL_CASES if case.offline == offline
    ]


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
    record_property("command_lines", len(case.lines))
    known = known_of(case, target)
    if known:
        reason = "; ".join(entry.reason for entry in known)
        request.applymarker(pytest.mark.xfail(strict=True, raises=KnownDifferenceError, reason=reason))
    found: list[Difference] = stage.differences(case)
    if found:
        text = report(case.identifier, found)
        if known and not unexpected(found, known):
            raise KnownDifferenceError(text)
        pytest.fail(text, pytrace=False)
