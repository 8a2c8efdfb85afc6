"""Transactions as applications use them: what becomes visible and when, consume-transform-produce, fencing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.e2e.clients.confluent import ConfluentAdmin, ConfluentClient
from tests.e2e.clients.interface import (
    LATEST_TIMESTAMP,
    Client,
    Consumed,
    Consumer,
    KafkaFailure,
    Message,
    Setting,
    TopicPartition,
    TransactionalProducer,
    consume,
    is_fenced,
    poll_until,
)
from tests.e2e.clients.kafka_python import KafkaPythonClient

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]
UniqueName = Callable[[str], str]
Transactional = Callable[..., TransactionalProducer]

CONFLUENT = ConfluentClient()
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Long polls hold up what a client asks for on the same connection meanwhile, such as the end of a partition.
SHORT_POLLS: dict[str, Setting] = {"auto.offset.reset": "earliest", "fetch.max.wait.ms": 50}
COMMITTED: dict[str, Setting] = {**SHORT_POLLS, "isolation.level": "read_committed"}
UNCOMMITTED: dict[str, Setting] = {**SHORT_POLLS, "isolation.level": "read_uncommitted"}
MEMBER: dict[str, Setting] = {**COMMITTED, "enable.auto.commit": False, "heartbeat.interval.ms": 300}


@pytest.fixture
def transactional(client: Client, bootstrap_server: str, unique_name: UniqueName) -> Iterator[Transactional]:
    """Makes transactional producers: ``transactional()``, or with an id and settings. Closed at the end."""
    producers: list[TransactionalProducer] = []

    def make(
        transactional_id: str | None = None, settings: dict[str, Setting] | None = None
    ) -> TransactionalProducer:
        name = transactional_id or unique_name("transactional")
        producers.append(client.transactional_producer(bootstrap_server, name, settings))
        return producers[-1]

    yield make
    for producer in producers:
        # One that was fenced has nothing left to say, and some libraries say so when they are closed.
        with contextlib.suppress(KafkaFailure):
            producer.close()


def numbers(records: Sequence[Consumed]) -> list[int]:
    return [int(record.value or b"-1") for record in records]


def read_all(
    client: Client,
    bootstrap_server: str,
    partitions: Sequence[TopicPartition],
    settings: dict[str, Setting],
    count: int,
) -> dict[TopicPartition, list[Consumed]]:
    """``count`` records from the start of the partitions, by partition; no further ones may come."""
    with client.consumer(bootstrap_server, settings=settings) as consumer:
        consumer.assign(*partitions)
        records = consume(consumer, count) if count else []
        records += consumer.poll(0.3)
    assert len(records) == count
    return {
        partition: [record for record in records if record.partition == partition.partition]
        for partition in partitions
    }


def read_one(
    client: Client, bootstrap_server: str, topic: str, settings: dict[str, Setting], count: int
) -> list[Consumed]:
    """The same of a topic's only partition."""
    partition = TopicPartition(topic, 0)
    return read_all(client, bootstrap_server, [partition], settings, count)[partition]


def test_committed_records_are_seen_and_aborted_ones_are_not(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    topic = new_topic(3)
    producer = transactional()
    placed = []
    for transaction in range(6):
        producer.begin()
        placed += producer.send(topic, numbered(30, first=transaction * 30, partitions=3))
        if transaction % 3 == 1:
            producer.abort()
        else:
            producer.commit()
    # Ten records a partition, then the marker, which takes an offset.
    assert [offset for partition, offset in placed if partition == 2] == [
        transaction * 11 + index for transaction in range(6) for index in range(10)
    ]
    partitions = [TopicPartition(topic, index) for index in range(3)]
    everything = read_all(client, bootstrap_server, partitions, UNCOMMITTED, 180)
    committed = read_all(client, bootstrap_server, partitions, COMMITTED, 120)
    for index, partition in enumerate(partitions):
        assert numbers(everything[partition]) == list(range(index, 180, 3))
        assert numbers(committed[partition]) == [
            number for number in range(index, 180, 3) if number // 30 not in (1, 4)
        ]
        assert [record.offset for record in committed[partition]] == [
            record.offset for record in everything[partition] if record.offset // 11 not in (1, 4)
        ]


def test_open_transaction_holds_back_what_follows_it(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    partition = TopicPartition(new_topic(), 0)
    first, second = transactional(), transactional()
    with (
        client.producer(bootstrap_server) as plain,
        client.consumer(bootstrap_server, settings=COMMITTED) as committed,
        client.consumer(bootstrap_server, settings=UNCOMMITTED) as uncommitted,
    ):
        plain.send(partition.topic, numbered(5))
        first.begin()
        first.send(partition.topic, numbered(5, first=5))
        second.begin()
        second.send(partition.topic, numbered(5, first=10))
        plain.send(partition.topic, numbered(5, first=15))
        second.commit()
        for consumer in (committed, uncommitted):
            consumer.assign(partition)
        assert numbers(consume(uncommitted, 20)) == list(range(20))
        assert numbers(consume(committed, 5)) == list(range(5))
        assert committed.poll(0.3) == []
        assert uncommitted.end_offset(partition) == 21
        assert committed.end_offset(partition) == 5
        first.abort()
        assert numbers(consume(committed, 10)) == list(range(10, 20))
        assert committed.end_offset(partition) == 22


def test_waiting_reader_is_woken_by_the_commit(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    partition = TopicPartition(new_topic(), 0)
    producer = transactional()
    # A fetch that nothing wakes would answer only after half a minute.
    settings: dict[str, Setting] = {
        **COMMITTED,
        "fetch.max.wait.ms": 30_000,
        **({"socket.timeout.ms": 60_000} if client.name == CONFLUENT.name else {}),
        **({"request.timeout.ms": 60_000} if client.name != CONFLUENT.name else {}),
    }
    with client.consumer(bootstrap_server, settings=settings) as consumer:
        consumer.assign(partition)
        for round_number in range(3):
            producer.begin()
            producer.send(partition.topic, numbered(3, first=round_number * 3))
            assert consumer.poll(0.3) == []
            ended = time.monotonic()
            producer.commit()
            found = consume(consumer, 3)
            assert numbers(found) == [round_number * 3 + index for index in range(3)]
            assert time.monotonic() - ended < 10.0


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_group_member_reads_at_its_isolation_level(
    isolation: str,
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    topic = new_topic(2)
    producer = transactional()
    for transaction in range(4):
        producer.begin()
        producer.send(topic, numbered(20, first=transaction * 20, partitions=2))
        if transaction % 2:
            producer.abort()
        else:
            producer.commit()
    expected = [number for number in range(80) if isolation == "read_uncommitted" or number // 20 % 2 == 0]
    group, settings = unique_name("isolated"), {**MEMBER, "isolation.level": isolation}
    with client.consumer(bootstrap_server, group, settings) as member:
        member.subscribe(topic)
        found = consume(member, len(expected)) + member.poll(0.3)
        assert sorted(numbers(found)) == expected
        # Past the last marker too: the next member must not stumble over it.
        poll_until(
            lambda: (member.poll(0.05), member.position(TopicPartition(topic, 1)))[1],
            lambda position: position == 44,
            what="a position behind the last marker",
        )
        member.commit()
        assert member.committed(TopicPartition(topic, 1)) == 44


class Transformer:
    """Consume-transform-produce: doubles numbers from one topic into another, a transaction for each poll."""

    def __init__(self, producer: TransactionalProducer, consumer: Consumer, source: str, target: str) -> None:
        self.producer, self.consumer = producer, consumer
        self.target = target
        consumer.subscribe(source)

    def take(self) -> list[Consumed]:
        """Read some records, and put their doubles and the offsets into a transaction that stays open."""
        records = poll_until(lambda: self.consumer.poll(0.2), bool, what="records to transform")
        self.producer.begin()
        doubles = [
            Message(b"%d" % (2 * int(record.value or b"-1")), partition=record.partition)
            for record in records
        ]
        self.producer.send(self.target, doubles)
        self.producer.send_offsets(next_offsets(records), self.consumer.group_metadata())
        return records

    def give_back(self, records: Sequence[Consumed]) -> None:
        """Abort, and return to what was read."""
        self.producer.abort()
        for partition in {TopicPartition(record.topic, record.partition) for record in records}:
            first = min(record.offset for record in records if record.partition == partition.partition)
            self.consumer.seek(partition, first)


def next_offsets(records: Sequence[Consumed]) -> dict[TopicPartition, int]:
    """Where to go on after the records, by partition; they are in order."""
    return {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}


def test_consume_transform_produce(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    source, target, group = new_topic(2), new_topic(2), unique_name("transform")
    # Small fetches, lest everything fits into one transaction.
    settings: dict[str, Setting] = {**MEMBER, "max.partition.fetch.bytes": 1_000}
    producer = transactional()
    done = 0
    with client.producer(bootstrap_server, {"linger.ms": 0}) as filler:
        for first in range(0, 200, 10):
            filler.send(source, numbered(10, first=first, partitions=2))
    transactions = 0
    while done < 200:
        # A new member each few transactions goes on exactly where the committed offsets say.
        with client.consumer(bootstrap_server, group, settings) as consumer:
            transformer = Transformer(producer, consumer, source, target)
            while done < 200:
                records = transformer.take()
                transactions += 1
                if transactions % 3 == 2:
                    transformer.give_back(records)
                else:
                    producer.commit()
                    done += len(records)
                if transactions % 4 == 0:
                    break
    assert transactions > 1
    targets = [TopicPartition(target, index) for index in range(2)]
    found = read_all(client, bootstrap_server, targets, COMMITTED, 200)
    for index, partition in enumerate(targets):
        assert numbers(found[partition]) == list(range(2 * index, 400, 4))
    with client.consumer(bootstrap_server, group, MEMBER) as consumer:
        assert [consumer.committed(TopicPartition(source, index)) for index in range(2)] == [100, 100]


def test_offsets_of_an_aborted_transaction_never_appear(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    admin: ConfluentAdmin,
    new_topic: NewTopic,
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    source, target, group = new_topic(), new_topic(), unique_name("aborted-offsets")
    partition = TopicPartition(source, 0)
    with client.producer(bootstrap_server) as filler:
        filler.send(source, numbered(10))
    producer = transactional()
    with client.consumer(bootstrap_server, group, MEMBER) as consumer:
        transformer = Transformer(producer, consumer, source, target)
        first = transformer.take()
        assert admin.group_offsets(group) == {}
        producer.abort()
        # It asks for stable offsets, so the answer waits for the transaction's end.
        assert consumer.committed(partition) is None
        assert admin.group_offsets(group) == {}
        # Committed ones are seen, and another abort leaves them as they are.
        producer.begin()
        producer.send_offsets({partition: 4}, consumer.group_metadata())
        producer.commit()
        poll_until(lambda: admin.group_offsets(group), lambda offsets: offsets == {partition: 4})
        producer.begin()
        producer.send_offsets({partition: 9}, consumer.group_metadata())
        assert admin.group_offsets(group) == {partition: 4}
        producer.abort()
        assert consumer.committed(partition) == 4
        assert admin.group_offsets(group) == {partition: 4}
    assert numbers(first)[0] == 0
    assert read_one(client, bootstrap_server, target, COMMITTED, 0) == []


@pytest.mark.parametrize("library", [ConfluentClient(), KafkaPythonClient()], ids=lambda one: one.name)
def test_reader_of_committed_offsets_waits_for_the_transaction(
    library: Client,
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    """KIP-447: who takes over must not start from offsets that an open transaction is about to replace."""
    source, group = new_topic(), unique_name("pending")
    partition = TopicPartition(source, 0)
    with library.producer(bootstrap_server) as filler:
        filler.send(source, numbered(10))
    with library.transactional_producer(bootstrap_server, unique_name("pending")) as producer:
        with library.consumer(bootstrap_server, group, MEMBER) as consumer:
            consumer.subscribe(source)
            consume(consumer, 10)
            producer.begin()
            producer.send_offsets({partition: 7}, consumer.group_metadata())
        with library.consumer(bootstrap_server, group, MEMBER) as successor:
            successor.subscribe(source)
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                assert successor.poll(0.1) == []
            producer.commit()
            assert numbers(consume(successor, 3)) == [7, 8, 9]


def test_second_owner_of_a_transactional_id_fences_the_first(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    topic, transactional_id = new_topic(), unique_name("owned")
    first = transactional(transactional_id)
    first.begin()
    first.send(topic, numbered(5))
    first.commit()
    first.begin()
    first.send(topic, numbered(5, first=5))
    second = transactional(transactional_id)
    # The first one's open transaction is over as soon as the second one has come.
    with client.consumer(bootstrap_server, settings=COMMITTED) as consumer:
        partition = TopicPartition(topic, 0)
        assert consumer.end_offset(partition) == 12
        second.begin()
        second.send(topic, numbered(5, first=10))
        with pytest.raises(KafkaFailure) as refused:
            first.commit()
        assert is_fenced(refused.value), refused.value
        second.commit()
        consumer.assign(partition)
        assert numbers(consume(consumer, 10) + consumer.poll(0.3)) == [*range(5), *range(10, 15)]


@pytest.mark.slow
def test_transaction_that_takes_too_long_is_aborted(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    partition = TopicPartition(new_topic(), 0)
    producer = transactional(settings={"transaction.timeout.ms": 1_000})
    with (
        client.consumer(bootstrap_server, settings=COMMITTED) as consumer,
        client.producer(bootstrap_server) as plain,
    ):
        consumer.assign(partition)
        producer.begin()
        producer.send(partition.topic, numbered(5))
        plain.send(partition.topic, numbered(5, first=5))
        # Kafka looks for such transactions every ten seconds unless it is told otherwise.
        assert numbers(consume(consumer, 5)) == list(range(5, 10))
        assert consumer.end_offset(partition) == 11
        with pytest.raises(KafkaFailure):
            producer.commit()
        assert consumer.poll(0.3) == []


def test_one_transaction_over_many_partitions(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    topics = [new_topic(40) for _ in range(3)]
    producer = transactional()
    for transaction in range(3):
        producer.begin()
        for topic in topics:
            producer.send(topic, numbered(40, first=40 * transaction, partitions=40))
        if transaction == 1:
            producer.abort()
        else:
            producer.commit()
    everywhere = [TopicPartition(topic, index) for topic in topics for index in range(40)]
    with client.consumer(bootstrap_server, settings=COMMITTED) as consumer:
        consumer.assign(*everywhere)
        found = consume(consumer, 240) + consumer.poll(0.3)
    assert sorted((record.topic, int(record.value or b"-1")) for record in found) == sorted(
        (topic, number) for topic in topics for number in [*range(40), *range(80, 120)]
    )
    assert {record.offset for record in found} == {0, 4}


@pytest.mark.parametrize("codec", CODECS)
def test_big_transactions(
    codec: str,
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
) -> None:
    topic = new_topic()
    producer = transactional(settings={"compression.type": codec, "linger.ms": 5})
    filling = b"some text that can be compressed, if only a little " * 4
    for transaction in range(3):
        producer.begin()
        sent = [Message(b"%d:%d %s" % (transaction, number, filling)) for number in range(1_200)]
        placed = producer.send(topic, sent)
        assert [offset for _, offset in placed] == [transaction * 1_201 + number for number in range(1_200)]
        if transaction == 1:
            producer.abort()
        else:
            producer.commit()
    found = read_one(client, bootstrap_server, topic, COMMITTED, 2_400)
    assert [record.value for record in found] == [
        b"%d:%d %s" % (transaction, number, filling) for transaction in (0, 2) for number in range(1_200)
    ]


def test_transactions_without_records(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    topic = new_topic()
    producer = transactional()
    for end in (producer.commit, producer.abort, producer.commit):
        producer.begin()
        end()
    producer.begin()
    assert producer.send(topic, numbered(2)) == [(0, 0), (0, 1)]
    producer.commit()
    found = read_one(client, bootstrap_server, topic, COMMITTED, 2)
    assert numbers(found) == [0, 1]


def test_many_short_transactions_of_many_producers(
    client: Client,
    transactional: Transactional,
    bootstrap_server: str,
    new_topic: NewTopic,
) -> None:
    """Aborted ranges of several producers overlap, so a reader has to keep them apart by producer id."""
    topic = new_topic()
    producers = [transactional() for _ in range(4)]
    expected: list[bytes] = []
    for round_number in range(10):
        for producer in producers:
            producer.begin()
        for step in range(3):
            for index, producer in enumerate(producers):
                value = b"%d-%d-%d" % (round_number, step, index)
                producer.send(topic, [Message(value)])
                if (round_number + index) % 4:
                    expected.append(value)
        for index, producer in enumerate(producers):
            if (round_number + index) % 4:
                producer.commit()
            else:
                producer.abort()
    found = read_one(client, bootstrap_server, topic, COMMITTED, len(expected))
    assert [record.value for record in found] == expected


def test_list_offsets_by_isolation_level(
    bootstrap_server: str,
    admin: ConfluentAdmin,
    new_topic: NewTopic,
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    partition = TopicPartition(new_topic(), 0)

    def stable_end() -> int:
        return admin.list_offset(partition, LATEST_TIMESTAMP, isolation_level="read_committed")

    with CONFLUENT.transactional_producer(bootstrap_server, unique_name("listing")) as producer:
        producer.begin()
        producer.send(partition.topic, numbered(5))
        assert admin.list_offset(partition, LATEST_TIMESTAMP) == 5
        assert stable_end() == 0
        producer.commit()
        # The answer to a commit means that it is decided; the markers may still be on their way.
        poll_until(stable_end, lambda offset: offset == 6)
