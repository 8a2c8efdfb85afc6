"""How fast one cleaner compacts: MB of log a second, on an otherwise idle thread, files included.

``measure(record_bytes)`` fills a log of several segments with keys of which each occurs ten times, and cleans it once.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import uuid
from typing import NamedTuple

from storage.cleaner.cleanable import cleanable_offsets, log_to_clean
from storage.cleaner.offset_map import OffsetMap
from storage.filesystem import OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.topic_partition import TopicPartition
from wire.records import Record, build_batch

_MEMORY_BYTES = 128 << 20
_BUFFER_BYTES = 256 << 10
_BATCH_BYTES = 16 << 10


class CleanerSpeed(NamedTuple):
    """`megabytes` are those of the log before the cleaning, in millions of bytes."""

    megabytes: float
    records: int
    kept: int
    seconds: float

    @property
    def megabytes_per_second(self) -> float:
        return self.megabytes / self.seconds

    @property
    def records_per_second(self) -> float:
        return self.records / self.seconds


def measure(record_bytes: int, *, log_bytes: int = 64 << 20) -> CleanerSpeed:
    """Compact a log of about `log_bytes` with values of `record_bytes`."""
    directory = tempfile.mkdtemp(prefix="cleaner-bench-")
    try:
        log = _open(directory)
        records = _fill(log, record_bytes, log_bytes)
        size_bytes = log.size_bytes
        now_ms = time.time_ns() // 1_000_000
        chosen = log_to_clean(log, cleanable_offsets(log, None, now_ms), now_ms)
        began = time.perf_counter()
        cleaning = log.begin_cleaning(
            first_dirty_offset=chosen.first_dirty_offset,
            first_uncleanable_offset=chosen.first_uncleanable_offset,
            offset_map=OffsetMap(_MEMORY_BYTES, 0.9, key_count_wanted=records),
            buffer_bytes=_BUFFER_BYTES,
        )
        for _ in cleaning.steps():
            pass
        seconds = time.perf_counter() - began
        log.close()
        return CleanerSpeed(size_bytes / 1e6, cleaning.records_read, cleaning.records_kept, seconds)
    finally:
        shutil.rmtree(directory)


def _open(directory: str) -> Log:
    return Log.open(
        f"{directory}/bench-0",
        context=LogContext(OsFilesystem(), lambda: time.time_ns() // 1_000_000),
        config=LogConfig(segment_bytes=16 << 20, cleanup_policy=frozenset({"compact"})),
        topic_partition=TopicPartition("bench", 0),
        topic_id=uuid.UUID(int=1),
    )


def _fill(log: Log, record_bytes: int, log_bytes: int) -> int:
    """Append batches of about 16 KiB and roll; how many records."""
    draw = random.Random(1)
    records = log_bytes // record_bytes
    per_batch = max(_BATCH_BYTES // record_bytes, 1)
    value = draw.randbytes(record_bytes)
    now_ms = time.time_ns() // 1_000_000
    for _ in range(records // per_batch):
        batch = build_batch(
            [
                Record(index, now_ms, b"key-%d" % draw.randrange(records // 10), value)
                for index in range(per_batch)
            ],
            base_offset=0,
        )
        log.append_as_leader(batch, 0)
    log.roll()
    log.update_high_watermark(log.log_end_offset)
    return log.log_end_offset


if __name__ == "__main__":
    for size in (100, 1024):
        speed = measure(size)
        print(
            f"{size} B values: {speed.megabytes_per_second:.1f} MB/s, {speed.records_per_second:,.0f} records/s"
        )
