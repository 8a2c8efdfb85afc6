"""Every case at every version: the same exchange with Apache Kafka and with the judged broker."""

from __future__ import annotations

import pytest

from compat.wire.allowed import RULES
from compat.wire.case import Case
from compat.wire.cases import ALL_CASES
from compat.wire.comparison import Comparison, report
from compat.wire.known import known_of, unexpected
from compat.wire.scene import Side


class KnownDifferenceError(AssertionError):
    """All that differs is known to."""


def _parameters() -> list[object]:
    parameters: list[object] = []
    for case in ALL_CASES:
        for version in case.at():
            known = known_of(case, version)
            reason = "; ".join(entry.reason for entry in known)
            marks = (
                [pytest.mark.xfail(strict=True, raises=KnownDifferenceError, reason=reason)] if known else []
            )
            name = f"{case.api_name}-{case.name.replace(' ', '_')}-v{version}"
            parameters.append(pytest.param(case, version, id=name, marks=marks))
    return parameters


@pytest.mark.parametrize(("case", "version"), _parameters())
def test_answers_are_the_same(sides: tuple[Side, Side], run_token: str, case: Case, version: int) -> None:
    theirs, ours = case.run_on(sides, version, f"{run_token}{ALL_CASES.index(case):04}")
    assert theirs.exchanges, "the case asks nothing"
    differences = Comparison(RULES, case.identifier, theirs, ours).differences()
    known = known_of(case, version)
    if differences:
        text = report(case.identifier, version, differences, theirs, ours)
        if known and not unexpected(differences, known):
            raise KnownDifferenceError(text)
        pytest.fail(text, pytrace=False)
