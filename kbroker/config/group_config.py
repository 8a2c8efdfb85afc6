"""Effective configs of a group, and what a group's own configs may be (Kafka's ``GroupConfig``)."""

from __future__ import annotations

from collections.abc import Mapping

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError, UnknownConfigError
from kbroker.config.group_keys import GROUP_KEYS
from kbroker.config.validators import ConfigValue

# Group key -> the broker keys that say between which values it may lie; None leaves a side open.
_BOUNDS: Mapping[str, tuple[str | None, str | None]] = {
    **{
        f"{kind}.{what}": (f"group.{kind}.min.{what}", f"group.{kind}.max.{what}")
        for kind in ("consumer", "share", "streams")
        for what in ("session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms")
    },
    **{
        f"share.{what}": (f"group.share.min.{what}", f"group.share.max.{what}")
        for what in ("delivery.count.limit", "record.lock.duration.ms", "partition.max.record.locks")
    },
    "streams.num.standby.replicas": (None, "group.streams.max.standby.replicas"),
    "streams.num.warmup.replicas": (None, "group.streams.max.warmup.replicas"),
    "streams.task.offset.interval.ms": ("group.streams.min.task.offset.interval.ms", None),
}


def resolve_group_config(
    broker_config: BrokerConfig, overrides: Mapping[str, str]
) -> dict[str, ConfigValue | None]:
    """Every group key by name: the group's own value, else the broker's. ConfigError if one is malformed."""
    values: dict[str, ConfigValue | None] = {}
    for definition in GROUP_KEYS:
        if definition.name in overrides:
            values[definition.name] = definition.parse(overrides[definition.name])
        elif definition.synonyms:
            values[definition.name] = broker_config.value(definition.synonyms[0])
        else:
            values[definition.name] = definition.default
    if "streams.assignor.name" not in overrides:
        values["streams.assignor.name"] = _streams_assignors(broker_config)[0]
    return values


def check_group_overrides(broker_config: BrokerConfig, overrides: Mapping[str, str]) -> None:
    """ConfigError unless a group may have these configs on this broker."""
    for name, text in overrides.items():
        if name not in GROUP_KEYS:
            raise UnknownConfigError(name, text, "Unknown group config name")
    values = resolve_group_config(broker_config, overrides)
    for name in overrides:
        _check_bounds(broker_config, name, values[name])
    for kind in ("consumer", "share", "streams"):
        session_ms = values[f"{kind}.session.timeout.ms"]
        heartbeat_ms = values[f"{kind}.heartbeat.interval.ms"]
        assert isinstance(session_ms, int)
        assert isinstance(heartbeat_ms, int)
        if session_ms <= heartbeat_ms:
            raise ConfigError(
                f"{kind}.session.timeout.ms",
                str(session_ms),
                f"expected more than {kind}.heartbeat.interval.ms, {heartbeat_ms}",
            )
    assignors = _streams_assignors(broker_config)
    if values["streams.assignor.name"] not in assignors:
        raise ConfigError(
            "streams.assignor.name",
            overrides.get("streams.assignor.name"),
            f"expected one of group.streams.assignors: {', '.join(assignors)}",
        )
    dead_letter_topic = str(values["errors.deadletterqueue.topic.name"])
    if dead_letter_topic.startswith("__"):
        raise ConfigError(
            "errors.deadletterqueue.topic.name",
            dead_letter_topic,
            "expected a name that does not begin with __",
        )


def _check_bounds(broker_config: BrokerConfig, name: str, value: ConfigValue | None) -> None:
    if name not in _BOUNDS:
        return
    assert isinstance(value, int)
    smallest_key, largest_key = _BOUNDS[name]
    if smallest_key is not None:
        smallest = broker_config.value(smallest_key)
        assert isinstance(smallest, int)
        if value < smallest:
            raise ConfigError(name, str(value), f"expected at least {smallest} ({smallest_key})")
    if largest_key is not None:
        largest = broker_config.value(largest_key)
        assert isinstance(largest, int)
        if value > largest:
            raise ConfigError(name, str(value), f"expected at most {largest} ({largest_key})")


def _streams_assignors(broker_config: BrokerConfig) -> tuple[str, ...]:
    assignors = broker_config.value("group.streams.assignors")
    assert isinstance(assignors, tuple)
    return assignors
