"""Client properties as flags give them: ``--command-property key=value``."""

from __future__ import annotations

from collections.abc import Iterable


def key_values(pairs: Iterable[str]) -> dict[str, str]:
    """``key=value`` flags as a mapping; a value may hold ``=``, one that is missing is empty."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
