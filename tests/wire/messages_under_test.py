"""Which messages there are, and random ones of each: what the tests of the codec have in common."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from uuid import UUID

from hypothesis import strategies

import wire.internal
from wire import headers
from wire.messages import API_KEYS, request_class, response_class
from wire.schema import Field, InternalRecord, Message, Structure

Limit = Callable[[str, Field], str | None]
"""Given a structure's name and a field: a narrower kind of value for it (`KINDS` has them), or None."""

PROTOCOL_MESSAGES: list[type[Message]] = [
    message_class for key in API_KEYS for message_class in (request_class(key), response_class(key))
]
"""Both directions of every API."""

BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def _internal_records() -> Iterator[type[Message]]:
    for module_info in iter_modules(wire.internal.__path__):
        module = import_module(f"wire.internal.{module_info.name}")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, InternalRecord) and value.__fields__ and value.__module__ == module.__name__:
                yield value


INTERNAL_RECORDS = list(_internal_records())
"""Every record of an internal topic or file."""

HEADERS: list[type[Message]] = [headers.RequestHeader, headers.ResponseHeader]

ALL_MESSAGES = [*PROTOCOL_MESSAGES, *INTERNAL_RECORDS, *HEADERS]


def versions_of(message_class: type[Message]) -> range:
    return range(message_class.min_version, message_class.max_version + 1)


class Generator:
    """Random messages of one version. `size` bounds the elements of an array and the length of strings."""

    def __init__(self, seed: int, size: int, limit: Limit | None = None) -> None:
        self.random = random.Random(seed)
        self.size = size
        self.limit = limit

    def structure(self, structure_class: type[Structure], version: int) -> Any:
        values = {
            field.name: self.value(structure_class, field, version)
            for field in structure_class.__fields__
            if field.in_version(version) and not self._left_out(field)
        }
        return structure_class(**values)

    def _left_out(self, field: Field) -> bool:
        """Tagged fields hold their default half of the time; the others nearly never. Records cannot always:
        their default is null, as Kafka's is, even where null is not allowed."""
        if field.kind == "records":
            return False
        return self.random.random() < (0.5 if field.tag is not None else 0.02)

    def value(self, owner: type[Structure], field: Field, version: int) -> Any:
        if field.nullable_in(version) and self.random.random() < 0.2:
            return None
        if field.kind == "structure":
            return self.structure(field.element_class(owner), version)
        if field.kind != "array":
            narrower = self.limit(owner.__qualname__, field) if self.limit else None
            return self.primitive(narrower or field.kind)
        count = self.random.choice((0, 1, 2, self.size))
        if isinstance(field.element, Field):
            narrower = self.limit(owner.__qualname__, field) if self.limit else None
            return [self.primitive(narrower or field.element.kind) for _ in range(count)]
        element_class = field.element_class(owner)
        return [self.structure(element_class, version) for _ in range(count)]

    def primitive(self, kind: str) -> Any:
        pick = self.random
        if kind in BITS:
            return self._integer(-(1 << BITS[kind] - 1), (1 << BITS[kind] - 1) - 1)
        match kind:
            case "uint16":
                return self._integer(0, (1 << 16) - 1)
            case "uint32":
                return self._integer(0, (1 << 32) - 1)
            case "bool":
                return pick.random() < 0.5
            case "float64":
                return pick.choice((0.0, -1.5, 1e300, pick.uniform(-1e6, 1e6)))
            case "uuid":
                return UUID(int=pick.choice((0, 1, pick.getrandbits(128))))
            case "string":
                alphabet = "abcdefghijkl.-_" if pick.random() < 0.9 else "aé世𝄞\0"
                return "".join(pick.choices(alphabet, k=self._length()))
            case "bytes":
                return pick.randbytes(self._length())
            case "records":
                return memoryview(pick.randbytes(self._length()))
            case _:
                low, high = NARROWER[kind]
                return pick.randint(low, high)

    def _integer(self, low: int, high: int) -> int:
        return self.random.choice((low, high, 0, min(1, high), self.random.randint(low, high)))

    def _length(self) -> int:
        return self.random.choice((0, 1, self.size, 10 * self.size, 60 * self.size))


NARROWER: dict[str, tuple[int, int]] = {
    "error_code": (-1, 133),
    "milliseconds": (-(1 << 31), (1 << 31) - 1),
    "timestamp": (0, 1 << 42),
}


def messages(
    message_class: type[Message], version: int, limit: Limit | None = None
) -> strategies.SearchStrategy[Any]:
    """Messages of one version, from a seed and a size: quick to draw, and it shrinks to fewer elements."""
    return strategies.builds(
        lambda size, seed: Generator(seed, size, limit).structure(message_class, version),
        strategies.integers(1, 4),
        strategies.integers(0, (1 << 32) - 1),
    )
