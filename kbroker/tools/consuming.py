"""A consumer for the commands: of partitions that it is given, or of what its group assigns to it.

``consuming`` runs one for the length of a block. What was taken is told with ``consumed``, which is what gets
committed: every ``auto.commit.interval.ms``, before each rebalance and at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.consumer_settings import ConsumerSettings as ConsumerSettings
from kbroker.tools.failures import root_cause
from kbroker.tools.fetching import FetchedBatch, Fetcher, NoOffset
from kbroker.tools.group_membership import GroupMember, Position, Subscription
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError

_CLOSE_TIMEOUT_S: Final = 10.0
_MISSING_TOPIC_CHECK_S: Final = 0.5
_NOT_ALLOWED: Final = frozenset({ErrorCode.GROUP_AUTHORIZATION_FAILED, ErrorCode.TOPIC_AUTHORIZATION_FAILED})


class Consumer:
    """Made by ``consuming``."""

    def __init__(self, cluster: Cluster, settings: ConsumerSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._fetcher = Fetcher(cluster, settings.fetch, on_start=self._start_at)
        self._member: GroupMember | None = None
        self._member_cluster: Cluster | None = None
        # Of the current assignment: up to where records were taken, and what of that the group knows.
        self._taken: dict[Partition, Position] = {}
        self._committed: dict[Partition, Position] = {}
        self.on_revoked: Callable[[], None] = lambda: None
        self.on_assigned: Callable[[], None] = lambda: None

    async def assign(self, offsets: Mapping[Partition, int]) -> None:
        """Read these partitions, which need not be there yet, from these offsets (EARLIEST, LATEST)."""
        self._fetcher.assign(offsets)

    def subscribe(self, subscription: Subscription) -> None:
        """Become a member of the group, to read what it assigns."""
        assert self._settings.group is not None
        self._member_cluster = self._cluster.another()
        self._member = GroupMember(self._member_cluster, self._settings.group, subscription)

    async def next(self, timeout_s: float = math.inf) -> FetchedBatch | None:
        """The next batch; None after ``timeout_s`` without one. ApiError, ProtocolError."""
        with trio.move_on_after(timeout_s):
            return await self._fetcher.next()
        return None

    def consumed(self, batch: FetchedBatch, next_offset: int | None = None) -> None:
        """All records of a batch, or those before ``next_offset``, were taken."""
        if batch.partition in self._fetcher.assigned:
            offset = batch.next_offset if next_offset is None else next_offset
            self._taken[batch.partition] = Position(offset, batch.header.partition_leader_epoch)

    async def close(self) -> None:
        """Commit and leave, as far as that is possible soon."""
        if self._member is None:
            return
        assert self._member_cluster is not None
        try:
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                try:
                    await self._commit(self._member)
                finally:
                    await self._member.leave()
        finally:
            self._member_cluster.close()

    def _start_at(self, partition: Partition, offset: int) -> None:
        # Where it began counts as read so far, and is committed like that.
        self._taken.setdefault(partition, Position(offset))

    # In the background

    async def run(self) -> None:
        """Fetch, and stay a member, until either fails for good."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fetcher.run)
            if self._member is not None:
                try:
                    await self._stay_a_member(self._member)
                except* (ApiError, ConnectionLost, ProtocolError) as errors:
                    self._fetcher.fail(root_cause(errors))

    async def _stay_a_member(self, member: GroupMember) -> None:
        while True:
            partitions = await member.join()
            starts = await self._starts(member, partitions)
            self._fetcher.assign(starts)
            self.on_assigned()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._commit_now_and_then, member)
                nursery.start_soon(self._watch_topics, member, nursery.cancel_scope)
                may_commit = True
                may_commit = await member.heartbeat()
                nursery.cancel_scope.cancel()
            self.on_revoked()
            if may_commit:
                await self._commit(member)
            self._fetcher.assign({})
            self._taken, self._committed = {}, {}

    async def _starts(self, member: GroupMember, partitions: list[Partition]) -> dict[Partition, int]:
        offsets = await member.committed(partitions) if partitions else {}
        missing = [partition for partition in partitions if partition not in offsets]
        reset_to = self._settings.fetch.reset_to
        if not missing:
            return offsets
        if reset_to is None:
            raise NoOffset(missing)
        return offsets | dict.fromkeys(missing, reset_to)

    async def _watch_topics(self, member: GroupMember, rebalance: trio.CancelScope) -> None:
        max_age_s = self._settings.metadata_max_age_ms / 1000
        while True:
            # A little randomness, so that members do not all ask at the same moment.
            wait_s = _MISSING_TOPIC_CHECK_S if member.lacks_topics else max_age_s * random.uniform(0.9, 1.0)
            await trio.sleep(wait_s)
            if await member.topics_changed():
                rebalance.cancel()

    async def _commit_now_and_then(self, member: GroupMember) -> None:
        while True:
            await trio.sleep(self._settings.auto_commit_interval_ms / 1000)
            await self._commit(member)

    async def _commit(self, member: GroupMember) -> None:
        """Tell the group what it does not know yet. ApiError, if it never may."""
        news = {
            partition: position
            for partition, position in self._taken.items()
            if self._committed.get(partition) != position
        }
        if not self._settings.auto_commit or not news:
            return
        try:
            await member.commit(news)
        except ApiError as error:
            # Whoever has the partitions next goes on from the last commit: at least once, as with Kafka's consumer.
            if error.code in _NOT_ALLOWED:
                raise
        else:
            self._committed |= news


@asynccontextmanager
async def consuming(
    cluster: Cluster,
    settings: ConsumerSettings,
    *,
    subscription: Subscription | None = None,
    offsets: Mapping[Partition, int] | None = None,
) -> AsyncIterator[Consumer]:
    """A consumer of a subscription or of given partitions; commits and leaves its group at the end of the block."""
    consumer = Consumer(cluster, settings)
    if subscription is not None:
        consumer.subscribe(subscription)
    if offsets is not None:
        await consumer.assign(offsets)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.run)
            yield consumer
            nursery.cancel_scope.cancel()
    finally:
        await consumer.close()
