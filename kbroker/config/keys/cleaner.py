"""Broker keys: log compaction."""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, boolean, double, int32, int64
from kbroker.config.limits import DOUBLE_MAX, INT64_MAX
from kbroker.config.validators import Between, at_least

KEYS = (
    boolean(
        "log.cleaner.enable",
        True,
        "Run log compaction.",
        acted_on=True,
    ),
    int32(
        "log.cleaner.threads",
        1,
        "Threads that compact logs.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "log.cleaner.backoff.ms",
        15_000,
        "Pause of the cleaner when no log needs cleaning.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "log.cleaner.dedupe.buffer.size",
        134_217_728,
        "Memory for the key maps of all cleaner threads.",
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int32(
        "log.cleaner.io.buffer.size",
        524_288,
        "Memory for reading and writing of all cleaner threads.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    double(
        "log.cleaner.io.buffer.load.factor",
        0.9,
        "How full a cleaner's key map may become.",
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    double(
        "log.cleaner.io.max.bytes.per.second",
        DOUBLE_MAX,
        "Bytes per second that the cleaner may read and write on average.",
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "log.cleaner.delete.retention.ms",
        86_400_000,
        "How long tombstones stay in a compacted log after it was cleaned.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    double(
        "log.cleaner.min.cleanable.ratio",
        0.5,
        "Share of not yet compacted bytes at which a log is compacted.",
        Between(0, 1),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "log.cleaner.min.compaction.lag.ms",
        0,
        "Age below which a record is not compacted away.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "log.cleaner.max.compaction.lag.ms",
        INT64_MAX,
        "Age at which a record must be compacted, whatever the cleanable ratio.",
        at_least(1),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
)
