"""What all clients have: their assignment, their files, their settings, and the signal that ends them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException, Message

from tests.anomalies.history import HistoryFile, Record

# That brokers are down is no news.
SILENT = logging.getLogger("tests.chaos.clients")
SILENT.disabled = True
CALL_DEADLINE_S = 20.0
# Exit codes: somebody else has the transactional id; the client is past use for another reason; it never came back
# from a call that has a deadline.
FENCED, FATAL, HUNG = 3, 4, 5
_HUNG_S = 30.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a client is told.

    name, life: who it is, and how often it was started before. topics: name to number of partitions.
    history: the file for its operations; what is wrong in itself goes to a file beside it (``findings_path``).
    rate: records per second of a producer. isolation: of a reader.
    debug: what librdkafka tells on standard error, in its own words for it.
    """

    role: str
    name: str
    life: int
    bootstrap_servers: str
    history: str
    topics: dict[str, int]
    seed: int
    rate: float = 0.0
    isolation: str = "read_uncommitted"
    debug: str = ""

    @property
    def process(self) -> str:
        return f"{self.name}.{self.life}"

    @property
    def findings_path(self) -> Path:
        return Path(self.history).with_suffix(".findings")

    @property
    def partitions(self) -> list[tuple[str, int]]:
        return [(topic, number) for topic, count in self.topics.items() for number in range(count)]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


class Client:
    """Base of the roles; ``run`` returns the exit code."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.process = assignment.process
        self.chance = random.Random(assignment.seed)
        self.history = HistoryFile(Path(assignment.history))
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)

    def run(self) -> int:
        raise NotImplementedError

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def found(self, finding: str) -> None:
        """Something that must not happen, and is no operation of the history."""
        with self.assignment.findings_path.open("a", encoding="utf-8") as findings:
            findings.write(f"{self.process}: {finding}\n")

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of librdkafka: brokers that die, hang and come back are noticed in seconds."""
        return {
            "bootstrap.servers": self.assignment.bootstrap_servers,
            "client.id": self.process,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "socket.connection.setup.timeout.ms": 2_000,
            "socket.timeout.ms": 6_000,
            "topic.metadata.refresh.interval.ms": 5_000,
            **({"debug": self.assignment.debug} if self.assignment.debug else {"logger": SILENT}),
            **more,
        }


def record_of(message: Message) -> Record:
    """A message that is no error."""
    topic, partition, offset, value = message.topic(), message.partition(), message.offset(), message.value()
    assert topic is not None and partition is not None and offset is not None and isinstance(value, bytes)
    return Record(topic, partition, offset, value.decode())


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Ends the process where the block takes much longer than a call may.

    librdkafka 2.16 waits for ever for a coordinator that it has removed because Metadata did not list it for a while:
    in calls without a deadline, and in send_offsets_to_transaction whatever its deadline.
    """
    watchdog = threading.Timer(CALL_DEADLINE_S + _HUNG_S, os._exit, (HUNG,))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def persistently(call: Callable[[], object], *, whatever: bool = False) -> None:
    """Repeat a call for as long as its error says that repeating helps, or after any error."""
    deadline = time.monotonic() + CALL_DEADLINE_S
    while True:
        try:
            with watched():
                call()
        except KafkaException as failure:
            if not (whatever or failure.args[0].retriable()) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
