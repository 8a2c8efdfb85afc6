"""kbroker's own broker keys, which Apache Kafka does not have. All of them begin with ``kbroker.``"""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, HIGH, boolean, int64, string
from kbroker.config.validators import NonEmpty, at_least

KEYS = (
    string(
        "kbroker.cluster.id",
        None,
        "Cluster id for data directories that are still empty, instead of a new random one. "
        "The environment variable CLUSTER_ID sets it too.",
        NonEmpty(),
        acted_on=True,
    ),
    boolean(
        "kbroker.acks.all.sync",
        True,
        "Acknowledge acks=all, and what coordinators write, when the disk has it. With false, as in Apache "
        "Kafka, the page cache is enough, and a power failure may lose it.",
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "kbroker.shutdown.timeout.ms",
        30_000,
        "How long a stopping broker waits for requests in progress before it cuts them off.",
        at_least(0),
        acted_on=True,
    ),
)
