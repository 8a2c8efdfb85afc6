"""A consumer for the commands: of partitions that it is given, or of what its group assigns to it.

``consuming`` runs one for the length of a block. What was taken is told with ``consumed``, which is what gets
committed, every ``auto.commit.interval.ms``, before each rebalance and at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.fetching import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    FetchedBatch,
    Fetcher,
    FetchSettings,
    NoOffset,
)
from kbroker.tools.group_membership import GroupMember, GroupSettings, Position, Subscription
from kbroker.tools.partition_offsets import list_offsets
from kbroker.tools.producer_settings import SettingError
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError

_CLOSE_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class ConsumerSettings:
    """What of a consumer's configuration is acted on."""

    fetch: FetchSettings
    group: GroupSettings | None
    auto_commit: bool = True
    auto_commit_interval_ms: int = 5_000
    metadata_max_age_ms: int = 300_000

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> ConsumerSettings:
        """Read a consumer's configuration; SettingError. Keys that it does not know are left alone."""

        def integer(key: str, default: int) -> int:
            text = properties.get(key)
            try:
                return default if text is None else int(text.strip())
            except ValueError:
                raise SettingError(
                    f"Invalid value {text} for configuration {key}: Not a number of type INT"
                ) from None

        isolation = properties.get("isolation.level", "read_uncommitted").lower()
        if isolation not in ("read_committed", "read_uncommitted"):
            raise SettingError(
                f"Invalid value {isolation} for configuration isolation.level: "
                "String must be one of: read_committed, read_uncommitted"
            )
        if properties.get("group.protocol", "classic").lower() != "classic":
            raise SettingError("group.protocol consumer is not supported by this command; classic is")
        fetch = FetchSettings(
            min_bytes=integer("fetch.min.bytes", FetchSettings.min_bytes),
            max_bytes=integer("fetch.max.bytes", FetchSettings.max_bytes),
            max_wait_ms=integer("fetch.max.wait.ms", FetchSettings.max_wait_ms),
            partition_max_bytes=integer("max.partition.fetch.bytes", FetchSettings.partition_max_bytes),
            isolation_level=READ_COMMITTED if isolation == "read_committed" else READ_UNCOMMITTED,
            reset_to=_reset_policy(properties.get("auto.offset.reset", "latest")),
            check_crcs=properties.get("check.crcs", "true").lower() == "true",
            retry_backoff_ms=integer("retry.backoff.ms", FetchSettings.retry_backoff_ms),
            request_timeout_ms=integer("request.timeout.ms", FetchSettings.request_timeout_ms),
            rack_id=properties.get("client.rack", ""),
        )
        group_id = properties.get("group.id")
        group = None
        if group_id is not None:
            group = GroupSettings(
                group_id=group_id,
                group_instance_id=properties.get("group.instance.id") or None,
                session_timeout_ms=integer("session.timeout.ms", GroupSettings.session_timeout_ms),
                heartbeat_interval_ms=integer("heartbeat.interval.ms", GroupSettings.heartbeat_interval_ms),
                max_poll_interval_ms=integer("max.poll.interval.ms", GroupSettings.max_poll_interval_ms),
            )
        return cls(
            fetch=fetch,
            group=group,
            auto_commit=properties.get("enable.auto.commit", "true").lower() == "true",
            auto_commit_interval_ms=integer("auto.commit.interval.ms", cls.auto_commit_interval_ms),
            metadata_max_age_ms=integer("metadata.max.age.ms", cls.metadata_max_age_ms),
        )


def _reset_policy(text: str) -> int | None:
    policies = {"earliest": EARLIEST, "latest": LATEST, "none": None}
    if text.lower() not in policies:
        raise SettingError(
            f"Invalid value {text} for configuration auto.offset.reset: "
            "Invalid value for auto.offset.reset. Valid values are earliest, latest and none"
        )
    return policies[text.lower()]


class Consumer:
    """Made by ``consuming``."""

    def __init__(self, cluster: Cluster, settings: ConsumerSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._fetcher = Fetcher(cluster, settings.fetch)
        self._member: GroupMember | None = None
        self._consumed: dict[Partition, Position] = {}
        self._error: Exception | None = None
        self._failed = trio.Event()
        self._member_cluster: Cluster | None = None
        self.on_revoked: Callable[[], None] = lambda: None
        self.on_assigned: Callable[[], None] = lambda: None

    async def assign(self, offsets: Mapping[Partition, int]) -> None:
        """Read these partitions; an offset below 0 is EARLIEST or LATEST. ApiError."""
        found = dict(offsets)
        for special in (EARLIEST, LATEST):
            partitions = [partition for partition, offset in offsets.items() if offset == special]
            found |= await list_offsets(
                self._cluster, partitions, special, isolation_level=self._settings.fetch.isolation_level
            )
        self._fetcher.assign(found)

    def subscribe(self, subscription: Subscription) -> None:
        """Become a member of the group, to read what it assigns."""
        assert self._settings.group is not None
        self._member_cluster = self._cluster.another()
        self._member = GroupMember(self._member_cluster, self._settings.group, subscription)

    async def next(self, timeout_s: float = math.inf) -> FetchedBatch | None:
        """The next batch; None after ``timeout_s`` without one. ApiError, ProtocolError."""
        batch = None
        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_when_failed, nursery.cancel_scope)
                batch = await self._fetcher.next()
                nursery.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        return batch

    async def _stop_when_failed(self, scope: trio.CancelScope) -> None:
        await self._failed.wait()
        scope.cancel()

    def consumed(self, batch: FetchedBatch, next_offset: int | None = None) -> None:
        """All records of a batch, or those before ``next_offset``, were taken."""
        if batch.partition in self._fetcher.assigned:
            offset = batch.next_offset if next_offset is None else next_offset
            self._consumed[batch.partition] = Position(offset, batch.header.partition_leader_epoch)

    async def close(self) -> None:
        """Commit and leave, as far as that is possible soon."""
        try:
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                if self._member is not None:
                    await self._commit()
                    await self._member.leave()
        finally:
            if self._member_cluster is not None:
                self._member_cluster.close()

    # In the background

    async def run(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._fetcher.run, nursery)
        try:
            if self._member is not None:
                await self._stay_a_member(self._member)
        except (ApiError, ConnectionLost, ProtocolError) as error:
            self._error = error
            self._failed.set()

    async def _stay_a_member(self, member: GroupMember) -> None:
        while True:
            partitions = await member.join()
            self._fetcher.assign(await self._starting_offsets(member, partitions))
            self.on_assigned()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._commit_now_and_then)
                nursery.start_soon(self._watch_topics, member, nursery.cancel_scope)
                await member.heartbeat()
                nursery.cancel_scope.cancel()
            self.on_revoked()
            await self._commit()
            self._fetcher.assign({})

    async def _starting_offsets(
        self, member: GroupMember, partitions: list[Partition]
    ) -> dict[Partition, int]:
        offsets = await member.committed(partitions) if partitions else {}
        missing = [partition for partition in partitions if partition not in offsets]
        if missing:
            if self._settings.fetch.reset_to is None:
                raise NoOffset(missing)
            found = await list_offsets(
                self._cluster,
                missing,
                self._settings.fetch.reset_to,
                isolation_level=self._settings.fetch.isolation_level,
            )
            # Where it began counts as read so far, and is committed like that.
            self._consumed |= {partition: Position(offset) for partition, offset in found.items()}
            offsets |= found
        return offsets

    async def _watch_topics(self, member: GroupMember, scope: trio.CancelScope) -> None:
        # A little randomness, so that members do not all ask at the same moment.
        while True:
            await trio.sleep(self._settings.metadata_max_age_ms / 1000 * random.uniform(0.9, 1.0))
            if await member.topics_changed():
                scope.cancel()

    async def _commit_now_and_then(self) -> None:
        while True:
            await trio.sleep(self._settings.auto_commit_interval_ms / 1000)
            await self._commit()

    async def _commit(self) -> None:
        offsets, self._consumed = self._consumed, {}
        if not self._settings.auto_commit or self._member is None or not offsets:
            return
        try:
            await self._member.commit(offsets)
        except ApiError as error:
            # Whoever has the partitions next goes on from the last commit: at least once, as with Kafka's consumer.
            if error.code in (ErrorCode.GROUP_AUTHORIZATION_FAILED, ErrorCode.TOPIC_AUTHORIZATION_FAILED):
                raise


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
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consumer.run, nursery)
        try:
            yield consumer
        finally:
            nursery.cancel_scope.cancel()
            await consumer.close()
