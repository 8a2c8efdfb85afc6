"""Batches without records, for offsets that nobody has any more.

Compaction takes records out, and a follower may be cut where its leader has no batch that begins. What is missing then
is meant to be missing; but between two segments it looks like what a power failure takes, the end of one that was not
synced, while the next one is there. A replica with such a hole must not pass for complete, so recovery cuts the log
there (`LogLoader`). Therefore no gap is left at the end of a segment on purpose: a batch of one offset, the last one
before the next segment, stands for it. (Within a segment gaps may be. A crash takes batches off its end, or spoils
them; it takes none out of the middle and leaves those around it sound.)

Kafka leaves empty batches too, for the sake of producers; to a consumer they are offsets that are passed over.
"""

from __future__ import annotations

from wire.records import BatchHeader, build_empty_batch, read_batch_header


def build_covering_batch(offset: int, leader_epoch: int) -> tuple[BatchHeader, bytearray]:
    """A batch that stands for `offset` and no record; `leader_epoch` may be -1, for unknown. It is 61 bytes long."""
    batch = build_empty_batch(BatchHeader(offset, 0, leader_epoch, 2, 0, 0, 0, -1, -1, -1, -1, -1, 0))
    return read_batch_header(batch), batch
