"""One pass over a segment's batches after a crash, rebuilding what follows from them (Kafka: LogSegment.recover)."""

from __future__ import annotations

from storage.batch_scan import scan_batches
from storage.epoch_cache import LeaderEpochCache
from storage.errors import LogCorruptError
from storage.producer_rebuild import marker_of
from storage.producer_state import ProducerStateManager
from storage.recovery_anchor import RecoveryAnchor
from storage.segment import Segment
from storage.transaction_index import AbortedTransaction
from wire.records import BatchHeader


class SegmentRecovery:
    """Checks every batch from the anchor on, or from the beginning without one.

    The producer state given is that of the place where it begins. `next_offset` and `cut_position` are those
    behind the last good batch.
    """

    def __init__(
        self,
        segment: Segment,
        epochs: LeaderEpochCache,
        state: ProducerStateManager,
        offset_limit: int,
        anchor: RecoveryAnchor | None = None,
    ) -> None:
        self._segment = segment
        self._anchor = anchor
        self._offset_limit = offset_limit
        self._epochs = epochs
        self._state = state
        self.next_offset = segment.base_offset if anchor is None else anchor.offset
        self.cut_position = 0 if anchor is None else anchor.position
        self.has_suspect_content = False
        self.overlaps_next = False

    def prepare(self) -> None:
        """Take the indexes back to where reading begins.

        CorruptIndexError or LogCorruptError when the segment is not what the anchor describes.
        """
        segment = self._segment
        if self._anchor is None:
            segment.start_indexing()
            segment.transaction_index.reset()
            # The file may have been shortened too, by a process that died before the sync.
            segment.synced_bytes = -1
        else:
            segment.resume_at(self._anchor)

    def run(self) -> LogCorruptError | None:
        """Read on to the end; the error that ended the pass early, if one did."""
        segment = self._segment
        before_gap: tuple[int, int] | None = None  # where the last batch began, if it left offsets out
        without_gap = -1  # and where it would end if it had not
        try:
            for position, header, data in scan_batches(
                segment.handle, self.cut_position, segment.size_bytes, offset_min=self.next_offset
            ):
                if header.last_offset >= self._offset_limit:
                    self.overlaps_next = True
                    reason = f"offset {header.last_offset} is not below {self._offset_limit}"
                    return LogCorruptError(segment.handle.path, position, reason)
                has_gap = header.base_offset > self.next_offset
                before_gap = (position, self.next_offset) if has_gap else None
                without_gap = self.next_offset + header.last_offset_delta + 1
                self._take(position, header, data)
                self.next_offset = header.next_offset
                self.cut_position = position + header.size_bytes
        except LogCorruptError as error:
            if before_gap is not None and error.overlapping_offset == without_gap:
                # This batch continues just where the one before would have ended without the gap that it
                # left: that one has the wrong offset (which no CRC covers).
                self.cut_position, self.next_offset = before_gap
                self.has_suspect_content = True
            return error
        return None

    def _take(self, position: int, header: BatchHeader, data: memoryview) -> None:
        segment, state = self._segment, self._state
        segment.index_batch(position, header)
        note_epoch(self._epochs, header)
        completed = state.replay(header, marker_of(data, header) if header.is_control else None)
        if completed is not None:
            if completed.is_aborted:
                last_stable_offset = state.last_stable_offset_after(completed)
                segment.transaction_index.append(
                    AbortedTransaction(
                        completed.producer_id,
                        completed.first_offset,
                        completed.last_offset,
                        last_stable_offset,
                    )
                )
            state.complete(completed)


def note_epoch(epochs: LeaderEpochCache, header: BatchHeader) -> None:
    """A batch tells of the leader epoch that it was appended under."""
    epoch, latest = header.partition_leader_epoch, epochs.latest_epoch
    if epoch >= 0 and (latest is None or epoch > latest):
        epochs.assign(epoch, header.base_offset)
