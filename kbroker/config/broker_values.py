"""What several broker keys say together, and what they may not say together.

Everything here is computed from parsed values by key name; the rules are those of ``KafkaConfig``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from kbroker.config.definition import ConfigError
from kbroker.config.listeners import (
    Endpoint,
    check_distinct_ports,
    check_served,
    parse_connection_limits,
    parse_listeners,
    parse_protocol_map,
)
from kbroker.config.topic_keys import TOPIC_KEYS
from kbroker.config.validators import ConfigValue

BrokerValues: TypeAlias = Mapping[str, ConfigValue | None]
"""Every broker key by name."""

_MINUTE_MS = 60 * 1000
_HOUR_MS = 60 * _MINUTE_MS
_ANY_ADDRESS = ("0.0.0.0", "::")


def retention_ms(values: BrokerValues) -> int:
    """-1 for "never"."""
    retention = _first_set(
        values,
        ("log.retention.ms", 1),
        ("log.retention.minutes", _MINUTE_MS),
        ("log.retention.hours", _HOUR_MS),
    )
    return max(retention, -1)


def roll_ms(values: BrokerValues) -> int:
    return _first_set(values, ("log.roll.ms", 1), ("log.roll.hours", _HOUR_MS))


def roll_jitter_ms(values: BrokerValues) -> int:
    return _first_set(values, ("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", _HOUR_MS))


def flush_interval_ms(values: BrokerValues) -> int:
    return _first_set(values, ("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1))


def topic_defaults(values: BrokerValues) -> dict[str, ConfigValue | None]:
    """What topics without configs of their own get, by topic key (``KafkaConfig.extractLogConfigMap``)."""
    defaults: dict[str, ConfigValue | None] = {}
    for definition in TOPIC_KEYS:
        defaults[definition.name] = (
            values[definition.synonyms[0]] if definition.synonyms else definition.default
        )
    defaults["retention.ms"] = retention_ms(values)
    defaults["segment.ms"] = roll_ms(values)
    defaults["segment.jitter.ms"] = roll_jitter_ms(values)
    defaults["flush.ms"] = flush_interval_ms(values)
    return defaults


# Listeners


def broker_endpoints(values: BrokerValues) -> tuple[Endpoint, ...]:
    """The listeners that are not controller listeners. ConfigError if there is none, or one is malformed."""
    items = _list(values, "listeners")
    controllers = _controller_listener_names(values)
    protocols = parse_protocol_map(_text(values, "listener.security.protocol.map"))
    # What protocol a controller listener has does not matter: it is never opened.
    all_endpoints = parse_listeners(
        "listeners", items, {**dict.fromkeys(controllers, "PLAINTEXT"), **protocols}
    )
    check_distinct_ports("listeners", all_endpoints)
    endpoints = tuple(endpoint for endpoint in all_endpoints if endpoint.listener_name not in controllers)
    if not endpoints:
        raise ConfigError(
            "listeners", ",".join(items), "expected at least one listener that is not a controller listener"
        )
    check_served("listeners", endpoints)
    return endpoints


def _controller_listener_names(values: BrokerValues) -> frozenset[str]:
    names = values["controller.listener.names"] or ()
    assert isinstance(names, tuple)
    return frozenset(name.upper() for name in names)


def advertised_endpoints(values: BrokerValues) -> tuple[Endpoint, ...]:
    """``advertised.listeners`` as far as they belong to opened listeners; empty when unset."""
    items = values["advertised.listeners"]
    if items is None:
        return ()
    assert isinstance(items, tuple)
    opened = {endpoint.listener_name: endpoint.security_protocol for endpoint in broker_endpoints(values)}
    controllers = _controller_listener_names(values)
    key = "advertised.listeners"
    protocols = {
        **dict.fromkeys(controllers, "PLAINTEXT"),
        **parse_protocol_map(_text(values, "listener.security.protocol.map")),
    }
    endpoints = parse_listeners(key, items, protocols)
    for endpoint in endpoints:
        if endpoint.host in _ANY_ADDRESS or endpoint.port == 0:
            raise ConfigError(key, str(endpoint), "expected an address that clients can connect to")
        if endpoint.listener_name not in opened and endpoint.listener_name not in controllers:
            raise ConfigError(key, str(endpoint), f"expected one of the listeners {', '.join(opened)}")
    return tuple(endpoint for endpoint in endpoints if endpoint.listener_name in opened)


def inter_broker_listener_name(values: BrokerValues) -> str:
    """``inter.broker.listener.name``, else a listener of ``security.inter.broker.protocol``.

    Without a listener named like the protocol Kafka does not start; here the first listener with that
    protocol serves, and where there is none the first of all.
    """
    endpoints = broker_endpoints(values)
    name = values["inter.broker.listener.name"]
    names = [endpoint.listener_name for endpoint in endpoints]
    if isinstance(name, str):
        if name.upper() not in names:
            raise ConfigError("inter.broker.listener.name", name, f"expected one of {', '.join(names)}")
        return name.upper()
    protocol = _text(values, "security.inter.broker.protocol")
    if protocol in names:
        return protocol
    matching = [endpoint.listener_name for endpoint in endpoints if endpoint.security_protocol == protocol]
    return (matching or names)[0]


# Checks


def check_together(values: BrokerValues, texts: Mapping[str, str]) -> None:
    """ConfigError for values that contradict each other; ``texts`` tells which keys were set."""
    advertised_endpoints(values)
    if "inter.broker.listener.name" in texts and "security.inter.broker.protocol" in texts:
        raise ConfigError(
            "inter.broker.listener.name",
            texts["inter.broker.listener.name"],
            "not together with security.inter.broker.protocol",
        )
    inter_broker_listener_name(values)
    if "broker.id" in texts and values["node.id"] != values["broker.id"]:
        raise ConfigError(
            "broker.id", texts["broker.id"], f"expected the value of node.id, {values['node.id']}"
        )
    if "broker" not in _list(values, "process.roles"):
        raise ConfigError(
            "process.roles",
            texts.get("process.roles"),
            "kbroker always is a broker; expected broker among them",
        )
    _check_logs(values, texts)
    _check_connections(values, texts)


def _check_logs(values: BrokerValues, texts: Mapping[str, str]) -> None:
    if retention_ms(values) == 0:
        name = next((key for key in _RETENTION_KEYS if key in texts), "log.retention.ms")
        raise ConfigError(name, texts.get(name), "expected -1 for unlimited, or at least one millisecond")
    if roll_ms(values) < 1:
        raise ConfigError("log.roll.ms", texts.get("log.roll.ms"), "expected a number from 1")
    if roll_jitter_ms(values) < 0:
        raise ConfigError("log.roll.jitter.ms", texts.get("log.roll.jitter.ms"), "expected a number from 0")
    directories = values["log.dirs"] or values["log.dir"]
    assert isinstance(directories, tuple)
    cordoned = _list(values, "cordoned.log.dirs")
    for directory in cordoned:
        if directory not in directories and cordoned != ("*",):
            raise ConfigError("cordoned.log.dirs", directory, "expected directories of log.dirs, or just *")


def _check_connections(values: BrokerValues, texts: Mapping[str, str]) -> None:
    overrides_text = _text(values, "max.connections.per.ip.overrides")
    overrides = parse_connection_limits(overrides_text)
    if values["max.connections.per.ip"] == 0 and not overrides:
        raise ConfigError(
            "max.connections.per.ip", "0", "expected more than 0 without max.connections.per.ip.overrides"
        )
    queued = _int(values, "queued.max.request.bytes")
    largest = _int(values, "socket.request.max.bytes")
    if 0 < queued < largest:
        raise ConfigError(
            "queued.max.request.bytes", str(queued), f"expected at least socket.request.max.bytes, {largest}"
        )
    idle_ms = _int(values, "connections.max.idle.ms")
    delay_ms = _int(values, "connection.failed.authentication.delay.ms")
    if 0 <= idle_ms <= delay_ms:
        raise ConfigError(
            "connections.max.idle.ms",
            str(idle_ms),
            f"expected more than connection.failed.authentication.delay.ms, {delay_ms}",
        )


_RETENTION_KEYS = ("log.retention.ms", "log.retention.minutes", "log.retention.hours")


def _first_set(values: BrokerValues, *keys_and_units_ms: tuple[str, int]) -> int:
    for name, unit_ms in keys_and_units_ms:
        value = values[name]
        if value is not None:
            assert isinstance(value, int)
            return value * unit_ms
    raise AssertionError(f"none of {keys_and_units_ms} has a default")


def _list(values: BrokerValues, name: str) -> tuple[str, ...]:
    value = values[name]
    assert isinstance(value, tuple)
    return value


def _text(values: BrokerValues, name: str) -> str:
    value = values[name]
    assert isinstance(value, str)
    return value


def _int(values: BrokerValues, name: str) -> int:
    value = values[name]
    assert isinstance(value, int)
    return value
