"""Checks of transactions: what readers saw of them, whether they are whole, and each input consumed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.anomalies.consumers import group_reads
from tests.anomalies.evidence import Anomaly, Evidence, Kind, Partition, gone_by_retention
from tests.anomalies.history import FinalRead, Operation, Poll, Position, Send, Transaction


def anomalies(evidence: Evidence) -> Iterator[Anomaly]:
    yield from _aborted_reads(evidence)
    yield from _torn(evidence)
    yield from _inputs(evidence)


def _aborted_reads(evidence: Evidence) -> Iterator[Anomaly]:
    """read_committed shows no record of a transaction that was not committed, or not yet."""
    reported: set[str] = set()
    operations: list[Poll | FinalRead] = [*evidence.polls, *evidence.finals]
    for operation in operations:
        if operation.isolation != "read_committed":
            continue
        for record in operation.records:
            send = evidence.sends.get(record.value)
            if send is None or send.transaction is None or record.value in reported:
                continue
            transaction = evidence.transactions.get(send.transaction)
            early = isinstance(operation, Poll) and _before_its_commit(operation, transaction)
            if transaction is None or transaction.outcome in ("open", "aborted") or early:
                reported.add(record.value)
                state = (
                    "not yet committed" if early else transaction.outcome if transaction else "never begun"
                )
                place = f"{record.topic}-{record.partition}@{record.offset}"
                explanation = (
                    f"{record.value!r} at {place} was read, transaction {send.transaction} is {state}"
                )
                shown: tuple[Operation, ...] = (
                    (send, operation) if transaction is None else (transaction, send, operation)
                )
                yield Anomaly(Kind.ABORTED_READ, explanation, shown)


def _before_its_commit(poll: Poll, transaction: Transaction | None) -> bool:
    return (
        transaction is not None
        and transaction.commit_begun is not None
        and poll.ended < transaction.commit_begun
    )


def _torn(evidence: Evidence) -> Iterator[Anomaly]:
    """All records of a transaction are visible, or none; all if its commit was acknowledged."""
    for transaction in evidence.transactions.values():
        if transaction.outcome in ("open", "aborted"):
            continue
        sends = [send for send in evidence.sends_of[transaction.id] if _must_count(evidence, send)]
        missing = [send for send in sends if send.value not in evidence.committed_values]
        if len(missing) == len(sends):
            # What was acknowledged of it is missed as a lost write already.
            if transaction.outcome == "committed" and missing and missing[0].outcome != "ok":
                explanation = f"transaction {transaction.id} was committed, and none of it is visible"
                yield Anomaly(Kind.LOST_WRITE, explanation, (transaction, *missing[:3]))
        elif missing:
            explanation = (
                f"{len(missing)} of {len(sends)} records of transaction {transaction.id} are not visible"
            )
            present = next(send for send in sends if send.value in evidence.committed_values)
            yield Anomaly(Kind.TORN_TRANSACTION, explanation, (transaction, present, *missing[:3]))


def _must_count(evidence: Evidence, send: Send) -> bool:
    """Whether a record that is visible at all would be in a read_committed final read."""
    finals = [
        final
        for final in evidence.finals_of((send.topic, send.partition), "read_committed")
        if final.isolation == "read_committed"
    ]
    return (
        send.outcome != "failed"
        and bool(finals)
        and not any(gone_by_retention(send, final) for final in finals)
    )


def _inputs(evidence: Evidence) -> Iterator[Anomaly]:
    """Each input record belongs to exactly one transaction in effect, and only those move the group's offsets."""
    consumed: defaultdict[tuple[str, Position], list[Transaction]] = defaultdict(list)
    starts: dict[tuple[str, Partition], int] = {}
    for transaction in evidence.transactions.values():
        if transaction.group is not None and transaction.inputs:
            for place in transaction.inputs:
                key = (transaction.group, place[:2])
                starts[key] = min(place.offset, starts.get(key, place.offset))
            if _may_be_in_effect(evidence, transaction):
                for place in transaction.inputs:
                    consumed[transaction.group, place].append(transaction)
    for (group, place), transactions in consumed.items():
        certain = [each for each in transactions if _in_effect(evidence, each)]
        if len(certain) > 1:
            explanation = f"{group} consumed {_at(place)} in {' and '.join(each.id for each in certain)}"
            yield Anomaly(Kind.CONSUMED_TWICE, explanation, tuple(certain))
        known = evidence.final_offsets.get((group, place[:2]))
        if certain and known is not None and place.offset >= known[0]:
            explanation = (
                f"transaction {certain[0].id} is in effect and consumed {_at(place)}, "
                f"but {group} has committed {known[0]}"
            )
            yield Anomaly(Kind.TORN_TRANSACTION, explanation, (certain[0], known[1]))
    yield from _not_consumed(evidence, starts, set(consumed))


def _not_consumed(
    evidence: Evidence, starts: dict[tuple[str, Partition], int], consumed: set[tuple[str, Position]]
) -> Iterator[Anomaly]:
    """starts: the lowest offset that a transaction of the group had to do with, of those that consume at all."""
    reads = group_reads(evidence)
    consuming = {group for group, _ in starts}
    for (group, partition), (committed, fetched) in evidence.final_offsets.items():
        if group not in consuming:
            continue
        start = starts.get((group, partition), committed)
        stood_at = reads[group, partition].start
        start = start if stood_at is None else min(start, stood_at)
        for offset, value in evidence.visible(partition, "read_committed").between(start, committed):
            if (group, Position(*partition, offset)) not in consumed:
                explanation = (
                    f"{group} has committed {committed} of {partition[0]}-{partition[1]}, "
                    f"and no transaction in effect consumed {value!r} at {offset}"
                )
                yield Anomaly(Kind.NOT_CONSUMED, explanation, (fetched,))


def _in_effect(evidence: Evidence, transaction: Transaction) -> bool:
    if transaction.outcome == "unknown":
        return any(send.value in evidence.committed_values for send in evidence.sends_of[transaction.id])
    return transaction.outcome == "committed"


def _may_be_in_effect(evidence: Evidence, transaction: Transaction) -> bool:
    """Without output that could be looked for, an unknown commit may have happened."""
    traceless = not any(_must_count(evidence, send) for send in evidence.sends_of[transaction.id])
    return _in_effect(evidence, transaction) or (transaction.outcome == "unknown" and traceless)


def _at(place: Position) -> str:
    return f"{place.topic}-{place.partition}@{place.offset}"
