"""Carrying on after the broker was stopped or killed: clients that live through it, and what is on disk."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker_process import BrokerProcess
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Consumer, Message, Producer, TopicPartition, consume, poll_until
from tests.e2e.conftest import CLIENTS

StartBroker = Callable[..., BrokerProcess]
Numbered = Callable[..., list[Message]]

CLIENT = ConfluentClient()
EARLIEST = {"auto.offset.reset": "earliest"}
QUICK_GROUPS = {"group.initial.rebalance.delay.ms": 0}

both_ways = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])


def restart(broker: BrokerProcess, number: signal.Signals) -> None:
    broker.signal(number)
    broker.wait()
    broker.start()


def values(consumer: Consumer, count: int) -> list[int]:
    return [int(record.value or b"-1") for record in consume(consumer, count, deadline_s=60.0)]


@pytest.mark.slow
@both_ways
def test_clients_carry_on_through_a_restart(
    start_broker: StartBroker, number: signal.Signals, numbered: Numbered, caplog: pytest.LogCaptureFixture
) -> None:
    # Its records of failed connections would keep their sockets alive past the end of the case.
    caplog.set_level("CRITICAL", "kafka")
    broker = start_broker(overrides=QUICK_GROUPS).start()
    server = broker.bootstrap_server
    with contextlib.ExitStack() as stack:
        producers: dict[str, Producer] = {}
        members: dict[str, Consumer] = {}
        for client in CLIENTS:
            topic = f"of-{client.name}"
            # Made by hand, since kafka-python takes a topic's first metadata from its creation.
            with CLIENT.admin(server) as admin:
                admin.create_topic(topic)
            producers[topic] = stack.enter_context(client.producer(server, {"enable.idempotence": True}))
            producers[topic].send(topic, numbered(100))
            members[topic] = stack.enter_context(client.consumer(server, f"group-{client.name}", EARLIEST))
            members[topic].subscribe(topic)
            assert values(members[topic], 100) == list(range(100))
            members[topic].commit()
        restart(broker, number)
        for topic, producer in producers.items():
            placed = producer.send(topic, numbered(100, first=100))
            assert placed == [(0, offset) for offset in range(100, 200)], topic
        for topic, member in members.items():
            assert values(member, 100) == list(range(100, 200)), topic
            member.commit()
            assert member.committed(TopicPartition(topic, 0)) == 200
        restart(broker, number)
        for client in CLIENTS:
            partition = TopicPartition(f"of-{client.name}", 0)
            assert members[partition.topic].committed(partition) == 200
            with client.consumer(server, settings=EARLIEST) as fresh:
                fresh.assign(partition)
                assert values(fresh, 200) == list(range(200))


@both_ways
def test_topics_configs_and_group_offsets_are_kept(
    start_broker: StartBroker, number: signal.Signals, numbered: Numbered
) -> None:
    broker = start_broker(overrides=QUICK_GROUPS).start()
    with CLIENT.admin(broker.bootstrap_server) as admin:
        admin.create_topic("kept", 3, configs={"retention.ms": "7777"})
        admin.create_topic("altered")
        admin.alter_topic_config("altered", "max.message.bytes", "4321")
        admin.create_topic("deleted")
        admin.create_partitions("kept", 5)
        with CLIENT.producer(broker.bootstrap_server) as producer:
            producer.send("kept", numbered(50, partitions=5))
        with CLIENT.consumer(broker.bootstrap_server, "group", EARLIEST) as consumer:
            consumer.subscribe("kept")
            consume(consumer, 50)
            consumer.commit()
        admin.delete_topic("deleted")
        poll_until(admin.list_topics, lambda topics: "deleted" not in topics)
        admin.delete_records(TopicPartition("kept", 1), 4)
        before = admin.describe_cluster()
    restart(broker, number)
    with CLIENT.admin(broker.bootstrap_server) as admin:
        assert admin.describe_cluster() == before
        assert {"kept", "altered"} <= admin.list_topics()
        assert "deleted" not in admin.list_topics()
        assert len(admin.describe_topic("kept")) == 5
        assert admin.describe_topic_configs("kept")["retention.ms"] == "7777"
        assert admin.describe_topic_configs("altered")["max.message.bytes"] == "4321"
    # Asked through a consumer: librdkafka 2.16's admin client crashes where the coordinator is still loading.
    with CLIENT.consumer(broker.bootstrap_server, "group") as consumer:
        assert [consumer.committed(TopicPartition("kept", index)) for index in range(5)] == [10] * 5
        # Kafka itself may forget a deletion of records that no checkpoint had time to note before a kill.
        if number == signal.SIGTERM:
            assert consumer.beginning_offset(TopicPartition("kept", 1)) == 4
        assert consumer.end_offset(TopicPartition("kept", 1)) == 10


@pytest.mark.parametrize(
    "tail", [b"\x00" * 4096, b"\xff" * 100, b"not a record batch at all" * 9], ids=["zeros", "ones", "text"]
)
def test_torn_tail_is_cut_off_after_a_kill(
    start_broker: StartBroker, tail: bytes, numbered: Numbered
) -> None:
    broker = start_broker().start()
    with CLIENT.producer(broker.bootstrap_server) as producer:
        producer.send("torn", numbered(20))
    broker.kill()
    with segment_of(broker, "torn", 0).open("ab") as segment:
        segment.write(tail)
    broker.start()
    with CLIENT.producer(broker.bootstrap_server) as producer:
        assert producer.send("torn", numbered(1, first=20)) == [(0, 20)]
    with CLIENT.consumer(broker.bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition("torn", 0))
        assert values(consumer, 21) == list(range(21))


def test_batch_that_was_cut_in_half_is_dropped_whole(start_broker: StartBroker, numbered: Numbered) -> None:
    broker = start_broker().start()
    with CLIENT.producer(broker.bootstrap_server, {"linger.ms": 50}) as producer:
        producer.send("half", numbered(10))
        whole_bytes = segment_of(broker, "half", 0).stat().st_size
        producer.send("half", numbered(10, first=10))
    broker.kill()
    path = segment_of(broker, "half", 0)
    with path.open("r+b") as segment:
        segment.truncate((whole_bytes + path.stat().st_size) // 2)
    broker.start()
    with CLIENT.producer(broker.bootstrap_server) as producer:
        assert producer.send("half", numbered(1, first=10)) == [(0, 10)]
    with CLIENT.consumer(broker.bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition("half", 0))
        assert values(consumer, 11) == list(range(11))


def segment_of(broker: BrokerProcess, topic: str, partition: int) -> Path:
    """The only segment of a partition, wherever below the data directory the broker keeps it."""
    (path,) = broker.data_dir.rglob(f"{topic}-{partition}/*.log")
    return path
