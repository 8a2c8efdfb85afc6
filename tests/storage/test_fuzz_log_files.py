"""A few seeds of `fuzz_log_files` in every run; `python -m tests.storage.fuzz_log_files` has more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.fuzz_log_files import run_seed


@pytest.mark.parametrize("first", [0, 500])
def test_damaged_files(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 40):
        run_seed(seed, tmp_path / str(seed))


@pytest.mark.slow
def test_more_damaged_files(tmp_path: Path) -> None:
    # The first ones are those that once found something.
    for seed in (
        180,
        386,
        775,
        1106,
        1148,
        1154,
        1213,
        1354,
        2244,
        15541,
        3918,
        3970,
        4375,
        5034,
        6659,
        *range(2000, 2300),
    ):
        run_seed(seed, tmp_path / str(seed))
