"""Transactions: what is committed is read, what is aborted is not, and offsets move with the records."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from compat.clients.client import Client, Message
from compat.clients.conftest import NewTopic
from compat.clients.witness import READ_COMMITTED, Witness
from compat.conftest import RunningBroker, UniqueName
from wire.records import ControlType, Record


@pytest.mark.feature("transactions")
def test_a_reader_of_committed_records_sees_no_aborted_ones(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic = new_topic()
    producer = client.producer(
        broker.bootstrap_servers, idempotent=True, transactional_id=unique_name("transactional")
    )
    for name, ends in ((b"first", producer.commit), (b"second", producer.abort), (b"third", producer.commit)):
        producer.begin()
        producer.send([Message(topic, value=b"%s %d" % (name, number)) for number in range(5)])
        ends()

    committed = _named(b"first") + _named(b"third")
    careful = client.reader(
        broker.bootstrap_servers, topic, unique_name("group"), isolation="read_committed"
    ).take(len(committed))
    careless = client.reader(
        broker.bootstrap_servers, topic, unique_name("group"), isolation="read_uncommitted"
    ).take(15)

    assert [one.value for one in careful] == committed
    assert [one.value for one in careless] == _named(b"first") + _named(b"second") + _named(b"third")
    batches = witness.batches(topic)
    assert all(batch.header.is_transactional and batch.header.producer_id >= 0 for batch in batches)
    assert [batch.control for batch in batches if batch.control is not None] == [
        ControlType.COMMIT,
        ControlType.ABORT,
        ControlType.COMMIT,
    ]
    assert [one.value for one in witness.records(topic, isolation_level=READ_COMMITTED)] == committed


@pytest.mark.feature("exactly_once")
def test_offsets_are_committed_with_what_was_made_of_the_records(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    """Consume, transform, produce: the second of three transactions is aborted, and its records are done again."""
    source, target, group = new_topic(), new_topic(), unique_name("group")
    witness.write(source, [Record(0, 0, None, b"%d" % number) for number in range(9)])
    producer = client.producer(
        broker.bootstrap_servers, idempotent=True, transactional_id=unique_name("transactional")
    )
    consumer = client.member(broker.bootstrap_servers, [source], group, isolation="read_committed")

    def transform(values: Sequence[bytes | None], next_offset: int) -> None:
        producer.begin()
        producer.send([Message(target, value=b"made of " + (value or b"")) for value in values])
        producer.send_offsets(consumer, {(source, 0): next_offset})

    first = [one.value for one in consumer.take(3)]
    transform(first, 3)
    producer.commit()
    assert witness.committed(group, source) == {0: 3}
    second = [one.value for one in consumer.take(3)]
    transform(second, 6)
    producer.abort()
    assert witness.committed(group, source) == {0: 3}
    # A successor begins where the last committed transaction has ended.
    client.close(consumer)
    consumer = client.member(broker.bootstrap_servers, [source], group, isolation="read_committed")
    again = [one.value for one in consumer.take(6)]
    transform(again, 9)
    producer.commit()

    assert again[:3] == second
    assert witness.committed(group, source) == {0: 9}
    assert [one.value for one in witness.records(target, isolation_level=READ_COMMITTED)] == [
        b"made of %d" % number for number in range(9)
    ]


def _named(name: bytes) -> list[bytes]:
    return [b"%s %d" % (name, number) for number in range(5)]
