"""The batches before the one that a snapshot tells of, read back from the log.

A snapshot, in Kafka's format, has one batch of each producer; a client has five in flight. After a restart the retry
of one of the other four would seem to be out of order, and clients answer that by giving their producer a new epoch and
sending everything again: as duplicates. (So it is with Apache Kafka.) They are in the log, not far from the one
that is known, and are looked for when the first such retry comes.
"""

from __future__ import annotations

from storage.producer_entry import BATCHES_TO_RETAIN, BatchMetadata, ProducerEntry
from storage.segment_list import SegmentList
from wire.records import SEQUENCE_MAX, BatchHeader

RECALL_BYTES_MAX = 16 << 20
"""How far back it looks. Five requests of a producer, at most 1 MiB each by default, lie among those of others."""


def recall_batches(segments: SegmentList, entry: ProducerEntry, start_offset: int) -> list[BatchMetadata]:
    """The batches that precede what `entry` knows without a gap in their sequences, oldest first.

    `start_offset` is where the log begins. Only headers are read. OSError and LogCorruptError as segments raise them.
    """
    found: list[BatchMetadata] = []
    next_known = entry.batches[0]
    bytes_left = RECALL_BYTES_MAX
    for segment in reversed(segments.between(start_offset, next_known.first_offset)):
        wanted = [
            header
            for header in segment.batches_before(next_known.first_offset, bytes_left)
            if _is_of(header, entry) and header.base_offset >= start_offset
        ]
        for header in reversed(wanted):
            batch = BatchMetadata(
                header.last_sequence,
                header.last_offset,
                header.last_offset - header.base_offset,
                header.max_timestamp,
            )
            if not _precedes(batch, next_known):
                return found
            found.insert(0, batch)
            if len(found) + len(entry.batches) == BATCHES_TO_RETAIN:
                return found
            next_known = batch
        bytes_left -= segment.size_bytes
        if bytes_left <= 0:
            break
    return found


def _is_of(header: BatchHeader, entry: ProducerEntry) -> bool:
    return (
        header.producer_id == entry.producer_id
        and header.producer_epoch == entry.producer_epoch
        and not header.is_control
    )


def _precedes(batch: BatchMetadata, other: BatchMetadata) -> bool:
    expected = 0 if batch.last_sequence == SEQUENCE_MAX else batch.last_sequence + 1
    return other.first_sequence == expected
