from __future__ import annotations

from pathlib import Path

import pytest

from storage.epoch_cache import EpochEntry, LeaderEpochCache, decode_epoch_entries
from tests.storage.support import FailingFilesystem, disk_full


@pytest.fixture
def filesystem() -> FailingFilesystem:
    return FailingFilesystem()


@pytest.fixture
def cache(filesystem: FailingFilesystem, tmp_path: Path) -> LeaderEpochCache:
    return LeaderEpochCache(filesystem, f"{tmp_path}/leader-epoch-checkpoint", [])


def on_disk(cache: LeaderEpochCache) -> list[EpochEntry]:
    return decode_epoch_entries(Path(cache.path).read_bytes())


def test_assigning_notes_each_epoch_once_and_writes_it(cache: LeaderEpochCache) -> None:
    assert cache.latest_epoch is None
    cache.assign(2, 6)
    version = cache.version
    cache.assign(2, 7)
    cache.assign(2, 6)
    assert cache.version == version
    cache.assign(4, 11)
    assert cache.entries == on_disk(cache) == [EpochEntry(2, 6), EpochEntry(4, 11)]
    assert cache.latest_epoch == 4
    assert cache.earliest == EpochEntry(2, 6)
    assert cache.unsynced


def test_assigning_drops_what_contradicts(cache: LeaderEpochCache) -> None:
    for epoch, offset in ((2, 6), (3, 8), (4, 11)):
        cache.assign(epoch, offset)
    cache.assign(5, 8)
    assert cache.entries == [EpochEntry(2, 6), EpochEntry(5, 8)]
    cache.assign(3, 20)
    assert cache.entries == [EpochEntry(2, 6), EpochEntry(3, 20)]
    cache.assign(3, 10)
    assert cache.entries == [EpochEntry(2, 6), EpochEntry(3, 10)]


@pytest.mark.parametrize(
    ("epoch", "found"),
    [
        (-1, (-1, -1)),  # undefined
        (1, (1, 6)),  # before the first known one: where that began
        (2, (2, 8)),
        (3, (2, 8)),  # unknown in between: the largest smaller one
        (4, (4, 11)),
        (5, (5, 30)),  # the latest: the log end
        (6, (-1, -1)),  # later than any
    ],
)
def test_end_offset_for_epoch(cache: LeaderEpochCache, epoch: int, found: tuple[int, int]) -> None:
    for known, offset in ((2, 6), (4, 8), (5, 11)):
        cache.assign(known, offset)
    assert cache.end_offset_for(epoch, 30) == found


def test_an_empty_cache_knows_no_epoch(cache: LeaderEpochCache) -> None:
    assert cache.end_offset_for(0, 30) == (-1, -1)
    assert cache.epoch_for_offset(5) is None


def test_epoch_for_offset(cache: LeaderEpochCache) -> None:
    cache.assign(2, 6)
    cache.assign(4, 8)
    assert [cache.epoch_for_offset(offset) for offset in (5, 6, 7, 8, 99)] == [None, 2, 2, 4, 4]


def test_truncating_from_the_end(cache: LeaderEpochCache) -> None:
    for epoch, offset in ((2, 6), (3, 8), (4, 11)):
        cache.assign(epoch, offset)
    cache.truncate_from_end(12)
    assert len(cache.entries) == 3
    cache.truncate_from_end(11)
    assert cache.entries == on_disk(cache) == [EpochEntry(2, 6), EpochEntry(3, 8)]
    cache.truncate_from_end(7)
    assert cache.entries == on_disk(cache) == [EpochEntry(2, 6)]


@pytest.mark.parametrize(
    ("offset", "left"),
    [
        (5, [(2, 6), (3, 8), (4, 11)]),
        (6, [(2, 6), (3, 8), (4, 11)]),
        (7, [(2, 7), (3, 8), (4, 11)]),
        (8, [(3, 8), (4, 11)]),
        (9, [(3, 9), (4, 11)]),
        (100, [(4, 100)]),
    ],
)
def test_truncating_from_the_start_moves_the_epoch_it_lies_in(
    cache: LeaderEpochCache, offset: int, left: list[tuple[int, int]]
) -> None:
    for epoch, start in ((2, 6), (3, 8), (4, 11)):
        cache.assign(epoch, start)
    cache.truncate_from_start(offset)
    assert cache.entries == on_disk(cache) == [EpochEntry(*entry) for entry in left]


def test_a_full_disk_stops_a_new_epoch_but_not_a_truncation(
    cache: LeaderEpochCache, filesystem: FailingFilesystem
) -> None:
    cache.assign(1, 0)
    cache.assign(2, 10)
    filesystem.fail_write = disk_full
    with pytest.raises(OSError):
        cache.assign(3, 20)
    assert cache.latest_epoch == 2
    cache.truncate_from_end(5)
    assert cache.entries == [EpochEntry(1, 0)]
    filesystem.fail_write = lambda *_: 0
    cache.rewrite_if_stale()
    assert on_disk(cache) == [EpochEntry(1, 0)]
    version = cache.version
    cache.rewrite_if_stale()
    assert cache.version == version
