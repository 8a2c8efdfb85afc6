"""A real filesystem that fills up under real clients: a clean refusal, and all is well once there is room again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.conftest import StartBroker

RECORDS = 1500
RECORD_BYTES = 8_000
FLUSH_DEADLINE_S = 60


class SmallFilesystem:
    """A filesystem in memory whose size is bounded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _mount(self, options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no filesystem can be mounted here: {done.stderr.strip()}")

    def mount(self, megabytes: int) -> None:
        self._mount(f"size={megabytes}m")

    def grow(self, megabytes: int) -> None:
        self._mount(f"remount,size={megabytes}m")

    def fill(self) -> None:
        """Take what room is left, to the last byte."""
        with open(self.path / "filler", "ab", buffering=0) as filler:
            for size in (65_536, 4_096, 1):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True)


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[SmallFilesystem]:
    if os.name != "posix" or not Path("/proc/filesystems").exists():
        pytest.skip("needs Linux, to mount a filesystem of a bounded size")
    path = tmp_path / "small"
    path.mkdir()
    filesystem = SmallFilesystem(path)
    filesystem.mount(6)
    yield filesystem
    filesystem.unmount()


@pytest.mark.slow
def test_a_full_disk_costs_an_idempotent_producer_nothing_but_time(
    small_filesystem: SmallFilesystem, start_broker: StartBroker, kbroker_itself: None
) -> None:
    broker = start_broker(small_filesystem.path / "data", overrides={"log.index.size.max.bytes": 65_536})
    broker.start()
    try:
        _fill_up_and_recover(small_filesystem, broker.bootstrap_server)
        assert broker.terminate() == 0
        assert "Traceback" not in broker.stderr, broker.stderr
    finally:
        broker.close()


def _fill_up_and_recover(filesystem: SmallFilesystem, bootstrap_server: str) -> None:
    acknowledged: dict[int, bytes] = {}
    failures: list[str] = []

    def note(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failures.append(error.name())
        else:
            acknowledged[message.offset() or 0] = message.value() or b""

    producer = Producer(
        {
            "bootstrap.servers": bootstrap_server,
            "enable.idempotence": True,
            "linger.ms": 5,
            "retry.backoff.ms": 50,
            "message.timeout.ms": 300_000,
        }
    )
    for number in range(RECORDS):
        producer.produce("t", b"%06d" % number + bytes(RECORD_BYTES), partition=0, on_delivery=note)
        producer.poll(0)
    count = -1
    deadline = time.monotonic() + FLUSH_DEADLINE_S
    while count != len(acknowledged) and time.monotonic() < deadline:
        count = len(acknowledged)
        producer.poll(1)
    assert 0 < len(acknowledged) < RECORDS, "the disk was to fill up on the way"
    filesystem.fill()
    refused = _create_topic(bootstrap_server, "refused")
    assert refused is not None
    assert refused.name() != "UNKNOWN_SERVER_ERROR"

    filesystem.grow(64)
    assert producer.flush(FLUSH_DEADLINE_S) == 0
    assert failures == []
    assert sorted(acknowledged) == list(range(RECORDS))
    assert _create_topic(bootstrap_server, "welcome") is None
    consumer = Consumer({"bootstrap.servers": bootstrap_server, "group.id": "g", "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("t", 0, RECORDS)], asynchronous=False)
    consumer.assign([TopicPartition("t", 0, 0)])
    read: list[bytes] = []
    while len(read) < RECORDS and (messages := consumer.consume(RECORDS - len(read), 10)):
        read += [message.value() or b"" for message in messages]
    consumer.close()
    assert read == [acknowledged[offset] for offset in range(RECORDS)]
    assert [value[:6] for value in read] == [b"%06d" % number for number in range(RECORDS)]


def _create_topic(bootstrap_server: str, name: str) -> KafkaError | None:
    """The error that creating a topic ends with, if any."""
    admin = AdminClient({"bootstrap.servers": bootstrap_server})
    [created] = admin.create_topics([NewTopic(name, 1, 1)], operation_timeout=5, request_timeout=10).values()
    error = created.exception()
    if error is None:
        return None
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found
