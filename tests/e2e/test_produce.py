"""Producing: codecs, record fields, sizes, idempotence, acknowledgement levels, timestamps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import groupby

import pytest

from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import (
    Client,
    Consumed,
    KafkaFailure,
    Message,
    TopicPartition,
    consume,
)
from tests.e2e.conftest import CLIENTS

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
EARLIEST = {"auto.offset.reset": "earliest"}


def read_all(client: Client, bootstrap_server: str, topic: str, count: int) -> list[Consumed]:
    with client.consumer(bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        return consume(consumer, count)


def assorted_messages(seed: str) -> list[Message]:
    """Records with every kind of field: empty, missing, compressible, incompressible, non-ASCII."""
    chance = random.Random(seed)
    now_ms = int(time.time() * 1000)
    messages = [
        Message(b"", b"", (), now_ms),
        Message(None, b"tombstone", (), now_ms + 1),
        Message(b"no key", None, (), now_ms + 2),
        Message("zażółć ☃".encode(), b"\x00\xff", (("größe", b"\x00"), ("empty", b"")), now_ms + 3),
        Message(b"twice", b"k", (("same", b"1"), ("same", b"2"), ("", b"3")), now_ms - 60_000),
    ]
    for index in range(60):
        value = b"ab" * 400 if index % 2 else chance.randbytes(500)
        messages.append(Message(value, b"key-%d" % index, (("index", b"%d" % index),), now_ms + index))
    return messages


@pytest.mark.parametrize("codec", CODECS)
def test_records_come_back_equal_in_every_client(
    client: Client, codec: str, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic()
    sent = assorted_messages(codec)
    with client.producer(bootstrap_server, {"compression.type": codec, "linger.ms": 20}) as producer:
        placed = producer.send(topic, sent)
    assert placed == [(0, offset) for offset in range(len(sent))]
    for reader in CLIENTS:
        records = read_all(reader, bootstrap_server, topic, len(sent))
        assert [record.message() for record in records] == sent, reader.name
        assert [record.offset for record in records] == list(range(len(sent))), reader.name


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_large_record_comes_back_equal(
    client: Client, codec: str, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic()
    large = random.Random(codec).randbytes(900 * 1024)
    with client.producer(bootstrap_server, {"compression.type": codec}) as producer:
        producer.send(topic, [Message(b"before"), Message(large), Message(b"after")])
    records = read_all(client, bootstrap_server, topic, 3)
    assert [record.value for record in records] == [b"before", large, b"after"]


def test_record_over_the_topics_limit_is_refused(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(configs={"max.message.bytes": "20000"})
    with (
        client.producer(bootstrap_server) as producer,
        pytest.raises(KafkaFailure, match="MESSAGE_TOO_LARGE"),
    ):
        producer.send(topic, [Message(b"x" * 30_000)])
    with client.producer(bootstrap_server) as producer:
        assert producer.send(topic, [Message(b"fits")]) == [(0, 0)]


def test_idempotent_producer_places_every_record_once_in_order(
    client: Client, bootstrap_server: str, new_topic: NewTopic, numbered: Numbered
) -> None:
    topic = new_topic(2)
    settings: dict[str, str | bool] = {"enable.idempotence": True}
    sent = numbered(2_000, partitions=2)
    with client.producer(bootstrap_server, settings) as producer:
        first, second = producer.send(topic, sent[:1_000]), producer.send(topic, sent[1_000:])
    assert [*first, *second] == [(number % 2, number // 2) for number in range(2_000)]
    with client.consumer(bootstrap_server, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition(topic, 0), TopicPartition(topic, 1))
        records = consume(consumer, 2_000)
    by_partition = sorted(records, key=lambda record: record.partition)
    for partition, group in groupby(by_partition, key=lambda record: record.partition):
        assert [record.value for record in group] == [b"%d" % number for number in range(partition, 2_000, 2)]


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_every_acknowledgement_level_stores_the_records(
    client: Client, acks: int, bootstrap_server: str, new_topic: NewTopic, numbered: Numbered
) -> None:
    topic = new_topic()
    with client.producer(bootstrap_server, {"acks": acks, "enable.idempotence": False}) as producer:
        producer.send(topic, numbered(100))
    assert [record.value for record in read_all(client, bootstrap_server, topic, 100)] == [
        message.value for message in numbered(100)
    ]


def test_keys_choose_the_partition_and_keep_their_order(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(3)
    sent = [Message(b"%d" % number, b"key-%d" % (number % 10), partition=None) for number in range(200)]
    with client.producer(bootstrap_server) as producer:
        placed = producer.send(topic, sent)
    partitions_of_key = {(message.key, place.partition) for message, place in zip(sent, placed, strict=True)}
    assert len(partitions_of_key) == 10
    assert {partition for _key, partition in partitions_of_key} == {0, 1, 2}
    for key in {message.key for message in sent}:
        offsets = [place.offset for message, place in zip(sent, placed, strict=True) if message.key == key]
        assert offsets == sorted(offsets)


def test_log_append_time_is_the_brokers(client: Client, bootstrap_server: str, new_topic: NewTopic) -> None:
    topic = new_topic(configs={"message.timestamp.type": "LogAppendTime"})
    before_ms = int(time.time() * 1000)
    with client.producer(bootstrap_server, {"compression.type": "gzip"}) as producer:
        producer.send(topic, [Message(b"old clock", timestamp_ms=1_000), Message(b"b", timestamp_ms=2_000)])
    after_ms = int(time.time() * 1000)
    for record in read_all(client, bootstrap_server, topic, 2):
        assert before_ms <= record.timestamp_ms <= after_ms


@pytest.mark.parametrize("codec", ["gzip", "zstd", "uncompressed"])
def test_topic_with_a_codec_of_its_own_recompresses(
    codec: str, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(configs={"compression.type": codec})
    sent = assorted_messages(codec)
    with ConfluentClient().producer(bootstrap_server, {"compression.type": "lz4"}) as producer:
        assert producer.send(topic, sent) == [(0, offset) for offset in range(len(sent))]
    for reader in CLIENTS:
        assert [record.message() for record in read_all(reader, bootstrap_server, topic, len(sent))] == sent


@pytest.mark.parametrize(
    ("configs", "message", "error"),
    [
        ({"cleanup.policy": "compact"}, Message(b"no key"), "INVALID_RECORD"),
        (
            {"message.timestamp.before.max.ms": "1000"},
            Message(b"old", timestamp_ms=1_000),
            "INVALID_TIMESTAMP",
        ),
        (
            {"message.timestamp.after.max.ms": "1000"},
            Message(b"future", timestamp_ms=int(time.time() * 1000) + 86_400_000),
            "INVALID_TIMESTAMP",
        ),
    ],
)
def test_refused_records_get_kafkas_error(
    client: Client,
    bootstrap_server: str,
    new_topic: NewTopic,
    configs: dict[str, str],
    message: Message,
    error: str,
) -> None:
    if client.name == "aiokafka" and error == "INVALID_RECORD":
        error = "UNKNOWN_SERVER_ERROR"  # its table of error codes ends before 87
    topic = new_topic(configs=configs)
    with client.producer(bootstrap_server) as producer, pytest.raises(KafkaFailure, match=error):
        producer.send(topic, [message])
    with client.producer(bootstrap_server) as producer:
        assert producer.send(topic, [Message(b"right", b"key")]) == [(0, 0)]


def test_compacted_topic_takes_keyed_records(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(configs={"cleanup.policy": "compact"})
    with client.producer(bootstrap_server) as producer:
        placed = producer.send(topic, [Message(b"%d" % number, b"key") for number in range(10)])
    assert placed == [(0, offset) for offset in range(10)]
