"""A few kills with transactions in every test run, and planted faults that must be found; ``make kill`` has more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill.transactions.checker import anomalies
from tests.kill.transactions.run import Plan, faulty_command, run


@pytest.mark.slow
@pytest.mark.kill
def test_output_is_the_input_exactly_once(tmp_path: Path) -> None:
    history = run(Plan(kills=3, seed=2026, pause_s=(0.5, 2.0)), tmp_path / "data")
    assert len(history.committed) > 5
    assert len(history.input.log) > 300
    assert anomalies(history) == []


@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.parametrize(
    ("fault", "finding"),
    [("aborts-commit", "aborted: "), ("offsets-are-committed-anyway", "missing: ")],
)
def test_a_planted_fault_is_found(fault: str, finding: str, tmp_path: Path) -> None:
    plan = Plan(kills=1, seed=7, command=faulty_command(fault), pause_s=(3.0, 3.0), settle_deadline_s=10.0)
    found = anomalies(run(plan, tmp_path / "data"))
    assert any(line.startswith(finding) for line in found), found
