"""Structures whose fields all have a fixed size: declared as a construct, read and written by `struct`.

construct takes some 20 µs for a batch header; the broker reads one for every batch that passes. So the
construct stays the declaration, and a `struct.Struct` with the same bytes is derived from it.
"""

import struct

import construct


class FixedLayout:
    """A `construct.Struct` of numbers in network byte order, and the `struct.Struct` it amounts to.

    Attributes: `names` in order, `size_bytes`, `unpack_from(buffer, offset)` and
    `pack_into(buffer, offset, *values)` of the whole, both raising struct.error as `struct` does.
    """

    def __init__(self, schema: construct.Struct) -> None:
        self.schema = schema
        self.names: tuple[str, ...] = tuple(field.name for field in schema.subcons)
        formats = {field.name: field.subcon.fmtstr for field in schema.subcons}
        assert all(format_[0] == ">" for format_ in formats.values()), "network byte order only"
        self._fields = {name: struct.Struct(format_) for name, format_ in formats.items()}
        whole = struct.Struct(">" + "".join(format_[1:] for format_ in formats.values()))
        self.size_bytes = whole.size
        self.unpack_from = whole.unpack_from
        self.pack = whole.pack
        self.pack_into = whole.pack_into

    def field(self, name: str) -> tuple[int, struct.Struct]:
        """Where the named field begins, in bytes from the start, and how it alone is read and written."""
        position = 0
        for field_name, field in self._fields.items():
            if field_name == name:
                return position, field
            position += field.size
        raise KeyError(name)
