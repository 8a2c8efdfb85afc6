"""OffsetStore: the three views of an offset, under plain and transactional changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.coordination.group.offset_store import OffsetStore
from kbroker.coordination.group.records import CommittedOffset, OffsetChange

G, T = "group", ("topic", 0)
NO_PRODUCER = -1


class Log:
    """A store and the offsets of the records that it is fed."""

    def __init__(self) -> None:
        self.store = OffsetStore()
        self.end = 0

    def commit(self, offset: int, producer_id: int = NO_PRODUCER, *, group: str = G) -> None:
        committed = CommittedOffset(offset, -1, "", 0)
        self.store.apply(self.end, producer_id, OffsetChange(group, *T, committed))
        self.end += 1

    def tombstone(self) -> None:
        self.store.apply(self.end, NO_PRODUCER, OffsetChange(G, *T, None))
        self.end += 1

    def marker(self, producer_id: int, *, is_commit: bool = True) -> None:
        self.store.end_transaction(self.end, producer_id, is_commit=is_commit)
        self.end += 1

    @property
    def latest(self) -> int | None:
        found = self.store.latest(G).get(T)
        return None if found is None else found.offset

    @property
    def committed(self) -> int | None:
        found = self.store.committed(G).get(T)
        return None if found is None else found.offset

    @property
    def is_unstable(self) -> bool:
        return self.store.is_unstable(G, *T)


@pytest.fixture
def log() -> Log:
    return Log()


def test_committed_follows_latest(log: Log) -> None:
    log.commit(1)
    log.commit(2)
    assert (log.latest, log.committed) == (2, None)
    log.store.advance_committed(1)
    assert (log.latest, log.committed) == (2, 1)
    log.store.advance_committed(2)
    assert (log.latest, log.committed) == (2, 2)


def test_uncommitted_tombstone(log: Log) -> None:
    log.commit(1)
    log.store.advance_committed(1)
    log.tombstone()
    assert (log.latest, log.committed) == (None, 1)
    log.commit(5)
    assert (log.latest, log.committed) == (5, 1)
    log.store.advance_committed(2)
    assert (log.latest, log.committed) == (5, None)


def test_other_groups_are_not_touched(log: Log) -> None:
    log.commit(1)
    log.store.advance_committed(1)
    log.commit(9, group="other")
    assert log.committed == 1
    assert log.store.committed("other") == {}


def test_marker_that_is_not_committed_yet(log: Log) -> None:
    log.commit(1)
    log.commit(5, 7)
    log.store.advance_committed(2)
    log.marker(7)
    assert (log.latest, log.committed, log.is_unstable) == (5, 1, False)
    log.store.advance_committed(3)
    assert log.committed == 5


def test_plain_commit_after_the_transactional_one_wins(log: Log) -> None:
    log.commit(5, 7)
    log.commit(9)
    log.marker(7)
    assert log.latest == 9


def test_two_transactions_on_one_partition(log: Log) -> None:
    log.commit(5, 7)
    log.commit(6, 8)
    log.marker(8)
    assert (log.latest, log.is_unstable) == (6, True)
    log.marker(7)
    assert (log.latest, log.is_unstable) == (6, False), "the later record wins, not the later marker"


def test_tombstone_takes_pending_offsets_along(log: Log) -> None:
    log.commit(5, 7)
    log.commit(6, 8)
    log.tombstone()
    assert not log.is_unstable
    assert not log.store.has_open_transactions(G)
    log.marker(7)
    log.marker(8)
    assert log.latest is None


def test_abort_leaves_nothing_behind(log: Log) -> None:
    log.commit(5, 7)
    log.marker(7, is_commit=False)
    assert (log.latest, log.is_unstable) == (None, False)
    assert not log.store.has_open_transactions(G)


def test_nothing_is_kept_of_a_group_without_offsets(log: Log) -> None:
    log.commit(1)
    log.commit(2, 7)
    log.tombstone()
    log.store.advance_committed(log.end)
    assert not any(vars(log.store).values())


def test_marker_twice(log: Log) -> None:
    log.commit(5, 7)
    log.marker(7)
    log.commit(6)
    log.marker(7)
    assert log.latest == 6


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 99), st.sampled_from([NO_PRODUCER, 7, 8])),
        st.tuples(st.just("tombstone"), st.none(), st.none()),
        st.tuples(st.just("marker"), st.booleans(), st.sampled_from([7, 8])),
    ),
    max_size=12,
)


@given(STEPS, st.integers(0, 12))
def test_the_committed_view_is_what_a_replay_up_to_there_gives(steps: list[tuple], committed_to: int) -> None:  # type: ignore[type-arg]
    whole, prefix = Log(), Log()
    for log in (whole, prefix):
        for name, argument, producer_id in steps:
            if log is prefix and log.end >= committed_to:
                break
            if name == "commit":
                log.commit(argument, producer_id)
            elif name == "tombstone":
                log.tombstone()
            else:
                log.marker(producer_id, is_commit=argument)
    whole.store.advance_committed(committed_to)
    assert whole.committed == prefix.latest
