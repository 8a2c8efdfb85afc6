"""Copies partitions from their leaders (Kafka: ReplicaFetcherThread, AbstractFetcherThread, ReplicaFetcherManager).

One fetcher for each leader (``num.replica.fetchers`` of them) goes round:

    what has been appended is synced --> fetch --> for each partition of the answer:

    records            appended as they are; then high watermark and log start are taken over
    diverging epoch    the log is truncated to where the two histories part (KIP-595), and asked for again
    out of range       the leader is asked where its log begins and ends: truncate to its end, or begin at its start
    other errors       the partition rests, 20 ms at first, ``replica.fetch.backoff.ms`` at most

A fetch that waits at the leader is given up when a partition comes to this fetcher: right after a failover nothing
may be acknowledged until its new followers ask for it. A fetcher without partitions has no connection.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import trio

from kbroker.client import BrokerClient
from kbroker.replication.follower_session import (
    Followed,
    FollowerSession,
    Limits,
    PartitionData,
    is_session_error,
)
from kbroker.replication.partition import NO_LEADER, Partition, ReplicaState
from kbroker.replication.ports import Peers
from kbroker.replication.progress import waiting_on
from kbroker.replication.quota import ReplicationQuota
from kbroker.world import ConnectionLost
from storage.errors import StorageError, UnexpectedOffsetError
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.offsets import ListOffsetsRequest, ListOffsetsResponse

logger = logging.getLogger(__name__)

_LATEST: Final = -1
_EARLIEST: Final = -2
_RECONNECT_FIRST_S: Final = 0.02
_SYNC_PATIENCE_S: Final = 1.0
"""How long other partitions wait for one whose disk has no room to sync."""
_FETCH_VERSION_MIN: Final = 15  # topic ids and replica state

_EXPECTED_ERRORS: Final = frozenset(
    {
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
)
"""One of the two brokers is a little behind the metadata."""


class FetchSettings(Protocol):
    """The broker's configuration."""

    @property
    def num_replica_fetchers(self) -> int: ...

    @property
    def replica_fetch_wait_max_ms(self) -> int: ...

    @property
    def replica_fetch_min_bytes(self) -> int: ...

    @property
    def replica_fetch_response_max_bytes(self) -> int: ...

    @property
    def replica_fetch_max_bytes(self) -> int: ...

    @property
    def replica_fetch_backoff_ms(self) -> int: ...

    @property
    def replica_socket_timeout_ms(self) -> int: ...


class World(Protocol):
    """The part of the World that fetchers use."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class ReplicaFetchers:
    """The fetchers of one broker."""

    def __init__(
        self,
        *,
        node_id: int,
        peers: Peers,
        world: World,
        settings: FetchSettings,
        broker_epoch: Callable[[], int],
        waits_for_disk: Callable[[], bool],
        on_storage_error: Callable[[StorageError], None],
        quota: ReplicationQuota | None = None,
    ) -> None:
        """``broker_epoch``: that of this broker's present registration.

        ``waits_for_disk``: whether what is acknowledged with acks=all is on the disk of every in-sync replica.
        """
        self.node_id = node_id
        self.peers = peers
        self.world = world
        self.settings = settings
        self.broker_epoch = broker_epoch
        self.waits_for_disk = waits_for_disk
        self.on_storage_error = on_storage_error
        self.quota = quota
        self._fetchers: dict[tuple[int, int], ReplicaFetcher] = {}
        self._of_partition: dict[Partition, ReplicaFetcher] = {}
        self._nursery: trio.Nursery | None = None
        self._stopped = trio.Event()

    def follow(self, partition: Partition) -> None:
        """Copy it from ``partition.leader`` in its present epoch, and not from where it was copied before."""
        self.unfollow(partition)
        if partition.leader == NO_LEADER:
            return
        number = (zlib.crc32(partition.topic.encode()) + partition.index) % self.settings.num_replica_fetchers
        key = partition.leader, number
        fetcher = self._fetchers.get(key)
        if fetcher is None:
            fetcher = self._fetchers[key] = ReplicaFetcher(self, partition.leader)
            if self._nursery is not None:
                self._nursery.start_soon(fetcher.run)
        self._of_partition[partition] = fetcher
        fetcher.follow(partition)

    def unfollow(self, partition: Partition) -> None:
        fetcher = self._of_partition.pop(partition, None)
        if fetcher is not None:
            fetcher.unfollow(partition)

    async def stop(self) -> None:
        """Returns when nothing is written to any log any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch until cancelled, or until ``stop``."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for fetcher in self._fetchers.values():
                    nursery.start_soon(fetcher.run)
                nursery.start_soon(trio.sleep_forever)
                task_status.started()
        finally:
            self._nursery = None
            self._stopped.set()


class ReplicaFetcher:
    """Fetches from one leader."""

    def __init__(self, owner: ReplicaFetchers, leader: int) -> None:
        self._owner = owner
        self._leader = leader
        self._session = FollowerSession(
            node_id=owner.node_id,
            broker_epoch=owner.broker_epoch,
            waits_for_disk=owner.waits_for_disk,
            is_quota_exceeded=lambda: owner.quota is not None and owner.quota.is_exceeded(),
        )
        self._assigned = trio.Event()
        self._waiting_at_leader: trio.CancelScope | None = None

    def follow(self, partition: Partition) -> None:
        self._session.follow(partition)
        self._assigned.set()
        if self._waiting_at_leader is not None:
            self._waiting_at_leader.cancel()

    def unfollow(self, partition: Partition) -> None:
        self._session.unfollow(partition)
        if not len(self._session) and self._waiting_at_leader is not None:
            self._waiting_at_leader.cancel()

    async def run(self) -> None:
        """Connect and fetch for ever."""
        pause_s = _RECONNECT_FIRST_S
        settings, world = self._owner.settings, self._owner.world
        while True:
            while not len(self._session):
                self._assigned = trio.Event()
                await self._assigned.wait()
            began = world.monotonic()
            try:
                await self._fetch_over_one_connection()
                continue
            except (ConnectionLost, ProtocolError, ApiError, trio.TooSlowError) as error:
                logger.info(
                    "broker %d cannot fetch from broker %d: %s", self._owner.node_id, self._leader, error
                )
            longest_s = settings.replica_fetch_backoff_ms / 1000
            if world.monotonic() - began > longest_s:
                pause_s = _RECONNECT_FIRST_S  # it has worked for a while
            await world.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)

    async def _fetch_over_one_connection(self) -> None:
        """Returns when the connection was given up for new partitions, or there are none left."""
        client = await self._owner.peers.connect(self._leader)
        with client:
            version = client.best_version(FetchRequest)
            if version < _FETCH_VERSION_MIN:
                raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"the leader serves Fetch up to {version} only")
            self._session.restart()
            while len(self._session):
                await self._sync_what_was_appended()
                request = self._session.build(self._limits(), self._owner.world.monotonic())
                if request is None:
                    await self._rest()
                    continue
                response = await self._ask(client, request, version)
                if response is None:
                    return
                await self._take(client, response)

    def _limits(self) -> Limits:
        settings = self._owner.settings
        return Limits(
            settings.replica_fetch_wait_max_ms,
            settings.replica_fetch_min_bytes,
            settings.replica_fetch_response_max_bytes,
            settings.replica_fetch_max_bytes,
        )

    async def _ask(self, client: BrokerClient, request: FetchRequest, version: int) -> FetchResponse | None:
        """The answer; None if the request was given up, and the connection with it."""
        self._assigned = trio.Event()
        try:
            with (
                trio.fail_after(self._owner.settings.replica_socket_timeout_ms / 1000),
                trio.CancelScope() as self._waiting_at_leader,
            ):
                return await client.request(request, FetchResponse, version=version)
        finally:
            self._waiting_at_leader = None
        return None

    async def _rest(self) -> None:
        """Nothing can be asked for: until a partition has rested, or another one comes."""
        now = self._owner.world.monotonic()
        resume_at = self._session.next_resume(now)
        pause_s = _SYNC_PATIENCE_S if resume_at is None else resume_at - now
        self._assigned = trio.Event()
        with trio.move_on_after(pause_s):
            await self._assigned.wait()

    async def _sync_what_was_appended(self) -> None:
        """An offset that is asked for tells the leader that the disk has everything before it."""
        unsynced = self._session.unsynced()
        if not unsynced:
            return
        for partition in unsynced:
            partition.request_sync()
        with (
            trio.move_on_after(_SYNC_PATIENCE_S),
            waiting_on(
                [(partition.commit_progress, partition.log.log_end_offset) for partition in unsynced]
            ) as waiter,
        ):
            while True:
                waiter.rearm()
                unsynced = [
                    partition
                    for partition in unsynced
                    if partition.state is ReplicaState.FOLLOWER
                    and partition.log.recovery_point < partition.log.log_end_offset
                ]
                if not unsynced:
                    return
                await waiter.wait()

    async def _take(self, client: BrokerClient, response: FetchResponse) -> None:
        if response.error_code and not is_session_error(response.error_code):
            raise ApiError(ErrorCode(response.error_code), "the leader refuses to be fetched from")
        out_of_range: list[Followed] = []
        for followed, data in self._session.answered(response):
            if data.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
                out_of_range.append(followed)
            elif data.error_code:
                self._failed(followed, ApiError(ErrorCode(data.error_code)))
            else:
                self._guarded(followed, _apply, followed.partition, data)
                if followed.partition.throttles.as_follower and self._owner.quota is not None:
                    self._owner.quota.record(len(data.records or b""))
        for followed in out_of_range:
            await self._find_range(client, followed)

    def _guarded(self, followed: Followed, change: Callable[..., object], *arguments: object) -> None:
        """Change the log; whatever goes wrong makes the partition rest."""
        try:
            change(*arguments)
        except StorageError as error:
            self._owner.on_storage_error(error)
            self._failed(followed, error)
        except (ApiError, UnexpectedOffsetError) as error:
            self._failed(followed, error)

    def _failed(self, followed: Followed, error: Exception) -> None:
        expected = isinstance(error, ApiError) and error.code in _EXPECTED_ERRORS
        logger.log(
            logging.DEBUG if expected else logging.WARNING,
            "%r cannot be fetched from broker %d: %s", followed.partition, self._leader, error,
        )  # fmt: skip
        self._session.rest(
            followed, self._owner.world.monotonic(), self._owner.settings.replica_fetch_backoff_ms / 1000
        )

    async def _find_range(self, client: BrokerClient, followed: Followed) -> None:
        """The leader has nothing at our log end: take its end if that is earlier, else its start."""
        partition = followed.partition
        try:
            leader_end = await self._offset(client, followed, _LATEST)
            leader_start = await self._offset(client, followed, _EARLIEST)
        except ApiError as error:
            self._failed(followed, error)
            return
        if partition.state is not ReplicaState.FOLLOWER or partition.leader_epoch != followed.leader_epoch:
            return  # somebody else leads by now
        self._guarded(followed, partition.fit_into, leader_start, leader_end)

    async def _offset(self, client: BrokerClient, followed: Followed, timestamp: int) -> int:
        asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
            partition_index=followed.partition.index,
            current_leader_epoch=followed.leader_epoch,
            timestamp=timestamp,
        )
        request = ListOffsetsRequest(
            replica_id=self._owner.node_id,
            topics=[ListOffsetsRequest.ListOffsetsTopic(name=followed.partition.topic, partitions=[asked])],
        )
        with trio.fail_after(self._owner.settings.replica_socket_timeout_ms / 1000):
            response = await client.request(request, ListOffsetsResponse)
        answer = response.topics[0].partitions[0]
        if answer.error_code:
            raise ApiError(ErrorCode(answer.error_code))
        return answer.offset


def _apply(partition: Partition, data: PartitionData) -> None:
    """Take up what the leader answered."""
    if data.diverging_epoch.epoch >= 0:
        partition.diverged(data.diverging_epoch.epoch, data.diverging_epoch.end_offset)
        return
    records = data.records
    if records is not None and len(records):
        assert isinstance(records, (bytearray, memoryview))
        partition.append_as_follower(records)
    partition.leader_told(high_watermark=data.high_watermark, log_start_offset=data.log_start_offset)
