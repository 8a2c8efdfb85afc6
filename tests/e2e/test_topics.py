"""Topics: creation by admin and by use, description, partitions, configs, deletion."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.clients.confluent import ConfluentAdmin
from tests.e2e.clients.interface import (
    Client,
    KafkaFailure,
    Message,
    PartitionDescription,
    TopicPartition,
    consume,
    poll_until,
)
from tests.e2e.clients.kafka_python import KafkaPythonClient

NewTopic = Callable[..., str]
UniqueName = Callable[[str], str]


def test_created_topic_is_listed_and_described(
    client: Client, bootstrap_server: str, unique_name: UniqueName
) -> None:
    topic = unique_name("created")
    with client.admin(bootstrap_server) as admin:
        (broker_id,) = admin.describe_cluster().brokers
        admin.create_topic(topic, 3, configs={"retention.ms": "123456"})
        poll_until(admin.list_topics, lambda topics: topic in topics)
        expected = [PartitionDescription(index, broker_id, (broker_id,), (broker_id,)) for index in range(3)]
        poll_until(lambda: admin.describe_topic(topic), lambda described: described == expected)
        configs = admin.describe_topic_configs(topic)
    assert configs["retention.ms"] == "123456"
    assert configs["segment.bytes"] == str(1024 * 1024 * 1024)
    assert configs["cleanup.policy"] == "delete"


def test_topic_appears_when_a_producer_first_uses_it(
    client: Client, bootstrap_server: str, unique_name: UniqueName
) -> None:
    topic = unique_name("automatic")
    with client.producer(bootstrap_server) as producer:
        (placed,) = producer.send(topic, [Message(b"first", partition=None)])
    assert placed == (0, 0)
    with client.admin(bootstrap_server) as admin:
        assert [one.partition for one in admin.describe_topic(topic)] == [0]


def test_cluster_description_leads_back_to_the_broker(client: Client, bootstrap_server: str) -> None:
    with client.admin(bootstrap_server) as admin:
        cluster = admin.describe_cluster()
    host, _, port = bootstrap_server.rpartition(":")
    assert cluster.brokers == {cluster.controller_id: (host, int(port))}
    assert len(cluster.cluster_id) == 22


def test_every_client_sees_the_same_cluster_id(
    bootstrap_server: str, client: Client, admin: ConfluentAdmin
) -> None:
    with client.admin(bootstrap_server) as other:
        assert other.describe_cluster().cluster_id == admin.describe_cluster().cluster_id


def test_existing_topic_is_not_created_again(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic()
    with client.admin(bootstrap_server) as admin, pytest.raises(KafkaFailure, match="TOPIC_ALREADY_EXISTS"):
        admin.create_topic(topic)


@pytest.mark.parametrize(
    ("suffix", "arguments", "error"),
    [
        ("with space", {}, "INVALID_TOPIC_EXCEPTION"),
        ("x" * 250, {}, "INVALID_TOPIC_EXCEPTION"),
        ("replicas", {"replication_factor": 3}, "INVALID_REPLICATION_FACTOR"),
        ("partitions", {"partitions": 0}, "INVALID_PARTITIONS"),
        ("value", {"configs": {"retention.ms": "soon"}}, "INVALID_CONFIG"),
        ("key", {"configs": {"no.such.config": "1"}}, "INVALID_CONFIG"),
    ],
)
def test_refused_topics_get_kafkas_error(
    bootstrap_server: str, unique_name: UniqueName, suffix: str, arguments: dict[str, object], error: str
) -> None:
    # kafka-python checks nothing by itself, so the answer is the broker's.
    with KafkaPythonClient().admin(bootstrap_server) as admin, pytest.raises(KafkaFailure, match=error):
        admin.create_topic(unique_name(suffix), **arguments)  # type: ignore[arg-type]


def test_names_that_differ_in_dot_and_underscore_only_collide(
    admin: ConfluentAdmin, unique_name: UniqueName
) -> None:
    stem = unique_name("metric")
    admin.create_topic(f"{stem}.name")
    with pytest.raises(KafkaFailure, match="INVALID_TOPIC_EXCEPTION"):
        admin.create_topic(f"{stem}_name")


def test_validation_alone_creates_nothing(
    client: Client, bootstrap_server: str, unique_name: UniqueName
) -> None:
    topic = unique_name("validated")
    with client.admin(bootstrap_server) as admin:
        admin.create_topic(topic, 2, validate_only=True)
        assert topic not in admin.list_topics()
        with pytest.raises(KafkaFailure, match="INVALID_REPLICATION_FACTOR"):
            admin.create_topic(topic, replication_factor=9, validate_only=True)


def test_partitions_are_added_and_never_removed(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(1)
    with client.producer(bootstrap_server) as producer:
        producer.send(topic, [Message(b"before")])
    with client.admin(bootstrap_server) as admin:
        admin.create_partitions(topic, 4)
        poll_until(lambda: len(admin.describe_topic(topic)), lambda count: count == 4)
        with pytest.raises(KafkaFailure, match="INVALID_PARTITIONS"):
            admin.create_partitions(topic, 2)
    with client.producer(bootstrap_server) as producer:
        placed = producer.send(topic, [Message(b"after", partition=index) for index in range(4)])
    assert placed == [(0, 1), (1, 0), (2, 0), (3, 0)]


def test_deleted_topic_is_gone_and_its_name_starts_afresh(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    with client.producer(bootstrap_server) as producer:
        producer.send(topic, [Message(b"old")] * 5)
    with client.admin(bootstrap_server) as admin:
        admin.delete_topic(topic)
        poll_until(admin.list_topics, lambda topics: topic not in topics)
        with pytest.raises(KafkaFailure, match="UNKNOWN_TOPIC_OR_PARTITION"):
            admin.delete_topic(topic)
        admin.create_topic(topic, 1)
        poll_until(admin.list_topics, lambda topics: topic in topics)
    with client.producer(bootstrap_server) as producer:
        assert producer.send(topic, [Message(b"new")]) == [(0, 0)]
    with client.consumer(bootstrap_server, settings={"auto.offset.reset": "earliest"}) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        assert [record.value for record in consume(consumer, 1)] == [b"new"]


def test_altered_config_takes_effect(client: Client, bootstrap_server: str, new_topic: NewTopic) -> None:
    topic = new_topic()

    def outcome() -> str:
        # kafka-python's idempotent producer takes a refusal as fatal, so each attempt has its own.
        with client.producer(bootstrap_server) as producer:
            try:
                producer.send(topic, [Message(b"x" * 9_000)])
            except KafkaFailure as failure:
                return failure.name
            return "accepted"

    assert outcome() == "accepted"
    with client.admin(bootstrap_server) as admin:
        for limit, expected in (("5000", "MESSAGE_TOO_LARGE"), ("50000", "accepted")):
            admin.alter_topic_config(topic, "max.message.bytes", limit)
            # Apache Kafka may show a new value a moment before its logs go by it.
            poll_until(outcome, lambda name, wanted=expected: name == wanted)  # type: ignore[misc]
            assert admin.describe_topic_configs(topic)["max.message.bytes"] == limit


def test_invalid_config_changes_nothing(client: Client, bootstrap_server: str, new_topic: NewTopic) -> None:
    topic = new_topic(configs={"retention.ms": "777"})
    with client.admin(bootstrap_server) as admin:
        with pytest.raises(KafkaFailure, match="INVALID_CONFIG"):
            admin.alter_topic_config(topic, "segment.bytes", "many")
        with pytest.raises(KafkaFailure, match="INVALID_CONFIG"):
            admin.alter_topic_config(topic, "no.such.config", "1")
        assert admin.describe_topic_configs(topic)["retention.ms"] == "777"


def test_many_partitions_in_one_topic(client: Client, bootstrap_server: str, new_topic: NewTopic) -> None:
    count = 200
    topic = new_topic(count)
    with client.producer(bootstrap_server) as producer:
        placed = producer.send(topic, [Message(b"%d" % index, partition=index) for index in range(count)])
    assert placed == [(index, 0) for index in range(count)]
    with client.consumer(bootstrap_server, settings={"auto.offset.reset": "earliest"}) as consumer:
        consumer.assign(*(TopicPartition(topic, index) for index in range(count)))
        records = consume(consumer, count)
    assert sorted((record.partition, record.value) for record in records) == [
        (index, b"%d" % index) for index in range(count)
    ]
