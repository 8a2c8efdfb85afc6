"""Connections to other brokers: found by their registrations, pooled, bounded in time, never answered twice."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.client import BrokerClient, RequestNotSent
from kbroker.handlers.table import RequestContext, handles
from kbroker.metadata.image import Endpoint
from kbroker.peers import CONNECTIONS_PER_PEER_MAX, IDLE_MAX_S, UPKEEP_INTERVAL_S, seems_alive
from kbroker.world import Connection, ConnectionLost
from tests.kbroker.fake_brokers import FakeCluster, fake_cluster
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.group_membership import HeartbeatRequest, HeartbeatResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse

PEER = 2
TIMEOUT_S = 30.0


class Heart:
    """Echoes a number, as ``answer`` has it; ``seen`` are the numbers that came, ``clients`` their client ids."""

    def __init__(self, answer: Callable[[int], Awaitable[None]] | None = None) -> None:
        self.answer = answer
        self.seen: list[int] = []
        self.clients: list[str | None] = []
        self.served_now = self.served_at_once_max = 0

    @handles(HeartbeatRequest)
    async def heartbeat(self, request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        self.seen.append(request.generation_id)
        self.clients.append(context.client_id)
        self.served_now += 1
        self.served_at_once_max = max(self.served_at_once_max, self.served_now)
        try:
            if self.answer is not None:
                await self.answer(request.generation_id)
        finally:
            self.served_now -= 1
        return HeartbeatResponse(throttle_time_ms=request.generation_id)


def after(*pauses_s: float) -> Callable[[int], Awaitable[None]]:
    """Answers after these pauses, the last of which goes for all that follow."""
    pauses = list(pauses_s)

    async def answer(number: int) -> None:
        await trio.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])

    return answer


async def beat(cluster: FakeCluster, number: int = 1, timeout_s: float = TIMEOUT_S) -> int:
    request = HeartbeatRequest(generation_id=number)
    return (await cluster.peers.request(PEER, request, HeartbeatResponse, timeout_s)).throttle_time_ms


async def lost(call: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(ConnectionLost) as caught:
        await call()
    assert not isinstance(caught.value, RequestNotSent)
    return str(caught.value)


class TestWhereAPeerIs:
    async def test_at_its_inter_broker_listener(self) -> None:
        async with fake_cluster() as cluster:
            heart = Heart()
            await cluster.start(PEER, heart)
            assert await beat(cluster, 7) == 7
            assert [host for host, _ in cluster.network.connected] == ["10.0.0.9"]
            assert heart.clients == ["broker-1-peer"]

    async def test_on_this_machine_if_it_says_nothing_of_its_host(self) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart())
            port = cluster.image.brokers[PEER].endpoints["INTERNAL"].port
            cluster.register(PEER, Endpoint("", port))
            assert await beat(cluster, 7) == 7
            assert cluster.network.connected == [("127.0.0.1", port)]

    async def test_a_fenced_one_can_be_reached(self) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart())
            cluster.register(PEER, cluster.image.brokers[PEER].endpoints["INTERNAL"], fenced=True)
            assert await beat(cluster, 7) == 7
            (await cluster.peers.connect(PEER)).close()

    async def test_nobody_knows(self) -> None:
        async with fake_cluster() as cluster:
            assert "not registered" in await lost(lambda: beat(cluster))
            assert "not registered" in await lost(lambda: cluster.peers.connect(PEER))
            await cluster.start(PEER, Heart())
            cluster.settings.inter_broker_listener_name = "OTHER"
            assert "no listener OTHER" in await lost(lambda: beat(cluster))

    async def test_nobody_is_there(self) -> None:
        async with fake_cluster() as cluster:
            cluster.register(PEER, Endpoint("h", 1))
            assert "refused" in await lost(lambda: beat(cluster))

    @pytest.mark.parametrize("call", [beat, lambda cluster: cluster.peers.connect(PEER)])
    async def test_whoever_is_there_says_nothing(
        self, call: Callable[[FakeCluster], Awaitable[object]], autojump_clock: MockClock
    ) -> None:
        async with fake_cluster() as cluster:
            cluster.register(PEER, Endpoint("h", 1))
            cluster.network.silent.add(1)
            began = trio.current_time()
            assert "no connection to h:1 in 10 s" in await lost(lambda: call(cluster))
            assert trio.current_time() - began == pytest.approx(10)


async def test_a_connection_of_ones_own() -> None:
    async with fake_cluster() as cluster:
        heart = Heart()
        await cluster.start(PEER, heart)
        with await cluster.peers.connect(PEER, purpose="fetcher-3") as client:
            await beat(cluster)
            await client.request(HeartbeatRequest(generation_id=5), HeartbeatResponse)
        assert heart.clients == ["broker-1-peer", "broker-1-fetcher-3"]
        assert len(cluster.network.connected) == 2


class TestPool:
    async def test_connections_are_used_again(self) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart())
            assert [await beat(cluster, number) for number in range(5)] == list(range(5))
            assert len(cluster.network.connected) == 1

    async def test_requests_at_the_same_time_have_their_own_up_to_a_bound(
        self, autojump_clock: MockClock
    ) -> None:
        async with fake_cluster() as cluster:
            heart = Heart(after(1))
            await cluster.start(PEER, heart)
            answers: list[int] = []

            async def one(number: int) -> None:
                answers.append(await beat(cluster, number))

            async with trio.open_nursery() as nursery:
                for number in range(3 * CONNECTIONS_PER_PEER_MAX):
                    nursery.start_soon(one, number)
            assert sorted(answers) == list(range(3 * CONNECTIONS_PER_PEER_MAX))
            assert heart.served_at_once_max == CONNECTIONS_PER_PEER_MAX
            assert len(cluster.network.connected) == CONNECTIONS_PER_PEER_MAX

    async def test_idle_ones_are_closed(self, autojump_clock: MockClock) -> None:
        async with fake_cluster() as cluster:
            server = await cluster.start(PEER, Heart())
            await beat(cluster)
            await trio.sleep(IDLE_MAX_S - 5)
            await beat(cluster)
            await trio.sleep(IDLE_MAX_S - 5)
            assert len(server._connections) == 1
            await trio.sleep(5 + 2 * UPKEEP_INTERVAL_S)
            assert len(server._connections) == 0
            await beat(cluster)
            assert len(cluster.network.connected) == 2

    async def test_one_that_broke_while_idle_is_replaced(self) -> None:
        async with fake_cluster() as cluster:
            server = await cluster.start(PEER, Heart())
            await beat(cluster, 1)
            for connection in server._connections.values():
                connection.stop()
            await wait_all_tasks_blocked()
            assert await beat(cluster, 2) == 2
            assert len(cluster.network.connected) == 2

    async def test_but_only_once(self) -> None:
        async with fake_cluster() as cluster:
            server = await cluster.start(PEER, Heart())
            await beat(cluster, 1)
            await server.stop(0)
            assert "refused" in await lost(lambda: beat(cluster))

    async def test_a_request_that_may_have_been_acted_on_is_not_sent_again(self) -> None:
        async with fake_cluster() as cluster:
            heart = Heart()
            await cluster.start(PEER, heart)
            await beat(cluster, 1)

            async def hang_up(number: int) -> None:
                raise ProtocolError("enough")

            heart.answer = hang_up
            assert "closed" in await lost(lambda: beat(cluster, 2))
            assert heart.seen == [1, 2]

    async def test_an_answer_that_does_not_come(self, autojump_clock: MockClock) -> None:
        async with fake_cluster() as cluster:
            heart = Heart(after(100, 0))
            await cluster.start(PEER, heart)
            began = trio.current_time()
            assert "no answer from broker 2 in 3 s" in await lost(lambda: beat(cluster, 1, timeout_s=3))
            assert trio.current_time() - began == pytest.approx(3)
            assert await beat(cluster, 2) == 2, "not the late answer to the first one"
            assert len(cluster.network.connected) == 2

    async def test_who_is_cancelled_leaves_no_answer_behind(self, autojump_clock: MockClock) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart(after(5, 2)))
            with trio.move_on_after(1):
                await beat(cluster, 5)
            assert await beat(cluster, 2) == 2

    async def test_an_api_that_the_peer_does_not_serve(self) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart())
            with pytest.raises(ApiError) as caught:
                await cluster.peers.request(PEER, MetadataRequest(), MetadataResponse, TIMEOUT_S)
            assert caught.value.code is ErrorCode.UNSUPPORTED_VERSION
            assert await beat(cluster, 2) == 2


class TestANewLife:
    """A peer that registers again is another one, and what the one before was asked is void."""

    async def test_idle_connections_to_the_old_one_are_not_used(self) -> None:
        async with fake_cluster() as cluster:
            old, new = Heart(), Heart()
            await cluster.start(PEER, old)
            await beat(cluster, 1)
            await cluster.start(PEER, new)
            await beat(cluster, 2)
            assert (old.seen, new.seen) == ([1], [2])

    async def test_the_same_address_in_another_life(self) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart())
            await beat(cluster, 1)
            cluster.register(PEER, cluster.image.brokers[PEER].endpoints["INTERNAL"])
            await beat(cluster, 2)
            assert len(cluster.network.connected) == 2

    @pytest.mark.parametrize("what_happens", ["session lost", "registered again", "closed"])
    async def test_who_waits_for_the_old_one_is_told(
        self, what_happens: str, autojump_clock: MockClock
    ) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart(after(math.inf)))
            messages: list[str] = []

            async def wait() -> None:
                messages.append(await lost(lambda: beat(cluster)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(5)
                began = trio.current_time()
                if what_happens == "session lost":
                    cluster.unregister(PEER)
                elif what_happens == "closed":
                    cluster.peers.close()
                else:
                    await cluster.start(PEER, Heart())
            assert trio.current_time() - began <= UPKEEP_INTERVAL_S
            assert "lost its session" in messages[0]

    async def test_a_connection_that_became_stale_while_it_was_used_is_not_kept(
        self, autojump_clock: MockClock
    ) -> None:
        async with fake_cluster() as cluster:
            old = await cluster.start(PEER, Heart(after(0.1)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(beat, cluster)
                await wait_all_tasks_blocked()
                await cluster.start(PEER, Heart())
            await wait_all_tasks_blocked()
            assert len(old._connections) == 0


async def test_after_close() -> None:
    async with fake_cluster() as cluster:
        server = await cluster.start(PEER, Heart())
        await beat(cluster)
        cluster.peers.close()
        await wait_all_tasks_blocked()
        assert len(server._connections) == 0
        assert "going down" in await lost(lambda: beat(cluster))
        assert "going down" in await lost(lambda: cluster.peers.connect(PEER))


class TestClient:
    async def client(self, cluster: FakeCluster) -> BrokerClient:
        endpoint = cluster.image.brokers[PEER].endpoints["INTERNAL"]
        return await BrokerClient.connect(cluster.network, endpoint.host, endpoint.port)

    async def test_a_cancelled_request_takes_the_connection_with_it(self, autojump_clock: MockClock) -> None:
        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart(after(5)))
            client = await self.client(cluster)
            with trio.move_on_after(1):
                await client.request(HeartbeatRequest(generation_id=5), HeartbeatResponse)
            with pytest.raises(RequestNotSent):
                await client.request(HeartbeatRequest(generation_id=0), HeartbeatResponse)

    async def test_the_connection_is_listened_to_without_waiting(self) -> None:
        events: list[int | Exception] = []

        class Eager:
            """Like the operating system's connections: what has arrived is there at once."""

            def __init__(self, inner: Connection) -> None:
                self._inner = inner
                self.local_address, self.peer_address = inner.local_address, inner.peer_address
                self.send, self.close = inner.send, inner.close

            async def receive_into(self, buffer: memoryview) -> int:
                if not events:
                    return await self._inner.receive_into(buffer)
                event = events.pop()
                if isinstance(event, Exception):
                    raise event
                return event

        async with fake_cluster() as cluster:
            await cluster.start(PEER, Heart())
            client = await self.client(cluster)
            client._connection = Eager(client._connection)
            assert await seems_alive(client)
            for event in (0, 1, ConnectionLost("reset")):
                events.append(event)
                assert not await seems_alive(client)
            assert await seems_alive(client)
            response = await client.request(HeartbeatRequest(generation_id=4), HeartbeatResponse)
            assert response.throttle_time_ms == 4
