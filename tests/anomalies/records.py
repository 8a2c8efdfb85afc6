"""Checks of what is in the partitions: lost, duplicated, reordered, invented records, two values at one offset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.anomalies.evidence import Anomaly, Evidence, Kind, Partition, Witness, gone_by_retention
from tests.anomalies.history import Operation, Position, Send


def anomalies(evidence: Evidence) -> Iterator[Anomaly]:
    yield from _lost_writes(evidence)
    yield from _vanished(evidence)
    yield from _duplicates(evidence)
    yield from _inconsistent_offsets(evidence)
    yield from _phantoms(evidence)
    yield from _non_monotonic_sends(evidence)


def _lost_writes(evidence: Evidence) -> Iterator[Anomaly]:
    acknowledged: defaultdict[Partition, list[Send]] = defaultdict(list)
    for send in evidence.sends.values():
        if send.outcome == "ok" and send.acks_all:
            acknowledged[send.topic, send.partition].append(send)
    for final in evidence.finals:
        present = {record.value for record in final.records}
        for send in acknowledged[final.topic, final.partition]:
            hidden = final.isolation == "read_committed" and not evidence.is_committed(send.value)
            if not (send.value in present or hidden or gone_by_retention(send, final)):
                yield Anomaly(
                    Kind.LOST_WRITE,
                    f"{send.value!r} was acknowledged and is not in {send.topic}-{send.partition} at the end",
                    (send, final),
                )


def _vanished(evidence: Evidence) -> Iterator[Anomaly]:
    """Whatever a consumer saw was below the high watermark, and stays, whether its send was acknowledged or not."""
    offsets = {id(final): {record.offset for record in final.records} for final in evidence.finals}
    reported: set[Position] = set()
    for poll in evidence.polls:
        for record in poll.records:
            place = Position(*record[:3])
            for final in evidence.finals_of(place[:2], poll.isolation):
                if (
                    record.offset < final.log_start
                    or record.offset in offsets[id(final)]
                    or place in reported
                ):
                    continue
                reported.add(place)
                explanation = f"{record.value!r} was seen at {_at(place)}, where at the end nothing is"
                yield Anomaly(Kind.VANISHED, explanation, (poll, final))


def _duplicates(evidence: Evidence) -> Iterator[Anomaly]:
    for value, witnesses in evidence.by_value.items():
        first: dict[Position, Witness] = {}
        for witness in witnesses:
            first.setdefault(witness.place, witness)
        if len(first) > 1:
            places = " and at ".join(map(_at, first))
            yield Anomaly(Kind.DUPLICATE, f"{value!r} is at {places}", _operations(*first.values()))


def _inconsistent_offsets(evidence: Evidence) -> Iterator[Anomaly]:
    for place, witnesses in evidence.by_place.items():
        first: dict[str, Witness] = {}
        for witness in witnesses:
            first.setdefault(witness.record.value, witness)
        if len(first) > 1:
            values = " and ".join(map(repr, first))
            yield Anomaly(
                Kind.INCONSISTENT_OFFSET, f"{values} are at {_at(place)}", _operations(*first.values())
            )


def _phantoms(evidence: Evidence) -> Iterator[Anomaly]:
    """Records that nobody sent, or sent elsewhere, or whose send failed for certain."""
    for value, witnesses in evidence.by_value.items():
        send = evidence.sends.get(value)
        seen = next((witness for witness in witnesses if not isinstance(witness.operation, Send)), None)
        if seen is None:
            continue
        if send is None:
            explanation = f"nobody sent {value!r}, which is at {_at(seen.place)}"
            yield Anomaly(Kind.PHANTOM, explanation, _operations(seen))
        elif (send.topic, send.partition) != seen.place[:2]:
            explanation = f"{value!r} was sent to {send.topic}-{send.partition} and is at {_at(seen.place)}"
            yield Anomaly(Kind.PHANTOM, explanation, (send, *_operations(seen)))
        elif send.outcome == "failed":
            explanation = f"the send of {value!r} failed, and it is at {_at(seen.place)}"
            yield Anomaly(Kind.FAILED_WRITE, explanation, (send, *_operations(seen)))


def _non_monotonic_sends(evidence: Evidence) -> Iterator[Anomaly]:
    """A producer's records stand in a partition in the order in which it sent them."""
    streams: defaultdict[tuple[str, str, int], list[tuple[int, Send]]] = defaultdict(list)
    for value, witnesses in evidence.by_value.items():
        send = evidence.sends.get(value)
        if send is not None and send.sequence is not None:
            place = witnesses[0].place
            streams[send.producer, place.topic, place.partition].append((place.offset, send))
    for stream in streams.values():
        newest: tuple[int, Send] | None = None
        for offset, send in sorted(stream, key=lambda each: each[0]):
            assert send.sequence is not None
            if newest is not None and newest[1].sequence is not None and send.sequence < newest[1].sequence:
                explanation = (
                    f"{send.value!r} at {send.topic}-{send.partition}@{offset} was sent by {send.producer} "
                    f"before {newest[1].value!r}, which is at offset {newest[0]}"
                )
                yield Anomaly(Kind.NON_MONOTONIC_SEND, explanation, (newest[1], send))
            else:
                newest = (offset, send)


def _operations(*witnesses: Witness) -> tuple[Operation, ...]:
    return tuple(witness.operation for witness in witnesses)


def _at(place: Position) -> str:
    return f"{place.topic}-{place.partition}@{place.offset}"
