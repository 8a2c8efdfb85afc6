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

RECALL_BYTES_MAX = 8 << 20
"""How far back it looks. Five requests of a producer, at most 1 MiB each by default, lie among those of others."""
_WINDOW_BYTES = 128 << 10


def recall_batches(segments: SegmentList, entry: ProducerEntry, start_offset: int) -> list[BatchMetadata]:
    """The batches that precede what `entry` knows without a gap in their sequences, oldest first.

    `start_offset` is where the log begins. Only headers are read, from the end, and no more than it takes. OSError and
    LogCorruptError as segments raise them.
    """
    found: list[BatchMetadata] = []
    first_known = entry.batches[0]
    bytes_left = RECALL_BYTES_MAX
    for segment in reversed(segments.between(start_offset, first_known.first_offset)):
        for window in segment.windows_before(first_known.first_offset, _WINDOW_BYTES):
            for header in reversed(window):
                if header.base_offset < start_offset:
                    return found
                if not _is_of(header, entry):
                    continue
                batch = BatchMetadata(
                    header.last_sequence,
                    header.last_offset,
                    header.last_offset - header.base_offset,
                    header.max_timestamp,
                )
                if not _precedes(batch, found[0] if found else first_known):
                    return found
                found.insert(0, batch)
                if len(found) + len(entry.batches) == BATCHES_TO_RETAIN:
                    return found
            bytes_left -= sum([header.size_bytes for header in window])
            if bytes_left <= 0:
                return found
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
