"""``kafka-topics``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.scene import Scene
from compat.commands.state import new_topic

CASES: Final = Cases("kafka-topics")
_DESCRIBED: Final = [("kafka-topics", "--describe --topic {all}.*")]


def topics(scene: Scene) -> None:
    """With settings and without, of one to three partitions."""
    new_topic(scene, "plain", partitions=3)
    new_topic(scene, "set", configs={"retention.ms": "100000", "cleanup.policy": "compact,delete"})
    new_topic(scene, "set-too", partitions=2, configs={"segment.bytes": "1048576", "retention.ms": "5"})
    new_topic(scene, "with.dots_and_such")
    scene.facts["id"] = scene.topic_id("plain")


def one_topic(scene: Scene) -> None:
    """Two partitions."""
    new_topic(scene, "topic", partitions=2)


def two_topics(scene: Scene) -> None:
    """One partition each."""
    new_topic(scene, "topic")
    new_topic(scene, "topic-too")


# What is wrong without looking at a broker.

CASES.offline("no flags", "")
CASES.offline("help", "--help", "--help --list")
CASES.offline("version", "--version", "--list --version")
CASES.offline("an unknown flag", "--bogus", "-x", "--list --bogus=1", "--help --bogus")
CASES.offline("no action", "--bootstrap-server {nowhere}", "--topic t")
CASES.offline(
    "several actions", "--list --create --bootstrap-server {nowhere}", "--list --describe --topic t"
)
CASES.offline("no address", "--list", "--create --topic t", "--delete --topic t", "--alter --topic t")
CASES.offline("a flag without its value", "--list --bootstrap-server", "--create --topic")
CASES.offline(
    "no topic",
    "--create --bootstrap-server {nowhere}",
    "--delete --bootstrap-server {nowhere}",
    "--alter --bootstrap-server {nowhere}",
    "--describe --if-exists --bootstrap-server {nowhere}",
)
CASES.offline(
    "flags of other actions",
    "--list --partitions 3 --bootstrap-server {nowhere}",
    "--describe --topic t --replication-factor 1 --bootstrap-server {nowhere}",
    "--delete --topic t --if-not-exists --bootstrap-server {nowhere}",
    "--create --topic t --if-exists --bootstrap-server {nowhere}",
    "--list --unavailable-partitions --bootstrap-server {nowhere}",
    "--alter --topic t --config a=b --bootstrap-server {nowhere}",
    "--create --topic t --exclude-internal --bootstrap-server {nowhere}",
    "--describe --replica-assignment 1 --bootstrap-server {nowhere}",
)
CASES.offline(
    "an assignment and numbers",
    "--create --topic t --replica-assignment 1 --partitions 1 --bootstrap-server {nowhere}",
    "--create --topic t --replica-assignment 1 --replication-factor 1 --bootstrap-server {nowhere}",
    "--alter --topic t --bootstrap-server {nowhere}",
    "--alter --topic t --replica-assignment 1 --bootstrap-server {nowhere}",
)
CASES.offline("a number that is none", "--create --topic t --partitions three --bootstrap-server {nowhere}")
CASES.offline("a flag twice", "--list --bootstrap-server {nowhere} --bootstrap-server {nowhere}")
CASES.offline(
    "a file that is not there", "--list --bootstrap-server {nowhere} --command-config {dir}/absent.properties"
)
CASES.offline("an address that is none", "--list --bootstrap-server nowhere", "--list --bootstrap-server a:b")
CASES.offline(
    "nobody at the address",
    "--list --bootstrap-server {nowhere} --command-config {dir}/impatient.properties",
    "--create --topic t --bootstrap-server {nowhere} --command-config {dir}/impatient.properties",
    files={"impatient.properties": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)

# What is looked at.

CASES.read("all of them", "--list", given=topics)
CASES.read("all of them but the internal ones", "--list --exclude-internal", given=topics)
CASES.read(
    "those that match",
    "--list --topic {all}.*",
    "--list --topic {plain}|{set}",
    "--list --topic '{plain},{set-too}'",
    "--list --topic {set}",
    "--list --topic {with.dots-and-such}",
    "--list --topic '{all}with.dots.*'",
    "--list --topic {absent}",
    "--list --topic '[a'",
    given=topics,
)
CASES.read(
    "with properties for the client",
    "--list --topic {all}.* --command-config {dir}/client.properties",
    given=topics,
    files={"client.properties": "client.id=somebody\nrequest.timeout.ms=20000\n"},
)
CASES.read(
    "described",
    "--describe --topic {plain}",
    "--describe --topic {all}.*",
    "--describe --topic {set},{set-too}",
    "--describe --topic {plain} --partition-size-limit-per-response 1",
    "-describe -topic {plain}",
    "--describe --topic={plain}",
    given=topics,
)
CASES.read("described without those of Kafka's own", "--describe --exclude-internal", given=topics)
CASES.read(
    "described by id",
    "--describe --topic-id {id}",
    "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAA",
    "--describe --topic-id 1234567890123456789012",
    "--describe --topic-id 1234567890123456789012 --if-exists",
    "--describe --topic-id nothing",
    "--describe --topic-id {id} --topic {plain}",
    "--describe --topic-id {id} --topic {plain} --if-exists",
    given=topics,
)
CASES.read(
    "reports",
    "--describe --under-replicated-partitions --topic {all}.*",
    "--describe --unavailable-partitions --topic {all}.*",
    "--describe --under-min-isr-partitions --topic {all}.*",
    "--describe --at-min-isr-partitions --topic {all}.*",
    "--describe --topics-with-overrides --topic {all}.*",
    "--describe --under-replicated-partitions --unavailable-partitions --topic {all}.*",
    "--describe --at-min-isr-partitions --under-min-isr-partitions --topic {all}.*",
    "--describe --topics-with-overrides --under-replicated-partitions --topic {all}.*",
    given=topics,
)
CASES.read(
    "one that is not there",
    "--describe --topic {absent}",
    "--describe --topic {absent} --if-exists",
    "--delete --topic {absent}",
    "--delete --topic {absent} --if-exists",
    "--alter --topic {absent} --partitions 3",
    "--alter --topic {absent} --partitions 3 --if-exists",
    given=topics,
)
CASES.read(
    "refused creations",
    "--create --topic {plain}",
    "--create --topic {plain} --if-not-exists",
    "--create --topic {absent} --replication-factor 30",
    "--create --topic {absent} --replication-factor 0",
    "--create --topic {absent} --replication-factor 40000",
    "--create --topic {absent} --partitions 0",
    "--create --topic {absent} --partitions -1",
    "--create --topic {absent} --config no.such.config=1",
    "--create --topic {absent} --config retention.ms=soon",
    "--create --topic {absent} --config retention.ms=-5",
    "--create --topic {absent} --config retention.ms",
    "--create --topic {absent} --config retention.ms=",
    "--create --topic not/a/name",
    "--create --topic ..",
    "--create --topic ''",
    "--create --topic {absent} --replica-assignment 1:1",
    "--create --topic {absent} --replica-assignment 1,1:2",
    "--create --topic {absent} --replica-assignment one",
    "--create --topic {absent} --replica-assignment 77",
    "--create --topic {with_dots_and.such}",
    given=topics,
)
CASES.read(
    "refused growth",
    "--alter --topic {plain} --partitions 3",
    "--alter --topic {plain} --partitions 2",
    "--alter --topic {plain} --partitions 0",
    "--alter --topic {plain} --partitions 4 --replica-assignment {node}",
    "--alter --topic {plain} --partitions 4 --replica-assignment {node},{node},{node},77",
    "--alter --topic {plain} --partitions 5 --replica-assignment {node},{node},{node},{node}",
    given=topics,
)

# What is changed.

CASES.change("a new one", "--create --topic {topic}", after=_DESCRIBED)
CASES.change(
    "a new one in numbers", "--create --topic {topic} --partitions 3 --replication-factor 1", after=_DESCRIBED
)
CASES.change(
    "a new one with settings",
    "--create --topic {topic} --config retention.ms=1000 --config cleanup.policy=compact "
    "--config min.insync.replicas=1",
    after=_DESCRIBED,
)
CASES.change(
    "a new one where it shall be",
    "--create --topic {topic} --replica-assignment {node},{node},{node}",
    after=_DESCRIBED,
)
CASES.change(
    "a new one twice",
    "--create --topic {topic} --if-not-exists",
    "--create --topic {topic} --if-not-exists",
    "--create --topic {topic}",
    after=_DESCRIBED,
)
CASES.change(
    "a new one of a doubtful name",
    "--create --topic {with.dots}",
    "--create --topic {with_underscores}",
    after=_DESCRIBED,
)
CASES.change("grown", "--alter --topic {topic} --partitions 5", given=one_topic, after=_DESCRIBED)
CASES.change(
    "grown where it shall be",
    "--alter --topic {topic} --partitions 4 --replica-assignment {node},{node},{node},{node}",
    given=one_topic,
    after=_DESCRIBED,
)
CASES.change(
    "two grown at once", "--alter --topic {all}.* --partitions 2", given=two_topics, after=_DESCRIBED
)
CASES.change(
    "deleted",
    "--delete --topic {topic}",
    "--delete --topic {topic}",
    "--delete --topic {topic} --if-exists",
    given=one_topic,
    after=[("kafka-topics", "--list --topic {all}.*")],
)
CASES.change(
    "several deleted at once",
    "--delete --topic {all}.*",
    given=two_topics,
    after=[("kafka-topics", "--list --topic {all}.*")],
)
CASES.change(
    "created with delete-config",
    "--create --topic {topic} --delete-config retention.ms",
    after=[("kafka-topics", "--list --topic {all}.*")],
)
