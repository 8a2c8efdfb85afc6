"""A few kills in every test run; ``make kill`` has more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill.checker import anomalies
from tests.kill.run import Plan, run


@pytest.mark.slow
@pytest.mark.kill
def test_nothing_acknowledged_is_lost_duplicated_or_reordered_by_kills(tmp_path: Path) -> None:
    history = run(Plan(kills=5, seed=2026), tmp_path / "data")
    assert len(history.acknowledged) > 1000
    assert anomalies(history) == []
