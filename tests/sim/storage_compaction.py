"""What compaction may take out of a log, and what it must leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.sim.storage_model import Batch, FoundBatch, ScannedAbort
from wire.records import Record, read_batch_header, read_records

_DECOMPRESSED_BYTES_MAX = 1 << 20


class Compaction:
    """Judges batches before `limit`, of a log that had `batches`.

    A record may go when a later one before the limit has its key, when it is a tombstone (in time; the moment is
    the cleaner's own tests' affair), or when its transaction was aborted. Markers may go. All else must stay.
    """

    def __init__(self, batches: Iterable[Batch], aborted: Iterable[ScannedAbort], limit: int) -> None:
        self._limit = limit
        self._aborted = list(aborted)
        self._latest: dict[bytes | None, int] = {}
        for batch in batches:
            if not batch.marker and not self._is_aborted(batch):
                for record in batch.records:
                    if record.offset < limit:
                        self._latest[record.key] = record.offset

    def _is_aborted(self, batch: Batch) -> bool:
        return batch.is_transactional and any(
            each.producer_id == batch.producer_id
            and each.first_offset <= batch.base_offset < each.last_offset
            for each in self._aborted
        )

    def _may_go(self, batch: Batch, record: Record) -> bool:
        if record.offset >= self._limit:
            return False
        if batch.marker or record.value is None or self._is_aborted(batch):
            return True
        return self._latest.get(record.key, -1) > record.offset

    def may_drop(self, batch: Batch) -> bool:
        """Whether the whole batch may be missing."""
        return batch.last_offset < self._limit and all(
            self._may_go(batch, record) for record in batch.records
        )

    def cover(self, found: FoundBatch) -> Batch | None:
        """An empty batch that the cleaner made, so that a segment reaches as far as what it was made of."""
        return found.as_cover() if found.last_offset < self._limit else None

    def reduced(self, batch: Batch, found: FoundBatch) -> Batch | None:
        """What is left of a batch, if what was found is that: the same batch with fewer records."""
        header = read_batch_header(found.data)
        same = (
            header.base_offset == batch.base_offset
            and header.last_offset == batch.last_offset
            and header.partition_leader_epoch == batch.epoch
            and header.producer_id == batch.producer_id
            and header.producer_epoch == batch.producer_epoch
            and header.base_sequence == batch.base_sequence
        )
        if not same:
            return None
        kept: list[Record] = []
        if header.record_count:
            kept = read_records(found.data, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
        there = {record.offset: record for record in kept}
        records: list[Record] = []
        timestamps: list[int] = []
        for record, timestamp in zip(batch.records, batch.timestamps, strict=True):
            left = there.pop(record.offset, None)
            if left is None:
                if not self._may_go(batch, record):
                    return None
                continue
            if not batch.marker and (left.key, left.value) != (record.key, record.value):
                return None
            if left.timestamp != timestamp:
                return None
            records.append(record)
            timestamps.append(timestamp)
        if there:
            return None
        return replace(
            batch,
            records=records,
            timestamps=tuple(timestamps),
            data=found.data,
            is_lost=False,
            latest=batch.max_timestamp,
        )
