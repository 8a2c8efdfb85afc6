"""Which overrides a resource may have; the codes are those that Apache Kafka 4.4 answered with."""

from __future__ import annotations

import pytest

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.resources import ConfigResourceType
from kbroker.config.rules import KafkaConfigRules
from wire.errors import ApiError, ErrorCode

TOPIC, BROKER, LOGGER, METRICS, GROUP = (
    ConfigResourceType.TOPIC,
    ConfigResourceType.BROKER,
    ConfigResourceType.BROKER_LOGGER,
    ConfigResourceType.CLIENT_METRICS,
    ConfigResourceType.GROUP,
)


def outcome(
    resource: tuple[ConfigResourceType, str],
    entries: dict[str, str],
    static: dict[str, str] | None = None,
) -> ErrorCode:
    rules = KafkaConfigRules(BrokerConfig(static or {}))
    try:
        rules.validate_overrides(resource, entries)
    except ApiError as error:
        return error.code
    return ErrorCode.NONE


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({}, ErrorCode.NONE),
        ({"retention.ms": " 7 ", "cleanup.policy": "delete, compact"}, ErrorCode.NONE),
        ({"cleanup.policy": ""}, ErrorCode.NONE),
        ({"cleanup.policy": "compact,"}, ErrorCode.INVALID_CONFIG),
        ({"retention.ms": "soon"}, ErrorCode.INVALID_CONFIG),
        ({"no.such.key": "1"}, ErrorCode.INVALID_CONFIG),
        ({"": "1"}, ErrorCode.INVALID_CONFIG),
        ({"remote.storage.enable": "true"}, ErrorCode.INVALID_CONFIG),
    ],
)
def test_topic(entries: dict[str, str], code: ErrorCode) -> None:
    assert outcome((TOPIC, "orders"), entries) is code
    assert outcome((TOPIC, ""), {}) is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("name", "value", "one_broker", "all_brokers"),
    [
        ("log.retention.ms", "1000", ErrorCode.NONE, ErrorCode.NONE),
        ("log.retention.ms", "abc", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("log.retention.ms", "0", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("log.retention.hours", "5", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("log.dirs", "/x", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("node.id", "1", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("kbroker.shutdown.timeout.ms", "1", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("example.custom", "x", ErrorCode.NONE, ErrorCode.NONE),
        ("log.segment.bytes", "5", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("max.connections.per.ip", "0", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("ssl.keystore.location", "/x", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
        ("listener.name.plaintext.ssl.keystore.location", "/x", ErrorCode.NONE, ErrorCode.INVALID_REQUEST),
        ("listener.name.plaintext.max.connections", "5", ErrorCode.NONE, ErrorCode.NONE),
        (
            "listener.name.plaintext.max.connections",
            "x",
            ErrorCode.INVALID_REQUEST,
            ErrorCode.INVALID_REQUEST,
        ),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT",
            ErrorCode.NONE,
            ErrorCode.INVALID_REQUEST,
        ),
        ("sasl.enabled.mechanisms", "PLAIN", ErrorCode.NONE, ErrorCode.INVALID_REQUEST),
        ("leader.replication.throttled.rate", "1000", ErrorCode.NONE, ErrorCode.NONE),
        ("cordoned.log.dirs", "/x", ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST),
    ],
)
def test_broker(name: str, value: str, one_broker: ErrorCode, all_brokers: ErrorCode) -> None:
    assert outcome((BROKER, "1"), {name: value}) is one_broker
    assert outcome((BROKER, ""), {name: value}) is all_brokers


def test_broker_overrides_are_checked_with_the_other_layers() -> None:
    config = BrokerConfig({})
    rules = KafkaConfigRules(config)
    config.apply_dynamic(broker={}, all_brokers={"max.connections.per.ip.overrides": "127.0.0.1:5"})
    rules.validate_overrides((BROKER, "1"), {"max.connections.per.ip": "0"})
    config.apply_dynamic(broker={}, all_brokers={})
    with pytest.raises(ApiError):
        rules.validate_overrides((BROKER, "1"), {"max.connections.per.ip": "0"})


def test_listeners_cannot_move_while_the_broker_runs() -> None:
    static = {"listeners": "PLAINTEXT://127.0.0.1:9092"}
    assert outcome((BROKER, "1"), {"listeners": "PLAINTEXT://127.0.0.1:9092"}, static) is ErrorCode.NONE
    moved = {"listeners": "PLAINTEXT://127.0.0.1:9093"}
    assert outcome((BROKER, "1"), moved, static) is ErrorCode.INVALID_REQUEST


def test_a_refusal_says_what_is_wrong_in_one_line() -> None:
    rules = KafkaConfigRules(BrokerConfig({}))
    with pytest.raises(ApiError) as caught:
        rules.validate_overrides((TOPIC, "orders"), {"retention.ms": "so\non"})
    assert (
        caught.value.message
        == "Invalid value so\\non for configuration retention.ms: Not a number of type LONG"
    )


def test_a_refusal_does_not_repeat_a_secret() -> None:
    rules = KafkaConfigRules(BrokerConfig({}))
    with pytest.raises(ApiError) as caught:
        rules.validate_overrides((BROKER, "1"), {"ssl.keystore.password": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("consumer.session.timeout.ms", "45000", ErrorCode.NONE),
        ("consumer.session.timeout.ms", "44999", ErrorCode.INVALID_CONFIG),
        ("consumer.session.timeout.ms", "60001", ErrorCode.INVALID_CONFIG),
        ("consumer.heartbeat.interval.ms", "15000", ErrorCode.NONE),
        ("consumer.heartbeat.interval.ms", "15001", ErrorCode.INVALID_CONFIG),
        ("consumer.assignment.interval.ms", "20000", ErrorCode.INVALID_CONFIG),
        ("share.auto.offset.reset", "earliest", ErrorCode.NONE),
        ("share.auto.offset.reset", "EARLIEST", ErrorCode.INVALID_CONFIG),
        ("share.auto.offset.reset", "by_duration:P1DT2H3M4.5S", ErrorCode.NONE),
        ("share.auto.offset.reset", "by_duration:pt1h", ErrorCode.NONE),
        ("share.auto.offset.reset", "by_duration:PT", ErrorCode.INVALID_CONFIG),
        ("share.auto.offset.reset", "by_duration:P", ErrorCode.INVALID_CONFIG),
        ("share.auto.offset.reset", "by_duration:-PT1H", ErrorCode.INVALID_CONFIG),
        ("share.isolation.level", "read_committed", ErrorCode.NONE),
        ("share.isolation.level", "READ_COMMITTED", ErrorCode.INVALID_CONFIG),
        ("share.delivery.count.limit", "11", ErrorCode.INVALID_CONFIG),
        ("share.record.lock.duration.ms", "1000", ErrorCode.INVALID_CONFIG),
        ("streams.num.standby.replicas", "2", ErrorCode.NONE),
        ("streams.num.standby.replicas", "3", ErrorCode.INVALID_CONFIG),
        ("streams.task.offset.interval.ms", "5", ErrorCode.INVALID_CONFIG),
        ("streams.assignor.name", "sticky", ErrorCode.NONE),
        ("streams.assignor.name", "other", ErrorCode.INVALID_CONFIG),
        ("errors.deadletterqueue.topic.name", "dlq.orders", ErrorCode.NONE),
        ("errors.deadletterqueue.topic.name", "__orders", ErrorCode.INVALID_CONFIG),
        ("no.such.key", "1", ErrorCode.INVALID_CONFIG),
    ],
)
def test_group(name: str, value: str, code: ErrorCode) -> None:
    assert outcome((GROUP, "consumers"), {name: value}) is code


def test_group_bounds_and_names_follow_the_broker() -> None:
    static = {
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.min.heartbeat.interval.ms": "1",
    }
    entries = {"consumer.session.timeout.ms": "2000", "consumer.heartbeat.interval.ms": "2000"}
    assert outcome((GROUP, "consumers"), entries, static) is ErrorCode.INVALID_CONFIG
    entries["consumer.heartbeat.interval.ms"] = "1999"
    assert outcome((GROUP, "consumers"), entries, static) is ErrorCode.NONE
    assert outcome((GROUP, ""), {}) is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("interval.ms", "100", ErrorCode.NONE),
        ("interval.ms", "3600000", ErrorCode.NONE),
        ("interval.ms", "99", ErrorCode.INVALID_REQUEST),
        ("interval.ms", "3600001", ErrorCode.INVALID_REQUEST),
        ("interval.ms", "x", ErrorCode.INVALID_CONFIG),
        ("metrics", "", ErrorCode.NONE),
        ("metrics", "a,b", ErrorCode.NONE),
        ("metrics", "a,,b", ErrorCode.INVALID_CONFIG),
        ("match", " client_id = a ", ErrorCode.NONE),
        ("match", "client_id=a,client_source_port=[0-9]+", ErrorCode.NONE),
        ("match", "other=a", ErrorCode.INVALID_CONFIG),
        ("match", "client_id", ErrorCode.INVALID_CONFIG),
        ("match", "client_id=a=b", ErrorCode.INVALID_CONFIG),
        ("match", "client_id=[", ErrorCode.INVALID_CONFIG),
        ("no.such.key", "1", ErrorCode.INVALID_REQUEST),
    ],
)
def test_client_metrics(name: str, value: str, code: ErrorCode) -> None:
    assert outcome((METRICS, "subscription"), {name: value}) is code
    assert outcome((METRICS, ""), {}) is ErrorCode.INVALID_REQUEST


def test_resources_that_keep_no_configs() -> None:
    assert outcome((LOGGER, "1"), {}) is ErrorCode.INVALID_REQUEST


def test_lists_and_defaults() -> None:
    rules = KafkaConfigRules(BrokerConfig({"log.cleanup.policy": "compact"}))
    assert rules.is_list(TOPIC, "cleanup.policy")
    assert rules.is_list(BROKER, "log.cleanup.policy")
    assert not rules.is_list(TOPIC, "retention.ms")
    assert not rules.is_list(TOPIC, "no.such.key")
    # Kafka lets elements be appended to configs of topics and brokers only.
    assert not rules.is_list(GROUP, "streams.rack.aware.assignment.tags")
    assert rules.default_value(TOPIC, "cleanup.policy") == "delete"
    assert rules.default_value(BROKER, "log.cleanup.policy") == "delete"
    assert rules.default_value(TOPIC, "no.such.key") is None


def test_configs_that_a_new_topic_is_reported_with() -> None:
    config = BrokerConfig({"log.retention.ms": "3"})
    rules = KafkaConfigRules(config)
    reported = {
        entry.name: entry
        for entry in rules.effective_topic_configs(
            {"max.message.bytes": " 9 ", "internal.segment.bytes": "50"}, {}, {"log.segment.bytes": "1048576"}
        )
    }
    assert len(reported) == 37 and list(reported) == sorted(reported)
    assert (reported["max.message.bytes"].value, reported["max.message.bytes"].source) == (" 9 ", 1)
    assert (reported["retention.ms"].value, reported["retention.ms"].source) == ("3", 4)
    assert (reported["segment.bytes"].value, reported["segment.bytes"].source) == ("1048576", 3)
    assert (reported["cleanup.policy"].value, reported["cleanup.policy"].source) == ("delete", 5)
    assert not any(entry.is_sensitive or entry.is_read_only for entry in reported.values())
    assert config.log_segment_bytes == 1 << 30, "asking must not change the broker's own config"


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        (
            "1",
            {"log.dirs": "/x", "ssl.keystore.type": "JKS", "node.id": "7"},
            "Cannot update these configs dynamically: [log.dirs, node.id]",
        ),
        (
            "",
            {"ssl.keystore.type": "JKS", "listeners": "PLAINTEXT://h:1"},
            "These security configs can be dynamically updated only per-listener using the listener prefix: "
            "[ssl.keystore.type]",
        ),
        (
            "",
            {"listeners": "PLAINTEXT://h:1"},
            "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
        ),
    ],
)
def test_what_brokers_may_not_be_told_while_they_run(
    name: str, entries: dict[str, str], message: str
) -> None:
    """All keys with the first reason that there is, in Kafka's order."""
    with pytest.raises(ApiError) as caught:
        KafkaConfigRules(BrokerConfig({})).validate_overrides((ConfigResourceType.BROKER, name), entries)
    assert (caught.value.code, caught.value.message) == (ErrorCode.INVALID_REQUEST, message)
