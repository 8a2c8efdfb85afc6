"""A small client of the protocol: one connection, one request after the other.

Brokers talk to one another with it, and commands and tests do. It is no producer or consumer: it sends what it is
given and returns what came back, after agreeing on versions with the broker (ApiVersions).

A request that fails or is cancelled takes the connection with it: the answer may come yet, and would be taken for
the next one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TypeVar, cast

from kbroker.world import ClientNetwork, Connection, ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.framing import FrameReader
from wire.headers import decode_response, encode_request
from wire.messages import API_KEYS
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.schema import Message, Request

RESPONSE_BYTES_MAX = 512 * 1024 * 1024
_CLIENT_SOFTWARE = "kbroker"
_CORRELATION_ID_BYTES = 4

ResponseT = TypeVar("ResponseT", bound=Message)


class RequestNotSent(ConnectionLost):
    """The connection broke before the whole request was handed over: the broker cannot have acted on it."""


class BrokerClient:
    """One connection to one broker."""

    def __init__(
        self, connection: Connection, *, client_id: str, lock: AbstractAsyncContextManager[object]
    ) -> None:
        self._connection = connection
        self._client_id = client_id
        self._frames = FrameReader(RESPONSE_BYTES_MAX)
        self._next_correlation_id = 0
        self._versions: dict[int, range] = {}
        self._in_use = lock

    @classmethod
    async def connect(
        cls, network: ClientNetwork, host: str, port: int, *, client_id: str = "kbroker-client"
    ) -> BrokerClient:
        """Connect and agree on versions; ConnectionLost if nobody answers there."""
        client = cls(await network.connect(host, port), client_id=client_id, lock=network.lock())
        try:
            await client._agree_on_versions()
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> BrokerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> BrokerClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def ended(self) -> None:
        """Wait, while nothing is asked, until the broker closes the connection or sends what nobody asked for."""
        with suppress(ConnectionLost):
            await self._connection.receive_into(memoryview(bytearray(1)))

    def serves(self, api_key: int) -> range | None:
        """The versions that the broker serves of an API; None if it does not know the key."""
        return self._versions.get(api_key)

    def best_version(self, request_class: type[Request]) -> int:
        """The newest version that both sides speak; ApiError UNSUPPORTED_VERSION if there is none."""
        api_key = request_class.api_key
        served = self._versions.get(api_key, range(0))
        both = [
            version for version in served if request_class.min_version <= version <= request_class.max_version
        ]
        if not both:
            raise ApiError(
                ErrorCode.UNSUPPORTED_VERSION,
                f"the broker serves no usable version of {API_KEYS[api_key].name}",
            )
        return both[-1]

    async def request(
        self, request: Request, response_class: type[ResponseT], *, version: int | None = None
    ) -> ResponseT:
        """Send ``request`` and wait for its response.

        ConnectionLost if the broker goes away meanwhile; RequestNotSent if it was gone before. ProtocolError for an
        answer that makes no sense, ApiError UNSUPPORTED_VERSION.
        """
        (response,) = await self.request_all([request], response_class, version=version)
        return response

    async def request_all(
        self, requests: Sequence[Request], response_class: type[ResponseT], *, version: int | None = None
    ) -> list[ResponseT]:
        """Send requests of one kind one after the other, without waiting in between, and collect the responses.

        Errors as ``request`` has them; what has been answered before one is lost with it.
        """
        if version is None:
            version = self.best_version(type(requests[0]))
        responses: list[ResponseT] = []
        async with self._in_use:
            encoded = [self._encode(request, version) for request in requests]
            try:
                await self._send([part for _, parts in encoded for part in parts])
                for correlation_id, _ in encoded:
                    frame = await self._receive()
                    answered_id, response = decode_response(type(requests[0]).api_key, version, frame)
                    if answered_id != correlation_id:
                        raise ProtocolError(f"response {answered_id} came for request {correlation_id}")
                    assert isinstance(response, response_class)
                    responses.append(response)
            except BaseException:
                self.close()
                raise
        return responses

    async def send(self, request: Request, *, version: int) -> None:
        """Send a request that gets no response (Produce with acks=0)."""
        async with self._in_use:
            _, parts = self._encode(request, version)
            try:
                await self._send(parts)
            except BaseException:
                self.close()
                raise

    def _encode(self, request: Request, version: int) -> tuple[int, list[bytes]]:
        correlation_id = self._next_correlation_id
        self._next_correlation_id = (correlation_id + 1) & 0x7FFFFFFF
        parts = encode_request(request, version, correlation_id, self._client_id)
        return correlation_id, cast("list[bytes]", parts)

    async def _send(self, parts: list[bytes]) -> None:
        try:
            await self._connection.send(parts)
        except ConnectionLost as error:
            raise RequestNotSent(str(error)) from error

    async def _receive(self) -> bytearray:
        while (frame := self._frames.next_frame()) is None:
            count = await self._connection.receive_into(self._frames.buffer_to_fill())
            if count == 0:
                raise ConnectionLost("the broker closed the connection")
            self._frames.filled(count)
        return frame

    async def _agree_on_versions(self) -> None:
        response = await self._ask_for_versions(ApiVersionsRequest.max_version)
        if response.error_code == ErrorCode.UNSUPPORTED_VERSION:
            # An older broker says what it does serve of this API (KIP-511); one from before that says nothing.
            own = [row.max_version for row in response.api_keys if row.api_key == ApiVersionsRequest.api_key]
            older = min([*own, ApiVersionsRequest.max_version - 1]) if own else 0
            response = await self._ask_for_versions(older)
        if response.error_code:
            raise ApiError(ErrorCode(response.error_code), "ApiVersions was refused")
        self._versions = {
            row.api_key: range(row.min_version, row.max_version + 1) for row in response.api_keys
        }

    async def _ask_for_versions(self, version: int) -> ApiVersionsResponse:
        """One ApiVersions. A broker that does not know ``version`` answers in version 0."""
        request = ApiVersionsRequest(client_software_name=_CLIENT_SOFTWARE, client_software_version="1")
        async with self._in_use:
            correlation_id, parts = self._encode(request, version)
            await self._send(parts)
            frame = await self._receive()
            error_code = int.from_bytes(frame[_CORRELATION_ID_BYTES : _CORRELATION_ID_BYTES + 2], "big")
            answered_in = 0 if error_code == ErrorCode.UNSUPPORTED_VERSION else version
            answered_id, response = decode_response(request.api_key, answered_in, frame)
        if answered_id != correlation_id:
            raise ProtocolError(f"response {answered_id} came for request {correlation_id}")
        assert isinstance(response, ApiVersionsResponse)
        return response
