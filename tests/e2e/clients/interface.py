"""What the end-to-end cases ask of a Kafka client, whatever library it is.

One adapter per library implements these protocols, so that one case runs with each of them. Settings carry Kafka's
own names (``auto.offset.reset``); an adapter renames them where its library spells them differently and sets
nothing by itself, so an unset setting has the library's own default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

from kio.schema.errors import ErrorCode

Headers = tuple[tuple[str, bytes | None], ...]
Setting = str | int | float | bool
ValueT = TypeVar("ValueT")

EARLIEST_TIMESTAMP = -2
LATEST_TIMESTAMP = -1
MAX_TIMESTAMP = -3


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Message:
    """A record to send; without a partition the client's partitioner chooses, without a timestamp its clock."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None
    partition: int | None = 0


class Placed(NamedTuple):
    """Where an acknowledged record went."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Consumed:
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def message(self) -> Message:
        return Message(self.value, self.key, self.headers, self.timestamp_ms, self.partition)


@dataclass(frozen=True, slots=True)
class Cluster:
    cluster_id: str
    controller_id: int
    brokers: dict[int, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    partition: int
    leader: int
    replicas: tuple[int, ...]
    in_sync_replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """``state`` as Kafka spells it on the wire, e.g. ``Stable``; assignments by member id."""

    state: str
    protocol: str
    assignments: dict[str, frozenset[TopicPartition]]
    instance_ids: frozenset[str]
    client_ids: frozenset[str]


class KafkaFailure(Exception):
    """An error that the broker answered with (``code`` >= 0) or that the client raised by itself (-1000)."""

    def __init__(self, code: int, message: str = "") -> None:
        self.code = code
        try:
            self.name = ErrorCode(code).name.upper()
        except ValueError:
            self.name = "CLIENT"
        super().__init__(f"{self.name}: {message}")


# INVALID_PRODUCER_EPOCH and PRODUCER_FENCED; the libraries have errors of their own for them too.
_FENCED_CODES = frozenset({47, 90})


def is_fenced(failure: KafkaFailure) -> bool:
    """Whether a producer was refused because somebody else owns its transactional id by now."""
    return failure.code in _FENCED_CODES or "fenced" in str(failure).lower()


class Admin(AbstractContextManager["Admin"], Protocol):
    def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        *,
        replication_factor: int = 1,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> None: ...
    def delete_topic(self, topic: str) -> None: ...
    def list_topics(self) -> set[str]: ...
    def describe_topic(self, topic: str) -> list[PartitionDescription]: ...
    def describe_cluster(self) -> Cluster: ...
    def create_partitions(self, topic: str, total: int) -> None: ...
    def describe_topic_configs(self, topic: str) -> dict[str, str | None]: ...
    def alter_topic_config(self, topic: str, name: str, value: str) -> None: ...
    def delete_records(self, partition: TopicPartition, before_offset: int) -> int: ...
    def list_groups(self) -> set[str]: ...
    def describe_group(self, group: str) -> GroupDescription: ...
    def group_offsets(self, group: str) -> dict[TopicPartition, int]: ...


class GroupAdmin(Admin, Protocol):
    """What confluent-kafka's and kafka-python's admin clients have beyond aiokafka's."""

    def list_offset(self, partition: TopicPartition, timestamp: int) -> int: ...
    def delete_group(self, group: str) -> None: ...


class Producer(AbstractContextManager["Producer"], Protocol):
    def send(self, topic: str, messages: Iterable[Message], *, deadline_s: float = 60.0) -> list[Placed]:
        """Send all and wait for every acknowledgement; KafkaFailure with the first error."""


class TransactionalProducer(AbstractContextManager["TransactionalProducer"], Protocol):
    """A producer whose transactional id is its own from the moment it is made (``initTransactions`` is done).

    Its calls raise KafkaFailure; ``is_fenced`` says whether that was because of a later owner of the id.
    """

    def begin(self) -> None: ...
    def send(self, topic: str, messages: Iterable[Message], *, deadline_s: float = 60.0) -> list[Placed]:
        """As any producer's, within the transaction that was begun."""

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: object) -> None:
        """Commit a group's offsets with the transaction; ``group`` is what its consumer's ``group_metadata`` gave."""

    def commit(self) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class Consumer(AbstractContextManager["Consumer"], Protocol):
    def subscribe(self, *topics: str) -> None: ...
    def assign(self, *partitions: TopicPartition) -> None: ...
    def assignment(self) -> set[TopicPartition]: ...
    def poll(self, timeout_s: float = 0.1) -> list[Consumed]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def seek_to_beginning(self, partition: TopicPartition) -> None: ...
    def seek_to_end(self, partition: TopicPartition) -> None: ...
    def position(self, partition: TopicPartition) -> int: ...
    def offset_for_time(self, partition: TopicPartition, timestamp_ms: int) -> int | None: ...
    def beginning_offset(self, partition: TopicPartition) -> int: ...
    def end_offset(self, partition: TopicPartition) -> int: ...
    def commit(self) -> None: ...
    def committed(self, partition: TopicPartition) -> int | None: ...
    def group_metadata(self) -> object:
        """Who the consumer is in its group, for a transactional producer of the same library."""

    def close(self) -> None: ...


class Client(Protocol):
    @property
    def name(self) -> str: ...
    def admin(self, bootstrap_server: str) -> Admin: ...
    def producer(self, bootstrap_server: str, settings: Mapping[str, Setting] | None = None) -> Producer: ...
    def transactional_producer(
        self, bootstrap_server: str, transactional_id: str, settings: Mapping[str, Setting] | None = None
    ) -> TransactionalProducer: ...
    def consumer(
        self, bootstrap_server: str, group: str | None = None, settings: Mapping[str, Setting] | None = None
    ) -> Consumer: ...


class Closing:
    """``with`` for the adapters: leaving it closes them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise AssertionError("every adapter closes its own client")


def poll_until(
    action: Callable[[], ValueT],
    accept: Callable[[ValueT], bool],
    *,
    deadline_s: float = 30.0,
    pause_s: float = 0.02,
    what: str = "the expected state",
) -> ValueT:
    """Repeat ``action`` until ``accept`` likes its result; AssertionError with the last result after the deadline."""
    deadline = time.monotonic() + deadline_s
    while True:
        result = action()
        if accept(result):
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {deadline_s} s; last seen: {result!r}")
        time.sleep(pause_s)


def consume(consumer: Consumer, count: int, *, deadline_s: float = 30.0) -> list[Consumed]:
    """Poll until ``count`` records or more have come; AssertionError says how many came by the deadline."""
    records: list[Consumed] = []
    deadline = time.monotonic() + deadline_s
    while len(records) < count:
        records += consumer.poll(0.5)
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{len(records)} of {count} records came within {deadline_s} s: {records[-3:]!r}"
            )
    return records
