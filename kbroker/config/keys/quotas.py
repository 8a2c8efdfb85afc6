"""Broker keys: quotas, metrics and client telemetry."""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, LOW, int32, int64, java_class, string, string_list
from kbroker.config.validators import at_least

KEYS = (
    int32(
        "quota.window.num",
        11,
        "Samples kept for client quotas.",
        at_least(1),
        importance=LOW,
    ),
    int32(
        "quota.window.size.seconds",
        1,
        "Length of one sample for client quotas.",
        at_least(1),
        importance=LOW,
    ),
    int32(
        "replication.quota.window.num",
        11,
        "Samples kept for replication quotas.",
        at_least(1),
        importance=LOW,
        acted_on=True,
    ),
    int32(
        "replication.quota.window.size.seconds",
        1,
        "Length of one sample for replication quotas.",
        at_least(1),
        importance=LOW,
        acted_on=True,
    ),
    int32(
        "alter.log.dirs.replication.quota.window.num",
        11,
        "Samples kept for quotas on moves between log directories.",
        at_least(1),
        importance=LOW,
    ),
    int32(
        "alter.log.dirs.replication.quota.window.size.seconds",
        1,
        "Length of one sample for quotas on moves between log directories.",
        at_least(1),
        importance=LOW,
    ),
    # Kafka takes these three only as dynamic configs and tells of them only when they are set.
    int64(
        "leader.replication.throttled.rate",
        None,
        "Bytes per second that leaders send at most to replicas under a quota.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        internal=True,
        acted_on=True,
    ),
    int64(
        "follower.replication.throttled.rate",
        None,
        "Bytes per second that followers fetch at most for replicas under a quota.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        internal=True,
        acted_on=True,
    ),
    int64(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        None,
        "Bytes per second that moves of replicas between log directories copy at most; unlimited when unset.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
        internal=True,
    ),
    int32(
        "controller.quota.window.num",
        11,
        "Samples kept for quotas on topic creation and deletion.",
        at_least(1),
        importance=LOW,
    ),
    int32(
        "controller.quota.window.size.seconds",
        1,
        "Length of one sample for quotas on topic creation and deletion.",
        at_least(1),
        importance=LOW,
    ),
    java_class(
        "client.quota.callback.class",
        None,
        "Java class that decides client quotas.",
        importance=LOW,
    ),
    int32(
        "metrics.num.samples",
        2,
        "Samples kept for each metric.",
        at_least(1),
        importance=LOW,
    ),
    int64(
        "metrics.sample.window.ms",
        30_000,
        "Length of one sample of a metric.",
        at_least(1),
        importance=LOW,
    ),
    string(
        "metrics.recording.level",
        "INFO",
        "Detail of recorded metrics: INFO, DEBUG or TRACE.",
        importance=LOW,
    ),
    string_list(
        "metric.reporters",
        ("org.apache.kafka.common.metrics.JmxReporter",),
        "Java classes that report metrics.",
        importance=LOW,
        dynamic=CLUSTER_WIDE,
    ),
    string_list(
        "kafka.metrics.reporters",
        (),
        "Java classes that report Kafka's older metrics.",
        importance=LOW,
    ),
    int32(
        "kafka.metrics.polling.interval.secs",
        10,
        "Polling interval of kafka.metrics.reporters.",
        at_least(1),
        importance=LOW,
    ),
    int32(
        "telemetry.max.bytes",
        1_048_576,
        "Largest metrics payload that a client may push.",
        at_least(1),
        importance=LOW,
    ),
)
