"""How ``kafka-console-consumer`` prints records: Kafka's message formatters, by the names of their classes."""

from __future__ import annotations

import struct
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, Protocol

from kbroker.tools.failures import CommandError
from kbroker.tools.fetching import FetchedBatch
from kbroker.tools.log_lines import log
from wire.errors import ProtocolError
from wire.records import LOG_APPEND_TIME, Record

PACKAGE: Final = "org.apache.kafka.tools.consumer."
DEFAULT: Final = PACKAGE + "DefaultMessageFormatter"

Deserialize = Callable[[bytes], bytes]


class UnreadableRecordError(CommandError):
    """A key, header or value is not what its deserializer takes; ``written`` is what stands before it."""

    def __init__(self, reason: str, written: bytes) -> None:
        super().__init__(reason)
        self.written = written


class Formatter(Protocol):
    """Prints one record; UnreadableRecordError."""

    def format(self, batch: FetchedBatch, record: Record) -> bytes: ...


def _number(layout: str, name: str) -> Deserialize:
    def deserialize(data: bytes) -> bytes:
        try:
            (number,) = struct.unpack(layout, data)
        except struct.error:
            raise CommandError(
                f"Size of data received by {name}Deserializer is not {struct.calcsize(layout)}"
            ) from None
        return str(number).encode()

    return deserialize


def _uuid(data: bytes) -> bytes:
    try:
        return str(uuid.UUID(data.decode())).encode()
    except ValueError as error:
        raise CommandError(f"Error parsing data into UUID: {error}") from None


def _bytes(data: bytes) -> bytes:
    """As Kafka's Bytes prints itself: what is no printable ASCII in hexadecimal."""
    return b"".join(b"%c" % byte if 32 <= byte <= 126 else b"\\x%02X" % byte for byte in data)


_SERIALIZATION: Final = "org.apache.kafka.common.serialization."
_DESERIALIZERS: Final[Mapping[str, Deserialize]] = {
    "StringDeserializer": lambda data: data.decode("utf-8", "replace").encode(),
    "ByteArrayDeserializer": lambda data: data,
    "ByteBufferDeserializer": lambda data: data,
    "BytesDeserializer": _bytes,
    "ShortDeserializer": _number(">h", "Short"),
    "IntegerDeserializer": _number(">i", "Integer"),
    "LongDeserializer": _number(">q", "Long"),
    "FloatDeserializer": _number(">f", "Float"),
    "DoubleDeserializer": _number(">d", "Double"),
    "BooleanDeserializer": lambda data: b"true" if data == b"\x01" else b"false",
    "UUIDDeserializer": _uuid,
    "VoidDeserializer": lambda _: b"null",
}


class DefaultFormatter:
    """Text, with what ``print.*`` properties ask for."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        def flag(name: str, default: bool = False) -> bool:
            return properties[name].strip().lower() == "true" if name in properties else default

        self._timestamp = flag("print.timestamp")
        self._partition = flag("print.partition")
        self._offset = flag("print.offset")
        self._delivery = flag("print.delivery")
        self._epoch = flag("print.epoch")
        self._headers = flag("print.headers")
        self._key = flag("print.key")
        self._value = flag("print.value", True)
        self._key_separator = properties.get("key.separator", "\t").encode()
        self._line_separator = properties.get("line.separator", "\n").encode()
        self._headers_separator = properties.get("headers.separator", ",").encode()
        self._null = properties.get("null.literal", "null").encode()
        self._key_deserializer = _deserializer(properties, "key.deserializer")
        self._value_deserializer = _deserializer(properties, "value.deserializer")
        self._headers_deserializer = _deserializer(properties, "headers.deserializer")

    def format(self, batch: FetchedBatch, record: Record) -> bytes:
        pieces: list[bytes] = []
        try:
            for column in self._columns(batch, record):
                pieces += (column, self._key_separator)
        except CommandError as error:
            raise UnreadableRecordError(str(error), b"".join(pieces)) from None
        return b"".join((*pieces[:-1], self._line_separator)) if pieces else b""

    def _columns(self, batch: FetchedBatch, record: Record) -> Iterator[bytes]:
        """Those that are asked for; CommandError at the first one that its deserializer does not take."""
        if self._timestamp:
            yield _timestamp(batch, record)
        if self._partition:
            yield b"Partition:%d" % batch.partition[1]
        if self._offset:
            yield b"Offset:%d" % record.offset
        if self._delivery:
            yield b"Delivery:NOT_PRESENT"
        if self._epoch:
            yield b"Epoch:NOT_PRESENT"  # Kafka's command does not pass it on to its formatter
        if self._headers:
            yield self._headers_text(record)
        if self._key:
            yield self._text(record.key, self._key_deserializer)
        if self._value:
            yield self._text(record.value, self._value_deserializer)

    def _headers_text(self, record: Record) -> bytes:
        if not record.headers:
            return b"NO_HEADERS"
        return self._headers_separator.join(
            name.encode("utf-8", "surrogateescape") + b":" + self._text(value, self._headers_deserializer)
            for name, value in record.headers
        )

    def _text(self, data: bytes | None, deserialize: Deserialize | None) -> bytes:
        if data is None:
            data = self._null
        return data if deserialize is None else deserialize(data)


def _timestamp(batch: FetchedBatch, record: Record) -> bytes:
    kind = b"LogAppendTime" if batch.header.timestamp_type == LOG_APPEND_TIME else b"CreateTime"
    return kind + b":%d" % record.timestamp


def _deserializer(properties: Mapping[str, str], key: str) -> Deserialize | None:
    name = properties.get(key)
    if name is None:
        return None
    found = _DESERIALIZERS.get(name.removeprefix(_SERIALIZATION))
    if found is None:
        log("ERROR", f"Unable to instantiate a deserializer from {name}", DEFAULT)
        print(f"java.lang.ClassNotFoundException: {name}", file=sys.stderr)
    return found


class NoOpFormatter:
    """Nothing: for measuring."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        pass

    def format(self, batch: FetchedBatch, record: Record) -> bytes:
        return b""


class CoordinatorFormatter:
    """Records of an internal topic as JSON, one after the other (Kafka puts no line ends between them)."""

    def __init__(self, topic: str, record_types: Collection[int] | None) -> None:
        from kbroker.tools import coordinator_json as internal

        self._compact = internal.compact
        self._unknown = internal.UnknownRecordType
        self._record_types = record_types
        self._records = {
            "group": internal.group_records,
            "transaction": internal.TransactionRecords,
            "share": internal.share_records,
        }[topic]()

    def format(self, batch: FetchedBatch, record: Record) -> bytes:
        if record.key is None:
            return b""
        try:
            record_type, key = self._records.key(record.key)
            if self._record_types is not None and record_type not in self._record_types:
                return b""
            value = None
            if record.value is not None:
                version, fields = self._records.value(record_type, record.value)
                value = {"version": version, "data": fields}
        except self._unknown:
            return b""
        except ProtocolError as error:
            raise CommandError(f"Could not read record at offset {record.offset} due to: {error}") from None
        return self._compact({"key": {"type": record_type, "data": key}, "value": value}).encode()


_OFFSET_TYPES: Final = frozenset({0, 1})
_GROUP_TYPES: Final = frozenset({2})
_SHARE_GROUP_TYPES: Final = frozenset({10, 11, 12, 13, 14, 15})


def formatter(class_name: str, properties: Mapping[str, str]) -> Formatter:
    """The formatter of this (Java) class name; CommandError if there is none."""
    makers: dict[str, Callable[[Mapping[str, str]], Formatter]] = {
        DEFAULT: DefaultFormatter,
        # Which logs each record as well, at a level that nobody gets to see.
        PACKAGE + "LoggingMessageFormatter": DefaultFormatter,
        PACKAGE + "NoOpMessageFormatter": NoOpFormatter,
        PACKAGE + "OffsetsMessageFormatter": lambda _: CoordinatorFormatter("group", _OFFSET_TYPES),
        PACKAGE + "GroupMetadataMessageFormatter": lambda _: CoordinatorFormatter("group", _GROUP_TYPES),
        PACKAGE + "ShareGroupMessageFormatter": lambda _: CoordinatorFormatter("group", _SHARE_GROUP_TYPES),
        PACKAGE + "TransactionLogMessageFormatter": lambda _: CoordinatorFormatter("transaction", None),
        PACKAGE + "group.share.ShareGroupStateMessageFormatter": lambda _: CoordinatorFormatter(
            "share", None
        ),
    }
    if class_name not in makers:
        raise CommandError(class_name)
    return makers[class_name](properties)
