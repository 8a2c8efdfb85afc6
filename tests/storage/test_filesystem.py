from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.filesystem import DirectoryEntry, OsFilesystem


@pytest.fixture
def filesystem() -> OsFilesystem:
    return OsFilesystem()


def test_writes_several_buffers_at_a_position(filesystem: OsFilesystem, tmp_path: Path) -> None:
    file = filesystem.open(f"{tmp_path}/f", create=True)
    assert file.pwrite((b"ab", bytearray(b"cd"), memoryview(b"ef")), 3) == 6
    assert file.pread(100, 0) == b"\0\0\0abcdef"
    file.close()


def test_writes_more_buffers_than_one_call_takes(filesystem: OsFilesystem, tmp_path: Path) -> None:
    file = filesystem.open(f"{tmp_path}/f", create=True)
    buffers = [b"%04d" % number for number in range(3000)]
    assert file.pwrite(buffers, 0) == 12_000
    assert file.pread(12_000, 0) == b"".join(buffers)
    file.close()


def test_short_writes_are_continued(
    filesystem: OsFilesystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev

    def at_most_three_bytes(descriptor: int, buffers: list[bytes], position: int) -> int:
        return real(descriptor, [bytes(b"".join(buffers))[:3]], position)

    file = filesystem.open(f"{tmp_path}/f", create=True)
    monkeypatch.setattr(os, "pwritev", at_most_three_bytes)
    assert file.pwrite((b"abcd", b"efgh"), 0) == 8
    assert file.pread(8, 0) == b"abcdefgh"
    file.close()


def test_a_disk_that_fills_up_in_the_middle_of_a_write_raises(
    filesystem: OsFilesystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev
    calls = 0

    def first_short_then_full(descriptor: int, buffers: list[bytes], position: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, [buffers[0][:2]], position)

    file = filesystem.open(f"{tmp_path}/f", create=True)
    monkeypatch.setattr(os, "pwritev", first_short_then_full)
    with pytest.raises(OSError) as raised:
        file.pwrite((b"abcd",), 0)
    assert raised.value.errno == errno.ENOSPC
    file.close()


def test_reads_end_at_the_end_of_the_file(filesystem: OsFilesystem, tmp_path: Path) -> None:
    file = filesystem.open(f"{tmp_path}/f", create=True)
    file.pwrite((b"abcdef",), 0)
    buffer = bytearray(10)
    assert file.pread_into(buffer, 2) == 4
    assert buffer[:4] == b"cdef"
    assert file.pread(10, 6) == b""
    file.close()


def test_short_reads_are_continued(
    filesystem: OsFilesystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = filesystem.open(f"{tmp_path}/f", create=True)
    file.pwrite((b"abcdefgh",), 0)
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: pread(descriptor, min(size, 3), at))
    monkeypatch.setattr(os, "preadv", lambda descriptor, views, at: preadv(descriptor, [views[0][:3]], at))
    assert file.pread(8, 0) == b"abcdefgh"
    buffer = bytearray(8)
    assert file.pread_into(memoryview(buffer), 0) == 8
    assert buffer == b"abcdefgh"
    file.close()


def test_open_needs_create_for_a_new_file(filesystem: OsFilesystem, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        filesystem.open(f"{tmp_path}/missing")


def test_a_mapping_sees_later_writes(filesystem: OsFilesystem, tmp_path: Path) -> None:
    file = filesystem.open(f"{tmp_path}/f", create=True)
    file.pwrite((b"abcd",), 0)
    mapping = file.map(4)
    file.pwrite((b"X",), 1)
    assert bytes(mapping.view) == b"aXcd"
    mapping.close()
    file.close()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3_000_000])
def test_reads_and_writes_whole_files(filesystem: OsFilesystem, tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    filesystem.write_file(f"{tmp_path}/f", data, sync=size == 1)
    assert filesystem.read_file(f"{tmp_path}/f") == data
    assert filesystem.file_size(f"{tmp_path}/f") == size


def test_writing_a_file_replaces_longer_content(filesystem: OsFilesystem, tmp_path: Path) -> None:
    filesystem.write_file(f"{tmp_path}/f", b"long content", sync=False)
    filesystem.write_file(f"{tmp_path}/f", b"short", sync=False)
    assert filesystem.read_file(f"{tmp_path}/f") == b"short"


def test_scan_is_sorted_and_tells_directories(filesystem: OsFilesystem, tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).touch()
    (tmp_path / "aa").mkdir()
    assert filesystem.scan(str(tmp_path)) == [
        DirectoryEntry("a", False),
        DirectoryEntry("aa", True),
        DirectoryEntry("b", False),
        DirectoryEntry("c", False),
    ]


def test_a_lock_is_exclusive_within_the_process_too(filesystem: OsFilesystem, tmp_path: Path) -> None:
    lock = filesystem.lock(f"{tmp_path}/.lock")
    assert lock is not None
    assert filesystem.lock(f"{tmp_path}/.lock") is None
    lock.release()
    lock.release()
    again = filesystem.lock(f"{tmp_path}/.lock")
    assert again is not None
    again.release()


def test_a_lock_keeps_out_a_process_that_locks_as_java_does(filesystem: OsFilesystem, tmp_path: Path) -> None:
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, f"{tmp_path}/.lock"]
    lock = filesystem.lock(f"{tmp_path}/.lock")
    assert lock is not None
    refused = subprocess.run(command, input="", capture_output=True, text=True)
    assert "BlockingIOError" in refused.stderr
    lock.release()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert filesystem.lock(f"{tmp_path}/.lock") is None
        other.communicate("")
    again = filesystem.lock(f"{tmp_path}/.lock")
    assert again is not None
    again.release()


def test_directory_size_and_sync(filesystem: OsFilesystem, tmp_path: Path) -> None:
    assert 0 < filesystem.free_bytes(str(tmp_path)) <= filesystem.total_bytes(str(tmp_path))
    assert filesystem.open_files_max() >= 64
    filesystem.sync_directory(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        filesystem.sync_directory(f"{tmp_path}/missing")
