"""What a broker consists of, made and put together; ``broker.py`` brings it to life and to its end.

Parts meet through ports only: whatever one needs of another is handed in here. They are made in the order in which
they build on each other; what comes later is reached through a function.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence

from kbroker.adapters import (
    BrokerRacks,
    ControllerConfig,
    ImageCoordinators,
    ImageTopicCatalog,
    InSyncAlterations,
    KnownLeaders,
    LogStartOffsetKeeper,
    StoredLogDirectories,
    cordoned_directories,
    offsets_partition_count,
    partition_leader,
    registered_endpoints,
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
from kbroker.handlers.acls import AclHandlers
from kbroker.handlers.api_versions import ApiVersionsHandlers
from kbroker.handlers.brokers import BrokerHandlers
from kbroker.handlers.client_quotas import ClientQuotaHandlers
from kbroker.handlers.configs import ConfigHandlers
from kbroker.handlers.elections import ElectionHandlers
from kbroker.handlers.features import FeatureHandlers
from kbroker.handlers.fetch import FetchHandlers
from kbroker.handlers.fetch_session import FetchSessions
from kbroker.handlers.group_membership import GroupMembershipHandlers
from kbroker.handlers.group_offsets import GroupOffsetHandlers
from kbroker.handlers.groups import GroupHandlers
from kbroker.handlers.log_dirs import LogDirHandlers
from kbroker.handlers.metadata import MetadataHandlers
from kbroker.handlers.offsets import OffsetHandlers
from kbroker.handlers.partition_states import PartitionStateHandlers
from kbroker.handlers.produce import ProduceHandlers
from kbroker.handlers.producer_ids import ProducerIdHandlers
from kbroker.handlers.producers import ProducerHandlers
from kbroker.handlers.quorum import QuorumHandlers
from kbroker.handlers.reassignments import ReassignmentHandlers
from kbroker.handlers.table import HandlerTable
from kbroker.handlers.topics import TopicHandlers
from kbroker.handlers.transaction_markers import TransactionMarkerHandlers
from kbroker.handlers.transaction_verification import TransactionVerifier
from kbroker.handlers.transactions import TransactionHandlers
from kbroker.log_cleaning import LogCleaning
from kbroker.log_housekeeping import LogHousekeeping
from kbroker.metadata.controller import Controller
from kbroker.metadata.elected_controller import ElectedController
from kbroker.metadata.feature_decisions import SUPPORTED_FEATURES
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import BrokerRegistration, ClusterImage, ImageDelta
from kbroker.metadata.membership import BrokerSession, lease_s
from kbroker.metadata.store import NO_LEASE, MetadataStore
from kbroker.metadata_publisher import MetadataPublisher
from kbroker.peers import Peers
from kbroker.quotas.client_quotas import ClientQuotaManager
from kbroker.quotas.connection_rates import ConnectionRates
from kbroker.quotas.entities import ClientQuotas
from kbroker.remote_transactions import ClusterMarkers, ClusterTransactions
from kbroker.replication.fetcher import ReplicaFetchers
from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.in_sync_changes import InSyncChanges
from kbroker.replication.log_directory_move import LogDirectoryMoves
from kbroker.replication.quota import ReplicationQuota
from kbroker.replication.replica_manager import NoLogDirectoryLeft, ReplicaManager
from kbroker.replication.shard_log import PartitionShardLog
from kbroker.server.socket_server import SocketServer
from kbroker.standing import (
    Reports,
    given_up_for_nothing,
    is_in_doubt,
    is_known_to_be_alive,
    standing_of,
)
from kbroker.world import Address, World
from storage.log_manager import LogManager
from wire.schema import ZERO_UUID


class BrokerParts:
    """All of one broker that has its logs locked and its metadata store open; nothing of it runs yet."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        world: World,
        logs: LogManager,
        store: MetadataStore,
        container_gateway: str | None,
        files_max: int,
        on_no_directory_left: Callable[[NoLogDirectoryLeft], None],
    ) -> None:
        self.config = config
        self.world = world
        self.logs = logs
        self.store = store
        self.metadata = ClusterMetadata(store, sleep=world.sleep)
        self.session: BrokerSession | None = None
        self._make_replication(on_no_directory_left)
        self._make_coordination()
        self._make_control()
        self.table = HandlerTable()
        self._register_data_handlers()
        self._register_coordination_handlers()
        self._register_control_handlers()
        self.quotas = ClientQuotaManager(settings=config, monotonic=world.monotonic)
        self.connection_rates = ConnectionRates(settings=config, monotonic=world.monotonic)
        self.server = SocketServer(
            table=self.table,
            world=world,
            limits=server_limits(
                config,
                files_max=files_max,
                storage_files_max=logs.context.open_files_max,
            ),
            broker_name=f"broker {config.node_id}",
            container_gateway=container_gateway,
            quotas=self.quotas,
            connection_rates=self.connection_rates,
        )
        self.housekeeping = LogHousekeeping(
            config=config,
            logs=logs,
            replicas=self.replicas,
            commits=self.commits,
            world=world,
            apply_waiting=self.publisher.apply_waiting,
        )
        self.cleaning = LogCleaning(config=config, logs=logs, replicas=self.replicas, world=world)

    def image(self) -> ClusterImage:
        return self.metadata.image

    # Standing in the cluster

    def is_secure(self) -> bool:
        return self.session is not None and is_known_to_be_alive(self.session, self.image())

    def is_in_doubt(self) -> bool:
        return self.session is not None and is_in_doubt(self.session, self.image(), self.world.monotonic())

    def broker_epoch(self) -> int:
        return -1 if self.session is None else self.session.broker_epoch

    def incarnation_id(self) -> uuid.UUID | None:
        return None if self.session is None else self.session.registration.incarnation_id

    def standing_changed(self, is_secure: bool) -> None:
        """The session has become insecure, or secure again."""
        self.publisher.standing_changed()

    def lease_id(self) -> int:
        """Of the present session; NO_LEASE without one."""
        return NO_LEASE if self.session is None else self.session.lease_id

    def make_session(self, bound: Mapping[str, Address]) -> BrokerSession:
        """The session that this broker registers with, reachable at the addresses it is bound to."""
        world, config = self.world, self.config
        self.session = BrokerSession(
            store=self.store,
            registration=BrokerRegistration(
                node_id=config.node_id,
                broker_epoch=0,
                incarnation_id=world.uuid4(),
                endpoints=registered_endpoints(
                    config, bound, world, is_alone=self.store.leases_outlive_pauses
                ),
                rack=config.broker_rack,
            ),
            session_timeout_s=lease_s(config.broker_session_timeout_ms),
            heartbeat_interval_s=config.broker_heartbeat_interval_ms / 1000,
            registration_timeout_s=config.initial_broker_registration_timeout_ms / 1000,
            monotonic=world.monotonic,
            sleep=world.sleep,
            on_secure_again=self.replicas.standing_changed,
        )
        return self.session

    # Making the parts

    def _make_replication(self, on_no_directory_left: Callable[[NoLogDirectoryLeft], None]) -> None:
        world, config, logs = self.world, self.config, self.logs
        self.commits = GroupCommits(
            world=world, enabled=lambda: config.kbroker_acks_all_sync, file_sync=world.file_sync
        )
        self.replicas = ReplicaManager(
            node_id=config.node_id,
            log_manager=logs,
            on_no_directory_left=on_no_directory_left,
            on_partitions_offline=self._partitions_offline,
            commits=self.commits,
            standing=standing_of(config, world, self.image, self.is_secure, self.is_in_doubt),
            is_known=lambda topic, index: self.image().partition(topic, index) is not None,
        )
        self.peers = Peers(node_id=config.node_id, world=world, current_image=self.image, settings=config)
        self.fetchers = ReplicaFetchers(
            node_id=config.node_id,
            peers=self.peers,
            world=world,
            settings=config,
            broker_epoch=self.broker_epoch,
            waits_for_disk=lambda: self.commits.enabled,
            on_storage_error=self.replicas.fail_directory,
            quota=self._replication_quota(lambda: config.follower_replication_throttled_rate),
        )
        self.in_sync_changes = InSyncChanges(
            alter=InSyncAlterations(config.node_id, self.broker_epoch, lambda: self.controller).alter,
            partitions=lambda: self.replicas,
            lag_time_max_s=lambda: config.replica_lag_time_max_ms / 1000,
            sleep=world.sleep,
        )
        self.replicas.join_cluster(self.fetchers, self.in_sync_changes)
        logs.is_cordoned = cordoned_directories(config, logs)
        self.moves = LogDirectoryMoves(
            world=world,
            logs=logs,
            replicas=self.replicas,
            commits=self.commits,
            bytes_per_second=lambda: config.replica_alter_log_dirs_io_max_bytes_per_second,
            threads=config.num_replica_alter_log_dirs_threads or len(config.log_directories),
            is_known=lambda topic, index: self.image().partition(topic, index) is not None,
        )

    def _replication_quota(self, bytes_per_second: Callable[[], int | None]) -> ReplicationQuota:
        return ReplicationQuota(
            bytes_per_second=bytes_per_second,
            samples=lambda: self.config.replication_quota_window_num,
            sample_s=lambda: self.config.replication_quota_window_size_seconds,
            monotonic=self.world.monotonic,
        )

    def _make_coordination(self) -> None:
        world, config, replicas = self.world, self.config, self.replicas
        self.groups = GroupCoordinator(
            world=world,
            config=config,
            log_for=lambda partition: PartitionShardLog(replicas.leader(CONSUMER_OFFSETS_TOPIC, partition)),
            partition_count=lambda: offsets_partition_count(self.image(), config),
        )
        self.markers = TransactionMarkerHandlers(
            partitions=replicas,
            groups=self.groups,
            clock_ms=world.wall_clock_ms,
            request_timeout_ms=lambda: config.request_timeout_ms,
        )
        self.transactions = TransactionCoordinator(
            clock=world,
            config=config,
            log_for=lambda partition: PartitionShardLog(replicas.leader(TRANSACTION_STATE_TOPIC, partition)),
            partition_count=lambda: transactions_partition_count(self.image(), config),
            next_producer_id=ProducerIds(lambda: self.controller.allocate_producer_id_block()).next,
            markers=ClusterMarkers(
                node_id=config.node_id,
                local=self.markers,
                peers=self.peers,
                request_timeout_ms=lambda: config.request_timeout_ms,
            ),
            leader_of=lambda topic, index: partition_leader(self.image(), topic, index),
            transaction_version=lambda: self.image().features.get("transaction.version", 0),
        )
        self.cluster_transactions = ClusterTransactions(
            node_id=config.node_id,
            local=self.transactions,
            peers=self.peers,
            current_image=self.image,
            partition_for=self.transactions.partition_for,
            request_timeout_ms=lambda: config.request_timeout_ms,
        )

    def _make_control(self) -> None:
        world, config = self.world, self.config
        settings = ControllerConfig(config)
        self.controller = Controller(
            node_id=config.node_id,
            store=self.store,
            metadata=self.metadata,
            settings=settings,
            config_rules=KafkaConfigRules(config),
            random=world.random,
            uuid4=world.uuid4,
        )
        self.elected_controller = ElectedController(
            node_id=config.node_id,
            lease_id=self.lease_id,
            store=self.store,
            metadata=self.metadata,
            settings=settings,
            sleep=world.sleep,
        )
        self.resignations = Reports("unfit replicas", self.controller.resign, world.sleep)
        self.reclamations = Reports("replicas given up for nothing", self.controller.reclaim, world.sleep)
        self.deletions = Reports("deleted topics", self.controller.deletion_done, world.sleep)
        self.publisher = MetadataPublisher(
            node_id=config.node_id,
            config=config,
            replicas=self.replicas,
            coordinators={CONSUMER_OFFSETS_TOPIC: self.groups, TRANSACTION_STATE_TOPIC: self.transactions},
            may_lead=self.is_secure,
            incarnation_id=self.incarnation_id,
            on_topics_removed=self.deletions.add,
        )

    def _partitions_offline(self, partitions: Sequence[tuple[str, int]]) -> None:
        self.publisher.partitions_offline(partitions)
        ids = {topic: self._topic_id(topic) for topic, _ in partitions}
        self.resignations.add((ids[topic], index) for topic, index in partitions)

    async def look_for_given_up(self, delta: ImageDelta) -> None:
        """A subscriber of the metadata."""
        self.reclamations.add(given_up_for_nothing(delta, self.config.node_id, self.logs))

    def enforce_quotas(self, quotas: ClientQuotas) -> None:
        """From now on clients have these."""
        self.quotas.update(quotas)
        self.connection_rates.update(quotas)

    async def look_for_quotas(self, delta: ImageDelta) -> None:
        """A subscriber of the metadata."""
        if delta.client_quotas_changed:
            self.enforce_quotas(delta.after.client_quotas)

    def _topic_id(self, name: str) -> uuid.UUID:
        """Also while the broker starts, and its replicas are not all taken up."""
        topic_id = self.replicas.topic_id(name)
        topic = self.metadata.newest.topic(name)
        return topic.topic_id if topic_id == ZERO_UUID and topic is not None else topic_id

    # Handlers

    def _register_data_handlers(self) -> None:
        world, config, replicas = self.world, self.config, self.replicas
        verifier = TransactionVerifier(
            partitions=replicas, transactions=self.cluster_transactions, settings=config
        )
        self.verifier = verifier
        sessions = FetchSessions(
            slots_max=config.max_incremental_fetch_session_cache_slots,
            random=world.random,
            topic_name=replicas.topic_name,
        )
        hints = KnownLeaders(config.node_id, replicas, self.image)
        self.table.register(
            ProduceHandlers(
                partitions=replicas, verifier=verifier, settings=config, world=world, leader_hints=hints
            ),
            ProducerHandlers(partitions=replicas),
            self.markers,
            FetchHandlers(
                partitions=replicas,
                sessions=sessions,
                fetch_bytes_max=lambda: config.fetch_max_bytes,
                clock_ms=world.wall_clock_ms,
                racks=BrokerRacks(config, self.image).if_wanted,
                leader_hints=hints,
                replica_quota=self._replication_quota(lambda: config.leader_replication_throttled_rate),
            ),
            OffsetHandlers(
                partitions=replicas,
                keep_log_start_offsets=LogStartOffsetKeeper(self.logs, replicas, world).keep,
            ),
            LogDirHandlers(log_directories=StoredLogDirectories(self.logs, world), moves=self.moves),
        )

    def _register_coordination_handlers(self) -> None:
        topics = ImageTopicCatalog(self.image)
        self.table.register(
            ProducerIdHandlers(producers=self.transactions),
            TransactionHandlers(
                transactions=self.transactions,
                has_partition=topics.has_partition,
                offsets_partition_for=self.groups.partition_for,
            ),
            GroupMembershipHandlers(groups=self.groups),
            GroupOffsetHandlers(groups=self.groups, topics=topics, verifier=self.verifier),
            GroupHandlers(groups=self.groups, coordinators=ImageCoordinators(self.controller, self.image)),
        )

    def _register_control_handlers(self) -> None:
        config, controller = self.config, self.controller
        self.table.register(
            ApiVersionsHandlers(
                served=self.table.rows,
                supported_features=SUPPORTED_FEATURES,
                finalized_features=lambda: (self.image().revision, self.image().features),
                identity=lambda: (self.image().cluster_id, config.node_id),
            ),
            MetadataHandlers(
                node_id=config.node_id,
                current_image=self.image,
                topic_creator=controller,
                settings=config,
            ),
            FeatureHandlers(features=controller),
            AclHandlers(),
            TopicHandlers(controller=controller, current_image=self.image, settings=config),
            ConfigHandlers(
                config=config,
                image=self.image,
                store=controller,
                logger_levels=LoggerLevels(),
                validate_topic_name=validate_topic_name,
            ),
            ClientQuotaHandlers(controller=controller, current_image=self.image),
            BrokerHandlers(controller=controller),
            ElectionHandlers(controller=controller),
            PartitionStateHandlers(controller=controller),
            QuorumHandlers(current_image=self.image, clock_ms=self.world.wall_clock_ms),
            ReassignmentHandlers(controller=controller),
        )
