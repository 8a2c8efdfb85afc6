"""What every Filesystem must do for running processes: the operating system's and the simulated one alike."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.filesystem import DirectoryEntry, Filesystem, OsFilesystem
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import SimulatedFilesystem


def simulated() -> SimulatedFilesystem:
    return SimulatedFilesystem(Disk(random.Random(1), lambda: 1_700_000_000_000, Coverage()))


@pytest.fixture(params=[OsFilesystem, simulated])
def filesystem(request: pytest.FixtureRequest) -> Filesystem:
    made: Filesystem = request.param()
    return made


@pytest.fixture
def root(filesystem: Filesystem, tmp_path: Path) -> str:
    """An empty directory."""
    filesystem.make_directories(str(tmp_path))
    return str(tmp_path)


def test_writes_several_buffers_at_a_position(filesystem: Filesystem, root: str) -> None:
    file = filesystem.open(f"{root}/f", create=True)
    assert file.pwrite((b"ab", bytearray(b"cd"), memoryview(b"ef")), 3) == 6
    assert file.pread(100, 0) == b"\0\0\0abcdef"
    assert file.size() == 9
    file.pwrite((b"XY",), 4)
    assert file.pread(4, 3) == b"aXYd"
    file.close()


def test_reads_end_at_the_end_of_the_file(filesystem: Filesystem, root: str) -> None:
    file = filesystem.open(f"{root}/f", create=True)
    file.pwrite((b"abcdef",), 0)
    buffer = bytearray(10)
    assert file.pread_into(buffer, 2) == 4
    assert buffer == b"cdef" + bytes(6)
    assert file.pread(10, 6) == b""
    assert file.pread(10, 100) == b""
    view = memoryview(buffer)[8:]
    assert file.pread_into(view, 0) == 2
    assert buffer[8:] == b"ab"
    file.close()


def test_truncate_shortens_and_extends_with_zeros(filesystem: Filesystem, root: str) -> None:
    file = filesystem.open(f"{root}/f", create=True)
    file.pwrite((b"abcdef",), 0)
    file.truncate(3)
    assert file.pread(10, 0) == b"abc"
    file.truncate(5)
    assert file.pread(10, 0) == b"abc\0\0"
    assert filesystem.file_size(f"{root}/f") == 5
    file.close()


def test_a_closed_file_refuses(filesystem: Filesystem, root: str) -> None:
    file = filesystem.open(f"{root}/f", create=True)
    file.close()
    file.close()
    with pytest.raises(OSError) as raised:
        file.pread(1, 0)
    assert raised.value.errno == errno.EBADF


def test_open_needs_create_for_a_new_file(filesystem: Filesystem, root: str) -> None:
    with pytest.raises(FileNotFoundError):
        filesystem.open(f"{root}/missing")
    with pytest.raises(FileNotFoundError):
        filesystem.open(f"{root}/missing/f", create=True)
    with pytest.raises(IsADirectoryError):
        filesystem.open(root)
    filesystem.open(f"{root}/f", create=True).close()
    with pytest.raises(NotADirectoryError):
        filesystem.open(f"{root}/f/g", create=True)


def test_a_mapping_sees_later_writes(filesystem: Filesystem, root: str) -> None:
    file = filesystem.open(f"{root}/f", create=True)
    file.pwrite((b"abcd",), 0)
    mapping = file.map(4)
    file.pwrite((b"X",), 1)
    file.pwrite((b"more",), 4)
    assert bytes(mapping.view) == b"aXcd"
    with pytest.raises(TypeError):
        mapping.view[0] = 1
    mapping.close()
    with pytest.raises(ValueError):
        file.map(9)
    file.close()


@pytest.mark.parametrize("size", [0, 1, 4096, 70_000])
@pytest.mark.parametrize("sync", [False, True])
def test_reads_and_writes_whole_files(filesystem: Filesystem, root: str, size: int, sync: bool) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    filesystem.write_file(f"{root}/f", b"something else before", sync=sync)
    filesystem.write_file(f"{root}/f", bytearray(data), sync=sync)
    assert filesystem.read_file(f"{root}/f") == data
    assert filesystem.file_size(f"{root}/f") == size


def test_rename_replaces_and_open_files_stay_good(filesystem: Filesystem, root: str) -> None:
    filesystem.write_file(f"{root}/a", b"new", sync=False)
    filesystem.write_file(f"{root}/b", b"old", sync=False)
    old, new = filesystem.open(f"{root}/b"), filesystem.open(f"{root}/a")
    filesystem.rename(f"{root}/a", f"{root}/b")
    assert filesystem.read_file(f"{root}/b") == b"new"
    assert not filesystem.exists(f"{root}/a")
    assert (old.pread(9, 0), new.pread(9, 0)) == (b"old", b"new")
    new.pwrite((b"newer",), 0)
    assert filesystem.read_file(f"{root}/b") == b"newer"
    old.close()
    new.close()


def test_directories_move_with_what_is_in_them(filesystem: Filesystem, root: str) -> None:
    filesystem.make_directories(f"{root}/a/b")
    filesystem.write_file(f"{root}/a/b/f", b"x", sync=False)
    file = filesystem.open(f"{root}/a/b/f")
    filesystem.rename(f"{root}/a", f"{root}/c")
    file.pwrite((b"y",), 1)
    assert filesystem.read_file(f"{root}/c/b/f") == b"xy"
    file.close()
    filesystem.make_directory(f"{root}/empty")
    filesystem.rename(f"{root}/c", f"{root}/empty")
    assert filesystem.scan(root) == [DirectoryEntry("empty", True)]


def test_a_removed_file_is_readable_while_it_is_open(filesystem: Filesystem, root: str) -> None:
    filesystem.write_file(f"{root}/f", b"data", sync=False)
    file = filesystem.open(f"{root}/f")
    filesystem.remove(f"{root}/f")
    assert not filesystem.exists(f"{root}/f")
    assert file.pread(4, 0) == b"data"
    file.close()


def test_scan_is_sorted_and_tells_directories(filesystem: Filesystem, root: str) -> None:
    for name in ("b", "a", "c"):
        filesystem.write_file(f"{root}/{name}", b"", sync=False)
    filesystem.make_directory(f"{root}/aa")
    assert filesystem.scan(root) == [
        DirectoryEntry("a", False),
        DirectoryEntry("aa", True),
        DirectoryEntry("b", False),
        DirectoryEntry("c", False),
    ]


Call = Callable[[Filesystem, str], object]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda filesystem, root: filesystem.read_file(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.read_file(f"{root}/d"), errno.EISDIR),
        (lambda filesystem, root: filesystem.file_size(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.modified_ms(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.write_file(f"{root}/x/f", b"", sync=False), errno.ENOENT),
        (lambda filesystem, root: filesystem.write_file(f"{root}/d", b"", sync=False), errno.EISDIR),
        (lambda filesystem, root: filesystem.rename(f"{root}/missing", f"{root}/f"), errno.ENOENT),
        (lambda filesystem, root: filesystem.rename(f"{root}/f", f"{root}/d"), errno.EISDIR),
        (lambda filesystem, root: filesystem.rename(f"{root}/d", f"{root}/f"), errno.ENOTDIR),
        (lambda filesystem, root: filesystem.rename(f"{root}/e", f"{root}/d"), errno.ENOTEMPTY),
        (lambda filesystem, root: filesystem.remove(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.remove(f"{root}/d"), errno.EISDIR),
        (lambda filesystem, root: filesystem.remove_directory(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.remove_directory(f"{root}/d"), errno.ENOTEMPTY),
        (lambda filesystem, root: filesystem.remove_directory(f"{root}/f"), errno.ENOTDIR),
        (lambda filesystem, root: filesystem.make_directory(f"{root}/d"), errno.EEXIST),
        (lambda filesystem, root: filesystem.make_directory(f"{root}/f"), errno.EEXIST),
        (lambda filesystem, root: filesystem.make_directory(f"{root}/x/y"), errno.ENOENT),
        (lambda filesystem, root: filesystem.make_directories(f"{root}/f"), errno.EEXIST),
        (lambda filesystem, root: filesystem.scan(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.scan(f"{root}/f"), errno.ENOTDIR),
        (lambda filesystem, root: filesystem.sync_directory(f"{root}/missing"), errno.ENOENT),
        (lambda filesystem, root: filesystem.sync_directory(f"{root}/f"), errno.ENOTDIR),
        (lambda filesystem, root: filesystem.lock(f"{root}/x/.lock"), errno.ENOENT),
    ],
)
def test_errors_have_their_errno(filesystem: Filesystem, root: str, call: Call, code: int) -> None:
    filesystem.write_file(f"{root}/f", b"data", sync=False)
    filesystem.make_directories(f"{root}/d/child")
    filesystem.make_directory(f"{root}/e")
    filesystem.make_directories(f"{root}/d")
    with pytest.raises(OSError) as raised:
        call(filesystem, root)
    assert raised.value.errno == code


def test_a_lock_is_exclusive_within_the_process_too(filesystem: Filesystem, root: str) -> None:
    lock = filesystem.lock(f"{root}/.lock")
    assert lock is not None
    assert filesystem.lock(f"{root}/.lock") is None
    lock.release()
    lock.release()
    again = filesystem.lock(f"{root}/.lock")
    assert again is not None
    again.release()


def test_sizes_times_and_names(filesystem: Filesystem, root: str) -> None:
    assert 0 < filesystem.free_bytes(root) <= filesystem.total_bytes(root)
    assert filesystem.open_files_max() >= 64
    filesystem.sync_directory(root)
    filesystem.write_file(f"{root}/f", b"x", sync=False)
    assert filesystem.modified_ms(f"{root}/f") > 1_600_000_000_000
    filesystem.set_modified_ms(f"{root}/f", 1_500_000_000_123)
    assert filesystem.modified_ms(f"{root}/f") == 1_500_000_000_123
    assert filesystem.real_path(f"{root}/./x/../f") == f"{root}/f"
    assert filesystem.exists(f"{root}/f")
    assert filesystem.exists(root)
    assert not filesystem.exists(f"{root}/f/g")
