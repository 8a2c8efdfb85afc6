"""How one cluster image becomes the next.

``read_image`` builds an image from everything in the store; ``next_image`` from the image before and a
batch of changes; ``difference`` says what differs between two images. The first and the second agree:
reading afresh gives what applying all the changes gave (a test holds them to it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from kbroker.config.topic_names import collision_key
from kbroker.metadata import keys
from kbroker.metadata.image import (
    BrokerRegistration,
    ClusterImage,
    ConfigResource,
    DeletedTopic,
    ImageDelta,
    PartitionState,
    TopicImage,
)
from kbroker.metadata.store import Event, KeyPut, KeyRange, KeyValue
from kbroker.quotas.entities import ClientQuotaEntity


def read_image(everything: KeyRange) -> ClusterImage:
    """The image of a store with these keys. StoreFormatError if a value cannot be read."""
    return next_image(ClusterImage(), everything.revision, [KeyPut(item) for item in everything.items])


def next_image(image: ClusterImage, revision: int, events: Iterable[Event]) -> ClusterImage:
    """The image after the events, which happened up to ``revision``; ``image`` itself stays as it is."""
    builder = _ImageBuilder(image)
    for event in events:
        builder.apply(event)
    return builder.build(revision)


class _ImageBuilder:
    """Collects the changes to one image; mappings are copied when they are first written to."""

    def __init__(self, image: ClusterImage) -> None:
        self._image = image
        self._brokers: dict[int, BrokerRegistration] | None = None
        self._configs: dict[ConfigResource, Mapping[str, str]] | None = None
        self._config_revisions: dict[ConfigResource, int] = {}
        self._client_quotas: dict[ClientQuotaEntity, Mapping[str, float]] | None = None
        self._client_quota_revisions: dict[ClientQuotaEntity, int] = {}
        self._deleted: dict[UUID, DeletedTopic] | None = None
        self._topics: dict[str, TopicImage] | None = None  # by collision key
        self._slots: dict[UUID, str] = {}  # collision keys of the topics that these changes made
        # Several partitions of a topic often change together; their tuple is rebuilt once at the end.
        self._states: dict[UUID, dict[int, PartitionState]] = {}
        self._fields: dict[str, Any] = {}

    def apply(self, event: Event) -> None:
        key = event.key
        put = event.key_value if isinstance(event, KeyPut) else None
        if key.startswith(keys.PARTITIONS_PREFIX):
            # A partition's key goes only together with its topic's, which says all there is to do.
            if put is not None:
                topic_id, index = keys.parse_partition_key(key)
                state = keys.decode_partition(key, put.value, put.mod_revision)
                self._states.setdefault(topic_id, {})[index] = state
        elif key.startswith(keys.TOPICS_PREFIX):
            self._apply_topic(key, put)
        elif key.startswith(keys.CONFIGS_PREFIX):
            self._apply_config(key, put)
        elif key.startswith(keys.CLIENT_QUOTAS_PREFIX):
            self._apply_client_quotas(key, put)
        elif key.startswith(keys.BROKERS_PREFIX):
            self._apply_broker(key, put)
        elif key.startswith(keys.DELETED_TOPICS_PREFIX):
            self._apply_deletion(key, put)
        elif key == keys.CLUSTER_KEY:
            self._fields["cluster_id"] = keys.decode_cluster(put.value) if put is not None else None
        elif key == keys.CONTROLLER_KEY:
            self._fields["controller"] = (
                keys.decode_controller(put.value, put.mod_revision) if put is not None else None
            )
        elif key == keys.FEATURES_KEY:
            self._fields["features"] = keys.decode_features(put.value) if put is not None else {}
        # Any other key is no part of the image: producer ids, and what later versions may add.

    def _apply_broker(self, key: str, put: KeyValue | None) -> None:
        if self._brokers is None:
            self._brokers = dict(self._image.brokers)
        if put is None:
            self._brokers.pop(int(key[len(keys.BROKERS_PREFIX) :]), None)
        else:
            broker = keys.decode_broker(
                key, put.value, revision=put.mod_revision, created_revision=put.create_revision
            )
            self._brokers[broker.node_id] = broker

    def _apply_deletion(self, key: str, put: KeyValue | None) -> None:
        if self._deleted is None:
            self._deleted = dict(self._image.deleted_topics)
        if put is None:
            self._deleted.pop(UUID(key[len(keys.DELETED_TOPICS_PREFIX) :]), None)
        else:
            deleted = keys.decode_deleted_topic(key, put.value, put.mod_revision)
            self._deleted[deleted.topic_id] = deleted

    def _apply_config(self, key: str, put: KeyValue | None) -> None:
        if self._configs is None:
            self._configs = dict(self._image.configs)
            self._config_revisions = dict(self._image.config_revisions)
        resource = keys.parse_config_key(key)
        if put is None:
            self._configs.pop(resource, None)
            self._config_revisions.pop(resource, None)
        else:
            self._configs[resource] = keys.decode_config(key, put.value)
            self._config_revisions[resource] = put.mod_revision

    def _apply_client_quotas(self, key: str, put: KeyValue | None) -> None:
        if self._client_quotas is None:
            self._client_quotas = dict(self._image.client_quotas)
            self._client_quota_revisions = dict(self._image.client_quota_revisions)
        entity = keys.parse_client_quotas_key(key)
        if put is None:
            self._client_quotas.pop(entity, None)
            self._client_quota_revisions.pop(entity, None)
        else:
            self._client_quotas[entity] = keys.decode_client_quotas(key, put.value)
            self._client_quota_revisions[entity] = put.mod_revision

    def _apply_topic(self, key: str, put: KeyValue | None) -> None:
        if self._topics is None:
            self._topics = dict(self._image.topics_by_collision_key)
        slot = key[len(keys.TOPICS_PREFIX) :]
        if put is None:
            self._topics.pop(slot, None)
            return
        name, topic_id, births = keys.decode_topic(key, put.value)
        known = self._topics.get(slot)
        if known is not None and known.topic_id == topic_id:
            # Partitions that are there already have moved on since they were born.
            births[: len(known.partitions)] = known.partitions
        self._topics[slot] = TopicImage(name, topic_id, tuple(births), put.mod_revision)
        self._slots[topic_id] = slot

    def _put_states(self) -> None:
        topics = self._topics
        if topics is None:
            topics = self._topics = dict(self._image.topics_by_collision_key)
        for topic_id, states in self._states.items():
            topic = self._current_topic(topics, topic_id)
            if topic is None:
                continue  # deleted in the same batch
            partitions = list(topic.partitions)
            for index, state in states.items():
                partitions[index] = state
            topics[collision_key(topic.name)] = topic._replace(partitions=tuple(partitions))

    def _current_topic(self, topics: Mapping[str, TopicImage], topic_id: UUID) -> TopicImage | None:
        slot = self._slots.get(topic_id)
        if slot is None:
            known = self._image.topics_by_id.get(topic_id)
            if known is None:
                return None
            slot = collision_key(known.name)
        topic = topics.get(slot)
        return topic if topic is not None and topic.topic_id == topic_id else None

    def build(self, revision: int) -> ClusterImage:
        fields = self._fields
        if self._states:
            self._put_states()
        if self._topics is not None:
            fields["topics_by_collision_key"] = self._topics
            fields["topics"] = {topic.name: topic for topic in self._topics.values()}
            fields["topics_by_id"] = {topic.topic_id: topic for topic in self._topics.values()}
        if self._configs is not None:
            fields["configs"] = self._configs
            fields["config_revisions"] = self._config_revisions
        if self._client_quotas is not None:
            fields["client_quotas"] = self._client_quotas
            fields["client_quota_revisions"] = self._client_quota_revisions
        if self._brokers is not None:
            fields["brokers"] = self._brokers
        if self._deleted is not None:
            fields["deleted_topics"] = self._deleted
        return self._image._replace(revision=revision, **fields)


def difference(before: ClusterImage, after: ClusterImage) -> ImageDelta:
    """What is different. Parts that the two images share are recognised without looking into them."""
    created: list[TopicImage] = []
    deleted: list[TopicImage] = []
    added: list[tuple[TopicImage, int, PartitionState]] = []
    changed: list[tuple[TopicImage, int, PartitionState, PartitionState]] = []
    if before.topics_by_id is not after.topics_by_id:
        deleted = [
            topic for topic_id, topic in before.topics_by_id.items() if topic_id not in after.topics_by_id
        ]
        for topic_id, topic in after.topics_by_id.items():
            old = before.topics_by_id.get(topic_id)
            if old is None:
                created.append(topic)
            elif old is not topic:
                _compare_partitions(old, topic, added, changed)
    return ImageDelta(
        before=before,
        after=after,
        topics_created=tuple(created),
        topics_deleted=tuple(deleted),
        partitions_added=tuple(added),
        partitions_changed=tuple(changed),
        configs_changed=tuple(_changed_keys(before.config_revisions, after.config_revisions)),
        brokers_changed=tuple(_changed_keys(before.brokers, after.brokers)),
        controller_changed=before.controller != after.controller,
        client_quotas_changed=before.client_quota_revisions is not after.client_quota_revisions,
        features_changed=before.features != after.features,
        deletions_changed=before.deleted_topics is not after.deleted_topics,
    )


def _compare_partitions(
    old: TopicImage,
    new: TopicImage,
    added: list[tuple[TopicImage, int, PartitionState]],
    changed: list[tuple[TopicImage, int, PartitionState, PartitionState]],
) -> None:
    for index, state in enumerate(new.partitions):
        if index >= len(old.partitions):
            added.append((new, index, state))
        elif state is not old.partitions[index] and state != old.partitions[index]:
            changed.append((new, index, old.partitions[index], state))


_Key = TypeVar("_Key")


def _changed_keys(before: Mapping[_Key, object], after: Mapping[_Key, object]) -> list[_Key]:
    if before is after:
        return []
    gone = [key for key in before if key not in after]
    return gone + [key for key, value in after.items() if before.get(key) != value]
