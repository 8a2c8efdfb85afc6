"""Transactions that the broker's end interrupts: they go on, or are aborted, and what was decided stays decided."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable

import pytest

from tests.broker_process import BrokerProcess
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import (
    KafkaFailure,
    Message,
    Setting,
    TopicPartition,
    consume,
    is_fenced,
)
from tests.e2e.conftest import CLIENTS

StartBroker = Callable[..., BrokerProcess]
Numbered = Callable[..., list[Message]]

CLIENT = ConfluentClient()
# librdkafka 2.16 forgets its brokers and bootstraps anew when the only one goes away, and its
# send_offsets_to_transaction then waits for an old one for ever (against any broker).
STEADY: dict[str, Setting] = {"metadata.recovery.strategy": "none", "reconnect.backoff.max.ms": 200}
# Long polls hold up what a client asks for on the same connection meanwhile, such as the end of a partition.
SHORT_POLLS: dict[str, Setting] = {"auto.offset.reset": "earliest", "fetch.max.wait.ms": 50}
COMMITTED: dict[str, Setting] = {**SHORT_POLLS, "isolation.level": "read_committed"}
UNCOMMITTED: dict[str, Setting] = {**SHORT_POLLS, "isolation.level": "read_uncommitted"}
QUICK = {
    "group.initial.rebalance.delay.ms": 0,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
}

both_ways = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])


def restart(broker: BrokerProcess, number: signal.Signals) -> None:
    broker.signal(number)
    broker.wait()
    broker.start()


def committed_values(server: str, topic: str, count: int) -> list[int]:
    """Of a topic with one partition: ``count`` values, and whatever else comes."""
    with CLIENT.consumer(server, settings=COMMITTED) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        records = (consume(consumer, count, deadline_s=60.0) if count else []) + consumer.poll(0.5)
    return [int(record.value or b"-1") for record in records]


@pytest.mark.slow
@both_ways
def test_open_transactions_go_on_after_a_restart(
    start_broker: StartBroker, number: signal.Signals, numbered: Numbered, caplog: pytest.LogCaptureFixture
) -> None:
    # Its records of failed connections would keep their sockets alive past the end of the case.
    caplog.set_level("CRITICAL", "kafka")
    broker = start_broker(overrides=QUICK).start()
    server = broker.bootstrap_server
    with contextlib.ExitStack() as stack:
        producers = {}
        for client in CLIENTS:
            topic = f"of-{client.name}"
            with CLIENT.admin(server) as admin:
                admin.create_topic(topic)
            settings = STEADY if client.name == CLIENT.name else None
            producers[topic] = stack.enter_context(client.transactional_producer(server, topic, settings))
        for first, end in ((0, "commit"), (20, "abort"), (40, "commit")):
            for topic, producer in producers.items():
                producer.begin()
                producer.send(topic, numbered(10, first=first))
            restart(broker, number)
            for topic, producer in producers.items():
                producer.send(topic, numbered(10, first=first + 10))
                getattr(producer, end)()
        for topic in producers:
            assert committed_values(server, topic, 40) == [*range(20), *range(40, 60)], topic


@both_ways
def test_what_was_decided_is_carried_out_after_a_restart(
    start_broker: StartBroker, number: signal.Signals, numbered: Numbered
) -> None:
    """A commit is acknowledged once it is decided: the markers must come even if the broker dies before they do."""
    broker = start_broker(overrides=QUICK).start()
    server = broker.bootstrap_server
    partitions = 10
    with CLIENT.admin(server) as admin:
        admin.create_topic("decided", partitions)
    with CLIENT.transactional_producer(server, "decider", STEADY) as producer:
        for transaction in range(2):
            producer.begin()
            producer.send(
                "decided", numbered(partitions, first=transaction * partitions, partitions=partitions)
            )
            if transaction % 2:
                producer.abort()
            else:
                producer.commit()
            restart(broker, number)
    with CLIENT.consumer(server, settings=COMMITTED) as consumer:
        consumer.assign(*(TopicPartition("decided", index) for index in range(partitions)))
        found = consume(consumer, partitions, deadline_s=60.0) + consumer.poll(0.5)
        assert sorted(int(record.value or b"-1") for record in found) == list(range(partitions))
        # No partition is held back. (Markers that had been written already may be there twice.)
        with CLIENT.consumer(server, settings=UNCOMMITTED) as everything:
            for index in range(partitions):
                partition = TopicPartition("decided", index)
                end = everything.end_offset(partition)
                assert end >= 4
                assert consumer.end_offset(partition) == end


@pytest.mark.slow
def test_transaction_of_a_vanished_producer_times_out_after_a_restart(
    start_broker: StartBroker, numbered: Numbered
) -> None:
    broker = start_broker(overrides=QUICK).start()
    server = broker.bootstrap_server
    vanished = CLIENT.transactional_producer(server, "vanished", {**STEADY, "transaction.timeout.ms": 2_000})
    vanished.begin()
    vanished.send("held-back", numbered(5))
    with CLIENT.producer(server) as plain:
        plain.send("held-back", numbered(5, first=5))
    assert committed_values(server, "held-back", 0) == []
    restart(broker, signal.SIGKILL)
    assert committed_values(server, "held-back", 5) == list(range(5, 10))
    with pytest.raises(KafkaFailure):
        vanished.commit()
    with contextlib.suppress(KafkaFailure):
        vanished.close()


@pytest.mark.slow
def test_fenced_producer_stays_fenced_after_a_restart(start_broker: StartBroker, numbered: Numbered) -> None:
    broker = start_broker(overrides=QUICK).start()
    server = broker.bootstrap_server
    first = CLIENT.transactional_producer(server, "owned", STEADY)
    first.begin()
    first.send("fenced", numbered(3))
    with CLIENT.transactional_producer(server, "owned", STEADY) as second:
        restart(broker, signal.SIGKILL)
        with pytest.raises(KafkaFailure) as refused:
            first.commit()
        assert is_fenced(refused.value), refused.value
        second.begin()
        second.send("fenced", numbered(3, first=6))
        second.commit()
    assert committed_values(server, "fenced", 3) == [6, 7, 8]
    with contextlib.suppress(KafkaFailure):
        first.close()


@pytest.mark.slow
def test_pending_offsets_outlive_a_restart(start_broker: StartBroker, numbered: Numbered) -> None:
    broker = start_broker(overrides=QUICK).start()
    server = broker.bootstrap_server
    partition = TopicPartition("source", 0)
    settings: dict[str, Setting] = {**COMMITTED, **STEADY, "enable.auto.commit": False}
    with (
        CLIENT.producer(server) as filler,
        CLIENT.transactional_producer(server, "pending", STEADY) as producer,
        CLIENT.consumer(server, "group", settings) as consumer,
    ):
        filler.send("source", numbered(20))
        consumer.subscribe("source")
        consume(consumer, 20)
        for end, offset, expected in (("commit", 5, 5), ("abort", 12, 5), ("commit", 17, 17)):
            producer.begin()
            producer.send_offsets({partition: offset}, consumer.group_metadata())
            restart(broker, signal.SIGKILL)
            getattr(producer, end)()
            assert consumer.committed(partition) == expected
    restart(broker, signal.SIGKILL)
    with CLIENT.consumer(server, "group", settings) as consumer:
        assert consumer.committed(partition) == 17


@pytest.mark.slow
def test_old_transactions_are_not_forgotten_with_their_segments(
    start_broker: StartBroker, numbered: Numbered
) -> None:
    """Aborted transactions of rolled segments are in their transaction indexes, which a restart reads."""
    broker = start_broker(overrides=QUICK).start()
    server = broker.bootstrap_server
    with CLIENT.admin(server) as admin:
        admin.create_topic("rolled", configs={"segment.ms": "50"})
    expected = []
    with CLIENT.transactional_producer(server, "roller", STEADY) as producer:
        for transaction in range(12):
            producer.begin()
            producer.send("rolled", numbered(5, first=transaction * 5))
            if transaction % 3:
                producer.abort()
            else:
                producer.commit()
                expected += range(transaction * 5, transaction * 5 + 5)
            time.sleep(0.06)
    restart(broker, signal.SIGKILL)
    assert committed_values(server, "rolled", len(expected)) == expected
