"""Layers of a broker's configuration, dynamic updates, and what follows from several keys."""

from __future__ import annotations

import pytest

from kbroker.config.broker_config import BrokerConfig, ConfigSource
from kbroker.config.broker_keys import BROKER_KEYS
from kbroker.config.definition import ConfigError
from storage.log_config import LogConfig

HOUR_MS = 3_600_000


def test_defaults_are_kafkas() -> None:
    config = BrokerConfig({})
    assert config.node_id == 1
    assert config.process_roles == ("broker", "controller")
    assert config.log_directories == ("/tmp/kafka-logs",)
    assert config.log_retention_ms == 168 * HOUR_MS
    assert config.log_roll_ms == 168 * HOUR_MS
    assert config.log_roll_jitter_ms == 0
    assert config.log_flush_interval_ms == 2**63 - 1
    assert config.offsets_topic_replication_factor == 3
    assert config.cluster_id is None
    assert config.warnings == ()


def test_a_log_config_without_overrides_is_storages_default() -> None:
    assert BrokerConfig({}).to_log_config({}) == LogConfig()


def test_load_layers_all_sources() -> None:
    config = BrokerConfig.load(
        properties=b"num.partitions=2\nnode.id=5\nlog.segment.bytes=2097152",
        environment={"KAFKA_NUM_PARTITIONS": "3", "CLUSTER_ID": "abc", "KAFKA_HEAP_OPTS": "-Xmx1g"},
        overrides=["num.partitions=4"],
        default_data_directory="data",
    )
    assert config.num_partitions == 4
    assert config.node_id == 5
    assert config.log_segment_bytes == 2_097_152
    assert config.cluster_id == "abc"
    assert config.log_directories == ("data",)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"num.partitions": "many"},
            "Invalid value many for configuration num.partitions: Not a number of type INT",
        ),
        (
            {"num.partitions": "0"},
            "Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ),
        (
            {"log.cleanup.policy": "shred"},
            "Invalid value shred for configuration log.cleanup.policy: String must be one of: ",
        ),
        (
            {"compression.type": "zip"},
            "Invalid value zip for configuration compression.type: String must be one of: uncompressed, zstd",
        ),
        (
            {"auto.create.topics.enable": "on"},
            "Invalid value on for configuration auto.create.topics.enable: Expected value to be either true or false",
        ),
        (
            {"node.id": "1", "broker.id": "2"},
            "Invalid value 2 for configuration broker.id: expected the value of node.id, 1",
        ),
        (
            {"process.roles": "controller"},
            "Invalid value controller for configuration process.roles: kbroker always is a broker",
        ),
        (
            {"log.retention.hours": "0"},
            "Invalid value 0 for configuration log.retention.hours: expected -1 for unlimited",
        ),
        (
            {"log.retention.ms": "0"},
            "Invalid value 0 for configuration log.retention.ms: expected -1 for unlimited",
        ),
        (
            {"max.connections.per.ip": "0"},
            "Invalid value 0 for configuration max.connections.per.ip: expected more than 0",
        ),
        (
            {"max.connections.per.ip.overrides": "x"},
            "Invalid value x for configuration max.connections.per.ip.overrides: expected",
        ),
        (
            {"queued.max.request.bytes": "5"},
            "Invalid value 5 for configuration queued.max.request.bytes: expected at least socket.request",
        ),
        (
            {"connections.max.idle.ms": "100"},
            "Invalid value 100 for configuration connections.max.idle.ms: expected more than",
        ),
        (
            {"cordoned.log.dirs": "/other"},
            "Invalid value /other for configuration cordoned.log.dirs: expected directories of log.dirs",
        ),
        (
            {"listener.name.plaintext.max.connections": "x"},
            "Invalid value x for configuration max.connections: Not a number of type INT",
        ),
    ],
)
def test_a_malformed_value_is_one_clear_line(entries: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BrokerConfig(entries)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_keys_without_effect_are_accepted_with_one_warning_each() -> None:
    config = BrokerConfig(
        {
            "zookeeper.connect": "localhost:2181",
            "num.io.threads": "4",
            "num.partitions": "2",
            "listener.name.plaintext.ssl.keystore.password": "hunter2",
        }
    )
    assert [(warning.name, warning.reason) for warning in config.warnings] == [
        (
            "listener.name.plaintext.ssl.keystore.password",
            "accepted, but kbroker does not act on this config key",
        ),
        ("num.io.threads", "accepted, but kbroker does not act on this config key"),
        ("zookeeper.connect", "unknown config key, ignored"),
    ]
    assert "hunter2" not in "".join(map(str, config.warnings))


def test_the_usual_docker_compose_file_starts() -> None:
    config = BrokerConfig.load(
        environment={
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093",
            "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://localhost:9092",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        }
    )
    assert [str(endpoint) for endpoint in config.endpoints] == ["PLAINTEXT://0.0.0.0:9092"]
    assert [warning.name for warning in config.warnings] == ["controller.quorum.voters"]


@pytest.mark.parametrize(
    ("entries", "retention_ms"),
    [
        ({"log.retention.hours": "2"}, 2 * HOUR_MS),
        ({"log.retention.hours": "2", "log.retention.minutes": "3"}, 180_000),
        ({"log.retention.hours": "2", "log.retention.minutes": "3", "log.retention.ms": "4"}, 4),
        ({"log.retention.hours": "-1"}, -1),
        ({"log.retention.minutes": "-7"}, -1),
        ({"log.retention.ms": "-1", "log.retention.hours": "5"}, -1),
    ],
)
def test_retention_follows_the_synonyms(entries: dict[str, str], retention_ms: int) -> None:
    config = BrokerConfig(entries)
    assert config.log_retention_ms == retention_ms
    assert config.to_log_config({}).retention_ms == retention_ms


def test_other_synonyms() -> None:
    config = BrokerConfig({"log.roll.hours": "2", "log.roll.jitter.hours": "1"})
    assert (config.log_roll_ms, config.log_roll_jitter_ms) == (2 * HOUR_MS, HOUR_MS)
    config = BrokerConfig({"log.roll.ms": "7", "log.roll.hours": "2", "log.roll.jitter.ms": "8"})
    assert (config.log_roll_ms, config.log_roll_jitter_ms) == (7, 8)
    assert BrokerConfig({"log.flush.scheduler.interval.ms": "9"}).to_log_config({}).flush_ms == 9
    assert BrokerConfig({"log.flush.interval.ms": "5"}).to_log_config({}).flush_ms == 5


def test_broker_id_stands_in_for_node_id() -> None:
    config = BrokerConfig({"broker.id": "7"})
    assert (config.node_id, config.broker_id) == (7, 7)
    assert BrokerConfig({"node.id": "7"}).broker_id == 7


def test_queued_request_bytes_always_leave_room_for_the_largest_request() -> None:
    assert BrokerConfig({}).queued_request_bytes_max >= BrokerConfig({}).socket_request_max_bytes
    assert BrokerConfig({"socket.request.max.bytes": "2000000000"}).queued_request_bytes_max == 2_000_000_000
    assert BrokerConfig({"queued.max.request.bytes": "104857600"}).queued_request_bytes_max == 104_857_600


def test_log_dir_lists() -> None:
    assert BrokerConfig({"log.dirs": "/a, /b"}).log_directories == ("/a", "/b")
    assert BrokerConfig({"log.dir": "/a"}).log_directories == ("/a",)
    assert BrokerConfig({"log.dir": "/a", "log.dirs": "/b"}).log_directories == ("/b",)


# Dynamic updates


def test_layers_in_kafkas_order() -> None:
    config = BrokerConfig({"message.max.bytes": "1"})
    assert config.message_max_bytes == 1
    config.apply_dynamic(broker={}, all_brokers={"message.max.bytes": "2"})
    assert config.message_max_bytes == 2
    config.apply_dynamic(broker={"message.max.bytes": "3"}, all_brokers={"message.max.bytes": "2"})
    assert config.message_max_bytes == 3
    assert config.to_log_config({}).max_message_bytes == 3
    assert config.to_log_config({"max.message.bytes": "4"}).max_message_bytes == 4
    assert [source for source, _layer in config.layers()] == [
        ConfigSource.DYNAMIC_BROKER_CONFIG,
        ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG,
        ConfigSource.STATIC_BROKER_CONFIG,
    ]
    config.apply_dynamic(broker={}, all_brokers={})
    assert config.message_max_bytes == 1


def test_a_dynamic_key_beats_a_stronger_synonym_of_a_lower_layer() -> None:
    config = BrokerConfig({"log.retention.ms": "5"})
    config.apply_dynamic(broker={}, all_brokers={"log.retention.minutes": "1"})
    assert config.log_retention_ms == 60_000


def test_apply_dynamic_tells_what_changed() -> None:
    config = BrokerConfig({})
    changed, warnings = config.apply_dynamic(
        broker={"max.connections": "5"}, all_brokers={"max.connections": "6", "unknown.key": "x"}
    )
    assert (changed, warnings) == (frozenset({"max.connections"}), ())
    changed, _warnings = config.apply_dynamic(broker={"max.connections": "5"}, all_brokers={})
    assert changed == frozenset()


def test_a_stored_value_that_is_not_valid_here_is_ignored_with_a_warning() -> None:
    config = BrokerConfig({})
    changed, warnings = config.apply_dynamic(
        broker={"max.connections.per.ip": "0", "max.connections": "7"}, all_brokers={"num.io.threads": "x"}
    )
    assert changed == frozenset({"max.connections"})
    assert config.max_connections_per_ip == 2**31 - 1
    assert [warning.name for warning in warnings] == ["num.io.threads", "max.connections.per.ip"]


def test_with_dynamic_leaves_the_original_alone_and_refuses_what_is_invalid() -> None:
    config = BrokerConfig({"max.connections": "1"})
    config.apply_dynamic(broker={}, all_brokers={"max.connections": "2"})
    other = config.with_dynamic(broker={"max.connections": "3"})
    assert (config.max_connections, other.max_connections) == (2, 3)
    assert config.with_dynamic(all_brokers={}).max_connections == 1
    with pytest.raises(ConfigError, match=r"^Invalid value x for configuration max\.connections: "):
        config.with_dynamic(broker={"max.connections": "x"})


def test_caches_follow_dynamic_updates() -> None:
    config = BrokerConfig({"max.connections.per.ip.overrides": "127.0.0.1:1"})
    assert config.max_connections_per_ip_overrides == {"127.0.0.1": 1}
    assert config.to_log_config({}) is config.to_log_config({})
    before = config.to_log_config({})
    config.apply_dynamic(
        broker={"max.connections.per.ip.overrides": "::1:2", "log.segment.bytes": "1048576"}, all_brokers={}
    )
    assert config.max_connections_per_ip_overrides == {"::1": 2}
    assert config.to_log_config({}).segment_bytes == 1_048_576 != before.segment_bytes


def test_many_different_topics_do_not_fill_memory() -> None:
    config = BrokerConfig({})
    for retention_ms in range(2_500):
        assert config.to_log_config({"retention.ms": str(retention_ms)}).retention_ms == retention_ms
    assert len(config._log_configs) <= 1_000


def test_value_of_any_key() -> None:
    config = BrokerConfig({})
    assert config.value("sasl.login.refresh.window.factor") == 0.8
    assert config.value("log.retention.ms") is None
    with pytest.raises(KeyError):
        config.value("no.such.key")


def test_no_key_hides_behind_something_else_of_the_same_name() -> None:
    made_of_several_keys = {
        "log_flush_interval_ms",
        "log_retention_ms",
        "log_roll_jitter_ms",
        "log_roll_ms",
        "inter_broker_listener_name",
    }
    hidden = {definition.attribute for definition in BROKER_KEYS} & set(dir(BrokerConfig))
    assert hidden == made_of_several_keys
