"""The Filesystem port on a simulated disk: what one process sees and does, until it is killed.

A `SimulatedFilesystem` is a process's access to a `Disk`. Every call is a step at which the process may die
(before it, in the middle of it, right after it) or get an error. Once it is dead, all its calls raise `Crashed`,
so that `finally` clauses change nothing any more. The disk lives on: the next process gets another
`SimulatedFilesystem`, with or without `Disk.lose_power` in between.
"""

from __future__ import annotations

import errno
import os
import posixpath
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.filesystem import Buffer, DirectoryEntry
from tests.sim.disk import Change, DirectoryNode, Disk, FileNode, NameChange, Node, Place

READS = frozenset({"read", "scan", "stat", "map"})
WRITES = frozenset({"write", "write_file", "create", "make_directory"})
SYNCS = frozenset({"sync", "sync_directory"})
ALL_OPERATIONS = (
    READS
    | WRITES
    | SYNCS
    | {"open", "truncate", "rename", "remove", "remove_directory", "lock", "set_modified"}
)

_BEFORE, _DURING, _AFTER = range(3)
_LIVES = -1


class Crashed(BaseException):
    """The process is dead. Not an Exception: nothing may catch it and tidy up."""


@dataclass(slots=True)
class Fault:
    """Calls of the kinds `operations` on paths below `prefix` fail with `code`.

    The first `delay` of them still succeed, `count` fail (-1: for ever).
    """

    operations: frozenset[str]
    prefix: str
    code: int
    delay: int = 0
    count: int = 1

    def strikes(self, operation: str, path: str) -> bool:
        if self.count == 0 or operation not in self.operations or not path.startswith(self.prefix):
            return False
        if self.delay > 0:
            self.delay -= 1
            return False
        if self.count > 0:
            self.count -= 1
        return True


class SimulatedFile:
    __slots__ = ("_filesystem", "_node", "_open", "path")

    def __init__(self, filesystem: SimulatedFilesystem, path: str, node: FileNode) -> None:
        self.path = path
        self._filesystem = filesystem
        self._node = node
        self._open = True
        filesystem.open_files += 1

    def _content(self) -> bytearray:
        if not self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)
        return self._node.content

    def fileno(self) -> int:
        return -1

    def pread(self, size: int, position: int) -> bytes:
        content = self._content()
        self._filesystem.step("read", self.path)
        data = bytes(content[position : position + size])
        self._filesystem.note_read(self.path, len(data))
        return data

    def pread_into(self, buffer: bytearray | memoryview, position: int) -> int:
        data = self.pread(len(buffer), position)
        buffer[: len(data)] = data
        return len(data)

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> int:
        self._content()
        data = b"".join(buffers)
        self._filesystem.write(self._node, self.path, Change(position, data))
        return len(data)

    def size(self) -> int:
        content = self._content()
        self._filesystem.step("stat", self.path)
        return len(content)

    def truncate(self, size: int) -> None:
        content = self._content()
        fate = self._filesystem.step("truncate", self.path, size)
        if size != len(content):
            self._filesystem.apply(self._node, Change(size, None))
        self._filesystem.survive(fate)

    def sync(self) -> None:
        self._content()
        self._filesystem.sync(self._node, self.path)

    def map(self, size: int) -> SimulatedMapping:
        content = self._content()
        if not 0 < size <= len(content):
            raise ValueError(f"cannot map {size} of {len(content)} bytes")
        self._filesystem.step("map", self.path, size)
        return SimulatedMapping(self._node, size, self._filesystem)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._filesystem.open_files -= 1


class SimulatedMapping:
    """A copy that the file keeps up to date, since a bytearray with views cannot grow."""

    __slots__ = ("_content", "_filesystem", "_node", "view")

    def __init__(self, node: FileNode, size: int, filesystem: SimulatedFilesystem) -> None:
        self._node = node
        self._filesystem = filesystem
        self._content = node.content[:size]
        self.view = memoryview(self._content).toreadonly()
        node.mappings.append(self._content)
        filesystem.open_files += 1
        filesystem.note_mapping(node, self._content)

    def close(self) -> None:
        self.view.release()
        mappings = self._node.mappings
        for index, content in enumerate(mappings):
            if content is self._content:
                del mappings[index]
                self._filesystem.open_files -= 1
                return


class SimulatedLock:
    def __init__(self, disk: Disk, path: str, owner: object) -> None:
        self._disk = disk
        self._path = path
        self._owner = owner

    def release(self) -> None:
        if self._disk.locks.get(self._path) is self._owner:
            del self._disk.locks[self._path]


class SimulatedFilesystem:
    """One process's view of `disk`.

    `crash_in` counts steps down to the process's death (0: it lives), `faults` are asked at every step, and
    `between` is called before each step that a background thread takes (see `StorageSimulation`). `trace` is a
    checksum of all calls and what they wrote: two runs that do the same have the same.
    """

    def __init__(self, disk: Disk, trace: int = 0) -> None:
        self.disk = disk
        self.trace = trace
        self.crash_in = 0
        self.faults: list[Fault] = []
        self.between: Callable[[str], None] | None = None
        self.is_dead = False
        self.open_files = 0
        self.steps = 0
        self.bytes_read: dict[str, int] = {}
        self.errors = 0
        self.failed_syncs = 0
        self._mappings: list[tuple[FileNode, bytearray]] = []

    # The life of the process

    def step(self, operation: str, path: str, number: int = 0) -> int:
        """A call begins. Raises `Crashed` or an OSError, or tells when in its course the process dies."""
        if self.is_dead:
            raise Crashed
        between = self.between
        if between is not None:
            between(operation)
            if self.is_dead:
                raise Crashed
        self.steps += 1
        self.trace = zlib.crc32(f"{operation} {path} {number}".encode(), self.trace)
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                fate = self.disk.random.randrange(3)
                self.disk.coverage.count("crash in", operation)
                if fate == _BEFORE:
                    self.kill()
                    raise Crashed
                return fate
        if self.faults:
            for fault in self.faults:
                if fault.strikes(operation, path):
                    self._fail(fault, operation, path)
        return _LIVES

    def _fail(self, fault: Fault, operation: str, path: str) -> None:
        self.errors += 1
        self.disk.coverage.count("error", f"{errno.errorcode[fault.code]} {operation}")
        if operation == "sync":
            self.failed_syncs += 1
            node = self._look_up(path)
            if isinstance(node, FileNode):
                self.disk.fail_sync(node)
        raise InjectedError(fault.code, os.strerror(fault.code), path)

    def survive(self, fate: int) -> None:
        """The call has done all it does."""
        if fate != _LIVES:
            self.kill()
            raise Crashed

    def kill(self) -> None:
        """The process is dead, as after kill -9: what it wrote stays, its locks go."""
        self.is_dead = True
        self.between = None
        for path, owner in list(self.disk.locks.items()):
            if owner is self:
                del self.disk.locks[path]
        for node, content in self._mappings:
            node.mappings = [each for each in node.mappings if each is not content]
        self._mappings.clear()

    def note_read(self, path: str, size: int) -> None:
        self.bytes_read[path] = self.bytes_read.get(path, 0) + size

    def note_mapping(self, node: FileNode, content: bytearray) -> None:
        self._mappings.append((node, content))

    # Changes of files

    def apply(self, node: FileNode, change: Change) -> None:
        if change.data:
            self.trace = zlib.crc32(change.data, self.trace)
        node.change(change)
        node.modified_ms = self.disk.clock_ms()

    def write(self, node: FileNode, path: str, change: Change, operation: str = "write") -> None:
        """Write all of it, unless the process dies or the disk fails in the middle."""
        data = change.data
        assert data is not None
        try:
            fate = self.step(operation, path, change.position)
        except InjectedError:
            self._write_part(node, change)
            raise
        if fate == _DURING:
            self._write_part(node, change)
        elif data:
            self.apply(node, change)
        self.survive(fate)

    def _write_part(self, node: FileNode, change: Change) -> None:
        assert change.data is not None
        cut = self.disk.random.randrange(len(change.data) + 1)
        if self.disk.random.random() < 0.3:
            cut = 0
        if cut:
            self.apply(node, Change(change.position, change.data[:cut]))

    def sync(self, node: FileNode, path: str) -> None:
        fate = self.step("sync", path)
        if fate != _DURING:
            node.sync()
        self.survive(fate)

    # Names

    def _walk(self, path: str) -> tuple[DirectoryNode, str]:
        """The directory that a path's last name is in, and that name."""
        node: Node = self.disk.root
        names = path.split("/")
        for name in names[1:-1]:
            if not isinstance(node, DirectoryNode):
                raise _error(errno.ENOTDIR, path)
            child = node.entries.get(name)
            if child is None:
                raise _error(errno.ENOENT, path)
            node = child
        if not isinstance(node, DirectoryNode):
            raise _error(errno.ENOTDIR, path)
        return node, names[-1]

    def _look_up(self, path: str) -> Node | None:
        directory, name = self._walk(path)
        return directory.entries.get(name) if name else self.disk.root

    def _find(self, path: str) -> Node:
        node = self._look_up(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        return node

    def _file(self, path: str) -> FileNode:
        node = self._find(path)
        if isinstance(node, DirectoryNode):
            raise _error(errno.EISDIR, path)
        return node

    def _directory(self, path: str) -> DirectoryNode:
        node = self._find(path)
        if isinstance(node, FileNode):
            raise _error(errno.ENOTDIR, path)
        return node

    def _link(self, place: Place, node: Node) -> None:
        directory, name = place
        directory.entries[name] = node
        self.disk.changed_names(NameChange(node, place, None))

    def _create_file(self, path: str, place: Place) -> FileNode:
        fate = self.step("create", path)
        node = FileNode()
        node.modified_ms = self.disk.clock_ms()
        self._link(place, node)
        self.survive(fate)
        return node

    # The port

    def open(self, path: str, *, create: bool = False) -> SimulatedFile:
        place = self._walk(path)
        node = place[0].entries.get(place[1])
        if node is None and create:
            return SimulatedFile(self, path, self._create_file(path, place))
        self.step("open", path)
        return SimulatedFile(self, path, self._file(path))

    def read_file(self, path: str) -> bytes:
        node = self._file(path)
        self.step("read", path)
        self.note_read(path, len(node.content))
        return bytes(node.content)

    def write_file(self, path: str, data: Buffer, *, sync: bool) -> None:
        place = self._walk(path)
        node = place[0].entries.get(place[1])
        if node is None:
            node = self._create_file(path, place)
        else:
            node = self._file(path)
            if node.content:
                fate = self.step("truncate", path, 0)
                self.apply(node, Change(0, None))
                self.survive(fate)
        self.write(node, path, Change(0, bytes(data)), "write_file")
        if sync:
            self.sync(node, path)

    def rename(self, source: str, target: str) -> None:
        fate = self.step("rename", f"{source} {target}")
        origin, goal = self._walk(source), self._walk(target)
        node = self._find(source)
        replaced = goal[0].entries.get(goal[1])
        if isinstance(replaced, DirectoryNode):
            if isinstance(node, FileNode):
                raise _error(errno.EISDIR, target)
            if replaced.entries:
                raise _error(errno.ENOTEMPTY, target)
        elif replaced is not None and isinstance(node, DirectoryNode):
            raise _error(errno.ENOTDIR, target)
        if replaced is not node:
            del origin[0].entries[origin[1]]
            goal[0].entries[goal[1]] = node
            self.disk.changed_names(NameChange(node, goal, origin))
        self.survive(fate)

    def remove(self, path: str) -> None:
        fate = self.step("remove", path)
        self._unlink(path, self._file(path))
        self.survive(fate)

    def remove_directory(self, path: str) -> None:
        fate = self.step("remove_directory", path)
        node = self._directory(path)
        if node.entries:
            raise _error(errno.ENOTEMPTY, path)
        self._unlink(path, node)
        self.survive(fate)

    def _unlink(self, path: str, node: Node) -> None:
        directory, name = self._walk(path)
        del directory.entries[name]
        self.disk.changed_names(NameChange(node, None, (directory, name)))

    def make_directory(self, path: str) -> None:
        place = self._walk(path)
        if not place[1] or place[1] in place[0].entries:
            raise _error(errno.EEXIST, path)
        fate = self.step("make_directory", path)
        self._link(place, DirectoryNode())
        self.survive(fate)

    def make_directories(self, path: str) -> None:
        names = path.split("/")
        for depth in range(2, len(names) + 1):
            part = "/".join(names[:depth])
            node = self._look_up(part)
            if node is None:
                self.make_directory(part)
            elif isinstance(node, FileNode):
                raise _error(errno.EEXIST if part == path else errno.ENOTDIR, path)

    def scan(self, path: str) -> list[DirectoryEntry]:
        node = self._directory(path)
        self.step("scan", path)
        return sorted(
            DirectoryEntry(name, isinstance(child, DirectoryNode)) for name, child in node.entries.items()
        )

    def exists(self, path: str) -> bool:
        self.step("stat", path)
        try:
            return self._look_up(path) is not None
        except OSError:
            return False

    def file_size(self, path: str) -> int:
        node = self._find(path)
        self.step("stat", path)
        return len(node.content) if isinstance(node, FileNode) else 4096

    def modified_ms(self, path: str) -> int:
        node = self._file(path)
        self.step("stat", path)
        return node.modified_ms

    def set_modified_ms(self, path: str, modified_ms: int) -> None:
        node = self._file(path)
        fate = self.step("set_modified", path, modified_ms)
        node.modified_ms = modified_ms
        self.survive(fate)

    def real_path(self, path: str) -> str:
        return posixpath.normpath(posixpath.join("/", path))

    def sync_directory(self, path: str) -> None:
        node = self._directory(path)
        fate = self.step("sync_directory", path)
        if fate != _DURING:
            self.disk.sync_names(node)
        self.survive(fate)

    def lock(self, path: str) -> SimulatedLock | None:
        place = self._walk(path)
        if place[0].entries.get(place[1]) is None:
            self._create_file(path, place)
        self.step("lock", path)
        if path in self.disk.locks:
            return None
        self.disk.locks[path] = self
        return SimulatedLock(self.disk, path, self)

    def free_bytes(self, path: str) -> int:
        self._find(path)
        self.step("stat", path)
        return 1 << 30

    def total_bytes(self, path: str) -> int:
        self._find(path)
        self.step("stat", path)
        return 1 << 31

    def open_files_max(self) -> int:
        return 1024


class InjectedError(OSError):
    """An error that a `Fault` caused."""


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)
