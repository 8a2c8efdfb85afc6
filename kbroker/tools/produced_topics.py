"""The topics that a producer writes to: their partitions and leaders, looked up anew when they may have changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import trio

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.partitioning import StickyPartitioner, partition_of_key
from kbroker.tools.producer_settings import ProducerSettings
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import MetadataResponse

NO_LEADER: Final = -1


@dataclass(slots=True)
class ProducedTopic:
    """One topic as it was at ``fetched`` (the clock's seconds). ``available``: partitions that have a leader."""

    topic_id: UUID
    partition_count: int
    available: list[int]
    fetched: float


class ProducedTopics:
    """What is known of them."""

    def __init__(self, cluster: Cluster, settings: ProducerSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._topics: dict[str, ProducedTopic] = {}
        self._leaders: dict[Partition, int] = {}
        self._sticky: dict[str, StickyPartitioner] = {}

    def leader(self, partition: Partition) -> int:
        """The broker that leads it, as far as is known; NO_LEADER."""
        return self._leaders.get(partition, NO_LEADER)

    def topic_id(self, topic: str) -> UUID:
        """Of a topic that has been found."""
        return self._topics[topic].topic_id

    async def find(self, topic: str, partition: int | None = None) -> ProducedTopic:
        """A topic that has this partition, which is waited for. ApiError: REQUEST_TIMED_OUT, or it may not be."""
        found = self._topics.get(topic)
        if found is not None and _has(found, partition) and not self._is_stale(found):
            return found
        patience_ms = self._settings.max_block_ms
        with trio.move_on_after(patience_ms / 1000):
            while True:
                response = await self._cluster.metadata([topic], allow_auto_topic_creation=True)
                found = self.take(response).get(topic)
                if found is not None and _has(found, partition):
                    return found
                await trio.sleep(self._settings.retry_backoff_ms / 1000)
        what = f"Topic {topic}"
        if found is not None and not _has(found, partition):
            what = f"Partition {partition} of topic {topic} with partition count {found.partition_count} is"
        raise ApiError(ErrorCode.REQUEST_TIMED_OUT, f"{what} not present in metadata after {patience_ms} ms.")

    def choose(self, topic: str, found: ProducedTopic, key: bytes | None, size_bytes: int) -> int:
        """The partition for a record of this key and size."""
        if key is not None and not self._settings.ignore_keys:
            return partition_of_key(key, found.partition_count)
        if found.partition_count == 1:
            return 0
        sticky = self._sticky.get(topic)
        if sticky is None:
            sticky = self._sticky[topic] = StickyPartitioner(self._settings.batch_size_bytes)
        return sticky.partition(found.available or range(found.partition_count), size_bytes)

    def take(self, response: MetadataResponse) -> dict[str, ProducedTopic]:
        """Learn from what a broker said; the topics that it knows. ApiError if one must not be written to."""
        taken: dict[str, ProducedTopic] = {}
        for topic in response.topics:
            code = ErrorCode(topic.error_code)
            if code and not code.retriable:
                is_name = code is ErrorCode.INVALID_TOPIC_EXCEPTION
                raise ApiError(code, f"Invalid topics: [{topic.name}]" if is_name else None)
            if code or not topic.partitions:
                continue
            name = topic.name or ""
            for partition in topic.partitions:
                self._leaders[name, partition.partition_index] = partition.leader_id
            available = [part.partition_index for part in topic.partitions if part.leader_id >= 0]
            taken[name] = ProducedTopic(topic.topic_id, len(topic.partitions), available, trio.current_time())
        self._topics |= taken
        return taken

    def _is_stale(self, found: ProducedTopic) -> bool:
        return trio.current_time() - found.fetched > self._settings.metadata_max_age_ms / 1000


def _has(found: ProducedTopic, partition: int | None) -> bool:
    return partition is None or partition < found.partition_count
