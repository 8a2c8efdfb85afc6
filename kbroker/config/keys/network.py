"""Broker keys: listeners, sockets, connections and the bounds on requests."""

from __future__ import annotations

from kbroker.config.declare import (
    CLUSTER_WIDE,
    HIGH,
    LOW,
    PER_BROKER,
    boolean,
    int32,
    int64,
    string,
    string_list,
)
from kbroker.config.limits import INT32_MAX, INT64_MAX
from kbroker.config.validators import ListOf, at_least

KEYS = (
    string_list(
        "listeners",
        ("PLAINTEXT://:9092",),
        "Comma-separated NAME://host:port addresses to listen on. An empty host means every interface; "
        "IPv6 hosts stand in brackets.",
        ListOf(empty_allowed=False),
        importance=HIGH,
        dynamic=PER_BROKER,
        acted_on=True,
    ),
    string_list(
        "advertised.listeners",
        None,
        "Comma-separated NAME://host:port addresses told to clients. When unset, each connection is told "
        "the address that it used.",
        ListOf(empty_allowed=False),
        importance=HIGH,
        acted_on=True,
    ),
    string(
        "listener.security.protocol.map",
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "NAME:PROTOCOL pairs that give each listener its security protocol.",
        importance=LOW,
        dynamic=PER_BROKER,
        acted_on=True,
    ),
    string_list(
        "early.start.listeners",
        None,
        "Listeners that Kafka opens before its authorizer is ready.",
        importance=HIGH,
    ),
    int32(
        "num.network.threads",
        3,
        "Threads that Kafka uses for socket I/O; kbroker serves all sockets from one event loop.",
        at_least(1),
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
    ),
    int32(
        "num.io.threads",
        8,
        "Threads that Kafka uses for request processing; kbroker has an event loop and a bounded pool "
        "for blocking work.",
        at_least(1),
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
    ),
    int32(
        "background.threads",
        10,
        "Threads that Kafka uses for background work.",
        at_least(1),
        importance=HIGH,
        dynamic=CLUSTER_WIDE,
    ),
    int32(
        "queued.max.requests",
        500,
        "Requests that may wait for processing in Kafka; kbroker bounds queued bytes "
        "(queued.max.request.bytes) and one request per connection.",
        at_least(1),
        importance=HIGH,
    ),
    int64(
        "queued.max.request.bytes",
        -1,
        "Bytes of received requests that may wait for processing over all connections; beyond it nothing "
        "more is read. -1 leaves it to kbroker's own bound.",
        acted_on=True,
    ),
    int32(
        "socket.send.buffer.bytes",
        102_400,
        "SO_SNDBUF of accepted connections; -1 leaves it to the operating system.",
        importance=HIGH,
    ),
    int32(
        "socket.receive.buffer.bytes",
        102_400,
        "SO_RCVBUF of accepted connections; -1 leaves it to the operating system.",
        importance=HIGH,
    ),
    int32(
        "socket.request.max.bytes",
        104_857_600,
        "Largest request accepted; a connection that announces a larger one is closed.",
        at_least(1),
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "socket.listen.backlog.size",
        50,
        "Connections that may wait to be accepted on one listener.",
        at_least(1),
    ),
    int64(
        "socket.connection.setup.timeout.ms",
        10_000,
        "First timeout for setting up a connection to another broker.",
        acted_on=True,
    ),
    int64(
        "socket.connection.setup.timeout.max.ms",
        30_000,
        "Longest timeout for setting up a connection to another broker, after repeated failures.",
    ),
    int32(
        "max.connections",
        INT32_MAX,
        "Connections that may be open at once; further ones wait in the backlog.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int32(
        "max.connections.per.ip",
        INT32_MAX,
        "Connections that one client address may have open; further ones are closed at once.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    string(
        "max.connections.per.ip.overrides",
        "",
        "address:count pairs that replace max.connections.per.ip for single addresses.",
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int32(
        "max.connection.creation.rate",
        INT32_MAX,
        "New connections per second that are accepted over all listeners.",
        at_least(0),
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int64(
        "connections.max.idle.ms",
        600_000,
        "A connection without traffic for this long is closed.",
        acted_on=True,
    ),
    int32(
        "connection.failed.authentication.delay.ms",
        100,
        "Delay before a connection is closed whose authentication failed.",
        at_least(0),
        importance=LOW,
    ),
    int32(
        "request.timeout.ms",
        30_000,
        "How long this broker waits for another broker's response before it gives up or retries.",
        importance=HIGH,
        acted_on=True,
    ),
    int32(
        "max.request.partition.size.limit",
        2_000,
        "Partitions that one DescribeTopicPartitions response may carry.",
        at_least(1),
        acted_on=True,
    ),
    int32(
        "fetch.max.bytes",
        57_671_680,
        "Largest fetch response, whatever the client allows; one batch is always returned.",
        at_least(1_024),
        acted_on=True,
    ),
    int32(
        "max.incremental.fetch.session.cache.slots",
        1_000,
        "Incremental fetch sessions kept; clients without one send full fetch requests.",
        at_least(0),
        acted_on=True,
    ),
    int32(
        "fetch.purgatory.purge.interval.requests",
        1_000,
        "Completed fetches after which Kafka's purgatory is purged; kbroker keeps no purgatory.",
    ),
    int32(
        "producer.purgatory.purge.interval.requests",
        1_000,
        "Completed produce requests after which Kafka's purgatory is purged; kbroker keeps no purgatory.",
    ),
    int32(
        "delete.records.purgatory.purge.interval.requests",
        1,
        "Completed DeleteRecords requests after which Kafka's purgatory is purged; kbroker keeps no "
        "purgatory.",
    ),
    int32(
        "share.fetch.purgatory.purge.interval.requests",
        1_000,
        "Completed share fetches after which Kafka's purgatory is purged; kbroker keeps no purgatory.",
    ),
    boolean(
        "unstable.api.versions.enable",
        False,
        "Advertise API versions that are still being developed.",
        importance=HIGH,
        internal=True,
    ),
    boolean(
        "unstable.feature.versions.enable",
        False,
        "Offer feature versions that are still being developed.",
        importance=HIGH,
        internal=True,
    ),
    int64(
        "server.max.startup.time.ms",
        INT64_MAX,
        "Longest start-up before Kafka gives up; for tests.",
        at_least(0),
        internal=True,
    ),
)
