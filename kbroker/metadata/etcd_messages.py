"""What a metadata store's calls are in etcd's JSON, and back. No input or output here.

The JSON is protobuf's: bytes are base64, 64-bit integers are strings, and a field that has its default
(0, false, empty) is left out. Requests and answers are those of etcd's ``rpc.proto`` (RangeRequest,
TxnRequest, WatchCreateRequest, ...), the same from etcd 3.4 on.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from kbroker.metadata.store import (
    ABSENT,
    NO_LEASE,
    Compare,
    Delete,
    Event,
    KeyDeleted,
    KeyPut,
    KeyValue,
    Operation,
    Put,
    StoreFormatError,
    StoreUnavailableError,
    TransactionResult,
)

Json = Mapping[str, Any]

# gRPC's status codes.
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
FAILED_PRECONDITION: Final = 9
OUT_OF_RANGE: Final = 11
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

# 6 is ALREADY_EXISTS. Any other code is of a server that cannot serve now, or does not know what became of
# the request: cancelled, unknown, deadline exceeded, resource exhausted, aborted, internal, unavailable.
_REFUSALS: Final = frozenset(
    {
        INVALID_ARGUMENT,
        NOT_FOUND,
        6,
        PERMISSION_DENIED,
        FAILED_PRECONDITION,
        OUT_OF_RANGE,
        UNIMPLEMENTED,
        UNAUTHENTICATED,
    }
)
# With gRPC codes of their own only in part: the code of an empty user name is that of any bad argument.
_LOGIN_MESSAGES: Final = ("invalid auth token", "user name is empty", "revision of auth store is old")
_NO_LEADER: Final = "etcdserver: no leader"


class EtcdRefusedError(StoreUnavailableError):
    """etcd will not do what it was asked for, and has done nothing. ``code`` is a gRPC status code.

    As good as unavailable: a broker whose permissions were taken away waits until it has them again.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def wants_login(self) -> bool:
        """Whether it is about a token: missing, run out, or older than the last change of etcd's users."""
        return self.code == UNAUTHENTICATED or any(text in self.message for text in _LOGIN_MESSAGES)

    @property
    def is_compacted(self) -> bool:
        return "has been compacted" in self.message

    @property
    def is_lease_gone(self) -> bool:
        return "requested lease not found" in self.message


class Failure(NamedTuple):
    """An answer that is an error."""

    code: int
    message: str

    @property
    def is_refusal(self) -> bool:
        """Whether every member would answer so, and nothing was done."""
        return self.code in _REFUSALS

    @property
    def is_undone(self) -> bool:
        """Whether it is certain that nothing was done. A member without a leader refuses at the door."""
        return self.is_refusal or self.message == _NO_LEADER


def failure_in(answer: Json) -> Failure | None:
    """The error in an answer, or in one message of a stream; the gateway has had several forms for it."""
    error = answer.get("error")
    details = error if isinstance(error, Mapping) else answer
    code = details.get("grpc_code", details.get("code"))
    if code is None:
        return None if error is None else Failure(2, str(error))
    return Failure(int(code), str(details.get("message") or error))


def failure_behind(cancel_reason: str) -> Failure:
    """Why etcd ended a watch, which it says in words only; 3.4 quotes a whole gRPC status."""
    if any(text in cancel_reason for text in _LOGIN_MESSAGES):
        return Failure(UNAUTHENTICATED, cancel_reason)
    if "permission denied" in cancel_reason:
        return Failure(PERMISSION_DENIED, cancel_reason)
    return Failure(UNAVAILABLE, cancel_reason or "no reason given")


class KeySpace:
    """The keys of one store among all that an etcd holds: text here, base64 of prefix and UTF-8 there."""

    def __init__(self, prefix: str) -> None:
        """A slash is put behind a prefix without one, so that "a" and "ab" have no keys in common."""
        self._prefix = (prefix if prefix.endswith("/") else f"{prefix}/").encode()

    def encode(self, key: str) -> str:
        return _base64(self._prefix + key.encode())

    def decode(self, key: str) -> str:
        """StoreFormatError for a key that no kbroker can have written."""
        found = b64decode(key)
        try:
            return found.removeprefix(self._prefix).decode()
        except UnicodeDecodeError as error:
            raise StoreFormatError(f"{found!r} is not a key that kbroker writes") from error

    def under(self, prefix: str) -> dict[str, str]:
        """The fields that name all keys under ``prefix``."""
        start = self._prefix + prefix.encode()
        # No byte of UTF-8 is 0xFF: the last one can always be raised.
        end = start[:-1] + bytes([start[-1] + 1])
        return {"key": _base64(start), "range_end": _base64(end)}

    # Requests

    def key_request(self, key: str) -> Json:
        return {"key": self.encode(key)}

    def page_request(self, prefix: str, limit: int, *, after_key: str | None, revision: int) -> Json:
        """Up to ``limit`` keys under ``prefix`` behind ``after_key``, as of ``revision`` (0: as of now)."""
        keys = self.under(prefix)
        if after_key is not None:
            keys["key"] = _base64(self._prefix + after_key.encode() + b"\0")
        return {**keys, "limit": str(limit), "revision": str(revision)}

    def transaction_request(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> Json:
        return {
            "compare": [
                {
                    "target": "MOD",
                    "result": "EQUAL",
                    "key": self.encode(compare.key),
                    "mod_revision": str(compare.mod_revision),
                }
                for compare in compares
            ],
            "success": [self._operation(operation) for operation in operations],
        }

    def _operation(self, operation: Operation) -> Json:
        if isinstance(operation, Put):
            put = {
                "key": self.encode(operation.key),
                "value": _base64(operation.value),
                "lease": str(operation.lease_id),
            }
            return {"request_put": put}
        if isinstance(operation, Delete):
            return {"request_delete_range": {"key": self.encode(operation.key)}}
        return {"request_delete_range": self.under(operation.prefix)}

    def watch_request(self, prefix: str, start_revision: int) -> Json:
        return {"create_request": {**self.under(prefix), "start_revision": str(start_revision)}}

    # Answers

    def key_value(self, row: Json) -> KeyValue:
        return KeyValue(
            key=self.decode(row["key"]),
            value=b64decode(row.get("value", "")),
            create_revision=int(row["create_revision"]),
            mod_revision=int(row["mod_revision"]),
            lease_id=int(row.get("lease", NO_LEASE)),
        )

    def event(self, row: Json) -> tuple[int, Event]:
        """A change, and the revision that made it."""
        key_value = row["kv"]
        revision = int(key_value["mod_revision"])
        if row.get("type") == "DELETE":
            return revision, KeyDeleted(self.decode(key_value["key"]))
        return revision, KeyPut(self.key_value(key_value))


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def revision_of(answer: Json) -> int:
    return int(answer["header"].get("revision", ABSENT))


def transaction_result(answer: Json) -> TransactionResult:
    return TransactionResult(bool(answer.get("succeeded", False)), revision_of(answer))


def lease_request(ttl_seconds: float) -> Json:
    """etcd counts in whole seconds, and takes less than its own minimum (about two) for that minimum."""
    return {"TTL": str(max(1, math.ceil(ttl_seconds)))}
