"""Records of internal topics as Kafka's tools print them: JSON with Kafka's field names, without spaces.

Kafka: the generated JsonConverter classes, CoordinatorRecordSerde.
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final
from uuid import UUID

from wire.errors import ProtocolError
from wire.schema import CoordinatorKey, InternalRecord, Structure, read_version_prefix

# Names that camel case alone does not give.
_ODD_NAMES: Final = {"enable2_pc": "enable2Pc"}

TRANSACTION_STATES: Final = (
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
)


class UnknownRecordType(Exception):
    """The key's first two bytes name no record type of this topic."""

    def __init__(self, record_type: int) -> None:
        super().__init__(record_type)
        self.record_type = record_type


def as_json(message: Structure, version: int) -> dict[str, Any]:
    """A message's fields of one version, in their order; tagged ones unless they have their default."""
    fields: dict[str, Any] = {}
    for field in type(message).__fields__:
        if not field.in_version(version):
            continue
        value = getattr(message, field.name)
        if field.tag is not None and _is_default(value, field.default):
            continue
        fields[_camel_case(field.name)] = _value(value, version)
    return fields


def _is_default(value: Any, default: Any) -> bool:
    return bool(value == ([] if default == () else default))


def _value(value: Any, version: int) -> Any:
    if isinstance(value, Structure):
        return as_json(value, version)
    if isinstance(value, list):
        return [_value(element, version) for element in value]
    if isinstance(value, UUID):
        return urlsafe_b64encode(value.bytes).decode().rstrip("=")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64encode(value).decode()
    return value


@cache
def _camel_case(name: str) -> str:
    if name in _ODD_NAMES:
        return _ODD_NAMES[name]
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def compact(value: Any) -> str:
    """JSON as Jackson writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _pairs(module: ModuleType) -> Iterator[tuple[int, tuple[type[CoordinatorKey], type[InternalRecord]]]]:
    for name, key_class in vars(module).items():
        if (
            isinstance(key_class, type)
            and issubclass(key_class, CoordinatorKey)
            and key_class is not CoordinatorKey
        ):
            yield key_class.record_type, (key_class, getattr(module, name.removesuffix("Key") + "Value"))


class CoordinatorRecords:
    """The records of one internal topic. ProtocolError for bytes that are none, UnknownRecordType."""

    def __init__(self, module: ModuleType) -> None:
        self._classes: Mapping[int, tuple[type[CoordinatorKey], type[InternalRecord]]] = dict(_pairs(module))

    def key(self, data: bytes) -> tuple[int, dict[str, Any]]:
        """The record type, and the key's fields."""
        if len(data) < 2:
            raise ProtocolError("the key is too short for a record type")
        record_type = read_version_prefix(data)
        if record_type not in self._classes:
            raise UnknownRecordType(record_type)
        _, message = self._classes[record_type][0].decode_versioned(data)
        return record_type, as_json(message, 0)

    def value(self, record_type: int, data: bytes) -> tuple[int, dict[str, Any]]:
        """The value's version and its fields."""
        version, message = self._classes[record_type][1].decode_versioned(data)
        return version, as_json(message, version)


def group_records() -> CoordinatorRecords:
    """Of ``__consumer_offsets``."""
    from wire.internal import consumer_offsets

    return CoordinatorRecords(consumer_offsets)


class TransactionRecords(CoordinatorRecords):
    """Of ``__transaction_state``; the state has its name."""

    def __init__(self) -> None:
        from wire.internal import transaction_log

        super().__init__(transaction_log)

    def value(self, record_type: int, data: bytes) -> tuple[int, dict[str, Any]]:
        version, fields = super().value(record_type, data)
        number = fields["transactionStatus"]
        known = 0 <= number < len(TRANSACTION_STATES)
        fields["transactionStatus"] = TRANSACTION_STATES[number] if known else str(number)
        return version, fields


def share_records() -> CoordinatorRecords:
    """Of ``__share_group_state``."""
    from wire.internal import share_group_state

    return CoordinatorRecords(share_group_state)


def expand_members(fields: dict[str, Any]) -> None:
    """In a classic consumer group's metadata: what subscriptions and assignments say instead of their bytes."""
    from base64 import b64decode

    from wire.internal.consumer_protocol import ConsumerProtocolAssignment, ConsumerProtocolSubscription

    if fields.get("protocolType") != "consumer":
        return
    for member in fields.get("members", ()):
        for name, record_class in (
            ("subscription", ConsumerProtocolSubscription),
            ("assignment", ConsumerProtocolAssignment),
        ):
            try:
                version, message = record_class.decode_versioned(b64decode(member[name]))
                if version <= record_class.max_version:
                    member[name] = as_json(message, version)
            except ProtocolError:
                continue


__all__ = [
    "CoordinatorRecords",
    "TransactionRecords",
    "UnknownRecordType",
    "as_json",
    "compact",
    "expand_members",
    "group_records",
    "share_records",
]
