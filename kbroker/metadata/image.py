"""The cluster's metadata as one immutable value.

A ``ClusterImage`` is never changed: ``kbroker.metadata.image_update`` makes the next one out of it and
the changes that the store reports, sharing whatever stayed the same. Whoever takes an image and holds
on to it for the length of a request sees one consistent state, however long the request waits.

The parts are named tuples: immutable, quick to define when the broker starts, and quick to make by the
ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from kbroker.config.resources import ConfigResourceType
from kbroker.config.topic_names import collision_key, is_internal_topic, is_valid_topic_name
from kbroker.quotas.entities import ClientQuotaEntity, ClientQuotas
from wire.errors import ErrorCode

NO_LEADER = -1


ConfigResource: TypeAlias = tuple[int, str]
"""(ConfigResourceType, name); the name is empty for the cluster-wide default of brokers."""


class Endpoint(NamedTuple):
    """Where clients of one listener are told to connect.

    An empty host stands for "the address at which this client reached the broker": listeners without
    ``advertised.listeners``.
    """

    host: str
    port: int
    security_protocol: str = "PLAINTEXT"


class BrokerRegistration(NamedTuple):
    """A live broker: its registration hangs on a lease and goes with it.

    ``broker_epoch`` grows with every registration of the same node id. A fenced broker is registered
    but may neither lead nor be told to clients. ``revision`` is that of the registration's key, for
    comparisons; ``created_revision`` is the revision at which this incarnation came: what was decided
    before was about an earlier life of the broker. Both are 0 outside of an image.
    """

    node_id: int
    broker_epoch: int
    incarnation_id: UUID
    endpoints: Mapping[str, Endpoint]
    rack: str | None = None
    fenced: bool = False
    in_controlled_shutdown: bool = False
    revision: int = 0
    created_revision: int = 0

    @property
    def is_active(self) -> bool:
        """Whether partitions may be led by this broker (``ClusterControlManager.isActive``)."""
        return not self.fenced and not self.in_controlled_shutdown


class PartitionState(NamedTuple):
    """One partition's state.

    ``state_revision`` is the revision of the store's key that holds the state, for compare-and-set;
    0 while the partition is still as it was created (then it has no key of its own). ``is_recovering``
    says that the leader came from an unclean election and has not said yet that it is done with what
    follows from it (Kafka's ``LeaderRecoveryState``).

    The eligible leader replicas (KIP-966) are those that left the in-sync set while it was smaller than
    ``min.insync.replicas``: nothing can have been committed without them. The last known one is the
    leader of the moment at which the in-sync set became empty.
    """

    replicas: tuple[int, ...]
    in_sync_replicas: tuple[int, ...]
    leader: int
    leader_epoch: int = 0
    partition_epoch: int = 0
    eligible_leader_replicas: tuple[int, ...] = ()
    last_known_eligible_leader_replicas: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()
    state_revision: int = 0
    is_recovering: bool = False

    @property
    def is_reassigning(self) -> bool:
        return bool(self.adding_replicas or self.removing_replicas)


class DeletedTopic(NamedTuple):
    """What is left of a deleted topic until every broker has removed its logs.

    ``node_ids`` are the brokers that may still have some; ``revision`` is that of the key.
    """

    name: str
    topic_id: UUID
    node_ids: tuple[int, ...]
    revision: int


class TopicImage(NamedTuple):
    """A topic; ``partitions[i]`` is partition i. ``revision`` is that of the topic's key."""

    name: str
    topic_id: UUID
    partitions: tuple[PartitionState, ...]
    revision: int

    @property
    def is_internal(self) -> bool:
        return is_internal_topic(self.name)


class ControllerRegistration(NamedTuple):
    """The broker that was elected controller, and in which term. ``revision`` is that of the key."""

    node_id: int
    controller_epoch: int
    revision: int = 0


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class ClusterImage(NamedTuple):
    """Everything the cluster has agreed on, as of one revision of the store.

    Treat every mapping in it as read-only: the images share them. ``topics_by_collision_key`` has the
    topics under their names with '.' turned into '_' (see topic_names.py).
    """

    revision: int = 0
    cluster_id: str | None = None
    controller: ControllerRegistration | None = None
    brokers: Mapping[int, BrokerRegistration] = _NOTHING
    topics: Mapping[str, TopicImage] = _NOTHING
    topics_by_id: Mapping[UUID, TopicImage] = _NOTHING
    topics_by_collision_key: Mapping[str, TopicImage] = _NOTHING
    configs: Mapping[ConfigResource, Mapping[str, str]] = _NOTHING
    config_revisions: Mapping[ConfigResource, int] = _NOTHING
    client_quotas: ClientQuotas = _NOTHING
    client_quota_revisions: Mapping[ClientQuotaEntity, int] = _NOTHING
    features: Mapping[str, int] = _NOTHING
    deleted_topics: Mapping[UUID, DeletedTopic] = _NOTHING

    def topic(self, name: str) -> TopicImage | None:
        return self.topics.get(name)

    def topic_by_id(self, topic_id: UUID) -> TopicImage | None:
        return self.topics_by_id.get(topic_id)

    def partition(self, topic: str, partition: int) -> PartitionState | None:
        image = self.topics.get(topic)
        if image is None or not 0 <= partition < len(image.partitions):
            return None
        return image.partitions[partition]

    def colliding_topic(self, name: str) -> TopicImage | None:
        """The topic of another name that would share its metric names with ``name``, if there is one."""
        topic = self.topics_by_collision_key.get(collision_key(name))
        return topic if topic is not None and topic.name != name else None

    def missing_topic_error(self, name: str) -> ErrorCode:
        """What a client learns of a topic that does not exist: whether it could."""
        if is_valid_topic_name(name):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return ErrorCode.INVALID_TOPIC_EXCEPTION

    def is_internal_topic(self, name: str) -> bool:
        return is_internal_topic(name)

    def config(self, resource: ConfigResource) -> Mapping[str, str]:
        """The resource's own overrides (empty if it has none), not the effective configs."""
        return self.configs.get(resource, _NOTHING)

    def topic_config(self, name: str) -> Mapping[str, str]:
        return self.configs.get((ConfigResourceType.TOPIC, name), _NOTHING)

    def broker_config(self, node_id: int) -> Mapping[str, str]:
        """The overrides of one broker; those of all brokers are ``config((BROKER, ""))``."""
        return self.configs.get((ConfigResourceType.BROKER, str(node_id)), _NOTHING)

    def alive_brokers(self) -> list[BrokerRegistration]:
        """The unfenced brokers by ascending node id."""
        return sorted(
            (broker for broker in self.brokers.values() if not broker.fenced),
            key=lambda broker: broker.node_id,
        )

    def is_active(self, node_id: int) -> bool:
        broker = self.brokers.get(node_id)
        return broker is not None and broker.is_active

    def was_away(self, topic: TopicImage, state: PartitionState, node_id: int) -> bool:
        """Whether the broker has restarted, or lost its session, since this state of the partition was written.

        Then the state is about its earlier life: it must not lead in that leader epoch, and does not count as in
        sync; the controller is about to say so. Never so for a partition's only replica.
        """
        broker = self.brokers.get(node_id)
        return (
            broker is not None
            and broker.created_revision > (state.state_revision or topic.revision)
            and len(state.replicas) > 1
        )

    def partitions_of(self, node_id: int) -> Iterator[tuple[TopicImage, int, PartitionState]]:
        """Every (topic, partition index, state) that has a replica on this broker."""
        for topic in self.topics.values():
            for index, state in enumerate(topic.partitions):
                if node_id in state.replicas:
                    yield topic, index, state


class ImageDelta(NamedTuple):
    """What became different between two images; ``before`` and ``after`` have all the rest.

    A topic that was deleted and created anew under its old name stands in both lists. Listeners that
    act on ``partitions_changed`` find old and new state there: (topic after, index, before, after).
    """

    before: ClusterImage
    after: ClusterImage
    topics_created: tuple[TopicImage, ...] = ()
    topics_deleted: tuple[TopicImage, ...] = ()
    partitions_added: tuple[tuple[TopicImage, int, PartitionState], ...] = ()
    partitions_changed: tuple[tuple[TopicImage, int, PartitionState, PartitionState], ...] = ()
    configs_changed: tuple[ConfigResource, ...] = ()
    brokers_changed: tuple[int, ...] = ()
    controller_changed: bool = False
    client_quotas_changed: bool = False
    features_changed: bool = False
    deletions_changed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed that listeners are told of."""
        return not any(self[2:])
