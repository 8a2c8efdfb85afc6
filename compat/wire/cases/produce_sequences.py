"""Produce by idempotent producers: sequence numbers, epochs and retries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compat.wire.arrange import place, topic_with
from compat.wire.case import Cases
from compat.wire.logs import ask_for_all, batch, produce, produce_to
from compat.wire.producers import Producer, idempotent
from compat.wire.scene import Scene
from wire.messages.produce import ProduceRequest

SEQUENCES = Cases(ProduceRequest)

SOME = "3,9,12+"
"""The sequences are the same business at every version."""


@dataclass(frozen=True)
class Sent:
    """One batch of two records, or of ``count``: its sequence, and the epoch where it is not the producer's."""

    sequence: int
    epoch: int = 0
    count: int = 2


def sent(*batches: Sent) -> Callable[[Scene], None]:
    """A body: one producer sends these, one after the other, to one partition."""

    def body(at: Scene) -> None:
        to, producer = place(at), idempotent(at)
        for each in batches:
            values = [b"%d" % (each.sequence + index) for index in range(each.count)]
            at.ask(produce_to(at, to, producer.batch(each.sequence, *values, epoch=each.epoch)))
        ask_for_all(at, to.topic, partition=to.partition)

    return body


SEQUENCES.add("sequences in order", sent(Sent(0), Sent(2), Sent(4)))
SEQUENCES.add("a retry", sent(Sent(0), Sent(2), Sent(2)))
SEQUENCES.add("a retry of the first of five", sent(*(Sent(2 * index) for index in range(5)), Sent(0)), SOME)
SEQUENCES.add("a retry of the first of six", sent(*(Sent(2 * index) for index in range(6)), Sent(0)), SOME)
SEQUENCES.add("a retry of another length", sent(Sent(0), Sent(2), Sent(2, count=1)), SOME)
SEQUENCES.add("a retry with more behind it", sent(Sent(0), Sent(0, count=4)), SOME)
SEQUENCES.add("a gap", sent(Sent(0), Sent(5)))
SEQUENCES.add("a gap, filled and gone on", sent(Sent(0), Sent(4), Sent(2), Sent(4)), SOME)
SEQUENCES.add("a first sequence above zero", sent(Sent(7), Sent(9)), SOME)
SEQUENCES.add("a sequence below zero", sent(Sent(-2)), SOME)
SEQUENCES.add("no sequence", sent(Sent(-1)), SOME)
SEQUENCES.add("the end of the sequences", sent(Sent(2**31 - 2), Sent(0), Sent(2)), SOME)
SEQUENCES.add("a batch across the end of the sequences", sent(Sent(2**31 - 1), Sent(1)), SOME)
SEQUENCES.add("a later epoch", sent(Sent(0), Sent(0, epoch=1), Sent(2, epoch=1)), SOME)
SEQUENCES.add("a later epoch in the middle of its sequences", sent(Sent(0), Sent(2, epoch=1)), SOME)
SEQUENCES.add("an earlier epoch", sent(Sent(0, epoch=3), Sent(2, epoch=2)), SOME)
SEQUENCES.add("an epoch below zero", sent(Sent(0, epoch=-1)), SOME)
SEQUENCES.add("an epoch far below zero", sent(Sent(0, epoch=-7)), SOME)
SEQUENCES.add("the greatest epoch", sent(Sent(0, epoch=32767), Sent(2, epoch=32767)), SOME)


@SEQUENCES.case("two producers in turn", SOME)
def _two_producers(at: Scene) -> None:
    topic, first, second = topic_with(at, 1), idempotent(at), idempotent(at)
    for producer, sequence in ((first, 0), (second, 0), (first, 1), (second, 1), (first, 0)):
        at.ask(produce(at, topic, producer.batch(sequence, b"x")))
    ask_for_all(at, topic)


@SEQUENCES.case("a producer in two partitions", SOME)
def _two_partitions(at: Scene) -> None:
    topic, producer = topic_with(at, 2), idempotent(at)
    at.ask(produce(at, topic, {0: producer.batch(0, b"a"), 1: producer.batch(3, b"b")}))
    at.ask(produce(at, topic, {0: producer.batch(2, b"c"), 1: producer.batch(4, b"d")}))


@SEQUENCES.case("a producer that the broker never made", SOME)
def _invented(at: Scene) -> None:
    topic, producer = topic_with(at, 1), Producer(987_654_321, 0)
    at.ask(produce(at, topic, producer.batch(0, b"x")))
    at.ask(produce(at, topic, producer.batch(1, b"y")))


@SEQUENCES.case("a producer below none", SOME)
def _below_none(at: Scene) -> None:
    at.ask(produce(at, topic_with(at, 1), Producer(-2, 0).batch(0, b"x")))


@SEQUENCES.case("a sequence without a producer", SOME)
def _nobody(at: Scene) -> None:
    at.ask(produce(at, topic_with(at, 1), Producer(-1, -1).batch(5, b"x")))


@SEQUENCES.case("a retry after records of nobody", SOME)
def _between(at: Scene) -> None:
    topic, producer = topic_with(at, 1), idempotent(at)
    at.ask(produce(at, topic, producer.batch(0, b"x")))
    at.ask(produce(at, topic, batch(b"nobody's")))
    at.ask(produce(at, topic, producer.batch(0, b"x")))
