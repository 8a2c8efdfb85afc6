"""Records as fields: what a Fetch response carries becomes structures that the comparison walks like any other."""

from __future__ import annotations

from typing import Any

from wire.compression import decompress
from wire.errors import ProtocolError
from wire.records import BATCH_HEADER_SIZE, BatchHeader, Compression, crc_matches, iterate_batches
from wire.schema import Structure, binary, boolean, int8, int16, int32, int64

_DECOMPRESSED_BYTES_MAX = 64 * 1024 * 1024


class StoredBatch(Structure):
    """A batch as it was fetched. The checksum itself would differ with every id and time that it covers."""

    base_offset: int = int64()
    batch_length: int = int32()
    partition_leader_epoch: int = int32()
    magic: int = int8()
    crc_is_right: bool = boolean()
    attributes: int = int16()
    last_offset_delta: int = int32()
    base_timestamp: int = int64()
    max_timestamp: int = int64()
    producer_id: int = int64()
    producer_epoch: int = int16()
    base_sequence: int = int32()
    record_count: int = int32()
    payload: bytes = binary()
    """What stands behind the header, compressed as it is."""
    records: bytes = binary()
    """The same, decompressed."""


def stored_batches(records: Any) -> Any:
    """The batches in ``records`` and, as bytes, what is none: half a batch, or a broken one. None stays None."""
    if records is None:
        return None
    data = bytes(records)
    batches: list[StoredBatch | bytes] = []
    end = 0
    try:
        for position, header in iterate_batches(data):
            batches.append(_stored(data, position, header))
            end = position + header.size_bytes
    except ProtocolError:
        pass
    return [*batches, data[end:]] if end < len(data) else batches


def _stored(data: bytes, position: int, header: BatchHeader) -> StoredBatch:
    payload = data[position + BATCH_HEADER_SIZE : position + header.size_bytes]
    fields = header._asdict()
    del fields["crc"]
    return StoredBatch(
        **fields,
        crc_is_right=crc_matches(data, position, header),
        payload=payload,
        records=_decompressed(header.compression, payload),
    )


def _decompressed(codec: Compression, payload: bytes) -> bytes:
    if codec is Compression.NONE:
        return payload
    return bytes(decompress(codec, payload, _DECOMPRESSED_BYTES_MAX))
