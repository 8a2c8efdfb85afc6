"""One client connection: frames in, handlers, responses out in request order.

Like Kafka, a connection serves one request at a time: the next frame is read when the response to the last
has been handed to the kernel. That keeps responses in order, makes a slow reader hold only itself back, and
leaves what the client pipelines in the socket buffers, where TCP pushes back.

    reading --frame--> handling --response--> sending --> reading
       |                  |                      |
       +-- end, idle, protocol error, stop ------+--> closed

What cannot be understood (a frame, a header, a key or version that is not served) closes the connection with
one log line, as Apache Kafka does; an unknown ApiVersions version alone is answered, so that clients can
fall back (KIP-511).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import trio

from kbroker.handlers.table import HandlerTable, RequestContext
from kbroker.server.request_memory import RequestMemory
from kbroker.world import Connection, ConnectionLost, Part, World
from storage.file_slice import FileSlice
from wire.errors import ProtocolError
from wire.framing import FrameReader
from wire.headers import RequestHeader, UnsupportedRequestError, decode_request, encode_response
from wire.messages import API_KEYS
from wire.messages.api_versions import ApiVersionsRequest
from wire.schema import Request

logger = logging.getLogger(__name__)


class ClientConnection:
    """Serves one connection until it ends; owns nothing but the socket."""

    def __init__(
        self,
        connection: Connection,
        *,
        table: HandlerTable,
        world: World,
        memory: RequestMemory,
        listener_name: str,
        connection_id: str,
        request_bytes_max: int,
        local_host: str,
    ) -> None:
        """``local_host`` is where the client believes this broker to be, for listeners that do not say."""
        self.connection_id = connection_id
        self.client_host = connection.peer_address.host
        self.last_active = world.monotonic()
        self.is_waiting_for_handler = False
        self.is_answering = False
        self.scope = trio.CancelScope()
        self._connection = connection
        self._table = table
        self._world = world
        self._memory = memory
        self._listener_name = listener_name
        self._local_host = local_host
        self._frames = FrameReader(request_bytes_max)
        self._reserved_bytes = 0
        self._stopping = False

    async def serve(self) -> None:
        """Serve requests until the client leaves, breaks the protocol, or ``stop`` is called."""
        request_name = "a request"
        try:
            with self.scope:
                while not self._stopping and (frame := await self._receive_frame()) is not None:
                    header, request = self._decode(frame)
                    request_name = API_KEYS[header.request_api_key].name
                    await self._answer(header, request)
                    self._release()
        except ConnectionLost as error:
            logger.debug("connection %s was lost: %s", self.connection_id, error)
        except ProtocolError as error:
            logger.warning("connection %s is closed: %s", self.connection_id, error)
        except Exception:
            logger.exception("connection %s is closed: %s failed", self.connection_id, request_name)
        finally:
            self._release()
            self._connection.close()

    @property
    def is_holding_half_a_request(self) -> bool:
        """Whether room is taken by a request whose end has not come yet."""
        return bool(self._reserved_bytes) and not self.is_answering

    def stop(self) -> None:
        """Close as soon as the request in hand, if any, has been answered."""
        self._stopping = True
        if not self.is_answering:
            self.scope.cancel()

    async def _receive_frame(self) -> bytearray | None:
        while True:
            frame = self._frames.next_frame()
            if frame is not None:
                return frame
            needed = self._frames.announced_bytes
            if needed and not self._reserved_bytes:
                await self._memory.acquire(needed)
                self._reserved_bytes = needed
            count = await self._connection.receive_into(self._frames.buffer_to_fill())
            if count == 0:
                return None
            self.last_active = self._world.monotonic()
            self._frames.filled(count)

    def _release(self) -> None:
        if self._reserved_bytes:
            self._memory.release(self._reserved_bytes)
            self._reserved_bytes = 0

    def _decode(self, frame: bytearray) -> tuple[RequestHeader, Request]:
        try:
            header, request = decode_request(frame)
        except UnsupportedRequestError as error:
            header = error.header
            if header.request_api_key != ApiVersionsRequest.api_key:
                raise
            # Answered in version 0 by the ApiVersions handler, which sees the version it cannot speak.
            return header, ApiVersionsRequest()
        if self._table.get(header.request_api_key) is None:
            raise ProtocolError(f"{API_KEYS[header.request_api_key].name} is not served here")
        return header, request

    async def _answer(self, header: RequestHeader, request: Request) -> None:
        api_key, version = header.request_api_key, header.request_api_version
        row = self._table.get(api_key)
        assert row is not None, "_decode lets only served keys through"
        context = RequestContext(
            api_key=api_key,
            api_version=version,
            correlation_id=header.correlation_id,
            client_id=header.client_id,
            listener_name=self._listener_name,
            connection_id=self.connection_id,
            client_host=self.client_host,
            local_host=self._local_host,
        )
        self.is_answering = self.is_waiting_for_handler = True
        try:
            response = await row.handler(request, context)
            self.is_waiting_for_handler = False
            self.last_active = self._world.monotonic()
            if response is not None:
                if api_key == ApiVersionsRequest.api_key and version > row.max_version:
                    version = 0
                parts = encode_response(response, version, header.correlation_id)
                await self._send(cast("list[Part]", parts))  # the only payloads are slices of log files
        finally:
            self.is_answering = self.is_waiting_for_handler = False

    async def _send(self, parts: Sequence[Part]) -> None:
        try:
            await self._connection.send(parts)
        finally:
            for part in parts:
                if isinstance(part, FileSlice):
                    part.release()
