"""Two decoded messages side by side: every field of the version, minus what ``allowed.py`` lets differ.

A path names fields as the message classes do: ``FetchResponse.responses[0].partitions[2].error_code``, with the name of
an element in place of its index where a rule says that the order means nothing: ``results[0].configs[retention.ms]``.
Patterns may leave out what is in the brackets: ``FetchResponse.responses[].partitions[].error_code``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Protocol

from compat.wire.scene import Exchange, Scene, Silence
from compat.wire.stored_batches import stored_batches
from wire.describe import describe
from wire.errors import ErrorCode
from wire.schema import Field, Structure

_INDEX = re.compile(r"\[\d+\]")
_INDEX_OR_NAME = re.compile(r"\[[^\]]*\]")
ABSENT = "nothing"


@cache
def names_of(path: str) -> tuple[str, ...]:
    """The path as it is, without its indexes, and without names of elements, too."""
    return path, _INDEX.sub("[]", path), _INDEX_OR_NAME.sub("[]", path)


@cache
def is_about(pattern: str, path: str) -> bool:
    """Whether an fnmatch pattern, in which brackets are literal, fits one of the path's ``names_of``."""
    literal = pattern.replace("[", "[[]")
    return any(fnmatchcase(name, literal) for name in names_of(path))


@dataclass(frozen=True)
class Difference:
    """One field, or one exchange as a whole, that is not the same."""

    exchange: int
    path: str
    theirs: object
    ours: object


class Reduction(Protocol):
    """Turns a value into what must be the same on both sides; ``None`` in its place means "not looked at"."""

    def reduce(self, value: Any, scene: Scene) -> Any: ...


class Pairing(Protocol):
    """Decides about two values that may differ as long as they correspond one to one."""

    def corresponds(self, theirs: Any, ours: Any, pairs: Pairs) -> bool: ...


@dataclass(frozen=True)
class Rule:
    """What is allowed to differ: ``paths`` are patterns as ``is_about`` takes them."""

    reason: str
    paths: tuple[str, ...]
    how: Reduction | Pairing
    cases: str = "*"
    """fnmatch pattern of the case's identifier, where a rule is for some cases only."""
    but_not: tuple[str, ...] = ()
    """Patterns of the cases for which it is not."""

    def is_for(self, case: str) -> bool:
        return fnmatchcase(case, self.cases) and not any(
            fnmatchcase(case, pattern) for pattern in self.but_not
        )

    def is_about(self, path: str) -> bool:
        return any(is_about(pattern, path) for pattern in self.paths)


@dataclass
class Pairs:
    """Which id of one broker stands for which of the other, by kind, as far as the exchanges have shown."""

    _by_kind: dict[str, tuple[dict[Hashable, Hashable], dict[Hashable, Hashable]]] = field(
        default_factory=dict
    )

    def correspond(self, kind: str, theirs: Hashable, ours: Hashable) -> bool:
        """Whether they stand for one another: seen for the first time both, or together before."""
        forward, backward = self._by_kind.setdefault(kind, ({}, {}))
        if theirs not in forward and ours not in backward:
            forward[theirs] = ours
            backward[ours] = theirs
        return forward.get(theirs) == ours and backward.get(ours) == theirs


class Comparison:
    """The exchanges of one case on two brokers."""

    def __init__(self, rules: Sequence[Rule], case: str, theirs: Scene, ours: Scene) -> None:
        self._rules = [rule for rule in rules if rule.is_for(case)]
        self._theirs, self._ours = theirs, ours
        self._pairs = Pairs()
        self._exchange = 0
        self._version = 0

    def differences(self) -> list[Difference]:
        """All of them, in the order of the exchanges."""
        return list(self._differences())

    def _differences(self) -> Iterator[Difference]:
        counts = len(self._theirs.exchanges), len(self._ours.exchanges)
        for index, (theirs, ours) in enumerate(
            zip(self._theirs.exchanges, self._ours.exchanges, strict=False)
        ):
            self._exchange, self._version = index, theirs.version
            yield from self._sent(theirs, ours)
            yield from self._answered(theirs, ours)
        if counts[0] != counts[1]:
            yield Difference(min(counts), "exchanges", *counts)

    def _sent(self, theirs: Exchange, ours: Exchange) -> Iterator[Difference]:
        """Requests pair the ids that they name; beyond these a case must ask both brokers the same."""
        if isinstance(theirs.sent, Structure) and isinstance(ours.sent, Structure):
            yield from self._structures(type(theirs.sent).__name__, theirs.sent, ours.sent)
        elif theirs.sent != ours.sent:
            yield Difference(self._exchange, "sent", theirs.sent, ours.sent)

    def _answered(self, theirs: Exchange, ours: Exchange) -> Iterator[Difference]:
        if isinstance(theirs.answer, Structure) and isinstance(ours.answer, Structure):
            yield from self._structures(type(theirs.answer).__name__, theirs.answer, ours.answer)
        elif isinstance(theirs.answer, Silence) and isinstance(ours.answer, Silence):
            if theirs.answer != ours.answer:
                yield Difference(self._exchange, "answer", theirs.answer.reason, ours.answer.reason)
        else:
            yield Difference(self._exchange, "answer", _outline(theirs), _outline(ours))

    def _structures(self, path: str, theirs: Structure, ours: Structure) -> Iterator[Difference]:
        for each in type(theirs).__fields__:
            if each.in_version(self._version):
                values = getattr(theirs, each.name), getattr(ours, each.name)
                yield from self._values(f"{path}.{each.name}", each, *values)

    def _values(self, path: str, declared: Field | None, theirs: Any, ours: Any) -> Iterator[Difference]:
        if declared is not None and declared.kind == "records":
            theirs, ours = stored_batches(theirs), stored_batches(ours)
        for rule in self._rules_of(path):
            if hasattr(rule, "corresponds"):
                if not rule.corresponds(theirs, ours, self._pairs):
                    yield Difference(self._exchange, path, theirs, ours)
                return
            theirs = rule.reduce(theirs, self._theirs)
            ours = rule.reduce(ours, self._ours)
        if isinstance(theirs, Structure) and isinstance(ours, Structure):
            yield from self._structures(path, theirs, ours)
        elif isinstance(theirs, list) and isinstance(ours, list):
            yield from self._lists(path, theirs, ours)
        elif isinstance(theirs, dict) and isinstance(ours, dict):
            yield from self._by_key(path, theirs, ours)
        elif theirs != ours or type(theirs) is not type(ours):
            yield Difference(self._exchange, path, theirs, ours)

    def _lists(self, path: str, theirs: list[Any], ours: list[Any]) -> Iterator[Difference]:
        if len(theirs) != len(ours):
            yield Difference(self._exchange, f"{path}.length", _shown(theirs, ours), _shown(ours, theirs))
            return
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from self._values(f"{path}[{index}]", None, one, other)

    def _by_key(self, path: str, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[Difference]:
        for key in sorted(theirs.keys() | ours.keys()):
            if key not in theirs or key not in ours:
                yield Difference(
                    self._exchange, f"{path}[{key}]", theirs.get(key, ABSENT), ours.get(key, ABSENT)
                )
            else:
                yield from self._values(f"{path}[{key}]", None, theirs[key], ours[key])

    def _rules_of(self, path: str) -> list[Any]:
        return [rule.how for rule in self._rules if rule.is_about(path)]


def _outline(exchange: Exchange) -> str:
    answer = exchange.answer
    return answer.reason if isinstance(answer, Silence) else describe(answer, exchange.version)


def _shown(values: list[Any], others: list[Any]) -> str:
    """How many, and those that the other side has none of."""
    return f"{len(values)}, among them {[value for value in values if value not in others]!r}"


def report(case: str, version: int, differences: Sequence[Difference], theirs: Scene, ours: Scene) -> str:
    """For a reader: each request that was answered differently, and every field that is not the same."""
    lines = [f"{case}, version {version}: {len(differences)} differences"]
    for index in sorted({difference.exchange for difference in differences}):
        if index < len(theirs.exchanges):
            sent = theirs.exchanges[index].sent
            lines.append(f"exchange {index + 1} of {len(theirs.exchanges)}, sent:")
            text = (
                describe(sent, theirs.exchanges[index].version)
                if isinstance(sent, Structure)
                else sent.hex(" ")
            )
            lines += [f"    {line}" for line in text.splitlines()]
        width = max(len(theirs.side.name), len(ours.side.name)) + 1
        for each in differences:
            if each.exchange == index:
                lines.append(f"  {each.path}")
                lines.append(f"    {theirs.side.name + ':':{width}} {_value(each.path, each.theirs)}")
                lines.append(f"    {ours.side.name + ':':{width}} {_value(each.path, each.ours)}")
    return "\n".join(lines)


def _value(path: str, value: object) -> str:
    if path.endswith("error_code") and isinstance(value, int):
        try:
            return f"{value} ({ErrorCode(value).name})"
        except ValueError:
            return f"{value} (unknown)"
    if isinstance(value, str) and "\n" in value:
        return "\n      " + value.replace("\n", "\n      ")
    return value if isinstance(value, str) and path == "answer" else repr(value)
