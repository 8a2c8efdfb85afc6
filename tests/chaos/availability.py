"""What the producers' acknowledgements tell of outages: plain computations on a history."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.anomalies.history import (
    CommitOffsets,
    FetchOffsets,
    Operation,
    Poll,
    Send,
    Transaction,
)

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Outage:
    """The longest time within a window in which a partition acknowledged nothing."""

    seconds: float
    partition: Partition | None


class Acknowledgements:
    """When each partition acknowledged plain sends, in order of time."""

    def __init__(self, history: Iterable[Operation]) -> None:
        self._times: defaultdict[Partition, list[float]] = defaultdict(list)
        for operation in history:
            if (
                isinstance(operation, Send)
                and operation.outcome == "ok"
                and operation.ended is not None
                and operation.transaction is None
            ):
                self._times[operation.topic, operation.partition].append(operation.ended)
        for times in self._times.values():
            times.sort()

    def longest_outage(self, began: float, ended: float) -> Outage:
        """Between two instants, for the partition that it was worst for."""
        worst = Outage(0.0, None)
        for partition, times in self._times.items():
            low, high = bisect_left(times, began), bisect_right(times, ended)
            inside = [began, *times[low:high], ended]
            longest = max(after - before for before, after in pairwise(inside))
            if longest > worst.seconds:
                worst = Outage(longest, partition)
        return worst


def summary(history: Sequence[Operation], seconds: float) -> str:
    """How much was done, in a few lines."""
    outcomes = Counter[str](send.outcome for send in history if isinstance(send, Send))
    ends = Counter[str](each.outcome for each in history if isinstance(each, Transaction))
    polls = [operation for operation in history if isinstance(operation, Poll)]
    read = sum(len(poll.records) for poll in polls)
    commits = sum(isinstance(operation, CommitOffsets) for operation in history)
    fetched = sum(isinstance(operation, FetchOffsets) for operation in history)
    sent = sum(outcomes.values())
    return "\n".join(
        [
            f"sends: {sent} ({_counts(outcomes)}), {outcomes['ok'] / seconds:.0f} acknowledged a second",
            f"transactions: {sum(ends.values())} ({_counts(ends)})",
            f"polls: {len(polls)} with {read} records; offsets committed {commits} times, fetched {fetched} times",
        ]
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items())) or "none"
