"""Admin requests beyond everyday use, sent by kafka-python's and confluent-kafka's own admin clients as they are."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import kafka
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove

from tests.e2e.clients.confluent import ConfluentAdmin, ConfluentClient
from tests.e2e.clients.interface import Message, TopicPartition, consume, poll_until
from tests.e2e.clients.kafka_python import KafkaPythonClient

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]
UniqueName = Callable[[str], str]

CONFLUENT = ConfluentClient()
EARLIEST = {"auto.offset.reset": "earliest"}


@pytest.fixture
def plain_admin(bootstrap_server: str) -> Iterator[Any]:
    """kafka-python's admin client itself."""
    client = kafka.KafkaAdminClient(bootstrap_servers=bootstrap_server)
    yield client
    client.close()


@pytest.fixture
def broker_resource(admin: ConfluentAdmin) -> Callable[..., ConfigResource]:
    (node_id,) = admin.describe_cluster().brokers
    return lambda configs=None: ConfigResource(ConfigResourceType.BROKER, str(node_id), configs)


def test_broker_configs_have_values_types_sources_and_documentation(
    plain_admin: Any, broker_resource: Callable[..., ConfigResource]
) -> None:
    resource = broker_resource()
    described = plain_admin.describe_configs([resource], include_synonyms=True, config_filter="all")
    configs = described["broker"][resource.name]
    assert configs["log.segment.bytes"]["value"] == str(1 << 30)
    assert configs["log.segment.bytes"]["config_type"] == "INT"
    assert configs["log.segment.bytes"]["config_source"] == "DEFAULT_CONFIG"
    assert configs["node.id"]["read_only"]
    assert configs["node.id"]["config_source"] in ("STATIC_BROKER_CONFIG", "DEFAULT_CONFIG")
    assert not configs["message.max.bytes"]["read_only"]
    assert configs["ssl.keystore.password"]["is_sensitive"]
    assert configs["ssl.keystore.password"]["value"] is None
    assert {"log.retention.hours", "log.retention.ms"} <= set(configs)


def test_broker_config_changes_at_run_time_and_back(
    plain_admin: Any, broker_resource: Callable[..., ConfigResource]
) -> None:
    name = broker_resource().name

    def source() -> tuple[str, str]:
        described = plain_admin.describe_configs([broker_resource()], config_filter="all")
        config = described["broker"][name]["log.cleaner.backoff.ms"]
        return config["value"], config["config_source"]

    change = broker_resource({"log.cleaner.backoff.ms": "15001"})
    assert plain_admin.alter_configs([change])["broker"][name] == "OK"
    poll_until(source, lambda found: found == ("15001", "DYNAMIC_BROKER_CONFIG"))
    assert plain_admin.reset_configs([change])["broker"][name] == "OK"
    poll_until(source, lambda found: found == ("15000", "DEFAULT_CONFIG"))


def test_read_only_broker_config_is_not_altered(
    plain_admin: Any, broker_resource: Callable[..., ConfigResource]
) -> None:
    change = broker_resource({"log.dirs": "/elsewhere"})
    answer = plain_admin.alter_configs([change], raise_on_unknown=False)["broker"][change.name]
    assert "InvalidRequest" in answer


def test_log_directories_tell_the_size_of_a_partition(
    plain_admin: Any, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(2)
    with CONFLUENT.producer(bootstrap_server) as producer:
        producer.send(topic, [Message(b"x" * 10_000)] * 5)
    ((directory,),) = (broker["log_dirs"] for broker in plain_admin.describe_log_dirs([topic]))
    assert directory["error_code"] == 0
    sizes = {
        partition["partition_index"]: partition["partition_size"]
        for one in directory["topics"]
        if one["name"] == topic
        for partition in one["partitions"]
    }
    assert 50_000 <= sizes[0] <= 60_000
    assert sizes[1] == 0


def test_topic_partitions_are_described_page_by_page(plain_admin: Any, new_topic: NewTopic) -> None:
    topic = new_topic(5)
    first = plain_admin.describe_topic_partitions([topic], response_partition_limit=3)
    assert [one["partition_index"] for one in first["topics"][0]["partitions"]] == [0, 1, 2]
    assert first["next_cursor"] == {"topic_name": topic, "partition_index": 3}
    second = plain_admin.describe_topic_partitions(
        [topic], response_partition_limit=3, cursor=first["next_cursor"]
    )
    assert [one["partition_index"] for one in second["topics"][0]["partitions"]] == [3, 4]
    assert second["next_cursor"] is None


def test_topic_is_described_and_deleted_by_its_id(plain_admin: Any, new_topic: NewTopic) -> None:
    topic = new_topic()
    (by_name,) = plain_admin.describe_topics([topic])
    topic_id = uuid.UUID(str(by_name["topic_id"]))
    assert topic_id.int != 0
    (by_id,) = plain_admin.describe_topics([topic_id])
    assert (by_id["name"], by_id["error_code"]) == (topic, 0)
    plain_admin.delete_topics([topic_id])
    poll_until(plain_admin.list_topics, lambda topics: topic not in topics)


def test_config_resources_are_listed(plain_admin: Any, new_topic: NewTopic) -> None:
    topic = new_topic()
    listed = plain_admin.list_config_resources(["TOPIC"])
    assert topic in listed["topic"]


def test_group_offsets_are_altered_from_outside(
    bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName, numbered: Numbered
) -> None:
    partition, group_id = TopicPartition(new_topic(), 0), unique_name("altered")
    with CONFLUENT.producer(bootstrap_server) as producer:
        producer.send(partition.topic, numbered(10))
    raw = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap_server})
    wanted = confluent_kafka.TopicPartition(*partition, 7)
    asked = confluent_kafka.ConsumerGroupTopicPartitions(group_id, [wanted])
    raw.alter_consumer_group_offsets([asked])[group_id].result(30)
    with CONFLUENT.consumer(bootstrap_server, group_id, EARLIEST) as consumer:
        consumer.subscribe(partition.topic)
        assert [record.offset for record in consume(consumer, 3)] == [7, 8, 9]


def test_static_member_is_removed_from_outside(
    plain_admin: Any,
    admin: ConfluentAdmin,
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic, group_id = new_topic(), unique_name("removed")
    settings = {**EARLIEST, "group.instance.id": "gone"}
    with CONFLUENT.consumer(bootstrap_server, group_id, settings) as consumer:
        consumer.subscribe(topic)
        poll_until(lambda: (consumer.poll(0.1), consumer.assignment())[1], bool)
    assert admin.describe_group(group_id).instance_ids == {"gone"}
    plain_admin.remove_group_members(group_id, [MemberToRemove(group_instance_id="gone")])
    poll_until(lambda: admin.describe_group(group_id).state, lambda state: state == "Empty")


def test_offsets_of_a_timestamp_are_listed_for_many_partitions_at_once(
    plain_admin: Any, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(3)
    with KafkaPythonClient().producer(bootstrap_server) as producer:
        producer.send(
            topic,
            [
                Message(b"v", timestamp_ms=1_700_000_000_000 + 10 * step, partition=partition)
                for partition in range(3)
                for step in range(partition + 1)
            ],
        )
    asked = {kafka.TopicPartition(topic, partition): 1_700_000_000_010 for partition in range(3)}
    found = plain_admin.list_partition_offsets(asked)
    assert [found[partition].offset for partition in sorted(found)] == [-1, 1, 1]
