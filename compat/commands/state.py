"""The state that cases meet, made by librdkafka: neither Apache Kafka's client nor ours, which are compared.

Records have fixed times, so that topics in which they lie must keep them for good, and in one segment.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from compat.commands.scene import Scene

DEADLINE_S: Final = 30.0
FIRST_RECORD_MS: Final = 1_750_000_000_000
"""The time of a topic's first record; each one after it is a second later."""
FOR_GOOD: Final = {"retention.ms": "-1", "segment.ms": str(2**62)}


@dataclass(frozen=True)
class Rec:
    """One record; ``at_s`` is its time in seconds after the first one's."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = 0
    at_s: int = 0


def new_topic(
    scene: Scene, word: str, *, partitions: int = 1, configs: Mapping[str, str] | None = None
) -> None:
    """A topic, there for everybody when this returns."""
    name = scene.name(word)
    topic = NewTopic(name, partitions, 1, config=dict(configs or {}))
    scene.broker.admin.create_topics([topic])[name].result(DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = scene.broker.admin.list_topics(name, timeout=DEADLINE_S).topics[name]
        if found.error is None and all(each.leader >= 0 for each in found.partitions.values()):
            return
        assert time.monotonic() < deadline, f"{name} did not come to be"
        time.sleep(0.02)


def produce(scene: Scene, word: str, records: Iterable[Rec], **settings: object) -> None:
    """Records, acknowledged, in one batch for each partition."""
    producer = Producer({"bootstrap.servers": scene.broker.bootstrap_servers, "linger.ms": 50, **settings})
    send(producer, scene, word, records)


def send(producer: Producer, scene: Scene, word: str, records: Iterable[Rec]) -> None:
    for record in records:
        producer.produce(
            scene.name(word),
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            partition=record.partition,
            timestamp=FIRST_RECORD_MS + 1_000 * record.at_s,
        )
    assert producer.flush(DEADLINE_S) == 0


def commit(scene: Scene, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
    """Offsets of a group without members."""
    consumer = Consumer(
        {
            "bootstrap.servers": scene.broker.bootstrap_servers,
            "group.id": scene.name(group),
            "enable.auto.commit": False,
        }
    )
    partitions = [
        TopicPartition(scene.name(topic), partition, offset) for (topic, partition), offset in offsets.items()
    ]
    consumer.commit(offsets=partitions, asynchronous=False)
    consumer.close()


def join(scene: Scene, group: str, topic: str, client_ids: Sequence[str]) -> None:
    """Members, one after the other, that stay until the session ends."""
    members: list[Consumer] = []
    for client_id in client_ids:
        member = Consumer(
            {
                "bootstrap.servers": scene.broker.bootstrap_servers,
                "group.id": scene.name(group),
                "client.id": client_id,
                "enable.auto.commit": False,
                "session.timeout.ms": 45_000,
                "partition.assignment.strategy": "range",
            }
        )
        scene.broker.keep(member)
        member.subscribe([scene.name(topic)])
        members.append(member)
        deadline = time.monotonic() + DEADLINE_S
        while not member.assignment():
            for each in members:
                each.poll(0.02)
            assert time.monotonic() < deadline, f"{client_id} was assigned nothing"


def open_transaction(scene: Scene, transactional_id: str, topic: str, records: Iterable[Rec]) -> Producer:
    """A transaction with these records that nobody ends until the session does."""
    producer = Producer(
        {
            "bootstrap.servers": scene.broker.bootstrap_servers,
            "transactional.id": scene.name(transactional_id),
            "transaction.timeout.ms": 900_000,
            "client.id": "transactional",
        }
    )
    producer.init_transactions(DEADLINE_S)
    producer.begin_transaction()
    send(producer, scene, topic, records)
    return producer


def records_of(scene: Scene) -> str:
    """The records of ``topic``, one a line: partition, offset, headers, key and value."""
    name = scene.name("topic")
    consumer = Consumer(
        {
            "bootstrap.servers": scene.broker.bootstrap_servers,
            "group.id": "observer",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = scene.broker.admin.list_topics(name, timeout=DEADLINE_S).topics[name].partitions
    consumer.assign([TopicPartition(name, number, 0) for number in partitions])
    lines, read_to_the_end = [], 0
    while read_to_the_end < len(partitions):
        message = consumer.poll(DEADLINE_S)
        assert message is not None, "no record came"
        error = message.error()
        if error is None:
            about = message.partition(), message.offset(), message.headers(), message.key(), message.value()
            lines.append(" ".join(map(repr, about)))
            continue
        assert error.code() == KafkaError._PARTITION_EOF, error
        read_to_the_end += 1
    consumer.close()
    return "".join(f"{line}\n" for line in sorted(lines))
