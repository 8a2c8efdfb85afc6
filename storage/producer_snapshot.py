"""`.snapshot`: the producer state at an offset, on disk (Kafka: ProducerStateManager, ProducerSnapshot.json).

int16 version 1, uint32 CRC-32C of what follows, int32 count, and for each producer: int64 producer id, int16
epoch, int32 last sequence, int64 last offset, int32 offset delta, int64 timestamp, int32 coordinator epoch,
int64 first offset of the open transaction or -1. Only the last batch of each producer is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from crc32c import crc32c

from storage.errors import CorruptSnapshotError
from storage.producer_entry import BatchMetadata, ProducerEntry

VERSION = 1
_HEADER = Struct(">hIi")
_CRC_COVERS_FROM = 6
_ENTRY = Struct(">qhiqiqiq")


def encode_snapshot(entries: Iterable[ProducerEntry]) -> bytes:
    parts = [
        _ENTRY.pack(
            entry.producer_id,
            entry.producer_epoch,
            entry.last_sequence,
            entry.last_offset,
            entry.last_offset_delta,
            entry.last_timestamp,
            entry.coordinator_epoch,
            entry.transaction_first_offset,
        )
        for entry in entries
    ]
    body = len(parts).to_bytes(4, "big") + b"".join(parts)
    return VERSION.to_bytes(2, "big") + crc32c(body).to_bytes(4, "big") + body


def decode_snapshot(data: bytes) -> list[ProducerEntry]:
    """The producers; CorruptSnapshotError unless version, CRC and length are right."""
    if len(data) < _HEADER.size:
        raise CorruptSnapshotError(f"{len(data)} bytes are too few")
    version, crc, count = _HEADER.unpack_from(data)
    if version != VERSION:
        raise CorruptSnapshotError(f"unknown version {version}")
    if crc32c(memoryview(data)[_CRC_COVERS_FROM:]) != crc:
        raise CorruptSnapshotError("CRC does not match")
    if count < 0 or len(data) != _HEADER.size + count * _ENTRY.size:
        raise CorruptSnapshotError(f"{len(data)} bytes do not hold {count} producers")
    entries = []
    for fields in _ENTRY.iter_unpack(memoryview(data)[_HEADER.size :]):
        producer_id, epoch, sequence, offset, offset_delta, timestamp, coordinator_epoch, transaction = fields
        batches = [BatchMetadata(sequence, offset, offset_delta, timestamp)] if offset >= 0 else []
        entries.append(
            ProducerEntry(
                producer_id,
                producer_epoch=epoch,
                coordinator_epoch=coordinator_epoch,
                last_timestamp=timestamp,
                transaction_first_offset=transaction,
                batches=batches,
                is_from_snapshot=True,
            )
        )
    return entries
