"""The order in which Java's HashMap goes through names: Kafka's commands print some lists in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_BUCKETS_AT_FIRST: Final = 16


def java_order(names: Sequence[str], *, sized: bool = False) -> list[str]:
    """By bucket of a map that these names were put into one after the other, and within one as they came.

    ``sized``: of a map that was made for so many.
    """
    buckets = 1 << max(0, len(names) - 1).bit_length() if sized else _BUCKETS_AT_FIRST
    while len(names) > buckets * 3 // 4:
        buckets *= 2
    return sorted(names, key=lambda name: _spread_hash(name) & (buckets - 1))


def _spread_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value ^ (value >> 16)
