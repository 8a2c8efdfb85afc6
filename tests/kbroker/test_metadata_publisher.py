"""What the publisher puts to work when the broker's standing changes in the middle of a change."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import trio

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
