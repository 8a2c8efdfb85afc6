"""Our messages to the entities of the `kio` package and back, by position: both follow Kafka's definitions.

kio gives some fields types of its own: an `ErrorCode`, a `timedelta`, an aware `datetime` (-1 is None where it is
nullable), None for the zero UUID, tuples for arrays. `limit` keeps generated values inside what those can hold.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
from functools import cache
from typing import Any, get_args

from kio.index import UnknownEntity, load_entity_module
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.schema.index import api_key_map
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from tests.wire.messages_under_test import Limit
from wire.schema import ZERO_UUID, Field, Message, Request, Response, Structure

EPOCH = dt.datetime.fromtimestamp(0, tz=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)


@cache
def kio_class(message_class: type[Message], version: int) -> Any:
    """kio's class for one version of a request or response; None when kio does not have it."""
    assert issubclass(message_class, Request | Response)
    name = api_key_map.get(message_class.api_key)
    direction = EntityType.request if issubclass(message_class, Request) else EntityType.response
    if name is None:
        return None
    try:
        module = load_entity_module(name, version, direction)
    except UnknownEntity:
        return None
    return getattr(module, message_class.__name__)


@cache
def _pairs(structure_class: type[Structure], entity_class: Any, version: int) -> list[tuple[Field, Any]]:
    ours = [field for field in structure_class.__fields__ if field.in_version(version)]
    theirs = dataclasses.fields(entity_class)
    assert len(ours) == len(theirs), (structure_class, version, [f.name for f in ours], theirs)
    return list(zip(ours, theirs, strict=True))


def _entity_inside(type_: Any) -> Any:
    """The dataclass in `tuple[X, ...]`, `X | None` and the like; None if there is none."""
    if dataclasses.is_dataclass(type_):
        return type_
    found = [_entity_inside(argument) for argument in get_args(type_)]
    return next((entity for entity in found if entity is not None), None)


def limits(message_class: type[Message], version: int) -> Limit:
    """Which of the message's fields kio cannot take every value of."""
    narrower: dict[tuple[str, str], str] = {}

    def visit(structure_class: type[Structure], entity_class: Any) -> None:
        for field, theirs in _pairs(structure_class, entity_class, version):
            kind = theirs.metadata.get("kafka_type")
            if kind == "error_code":
                narrower[structure_class.__qualname__, field.name] = "error_code"
            elif kind == "timedelta_i64":
                narrower[structure_class.__qualname__, field.name] = "milliseconds"
            elif kind == "datetime_i64":
                narrower[structure_class.__qualname__, field.name] = "timestamp"
            inner = _entity_inside(theirs.type)
            if inner is not None:
                visit(field.element_class(structure_class), inner)

    visit(message_class, kio_class(message_class, version))
    return lambda name, field: narrower.get((name, field.name))


def to_kio(structure: Structure, entity_class: Any, version: int) -> Any:
    values = {}
    for field, theirs in _pairs(type(structure), entity_class, version):
        value = getattr(structure, field.name)
        inner = _entity_inside(theirs.type)
        if value is None:
            values[theirs.name] = None
        elif inner is not None and isinstance(value, list):
            values[theirs.name] = tuple(to_kio(element, inner, version) for element in value)
        elif inner is not None:
            values[theirs.name] = to_kio(value, inner, version)
        elif isinstance(value, list):
            kind = theirs.metadata["kafka_type"]
            values[theirs.name] = tuple(_primitive_to_kio(kind, element) for element in value)
        else:
            values[theirs.name] = _primitive_to_kio(theirs.metadata["kafka_type"], value)
    return entity_class(**values)


def _primitive_to_kio(kind: str, value: Any) -> Any:
    match kind:
        case "error_code":
            return KioErrorCode(value)
        case "timedelta_i32" | "timedelta_i64":
            return value * MILLISECOND
        case "datetime_i64":
            return None if value == -1 else EPOCH + value * MILLISECOND
        case "uuid":
            return None if value == ZERO_UUID else value
        case "records" | "bytes":
            return bytes(value)
        case _:
            return value


def from_kio(entity: Any, structure_class: type[Structure], version: int) -> Any:
    values = {}
    for field, theirs in _pairs(structure_class, type(entity), version):
        value = getattr(entity, theirs.name)
        if value is None and field.kind not in ("uuid", "int64"):
            values[field.name] = None
        elif dataclasses.is_dataclass(value):
            values[field.name] = from_kio(value, field.element_class(structure_class), version)
        elif isinstance(value, tuple):
            values[field.name] = [
                from_kio(element, field.element_class(structure_class), version)
                if dataclasses.is_dataclass(element)
                else _primitive_from_kio(field.element.kind, element)
                for element in value
            ]
        else:
            values[field.name] = _primitive_from_kio(field.kind, value)
    return structure_class(**values)


def _primitive_from_kio(kind: str, value: Any) -> Any:
    if isinstance(value, dt.timedelta):
        return value // MILLISECOND
    if isinstance(value, dt.datetime):
        return (value - EPOCH) // MILLISECOND
    if kind == "uuid":
        return ZERO_UUID if value is None else value
    if value is None:
        return -1
    if kind == "records":
        return memoryview(value)
    return int(value) if kind.startswith("int") else value


def kio_encode(entity: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def kio_decode(entity_class: Any, data: bytes) -> Any:
    entity, size = entity_reader(entity_class)(data, 0)
    assert size == len(data)
    return entity
