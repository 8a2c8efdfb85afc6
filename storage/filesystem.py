"""The one door between storage and the disk.

Every file that storage touches goes through a `Filesystem`; the real one is `OsFilesystem`. Errors are
`OSError`s with an errno, whoever implements the port, since ENOSPC and EIO mean different things to the
caller. Positions and sizes are bytes; times are Unix milliseconds.

Durability as POSIX has it, and as an implementation that simulates power loss must have it: written bytes
survive the process at once, and the machine only after `File.sync`; a created, renamed or removed name
survives the machine only after `sync_directory` of its parent.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview

_BUFFERS_PER_CALL_MAX = 1024  # IOV_MAX on Linux
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class DirectoryEntry(NamedTuple):
    name: str
    is_directory: bool


class Mapping(Protocol):
    """A read-only window onto the first bytes of a file. It sees later writes to those bytes."""

    @property
    def view(self) -> memoryview: ...

    def close(self) -> None:
        """Unmap; the view must not be used afterwards."""


class File(Protocol):
    """An open file. All access is positional: there is no cursor to share or to lose."""

    def fileno(self) -> int:
        """The operating system's descriptor, for sendfile."""

    def pread(self, size: int, position: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""

    def pread_into(self, buffer: bytearray | memoryview, position: int) -> int:
        """Fill `buffer`; returns the count, smaller only at the end of the file."""

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> int:
        """Write all buffers one after another at `position`, uncopied, and return their total size.

        After an error some prefix may have been written.
        """

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def sync(self) -> None:
        """Make the written bytes and the size survive a power loss. May be called from another thread."""

    def map(self, size: int) -> Mapping:
        """Map the first `size` bytes (at least 1, at most the file's size) for reading."""

    def close(self) -> None: ...


class DirectoryLock(Protocol):
    def release(self) -> None: ...


class Filesystem(Protocol):
    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing; FileNotFoundError unless it exists or `create` is given."""

    def read_file(self, path: str) -> bytes: ...

    def write_file(self, path: str, data: Buffer, *, sync: bool) -> None:
        """Create or replace the content in place (not atomic); with `sync`, make the content durable."""

    def rename(self, source: str, target: str) -> None:
        """Atomically move, replacing `target`."""

    def remove(self, path: str) -> None:
        """Remove a file; FileNotFoundError when there is none."""

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""

    def make_directory(self, path: str) -> None:
        """Create one directory; FileExistsError when the name is taken."""

    def make_directories(self, path: str) -> None:
        """Create a directory and its missing parents; fine when it exists."""

    def scan(self, path: str) -> list[DirectoryEntry]:
        """The directory's content, sorted by name."""

    def exists(self, path: str) -> bool: ...

    def file_size(self, path: str) -> int: ...

    def modified_ms(self, path: str) -> int: ...

    def set_modified_ms(self, path: str, modified_ms: int) -> None:
        """Pretend that the file was last written then."""

    def real_path(self, path: str) -> str:
        """Absolute, without symbolic links: two names of one directory compare equal."""

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in this directory survive a power loss."""

    def lock(self, path: str) -> DirectoryLock | None:
        """Take an exclusive lock on a file (created when missing) until released or the process ends.

        None when somebody else holds it, in this process or another.
        """

    def free_bytes(self, path: str) -> int: ...

    def total_bytes(self, path: str) -> int: ...

    def open_files_max(self) -> int:
        """How many files this process may hold open at once, for everything it does."""


class OsMapping:
    __slots__ = ("_map", "view")

    def __init__(self, descriptor: int, size: int) -> None:
        self._map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
        self.view = memoryview(self._map)

    def close(self) -> None:
        self.view.release()
        self._map.close()


class OsFile:
    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def pread(self, size: int, position: int) -> bytes:
        data = os.pread(self._descriptor, size, position)
        if len(data) == size or not data:
            return data
        # A short read in the middle of a file is legal (a signal, a network filesystem): go on to the end.
        parts = [data]
        missing = size - len(data)
        while missing:
            data = os.pread(self._descriptor, missing, position + size - missing)
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def pread_into(self, buffer: bytearray | memoryview, position: int) -> int:
        total = os.preadv(self._descriptor, [buffer], position)
        if total == len(buffer) or total == 0:
            return total
        view = memoryview(buffer)
        while total < len(view):
            count = os.preadv(self._descriptor, [view[total:]], position + total)
            if count == 0:
                break
            total += count
        return total

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> int:
        size = 0
        for buffer in buffers:
            size += len(buffer)
        if len(buffers) <= _BUFFERS_PER_CALL_MAX:
            written = os.pwritev(self._descriptor, buffers, position)
            if written == size:
                return size
        else:
            written = 0
        # A full disk or a file size limit first shortens a write and only then fails the next one.
        while written < size:
            count = os.pwritev(self._descriptor, _rest(buffers, written), position + written)
            if count == 0:
                raise OSError(errno.EIO, "write made no progress", self.path)
            written += count
        return size

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        _fdatasync(self._descriptor)

    def map(self, size: int) -> OsMapping:
        return OsMapping(self._descriptor, size)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _rest(buffers: Sequence[Buffer], skip: int) -> list[Buffer]:
    """What remains of `buffers` after `skip` bytes, at most as many as one call takes."""
    rest: list[Buffer] = []
    for buffer in buffers:
        if skip >= len(buffer):
            skip -= len(buffer)
            continue
        rest.append(memoryview(buffer)[skip:] if skip else buffer)
        skip = 0
        if len(rest) == _BUFFERS_PER_CALL_MAX:
            break
    return rest


class OsDirectoryLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class OsFilesystem:
    """The operating system's files, by system calls without Python's buffering."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return OsFile(path, os.open(path, flags, 0o644))

    def read_file(self, path: str) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, 4096)
            if len(data) < 4096:
                return data
            parts = [data]
            while data:
                data = os.read(descriptor, 1 << 20)
                parts.append(data)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def write_file(self, path: str, data: Buffer, *, sync: bool) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def make_directory(self, path: str) -> None:
        os.mkdir(path)

    def make_directories(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def scan(self, path: str) -> list[DirectoryEntry]:
        with os.scandir(path) as entries:
            return sorted(DirectoryEntry(entry.name, entry.is_dir()) for entry in entries)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def file_size(self, path: str) -> int:
        return os.stat(path).st_size

    def modified_ms(self, path: str) -> int:
        return os.stat(path).st_mtime_ns // 1_000_000

    def set_modified_ms(self, path: str, modified_ms: int) -> None:
        os.utime(path, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))

    def real_path(self, path: str) -> str:
        return os.path.realpath(path)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: str) -> OsDirectoryLock | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _lock_as_java_does(descriptor)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return OsDirectoryLock(descriptor)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def total_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_blocks * status.f_frsize

    def open_files_max(self) -> int:
        try:
            return max(64, os.sysconf("SC_OPEN_MAX"))
        except (ValueError, OSError):
            return 1024


def _lock_as_java_does(descriptor: int) -> None:
    """Keep out, and be kept out by, an Apache Kafka: its lock is a record lock, which ``flock`` does not see.

    Where the kernel has them it is one of the open file, so that closing another descriptor of it does not drop it.
    BlockingIOError or PermissionError if somebody has it.
    """
    set_lock = getattr(fcntl, "F_OFD_SETLK", None)
    if set_lock is None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        # struct flock: type, whence, start, length (0: all of it), pid, which must be 0.
        fcntl.fcntl(descriptor, set_lock, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
