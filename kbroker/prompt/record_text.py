"""Records as text: for eyes, or in a form of one's own.

``pretty`` is one line for each record, in which nothing can act on the terminal. ``value`` is the value's own bytes and
a line end. A form with ``{fields}`` puts in their own bytes, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kbroker.prompt.record_json import record_line
from kbroker.prompt.terminal import Terminal, printable
from kbroker.tools.cluster import Partition
from wire.record import HEADER_KEY_ERRORS, Record

Formatter = Callable[[Partition, Record], bytes]

PRETTY: Final = "pretty"
VALUE: Final = "value"
_ESCAPES: Final = {"\\n": "\n", "\\t": "\t", "\\0": "\0", "\\\\": "\\"}
_NULL: Final = "null"
_BINARY_SHOWN_MAX: Final = 64


def formatter(name: str, terminal: Terminal) -> Formatter:
    """``pretty``, ``value``, ``json``, or a form with fields; ValueError."""
    if name == PRETTY:
        return Pretty(terminal).line
    if name == VALUE:
        return lambda _, record: (record.value or b"") + b"\n"
    if name == "json":
        return record_line
    return Form(name).line


class Pretty:
    """``orders/2@1041  14:03:22.123  key  value  {header=value}``, places under one another."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._place_width = 0
        self._key_width = 0

    def line(self, partition: Partition, record: Record) -> bytes:
        """One record."""
        paint = self._terminal.paint
        place = f"{partition[0]}/{partition[1]}@{record.offset}"
        self._place_width = max(self._place_width, len(place))
        parts = [
            paint(f"{place:<{self._place_width}}", "cyan"),
            paint(moment_text(record.timestamp), "dim"),
        ]
        if record.key is not None or self._key_width:
            key = "" if record.key is None else _readable(record.key)
            self._key_width = max(self._key_width, min(len(key), 24))
            padding = " " * (self._key_width - len(key))
            parts.append(paint(key, "yellow") + padding)
        parts.append(paint(_NULL, "dim") if record.value is None else _readable(record.value))
        if record.headers:
            shown = ", ".join(f"{printable(name)}={_shown(value)}" for name, value in record.headers)
            parts.append(paint(f"{{{shown}}}", "dim"))
        return "  ".join(parts).encode("utf-8", "backslashreplace") + b"\n"


class Form:
    """A text with ``{key}`` and the like in it, ``\\n`` and ``\\t``; each record is ended by a line end."""

    def __init__(self, text: str) -> None:
        self._pieces: list[bytes | Callable[[Partition, Record], bytes]] = []
        for index, piece in enumerate(re.split(r"\{(\w+)\}", text)):
            is_field = index % 2 == 1
            if is_field and piece not in _FIELDS:
                known = ", ".join(f"{{{field}}}" for field in _FIELDS)
                raise ValueError(f"{{{piece}}} is no field; they are {known}")
            self._pieces.append(_FIELDS[piece] if is_field else _unescaped(piece).encode())
        if not any(callable(piece) for piece in self._pieces):
            raise ValueError(f"format {text!r} has no field in it, such as {{value}}")

    def line(self, partition: Partition, record: Record) -> bytes:
        """One record."""
        pieces = [piece(partition, record) if callable(piece) else piece for piece in self._pieces]
        return b"".join([*pieces, b"\n"])


def moment_text(timestamp_ms: int) -> str:
    """Date and time on this machine's clock; a dash for no timestamp."""
    if timestamp_ms < 0:
        return "-"
    try:
        moment = datetime.fromtimestamp(timestamp_ms // 1000)
    except (ValueError, OverflowError, OSError):
        return f"@{timestamp_ms}"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{timestamp_ms % 1000:03d}"


def _readable(data: bytes) -> str:
    try:
        return printable(data.decode())
    except UnicodeDecodeError:
        shown = data[:_BINARY_SHOWN_MAX].hex()
        rest = f"... ({len(data):,} bytes)" if len(data) > _BINARY_SHOWN_MAX else ""
        return f"0x{shown}{rest}"


def _shown(data: bytes | None) -> str:
    return _NULL if data is None else _readable(data)


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), text)


def _headers(record: Record) -> bytes:
    return b",".join(
        name.encode("utf-8", HEADER_KEY_ERRORS) + b"=" + (value or b"") for name, value in record.headers
    )


_FIELDS: Final[dict[str, Formatter]] = {
    "topic": lambda partition, _: partition[0].encode(),
    "partition": lambda partition, _: b"%d" % partition[1],
    "offset": lambda _, record: b"%d" % record.offset,
    "timestamp": lambda _, record: b"%d" % record.timestamp,
    "time": lambda _, record: moment_text(record.timestamp).encode(),
    "key": lambda _, record: record.key or b"",
    "value": lambda _, record: record.value or b"",
    "headers": lambda _, record: _headers(record),
}
