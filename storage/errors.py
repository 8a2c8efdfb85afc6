"""What can go wrong with files, as types.

Errors that belong into a response are `wire.errors.ApiError`. The ones here are about this machine's
disk: the broker turns `StorageError` into KAFKA_STORAGE_ERROR for the partition and decides about the
directory; the others never leave the storage package except as log lines and recovery findings.
"""

from __future__ import annotations

import errno

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageError(Exception):
    """A log directory could not be read or written (Kafka: KafkaStorageException).

    `directory` is the log directory (the parent of the partition's directory), so that the caller can
    take it offline. With `disk_full` the log is intact and takes appends again once there is room.
    """

    def __init__(self, directory: str, message: str, cause: OSError | None = None) -> None:
        super().__init__(message)
        self.directory = directory
        self.cause = cause

    @property
    def disk_full(self) -> bool:
        return self.cause is not None and self.cause.errno in DISK_FULL_ERRNOS

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.cause is None else f"{message}: {self.cause}"


class DirectoryInUseError(Exception):
    """Another broker holds the lock of a log directory. The message names the directory."""


class IncompatibleDirectoryError(Exception):
    """meta.properties names another cluster or node than this broker, or cannot be understood."""


class LogCorruptError(Exception):
    """A place in a segment file is not the start of a plausible record batch.

    `overlapping_offset` is set when there is a batch, but one that begins before the one in front of it
    ends: either of the two may be the damaged one.
    """

    def __init__(
        self, path: str, position: int, reason: str, *, overlapping_offset: int | None = None
    ) -> None:
        super().__init__(f"{path} at byte {position}: {reason}")
        self.path = path
        self.position = position
        self.reason = reason
        self.overlapping_offset = overlapping_offset


class CorruptIndexError(Exception):
    """An index file contradicts itself or its segment; it is rebuilt from the segment."""


class CorruptSnapshotError(Exception):
    """A producer snapshot has a wrong version, length or CRC; an older one or a scan replaces it."""


class CorruptCheckpointError(Exception):
    """A text checkpoint file cannot be parsed."""


class UnexpectedOffsetError(Exception):
    """A replicated append does not start at or after the log end (Kafka: UnexpectedAppendOffsetException).

    A follower whose log is empty may restart it at `first_offset` when that lies before the log end while
    `last_offset` does not.
    """

    def __init__(self, message: str, first_offset: int, last_offset: int) -> None:
        super().__init__(message)
        self.first_offset = first_offset
        self.last_offset = last_offset
