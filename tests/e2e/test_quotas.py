"""Quotas on bytes: librdkafka is told to wait, waits, and loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest

NewTopic = Callable[..., str]

BYTES_A_SECOND = 100_000
RECORD_BYTES = 10_000
RECORDS = 125
"""Over the ten seconds that are averaged, as much too much as two and a half seconds of waiting make good."""
WAIT_S_MIN = 2.0


@pytest.fixture
def limit(bootstrap_server: str) -> Callable[..., None]:
    """``limit(client_id, key)``: with the command that people would take."""
    command = Path(sys.executable).parent / "kafka-configs"
    assert shutil.which(command) is not None

    def alter(client_id: str, key: str) -> None:
        line = (
            *(str(command), "--bootstrap-server", bootstrap_server, "--alter", "--entity-type", "clients"),
            *("--entity-name", client_id, "--add-config", f"{key}={BYTES_A_SECOND}"),
        )
        subprocess.run(line, check=True, capture_output=True, text=True, timeout=30)

    return alter


class Client:
    """Settings of a client with a name of its own, and how long it was told to wait."""

    def __init__(self, bootstrap_server: str, client_id: str) -> None:
        self.throttled_s: list[float] = []
        self.settings: dict[str, object] = {
            "bootstrap.servers": bootstrap_server,
            "client.id": client_id,
            "throttle_cb": lambda event: self.throttled_s.append(event.throttle_time),
        }


def produce(client: Client, topic: str, count: int) -> float:
    """How many seconds it took until all records were acknowledged."""
    producer = confluent_kafka.Producer({**client.settings, "batch.size": 2 * RECORD_BYTES, "linger.ms": 0})
    failed: list[object] = []
    began = time.monotonic()
    for _ in range(count):
        producer.produce(
            topic, b"x" * RECORD_BYTES, on_delivery=lambda error, _: failed.append(error) if error else None
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed
    return time.monotonic() - began


def consume(client: Client, topic: str, count: int) -> float:
    consumer = confluent_kafka.Consumer(
        {
            **client.settings,
            "group.id": "never-joined",
            "enable.auto.commit": False,
            "max.partition.fetch.bytes": 3 * RECORD_BYTES,
        }
    )
    began = time.monotonic()
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        found = 0
        while found < count:
            assert time.monotonic() - began < 60
            message = consumer.poll(1)
            if message is not None:
                assert message.error() is None
                assert message.offset() == found
                found += 1
        return time.monotonic() - began
    finally:
        consumer.close()


@pytest.mark.slow
def test_a_producer_is_held_to_its_rate(
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: Callable[[str], str],
    limit: Callable[..., None],
) -> None:
    topic, client = new_topic(), Client(bootstrap_server, unique_name("producer"))
    limit(client.settings["client.id"], "producer_byte_rate")
    assert produce(client, topic, RECORDS) > WAIT_S_MIN
    assert sum(client.throttled_s) > WAIT_S_MIN
    other = Client(bootstrap_server, unique_name("other"))
    produce(other, topic, 2 * RECORDS)
    assert not other.throttled_s


@pytest.mark.slow
def test_a_consumer_is_held_to_its_rate(
    bootstrap_server: str,
    new_topic: NewTopic,
    unique_name: Callable[[str], str],
    limit: Callable[..., None],
) -> None:
    topic, client = new_topic(), Client(bootstrap_server, unique_name("consumer"))
    produce(Client(bootstrap_server, unique_name("producer")), topic, RECORDS)
    limit(client.settings["client.id"], "consumer_byte_rate")
    assert consume(client, topic, RECORDS) > WAIT_S_MIN
    assert client.throttled_s
    other = Client(bootstrap_server, unique_name("other"))
    consume(other, topic, RECORDS)
    assert not other.throttled_s
