"""Consuming: positions, seeks, offset look-ups, limits of a fetch, long polls, deleted records."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kio.schema.errors import ErrorCode

from tests.e2e.clients.confluent import ConfluentAdmin, ConfluentClient
from tests.e2e.clients.interface import (
    EARLIEST_TIMESTAMP,
    LATEST_TIMESTAMP,
    MAX_TIMESTAMP,
    Client,
    Consumed,
    Consumer,
    GroupAdmin,
    KafkaFailure,
    Message,
    TopicPartition,
    consume,
    poll_until,
)
from tests.e2e.clients.kafka_python import KafkaPythonClient
from tests.e2e.raw_connection import RawConnection, fetch_request

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]

EARLIEST = {"auto.offset.reset": "earliest"}
BASE_TIMESTAMP_MS = 1_700_000_000_000


@pytest.fixture
def spaced(bootstrap_server: str, new_topic: NewTopic) -> TopicPartition:
    """A partition of 100 records, a second apart, in several gzip batches."""
    topic = new_topic()
    with ConfluentClient().producer(
        bootstrap_server, {"compression.type": "gzip", "linger.ms": 50}
    ) as producer:
        for first in range(0, 100, 25):
            producer.send(
                topic,
                [
                    Message(b"%d" % number, timestamp_ms=BASE_TIMESTAMP_MS + number * 1_000)
                    for number in range(first, first + 25)
                ],
            )
    return TopicPartition(topic, 0)


def values_from(consumer: Consumer, count: int) -> list[int]:
    return [int(record.value or b"-1") for record in consume(consumer, count)[:count]]


def test_seek_to_beginning_end_and_offset(
    client: Client, bootstrap_server: str, spaced: TopicPartition
) -> None:
    with client.consumer(bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(spaced)
        assert values_from(consumer, 100) == list(range(100))
        consumer.seek_to_beginning(spaced)
        assert values_from(consumer, 3) == [0, 1, 2]
        consumer.seek(spaced, 90)
        assert values_from(consumer, 10) == list(range(90, 100))
        consumer.seek_to_end(spaced)
        assert consumer.poll(0.3) == []
        with client.producer(bootstrap_server) as producer:
            producer.send(spaced.topic, [Message(b"100")])
        assert values_from(consumer, 1) == [100]


@pytest.mark.parametrize("offset", [1, 13, 24, 57, 99])
def test_reading_starts_at_an_offset_inside_a_compressed_batch(
    client: Client, offset: int, bootstrap_server: str, spaced: TopicPartition
) -> None:
    with client.consumer(bootstrap_server) as consumer:
        consumer.assign(spaced)
        consumer.seek(spaced, offset)
        records = consume(consumer, 100 - offset)
    assert [record.offset for record in records] == list(range(offset, 100))
    assert [int(record.value or b"-1") for record in records] == list(range(offset, 100))


def test_offsets_by_timestamp_in_the_consumer(
    client: Client, bootstrap_server: str, spaced: TopicPartition
) -> None:
    with client.consumer(bootstrap_server) as consumer:
        consumer.assign(spaced)
        assert consumer.offset_for_time(spaced, 0) == 0
        assert consumer.offset_for_time(spaced, BASE_TIMESTAMP_MS + 30_000) == 30
        assert consumer.offset_for_time(spaced, BASE_TIMESTAMP_MS + 30_001) == 31
        assert consumer.offset_for_time(spaced, BASE_TIMESTAMP_MS + 99_000) == 99
        assert consumer.offset_for_time(spaced, BASE_TIMESTAMP_MS + 99_001) is None
        assert (consumer.beginning_offset(spaced), consumer.end_offset(spaced)) == (0, 100)
        consumer.seek(spaced, consumer.offset_for_time(spaced, BASE_TIMESTAMP_MS + 62_500) or 0)
        assert values_from(consumer, 2) == [63, 64]


@pytest.mark.parametrize("library", [ConfluentClient(), KafkaPythonClient()], ids=lambda one: one.name)
def test_offsets_by_admin(
    library: ConfluentClient | KafkaPythonClient, bootstrap_server: str, new_topic: NewTopic
) -> None:
    partition = TopicPartition(new_topic(), 0)
    admin: GroupAdmin
    with library.admin(bootstrap_server) as admin:
        assert admin.list_offset(partition, EARLIEST_TIMESTAMP) == 0
        assert admin.list_offset(partition, LATEST_TIMESTAMP) == 0
        assert admin.list_offset(partition, MAX_TIMESTAMP) == -1
        # The greatest timestamp is neither the first nor the last record's.
        with library.producer(bootstrap_server) as producer:
            for offset, second in enumerate((1, 5, 9, 3, 7)):
                timestamp_ms = BASE_TIMESTAMP_MS + second * 1_000
                assert producer.send(partition.topic, [Message(b"v", timestamp_ms=timestamp_ms)]) == [
                    (0, offset)
                ]
        assert admin.list_offset(partition, EARLIEST_TIMESTAMP) == 0
        assert admin.list_offset(partition, LATEST_TIMESTAMP) == 5
        assert admin.list_offset(partition, MAX_TIMESTAMP) == 2
        assert admin.list_offset(partition, BASE_TIMESTAMP_MS + 4_000) == 1
        assert admin.list_offset(partition, BASE_TIMESTAMP_MS + 10_000) == -1


def test_empty_partition_begins_and_ends_at_zero(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    partition = TopicPartition(new_topic(), 0)
    with client.consumer(bootstrap_server) as consumer:
        consumer.assign(partition)
        assert (consumer.beginning_offset(partition), consumer.end_offset(partition)) == (0, 0)
        assert consumer.offset_for_time(partition, 0) is None


def test_latest_is_the_default_start(client: Client, bootstrap_server: str, spaced: TopicPartition) -> None:
    with client.consumer(bootstrap_server) as consumer:
        consumer.assign(spaced)
        with client.producer(bootstrap_server) as producer:
            # The client looks the end up some time after assign(), so the first of these may come before that.
            sent = 100
            received: list[Consumed] = []
            while not received and sent < 200:
                producer.send(spaced.topic, [Message(b"%d" % sent)])
                sent += 1
                received = consumer.poll(0.3)
    assert received and received[0].offset >= 100
    assert [int(record.value or b"-1") for record in received] == [record.offset for record in received]


def test_deleted_records_are_not_read_again(
    client: Client, bootstrap_server: str, spaced: TopicPartition
) -> None:
    with client.admin(bootstrap_server) as admin:
        assert admin.delete_records(spaced, 60) == 60
        assert admin.delete_records(spaced, 40) == 60
        with pytest.raises(KafkaFailure, match="OFFSET_OUT_OF_RANGE"):
            admin.delete_records(spaced, 101)
    with client.consumer(bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(spaced)
        assert (consumer.beginning_offset(spaced), consumer.end_offset(spaced)) == (60, 100)
        assert values_from(consumer, 40) == list(range(60, 100))


@pytest.mark.parametrize("offset", [10, 1_000])
def test_position_out_of_range_is_reset(
    client: Client, offset: int, bootstrap_server: str, admin: ConfluentAdmin, spaced: TopicPartition
) -> None:
    admin.delete_records(spaced, 60)
    with client.consumer(bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(spaced)
        consumer.seek(spaced, offset)
        assert values_from(consumer, 40) == list(range(60, 100))


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_fetch_limits_smaller_than_a_batch_still_make_progress(
    codec: str, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(3)
    partitions = [TopicPartition(topic, index) for index in range(3)]
    with KafkaPythonClient().producer(bootstrap_server, {"compression.type": codec}) as producer:
        for number in range(4):
            for partition in partitions:
                producer.send(topic, [Message(b"%d" % number * 20_000, partition=partition.partition)])
    limits: dict[str, str | int] = {
        "fetch.max.bytes": 1,
        "max.partition.fetch.bytes": 1,
        "auto.offset.reset": "earliest",
    }
    with KafkaPythonClient().consumer(bootstrap_server, settings=limits) as consumer:
        consumer.assign(*partitions)
        records = consume(consumer, 12)
    for partition in partitions:
        own = [record for record in records if record.partition == partition.partition]
        assert [record.value for record in own] == [b"%d" % number * 20_000 for number in range(4)]


def test_record_ends_a_long_poll_at_once(client: Client, bootstrap_server: str, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(), 0)
    with (
        client.producer(bootstrap_server) as producer,
        client.consumer(bootstrap_server, settings={**EARLIEST, "fetch.max.wait.ms": 20_000}) as consumer,
    ):
        producer.send(partition.topic, [Message(b"first")])
        consumer.assign(partition)
        assert [record.value for record in consume(consumer, 1)] == [b"first"]
        # The consumer's next fetch may now wait for twenty seconds; the record has to end that wait.
        assert consumer.poll(0.5) == []
        producer.send(partition.topic, [Message(b"second")])
        started = time.monotonic()
        assert [record.value for record in consume(consumer, 1)] == [b"second"]
        assert time.monotonic() - started < 5.0


def test_fetch_waits_as_long_as_asked_for_as_many_bytes_as_asked(
    bootstrap_server: str, new_topic: NewTopic
) -> None:
    partition = TopicPartition(new_topic(), 0)
    with ConfluentClient().producer(bootstrap_server) as producer:
        producer.send(partition.topic, [Message(b"x" * 100)])
    with RawConnection(bootstrap_server) as raw:

        def fetch(offset: int, min_bytes: int) -> tuple[float, int]:
            request = fetch_request(partition, offset, max_wait_ms=600, min_bytes=min_bytes)
            started = time.monotonic()
            raw.send(request)
            ((answer,),) = (topic.partitions for topic in raw.receive(request).responses)
            assert answer.error_code == 0
            return time.monotonic() - started, len(answer.records or b"")

        assert raw.is_served()
        waited_s, size = fetch(0, 1)
        assert waited_s < 0.5
        assert size > 100
        waited_s, size = fetch(0, 10_000)
        assert 0.55 < waited_s < 5.0
        assert size > 100
        waited_s, size = fetch(1, 1)
        assert 0.55 < waited_s < 5.0
        assert size == 0
        request = fetch_request(partition, 50, max_wait_ms=20_000, min_bytes=1)
        raw.send(request)
        ((answer,),) = (topic.partitions for topic in raw.receive(request, deadline_s=5.0).responses)
        assert answer.error_code == ErrorCode.offset_out_of_range


def test_two_consumers_without_a_group_read_everything_each(
    client: Client, bootstrap_server: str, spaced: TopicPartition
) -> None:
    with (
        client.consumer(bootstrap_server, settings=EARLIEST) as one,
        client.consumer(bootstrap_server, settings=EARLIEST) as other,
    ):
        one.assign(spaced)
        other.assign(spaced)
        assert values_from(one, 100) == values_from(other, 100) == list(range(100))


def test_producing_while_another_client_consumes(
    client: Client, bootstrap_server: str, new_topic: NewTopic, numbered: Numbered
) -> None:
    partition = TopicPartition(new_topic(), 0)
    records: list[Consumed] = []
    with (
        client.producer(bootstrap_server, {"linger.ms": 0}) as producer,
        client.consumer(bootstrap_server, settings=EARLIEST) as consumer,
    ):
        consumer.assign(partition)
        for first in range(0, 500, 50):
            producer.send(partition.topic, numbered(50, first=first))
            records += consumer.poll(0.05)
        poll_until(
            lambda: records.extend(consumer.poll(0.1)), lambda _nothing: len(records) >= 500, deadline_s=20.0
        )
    assert [int(record.value or b"-1") for record in records] == list(range(500))
