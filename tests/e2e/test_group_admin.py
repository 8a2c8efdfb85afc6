"""Groups seen and changed from outside: list, describe, offsets, deletion."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import (
    Client,
    GroupAdmin,
    KafkaFailure,
    Message,
    TopicPartition,
    consume,
    poll_until,
)
from tests.e2e.clients.kafka_python import KafkaPythonClient

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]
UniqueName = Callable[[str], str]

CONFLUENT, KAFKA_PYTHON = ConfluentClient(), KafkaPythonClient()
EARLIEST = {"auto.offset.reset": "earliest"}

deleting_libraries = pytest.mark.parametrize("library", [CONFLUENT, KAFKA_PYTHON], ids=lambda one: one.name)


@pytest.fixture
def finished_group(
    bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName, numbered: Numbered
) -> tuple[str, TopicPartition]:
    """A group without members that committed offset 10 of one partition."""
    topic, group_id = new_topic(), unique_name("finished")
    with CONFLUENT.producer(bootstrap_server) as producer:
        producer.send(topic, numbered(10))
    with CONFLUENT.consumer(bootstrap_server, group_id, EARLIEST) as consumer:
        consumer.subscribe(topic)
        consume(consumer, 10)
        consumer.commit()
    return group_id, TopicPartition(topic, 0)


def test_group_is_listed_and_described_through_its_life(
    client: Client, bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName
) -> None:
    topic, group_id = new_topic(2), unique_name("described")
    with client.admin(bootstrap_server) as admin:
        assert group_id not in admin.list_groups()
        with client.consumer(bootstrap_server, group_id, EARLIEST) as consumer:
            consumer.subscribe(topic)
            poll_until(lambda: (consumer.poll(0.1), consumer.assignment())[1], lambda owned: len(owned) == 2)
            assert group_id in admin.list_groups()
            described = poll_until(lambda: admin.describe_group(group_id), lambda one: one.state == "Stable")
            assert described.protocol == ("roundrobin" if client.name == "aiokafka" else "range")
            (owned,) = described.assignments.values()
            assert owned == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
            assert all(described.client_ids)
        described = poll_until(lambda: admin.describe_group(group_id), lambda one: one.state == "Empty")
        assert not described.assignments
        assert group_id in admin.list_groups()


def test_committed_offsets_are_listed(
    client: Client, bootstrap_server: str, finished_group: tuple[str, TopicPartition]
) -> None:
    group_id, partition = finished_group
    with client.admin(bootstrap_server) as admin:
        assert admin.group_offsets(group_id) == {partition: 10}
        assert admin.group_offsets(f"{group_id}-unknown") == {}


@deleting_libraries
def test_group_with_members_is_not_deleted_and_an_empty_one_is(
    library: ConfluentClient | KafkaPythonClient,
    bootstrap_server: str,
    finished_group: tuple[str, TopicPartition],
) -> None:
    group_id, partition = finished_group
    admin: GroupAdmin
    with library.admin(bootstrap_server) as admin:
        with CONFLUENT.consumer(bootstrap_server, group_id) as consumer:
            consumer.subscribe(partition.topic)
            poll_until(lambda: (consumer.poll(0.1), consumer.assignment())[1], bool)
            with pytest.raises(KafkaFailure, match="NON_EMPTY_GROUP"):
                admin.delete_group(group_id)
        admin.delete_group(group_id)
        assert group_id not in admin.list_groups()
        assert admin.group_offsets(group_id) == {}
        with pytest.raises(KafkaFailure, match="GROUP_ID_NOT_FOUND"):
            admin.delete_group(group_id)


def test_offsets_of_a_group_are_deleted_unless_a_member_reads_the_topic(
    bootstrap_server: str, finished_group: tuple[str, TopicPartition]
) -> None:
    group_id, partition = finished_group
    with KAFKA_PYTHON.admin(bootstrap_server) as admin:
        with CONFLUENT.consumer(bootstrap_server, group_id) as consumer:
            consumer.subscribe(partition.topic)
            poll_until(lambda: (consumer.poll(0.1), consumer.assignment())[1], bool)
            with pytest.raises(KafkaFailure, match="GROUP_SUBSCRIBED_TO_TOPIC"):
                admin.delete_group_offsets(group_id, partition)
        assert admin.group_offsets(group_id) == {partition: 10}
        admin.delete_group_offsets(group_id, partition)
        assert admin.group_offsets(group_id) == {}
        with pytest.raises(KafkaFailure, match="GROUP_ID_NOT_FOUND"):
            admin.delete_group_offsets(f"{group_id}-unknown", partition)


def test_deleting_a_topic_takes_its_committed_offsets_along(
    client: Client, bootstrap_server: str, finished_group: tuple[str, TopicPartition]
) -> None:
    group_id, partition = finished_group
    with client.admin(bootstrap_server) as admin:
        admin.delete_topic(partition.topic)
        poll_until(lambda: admin.group_offsets(group_id), lambda offsets: offsets == {})
