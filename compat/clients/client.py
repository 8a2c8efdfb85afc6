"""A client under test as the cases see it: typed words for the driver's lines, and everything closed at the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compat.clients.driver import Driver, DriverError, decoded, encoded

Partition = tuple[str, int]
Headers = tuple[tuple[str, bytes | None], ...]

EARLIEST: Final = -2
SESSION_TIMEOUT_MS: Final = 10_000
HEARTBEAT_INTERVAL_MS: Final = 250
_POLL_MS: Final = 250
_LOOK_EVERY_S: Final = 0.02
_NUMBERS = itertools.count(1)
DEADLINE_S: Final = 45.0
"""For what takes a fraction of a second where nothing is wrong."""


@dataclass(frozen=True)
class Message:
    """What a producer is given; ``partition`` None leaves the choice to the client."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = 0
    headers: Headers = ()
    timestamp_ms: int | None = None

    def line(self) -> dict[str, Any]:
        found: dict[str, Any] = {"topic": self.topic, "key": encoded(self.key), "value": encoded(self.value)}
        if self.partition is not None:
            found["partition"] = self.partition
        if self.headers:
            found["headers"] = [[name, encoded(value)] for name, value in self.headers]
        if self.timestamp_ms is not None:
            found["timestamp_ms"] = self.timestamp_ms
        return found


@dataclass(frozen=True)
class Received:
    """What a consumer has handed out."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Received:
        return cls(
            line["topic"],
            line["partition"],
            line["offset"],
            decoded(line["key"]),
            decoded(line["value"]),
            tuple((name, decoded(value)) for name, value in line["headers"] or ()),
            line["timestamp_ms"],
        )


@dataclass(frozen=True)
class Rebalances:
    """What the library's callbacks were told, one entry for each call."""

    assigned: tuple[frozenset[Partition], ...]
    revoked: tuple[frozenset[Partition], ...]


class Producer:
    """A producer inside the driver."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self.name = name

    def send(self, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """Partition and offset of each, once all are acknowledged; DriverError."""
        records = [message.line() for message in messages]
        placed = self._driver.call("send", producer=self.name, records=records)
        assert len(placed) == len(messages), f"{len(placed)} answers for {len(messages)} records"
        return [(one["partition"], one["offset"]) for one in placed]

    def begin(self) -> None:
        self._driver.call("begin", producer=self.name)

    def commit(self) -> None:
        self._driver.call("commit_transaction", producer=self.name)

    def abort(self) -> None:
        self._driver.call("abort", producer=self.name)

    def send_offsets(self, consumer: Consumer, offsets: Mapping[Partition, int]) -> None:
        """Add a consumer's positions to the open transaction."""
        lines = [
            {"topic": topic, "partition": partition, "offset": offset}
            for (topic, partition), offset in offsets.items()
        ]
        self._driver.call("send_offsets", producer=self.name, consumer=consumer.name, offsets=lines)

    def close(self) -> None:
        self._driver.call("close_producer", producer=self.name)


class Consumer:
    """A consumer inside the driver, with all that its polls have returned."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self.name = name
        self.received: list[Received] = []
        self.assignments: list[frozenset[Partition]] = [frozenset()]
        """One after the other, without repetitions."""

    @property
    def assignment(self) -> frozenset[Partition]:
        """What the last poll has said."""
        return self.assignments[-1]

    def poll(self, count: int = 1_000, *, timeout_ms: int = _POLL_MS) -> list[Received]:
        """At most so many records, as soon as they are there or at the timeout."""
        found = self._driver.call("poll", consumer=self.name, count=count, timeout_ms=timeout_ms)
        assignment = frozenset((topic, partition) for topic, partition in found["assignment"])
        if assignment != self.assignment:
            self.assignments.append(assignment)
        records = [Received.of(line) for line in found["records"]]
        self.received += records
        return records

    def take(self, count: int, *, deadline_s: float = DEADLINE_S) -> list[Received]:
        """Poll until there are ``count`` records, and not one more; AssertionError at the deadline."""
        taken: list[Received] = []
        deadline = time.monotonic() + deadline_s
        while len(taken) < count:
            taken += self.poll(count - len(taken))
            assert time.monotonic() < deadline, f"{len(taken)} of {count} records after {deadline_s:g} s"
        return taken

    def seek_to_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """The offset that it goes on from; -1 where no record is that young."""
        answer = self._driver.call(
            "seek_to_time", consumer=self.name, topic=topic, partition=partition, timestamp_ms=timestamp_ms
        )
        return int(answer["offset"])

    def commit(self) -> None:
        """Commit what polls have returned."""
        self._driver.call("commit", consumer=self.name)

    def rebalances(self) -> Rebalances:
        answer = self._driver.call("rebalances", consumer=self.name)
        return Rebalances(_partition_sets(answer["assigned"]), _partition_sets(answer["revoked"]))

    def close(self) -> None:
        self._driver.call("close_consumer", consumer=self.name)


class Client:
    """One library's driver for the length of one case."""

    def __init__(self, driver: Driver, hello: Mapping[str, Any]) -> None:
        self._driver = driver
        self.name: str = hello["client"]
        self.version: str = hello["version"]
        self.language: str = hello["language"]
        self.unsupported: Mapping[str, str] = hello["unsupported"]
        self._open: dict[str, Producer | Consumer] = {}

    def call(self, do: str, **arguments: Any) -> Any:
        """What has no word of its own here: administration."""
        return self._driver.call(do, **arguments)

    def supports(self, what: str) -> bool:
        """A feature or an operation."""
        return what not in self.unsupported

    def producer(self, bootstrap_servers: str, **settings: Any) -> Producer:
        """See ``producer`` in the driver's docstring; acks=all unless said otherwise."""
        name = self._name("producer")
        settings = {
            "acks": "all",
            "compression": "none",
            "idempotent": False,
            "transactional_id": None,
            "request_bytes_max": None,
            **settings,
        }
        self._driver.call("producer", name=name, bootstrap=bootstrap_servers, **settings)
        producer = Producer(self._driver, name)
        self._open[name] = producer
        return producer

    def reader(
        self, bootstrap_servers: str, topic: str, group: str, *, partitions: int = 1, **settings: Any
    ) -> Consumer:
        """Reads a topic from its beginning: assigned, or where the library cannot, as a group's only member."""
        if self.supports("assign"):
            assign = [
                {"topic": topic, "partition": number, "offset": EARLIEST} for number in range(partitions)
            ]
            return self._consumer(bootstrap_servers, topics=[], assign=assign, **settings)
        return self.member(bootstrap_servers, [topic], group, **settings)

    def member(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        group: str,
        *,
        assignor: str = "eager",
        instance_id: str | None = None,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        **settings: Any,
    ) -> Consumer:
        """A member of a group; poll it until it has its partitions."""
        return self._consumer(
            bootstrap_servers,
            topics=list(topics),
            group=group,
            assignor=assignor,
            instance_id=instance_id,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
            **settings,
        )

    def close(self, opened: Producer | Consumer) -> None:
        """Close it before the case's end."""
        del self._open[opened.name]
        opened.close()

    def close_all(self) -> None:
        """What the case has left open. DriverError where a library could not; a driver that is gone has closed all."""
        failed: DriverError | None = None
        for opened in list(self._open.values()):
            if not self._driver.running:
                return
            try:
                self.close(opened)
            except DriverError as error:
                failed = error
        if failed is not None:
            raise failed

    def _consumer(self, bootstrap_servers: str, **settings: Any) -> Consumer:
        name = self._name("consumer")
        self._driver.call("consumer", name=name, bootstrap=bootstrap_servers, **settings)
        consumer = Consumer(self._driver, name)
        self._open[name] = consumer
        return consumer

    def _name(self, kind: str) -> str:
        return f"{kind}-{next(_NUMBERS)}"


def poll_until(
    consumers: Sequence[Consumer], settled: Callable[[], bool], *, deadline_s: float = DEADLINE_S
) -> None:
    """Poll consumers in turn, as members of a group must be, until ``settled``."""
    deadline = time.monotonic() + deadline_s
    while not settled():
        for consumer in consumers:
            consumer.poll(timeout_ms=_POLL_MS // len(consumers))
        held = [sorted(consumer.assignment) for consumer in consumers]
        assert time.monotonic() < deadline, f"not settled after {deadline_s:g} s; assigned: {held}"


def eventually(look: Callable[[], object], expected: object, *, deadline_s: float = DEADLINE_S) -> None:
    """Look until it is as expected; AssertionError with what it was last."""
    deadline = time.monotonic() + deadline_s
    while (found := look()) != expected:
        assert time.monotonic() < deadline, f"{found} after {deadline_s:g} s, not {expected}"
        time.sleep(_LOOK_EVERY_S)


def _partition_sets(lists: Sequence[Sequence[Sequence[Any]]]) -> tuple[frozenset[Partition], ...]:
    return tuple(frozenset((topic, partition) for topic, partition in one) for one in lists)
