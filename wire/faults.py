"""Says which field of a message cannot be encoded, once encoding has failed."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import construct

from wire.errors import EncodeError
from wire.primitives import (
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
from wire.source import format_of


def find_fault(tree: StructureStruct, message: Any, name: str, version: int, error: Exception) -> EncodeError:
    """The error for the first value that does not fit its field. `error` is what encoding failed with."""
    fault = _structure_fault(tree, message, name) or f"{name}: {error!r}"
    return EncodeError(f"version {version} cannot be encoded: {fault}")


def _structure_fault(tree: StructureStruct, structure: Any, path: str) -> str | None:
    if not isinstance(structure, tree.structure_class):
        return f"{path} is not a {tree.structure_class.__qualname__} but a {type(structure).__qualname__}"
    subcons = list(tree.subcons)
    if subcons and isinstance(subcons[-1].subcon, TaggedFields):
        subcons[-1:] = subcons[-1].subcon.fields.values()
    for subcon in subcons:
        fault = _fault(subcon.subcon, getattr(structure, subcon.name, None), f"{path}.{subcon.name}")
        if fault:
            return fault
    return None


def _fault(subcon: construct.Construct, value: Any, path: str) -> str | None:
    if value is None and isinstance(subcon, Sized | NullableStructure):
        nullable = isinstance(subcon, NullableStructure) or subcon.nullable
        return None if nullable else f"{path} must not be None"
    if isinstance(subcon, NullableStructure):
        return _structure_fault(subcon.subcon, value, path)
    if isinstance(subcon, StructureStruct):
        return _structure_fault(subcon, value, path)
    if isinstance(subcon, Array):
        return _array_fault(subcon, value, path)
    if isinstance(subcon, String):
        return _string_fault(value, path)
    if isinstance(subcon, Binary):
        return _binary_fault(value, path, is_records=isinstance(subcon, Records))
    if isinstance(subcon, Uuid):
        return None if isinstance(value, UUID) else f"{path} is not a UUID but a {type(value).__qualname__}"
    try:
        struct.pack(f">{format_of(subcon)}", value)
    except struct.error as error:
        return f"{path} = {value!r}: {error}"
    return None


def _array_fault(subcon: Array, values: Any, path: str) -> str | None:
    if not isinstance(values, list | tuple):
        return f"{path} is not a list but a {type(values).__qualname__}"
    for index, value in enumerate(values):
        fault = _fault(subcon.element, value, f"{path}[{index}]")
        if fault:
            return fault
    return None


def _string_fault(value: Any, path: str) -> str | None:
    if not isinstance(value, str):
        return f"{path} is not a string but a {type(value).__qualname__}"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return f"{path} cannot be written as UTF-8"
    if size > String.size_max:
        return f"{path} has {size} bytes, more than {String.size_max}"
    return None


def _binary_fault(value: Any, path: str, *, is_records: bool) -> str | None:
    bytes_like = isinstance(value, bytes | bytearray | memoryview)
    if not bytes_like and not (is_records and hasattr(value, "read")):
        return f"{path} is not bytes-like but a {type(value).__qualname__}"
    if len(value) > Binary.size_max:
        return f"{path} has {len(value)} bytes, more than {Binary.size_max}"
    return None
