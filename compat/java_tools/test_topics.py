"""kafka-topics."""

from __future__ import annotations

import re

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools


def _described(printed: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """``--describe`` of one topic: its own line, and one for each partition, by name."""
    topic, *partitions = [
        dict(re.findall(r"(\w+): ?(\S*)", line)) for line in printed.splitlines() if line.strip()
    ]
    return topic, partitions


def test_a_topic_from_creation_to_deletion(tools: Tools, unique_name: UniqueName) -> None:
    name = unique_name("topic")

    created = tools(
        "kafka-topics", "--create", "--topic", name, "--partitions=3", "--config=retention.ms=100000"
    )
    before, partitions_before = _described(tools("kafka-topics", "--describe", "--topic", name))
    tools("kafka-topics", "--alter", "--topic", name, "--partitions=5")
    after, partitions_after = _described(tools("kafka-topics", "--describe", "--topic", name))
    listed = tools("kafka-topics", "--list").splitlines()
    tools("kafka-topics", "--delete", "--topic", name)

    assert created == f"Created topic {name}.\n"
    assert (before["PartitionCount"], before["ReplicationFactor"]) == ("3", "1")
    assert "retention.ms=100000" in before["Configs"].split(",")
    assert [partition["Partition"] for partition in partitions_before] == ["0", "1", "2"]
    assert after["TopicId"] == before["TopicId"]
    assert [partition["Partition"] for partition in partitions_after] == ["0", "1", "2", "3", "4"]
    for partition in partitions_after:
        assert partition["Leader"] == partition["Replicas"] == partition["Isr"]
    assert name in listed
    assert name not in tools("kafka-topics", "--list").splitlines()


def test_what_it_refuses_and_why(tools: Tools, new_topic: NewTopic, unique_name: UniqueName) -> None:
    name, absent = new_topic(partitions=3), unique_name("absent")

    existing = tools.refused("kafka-topics", "--create", "--topic", name)
    fewer = tools.refused("kafka-topics", "--alter", "--topic", name, "--partitions=2")
    replicas = tools.refused("kafka-topics", "--create", "--topic", absent, "--replication-factor=30")
    config = tools.refused("kafka-topics", "--create", "--topic", absent, "--config=no.such.config=1")
    value = tools.refused("kafka-topics", "--create", "--topic", absent, "--config=retention.ms=soon")
    missing = tools.refused("kafka-topics", "--describe", "--topic", absent)
    deletion = tools.refused("kafka-topics", "--delete", "--topic", absent)
    bad_name = tools.refused("kafka-topics", "--create", "--topic", "not/a/name")

    assert f"Topic '{name}' already exists." in existing
    assert f"The topic {name} currently has 3 partition(s); 2 would not be an increase." in fewer
    assert "Unable to replicate the partition 30 time(s)" in replicas
    assert "no.such.config" in config
    assert "retention.ms" in value
    assert f"Topic '{absent}' does not exist as expected" in missing
    assert f"Topic '{absent}' does not exist as expected" in deletion
    assert re.search(r"topic name", bad_name, re.IGNORECASE)
    assert absent not in tools("kafka-topics", "--list").splitlines()


def test_create_and_delete_may_be_repeated(
    tools: Tools, new_topic: NewTopic, unique_name: UniqueName
) -> None:
    name = new_topic()

    assert tools("kafka-topics", "--create", "--topic", name, "--if-not-exists") == ""
    assert tools("kafka-topics", "--delete", "--topic", unique_name("absent"), "--if-exists") == ""
    assert name in tools("kafka-topics", "--list").splitlines()


def test_what_a_list_leaves_out(tools: Tools, new_topic: NewTopic) -> None:
    plain = new_topic()
    overridden = new_topic(configs={"cleanup.policy": "compact"})
    tools("kafka-console-producer", "--topic", plain, stdin="a\n")
    tools("kafka-console-consumer", "--topic", plain, "--from-beginning", "--max-messages=1")

    everything = tools("kafka-topics", "--list").splitlines()
    own = tools("kafka-topics", "--list", "--exclude-internal").splitlines()
    matching = tools("kafka-topics", "--list", "--topic", f"{plain}|{overridden[:-1]}.").splitlines()
    with_overrides = tools("kafka-topics", "--describe", "--topics-with-overrides")
    unavailable = tools("kafka-topics", "--describe", "--unavailable-partitions")
    behind = tools("kafka-topics", "--describe", "--under-replicated-partitions")

    assert "__consumer_offsets" in everything
    assert set(everything) - set(own) <= {"__consumer_offsets", "__transaction_state", "__share_group_state"}
    assert sorted(matching) == sorted([plain, overridden])
    assert f"Topic: {overridden}\t" in with_overrides
    assert "cleanup.policy=compact" in with_overrides
    assert unavailable == ""
    assert behind == ""


def test_replicas_are_where_they_were_asked_for(tools: Tools, unique_name: UniqueName) -> None:
    name = unique_name("topic")
    (node_id,) = set(re.findall(r"\(id: (\d+) ", tools("kafka-broker-api-versions")))

    tools("kafka-topics", "--create", "--topic", name, "--replica-assignment", f"{node_id},{node_id}")
    topic, partitions = _described(tools("kafka-topics", "--describe", "--topic", name))

    assert topic["PartitionCount"] == "2"
    assert [partition["Replicas"] for partition in partitions] == [node_id, node_id]
