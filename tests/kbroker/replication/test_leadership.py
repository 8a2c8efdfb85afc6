"""What a leader makes of its followers' fetches: high watermark, who joins the in-sync set, who leaves it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kbroker.replication.leadership import UNKNOWN_OFFSET, Leadership
from kbroker.replication.ports import Standing

LEADER = 1


@dataclass(frozen=True)
class State:
    in_sync_replicas: tuple[int, ...] = (1, 2, 3)
    partition_epoch: int = 0
    leader_epoch: int = 5
    leader: int = LEADER
    replicas: tuple[int, ...] = (1, 2, 3)


@dataclass
class Scene:
    """A leader whose log ends at 10, and a clock."""

    state: State = field(default_factory=State)
    log_end_offset: int = 10
    now: float = 100.0
    eligible: set[int] = field(default_factory=lambda: {1, 2, 3})

    def __post_init__(self) -> None:
        self.standing = Standing(
            monotonic=lambda: self.now,
            may_join=lambda node_id, broker_epoch: node_id in self.eligible,
            lag_time_max_s=lambda: 30.0,
        )
        self.leadership = Leadership(LEADER)
        self.begin(self.state)

    def begin(self, state: State, *, is_new_leader: bool = True) -> None:
        self.leadership.begin_epoch(
            state, is_new_leader=is_new_leader, log_end_offset=self.log_end_offset, now=self.now
        )

    def fetch(self, node_id: int, offset: int, broker_epoch: int = 1) -> None:
        self.leadership.followers[node_id].fetched(offset, 0, broker_epoch, self.log_end_offset, self.now)

    def append(self, count: int) -> None:
        before = self.log_end_offset
        self.log_end_offset += count
        self.leadership.appended(before, self.now)

    @property
    def high_watermark(self) -> int:
        return self.leadership.high_watermark(self.log_end_offset, self.standing)

    def is_ready(self, node_id: int, high_watermark: int) -> bool:
        follower = self.leadership.followers[node_id]
        return self.leadership.is_ready_to_join(follower, high_watermark, self.standing)

    @property
    def lagging(self) -> list[int]:
        return [follower.node_id for follower in self.leadership.lagging(self.log_end_offset, self.standing)]


def test_nothing_is_committed_before_every_in_sync_replica_has_asked_in_this_epoch() -> None:
    scene = Scene()
    assert scene.high_watermark == UNKNOWN_OFFSET
    scene.fetch(2, 10)
    assert scene.high_watermark == UNKNOWN_OFFSET
    scene.fetch(3, 8)
    assert scene.high_watermark == 8


def test_who_is_not_in_sync_is_not_waited_for() -> None:
    scene = Scene(State(in_sync_replicas=(1, 2)))
    scene.fetch(2, 10)
    assert scene.high_watermark == 10


def test_a_follower_about_to_join_is_waited_for_unless_it_may_not() -> None:
    scene = Scene(State(in_sync_replicas=(1,)))
    scene.fetch(2, 10)
    scene.append(5)
    assert scene.high_watermark == 10
    scene.eligible.discard(2)
    assert scene.high_watermark == 15


def test_a_proposed_member_counts_before_the_store_has_answered() -> None:
    scene = Scene(State(in_sync_replicas=(1,)))
    scene.now = 1000.0
    scene.fetch(2, 7)
    assert scene.high_watermark == 10
    scene.leadership.propose((1, 2))
    assert scene.high_watermark == 7


def test_a_member_that_is_to_leave_counts_until_the_store_has_answered() -> None:
    scene = Scene()
    scene.fetch(2, 10)
    scene.fetch(3, 4)
    scene.leadership.propose((1, 2))
    assert scene.high_watermark == 4
    scene.now += 31
    assert scene.leadership.update(State(in_sync_replicas=(1, 2), partition_epoch=1))
    assert scene.high_watermark == 10


def test_an_older_state_changes_nothing() -> None:
    scene = Scene(State(partition_epoch=7))
    scene.leadership.propose((1, 2))
    assert not scene.leadership.update(State(in_sync_replicas=(1,), partition_epoch=7))
    assert scene.leadership.pending == (1, 2)


@pytest.mark.parametrize(
    ("offset", "high_watermark", "ready"),
    [(10, 6, True), (9, 6, False), (12, 12, True), (11, 12, False)],
    ids=["has all", "lacks some from before the epoch", "at the watermark", "below the watermark"],
)
def test_who_has_what_is_committed_and_what_was_there_before_the_epoch_may_join(
    offset: int, high_watermark: int, ready: bool
) -> None:
    scene = Scene(State(in_sync_replicas=(1, 3)))
    scene.append(5)
    scene.fetch(2, offset)
    assert scene.is_ready(2, high_watermark) is ready


def test_nobody_joins_while_a_change_is_pending_or_without_leave() -> None:
    scene = Scene(State(in_sync_replicas=(1,)))
    scene.fetch(2, 10)
    scene.fetch(3, 10)
    scene.leadership.propose((1, 3))
    assert not scene.is_ready(2, 10)
    scene.leadership.settle()
    scene.eligible = {1}
    assert not scene.is_ready(2, 10)


def test_who_left_the_in_sync_set_must_say_anew_how_far_it_is() -> None:
    """It may have left because its disk was lost, while its registration is still there."""
    scene = Scene()
    scene.fetch(2, 10)
    scene.fetch(3, 10)
    assert scene.leadership.update(State(in_sync_replicas=(1, 2), partition_epoch=1))
    assert not scene.is_ready(3, 10)
    scene.append(5)
    scene.fetch(2, 15)
    assert scene.high_watermark == 15  # nor is it waited for
    scene.fetch(3, 15)
    assert scene.is_ready(3, 15)


def test_a_follower_lags_when_it_was_not_at_the_end_for_too_long() -> None:
    scene = Scene()
    scene.fetch(2, 10)
    scene.fetch(3, 10)
    scene.now += 500
    assert scene.lagging == []  # there was nothing to fetch
    scene.append(5)
    scene.now += 29
    assert scene.lagging == []
    scene.fetch(2, 15)
    scene.now += 2
    assert scene.lagging == [3]


def test_a_follower_that_always_has_what_was_there_at_its_last_fetch_keeps_up() -> None:
    scene = Scene()
    scene.fetch(2, 10)
    scene.fetch(3, 10)
    for _ in range(10):
        scene.append(100)
        scene.now += 10
        for node_id in (2, 3):
            scene.fetch(node_id, scene.log_end_offset - 50 if node_id == 2 else 10)
    assert 2 not in scene.lagging
    assert 3 in scene.lagging


def test_a_leader_that_stays_knows_its_followers_in_the_next_epoch() -> None:
    scene = Scene()
    scene.fetch(2, 10)
    scene.fetch(3, 10)
    scene.begin(State(leader_epoch=6, partition_epoch=1), is_new_leader=False)
    assert scene.high_watermark == 10
    scene.begin(State(leader_epoch=7, partition_epoch=2), is_new_leader=True)
    assert scene.high_watermark == UNKNOWN_OFFSET
