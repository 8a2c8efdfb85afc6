"""Kafka Streams with ``exactly_once_v2``: killed in the middle, started again, and every word counted exactly once;
then kafka-streams-application-reset."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools
from compat.reference.java_programs import program
from compat.reference.tools import JAVA
from tests.broker_process import die_with_parent

SOURCE = Path(__file__).parent / "streams" / "CountWords.java"
DEADLINE_S = 90.0
WORDS = [f"word-{number % 17}" for number in range(3_000)]
KILLED_AFTER = 500


class Application:
    """The Streams application as a process; its lines are kept."""

    def __init__(self, class_path: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*die_with_parent(), *JAVA, "-cp", class_path, "CountWords", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._keep, args=(self._process.stdout, self.lines), daemon=True),
            threading.Thread(target=self._keep, args=(self._process.stderr, self.errors), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _keep(stream: Iterator[str], lines: list[str]) -> None:
        lines.extend(line.rstrip("\n") for line in stream)

    def wait_for(self, line: str) -> None:
        """Until it has printed this line; AssertionError at the deadline or its end."""
        deadline = time.monotonic() + DEADLINE_S
        while line not in self.lines:
            ended = self._process.poll()
            assert ended is None or line in self.lines, f"ended with {ended}: {self.errors[-30:]}"
            assert time.monotonic() < deadline, f"no {line}: {self.lines[-10:]} {self.errors[-30:]}"
            time.sleep(0.02)

    def counts(self) -> dict[str, int]:
        """What its stores hold."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.wait_for("ALL")
        found = [line.split() for line in self.lines if line.startswith("COUNT ")]
        return {word: int(count) for _, word, count in found}

    @property
    def restored(self) -> int:
        """Records that it has read from its changelog before it went on."""
        return sum(int(line.split()[1]) for line in self.lines if line.startswith("RESTORED "))

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Let it end as it would; it must."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(DEADLINE_S) == 0, self.errors[-30:]
        self._end()

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()

    def _end(self) -> None:
        self._process.wait()
        for reader in self._readers:
            reader.join(10)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def start_application(java_class_path: str) -> Iterator[Callable[..., Application]]:
    running: list[Application] = []
    class_path = program("streams", [SOURCE])

    def start(*arguments: str) -> Application:
        running.append(Application(class_path, *arguments))
        return running[-1]

    yield start
    for application in running:
        application.close()


class Output:
    """The counts that have come out for good, by word and in order."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"{topic}-reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.subscribe([topic])
        self.counts: dict[str, list[int]] = defaultdict(list)
        self.total = 0

    def read_until(self, total: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.total < total:
            for record in self._consumer.consume(500, timeout=0.1):
                key, value = record.key(), record.value()
                assert record.error() is None, record.error()
                assert key is not None
                assert value is not None
                self.counts[key.decode()].append(int(value))
                self.total += 1
            assert time.monotonic() < deadline, f"{self.total} of {total} counts after {DEADLINE_S:g} s"

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def output(tools: Tools, new_topic: NewTopic) -> Iterator[tuple[str, Output]]:
    topic = new_topic(partitions=2)
    reader = Output(tools.bootstrap_servers, topic)
    yield topic, reader
    reader.close()


def test_words_are_counted_exactly_once_over_a_kill(
    tools: Tools,
    new_topic: NewTopic,
    output: tuple[str, Output],
    start_application: Callable[..., Application],
    unique_name: UniqueName,
    tmp_path: Path,
) -> None:
    application_id, source, (target, reader) = unique_name("streams"), new_topic(partitions=2), output
    producer = Producer({"bootstrap.servers": tools.bootstrap_servers, "linger.ms": 5})
    arguments = (tools.bootstrap_servers, application_id, source, target)

    def feed(words: list[str]) -> None:
        for word in words:
            producer.produce(source, word.encode())
        assert producer.flush(DEADLINE_S) == 0

    first = start_application(*arguments, str(tmp_path / "state"))
    feed(WORDS[: len(WORDS) // 2])
    reader.read_until(KILLED_AFTER)
    first.kill()
    feed(WORDS[len(WORDS) // 2 :])
    second = start_application(*arguments, str(tmp_path / "state"))
    reader.read_until(len(WORDS))
    second.stop()
    third = start_application(*arguments, str(tmp_path / "elsewhere"))
    third.wait_for("RUNNING")
    counts = third.counts()
    third.stop()

    expected = {word: WORDS.count(word) for word in set(WORDS)}
    assert dict(reader.counts) == {word: list(range(1, count + 1)) for word, count in expected.items()}
    assert second.restored > 0, "what was counted before the kill came from the changelog"
    assert counts == expected
    # Nothing is in its log but the counts and what transactions add: no aborted count has come out as well.
    reader.read_until(len(WORDS))
    assert reader.total == len(WORDS)
    _reset(tools, application_id, source)


def _reset(tools: Tools, application_id: str, source: str) -> None:
    """What the application has made is gone, and it would begin anew."""
    internal = [
        name for name in tools("kafka-topics", "--list").splitlines() if name.startswith(f"{application_id}-")
    ]

    printed = tools(
        "kafka-streams-application-reset",
        "--application-id",
        application_id,
        "--input-topics",
        source,
        "--force",
    )

    assert len(internal) == 2, "a changelog and a repartition topic"
    assert f"Topic: {source} Partition: 0 Offset: 0" in printed
    left = tools("kafka-topics", "--list").splitlines()
    assert not set(internal) & set(left)
    described = tools("kafka-consumer-groups", "--describe", "--group", application_id)
    offsets = {row[2]: row[3] for row in map(str.split, described.splitlines()) if source in row}
    assert offsets == {"0": "0", "1": "0"}
