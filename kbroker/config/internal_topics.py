"""How the broker's own topics are made (``AutoTopicCreationManager``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC


class InternalTopic(NamedTuple):
    """``configs`` are the topic's own configs; the replication factor may exceed the number of brokers."""

    partition_count: int
    replication_factor: int
    configs: Mapping[str, str]


def internal_topic(config: BrokerConfig, name: str) -> InternalTopic | None:
    """None for a topic that is not the broker's own."""
    if name == CONSUMER_OFFSETS_TOPIC:
        return InternalTopic(
            config.offsets_topic_num_partitions,
            config.offsets_topic_replication_factor,
            {
                "cleanup.policy": "compact",
                "compression.type": "producer",
                "segment.bytes": str(config.offsets_topic_segment_bytes),
            },
        )
    if name == TRANSACTION_STATE_TOPIC:
        return InternalTopic(
            config.transaction_state_log_num_partitions,
            config.transaction_state_log_replication_factor,
            {
                "cleanup.policy": "compact",
                "compression.type": "uncompressed",
                "min.insync.replicas": str(config.transaction_state_log_min_isr),
                "segment.bytes": str(config.transaction_state_log_segment_bytes),
                "unclean.leader.election.enable": "false",
            },
        )
    return None
