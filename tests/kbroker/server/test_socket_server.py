"""Connections from accept to close: order, bounds, and what one client can do to another."""

from __future__ import annotations

import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.client import BrokerClient
from kbroker.handlers.api_versions import ApiVersionsHandlers
from kbroker.handlers.table import HandlerTable, LaterResponse, RequestContext, handles
from kbroker.quotas.client_quotas import ClientQuotaManager
from kbroker.quotas.connection_rates import ConnectionRates
from kbroker.server.socket_server import ListenerBinding, ServerLimits, SocketServer
from kbroker.world import ConnectionLost, World
from tests.memory_network import MemoryConnection, MemoryNetwork
from wire.errors import ApiError, ErrorCode
from wire.headers import encode_request
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.messages.group_membership import HeartbeatRequest, HeartbeatResponse
from wire.messages.metadata import MetadataRequest

Handle = Callable[[HeartbeatRequest, RequestContext], Awaitable[HeartbeatResponse | LaterResponse]]
BIG = 2**31


class HeartbeatHandlers:
    """Lets each test say what a request does."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @handles(HeartbeatRequest)
    async def heartbeat(
        self, request: HeartbeatRequest, context: RequestContext
    ) -> HeartbeatResponse | LaterResponse:
        return await self._handle(request, context)


async def echo(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
    return HeartbeatResponse(throttle_time_ms=request.generation_id)


class Running:
    """A server on a network in memory."""

    def __init__(self, network: MemoryNetwork, server: SocketServer, port: int) -> None:
        self.network, self.server, self.port = network, server, port

    async def client(self) -> BrokerClient:
        return await BrokerClient.connect(self.network, "127.0.0.1", self.port)


@asynccontextmanager
async def running(
    handle: Handle = echo,
    *,
    quotas: ClientQuotaManager | None = None,
    connection_rates: ConnectionRates | None = None,
    **changed: object,
) -> AsyncIterator[Running]:
    network = MemoryNetwork()
    world = cast(World, SimpleNamespace(network=network, monotonic=trio.current_time, sleep=trio.sleep))
    limits: dict[str, Any] = {
        "request_bytes_max": 10_000,
        "queued_request_bytes_max": -1,
        "connections_max": BIG,
        "connections_per_ip_max": BIG,
        "connections_per_ip_overrides": {},
        "connection_idle_ms_max": 600_000,
        **changed,
    }
    table = HandlerTable()
    table.register(
        HeartbeatHandlers(handle),
        ApiVersionsHandlers(served=table.rows, supported_features={}, finalized_features=lambda: (0, {})),
    )
    server = SocketServer(
        table=table,
        world=world,
        limits=ServerLimits(**limits),
        broker_name="test",
        quotas=quotas,
        connection_rates=connection_rates,
    )
    bound = await server.bind([ListenerBinding("PLAINTEXT", "127.0.0.1", 0)])
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield Running(network, server, bound["PLAINTEXT"].port)
        await server.stop(5)


async def heartbeat(client: BrokerClient, number: int = 0, member: str = "") -> int:
    request = HeartbeatRequest(generation_id=number, member_id=member)
    return (await client.request(request, HeartbeatResponse)).throttle_time_ms


async def is_closed(client: BrokerClient) -> bool:
    buffer = memoryview(bytearray(1))
    with trio.fail_after(5):
        try:
            return await client._connection.receive_into(buffer) == 0
        except ConnectionLost:
            return True


def frame(request: Any, version: int, correlation_id: int) -> bytes:
    return b"".join(bytes(part) for part in encode_request(request, version, correlation_id, "me"))


async def test_a_request_gets_its_response() -> None:
    async with running() as broker, await broker.client() as client:
        assert await heartbeat(client, 7) == 7


async def test_pipelined_requests_are_answered_in_order_even_if_the_first_takes_longest() -> None:
    async def slow_first(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        await trio.sleep(0.01 if request.generation_id == 0 else 0)
        return await echo(request, context)

    async with running(slow_first) as broker, await broker.client() as client:
        requests = [HeartbeatRequest(generation_id=number) for number in range(5)]
        answers = await client.request_all(requests, HeartbeatResponse)
        assert [answer.throttle_time_ms for answer in answers] == [0, 1, 2, 3, 4]


class Later(LaterResponse):
    """A response that comes, or fails, when it is let go."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fails = False
        self.may_go = trio.Event()
        self.is_waited_for = False

    async def wait(self) -> HeartbeatResponse:
        self.is_waited_for = True
        await self.may_go.wait()
        if self.fails:
            raise RuntimeError("it fails")
        return HeartbeatResponse(throttle_time_ms=self.number)


class Pipelined:
    """A connection whose heartbeats are answered later, and a second API."""

    def __init__(self, running: Running, client: BrokerClient, handled: list[Later]) -> None:
        self.running, self.client, self.handled = running, client, handled

    async def send(self, *requests: Any) -> None:
        await self.client._connection.send(
            [frame(request, 4 if isinstance(request, HeartbeatRequest) else 0, 100) for request in requests]
        )
        await wait_all_tasks_blocked()

    async def heartbeats(self, *numbers: int) -> None:
        await self.send(*(HeartbeatRequest(generation_id=number) for number in numbers))

    async def answer(self) -> int:
        with trio.fail_after(5):
            frame = memoryview(await self.client._receive())
        return HeartbeatResponse.decode(frame[5:], 4).throttle_time_ms

    @property
    def numbers(self) -> list[int]:
        return [later.number for later in self.handled]


@asynccontextmanager
async def pipelining(**changed: object) -> AsyncIterator[Pipelined]:
    handled: list[Later] = []

    async def later(request: HeartbeatRequest, context: RequestContext) -> LaterResponse | HeartbeatResponse:
        if request.member_id == "now":
            return await echo(request, context)
        handled.append(Later(request.generation_id))
        return handled[-1]

    async with running(later, **changed) as broker, await broker.client() as client:
        yield Pipelined(broker, client, handled)


async def test_while_one_waits_the_next_of_its_kind_is_handled_and_answers_keep_their_order() -> None:
    async with pipelining() as connection:
        await connection.heartbeats(0, 1)
        await connection.send(HeartbeatRequest(generation_id=2, member_id="now"))
        assert connection.numbers == [0, 1]
        connection.handled[1].may_go.set()
        await wait_all_tasks_blocked()
        connection.handled[0].may_go.set()
        assert [await connection.answer() for _ in range(3)] == [0, 1, 2]
        await connection.heartbeats(3)
        connection.handled[2].may_go.set()
        assert await connection.answer() == 3


async def test_each_is_waited_for_from_the_start_and_not_when_its_turn_comes() -> None:
    """What is true of it may pass meanwhile."""
    async with pipelining() as connection:
        await connection.heartbeats(0, 1)
        assert [later.is_waited_for for later in connection.handled] == [True, True]
        for later in reversed(connection.handled):
            later.may_go.set()
            await wait_all_tasks_blocked()
        assert [await connection.answer() for _ in range(2)] == [0, 1]


async def test_a_client_that_does_not_read_its_answer_is_idle(autojump_clock: MockClock) -> None:
    async with pipelining(connection_idle_ms_max=10_000) as connection:
        sent = MemoryConnection.send
        blocked = trio.Event()

        async def never(self: MemoryConnection, parts: object) -> None:
            await blocked.wait()

        MemoryConnection.send = never  # type: ignore[method-assign, assignment]
        try:
            # By hand: the client's own side of the network must still send.
            await sent(
                cast(Any, connection.client._connection), [frame(HeartbeatRequest(generation_id=0), 4, 100)]
            )
            await wait_all_tasks_blocked()
            connection.handled[0].may_go.set()
            await trio.sleep(60)
        finally:
            MemoryConnection.send = sent  # type: ignore[method-assign]
        assert await is_closed(connection.client)


async def test_another_kind_of_request_is_held_back_until_everything_before_it_is_answered() -> None:
    async with pipelining() as connection:
        await connection.send(HeartbeatRequest(), ApiVersionsRequest(), HeartbeatRequest(generation_id=1))
        assert connection.numbers == [0]
        connection.handled[0].may_go.set()
        await wait_all_tasks_blocked()
        assert connection.numbers == [0, 1]


async def test_only_so_many_are_handled_and_not_answered() -> None:
    async with pipelining() as connection:
        await connection.heartbeats(*range(20))
        assert connection.numbers == list(range(16))
        connection.handled[0].may_go.set()
        await wait_all_tasks_blocked()
        assert connection.numbers == list(range(17))
        for later in connection.handled:
            later.may_go.set()
        await wait_all_tasks_blocked()
        for later in connection.handled[17:]:
            later.may_go.set()
        assert [await connection.answer() for _ in range(20)] == list(range(20))


async def test_a_later_response_that_fails_closes_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with pipelining() as connection:
        await connection.heartbeats(0, 1)
        connection.handled[0].fails = True
        connection.handled[0].may_go.set()
        assert await is_closed(connection.client)
        assert "failed" in caplog.text


async def test_what_breaks_the_protocol_closes_the_connection_after_what_came_before_is_answered() -> None:
    async with pipelining() as connection:
        await connection.heartbeats(0)
        await connection.client._connection.send([struct.pack(">i", -5)])
        await wait_all_tasks_blocked()
        connection.handled[0].may_go.set()
        assert await connection.answer() == 0
        assert await is_closed(connection.client)


async def test_stopping_waits_for_later_responses_and_takes_no_new_requests() -> None:
    async with pipelining() as connection, trio.open_nursery() as nursery:
        await connection.heartbeats(0, 1)
        nursery.start_soon(connection.running.server.stop, 5)
        await wait_all_tasks_blocked()
        await connection.heartbeats(2)
        assert connection.numbers == [0, 1]
        for later in connection.handled:
            later.may_go.set()
        assert [await connection.answer() for _ in range(2)] == [0, 1]
        assert await is_closed(connection.client)


async def test_waiting_for_a_later_response_is_not_idleness(autojump_clock: MockClock) -> None:
    async with pipelining(connection_idle_ms_max=10_000) as connection:
        await connection.heartbeats(0)
        await trio.sleep(60)
        connection.handled[0].may_go.set()
        assert await connection.answer() == 0


async def test_a_client_that_waits_holds_nobody_else() -> None:
    released = trio.Event()

    async def wait_if_asked(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        if request.generation_id == 1:
            await released.wait()
        return await echo(request, context)

    async with (
        running(wait_if_asked) as broker,
        await broker.client() as slow,
        await broker.client() as fast,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(heartbeat, slow, 1)
        await wait_all_tasks_blocked()
        with trio.fail_after(5):
            assert await heartbeat(fast, 2) == 2
        released.set()


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack(">i", -1),
        struct.pack(">i", 10_001),
        struct.pack(">i", 3) + b"abc",
        struct.pack(">ihhih", 10, 12, 4, 1, 30_000),
        struct.pack(">ihhih", 10, 12, 99, 1, -1),
        struct.pack(">ihhih", 10, 999, 0, 1, -1),
        struct.pack(">ihhih", 10, 3, 1, 1, -1),
        frame(HeartbeatRequest(), 4, 1)[:-1] + b"\xff",
    ],
    ids=["negative", "huge", "short header", "bad client id", "version", "key", "not served", "tags"],
)
async def test_what_cannot_be_understood_closes_its_own_connection_only(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as broker, await broker.client() as bad, await broker.client() as good:
        with caplog.at_level(logging.WARNING):
            await bad._connection.send([garbage])
            assert await is_closed(bad)
        assert len(caplog.records) == 1
        assert await heartbeat(good, 3) == 3


async def test_a_handler_that_fails_closes_one_connection_and_is_logged_once_without_the_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        if request.generation_id == 1:
            raise RuntimeError("broken")
        return await echo(request, context)

    async with running(fail) as broker, await broker.client() as bad, await broker.client() as good:
        with caplog.at_level(logging.WARNING), pytest.raises(ConnectionLost):
            await heartbeat(bad, 1, member="a secret")
        assert len(caplog.records) == 1
        assert "Heartbeat" in caplog.text
        assert "a secret" not in caplog.text
        assert await heartbeat(good, 3) == 3


@pytest.mark.parametrize("version", [99, -1])
async def test_an_unknown_api_versions_version_is_answered_in_version_0(version: int) -> None:
    async with running() as broker, await broker.client() as client:
        newest = ApiVersionsRequest(client_software_name="x", client_software_version="1")
        data = bytearray(frame(newest, 4, 9))
        data[6:8] = struct.pack(">h", version)
        await client._connection.send([data])
        answer = await client._receive()
        assert struct.unpack_from(">i", answer)[0] == 9
        response = ApiVersionsResponse.decode(memoryview(answer)[4:], 0)
        assert response.error_code == ErrorCode.UNSUPPORTED_VERSION
        rows = [(row.api_key, row.min_version, row.max_version) for row in response.api_keys]
        assert rows == [(18, 0, ApiVersionsRequest.max_version)]
        assert await heartbeat(client, 1) == 1


async def test_only_what_is_served_is_advertised() -> None:
    async with running() as broker, await broker.client() as client:
        assert client.serves(HeartbeatRequest.api_key) == range(5)
        assert client.serves(MetadataRequest.api_key) is None
        with pytest.raises(ApiError):
            client.best_version(MetadataRequest)


async def test_connections_per_address_are_bounded() -> None:
    async with running(connections_per_ip_max=1) as broker:
        async with await broker.client() as first:
            with pytest.raises(ConnectionLost):
                await broker.client()
            assert await heartbeat(first) == 0
        await wait_all_tasks_blocked()
        async with await broker.client() as second:
            assert await heartbeat(second) == 0


async def test_a_full_broker_lets_new_connections_wait_for_room() -> None:
    async with running(connections_max=1) as broker:
        first = await broker.client()
        connected = trio.Event()

        async def connect() -> None:
            async with await broker.client() as second:
                connected.set()
                assert await heartbeat(second) == 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            await wait_all_tasks_blocked()
            assert not connected.is_set()
            first.close()
            with trio.fail_after(5):
                await connected.wait()


async def test_idle_connections_are_closed_and_busy_ones_are_not(autojump_clock: MockClock) -> None:
    async def take_long(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        await trio.sleep(request.generation_id)
        return await echo(request, context)

    async with (
        running(take_long, connection_idle_ms_max=10_000) as broker,
        await broker.client() as idle,
        await broker.client() as busy,
    ):
        assert await heartbeat(busy, 60) == 60
        assert await is_closed(idle)


async def test_stopping_lets_the_request_in_hand_finish_and_closes_idle_connections() -> None:
    started, released = trio.Event(), trio.Event()

    async def wait(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        started.set()
        await released.wait()
        return await echo(request, context)

    async with running(wait) as broker, await broker.client() as idle, await broker.client() as busy:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat, busy, 1)
            await started.wait()
            nursery.start_soon(broker.server.stop, 60)
            assert await is_closed(idle)
            with pytest.raises(ConnectionLost):
                await broker.client()
            released.set()
        assert await is_closed(busy)


async def test_stopping_cuts_what_does_not_finish_in_time(autojump_clock: MockClock) -> None:
    async def hang(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        await trio.sleep_forever()
        raise AssertionError

    async with running(hang) as broker, await broker.client() as client, trio.open_nursery() as nursery:

        async def lose() -> None:
            with pytest.raises(ConnectionLost):
                await heartbeat(client)

        nursery.start_soon(lose)
        await wait_all_tasks_blocked()
        before = trio.current_time()
        await broker.server.stop(3)
        assert trio.current_time() - before == pytest.approx(3)


async def test_requests_beyond_the_memory_bound_wait_until_others_are_answered() -> None:
    released = trio.Event()

    async def wait(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        if request.generation_id == 1:
            await released.wait()
        return await echo(request, context)

    large = "m" * 8000
    async with (
        running(wait, queued_request_bytes_max=10_000) as broker,
        await broker.client() as first,
        await broker.client() as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(heartbeat, first, 1, large)
        await wait_all_tasks_blocked()
        answered = trio.Event()

        async def ask() -> None:
            assert await heartbeat(second, 2, large) == 2
            answered.set()

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert not answered.is_set()
        released.set()
        with trio.fail_after(5):
            await answered.wait()


async def test_half_a_frame_does_not_hold_the_memory_of_others_for_long(autojump_clock: MockClock) -> None:
    async with (
        running(queued_request_bytes_max=10_000) as broker,
        await broker.client() as half_open,
        await broker.client() as other,
    ):
        await half_open._connection.send([struct.pack(">i", 9_000), b"half"])
        await wait_all_tasks_blocked()
        with trio.fail_after(60):
            assert await heartbeat(other, 1, "m" * 8000) == 1
        assert await is_closed(half_open)


async def test_nor_does_half_a_frame_behind_a_request_that_waits(autojump_clock: MockClock) -> None:
    async with (
        pipelining(queued_request_bytes_max=10_000) as connection,
        await connection.running.client() as other,
    ):
        await connection.heartbeats(0)
        await connection.client._connection.send([struct.pack(">i", 9_000), b"half"])
        await wait_all_tasks_blocked()
        request = HeartbeatRequest(member_id="m" * 8000)
        await other._connection.send([frame(request, 4, 100)])
        await trio.sleep(30)
        assert len(connection.handled) == 2, "the other client had its turn"
        connection.handled[0].may_go.set()
        assert await is_closed(connection.client)


async def test_what_breaks_off_gives_its_room_back_before_what_waits_is_answered() -> None:
    async with (
        pipelining(queued_request_bytes_max=10_000) as connection,
        await connection.running.client() as other,
    ):
        await connection.heartbeats(0)
        await connection.client._connection.send([struct.pack(">i", 9_000), b"half"])
        await wait_all_tasks_blocked()
        cast(Any, connection.client._connection)._stream.send_stream.close()
        await wait_all_tasks_blocked()
        await other._connection.send([frame(HeartbeatRequest(member_id="m" * 8000), 4, 100)])
        await wait_all_tasks_blocked()
        assert len(connection.handled) == 2
        for later in connection.handled:
            later.may_go.set()
