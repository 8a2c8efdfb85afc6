"""What a seed draws before anything runs: the cluster, its topics, its configuration, its clients, its troubles."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.sim.cluster.network import Latency

SEGMENT_BYTES_DEFAULT = 1 << 30

KINDS_OF_FAULTS = (
    "kill",
    "kill in a call",
    "power loss",
    "power loss everywhere",
    "power loss after a roll",
    "controlled restart",
    "pause",
    "pause before a send",
    "partition",
    "one-way cut",
    "cut from the store",
    "cut from the brokers",
    "store outage",
    "broken connections",
    "slow links",
    "slow disk",
    "compaction",
    "clock jump",
    "disk error",
    "disk lost",
    "directory lost",
)


@dataclass(frozen=True, slots=True)
class TopicDraw:
    name: str
    partitions: int
    replication_factor: int
    min_in_sync_replicas: int

    @property
    def all_partitions(self) -> list[tuple[str, int]]:
        return [(self.name, index) for index in range(self.partitions)]


@dataclass(frozen=True, slots=True)
class Settings:
    """``faults``: the kinds that this seed has, with their weights; ``pace_s``: the mean time between two.

    ``segment_bytes``: see `small_segments`.
    """

    nodes: int
    topics: list[TopicDraw]
    broker: dict[str, str]
    latency: Latency
    disk_wait_chance: float
    disk_wait_s: float
    safety_s: float
    faults: dict[str, float]
    pace_s: float
    extra_lease_s: float
    session_timeout_s: float
    has_acks_one: bool
    transformers: int
    members: int
    transactions_version: int
    segment_bytes: int

    @property
    def has_small_segments(self) -> bool:
        return self.segment_bytes < SEGMENT_BYTES_DEFAULT

    @property
    def is_cleaner_enabled(self) -> bool:
        return self.broker["log.cleaner.enable"] == "true"

    def __str__(self) -> str:
        topics = ", ".join(
            f"{topic.name} {topic.partitions}x{topic.replication_factor} min {topic.min_in_sync_replicas}"
            for topic in self.topics
        )
        return (
            f"{self.nodes} nodes; {topics}; segments of {self.segment_bytes} bytes; "
            f"session {self.session_timeout_s:g} s; "
            f"faults every {self.pace_s:g} s: {', '.join(self.faults)}"
        )


def draw(generator: random.Random) -> Settings:
    choice = generator.choice
    nodes = choice((3, 3, 3, 3, 4, 5))
    internal = str(min(3, nodes))
    session_timeout_ms = choice((3_000, 6_000, 9_000))
    lag_time_ms = choice((1_500, 4_000, 10_000))
    min_in_sync = choice((1, 2))
    segment_bytes = choice((200, 2_000, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT))
    broker = {
        "log.dirs": "/data",
        "broker.session.timeout.ms": str(session_timeout_ms),
        "broker.heartbeat.interval.ms": str(session_timeout_ms // choice((3, 4))),
        "replica.lag.time.max.ms": str(lag_time_ms),
        "replica.fetch.wait.max.ms": str(choice((500, 1_000))),
        "replica.fetch.backoff.ms": str(choice((200, 1_000))),
        "replica.socket.timeout.ms": str(choice((2_000, 8_000, 30_000))),
        "replica.high.watermark.checkpoint.interval.ms": str(choice((1_000, 5_000))),
        "min.insync.replicas": str(min_in_sync),
        "offsets.topic.num.partitions": str(choice((1, 2))),
        "offsets.topic.replication.factor": internal,
        "transaction.state.log.num.partitions": str(choice((1, 2))),
        "transaction.state.log.replication.factor": internal,
        "transaction.state.log.min.isr": str(choice((1, 2))),
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "2000",
        "group.initial.rebalance.delay.ms": str(choice((0, 500))),
        "group.min.session.timeout.ms": "1000",
        "auto.leader.rebalance.enable": choice(("true", "false")),
        "leader.imbalance.check.interval.seconds": str(choice((5, 20))),
        "socket.connection.setup.timeout.ms": str(choice((1_000, 5_000))),
        "controlled.shutdown.enable": choice(("true", "true", "false")),
        "kbroker.shutdown.timeout.ms": "5000",
        "log.roll.ms": str(choice((15_000, 604_800_000))),
        "log.flush.offset.checkpoint.interval.ms": str(choice((5_000, 60_000))),
        # A follower may catch up in small steps, but not in so small ones that producers are quicker.
        "replica.fetch.max.bytes": str(choice((2_000, 1 << 20))),
        # Only internal topics are compacted. (What is compacted cannot be compared byte by byte.)
        "log.cleaner.enable": choice(("true", "false")),
        "log.cleaner.backoff.ms": "1000",
        "log.cleaner.min.cleanable.ratio": "0.1",
    }
    enabled = generator.sample(KINDS_OF_FAULTS, generator.randint(1, 8))
    return Settings(
        nodes=nodes,
        topics=[
            TopicDraw("in", choice((1, 2)), min(3, nodes), choice((1, 2))),
            TopicDraw("out", choice((1, 2)), choice((1, 2, 3)), choice((1, 2))),
        ],
        broker=broker,
        latency=Latency(
            mean_s=choice((0.0002, 0.001, 0.005)),
            spike_chance=choice((0.0, 0.01, 0.03)),
            spike_s=choice((0.1, 0.5, 2.0)),
            pieces_chance=choice((0.0, 0.05, 0.3)),
        ),
        disk_wait_chance=choice((0.0, 0.3, 0.9)),
        disk_wait_s=choice((0.005, 0.05, 0.3)),
        safety_s=generator.uniform(12, 35),
        faults={kind: choice((1.0, 1.0, 3.0)) for kind in KINDS_OF_FAULTS if kind in enabled},
        pace_s=choice((1.5, 4.0, 8.0)),
        extra_lease_s=choice((0.0, 0.0, 3.0)),
        session_timeout_s=session_timeout_ms / 1000,
        has_acks_one=generator.random() < 0.3,
        transformers=choice((0, 1, 1, 2)),
        members=choice((0, 0, 1, 2)),
        transactions_version=choice((1, 2, 2)),
        segment_bytes=segment_bytes,
    )
