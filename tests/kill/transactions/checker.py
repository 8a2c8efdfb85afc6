"""Looks for what must not happen, in the history of a kill test with transactions; every finding is one line."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.kill.checker import anomalies as plain_anomalies
from tests.kill.transactions.history import TransactionHistory, Visible


def anomalies(history: TransactionHistory) -> list[str]:
    """All findings; an empty list is a clean run."""
    return [
        *history.unexpected,
        *(f"input: {finding}" for finding in plain_anomalies(history.input)),
        *_hanging(history),
        *_not_exactly_once(history),
        *_out_of_order(history),
        *_torn(history),
        *_wrongly_decided(history),
        *_seen_otherwise(history),
        *_offsets_apart_from_output(history),
    ]


def _topics(history: TransactionHistory) -> dict[str, list[Visible]]:
    """Records by topic in the order of partition and offset."""
    topics: defaultdict[str, list[Visible]] = defaultdict(list)
    for visible in sorted(history.output):
        topics[visible.place.topic].append(visible)
    return topics


def _hanging(history: TransactionHistory) -> Iterator[str]:
    for (topic, partition), (offset, end) in history.hanging.items():
        yield f"hanging: the last stable offset of {topic}-{partition} stays at {offset}, the end is {end}"


def _not_exactly_once(history: TransactionHistory) -> Iterator[str]:
    numbers = {int(seen.value) for seen in history.input.log}
    topics = _topics(history)
    if numbers and len(topics) != 2:
        yield f"missing: there is output in {sorted(topics)} only"
    for topic, records in topics.items():
        counts = Counter(visible.output.number for visible in records)
        places: defaultdict[int, list[Visible]] = defaultdict(list)
        for visible in records:
            places[visible.output.number].append(visible)
        for number in sorted(numbers - counts.keys()):
            yield f"missing: {number} of the input is not in {topic}"
        for number in sorted(counts.keys() - numbers):
            yield f"invented: {number} in {topic} was never in the input ({places[number][0]})"
        for number, count in counts.items():
            if count > 1:
                yield f"duplicate: {number} is in {topic} {count} times: {places[number]}"


def _out_of_order(history: TransactionHistory) -> Iterator[str]:
    """Within an output partition, numbers of one input partition come in the input's order."""
    source = {int(seen.value): seen.place for seen in history.input.log}
    newest: dict[tuple[str, int, int], Visible] = {}
    for visible in sorted(history.output):
        came_from = source.get(visible.output.number)
        if came_from is None:
            continue
        stream = (visible.place.topic, visible.place.partition, came_from.partition)
        before = newest.get(stream)
        if before is not None and source[before.output.number].offset > came_from.offset:
            yield f"reordered: {visible} stands behind {before}"
        newest[stream] = visible


def _torn(history: TransactionHistory) -> Iterator[str]:
    """All records of a transaction are visible, or none."""
    found = Counter(visible.output.transaction for visible in history.output)
    sizes = {visible.output.transaction: visible.output.size for visible in history.output}
    for transaction, count in found.items():
        if count != sizes[transaction]:
            yield f"torn: {count} of {sizes[transaction]} records of transaction {transaction} are visible"


def _wrongly_decided(history: TransactionHistory) -> Iterator[str]:
    visible = {record.output.transaction for record in history.output}
    for transaction in sorted(history.committed - visible):
        yield f"lost: the commit of transaction {transaction} was acknowledged, and none of it is visible"
    for transaction in sorted(history.aborted & visible):
        yield f"aborted: transaction {transaction} was aborted, and is visible"
    for transaction in sorted(history.left_open & visible):
        yield f"aborted: transaction {transaction} was never ended by its producer, and is visible"


def _seen_otherwise(history: TransactionHistory) -> Iterator[str]:
    """What a read_committed reader saw meanwhile is the beginning of what is there in the end, without a gap."""
    final: defaultdict[tuple[str, int], list[Visible]] = defaultdict(list)
    for visible in sorted(history.output):
        final[visible.place[:2]].append(visible)
    position: Counter[tuple[str, int]] = Counter()
    differing: set[tuple[str, int]] = set()
    for visible in history.seen:
        partition = visible.place[:2]
        expected = final[partition][position[partition] : position[partition] + 1]
        if expected != [visible] and partition not in differing:
            differing.add(partition)
            yield f"changed: a reader saw {visible} where at the end there is {expected}"
        position[partition] += 1


def _offsets_apart_from_output(history: TransactionHistory) -> Iterator[str]:
    ends: Counter[int] = Counter()
    for seen in history.input.log:
        ends[seen.place.partition] = max(ends[seen.place.partition], seen.place.offset + 1)
    for partition, end in ends.items():
        committed = history.group_offsets.get(partition)
        if committed != end:
            yield f"offsets: the group has committed {committed} of input partition {partition}, whose end is {end}"
