"""Administration with the client's own admin: each step is looked up without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compat.clients.client import Client, eventually
from compat.clients.conftest import NewTopic
from compat.clients.witness import Witness
from compat.conftest import RunningBroker, UniqueName

STEPS = (
    "create_topic",
    "list_topics",
    "describe_topic",
    "describe_config",
    "alter_config",
    "create_partitions",
    "delete_topic",
    "list_groups",
    "delete_group",
)


@pytest.mark.feature("admin")
def test_topics_and_groups_are_administered(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
    record_property: Callable[[str, object], None],
) -> None:
    without = {step: client.unsupported[step] for step in STEPS if not client.supports(step)}
    if without:
        record_property("without", without)
    _topic_steps(client, broker.bootstrap_servers, witness, unique_name("administered"))
    group = unique_name("group")
    witness.commit(group, new_topic(), 7)
    if client.supports("list_groups"):
        assert group in client.call("list_groups", bootstrap=broker.bootstrap_servers)
    if client.supports("delete_group"):
        client.call("delete_group", bootstrap=broker.bootstrap_servers, group=group)
        assert group not in witness.groups()


def _topic_steps(client: Client, bootstrap: str, witness: Witness, topic: str) -> None:
    if client.supports("create_topic"):
        client.call(
            "create_topic",
            bootstrap=bootstrap,
            topic=topic,
            partitions=3,
            replication_factor=1,
            config={"retention.ms": "86400000"},
        )
    else:
        witness.create_topic(topic, partitions=3, config={"retention.ms": "86400000"})
    # The controller has answered; in Apache Kafka the broker itself learns of it a moment later.
    eventually(lambda: witness.partition_count(topic), 3)
    eventually(lambda: witness.topic_config(topic), {"retention.ms": "86400000"})

    if client.supports("list_topics"):
        assert topic in client.call("list_topics", bootstrap=bootstrap)
    if client.supports("describe_topic"):
        described = client.call("describe_topic", bootstrap=bootstrap, topic=topic)
        leader = witness.leader(topic)
        assert sorted(described, key=lambda one: int(one["partition"])) == [
            {"partition": number, "leader": leader, "replicas": [leader], "in_sync": [leader]}
            for number in range(3)
        ]
    if client.supports("describe_config"):
        config = client.call("describe_config", bootstrap=bootstrap, topic=topic)
        assert config["retention.ms"] == "86400000"
        assert config["cleanup.policy"] == "delete"
    if client.supports("alter_config"):
        client.call("alter_config", bootstrap=bootstrap, topic=topic, config={"retention.ms": "172800000"})
        eventually(lambda: witness.topic_config(topic), {"retention.ms": "172800000"})
    if client.supports("create_partitions"):
        client.call("create_partitions", bootstrap=bootstrap, topic=topic, partitions=5)
        eventually(lambda: witness.partition_count(topic), 5)
    if client.supports("delete_topic"):
        client.call("delete_topic", bootstrap=bootstrap, topic=topic)
        eventually(lambda: witness.partition_count(topic), 0)
    else:
        witness.delete_topic(topic)
