"""Broker keys: replicas, leaders and the connections between brokers."""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, HIGH, boolean, int32, int64, string
from kbroker.config.validators import OneOf, at_least

KEYS = (
    int32(
        "default.replication.factor",
        1,
        "Replicas of a topic created without a replication factor.",
        acted_on=True,
    ),
    int32(
        "min.insync.replicas",
        1,
        "In-sync replicas that must have a record before acks=all is answered.",
        at_least(1),
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    boolean(
        "unclean.leader.election.enable",
        False,
        "Allow a replica outside the in-sync set to lead, at the price of lost records.",
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
    ),
    int64(
        "unclean.leader.election.interval.ms",
        300_000,
        "Time between two looks for partitions that need an unclean election.",
        at_least(1),
        internal=True,
    ),
    string(
        "broker.rack",
        None,
        "Rack of this broker, for spreading replicas and for reads from the nearest one.",
        acted_on=True,
    ),
    string(
        "inter.broker.listener.name",
        None,
        "Listener that brokers use among themselves; by default the one named by "
        "security.inter.broker.protocol.",
        acted_on=True,
    ),
    string(
        "security.inter.broker.protocol",
        "PLAINTEXT",
        "Security protocol between brokers; not together with inter.broker.listener.name.",
        OneOf("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        acted_on=True,
    ),
    boolean(
        "auto.leader.rebalance.enable",
        True,
        "Move leadership back to preferred replicas.",
        importance=HIGH,
    ),
    int64(
        "leader.imbalance.check.interval.seconds",
        300,
        "Time between two looks for leaders that are not the preferred ones.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "num.replica.fetchers",
        1,
        "Connections over which this broker replicates from each other broker.",
        at_least(1),
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
    ),
    int32(
        "num.replica.alter.log.dirs.threads",
        None,
        "How many replicas are moved between log directories at a time; as many as there are directories when unset.",
        importance=HIGH,
        acted_on=True,
    ),
    int64(
        "replica.lag.time.max.ms",
        30_000,
        "How long a follower may lag before it leaves the in-sync set.",
        importance=HIGH,
    ),
    int32(
        "replica.fetch.min.bytes",
        1,
        "Bytes for which a follower's fetch waits.",
        importance=HIGH,
    ),
    int32(
        "replica.fetch.max.bytes",
        1_048_576,
        "Bytes that a follower fetches per partition; one batch is always returned.",
        at_least(0),
    ),
    int32(
        "replica.fetch.response.max.bytes",
        10_485_760,
        "Bytes of one whole response to a follower.",
        at_least(0),
    ),
    int32(
        "replica.fetch.wait.max.ms",
        500,
        "How long a follower's fetch may wait for data.",
        importance=HIGH,
    ),
    int32(
        "replica.fetch.backoff.ms",
        1_000,
        "Pause of a follower after a failed fetch.",
        at_least(0),
    ),
    int64(
        "replica.high.watermark.checkpoint.interval.ms",
        5_000,
        "Time between two writes of the high-watermark checkpoint.",
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "replica.socket.timeout.ms",
        30_000,
        "Network timeout of a follower's requests.",
        importance=HIGH,
    ),
    int32(
        "replica.socket.receive.buffer.bytes",
        65_536,
        "SO_RCVBUF of a follower's connections.",
        importance=HIGH,
    ),
    string(
        "replica.selector.class",
        None,
        "Java class that picks the replica that a consumer reads from.",
    ),
    boolean(
        "follower.fetch.last.tiered.offset.enable",
        False,
        "Let an empty follower start at the last offset that remote storage holds.",
        dynamic=CLUSTER_WIDE,
    ),
    boolean(
        "controlled.shutdown.enable",
        True,
        "Move leadership away before the broker stops.",
    ),
)
