"""Looking at transactions and ending hanging ones (KIP-664), with the one admin client that can: kafka-python's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import (
    KafkaFailure,
    Message,
    Setting,
    TopicPartition,
    TransactionalProducer,
    consume,
    poll_until,
)
from tests.e2e.clients.kafka_python import KafkaPythonClient, KafkaPythonTransactionAdmin

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]
UniqueName = Callable[[str], str]

CONFLUENT, KAFKA_PYTHON = ConfluentClient(), KafkaPythonClient()
# Long polls hold up what a client asks for on the same connection meanwhile, such as the end of a partition.
SHORT_POLLS: dict[str, Setting] = {"auto.offset.reset": "earliest", "fetch.max.wait.ms": 50}
COMMITTED: dict[str, Setting] = {**SHORT_POLLS, "isolation.level": "read_committed"}


@pytest.fixture
def transactions(bootstrap_server: str) -> Iterator[KafkaPythonTransactionAdmin]:
    with KAFKA_PYTHON.transaction_admin(bootstrap_server) as one:
        yield one


@pytest.fixture
def transactional_id(unique_name: UniqueName) -> str:
    return unique_name("looked-at")


@pytest.fixture
def producer(bootstrap_server: str, transactional_id: str) -> Iterator[TransactionalProducer]:
    settings: dict[str, Setting] = {"transaction.timeout.ms": 45_000}
    with CONFLUENT.transactional_producer(bootstrap_server, transactional_id, settings) as one:
        yield one


def state_of(transactions: KafkaPythonTransactionAdmin, transactional_id: str) -> str:
    return str(transactions.describe(transactional_id).state.value)


def test_description_follows_the_transaction(
    transactions: KafkaPythonTransactionAdmin,
    producer: TransactionalProducer,
    transactional_id: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    one, other = new_topic(3), new_topic(1)
    described = transactions.describe(transactional_id)
    assert (described.state.value, described.transaction_timeout_ms) == ("Empty", 45_000)
    assert (described.transaction_start_time_ms, described.topic_partitions) == (-1, set())
    before_ms = time.time() * 1000
    producer.begin()
    producer.send(one, numbered(6, partitions=3))
    producer.send(other, numbered(1))
    described = transactions.describe(transactional_id)
    assert described.state.value == "Ongoing"
    assert before_ms - 1_000 <= described.transaction_start_time_ms <= time.time() * 1000 + 1_000
    assert {tuple(partition) for partition in described.topic_partitions} == {
        (one, 0),
        (one, 1),
        (one, 2),
        (other, 0),
    }
    producer.commit()
    poll_until(lambda: state_of(transactions, transactional_id), lambda state: state == "CompleteCommit")
    assert transactions.describe(transactional_id).topic_partitions == set()
    producer.begin()
    producer.send(other, numbered(1))
    producer.abort()
    poll_until(lambda: state_of(transactions, transactional_id), lambda state: state == "CompleteAbort")


def test_unknown_transactional_id_is_not_found(
    transactions: KafkaPythonTransactionAdmin, unique_name: UniqueName
) -> None:
    with pytest.raises(KafkaFailure) as refused:
        transactions.describe(unique_name("nobody"))
    assert refused.value.name == "TRANSACTIONAL_ID_NOT_FOUND"


def test_listing_by_state_producer_duration_and_pattern(
    transactions: KafkaPythonTransactionAdmin,
    producer: TransactionalProducer,
    transactional_id: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    def listed(**filters: Any) -> dict[str, str]:
        return {
            found.transactional_id: found.state.value
            for found in transactions.list_transactions(**filters)
            if found.transactional_id == transactional_id
        }

    producer.begin()
    producer.send(new_topic(), numbered(1))
    producer_id = transactions.describe(transactional_id).producer_id
    here, away = {transactional_id: "Ongoing"}, dict[str, str]()
    assert listed() == here
    assert listed(state_filters=["Ongoing"]) == here
    assert listed(state_filters=["CompleteCommit", "Empty"]) == away
    assert listed(producer_id_filters=[producer_id]) == here
    assert listed(producer_id_filters=[producer_id + 1_000_000]) == away
    assert listed(duration_filter_ms=0) == here
    assert listed(duration_filter_ms=10_000_000) == away
    assert listed(transactional_id_pattern="looked-.*") == here
    # The whole id must match.
    assert listed(transactional_id_pattern="looked-") == away
    with pytest.raises(KafkaFailure) as refused:
        listed(transactional_id_pattern="[unfinished")
    assert refused.value.name == "INVALID_REGULAR_EXPRESSION"


def test_producers_of_a_partition(
    transactions: KafkaPythonTransactionAdmin,
    producer: TransactionalProducer,
    transactional_id: str,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    partition = TopicPartition(new_topic(), 0)
    with CONFLUENT.producer(bootstrap_server, {"enable.idempotence": True}) as idempotent:
        idempotent.send(partition.topic, numbered(4))
    producer.begin()
    producer.send(partition.topic, numbered(3, first=4))
    described = transactions.describe(transactional_id)
    found = {state.producer_id: state for state in transactions.producers(partition)}
    assert len(found) == 2
    ours = found.pop(described.producer_id)
    assert (ours.producer_epoch, ours.last_sequence) == (described.producer_epoch, 2)
    assert (ours.current_transaction_start_offset, ours.coordinator_epoch) == (4, -1)
    assert abs(ours.last_timestamp - time.time() * 1000) < 60_000
    (theirs,) = found.values()
    assert (theirs.last_sequence, theirs.current_transaction_start_offset) == (3, -1)
    producer.commit()

    def open_since() -> int:
        states = transactions.producers(partition)
        return max(int(state.current_transaction_start_offset) for state in states)

    poll_until(open_since, lambda offset: offset == -1, what="the end of the transaction")


def test_hanging_transaction_is_ended_by_hand(
    transactions: KafkaPythonTransactionAdmin,
    producer: TransactionalProducer,
    transactional_id: str,
    bootstrap_server: str,
    new_topic: NewTopic,
    numbered: Numbered,
) -> None:
    partition = TopicPartition(new_topic(), 0)
    producer.begin()
    producer.send(partition.topic, numbered(3))
    with (
        CONFLUENT.producer(bootstrap_server) as plain,
        CONFLUENT.consumer(bootstrap_server, settings=COMMITTED) as consumer,
    ):
        plain.send(partition.topic, numbered(3, first=3))
        consumer.assign(partition)
        assert consumer.poll(0.3) == []
        (hanging,) = [
            state
            for state in transactions.producers(partition)
            if state.current_transaction_start_offset == 0
        ]
        transactions.abort(partition, hanging.producer_id, hanging.producer_epoch)
        assert [record.value for record in consume(consumer, 3)] == [b"3", b"4", b"5"]
        assert consumer.end_offset(partition) == 7
        # The coordinator has not been asked: for it the transaction is still open.
        assert state_of(transactions, transactional_id) == "Ongoing"
        producer.abort()
        poll_until(lambda: state_of(transactions, transactional_id), lambda state: state == "CompleteAbort")
