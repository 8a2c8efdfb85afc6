"""kbroker's own broker keys, which Apache Kafka does not have. All of them begin with ``kbroker.``"""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, HIGH, boolean, int64, password, string, string_list
from kbroker.config.validators import NonEmpty, OneOf, at_least

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
    string(
        "kbroker.metadata.store",
        "embedded",
        "Where the cluster's metadata lives: in this process (embedded: one broker, or all brokers of one process), "
        "or in etcd, for brokers on several machines.",
        OneOf("embedded", "etcd"),
        importance=HIGH,
        acted_on=True,
    ),
    string_list(
        "kbroker.etcd.endpoints",
        ("http://127.0.0.1:2379",),
        "Base addresses of the etcd members, http:// or https://; one that does not answer is passed over.",
        importance=HIGH,
        acted_on=True,
    ),
    string(
        "kbroker.etcd.key.prefix",
        "kbroker/",
        "What all keys of this cluster begin with; clusters that share an etcd need different ones.",
        NonEmpty(),
        acted_on=True,
    ),
    string("kbroker.etcd.username", None, "User to log in to etcd with; none by default.", acted_on=True),
    password("kbroker.etcd.password", None, "Password of that user.", acted_on=True),
    string(
        "kbroker.etcd.tls.ca.file",
        None,
        "PEM file with the authorities that etcd's certificate is checked against; the system's by default.",
        acted_on=True,
    ),
    string(
        "kbroker.etcd.tls.certificate.file",
        None,
        "PEM file with the certificate by which this broker is known to etcd.",
        acted_on=True,
    ),
    string(
        "kbroker.etcd.tls.key.file", None, "PEM file with the private key of that certificate.", acted_on=True
    ),
)
