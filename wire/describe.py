"""Messages for humans: a rendering in lines, and APIs by their names.

FetchRequest version 13
  max_wait_ms: 500
  topics: 1
    [0]
      topic_id: AAAAAAAAAAAAAAAAAAAAAQ (00000000-0000-0000-0000-000000000001)
      partitions: 1
        [0]
          partition: 7
          ...
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from wire.errors import ErrorCode
from wire.messages import API_KEYS, ApiKey
from wire.schema import ZERO_UUID, Structure

BYTES_SHOWN_MAX = 32
NUMBERS_PER_LINE = 16


def api_by_name(name: str) -> ApiKey:
    """The API of this name, in any case, or of this number. Raises KeyError when there is none."""
    if name.isascii() and name.isdigit():
        return API_KEYS[int(name)]
    return _BY_NAME[name.casefold()]


_BY_NAME = {api.name.casefold(): api for api in API_KEYS.values()}


def describe(message: Structure, version: int | None = None) -> str:
    """The message as indented lines, one field to a line, without a newline at the end.

    Given a version, fields that it does not have are left out. Payloads are shortened to their first bytes.
    """
    title = type(message).__qualname__ + ("" if version is None else f" version {version}")
    return "\n".join([title, *_fields(message, version, "  ")])


def _fields(structure: Structure, version: int | None, indent: str) -> Iterator[str]:
    for field in type(structure).__fields__:
        if version is None or field.in_version(version):
            yield from _value(field.name, getattr(structure, field.name), version, indent)


def _value(name: str, value: Any, version: int | None, indent: str) -> Iterator[str]:
    if isinstance(value, Structure):
        yield f"{indent}{name}"
        yield from _fields(value, version, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], Structure):
        yield f"{indent}{name}: {len(value)}"
        for index, element in enumerate(value):
            yield f"{indent}  [{index}]"
            yield from _fields(element, version, indent + "    ")
    elif isinstance(value, list):
        yield from _list(name, value, indent)
    else:
        yield f"{indent}{name}: {_scalar(name, value)}"


def _list(name: str, values: list[Any], indent: str) -> Iterator[str]:
    shown = [_scalar("", value) for value in values]
    lines = [
        ", ".join(shown[start : start + NUMBERS_PER_LINE]) for start in range(0, len(shown), NUMBERS_PER_LINE)
    ]
    if len(lines) <= 1:
        yield f"{indent}{name}: [{', '.join(lines)}]"
        return
    yield f"{indent}{name}: {len(values)}"
    for line in lines:
        yield f"{indent}  {line}"


def _scalar(name: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, UUID):
        return _uuid(value)
    if isinstance(value, int) and name.endswith("error_code"):
        return f"{value} ({_error_name(value)})"
    if isinstance(value, bytes | bytearray | memoryview):
        start = bytes(value[:BYTES_SHOWN_MAX]).hex(" ")
        more = " ..." if len(value) > BYTES_SHOWN_MAX else ""
        return f"{len(value)} bytes{': ' if start else ''}{start}{more}"
    if isinstance(value, int | float):
        return str(value)
    return f"{len(value)} bytes, not in memory"


def _error_name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return "unknown"


def _uuid(value: UUID) -> str:
    """As Kafka's tools print it (base64, URL alphabet, no padding), and in hexadecimal."""
    if value == ZERO_UUID:
        return "none (zero UUID)"
    return f"{urlsafe_b64encode(value.bytes).decode().rstrip('=')} ({value})"
