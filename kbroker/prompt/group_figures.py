"""Consumer groups with what a person wants to know of them: members, committed offsets, and how far they are behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.consumer_group_admin import ConsumerGroups, Description, Member
from kbroker.tools.partition_offsets import LATEST, list_offsets
from wire.errors import ApiError, ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """One partition. ``committed`` is None before a first commit, ``end`` where nobody could tell it."""

    partition: Partition
    committed: int | None
    end: int | None
    member: Member | None

    @property
    def lag(self) -> int | None:
        if self.committed is None or self.end is None:
            return None
        return max(0, self.end - self.committed)

    def as_json(self) -> dict[str, Any]:
        return {
            "topic": self.partition[0],
            "partition": self.partition[1],
            "committed_offset": self.committed,
            "latest_offset": self.end,
            "lag": self.lag,
            "member_id": self.member.member_id if self.member else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFigures:
    """One group; ``partitions`` are those that it has committed offsets of or has assigned, in order."""

    description: Description
    partitions: list[PartitionLag]

    @property
    def lag(self) -> int | None:
        """Of all partitions whose lag is known; None if there is none."""
        known = [partition.lag for partition in self.partitions if partition.lag is not None]
        return sum(known) if known else None

    def lag_of(self, member: Member) -> int | None:
        known = [one.lag for one in self.partitions if one.member is member and one.lag is not None]
        return sum(known) if known else None

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.description.group_id,
            "state": self.description.state,
            "members": len(self.description.members),
            "topics": sorted({one.partition[0] for one in self.partitions}),
            "lag": self.lag,
        }


async def group_figures(
    cluster: Cluster, group_ids: Collection[str], *, step: Callable[[int], None] = lambda done: None
) -> list[GroupFigures]:
    """The figures of these groups. ``step`` hears how many were asked for so far. GROUP_ID_NOT_FOUND, ApiError."""
    groups = ConsumerGroups(cluster)
    found: list[tuple[Description, Mapping[Partition, int]]] = []
    for group_id in group_ids:
        step(len(found))
        description = await groups.describe(group_id)
        committed = await groups.committed(group_id)
        found.append((description, {one: offset.offset for one, offset in committed.items()}))
    wanted = {partition for _, committed in found for partition in committed}
    wanted |= {
        partition
        for description, _ in found
        for member in description.members
        for partition in member.assignment
    }
    ends = await _ends(cluster, wanted)
    return [_figures(description, committed, ends) for description, committed in found]


def _figures(
    description: Description, committed: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> GroupFigures:
    owners = {partition: member for member in description.members for partition in member.assignment}
    return GroupFigures(
        description=description,
        partitions=[
            PartitionLag(
                partition=partition,
                committed=committed.get(partition),
                end=ends.get(partition),
                member=owners.get(partition),
            )
            for partition in sorted(committed.keys() | owners.keys())
        ],
    )


async def _ends(cluster: Cluster, partitions: Collection[Partition]) -> dict[Partition, int]:
    """Of those partitions that there are and that have leaders."""
    if not partitions:
        return {}
    led = {
        (topic.name or "", partition.partition_index)
        for topic in (await cluster.metadata(sorted({topic for topic, _ in partitions}))).topics
        for partition in topic.partitions
        if partition.leader_id >= 0
    }
    try:
        return await list_offsets(cluster, sorted(led & set(partitions)), LATEST)
    except ApiError as error:
        if error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:  # deleted just now
            return {}
        raise
