"""Sizes, counts and times as people write and read them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from kbroker.prompt.quantities import (
    count_text,
    counted,
    duration_text,
    parse_duration_ms,
    parse_moment_ms,
    size_text,
)


@pytest.fixture
def two_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock in the zone UTC+2."""
    monkeypatch.setitem(os.environ, "TZ", "XXX-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (102_297, "99.9 KiB"),
        (102_400, "100 KiB"),
        (1_048_575, "1.0 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**63, "8.0 EiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_counts() -> None:
    assert count_text(1_234_567) == "1,234,567"
    assert counted(1, "record") == "1 record"
    assert counted(2_000, "record") == "2,000 records"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0 ms"),
        (250, "250 ms"),
        (60_000, "1 min"),
        (5_400_000, "1 h 30 min"),
        (604_800_000, "7 d"),
        (90_061_001, "1 d 1 h"),
    ],
)
def test_durations(duration: int, text: str) -> None:
    assert duration_text(duration) == text


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("10m", 600_000),
        ("500ms", 500),
        ("1h30m", 5_400_000),
        ("1.5s", 1_500),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
    ],
)
def test_durations_are_read(text: str, duration: int) -> None:
    assert parse_duration_ms(text) == duration


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "10x", "-10m", "10m5"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_ms(text)


@pytest.mark.usefixtures("two_hours_east")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("@1700000000", 1_700_000_000_000),
        ("@1700000000123", 1_700_000_000_123),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T22:13:20.5+00:00", 1_700_000_000_500),
        ("2023-11-15T00:13:20", 1_700_000_000_000),  # without a zone it is local
        ("2023-11-15", 1_699_999_200_000),
    ],
)
def test_moments_are_read(text: str, moment: int) -> None:
    assert parse_moment_ms(text) == moment


@pytest.mark.parametrize("text", ["", "@", "@-5", "yesterday", "2023-13-01", "10:30"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_moment_ms(text)
