"""A small client of the protocol on trio: one connection, one request after the other.

Tests and commands use it, and replicas will. It is no producer or consumer: it sends what it is given and returns
what came back, after agreeing on versions with the broker (ApiVersions).
"""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar, cast

import trio

from kbroker.world import Connection, ConnectionLost, Network
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.framing import FrameReader
from wire.headers import decode_response, encode_request
from wire.messages import API_KEYS
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.schema import Message, Request

RESPONSE_BYTES_MAX = 512 * 1024 * 1024
_CLIENT_SOFTWARE = "kbroker"

ResponseT = TypeVar("ResponseT", bound=Message)


class BrokerClient:
    """One connection to one broker."""

    def __init__(self, connection: Connection, *, client_id: str) -> None:
        self._connection = connection
        self._client_id = client_id
        self._frames = FrameReader(RESPONSE_BYTES_MAX)
        self._next_correlation_id = 0
        self._versions: dict[int, range] = {}
        self._in_use = trio.Lock()

    @classmethod
    async def connect(
        cls, network: Network, host: str, port: int, *, client_id: str = "kbroker-client"
    ) -> BrokerClient:
        """Connect and agree on versions; ConnectionLost if nobody answers there."""
        client = cls(await network.connect(host, port), client_id=client_id)
        try:
            await client._agree_on_versions()
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        self._connection.close()

    async def __aenter__(self) -> BrokerClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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
        """Send ``request`` and wait for its response; ConnectionLost if the broker goes away meanwhile."""
        if version is None:
            version = self.best_version(type(request))
        api_key = type(request).api_key
        async with self._in_use:
            correlation_id = await self._send(request, version)
            frame = await self._receive()
        answered_id, response = decode_response(api_key, version, frame)
        if answered_id != correlation_id:
            raise ProtocolError(f"response {answered_id} came for request {correlation_id}")
        assert isinstance(response, response_class)
        return response

    async def send(self, request: Request, *, version: int) -> None:
        """Send a request that gets no response (Produce with acks=0)."""
        async with self._in_use:
            await self._send(request, version)

    async def _send(self, request: Request, version: int) -> int:
        correlation_id = self._next_correlation_id
        self._next_correlation_id = (correlation_id + 1) & 0x7FFFFFFF
        parts = encode_request(request, version, correlation_id, self._client_id)
        await self._connection.send([cast("bytes", part) for part in parts])
        return correlation_id

    async def _receive(self) -> bytearray:
        while (frame := self._frames.next_frame()) is None:
            count = await self._connection.receive_into(self._frames.buffer_to_fill())
            if count == 0:
                raise ConnectionLost("the broker closed the connection")
            self._frames.filled(count)
        return frame

    async def _agree_on_versions(self) -> None:
        request = ApiVersionsRequest(client_software_name=_CLIENT_SOFTWARE, client_software_version="1")
        response = await self.request(request, ApiVersionsResponse, version=ApiVersionsRequest.max_version)
        if response.error_code == ErrorCode.UNSUPPORTED_VERSION:  # answered in version 0 by an older broker
            response = await self.request(ApiVersionsRequest(), ApiVersionsResponse, version=0)
        if response.error_code:
            raise ApiError(ErrorCode(response.error_code), "ApiVersions was refused")
        self._versions = {
            row.api_key: range(row.min_version, row.max_version + 1) for row in response.api_keys
        }
