"""DescribeQuorum."""

from __future__ import annotations

from compat.wire.arrange import standing_topic
from compat.wire.case import Cases
from wire.messages.quorum import DescribeQuorumRequest

DESCRIBE_QUORUM = Cases(DescribeQuorumRequest)


def describe(*topics: tuple[str, tuple[int, ...]]) -> DescribeQuorumRequest:
    topic = DescribeQuorumRequest.TopicData
    return DescribeQuorumRequest(
        topics=[
            topic(
                topic_name=name,
                partitions=[topic.PartitionData(partition_index=index) for index in partitions],
            )
            for name, partitions in topics
        ]
    )


DESCRIBE_QUORUM.add("the quorum", lambda at: describe(("__cluster_metadata", (0,))))
DESCRIBE_QUORUM.add("another partition of it", lambda at: describe(("__cluster_metadata", (1,))))
DESCRIBE_QUORUM.add("two partitions", lambda at: describe(("__cluster_metadata", (0, 1))))
DESCRIBE_QUORUM.add("a topic that has none", lambda at: describe((standing_topic(at).name, (0,))))
DESCRIBE_QUORUM.add(
    "two topics", lambda at: describe(("__cluster_metadata", (0,)), (standing_topic(at).name, (0,)))
)
DESCRIBE_QUORUM.add("no partitions", lambda at: describe(("__cluster_metadata", ())))
DESCRIBE_QUORUM.add("no topics", lambda at: describe())
