"""What comes over a connection and is no request, or none that the broker serves."""

from __future__ import annotations

import struct

from compat.wire.case import Cases
from compat.wire.connection import CLIENT_ID, WireConnection
from compat.wire.scene import Scene
from wire.headers import encode_request
from wire.messages import API_KEYS
from wire.messages.api_versions import ApiVersionsRequest
from wire.messages.metadata import MetadataRequest
from wire.schema import Request

CONNECTION = Cases(ApiVersionsRequest, title="Connection")

ONCE = "0"
"""What these cases send has a version of its own, or none."""
API_VERSIONS, METADATA = 18, 3
CORRELATION_ID = 7


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def header(
    api_key: int, version: int, *, client_id: bytes | None = CLIENT_ID.encode(), tags: bytes = b""
) -> bytes:
    """Without tagged fields at its end if ``tags`` is empty."""
    name = struct.pack(">h", -1) if client_id is None else struct.pack(">h", len(client_id)) + client_id
    return struct.pack(">hhi", api_key, version, CORRELATION_ID) + name + tags


def encoded(request: Request, version: int) -> bytes:
    """A whole frame, as a client would send it."""
    return b"".join(bytes(part) for part in encode_request(request, version, CORRELATION_ID, CLIENT_ID))  # type: ignore[arg-type]


def sends(name: str, data: bytes, api_key: int, version: int, *, deadline_s: float = 30.0) -> None:
    """A case: these bytes over a new connection; the answer is read as one of ``api_key`` at ``version``."""

    def body(at: Scene) -> None:
        ask_bytes(at, at.connect(), data, api_key, version, deadline_s)

    CONNECTION.add(name, body, ONCE)


def ask_bytes(
    at: Scene, over: WireConnection, data: bytes, api_key: int, version: int, deadline_s: float = 30.0
) -> None:
    pending = at.send_bytes(data, over=over, api_key=api_key, version=version, correlation_id=CORRELATION_ID)
    pending.answer(deadline_s=deadline_s)


for version in (6, 99, 32767, -1):
    sends(
        f"ApiVersions {version}",
        frame(header(API_VERSIONS, version, tags=b"\0") + b"\0" * 8),
        API_VERSIONS,
        0,
    )
sends("ApiVersions 6 that is nothing but a header", frame(header(API_VERSIONS, 6)), API_VERSIONS, 0)
for name in ("Metadata", "Fetch", "FindCoordinator", "CreateTopics"):
    api = API_KEYS[next(key for key, found in API_KEYS.items() if found.name == name)]
    for version in sorted({api.max_version + 1, api.min_version - 1, -1}):
        sends(
            f"{name} {version}",
            frame(header(api.key, version, tags=b"\0") + bytes(8)),
            api.key,
            api.min_version,
        )
for version in (0, 1, 2, 14):
    sends(f"Produce {version}", frame(header(0, version, tags=b"\0") + bytes(8)), 0, 3)
for api_key in (4, 5, 7, 52, 58, 62, 1000, -1, 32767):
    sends(f"API key {api_key}", frame(header(api_key, 0, tags=b"\0") + bytes(8)), METADATA, 0)

sends("bytes behind a request", frame(encoded(MetadataRequest(topics=[]), 12)[4:] + b"more"), METADATA, 12)
sends("a request cut short", frame(encoded(MetadataRequest(topics=[]), 12)[4:-2]), METADATA, 12)
sends("a header cut short", frame(header(METADATA, 12)[:9]), METADATA, 12)
sends("a frame of nothing", frame(b""), METADATA, 12)
sends("a frame of seven bytes", frame(header(METADATA, 12)[:7]), METADATA, 12)
sends("a size below zero", struct.pack(">i", -1) + header(METADATA, 12), METADATA, 12)
sends("a size beyond all", struct.pack(">i", 2**31 - 1) + header(METADATA, 12), METADATA, 12)
sends("a size above what is allowed", struct.pack(">i", 104_857_601) + header(METADATA, 12), METADATA, 12)
sends("another protocol", b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", METADATA, 12)
sends("nothing that means anything", b"\x00\x00\x00\x20" + bytes(range(0x80, 0xA0)), METADATA, 12)

NO_TOPICS = b"\x01\x00\x00\x00"
"""Metadata 12: no topics, nothing created, no operations, no tagged fields."""


def metadata(client_id: bytes | None = b"c", tags: bytes = b"\0", body: bytes = NO_TOPICS) -> bytes:
    return frame(header(METADATA, 12, client_id=client_id, tags=tags) + body)


sends("a client without an id", metadata(None), METADATA, 12)
sends("a client with an empty id", metadata(b""), METADATA, 12)
sends("a client whose id is no UTF-8", metadata(b"\xff\xfe"), METADATA, 12)
sends(
    "a client whose id is longer than the frame",
    frame(struct.pack(">hhih", METADATA, 12, 7, 300) + b"c"),
    METADATA,
    12,
)
sends(
    "a client whose id has a length below none",
    frame(struct.pack(">hhih", METADATA, 12, 7, -2) + b"\0" + NO_TOPICS),
    METADATA,
    12,
)
sends("an unknown tagged field in the header", metadata(tags=b"\x01\x63\x02ab"), METADATA, 12)
sends("an unknown tagged field in the body", metadata(body=NO_TOPICS[:-1] + b"\x01\x63\x02ab"), METADATA, 12)
sends("tagged fields that end too soon", metadata(body=NO_TOPICS[:-1] + b"\x01\x63\x09ab"), METADATA, 12)
sends("tagged fields that are not there", metadata(body=NO_TOPICS[:-1] + b"\x05"), METADATA, 12)
sends(
    "two tagged fields of one number", metadata(body=NO_TOPICS[:-1] + b"\x02\x63\x00\x63\x00"), METADATA, 12
)
sends("tagged fields out of order", metadata(body=NO_TOPICS[:-1] + b"\x02\x64\x00\x63\x00"), METADATA, 12)
sends("a boolean of two", metadata(body=b"\x01\x00\x02\x00"), METADATA, 12)
sends("null for what may be null", metadata(body=b"\x00\x00\x00\x00"), METADATA, 12)
sends("an array that is longer than the frame", metadata(body=b"\xff\xff\x7f\x00\x00\x00"), METADATA, 12)
sends("a number of too many bytes", metadata(body=b"\x81\x80\x80\x80\x80\x80\x00\x00\x00\x00"), METADATA, 12)
sends(
    "a topic whose name is no UTF-8",
    frame(header(METADATA, 1) + struct.pack(">ih", 1, 2) + b"\xff\xfe"),
    METADATA,
    1,
)
sends("a topic whose name is null", frame(header(METADATA, 1) + struct.pack(">ih", 1, -1)), METADATA, 1)
sends("an array of a length below none", frame(header(METADATA, 1) + struct.pack(">i", -2)), METADATA, 1)
sends(
    "an array of more than there is", frame(header(METADATA, 1) + struct.pack(">i", 2**31 - 1)), METADATA, 1
)


@CONNECTION.case("two requests at once", ONCE)
def _two_at_once(at: Scene) -> None:
    connection = at.connect()
    first, second = encoded(MetadataRequest(topics=[]), 12), encoded(ApiVersionsRequest(), 0)
    pending = at.send_bytes(
        first + second, over=connection, api_key=METADATA, version=12, correlation_id=CORRELATION_ID
    )
    pending.answer()
    ask_bytes(at, connection, b"", API_VERSIONS, 0)


@CONNECTION.case("a request in pieces", ONCE)
def _in_pieces(at: Scene) -> None:
    connection = at.connect()
    data = encoded(MetadataRequest(topics=[]), 12)
    for index in range(len(data) - 1):
        connection.send_bytes(data[index : index + 1])
    ask_bytes(at, connection, data[-1:], METADATA, 12)


@CONNECTION.case("a request after an unsupported version of ApiVersions", ONCE)
def _goes_on(at: Scene) -> None:
    connection = at.connect()
    ask_bytes(at, connection, frame(header(API_VERSIONS, 99, tags=b"\0")), API_VERSIONS, 0)
    ask_bytes(at, connection, encoded(MetadataRequest(topics=[]), 12), METADATA, 12)
