"""Quotas on replication: what counts, how the rate is measured, and what a throttled follower still gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio.testing

from kbroker.replication.quota import ReplicationQuota, Throttles, is_listed
from tests.kbroker.replication.test_fetcher import State, running_pair
from tests.running_broker import batch


class Clock:
    now = 1000.0


def quota(limit: int | None, clock: Clock) -> ReplicationQuota:
    return ReplicationQuota(
        bytes_per_second=lambda: limit, samples=lambda: 11, sample_s=lambda: 1, monotonic=lambda: clock.now
    )


def test_the_rate_is_that_of_the_last_samples() -> None:
    clock = Clock()
    subject = quota(100, clock)
    subject.record(1000)
    assert not subject.is_exceeded()
    subject.record(1)
    assert subject.is_exceeded()
    clock.now += 10.5
    assert not subject.is_exceeded()
    clock.now += 1
    subject.record(900)
    assert not subject.is_exceeded()


def test_without_a_limit_nothing_is_exceeded_and_with_none_left_everything_is() -> None:
    clock = Clock()
    unlimited, closed = quota(None, clock), quota(0, clock)
    unlimited.record(10**9)
    closed.record(1)
    assert not unlimited.is_exceeded()
    assert closed.is_exceeded()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [((), False), (("*",), True), (("3:1", "4:2"), True), (("4:1",), False), (("3:2",), False)],
)
def test_who_is_listed(listed: tuple[str, ...], expected: bool) -> None:
    assert is_listed(listed, 3, 1) is expected


async def test_a_throttled_follower_is_held_back_while_the_others_go_on(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        behind = State(in_sync_replicas=(1,))
        throttled, free = pair.leader.apply(behind, behind)
        for partition in (throttled, free):
            for _ in range(20):
                partition.append_as_leader(batch(b"x" * 1000), required_acks=1)
        pair.fetchers.quota = ReplicationQuota(
            bytes_per_second=lambda: 0, samples=lambda: 11, sample_s=lambda: 1, monotonic=trio.current_time
        )
        pair.fetchers.quota.record(1)
        copies = pair.follower.apply(behind, behind)
        copies[0].throttles = Throttles(as_follower=True)
        await pair.until(lambda: copies[1].log_end_offset == 20)
        await trio.sleep(5)
        assert copies[0].log_end_offset == 0
        pair.fetchers.quota = None
        await pair.until(lambda: copies[0].log_end_offset == 20)


async def test_a_leader_holds_back_what_it_sends_to_replicas_that_are_not_in_sync(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running_pair(tmp_path) as pair:
        leader, in_sync = pair.leader.apply(State(in_sync_replicas=(1,)), State())
        limit = [0]
        pair.leader_limit = lambda: limit[0]
        pair.leader_quota.record(1)
        for partition in (leader, in_sync):
            partition.throttles = Throttles(as_leader=True)
            partition.append_as_leader(batch(b"a"), required_acks=1)
        copies = pair.follower.apply(State(in_sync_replicas=(1,)), State())
        await pair.until(lambda: copies[1].log_end_offset == 1)
        await trio.sleep(5)
        assert copies[0].log_end_offset == 0
        limit[0] = 10**9
        await pair.until(lambda: copies[0].log_end_offset == 1)
