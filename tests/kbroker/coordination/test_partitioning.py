"""Which partition an id belongs to; the expected numbers are Java's."""

from __future__ import annotations

import pytest

from kbroker.coordination.partitioning import java_string_hash, partition_for


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("my-group", -1906497762),
        ("polygenelubricants", -2147483648),
        ("\u00e9", 233),
        ("\N{GRINNING FACE}", 1772899),
    ],
)
def test_hash(text: str, expected: int) -> None:
    assert java_string_hash(text) == expected


def test_lone_surrogates_are_code_units() -> None:
    assert java_string_hash("\ud83d") == 0xD83D


@pytest.mark.parametrize(
    ("key", "partitions", "expected"),
    [
        ("", 50, 0),
        ("hello", 50, 22),
        ("my-group", 50, 12),
        ("my-group", 7, 1),
        ("simple", 5, 1),
        ("kafka-connect", 50, 11),
        ("polygenelubricants", 50, 0),
        ("polygenelubricants", 7, 0),
    ],
)
def test_partition(key: str, partitions: int, expected: int) -> None:
    assert partition_for(key, partitions) == expected
