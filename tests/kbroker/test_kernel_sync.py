"""Syncing by the kernel, on the files of this machine; a World falls back to threads where there is no such kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from kbroker import kernel_sync
from kbroker.kernel_sync import KernelSync, open_kernel_sync
from storage.filesystem import File, OsFile, OsFilesystem
from tests.storage.support import FailingFilesystem


class Threads:
    """A World's ``run_blocking`` that counts."""

    def __init__(self) -> None:
        self.runs = 0

    async def run_blocking(self, function: Any, *arguments: object) -> Any:
        self.runs += 1
        await trio.lowlevel.checkpoint()
        return function(*arguments)


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def file_sync(threads: Threads) -> KernelSync:
    opened = open_kernel_sync(threads.run_blocking)
    if opened is None:
        pytest.skip("this kernel does not sync by itself")
    return opened


def written_files(directory: Path, count: int) -> list[File]:
    filesystem = OsFilesystem()
    files: list[File] = [filesystem.open(f"{directory}/{number}", create=True) for number in range(count)]
    for file in files:
        file.pwrite((b"data",), 0)
    return files


def close(files: list[File]) -> None:
    for file in files:
        file.close()


@pytest.mark.parametrize("count", [1, 3, 300])  # 300: more than one context takes at a time
async def test_files_are_synced_without_a_thread(
    file_sync: KernelSync, threads: Threads, tmp_path: Path, count: int
) -> None:
    files = written_files(tmp_path, count)
    assert await file_sync.sync(files) is None
    assert threads.runs == 0
    close(files)


async def test_several_at_a_time_and_contexts_are_used_again(file_sync: KernelSync, tmp_path: Path) -> None:
    files = written_files(tmp_path, 40)
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(file_sync.sync, files[number::8])
        contexts = len(kernel_sync._idle)
        assert 1 <= contexts <= 8
    assert len(kernel_sync._idle) == contexts
    close(files)


async def test_what_the_kernel_does_not_take_goes_to_a_thread_and_its_error_is_told(
    file_sync: KernelSync, threads: Threads, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    pipe = OsFile("pipe", writing)
    files = written_files(tmp_path, 3)
    error = await file_sync.sync([files[0], pipe, files[1]])
    assert error is not None
    assert error.errno == errno.EINVAL
    assert threads.runs == 1
    assert await file_sync.sync(files) is None
    close([*files, pipe])
    os.close(reading)


async def test_the_error_of_a_file_is_that_of_its_sync(
    file_sync: KernelSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file here fails to sync, so the kernel's answer is changed on its way."""
    files = written_files(tmp_path, 2)
    finished = kernel_sync._Context._finished

    def fail_the_second(context: Any) -> list[tuple[int, int]]:
        return [(slot, -errno.EIO if slot == 1 else result) for slot, result in finished(context)]

    monkeypatch.setattr(kernel_sync._Context, "_finished", fail_the_second)
    error = await file_sync.sync(files)
    assert error is not None
    assert (error.errno, error.filename) == (errno.EIO, f"{tmp_path}/1")
    close(files)


async def test_a_sync_that_runs_is_not_cancelled(file_sync: KernelSync, tmp_path: Path) -> None:
    files = written_files(tmp_path, 4)
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await file_sync.sync(files) is None
    close(files)


async def test_without_a_context_a_thread_does_it(
    file_sync: KernelSync, threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_sync, "_idle", [])
    monkeypatch.setattr(kernel_sync, "_open_context", lambda: None)
    assert open_kernel_sync(threads.run_blocking) is None
    files = written_files(tmp_path, 2)
    assert await file_sync.sync(files) is None
    assert threads.runs == 1
    close(files)


def test_only_files_of_the_operating_system_are_taken(file_sync: KernelSync, tmp_path: Path) -> None:
    files = written_files(tmp_path, 1)
    assert file_sync.takes(files[0])
    close(files)
    standing_in = FailingFilesystem().open(f"{tmp_path}/0")
    assert not file_sync.takes(standing_in)
    standing_in.close()
