"""What a reset reads and writes, in Jackson's ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbroker.tools.failures import CommandError
from kbroker.tools.offset_resets import csv_cell, read_plan


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("topic-1", "topic-1"),
        ("t" * 24, "t" * 24),
        ("t" * 25, f'"{"t" * 25}"'),
        ("a,b", '"a,b"'),
        ('a"b', '"a""b"'),
        ("a b", '"a b"'),
    ],
)
def test_cells_of_an_export(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


def test_an_export_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_text(f"{csv_cell('t' * 30)},1,2\n")
    assert read_plan(str(path), ["g"]) == {"g": {("t" * 30, 1): 2}}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "absent.csv"
    with pytest.raises(CommandError, match=f"java.io.IOException: Unable to read file {path}"):
        read_plan(str(path), ["g"])
