"""Lines of text as records: Kafka's LineMessageReader, with its properties."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kbroker.tools.failures import CommandError

READER_CLASS = "org.apache.kafka.tools.LineMessageReader"


class LineRecord(NamedTuple):
    """What a line says."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class LineSplitter:
    """Bytes as they come -> whole lines, ended by LF, CR or CRLF; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that ``data`` completes."""
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        if data:
            self._after_return = data.endswith(b"\r")
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")

    def end(self) -> Iterator[str]:
        """The last line, if nothing ended it."""
        if self._rest:
            yield self._rest.decode("utf-8", "replace")
            self._rest = b""


class LineReader:
    """A line's key, value and headers. CommandError for properties or lines that do not fit."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        def flag(name: str) -> bool:
            return properties.get(name, "false").strip().lower() == "true"

        self._parse_key = flag("parse.key")
        self._parse_headers = flag("parse.headers")
        self._ignore_error = flag("ignore.error")
        self._key_separator = properties.get("key.separator", "\t")
        self._headers_delimiter = properties.get("headers.delimiter", "\t")
        self._headers_separator = properties.get("headers.separator", ",")
        self._headers_key_separator = properties.get("headers.key.separator", ":")
        self._null_marker = properties.get("null.marker")
        self._line_number = 0
        self._check()
        self._headers_pattern = re.compile(self._headers_separator)

    def _check(self) -> None:
        separators = {
            "headers.delimiter": self._headers_delimiter,
            "headers.separator": self._headers_separator,
            "headers.key.separator": self._headers_key_separator,
        }
        names = list(separators)
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                if separators[first] == separators[second]:
                    raise CommandError(f"{first} and {second} may not be equal")
        for name in ("key.separator", "headers.separator", "headers.delimiter", "headers.key.separator"):
            if {"key.separator": self._key_separator, **separators}[name] == self._null_marker:
                raise CommandError(f"null.marker and {name} may not be equal")

    def record(self, line: str) -> LineRecord:
        """Take one line apart."""
        self._line_number += 1
        headers = self._part(self._parse_headers, line, 0, self._headers_delimiter, "headers delimiter")
        at = 0 if headers is None else len(headers) + len(self._headers_delimiter)
        key = self._part(self._parse_key, line, at, self._key_separator, "key separator")
        at += 0 if key is None else len(key) + len(self._key_separator)
        value = line[at:]
        return LineRecord(
            None if key is None or key == self._null_marker else key.encode(),
            None if value == self._null_marker else value.encode(),
            () if headers is None or headers == self._null_marker else tuple(self._headers(headers)),
        )

    def _part(self, enabled: bool, line: str, start: int, separator: str, name: str) -> str | None:
        if not enabled:
            return None
        end = line.find(separator, start)
        if end >= 0:
            return line[start:end]
        if self._ignore_error:
            return None
        raise CommandError(f"No {name} found on line number {self._line_number}: '{line}'")

    def _headers(self, text: str) -> Iterator[tuple[str, bytes | None]]:
        pairs = self._headers_pattern.split(text)
        while len(pairs) > 1 and not pairs[-1]:  # Java's split drops empty strings at the end
            pairs.pop()
        for pair in pairs:
            key, separator, value = pair.partition(self._headers_key_separator)
            if not separator:
                if not self._ignore_error:
                    raise CommandError(
                        f"No header key separator found in pair '{pair}' on line number {self._line_number}"
                    )
                yield pair, None
                continue
            if key == self._null_marker:
                raise CommandError(
                    f"Header keys should not be equal to the null marker '{self._null_marker}' as they can't be null"
                )
            yield key, None if value == self._null_marker else value.encode()
