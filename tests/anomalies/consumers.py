"""Checks of consumers and groups: positions that go back, records that are passed over, commits that go back."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from tests.anomalies.evidence import Anomaly, Evidence, Kind, Partition
from tests.anomalies.history import (
    Assigned,
    CommitOffsets,
    FetchOffsets,
    Isolation,
    Poll,
    Position,
    Record,
    Transaction,
)


def anomalies(evidence: Evidence) -> Iterator[Anomaly]:
    for operations in evidence.consumers.values():
        yield from _Consumer(evidence).follow(operations)
    yield from _final_reads(evidence)
    yield from _unseen_by_groups(evidence)
    yield from _commit_regress(evidence)


class _Consumer:
    """Follows one consumer. Per partition: the next offset, and the operation by which it came to stand there."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._next: dict[Partition, tuple[int, Assigned | Poll]] = {}

    def follow(self, operations: list[Assigned | Poll]) -> Iterator[Anomaly]:
        for operation in operations:
            if isinstance(operation, Assigned):
                self._next = {
                    (topic, partition): (offset, operation)
                    for topic, partition, offset in operation.positions
                    if offset is not None
                }
                continue
            for record in operation.records:
                yield from self._advance(operation, record[:2], record.offset, record)
                self._next[record[:2]] = (record.offset + 1, operation)
            for position in operation.positions:
                yield from self._advance(operation, position[:2], position.offset, None)
                self._next[position[:2]] = (position.offset, operation)

    def _advance(
        self, poll: Poll, partition: Partition, offset: int, record: Record | None
    ) -> Iterator[Anomaly]:
        if partition not in self._next:
            return
        expected, since = self._next[partition]
        operations = (since,) if since is poll else (since, poll)
        if offset < expected:
            got = "stands at" if record is None else "got"
            explanation = (
                f"{poll.process} {got} offset {offset} of {partition[0]}-{partition[1]} behind {expected - 1}"
            )
            yield Anomaly(Kind.NON_MONOTONIC_POLL, explanation, operations)
        for missed, value in self._evidence.visible(partition, poll.isolation).between(expected, offset):
            explanation = (
                f"{poll.process} went from offset {expected} to {offset} of {partition[0]}-{partition[1]} "
                f"past {value!r} at {missed}"
            )
            yield Anomaly(Kind.UNSEEN, explanation, operations)


def _final_reads(evidence: Evidence) -> Iterator[Anomaly]:
    for final in evidence.finals:
        expected = final.log_start
        for record in final.records:
            if not expected <= record.offset < final.high_watermark:
                explanation = (
                    f"the final read of {final.topic}-{final.partition} got offset {record.offset} where "
                    f"{expected} to {final.high_watermark - 1} may come"
                )
                yield Anomaly(Kind.NON_MONOTONIC_POLL, explanation, (final,))
            expected = record.offset + 1
        if final.end < final.high_watermark:
            explanation = (
                f"{final.topic}-{final.partition} can be read to {final.end} only, "
                f"the high watermark is {final.high_watermark}"
            )
            yield Anomaly(Kind.HANGING_TRANSACTION, explanation, (final,))


@dataclass(slots=True)
class GroupReads:
    """What a group's members read of one partition: the lowest place that one of them stood at, and the records."""

    start: int | None = None
    offsets: set[int] = field(default_factory=set)
    isolation: Isolation = "read_uncommitted"

    def stood_at(self, offset: int) -> None:
        self.start = offset if self.start is None else min(self.start, offset)


def group_reads(evidence: Evidence) -> defaultdict[tuple[str, Partition], GroupReads]:
    """By group and partition."""
    reads: defaultdict[tuple[str, Partition], GroupReads] = defaultdict(GroupReads)
    for operations in evidence.consumers.values():
        for operation in operations:
            if operation.group is None:
                continue
            if isinstance(operation, Assigned):
                for topic, partition, position in operation.positions:
                    if position is not None:
                        reads[operation.group, (topic, partition)].stood_at(position)
                continue
            for record in operation.records:
                read = reads[operation.group, record[:2]]
                read.stood_at(record.offset)
                read.offsets.add(record.offset)
                read.isolation = operation.isolation
    return reads


def _unseen_by_groups(evidence: Evidence) -> Iterator[Anomaly]:
    """Some member got every record that lies below the group's committed offset."""
    reads = group_reads(evidence)
    for (group, partition), (committed, fetched) in evidence.final_offsets.items():
        read = reads[group, partition]
        if read.start is None:
            continue
        for offset, value in evidence.visible(partition, read.isolation).between(read.start, committed):
            if offset not in read.offsets:
                explanation = (
                    f"no member of {group} got {value!r} at {partition[0]}-{partition[1]}@{offset}, "
                    f"and {committed} is committed"
                )
                yield Anomaly(Kind.UNSEEN, explanation, (fetched,))


def _commit_regress(evidence: Evidence) -> Iterator[Anomaly]:
    """Who commits, or asks, after a commit was acknowledged is not behind it: nobody rewinds a group."""
    acknowledged: defaultdict[tuple[str, Partition], list[_Told]] = defaultdict(list)
    observed: defaultdict[tuple[str, Partition], list[_Told]] = defaultdict(list)
    operations: list[CommitOffsets | FetchOffsets | Transaction] = [*evidence.commits, *evidence.fetched]
    for operation in (*operations, *evidence.transactions.values()):
        group, begun, positions, in_effect = _offsets(operation)
        for position in positions:
            key = (group, position[:2])
            if in_effect and operation.ended is not None and not isinstance(operation, FetchOffsets):
                acknowledged[key].append(_Told(operation.ended, position.offset, operation))
            if in_effect:
                observed[key].append(_Told(begun, position.offset, operation))
    for key, commits in acknowledged.items():
        commits.sort(key=lambda told: told.at)
        furthest = list(accumulate(commits, _further))
        for told in observed[key]:
            before = bisect_left(commits, told.at, key=lambda each: each.at)
            if before and told.offset < furthest[before - 1].offset:
                group, (topic, partition) = key
                explanation = (
                    f"{group} was at {furthest[before - 1].offset} of {topic}-{partition} "
                    f"and is at {told.offset} later"
                )
                yield Anomaly(
                    Kind.COMMIT_REGRESS, explanation, (furthest[before - 1].operation, told.operation)
                )


def _further(one: _Told, other: _Told) -> _Told:
    return one if one.offset >= other.offset else other


class _Told(NamedTuple):
    """A group's offset: acknowledged by then, or asked for from then on."""

    at: float
    offset: int
    operation: CommitOffsets | FetchOffsets | Transaction


def _offsets(
    operation: CommitOffsets | FetchOffsets | Transaction,
) -> tuple[str, float, Iterable[Position], bool]:
    """Group, beginning, positions, and whether they are certainly in effect."""
    match operation:
        case CommitOffsets():
            return operation.group, operation.begun, operation.positions, operation.outcome == "ok"
        case FetchOffsets():
            return operation.group, operation.begun, operation.positions, True
        case Transaction():
            behind: dict[Partition, int] = {}
            for topic, partition, offset in operation.inputs:
                behind[topic, partition] = max(offset + 1, behind.get((topic, partition), 0))
            positions = [Position(*partition, offset) for partition, offset in behind.items()]
            began = operation.begun if operation.commit_begun is None else operation.commit_begun
            return operation.group or "", began, positions, operation.outcome == "committed"
