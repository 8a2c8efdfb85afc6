"""BrokerClient: agreeing on versions with brokers that are older than we are."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsNetwork
from wire.errors import ApiError, ErrorCode
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

_Row = ApiVersionsResponse.ApiVersion
SERVED = [_Row(api_key=3, min_version=0, max_version=9), _Row(api_key=18, min_version=0, max_version=3)]


class OlderBroker:
    """Serves ApiVersions 0 to 3; ``tells`` is whether it says so (KIP-511). ``asked`` are the versions that came."""

    def __init__(self, *, tells: bool) -> None:
        self._tells = tells
        self.asked: list[int] = []
        self.port = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        while size := await _exactly(stream, 4):
            frame = await _exactly(stream, struct.unpack(">i", size)[0])
            version, correlation_id = struct.unpack(">hi", frame[2:8])
            self.asked.append(version)
            answer = struct.pack(">i", correlation_id) + self._answer(version)
            await stream.send_all(struct.pack(">i", len(answer)) + answer)

    def _answer(self, version: int) -> bytes:
        if version > 3:
            own = [row for row in SERVED if row.api_key == ApiVersionsRequest.api_key]
            refusal = ApiVersionsResponse(
                error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=own if self._tells else []
            )
            return refusal.encode(0)
        return ApiVersionsResponse(api_keys=SERVED).encode(version)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        some = await stream.receive_some(count - len(received))
        if not some:
            return b""
        received += some
    return received


@asynccontextmanager
async def listening(broker: OlderBroker) -> AsyncIterator[OlderBroker]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, broker.serve, 0)
        broker.port = listeners[0].socket.getsockname()[1]
        yield broker
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("tells", "second"), [(True, 3), (False, 0)])
async def test_an_older_broker_is_asked_again_in_a_version_that_it_knows(tells: bool, second: int) -> None:
    async with listening(OlderBroker(tells=tells)) as broker:
        async with await BrokerClient.connect(OsNetwork(), "127.0.0.1", broker.port) as client:
            assert client.serves(3) == range(10)
            assert client.serves(0) is None
        assert broker.asked == [ApiVersionsRequest.max_version, second]


async def test_a_broker_that_refuses_every_version_is_no_use() -> None:
    broker = OlderBroker(tells=False)
    broker._answer = lambda version: ApiVersionsResponse(  # type: ignore[method-assign]
        error_code=ErrorCode.UNSUPPORTED_VERSION
    ).encode(0)
    async with listening(broker):
        with pytest.raises(ApiError):
            await BrokerClient.connect(OsNetwork(), "127.0.0.1", broker.port)
