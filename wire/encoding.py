"""Writes the encoder of one message on one version, as straight-line Python.

The encoder appends pieces of bytes to the list `out`: neighbouring fields of fixed size, with the length of the
string or array behind them, are one `struct.pack`. Whatever a version cannot say (a value out of range, a string
that is too long, None where null is not allowed) makes one of Python's own exceptions, and `wire.faults` then
looks for the field and raises EncodeError.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import construct

from wire.errors import UnsupportedFieldError
from wire.faults import find_fault
from wire.primitives import (
    STRING_BYTES_MAX,
    Array,
    Binary,
    NullableStructure,
    Records,
    String,
    StructureStruct,
    TaggedFields,
    Uuid,
)
from wire.source import SMALL_COUNT, Source, fields_by_name, format_of, literal, varint

if TYPE_CHECKING:
    from wire.schema import Field, Message, Structure

BYTES_MAX = (1 << 31) - 1

OWN_PIECE_BYTES_MIN = 4096
"""Bytes longer than this, and payloads of any length, are not copied when a message is encoded in parts."""


def write_encoder(message_class: type[Message], version: int, tree: StructureStruct) -> Any:
    """The encoder: `encode(message, own) -> pieces`, where `own` collects the indexes of the long pieces."""
    return _EncoderWriter(message_class, version, tree).write()


class _EncoderWriter:
    def __init__(self, message_class: type[Message], version: int, tree: StructureStruct) -> None:
        self.message_class = message_class
        self.version = version
        self.tree = tree

        def unsupported(structure: Structure, name: str) -> Exception:
            return UnsupportedFieldError(
                f"{type(structure).__qualname__}.{name} is set, but {message_class.__name__} version {version} "
                "does not have it"
            )

        def fault(message: Message, error: Exception) -> Exception:
            return find_fault(tree, message, message_class.__name__, version, error)

        self.source = Source(
            f"encoder of {message_class.__name__} version {version}",
            {
                "BYTES_MAX": BYTES_MAX,
                "fault": fault,
                "in_memory": (bytes, bytearray, memoryview),
                "pack": struct.pack,
                "struct_error": struct.error,
                "unsupported": unsupported,
                "varint": varint,
            },
        )
        self._run: list[tuple[str, str]] = []
        self._out = "out"

    def write(self) -> Any:
        source = self.source
        source.open("def encode(m, own)")
        source.line("out = []")
        source.open("try")
        self._structure(self.tree, "m")
        self._flush()
        source.line("return out")
        source.close()
        source.open("except (struct_error, AttributeError, OverflowError, TypeError, ValueError) as error")
        source.line("raise fault(m, error) from None")
        return source.function("encode")

    # Runs of fields of fixed size

    def _fixed(self, format_: str, expression: str) -> None:
        self._run.append((format_, expression))

    def _packed_run(self, *more: tuple[str, str]) -> str:
        """An expression for the bytes of the waiting run, and of some more fields."""
        run = [*self._run, *more]
        formats = "".join(format_ for format_, _ in run)
        values = ", ".join(expression for format_, expression in run if format_ != "x")
        if not values:
            return repr(bytes(len(formats)))
        return f"{self.source.packed(formats, 'pack')}({values})"

    def _flush(self) -> None:
        if self._run:
            self.source.line(f"{self._out}.append({self._packed_run()})")
            self._run.clear()

    def _compact(self, value: str, limit: str | None) -> None:
        """A varint behind the waiting run: nearly always a single byte, which the run takes with it."""
        source = self.source
        source.open(f"if {value} < 128")
        source.line(f"{self._out}.append({self._packed_run(('B', value))})")
        source.close()
        source.open("else")
        if limit is not None:
            source.open(f"if {value} > {limit}")
            source.line("raise ValueError")
            source.close()
        if self._run:
            source.line(f"{self._out}.append({self._packed_run()})")
        source.line(f"{self._out}.append(varint({value}))")
        source.close()
        self._run.clear()

    # Structures

    def _structure(self, tree: StructureStruct, variable: str) -> None:
        self._refuse_unsupported(tree, variable)
        for subcon in tree.subcons:
            if isinstance(subcon.subcon, TaggedFields):
                self._tagged_fields(tree, subcon.subcon, variable)
            else:
                self._value(subcon.subcon, f"{variable}.{subcon.name}")

    def _refuse_unsupported(self, tree: StructureStruct, variable: str) -> None:
        """Fields that the version lacks and that must not be dropped must hold their default."""
        present = {subcon.name for subcon in tree.subcons}
        for subcon in tree.subcons:
            if isinstance(subcon.subcon, TaggedFields):
                present |= {field.name for field in subcon.subcon.fields.values()}
        for field in tree.structure_class.__fields__:
            if field.name not in present and not field.ignorable:
                condition = self._differs(tree.structure_class, field, f"{variable}.{field.name}")
                self.source.open(f"if {condition}")
                self.source.line(f"raise unsupported({variable}, {field.name!r})")
                self.source.close()

    def _differs(self, owner: type[Structure], field: Field, value: str) -> str:
        """An expression: is the value anything else than the field's default?"""
        if field.default is None:
            return f"{value} is not None"
        if field.kind == "array":
            nullable = field.nullable_versions[0] <= field.nullable_versions[1]
            return f"({value} is None or {value})" if nullable else value
        if field.kind == "structure":
            structure_class = field.element_class(owner)
            inner = [
                self._differs(structure_class, part, f"{value}.{part.name}")
                for part in structure_class.__fields__
            ]
            differs = " or ".join(inner) or "False"
            return f"({value} is None or {differs})"
        return f"{value} != {literal(self.source, field.default)}"

    def _tagged_fields(self, tree: StructureStruct, tagged: TaggedFields, variable: str) -> None:
        if not tagged.fields:
            self._fixed("x", "")
            return
        source = self.source
        declared = fields_by_name(tree.structure_class)
        owner = tree.structure_class
        conditions = {
            tag: self._differs(owner, declared[subcon.name], f"{variable}.{subcon.name}")
            for tag, subcon in sorted(tagged.fields.items())
        }
        run = list(self._run)
        source.open(f"if {' or '.join(conditions.values())}")
        self._flush()
        outer, count = self._out, source.temporary("n")
        values = source.temporary("tagged")
        source.line(f"{count} = 0")
        source.line(f"{values} = []")
        for tag, subcon in sorted(tagged.fields.items()):
            source.open(f"if {conditions[tag]}")
            content = self._out = source.temporary("out")
            source.line(f"{content} = []")
            self._value(subcon.subcon, f"{variable}.{subcon.name}")
            self._flush()
            source.line(f"{content} = b''.join({content})")
            source.line(f"{count} += 1")
            source.line(f"{values} += ({varint(tag)!r}, varint(len({content})), {content})")
            source.close()
        self._out = outer
        source.line(f"{outer}.append(varint({count}))")
        source.line(f"{outer} += {values}")
        source.close()
        source.open("else")
        self._run = run
        self._fixed("x", "")
        self._flush()
        source.close()

    # Values

    def _value(self, subcon: construct.Construct, value: str) -> None:
        format_ = format_of(subcon)
        if isinstance(subcon, Uuid):
            self._fixed("16s", f"{value}.int.to_bytes(16, 'big')")
        elif format_ is not None:
            self._fixed(format_, value)
        elif isinstance(subcon, StructureStruct):
            variable = self.source.temporary("s")
            self.source.line(f"{variable} = {value}")
            self._structure(subcon, variable)
        elif isinstance(subcon, NullableStructure):
            self._nullable_structure(subcon, value)
        elif isinstance(subcon, Array):
            self._array(subcon, value)
        else:
            self._bytes(subcon, value)

    def _nullable_structure(self, subcon: NullableStructure, value: str) -> None:
        source = self.source
        format_, null, present = ("B", "0", "1") if subcon.tagged else ("b", "-1", "1")
        run = list(self._run)
        variable = source.temporary("s")
        source.line(f"{variable} = {value}")
        source.open(f"if {variable} is None")
        self._fixed(format_, null)
        self._flush()
        source.close()
        source.open("else")
        self._run = run
        self._fixed(format_, present)
        self._structure(subcon.subcon, variable)
        self._flush()
        source.close()

    def _open_unless_null(self, value: str, *, compact: bool, nullable: bool, length_format: str) -> None:
        """For a nullable value: write null, and open the block for anything else."""
        if nullable:
            run = list(self._run)
            self.source.open(f"if {value} is None")
            self._fixed(*(("x", "") if compact else (length_format, "-1")))
            self._flush()
            self.source.close()
            self.source.open("else")
            self._run = run

    def _bytes(self, subcon: Binary, value: str) -> None:
        source = self.source
        is_string = isinstance(subcon, String)
        data = source.temporary("b")
        length_format = "h" if is_string else "i"
        source.line(f"{data} = {value}")
        self._open_unless_null(
            data, compact=subcon.compact, nullable=subcon.nullable, length_format=length_format
        )
        if is_string:
            source.line(f"{data} = {data}.encode()")
        elif not isinstance(subcon, Records):
            source.open(f"if type({data}) is not bytes")
            source.line(f"{data} = bytes({data})")
            source.close()
        if subcon.compact:
            size = source.temporary("n")
            source.line(f"{size} = len({data}) + 1")
            self._compact(size, f"{STRING_BYTES_MAX + 1}" if is_string else "BYTES_MAX")
        else:
            size = f"len({data})"
            self._fixed(length_format, size)
            self._flush()
        if not is_string and self._out == "out":
            limit = OWN_PIECE_BYTES_MIN + 1 if subcon.compact else OWN_PIECE_BYTES_MIN
            payload = f" or not isinstance({data}, in_memory)" if isinstance(subcon, Records) else ""
            source.open(f"if {size} > {limit}{payload}")
            source.line("own.append(len(out))")
            source.close()
        source.line(f"{self._out}.append({data})")
        if subcon.nullable:
            source.close()

    def _array(self, subcon: Array, value: str) -> None:
        source = self.source
        values = source.temporary("a")
        source.line(f"{values} = {value}")
        self._open_unless_null(values, compact=subcon.compact, nullable=subcon.nullable, length_format="i")
        format_ = format_of(subcon.element)
        if format_ is not None and not isinstance(subcon.element, Uuid):
            self._numbers(subcon, values, format_)
        else:
            if subcon.compact:
                count = source.temporary("n")
                source.line(f"{count} = len({values}) + 1")
                self._compact(count, None)
            else:
                self._fixed("i", f"len({values})")
                self._flush()
            self._elements(subcon.element, values)
        if subcon.nullable:
            source.close()

    def _elements(self, element: construct.Construct, values: str) -> None:
        source = self.source
        variable = source.temporary("s")
        lines_before = source.mark()
        source.open(f"for {variable} in {values}")
        body = source.mark()
        if isinstance(element, StructureStruct):
            self._structure(element, variable)
        else:
            self._value(element, variable)
        if source.mark() == body and self._run:
            # Every element is a single pack: a comprehension is quicker than a loop of appends.
            source.close()
            source.undo(lines_before)
            source.line(f"{self._out} += [{self._packed_run()} for {variable} in {values}]")
            self._run.clear()
            return
        self._flush()
        source.close()

    def _numbers(self, subcon: Array, values: str, format_: str) -> None:
        source = self.source
        count = source.temporary("n")
        source.line(f"{count} = len({values})")
        self._flush()
        writers = source.constant("small", _small_writers("B" if subcon.compact else "i", format_))
        source.open(f"if {count} < {SMALL_COUNT}")
        first = f"{count} + 1" if subcon.compact else count
        source.line(f"{self._out}.append({writers}[{count}]({first}, *{values}))")
        source.close()
        source.open("else")
        size = f"varint({count} + 1)" if subcon.compact else f"pack('>i', {count})"
        source.line(f"{self._out}.append({size})")
        source.line(f"{self._out}.append(pack(f'>{{{count}}}{format_}', *{values}))")
        source.close()


_SMALL_WRITERS: dict[tuple[str, str], list[Any]] = {}


def _small_writers(count_format: str, format_: str) -> list[Any]:
    """By count, the `pack` of the count and so many numbers of the format."""
    key = count_format, format_
    if key not in _SMALL_WRITERS:
        _SMALL_WRITERS[key] = [struct.Struct(f">{count_format}{n}{format_}").pack for n in range(SMALL_COUNT)]
    return _SMALL_WRITERS[key]
