"""DescribeConfigs' content against Apache Kafka 4.4 (``golden/kafka_described.json``).

The golden file is what Kafka answered with the static entries and the overrides below in place, without the
broker's documentation and without ``min.insync.replicas`` (a new Kafka cluster sets that one itself, KIP-966).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kbroker.config.broker_config import BrokerConfig, ConfigSource
from kbroker.config.description import (
    ConfigDescription,
    describe_all_brokers,
    describe_broker,
    describe_client_metrics,
    describe_group,
    describe_loggers,
    describe_topic,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "kafka_described.json").read_text(encoding="utf-8"))

STATIC = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": "1@127.0.0.1:19093",
    "listeners": "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093",
    "advertised.listeners": "PLAINTEXT://127.0.0.1:19092",
    "controller.listener.names": "CONTROLLER",
    "log.dirs": "/data/kafka",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
BROKER = {
    "example.custom": "v",
    "log.cleanup.policy": "delete,compact",
    "log.retention.ms": " 604800000 ",
    "listener.name.plaintext.max.connections": "100000",
}
ALL_BROKERS = {
    "example.custom": "w",
    "log.retention.ms": "604800000",
    "log.roll.ms": "604800001",
    "compression.zstd.level": " 4",
}
TOPIC = {
    "cleanup.policy": "delete, delete",
    "retention.ms": " 7 ",
    "internal.segment.bytes": " 100 ",
    "preallocate": "TRUE",
    "min.cleanable.dirty.ratio": "1e-1",
    "leader.replication.throttled.replicas": "0:1, 1:1",
}
GROUP = {
    "share.isolation.level": "read_committed",
    "consumer.session.timeout.ms": "50000",
    "streams.assignor.name": "sticky",
    "streams.rack.aware.assignment.tags": "a, b",
}
CLIENT_METRICS = {"interval.ms": " 1000 ", "metrics": "a, b"}


@pytest.fixture(scope="module")
def config() -> BrokerConfig:
    config = BrokerConfig(STATIC)
    _changed, warnings = config.apply_dynamic(broker=BROKER, all_brokers=ALL_BROKERS)
    assert warnings == ()
    return config


def as_golden(described: list[ConfigDescription]) -> dict[str, list[Any]]:
    return {
        config.name: [
            config.value,
            config.source,
            config.is_read_only,
            config.is_sensitive,
            config.type,
            [list(synonym) for synonym in config.synonyms],
        ]
        for config in described
        if config.name != "min.insync.replicas" and not config.name.startswith("kbroker.")
    }


def test_broker(config: BrokerConfig) -> None:
    assert as_golden(describe_broker(config)) == GOLDEN["broker"]


def test_all_brokers(config: BrokerConfig) -> None:
    assert as_golden(describe_all_brokers(config)) == GOLDEN["all_brokers"]


def test_topic(config: BrokerConfig) -> None:
    assert as_golden(describe_topic(config, TOPIC)) == GOLDEN["topic"]


def test_group(config: BrokerConfig) -> None:
    assert as_golden(describe_group(config, GROUP)) == GOLDEN["group"]


def test_client_metrics(config: BrokerConfig) -> None:
    assert as_golden(describe_client_metrics(CLIENT_METRICS)) == GOLDEN["client_metrics"]


def test_client_metrics_without_own_configs() -> None:
    described = {config.name: config for config in describe_client_metrics({})}
    assert described["interval.ms"].value == "300000"
    assert described["interval.ms"].source is ConfigSource.DEFAULT_CONFIG
    assert described["interval.ms"].synonyms == ()


def test_a_secret_is_never_shown_in_any_layer() -> None:
    config = BrokerConfig({"ssl.keystore.password": "hunter2", "unknown.secret": "hunter2"})
    config.apply_dynamic(
        broker={"listener.name.plaintext.ssl.keystore.password": "hunter2"},
        all_brokers={"unknown.secret": "hunter2"},
    )
    described = {entry.name: entry for entry in describe_broker(config) + describe_all_brokers(config)}
    assert "hunter2" not in repr(described)
    for name in ("ssl.keystore.password", "unknown.secret", "listener.name.plaintext.ssl.keystore.password"):
        assert described[name].is_sensitive and described[name].value is None


def test_a_key_lists_only_places_from_its_own_first_one_on() -> None:
    """``log.retention.hours`` does not claim the value of ``log.retention.ms``, which is stronger."""
    described = {entry.name: entry for entry in describe_broker(BrokerConfig({"log.retention.ms": "5"}))}
    assert [synonym.name for synonym in described["log.retention.ms"].synonyms] == [
        "log.retention.ms",
        "log.retention.hours",
    ]
    assert [synonym.name for synonym in described["log.retention.hours"].synonyms] == ["log.retention.hours"]
    assert described["log.retention.hours"].source is ConfigSource.DEFAULT_CONFIG


def test_topic_value_comes_from_the_broker_key_behind_it() -> None:
    config = BrokerConfig({"log.retention.hours": "2"})
    described = {entry.name: entry for entry in describe_topic(config, {})}
    # The value is that of the hours, but no synonym is named: the broker key of the topic key is not set.
    assert described["retention.ms"].value == "7200000"
    config.apply_dynamic(broker={}, all_brokers={"log.retention.ms": "9"})
    described = {entry.name: entry for entry in describe_topic(config, {})}
    assert described["retention.ms"].value == "9"
    assert described["retention.ms"].source is ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG


def test_loggers() -> None:
    (described,) = describe_loggers({"root": "WARN"})
    assert (described.name, described.value, described.source) == ("root", "WARN", 6)
    assert not described.is_read_only and not described.is_sensitive


def test_keys_come_in_alphabetical_order(config: BrokerConfig) -> None:
    names = [entry.name for entry in describe_broker(config)]
    assert names == sorted(names)
