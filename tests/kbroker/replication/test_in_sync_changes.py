"""How proposals for in-sync sets fare: one after the other, and again when they could not be made or were lost."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from kbroker.replication.in_sync_changes import InSyncChanges
from kbroker.replication.partition import Partition
from kbroker.replication.ports import InSyncProposal
from tests.kbroker.replication.test_fetcher import Nobody, Node, State
from wire.errors import ApiError, ErrorCode

REPLICAS = (1, 2, 3)


class Scene:
    """A leader without records, and a store that takes what is proposed."""

    def __init__(self, directory: Path) -> None:
        self.node = Node(1, directory)
        self.answers: list[ErrorCode] = []
        self.proposed: list[tuple[int, ...]] = []
        self.epochs: list[tuple[int, ...]] = []
        self.partition_epoch = 0
        self.store = trio.Event()
        self.store.set()
        self.changes = InSyncChanges(
            alter=self.alter,
            partitions=lambda: self.node.replicas,
            lag_time_max_s=lambda: 30.0,
            sleep=trio.sleep,
        )
        self.node.replicas.join_cluster(Nobody(), self.changes)
        [self.partition] = self.node.apply(self.state((1,)))

    def state(self, in_sync_replicas: tuple[int, ...]) -> State:
        return State(
            replicas=REPLICAS, in_sync_replicas=in_sync_replicas, partition_epoch=self.partition_epoch
        )

    async def alter(
        self, proposals: Sequence[InSyncProposal]
    ) -> dict[tuple[uuid.UUID, int], State | ApiError]:
        """The AlterInSync port."""
        await self.store.wait()
        [proposal] = proposals
        key = proposal.topic_id, proposal.index
        node_ids = tuple(node_id for node_id, _ in proposal.in_sync_replicas)
        self.proposed.append(node_ids)
        self.epochs.append(tuple(epoch for _, epoch in proposal.in_sync_replicas))
        if self.answers:
            return {key: ApiError(self.answers.pop(0))}
        self.partition_epoch += 1
        return {key: self.state(node_ids)}

    def fetched(self, node_id: int, broker_epoch: int = 7) -> None:
        self.partition.follower_fetched(node_id, broker_epoch, offset=0, log_start_offset=0)


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Scene]:
    scene = Scene(directory)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.changes.run)
        yield scene
        nursery.cancel_scope.cancel()
    scene.node.logs.abandon()


def in_sync(partition: Partition) -> tuple[int, ...]:
    return tuple(partition.in_sync_replicas)


async def test_two_that_come_back_at_once_both_join(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """An idle partition's follower names it once: that a change is pending just then must not keep it out."""
    async with running(tmp_path) as scene:
        scene.node.eligible = {2, 3}
        scene.store = trio.Event()
        scene.fetched(2)
        scene.fetched(3)
        await trio.sleep(5)
        assert scene.proposed == []
        scene.store.set()
        await trio.sleep(0.5)
        assert scene.proposed == [(1, 2), (1, 2, 3)]
        assert in_sync(scene.partition) == REPLICAS


async def test_one_whose_registration_becomes_known_late_joins(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(tmp_path) as scene:
        scene.fetched(2)
        await trio.sleep(5)
        assert scene.proposed == []
        scene.node.eligible = {2}
        await trio.sleep(1.1)
        assert in_sync(scene.partition) == (1, 2)
        assert scene.epochs == [(-1, 7)]


async def test_one_that_becomes_known_very_late_joins_at_the_next_look_at_everything(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(tmp_path) as scene:
        scene.fetched(2)
        await trio.sleep(100)
        scene.node.eligible = {2}
        await trio.sleep(16)
        assert in_sync(scene.partition) == (1, 2)


async def test_one_that_has_not_registered_yet_stays_out(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(tmp_path) as scene:
        scene.node.eligible = {2}
        scene.fetched(2, broker_epoch=-1)
        await trio.sleep(60)
        assert scene.proposed == []


@pytest.mark.parametrize(
    "answer", [ErrorCode.INELIGIBLE_REPLICA, ErrorCode.REQUEST_TIMED_OUT], ids=["refused", "unknown"]
)
async def test_what_was_refused_or_lost_is_proposed_again(
    answer: ErrorCode, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(tmp_path) as scene:
        scene.node.eligible = {2}
        scene.answers = [answer, answer]
        scene.fetched(2)
        await trio.sleep(1)
        assert scene.proposed == [(1, 2)] * 3
        assert in_sync(scene.partition) == (1, 2)


async def test_a_leader_that_is_behind_waits_for_the_metadata(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(tmp_path) as scene:
        scene.node.eligible = {2}
        scene.answers = [ErrorCode.FENCED_LEADER_EPOCH]
        scene.fetched(2)
        await trio.sleep(60)
        assert scene.proposed == [(1, 2)]
        scene.partition_epoch = 1
        scene.node.apply(scene.state((1,)))
        await trio.sleep(0.5)
        assert in_sync(scene.partition) == (1, 2)
