"""Several brokers' servers on one network in memory, each answering with handlers that a test gives it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import trio

from kbroker.handlers.api_versions import ApiVersionsHandlers
from kbroker.handlers.table import HandlerTable
from kbroker.metadata.image import BrokerRegistration, ClusterImage, Endpoint
from kbroker.peers import Peers
from kbroker.server.socket_server import ListenerBinding, ServerLimits, SocketServer
from kbroker.world import Connection, World
from tests.memory_network import MemoryNetwork

MANY = 2**31
LIMITS = ServerLimits(
    request_bytes_max=1_000_000,
    queued_request_bytes_max=-1,
    connections_max=MANY,
    connections_per_ip_max=MANY,
    connections_per_ip_overrides={},
    connection_idle_ms_max=MANY,
)


class RecordingNetwork(MemoryNetwork):
    """Remembers whom was connected to; ``silent`` ports never get a connection established."""

    def __init__(self) -> None:
        super().__init__()
        self.connected: list[tuple[str, int]] = []
        self.silent: set[int] = set()

    async def connect(self, host: str, port: int) -> Connection:
        self.connected.append((host, port))
        if port in self.silent:
            await trio.sleep_forever()
        return await super().connect(host, port)


class FakeCluster:
    """A network, brokers on it, and the image that says where they are; broker 1 is the one under test."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = RecordingNetwork()
        self.image = ClusterImage()
        self.world = cast(
            World, SimpleNamespace(network=self.network, monotonic=trio.current_time, sleep=trio.sleep)
        )
        self.settings = SimpleNamespace(
            inter_broker_listener_name="INTERNAL", socket_connection_setup_timeout_ms=10_000
        )
        self.peers = Peers(
            node_id=1, world=self.world, current_image=lambda: self.image, settings=self.settings
        )
        self._nursery = nursery

    async def start(self, node_id: int, *handlers: object) -> SocketServer:
        """Serve ``handlers``, and register in place of whoever was registered under this id."""
        table = HandlerTable()
        table.register(
            *handlers,
            ApiVersionsHandlers(served=table.rows, supported_features={}, finalized_features=lambda: (0, {})),
        )
        server = SocketServer(
            table=table, world=self.world, limits=LIMITS, broker_name=f"fake broker {node_id}"
        )
        bound = await server.bind([ListenerBinding("INTERNAL", "10.0.0.9", 0)])
        await self._nursery.start(server.run)
        self.register(node_id, Endpoint("10.0.0.9", bound["INTERNAL"].port))
        return server

    def register(self, node_id: int, endpoint: Endpoint, *, fenced: bool = False) -> None:
        before = self.image.brokers.get(node_id)
        registration = BrokerRegistration(
            node_id=node_id,
            broker_epoch=1 if before is None else before.broker_epoch + 1,
            incarnation_id=uuid.UUID(int=node_id),
            endpoints={"INTERNAL": endpoint, "CLIENTS": Endpoint("", 1)},
            fenced=fenced,
        )
        self.image = self.image._replace(brokers={**self.image.brokers, node_id: registration})

    def unregister(self, node_id: int) -> None:
        brokers = dict(self.image.brokers)
        del brokers[node_id]
        self.image = self.image._replace(brokers=brokers)


@asynccontextmanager
async def fake_cluster() -> AsyncIterator[FakeCluster]:
    async with trio.open_nursery() as nursery:
        cluster = FakeCluster(nursery)
        await nursery.start(cluster.peers.run)
        yield cluster
        cluster.peers.close()
        nursery.cancel_scope.cancel()
