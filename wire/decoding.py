"""Writes the decoder of one message on one version, as straight-line Python.

The decoder walks no schema and calls nothing of ours per field. In the source that is written, `data` is the
buffer, `end` its size, and `o` an offset into it; what was read since `o` was last updated is kept by the writer
as a constant (`_ahead`), so that most offsets cost nothing at run time.

- Neighbouring fields of fixed size, and the length of the string or array behind them (of a compact one, its
  first byte), are one `struct.unpack_from` into the attributes.
- A short array of numbers is read together with the fields behind it.
- An array of structures is a loop. If each element has the same size, or would have if its nullable strings and
  its arrays were empty, as they mostly are, one iterator unpacks all elements; an element that is different
  ends that, and the plain loop reads the rest.

Each decoder exists twice. The ordinary one reads buffers of up to `elements_max` bytes, which cannot hold more
elements than that. It hands larger ones (and memoryviews, if it must not copy them) to the careful one, which is
written when it is first needed, and counts the elements.

Reading behind the end of the buffer raises IndexError or struct.error; these become ProtocolError in one place.
Slices do not raise, so each is preceded by a check.

What Kafka's decoder lets pass, this one does too: strings that are not UTF-8 (with U+FFFD in them), tagged fields in
any order and more than once (the last one counts), and any negative length for null.
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
)
from wire.source import (
    UUIDS,
    Source,
    fields_by_name,
    format_of,
    literal,
    read_long_varint,
    read_varint,
)

if TYPE_CHECKING:
    from wire.schema import Field, Message

USUAL_COUNTS = (0, 1, 3, 2)
"""Arrays of so many numbers (replicas, mostly) are read together with the fields behind them."""


def skip_tagged_fields(data: Any, offset: int, count: int) -> int:
    """Skip `count` tagged fields, none of them known; `count` is the first byte of the varint before `offset`."""
    if count > 0x7F:
        count, offset = read_long_varint(data, offset, count)
    for _ in repeat(None, count):
        tag, offset = read_varint(data, offset)
        size, offset = read_varint(data, offset)
        offset += size
        if offset > len(data):
            raise ProtocolError(f"tag {tag} of {size} bytes ends behind the message")
    return offset


def read_many_numbers(
    data: Any,
    offset: int,
    size: int,
    format_: str,
    item_size: int,
    compact: bool,
    nullable: bool,
    count_max: int,
) -> tuple[list[Any] | None, int]:
    """An array of numbers of any count, or null: the array, and the offset behind it.

    `size` is the count, or of a compact array the first byte of its varint. Raises ProtocolError when there are
    fewer bytes left, or more elements than `count_max`.
    """
    if compact:
        if size > 0x7F:
            size, offset = read_long_varint(data, offset, size)
        size -= 1
    if size < 0 and nullable:
        return None, offset
    if size < 0:
        raise ProtocolError("an array has a negative count, or is null where null is not allowed")
    stop = offset + size * item_size
    if stop > len(data):
        raise ProtocolError(f"an array of {size} numbers ends behind the message")
    if size > count_max:
        raise ProtocolError(f"an array of {size} numbers is too long")
    return list(struct.unpack_from(f">{size}{format_}", data, offset)), stop


def write_decoder(message_class: type[Message], version: int, tree: StructureStruct) -> Any:
    """The ordinary decoder: `decode(data, offset) -> (message, offset behind it)`."""
    careful: list[Any] = []

    def decode_carefully(data: Any, offset: int) -> Any:
        if not careful:
            careful.append(_DecoderWriter(message_class, version, tree, careful=True).write())
        return careful[0](data, offset)

    writer = _DecoderWriter(message_class, version, tree, careful=False)
    writer.source.names["decode_carefully"] = decode_carefully
    return writer.write()


class _DecoderWriter:
    def __init__(
        self, message_class: type[Message], version: int, tree: StructureStruct, *, careful: bool
    ) -> None:
        self.message_class = message_class
        self.title = f"{message_class.__name__} version {version}"
        self.tree = tree
        self.careful = careful
        self.has_records = _has_records(tree)
        self.in_place = self.has_records or message_class.decoded_in_place
        self.source = Source(
            f"{'careful ' if careful else ''}decoder of {self.title}",
            {
                "ProtocolError": ProtocolError,
                "UUIDS": UUIDS,
                "long_varint": read_long_varint,
                "many_numbers": read_many_numbers,
                "new": object.__new__,
                "read_varint": read_varint,
                "repeat": repeat,
                "skip_tagged_fields": skip_tagged_fields,
                "struct_error": struct.error,
            },
        )
        # Bytes that were read since `o` was updated.
        self._ahead = 0
        # A short array of numbers, fields of fixed size behind it, which wait to be read together, and the
        # lines that need them to have been read.
        self._numbers: tuple[Array, str, str] | None = None
        self._run: list[tuple[str, str]] = []
        self._after_run: list[str] = []

    def write(self) -> Any:
        source = self.source
        elements_max = self.message_class.elements_max
        source.open("def decode(data, o)")
        source.line("end = len(data)")
        if self.careful:
            source.line(f"budget = {elements_max}")
        else:
            memoryview_too = " or type(data) is memoryview" if self.in_place else ""
            source.open(f"if end - o > {elements_max}{memoryview_too}")
            source.line("return decode_carefully(data, o)")
            source.close()
        source.open("try")
        if self.has_records:
            source.line("view = memoryview(data)")
        if not self.in_place:
            # Slices of bytes are quicker, and they are what bytes fields decode to.
            source.open("if type(data) is not bytes")
            source.line("data = bytes(data)")
            source.close()
        message = source.temporary("s")
        source.line(f"{message} = new({self._class(self.tree)})")
        self._structure(self.tree, message)
        self._flush()
        source.line(f"return {message}, {self._at()}")
        source.close()
        source.open("except (IndexError, struct_error)")
        source.line(f"raise ProtocolError({f'{self.title} is cut off'!r}) from None")
        source.close()
        return source.function("decode")

    def _class(self, tree: StructureStruct) -> str:
        return self.source.constant(tree.structure_class.__name__, tree.structure_class)

    def _fail_if(self, condition: str, what: str) -> None:
        self.source.open(f"if {condition}")
        self._fail(what)
        self.source.close()

    def _fail(self, what: str) -> None:
        self.source.line(f"raise ProtocolError({f'{self.title}: {what}'!r})")

    # Offsets, and runs of fields of fixed size

    def _at(self) -> str:
        """An expression for the offset of the next byte to read."""
        return f"o + {self._ahead}" if self._ahead else "o"

    def _synchronise(self) -> None:
        """Bring `o` to the next byte to read, where branches are to meet."""
        if self._ahead:
            self.source.line(f"o += {self._ahead}")
            self._ahead = 0

    def _fixed(self, format_: str, target: str) -> None:
        self._run.append((format_, target))

    def _flush(self) -> None:
        """Read what waits to be read together."""
        if self._numbers:
            self._read_numbers(*self._numbers)
        else:
            self._read_run()
        self._run.clear()
        for line in self._after_run:
            self.source.line(line)
        self._after_run.clear()

    def _read_run(self) -> None:
        if not self._run:
            return
        formats = "".join(format_ for format_, _ in self._run)
        targets = ", ".join(target for _, target in self._run)
        if formats == "B":
            self.source.line(f"{targets} = data[{self._at()}]")
        else:
            comma = "," if len(self._run) == 1 else ""
            unpack_from = self.source.packed(formats, "unpack_from")
            self.source.line(f"{targets}{comma} = {unpack_from}(data, {self._at()})")
        self._ahead += struct.calcsize(f">{formats}")

    def _read_numbers(self, subcon: Array, target: str, count: str) -> None:
        """An array of numbers, together with the waiting run if it has one of the usual counts."""
        source = self.source
        self._numbers = None
        format_ = str(format_of(subcon.element))
        item_size = struct.calcsize(f">{format_}")
        zero = 1 if subcon.compact else 0
        run, ahead = self._run, self._ahead
        branch = "if"
        for usual in USUAL_COUNTS:
            source.open(f"{branch} {count} == {usual + zero}")
            branch = "elif"
            items = [source.temporary("i") for _ in range(usual)]
            self._run = [(format_, item) for item in items] + run
            self._ahead = ahead
            self._read_run()
            source.line(f"{target} = [{', '.join(items)}]")
            self._synchronise()
            source.close()
        source.open("else")
        count_max = "budget" if self.careful else "end"
        flags = f"{format_!r}, {item_size}, {subcon.compact}, {subcon.nullable}, {count_max}"
        self._ahead = ahead
        source.line(f"{target}, o = many_numbers(data, {self._at()}, {count}, {flags})")
        if self.careful:
            source.line(f"budget -= len({target} or ())")
        self._ahead = 0
        self._run = run
        self._read_run()
        self._synchronise()
        source.close()

    # Structures

    def _defaults(self, tree: StructureStruct, variable: str) -> None:
        """Set the fields that the bytes do not have, and the tagged ones, which they may not have."""
        constants: dict[str, list[str]] = {}
        for field in _absent_fields(tree):
            target = f"{variable}.{field.name}"
            if not field.default_is_built:
                constants.setdefault(literal(self.source, field.default), []).append(target)
            elif field.kind == "array":
                self.source.line(f"{target} = []")
            else:
                inner = StructureStruct(field.element_class(tree.structure_class))
                part = self.source.temporary("s")
                self.source.line(f"{target} = {part} = new({self._class(inner)})")
                self._defaults(inner, part)
        for value, targets in constants.items():
            self.source.line(" = ".join([*targets, value]))

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
        self._synchronise()
        source.open(f"if {count}")
        if tagged.fields:
            self._known_tagged_fields(tagged, variable, count)
        else:
            source.line(f"o = skip_tagged_fields(data, o, {count})")
        source.close()

    def _known_tagged_fields(self, tagged: TaggedFields, variable: str, count: str) -> None:
        source = self.source
        tag, size, stop = (source.temporary(hint) for hint in ("tag", "size", "stop"))
        source.open(f"if {count} > 127")
        source.line(f"{count}, o = long_varint(data, o, {count})")
        source.close()
        source.open(f"for _ in repeat(None, {count})")
        source.line(f"{tag}, o = read_varint(data, o)")
        source.line(f"{size}, o = read_varint(data, o)")
        source.line(f"{stop} = o + {size}")
        self._fail_if(f"{stop} > end", "a tagged field ends behind the message")
        branch = "if"
        for number, subcon in sorted(tagged.fields.items()):
            source.open(f"{branch} {tag} == {number}")
            branch = "elif"
            self._value(subcon.subcon, f"{variable}.{subcon.name}", subcon.name)
            self._flush()
            self._synchronise()
            self._fail_if(f"o != {stop}", f"the tagged field {subcon.name} does not have its size")
            source.close()
        source.open("else")
        source.line(f"o = {stop}")
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
            variable = self.source.temporary("s")
            self.source.line(f"{target} = {variable} = new({self._class(subcon)})")
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
            self._synchronise()
            source.line(f"{marker}, o = read_varint(data, o)")
            source.open(f"if {marker} == 0")
        else:
            self._fixed("b", marker)
            self._flush()
            self._synchronise()
            source.open(f"if {marker} < 0")
        source.line(f"{target} = None")
        source.close()
        source.open("else")
        self._value(subcon.subcon, target, "")
        self._flush()
        self._synchronise()
        source.close()

    def _size(self, subcon: Sized) -> str:
        """Read a length or count: a variable with its value, or of a compact one its varint's first byte."""
        size = self.source.temporary("n")
        self._fixed(_size_format(subcon), size)
        self._flush()
        return size

    def _bytes(self, subcon: Binary, target: str, name: str) -> None:
        source = self.source
        size = self._size(subcon)
        stop = source.temporary("e")
        if subcon.compact:
            source.open(f"if {size} > 127")
            source.line(f"{size}, o = long_varint(data, {self._at()}, {size})")
            if self._ahead:
                source.line(f"o -= {self._ahead}")
            if isinstance(subcon, String):
                self._fail_if(f"{size} > {STRING_BYTES_MAX + 1}", f"{name} exceeds {STRING_BYTES_MAX} bytes")
            source.close()
        zero = 1 if subcon.compact else 0
        source.open(f"if {size} > {zero}")
        behind = self._ahead - zero
        source.line(f"{stop} = o + {size}" + (f" + {behind}" if behind else ""))
        self._fail_if(f"{stop} > end", f"{name} ends behind the message")
        source.line(f"{target} = {self._piece(subcon, f'{self._at()}:{stop}')}")
        source.line(f"o = {stop}")
        source.close()
        ahead = self._ahead
        source.open(f"elif {size} == {zero}")
        source.line(f"{target} = {self._empty(subcon)}")
        self._synchronise()
        source.close()
        self._ahead = ahead
        self._null_branch(subcon, size, target, name)
        self._ahead = 0

    def _piece(self, subcon: Binary, bounds: str) -> str:
        if isinstance(subcon, Records):
            return f"view[{bounds}]"
        if isinstance(subcon, String):
            if self.careful:
                return f"str(data[{bounds}], 'utf-8', 'replace')"
            return f"data[{bounds}].decode('utf-8', 'replace')"
        return f"bytes(data[{bounds}])" if self.in_place else f"data[{bounds}]"

    def _empty(self, subcon: Sized) -> str:
        if isinstance(subcon, Array):
            return "[]"
        if isinstance(subcon, Records):
            return "view[0:0]"
        return "''" if isinstance(subcon, String) else "b''"

    def _null_branch(self, subcon: Sized, size: str, target: str, name: str) -> None:
        """The last branches of an `if` on the size: null, and sizes that are not allowed."""
        source = self.source
        if subcon.nullable:
            source.open("else" if subcon.compact else f"elif {size} < 0")
            source.line(f"{target} = None")
            self._synchronise()
            source.close()
        if not (subcon.compact and subcon.nullable):
            source.open("else")
            self._fail(f"{name} has a negative length, or is null where null is not allowed")
            source.close()

    def _array(self, subcon: Array, target: str, name: str) -> None:
        source = self.source
        count = self._size(subcon)
        if format_of(subcon.element) is not None and not isinstance(subcon.element, Uuid):
            self._numbers = subcon, target, count
            return
        self._synchronise()
        zero = 1 if subcon.compact else 0
        # Up to 127 elements that are not there are noticed soon enough when they are read.
        source.open(f"if {count} > 127")
        if subcon.compact:
            source.line(f"{count}, o = long_varint(data, o, {count})")
        self._fail_if(
            f"({count} - {zero}) * {subcon.element_bytes_min} > end - o",
            f"{name} has more elements than the bytes left can hold",
        )
        source.close()
        source.open(f"if {count} > {zero}")
        if zero:
            source.line(f"{count} -= {zero}")
        if self.careful:
            source.line(f"budget -= {count}")
            self._fail_if("budget < 0", f"more than {self.message_class.elements_max} array elements")
        values = source.temporary("a")
        if isinstance(subcon.element, StructureStruct):
            self._structures(subcon.element, values, count)
        else:
            self._single_values(subcon.element, values, count, name)
        source.line(f"{target} = {values}")
        source.close()
        source.open(f"elif {count} == {zero}")
        source.line(f"{target} = []")
        source.close()
        self._null_branch(subcon, count, target, name)

    def _single_values(self, element: construct.Construct, values: str, count: str, name: str) -> None:
        """An array of strings, bytes or UUIDs."""
        source = self.source
        if isinstance(element, Uuid):
            stop = source.temporary("e")
            source.line(f"{stop} = o + {count} * 16")
            self._fail_if(f"{stop} > end", f"{name} ends behind the message")
            unpacker = source.packed("16s", "iter_unpack")
            source.line(f"{values} = [UUIDS[key] for (key,) in {unpacker}(data[o:{stop}])]")
            source.line(f"o = {stop}")
            return
        source.line(f"{values} = []")
        source.open(f"while {count}")
        source.line(f"{count} -= 1")
        value = source.temporary("v")
        self._value(element, value, f"an element of {name}")
        self._synchronise()
        source.line(f"{values}.append({value})")
        source.close()

    def _structures(self, element: StructureStruct, values: str, count: str) -> None:
        source = self.source
        bulk = _Bulk.of(element)
        variable = source.temporary("s")
        source.line(f"{values} = []")
        if bulk is not None:
            self._structures_in_bulk(element, bulk, values, count)
        source.open(f"while {count}")
        source.line(f"{count} -= 1")
        source.line(f"{variable} = new({self._class(element)})")
        source.line(f"{values}.append({variable})")
        self._structure(element, variable)
        self._flush()
        self._synchronise()
        source.close()

    def _structures_in_bulk(self, element: StructureStruct, bulk: _Bulk, values: str, count: str) -> None:
        """Read elements by one iterator, until there is one that does not have the expected size.

        Leaves in `count` how many elements remain then, and in `o` where they begin.
        """
        source = self.source
        variable, parts, stop = (source.temporary(hint) for hint in ("s", "q", "e"))
        targets = []
        unexpected = []
        after = []
        for name, subcon, _ in bulk.parts:
            target = source.temporary("n")
            if isinstance(subcon, Uuid):
                after.append(f"{variable}.{name} = UUIDS[{target}]")
            elif isinstance(subcon, TaggedFields):
                unexpected.append(target)
            elif isinstance(subcon, Sized):
                empty = self._empty(subcon)
                zero = 1 if subcon.compact else 0
                if subcon.nullable:
                    unexpected.append(f"{target} > {zero}" if zero else f"not -1 <= {target} <= 0")
                    after.append(f"{variable}.{name} = {empty} if {target} == {zero} else None")
                else:
                    unexpected.append(f"{target} != {zero}")
                    after.append(f"{variable}.{name} = {empty}")
            else:
                target = f"{variable}.{name}"
            targets.append(target)
        comma = "," if len(targets) == 1 else ""
        unpacker = source.packed(bulk.formats, "iter_unpack")
        source.line(f"{stop} = o + {count} * {bulk.size}")
        # The first element tells whether it is worth trying.
        peek = "".join(f" and data[o + {offset}] <= {value}" for offset, value in bulk.peeks)
        source.open(f"if {stop} <= end{peek}")
        source.open(f"for {parts} in {unpacker}(data[o:{stop}])")
        source.line(f"{variable} = new({self._class(element)})")
        source.line(f"{', '.join(targets)}{comma} = {parts}")
        if unexpected:
            source.open(f"if {' or '.join(unexpected)}")
            source.line(f"o += len({values}) * {bulk.size}")
            source.line(f"{count} -= len({values})")
            source.line("break")
            source.close()
        self._defaults(element, variable)
        for line in after:
            source.line(line)
        source.line(f"{values}.append({variable})")
        source.close()
        source.open("else")
        source.line(f"o = {stop}")
        source.line(f"{count} = 0")
        source.close()
        source.close()


class _Bulk:
    """The layout of a structure whose nullable strings and arrays are empty and that has no tagged fields."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, construct.Construct, str]] = []
        self.formats = ""
        self.size = 0
        self.peeks: list[tuple[int, int]] = []
        """Offsets of bytes that say already of the first element whether it has this layout, with their
        greatest expected value."""

    @classmethod
    def of(cls, tree: StructureStruct) -> _Bulk | None:
        """None when the structure cannot have such a layout, or is most unlikely to.

        A string that is not nullable is hardly ever empty, and an array of structures that comes last is what
        the structure is there for.
        """
        bulk = cls()
        last = [subcon for subcon in tree.subcons if not isinstance(subcon.subcon, TaggedFields)][-1:]
        for subcon in tree.subcons:
            inner = subcon.subcon
            if isinstance(inner, TaggedFields):
                format_ = "B"
            elif isinstance(inner, Sized):
                array_of_structures = isinstance(inner, Array) and isinstance(inner.element, StructureStruct)
                likely_empty = subcon not in last if array_of_structures else inner.nullable
                if not likely_empty or isinstance(inner, Records):
                    return None
                format_ = _size_format(inner)
                if inner.compact:
                    bulk.peeks.append((bulk.size, 1))
            else:
                fixed = format_of(inner)
                if fixed is None:
                    return None
                format_ = fixed
            bulk.parts.append((subcon.name, inner, format_))
            bulk.formats += format_
            bulk.size = struct.calcsize(f">{bulk.formats}")
        return bulk if bulk.parts else None


def _size_format(subcon: Sized) -> str:
    if subcon.compact:
        return "B"
    return "h" if subcon.legacy_bytes == 2 else "i"


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
