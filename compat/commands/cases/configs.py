"""``kafka-configs``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.scene import Scene
from compat.commands.state import new_topic

CASES: Final = Cases("kafka-configs")
_DESCRIBED: Final = [("kafka-configs", "--describe --topic {set}")]
_BROKER: Final = [("kafka-configs", "--describe --broker {node}")]


def configured(scene: Scene) -> None:
    """Two topics, of which ``set`` has settings."""
    new_topic(scene, "set", configs={"retention.ms": "100000", "cleanup.policy": "compact,delete"})
    new_topic(scene, "plain")


CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus", "--zookeeper {nowhere} --describe")
CASES.offline("no action", "--bootstrap-server {nowhere}", "--topic t --bootstrap-server {nowhere}")
CASES.offline("two actions", "--describe --alter --topic t --bootstrap-server {nowhere}")
CASES.offline("no address", "--describe --topic t", "--alter --topic t --add-config a=b")
CASES.offline(
    "two addresses", "--describe --topic t --bootstrap-server {nowhere} --bootstrap-controller {nowhere}"
)
CASES.offline("no entity", "--describe --bootstrap-server {nowhere}", "--alter --bootstrap-server {nowhere}")
CASES.offline(
    "entities that do not fit together",
    "--describe --topic t --broker 1 --bootstrap-server {nowhere}",
    "--describe --entity-type topics --topic t --bootstrap-server {nowhere}",
    "--describe --entity-type planets --bootstrap-server {nowhere}",
    "--describe --entity-type topics --entity-type brokers --bootstrap-server {nowhere}",
    "--describe --entity-name a --bootstrap-server {nowhere}",
    "--describe --topic t --topic u --bootstrap-server {nowhere}",
    "--describe --broker one --bootstrap-server {nowhere}",
)
CASES.offline(
    "alter without a change or a name",
    "--alter --topic t --bootstrap-server {nowhere}",
    "--alter --entity-type topics --add-config a=b --bootstrap-server {nowhere}",
    "--alter --entity-type brokers --add-config a=b --bootstrap-server {nowhere}",
    "--alter --entity-type topics --entity-default --add-config a=b --bootstrap-server {nowhere}",
    "--alter --topic t --add-config a=b --add-config-file {dir}/absent --bootstrap-server {nowhere}",
    "--describe --topic t --add-config a=b --bootstrap-server {nowhere}",
    "--describe --topic t --delete-config a --bootstrap-server {nowhere}",
)
CASES.offline(
    "a file that is not there",
    "--describe --topic t --bootstrap-server {nowhere} --command-config {dir}/absent",
    "--alter --topic t --add-config-file {dir}/absent --bootstrap-server {nowhere}",
)
CASES.offline("an address that is none", "--describe --topic t --bootstrap-server nowhere")
CASES.offline(
    "nobody at the address",
    "--describe --topic t --bootstrap-server {nowhere} --command-config {dir}/impatient",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)

CASES.read(
    "a topic",
    "--describe --topic {set}",
    "--describe --topic {plain}",
    "--describe --entity-type topics --entity-name {set}",
    "--describe --topic {set} --command-config {dir}/client",
    given=configured,
    files={"client": "client.id=me\n"},
)
CASES.read(
    "two names for one type",
    "--describe --entity-type topics --entity-name {set} --entity-name {plain}",
    given=configured,
)
CASES.read("a topic with everything", "--describe --topic {set} --all", given=configured)
CASES.read("all topics", "--describe --entity-type topics", given=configured)
CASES.read(
    "a topic that is not there",
    "--describe --topic {absent}",
    "--describe --topic not/a/name",
    given=configured,
)
CASES.read(
    "brokers",
    "--describe --broker {node}",
    "--describe --broker-defaults",
    "--describe --entity-type brokers",
    "--describe --entity-type brokers --entity-default",
    "--describe --entity-type brokers --entity-name {node}",
    given=configured,
)
CASES.read("a broker with everything", "--describe --broker {node} --all", given=configured)
CASES.read(
    "a broker that is not there",
    "--describe --broker 77 --command-config {dir}/impatient",
    given=configured,
    files={"impatient": "default.api.timeout.ms=2000\nrequest.timeout.ms=1000\n"},
)
CASES.read(
    "groups and client metrics",
    "--describe --group {absent}",
    "--describe --entity-type groups",
    "--describe --client-metrics {absent}",
    "--describe --entity-type client-metrics",
    given=configured,
)
CASES.read(
    "users, clients and addresses",
    "--describe --user {absent}",
    "--describe --user-defaults",
    "--describe --client {absent}",
    "--describe --client-defaults",
    "--describe --ip 127.0.0.1",
    "--describe --ip nowhere.invalid",
    "--describe --ip-defaults",
    "--describe --entity-type users --entity-name {absent} --entity-type clients --entity-name c",
    given=configured,
)
CASES.read(
    "refused changes",
    "--alter --topic {set} --add-config no.such.config=1",
    "--alter --topic {set} --add-config retention.ms=soon",
    "--alter --topic {set} --add-config retention.ms=-5",
    "--alter --topic {set} --add-config retention.ms",
    "--alter --topic {set} --add-config retention.ms=",
    "--alter --topic {set} --add-config a=b=c",
    "--alter --topic {set} --delete-config segment.bytes",
    "--alter --topic {set} --delete-config no.such.config",
    "--alter --topic {absent} --add-config retention.ms=1",
    "--alter --broker {node} --add-config node.id=7",
    "--alter --broker {node} --add-config no.such.config=1",
    "--alter --broker {node} --add-config log.cleaner.threads=many",
    "--alter --broker {node} --delete-config log.retention.ms",
    "--alter --group {absent} --add-config no.such.config=1",
    "--alter --client-metrics {absent} --add-config no.such.config=1",
    given=configured,
)
CASES.change(
    "added to a topic",
    "--alter --topic {set} --add-config segment.bytes=1048576,retention.bytes=10",
    "--alter --entity-type topics --entity-name {set} --add-config min.compaction.lag.ms=1",
    given=configured,
    after=_DESCRIBED,
)
CASES.change(
    "a list added",
    "--alter --topic {set} --add-config cleanup.policy=[delete,compact],retention.ms=7",
    "--alter --topic {set} --add-config leader.replication.throttled.replicas=[0:1,1:1]",
    given=configured,
    after=_DESCRIBED,
)
CASES.change(
    "taken away",
    "--alter --topic {set} --delete-config retention.ms",
    "--alter --topic {set} --delete-config cleanup.policy,retention.ms",
    given=configured,
    after=_DESCRIBED,
)
CASES.change(
    "added and taken away",
    "--alter --topic {set} --add-config segment.ms=60000 --delete-config retention.ms",
    given=configured,
    after=_DESCRIBED,
)
CASES.change(
    "added from a file",
    "--alter --topic {set} --add-config-file {dir}/settings",
    given=configured,
    files={"settings": "segment.bytes=1048576\n# a comment\ncleanup.policy = delete\n"},
    after=_DESCRIBED,
)
CASES.change(
    "a broker's",
    "--alter --broker {node} --add-config log.cleaner.threads=2",
    "--describe --broker {node}",
    "--alter --broker {node} --delete-config log.cleaner.threads",
    "--describe --broker {node}",
    given=configured,
    after=_BROKER,
    alone=True,
)
CASES.change(
    "all brokers'",
    "--alter --broker-defaults --add-config log.cleaner.threads=2,log.retention.ms=1234567",
    "--describe --broker-defaults",
    "--describe --broker {node}",
    "--alter --entity-type brokers --entity-default --delete-config log.cleaner.threads,log.retention.ms",
    "--describe --broker-defaults",
    given=configured,
    after=_BROKER,
    alone=True,
)
CASES.change(
    "a group's",
    "--alter --group {group} --add-config consumer.session.timeout.ms=50000",
    "--describe --group {group}",
    "--alter --group {group} --delete-config consumer.session.timeout.ms",
    after=[("kafka-configs", "--describe --group {group}")],
)
CASES.change(
    "a client metrics subscription's",
    "--alter --client-metrics {metrics} --add-config interval.ms=1000,metrics=[org.apache.kafka.producer.]",
    "--describe --client-metrics {metrics}",
    "--alter --client-metrics {metrics} --delete-config interval.ms,metrics",
    after=[("kafka-configs", "--describe --client-metrics {metrics}")],
)
CASES.change(
    "a user's and a client's quota",
    "--alter --user {user} --add-config producer_byte_rate=1024",
    "--alter --client {client} --add-config consumer_byte_rate=2048",
    "--describe --user {user}",
    "--alter --user {user} --delete-config producer_byte_rate",
    "--alter --client {client} --delete-config consumer_byte_rate",
    after=[("kafka-configs", "--describe --user {user}")],
)
CASES.read("a broker's loggers", "--describe --broker-logger {node}", given=configured)
