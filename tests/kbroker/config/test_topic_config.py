"""A topic's own configs over the broker's."""

from __future__ import annotations

import pytest

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.internal_topics import internal_topic
from kbroker.config.topic_config import check_topic_overrides

OVERRIDES = {
    "segment.bytes": "1048576",
    "segment.ms": "2",
    "segment.jitter.ms": "3",
    "segment.index.bytes": "4",
    "index.interval.bytes": "5",
    "flush.messages": "6",
    "flush.ms": "7",
    "retention.bytes": "8",
    "retention.ms": "9",
    "file.delete.delay.ms": "10",
    "delete.retention.ms": "11",
    "min.compaction.lag.ms": "12",
    "max.compaction.lag.ms": "13",
    "min.cleanable.dirty.ratio": "0.25",
    "cleanup.policy": "compact,delete",
    "max.message.bytes": "14",
    "message.timestamp.type": "LogAppendTime",
    "message.timestamp.before.max.ms": "15",
    "message.timestamp.after.max.ms": "16",
    "compression.type": "zstd",
    "compression.gzip.level": "1",
    "compression.lz4.level": "2",
    "compression.zstd.level": "-5",
}


def test_every_key_that_storage_knows_can_be_overridden() -> None:
    log_config = BrokerConfig({}).to_log_config(OVERRIDES)
    for name, text in OVERRIDES.items():
        value = getattr(log_config, name.replace(".", "_"))
        expected: object = frozenset(text.split(",")) if name == "cleanup.policy" else type(value)(text)
        assert value == expected, name


def test_every_key_that_storage_knows_follows_the_broker() -> None:
    broker = {
        "log.segment.bytes": "1048576",
        "log.index.size.max.bytes": "4",
        "log.index.interval.bytes": "5",
        "log.flush.interval.messages": "6",
        "log.retention.bytes": "8",
        "log.segment.delete.delay.ms": "10",
        "log.cleaner.delete.retention.ms": "11",
        "log.cleaner.min.compaction.lag.ms": "12",
        "log.cleaner.max.compaction.lag.ms": "13",
        "log.cleaner.min.cleanable.ratio": "0.25",
        "log.cleanup.policy": "compact",
        "message.max.bytes": "14",
        "log.message.timestamp.type": "LogAppendTime",
        "log.message.timestamp.before.max.ms": "15",
        "log.message.timestamp.after.max.ms": "16",
        "compression.type": "gzip",
        "compression.gzip.level": "3",
        "compression.lz4.level": "4",
        "compression.zstd.level": "5",
    }
    log_config = BrokerConfig(broker).to_log_config({})
    assert (log_config.segment_bytes, log_config.segment_index_bytes, log_config.index_interval_bytes) == (
        1_048_576,
        4,
        5,
    )
    assert (log_config.flush_messages, log_config.retention_bytes, log_config.file_delete_delay_ms) == (
        6,
        8,
        10,
    )
    assert (log_config.delete_retention_ms, log_config.min_compaction_lag_ms) == (11, 12)
    assert (log_config.max_compaction_lag_ms, log_config.min_cleanable_dirty_ratio) == (13, 0.25)
    assert (log_config.cleanup_policy, log_config.max_message_bytes) == (frozenset({"compact"}), 14)
    assert log_config.message_timestamp_type == "LogAppendTime"
    assert log_config.message_timestamp_before_max_ms == 15
    assert log_config.message_timestamp_after_max_ms == 16
    assert (log_config.compression_type, log_config.compression_gzip_level) == ("gzip", 3)
    assert (log_config.compression_lz4_level, log_config.compression_zstd_level) == (4, 5)


def test_internal_segment_bytes_undercuts_the_bound_of_segment_bytes() -> None:
    config = BrokerConfig({})
    assert config.to_log_config({"internal.segment.bytes": "100"}).segment_bytes == 100
    with pytest.raises(
        ConfigError,
        match=r"^Invalid value 100 for configuration segment\.bytes: Value must be at least 1048576",
    ):
        config.to_log_config({"segment.bytes": "100"})


def test_topic_config_values() -> None:
    config = BrokerConfig({"min.insync.replicas": "2"})
    topic = config.topic_config({"max.message.bytes": "7", "not.a.topic.key": "x"})
    assert (topic.min_insync_replicas, topic.max_message_bytes) == (2, 7)
    assert topic.value("preallocate") is False
    assert topic.overridden == frozenset({"max.message.bytes", "not.a.topic.key"})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"no.such.key": "1"}, "Unknown topic config name: no.such.key"),
        ({"log.retention.ms": "1"}, "Unknown topic config name: log.retention.ms"),
        (
            {"retention.ms": "-2"},
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        ),
        (
            {"cleanup.policy": "DELETE"},
            "Invalid value DELETE for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            {"remote.storage.enable": "true"},
            "Invalid value true for configuration remote.storage.enable: this broker has no tiered storage",
        ),
        (
            {"min.compaction.lag.ms": "9", "max.compaction.lag.ms": "8"},
            "Invalid value 9 for configuration min.compaction.lag.ms: expected at most max.compaction.lag.ms, 8",
        ),
    ],
)
def test_overrides_that_no_topic_may_have(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_topic_overrides(BrokerConfig({}).topic_defaults(), overrides)
    assert str(caught.value).startswith(message)


def test_overrides_are_checked_together_with_what_the_broker_says() -> None:
    defaults = BrokerConfig({"log.cleaner.max.compaction.lag.ms": "8"}).topic_defaults()
    with pytest.raises(ConfigError, match="at most"):
        check_topic_overrides(defaults, {"min.compaction.lag.ms": "9"})
    check_topic_overrides(defaults, {"min.compaction.lag.ms": "8"})


def test_internal_topics_are_made_as_their_keys_say() -> None:
    config = BrokerConfig({"offsets.topic.num.partitions": "7", "transaction.state.log.min.isr": "1"})
    offsets = internal_topic(config, "__consumer_offsets")
    assert offsets is not None
    assert (offsets.partition_count, offsets.replication_factor) == (7, 3)
    assert offsets.configs == {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": "104857600",
    }
    transactions = internal_topic(config, "__transaction_state")
    assert transactions is not None
    assert transactions.partition_count == 50
    assert transactions.configs["min.insync.replicas"] == "1"
    for topic in (offsets, transactions):
        check_topic_overrides(config.topic_defaults(), topic.configs)
    assert internal_topic(config, "orders") is None
