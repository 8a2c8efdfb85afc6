"""The client side of the benchmark, in a process of its own: ``python -m tests.bench.workload JSON``.

Takes a description of the work as JSON and prints what it measured as JSON: {"mb_per_s", "records_per_s"} for
``produce`` and ``consume``, {"p50_us", "p99_us"} for ``round_trip``. ``mock`` runs librdkafka's built-in mock cluster
until its standard input closes, after printing its address.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

MEGABYTE = 1_000_000
FLUSH_DEADLINE_S = 120.0
IDLE_DEADLINE_S = 30.0


def produce(bootstrap: str, topic: str, size: int, count: int) -> dict[str, float]:
    """``count`` records of ``size`` bytes with acks=1 and linger.ms=5, from the first call to the last ack."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": 1,
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
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65_536,
            "fetch.message.max.bytes": 8 * 1024 * 1024,
            # A client with a full queue pauses for a second by default, which would be most of what is measured.
            "fetch.queue.backoff.ms": 1,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 1)])
    deadline = time.perf_counter() + IDLE_DEADLINE_S
    while not (first := consumer.consume(1000, 1.0)):
        assert time.perf_counter() < deadline, "no record came"
    started = time.perf_counter()
    count -= len(first)  # what came before the clock started
    received = 0
    while received < count:
        # It waits for as many as it is asked for: a larger number would end in waiting for what never comes.
        received += len(consumer.consume(min(10_000, count - received), 1.0))
        assert time.perf_counter() < started + IDLE_DEADLINE_S, f"{received} of {count} records came"
    seconds = time.perf_counter() - started
    consumer.close()
    return {"mb_per_s": count * size / seconds / MEGABYTE, "records_per_s": count / seconds}


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
    kinds = {"produce": produce, "consume": consume, "round_trip": round_trip}
    print(json.dumps(kinds[kind](**work)))


if __name__ == "__main__":
    main()
