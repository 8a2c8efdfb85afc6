from __future__ import annotations

from pathlib import Path

import pytest

from storage.file_cache import FileCache, FileHandle, MappingHandle
from storage.file_slice import FileSlice
from tests.storage.support import FailingFilesystem


@pytest.fixture
def filesystem() -> FailingFilesystem:
    return FailingFilesystem()


@pytest.fixture
def cache(filesystem: FailingFilesystem) -> FileCache:
    return FileCache(filesystem, open_files_max=4)


def handles(cache: FileCache, directory: Path, count: int) -> list[FileHandle]:
    made = []
    for number in range(count):
        path = directory / f"f{number}"
        path.write_bytes(b"content of %d" % number)
        made.append(FileHandle(cache, str(path)))
    return made


def test_opens_when_used_and_stays_within_the_bound(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    files = handles(cache, tmp_path, 20)
    assert cache.open_count == 0
    for _ in range(3):
        for number, handle in enumerate(files):
            assert handle.file().pread(100, 0) == b"content of %d" % number
            assert cache.open_count <= 4
            assert len(filesystem.open_paths) <= 4


def test_what_is_used_often_stays_open(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    hot, *cold = handles(cache, tmp_path, 12)
    hot.file()
    for handle in cold:
        handle.file()
        hot.file()
    assert filesystem.opens == len(cold) + 1


def test_pinned_files_stay_open_beyond_the_bound(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    files = handles(cache, tmp_path, 10)
    for handle in files:
        handle.pin()
    assert len(filesystem.open_paths) == 10
    assert cache.crowded
    for handle in files:
        handle.unpin()
    assert not cache.crowded
    files[0].file()
    FileHandle(cache, str(tmp_path / "f0")).file()
    assert len(filesystem.open_paths) <= 4


def test_unpin_without_pin_is_a_broken_invariant(cache: FileCache, tmp_path: Path) -> None:
    (handle,) = handles(cache, tmp_path, 1)
    with pytest.raises(AssertionError):
        handle.unpin()


def test_close_waits_for_the_last_pin(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    (handle,) = handles(cache, tmp_path, 1)
    handle.pin()
    handle.pin()
    handle.close()
    handle.unpin()
    assert filesystem.open_paths == [handle.path]
    handle.unpin()
    assert filesystem.open_paths == []
    assert cache.open_count == 0
    assert handle.file().pread(7, 0) == b"content"


def test_running_out_of_descriptors_makes_room(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = handles(cache, tmp_path, 4)
    for handle in files[:3]:
        handle.file()
    real = FailingFilesystem.open

    def only_two_at_once(self: FailingFilesystem, path: str, *, create: bool = False) -> object:
        if len(self.open_paths) >= 2:
            raise OSError(24, "Too many open files")
        return real(self, path, create=create)

    monkeypatch.setattr(FailingFilesystem, "open", only_two_at_once)
    assert files[3].file().pread(7, 0) == b"content"


def test_mappings_are_evicted_like_files(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    files = handles(cache, tmp_path, 6)
    mappings = [MappingHandle(cache, handle) for handle in files]
    for _ in range(2):
        for number, mapping in enumerate(mappings):
            assert bytes(mapping.view(12)[:12]) == b"content of %d" % number
            assert cache.open_count <= 4


def test_a_mapping_grows_on_demand(cache: FileCache, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abcdefgh")
    mapping = MappingHandle(cache, FileHandle(cache, str(path)))
    assert bytes(mapping.view(4)) == b"abcd"
    assert bytes(mapping.view(2)) == b"abcd"
    assert bytes(mapping.view(8)) == b"abcdefgh"
    mapping.close()
    assert bytes(mapping.view(8)) == b"abcdefgh"


def test_a_slice_reads_its_range_and_survives_deletion(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    (handle,) = handles(cache, tmp_path, 1)
    file_slice = FileSlice(handle, 8, 4)
    filesystem.remove(handle.path)
    handle.close()
    for other in handles(cache, tmp_path / ".", 8)[1:]:
        other.file()
    assert file_slice.read() == b"of 0"
    assert len(file_slice) == 4
    assert file_slice.fileno() >= 0
    file_slice.release()
    file_slice.release()
    assert handle.path not in filesystem.open_paths
    with pytest.raises(ValueError):
        file_slice.read()


def test_a_forgotten_slice_releases_its_file(
    cache: FileCache, filesystem: FailingFilesystem, tmp_path: Path
) -> None:
    (handle,) = handles(cache, tmp_path, 1)
    file_slice = FileSlice(handle, 0, 4)
    assert handle.pinned
    del file_slice
    assert not handle.pinned


def test_a_slice_in_memory_holds_no_file(cache: FileCache, tmp_path: Path) -> None:
    (handle,) = handles(cache, tmp_path, 1)
    with FileSlice(handle, 0, 7, in_memory=True) as file_slice:
        assert not handle.pinned
        assert file_slice.fileno() == -1
        assert file_slice.read() == b"content"


def test_a_slice_of_a_truncated_file_says_so(cache: FileCache, tmp_path: Path) -> None:
    (handle,) = handles(cache, tmp_path, 1)
    with FileSlice(handle, 0, 7) as file_slice:
        handle.file().truncate(3)
        with pytest.raises(EOFError):
            file_slice.read()
