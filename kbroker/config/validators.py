"""What a config value may be, beyond its type (the validators of Kafka's ``ConfigDef``).

A validator says in ``allowed`` what it accepts, in words that complete "expected ...".
"""

from __future__ import annotations

import math
import re
from typing import Protocol

ConfigValue = bool | int | float | str | tuple[str, ...]
"""A parsed value; lists are tuples of text."""


class Validator(Protocol):
    """Accepts or refuses a value that already has its key's type."""

    @property
    def allowed(self) -> str: ...

    def accepts(self, value: ConfigValue) -> bool: ...


class Between:
    """A number from ``minimum`` to ``maximum``, both included; None leaves that side open."""

    __slots__ = ("allowed", "maximum", "minimum")

    def __init__(self, minimum: float | None, maximum: float | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum
        if minimum is None:
            self.allowed = f"a number up to {maximum}"
        elif maximum is None:
            self.allowed = f"a number from {minimum}"
        else:
            self.allowed = f"a number from {minimum} to {maximum}"

    def accepts(self, value: ConfigValue) -> bool:
        assert isinstance(value, (int, float))
        # Java compares with "<" and ">", so that NaN lies within any bounds.
        if math.isnan(value):
            return True
        return (self.minimum is None or value >= self.minimum) and (
            self.maximum is None or value <= self.maximum
        )


def at_least(minimum: float) -> Between:
    """A number without upper bound."""
    return Between(minimum)


class GzipLevel:
    """gzip's levels 1 to 9, and -1 for zlib's default."""

    __slots__ = ()
    allowed = "a number from 1 to 9, or -1"

    def accepts(self, value: ConfigValue) -> bool:
        return value == -1 or (isinstance(value, int) and 1 <= value <= 9)


class OneOf:
    """One of the given words."""

    __slots__ = ("_accepted", "_ignore_case", "allowed", "words")

    def __init__(self, *words: str, ignore_case: bool = False) -> None:
        self.words = words
        self.allowed = f"one of {', '.join(words)}"
        self._ignore_case = ignore_case
        self._accepted = frozenset(word.lower() for word in words) if ignore_case else frozenset(words)

    def accepts(self, value: ConfigValue) -> bool:
        assert isinstance(value, str)
        return (value.lower() if self._ignore_case else value) in self._accepted


class ListOf:
    """A list without empty items, of the given words where any are given; repeated items count once."""

    __slots__ = ("_words", "allowed", "empty_allowed")

    def __init__(self, *words: str, empty_allowed: bool = True) -> None:
        self._words = frozenset(words)
        self.empty_allowed = empty_allowed
        items = f"list of {', '.join(words)}" if words else "list without empty items"
        self.allowed = f"a comma-separated {items}" + ("" if empty_allowed else ", with at least one item")

    def accepts(self, value: ConfigValue) -> bool:
        assert isinstance(value, tuple)
        if not value:
            return self.empty_allowed
        return all(value) and (not self._words or self._words.issuperset(value))


class NonEmpty:
    """Text of at least one character."""

    __slots__ = ()
    allowed = "a value that is not empty"

    def accepts(self, value: ConfigValue) -> bool:
        return value != ""


class Matching:
    """Text that matches a whole regular expression, or a list whose items all do.

    The expression is compiled at first use: it costs nothing to declare a key.
    """

    __slots__ = ("_pattern", "allowed")

    def __init__(self, pattern: str, allowed: str) -> None:
        self._pattern = pattern
        self.allowed = allowed

    def accepts(self, value: ConfigValue) -> bool:
        items = value if isinstance(value, tuple) else (value,)
        return all(re.fullmatch(self._pattern, str(item)) is not None for item in items)


class ThrottledReplicas:
    """``partition:broker`` pairs, or ``*`` alone."""

    __slots__ = ()
    allowed = "* or a comma-separated list of partition:broker pairs"

    def accepts(self, value: ConfigValue) -> bool:
        assert isinstance(value, tuple)
        if value == ("*",):
            return True
        # Kafka ignores what follows the last comma if that is nothing.
        return all(re.fullmatch(r"[0-9]+:[0-9]+", item) for item in value if item)
