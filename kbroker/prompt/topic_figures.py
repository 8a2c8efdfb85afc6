"""What topics hold: leaders, replicas, offsets and bytes of their partitions, asked for together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kbroker.prompt.positions import Extent, extents
from kbroker.prompt.topic_names import TopicMetadata, is_internal
from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.log_directories import describe_log_dirs
from kbroker.world import ConnectionLost
from storage.uuid_text import uuid_to_text
from wire.errors import ApiError, ProtocolError

Sizes = Mapping[tuple[Partition, int], int]
"""Bytes of a partition's replica on a broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFigures:
    """One partition. ``leader`` is None without one; extent and bytes are None where nobody could tell them."""

    index: int
    leader: int | None
    replicas: list[int]
    in_sync: list[int]
    extent: Extent | None
    size_bytes: int | None
    disk_bytes: int | None

    @property
    def messages(self) -> int | None:
        """Offsets in use: what compaction took away and the markers of transactions count, too."""
        return None if self.extent is None else self.extent.latest - self.extent.earliest

    @property
    def is_under_replicated(self) -> bool:
        return len(self.in_sync) < len(self.replicas)

    def as_json(self) -> dict[str, Any]:
        return {
            "partition": self.index,
            "leader": self.leader,
            "replicas": self.replicas,
            "in_sync_replicas": self.in_sync,
            "earliest_offset": self.extent.earliest if self.extent else None,
            "latest_offset": self.extent.latest if self.extent else None,
            "messages": self.messages,
            "size_bytes": self.size_bytes,
            "disk_bytes": self.disk_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFigures:
    """One topic. ``size_bytes`` is that of one copy, ``disk_bytes`` of all replicas."""

    name: str
    topic_id: UUID
    internal: bool
    partitions: list[PartitionFigures]

    @property
    def replication_factor(self) -> int:
        return max((len(partition.replicas) for partition in self.partitions), default=0)

    @property
    def under_replicated(self) -> int:
        return sum(partition.is_under_replicated for partition in self.partitions)

    @property
    def offline(self) -> int:
        return sum(partition.leader is None for partition in self.partitions)

    @property
    def messages(self) -> int | None:
        return _total(partition.messages for partition in self.partitions)

    @property
    def size_bytes(self) -> int | None:
        return _total(partition.size_bytes for partition in self.partitions)

    @property
    def disk_bytes(self) -> int | None:
        return _total(partition.disk_bytes for partition in self.partitions)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "id": uuid_to_text(self.topic_id) if self.topic_id.int else None,
            "internal": self.internal,
            "partition_count": len(self.partitions),
            "replication_factor": self.replication_factor,
            "under_replicated_partitions": self.under_replicated,
            "offline_partitions": self.offline,
            "messages": self.messages,
            "size_bytes": self.size_bytes,
            "disk_bytes": self.disk_bytes,
        }


async def topic_figures(cluster: Cluster, topics: Mapping[str, TopicMetadata]) -> list[TopicFigures]:
    """The figures of these topics. ApiError, if not even their offsets can be asked for."""
    led = [
        (name, partition.partition_index)
        for name, topic in topics.items()
        for partition in topic.partitions
        if partition.leader_id >= 0
    ]
    known = await _extents(cluster, led)
    sizes = await _sizes(cluster) if topics else {}
    return [_figures(name, topic, known, sizes) for name, topic in topics.items()]


def _figures(
    name: str, topic: TopicMetadata, known: Mapping[Partition, Extent], sizes: Sizes
) -> TopicFigures:
    return TopicFigures(
        name=name,
        topic_id=topic.topic_id,
        internal=is_internal(topic),
        partitions=[
            PartitionFigures(
                index=one.partition_index,
                leader=one.leader_id if one.leader_id >= 0 else None,
                replicas=one.replica_nodes,
                in_sync=one.isr_nodes,
                extent=known.get((name, one.partition_index)),
                size_bytes=sizes.get(((name, one.partition_index), one.leader_id)),
                disk_bytes=_sum_of_known(
                    sizes.get(((name, one.partition_index), replica)) for replica in one.replica_nodes
                ),
            )
            for one in sorted(topic.partitions, key=lambda partition: partition.partition_index)
        ],
    )


async def _extents(cluster: Cluster, partitions: Collection[Partition]) -> dict[Partition, Extent]:
    """Of all at once; if that fails topic by topic, so that one topic that goes away costs no other its figures."""
    try:
        return await extents(cluster, partitions)
    except ApiError:
        found: dict[Partition, Extent] = {}
        for topic in dict.fromkeys(topic for topic, _ in partitions):
            try:
                found |= await extents(cluster, [one for one in partitions if one[0] == topic])
            except ApiError:
                continue
        if not found:
            raise
        return found


async def _sizes(cluster: Cluster) -> Sizes:
    """As far as the brokers tell: some clients may not ask."""
    sizes: dict[tuple[Partition, int], int] = {}
    for node_id in sorted(cluster.brokers):
        try:
            directories = await describe_log_dirs(cluster, node_id)
        except (ApiError, ConnectionLost, ProtocolError):
            continue
        for directory in directories:
            for topic in directory.topics:
                for partition in topic.partitions:
                    key = ((topic.name, partition.partition_index), node_id)
                    if not partition.is_future_key:  # a copy on its way to another directory
                        sizes[key] = partition.partition_size
    return sizes


def _total(figures: Any) -> int | None:
    """None if one of them is not known."""
    total = 0
    for figure in figures:
        if figure is None:
            return None
        total += figure
    return total


def _sum_of_known(figures: Any) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None
