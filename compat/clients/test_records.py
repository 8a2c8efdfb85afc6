"""Producing and consuming: codecs, idempotence, headers, sizes, many partitions, times."""

from __future__ import annotations

import random
import time

import pytest

from compat.clients.client import Client, Message, Received
from compat.clients.conftest import NewTopic
from compat.clients.witness import Witness
from compat.conftest import RunningBroker, UniqueName
from wire.records import Compression, Record

CODECS = [
    pytest.param(codec, marks=pytest.mark.feature(codec))
    for codec in ("none", "gzip", "snappy", "lz4", "zstd")
]
LARGE_BYTES = 5 * 1024 * 1024
LARGE_LIMIT_BYTES = LARGE_BYTES + 1024 * 1024
MANY_PARTITIONS = 100
EVERY_BYTE = bytes(range(256))
# A header's value is a command line argument to kcat, which cannot hold a NUL.
EVERY_BYTE_BUT_NUL = bytes(range(1, 256))
UNKNOWN_OFFSET = -1


@pytest.mark.parametrize("codec", CODECS)
def test_records_arrive_as_they_were_sent_and_are_stored_with_the_codec(
    codec: str,
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic = new_topic()
    messages = [
        Message(topic, key=b"key %d" % number, value=b"value %d " % number * 20) for number in range(100)
    ]

    placed = client.producer(broker.bootstrap_servers, compression=codec).send(messages)
    received = client.reader(broker.bootstrap_servers, topic, unique_name("group")).take(len(messages))

    assert_offsets(placed, range(len(messages)))
    assert [(one.offset, one.key, one.value) for one in received] == [
        (number, message.key, message.value) for number, message in enumerate(messages)
    ]
    batches = witness.batches(topic)
    assert {batch.header.compression for batch in batches} == {Compression[codec.upper()]}
    assert [record.value for batch in batches for record in batch.records] == [
        message.value for message in messages
    ]


@pytest.mark.feature("idempotent")
def test_an_idempotent_producer_numbers_its_batches(
    client: Client, broker: RunningBroker, witness: Witness, new_topic: NewTopic
) -> None:
    topic = new_topic()
    producer = client.producer(broker.bootstrap_servers, idempotent=True)
    for round_number in range(3):
        producer.send([Message(topic, value=b"%d of round %d" % (n, round_number)) for n in range(20)])

    next_sequences: dict[tuple[int, int], int] = {}
    for batch in witness.batches(topic):
        header = batch.header
        assert header.producer_id >= 0
        assert header.producer_epoch >= 0
        producer_of = (header.producer_id, header.producer_epoch)
        assert header.base_sequence == next_sequences.get(producer_of, 0)
        next_sequences[producer_of] = header.last_sequence + 1
    # A command line is a producer of its own each time.
    each = [60] if client.language != "C" else [20, 20, 20]
    assert list(next_sequences.values()) == each


@pytest.mark.feature("headers")
def test_headers_nulls_and_every_byte_arrive_unchanged(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic = new_topic()
    # Twice the same name side by side: some libraries keep headers by name.
    headers = (("trace", b"1"), ("trace", b"2"), ("größe", "später".encode()), ("bytes", EVERY_BYTE_BUT_NUL))
    messages = [
        Message(topic, key=None, value=EVERY_BYTE, headers=headers),
        Message(topic, key=b"tombstone", value=None, headers=(("empty", b""),)),
        Message(topic, key=EVERY_BYTE, value=b"without headers"),
    ]

    producer = client.producer(broker.bootstrap_servers)
    for message in messages:
        producer.send([message])
    received = client.reader(broker.bootstrap_servers, topic, unique_name("group")).take(len(messages))

    sent = [(message.key, message.value, message.headers) for message in messages]
    assert [(one.key, one.value, one.headers) for one in received] == sent
    assert [(one.key, one.value, one.headers) for one in witness.records(topic)] == sent


@pytest.mark.feature("large_messages")
def test_messages_of_five_megabytes_go_both_ways(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic = new_topic(config={"max.message.bytes": str(LARGE_LIMIT_BYTES)})
    generator = random.Random(5)
    values = [generator.randbytes(LARGE_BYTES) for _ in range(2)]

    producer = client.producer(broker.bootstrap_servers, request_bytes_max=LARGE_LIMIT_BYTES)
    for value in values:
        producer.send([Message(topic, value=value)])
    reader = client.reader(
        broker.bootstrap_servers, topic, unique_name("group"), fetch_bytes_max=LARGE_LIMIT_BYTES
    )
    received = reader.take(len(values))

    assert [one.value for one in received] == values
    assert [record.value for record in witness.records(topic)] == values


@pytest.mark.feature("many_partitions")
def test_a_hundred_partitions_at_once(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic = new_topic(partitions=MANY_PARTITIONS)
    messages = [
        Message(topic, partition=partition, value=b"%d of partition %d" % (number, partition))
        for partition in range(MANY_PARTITIONS)
        for number in range(5)
    ]

    placed = client.producer(broker.bootstrap_servers).send(messages)
    if client.supports("eager"):
        consumer = client.member(broker.bootstrap_servers, [topic], unique_name("group"))
    else:
        consumer = client.reader(broker.bootstrap_servers, topic, "", partitions=MANY_PARTITIONS)
    received = consumer.take(len(messages))

    assert [partition for partition, _ in placed] == [message.partition for message in messages]
    assert witness.end_offsets(topic) == dict.fromkeys(range(MANY_PARTITIONS), 5)
    for partition in range(MANY_PARTITIONS):
        assert [one.value for one in received if one.partition == partition] == [
            message.value for message in messages if message.partition == partition
        ]
    assert consumer.assignment == {(topic, partition) for partition in range(MANY_PARTITIONS)}


@pytest.mark.feature("seek_by_time")
def test_a_consumer_goes_to_a_time(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic = new_topic()
    first_ms = int(time.time() * 1000) - 60_000
    for number in range(10):  # a batch each
        witness.write(topic, [Record(0, first_ms + 1_000 * number, None, b"at %d s" % number)])
    reader = client.reader(broker.bootstrap_servers, topic, unique_name("group"))
    reader.take(1)  # a group's member can seek only where it has its partitions

    exact = reader.seek_to_time(topic, 0, first_ms + 4_000)
    from_exact = reader.take(6)
    between = reader.seek_to_time(topic, 0, first_ms + 6_500)
    from_between = reader.take(3)
    behind = reader.seek_to_time(topic, 0, first_ms + 9_001)

    assert exact == 4
    assert [(one.offset, one.timestamp_ms) for one in from_exact] == [
        (number, first_ms + 1_000 * number) for number in range(4, 10)
    ]
    assert between == 7
    assert offsets(from_between) == [7, 8, 9]
    assert behind == UNKNOWN_OFFSET


def assert_offsets(placed: list[tuple[int, int]], expected: range) -> None:
    """In partition 0; a library that does not tell offsets says -1."""
    told = [offset for _, offset in placed]
    assert [partition for partition, _ in placed] == [0] * len(expected)
    assert told in (list(expected), [UNKNOWN_OFFSET] * len(expected))


def offsets(received: list[Received]) -> list[int]:
    return [one.offset for one in received]
