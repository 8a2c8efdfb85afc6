"""Configs as DescribeConfigs tells them: value, source, synonyms, type, documentation.

Follows ``ConfigHelper`` (KIP-226, KIP-569): which keys a resource shows, in which layers a value and its
synonyms are looked up, and which values are hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kbroker.config.broker_config import BrokerConfig, ConfigSource
from kbroker.config.broker_keys import BROKER_KEYS, broker_key, broker_synonyms
from kbroker.config.client_metrics_keys import CLIENT_METRICS_KEYS
from kbroker.config.definition import ConfigDefinition, ConfigRegistry, ConfigType, UpdateMode
from kbroker.config.group_config import resolve_group_config
from kbroker.config.group_keys import GROUP_KEYS
from kbroker.config.topic_keys import TOPIC_KEYS


class SynonymDescription(NamedTuple):
    """One place where a value is set, or would come from."""

    name: str
    value: str | None
    source: ConfigSource


class ConfigDescription(NamedTuple):
    """One config of a resource. ``synonyms`` are in the order in which they would be used."""

    name: str
    value: str | None
    source: ConfigSource
    is_read_only: bool
    is_sensitive: bool
    type: ConfigType
    synonyms: tuple[SynonymDescription, ...]
    documentation: str | None


def describe_topic(config: BrokerConfig, overrides: Mapping[str, str]) -> list[ConfigDescription]:
    """All configs of a topic with these configs of its own."""
    topic_config = config.topic_config(overrides)
    described = []
    for name in _shown(TOPIC_KEYS, overrides):
        definition = TOPIC_KEYS[name]
        own_text = overrides.get(name)
        # An internal key shows what was written, not what was read from it.
        value = own_text if definition.internal else definition.text_of(topic_config.value(name))
        synonyms = _broker_layers(config, definition.synonyms[0]) if definition.synonyms else ()
        if own_text is not None:
            synonyms = (SynonymDescription(name, value, ConfigSource.DYNAMIC_TOPIC_CONFIG), *synonyms)
        described.append(_describe(definition, value, synonyms))
    return described


def describe_broker(config: BrokerConfig) -> list[ConfigDescription]:
    """All configs of this broker, unknown keys among them."""
    texts: dict[str, str] = {}
    for _source, layer in reversed(list(config.layers())):
        texts.update(layer)
    return [
        _describe_broker_key(name, _broker_value(config, name, texts), _broker_layers(config, name))
        for name in _shown(BROKER_KEYS, texts)
    ]


def describe_all_brokers(config: BrokerConfig) -> list[ConfigDescription]:
    """What is set for all brokers of the cluster; nothing else is shown."""
    layer = dict(config.layers())[ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG]
    return [
        _describe_broker_key(
            name,
            text,
            tuple(
                synonym
                for synonym in _broker_layers(config, name)
                if synonym.source is ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG
            ),
        )
        for name, text in sorted(layer.items())
    ]


def describe_group(config: BrokerConfig, overrides: Mapping[str, str]) -> list[ConfigDescription]:
    """All configs of a group with these configs of its own."""
    values = resolve_group_config(config, overrides)
    described = []
    for name in _shown(GROUP_KEYS, overrides):
        definition = GROUP_KEYS[name]
        value = definition.text_of(values[name])
        synonyms = (
            _broker_layers(config, definition.synonyms[0])
            if definition.synonyms
            else (
                SynonymDescription(name, definition.text_of(definition.default), ConfigSource.DEFAULT_CONFIG),
            )
        )
        if name in overrides:
            synonyms = (SynonymDescription(name, value, ConfigSource.GROUP_CONFIG), *synonyms)
        described.append(_describe(definition, value, synonyms))
    return described


def describe_client_metrics(overrides: Mapping[str, str]) -> list[ConfigDescription]:
    """All configs of a client metrics subscription."""
    described = []
    for definition in sorted(CLIENT_METRICS_KEYS, key=lambda definition: definition.name):
        own_text = overrides.get(definition.name)
        value = definition.text_of(definition.default if own_text is None else definition.parse(own_text))
        synonyms: tuple[SynonymDescription, ...] = ()
        if own_text is not None:
            synonyms = (SynonymDescription(definition.name, value, ConfigSource.CLIENT_METRICS_CONFIG),)
        described.append(_describe(definition, value, synonyms))
    return described


def describe_loggers(levels: Mapping[str, str]) -> list[ConfigDescription]:
    """The log level of each logger (KIP-412)."""
    return [
        ConfigDescription(
            name=name,
            value=level,
            source=ConfigSource.DYNAMIC_BROKER_LOGGER_CONFIG,
            is_read_only=False,
            is_sensitive=False,
            type=ConfigType.UNKNOWN,
            synonyms=(),
            documentation="",
        )
        for name, level in sorted(levels.items())
    ]


def _shown(registry: ConfigRegistry, set_names: Iterable[str]) -> list[str]:
    """Keys that a resource shows: all but internal ones, and whatever is set."""
    return sorted({definition.name for definition in registry if not definition.internal}.union(set_names))


def _describe(
    definition: ConfigDefinition, value: str | None, synonyms: tuple[SynonymDescription, ...]
) -> ConfigDescription:
    return ConfigDescription(
        name=definition.name,
        value=value,
        source=synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG,
        is_read_only=False,
        is_sensitive=definition.sensitive,
        type=definition.type,
        synonyms=synonyms,
        documentation=definition.documentation,
    )


def _describe_broker_key(
    name: str, value: str | None, synonyms: tuple[SynonymDescription, ...]
) -> ConfigDescription:
    # A key of one listener has the type of the key behind it, but can only be changed under that key's name;
    # of an unknown key nobody knows whether its value is a secret.
    definition = broker_key(name)
    named = BROKER_KEYS.get(name)
    sensitive = definition is None or definition.sensitive
    return ConfigDescription(
        name=name,
        value=None if sensitive else value,
        source=synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG,
        is_read_only=named is None or named.update_mode is UpdateMode.READ_ONLY,
        is_sensitive=sensitive,
        type=ConfigType.UNKNOWN if definition is None else definition.type,
        synonyms=synonyms,
        documentation=None if named is None else named.documentation,
    )


def _broker_value(config: BrokerConfig, name: str, texts: Mapping[str, str]) -> str | None:
    definition = BROKER_KEYS.get(name)
    if definition is None or definition.internal:
        return texts[name]
    return definition.text_of(config.value(name))


def _broker_layers(config: BrokerConfig, name: str) -> tuple[SynonymDescription, ...]:
    """Where a broker key's value comes from: each layer from the top, in each the key and its synonyms.

    What stands above the first place that sets the key itself is left out, so that ``log.retention.hours``
    does not name ``log.retention.ms`` as its source.
    """
    definition = broker_key(name)
    sensitive = definition is None or definition.sensitive
    names = broker_synonyms(name)
    found = [
        SynonymDescription(synonym, None if sensitive else layer[synonym], source)
        for source, layer in config.layers()
        for synonym in names
        if synonym in layer
    ]
    for synonym in names:
        base = BROKER_KEYS.get(synonym)
        if base is not None and base.default is not None:
            text = None if sensitive else base.text_of(base.default)
            found.append(SynonymDescription(synonym, text, ConfigSource.DEFAULT_CONFIG))
    while found and found[0].name != name:
        del found[0]
    return tuple(found)
