"""This broker's connections to the other brokers of the cluster.

Where a broker is, its registration says: the endpoint of the inter-broker listener. A connection belongs to one
*route*, that is to one endpoint in one life (broker epoch) of a broker; once the registration says something else,
idle connections are closed, and whoever waits for an answer is told that none will come: the broker that was asked
has lost its session, and may be long in noticing.

    connect   a connection of one's own, for a replica fetcher
    request   one request over a pooled connection: some for each peer, one request at a time on each

A pooled connection that turns out to be dead before the whole request was handed over is replaced once. Whenever the
peer may have acted on the request, ConnectionLost is all that the caller gets (Kafka: InterBrokerSendThread and its
NetworkClient).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeVar

import trio

from kbroker.client import BrokerClient, RequestNotSent
from kbroker.metadata.image import ClusterImage
from kbroker.world import ConnectionLost, Network
from wire.errors import ApiError, ProtocolError
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)

CONNECTIONS_PER_PEER_MAX: Final = 8
"""Pooled ones; more requests than that to one peer wait for one another."""
IDLE_MAX_S: Final = 60.0
"""Well below ``connections.max.idle.ms``: it is not the peer who closes an idle connection."""
UPKEEP_INTERVAL_S: Final = 1.0

_THIS_MACHINE: Final = "127.0.0.1"


class PeerSettings(Protocol):
    """The broker's configuration."""

    @property
    def inter_broker_listener_name(self) -> str: ...

    @property
    def socket_connection_setup_timeout_ms(self) -> int: ...


class World(Protocol):
    """The part of the World that peers use."""

    @property
    def network(self) -> Network: ...

    def monotonic(self) -> float:
        """Seconds; the clock of trio's deadlines."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class _Route(NamedTuple):
    """Where a broker is to be found in this life of it."""

    node_id: int
    host: str
    port: int
    broker_epoch: int


class _Pooled(NamedTuple):
    """A connection that nobody uses just now."""

    client: BrokerClient
    route: _Route
    idle_since: float


class _Peer:
    """The pool of one peer."""

    __slots__ = ("asking", "free", "idle")

    def __init__(self) -> None:
        self.free = trio.Semaphore(CONNECTIONS_PER_PEER_MAX)
        self.idle: list[_Pooled] = []
        self.asking: dict[trio.CancelScope, _Route] = {}


class Peers:
    """See the module's docstring. Run ``run`` in the background, and ``close`` at the end."""

    def __init__(
        self, *, node_id: int, world: World, current_image: Callable[[], ClusterImage], settings: PeerSettings
    ) -> None:
        """``node_id`` is this broker's own; it goes into the client ids."""
        self._node_id = node_id
        self._world = world
        self._current_image = current_image
        self._settings = settings
        self._peers: dict[int, _Peer] = {}
        self._closed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Close what is idle for long or stale, until cancelled."""
        task_status.started()
        while True:
            await self._world.sleep(UPKEEP_INTERVAL_S)
            self._look_after()

    def close(self) -> None:
        """Every later call gets ConnectionLost, and so do those who wait for an answer."""
        self._closed = True
        self._look_after()

    async def connect(self, node_id: int, *, purpose: str = "fetcher-0") -> BrokerClient:
        """A new connection, the caller's to close; ConnectionLost if there is none to be had.

        ``purpose`` ends its client id, as Kafka has it: ``broker-1-fetcher-0``.
        """
        return await self._connect(self._route_to(node_id), purpose)

    async def request(
        self, node_id: int, request: Request, response_class: type[ResponseT], timeout_s: float
    ) -> ResponseT:
        """Send a request in the newest version that both sides know, and wait for its response.

        ConnectionLost if there is no connection, no answer in time, or none that can be understood: the peer may
        have acted on the request or not. ApiError UNSUPPORTED_VERSION.
        """
        peer = self._peers.setdefault(node_id, _Peer())
        with trio.move_on_after(timeout_s):
            async with peer.free:
                try:
                    return await self._request(node_id, peer, request, response_class)
                except ProtocolError as error:
                    raise ConnectionLost(f"broker {node_id} does not make sense: {error}") from error
        raise ConnectionLost(f"no answer from broker {node_id} in {timeout_s:g} s")

    async def _request(
        self, node_id: int, peer: _Peer, request: Request, response_class: type[ResponseT]
    ) -> ResponseT:
        route = self._route_to(node_id)
        client = await _take_idle(peer, route)
        if client is not None:
            try:
                return await self._ask(peer, client, route, request, response_class)
            except RequestNotSent:
                route = self._route_to(node_id)
        client = await self._connect(route, "peer")
        return await self._ask(peer, client, route, request, response_class)

    async def _ask(
        self,
        peer: _Peer,
        client: BrokerClient,
        route: _Route,
        request: Request,
        response_class: type[ResponseT],
    ) -> ResponseT:
        with trio.CancelScope() as scope:
            peer.asking[scope] = route
            try:
                response = await client.request(request, response_class)
            except BaseException:
                client.close()
                raise
            finally:
                del peer.asking[scope]
            if self._is_current(route):
                peer.idle.append(_Pooled(client, route, self._world.monotonic()))
            else:
                client.close()
            return response
        raise ConnectionLost(f"broker {route.node_id} lost its session before it answered")

    async def _connect(self, route: _Route, purpose: str) -> BrokerClient:
        timeout_s = self._settings.socket_connection_setup_timeout_ms / 1000
        with trio.move_on_after(timeout_s):
            try:
                return await BrokerClient.connect(
                    self._world.network,
                    route.host,
                    route.port,
                    client_id=f"broker-{self._node_id}-{purpose}",
                )
            except (ApiError, ProtocolError) as error:
                raise ConnectionLost(f"{route.host}:{route.port} is no broker: {error}") from error
        raise ConnectionLost(f"no connection to {route.host}:{route.port} in {timeout_s:g} s")

    def _route_to(self, node_id: int) -> _Route:
        if self._closed:
            raise ConnectionLost("this broker is going down")
        registration = self._current_image().brokers.get(node_id)
        if registration is None:
            raise ConnectionLost(f"broker {node_id} is not registered")
        name = self._settings.inter_broker_listener_name
        endpoint = registration.endpoints.get(name)
        if endpoint is None:
            raise ConnectionLost(f"broker {node_id} has no listener {name}")
        # A broker that says nothing of its host is reached by everybody at the address that they know: on this machine.
        return _Route(node_id, endpoint.host or _THIS_MACHINE, endpoint.port, registration.broker_epoch)

    def _is_current(self, route: _Route) -> bool:
        try:
            return self._route_to(route.node_id) == route
        except ConnectionLost:
            return False

    def _look_after(self) -> None:
        idle_before = self._world.monotonic() - IDLE_MAX_S
        for peer in self._peers.values():
            kept: list[_Pooled] = []
            for pooled in peer.idle:
                if pooled.idle_since > idle_before and self._is_current(pooled.route):
                    kept.append(pooled)
                else:
                    pooled.client.close()
            peer.idle = kept
            for scope, route in peer.asking.items():
                if not self._is_current(route):
                    scope.cancel()


async def _take_idle(peer: _Peer, route: _Route) -> BrokerClient | None:
    """A connection of that very route that still seems to work; the one last used, so that others become idle."""
    while peer.idle:
        pooled = peer.idle.pop()
        if pooled.route == route and await seems_alive(pooled.client):
            return pooled.client
        pooled.client.close()
    return None


async def seems_alive(client: BrokerClient) -> bool:
    """Whether the broker has not closed the connection, as far as this side knows, while nothing was asked."""
    with trio.CancelScope() as scope:
        scope.cancel()  # only what has arrived already
        await client.ended()
        return False
    return True
