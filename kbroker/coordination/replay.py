"""Between a coordinator's records and the batches of its log: what to write together, and how a log is read back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from kbroker.coordination.machine import CoordinatorRecord, Machine
from wire.records import BatchHeader, ControlType, Record, iterate_batches, read_control_type, read_records

logger = logging.getLogger(__name__)

NO_PRODUCER_ID = -1
_BATCH_OVERHEAD_BYTES = 61
_RECORD_OVERHEAD_BYTES_MAX = 32
_DECOMPRESSED_BYTES_MAX = 256 << 20


def replay_piece(machine: Machine, piece: memoryview) -> int:
    """Apply a piece of whole batches to ``machine``; the offset after its last record (at least one is in it)."""
    next_offset = 0
    for position, header in iterate_batches(piece):
        records = read_records(piece, position, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
        if header.is_control:
            _replay_control_batch(machine, header, records)
        else:
            _replay_batch(machine, header, records)
        next_offset = header.next_offset
    return next_offset


def _replay_control_batch(machine: Machine, header: BatchHeader, records: Sequence[Record]) -> None:
    for record in records:
        control_type = read_control_type(record)
        if control_type in (ControlType.COMMIT, ControlType.ABORT):
            machine.replay_end_transaction(
                record.offset, header.producer_id, control_type is ControlType.COMMIT
            )


def _replay_batch(machine: Machine, header: BatchHeader, records: Sequence[Record]) -> None:
    producer_id = header.producer_id if header.is_transactional else NO_PRODUCER_ID
    for record in records:
        if record.key is None:
            logger.warning("a coordinator's record at offset %d has no key and is skipped", record.offset)
            continue
        content = machine.decode(record.key, record.value)
        if content is not None:
            machine.replay(record.offset, producer_id, content)


def batches_of(
    records: Sequence[CoordinatorRecord], *, bytes_max: int, atomic: bool
) -> Iterator[Sequence[CoordinatorRecord]]:
    """The records in as few batches of at most ``bytes_max`` as possible; in one if they belong together."""
    if atomic:
        yield records
        return
    batch: list[CoordinatorRecord] = []
    batch_bytes = _BATCH_OVERHEAD_BYTES
    for record in records:
        record_bytes = _RECORD_OVERHEAD_BYTES_MAX + len(record.key) + len(record.value or b"")
        if batch and batch_bytes + record_bytes > bytes_max:
            yield batch
            batch, batch_bytes = [], _BATCH_OVERHEAD_BYTES
        batch.append(record)
        batch_bytes += record_bytes
    yield batch
