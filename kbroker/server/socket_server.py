"""The listeners of one broker, the connections they accepted, and the limits on both.

Each listener has a task of its own and all connections share one nursery; stopping first closes the
listeners, then asks every connection to finish the request in hand, and cuts what is left at a deadline.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from kbroker.handlers.table import HandlerTable
from kbroker.quotas.client_quotas import ClientQuotaManager
from kbroker.quotas.connection_rates import ConnectionRates, ListenerPlace
from kbroker.server.connection import ClientConnection
from kbroker.server.container_network import advertised_local_host
from kbroker.server.request_memory import RequestMemory
from kbroker.world import Address, Connection, ConnectionLost, Listener, World

logger = logging.getLogger(__name__)

_IDLE_CHECK_INTERVAL_S = 1.0
_HALF_A_REQUEST_SILENCE_MAX_S = 10.0
_HELD_BACK_MAX = 256
"""Connections that a quota refuses and that are closed later. They have descriptors and are not among the others."""


@dataclass(frozen=True, slots=True)
class ListenerBinding:
    """Where one named listener is to be bound; port 0 takes a free one."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of Kafka's network settings; -1 for ``queued_request_bytes_max`` means none."""

    request_bytes_max: int
    queued_request_bytes_max: int
    connections_max: int
    connections_per_ip_max: int
    connections_per_ip_overrides: dict[str, int]
    connection_idle_ms_max: int


class SocketServer:
    """Accepts connections on every listener and serves them from the handler table."""

    def __init__(
        self,
        *,
        table: HandlerTable,
        world: World,
        limits: ServerLimits,
        broker_name: str,
        container_gateway: str | None = None,
        quotas: ClientQuotaManager | None = None,
        connection_rates: ConnectionRates | None = None,
    ) -> None:
        """``container_gateway``: see ``container_network``; None outside of containers."""
        self._quotas = quotas
        self._connection_rates = connection_rates
        self._held_back = 0
        self._table = table
        self._world = world
        self._limits = limits
        self._broker_name = broker_name
        self._container_gateway = container_gateway
        self._memory = RequestMemory(limits.queued_request_bytes_max)
        self._listeners: dict[str, Listener] = {}
        self._connections: dict[str, ClientConnection] = {}
        self._connections_by_ip: Counter[str] = Counter()
        self._room = trio.Event()
        self._next_connection = 0
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()

    async def bind(self, bindings: Sequence[ListenerBinding]) -> dict[str, Address]:
        """Bind every listener, or none: an OSError names the address that could not be had."""
        try:
            for binding in bindings:
                try:
                    listener = await self._world.network.listen(binding.host, binding.port)
                except OSError as error:
                    wanted = Address(binding.host, binding.port)
                    reason = error.strerror or str(error)
                    raise OSError(
                        error.errno, f"listener {binding.name} cannot be bound to {wanted}: {reason}"
                    ) from error
                self._listeners[binding.name] = listener
        except BaseException:
            self._close_listeners()
            raise
        return {name: listener.address for name, listener in self._listeners.items()}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``stop``; started once the listeners accept."""
        try:
            with self._serving:
                async with trio.open_nursery() as connections:
                    with self._accepting:
                        async with trio.open_nursery() as listeners:
                            for name, listener in self._listeners.items():
                                listeners.start_soon(self._accept_all, name, listener, connections)
                            listeners.start_soon(self._close_idle)
                            task_status.started()
        finally:
            self._close_listeners()

    async def stop(self, deadline_s: float) -> None:
        """Take no new connections, let requests in hand finish, and cut the rest after ``deadline_s``."""
        self._accepting.cancel()
        self._close_listeners()
        for connection in list(self._connections.values()):
            connection.stop()
        with trio.move_on_after(deadline_s):
            while self._connections:
                self._room = trio.Event()
                await self._room.wait()
        if self._connections:
            logger.warning(
                "%s: %d connections did not finish within %.1f s and are cut",
                self._broker_name,
                len(self._connections),
                deadline_s,
            )
        self._serving.cancel()

    def _close_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.close()

    async def _accept_all(self, name: str, listener: Listener, connections: trio.Nursery) -> None:
        place = ListenerPlace(name, is_alone=len(self._listeners) == 1)
        while True:
            # As in Kafka, a full broker leaves new connections in the backlog until there is room.
            while len(self._connections) >= self._limits.connections_max:
                self._room = trio.Event()
                await self._room.wait()
            try:
                accepted = await listener.accept()
            except ConnectionLost:
                return
            host = accepted.peer_address.host
            rates = self._connection_rates
            if rates is not None:
                if wait_ms := rates.wait_ms(place):
                    await self._keep_waiting(accepted, wait_ms / 1000)
                if throttle_ms := rates.throttle_ms(host, place):
                    self._refuse_later(accepted, throttle_ms, connections)
                    continue
            if self._connections_by_ip[host] >= self._per_ip_max(host):
                logger.info("%s: too many connections from %s, one is refused", self._broker_name, host)
                accepted.close()
                continue
            connections.start_soon(self._serve, self._admit(name, accepted))

    async def _keep_waiting(self, accepted: Connection, seconds: float) -> None:
        try:
            await self._world.sleep(seconds)
        except BaseException:
            accepted.close()
            raise

    def _refuse_later(self, accepted: Connection, throttle_ms: int, connections: trio.Nursery) -> None:
        """Close a connection that came too soon only after a while: a client that is refused at once comes at once."""
        if self._held_back >= _HELD_BACK_MAX:
            accepted.close()
        else:
            self._held_back += 1
            connections.start_soon(self._hold_back, accepted, throttle_ms / 1000)

    async def _hold_back(self, accepted: Connection, seconds: float) -> None:
        try:
            await self._world.sleep(seconds)
        finally:
            self._held_back -= 1
            accepted.close()

    def _per_ip_max(self, host: str) -> int:
        return self._limits.connections_per_ip_overrides.get(host, self._limits.connections_per_ip_max)

    def _admit(self, listener_name: str, accepted: Connection) -> ClientConnection:
        # Kafka's own form of a connection id: local address, remote address, a running number.
        connection_id = f"{accepted.local_address}-{accepted.peer_address}-{self._next_connection}"
        self._next_connection += 1
        client = ClientConnection(
            accepted,
            table=self._table,
            world=self._world,
            memory=self._memory,
            listener_name=listener_name,
            connection_id=connection_id,
            request_bytes_max=self._limits.request_bytes_max,
            local_host=advertised_local_host(
                accepted.local_address.host, accepted.peer_address.host, self._container_gateway
            ),
            quotas=self._quotas,
        )
        self._connections[connection_id] = client
        self._connections_by_ip[client.client_host] += 1
        return client

    async def _serve(self, client: ClientConnection) -> None:
        try:
            await client.serve()
        finally:
            del self._connections[client.connection_id]
            self._connections_by_ip[client.client_host] -= 1
            if not self._connections_by_ip[client.client_host]:
                del self._connections_by_ip[client.client_host]
            self._room.set()

    async def _close_idle(self) -> None:
        """Close connections that have been silent for too long.

        That is ``connections.max.idle.ms`` without a request; a request in hand is not idle. Half a request
        that others wait for room to receive theirs gets much less.
        """
        while True:
            await self._world.sleep(_IDLE_CHECK_INTERVAL_S)
            now = self._world.monotonic()
            for connection in list(self._connections.values()):
                if now - connection.last_active > self._silence_max_s(connection):
                    logger.debug("connection %s was idle and is closed", connection.connection_id)
                    connection.scope.cancel()

    def _silence_max_s(self, connection: ClientConnection) -> float:
        if connection.is_holding_half_a_request and self._memory.is_contended:
            return _HALF_A_REQUEST_SILENCE_MAX_S
        if connection.is_waiting_for_handler:
            return math.inf
        idle_ms_max = self._limits.connection_idle_ms_max
        return math.inf if idle_ms_max < 0 else idle_ms_max / 1000
