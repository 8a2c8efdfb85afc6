"""Records as lines of JSON, for programs: what ``consume --json`` prints, ``produce --json`` reads, with no byte lost.

    {"topic": "orders", "partition": 2, "offset": 1041, "timestamp": 1700000000000, "key": "k",
     "value": {"base64": "AAEC"}, "headers": [{"name": "trace", "value": "abc"}]}

Keys, values and what headers hold are strings where they are UTF-8, ``{"base64": ...}`` where they are not, and may be
null. ``timestamp`` is in ms since the epoch. Of what is read only ``value`` must be there, and ``offset`` is ignored.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any, Final, NamedTuple

from kbroker.tools.cluster import Partition
from wire.record import HEADER_KEY_ERRORS, Header, Record

_FIELDS: Final = frozenset({"topic", "partition", "offset", "timestamp", "key", "value", "headers"})
_BASE64: Final = "base64"
_INT64_MAX: Final = 2**63 - 1
_INT32_MAX: Final = 2**31 - 1


class GivenRecord(NamedTuple):
    """A record that somebody wants written; None for what the line left open."""

    topic: str | None
    partition: int | None
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def record_line(partition: Partition, record: Record) -> bytes:
    """The record as one line, its end included."""
    line = {
        "topic": partition[0],
        "partition": partition[1],
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text_of(record.key),
        "value": _text_of(record.value),
        "headers": [
            {"name": _text_of(name.encode("utf-8", HEADER_KEY_ERRORS)), "value": _text_of(value)}
            for name, value in record.headers
        ],
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def parse_record(line: bytes) -> GivenRecord:
    """What the line says; ValueError if it does not say it properly."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    if unknown := sorted(fields.keys() - _FIELDS):
        raise ValueError(f"{unknown[0]!r} is no field of a record; they are {', '.join(sorted(_FIELDS))}")
    if "value" not in fields:
        raise ValueError("there is no value; say null for a record without one")
    topic = fields.get("topic")
    if topic is not None and not isinstance(topic, str):
        raise ValueError("topic: not a string")
    return GivenRecord(
        topic,
        _number(fields, "partition", _INT32_MAX),
        _number(fields, "timestamp", _INT64_MAX),
        _bytes_of(fields.get("key"), "key"),
        _bytes_of(fields["value"], "value"),
        tuple(_header(header) for header in _list(fields.get("headers"))),
    )


def _text_of(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {_BASE64: b64encode(data).decode("ascii")}


def _bytes_of(given: Any, field: str) -> bytes | None:
    if given is None:
        return None
    try:
        if isinstance(given, str):
            return given.encode()
        if isinstance(given, dict) and given.keys() == {_BASE64} and isinstance(given[_BASE64], str):
            return b64decode(given[_BASE64], validate=True)
    except ValueError as error:  # half a surrogate pair, or no base 64
        raise ValueError(f"{field}: {error}") from None
    raise ValueError(f'{field}: not a string, null or {{"{_BASE64}": "..."}}')


def _number(fields: dict[str, Any], field: str, maximum: int) -> int | None:
    number = fields.get(field)
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not -1 <= number <= maximum:
        raise ValueError(f"{field}: {number!r} is not a number that it can have")
    return number if number >= 0 or field == "timestamp" else None


def _list(given: Any) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise ValueError("headers: not a list")
    return given


def _header(given: Any) -> Header:
    if not isinstance(given, dict) or given.keys() - {"value"} != {"name"}:
        raise ValueError('headers: not a list of {"name": ..., "value": ...}')
    name = _bytes_of(given["name"], "headers")
    if name is None:
        raise ValueError("headers: a name is null")
    return name.decode("utf-8", HEADER_KEY_ERRORS), _bytes_of(given.get("value"), "headers")
