"""Which partition a record goes to: Kafka's murmur2 of the key, or partitions in turn for records without one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash, unsigned, with the seed of Kafka's clients."""
    length = len(data)
    value = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        value = value * _M & _MASK ^ k
    if whole < length:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15


def partition_of_key(key: bytes, partition_count: int) -> int:
    """Where every Kafka client puts records of this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partition_count


class StickyPartitioner:
    """For records without a key: one partition until a batch's worth of bytes went there, then another (KIP-794)."""

    def __init__(self, switch_after_bytes: int) -> None:
        self._switch_after_bytes = max(1, switch_after_bytes)
        self._random = random.Random()
        self._current: int | None = None
        self._bytes = 0

    def partition(self, available: Sequence[int], size_bytes: int) -> int:
        """One of the partitions that have a leader."""
        if self._current not in available or self._bytes >= self._switch_after_bytes:
            others = [number for number in available if number != self._current] or list(available)
            self._current, self._bytes = self._random.choice(others), 0
        self._bytes += size_bytes
        assert self._current is not None
        return self._current
