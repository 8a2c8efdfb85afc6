"""Committed offsets of groups: asking for them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.sim.cluster.clients.brokers import GROUP, Brokers, Partition, Unanswered
from wire.errors import ErrorCode
from wire.messages.group_offsets import OffsetFetchRequest, OffsetFetchResponse

_Group = OffsetFetchRequest.OffsetFetchRequestGroup
_VERSION_MAX = 9
"""The last one with topic names."""
_ATTEMPTS_MAX = 40


async def committed_offsets(
    brokers: Brokers,
    group: str,
    partitions: Sequence[Partition] | None = None,
    *,
    attempts: int = _ATTEMPTS_MAX,
) -> dict[Partition, int]:
    """The group's stable offsets of these partitions, or of all; without those that it has none of. Unanswered."""
    topics: dict[str, list[int]] = {}
    for topic, index in partitions or ():
        topics.setdefault(topic, []).append(index)
    asked = _Group(
        group_id=group,
        topics=None
        if partitions is None
        else [
            _Group.OffsetFetchRequestTopics(name=topic, partition_indexes=indexes)
            for topic, indexes in topics.items()
        ],
    )
    request = OffsetFetchRequest(groups=[asked], require_stable=True)
    for _ in range(attempts):
        try:
            node_id = await brokers.coordinator(group, GROUP)
            response = await brokers.request(node_id, request, OffsetFetchResponse, version_max=_VERSION_MAX)
        except Unanswered:
            await brokers.pause()
            continue
        answer = response.groups[0]
        rows = [(topic.name, row) for topic in answer.topics for row in topic.partitions]
        codes = [brokers.answered(OffsetFetchRequest, answer.error_code)]
        codes += [brokers.answered(OffsetFetchRequest, row.error_code) for _, row in rows if row.error_code]
        if all(code is ErrorCode.NONE for code in codes):
            return {
                (name, row.partition_index): row.committed_offset
                for name, row in rows
                if row.committed_offset >= 0
            }
        await brokers.pause(0.3)
    raise Unanswered(f"the offsets of {group} cannot be had")
