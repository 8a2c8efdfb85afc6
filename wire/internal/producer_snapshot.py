"""The body of a `.snapshot` file: the state of a partition's producers at one offset.

The file is the version, 1, and the body. `crc` is the CRC-32C of what follows it (`ProducerStateManager` in Kafka).
"""

from __future__ import annotations

from wire.schema import InternalRecord, Structure, array, int16, int32, int64, uint32


class ProducerSnapshot(InternalRecord, versions="1"):
    class ProducerEntry(Structure):
        producer_id: int = int64()
        epoch: int = int16()
        last_sequence: int = int32()
        last_offset: int = int64()
        offset_delta: int = int32()
        timestamp: int = int64()
        coordinator_epoch: int = int32()
        current_txn_first_offset: int = int64()

    crc: int = uint32()
    producer_entries: list[ProducerEntry] = array(ProducerEntry)
