"""Writing a transaction index anew from the segment, when it is found damaged.

Which transactions an abort marker ends depends on producer state, so that is brought to the segment's beginning
first: from the snapshot there, or an older one and the batches since. The log's own state is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from storage.file_names import SNAPSHOT_SUFFIX, offset_of_file_name
from storage.log_context import LogContext
from storage.producer_rebuild import marker_of, replay_segment
from storage.producer_state import ProducerStateManager
from storage.segment import Segment
from storage.transaction_index import AbortedTransaction

logger = logging.getLogger(__name__)


def rebuild_transaction_index(
    context: LogContext, directory: str, segments: Sequence[Segment], index: int
) -> None:
    """Rebuild that of segment `index` of a log's segments. OSError and LogCorruptError as the segments raise them."""
    segment = segments[index]
    logger.error("Rebuilding %s", segment.transaction_index.path)
    state = _state_before(context, directory, segments, index)
    entries: list[AbortedTransaction] = []
    for position, header in segment.walk():
        marker = marker_of(segment.read_batch(position, header), header) if header.is_control else None
        completed = state.replay(header, marker)
        if completed is None:
            continue
        if completed.is_aborted:
            last_stable_offset = state.last_stable_offset_after(completed)
            entries.append(
                AbortedTransaction(
                    completed.producer_id, completed.first_offset, completed.last_offset, last_stable_offset
                )
            )
        state.complete(completed)
    segment.indexes_changed()
    segment.transaction_index.replace(entries)


def _state_before(
    context: LogContext, directory: str, segments: Sequence[Segment], index: int
) -> ProducerStateManager:
    base_offset, first = segments[index].base_offset, segments[0].base_offset
    names = [entry.name for entry in context.filesystem.scan(directory)]
    offsets = [offset_of_file_name(name) for name in names if name.endswith(SNAPSHOT_SUFFIX)]
    state = ProducerStateManager(
        context.filesystem,
        directory,
        snapshots=[offset for offset in offsets if offset is not None and first <= offset <= base_offset],
        producer_id_expiration_ms=context.producer_id_expiration_ms,
    )
    state.end_offset = -1
    state.truncate_and_reload(first, base_offset, context.clock_ms())
    for number in range(index):
        if state.end_offset < segments[number + 1].base_offset:
            state.end_offset = max(state.end_offset, segments[number].base_offset)
            replay_segment(state, segments[number], base_offset)
    return state
