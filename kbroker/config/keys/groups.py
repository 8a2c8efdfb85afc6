"""Broker keys: classic groups, committed offsets and the group coordinator."""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, HIGH, int16, int32, int64, string_list
from kbroker.config.limits import INT32_MAX
from kbroker.config.validators import Between, ListOf, at_least

KEYS = (
    int32(
        "group.min.session.timeout.ms",
        6_000,
        "Shortest session timeout that a classic group member may ask for.",
        acted_on=True,
    ),
    int32(
        "group.max.session.timeout.ms",
        1_800_000,
        "Longest session timeout that a classic group member may ask for.",
        acted_on=True,
    ),
    int32(
        "group.initial.rebalance.delay.ms",
        3_000,
        "How long an empty classic group waits for more members before its first rebalance.",
        acted_on=True,
    ),
    int32(
        "group.max.size",
        INT32_MAX,
        "Members that a classic group may have.",
        at_least(1),
        acted_on=True,
    ),
    string_list(
        "group.coordinator.rebalance.protocols",
        ("classic", "consumer", "streams"),
        "Group protocols that Kafka enables.",
        ListOf("consumer", "classic", "share", "streams", empty_allowed=False),
    ),
    int32(
        "group.coordinator.threads",
        4,
        "Threads of Kafka's group coordinator; kbroker runs each shard as a task.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "group.coordinator.background.threads",
        2,
        "Threads for background work of Kafka's group coordinator.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "group.coordinator.append.linger.ms",
        -1,
        "How long Kafka's group coordinator gathers writes into one append; -1 adapts.",
        at_least(-1),
    ),
    int32(
        "group.coordinator.cached.buffer.max.bytes",
        1_048_588,
        "Largest write buffer that Kafka's group coordinator keeps for reuse.",
        at_least(524_288),
        dynamic=CLUSTER_WIDE,
    ),
    int32(
        "offset.metadata.max.bytes",
        4_096,
        "Longest metadata string of a committed offset.",
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "offsets.commit.timeout.ms",
        5_000,
        "How long an offset commit waits for the replicas of the offsets topic.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "offsets.load.buffer.size",
        5_242_880,
        "Bytes read at a time while a coordinator loads its partition of the offsets topic.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "offsets.retention.minutes",
        10_080,
        "How long committed offsets outlive the last use of their group.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int64(
        "offsets.retention.check.interval.ms",
        600_000,
        "Time between two looks for expired offsets.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "offsets.topic.num.partitions",
        50,
        "Partitions of the offsets topic; fixed once the topic exists.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int16(
        "offsets.topic.replication.factor",
        3,
        "Replicas of the offsets topic; at most as many as there are brokers.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "offsets.topic.segment.bytes",
        104_857_600,
        "Segment size of the offsets topic.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "offsets.topic.compression.codec",
        0,
        "Codec id of batches in the offsets topic: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.",
        Between(0, 4),
        importance=HIGH,
    ),
)
