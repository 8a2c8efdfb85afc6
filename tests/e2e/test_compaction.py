"""Compacted topics, read after the cleaner has been there; its pause between two rounds is shortened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Client, Consumed, Message, Setting, TopicPartition, poll_until

NewTopic = Callable[..., str]
UniqueName = Callable[[str], str]

CONFLUENT = ConfluentClient()
COMMITTED: dict[str, Setting] = {"auto.offset.reset": "earliest", "isolation.level": "read_committed"}
SEGMENT_MS = 50
CONFIGS = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": str(SEGMENT_MS),
    "delete.retention.ms": "0",
}


@pytest.fixture(autouse=True, scope="module")
def quick_cleaner(bootstrap_server: str) -> Iterator[None]:
    """A cleaner that looks again after 100 ms in place of 15 s, by a dynamic config, so on any broker."""
    with CONFLUENT.admin(bootstrap_server) as admin:
        admin.alter_broker_config("log.cleaner.backoff.ms", "100")
        yield
        admin.alter_broker_config("log.cleaner.backoff.ms", None)


def keyed(key: str, value: str | None) -> Message:
    return Message(None if value is None else value.encode(), key.encode())


def append(client: Client, bootstrap_server: str, topic: str, *segments: Sequence[Message]) -> None:
    """Each sequence into a segment of its own, and a last record behind them so that all of them are inactive."""
    with client.producer(bootstrap_server) as producer:
        for messages in (*segments, [keyed("end", "end")]):
            producer.send(topic, messages)
            time.sleep(SEGMENT_MS / 1000 * 1.5)


def contents(
    client: Client, bootstrap_server: str, topic: str, settings: dict[str, Setting] = COMMITTED
) -> list[Consumed]:
    """Everything up to the end, whatever offsets are missing."""
    partition = TopicPartition(topic, 0)
    with client.consumer(bootstrap_server, settings=settings) as consumer:
        consumer.assign(partition)
        end = consumer.end_offset(partition)
        records: list[Consumed] = []
        deadline = time.monotonic() + 20.0
        while not records or consumer.position(partition) < end:
            records += consumer.poll(0.2)
            assert time.monotonic() < deadline, f"stuck at {consumer.position(partition)} of {end}"
    return records


def pairs(records: Sequence[Consumed]) -> list[tuple[int, str, str | None]]:
    return [
        (
            record.offset,
            (record.key or b"").decode(),
            None if record.value is None else record.value.decode(),
        )
        for record in records
    ]


def test_newest_record_of_each_key_is_left_at_its_offset(
    client: Client, bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic(configs=CONFIGS)
    append(
        client,
        bootstrap_server,
        topic,
        [keyed(f"key-{number % 10}", str(number)) for number in range(100)],
        [keyed(f"key-{number % 5}", str(number)) for number in range(100, 150)],
        [keyed("key-7", "150"), keyed("other", "151")],
    )
    expected = [
        *((offset, f"key-{offset % 10}", str(offset)) for offset in (95, 96, 98, 99)),
        *((offset, f"key-{offset % 5}", str(offset)) for offset in range(145, 150)),
        (150, "key-7", "150"),
        (151, "other", "151"),
        (152, "end", "end"),
    ]
    poll_until(
        lambda: pairs(contents(client, bootstrap_server, topic)),
        lambda found: found == expected,
        pause_s=0.1,
        what="the compacted log",
    )
    # From an offset that is no more, reading goes on with the next one that is.
    with client.consumer(bootstrap_server) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign(partition)
        consumer.seek(partition, 97)
        found = poll_until(lambda: consumer.poll(0.5), bool)
        assert found[0].offset == 98


def test_tombstones_go_in_the_end(bootstrap_server: str, new_topic: NewTopic) -> None:
    topic = new_topic(configs=CONFIGS)
    append(
        CONFLUENT,
        bootstrap_server,
        topic,
        [keyed("deleted", "1"), keyed("kept", "2")],
        [keyed("deleted", None)],
    )
    poll_until(
        # Something new each time: a clean log is not cleaned again.
        lambda: (
            append(CONFLUENT, bootstrap_server, topic),
            {record.key for record in contents(CONFLUENT, bootstrap_server, topic)},
        )[1],
        lambda keys: keys == {b"kept", b"end"},
        what="the removal of the tombstone",
    )


def test_aborted_records_are_cleaned_away_and_committed_ones_kept(
    client: Client, bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName
) -> None:
    topic = new_topic(configs=CONFIGS)
    with client.transactional_producer(bootstrap_server, unique_name("compacted")) as producer:
        for transaction in range(6):
            producer.begin()
            producer.send(
                topic,
                [keyed("same", f"{transaction}"), keyed(f"only-{transaction}", f"{transaction}")],
            )
            if transaction % 2:
                producer.abort()
            else:
                producer.commit()
            time.sleep(SEGMENT_MS / 1000 * 1.5)
    append(client, bootstrap_server, topic)
    # Two records and a marker each: transaction 4 begins at offset 12.
    expected = [
        (1, "only-0", "0"),
        (7, "only-2", "2"),
        (12, "same", "4"),
        (13, "only-4", "4"),
        (18, "end", "end"),
    ]
    uncommitted: dict[str, Setting] = {"auto.offset.reset": "earliest", "isolation.level": "read_uncommitted"}
    # Aborted records stay visible to read_uncommitted only until the cleaner has been there.
    poll_until(
        lambda: pairs(contents(client, bootstrap_server, topic, uncommitted)),
        lambda found: found == expected,
        pause_s=0.1,
        what="a log without aborted records",
    )
    assert pairs(contents(client, bootstrap_server, topic)) == expected


def test_open_transaction_is_not_cleaned(
    bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName
) -> None:
    topic = new_topic(configs=CONFIGS)
    append(CONFLUENT, bootstrap_server, topic, [keyed("a", str(number)) for number in range(5)])
    with CONFLUENT.transactional_producer(bootstrap_server, unique_name("uncleaned")) as producer:
        producer.begin()
        producer.send(topic, [keyed("a", "open")])
        append(CONFLUENT, bootstrap_server, topic, [keyed("a", "behind")])
        poll_until(
            lambda: pairs(contents(CONFLUENT, bootstrap_server, topic)),
            lambda found: found == [(4, "a", "4"), (5, "end", "end")],
            pause_s=0.1,
            what="the compacted part in front of the transaction",
        )
        producer.commit()
    poll_until(
        lambda: (
            append(CONFLUENT, bootstrap_server, topic),
            [value for _, key, value in pairs(contents(CONFLUENT, bootstrap_server, topic)) if key == "a"],
        )[1],
        lambda values: values == ["behind"],
        what="the compacted log",
    )
