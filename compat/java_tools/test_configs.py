"""kafka-configs of topics, brokers, loggers, groups and clients; kafka-client-metrics."""

from __future__ import annotations

import re

import pytest

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools

Synonyms = list[tuple[str, str, str]]


def _described(printed: str) -> dict[str, tuple[str, Synonyms]]:
    """Value and synonyms (source, key, value) of each config that ``--describe`` prints."""
    found: dict[str, tuple[str, Synonyms]] = {}
    for line in printed.splitlines():
        parsed = re.fullmatch(r"  (\S+?)=(.*) sensitive=(?:true|false) synonyms=\{(.*)\}", line)
        if parsed is not None:
            key, value, synonyms = parsed.groups()
            found[key] = (value, re.findall(r"([A-Z_]+):([\w.]+)=(.*?)(?:, (?=[A-Z_]+:)|$)", synonyms))
    return found


@pytest.fixture
def broker_id(tools: Tools) -> str:
    """The id of the one broker."""
    (found,) = set(re.findall(r"\(id: (\d+) ", tools("kafka-broker-api-versions")))
    return str(found)


def test_configs_of_a_topic(tools: Tools, new_topic: NewTopic) -> None:
    topic = new_topic()
    line = ("kafka-configs", "--topic", topic)

    altered = tools(*line, "--alter", "--add-config=retention.ms=5000000,cleanup.policy=[compact,delete]")
    own = _described(tools(*line, "--describe"))
    everything = _described(tools(*line, "--describe", "--all"))
    tools(*line, "--alter", "--delete-config=retention.ms")
    left = _described(tools(*line, "--describe"))

    assert altered == f"Completed updating config for topic {topic}.\n"
    assert own["retention.ms"] == (
        "5000000",
        [("DYNAMIC_TOPIC_CONFIG", "retention.ms", "5000000")],
    )
    assert own["cleanup.policy"] == (
        "compact,delete",
        [
            ("DYNAMIC_TOPIC_CONFIG", "cleanup.policy", "compact,delete"),
            ("DEFAULT_CONFIG", "log.cleanup.policy", "delete"),
        ],
    )
    assert everything["index.interval.bytes"] == (
        "4096",
        [("DEFAULT_CONFIG", "log.index.interval.bytes", "4096")],
    )
    assert set(own) < set(everything)
    assert set(left) == {"cleanup.policy"}


def test_the_same_configs_under_the_older_names_of_the_options(tools: Tools, new_topic: NewTopic) -> None:
    topic = new_topic()
    line = ("kafka-configs", "--entity-type", "topics", "--entity-name", topic)

    tools(*line, "--alter", "--add-config", "max.message.bytes=2000000")

    assert _described(tools(*line, "--describe"))["max.message.bytes"][0] == "2000000"


def test_values_that_a_topic_refuses(tools: Tools, new_topic: NewTopic) -> None:
    line = ("kafka-configs", "--topic", new_topic(), "--alter")

    unknown = tools.refused(*line, "--add-config=no.such.config=1")
    no_number = tools.refused(*line, "--add-config=retention.ms=soon")
    out_of_range = tools.refused(*line, "--add-config=min.cleanable.dirty.ratio=2")

    for refusal, key in [
        (unknown, "no.such.config"),
        (no_number, "retention.ms"),
        (out_of_range, "min.cleanable.dirty.ratio"),
    ]:
        assert "InvalidConfigurationException" in refusal
        assert key in refusal
    assert tools(*line[:-1], "--alter", "--delete-config=no.such.config").startswith("Completed updating")


def test_configs_of_a_broker_and_of_all(tools: Tools, broker_id: str) -> None:
    one, all_of_them = ("kafka-configs", "--broker", broker_id), ("kafka-configs", "--broker-defaults")

    tools(*one, "--alter", "--add-config=log.cleaner.backoff.ms=16000")
    tools(*all_of_them, "--alter", "--add-config=log.cleaner.backoff.ms=17000")
    own = _described(tools(*one, "--describe"))
    defaults = _described(tools(*all_of_them, "--describe"))
    everything = _described(tools(*one, "--describe", "--all"))
    tools(*one, "--alter", "--delete-config=log.cleaner.backoff.ms")
    without_own = _described(tools(*one, "--describe", "--all"))
    tools(*all_of_them, "--alter", "--delete-config=log.cleaner.backoff.ms")
    read_only = tools.refused(*one, "--alter", "--add-config=log.dirs=/elsewhere")

    assert own["log.cleaner.backoff.ms"] == everything["log.cleaner.backoff.ms"]
    assert own["log.cleaner.backoff.ms"] == (
        "16000",
        [
            ("DYNAMIC_BROKER_CONFIG", "log.cleaner.backoff.ms", "16000"),
            ("DYNAMIC_DEFAULT_BROKER_CONFIG", "log.cleaner.backoff.ms", "17000"),
            ("DEFAULT_CONFIG", "log.cleaner.backoff.ms", "15000"),
        ],
    )
    assert defaults["log.cleaner.backoff.ms"][0] == "17000"
    assert without_own["log.cleaner.backoff.ms"][0] == "17000"
    assert "log.cleaner.backoff.ms" not in _described(tools(*one, "--describe"))
    assert "log.dirs" in read_only


def test_levels_of_a_brokers_loggers(tools: Tools, broker_id: str) -> None:
    line = ("kafka-configs", "--broker-logger", broker_id)
    levels = {"FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"}

    before = _described(tools(*line, "--describe"))
    tools(*line, "--alter", "--add-config=root=DEBUG")
    after = _described(tools(*line, "--describe"))
    tools(*line, "--alter", f"--add-config=root={before['root'][0]}")

    assert {level for level, _ in before.values()} <= levels
    assert after["root"][0] == "DEBUG"
    assert _described(tools(*line, "--describe"))["root"] == before["root"]
    assert "no.such.logger" in tools.refused(*line, "--alter", "--add-config=no.such.logger=INFO")


def test_configs_of_a_group(tools: Tools, unique_name: UniqueName) -> None:
    group = unique_name("group")
    line = ("kafka-configs", "--group", group)

    tools(*line, "--alter", "--add-config=consumer.session.timeout.ms=50000")

    assert _described(tools(*line, "--describe"))["consumer.session.timeout.ms"] == (
        "50000",
        [
            ("DYNAMIC_GROUP_CONFIG", "consumer.session.timeout.ms", "50000"),
            ("DEFAULT_CONFIG", "group.consumer.session.timeout.ms", "45000"),
        ],
    )
    assert f"for group {group} are" in tools("kafka-configs", "--describe", "--entity-type", "groups")


def test_quotas_of_clients(tools: Tools, unique_name: UniqueName) -> None:
    client, user = unique_name("client"), unique_name("user")
    line = ("kafka-configs", "--client", client)

    tools(*line, "--alter", "--add-config=producer_byte_rate=1024,consumer_byte_rate=2048")
    both = tools(*line, "--describe")
    tools(*line, "--alter", "--delete-config=producer_byte_rate")
    one = tools(*line, "--describe")
    tools(
        "kafka-configs", "--user", user, "--client", client, "--alter", "--add-config=request_percentage=50"
    )
    of_user = tools("kafka-configs", "--user", user, "--client", client, "--describe")

    assert both.strip() == (
        f"Quota configs for client-id '{client}' are consumer_byte_rate=2048.0, producer_byte_rate=1024.0"
    )
    assert one.strip() == f"Quota configs for client-id '{client}' are consumer_byte_rate=2048.0"
    assert of_user.strip() == (
        f"Quota configs for user-principal '{user}', client-id '{client}' are request_percentage=50.0"
    )


def test_subscriptions_to_client_metrics(tools: Tools, unique_name: UniqueName) -> None:
    name = unique_name("metrics")
    settings = ("--interval=5000", "--metrics=org.apache.kafka.producer.", "--match=client_id=nobody")

    tools("kafka-client-metrics", "--alter", "--name", name, *settings)
    described = tools("kafka-client-metrics", "--describe", "--name", name)
    listed = tools("kafka-client-metrics", "--list").splitlines()
    as_configs = _described(tools("kafka-configs", "--describe", "--client-metrics", name))
    tools("kafka-client-metrics", "--delete", "--name", name)

    assert [line.strip() for line in described.splitlines()[1:]] == [
        "interval.ms=5000",
        "match=client_id=nobody",
        "metrics=org.apache.kafka.producer.",
    ]
    assert name in listed
    assert as_configs["interval.ms"] == ("5000", [("DYNAMIC_CLIENT_METRICS_CONFIG", "interval.ms", "5000")])
    assert name not in tools("kafka-client-metrics", "--list").splitlines()
