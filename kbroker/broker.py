"""One broker, wired together: the only module that knows everybody.

The life of a broker:

    starting   lock the data, open the metadata store, load the logs, bind the listeners, register
    ready      ``run`` has reported a BrokerReady; clients are served
    stopping   ``stop``: nobody waits any more, requests in hand finish, connections close
    stopped    logs are closed with the clean-shutdown marker, the session is given back

A background task that fails ends the broker: serving on without it would be lying. The data survives that, as
it survives ``kill -9``: the next start recovers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

import trio

from kbroker.adapters import (
    ImageCoordinators,
    ImageTopicCatalog,
    LogStartOffsetKeeper,
    StoredLogDirectories,
    TopicCreationSettings,
    cordoned_directories,
    offsets_partition_count,
    partition_leader,
    server_limits,
    transactions_partition_count,
)
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.logger_levels import LoggerLevels
from kbroker.config.rules import KafkaConfigRules
from kbroker.config.topic_names import (
    CONSUMER_OFFSETS_TOPIC,
    TRANSACTION_STATE_TOPIC,
    validate_topic_name,
)
from kbroker.coordination.group.service import GroupCoordinator
from kbroker.coordination.transaction.producer_ids import ProducerIds
from kbroker.coordination.transaction.service import TransactionCoordinator
from kbroker.handlers.api_versions import ApiVersionsHandlers
from kbroker.handlers.configs import ConfigHandlers
from kbroker.handlers.features import FeatureHandlers
from kbroker.handlers.fetch import FetchHandlers
from kbroker.handlers.fetch_session import FetchSessions
from kbroker.handlers.group_membership import GroupMembershipHandlers
from kbroker.handlers.group_offsets import GroupOffsetHandlers
from kbroker.handlers.groups import GroupHandlers
from kbroker.handlers.log_dirs import LogDirHandlers
from kbroker.handlers.metadata import MetadataHandlers
from kbroker.handlers.offsets import OffsetHandlers
from kbroker.handlers.produce import ProduceHandlers
from kbroker.handlers.producer_ids import ProducerIdHandlers
from kbroker.handlers.producers import ProducerHandlers
from kbroker.handlers.table import HandlerTable
from kbroker.handlers.topics import TopicHandlers
from kbroker.handlers.transaction_markers import TransactionMarkerHandlers
from kbroker.handlers.transaction_verification import TransactionVerifier
from kbroker.handlers.transactions import TransactionHandlers
from kbroker.log_cleaning import LogCleaning
from kbroker.log_housekeeping import LogHousekeeping
from kbroker.metadata.controller import Controller
from kbroker.metadata.feature_decisions import NEW_CLUSTER_FEATURES, SUPPORTED_FEATURES
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import BrokerRegistration, ClusterImage, Endpoint
from kbroker.metadata.membership import BrokerSession, ensure_cluster_id, ensure_features
from kbroker.metadata.store import MetadataStore, StoreError
from kbroker.metadata_publisher import MetadataPublisher
from kbroker.metadata_stores import StoreAccess, store_access
from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.log_directory_move import LogDirectoryMoves
from kbroker.replication.replica_manager import ReplicaManager
from kbroker.replication.shard_log import PartitionShardLog
from kbroker.server.socket_server import ListenerBinding, SocketServer
from kbroker.world import Address, World
from storage.errors import DirectoryInUseError, IncompatibleDirectoryError, StorageError
from storage.log_manager import LogManager
from wire.errors import ApiError

logger = logging.getLogger(__name__)

SESSION_TIMEOUT_S = 9.0
"""``broker.session.timeout.ms``; with the embedded store nobody but this process watches it."""

_CLOSE_DEADLINE_S = 60.0


class StartError(Exception):
    """The broker cannot start; the message is for whoever typed the command."""


@dataclass(frozen=True, slots=True)
class BrokerReady:
    """What a started broker says of itself; ``str()`` is the line that ``kbroker serve`` prints."""

    node_id: int
    cluster_id: str
    listeners: dict[str, Address]

    @property
    def bootstrap(self) -> str:
        """Address of the first listener, as clients on this machine can use it."""
        address = next(iter(self.listeners.values()))
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "localhost"}.get(address.host, address.host)
        return str(Address(host, address.port))

    def __str__(self) -> str:
        return f"kbroker ready bootstrap={self.bootstrap} node.id={self.node_id} cluster.id={self.cluster_id}"


class Broker:
    """Start it with ``ready = await nursery.start(broker.run)``; ``stop`` it and ``await wait_stopped()``."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        world: World,
        store: StoreAccess | None = None,
        container_gateway: str | None = None,
    ) -> None:
        """``store``: where the cluster's metadata is, if not where the configuration says.

        ``container_gateway``: where connections through a container's published port come from.
        """
        self._config = config
        self._container_gateway = container_gateway
        self._world = world
        self._store_access = store or store_access(config, world)
        self._stop_requested = trio.Event()
        self._stopped = trio.Event()
        self._failure: Exception | None = None

    def stop(self) -> None:
        """Ask for a clean stop; ``run`` returns when it is done."""
        self._stop_requested.set()

    def _fail(self, failure: Exception) -> None:
        """End without a clean stop: there is nothing left to serve from."""
        self._failure = failure
        self._stop_requested.set()

    async def wait_stopped(self) -> None:
        await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[BrokerReady] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, serve until ``stop``, and stop cleanly.

        StartError if it cannot start, NoLogDirectoryLeft if every log directory failed.
        """
        try:
            logs = await self._open_logs()
            try:
                await self._run_with_logs(logs, task_status)
            finally:
                await self._finally(self._world.run_blocking(logs.abandon))
        finally:
            self._stopped.set()

    async def _open_logs(self) -> LogManager:
        world, config = self._world, self._config
        logs = LogManager(
            config.log_directories,
            filesystem=world.filesystem,
            clock_ms=world.wall_clock_ms,
            random_uuid=world.uuid4,
            random_below=world.random.randrange,
            producer_id_expiration_ms=config.producer_id_expiration_ms,
            requires_verification=lambda: config.transaction_partition_verification_enable,
        )
        try:
            await world.run_blocking(lambda: logs.open(node_id=config.node_id, cluster_id=config.cluster_id))
        except (DirectoryInUseError, IncompatibleDirectoryError, StorageError, ValueError) as error:
            raise StartError(str(error)) from error
        return logs

    async def _run_with_logs(self, logs: LogManager, task_status: trio.TaskStatus[BrokerReady]) -> None:
        try:
            store = await self._store_access.open()
        except StoreError as error:
            raise StartError(f"the cluster metadata cannot be opened: {error}") from error
        try:
            await self._run_with_store(logs, store, task_status)
        finally:
            await self._finally(self._store_access.close())

    async def _finally(self, closing: Awaitable[object]) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_DEADLINE_S):
            await closing

    async def _run_with_store(
        self, logs: LogManager, store: MetadataStore, task_status: trio.TaskStatus[BrokerReady]
    ) -> None:
        world, config = self._world, self._config
        cluster_id = await _agree_on_cluster(logs, store, world)
        metadata = ClusterMetadata(store, sleep=world.sleep)
        commits = GroupCommits(
            world=world, enabled=lambda: config.kbroker_acks_all_sync, file_sync=world.file_sync
        )
        replicas = ReplicaManager(
            node_id=config.node_id,
            log_manager=logs,
            on_no_directory_left=self._fail,
            on_partitions_offline=lambda partitions: publisher.partitions_offline(partitions),
            commits=commits,
        )
        logs.is_cordoned = cordoned_directories(config, logs)
        moves = LogDirectoryMoves(
            world=world,
            logs=logs,
            replicas=replicas,
            commits=commits,
            bytes_per_second=lambda: config.replica_alter_log_dirs_io_max_bytes_per_second,
            threads=config.num_replica_alter_log_dirs_threads or len(config.log_directories),
            is_known=lambda topic, index: metadata.image.partition(topic, index) is not None,
        )
        groups = GroupCoordinator(
            world=world,
            config=config,
            log_for=lambda partition: PartitionShardLog(replicas.leader(CONSUMER_OFFSETS_TOPIC, partition)),
            partition_count=lambda: offsets_partition_count(metadata.image, config),
        )
        markers = TransactionMarkerHandlers(
            partitions=replicas,
            groups=groups,
            clock_ms=world.wall_clock_ms,
            request_timeout_ms=lambda: config.request_timeout_ms,
        )
        transactions = TransactionCoordinator(
            clock=world,
            config=config,
            log_for=lambda partition: PartitionShardLog(replicas.leader(TRANSACTION_STATE_TOPIC, partition)),
            partition_count=lambda: transactions_partition_count(metadata.image, config),
            next_producer_id=ProducerIds(lambda: controller.allocate_producer_id_block()).next,
            markers=markers,
            leader_of=lambda topic, index: partition_leader(metadata.image, topic, index),
            transaction_version=lambda: metadata.image.features.get("transaction.version", 0),
        )
        publisher = MetadataPublisher(
            node_id=config.node_id,
            config=config,
            replicas=replicas,
            coordinators={CONSUMER_OFFSETS_TOPIC: groups, TRANSACTION_STATE_TOPIC: transactions},
        )
        controller = Controller(
            node_id=config.node_id,
            store=store,
            metadata=metadata,
            settings=TopicCreationSettings(config),
            config_rules=KafkaConfigRules(config),
            random=world.random,
            uuid4=world.uuid4,
        )
        table = HandlerTable()
        self._register_handlers(
            table,
            metadata=metadata,
            controller=controller,
            replicas=replicas,
            groups=groups,
            transactions=transactions,
            markers=markers,
            logs=logs,
            moves=moves,
        )
        server = SocketServer(
            table=table,
            world=world,
            limits=server_limits(
                config,
                process_files_max=world.filesystem.open_files_max(),
                storage_files_max=logs.context.open_files_max,
            ),
            broker_name=f"broker {config.node_id}",
            container_gateway=self._container_gateway,
        )
        bound = await self._bind(server)
        session = self._session(store, bound)
        async with trio.open_nursery() as background:
            background.start_soon(self._store_access.run)
            await background.start(commits.run, replicas.sync_failed)
            image = await _load_metadata(metadata)
            await self._load_logs(logs, publisher, image)
            await publisher.publish_all(image)
            replicas.set_aside_strays()
            metadata.subscribe(publisher.publish)
            background.start_soon(metadata.run)
            membership = await background.start(self._stay_member, session)
            # Nobody is told of a cluster without brokers.
            await metadata.wait_for(session.revision)
            await background.start(groups.run)
            await background.start(transactions.run)
            housekeeping = LogHousekeeping(
                config=config, logs=logs, replicas=replicas, commits=commits, world=world
            )
            await background.start(housekeeping.run)
            await background.start(moves.run)
            cleaning = LogCleaning(config=config, logs=logs, replicas=replicas, world=world)
            await background.start(cleaning.run)
            await background.start(server.run)
            task_status.started(BrokerReady(config.node_id, cluster_id, bound))
            await self._stop_requested.wait()
            if self._failure is not None:
                raise self._failure
            # From here on nobody waits: long polls are answered with what there is, joining members are sent
            # elsewhere, requests in hand finish, and only then are the logs closed under them.
            replicas.stop()
            transactions.stop()
            groups.stop()
            await server.stop(config.kbroker_shutdown_timeout_ms / 1000)
            membership.cancel()
            await session.leave()
            # Closing works in another thread: nobody else may touch the logs by then.
            await moves.stop()
            await housekeeping.stop()
            await cleaning.stop()
            await commits.stop()
            await world.run_blocking(logs.close)
            background.cancel_scope.cancel()

    async def _load_logs(self, logs: LogManager, publisher: MetadataPublisher, image: ClusterImage) -> None:
        try:
            await self._world.run_blocking(logs.load, lambda topic: publisher.log_config(image, topic))
        except (StorageError, IncompatibleDirectoryError) as error:
            raise StartError(str(error)) from error
        for finding in logs.findings:
            logger.error("%s", finding)

    async def _bind(self, server: SocketServer) -> dict[str, Address]:
        bindings = [
            ListenerBinding(endpoint.listener_name, endpoint.host, endpoint.port)
            for endpoint in self._config.endpoints
        ]
        try:
            return await server.bind(bindings)
        except OSError as error:
            raise StartError(error.strerror or str(error)) from error

    def _session(self, store: MetadataStore, bound: Mapping[str, Address]) -> BrokerSession:
        world, config = self._world, self._config
        endpoints = {}
        for endpoint in config.endpoints:
            name = endpoint.listener_name
            advertised = config.advertised_endpoint(name)
            host = "" if advertised is None else advertised.host
            port = bound[name].port if advertised is None else advertised.port
            endpoints[name] = Endpoint(host, port, endpoint.security_protocol)
        return BrokerSession(
            store=store,
            registration=BrokerRegistration(
                node_id=config.node_id,
                broker_epoch=0,
                incarnation_id=world.uuid4(),
                endpoints=endpoints,
                rack=config.broker_rack,
            ),
            session_timeout_s=SESSION_TIMEOUT_S,
            monotonic=world.monotonic,
            sleep=world.sleep,
        )

    async def _stay_member(
        self, session: BrokerSession, *, task_status: trio.TaskStatus[trio.CancelScope]
    ) -> None:
        """Register, which may not be possible, and stay registered until the scope it reports is cancelled."""
        try:
            await session.register()
        except (ApiError, StoreError) as error:
            raise StartError(f"the broker cannot join the cluster: {error}") from error
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await session.run()

    def _register_handlers(
        self,
        table: HandlerTable,
        *,
        metadata: ClusterMetadata,
        controller: Controller,
        replicas: ReplicaManager,
        groups: GroupCoordinator,
        transactions: TransactionCoordinator,
        markers: TransactionMarkerHandlers,
        logs: LogManager,
        moves: LogDirectoryMoves,
    ) -> None:
        world, config = self._world, self._config

        def current_image() -> ClusterImage:
            return metadata.image

        sessions = FetchSessions(
            slots_max=config.max_incremental_fetch_session_cache_slots,
            random=world.random,
            topic_name=replicas.topic_name,
        )
        topics = ImageTopicCatalog(current_image)
        verifier = TransactionVerifier(partitions=replicas, transactions=transactions, settings=config)
        table.register(
            ApiVersionsHandlers(
                served=table.rows,
                supported_features=SUPPORTED_FEATURES,
                finalized_features=lambda: (metadata.image.revision, metadata.image.features),
            ),
            ProduceHandlers(partitions=replicas, verifier=verifier, settings=config, world=world),
            ProducerHandlers(partitions=replicas),
            markers,
            FetchHandlers(
                partitions=replicas,
                sessions=sessions,
                fetch_bytes_max=lambda: config.fetch_max_bytes,
                clock_ms=world.wall_clock_ms,
            ),
            OffsetHandlers(
                partitions=replicas, keep_log_start_offsets=LogStartOffsetKeeper(logs, replicas, world).keep
            ),
            ProducerIdHandlers(producers=transactions),
            TransactionHandlers(
                transactions=transactions,
                has_partition=topics.has_partition,
                offsets_partition_for=groups.partition_for,
            ),
            MetadataHandlers(current_image=current_image, topic_creator=controller, settings=config),
            FeatureHandlers(features=controller),
            TopicHandlers(controller=controller, current_image=current_image, settings=config),
            ConfigHandlers(
                config=config,
                image=current_image,
                store=controller,
                logger_levels=LoggerLevels(),
                validate_topic_name=validate_topic_name,
            ),
            LogDirHandlers(log_directories=StoredLogDirectories(logs, world), moves=moves),
            GroupMembershipHandlers(groups=groups),
            GroupOffsetHandlers(groups=groups, topics=topics, verifier=verifier),
            GroupHandlers(groups=groups, coordinators=ImageCoordinators(controller, current_image)),
        )


async def _agree_on_cluster(logs: LogManager, store: MetadataStore, world: World) -> str:
    """The id of the cluster, which the data directories and the metadata must agree on."""
    try:
        cluster_id = await ensure_cluster_id(store, uuid4=world.uuid4, wanted=logs.cluster_id)
        await ensure_features(store, NEW_CLUSTER_FEATURES)
    except StoreError as error:
        raise StartError(f"the cluster metadata cannot be used: {error}") from error
    if cluster_id != logs.cluster_id:
        raise StartError(
            f"the data directories belong to cluster {logs.cluster_id}, the metadata to cluster {cluster_id}"
        )
    return cluster_id


async def _load_metadata(metadata: ClusterMetadata) -> ClusterImage:
    try:
        return await metadata.load()
    except StoreError as error:
        raise StartError(f"the cluster metadata cannot be read: {error}") from error
