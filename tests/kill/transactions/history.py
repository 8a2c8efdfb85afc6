"""What was observed in a kill test with transactions, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Self

from tests.kill.history import History


class Output(NamedTuple):
    """A worker's output record: the input's number, and the transaction that wrote it.

    ``size`` is the number of records that the transaction writes in all, over both topics, so that a reader can tell a
    torn transaction from a whole one.
    """

    number: int
    transaction: str
    size: int

    def encode(self) -> bytes:
        return f"{self.number}|{self.transaction}|{self.size}".encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        number, transaction, size = value.decode().split("|")
        return cls(int(number), transaction, int(size))


class Place(NamedTuple):
    """Where an output record is."""

    topic: str
    partition: int
    offset: int


class Visible(NamedTuple):
    """An output record that a read_committed consumer got."""

    place: Place
    output: Output


@dataclass
class TransactionHistory:
    """Everything that was observed.

    input: what the filling producer saw, and the whole input topic.
    committed, aborted: the transactions whose end the broker acknowledged to a worker.
    left_open: transactions that nobody ended, so that the broker had to abort them.
    seen: what a read_committed reader got while all of this went on, in its order.
    output: what read_committed gives at the end, from the start of every partition.
    group_offsets: what the group had committed at the end, by input partition.
    hanging: output partitions whose last stable offset never reached the end: (offset, end).
    unexpected: ends of workers that nobody had killed or replaced.
    """

    input: History = field(default_factory=History)
    committed: set[str] = field(default_factory=set)
    aborted: set[str] = field(default_factory=set)
    left_open: set[str] = field(default_factory=set)
    seen: list[Visible] = field(default_factory=list)
    output: list[Visible] = field(default_factory=list)
    group_offsets: dict[int, int] = field(default_factory=dict)
    hanging: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
