"""Which partitions are being moved to other brokers (ListPartitionReassignments)."""

from __future__ import annotations

from collections.abc import Collection

from kbroker.tools.cluster import Cluster, Partition, by_topic
from wire.errors import ApiError, ErrorCode
from wire.messages.reassignments import ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse

Reassignment = ListPartitionReassignmentsResponse.OngoingTopicReassignment.OngoingPartitionReassignment


async def list_reassignments(
    cluster: Cluster, partitions: Collection[Partition] | None = None
) -> dict[Partition, Reassignment]:
    """The reassignments under way, of these partitions or (None) of all. ApiError."""
    topics = None
    if partitions is not None:
        topic_class = ListPartitionReassignmentsRequest.ListPartitionReassignmentsTopics
        topics = [
            topic_class(name=name, partition_indexes=indexes)
            for name, indexes in by_topic(partitions).items()
        ]
    request = ListPartitionReassignmentsRequest(
        topics=topics, timeout_ms=int(cluster.request_timeout_s * 1000)
    )
    response = await cluster.controller(
        request, ListPartitionReassignmentsResponse, errors=lambda answer: [answer.error_code]
    )
    if response.error_code:
        raise ApiError(ErrorCode(response.error_code), response.error_message)
    return {
        (topic.name, partition.partition_index): partition
        for topic in response.topics
        for partition in topic.partitions
    }
