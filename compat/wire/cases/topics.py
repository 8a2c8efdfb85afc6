"""CreateTopics, DeleteTopics, CreatePartitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from compat.wire.arrange import (
    UNKNOWN_TOPIC_ID,
    standing_topic,
    topic_with,
    wait_until_gone,
)
from compat.wire.case import Cases
from compat.wire.cases.metadata import BAD_NAMES
from compat.wire.scene import Scene
from wire.messages.topics import CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest
from wire.schema import ZERO_UUID

CREATE_TOPICS = Cases(CreateTopicsRequest)
DELETE_TOPICS = Cases(DeleteTopicsRequest)
CREATE_PARTITIONS = Cases(CreatePartitionsRequest)

NewTopic = CreateTopicsRequest.CreatableTopic
TIMEOUT_MS = 30_000


def topic(
    name: str,
    partitions: int = 1,
    replication_factor: int = 1,
    *,
    assignments: Mapping[int, Sequence[int]] | None = None,
    configs: Sequence[tuple[str, str | None]] = (),
) -> NewTopic:
    return NewTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replication_factor,
        assignments=[
            NewTopic.CreatableReplicaAssignment(partition_index=index, broker_ids=list(brokers))
            for index, brokers in (assignments or {}).items()
        ],
        configs=[NewTopic.CreatableTopicConfig(name=key, value=value) for key, value in configs],
    )


def create(
    *topics: NewTopic, validate_only: bool = False, timeout_ms: int = TIMEOUT_MS
) -> CreateTopicsRequest:
    return CreateTopicsRequest(topics=list(topics), validate_only=validate_only, timeout_ms=timeout_ms)


def assigned(
    name: str, assignments: Mapping[int, Sequence[int]], partitions: int = -1, factor: int = -1
) -> NewTopic:
    return topic(name, partitions, factor, assignments=assignments)


CREATE_TOPICS.add("three partitions", lambda at: create(topic(at.name("t"), 3)))
CREATE_TOPICS.add("the defaults of the broker", lambda at: create(topic(at.name("t"), -1, -1)))
CREATE_TOPICS.add(
    "with configs",
    lambda at: create(topic(at.name("t"), configs=[("retention.ms", "9"), ("cleanup.policy", "compact")])),
)
CREATE_TOPICS.add("several topics", lambda at: create(*(topic(at.name(prefix), 2) for prefix in "cab")))
CREATE_TOPICS.add("no topics", lambda at: create())
CREATE_TOPICS.add("one that exists", lambda at: create(topic(standing_topic(at).name, 3)))
CREATE_TOPICS.add(
    "one that exists, validated only",
    lambda at: create(topic(standing_topic(at).name, 3), validate_only=True),
)
CREATE_TOPICS.add("validated only", lambda at: create(topic(at.name("t"), 3), validate_only=True))
CREATE_TOPICS.add("no time to do it", lambda at: create(topic(at.name("t"), 1), timeout_ms=0))
CREATE_TOPICS.add("less than no time", lambda at: create(topic(at.name("t"), 1), timeout_ms=-1))
CREATE_TOPICS.add(
    "one twice", lambda at: create(topic(at.name("t")), topic(at.name("u")), topic(at.name("t")))
)
CREATE_TOPICS.add("names that collide", lambda at: create(topic(at.name("a.b")), topic(at.name("a_b"))))
CREATE_TOPICS.add(
    "a name that collides with a topic", lambda at: topic_with(at, 1, "a.b") and create(topic(at.name("a_b")))
)
for what, bad_name in BAD_NAMES.items():
    CREATE_TOPICS.add(what, lambda at, name=bad_name: create(topic(name)))
CREATE_TOPICS.add("the longest name", lambda at: create(topic(at.name("n" * 237)[:249])))
CREATE_TOPICS.add(
    "the topic of committed offsets", lambda at: create(topic("__consumer_offsets"), validate_only=True)
)
CREATE_TOPICS.add("the topic of the cluster's metadata", lambda at: create(topic("__cluster_metadata")))
for partitions in (0, -2, 1_000_000):
    CREATE_TOPICS.add(
        f"{partitions} partitions",
        lambda at, count=partitions: create(topic(at.name("t"), count), validate_only=True),
    )
for factor in (0, -2, 2, 100):
    CREATE_TOPICS.add(
        f"a replication factor of {factor}", lambda at, factor=factor: create(topic(at.name("t"), 1, factor))
    )
CREATE_TOPICS.add(
    "nothing right about it",
    lambda at: create(topic("a b", 0, 0, configs=[("no.such", "x")]), topic(at.name("t"))),
)

CREATE_TOPICS.add("an assignment", lambda at: create(assigned(at.name("t"), {0: [1], 1: [1]})))
CREATE_TOPICS.add(
    "an assignment in another order", lambda at: create(assigned(at.name("t"), {1: [1], 0: [1]}))
)
CREATE_TOPICS.add(
    "an assignment and a count", lambda at: create(assigned(at.name("t"), {0: [1]}, partitions=1))
)
CREATE_TOPICS.add(
    "an assignment and another count", lambda at: create(assigned(at.name("t"), {0: [1]}, partitions=2))
)
CREATE_TOPICS.add("an assignment and a factor", lambda at: create(assigned(at.name("t"), {0: [1]}, factor=1)))
CREATE_TOPICS.add("an assignment with a gap", lambda at: create(assigned(at.name("t"), {0: [1], 2: [1]})))
CREATE_TOPICS.add(
    "an assignment that does not begin at zero", lambda at: create(assigned(at.name("t"), {1: [1]}))
)
CREATE_TOPICS.add("an assignment below zero", lambda at: create(assigned(at.name("t"), {-1: [1], 0: [1]})))
CREATE_TOPICS.add("an assignment of an unknown broker", lambda at: create(assigned(at.name("t"), {0: [99]})))
CREATE_TOPICS.add(
    "an assignment of a broker below zero", lambda at: create(assigned(at.name("t"), {0: [-1]}))
)
CREATE_TOPICS.add("an assignment of a broker twice", lambda at: create(assigned(at.name("t"), {0: [1, 1]})))
CREATE_TOPICS.add("an assignment of no broker", lambda at: create(assigned(at.name("t"), {0: []})))
CREATE_TOPICS.add(
    "assignments of different length", lambda at: create(assigned(at.name("t"), {0: [1], 1: [1, 2]}))
)
CREATE_TOPICS.add(
    "an assignment for a partition twice",
    lambda at: create(
        NewTopic(
            name=at.name("t"),
            num_partitions=-1,
            replication_factor=-1,
            assignments=[NewTopic.CreatableReplicaAssignment(partition_index=0, broker_ids=[1])] * 2,
        )
    ),
)

CONFIGS: Mapping[str, Sequence[tuple[str, str | None]]] = {
    "some configs": [("retention.ms", "3600000"), ("cleanup.policy", "compact"), ("compression.type", "lz4")],
    "a config with blanks around it": [("retention.ms", " 3600000 ")],
    "both cleanup policies": [("cleanup.policy", "compact,delete")],
    "cleanup policies with blanks": [("cleanup.policy", "compact, delete")],
    "an empty cleanup policy": [("cleanup.policy", "")],
    "an unknown cleanup policy": [("cleanup.policy", "shred")],
    "a config without a value": [("retention.ms", None)],
    "an unknown config": [("no.such.config", "1")],
    "an unknown config without a value": [("no.such.config", None)],
    "a config with an empty name": [("", "1")],
    "a config of brokers": [("log.retention.ms", "1000")],
    "a number that is none": [("retention.ms", "soon")],
    "an empty number": [("retention.ms", "")],
    "a number with a point": [("segment.bytes", "1e6")],
    "a number below the least": [("segment.bytes", "1")],
    "a number above the greatest": [("segment.bytes", "2147483648")],
    "a number that no machine word holds": [("retention.ms", "99999999999999999999")],
    "a ratio": [("min.cleanable.dirty.ratio", "0.25")],
    "a ratio above one": [("min.cleanable.dirty.ratio", "1.5")],
    "a ratio that is no number": [("min.cleanable.dirty.ratio", "NaN")],
    "a boolean in capitals": [("preallocate", "TRUE")],
    "a boolean that is none": [("unclean.leader.election.enable", "perhaps")],
    "an unknown compression": [("compression.type", "brotli")],
    "compression in capitals": [("compression.type", "GZIP")],
    "a compression level": [("compression.type", "gzip"), ("compression.gzip.level", "9")],
    "a compression level too high": [("compression.gzip.level", "10")],
    "a compression level of zstd too low": [("compression.zstd.level", "-131073")],
    "an unknown timestamp type": [("message.timestamp.type", "Whenever")],
    "a timestamp type in capitals": [("message.timestamp.type", "LOGAPPENDTIME")],
    "the append time": [("message.timestamp.type", "LogAppendTime")],
    "local retention above retention": [("retention.ms", "1000"), ("local.retention.ms", "2000")],
    "local retention without remote storage": [("local.retention.ms", "1000")],
    "remote storage": [("remote.storage.enable", "true")],
    "remote copies switched off": [("remote.log.copy.disable", "true")],
    "the lag of compaction upside down": [
        ("min.compaction.lag.ms", "2000"),
        ("max.compaction.lag.ms", "1000"),
    ],
    "a max compaction lag of zero": [("max.compaction.lag.ms", "0")],
    "more in sync than there are": [("min.insync.replicas", "3")],
    "nobody in sync": [("min.insync.replicas", "0")],
    "throttled replicas": [("leader.replication.throttled.replicas", "0:1,1:1")],
    "all replicas throttled": [("follower.replication.throttled.replicas", "*")],
    "throttled replicas that are none": [("leader.replication.throttled.replicas", "zero:one")],
    "a config twice": [("retention.ms", "1000"), ("retention.ms", "2000")],
    "a config of old": [("message.format.version", "2.8")],
    "old timestamp differences": [("message.timestamp.difference.max.ms", "1000")],
    "the newer timestamp differences": [
        ("message.timestamp.before.max.ms", "1000"),
        ("message.timestamp.after.max.ms", "2000"),
    ],
    "timestamp differences below zero": [("message.timestamp.before.max.ms", "-1")],
    "no limit of time": [("retention.ms", "-1"), ("retention.bytes", "-1")],
    "less than no limit of time": [("retention.ms", "-2")],
    "jitter above the roll": [("segment.ms", "1000"), ("segment.jitter.ms", "2000")],
    "a message as large as can be": [("max.message.bytes", "2147483647")],
    "a message below zero": [("max.message.bytes", "-1")],
}
for what, values in CONFIGS.items():
    CREATE_TOPICS.add(
        what, lambda at, values=values: create(topic(at.name("t"), configs=values), validate_only=True)
    )


def delete_by_name(*names: str, timeout_ms: int = TIMEOUT_MS) -> DeleteTopicsRequest:
    """For versions before ids."""
    return DeleteTopicsRequest(topic_names=list(names), timeout_ms=timeout_ms)


def delete(*topics: tuple[str | None, UUID], timeout_ms: int = TIMEOUT_MS) -> DeleteTopicsRequest:
    states = [DeleteTopicsRequest.DeleteTopicState(name=name, topic_id=topic_id) for name, topic_id in topics]
    return DeleteTopicsRequest(topics=states, timeout_ms=timeout_ms)


def delete_named(at: Scene, *names: str, timeout_ms: int = TIMEOUT_MS) -> DeleteTopicsRequest:
    """As the version has it."""
    if at.version < 6:
        return delete_by_name(*names, timeout_ms=timeout_ms)
    return delete(*((name, ZERO_UUID) for name in names), timeout_ms=timeout_ms)


@DELETE_TOPICS.case("a topic, and once again")
def _delete_twice(at: Scene) -> None:
    name = topic_with(at, 2).name
    at.ask(delete_named(at, name))
    wait_until_gone(at, name)
    at.ask(delete_named(at, name))


DELETE_TOPICS.add(
    "several", lambda at: delete_named(at, *(topic_with(at, 1, prefix).name for prefix in "bca"))
)
DELETE_TOPICS.add("none", lambda at: delete_named(at))
DELETE_TOPICS.add("an unknown topic", lambda at: delete_named(at, at.name("absent")))
DELETE_TOPICS.add("known and unknown", lambda at: delete_named(at, at.name("absent"), topic_with(at, 1).name))
DELETE_TOPICS.add("one twice", lambda at: delete_named(at, *[topic_with(at, 1).name] * 2))
DELETE_TOPICS.add("no time to do it", lambda at: delete_named(at, topic_with(at, 1).name, timeout_ms=0))
DELETE_TOPICS.add("less than no time", lambda at: delete_named(at, topic_with(at, 1).name, timeout_ms=-1))
for what, bad_name in BAD_NAMES.items():
    DELETE_TOPICS.add(what, lambda at, name=bad_name: delete_named(at, name))
DELETE_TOPICS.add("by id", lambda at: delete((None, topic_with(at, 1).topic_id)), "6+")
DELETE_TOPICS.add("by an unknown id", lambda at: delete((None, UNKNOWN_TOPIC_ID)), "6+")
DELETE_TOPICS.add("by the zero id", lambda at: delete((None, ZERO_UUID)), "6+")
DELETE_TOPICS.add("by an id twice", lambda at: delete(*[(None, topic_with(at, 1).topic_id)] * 2), "6+")
DELETE_TOPICS.add(
    "by name and id", lambda at: delete(((found := topic_with(at, 1)).name, found.topic_id)), "6+"
)
DELETE_TOPICS.add(
    "by name, and by id",
    lambda at: delete(((found := topic_with(at, 1)).name, ZERO_UUID), (None, found.topic_id)),
    "6+",
)
DELETE_TOPICS.add(
    "by name and unknown id", lambda at: delete((topic_with(at, 1).name, UNKNOWN_TOPIC_ID)), "6+"
)

Growth = CreatePartitionsRequest.CreatePartitionsTopic


def growth(name: str, count: int, assignments: Sequence[Sequence[int]] | None = None) -> Growth:
    return Growth(
        name=name,
        count=count,
        assignments=None
        if assignments is None
        else [Growth.CreatePartitionsAssignment(broker_ids=list(brokers)) for brokers in assignments],
    )


def grow(
    *topics: Growth, validate_only: bool = False, timeout_ms: int = TIMEOUT_MS
) -> CreatePartitionsRequest:
    return CreatePartitionsRequest(topics=list(topics), validate_only=validate_only, timeout_ms=timeout_ms)


CREATE_PARTITIONS.add("two more", lambda at: grow(growth(topic_with(at, 1).name, 3)))
CREATE_PARTITIONS.add(
    "validated only", lambda at: grow(growth(standing_topic(at).name, 99), validate_only=True)
)
CREATE_PARTITIONS.add("no topics", lambda at: grow())
for count, what in (
    (2, "as many as there are"),
    (1, "fewer"),
    (0, "none"),
    (-1, "fewer than none"),
    (1_000_000, "too many"),
):
    CREATE_PARTITIONS.add(
        what, lambda at, count=count: grow(growth(topic_with(at, 2).name, count), validate_only=True)
    )
CREATE_PARTITIONS.add("an unknown topic", lambda at: grow(growth(at.name("absent"), 2)))
CREATE_PARTITIONS.add("an empty name", lambda at: grow(growth("", 2)))
CREATE_PARTITIONS.add("an invalid name", lambda at: grow(growth("a b", 2)))
CREATE_PARTITIONS.add(
    "a topic twice", lambda at: grow(*[growth(topic_with(at, 1).name, 2)] * 2, growth(at.name("x"), 2))
)
CREATE_PARTITIONS.add("no time to do it", lambda at: grow(growth(topic_with(at, 1).name, 2), timeout_ms=0))
CREATE_PARTITIONS.add("the topic of the cluster's metadata", lambda at: grow(growth("__cluster_metadata", 2)))
CREATE_PARTITIONS.add(
    "the topic of committed offsets", lambda at: grow(growth("__consumer_offsets", 3), validate_only=True)
)
ASSIGNMENTS: Mapping[str, Sequence[Sequence[int]]] = {
    "assigned": [[1], [1]],
    "too few assignments": [[1]],
    "too many assignments": [[1], [1], [1]],
    "no assignments": [],
    "assigned to nobody": [[], []],
    "assigned to one who is not there": [[99], [1]],
    "assigned to one below zero": [[-1], [1]],
    "assigned to one twice": [[1, 1], [1, 1]],
    "assigned unevenly": [[1], [1, 2]],
    "assigned with another replication factor": [[1, 2], [1, 2]],
}
for what, brokers in ASSIGNMENTS.items():
    CREATE_PARTITIONS.add(what, lambda at, brokers=brokers: grow(growth(topic_with(at, 1).name, 3, brokers)))
