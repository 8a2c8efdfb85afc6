"""Writes the decoder of one message on one version, as straight-line Python.

The decoder walks no schema and calls nothing per field: neighbouring fields of fixed size, the length of the
string or array behind them included, are one `struct.unpack_from` into the attributes; strings are slices; an
array of structures is a loop. In the source that is written, `data` is the buffer, `o` the offset of the next
byte that was not yet accounted for, and `end` the size of the buffer.

Each decoder exists twice. The ordinary one reads bytes and bytearrays of up to `elements_max` bytes, which cannot
hold more elements than that. It hands everything else to the careful one, which is written when it is first
needed: that one counts elements, and reads memoryviews.

Reading behind the end of the buffer raises IndexError or struct.error, and bad UTF-8 UnicodeDecodeError; these
become ProtocolError in one place. Slices do not raise, so each is preceded by a check.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import TYPE_CHECKING, Any

import construct

from wire.errors import ProtocolError
from wire.primitives import (
    STRING_BYTES_MAX,
    Array,
    Binary,
    NullableStructure,
    Records,
    Sized,
    String,
    StructureStruct,
    TaggedFields,
    Uuid,
    minimal_size,
)
from wire.source import (
    SMALL_COUNT,
    UUIDS,
    Source,
    fields_by_name,
    fixed_formats,
    format_of,
    literal,
    read_long_varint,
    read_varint,
)

if TYPE_CHECKING:
    from wire.schema import Field, Message, Structure

BULK_COUNT_MIN = 3
"""From this many elements on, structures of fixed size are unpacked by one iterator."""


def skip_tagged_fields(data: Any, offset: int, count: int) -> int:
    """Skip `count` tagged fields, of which none is known; `count` is the first byte of a varint before `offset`."""
    if count > 0x7F:
        count, offset = read_long_varint(data, offset, count)
    last_tag = -1
    for _ in range(count):
        tag, offset = read_varint(data, offset)
        size, offset = read_varint(data, offset)
        if tag <= last_tag:
            raise ProtocolError(f"tag {tag} after tag {last_tag}")
        last_tag = tag
        offset += size
        if offset > len(data):
            raise ProtocolError(f"tag {tag} of {size} bytes ends behind the message")
    return offset


def write_decoder(message_class: type[Message], version: int, tree: StructureStruct) -> Any:
    """The ordinary decoder: `decode(data, offset) -> (message, offset behind it)`."""
    careful: list[Any] = []

    def decode_carefully(data: Any, offset: int) -> Any:
        if not careful:
            careful.append(_DecoderWriter(message_class, version, careful=True).write(tree))
        return careful[0](data, offset)

    writer = _DecoderWriter(message_class, version, careful=False)
    writer.source.names["decode_carefully"] = decode_carefully
    return writer.write(tree)


class _DecoderWriter:
    def __init__(self, message_class: type[Message], version: int, *, careful: bool) -> None:
        self.message_class = message_class
        self.version = version
        self.careful = careful
        self.source = Source(
            f"{'careful ' if careful else ''}decoder of {message_class.__name__} version {version}",
            {
                "ProtocolError": ProtocolError,
                "UUIDS": UUIDS,
                "long_varint": read_long_varint,
                "new": object.__new__,
                "read_varint": read_varint,
                "repeat": repeat,
                "skip_tagged_fields": skip_tagged_fields,
                "struct_error": struct.error,
                "unpack_from": struct.unpack_from,
            },
        )
        # Fields of fixed size that wait to be read together, and the lines that need them to have been read.
        self._run: list[tuple[str, str]] = []
        self._after_run: list[str] = []

    def write(self, tree: StructureStruct) -> Any:
        source = self.source
        name = f"{self.message_class.__name__} version {self.version}"
        source.open("def decode(data, o)")
        source.line("end = len(data)")
        if self.careful:
            source.line(f"budget = {self.message_class.elements_max}")
        else:
            source.open(f"if end - o > {self.message_class.elements_max} or type(data) is memoryview")
            source.line("return decode_carefully(data, o)")
            source.close()
        source.open("try")
        if _has_records(tree):
            source.line("view = memoryview(data)")
        message = self._new_structure(tree)
        self._structure(tree, message)
        self._flush()
        source.line(f"return {message}, o")
        source.close()
        source.open("except (IndexError, struct_error)")
        source.line(f"raise ProtocolError({f'{name} is cut off'!r}) from None")
        source.close()
        source.open("except UnicodeDecodeError")
        source.line(f"raise ProtocolError({f'{name} has a string that is not UTF-8'!r}) from None")
        return source.function("decode")

    # Runs of fields of fixed size

    def _fixed(self, format_: str, target: str) -> None:
        self._run.append((format_, target))

    def _flush(self) -> None:
        """Read the waiting run."""
        if self._run:
            formats = "".join(format_ for format_, _ in self._run)
            if formats == "B":
                self.source.line(f"{self._run[0][1]} = data[o]")
                self.source.line("o += 1")
            else:
                targets = ", ".join(target for _, target in self._run)
                comma = "," if len(self._run) == 1 else ""
                self.source.line(f"{targets}{comma} = {self.source.packed(formats, 'unpack_from')}(data, o)")
                self.source.line(f"o += {struct.calcsize('>' + formats)}")
            self._run.clear()
        for line in self._after_run:
            self.source.line(line)
        self._after_run.clear()

    def _fail(self, condition: str, what: str) -> None:
        self.source.open(f"if {condition}")
        self.source.line(f"raise ProtocolError({what!r})")
        self.source.close()

    # Structures

    def _new_structure(self, tree: StructureStruct) -> str:
        """Make an object; the fields that the version lacks get their defaults at once."""
        structure_class = tree.structure_class
        variable = self.source.temporary("s")
        self.source.line(
            f"{variable} = new({self.source.constant(structure_class.__name__, structure_class)})"
        )
        return variable

    def _defaults(self, tree: StructureStruct, variable: str) -> None:
        """Set the fields that the bytes do not have, and those that they may not have."""
        constants: dict[str, list[str]] = {}
        for field in _absent_fields(tree):
            target = f"{variable}.{field.name}"
            if not field.default_is_built:
                constants.setdefault(literal(self.source, field.default), []).append(target)
            elif field.kind == "array":
                self.source.line(f"{target} = []")
            else:
                self._default_structure(field.element_class(tree.structure_class), target)
        for value, targets in constants.items():
            self.source.line(" = ".join([*targets, value]))

    def _default_structure(self, structure_class: type[Structure], target: str) -> None:
        variable = self.source.temporary("s")
        self.source.line(
            f"{target} = {variable} = new({self.source.constant(structure_class.__name__, structure_class)})"
        )
        self._defaults(StructureStruct(structure_class), variable)

    def _structure(self, tree: StructureStruct, variable: str) -> None:
        self._defaults(tree, variable)
        for subcon in tree.subcons:
            if isinstance(subcon.subcon, TaggedFields):
                self._tagged_fields(subcon.subcon, variable)
            else:
                self._value(subcon.subcon, f"{variable}.{subcon.name}", subcon.name)

    def _tagged_fields(self, tagged: TaggedFields, variable: str) -> None:
        source = self.source
        count = source.temporary("n")
        self._fixed("B", count)
        self._flush()
        source.open(f"if {count}")
        if not tagged.fields:
            source.line(f"o = skip_tagged_fields(data, o, {count})")
            source.close()
            return
        last, tag, size, stop = (source.temporary(hint) for hint in ("last", "tag", "size", "stop"))
        source.open(f"if {count} > 127")
        source.line(f"{count}, o = long_varint(data, o, {count})")
        source.close()
        source.line(f"{last} = -1")
        source.open(f"for _ in repeat(None, {count})")
        source.line(f"{tag}, o = read_varint(data, o)")
        source.line(f"{size}, o = read_varint(data, o)")
        self._fail(f"{tag} <= {last}", "tagged fields are out of order")
        source.line(f"{last} = {tag}")
        source.line(f"{stop} = o + {size}")
        self._fail(f"{stop} > end", "a tagged field ends behind the message")
        branch = "if"
        for number, subcon in sorted(tagged.fields.items()):
            source.open(f"{branch} {tag} == {number}")
            branch = "elif"
            self._value(subcon.subcon, f"{variable}.{subcon.name}", subcon.name)
            self._flush()
            self._fail(f"o != {stop}", f"{subcon.name}: the tagged field does not have its size")
            source.close()
        source.open("else")
        source.line(f"o = {stop}")
        source.close()
        source.close()
        source.close()

    # Values

    def _value(self, subcon: construct.Construct, target: str, name: str) -> None:
        format_ = format_of(subcon)
        if isinstance(subcon, Uuid):
            key = self.source.temporary("u")
            self._fixed("16s", key)
            self._after_run.append(f"{target} = UUIDS[{key}]")
        elif format_ is not None:
            self._fixed(format_, target)
        elif isinstance(subcon, StructureStruct):
            variable = self._new_structure(subcon)
            self.source.line(f"{target} = {variable}")
            self._structure(subcon, variable)
        elif isinstance(subcon, NullableStructure):
            self._nullable_structure(subcon, target)
        elif isinstance(subcon, Array):
            self._array(subcon, target, name)
        else:
            self._bytes(subcon, target, name)

    def _nullable_structure(self, subcon: NullableStructure, target: str) -> None:
        source = self.source
        marker = source.temporary("n")
        if subcon.tagged:
            self._flush()
            source.line(f"{marker}, o = read_varint(data, o)")
            source.open(f"if {marker} == 0")
        else:
            self._fixed("b", marker)
            self._flush()
            source.open(f"if {marker} < 0")
        source.line(f"{target} = None")
        source.close()
        source.open("else")
        self._value(subcon.subcon, target, "")
        self._flush()
        source.close()

    def _size(self, subcon: Sized) -> str:
        """Read a length: the name of a variable that holds the length + 1 if compact, else the length."""
        size = self.source.temporary("n")
        self._fixed("B" if subcon.compact else "h" if subcon.legacy_bytes == 2 else "i", size)
        self._flush()
        if subcon.compact:
            self.source.open(f"if {size} > 127")
            self.source.line(f"{size}, o = long_varint(data, o, {size})")
            if isinstance(subcon, String):
                self._fail(f"{size} > {STRING_BYTES_MAX + 1}", "a string exceeds 32767 bytes")
            self.source.close()
        return size

    def _bytes(self, subcon: Binary, target: str, name: str) -> None:
        source = self.source
        size = self._size(subcon)
        stop = source.temporary("e")
        null = f"not {size}" if subcon.compact else f"{size} == -1"
        if subcon.nullable:
            source.open(f"if {null}")
            source.line(f"{target} = None")
            source.close()
            source.open("else")
        elif subcon.compact:
            self._fail(null, f"{name}: null where null is not allowed")
        if not subcon.compact:
            self._fail(f"{size} < 0", f"{name}: negative length, or null where null is not allowed")
        source.line(f"{stop} = o + {size}" + (" - 1" if subcon.compact else ""))
        self._fail(f"{stop} > end", f"{name} ends behind the message")
        if isinstance(subcon, String):
            piece = f"str(data[o:{stop}], 'utf-8')" if self.careful else f"data[o:{stop}].decode()"
        elif isinstance(subcon, Records):
            piece = f"view[o:{stop}]"
        else:
            piece = f"bytes(data[o:{stop}])"
        source.line(f"{target} = {piece}")
        source.line(f"o = {stop}")
        if subcon.nullable:
            source.close()

    def _array(self, subcon: Array, target: str, name: str) -> None:
        source = self.source
        count = self._size(subcon)
        empty = 1 if subcon.compact else 0
        values = source.temporary("a")
        source.open(f"if {count} > {empty}")
        if subcon.compact:
            source.line(f"{count} -= 1")
        # A handful of elements that are not there is noticed soon enough, without a check for each array.
        self._fail(
            f"{count} > 127 and {count} * {subcon.element_bytes_min} > end - o",
            f"{name}: more elements than the bytes left",
        )
        if self.careful:
            source.line(f"budget -= {count}")
            self._fail("budget < 0", f"{name}: more than {self.message_class.elements_max} array elements")
        if isinstance(subcon.element, StructureStruct):
            self._structures(subcon.element, values, count)
        elif format_of(subcon.element) is not None:
            self._primitives(subcon.element, values, count)
        else:
            source.line(f"{values} = []")
            source.open(f"for _ in repeat(None, {count})")
            element = source.temporary("v")
            self._value(subcon.element, element, f"an element of {name}")
            source.line(f"{values}.append({element})")
            source.close()
        source.line(f"{target} = {values}")
        source.close()
        source.open(f"elif {count} == {empty}")
        source.line(f"{target} = []")
        source.close()
        if subcon.nullable:
            source.open(f"elif {count} == {empty - 1}")
            source.line(f"{target} = None")
            source.close()
        source.open("else")
        source.line(f"raise ProtocolError({f'{name}: negative count, or null where null is not allowed'!r})")
        source.close()

    def _structures(self, element: StructureStruct, values: str, count: str) -> None:
        source = self.source
        class_name = source.constant(element.structure_class.__name__, element.structure_class)
        source.line(f"{values} = []")
        formats = fixed_formats(element)
        if formats is not None:
            source.open(f"if {count} >= {BULK_COUNT_MIN}")
            self._structures_in_bulk(element, formats, values, count, class_name)
            source.close()
        source.open(f"for _ in repeat(None, {count})")
        variable = self._new_structure(element)
        self._structure(element, variable)
        self._flush()
        source.line(f"{values}.append({variable})")
        source.close()

    def _structures_in_bulk(
        self,
        element: StructureStruct,
        formats: list[tuple[str, str]],
        values: str,
        count: str,
        class_name: str,
    ) -> None:
        """All elements by one iterator, provided that none has tagged fields. If one has, start again without."""
        source = self.source
        variable, stop, tags = (source.temporary(hint) for hint in ("s", "e", "n"))
        targets = []
        after = []
        for name, format_ in formats:
            if format_ == "16s":
                key = source.temporary("u")
                targets.append(key)
                after.append(f"{variable}.{name} = UUIDS[{key}]")
            else:
                targets.append(tags if format_ == "B" else f"{variable}.{name}")
        packed = "".join(format_ for _, format_ in formats)
        size = struct.calcsize(">" + packed)
        unpacker = source.packed(packed, "iter_unpack")
        comma = "," if len(targets) == 1 else ""
        source.line(f"{stop} = o + {count} * {size}")
        self._fail(f"{stop} > end", f"{element.structure_class.__name__}: more elements than the bytes left")
        source.line(f"{values} = [*map(new, repeat({class_name}, {count}))]")
        source.open(
            f"for {variable}, ({', '.join(targets)}{comma}) in zip({values}, {unpacker}(data[o:{stop}]))"
        )
        self._defaults(element, variable)
        for line in after:
            source.line(line)
        if tags in targets:
            source.open(f"if {tags}")
            source.line(f"{values} = []")
            source.line("break")
            source.close()
        source.close()
        if tags in targets:
            source.open("else")
        source.line(f"o = {stop}")
        source.line(f"{count} = 0")
        if tags in targets:
            source.close()

    def _primitives(self, element: construct.Construct, values: str, count: str) -> None:
        source = self.source
        if isinstance(element, Uuid):
            unpacker = source.packed("16s", "iter_unpack")
            stop = source.temporary("e")
            source.line(f"{stop} = o + {count} * 16")
            self._fail(f"{stop} > end", "more UUIDs than the bytes left")
            source.line(f"{values} = [UUIDS[key] for (key,) in {unpacker}(data[o:{stop}])]")
            source.line(f"o = {stop}")
            return
        format_ = format_of(element)
        readers = source.constant("small", _small_readers(str(format_)))
        source.open(f"if {count} < {SMALL_COUNT}")
        source.line(f"{values} = list({readers}[{count}](data, o))")
        source.close()
        source.open("else")
        source.line(f"{values} = list(unpack_from(f'>{{{count}}}{format_}', data, o))")
        source.close()
        source.line(f"o += {count} * {minimal_size(element)}")


_SMALL_READERS: dict[str, list[Any]] = {}


def _small_readers(format_: str) -> list[Any]:
    """By count, the `unpack_from` of so many numbers of the format."""
    if format_ not in _SMALL_READERS:
        _SMALL_READERS[format_] = [struct.Struct(f">{n}{format_}").unpack_from for n in range(SMALL_COUNT)]
    return _SMALL_READERS[format_]


def _absent_fields(tree: StructureStruct) -> list[Field]:
    """The fields that are not among the struct's own; tagged fields count as absent."""
    present = {subcon.name for subcon in tree.subcons}
    return [field for name, field in fields_by_name(tree.structure_class).items() if name not in present]


def _has_records(tree: construct.Construct) -> bool:
    if isinstance(tree, StructureStruct):
        return any(_has_records(subcon.subcon) for subcon in tree.subcons)
    if isinstance(tree, Array):
        return _has_records(tree.element)
    return isinstance(tree, Records)
