"""Puts what the cluster's metadata says to work on this broker (Kafka's BrokerMetadataPublisher).

Called with every change of the image before the image becomes visible: by the time a client can learn of a
partition, its leader has its log open.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol, cast

import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.resources import ConfigResourceType
from kbroker.config.topic_config import TopicConfig
from kbroker.metadata.image import NO_LEADER, ClusterImage, ImageDelta, PartitionState, TopicImage
from kbroker.replication.quota import NOT_THROTTLED, Throttles, is_listed
from kbroker.replication.replica_manager import ReplicaManager
from storage.log_config import LogConfig

logger = logging.getLogger(__name__)

_PARTITIONS_PER_TURN = 8
_ALL_BROKERS = (ConfigResourceType.BROKER, "")


class Coordinator(Protocol):
    """A coordinator whose state lives in the partitions of one internal topic."""

    def load(self, partition: int, leader_epoch: int) -> None: ...

    def unload(self, partition: int) -> None: ...

    def topics_deleted(self, topics: Sequence[tuple[str, uuid.UUID]]) -> None:
        """Topics, by (name, id), are gone."""
        ...


class MetadataPublisher:
    """Keeps replicas, coordinators and live configuration in step with the image."""

    def __init__(
        self,
        *,
        node_id: int,
        config: BrokerConfig,
        replicas: ReplicaManager,
        coordinators: Mapping[str, Coordinator],
        may_lead: Callable[[], bool] = lambda: True,
        incarnation_id: Callable[[], uuid.UUID | None] = lambda: None,
        on_topics_removed: Callable[[Sequence[uuid.UUID]], None] = lambda topic_ids: None,
    ) -> None:
        """``coordinators``: internal topic -> who coordinates with it.

        While ``may_lead`` is False no coordinator is served here. ``incarnation_id`` is what this process registers
        as. ``on_topics_removed`` is told the ids of deleted topics when nothing of them is here any more.
        """
        self._may_lead = may_lead
        self._incarnation_id = incarnation_id
        self._on_topics_removed = on_topics_removed
        self._node_id = node_id
        self._config = config
        self._replicas = replicas
        self._coordinators = coordinators
        self._image = ClusterImage()
        """Taken up, or being taken up: newer than what is visible while that goes on."""

    async def publish_all(self, image: ClusterImage) -> None:
        """Take up a whole image, when the broker starts."""
        self._image = image
        self._apply_broker_configs(image)
        for topic in image.topics.values():
            await self._apply(image, topic, list(enumerate(topic.partitions)), are_new=False)

    async def publish(self, delta: ImageDelta) -> None:
        """Take up one change."""
        image = self._image = delta.after
        if self._broker_configs_changed(delta):
            self._apply_broker_configs(image)
        if delta.topics_deleted:
            self._remove(delta.topics_deleted)
        for topic in delta.topics_created:
            await self._apply(image, topic, list(enumerate(topic.partitions)), are_new=True)
        for topic, added in _by_topic(delta.partitions_added):
            await self._apply(image, topic, added, are_new=True)
        # Only what was here before can have its log in a directory that is offline.
        for are_new in (True, False):
            for topic, changed in _by_topic(
                (topic, index, state)
                for topic, index, before, state in delta.partitions_changed
                if (self._node_id not in before.replicas) is are_new
            ):
                await self._apply(image, topic, changed, are_new=are_new)
        if delta.configs_changed:
            self._apply_topic_configs(delta)

    async def apply_waiting(self) -> None:
        """Try again to put to work what a full disk has refused, until it refuses once more.

        May run beside ``publish``: all of a partition is done without a pause, and by the newest image.
        """
        for name, waiting in self._replicas.waiting_for_room.items():
            for start in range(0, len(waiting), _PARTITIONS_PER_TURN):
                # Meanwhile they may have been done, or the topic deleted.
                turn = self._still_waiting(name, waiting[start : start + _PARTITIONS_PER_TURN])
                topic = self._image.topic(name)
                if not turn or topic is None:
                    continue
                partitions = [(index, topic.partitions[index]) for index in turn]
                await self._apply(self._image, topic, partitions, are_new=False)
                if self._still_waiting(name, turn) == turn:
                    return

    def _still_waiting(self, topic: str, indexes: Sequence[int]) -> list[int]:
        waiting = frozenset(self._replicas.waiting_for_room.get(topic, ()))
        return [index for index in indexes if index in waiting]

    async def _apply(
        self,
        image: ClusterImage,
        topic: TopicImage,
        partitions: Sequence[tuple[int, PartitionState]],
        *,
        are_new: bool,
    ) -> None:
        config = self._topic_config(image, topic.name)
        log_config, throttles = config.to_log_config(), self._throttles(config)
        for start in range(0, len(partitions), _PARTITIONS_PER_TURN):
            turn = [
                (index, self._as_it_may_be_led(image, topic, state))
                for index, state in partitions[start : start + _PARTITIONS_PER_TURN]
            ]
            self._replicas.apply_topic(
                topic.name,
                topic.topic_id,
                turn,
                config=log_config,
                min_in_sync_replicas=config.min_insync_replicas,
                are_new=are_new,
                throttles=throttles,
            )
            self._lead_coordinator(topic.name, turn)
            await trio.lowlevel.checkpoint()

    def _as_it_may_be_led(
        self, image: ClusterImage, topic: TopicImage, state: PartitionState
    ) -> PartitionState:
        """A broker that has restarted leads no partition on in a leader epoch of before.

        Its log may have lost its end, which followers have; in the same epoch nobody could tell what it appends now
        from that. The controller sees that it was away, and gives the partition a new epoch.
        """
        if state.leader != self._node_id or len(state.replicas) == 1:
            return state
        # What the image says of this process counts: the answer to its registering may still be on its way.
        own = image.brokers.get(self._node_id)
        is_registered = own is not None and own.incarnation_id == self._incarnation_id()
        if is_registered and not image.was_away(topic, state, self._node_id):
            return state
        return state._replace(leader=NO_LEADER)

    def _lead_coordinator(self, topic: str, partitions: Sequence[tuple[int, PartitionState]]) -> None:
        coordinator = self._coordinators.get(topic)
        if coordinator is None:
            return
        for index, state in partitions:
            if state.leader == self._node_id and self._may_lead():
                coordinator.load(index, state.leader_epoch)
            else:
                coordinator.unload(index)

    def standing_changed(self) -> None:
        """``may_lead`` has changed: coordinators go, or are loaded anew.

        Anew, since somebody else may have written to their partitions meanwhile without this broker's knowing. In the
        middle of a change it is judged by what comes: the image before may say that this broker was away, and nobody
        would load again what had just been loaded.
        """
        image = self._image
        for topic_name in self._coordinators:
            topic = image.topic(topic_name)
            if topic is not None:
                states = [self._as_it_may_be_led(image, topic, state) for state in topic.partitions]
                self._lead_coordinator(topic_name, list(enumerate(states)))
        self._replicas.standing_changed()

    def partitions_offline(self, partitions: Iterable[tuple[str, int]]) -> None:
        """The log directory of these (topic, index) failed: what was coordinated from there is not any more."""
        for topic, index in partitions:
            coordinator = self._coordinators.get(topic)
            if coordinator is not None:
                coordinator.unload(index)

    def _remove(self, topics: Sequence[TopicImage]) -> None:
        for topic in topics:
            coordinator = self._coordinators.get(topic.name)
            if coordinator is not None:
                for index in range(len(topic.partitions)):
                    coordinator.unload(index)
            self._replicas.remove_topic(topic.name)
        for coordinator in self._coordinators.values():
            coordinator.topics_deleted([(topic.name, topic.topic_id) for topic in topics])
        self._on_topics_removed([topic.topic_id for topic in topics])

    def _broker_configs_changed(self, delta: ImageDelta) -> bool:
        own = (ConfigResourceType.BROKER, str(self._node_id))
        return own in delta.configs_changed or _ALL_BROKERS in delta.configs_changed

    def _apply_topic_configs(self, delta: ImageDelta) -> None:
        """To all live partitions, after the changes of partitions: each of these brought its configuration.

        A smaller ``min.insync.replicas`` must not be put to work on who leads no more, say.
        """
        image = delta.after
        if self._broker_configs_changed(delta):
            changed: Iterable[str] = image.topics  # any broker key may be the default of a topic's
        else:
            changed = [name for kind, name in delta.configs_changed if kind is ConfigResourceType.TOPIC]
        for name in changed:
            config = self._topic_config(image, name)
            self._replicas.apply_config(
                name,
                config=config.to_log_config(),
                min_in_sync_replicas=config.min_insync_replicas,
                throttles=self._throttles(config),
            )

    def _throttles(self, config: TopicConfig) -> Callable[[int], Throttles]:
        as_leader = cast("tuple[str, ...]", config.value("leader.replication.throttled.replicas"))
        as_follower = cast("tuple[str, ...]", config.value("follower.replication.throttled.replicas"))
        if not as_leader and not as_follower:
            return lambda index: NOT_THROTTLED
        return lambda index: Throttles(
            is_listed(as_leader, index, self._node_id), is_listed(as_follower, index, self._node_id)
        )

    def _apply_broker_configs(self, image: ClusterImage) -> None:
        changed, warnings = self._config.apply_dynamic(
            broker=image.broker_config(self._node_id), all_brokers=image.config(_ALL_BROKERS)
        )
        for warning in warnings:
            logger.warning("%s", warning)
        if changed:
            logger.info("configuration changed: %s", ", ".join(sorted(changed)))

    def log_config(self, image: ClusterImage, topic: str) -> LogConfig:
        """What storage needs to know to open the logs of ``topic``."""
        return self._topic_config(image, topic).to_log_config()

    def _topic_config(self, image: ClusterImage, topic: str) -> TopicConfig:
        try:
            return self._config.topic_config(image.topic_config(topic))
        except ConfigError as error:
            # Checked when it was stored; a newer or older broker may have stored it. Serve with the defaults.
            logger.error("topic %s has a configuration that cannot be used: %s", topic, error)
            return self._config.topic_config({})


def _by_topic(
    changes: Iterable[tuple[TopicImage, int, PartitionState]],
) -> Iterator[tuple[TopicImage, list[tuple[int, PartitionState]]]]:
    """Neighbouring changes of one topic together: reading its configuration takes longer than most changes."""
    for _, found in groupby(changes, key=lambda change: change[0].topic_id):
        of_topic = list(found)
        yield of_topic[0][0], [(index, state) for _, index, state in of_topic]
