"""Broker keys: producer ids and transactions."""

from __future__ import annotations

from kbroker.config.declare import CLUSTER_WIDE, HIGH, LOW, boolean, int16, int32
from kbroker.config.validators import at_least

KEYS = (
    int32(
        "producer.id.expiration.ms",
        86_400_000,
        "How long a partition remembers an idle producer for duplicate detection.",
        at_least(1),
        importance=LOW,
        dynamic=CLUSTER_WIDE,
        acted_on=True,
    ),
    int32(
        "producer.id.expiration.check.interval.ms",
        600_000,
        "Time between two looks for expired producer ids.",
        at_least(1),
        importance=LOW,
        acted_on=True,
        internal=True,
    ),
    int32(
        "transaction.max.timeout.ms",
        900_000,
        "Longest transaction timeout that a producer may ask for.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "transactional.id.expiration.ms",
        604_800_000,
        "How long an idle transactional id is remembered.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        10_000,
        "Time between two looks for transactions that timed out.",
        at_least(1),
        importance=LOW,
    ),
    int32(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        3_600_000,
        "Time between two looks for expired transactional ids.",
        at_least(1),
        importance=LOW,
    ),
    boolean(
        "transaction.partition.verification.enable",
        True,
        "Check that a partition belongs to the transaction before transactional records are appended.",
        importance=LOW,
        dynamic=CLUSTER_WIDE,
    ),
    boolean(
        "transaction.two.phase.commit.enable",
        False,
        "Let producers take part in two-phase commits driven from outside (KIP-939).",
        importance=LOW,
    ),
    int32(
        "transaction.state.log.num.partitions",
        50,
        "Partitions of the transaction state topic; fixed once the topic exists.",
        at_least(1),
        importance=HIGH,
    ),
    int16(
        "transaction.state.log.replication.factor",
        3,
        "Replicas of the transaction state topic; at most as many as there are brokers.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "transaction.state.log.min.isr",
        2,
        "In-sync replicas that a write to the transaction state topic needs.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "transaction.state.log.segment.bytes",
        104_857_600,
        "Segment size of the transaction state topic.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "transaction.state.log.load.buffer.size",
        5_242_880,
        "Bytes read at a time while transaction state is loaded.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "add.partitions.to.txn.retry.backoff.ms",
        20,
        "First pause before a partition is added to a transaction again.",
        at_least(1),
        importance=HIGH,
    ),
    int32(
        "add.partitions.to.txn.retry.backoff.max.ms",
        100,
        "Longest pause before a partition is added to a transaction again.",
        at_least(0),
        importance=HIGH,
    ),
)
