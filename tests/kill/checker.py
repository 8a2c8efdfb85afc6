"""Looks for what must not happen, in a history; every finding is one line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.kill.history import Commit, History, Place, Seen


def anomalies(history: History) -> list[str]:
    """All findings; an empty list is a clean run."""
    return [
        *_refused(history),
        *_lost_or_misplaced(history),
        *_duplicates(history),
        *_invented(history),
        *_out_of_order(history),
        *_gaps(history),
        *_seen_otherwise(history),
        *_group_went_back(history),
    ]


def _refused(history: History) -> Iterator[str]:
    for value, error in history.refused.items():
        yield f"refused: the producer gave up on {value!r}: {error}"


def _lost_or_misplaced(history: History) -> Iterator[str]:
    at = {seen.place: seen.value for seen in history.log}
    for value, place in history.acknowledged.items():
        found = at.get(place)
        if found is None:
            yield f"lost: {value!r} was acknowledged at {place} and nothing is there"
        elif found != value:
            yield f"inconsistent offset: {value!r} was acknowledged at {place}, where {found!r} is"


def _duplicates(history: History) -> Iterator[str]:
    places: defaultdict[bytes, list[Place]] = defaultdict(list)
    for seen in history.log:
        places[seen.value].append(seen.place)
    for value, found in places.items():
        if len(found) > 1:
            yield f"duplicate: {value!r} is at {', '.join(map(str, found))}"


def _invented(history: History) -> Iterator[str]:
    for seen in history.log:
        partition = history.sent.get(seen.value)
        if partition is None:
            yield f"invented: nobody sent {seen.value!r}, which is at {seen.place}"
        elif partition != seen.place.partition:
            yield f"misrouted: {seen.value!r} was sent to partition {partition} and is at {seen.place}"


def _out_of_order(history: History) -> Iterator[str]:
    number_of = {value: number for number, value in enumerate(history.sent)}
    newest: dict[int, Seen] = {}
    for seen in sorted(history.log):
        if seen.value not in number_of:
            continue
        before = newest.get(seen.place.partition)
        if before is not None and number_of[seen.value] < number_of[before.value]:
            yield f"reordered: {seen.value!r} at {seen.place} was sent before {before.value!r} at {before.place}"
        newest[seen.place.partition] = seen


def _gaps(history: History) -> Iterator[str]:
    """Without transactions and compaction, offsets are dense."""
    expected: defaultdict[int, int] = defaultdict(int)
    for seen in sorted(history.log):
        partition, offset = seen.place
        if offset != expected[partition]:
            yield f"gap: partition {partition} goes on with offset {offset} where {expected[partition]} comes next"
        expected[partition] = offset + 1


def _seen_otherwise(history: History) -> Iterator[str]:
    """A record that a consumer saw must be what the log holds at the end."""
    at = {seen.place: seen.value for seen in history.log}
    for session in history.sessions:
        for event in session.events:
            if isinstance(event, Seen) and at.get(event.place) != event.value:
                found = at.get(event.place)
                yield f"inconsistent offset: a consumer saw {event.value!r} at {event.place}, where {found!r} is"


def _group_went_back(history: History) -> Iterator[str]:
    """Within a session, offsets rise one by one; the next session begins where the group had committed, or later."""
    committed: dict[int, int] = {}
    for number, session in enumerate(history.sessions):
        position: dict[int, int] = {}
        for event in session.events:
            if isinstance(event, Commit):
                committed[event.partition] = max(event.offset, committed.get(event.partition, 0))
                continue
            partition, offset = event.place
            if partition not in position and offset < committed.get(partition, 0):
                yield (
                    f"went back: session {number} begins partition {partition} at offset {offset}, "
                    f"after {committed[partition]} was committed"
                )
            elif partition in position and offset != position[partition]:
                yield (
                    f"non-monotonic poll: session {number} got offset {offset} of partition {partition} "
                    f"where {position[partition]} comes next"
                )
            position[partition] = offset + 1
    for partition, offset in committed.items():
        if history.committed.get(partition, 0) < offset:
            found = history.committed.get(partition)
            yield f"lost commit: partition {partition} has {found} committed, {offset} was acknowledged"
