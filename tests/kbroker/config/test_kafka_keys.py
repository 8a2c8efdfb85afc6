"""The declared keys against those of Apache Kafka 4.4 (``golden/kafka_keys.json``, read from its ConfigDefs)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from kbroker.config.broker_attributes import BrokerAttributes
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.broker_keys import BROKER_KEYS, broker_key, broker_synonyms
from kbroker.config.client_metrics_keys import CLIENT_METRICS_KEYS
from kbroker.config.definition import ConfigDefinition, ConfigRegistry, ConfigType
from kbroker.config.group_keys import GROUP_KEYS
from kbroker.config.topic_keys import TOPIC_KEYS

GOLDEN = json.loads((Path(__file__).parent / "golden" / "kafka_keys.json").read_text(encoding="utf-8"))
REGISTRIES = {
    "broker": BROKER_KEYS,
    "topic": TOPIC_KEYS,
    "group": GROUP_KEYS,
    "client_metrics": CLIENT_METRICS_KEYS,
}
PYTHON_TYPES: dict[ConfigType, type] = {
    ConfigType.BOOLEAN: bool,
    ConfigType.DOUBLE: float,
    ConfigType.INT: int,
    ConfigType.LONG: int,
    ConfigType.SHORT: int,
    ConfigType.LIST: tuple,
}
# Keys whose effective value is a property of BrokerConfig under this or another name.
WITHOUT_ATTRIBUTE = {
    "inter.broker.listener.name",
    "kbroker.cluster.id",
    "log.cleaner.delete.retention.ms",
    "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms",
    "log.dir",
    "log.dirs",
    "log.flush.interval.ms",
    "log.retention.hours",
    "log.retention.minutes",
    "log.retention.ms",
    "log.roll.hours",
    "log.roll.jitter.hours",
    "log.roll.jitter.ms",
    "log.roll.ms",
    "max.connections.per.ip.overrides",
    "queued.max.request.bytes",
}


def facts_of(definition: ConfigDefinition, kind: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "type": definition.type.name,
        "default": definition.text_of(definition.default),
        "importance": definition.importance.name,
    }
    if definition.internal:
        facts["internal"] = True
    if kind == "broker":
        facts["update_mode"] = definition.update_mode.value
    return facts


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_key_of_kafka_is_declared_with_its_facts(kind: str) -> None:
    declared = {
        definition.name: facts_of(definition, kind)
        for definition in REGISTRIES[kind]
        if not definition.name.startswith("kbroker.")
    }
    assert declared == GOLDEN[kind]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_default_is_valid_and_survives_its_own_text(kind: str) -> None:
    for definition in REGISTRIES[kind]:
        text = definition.text_of(definition.default)
        if text is not None:
            assert definition.parse(text) == definition.default, definition


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_key_is_documented_in_a_sentence_or_two(kind: str) -> None:
    for definition in REGISTRIES[kind]:
        text = definition.documentation
        assert 10 < len(text) < 200 and text.endswith("."), definition
        assert text == " ".join(text.split()), definition


def test_defaults_have_the_python_type_of_their_key() -> None:
    for registry in REGISTRIES.values():
        for definition in registry:
            if definition.default is not None:
                assert type(definition.default) is PYTHON_TYPES.get(definition.type, str), definition


def test_synonyms_name_broker_keys() -> None:
    for registry in REGISTRIES.values():
        for definition in registry:
            assert all(synonym in BROKER_KEYS for synonym in definition.synonyms), definition


def test_attributes_are_the_keys_acted_on_with_their_types() -> None:
    hints = get_type_hints(BrokerAttributes)
    acted_on = {
        definition.attribute: definition
        for definition in BROKER_KEYS
        if definition.acted_on and definition.name not in WITHOUT_ATTRIBUTE
    }
    assert set(hints) == set(acted_on)
    config = BrokerConfig({})
    for attribute, hint in hints.items():
        definition = acted_on[attribute]
        expected = PYTHON_TYPES.get(definition.type, str)
        value = getattr(config, attribute)
        members = (
            getattr(hint, "__args__", ()) if expected is not tuple else (hint, *getattr(hint, "__args__", ()))
        )
        if value is None:
            assert type(None) in members, attribute
        else:
            assert type(value) is expected, attribute
            origin = getattr(hint, "__origin__", hint)
            assert origin is expected or expected in members, attribute


def test_keys_of_one_listener_lead_to_the_key_for_all() -> None:
    assert broker_key("listener.name.external.max.connections") is BROKER_KEYS["max.connections"]
    assert (
        broker_key("listener.name.external.scram-sha-256.sasl.jaas.config") is BROKER_KEYS["sasl.jaas.config"]
    )
    assert broker_key("listener.name.external.no.such.key") is None
    assert broker_key("no.such.key") is None
    assert broker_synonyms("log.roll.hours") == ("log.roll.ms", "log.roll.hours")
    assert broker_synonyms("log.dirs") == ("log.dirs",)


def test_a_registry_of_kafka_size_is_not_empty() -> None:
    sizes = {kind: len(registry) for kind, registry in REGISTRIES.items()}
    assert sizes == {"broker": 393, "topic": 38, "group": 27, "client_metrics": 3}
    assert all(isinstance(registry, ConfigRegistry) for registry in REGISTRIES.values())


def test_importing_config_drags_in_nothing_heavy() -> None:
    """The broker must start quickly, and the CLI even quicker."""
    program = (
        "import sys, kbroker.config.broker_config, kbroker.config.rules\n"
        "print(sorted({'trio', 'construct', 'asyncio', 'socket', 'httpx', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
