"""What one connection does wrong costs that connection only; limits on connections, frames and memory."""

from __future__ import annotations

import contextlib
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kio.schema.metadata.v5.request import MetadataRequest

from tests.broker_process import BrokerProcess
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Message, TopicPartition, consume, poll_until
from tests.e2e.raw_connection import API_VERSIONS_KEY, RawConnection, fetch_request

NewTopic = Callable[..., str]
StartBroker = Callable[..., BrokerProcess]
CLIENT = ConfluentClient()
METADATA_KEY, UNSUPPORTED_VERSION = 3, 35


def sized(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


BAD_BYTES = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "huge length": struct.pack(">i", 0x7FFFFFFF),
    "over the limit": struct.pack(">i", 104_857_601),
    "negative length": struct.pack(">i", -1),
    "empty frame": sized(b""),
    "no whole header": sized(b"\x00\x03\x00"),
    "unknown key": sized(struct.pack(">hhih", 999, 0, 1, -1)),
    "negative key": sized(struct.pack(">hhih", -1, 0, 1, -1)),
    "unknown version": sized(struct.pack(">hhih", METADATA_KEY, 99, 1, -1)),
    "body cut off": sized(struct.pack(">hhih", METADATA_KEY, 1, 1, -1) + b"\x00\x00"),
    "count over the bytes left": sized(struct.pack(">hhihi", METADATA_KEY, 1, 1, -1, 1_000_000)),
    "string over the bytes left": sized(struct.pack(">hhihih", METADATA_KEY, 1, 1, -1, 1, 30_000)),
    "client id over the frame": sized(struct.pack(">hhih", METADATA_KEY, 1, 1, 500)),
}


@pytest.fixture
def neighbour(bootstrap_server: str) -> Iterator[RawConnection]:
    """A connection from before the trouble, which has to be served after it."""
    with RawConnection(bootstrap_server) as raw:
        assert raw.is_served()
        yield raw
        assert raw.is_served()


@pytest.mark.parametrize("bad", BAD_BYTES.values(), ids=BAD_BYTES.keys())
def test_bytes_that_are_no_request_close_their_own_connection(
    bad: bytes, bootstrap_server: str, neighbour: RawConnection
) -> None:
    with RawConnection(bootstrap_server) as raw:
        raw.send_bytes(bad)
        assert raw.is_closed_by_broker()
    assert neighbour.is_served()


def test_random_bytes_close_their_own_connection(bootstrap_server: str, neighbour: RawConnection) -> None:
    chance = random.Random(5)
    for _ in range(40):
        with RawConnection(bootstrap_server) as raw:
            # A frame of a plausible size with noise in it, so that the noise gets as far as the decoder.
            raw.send_frame(
                struct.pack(">hh", chance.randrange(0, 92), chance.randrange(0, 6)) + chance.randbytes(90)
            )
            raw.send_bytes(chance.randbytes(30) + b"\xff" * 4)
            with contextlib.suppress(ConnectionError, TimeoutError):
                raw.receive_frame(deadline_s=0.05)
    assert neighbour.is_served()


def test_good_requests_before_a_bad_one_are_answered(bootstrap_server: str) -> None:
    with RawConnection(bootstrap_server) as raw:
        assert raw.is_served()
        raw.send_header(METADATA_KEY, 99)
        assert raw.is_closed_by_broker()


def test_unknown_version_of_api_versions_is_answered_in_version_zero(bootstrap_server: str) -> None:
    with RawConnection(bootstrap_server) as raw:
        # Headers of unknown versions have tagged fields, as those of the newest known ones.
        correlation_id = raw.send_header(API_VERSIONS_KEY, 99, b"\x00")
        frame = raw.receive_frame()
        assert struct.unpack_from(">ih", frame) == (correlation_id, UNSUPPORTED_VERSION)
        assert raw.is_served()


def test_half_open_frames_hold_nobody_up(bootstrap_server: str, neighbour: RawConnection) -> None:
    beginnings = [b"", b"\x00", b"\x00\x00\x10", sized(bytes(5_000))[:100], struct.pack(">i", 1_000_000)]
    with contextlib.ExitStack() as stack:
        for number in range(30):
            raw = stack.enter_context(RawConnection(bootstrap_server))
            raw.send_bytes(beginnings[number % len(beginnings)])
        started = time.monotonic()
        assert neighbour.is_served()
        with RawConnection(bootstrap_server) as late:
            assert late.is_served()
        assert time.monotonic() - started < 5.0


def test_responses_keep_the_order_of_their_requests(bootstrap_server: str, new_topic: NewTopic) -> None:
    partition = TopicPartition(new_topic(), 0)
    with RawConnection(bootstrap_server) as raw:
        sent = [raw.send(fetch_request(partition, 0, max_wait_ms=400, min_bytes=1))]
        sent += [raw.send(MetadataRequest(topics=())) for _ in range(300)]
        received = [struct.unpack_from(">i", raw.receive_frame())[0] for _ in sent]
    assert received == sent


@pytest.fixture
def bulky(bootstrap_server: str, new_topic: NewTopic) -> TopicPartition:
    """A partition of some 20 MB that do not compress."""
    partition = TopicPartition(new_topic(), 0)
    block = random.Random(1).randbytes(500_000)
    with CLIENT.producer(bootstrap_server) as producer:
        producer.send(partition.topic, [Message(block)] * 40)
    return partition


def test_slow_readers_hold_nobody_up_and_get_their_answers_in_the_end(
    bootstrap_server: str, bulky: TopicPartition, neighbour: RawConnection
) -> None:
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(RawConnection(bootstrap_server, receive_buffer_bytes=4_096)) for _ in range(4)
        ]
        for raw in slow:
            for _ in range(3):
                raw.send(fetch_request(bulky, 0))
        started = time.monotonic()
        with CLIENT.producer(bootstrap_server) as producer:
            for _ in range(20):
                producer.send(bulky.topic, [Message(b"meanwhile")])
        with CLIENT.consumer(bootstrap_server) as consumer:
            consumer.assign(bulky)
            consumer.seek(bulky, 40)
            assert len(consume(consumer, 20)) == 20
        assert neighbour.is_served()
        assert time.monotonic() - started < 15.0
        # Whoever reads at last finds a whole answer, although the broker had to wait for it.
        size_bytes = struct.unpack(">i", slow[0].socket.recv(4))[0]
        assert size_bytes > 15_000_000
        remaining = size_bytes
        while remaining:
            remaining -= len(slow[0].socket.recv(min(remaining, 1 << 20)))


@pytest.mark.slow
def test_memory_stays_bounded(kbroker_itself: None, start_broker: StartBroker) -> None:
    broker = start_broker().start()
    partition = TopicPartition("bulky", 0)
    block = random.Random(2).randbytes(500_000)
    with CLIENT.producer(broker.bootstrap_server) as producer:
        producer.send(partition.topic, [Message(block)] * 40)
    before = broker.resident_bytes()
    with contextlib.ExitStack() as stack:
        for number in range(30):
            raw = stack.enter_context(RawConnection(broker.bootstrap_server, receive_buffer_bytes=4_096))
            if number % 2:
                for _ in range(5):
                    raw.send(fetch_request(partition, 0))
            else:
                raw.send_bytes(struct.pack(">i", 100_000_000) + bytes(1_000))
        with RawConnection(broker.bootstrap_server) as raw:
            assert raw.is_served()
        grown = max(poll_until(broker.resident_bytes, lambda _: True) for _ in range(20)) - before
    # 15 announced frames of 100 MB and 75 answers of 20 MB are 3 GB that must not be held.
    assert grown < 100 << 20


def test_connections_that_end_leave_nothing_open(kbroker_itself: None, start_broker: StartBroker) -> None:
    broker = start_broker().start()
    with RawConnection(broker.bootstrap_server) as raw:
        assert raw.is_served()
    before = poll_until(broker.open_file_count, lambda _: True)
    for number in range(200):
        with RawConnection(broker.bootstrap_server) as raw:
            if number % 4 == 0:
                assert raw.is_served()
            elif number % 4 == 1:
                raw.send_bytes(b"\x00\x00\x01")
            elif number % 4 == 2:
                raw.send(MetadataRequest(topics=()))
    poll_until(broker.open_file_count, lambda count: count <= before + 2, deadline_s=15.0)


def test_connections_of_one_address_are_limited(start_broker: StartBroker) -> None:
    broker = start_broker(overrides={"max.connections.per.ip": 3}).start()
    # The stand-in of another broker may still be closing the connection that it used to see that it is ready.
    with contextlib.ExitStack() as stack:
        held: list[RawConnection] = []

        def hold() -> int:
            raw = RawConnection(broker.bootstrap_server)
            if raw.is_served(deadline_s=2.0):
                held.append(stack.enter_context(raw))
            else:
                raw.close()
            return len(held)

        poll_until(hold, lambda count: count == 3)
        with RawConnection(broker.bootstrap_server) as refused:
            assert refused.is_closed_by_broker()
        assert all(raw.is_served() for raw in held)
        held.pop().close()
        poll_until(hold, lambda count: count == 3)


def test_connections_altogether_are_limited(start_broker: StartBroker) -> None:
    broker = start_broker(overrides={"max.connections": 4}).start()
    with contextlib.ExitStack() as stack:
        held: list[RawConnection] = []

        def hold() -> int:
            raw = RawConnection(broker.bootstrap_server)
            if raw.is_served(deadline_s=2.0):
                held.append(stack.enter_context(raw))
            else:
                raw.close()
            return len(held)

        poll_until(hold, lambda count: count == 4)
        with RawConnection(broker.bootstrap_server) as waiting:
            assert not waiting.is_served(deadline_s=1.0)
        assert all(raw.is_served() for raw in held)
        held.pop().close()
        poll_until(hold, lambda count: count == 4)


def test_idle_connection_is_closed_and_a_busy_one_is_not(start_broker: StartBroker) -> None:
    broker = start_broker(overrides={"connections.max.idle.ms": 1_000}).start()
    with RawConnection(broker.bootstrap_server) as idle, RawConnection(broker.bootstrap_server) as busy:
        assert idle.is_served()
        closed = threading.Event()

        def watch() -> None:
            if idle.is_closed_by_broker(deadline_s=20.0):
                closed.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.monotonic()
        while not closed.wait(0.2):
            assert busy.is_served()
            assert time.monotonic() - started < 20.0
        watcher.join()
        assert time.monotonic() - started > 0.7
        assert busy.is_served()


def test_frame_over_the_configured_limit_is_refused(start_broker: StartBroker) -> None:
    broker = start_broker(overrides={"socket.request.max.bytes": 50_000}).start()
    with RawConnection(broker.bootstrap_server) as raw:
        assert raw.is_served()
        raw.send_bytes(struct.pack(">i", 50_001))
        assert raw.is_closed_by_broker()
    with RawConnection(broker.bootstrap_server) as raw:
        assert raw.is_served()


def test_bound_on_queued_request_bytes_delays_and_loses_nothing(start_broker: StartBroker) -> None:
    limits = {"socket.request.max.bytes": 1_000_000, "queued.max.request.bytes": 1_000_000}
    broker = start_broker(overrides=limits).start()
    block = random.Random(3).randbytes(600_000)
    failures: list[BaseException] = []

    def produce(topic: str) -> None:
        try:
            with CLIENT.producer(broker.bootstrap_server) as producer:
                placed = producer.send(topic, [Message(block)] * 10)
                assert placed == [(0, offset) for offset in range(10)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=produce, args=(f"topic-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert not failures
    for number in range(6):
        with CLIENT.consumer(broker.bootstrap_server, settings={"auto.offset.reset": "earliest"}) as consumer:
            consumer.assign(TopicPartition(f"topic-{number}", 0))
            assert all(record.value == block for record in consume(consumer, 10))
