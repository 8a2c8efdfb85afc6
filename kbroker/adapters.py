"""What stands between ports that do not quite fit: each class here is one port of one package, made of others.

``broker.py`` wires them; nothing else uses them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.internal_topics import InternalTopic, internal_topic
from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC
from kbroker.coordination.partitioning import partition_for
from kbroker.handlers.leader_hints import LeaderHint
from kbroker.metadata.controller import Controller
from kbroker.metadata.elections import TopicRules
from kbroker.metadata.image import NO_LEADER, BrokerRegistration, ClusterImage, Endpoint
from kbroker.metadata.partition_decisions import AlterPartitionChange
from kbroker.replication.ports import InSyncProposal, PartitionState
from kbroker.replication.replica_manager import ReplicaManager
from kbroker.server.socket_server import ServerLimits
from kbroker.world import Address, World
from storage.checkpoint import LOG_START_OFFSET_CHECKPOINT
from storage.errors import StorageError
from storage.log_directory import LogDirectory
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from wire.errors import ApiError, ErrorCode
from wire.schema import ZERO_UUID


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """The settings of both controllers of ``metadata``, as the broker's configs say right now."""

    config: BrokerConfig

    @property
    def num_partitions(self) -> int:
        return self.config.num_partitions

    @property
    def default_replication_factor(self) -> int:
        return self.config.default_replication_factor

    @property
    def auto_leader_rebalance_enable(self) -> bool:
        return self.config.auto_leader_rebalance_enable

    @property
    def leader_imbalance_check_interval_seconds(self) -> int:
        return self.config.leader_imbalance_check_interval_seconds

    @property
    def unclean_leader_election_interval_ms(self) -> int:
        return self.config.unclean_leader_election_interval_ms

    def internal_topic(self, name: str) -> InternalTopic | None:
        return internal_topic(self.config, name)

    def topic_rules(self, overrides: Mapping[str, str]) -> TopicRules:
        try:
            topic = self.config.topic_config(overrides)
        except ConfigError:
            # Whoever opens the topic's logs says so; nothing of it can be believed here either.
            topic = self.config.topic_config({})
        return TopicRules(topic.min_insync_replicas, bool(topic.value("unclean.leader.election.enable")))


@dataclass(frozen=True, slots=True)
class ImageTopicCatalog:
    """TopicCatalog of the group handlers: which topics the cluster has."""

    current_image: Callable[[], ClusterImage]

    def topic_name(self, topic_id: uuid.UUID) -> str | None:
        topic = self.current_image().topic_by_id(topic_id)
        return None if topic is None else topic.name

    def topic_id(self, topic: str) -> uuid.UUID:
        found = self.current_image().topic(topic)
        return ZERO_UUID if found is None else found.topic_id

    def has_partition(self, topic: str, partition: int) -> bool:
        return self.current_image().partition(topic, partition) is not None


@dataclass(frozen=True, slots=True)
class ImageCoordinators:
    """Coordinators of the group handlers: the leader of the partition that a key falls into.

    The coordinator's topic is created when somebody first asks for it, as in Kafka; unlike Kafka's, the
    creation is waited for, so that the first answer is the right one.
    """

    controller: Controller
    current_image: Callable[[], ClusterImage]

    async def find(self, topic: str, key: str) -> BrokerRegistration:
        """The broker that coordinates ``key``; ApiError COORDINATOR_NOT_AVAILABLE if there is none now."""
        found = self.current_image().topic(topic)
        if found is None:
            try:
                error = (await self.controller.auto_create_topics([topic]))[topic]
            except ApiError as failure:  # the store cannot be reached; clients know COORDINATOR_NOT_AVAILABLE
                error = failure
            found = self.current_image().topic(topic)
            if found is None:  # else another broker made it, whatever came of our attempt
                raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE, f"{topic} could not be created: {error}")
        image = self.current_image()
        state = found.partitions[partition_for(key, len(found.partitions))]
        leader = image.brokers.get(state.leader)
        if leader is None or leader.fenced:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        return leader


@dataclass(frozen=True, slots=True)
class KnownLeaders:
    """LeaderHints of the handlers.

    A replica here learns of a new leader before the image with it becomes visible, and whoever waited for the replica
    is answered in between.
    """

    node_id: int
    replicas: ReplicaManager
    current_image: Callable[[], ClusterImage]

    def leader_hint(self, topic: str, index: int) -> LeaderHint | None:
        image = self.current_image()
        leaders = [
            (source.leader_epoch, source.leader)
            for source in (image.partition(topic, index), self.replicas.get(topic, index))
            if source is not None
        ]
        if not leaders:
            return None
        leader_epoch, node_id = max(leaders, key=lambda leader: leader[0])
        if node_id in (NO_LEADER, self.node_id):
            return None
        broker = image.brokers.get(node_id)
        return LeaderHint(node_id, leader_epoch, None if broker is None or broker.fenced else broker)


@dataclass(frozen=True, slots=True)
class StoredReplica:
    """One log in a directory, as DescribeLogDirs tells of it."""

    topic: str
    partition: int
    size_bytes: int
    offset_lag: int
    is_future: bool = False


@dataclass(frozen=True, slots=True)
class DescribedLogDirectory:
    """One log directory, as DescribeLogDirs tells of it."""

    path: str
    error: ErrorCode = ErrorCode.NONE
    total_bytes: int = -1
    usable_bytes: int = -1
    is_cordoned: bool = False
    replicas: tuple[StoredReplica, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredLogDirectories:
    """LogDirectories of the log-directory handlers."""

    logs: LogManager
    world: World

    async def describe(self) -> list[DescribedLogDirectory]:
        return [await self._describe(directory) for directory in self.logs.directories]

    async def _describe(self, directory: LogDirectory) -> DescribedLogDirectory:
        if directory.error is not None:
            return DescribedLogDirectory(directory.path, ErrorCode.KAFKA_STORAGE_ERROR)
        try:
            total_bytes = await self.world.run_blocking(directory.total_bytes)
            usable_bytes = await self.world.run_blocking(directory.free_bytes)
        except OSError:
            total_bytes = usable_bytes = -1
        replicas = [
            StoredReplica(
                *log.topic_partition, log.size_bytes, max(log.high_watermark - log.log_end_offset, 0)
            )
            for log in self.logs.logs_in(directory)
        ]
        replicas += [
            StoredReplica(
                *move.current.topic_partition,
                move.size_bytes,
                move.current.log_end_offset - move.log_end_offset,
                is_future=True,
            )
            for move in self.logs.moves.into(directory.path)
        ]
        return DescribedLogDirectory(
            directory.path,
            total_bytes=total_bytes,
            usable_bytes=usable_bytes,
            is_cordoned=self.logs.is_cordoned(directory.path),
            replicas=tuple(replicas),
        )


@dataclass(frozen=True, slots=True)
class LogStartOffsetKeeper:
    """Puts log start offsets on the disk when a handler asks for it."""

    logs: LogManager
    replicas: ReplicaManager
    world: World

    async def keep(self) -> None:
        """Return when they are there; a disk that fails takes its directory offline."""
        try:
            await self.world.run_blocking(self.logs.begin_checkpoint(LOG_START_OFFSET_CHECKPOINT))
        except StorageError as error:
            self.replicas.fail_directory(error)


def cordoned_directories(config: BrokerConfig, logs: LogManager) -> Callable[[str], bool]:
    """Tells whether ``cordoned.log.dirs`` says of the directory at a path, as it is told by DescribeLogDirs."""

    def is_cordoned(path: str) -> bool:
        cordoned = config.cordoned_log_dirs
        return bool(cordoned) and ("*" in cordoned or path in map(logs.path_of, cordoned))

    return is_cordoned


def offsets_partition_count(image: ClusterImage, config: BrokerConfig) -> int:
    """How many partitions ``__consumer_offsets`` has, or will have once it is created."""
    topic = image.topic(CONSUMER_OFFSETS_TOPIC)
    return config.offsets_topic_num_partitions if topic is None else len(topic.partitions)


def transactions_partition_count(image: ClusterImage, config: BrokerConfig) -> int:
    """How many partitions ``__transaction_state`` has, or will have once it is created."""
    topic = image.topic(TRANSACTION_STATE_TOPIC)
    return config.transaction_state_log_num_partitions if topic is None else len(topic.partitions)


def partition_leader(image: ClusterImage, topic: str, partition: int) -> int | None:
    """The broker that leads a partition and can be reached; -1 while there is none, None for no partition."""
    state = image.partition(topic, partition)
    if state is None:
        return None
    leader = image.brokers.get(state.leader)
    return -1 if leader is None or leader.fenced else state.leader


_SPARE_FILES_SHARE = 8
_CONNECTIONS_MIN = 8


def server_limits(config: BrokerConfig, *, files_max: int, storage_files_max: int) -> ServerLimits:
    """The bounds on connections and requests of a broker that may have so many descriptors.

    Connections get the descriptors that neither storage nor, in an eighth of the rest, anything else may need: with all
    of them taken by clients, not even a checkpoint could be written, and a log directory would seem to have failed.
    """
    left = files_max - storage_files_max
    room = max(left - left // _SPARE_FILES_SHARE, _CONNECTIONS_MIN)
    return ServerLimits(
        request_bytes_max=config.socket_request_max_bytes,
        queued_request_bytes_max=config.queued_request_bytes_max,
        connections_max=min(config.max_connections, room),
        connections_per_ip_max=config.max_connections_per_ip,
        connections_per_ip_overrides=dict(config.max_connections_per_ip_overrides),
        connection_idle_ms_max=config.connections_max_idle_ms,
    )


@dataclass(frozen=True, slots=True)
class InSyncAlterations:
    """AlterInSync of ``replication``: what leaders of this broker propose, decided by its own controller."""

    node_id: int
    broker_epoch: Callable[[], int]
    controller: Callable[[], Controller]

    async def alter(
        self, proposals: Sequence[InSyncProposal]
    ) -> dict[tuple[uuid.UUID, int], PartitionState | ApiError]:
        changes = [
            AlterPartitionChange(
                proposal.topic_id,
                proposal.index,
                proposal.leader_epoch,
                proposal.partition_epoch,
                proposal.in_sync_replicas,
            )
            for proposal in proposals
        ]
        return dict(await self.controller().alter_partitions(self.node_id, self.broker_epoch(), changes))


@dataclass(frozen=True, slots=True)
class BrokerRacks:
    """Racks of the fetch handlers."""

    config: BrokerConfig
    current_image: Callable[[], ClusterImage]

    def if_wanted(self) -> BrokerRacks | None:
        """None unless ``replica.selector.class`` sends consumers to replicas in their own rack."""
        return self if self.config.replica_selector_class == _RACK_AWARE_SELECTOR else None

    def of_leader(self) -> str | None:
        return self.config.broker_rack

    def of(self, node_id: int) -> str | None:
        broker = self.current_image().brokers.get(node_id)
        return None if broker is None or not broker.is_active else broker.rack


_RACK_AWARE_SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


def is_placed(image: ClusterImage, node_id: int, name: TopicPartition, topic_id: uuid.UUID | None) -> bool:
    """Whether a broker's log is that of a replica which it is to have; its topic id is not known of every log."""
    topic, state = image.topic(name.topic), image.partition(*name)
    return (
        topic is not None
        and state is not None
        and node_id in state.replicas
        and topic_id in (None, topic.topic_id)
    )


def was_removed(image: ClusterImage, topic: str, topic_id: uuid.UUID | None) -> bool:
    """Whether the cluster took a log away: its topic was deleted, or lives on other brokers."""
    if topic_id is None:
        return False
    known = image.topic_by_id(topic_id)
    return topic_id in image.deleted_topics or (known is not None and known.name == topic)


_EVERY_ADDRESS = ("0.0.0.0", "::")
_THIS_MACHINE = ("127.0.0.1", "::1")


def registered_endpoints(
    config: BrokerConfig, bound: Mapping[str, Address], world: World, *, is_alone: bool
) -> dict[str, Endpoint]:
    """Where clients and other brokers are told to connect.

    Without ``advertised.listeners``, brokers of one process (``is_alone``) that listen on every address, or on this
    machine's own, leave it to the client: the address at which it reached one of them. Others say the address that
    they listen on, or the machine's name.
    """
    endpoints = {}
    for endpoint in config.endpoints:
        name = endpoint.listener_name
        advertised = config.advertised_endpoint(name)
        if advertised is not None:
            endpoints[name] = Endpoint(advertised.host, advertised.port, endpoint.security_protocol)
        else:
            host = bound[name].host
            if is_alone and (host in _EVERY_ADDRESS or host in _THIS_MACHINE):
                host = ""
            elif host in _EVERY_ADDRESS:
                host = world.host_name()
            endpoints[name] = Endpoint(host, bound[name].port, endpoint.security_protocol)
    return endpoints
