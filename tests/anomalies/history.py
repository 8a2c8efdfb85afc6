"""Operations of concurrent clients, and the files that they are kept in.

A history is a list of operations. Those of one process stand in its program order; processes may be mixed in any way.
Times are seconds of one clock that all processes share (virtual time, or the machine's monotonic clock).

A client that can die in the middle of an operation records it twice: when it begins (outcome ``unknown``, ``ended``
None) and when it ends. ``latest`` keeps the later one of every Send (by value) and Transaction (by id) in the
place of the earlier one, so that a death leaves the cautious one. Everything else is recorded once, when it has ended.

    Send, Transaction      producers
    Assigned, Poll         consumers; a consumer's positions are continuous from one Assigned to the next
    CommitOffsets,         what a group's coordinator was told, and what it answered; an answer without a
      FetchOffsets         committed offset is left out
    FinalRead              a whole partition, read after everything was healed, to its end
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Self

SendOutcome = Literal["ok", "failed", "unknown"]
TransactionOutcome = Literal["open", "unknown", "committed", "aborted"]
Isolation = Literal["read_uncommitted", "read_committed"]


class Record(NamedTuple):
    """A record that somebody got."""

    topic: str
    partition: int
    offset: int
    value: str


class Position(NamedTuple):
    """An offset of a partition: of a record, or the next one to be read."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One record given to a producer.

    value: unique in the whole history, over attempts too: a transaction that is done again sends other values.
    outcome: ``failed`` promises that the record never becomes visible; after anything less certain it is ``unknown``.
    producer, sequence: the idempotent producer and the place of this send among its sends. sequence is None where no
    order is promised (no idempotence).
    transaction: the id of its Transaction.
    acks_all: with less, an acknowledged record may be lost and its offset used again.
    """

    process: str
    begun: float
    ended: float | None
    topic: str
    partition: int
    value: str
    outcome: SendOutcome
    producer: str
    sequence: int | None = None
    offset: int | None = None
    transaction: str | None = None
    acks_all: bool = True

    def __str__(self) -> str:
        answer = f"ok at {self.offset}" if self.outcome == "ok" else self.outcome
        within = f" in transaction {self.transaction}" if self.transaction else ""
        place = f"{self.topic}-{self.partition}"
        return f"send {self.value!r} to {place}{within} by {self.producer} [{_span(self)}]: {answer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction of a producer; its sends name it.

    outcome: ``open`` until its producer is told to commit (recorded when it begins; it must never become visible),
    ``unknown`` from then on, until the commit or the abort is acknowledged. A producer commits only when all sends
    succeeded, so that all of them count but those that ``failed``.
    commit_begun: when the commit was asked for.
    group, inputs: of consume-transform-produce, the input records that were consumed; their offsets are committed in
    the transaction.
    """

    id: str
    process: str
    begun: float
    ended: float | None
    outcome: TransactionOutcome
    commit_begun: float | None = None
    group: str | None = None
    inputs: tuple[Position, ...] = ()

    def __str__(self) -> str:
        return f"transaction {self.id} of {self.process} [{_span(self)}]: {self.outcome}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A consumer's partitions and positions changed: assignment, rebalance, seek. It replaces all positions.

    positions: the partitions that it has now, with the offset of the next record; None where that is not known.
    """

    process: str
    at: float
    positions: tuple[tuple[str, int, int | None], ...] = ()
    group: str | None = None

    def __str__(self) -> str:
        return f"{self.process} was assigned {list(self.positions)} at {self.at:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """Records that a consumer got, in its order. It is recorded before their offsets are committed.

    positions: where the consumer stands behind them, if that is known: it tells of skipped records at the end.
    """

    process: str
    begun: float
    ended: float
    isolation: Isolation
    records: tuple[Record, ...]
    group: str | None = None
    positions: tuple[Position, ...] = ()

    def __str__(self) -> str:
        return f"poll of {self.process} [{_span(self)}], {len(self.records)} records, {self.isolation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOffsets:
    """A group member committed positions outside transactions; ``failed`` means certainly not in effect."""

    process: str
    begun: float
    ended: float | None
    group: str
    positions: tuple[Position, ...]
    outcome: SendOutcome

    def __str__(self) -> str:
        return f"commit of {self.process} [{_span(self)}] for {self.group}: {self.outcome}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOffsets:
    """What the coordinator said that a group had committed. ``final``: asked after everything was healed."""

    process: str
    begun: float
    ended: float
    group: str
    positions: tuple[Position, ...]
    final: bool = False

    def __str__(self) -> str:
        return f"offsets of {self.group} fetched by {self.process} [{_span(self)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalRead:
    """Everything in a partition after everything was healed, read from log_start on until nothing more was coming.

    end: the offset up to which it was read: the high watermark, or with read_committed the last stable offset.
    """

    topic: str
    partition: int
    isolation: Isolation
    records: tuple[Record, ...]
    log_start: int
    end: int
    high_watermark: int

    def __str__(self) -> str:
        return (
            f"final read of {self.topic}-{self.partition}, {self.isolation}: "
            f"{len(self.records)} records in {self.log_start} to {self.end}, high watermark {self.high_watermark}"
        )


Operation = Send | Transaction | Assigned | Poll | CommitOffsets | FetchOffsets | FinalRead

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Send, Transaction, Assigned, Poll, CommitOffsets, FetchOffsets, FinalRead)
}
_ROWS: dict[tuple[str, str], Any] = {
    ("Transaction", "inputs"): Position._make,
    ("Assigned", "positions"): tuple,
    ("Poll", "records"): Record._make,
    ("Poll", "positions"): Position._make,
    ("CommitOffsets", "positions"): Position._make,
    ("FetchOffsets", "positions"): Position._make,
    ("FinalRead", "records"): Record._make,
}


def latest(operations: Iterable[Operation]) -> list[Operation]:
    """The history with every Send and Transaction once, as it was last recorded."""
    found: list[Operation] = []
    index: dict[tuple[str, str], int] = {}
    for operation in operations:
        if isinstance(operation, Send):
            key = ("send", operation.value)
        elif isinstance(operation, Transaction):
            key = ("transaction", operation.id)
        else:
            found.append(operation)
            continue
        place = index.setdefault(key, len(found))
        if place == len(found):
            found.append(operation)
        else:
            found[place] = operation
    return found


def encode(operation: Operation) -> str:
    """One line of JSON, without its line feed."""
    content = {field.name: getattr(operation, field.name) for field in fields(operation)}
    return json.dumps({"kind": type(operation).__name__, **content}, separators=(",", ":"))


def decode(line: str) -> Operation:
    """The operation of a line that ``encode`` made."""
    read: dict[str, Any] = json.loads(line)
    name = read.pop("kind")
    for field in fields(_KINDS[name]):
        make = _ROWS.get((name, field.name))
        if make is not None:
            read[field.name] = tuple(make(row) for row in read[field.name])
    made: Operation = _KINDS[name](**read)
    return made


class HistoryFile:
    """One life of a process, line by line in a new file; each line is with the kernel when ``write`` returns."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("x", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, *operations: Operation) -> None:
        self._file.write("".join(f"{encode(operation)}\n" for operation in operations))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_history(paths: Sequence[Path]) -> list[Operation]:
    """The operations of several files. A last line that a death cut short did not happen."""
    return latest(operation for path in paths for operation in _read(path))


def _read(path: Path) -> Iterator[Operation]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield decode(line)


def _span(operation: Send | Transaction | Poll | CommitOffsets | FetchOffsets) -> str:
    ended = "never" if operation.ended is None else f"{operation.ended:.3f}"
    return f"{operation.begun:.3f} to {ended}"
