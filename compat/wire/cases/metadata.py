"""Metadata, DescribeCluster, DescribeTopicPartitions."""

from __future__ import annotations

from uuid import UUID

from compat.wire.arrange import UNKNOWN_TOPIC_ID, offsets_topic, standing_topic, topic_with
from compat.wire.case import Cases
from compat.wire.scene import Scene
from wire.messages.metadata import (
    DescribeClusterRequest,
    DescribeTopicPartitionsRequest,
    MetadataRequest,
    MetadataResponse,
)
from wire.schema import ZERO_UUID

METADATA = Cases(MetadataRequest)
DESCRIBE_CLUSTER = Cases(DescribeClusterRequest)
DESCRIBE_TOPIC_PARTITIONS = Cases(DescribeTopicPartitionsRequest)

CONTROLLERS, NEITHER = 2, 3
BAD_NAMES = {
    "an empty name": "",
    "a dot": ".",
    "two dots": "..",
    "a name with a blank": "a b",
    "a name with a slash": "a/b",
    "a name of letters that are not ASCII": "äöü",
    "a name that is too long": "n" * 250,
}


def by_name(*names: str, create: bool = False) -> MetadataRequest:
    topics = [MetadataRequest.MetadataRequestTopic(name=name) for name in names]
    return MetadataRequest(topics=topics, allow_auto_topic_creation=create)


def by_id(*topic_ids: UUID, name: str | None = None, create: bool = False) -> MetadataRequest:
    topics = [MetadataRequest.MetadataRequestTopic(topic_id=each, name=name) for each in topic_ids]
    return MetadataRequest(topics=topics, allow_auto_topic_creation=create)


METADATA.add("all topics", lambda at: topic_with(at, 2) and MetadataRequest(topics=None), "1+")
METADATA.add(
    "all topics, asked for with an empty list", lambda at: topic_with(at, 2) and MetadataRequest(), "0"
)
METADATA.add("no topics", lambda at: MetadataRequest(topics=[]), "1+")
METADATA.add("a topic", lambda at: by_name(topic_with(at, 3).name, create=True))
METADATA.add("a topic twice", lambda at: by_name(*[standing_topic(at).name] * 2, create=True))
METADATA.add("the topic of committed offsets", lambda at: by_name(offsets_topic(at), create=True))
METADATA.add("the topic of the cluster's metadata", lambda at: by_name("__cluster_metadata", create=True))
METADATA.add("an unknown topic", lambda at: by_name(at.name("absent")), "4+")
METADATA.add(
    "known and unknown topics",
    lambda at: by_name(at.name("y"), standing_topic(at).name, at.name("x"), topic_with(at, 1).name),
    "4+",
)
for what, bad_name in BAD_NAMES.items():
    METADATA.add(what, lambda at, name=bad_name: by_name(name), "4+")
    METADATA.add(f"{what}, to be created", lambda at, name=bad_name: by_name(name, create=True))


@METADATA.case("an unknown topic, to be created")
def _created_on_demand(at: Scene) -> None:
    request = by_name(at.name("on-demand"), create=True)
    at.ask(request)
    at.ask_until(
        request,
        MetadataResponse,
        lambda answer: bool(answer.topics[0].partitions) and not answer.topics[0].error_code,
    )


METADATA.add("a topic by its id", lambda at: by_id(standing_topic(at).topic_id), "10+")
METADATA.add("an unknown id", lambda at: by_id(UNKNOWN_TOPIC_ID), "10+")
METADATA.add("an unknown id, to be created", lambda at: by_id(UNKNOWN_TOPIC_ID, create=True), "10+")
METADATA.add("known and unknown ids", lambda at: by_id(UNKNOWN_TOPIC_ID, standing_topic(at).topic_id), "12+")
METADATA.add("an id twice", lambda at: by_id(*[standing_topic(at).topic_id] * 2), "12+")
METADATA.add("neither name nor id", lambda at: by_id(ZERO_UUID), "10+")
METADATA.add(
    "a name and an id", lambda at: by_id(standing_topic(at).topic_id, name=standing_topic(at).name), "10+"
)
METADATA.add(
    "a name and an unknown id", lambda at: by_id(UNKNOWN_TOPIC_ID, name=standing_topic(at).name), "10+"
)
METADATA.add(
    "one topic by id and one by name",
    lambda at: MetadataRequest(
        topics=[
            MetadataRequest.MetadataRequestTopic(topic_id=standing_topic(at).topic_id, name=None),
            MetadataRequest.MetadataRequestTopic(name=topic_with(at, 1).name),
        ],
        allow_auto_topic_creation=False,
    ),
    "10+",
)
METADATA.add(
    "with authorized operations",
    lambda at: MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=standing_topic(at).name)],
        include_topic_authorized_operations=True,
    ),
    "8+",
)
METADATA.add(
    "with the cluster's authorized operations",
    lambda at: MetadataRequest(topics=[], include_cluster_authorized_operations=True),
    "8-10",
)
METADATA.add(
    "authorized operations of an unknown topic",
    lambda at: MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=at.name("absent"))],
        include_topic_authorized_operations=True,
        allow_auto_topic_creation=False,
    ),
    "8+",
)

DESCRIBE_CLUSTER.add("brokers", lambda at: DescribeClusterRequest())
DESCRIBE_CLUSTER.add(
    "with authorized operations",
    lambda at: DescribeClusterRequest(include_cluster_authorized_operations=True),
)
DESCRIBE_CLUSTER.add("controllers", lambda at: DescribeClusterRequest(endpoint_type=CONTROLLERS), "1+")
DESCRIBE_CLUSTER.add(
    "an endpoint type there is not", lambda at: DescribeClusterRequest(endpoint_type=NEITHER), "1+"
)
DESCRIBE_CLUSTER.add("endpoint type zero", lambda at: DescribeClusterRequest(endpoint_type=0), "1+")
DESCRIBE_CLUSTER.add(
    "with fenced brokers", lambda at: DescribeClusterRequest(include_fenced_brokers=True), "2+"
)


def described(
    *names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
) -> DescribeTopicPartitionsRequest:
    return DescribeTopicPartitionsRequest(
        topics=[DescribeTopicPartitionsRequest.TopicRequest(name=name) for name in names],
        response_partition_limit=limit,
        cursor=DescribeTopicPartitionsRequest.Cursor(topic_name=cursor[0], partition_index=cursor[1])
        if cursor
        else None,
    )


def three_topics(at: Scene) -> list[str]:
    """Names in order, of topics with three, two and one partitions that all cases share."""

    def make() -> list[str]:
        return [topic_with(at, count, prefix).name for prefix, count in (("a", 3), ("b", 2), ("c", 1))]

    return at.side.once("three topics", make)


def absent_among_three(at: Scene) -> str:
    """Between the second and the third, if there were such a topic."""
    return three_topics(at)[1].replace("b-", "bb-", 1)


DESCRIBE_TOPIC_PARTITIONS.add("a topic", lambda at: described(topic_with(at, 3).name))
DESCRIBE_TOPIC_PARTITIONS.add("all topics", lambda at: topic_with(at, 3) and described())
DESCRIBE_TOPIC_PARTITIONS.add("topics out of order", lambda at: described(*reversed(three_topics(at))))
DESCRIBE_TOPIC_PARTITIONS.add("a topic twice", lambda at: described(*three_topics(at)[:1] * 2))
DESCRIBE_TOPIC_PARTITIONS.add(
    "an unknown topic", lambda at: described(at.name("absent"), three_topics(at)[0])
)
DESCRIBE_TOPIC_PARTITIONS.add("the topic of committed offsets", lambda at: described(offsets_topic(at)))
for what, bad_name in BAD_NAMES.items():
    DESCRIBE_TOPIC_PARTITIONS.add(what, lambda at, name=bad_name: described(name))
for limit in (4, 3, 1, 0, -1, 1_000_000):
    DESCRIBE_TOPIC_PARTITIONS.add(
        f"at most {limit} partitions", lambda at, limit=limit: described(*three_topics(at), limit=limit)
    )
for what, index in (
    ("the start", 0),
    ("the middle", 1),
    ("behind the end", 3),
    ("far behind the end", 99),
    ("below zero", -1),
):
    DESCRIBE_TOPIC_PARTITIONS.add(
        f"a cursor at {what} of a topic",
        lambda at, index=index: described(*(names := three_topics(at)), cursor=(names[0], index)),
    )
DESCRIBE_TOPIC_PARTITIONS.add(
    "a cursor in the last topic", lambda at: described(*(names := three_topics(at)), cursor=(names[2], 0))
)
DESCRIBE_TOPIC_PARTITIONS.add(
    "a cursor in a topic that was not asked for",
    lambda at: described(*(names := three_topics(at))[::2], cursor=(names[1], 0)),
)
DESCRIBE_TOPIC_PARTITIONS.add(
    "a cursor in an unknown topic that is asked for",
    lambda at: described(*three_topics(at), absent_among_three(at), cursor=(absent_among_three(at), 1)),
)
DESCRIBE_TOPIC_PARTITIONS.add(
    "a cursor and a limit",
    lambda at: described(*(names := three_topics(at)), limit=2, cursor=(names[0], 2)),
)
DESCRIBE_TOPIC_PARTITIONS.add(
    "a cursor among all topics", lambda at: described(cursor=(topic_with(at, 3).name, 1))
)
