"""Sizes, counts and times as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def size_text(size_bytes: int) -> str:
    """``1.5 MiB``; three significant digits at most, whole bytes below 1 KiB."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    amount, unit = float(size_bytes), 0
    while amount >= 1023.5 and unit + 1 < len(_SIZES):
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.{0 if amount >= 99.95 else 1}f} {_SIZES[unit]}"


def count_text(count: int) -> str:
    """``1,234,567``."""
    return f"{count:,}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """``1 record``, ``2,000 records``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration_text(duration_ms: int) -> str:
    """``7 d``, ``1 h 30 min``, ``250 ms``: the two largest units, as far as they are not zero."""
    parts = []
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)):
        amount, duration_ms = divmod(duration_ms, unit_ms)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2]) or "0 ms"


def parse_duration_ms(text: str) -> int:
    """``10m``, ``1h30m``, ``500ms``, ``2d``, ``1w`` in milliseconds; ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 30s, 10m, 2h or 7d")
    return round(sum(float(amount) * _UNITS_MS[unit] for amount, unit in _DURATION_PART.findall(text)))


def parse_moment_ms(text: str) -> int:
    """``2026-11-28``, ``2026-11-28T10:30:00.5Z``, ``@1700000000000``: ms since the epoch; ValueError.

    A time without a zone is local. ``@`` and ten digits or fewer count seconds, more digits milliseconds.
    """
    if text.startswith("@") and text[1:].isascii() and text[1:].isdecimal():
        number = int(text[1:])
        return number * 1000 if len(text) <= 11 else number
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time such as 2026-11-28, 2026-11-28T10:30Z or @1700000000000"
        ) from None
    return round(moment.timestamp() * 1000)
