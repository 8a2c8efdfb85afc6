"""Many producers of single records, each with one request on its way: ``python -m tests.bench.closed_loop JSON``.

All of them live in one process on plain sockets, with requests that were built beforehand, so that the client costs
next to nothing beside the broker. Prints {"mean_us", "p50_us", "p99_us", "per_s"}. The mean is what to compare: it is
the number of producers divided by the throughput, whereas a broker that serves one busy connection several times in a
row makes the median of many producers small and their p99 large.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass

from tests.running_broker import batch
from wire.headers import encode_request
from wire.messages.produce import ProduceRequest

PRODUCE_VERSION = 9
REPLY_DEADLINE_S = 30.0


@dataclass
class Producer:
    """One connection and when its request left."""

    connection: socket.socket
    request: bytes
    sent_at: float = 0.0
    received: bytes = b""

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.connection.sendall(self.request)

    def has_answer(self) -> bool:
        """Read what is there; whether the response is whole, which takes it away."""
        self.received += self.connection.recv(65_536)
        if len(self.received) < 4 or len(self.received) < 4 + struct.unpack(">i", self.received[:4])[0]:
            return False
        self.received = b""
        return True


def request_bytes(topic: str, partition: int, acks: int, size: int) -> bytes:
    topic_data = ProduceRequest.TopicProduceData(
        name=topic,
        partition_data=[
            ProduceRequest.TopicProduceData.PartitionProduceData(
                index=partition, records=memoryview(batch(bytes(size)))
            )
        ],
    )
    request = ProduceRequest(acks=acks, timeout_ms=10_000, topic_data=[topic_data])
    return b"".join(bytes(part) for part in encode_request(request, PRODUCE_VERSION, 1, "bench"))


def measure(
    bootstrap: str, topic: str, acks: int, producers: int, count: int, size: int = 100, partitions: int = 1
) -> dict[str, float]:
    """``count`` records from ``producers`` at once, after some to warm up."""
    host, _, port = bootstrap.rpartition(":")
    poll = select.epoll()
    by_descriptor: dict[int, Producer] = {}
    for number in range(producers):
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = request_bytes(topic, number % partitions, acks, size)
        by_descriptor[connection.fileno()] = Producer(connection, request)
        poll.register(connection.fileno(), select.EPOLLIN)
    warm_up = max(3 * producers, 200)
    left = warm_up + count
    for producer in by_descriptor.values():
        producer.send()
        left -= 1
    times: list[float] = []
    answers, started = 0, 0.0
    while len(times) < count:
        events = poll.poll(REPLY_DEADLINE_S)
        assert events, "the broker does not answer"
        for descriptor, _ in events:
            producer = by_descriptor[descriptor]
            if not producer.has_answer():
                continue
            now = time.perf_counter()
            answers += 1
            if answers == warm_up:
                started = now
            elif answers > warm_up:
                times.append(now - producer.sent_at)
            if left > 0:
                left -= 1
                producer.send()
    seconds = time.perf_counter() - started
    for producer in by_descriptor.values():
        producer.connection.close()
    times.sort()
    return {
        "mean_us": sum(times) / len(times) * 1e6,
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[len(times) * 99 // 100] * 1e6,
        "per_s": len(times) / seconds,
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
