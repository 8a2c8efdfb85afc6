"""A bare TCP connection that speaks as much Kafka as a case wants, with kio's schemas for what it does speak."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time
from datetime import timedelta
from typing import Any

from kio.index import load_response_from_request
from kio.schema.api_versions.v0.request import ApiVersionsRequest
from kio.schema.fetch.v11.request import FetchPartition, FetchRequest, FetchTopic
from kio.schema.types import TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i8, i32, i32Timedelta, i64

from tests.e2e.clients.interface import Closing, TopicPartition

API_VERSIONS_KEY = 18


class RawConnection(Closing):
    def __init__(self, bootstrap_server: str, *, receive_buffer_bytes: int | None = None) -> None:
        host, _, port = bootstrap_server.rpartition(":")
        self.socket = socket.socket()
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(10.0)
        try:
            self.socket.connect((host, int(port)))
        except OSError:
            self.socket.close()
            raise
        self._correlation_id = 0

    def close(self) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_frame(self, payload: bytes) -> None:
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    def send_header(self, api_key: int, api_version: int, body: bytes = b"") -> int:
        """A request with a version-1 header and any body; returns its correlation id."""
        self._correlation_id += 1
        header = struct.pack(">hhih", api_key, api_version, self._correlation_id, -1)
        self.send_frame(header + body)
        return self._correlation_id

    def send(self, request: Any) -> int:
        """A kio request of any version; returns its correlation id."""
        self._correlation_id += 1
        schema = request.__header_schema__
        header = schema(
            request_api_key=request.__api_key__,
            request_api_version=request.__version__,
            correlation_id=i32(self._correlation_id),
            client_id="raw",
        )
        buffer = io.BytesIO()
        entity_writer(schema)(buffer, header)
        entity_writer(type(request))(buffer, request)
        self.send_frame(buffer.getvalue())
        return self._correlation_id

    def receive_frame(self, *, deadline_s: float = 10.0) -> bytes:
        """The next frame's payload; ConnectionError where the broker closes, TimeoutError where it is silent."""
        deadline = time.monotonic() + deadline_s
        (size,) = struct.unpack(">i", self._receive(4, deadline))
        return self._receive(size, deadline)

    def receive(self, request: Any, *, deadline_s: float = 10.0) -> Any:
        """The response to the latest request, which was ``request``."""
        frame = self.receive_frame(deadline_s=deadline_s)
        schema = load_response_from_request(type(request))
        header, size = entity_reader(schema.__header_schema__)(frame, 0)
        assert header.correlation_id == self._correlation_id
        response, _size = entity_reader(schema)(frame, size)
        return response

    def _receive(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.socket.recv(min(size - len(received), 1 << 20))
            if not data:
                raise ConnectionResetError(f"closed after {len(received)} of {size} bytes")
            received += data
        return bytes(received)

    def is_closed_by_broker(self, *, deadline_s: float = 10.0) -> bool:
        """Whether the broker closes the connection, without another byte, before the deadline."""
        self.socket.settimeout(deadline_s)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def is_served(self, *, deadline_s: float = 10.0) -> bool:
        """Whether an ApiVersions request gets its answer."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            request = ApiVersionsRequest()
            self.send(request)
            return bool(self.receive(request, deadline_s=deadline_s).api_keys)
        return False


def fetch_request(
    partition: TopicPartition,
    offset: int,
    *,
    max_wait_ms: int = 0,
    min_bytes: int = 0,
    max_bytes: int = 50 << 20,
    partition_max_bytes: int = 50 << 20,
) -> FetchRequest:
    """A Fetch of one partition outside any fetch session."""
    asked = FetchPartition(
        partition=i32(partition.partition),
        fetch_offset=i64(offset),
        partition_max_bytes=i32(partition_max_bytes),
    )
    return FetchRequest(
        max_wait=i32Timedelta.parse(timedelta(milliseconds=max_wait_ms)),
        min_bytes=i32(min_bytes),
        max_bytes=i32(max_bytes),
        isolation_level=i8(0),
        topics=(FetchTopic(topic=TopicName(partition.topic), partitions=(asked,)),),
        forgotten_topics_data=(),
    )
