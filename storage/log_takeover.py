"""One log taking the place of another that it is a copy of (Kafka: LogManager.replaceCurrentWithFutureLog).

A copy made from the records has the records, and what follows from them: indexes, epochs, aborted transactions,
most producers. The rest is handed over here.
"""

from __future__ import annotations

from storage.log_state import LogState


def take_over(log: LogState, other: LogState) -> None:
    """See `Log.take_over`. Both logs end at the same offset. OSError from the disk."""
    assert log.log_end_offset == other.log_end_offset, (log.log_end_offset, other.log_end_offset)
    # Where records were compacted away, a copy takes an epoch to begin later than it did.
    log.epochs.take_over(other.epochs)
    if _known(other) != _known(log):
        # Recovery reads producers off the records behind the last segment's beginning, and off the snapshot
        # there. Only a snapshot there can tell of producers without records.
        log.roll(log.log_end_offset)
    log.producers.take_over(other.producers)
    log.producers.end_offset = log.log_end_offset
    log.producers.try_snapshot()
    log.config = other.config
    log.update_high_watermark(other.high_watermark)
    if other.log_start_offset > log.log_start_offset:
        log.set_log_start_offset(other.log_start_offset)


def _known(log: LogState) -> dict[int, tuple[int, int, int, int]]:
    """What a snapshot tells of producers. A copy may know a marker, and not the batches before it."""
    return {
        entry.producer_id: (
            entry.producer_epoch,
            entry.last_sequence,
            entry.coordinator_epoch,
            entry.transaction_first_offset,
        )
        for entry in log.producers.producers.values()
    }
