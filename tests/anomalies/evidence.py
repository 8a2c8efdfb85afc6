"""A history, indexed for the checks; and what a check finds."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from tests.anomalies.history import (
    Assigned,
    CommitOffsets,
    FetchOffsets,
    FinalRead,
    Isolation,
    Operation,
    Poll,
    Position,
    Record,
    Send,
    Transaction,
    latest,
)

Partition = tuple[str, int]


class Kind(StrEnum):
    """What must not happen. Most names are those of Jepsen's Kafka workload."""

    LOST_WRITE = "lost write"
    VANISHED = "vanished record"
    DUPLICATE = "duplicate"
    INCONSISTENT_OFFSET = "inconsistent offset"
    PHANTOM = "phantom record"
    FAILED_WRITE = "failed write visible"
    ABORTED_READ = "aborted read"
    NON_MONOTONIC_POLL = "non-monotonic poll"
    NON_MONOTONIC_SEND = "non-monotonic send"
    UNSEEN = "unseen record"
    TORN_TRANSACTION = "torn transaction"
    HANGING_TRANSACTION = "hanging transaction"
    CONSUMED_TWICE = "input consumed twice"
    NOT_CONSUMED = "input not consumed"
    COMMIT_REGRESS = "commit regress"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One finding, and the operations that show it."""

    kind: Kind
    explanation: str
    operations: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.kind}: {self.explanation}", *map(str, self.operations)])


@dataclass(frozen=True, slots=True)
class Witness:
    """That somebody saw, or was told, that a value is at a place."""

    record: Record
    operation: Send | Poll | FinalRead

    @property
    def place(self) -> Position:
        return Position(*self.record[:3])


class Evidence:
    """Indexes of one history; several final reads of a partition (of its replicas, say) are all believed."""

    def __init__(self, history: Iterable[Operation]) -> None:
        self.sends: dict[str, Send] = {}
        self.transactions: dict[str, Transaction] = {}
        self.sends_of: defaultdict[str, list[Send]] = defaultdict(list)
        self.consumers: defaultdict[str, list[Assigned | Poll]] = defaultdict(list)
        self.commits: list[CommitOffsets] = []
        self.fetched: list[FetchOffsets] = []
        self.finals: list[FinalRead] = []
        for operation in latest(history):
            match operation:
                case Send():
                    self.sends[operation.value] = operation
                    if operation.transaction is not None:
                        self.sends_of[operation.transaction].append(operation)
                case Transaction():
                    self.transactions[operation.id] = operation
                case Assigned() | Poll():
                    self.consumers[operation.process].append(operation)
                case CommitOffsets():
                    self.commits.append(operation)
                case FetchOffsets():
                    self.fetched.append(operation)
                case FinalRead():
                    self.finals.append(operation)

    @property
    def polls(self) -> Iterator[Poll]:
        for operations in self.consumers.values():
            yield from (operation for operation in operations if isinstance(operation, Poll))

    @cached_property
    def witnesses(self) -> list[Witness]:
        """All, final reads first. An acknowledgement with less than acks=all binds nobody to its offset."""
        found = [Witness(record, final) for final in self.finals for record in final.records]
        found += [
            Witness(Record(send.topic, send.partition, send.offset, send.value), send)
            for send in self.sends.values()
            if send.outcome == "ok" and send.acks_all and send.offset is not None
        ]
        found += [Witness(record, poll) for poll in self.polls for record in poll.records]
        return found

    @cached_property
    def by_place(self) -> dict[Position, list[Witness]]:
        index: defaultdict[Position, list[Witness]] = defaultdict(list)
        for witness in self.witnesses:
            index[witness.place].append(witness)
        return index

    @cached_property
    def by_value(self) -> dict[str, list[Witness]]:
        index: defaultdict[str, list[Witness]] = defaultdict(list)
        for witness in self.witnesses:
            index[witness.record.value].append(witness)
        return index

    def finals_of(self, partition: Partition, isolation: Isolation) -> list[FinalRead]:
        """The final reads that show everything which a reader of ``isolation`` may see."""
        return self._finals_by_partition[partition, isolation]

    @cached_property
    def _finals_by_partition(self) -> defaultdict[tuple[Partition, Isolation], list[FinalRead]]:
        index: defaultdict[tuple[Partition, Isolation], list[FinalRead]] = defaultdict(list)
        for final in self.finals:
            partition = (final.topic, final.partition)
            index[partition, final.isolation].append(final)
            if final.isolation == "read_uncommitted":
                index[partition, "read_committed"].append(final)
        return index

    def visible(self, partition: Partition, isolation: Isolation) -> VisibleOffsets:
        """What is in a partition at the end for readers of ``isolation``, as far as final reads tell."""
        return self._visible[partition, isolation]

    @cached_property
    def _visible(self) -> defaultdict[tuple[Partition, Isolation], VisibleOffsets]:
        values: defaultdict[tuple[Partition, Isolation], dict[int, str]] = defaultdict(dict)
        for final in self.finals:
            partition = (final.topic, final.partition)
            for record in final.records:
                values[partition, "read_uncommitted"][record.offset] = record.value
                if final.isolation == "read_committed" or self.is_committed(record.value):
                    values[partition, "read_committed"][record.offset] = record.value
        made = {key: VisibleOffsets(found) for key, found in values.items()}
        return defaultdict(lambda: VisibleOffsets({}), made)

    @cached_property
    def committed_values(self) -> frozenset[str]:
        """Everything that a read_committed final read has."""
        return frozenset(
            record.value
            for final in self.finals
            if final.isolation == "read_committed"
            for record in final.records
        )

    def is_committed(self, value: str) -> bool:
        """Whether a record is certainly meant to be visible: outside transactions, or of a committed one."""
        send = self.sends.get(value)
        if send is None or send.transaction is None:
            return True
        transaction = self.transactions.get(send.transaction)
        return transaction is not None and transaction.outcome == "committed"

    @cached_property
    def final_offsets(self) -> dict[tuple[str, Partition], tuple[int, FetchOffsets]]:
        """By group and partition: the last committed offset that was fetched after everything was healed."""
        found: dict[tuple[str, Partition], tuple[int, FetchOffsets]] = {}
        for fetched in sorted(self.fetched, key=lambda each: each.begun):
            if fetched.final:
                for position in fetched.positions:
                    found[fetched.group, position[:2]] = (position.offset, fetched)
        return found


class VisibleOffsets:
    """The records of a partition in the order of their offsets."""

    def __init__(self, values: dict[int, str]) -> None:
        self._values = values
        self._offsets = sorted(values)

    def between(self, start: int, end: int) -> list[tuple[int, str]]:
        """Offset and value of the records from start up to (not including) end."""
        low, high = bisect_left(self._offsets, start), bisect_left(self._offsets, end)
        return [(offset, self._values[offset]) for offset in self._offsets[low:high]]


def gone_by_retention(send: Send, final: FinalRead) -> bool:
    """Whether a record of the send might have been removed from the beginning of the log in good order."""
    if send.outcome == "ok" and send.offset is not None:
        return send.offset < final.log_start
    return final.log_start > 0
