from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import CorruptIndexError
from storage.file_cache import FileCache
from storage.filesystem import OsFilesystem
from storage.offset_index import OffsetIndex, OffsetPosition
from storage.time_index import TimeIndex, TimestampOffset
from storage.transaction_index import AbortedTransaction, TransactionIndex

BASE = 1000


@pytest.fixture
def cache() -> FileCache:
    return FileCache(OsFilesystem(), open_files_max=8)


def offset_index(cache: FileCache, path: Path, size_bytes_max: int = 80) -> OffsetIndex:
    return OffsetIndex(cache, str(path / "f.index"), BASE, size_bytes_max)


def time_index(cache: FileCache, path: Path, size_bytes_max: int = 120) -> TimeIndex:
    return TimeIndex(cache, str(path / "f.timeindex"), BASE, size_bytes_max)


def test_offset_index_has_kafkas_bytes(cache: FileCache, tmp_path: Path) -> None:
    index = offset_index(cache, tmp_path)
    index.create()
    index.append(BASE + 5, 0)
    index.append(BASE + 300, 4200)
    assert Path(index.path).read_bytes() == pack(">iiii", 5, 0, 300, 4200)


def test_offset_lookup_finds_the_entry_at_or_before(cache: FileCache, tmp_path: Path) -> None:
    index = offset_index(cache, tmp_path)
    index.create()
    assert index.lookup(BASE + 7) == OffsetPosition(BASE, 0)
    for number in range(1, 6):
        index.append(BASE + 10 * number, 100 * number)
    assert index.lookup(BASE) == OffsetPosition(BASE, 0)
    assert index.lookup(BASE + 9) == OffsetPosition(BASE, 0)
    assert index.lookup(BASE + 10) == OffsetPosition(BASE + 10, 100)
    assert index.lookup(BASE + 39) == OffsetPosition(BASE + 30, 300)
    assert index.lookup(BASE + 99) == OffsetPosition(BASE + 50, 500)


def test_offset_index_knows_an_offset_behind_a_position(cache: FileCache, tmp_path: Path) -> None:
    index = offset_index(cache, tmp_path)
    index.create()
    assert index.upper_bound_offset(0) is None
    for number in range(1, 4):
        index.append(BASE + 10 * number, 100 * number)
    assert index.upper_bound_offset(50) == BASE + 10
    assert index.upper_bound_offset(100) == BASE + 10
    assert index.upper_bound_offset(101) == BASE + 20
    assert index.upper_bound_offset(301) is None


@given(
    entries=st.lists(st.integers(1, 10_000), unique=True, max_size=60).map(sorted),
    target=st.integers(0, 10_100),
)
def test_lookup_agrees_with_a_linear_search(
    tmp_path_factory: pytest.TempPathFactory, entries: list[int], target: int
) -> None:
    path = tmp_path_factory.mktemp("index")
    index = OffsetIndex(FileCache(OsFilesystem(), open_files_max=4), f"{path}/f", 0, 1 << 20)
    index.create()
    for entry in entries:
        index.append(entry, entry * 3)
    expected = max((entry for entry in entries if entry <= target), default=0)
    assert index.lookup(target) == OffsetPosition(expected, expected * 3)


def test_a_full_offset_index_says_so(cache: FileCache, tmp_path: Path) -> None:
    index = offset_index(cache, tmp_path, size_bytes_max=17)
    index.create()
    assert index.entries_max == 2
    index.append(BASE + 1, 1)
    assert not index.is_full
    index.append(BASE + 2, 2)
    assert index.is_full
    with pytest.raises(AssertionError):
        index.append(BASE + 3, 3)


def test_offsets_are_relative_in_31_bits(cache: FileCache, tmp_path: Path) -> None:
    index = offset_index(cache, tmp_path)
    assert index.can_hold(BASE)
    assert index.can_hold(BASE + 2**31 - 1)
    assert not index.can_hold(BASE + 2**31)
    assert not index.can_hold(BASE - 1)


@pytest.mark.parametrize(
    ("offset", "kept"), [(BASE - 1, 0), (BASE + 10, 0), (BASE + 11, 1), (BASE + 20, 1), (BASE + 99, 3)]
)
def test_offset_index_truncates_the_offset_and_what_follows(
    cache: FileCache, tmp_path: Path, offset: int, kept: int
) -> None:
    index = offset_index(cache, tmp_path)
    index.create()
    for number in range(1, 4):
        index.append(BASE + 10 * number, 100 * number)
    index.lookup(BASE + 10)  # maps the file
    index.truncate_to(offset)
    assert index.entry_count == kept
    assert Path(index.path).stat().st_size == kept * 8
    assert index.last == (OffsetPosition(BASE + 10 * kept, 100 * kept) if kept else OffsetPosition(BASE, 0))
    index.append(BASE + 200, 999)
    assert index.lookup(BASE + 500).position == 999


def test_an_index_is_found_again(cache: FileCache, tmp_path: Path) -> None:
    index = offset_index(cache, tmp_path)
    index.create()
    index.append(BASE + 10, 100)
    index.append(BASE + 20, 200)
    index.close()
    again = offset_index(cache, tmp_path)
    assert again.last == OffsetPosition(BASE + 20, 200)
    assert again.lookup(BASE + 15) == OffsetPosition(BASE + 10, 100)
    again.check(segment_size_bytes=201)


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 7,
        pack(">iiii", 20, 200, 10, 300),
        pack(">iiii", 10, 200, 20, 100),
        pack(">ii", -5, 0),
        pack(">ii", 5, 500),
        pack(">ii", 5, -1),
        pack(">iiii", 10, 100, 0, 0),
    ],
)
def test_a_damaged_offset_index_is_noticed(cache: FileCache, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.index").write_bytes(content)
    with pytest.raises(CorruptIndexError):
        offset_index(cache, tmp_path).check(segment_size_bytes=500)


def test_a_missing_index_is_noticed(cache: FileCache, tmp_path: Path) -> None:
    with pytest.raises(CorruptIndexError):
        offset_index(cache, tmp_path).check(segment_size_bytes=500)
    with pytest.raises(CorruptIndexError):
        time_index(cache, tmp_path).check()


def test_time_index_has_kafkas_bytes_and_skips_what_is_not_later(cache: FileCache, tmp_path: Path) -> None:
    index = time_index(cache, tmp_path)
    index.create()
    index.maybe_append(1_000, BASE + 5)
    index.maybe_append(1_000, BASE + 6)
    index.maybe_append(999, BASE + 7)
    index.maybe_append(1_001, BASE + 8)
    assert Path(index.path).read_bytes() == pack(">qiqi", 1_000, 5, 1_001, 8)
    assert index.last == TimestampOffset(1_001, BASE + 8)


def test_time_lookup_finds_the_entry_at_or_before(cache: FileCache, tmp_path: Path) -> None:
    index = time_index(cache, tmp_path)
    index.create()
    for number in range(1, 6):
        index.maybe_append(1_000 * number, BASE + 10 * number)
    assert index.lookup(999) == TimestampOffset(-1, BASE)
    assert index.lookup(1_000) == TimestampOffset(1_000, BASE + 10)
    assert index.lookup(4_999) == TimestampOffset(4_000, BASE + 40)
    assert index.lookup(9_999) == TimestampOffset(5_000, BASE + 50)


def test_the_last_slot_of_a_time_index_is_kept_for_closing(cache: FileCache, tmp_path: Path) -> None:
    index = time_index(cache, tmp_path, size_bytes_max=24)
    index.create()
    index.maybe_append(1, BASE + 1)
    assert index.is_full
    with pytest.raises(AssertionError):
        index.maybe_append(2, BASE + 2)
    index.maybe_append(2, BASE + 2, closing=True)
    assert index.entry_count == 2


def test_time_index_truncates_by_offset(cache: FileCache, tmp_path: Path) -> None:
    index = time_index(cache, tmp_path)
    index.create()
    for number in range(1, 5):
        index.maybe_append(1_000 * number, BASE + 10 * number)
    index.truncate_to(BASE + 30)
    assert index.last == TimestampOffset(2_000, BASE + 20)
    index.truncate_to(BASE)
    assert index.last == TimestampOffset(-1, BASE)


@pytest.mark.parametrize(
    "content", [b"\0" * 13, pack(">qiqi", 2_000, 1, 1_000, 2), pack(">qiqi", 1_000, 5, 2_000, 4)]
)
def test_a_damaged_time_index_is_noticed(cache: FileCache, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.timeindex").write_bytes(content)
    with pytest.raises(CorruptIndexError):
        time_index(cache, tmp_path).check()


def transaction_index(cache: FileCache, path: Path, *, present: bool) -> TransactionIndex:
    return TransactionIndex(cache, str(path / "f.txnindex"), BASE, present=present)


def aborted(first: int, last: int, stable: int, producer_id: int = 1) -> AbortedTransaction:
    return AbortedTransaction(producer_id, BASE + first, BASE + last, BASE + stable)


def test_transaction_index_has_kafkas_bytes_and_no_file_before_the_first(
    cache: FileCache, tmp_path: Path
) -> None:
    index = transaction_index(cache, tmp_path, present=False)
    assert not Path(index.path).exists()
    index.append(AbortedTransaction(7, 1001, 1009, 1010))
    assert Path(index.path).read_bytes() == pack(">hqqqq", 0, 7, 1001, 1009, 1010)
    again = transaction_index(cache, tmp_path, present=True)
    assert again.entries == [AbortedTransaction(7, 1001, 1009, 1010)]


def test_transactions_are_collected_by_overlap(cache: FileCache, tmp_path: Path) -> None:
    index = transaction_index(cache, tmp_path, present=False)
    early, middle, late = aborted(0, 10, 11), aborted(5, 20, 21), aborted(30, 40, 41)
    for entry in (early, middle, late):
        index.append(entry)
    assert index.collect(BASE + 0, BASE + 100).transactions == [early, middle, late]
    assert index.collect(BASE + 11, BASE + 30).transactions == [middle]
    assert index.collect(BASE + 10, BASE + 5).transactions == [early]
    assert index.collect(BASE + 0, BASE + 11).complete
    assert index.collect(BASE + 0, BASE + 41).complete
    assert not index.collect(BASE + 0, BASE + 42).complete


def test_transaction_index_truncates_by_marker(cache: FileCache, tmp_path: Path) -> None:
    index = transaction_index(cache, tmp_path, present=False)
    for entry in (aborted(0, 10, 11), aborted(5, 20, 21)):
        index.append(entry)
    index.truncate_to(BASE + 20)
    assert index.entries == [aborted(0, 10, 11)]
    assert Path(index.path).stat().st_size == 34
    index.append(aborted(11, 19, 20))
    assert transaction_index(cache, tmp_path, present=True).entries == [
        aborted(0, 10, 11),
        aborted(11, 19, 20),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 33,
        pack(">hqqqq", 1, 7, 1001, 1009, 1010),
        pack(">hqqqq", 0, 7, 1001, 999, 1010),
        pack(">hqqqq", 0, 7, 1011, 1009, 1010),
        pack(">hqqqq", 0, 7, -1, 1009, 1010),
        pack(">hqqqq", 0, 7, 1001, 1009, 1010) * 2,
    ],
)
def test_a_damaged_transaction_index_is_noticed(cache: FileCache, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.txnindex").write_bytes(content)
    with pytest.raises(CorruptIndexError):
        assert transaction_index(cache, tmp_path, present=True).entries
