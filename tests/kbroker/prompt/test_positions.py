"""Positions as people say them."""

from __future__ import annotations

import time

import pytest

from kbroker.prompt.positions import End, Extent, Moment, Offset, Position, Start, parse_position


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Start()),
        ("Start", Start()),
        ("latest", End()),
        ("end", End()),
        ("0", Offset(0)),
        ("1041", Offset(1041)),
        ("-100", End(100)),
        ("@1700000000000", Moment(1_700_000_000_000)),
        ("2023-11-14T22:13:20Z", Moment(1_700_000_000_000)),
    ],
)
def test_positions(text: str, position: Position) -> None:
    assert parse_position(text) == position


def test_so_long_ago() -> None:
    before = time.time_ns() // 1_000_000
    position = parse_position("-10m")
    after = time.time_ns() // 1_000_000
    assert isinstance(position, Moment)
    assert before <= position.timestamp_ms + 600_000 <= after


@pytest.mark.parametrize("text", ["", "now", "+5", "--5", "1,041", "10m", "-5x"])
def test_what_is_no_position_is_told_with_what_would_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="is no position; say earliest, latest"):
        parse_position(text)


@pytest.mark.parametrize(("offset", "clamped"), [(0, 3), (3, 3), (5, 5), (7, 7), (8, 7)])
def test_offsets_are_kept_inside(offset: int, clamped: int) -> None:
    assert Extent(3, 7).clamp(offset) == clamped
