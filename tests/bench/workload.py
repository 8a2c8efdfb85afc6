"""The client side of the benchmark, in a process of its own: ``python -m tests.bench.workload JSON``.

Takes a description of the work as JSON and prints what it measured as JSON: {"mb_per_s", "records_per_s"} for
``produce``, ``consume`` and ``drain``, {"p50_us", "p99_us"} for ``round_trip`` and ``paced``, both and
{"transactions_per_s"} for ``transactions``, nothing for ``fill``. ``mock`` runs
librdkafka's built-in mock cluster until its standard input closes, after printing its address.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

MEGABYTE = 1_000_000
FLUSH_DEADLINE_S = 120.0
IDLE_DEADLINE_S = 30.0
# The mock cluster forgets what exceeds 5 MB a partition, and makes four partitions for each topic.
FILL_PARTITIONS = 4
FILL_BYTES = 4_000_000


def produce(bootstrap: str, topic: str, size: int, count: int, acks: int | str = 1) -> dict[str, float]:
    """``count`` records of ``size`` bytes with linger.ms=5, from the first call to the last ack."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": acks,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    # Connected and with metadata before the clock starts.
    producer.produce(topic, b"first", partition=0)
    producer.flush(FLUSH_DEADLINE_S)
    value = bytes(size)
    started = time.perf_counter()
    for number in range(count):
        while True:
            try:
                producer.produce(topic, value, partition=0)
                break
            except BufferError:
                producer.poll(0.01)
        if number % 1000 == 0:
            producer.poll(0)
    left = producer.flush(FLUSH_DEADLINE_S)
    seconds = time.perf_counter() - started
    assert left == 0, f"{left} records were not acknowledged"
    return {"mb_per_s": count * size / seconds / MEGABYTE, "records_per_s": count / seconds}


def consume(bootstrap: str, topic: str, size: int, count: int) -> dict[str, float]:
    """The same records read back from offset 1, from the first record to the last."""
    consumer = Consumer(_CONSUMER | {"bootstrap.servers": bootstrap})
    consumer.assign([TopicPartition(topic, 0, 1)])
    return _timed(consumer, size, count)


_CONSUMER: dict[str, str | int | bool] = {
    "group.id": "bench",
    "enable.auto.commit": False,
    "queued.max.messages.kbytes": 65_536,
    "fetch.message.max.bytes": 8 * 1024 * 1024,
    # A client with a full queue pauses for a second by default, which would be most of what is measured.
    "fetch.queue.backoff.ms": 1,
}


def _timed(consumer: Consumer, size: int, count: int) -> dict[str, float]:
    """Rates of ``count`` records from the moment the first of them came; closes the consumer."""
    deadline = time.perf_counter() + IDLE_DEADLINE_S
    while not (first := consumer.consume(1, 1.0)):
        assert time.perf_counter() < deadline, "no record came"
    started = time.perf_counter()
    count -= len(first)
    received = 0
    while received < count:
        # It waits for as many as it is asked for: a larger number would end in waiting for what never comes.
        received += len(consumer.consume(min(10_000, count - received), 1.0))
        assert time.perf_counter() < started + IDLE_DEADLINE_S, f"{received} of {count} records came"
    seconds = time.perf_counter() - started
    consumer.close()
    return {"mb_per_s": count * size / seconds / MEGABYTE, "records_per_s": count / seconds}


def fill(bootstrap: str, topic: str, size: int, count: int, create: bool) -> dict[str, float]:
    """``count`` records of ``size`` bytes, spread over as many topics as it takes for FILL_BYTES a partition."""
    topics = _topics_to_fill(topic, size, count)
    if create:
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for created in admin.create_topics([NewTopic(name, FILL_PARTITIONS, 1) for name in topics]).values():
            created.result(FLUSH_DEADLINE_S)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": 1,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    value = bytes(size)
    for name in topics:
        producer.list_topics(name, timeout=FLUSH_DEADLINE_S)
        for number in range(FILL_PARTITIONS * (FILL_BYTES // size)):
            if number % 1000 == 0:
                producer.poll(0)
            producer.produce(name, value, partition=number % FILL_PARTITIONS)
        left = producer.flush(FLUSH_DEADLINE_S)
        assert left == 0, f"{left} records were not acknowledged"
    return {}


def drain(bootstrap: str, topic: str, size: int, count: int) -> dict[str, float]:
    """Everything that ``fill`` put there, from the first record to the last."""
    topics = _topics_to_fill(topic, size, count)
    consumer = Consumer(_CONSUMER | {"bootstrap.servers": bootstrap})
    consumer.assign(
        [TopicPartition(name, partition, 0) for name in topics for partition in range(FILL_PARTITIONS)]
    )
    return _timed(consumer, size, len(topics) * FILL_PARTITIONS * (FILL_BYTES // size))


def _topics_to_fill(topic: str, size: int, count: int) -> list[str]:
    number_of_topics = max(1, round(count * size / (FILL_PARTITIONS * FILL_BYTES)))
    return [f"{topic}-{number}" for number in range(number_of_topics)]


def round_trip(bootstrap: str, topic: str, size: int, count: int) -> dict[str, float]:
    """One record at a time, acks=1, no lingering: the time from ``produce`` to the end of ``flush``."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": 1, "linger.ms": 0})
    value = bytes(size)
    times = []
    for number in range(count + 200):
        started = time.perf_counter()
        producer.produce(topic, value, partition=0)
        producer.flush(FLUSH_DEADLINE_S)
        if number >= 200:
            times.append(time.perf_counter() - started)
    times.sort()
    return {"p50_us": times[count // 2] * 1e6, "p99_us": times[count * 99 // 100] * 1e6}


def paced(bootstrap: str, topic: str, size: int, count: int, per_second: int) -> dict[str, float]:
    """``count`` records of an idempotent producer, so many a second, linger.ms=1: how long until the acknowledgement.

    It counts from the moment at which a record was due, not at which the client got round to it. Without lingering
    librdkafka keeps half a processor busy while all it may have in flight is in flight, and that processor
    is then missed by the brokers: so does a ``poll`` with less than a millisecond to wait.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1})
    value = bytes(size)
    times: list[float] = []
    warm_up = per_second
    began = time.perf_counter()
    for number in range(count + warm_up):
        due = began + number / per_second
        producer.poll(0)
        if (now := time.perf_counter()) < due:
            time.sleep(due - now)

        def note(error: object, message: object, due: float = due, number: int = number) -> None:
            assert error is None, error
            if number >= warm_up:
                times.append(time.perf_counter() - due)

        producer.produce(topic, value, partition=0, on_delivery=note)
    assert producer.flush(FLUSH_DEADLINE_S) == 0
    times.sort()
    return {"p50_us": times[count // 2] * 1e6, "p99_us": times[count * 99 // 100] * 1e6}


def transactions(bootstrap: str, topic: str, size: int, count: int, records: int) -> dict[str, float]:
    """``count`` transactions of ``records`` records each: rates, and how long the commit alone takes.

    Before the clock of a commit starts, all records are acknowledged.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": topic,
            "linger.ms": 0 if records == 1 else 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions(FLUSH_DEADLINE_S)
    value = bytes(size)
    times = []
    started = 0.0
    warm_up = max(1, count // 20)
    for number in range(count + warm_up):
        if number == warm_up:
            started = time.perf_counter()
        producer.begin_transaction()
        for _ in range(records):
            producer.produce(topic, value, partition=0)
        left = producer.flush(FLUSH_DEADLINE_S)
        assert left == 0, f"{left} records were not acknowledged"
        ending = time.perf_counter()
        producer.commit_transaction(FLUSH_DEADLINE_S)
        if number >= warm_up:
            times.append(time.perf_counter() - ending)
    seconds = time.perf_counter() - started
    times.sort()
    return {
        "transactions_per_s": count / seconds,
        "records_per_s": count * records / seconds,
        "p50_us": times[count // 2] * 1e6,
        "p99_us": times[count * 99 // 100] * 1e6,
    }


def mock() -> None:
    """A mock cluster of one broker inside this process's client."""
    producer = Producer({"test.mock.num.brokers": 1})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    print(f"{broker.host}:{broker.port}", flush=True)
    sys.stdin.read()


def main() -> None:
    work: dict[str, Any] = json.loads(sys.argv[1])
    kind = work.pop("kind")
    if kind == "mock":
        mock()
        return
    kinds: dict[str, Callable[..., dict[str, float]]] = {
        "produce": produce,
        "consume": consume,
        "fill": fill,
        "drain": drain,
        "round_trip": round_trip,
        "paced": paced,
        "transactions": transactions,
    }
    print(json.dumps(kinds[kind](**work)))


if __name__ == "__main__":
    main()
