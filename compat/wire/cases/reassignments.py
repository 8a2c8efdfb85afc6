"""ElectLeaders, AlterPartitionReassignments, ListPartitionReassignments, on a cluster of one."""

from __future__ import annotations

from collections.abc import Sequence

from compat.wire.arrange import standing_topic
from compat.wire.case import Cases
from wire.messages.reassignments import (
    AlterPartitionReassignmentsRequest,
    ElectLeadersRequest,
    ListPartitionReassignmentsRequest,
)

ELECT_LEADERS = Cases(ElectLeadersRequest)
ALTER_PARTITION_REASSIGNMENTS = Cases(AlterPartitionReassignmentsRequest)
LIST_PARTITION_REASSIGNMENTS = Cases(ListPartitionReassignmentsRequest)

PREFERRED, UNCLEAN = 0, 1
TIMEOUT_MS = 30_000
Asked = tuple[str, tuple[int, ...]]


def elect(
    *topics: Asked, election_type: int = PREFERRED, timeout_ms: int = TIMEOUT_MS
) -> ElectLeadersRequest:
    return ElectLeadersRequest(
        election_type=election_type,
        topic_partitions=[
            ElectLeadersRequest.TopicPartitions(topic=name, partitions=list(partitions))
            for name, partitions in topics
        ],
        timeout_ms=timeout_ms,
    )


ELECT_LEADERS.add("who leads already", lambda at: elect((standing_topic(at).name, (0, 1))))
ELECT_LEADERS.add(
    "an unclean one", lambda at: elect((standing_topic(at).name, (0,)), election_type=UNCLEAN), "1+"
)
for election_type in (2, -1):
    ELECT_LEADERS.add(
        f"an election of type {election_type}",
        lambda at, kind=election_type: elect((standing_topic(at).name, (0,)), election_type=kind),
        "1+",
    )
ELECT_LEADERS.add("an unknown topic", lambda at: elect((at.name("absent"), (0,))))
ELECT_LEADERS.add("an unknown partition", lambda at: elect((standing_topic(at).name, (9, 0, -1))))
ELECT_LEADERS.add("an invalid name", lambda at: elect(("a b", (0,))))
ELECT_LEADERS.add("no partitions", lambda at: elect((standing_topic(at).name, ())))
ELECT_LEADERS.add("no topics", lambda at: elect())
ELECT_LEADERS.add("no time to do it", lambda at: elect((standing_topic(at).name, (0,)), timeout_ms=0))


def reassign(
    *topics: tuple[str, Sequence[tuple[int, Sequence[int] | None]]],
    timeout_ms: int = TIMEOUT_MS,
    may_change_factor: bool = True,
) -> AlterPartitionReassignmentsRequest:
    topic = AlterPartitionReassignmentsRequest.ReassignableTopic
    return AlterPartitionReassignmentsRequest(
        timeout_ms=timeout_ms,
        allow_replication_factor_change=may_change_factor,
        topics=[
            topic(
                name=name,
                partitions=[
                    topic.ReassignablePartition(
                        partition_index=index, replicas=None if replicas is None else list(replicas)
                    )
                    for index, replicas in partitions
                ],
            )
            for name, partitions in topics
        ],
    )


REPLICAS: dict[str, Sequence[int] | None] = {
    "where it is": [1],
    "to an unknown broker": [99],
    "to a broker below zero": [-1],
    "to a broker twice": [1, 1],
    "to more brokers than there are": [1, 2],
    "to nobody": [],
    "cancelled, though there is none": None,
}
for what, replicas in REPLICAS.items():
    ALTER_PARTITION_REASSIGNMENTS.add(
        what, lambda at, replicas=replicas: reassign((standing_topic(at).name, [(0, replicas)]))
    )
ALTER_PARTITION_REASSIGNMENTS.add(
    "with the same number of replicas",
    lambda at: reassign((standing_topic(at).name, [(0, [1])]), may_change_factor=False),
    "1+",
)
ALTER_PARTITION_REASSIGNMENTS.add(
    "with another number of replicas",
    lambda at: reassign((standing_topic(at).name, [(0, [1, 2])]), may_change_factor=False),
    "1+",
)
ALTER_PARTITION_REASSIGNMENTS.add("an unknown topic", lambda at: reassign((at.name("absent"), [(0, [1])])))
ALTER_PARTITION_REASSIGNMENTS.add(
    "unknown partitions", lambda at: reassign((standing_topic(at).name, [(9, [1]), (0, [1]), (-1, None)]))
)
ALTER_PARTITION_REASSIGNMENTS.add(
    "a partition twice", lambda at: reassign((standing_topic(at).name, [(0, [1]), (0, [1])]))
)
ALTER_PARTITION_REASSIGNMENTS.add("no partitions", lambda at: reassign((standing_topic(at).name, [])))
ALTER_PARTITION_REASSIGNMENTS.add("no topics", lambda at: reassign())
ALTER_PARTITION_REASSIGNMENTS.add(
    "no time to do it", lambda at: reassign((standing_topic(at).name, [(0, [1])]), timeout_ms=0)
)


def list_reassignments(*topics: Asked, timeout_ms: int = TIMEOUT_MS) -> ListPartitionReassignmentsRequest:
    return ListPartitionReassignmentsRequest(
        timeout_ms=timeout_ms,
        topics=[
            ListPartitionReassignmentsRequest.ListPartitionReassignmentsTopics(
                name=name, partition_indexes=list(partitions)
            )
            for name, partitions in topics
        ],
    )


LIST_PARTITION_REASSIGNMENTS.add("all", lambda at: ListPartitionReassignmentsRequest(topics=None))
LIST_PARTITION_REASSIGNMENTS.add(
    "of a topic", lambda at: list_reassignments((standing_topic(at).name, (0, 1)))
)
LIST_PARTITION_REASSIGNMENTS.add(
    "of unknown ones",
    lambda at: list_reassignments((at.name("absent"), (0,)), (standing_topic(at).name, (9, -1))),
)
LIST_PARTITION_REASSIGNMENTS.add("of no topics", lambda at: list_reassignments())
LIST_PARTITION_REASSIGNMENTS.add("without time", lambda at: list_reassignments(timeout_ms=0))
