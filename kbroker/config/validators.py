"""What a config value may be, beyond its type, and what Kafka says otherwise (the validators of ``ConfigDef``)."""

from __future__ import annotations

import math
import re
from typing import NamedTuple, Protocol

ConfigValue = bool | int | float | str | tuple[str, ...]
"""A parsed value; lists are tuples of text."""


class Refusal(NamedTuple):
    """Why a value is refused; ``item`` is the one of a list that is meant."""

    reason: str
    item: str | None = None


class Validator(Protocol):
    """Judges a value that already has its key's type."""

    def refusal(self, value: ConfigValue) -> Refusal | None:
        """None for a value that may be."""
        ...


class Between:
    """A number from ``minimum`` to ``maximum``, both included; None leaves that side open."""

    __slots__ = ("maximum", "minimum")

    def __init__(self, minimum: float | None, maximum: float | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def refusal(self, value: ConfigValue) -> Refusal | None:
        assert isinstance(value, (int, float))
        # Java compares with "<" and ">", so that NaN lies within any bounds.
        if math.isnan(value):
            return None
        if self.minimum is not None and value < self.minimum:
            return Refusal(f"Value must be at least {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            return Refusal(f"Value must be no more than {self.maximum}")
        return None


def at_least(minimum: float) -> Between:
    """A number without upper bound."""
    return Between(minimum)


class GzipLevel:
    """gzip's levels 1 to 9, and -1 for zlib's default."""

    __slots__ = ()

    def refusal(self, value: ConfigValue) -> Refusal | None:
        assert isinstance(value, int)
        if value == -1 or 1 <= value <= 9:
            return None
        return Refusal("Value must be between 1 and 9 or equal to -1")


class OneOf:
    """One of the given words."""

    __slots__ = ("_accepted", "_ignore_case", "words")

    def __init__(self, *words: str, ignore_case: bool = False) -> None:
        self.words = words
        self._ignore_case = ignore_case
        self._accepted = frozenset(word.lower() for word in words) if ignore_case else frozenset(words)

    def refusal(self, value: ConfigValue) -> Refusal | None:
        assert isinstance(value, str)
        if (value.lower() if self._ignore_case else value) in self._accepted:
            return None
        how = "one of (case insensitive)" if self._ignore_case else "one of"
        return Refusal(f"String must be {how}: {', '.join(self.words)}")


class ListOf:
    """A list without empty items, of the given words where any are given; repeated items count once."""

    __slots__ = ("_words", "empty_allowed")

    def __init__(self, *words: str, empty_allowed: bool = True) -> None:
        self._words = words
        self.empty_allowed = empty_allowed

    def refusal(self, value: ConfigValue) -> Refusal | None:
        assert isinstance(value, tuple)
        if not value and not self.empty_allowed:
            return Refusal("must not be empty")
        for item in value:
            if not item:
                return Refusal("must not contain empty items")
            if self._words and item not in self._words:
                return Refusal(f"String must be one of: {', '.join(self._words)}", item)
        return None


class NonEmpty:
    """Text of at least one character."""

    __slots__ = ()

    def refusal(self, value: ConfigValue) -> Refusal | None:
        return None if value != "" else Refusal("String must be non-empty")


class Matching:
    """Text that matches a whole regular expression, or a list whose items all do.

    The expression is compiled at first use: it costs nothing to declare a key.
    """

    __slots__ = ("_allowed", "_pattern")

    def __init__(self, pattern: str, allowed: str) -> None:
        """``allowed`` completes "Value must be"."""
        self._pattern = pattern
        self._allowed = allowed

    def refusal(self, value: ConfigValue) -> Refusal | None:
        items = value if isinstance(value, tuple) else (value,)
        if all(re.fullmatch(self._pattern, str(item)) is not None for item in items):
            return None
        return Refusal(f"Value must be {self._allowed}")


class ThrottledReplicas:
    """``partition:broker`` pairs, or ``*`` alone."""

    __slots__ = ()

    def refusal(self, value: ConfigValue) -> Refusal | None:
        assert isinstance(value, tuple)
        # Kafka ignores what follows the last comma if that is nothing.
        if value == ("*",) or all(re.fullmatch(r"[0-9]+:[0-9]+", item) for item in value if item):
            return None
        return Refusal("Value must be the literal '*' or a list of replicas: [partitionId]:[brokerId],...")
