"""Request and response headers, and whole frames: header and body together.

A frame here is what follows the four bytes of its size. Which header version a frame has depends on its API and
version: requests have version 2 (with tagged fields) if flexible, else 1; responses have 1 if flexible, else 0.
ApiVersions responses have 0 always: a client that does not know the broker's versions yet must be able to read
them (KIP-511).
"""

from __future__ import annotations

import struct

from wire.errors import ProtocolError
from wire.messages import API_KEYS, request_class, response_class
from wire.schema import Buffer, Message, Part, Request, Response, int16, int32, nullable_string

API_VERSIONS = 18

FRAME_SIZE_BYTES = 4


class RequestHeader(Message, versions="1-2", flexible="2+"):
    """What precedes every request. `client_id` keeps its two-byte length on both versions."""

    decoded_in_place = True

    request_api_key: int = int16()
    request_api_version: int = int16()
    correlation_id: int = int32()
    client_id: str | None = nullable_string(compact=False)


class ResponseHeader(Message, versions="0-1", flexible="1+"):
    """What precedes every response."""

    decoded_in_place = True

    correlation_id: int = int32()


class UnsupportedRequestError(ProtocolError):
    """The header can be read, but the codec does not have its API key or version.

    `header.client_id` is None when it could not be read.
    """

    def __init__(self, header: RequestHeader) -> None:
        api = API_KEYS.get(header.request_api_key)
        name = api.name if api else f"API key {header.request_api_key}"
        super().__init__(f"{name} version {header.request_api_version} is not supported")
        self.header = header


def request_header_version(api_key: int, version: int) -> int:
    """Raises KeyError when there is no such API."""
    return 2 if API_KEYS[api_key].is_flexible(version) else 1


def response_header_version(api_key: int, version: int) -> int:
    """Raises KeyError when there is no such API."""
    return 1 if api_key != API_VERSIONS and API_KEYS[api_key].is_flexible(version) else 0


_HEADER_START = struct.Struct(">hhi")


def decode_request(frame: Buffer) -> tuple[RequestHeader, Request]:
    """Read a request's header and body from the start of the frame.

    Bytes behind the body are passed over, as Apache Kafka passes over them: librdkafka 2.x sends three with
    every Metadata request for all topics.

    Raises UnsupportedRequestError when the codec does not have the API key or its version, and ProtocolError when
    the frame is not a request at all.
    """
    if len(frame) < _HEADER_START.size:
        raise ProtocolError(f"a frame of {len(frame)} bytes is too short for a request header")
    api_key, version, correlation_id = _HEADER_START.unpack_from(frame)
    api = API_KEYS.get(api_key)
    if api is None or not api.min_version <= version <= api.max_version:
        raise UnsupportedRequestError(_best_effort_header(frame, api_key, version, correlation_id))
    header, offset = RequestHeader.decode_from(frame, 2 if api.is_flexible(version) else 1, 0)
    request, _ = request_class(api_key).decode_from(frame, version, offset)
    return header, request


def _best_effort_header(frame: Buffer, api_key: int, version: int, correlation_id: int) -> RequestHeader:
    try:
        # The first fields of all header versions are alike.
        header, _ = RequestHeader.decode_from(frame, 1, 0)
    except ProtocolError:
        return RequestHeader(
            request_api_key=api_key,
            request_api_version=version,
            correlation_id=correlation_id,
            client_id=None,
        )
    return header


def encode_request(request: Request, version: int, correlation_id: int, client_id: str | None) -> list[Part]:
    """A request as a frame with its size, in parts.

    Raises EncodeError when the request cannot be written on this version.
    """
    header = RequestHeader(
        request_api_key=request.api_key,
        request_api_version=version,
        correlation_id=correlation_id,
        client_id=client_id,
    )
    return _frame(
        header.encode(request_header_version(request.api_key, version)), request.encode_parts(version)
    )


def encode_response(response: Response, version: int, correlation_id: int) -> list[Part]:
    """A response as a frame with its size, in parts. The first part begins with the size.

    Raises EncodeError when the response cannot be written on this version.
    """
    header_version = response_header_version(response.api_key, version)
    header = correlation_id.to_bytes(4, "big", signed=True) + b"\0" * header_version
    return _frame(header, response.encode_parts(version))


def _frame(header: bytes, body: list[Part]) -> list[Part]:
    size = len(header) + sum([len(part) for part in body])
    start = size.to_bytes(FRAME_SIZE_BYTES, "big") + header
    if body and isinstance(body[0], bytes):
        return [start + body[0], *body[1:]]
    return [start, *body]


def decode_response(api_key: int, version: int, frame: Buffer) -> tuple[int, Response]:
    """Read a response's header and body, which fill the frame: the correlation id and the response.

    Raises ProtocolError when the frame is not such a response, and KeyError when there is no such API.
    """
    header, offset = ResponseHeader.decode_from(frame, response_header_version(api_key, version), 0)
    response_type = response_class(api_key)
    response, end = response_type.decode_from(frame, version, offset)
    if end != len(frame):
        raise ProtocolError(f"{len(frame) - end} bytes too many after {response_type.__name__} {version}")
    return header.correlation_id, response
