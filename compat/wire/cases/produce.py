"""Produce: topics, partitions, acknowledgements. The batches are in ``produce_batches`` and ``produce_sequences``."""

from __future__ import annotations

from compat.wire.arrange import UNKNOWN_TOPIC_ID, place, standing_topic, topic_with
from compat.wire.case import Cases
from compat.wire.logs import (
    ALL,
    LEADER,
    NOBODY,
    TopicData,
    ask_for_all,
    batch,
    patched,
    produce,
    produce_to,
    topic_data,
    unknown,
)
from compat.wire.scene import Scene
from wire.messages.metadata import MetadataRequest
from wire.messages.produce import ProduceRequest

PRODUCE = Cases(ProduceRequest)

CRC = 17
BY_NAME = "3-12"


def three() -> bytearray:
    return batch(b"one", b"two", b"three")


@PRODUCE.case("three batches, one after the other")
def _three_batches(at: Scene) -> None:
    to = place(at)
    for value in (b"one", b"two", b"three"):
        at.ask(produce_to(at, to, batch(value, value)))
    ask_for_all(at, to.topic, partition=to.partition)


@PRODUCE.case("a wrong checksum")
def _wrong_checksum(at: Scene) -> None:
    to = place(at)
    at.ask(produce_to(at, to, patched(three(), CRC, b"\0\0\0\0")))
    ask_for_all(at, to.topic, partition=to.partition)


for acks in (LEADER, 2, -2, 32767):

    @PRODUCE.case(f"acknowledged by {acks}")
    def _acknowledged(at: Scene, acks: int = acks) -> None:
        to = place(at)
        at.ask(produce_to(at, to, three(), acks=acks))
        ask_for_all(at, to.topic, partition=to.partition)


for timeout_ms in (0, -1):
    PRODUCE.add(
        f"within {timeout_ms} ms",
        lambda at, timeout_ms=timeout_ms: produce_to(at, place(at), three(), timeout_ms=timeout_ms),
    )


@PRODUCE.case("acknowledged by nobody")
def _without_answer(at: Scene) -> None:
    to, connection = place(at), at.connect()
    at.send(produce_to(at, to, three(), acks=NOBODY), over=connection)
    at.ask(MetadataRequest(topics=[]), over=connection, version=12)
    ask_for_all(at, to.topic, partition=to.partition)


@PRODUCE.case("acknowledged by nobody, and refused")
def _refused_without_answer(at: Scene) -> None:
    connection = at.connect()
    at.send(produce(at, unknown(UNKNOWN_TOPIC_ID, at.name("absent")), three(), acks=NOBODY), over=connection)
    at.ask(MetadataRequest(topics=[]), over=connection, version=12)


PRODUCE.add("no topics", lambda at: ProduceRequest(acks=ALL, timeout_ms=1000))
PRODUCE.add("no partitions", lambda at: produce(at, standing_topic(at), {}))
PRODUCE.add("no records", lambda at: produce(at, standing_topic(at), b""))


@PRODUCE.case("null in place of records", "13")
def _null_records(at: Scene) -> None:
    connection = at.connect()
    pending = at.send(produce(at, standing_topic(at), None), over=connection)
    pending.answer(deadline_s=2)


@PRODUCE.case("two topics and two partitions", "3,9,13")
def _several(at: Scene) -> None:
    first, second = topic_with(at, 2, "a"), topic_with(at, 1, "b")
    data = [
        topic_data(at.version, second, {0: three()}),
        topic_data(at.version, first, {1: three(), 0: batch(b"x")}),
    ]
    at.ask(ProduceRequest(acks=ALL, timeout_ms=30_000, topic_data=data))
    ask_for_all(at, first, partition=1)


@PRODUCE.case("a partition twice", "3,9,13")
def _partition_twice(at: Scene) -> None:
    topic = topic_with(at, 1)
    request, again = (produce(at, topic, batch(value)) for value in (b"first", b"second"))
    request.topic_data[0].partition_data += again.topic_data[0].partition_data
    at.ask(request)
    ask_for_all(at, topic)


@PRODUCE.case("a topic twice", "3,9,13")
def _topic_twice(at: Scene) -> None:
    topic = topic_with(at, 2)
    data = [topic_data(at.version, topic, {index: batch(b"x")}) for index in (1, 0)]
    at.ask(ProduceRequest(acks=ALL, timeout_ms=30_000, topic_data=data))
    ask_for_all(at, topic)


PRODUCE.add("an unknown topic", lambda at: produce(at, unknown(UNKNOWN_TOPIC_ID, at.name("absent")), three()))
PRODUCE.add("an unknown partition", lambda at: produce(at, standing_topic(at), {7: three()}))
PRODUCE.add("a partition below zero", lambda at: produce(at, standing_topic(at), {-1: three()}))
PRODUCE.add("an invalid name", lambda at: produce(at, unknown(UNKNOWN_TOPIC_ID, "a b"), three()), BY_NAME)
PRODUCE.add("an empty name", lambda at: produce(at, unknown(UNKNOWN_TOPIC_ID, ""), three()), BY_NAME)
PRODUCE.add(
    "the topic of committed offsets",
    lambda at: produce(at, unknown(UNKNOWN_TOPIC_ID, "__consumer_offsets"), three()),
    BY_NAME,
)
PRODUCE.add(
    "neither name nor id",
    lambda at: ProduceRequest(
        acks=ALL,
        timeout_ms=1000,
        topic_data=[TopicData(partition_data=[TopicData.PartitionProduceData(records=three())])],
    ),
    "13",
)


@PRODUCE.case("a known and an unknown partition")
def _partly(at: Scene) -> None:
    to = place(at)
    at.ask(produce(at, to.topic, {99: three(), to.partition: three()}))
    ask_for_all(at, to.topic, partition=to.partition)
