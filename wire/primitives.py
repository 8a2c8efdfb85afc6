"""Kafka's protocol types as construct constructs, and the construct of a message on one version.

`message_struct` turns a declaration (`wire.schema`) into a tree of these. The tree parses and builds by itself,
which is the reference that tests hold the compiled codec to; and `wire.compiler` walks it to write that codec.

Parsing gives construct's containers: one key per field that the version has, and `tagged_fields`, a container of
the tagged fields that were present. Anything that is not a valid message raises `construct.ConstructError`.
Facts follow Kafka's protocol guide, KIP-482 (compact lengths, tagged fields) and KIP-893 (nullable structures).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

import construct

from wire.errors import ProtocolError

if TYPE_CHECKING:
    from wire.schema import Field, Message, Structure

STRING_BYTES_MAX = 32767
"""Strings of flexible versions have the limit of the two-byte length, too."""

TAGGED_FIELDS = "tagged_fields"


def _remaining(stream: Any) -> int:
    """Bytes between the stream's position and its end."""
    return int(construct.stream_size(stream)) - int(construct.stream_tell(stream, None))


class UnsignedVarint(construct.Construct):  # type: ignore[misc]
    """An unsigned 32-bit integer in one to five bytes of seven bits, the lowest first."""

    def _parse(self, stream: Any, context: Any, path: str) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = construct.stream_read(stream, 1, path)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 32:
                    raise construct.IntegerError("varint exceeds 32 bits", path=path)
                return int(value)
        raise construct.IntegerError("varint is longer than five bytes", path=path)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if not isinstance(obj, int) or not 0 <= obj < 1 << 32:
            raise construct.IntegerError(f"{obj!r} does not fit an unsigned varint", path=path)
        value = obj
        while value >= 0x80:
            construct.stream_write(stream, bytes([value & 0x7F | 0x80]), 1, path)
            value >>= 7
        construct.stream_write(stream, bytes([value]), 1, path)
        return obj


UNSIGNED_VARINT = UnsignedVarint()

INTEGERS: dict[str, construct.FormatField] = {
    "int8": construct.Int8sb,
    "int16": construct.Int16sb,
    "int32": construct.Int32sb,
    "int64": construct.Int64sb,
    "uint16": construct.Int16ub,
    "uint32": construct.Int32ub,
    "float64": construct.Float64b,
}


class Boolean(construct.Adapter):  # type: ignore[misc]
    """One byte; every value but 0 is true."""

    def __init__(self) -> None:
        super().__init__(construct.Int8ub)

    def _decode(self, obj: int, context: Any, path: str) -> bool:
        return obj != 0

    def _encode(self, obj: bool, context: Any, path: str) -> int:
        return 1 if obj else 0


class Uuid(construct.Adapter):  # type: ignore[misc]
    """16 bytes, the most significant first."""

    def __init__(self) -> None:
        super().__init__(construct.Bytes(16))

    def _decode(self, obj: bytes, context: Any, path: str) -> UUID:
        return UUID(bytes=obj)

    def _encode(self, obj: UUID, context: Any, path: str) -> bytes:
        return obj.bytes


class Sized(construct.Construct):  # type: ignore[misc]
    """Something behind its length: an unsigned varint of length + 1 if compact (0 is null), else a signed
    big-endian integer of `legacy_bytes` bytes (negative is null)."""

    legacy_bytes = 4
    size_max = (1 << 31) - 1

    def __init__(self, *, compact: bool, nullable: bool) -> None:
        super().__init__()
        self.compact = compact
        self.nullable = nullable

    def _parse_size(self, stream: Any, context: Any, path: str) -> int | None:
        """The length, which is no larger than `size_max`, or None for null."""
        if self.compact:
            size = UNSIGNED_VARINT._parse(stream, context, path) - 1
        else:
            size = int.from_bytes(construct.stream_read(stream, self.legacy_bytes, path), "big", signed=True)
        if size < 0:
            if not self.nullable:
                raise construct.ValidationError("null in a field that is not nullable", path=path)
            return None
        if size > self.size_max:
            raise construct.RangeError(f"length {size}", path=path)
        return size

    def _build_size(self, size: int | None, stream: Any, context: Any, path: str) -> None:
        if size is None:
            if not self.nullable:
                raise construct.ValidationError("None in a field that is not nullable", path=path)
            size = -1
        elif size > self.size_max:
            raise construct.RangeError(f"length {size} exceeds {self.size_max}", path=path)
        if self.compact:
            UNSIGNED_VARINT._build(size + 1, stream, context, path)
        else:
            construct.stream_write(
                stream, size.to_bytes(self.legacy_bytes, "big", signed=True), self.legacy_bytes, path
            )


class Binary(Sized):
    """Kafka's `bytes`."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        size = self._parse_size(stream, context, path)
        return None if size is None else self._from_bytes(construct.stream_read(stream, size, path), path)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        data = None if obj is None else self._to_bytes(obj)
        self._build_size(None if data is None else len(data), stream, context, path)
        if data is not None:
            construct.stream_write(stream, data, len(data), path)
        return obj

    def _from_bytes(self, data: bytes, path: str) -> Any:
        return data

    def _to_bytes(self, value: Any) -> bytes:
        return bytes(value)


class String(Binary):
    """UTF-8 behind a length in bytes; what is not UTF-8 is read as U+FFFD, as Java reads it."""

    legacy_bytes = 2
    size_max = STRING_BYTES_MAX

    def _from_bytes(self, data: bytes, path: str) -> str:
        return data.decode("utf-8", "replace")

    def _to_bytes(self, value: Any) -> bytes:
        return str(value).encode()


class Records(Binary):
    """Record batches, not looked into. Interpreted, they are plain bytes."""


class Array(Sized):
    """A count, then as many elements. A count that the bytes left cannot hold is refused before it is used."""

    def __init__(self, element: construct.Construct, *, compact: bool, nullable: bool) -> None:
        super().__init__(compact=compact, nullable=nullable)
        self.element = element
        self.element_bytes_min = max(minimal_size(element), 1)

    def _parse(self, stream: Any, context: Any, path: str) -> list[Any] | None:
        count = self._parse_size(stream, context, path)
        if count is None:
            return None
        if count * self.element_bytes_min > _remaining(stream):
            raise construct.RangeError(f"{count} elements in {_remaining(stream)} bytes", path=path)
        return [self.element._parsereport(stream, context, path) for _ in range(count)]

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        self._build_size(None if obj is None else len(obj), stream, context, path)
        for value in obj or ():
            self.element._build(value, stream, context, path)
        return obj


class NullableStructure(construct.Subconstruct):  # type: ignore[misc]
    """A structure behind a marker: negative is null. As a tagged field, the marker is a varint, and 0 is null."""

    def __init__(self, subcon: construct.Construct, *, tagged: bool) -> None:
        super().__init__(subcon)
        self.tagged = tagged

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        if self.tagged:
            is_null = UNSIGNED_VARINT._parse(stream, context, path) == 0
        else:
            is_null = construct.Int8sb._parse(stream, context, path) < 0
        return None if is_null else self.subcon._parsereport(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if self.tagged:
            UNSIGNED_VARINT._build(0 if obj is None else 1, stream, context, path)
        else:
            construct.Int8sb._build(-1 if obj is None else 1, stream, context, path)
        if obj is not None:
            self.subcon._build(obj, stream, context, path)
        return obj


class TaggedFields(construct.Construct):  # type: ignore[misc]
    """The tagged fields at a structure's end: their number, then tag, size and value of each, written by rising tag.

    Parses to a container of those present; unknown ones are skipped. Builds those that the container has.
    """

    def __init__(self, fields: dict[int, construct.Renamed]) -> None:
        super().__init__()
        self.fields = fields

    def _parse(self, stream: Any, context: Any, path: str) -> construct.Container:
        present = construct.Container()
        for _ in range(UNSIGNED_VARINT._parse(stream, context, path)):
            tag = UNSIGNED_VARINT._parse(stream, context, path)
            size = UNSIGNED_VARINT._parse(stream, context, path)
            field = self.fields.get(tag)
            if field is None:
                construct.stream_read(stream, size, path)
                continue
            end = construct.stream_tell(stream, path) + size
            present[field.name] = field._parsereport(stream, context, path)
            if construct.stream_tell(stream, path) != end:
                raise construct.ValidationError(f"tag {tag} does not have its size, {size}", path=path)
        return present

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        present = [(tag, field) for tag, field in sorted(self.fields.items()) if field.name in obj]
        UNSIGNED_VARINT._build(len(present), stream, context, path)
        for tag, field in present:
            value = field.build(obj[field.name])
            UNSIGNED_VARINT._build(tag, stream, context, path)
            UNSIGNED_VARINT._build(len(value), stream, context, path)
            construct.stream_write(stream, value, len(value), path)
        return obj


class StructureStruct(construct.Struct):  # type: ignore[misc]
    """The struct of one structure on one version, which remembers the class that it was made from."""

    def __init__(self, structure_class: type[Structure], *subcons: construct.Construct) -> None:
        super().__init__(*subcons)
        self.structure_class = structure_class


BOOLEAN = Boolean()
UUID_BYTES = Uuid()


def minimal_size(subcon: construct.Construct) -> int:
    """The fewest bytes that the construct can take."""
    if isinstance(subcon, construct.FormatField):
        return struct.calcsize(subcon.fmtstr)
    if isinstance(subcon, construct.Renamed):
        return minimal_size(subcon.subcon)
    if isinstance(subcon, StructureStruct):
        return sum(minimal_size(field) for field in subcon.subcons)
    if isinstance(subcon, Sized):
        return 1 if subcon.compact else subcon.legacy_bytes
    if isinstance(subcon, Uuid):
        return 16
    return 1  # a boolean, a null marker, a count of tagged fields


def message_struct(message_class: type[Message], version: int) -> StructureStruct:
    """The construct of a message on one version. Raises ProtocolError when the message does not have it."""
    if not message_class.min_version <= version <= message_class.max_version:
        raise ProtocolError(f"{message_class.__name__} has no version {version}")
    return _structure(message_class, version, message_class.is_flexible(version))


def _structure(structure_class: type[Structure], version: int, flexible: bool) -> StructureStruct:
    subcons = []
    tagged = {}
    for field in structure_class.__fields__:
        if not field.in_version(version):
            continue
        subcon = field.name / _field(structure_class, field, version, flexible)
        if field.tag is None:
            subcons.append(subcon)
        else:
            tagged[field.tag] = subcon
    if flexible:
        subcons.append(TAGGED_FIELDS / TaggedFields(tagged))
    return StructureStruct(structure_class, *subcons)


def _field(owner: type[Structure], field: Field, version: int, flexible: bool) -> construct.Construct:
    nullable = field.nullable_in(version)
    if field.kind == "structure":
        inner = _structure(field.element_class(owner), version, flexible)
        return NullableStructure(inner, tagged=field.tag is not None) if nullable else inner
    if field.kind != "array":
        return _primitive(field.kind, flexible and field.compact, nullable)
    if isinstance(field.element, type | str):
        element = _structure(field.element_class(owner), version, flexible)
    else:
        element = _primitive(field.element.kind, flexible, False)
    return Array(element, compact=flexible, nullable=nullable)


def _primitive(kind: str, compact: bool, nullable: bool) -> construct.Construct:
    if kind in INTEGERS:
        return INTEGERS[kind]
    if kind == "bool":
        return BOOLEAN
    if kind == "uuid":
        return UUID_BYTES
    sized: type[Sized] = {"string": String, "bytes": Binary, "records": Records}[kind]
    return sized(compact=compact, nullable=nullable)
