"""What a partition's log must hold: everything that was appended, and what of it was promised to last.

The model knows a partition as a list of batches (the log's present content, and before it what retention took
away), the offsets that bound it, and which of them were promised to survive a power loss. A truncation does
not erase the past at once: until the disk knows of it, a power loss may bring the former content back. Former
contents are kept as `Timeline`s. What is found after a crash must be a piece of one timeline, whole batches without
a hole, and must reach as far as was promised.

`ProducerScan` says what follows from batches about producers and transactions: a plain reading of the rules, to
which the log's own state is compared.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage.log_config import LogConfig
from storage.topic_partition import TopicPartition
from wire.records import Record, iterate_batches, read_batch_header, read_records

if TYPE_CHECKING:
    from tests.sim.storage_compaction import Compaction

BATCHES_REMEMBERED = 5
_DECOMPRESSED_BYTES_MAX = 1 << 20


class Violation(AssertionError):
    """A property that storage promises does not hold."""


@dataclass(slots=True)
class Batch:
    """One batch as it was appended. `data` is None when only its records are known (the log recompressed it).

    `request` is what the client sent, to be sent again.
    """

    base_offset: int
    last_offset: int
    epoch: int
    timestamps: tuple[int, ...]
    records: list[Record]
    data: bytes | None = None
    request: bytes = b""
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    is_transactional: bool = False
    marker: str = ""
    """"commit" or "abort" for a transaction marker."""
    coordinator_epoch: int = -1
    is_lost: bool = False
    """No longer in the files: retention took it."""
    is_synced: bool = False
    """A flush has promised that it survives a power loss."""
    latest: int = -1
    """Largest timestamp of a batch that compaction has emptied."""

    @property
    def next_offset(self) -> int:
        return self.last_offset + 1

    @property
    def last_sequence(self) -> int:
        return self.base_sequence + self.last_offset - self.base_offset

    @property
    def max_timestamp(self) -> int:
        return max(self.timestamps, default=self.latest)

    def is_same(self, base_offset: int, data: bytes) -> bool:
        """Whether the bytes found at an offset are this batch's."""
        if base_offset != self.base_offset:
            return False
        if self.data is not None:
            return data == self.data
        found = read_records(data, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
        return [(each.offset, *each[2:4]) for each in found] == [
            (each.offset, *each[2:4]) for each in self.records
        ]


@dataclass(slots=True)
class Timeline:
    """A content that the log had. Up to `floor` the later ones have the same."""

    batches: list[Batch]
    end: int
    floor: int
    start_highest: int = 0


@dataclass(slots=True)
class ScannedProducer:
    """What batches say of one producer: see `ProducerEntry`. `batches` are (last sequence, last offset, delta)."""

    epoch: int = -1
    coordinator_epoch: int = -1
    last_timestamp: int = -1
    transaction_first_offset: int = -1
    batches: list[tuple[int, int, int]] = field(default_factory=list)
    last: Batch | None = None


@dataclass(frozen=True, slots=True)
class ScannedAbort:
    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class ProducerScan:
    """Producers and aborted transactions by reading batches one after another."""

    def __init__(self, batches: Iterable[Batch] = ()) -> None:
        self.producers: dict[int, ScannedProducer] = {}
        self.aborted: list[ScannedAbort] = []
        for batch in batches:
            self.add(batch)

    def add(self, batch: Batch) -> None:
        if batch.producer_id < 0:
            return
        producer = self.producers.setdefault(batch.producer_id, ScannedProducer())
        if batch.producer_epoch != producer.epoch:
            producer.epoch = batch.producer_epoch
            producer.batches = []
            producer.last = None
        producer.last_timestamp = batch.max_timestamp
        if batch.marker:
            self._end_transaction(batch, producer)
            return
        delta = batch.last_offset - batch.base_offset
        producer.batches.append((batch.last_sequence, batch.last_offset, delta))
        del producer.batches[:-BATCHES_REMEMBERED]
        producer.last = batch
        if batch.is_transactional and producer.transaction_first_offset < 0:
            producer.transaction_first_offset = batch.base_offset

    def _end_transaction(self, marker: Batch, producer: ScannedProducer) -> None:
        first, producer.transaction_first_offset = producer.transaction_first_offset, -1
        producer.coordinator_epoch = marker.coordinator_epoch
        if first >= 0 and marker.marker == "abort":
            stable = min(self.open_transactions().values(), default=marker.next_offset)
            self.aborted.append(ScannedAbort(marker.producer_id, first, marker.base_offset, stable))

    def open_transactions(self) -> dict[int, int]:
        """Producer id -> first offset."""
        return {
            producer_id: producer.transaction_first_offset
            for producer_id, producer in self.producers.items()
            if producer.transaction_first_offset >= 0
        }


class PartitionModel:
    """One incarnation of a partition (a topic id). `end` is the log end, `start` the log start offset."""

    def __init__(self, name: TopicPartition, topic_id: uuid.UUID, config: LogConfig, number: int) -> None:
        self.name = name
        self.topic_id = topic_id
        self.config = config
        self.number = number
        self.batches: list[Batch] = []
        self.start = 0
        self.end = 0
        self.start_promised = 0
        """What the log start offset does not fall below again: a checkpoint has told it."""
        self.start_reached = 0
        """How far the log start may have come, when the operation that moves it was interrupted."""
        self.start_highest = 0
        """Leader epochs before it may be forgotten, also when a crash puts the log start back."""
        self.epoch = 0
        self.scan = ProducerScan()
        self.past: list[Timeline] = []
        self.in_flight: list[Batch] = []
        """Behind the end: an append that may have happened."""
        self.is_truncating = False
        """A truncation was interrupted: former contents count also without a power loss."""
        self.truncation_floor = 0
        self.is_broken = False
        """An operation failed half-way, or the directory did: not used until the next start."""
        self.truncations = 0
        self.cleanable_to = 0
        """Compaction may have been here: what it may take away may be missing before this offset."""
        self.is_rotten = False
        """A bit has flipped in it, perhaps before the log start, where only the cleaner looks."""
        self.was_moved = False
        """To another directory: the log was made anew from the records that there were."""
        self.forgotten: set[int] = set()
        """Producers that may have expired."""
        self.uncertain: set[int] = set()
        """Producers that only a snapshot may know, which was damaged or not synced."""

    # Changes

    def append(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.batches.append(batch)
            self.scan.add(batch)
        self.end = batches[-1].next_offset
        self.in_flight = []

    def begin_truncation(self, floor: int) -> None:
        """The content from `floor` on is about to go. An end within a gap is known only at the very last."""
        kept = [
            batch.next_offset for batch in self.batches if batch.next_offset <= floor and not batch.is_lost
        ]
        floor = kept[-1] if kept else 0
        if floor <= self.cleanable_to:
            floor = 0  # the last ones may be compacted away
        highest = max(self.start, self.start_highest)
        self.past.append(Timeline([*self.batches, *self.in_flight], self.end, min(floor, self.end), highest))
        self.is_truncating = True
        self.truncation_floor = min(floor, self.end)
        self.truncations += 1

    def append_failed(self) -> None:
        """The disk refused, perhaps after it had taken all: a power loss may bring what was taken back."""
        self.past.append(Timeline([*self.batches, *self.in_flight], self.end, self.end, self.start_highest))

    def truncated(self, end: int, cover: Batch | None = None) -> None:
        """Batches that contain `end` or lie behind it are gone. Offsets before it that nobody has are covered."""
        self.is_truncating = False
        self.in_flight = []
        self.start_highest = min(self.start_highest, end)
        kept = [batch for batch in self.batches if batch.next_offset <= end]
        if cover is not None and not (kept and kept[-1].next_offset == end and not kept[-1].is_lost):
            kept.append(cover)
        self.set_content(kept, end)
        self.start = min(self.start, end)
        self.start_promised = min(self.start_promised, end)

    def restarted(self, offset: int) -> None:
        """Nothing remains; the next offset is `offset`."""
        self.is_truncating = False
        self.in_flight = []
        self.start_highest = 0
        self.set_content([], offset)
        self.start = offset
        self.start_promised = min(self.start_promised, offset)

    def set_content(self, batches: list[Batch], end: int) -> None:
        self.batches = batches
        self.end = end
        self.scan = ProducerScan(batches)

    def note_synced(self, recovery_point: int) -> None:
        """Everything in the log before the recovery point is promised to survive a power loss.

        (What lies before the log start is promised nothing; and after a truncation by half, one does not know what is.)
        """
        if self.is_truncating:
            return
        for batch in reversed(self.batches):
            if batch.is_synced or batch.last_offset < self.start:
                break
            batch.is_synced = batch.next_offset <= recovery_point
        required = self.required_end()
        self.past = [timeline for timeline in self.past if timeline.floor >= required]

    # What is promised

    def required_end(self) -> int:
        """Where the last batch ends that must be there."""
        for batch in reversed(self.batches):
            if batch.is_synced:
                return batch.next_offset if batch.last_offset >= self.start else 0
        return 0

    def timelines(self, *, power_was_lost: bool) -> list[Timeline]:
        """What the log may consist of after a crash, most likely first."""
        required = self.required_end() if power_was_lost else self.end
        found = [Timeline([*self.batches, *self.in_flight], required, required, self.start_highest)]
        if power_was_lost or self.is_truncating:
            found += [
                Timeline(past.batches, past.floor, past.floor, past.start_highest)
                for past in reversed(self.past)
                if self.required_end() <= past.floor
            ]
            if self.is_truncating:
                found[0].end = min(found[0].end, self.truncation_floor)
        return found

    def retained(self, first_base: int) -> list[Batch]:
        """The batches of segments from `first_base` on."""
        return [batch for batch in self.batches if batch.base_offset >= first_base and not batch.is_lost]

    def has_lost(self, first_base: int) -> bool:
        """Whether some batches are no longer in the segments, which begin at `first_base`."""
        return any(batch.is_lost or batch.base_offset < first_base for batch in self.batches)

    def records_from(self, offset: int) -> Iterable[tuple[int, int, int]]:
        """(timestamp, offset, leader epoch) of each record from an offset on."""
        for batch in self.batches:
            if batch.last_offset >= offset and not batch.is_lost:
                for record, timestamp in zip(batch.records, batch.timestamps, strict=True):
                    if record.offset >= offset:
                        yield timestamp, record.offset, batch.epoch


@dataclass(frozen=True, slots=True)
class FoundBatch:
    base_offset: int
    last_offset: int
    data: bytes

    def as_cover(self) -> Batch | None:
        """What stands for offsets that are gone (see `storage.covering_batch`), if it is that."""
        header = read_batch_header(self.data)
        if header.record_count or header.has_producer_id:
            return None
        return Batch(
            header.base_offset,
            header.last_offset,
            header.partition_leader_epoch,
            (),
            [],
            data=self.data,
            latest=header.max_timestamp,
        )


def find_batches(contents: Iterable[bytes]) -> list[FoundBatch]:
    """The batches of segment files, in order; `Violation` where the bytes are none."""
    found = []
    for content in contents:
        end = 0
        for position, header in iterate_batches(content):
            end = position + header.size_bytes
            found.append(FoundBatch(header.base_offset, header.last_offset, content[position:end]))
        if end != len(content):
            raise Violation(f"a segment has {len(content) - end} bytes behind its last batch")
    return found


@dataclass(slots=True)
class Match:
    """How what was found goes with a timeline: `problem` tells why it does not.

    `batches` are the found ones and the ones before them. `holes` counts batches that are missing in between, of
    what was not synced: a power loss may take the end of one segment and leave the next one. `uncertain` producers
    wrote what was neither synced nor found, and is deleted anyhow.
    """

    batches: list[Batch] = field(default_factory=list)
    holes: int = 0
    uncertain: set[int] = field(default_factory=set)
    problem: str = ""


def _cover_at(found: FoundBatch, end: int) -> Batch | None:
    """What a truncation to `end` leaves last where that is within a batch or a gap."""
    return found.as_cover() if found.last_offset + 1 == end else None


def match(
    timeline: Timeline,
    found: Sequence[FoundBatch],
    start: int,
    end: int,
    *,
    deletable_to: int = 0,
    bases: Sequence[int] = (),
    compaction: Compaction | None = None,
) -> Match:
    """Whether `found`, in a log from `start` to `end`, is a piece of the timeline that is long enough.

    Batches before `deletable_to` may be missing, and whatever `compaction` may take. `bases` are the base offsets of
    the segments that there are, if a power loss may have made holes between them.
    """
    result = Match()
    cut_off = [batch for batch in timeline.batches if end < batch.next_offset <= timeline.end]
    gone = all(batch.is_lost or (compaction and compaction.may_drop(batch)) for batch in cut_off)
    if end < timeline.end and not (compaction and cut_off and gone):
        result.problem = f"the log ends at {end}, before {timeline.end}"
        return result
    remaining = list(reversed(found))
    for batch in timeline.batches:
        if not remaining and batch.next_offset > end:
            break
        if len(remaining) == 1 and batch.next_offset > end and (cover := _cover_at(remaining[0], end)):
            result.batches.append(cover)  # a truncation had nearly come to its end
            remaining.pop()
            break
        while compaction is not None and remaining and remaining[-1].base_offset < batch.base_offset:
            cover = compaction.cover(remaining[-1])
            if cover is None:
                break
            result.batches.append(cover)
            remaining.pop()
        if remaining and remaining[-1].base_offset == batch.base_offset:
            each = remaining.pop()
            if batch.is_same(each.base_offset, each.data):
                batch.is_lost = False
                batch.data = each.data
            elif compaction is not None and (reduced := compaction.reduced(batch, each)) is not None:
                result.batches.append(reduced)
                continue
            elif compaction is not None and compaction.may_drop(batch) and (cover := compaction.cover(each)):
                batch.is_lost = True
                result.batches += (batch, cover)
                continue
            elif batch.is_lost:
                remaining.append(each)  # another one has its offset now
            else:
                result.problem = f"the batch at {batch.base_offset} is another than was appended"
                return result
        elif batch.last_offset < start:
            batch.is_lost = True  # deleted; also if the file came back empty
            if not batch.is_synced and bases:
                result.uncertain.add(batch.producer_id)
        elif batch.is_lost:
            pass
        elif not batch.is_synced and any(base >= batch.next_offset for base in bases):
            result.holes += 1
            result.uncertain.add(batch.producer_id)
            continue
        elif compaction is not None and compaction.may_drop(batch):
            batch.is_lost = True
        elif batch.last_offset < deletable_to:
            result.uncertain.add(batch.producer_id)
            continue
        else:
            result.problem = f"the batch at {batch.base_offset} is missing"
            return result
        result.batches.append(batch)
    while compaction is not None and remaining and (cover := compaction.cover(remaining[-1])):
        result.batches.append(cover)
        remaining.pop()
    if remaining:
        result.problem = f"the batch at {remaining[-1].base_offset} was never appended, or not there"
    return result
