"""All broker keys of Apache Kafka 4.x, and kbroker's own, in one registry.

Names, types, defaults, bounds and update modes are those of Kafka 4.4's ``AbstractKafkaConfig``.
"""

from __future__ import annotations

import re

from kbroker.config.definition import ConfigDefinition, ConfigRegistry
from kbroker.config.keys import (
    cleaner,
    consumer_groups,
    groups,
    kraft,
    log,
    network,
    own,
    quotas,
    remote_storage,
    replication,
    sasl,
    share_groups,
    tls,
    transactions,
)

BROKER_KEYS = ConfigRegistry(
    definition
    for module in (
        own,
        network,
        kraft,
        log,
        cleaner,
        groups,
        consumer_groups,
        share_groups,
        transactions,
        replication,
        quotas,
        tls,
        sasl,
        remote_storage,
    )
    for definition in module.KEYS
)

_LISTENER_PREFIXED = re.compile(r"listener\.name\.[^.]*\.(.*)")
_PER_MECHANISM = (
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
    "sasl.login.callback.handler.class",
    "sasl.jaas.config",
    "sasl.login.class",
)


def without_listener_prefix(name: str) -> str | None:
    """``max.connections`` for ``listener.name.external.max.connections``; None without that prefix."""
    match = _LISTENER_PREFIXED.fullmatch(name)
    return match[1] if match else None


def broker_synonyms(name: str) -> tuple[str, ...]:
    """The keys that can give ``name`` its value, the strongest first (``DynamicBrokerConfig``).

    A key of one listener falls back to the key for all listeners, also where a SASL mechanism stands between
    the prefix and the key.
    """
    definition = BROKER_KEYS.get(name)
    if definition is not None:
        return definition.synonyms or (name,)
    base = without_listener_prefix(name)
    if base is None:
        return (name,)
    return (name, next((key for key in _PER_MECHANISM if base.endswith(key)), base))


def broker_key(name: str) -> ConfigDefinition | None:
    """The definition behind ``name``, which may carry a listener's prefix; None for an unknown key."""
    definition = BROKER_KEYS.get(name)
    return definition if definition is not None else BROKER_KEYS.get(broker_synonyms(name)[-1])
