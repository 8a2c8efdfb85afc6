"""Which partition of a coordinator's topic a group id or transactional id belongs to.

Every broker and every client version must agree on it, so it is Kafka's rule to the bit:
``Utils.abs(key.hashCode()) % partitions``, where ``hashCode`` is Java's over UTF-16 code units.
"""

from __future__ import annotations

from functools import lru_cache

_KEYS_REMEMBERED = 4096
_INT_MASK = 0xFFFFFFFF
_INT_MAX = 0x7FFFFFFF
_INT_MIN = -(1 << 31)


@lru_cache(maxsize=_KEYS_REMEMBERED)
def java_string_hash(text: str) -> int:
    """``String.hashCode()``: a signed 32-bit integer."""
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for index in range(0, len(units), 2):
        value = (31 * value + (units[index] << 8 | units[index + 1])) & _INT_MASK
    return value - (1 << 32) if value > _INT_MAX else value


def partition_for(key: str, partition_count: int) -> int:
    """The partition of ``key``.

    ``Utils.abs`` negates, and makes 0 of the one number that it cannot negate; ``Utils.toPositive``, which clears the
    sign bit instead, is what producers partition records with.
    """
    value = java_string_hash(key)
    return 0 if value == _INT_MIN else abs(value) % partition_count
