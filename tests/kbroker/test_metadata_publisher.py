"""What the publisher puts to work when the broker's standing changes in the middle of a change."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import trio

from kbroker.config.resources import ConfigResourceType
from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.metadata.image import BrokerRegistration, ClusterImage, PartitionState, TopicImage
from kbroker.metadata.image_update import difference
from kbroker.metadata_publisher import MetadataPublisher

INCARNATION = uuid.UUID(int=5)
TOPIC_ID = uuid.UUID(int=9)
PARTITIONS = 20  # more than are taken up in one turn


class LoadedShards:
    """A coordinator that only remembers what it has loaded."""

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}

    def load(self, partition: int, leader_epoch: int) -> None:
        self.epochs[partition] = leader_epoch

    def unload(self, partition: int) -> None:
        self.epochs.pop(partition, None)

    def topics_deleted(self, topics: Sequence[tuple[str, uuid.UUID]]) -> None:
        return


def image_of(revision: int, *, leader_epoch: int, state_revision: int) -> ClusterImage:
    registration = BrokerRegistration(1, 30, INCARNATION, {}, revision=30, created_revision=30)
    state = PartitionState(
        (1, 2),
        (1, 2),
        1,
        leader_epoch=leader_epoch,
        partition_epoch=leader_epoch,
        state_revision=state_revision,
    )
    topic = TopicImage(CONSUMER_OFFSETS_TOPIC, TOPIC_ID, (state,) * PARTITIONS, 5)
    return ClusterImage(
        revision=revision,
        brokers={1: registration},
        topics={topic.name: topic},
        topics_by_id={TOPIC_ID: topic},
    )


async def test_a_standing_that_changes_while_an_image_is_taken_up_is_judged_by_that_image() -> None:
    coordinator = LoadedShards()
    publisher = MetadataPublisher(
        node_id=1,
        config=cast(
            Any,
            SimpleNamespace(
                topic_config=lambda overrides: SimpleNamespace(
                    to_log_config=lambda: None, min_insync_replicas=1, value=lambda key: ()
                ),
                apply_dynamic=lambda **layers: ((), ()),
            ),
        ),
        replicas=cast(
            Any, SimpleNamespace(apply_topic=lambda *args, **kwargs: None, standing_changed=lambda: None)
        ),
        coordinators={CONSUMER_OFFSETS_TOPIC: coordinator},
        incarnation_id=lambda: INCARNATION,
    )
    before = image_of(30, leader_epoch=0, state_revision=10)  # this broker registered after that: it was away
    await publisher.publish_all(before)
    assert coordinator.epochs == {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            publisher.publish, difference(before, image_of(31, leader_epoch=1, state_revision=31))
        )
        while len(coordinator.epochs) < 4:
            await trio.lowlevel.checkpoint()
        assert len(coordinator.epochs) < PARTITIONS
        publisher.standing_changed()
    assert coordinator.epochs == dict.fromkeys(range(PARTITIONS), 1)


class Applied:
    """What a publisher does to replicas and to the broker's configuration, in order."""

    def __init__(self) -> None:
        self.partitions: list[tuple[int, bool]] = []
        """(index, whether it is new here)"""
        self.order: list[str] = []

    def apply_topic(
        self,
        topic: str,
        topic_id: uuid.UUID,
        partitions: Iterable[tuple[int, PartitionState]],
        *,
        are_new: bool,
        min_in_sync_replicas: int,
        **settings: object,
    ) -> None:
        self.order.append(f"{topic}: min {min_in_sync_replicas}")
        self.partitions += [(index, are_new) for index, _ in partitions]

    def apply_config(self, topic: str, *, min_in_sync_replicas: int, **settings: object) -> None:
        self.order.append(f"config of {topic}: min {min_in_sync_replicas}")

    def remove_topic(self, topic: str) -> None:
        self.order.append(f"{topic} goes")

    def apply_dynamic(self, **layers: dict[str, str]) -> tuple[list[str], list[str]]:
        self.default = int(layers["all_brokers"].get("min.insync.replicas", "1"))
        self.order.append(f"broker config: min {self.default}")
        return [], []

    def topic_config(self, overrides: dict[str, str]) -> SimpleNamespace:
        return SimpleNamespace(
            to_log_config=lambda: None,
            min_insync_replicas=int(overrides.get("min.insync.replicas", self.default)),
            value=lambda key: (),
        )

    def publisher(self) -> MetadataPublisher:
        return MetadataPublisher(node_id=1, config=cast(Any, self), replicas=cast(Any, self), coordinators={})


def topic_of(name: str, *replicas: tuple[int, ...], epoch: int = 0) -> TopicImage:
    states = tuple(PartitionState(each, each, each[0], partition_epoch=epoch) for each in replicas)
    return TopicImage(name, uuid.uuid5(TOPIC_ID, name), states, 5 + epoch)


def cluster_of(*topics: TopicImage, revision: int = 1, **settings: object) -> ClusterImage:
    return ClusterImage(
        revision=revision,
        topics={topic.name: topic for topic in topics},
        topics_by_id={topic.topic_id: topic for topic in topics},
        **cast(Any, settings),
    )


async def test_what_a_reassignment_brings_here_is_new_here_and_what_was_here_is_not() -> None:
    """Only a log that may lie in a failed directory must not be made anew in another one."""
    applied = Applied()
    publisher = applied.publisher()
    before = cluster_of(topic_of("t", (2, 1), (2, 3), (1, 2), (3, 2), (1, 3)))
    await publisher.publish_all(before)
    assert applied.partitions == [(index, False) for index in range(5)]
    applied.partitions.clear()
    after = cluster_of(topic_of("t", (2, 1, 3), (2, 3, 1), (1, 2, 3), (3, 2, 1), (1, 3), epoch=1), revision=2)
    await publisher.publish(difference(before, after))
    assert sorted(applied.partitions) == [(0, False), (1, True), (2, False), (3, True), (4, False)]


async def test_the_brokers_configuration_comes_before_the_partitions_of_the_same_change() -> None:
    """Where a new partition goes, say, depends on it. What follows from it for others comes with or after them."""
    applied = Applied()
    publisher = applied.publisher()
    all_brokers, own_of_created = (ConfigResourceType.BROKER, ""), (ConfigResourceType.TOPIC, "created")
    before = cluster_of(topic_of("old", (1, 2)), topic_of("other", (1, 2)), topic_of("gone", (1,)))
    await publisher.publish_all(before)
    applied.order.clear()
    configs = {all_brokers: {"min.insync.replicas": "2"}, own_of_created: {"min.insync.replicas": "3"}}
    after = cluster_of(
        topic_of("old", (1, 2, 3), epoch=1),
        topic_of("other", (1, 2)),
        topic_of("created", (1, 2)),
        revision=2,
        configs=configs,
        config_revisions=dict.fromkeys(configs, 2),
    )
    await publisher.publish(difference(before, after))
    assert applied.order == [
        "broker config: min 2",
        "gone goes",
        "created: min 3",
        "old: min 2",
        "config of old: min 2",
        "config of other: min 2",
        "config of created: min 3",
    ]
