"""Several brokers in one process: a real cluster on a laptop, with one metadata store in that process.

Each broker has its own ports, data directories and connections, and replicates from the others over them. The first
is what a single broker with the same settings would be, so that one broker can become three over its data; the
others get the following node ids and ports, and live in ``kbroker-node.<node id>`` within its log directories.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from kbroker.broker import Broker, BrokerReady, StartError
from kbroker.config.broker_config import BrokerConfig, ConfigSource
from kbroker.config.listeners import listener_text
from kbroker.kafka_takeover import take_over_before_start
from kbroker.metadata.store import MetadataStore, StoreError
from kbroker.metadata_stores import METADATA_FILE, EmbeddedStore, SharedStore
from kbroker.world import World

logger = logging.getLogger(__name__)

NODE_DIRECTORY = "kbroker-node."


def companion_config(config: BrokerConfig, number: int) -> BrokerConfig:
    """The settings of the broker that comes ``number`` places after the one with ``config`` (0 is itself)."""
    if number == 0:
        return config
    settings = dict(
        next(layer for source, layer in config.layers() if source is ConfigSource.STATIC_BROKER_CONFIG)
    )
    node_id = config.node_id + number
    settings["node.id"] = str(node_id)
    settings.pop("broker.id", None)
    settings["listeners"] = ",".join(
        listener_text(endpoint.listener_name, endpoint.host, endpoint.port and endpoint.port + number)
        for endpoint in config.endpoints
    )
    advertised = [
        listener_text(endpoint.listener_name, found.host, found.port and found.port + number)
        for endpoint in config.endpoints
        if (found := config.advertised_endpoint(endpoint.listener_name)) is not None
    ]
    if advertised:
        settings["advertised.listeners"] = ",".join(advertised)
    settings.pop("log.dir", None)
    settings["log.dirs"] = ",".join(f"{path}/{NODE_DIRECTORY}{node_id}" for path in config.log_directories)
    return BrokerConfig(settings)


@dataclass(frozen=True, slots=True)
class ClusterReady:
    """What a started cluster says of itself; ``str()`` is the line that ``kbroker serve`` prints."""

    brokers: tuple[BrokerReady, ...]

    def __str__(self) -> str:
        bootstrap = ",".join(broker.bootstrap for broker in self.brokers)
        node_ids = ",".join(str(broker.node_id) for broker in self.brokers)
        return (
            f"kbroker ready bootstrap={bootstrap} node.id={node_ids} cluster.id={self.brokers[0].cluster_id}"
        )


class LocalCluster:
    """Start it with ``ready = await nursery.start(cluster.run)``; ``stop`` it and ``await wait_stopped()``."""

    def __init__(
        self, *, configs: Sequence[BrokerConfig], world: World, container_gateway: str | None = None
    ) -> None:
        self._configs = configs
        self._world = world
        self._container_gateway = container_gateway
        self._all_registered = trio.Event()
        self._stopped = trio.Event()
        self.brokers: list[Broker] = []

    def stop(self) -> None:
        """All brokers go at once, so leadership need not move from one to the next."""
        for broker in self.brokers:
            broker.stop(controlled=False)

    async def wait_stopped(self) -> None:
        await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[ClusterReady] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``stop``; a broker that fails leaves the others serving. StartError if one cannot start."""
        directory = self._configs[0].log_directories[0]
        access = EmbeddedStore(f"{directory}/{METADATA_FILE}", self._world)
        try:
            await self._world.run_blocking(self._world.filesystem.make_directories, directory)
            store = await access.open()
        except (OSError, StoreError) as error:
            raise StartError(f"the cluster metadata cannot be opened: {error}") from error
        try:
            await self._take_over_kafka(store)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(access.run)
                self.brokers = [
                    Broker(
                        config=config,
                        world=self._world,
                        store=SharedStore(store),
                        container_gateway=self._container_gateway,
                        wait_for_companions=self._all_registered.wait,
                        brokers_in_process=len(self._configs),
                    )
                    for config in self._configs
                ]
                await self._run_brokers(task_status)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await access.close()
            self._stopped.set()

    async def _take_over_kafka(self, store: MetadataStore) -> None:
        """Before any broker, since the others would begin a new cluster."""
        try:
            await take_over_before_start(self._configs[0], self._world, store)
        except StoreError as error:
            raise StartError(f"the cluster metadata cannot be used: {error}") from error

    async def _run_brokers(self, task_status: trio.TaskStatus[ClusterReady]) -> None:
        ready: dict[int, BrokerReady] = {}
        async with trio.open_nursery() as nursery:

            async def start(number: int, broker: Broker) -> None:
                ready[number] = await nursery.start(self._run_broker, broker)

            async with trio.open_nursery() as starting:
                for number, broker in enumerate(self.brokers):
                    starting.start_soon(start, number, broker)
            self._all_registered.set()
            await self.brokers[0].wait_settled()
            task_status.started(ClusterReady(tuple(ready[number] for number in sorted(ready))))

    async def _run_broker(self, broker: Broker, *, task_status: trio.TaskStatus[BrokerReady]) -> None:
        """Run one broker; once it has started, its failure is its own."""
        has_started = False

        class Started:
            def started(self, value: BrokerReady) -> None:
                nonlocal has_started
                has_started = True
                task_status.started(value)

        try:
            await broker.run(task_status=Started())  # type: ignore[arg-type]
        except Exception:
            if not has_started:
                raise
            logger.critical("broker %d failed; the others go on", broker.node_id, exc_info=True)
