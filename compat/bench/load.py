"""The client side, in a process of its own: ``python -m compat.bench.load JSON`` prints what it measured as JSON.

librdkafka throughout, with the settings of its users. Records are not compressed and go where its default partitioner
sends them. What warms up is not measured: a JVM needs some thousand requests before it is itself.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

DEADLINE_S = 120.0
IDLE_DEADLINE_S = 30.0
_MEGABYTE = 1_000_000


def create(bootstrap: str, topic: str, partitions: int) -> dict[str, float]:
    """A topic of one replica, when it is there with all its leaders."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        created.result(DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = admin.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions
        if len(found) == partitions and all(partition.leader >= 0 for partition in found.values()):
            return {}
        assert time.monotonic() < deadline, f"{topic} does not get its leaders"
        time.sleep(0.02)


def produce(bootstrap: str, topic: str, size: int, count: int, acks: int | str) -> dict[str, float]:
    """``count`` records of ``size`` bytes with linger.ms=5, from the first call to the last acknowledgement."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": acks,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512_000,
        }
    )
    producer.produce(topic, b"first")
    assert producer.flush(DEADLINE_S) == 0
    value = bytes(size)
    started = time.perf_counter()
    for number in range(count):
        while True:
            try:
                producer.produce(topic, value)
                break
            except BufferError:
                producer.poll(0.01)
        if number % 1_000 == 0:
            producer.poll(0)
    left = producer.flush(DEADLINE_S)
    seconds = time.perf_counter() - started
    assert left == 0, f"{left} records were not acknowledged"
    return {"mb_per_s": count * size / seconds / _MEGABYTE}


def consume(bootstrap: str, topic: str, size: int, count: int, partitions: int) -> dict[str, float]:
    """``count`` records from the beginning of all partitions, from the first record to the last."""
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
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    deadline = time.perf_counter() + IDLE_DEADLINE_S
    while not (first := consumer.consume(1, 1.0)):
        assert time.perf_counter() < deadline, "no record came"
    started = time.perf_counter()
    received = len(first)
    while received < count:
        # It waits for as many as it is asked for: a larger number would end in waiting for what never comes.
        received += len(consumer.consume(min(10_000, count - received), 1.0))
        assert time.perf_counter() < started + DEADLINE_S, f"{received} of {count} records came"
    seconds = time.perf_counter() - started
    consumer.close()
    return {"mb_per_s": count * size / seconds / _MEGABYTE}


def round_trip(
    bootstrap: str, topic: str, size: int, count: int, acks: int | str, warm_up: int
) -> dict[str, float]:
    """One record at a time, no lingering: the time from ``produce`` to the end of ``flush``."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": acks, "linger.ms": 0})
    value = bytes(size)
    times = []
    for number in range(count + warm_up):
        started = time.perf_counter()
        producer.produce(topic, value, partition=0)
        assert producer.flush(DEADLINE_S) == 0
        if number >= warm_up:
            times.append(time.perf_counter() - started)
    times.sort()
    return {
        "p50_us": times[count // 2] * 1e6,
        "p99_us": times[count * 99 // 100] * 1e6,
        "p999_us": times[count * 999 // 1000] * 1e6,
    }


def connections(bootstrap: str, count: int) -> dict[str, float]:
    """Open ``count`` connections that ask once which versions are served; hold them until standard input closes."""
    from wire.headers import encode_request
    from wire.messages.api_versions import ApiVersionsRequest

    request = ApiVersionsRequest(client_software_name="bench", client_software_version="1")
    encoded = b"".join(encode_request(request, 3, 1, "bench"))  # type: ignore[arg-type]
    host, _, port = bootstrap.rpartition(":")
    started = time.perf_counter()
    held = []
    for _ in range(count):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(encoded)
        assert connection.recv(65_536), "the broker closed an idle connection"
        held.append(connection)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds}), flush=True)
    sys.stdin.read()
    for connection in held:
        connection.close()
    return {}


def first_record(bootstrap: str) -> dict[str, float]:
    """Until a record to a topic that is not there yet is acknowledged, however long nobody listens.

    Whether somebody does is asked every millisecond with a bare socket: librdkafka tries again every 0.3 s or so,
    which would be most of what is measured.
    """
    from confluent_kafka import KafkaError

    def quiet(error: KafkaError) -> None:
        """Connections are refused until the broker is there."""

    print("{}", flush=True)  # the clock may start
    host, _, port = bootstrap.rpartition(":")
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.001)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": 1,
            "linger.ms": 0,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 20,
            "retry.backoff.ms": 10,
            "topic.metadata.refresh.fast.interval.ms": 10,
            "error_cb": quiet,
            "log_level": 0,
        }
    )
    producer.produce("first-record", b"first")
    assert producer.flush(DEADLINE_S) == 0
    return {}


def main() -> None:
    work: dict[str, Any] = json.loads(sys.argv[1])
    kinds: dict[str, Callable[..., dict[str, float]]] = {
        "create": create,
        "produce": produce,
        "consume": consume,
        "round_trip": round_trip,
        "connections": connections,
        "first_record": first_record,
    }
    print(json.dumps(kinds[work.pop("kind")](**work)))


if __name__ == "__main__":
    main()
