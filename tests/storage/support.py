"""What the storage tests share: a clock to turn by hand, batches, logs on a temporary directory, failing disks."""

from __future__ import annotations

import errno
import random
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.filesystem import Buffer, OsFile, OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_manager import LogManager
from storage.recovery_anchor import RecoveryAnchor
from storage.topic_partition import TopicPartition
from wire.records import (
    BatchHeader,
    Compression,
    Record,
    build_batch,
    build_end_transaction_marker,
    iterate_batches,
    read_records,
)

START_MS = 1_700_000_000_000
PARTITION = TopicPartition("orders", 0)
TOPIC_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class ManualClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class FailingFilesystem(OsFilesystem):
    """The real files, with writes that fail on command.

    `fail_write(path, position, size)` returns an errno to fail a write with, or 0. With `partial` a failing
    write first puts half of its bytes down, as a filling disk does.
    """

    def __init__(self) -> None:
        self.fail_write: Callable[[str, int, int], int] = lambda path, position, size: 0
        self.fail_truncate = 0
        self.fail_sync = 0
        self.fail_sync_below = ""
        self.partial = False
        self.open_paths: list[str] = []
        self.synced: list[str] = []
        self.opens = 0
        self.log_bytes_read = 0

    def open(self, path: str, *, create: bool = False) -> OsFile:
        self.opens += 1
        file = super().open(path, create=create)
        return _FailingFile(self, file)

    def write_file(self, path: str, data: Buffer, *, sync: bool) -> None:
        code = self.fail_write(path, 0, len(data))
        if code:
            if self.partial:
                super().write_file(path, bytes(data)[: len(data) // 2], sync=False)
            raise OSError(code, "injected", path)
        super().write_file(path, data, sync=sync)
        if sync:
            self.synced.append(path)

    def sync_directory(self, path: str) -> None:
        if self.fail_sync:
            raise OSError(self.fail_sync, "injected", path)
        super().sync_directory(path)
        self.synced.append(path)


class _FailingFile(OsFile):
    __slots__ = ("_filesystem",)

    def __init__(self, filesystem: FailingFilesystem, file: OsFile) -> None:
        super().__init__(file.path, file.fileno())
        self._filesystem = filesystem
        filesystem.open_paths.append(file.path)

    def pread(self, size: int, position: int) -> bytes:
        data = super().pread(size, position)
        if self.path.endswith(".log"):
            self._filesystem.log_bytes_read += len(data)
        return data

    def pread_into(self, buffer: bytearray | memoryview, position: int) -> int:
        count = super().pread_into(buffer, position)
        if self.path.endswith(".log"):
            self._filesystem.log_bytes_read += count
        return count

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> int:
        size = sum(len(buffer) for buffer in buffers)
        code = self._filesystem.fail_write(self.path, position, size)
        if code:
            if self._filesystem.partial:
                data = b"".join(bytes(buffer) for buffer in buffers)
                super().pwrite((data[: len(data) // 2],), position)
            raise OSError(code, "injected", self.path)
        return super().pwrite(buffers, position)

    def truncate(self, size: int) -> None:
        if self._filesystem.fail_truncate:
            raise OSError(self._filesystem.fail_truncate, "injected", self.path)
        super().truncate(size)

    def sync(self) -> None:
        if self._filesystem.fail_sync:
            raise OSError(self._filesystem.fail_sync, "injected", self.path)
        doomed = self._filesystem.fail_sync_below
        if doomed and self.path.startswith(doomed):
            raise OSError(errno.EIO, "injected", self.path)
        super().sync()
        self._filesystem.synced.append(self.path)

    def close(self) -> None:
        self._filesystem.open_paths.remove(self.path)
        super().close()


def disk_full(path: str, position: int, size: int) -> int:
    return errno.ENOSPC


def disk_broken(path: str, position: int, size: int) -> int:
    return errno.EIO


def make_context(
    clock: ManualClock | None = None, filesystem: OsFilesystem | None = None, **settings: Any
) -> LogContext:
    return LogContext(filesystem or OsFilesystem(), clock or ManualClock(), **settings)


class LogHarness:
    """Opens and reopens one log in a directory, as a broker that stops cleanly or is killed would."""

    def __init__(
        self,
        path: Path,
        config: LogConfig | None = None,
        *,
        clock: ManualClock | None = None,
        filesystem: OsFilesystem | None = None,
        requires_verification: bool = False,
        is_replicated: bool = False,
    ) -> None:
        self.requires_verification = requires_verification
        self.is_replicated = is_replicated
        self.path = path / PARTITION.directory_name
        self.config = config or LogConfig()
        self.clock = clock or ManualClock()
        self.filesystem = filesystem or OsFilesystem()
        self.recovery_point = 0
        self.recovery_anchor: RecoveryAnchor | None = None
        self.log_start_offset = 0
        self.log = self._open(clean=False)

    def _open(self, *, clean: bool) -> Log:
        log = Log.open(
            str(self.path),
            context=make_context(
                self.clock, self.filesystem, requires_verification=lambda: self.requires_verification
            ),
            config=self.config,
            topic_partition=PARTITION,
            topic_id=TOPIC_ID,
            recovery_point=self.recovery_point,
            recovery_anchor=self.recovery_anchor,
            log_start_offset=self.log_start_offset,
            clean_shutdown=clean,
            is_replicated=self.is_replicated,
        )
        log.on_recovery_point_lowered = self._note_recovery_point
        return log

    def checkpoint(self) -> None:
        """Remember what the checkpoint files would hold."""
        self._note_recovery_point(self.log)
        self.log_start_offset = self.log.log_start_offset

    def _note_recovery_point(self, log: Log) -> None:
        self.recovery_point = log.checkpoint_offset
        self.recovery_anchor = log.recovery_anchor

    def anchor(self) -> RecoveryAnchor:
        """Lay a recovery anchor at the log end, and remember it as the checkpoint files would."""
        pending = self.log.begin_anchor()
        assert pending is not None
        pending.run()
        self.checkpoint()
        anchor = self.log.recovery_anchor
        assert anchor is not None
        return anchor

    def reopen_cleanly(self) -> Log:
        self.log.close()
        self.checkpoint()
        self.log = self._open(clean=True)
        return self.log

    def reopen_after_kill(self) -> Log:
        self.log.abandon()
        self.log = self._open(clean=False)
        return self.log


def make_manager(*directories: Path, clock: ManualClock | None = None, **settings: object) -> LogManager:
    arguments: dict[str, object] = {
        "filesystem": OsFilesystem(),
        "clock_ms": clock or ManualClock(),
        "random_uuid": uuid.uuid4,
        "random_below": random.Random(1).randrange,
    }
    return LogManager([str(path) for path in directories], **(arguments | settings))  # type: ignore[arg-type]


def batch(
    *values: bytes,
    timestamp: int = START_MS,
    key: bytes | None = b"key",
    producer_id: int = -1,
    producer_epoch: int = -1,
    sequence: int = -1,
    transactional: bool = False,
    compression: Compression = Compression.NONE,
) -> bytearray:
    """A batch as a producer sends it; record n has the timestamp plus n."""
    records = [
        Record(index, timestamp + index, key, value) for index, value in enumerate(values or (b"value",))
    ]
    return build_batch(
        records,
        base_offset=0,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
        is_transactional=transactional,
        compression=compression,
    )


def replicated(
    base_offset: int, *values: bytes, leader_epoch: int = 0, timestamp: int = START_MS, **arguments: int
) -> bytearray:
    """A batch as a leader sends it to its followers."""
    records = [
        Record(base_offset + index, timestamp + index, b"key", value)
        for index, value in enumerate(values or (b"value",))
    ]
    return build_batch(
        records,
        base_offset=base_offset,
        partition_leader_epoch=leader_epoch,
        **arguments,  # type: ignore[arg-type]
    )


def marker(
    producer_id: int,
    *,
    commit: bool,
    producer_epoch: int = 0,
    coordinator_epoch: int = 0,
    timestamp: int = START_MS,
) -> bytearray:
    return build_end_transaction_marker(
        base_offset=0,
        timestamp_ms=timestamp,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        is_commit=commit,
        coordinator_epoch=coordinator_epoch,
    )


def read_headers(log: Log, offset: int, max_bytes: int = 1 << 30, **arguments: object) -> list[BatchHeader]:
    """The complete batches that a read gives."""
    arguments.setdefault("max_offset", log.log_end_offset)
    result = log.read(offset, max_bytes, **arguments)  # type: ignore[arg-type]
    if result.records is None:
        return []
    with result.records as records:
        return [header for _, header in iterate_batches(records.read())]


def read_all(log: Log) -> list[Record]:
    """All records, read as a consumer would, from the log start to the log end."""
    found: list[Record] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        result = log.read(offset, 4096, max_offset=log.log_end_offset)
        if result.records is None:
            break
        with result.records as records:
            data = records.read()
        for position, header in iterate_batches(data):
            if header.record_count:
                decoded = read_records(data, position, decompressed_bytes_max=1 << 20)
                found += [record for record in decoded if record.offset >= log.log_start_offset]
            offset = header.next_offset
    return found
