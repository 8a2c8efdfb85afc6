"""Partitions as the store has them, for decisions that cannot wait until the image follows.

What this broker wrote itself, and what it read because a decision had lost its race, counts until an image
comes that is newer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

import trio

from kbroker.metadata import keys
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import BrokerRegistration, ClusterImage, PartitionState, TopicImage
from kbroker.metadata.store import KeyRange, KeyValue, MetadataStore

PartitionId = tuple[UUID, int]
"""(topic id, partition index)."""

_SINGLE_READS_MAX: Final = 8


class FreshPartitions:
    """See the module's docstring."""

    def __init__(self, store: MetadataStore, metadata: ClusterMetadata) -> None:
        self._store = store
        self._metadata = metadata
        self._states: dict[PartitionId, PartitionState] = {}
        # The topic's own key, for partitions that have none; None for a topic that was found deleted.
        self._topic_revisions: dict[UUID, int | None] = {}
        self._brokers: KeyRange | None = None
        self._reading = trio.Lock()

    @property
    def is_mixed(self) -> bool:
        """Whether ``image`` has registrations that may be newer than a partition that was not just reread.

        A refusal that rests on both is no proof that an earlier attempt, of which nobody knows whether it was done,
        was not: it may have been done after the partition was read, and before the broker's registration went.
        """
        return self._brokers is not None

    def image(self) -> ClusterImage:
        """The newest image, with the registrations as they were last read if that was later."""
        image = self._metadata.newest
        if not self._states and not self._topic_revisions and self._brokers is None:
            return image
        self._forget_until(image)
        if self._brokers is None:
            return image
        return image._replace(brokers=_registrations(self._brokers))

    def _forget_until(self, image: ClusterImage) -> None:
        if self._brokers is not None and self._brokers.revision <= image.revision:
            # What was read of topics may be newer: who goes by an older one will lose a race, and read anew.
            self._brokers = None
            self._topic_revisions.clear()
        for partition in [
            partition for partition, state in self._states.items() if state.state_revision <= image.revision
        ]:
            del self._states[partition]

    def find(self, image: ClusterImage, partition: PartitionId) -> tuple[TopicImage, PartitionState] | None:
        """The topic and the state of a partition (topic id, index), None if there is none."""
        topic_id, index = partition
        topic = image.topic_by_id(topic_id)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        if topic_id in self._topic_revisions:
            revision = self._topic_revisions[topic_id]
            if revision is None:
                return None
            topic = topic._replace(revision=revision)
        return topic, self._states.get(partition, topic.partitions[index])

    def learned(self, partition: PartitionId, state: PartitionState) -> None:
        """This is its state now."""
        self._states[partition] = state

    async def reread(self, partitions: Iterable[PartitionId]) -> None:
        """Ask the store. StoreUnavailableError.

        What is judged at once when this returns is not `is_mixed`: one reads at a time, and registrations first.
        """
        indexes: dict[UUID, set[int]] = {}
        for topic_id, index in partitions:
            indexes.setdefault(topic_id, set()).add(index)
        async with self._reading:
            self._brokers = await self._store.range(keys.BROKERS_PREFIX)
            for topic_id, wanted in indexes.items():
                await self._reread_partitions(topic_id, wanted)

    async def _reread_partitions(self, topic_id: UUID, indexes: set[int]) -> None:
        found: list[KeyValue | None]
        if len(indexes) > _SINGLE_READS_MAX:
            found = [*(await self._store.range(keys.partitions_prefix(topic_id))).items]
        else:
            found = [await self._store.get(keys.partition_key(topic_id, index)) for index in sorted(indexes)]
        for item in found:
            if item is not None:
                _, index = keys.parse_partition_key(item.key)
                indexes.discard(index)
                self.learned(
                    (topic_id, index), keys.decode_partition(item.key, item.value, item.mod_revision)
                )
        if indexes:
            await self._reread_topic(topic_id)

    async def _reread_topic(self, topic_id: UUID) -> None:
        topic = self._metadata.newest.topic_by_id(topic_id)
        if topic is None:
            return
        key = keys.topic_key(topic.name)
        found = await self._store.get(key)
        is_there = found is not None and keys.decode_topic(key, found.value)[1] == topic_id
        self._topic_revisions[topic_id] = found.mod_revision if found is not None and is_there else None


def _registrations(brokers: KeyRange) -> dict[int, BrokerRegistration]:
    read = [
        keys.decode_broker(
            item.key, item.value, revision=item.mod_revision, created_revision=item.create_revision
        )
        for item in brokers.items
    ]
    return {broker.node_id: broker for broker in read}
