from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.cleaner.offset_map import SLOT_BYTES, OffsetMap


@given(st.lists(st.binary(max_size=3), max_size=200))
def test_the_latest_offset_of_each_key(keys: list[bytes]) -> None:
    offset_map = OffsetMap(300 * SLOT_BYTES, 0.9)
    expected: dict[bytes, int] = {}
    for offset, key in enumerate(keys):
        offset_map.put(key, offset)
        expected[key] = offset
    assert offset_map.key_count == len(expected)
    assert {key: offset_map.get(key) for key in expected} == expected
    assert offset_map.get(b"unknown key") == -1
    assert offset_map.latest_offset == len(keys) - 1


@pytest.mark.parametrize("slots", [2, 3, 10, 97, 1000])
@pytest.mark.parametrize("load_factor", [0.5, 0.9, 1.0])
def test_it_can_be_filled_to_its_bound(slots: int, load_factor: float) -> None:
    offset_map = OffsetMap(slots * SLOT_BYTES, load_factor)
    count = 0
    while not offset_map.is_full:
        offset_map.put(b"%d" % count, count)
        count += 1
    assert 1 <= count <= slots
    assert count >= int(slots * load_factor) * 0.6 - 1
    assert [offset_map.get(b"%d" % number) for number in range(count)] == list(range(count))
    assert offset_map.get(b"another") == -1


def test_memory_is_no_larger_than_the_keys_need() -> None:
    offset_map = OffsetMap(1 << 40, 0.9, key_count_wanted=1000)
    for number in range(1000):
        assert not offset_map.is_full
        offset_map.put(b"%d" % number, number)
    assert offset_map.slot_count < 1200


def test_looked_at_only_rises() -> None:
    offset_map = OffsetMap(10 * SLOT_BYTES, 0.9)
    offset_map.looked_at(7)
    offset_map.looked_at(3)
    assert offset_map.latest_offset == 7


@pytest.mark.parametrize(("memory_bytes", "load_factor"), [(23, 0.9), (24, 0.9), (1000, 0.0), (1000, 1.1)])
def test_a_map_that_holds_nothing_is_refused(memory_bytes: int, load_factor: float) -> None:
    with pytest.raises(ValueError):
        OffsetMap(memory_bytes, load_factor)
