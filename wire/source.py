"""What both code writers of the compiler share: lines of Python, the names they use, and the struct formats."""

from __future__ import annotations

import linecache
import struct
from itertools import count
from typing import Any
from uuid import UUID

import construct

from wire.errors import ProtocolError
from wire.primitives import StructureStruct, TaggedFields
from wire.schema import Field, Structure

FORMATS = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint16": "H",
    "uint32": "I",
    "float64": "d",
    "bool": "?",
    "uuid": "16s",
}
"""The `struct` format of each type of fixed size."""

SMALL_COUNT = 16
"""Arrays of fewer integers than this are read and written by a ready-made `struct.Struct` for their count."""

UUIDS_CACHED_MAX = 8192


class UuidCache(dict[bytes, UUID]):
    """UUIDs by their 16 bytes. Building a `uuid.UUID` takes longer than reading the rest of a partition, and
    the same few topic ids come again and again."""

    def __missing__(self, key: bytes) -> UUID:
        if len(self) >= UUIDS_CACHED_MAX:
            self.clear()
        value = self[key] = UUID(bytes=key)
        return value


UUIDS = UuidCache()


def read_varint(data: Any, offset: int) -> tuple[int, int]:
    """The unsigned varint at the offset, and the offset behind it. Raises IndexError at the buffer's end."""
    byte = data[offset]
    if byte < 0x80:
        return byte, offset + 1
    return read_long_varint(data, offset + 1, byte)


def read_long_varint(data: Any, offset: int, first: int) -> tuple[int, int]:
    """The rest of a varint whose first byte, `first`, said that more follow; `offset` is behind that byte."""
    byte = data[offset]
    if byte < 0x80:
        return first - 0x80 + (byte << 7), offset + 1
    value = first - 0x80 + (byte - 0x80 << 7)
    byte = data[offset + 1]
    if byte < 0x80:
        return value + (byte << 14), offset + 2
    value += byte - 0x80 << 14
    byte = data[offset + 2]
    if byte < 0x80:
        return value + (byte << 21), offset + 3
    value += byte - 0x80 << 21
    byte = data[offset + 3]
    if byte >= 0x10:
        raise ProtocolError(
            "a varint is longer than five bytes" if byte >= 0x80 else "a varint exceeds 32 bits"
        )
    return value + (byte << 28), offset + 4


def varint(value: int) -> bytes:
    """An unsigned varint. The value is not negative and below 2^32."""
    if value < 0x80:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_ONE_BYTE = [bytes([value]) for value in range(0x80)]


class Source:
    """A function under construction: its lines, and the namespace that they will run in."""

    def __init__(self, title: str, names: dict[str, Any]) -> None:
        self.title = title
        self.names = names
        self._lines: list[str] = []
        self._indent = 0
        self._opened = 0
        self._counter = count(1)

    def line(self, text: str) -> None:
        self._lines.append("    " * self._indent + text)

    def open(self, text: str) -> None:
        """Begin a block: `text` and a colon."""
        self.line(f"{text}:")
        self._indent += 1
        self._opened = len(self._lines)

    def close(self) -> None:
        """End the innermost block."""
        if self._opened == len(self._lines):
            self.line("pass")
        self._indent -= 1

    def mark(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    def undo(self, mark: int) -> None:
        """Drop the lines that were written after the mark."""
        del self._lines[mark:]
        self._opened = 0

    def temporary(self, hint: str) -> str:
        """A local name that nothing else uses."""
        return f"{hint}{next(self._counter)}"

    def constant(self, hint: str, value: Any) -> str:
        """A name in the namespace that stands for the value; the same name for the same object."""
        for name, known in self.names.items():
            if known is value:
                return name
        name = f"{hint}_{len(self.names)}"
        self.names[name] = value
        return name

    def packed(self, formats: str, method: str) -> str:
        """The name of a bound method of the big-endian struct of these formats."""
        name = f"{method}_" + formats.replace("?", "o")
        if name not in self.names:
            self.names[name] = getattr(struct.Struct(">" + formats), method)
        return name

    def function(self, name: str) -> Any:
        """Compile the lines; return the function of this name. Tracebacks show its lines."""
        text = "\n".join(self._lines) + "\n"
        file_name = f"<{self.title}>"
        exec(compile(text, file_name, "exec"), self.names)
        linecache.cache[file_name] = (len(text), None, text.splitlines(keepends=True), file_name)
        return self.names[name]


def format_of(subcon: construct.Construct) -> str | None:
    """The `struct` format of a construct of fixed size; None for the others."""
    if isinstance(subcon, construct.FormatField):
        return str(subcon.fmtstr[-1])
    return _ADAPTER_FORMATS.get(type(subcon).__name__)


_ADAPTER_FORMATS = {"Boolean": "?", "Uuid": "16s"}


def fixed_formats(struct_: StructureStruct) -> list[tuple[str, str]] | None:
    """Names and formats of a structure whose fields all have a fixed size, the count of tagged fields, as
    `tagged_fields`, included; None for any other structure and for one that has known tagged fields."""
    formats = []
    for subcon in struct_.subcons:
        if isinstance(subcon.subcon, TaggedFields):
            if subcon.subcon.fields:
                return None
            formats.append((subcon.name, "B"))
            continue
        format_ = format_of(subcon.subcon)
        if format_ is None:
            return None
        formats.append((subcon.name, format_))
    return formats or None


def fields_by_name(structure_class: type[Structure]) -> dict[str, Field]:
    return {field.name: field for field in structure_class.__fields__}


def literal(source: Source, value: Any) -> str:
    """Python source for a default value."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return f"({value!r})" if isinstance(value, int) and value < 0 else repr(value)
    return source.constant("default", value)
