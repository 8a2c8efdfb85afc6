"""What a seed makes up: settings, batches, faults."""

from __future__ import annotations

import errno
import random

from storage.log_config import INT64_MAX, LogConfig
from tests.sim.filesystem import ALL_OPERATIONS, WRITES, Fault
from tests.sim.storage_model import Batch
from wire.records import Compression, Record, build_batch, build_end_transaction_marker

_COMPRESSIONS = (Compression.NONE, Compression.GZIP, Compression.LZ4, Compression.ZSTD, Compression.SNAPPY)


def draw_config(generator: random.Random) -> LogConfig:
    """Small segments and short times, so that everything happens often."""
    choice = generator.choice
    policy = choice((("delete",), ("delete",), ("delete",), ("compact",), ("compact", "delete")))
    return LogConfig(
        segment_bytes=choice((1000, 1500, 3000, 8000)),
        segment_ms=choice((INT64_MAX >> 2, 20_000)),
        segment_jitter_ms=choice((0, 0, 5_000)),
        segment_index_bytes=choice((10 << 20, 96)),
        index_interval_bytes=choice((0, 100, 400, 4096)),
        flush_messages=choice((INT64_MAX, INT64_MAX, 1, 7)),
        flush_ms=choice((INT64_MAX, 5_000)),
        retention_bytes=choice((-1, -1, 4000)),
        retention_ms=choice((-1, 60_000)),
        file_delete_delay_ms=choice((0, 1_000, 60_000)),
        cleanup_policy=frozenset(policy),
        message_timestamp_type=choice(("CreateTime", "CreateTime", "CreateTime", "LogAppendTime")),
        compression_type=choice(("producer", "producer", "producer", "producer", "lz4", "uncompressed")),
        min_cleanable_dirty_ratio=choice((0.01, 0.5)),
        delete_retention_ms=choice((0, 30_000)),
        min_compaction_lag_ms=choice((0, 0, 10_000)),
    )


def draw_records(generator: random.Random, serial: int, base_offset: int, now_ms: int) -> list[Record]:
    """One to four records whose values no other batch has."""
    timestamp = now_ms - generator.choice((0, 0, 0, 10, 3_000))
    padding = b"." * generator.choice((0, 0, 10, 120))
    return [
        Record(
            base_offset + index,
            timestamp + index * generator.choice((0, 1, 5)),
            b"k%d" % generator.randrange(8),
            None if generator.random() < 0.1 else b"%d.%d%s" % (serial, index, padding),
        )
        for index in range(generator.choice((1, 1, 2, 4)))
    ]


def draw_compression(generator: random.Random) -> Compression:
    return generator.choice(_COMPRESSIONS) if generator.random() < 0.15 else Compression.NONE


def request_for(batch: Batch, compression: Compression = Compression.NONE) -> bytearray:
    """The batch as a client sends it."""
    return build_batch(
        [record._replace(offset=index) for index, record in enumerate(batch.records)],
        base_offset=0,
        compression=compression,
        producer_id=batch.producer_id,
        producer_epoch=batch.producer_epoch,
        base_sequence=batch.base_sequence,
        is_transactional=batch.is_transactional,
    )


def replica_of(batch: Batch) -> bytearray:
    """The batch as a leader sends it to its followers."""
    return build_batch(
        batch.records,
        base_offset=batch.base_offset,
        producer_id=batch.producer_id,
        producer_epoch=batch.producer_epoch,
        base_sequence=batch.base_sequence,
        is_transactional=batch.is_transactional,
        partition_leader_epoch=batch.epoch,
    )


def marker_for(batch: Batch) -> bytearray:
    return build_end_transaction_marker(
        base_offset=0,
        timestamp_ms=batch.timestamps[0],
        producer_id=batch.producer_id,
        producer_epoch=batch.producer_epoch,
        is_commit=batch.marker == "commit",
        coordinator_epoch=batch.coordinator_epoch,
    )


def draw_fault(generator: random.Random, directory: str) -> Fault:
    """An error to come soon, below `directory`."""
    delay = generator.choice((0, 0, 1, 3, 10))
    kind = generator.choice(("read", "write", "sync", "full", "full", "descriptors", "dead", "other"))
    if kind == "read":
        return Fault(frozenset({"read", "map"}), directory, errno.EIO, delay)
    if kind == "write":
        return Fault(frozenset({"write", "write_file"}), directory, errno.EIO, delay)
    if kind == "sync":
        return Fault(frozenset({"sync", "sync_directory"}), directory, errno.EIO, delay)
    if kind == "full":
        code = generator.choice((errno.ENOSPC, errno.EDQUOT))
        return Fault(WRITES, directory, code, delay, generator.choice((1, 2, 5, -1)))
    if kind == "descriptors":
        return Fault(
            frozenset({"open", "create"}), directory, errno.EMFILE, delay, generator.choice((1, 1, 3))
        )
    if kind == "dead":
        return Fault(ALL_OPERATIONS, directory, errno.EIO, delay, -1)
    operations = frozenset({"truncate", "rename", "remove", "open", "stat", "scan"})
    return Fault(operations, directory, errno.EIO, delay)
