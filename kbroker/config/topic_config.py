"""All effective configs of one topic (Kafka's ``LogConfig``)."""

from __future__ import annotations

from collections.abc import Mapping

from kbroker.config.definition import ConfigError, UnknownConfigError
from kbroker.config.topic_keys import TOPIC_KEYS
from kbroker.config.validators import ConfigValue
from storage.log_config import LogConfig


class TopicConfig:
    """The value of each topic key, and which of them are the topic's own."""

    __slots__ = ("_values", "overridden")

    def __init__(self, values: Mapping[str, ConfigValue | None], overridden: frozenset[str]) -> None:
        self._values = values
        self.overridden = overridden

    def value(self, name: str) -> ConfigValue | None:
        """KeyError for a key that topics do not have."""
        return self._values[name]

    @property
    def min_insync_replicas(self) -> int:
        return self._int("min.insync.replicas")

    @property
    def max_message_bytes(self) -> int:
        return self._int("max.message.bytes")

    def to_log_config(self) -> LogConfig:
        """The part that storage acts on."""
        internal_segment_bytes = self._values["internal.segment.bytes"]
        return LogConfig(
            segment_bytes=self._int("segment.bytes")
            if internal_segment_bytes is None
            else self._int("internal.segment.bytes"),
            segment_ms=self._int("segment.ms"),
            segment_jitter_ms=self._int("segment.jitter.ms"),
            segment_index_bytes=self._int("segment.index.bytes"),
            index_interval_bytes=self._int("index.interval.bytes"),
            flush_messages=self._int("flush.messages"),
            flush_ms=self._int("flush.ms"),
            retention_bytes=self._int("retention.bytes"),
            retention_ms=self._int("retention.ms"),
            file_delete_delay_ms=self._int("file.delete.delay.ms"),
            delete_retention_ms=self._int("delete.retention.ms"),
            min_compaction_lag_ms=self._int("min.compaction.lag.ms"),
            max_compaction_lag_ms=self._int("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio=self._float("min.cleanable.dirty.ratio"),
            cleanup_policy=frozenset(self._list("cleanup.policy")),
            max_message_bytes=self._int("max.message.bytes"),
            message_timestamp_type=self._text("message.timestamp.type"),
            message_timestamp_before_max_ms=self._int("message.timestamp.before.max.ms"),
            message_timestamp_after_max_ms=self._int("message.timestamp.after.max.ms"),
            compression_type=self._text("compression.type"),
            compression_gzip_level=self._int("compression.gzip.level"),
            compression_lz4_level=self._int("compression.lz4.level"),
            compression_zstd_level=self._int("compression.zstd.level"),
        )

    def _int(self, name: str) -> int:
        value = self._values[name]
        assert isinstance(value, int)
        return value

    def _float(self, name: str) -> float:
        value = self._values[name]
        assert isinstance(value, float)
        return value

    def _text(self, name: str) -> str:
        value = self._values[name]
        assert isinstance(value, str)
        return value

    def _list(self, name: str) -> tuple[str, ...]:
        value = self._values[name]
        assert isinstance(value, tuple)
        return value


def resolve_topic_config(
    defaults: Mapping[str, ConfigValue | None], overrides: Mapping[str, str]
) -> TopicConfig:
    """The topic's own values over the broker's; ConfigError if one is malformed. Unknown keys do nothing."""
    values = dict(defaults)
    for name, text in overrides.items():
        definition = TOPIC_KEYS.get(name)
        if definition is not None:
            values[name] = definition.parse(text)
    return TopicConfig(values, frozenset(overrides))


def check_topic_overrides(defaults: Mapping[str, ConfigValue | None], overrides: Mapping[str, str]) -> None:
    """ConfigError unless a topic may have these configs (``LogConfig.validate``)."""
    for name, text in overrides.items():
        if name not in TOPIC_KEYS:
            raise UnknownConfigError(name, text, "Unknown topic config name")
    config = resolve_topic_config(defaults, overrides)
    smallest, largest = config.value("min.compaction.lag.ms"), config.value("max.compaction.lag.ms")
    assert isinstance(smallest, int)
    assert isinstance(largest, int)
    if smallest > largest:
        raise ConfigError(
            "min.compaction.lag.ms", str(smallest), f"expected at most max.compaction.lag.ms, {largest}"
        )
    if config.value("remote.storage.enable"):
        raise ConfigError("remote.storage.enable", "true", "this broker has no tiered storage")
