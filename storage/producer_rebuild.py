"""Bringing producer state to an offset by reading the log (Kafka: UnifiedLog.rebuildProducerState)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from storage.errors import LogCorruptError
from storage.producer_state import ProducerStateManager
from storage.segment import Segment
from wire.errors import ProtocolError
from wire.records import BatchHeader, EndTransactionMarker, read_end_transaction_marker, read_records

logger = logging.getLogger(__name__)

_CONTROL_BATCH_BYTES_MAX = 1 << 16


def marker_of(data: bytes | memoryview, header: BatchHeader) -> EndTransactionMarker | None:
    """The transaction marker in a control batch; None for another control record, or when it was compacted away."""
    if header.record_count < 1:
        return None
    try:
        records = read_records(data, decompressed_bytes_max=_CONTROL_BATCH_BYTES_MAX)
        return read_end_transaction_marker(records[0])
    except ProtocolError:
        return None


def rebuild_producer_state(
    state: ProducerStateManager,
    segments: Sequence[Segment],
    *,
    start_offset: int,
    end_offset: int,
    now_ms: int,
) -> None:
    """Make `state` that of the log up to `end_offset`: newest usable snapshot, then the batches behind it.

    `start_offset` is the first segment's. (Kafka starts at the log start offset, and so forgets producers whose
    records were deleted although they are still in the files.)

    Snapshots outside the log are deleted; new ones are taken at the beginnings of the last two segments and
    at the end, where the next truncation or start will look for them. Only headers are read. OSError and
    LogCorruptError as the segments raise them: of a damaged one after the ones behind it were read all the same.
    """
    damage: LogCorruptError | None = None
    bases = [segment.base_offset for segment in segments]
    snapshot_at = set(bases[-2:])
    had_no_producers = state.is_empty and state.end_offset >= end_offset
    state.truncate_and_reload(start_offset, end_offset, now_ms)
    if end_offset > state.end_offset and not had_no_producers:
        for index, segment in enumerate(segments):
            if index + 1 < len(bases) and bases[index + 1] <= state.end_offset:
                continue
            if segment.base_offset >= end_offset:
                break
            state.end_offset = max(state.end_offset, segment.base_offset, start_offset)
            if (
                damage is None
                and segment.base_offset in snapshot_at
                and state.end_offset == segment.base_offset
            ):
                state.try_snapshot()
            try:
                replay_segment(state, segment, end_offset)
            except LogCorruptError as error:
                damage = damage or error
    state.end_offset = end_offset
    if damage is not None:
        raise damage
    state.try_snapshot()


def replay_segment(state: ProducerStateManager, segment: Segment, end_offset: int) -> None:
    """Take over the batches of a segment from the state's end on, as far as they end before `end_offset`."""
    position = segment.position_of(state.end_offset)
    if position is None:
        return
    for batch_position, header in segment.walk(position):
        if header.last_offset >= end_offset:
            return
        marker = None
        if header.is_control:
            marker = marker_of(segment.read_batch(batch_position, header), header)
        completed = state.replay(header, marker)
        if completed is not None:
            state.complete(completed)
