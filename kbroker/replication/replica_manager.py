"""The partitions that this broker hosts, kept in step with the cluster metadata."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import trio

from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.partition import ALONE, InSyncChanges, Partition
from kbroker.replication.ports import PartitionState, Standing
from kbroker.replication.progress import Waiter, waiting_on
from kbroker.replication.quota import NOT_THROTTLED, Throttles
from storage.errors import StorageError
from storage.log import AppendInfo
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from wire.errors import ApiError, ErrorCode
from wire.schema import ZERO_UUID

logger = logging.getLogger(__name__)

_NO_PARTITIONS: dict[int, Partition] = {}
_FULL_DISK_LOG_INTERVAL_MS = 10_000


class NoLogDirectoryLeft(Exception):
    """Every log directory failed: the broker has nothing to serve from."""


class Fetchers(Protocol):
    """Who copies partitions from their leaders (``fetcher.py``)."""

    def follow(self, partition: Partition) -> None:
        """Copy it from its present leader, in its present epoch."""
        ...

    def unfollow(self, partition: Partition) -> None: ...


class ReplicaManager:
    """Creates, finds and removes partitions; the Partitions port of the handlers."""

    def __init__(
        self,
        *,
        node_id: int,
        log_manager: LogManager,
        on_no_directory_left: Callable[[NoLogDirectoryLeft], None],
        on_partitions_offline: Callable[[Sequence[tuple[str, int]]], None] = lambda partitions: None,
        commits: GroupCommits | None = None,
        standing: Standing = ALONE,
        is_known: Callable[[str, int], bool] = lambda topic, index: False,
    ) -> None:
        """``is_known`` tells whether the cluster has a partition, here or elsewhere.

        ``on_no_directory_left`` is to end the broker; it must not raise, whoever noticed has to be answered.

        ``on_partitions_offline`` is told the (topic, index) of a failed directory's partitions. Without
        ``commits`` acks=all does not wait for the disk. In a cluster, ``join_cluster`` comes before partitions do.
        """
        self._on_no_directory_left = on_no_directory_left
        self._on_partitions_offline = on_partitions_offline
        self._commits = commits
        self._standing = standing
        self._is_known = is_known
        self._fetchers: Fetchers | None = None
        self._in_sync_changes: InSyncChanges | None = None
        self._node_id = node_id
        self._log_manager = log_manager
        self._partitions: dict[str, dict[int, Partition]] = {}
        self._topic_ids: dict[str, uuid.UUID] = {}
        self._topic_names: dict[uuid.UUID, str] = {}
        self._full_disk_logged_ms: dict[str, int] = {}
        self._waiting_for_room: dict[tuple[str, int], bool] = {}
        """The partitions to be applied again, those first that have waited longest; whether they are new."""
        self._standing_changed = trio.lowlevel.ParkingLot()
        self.stopping = False

    def join_cluster(self, fetchers: Fetchers, in_sync_changes: InSyncChanges) -> None:
        """Who copies what is led elsewhere, and who brings proposals for in-sync sets before the store."""
        self._fetchers = fetchers
        self._in_sync_changes = in_sync_changes

    def __iter__(self) -> Iterator[Partition]:
        for partitions in self._partitions.values():
            yield from partitions.values()

    def get(self, topic: str, index: int) -> Partition | None:
        return self._partitions.get(topic, _NO_PARTITIONS).get(index)

    def leader(self, topic: str, index: int) -> Partition:
        partition = self.get(topic, index)
        if partition is None:
            if self._log_manager.is_offline(TopicPartition(topic, index)) or (
                (topic, index) in self._waiting_for_room
            ):
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
            if self._is_known(topic, index):
                raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)  # so that the client asks who has it
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        partition.ensure_leader()
        return partition

    def readable(self, topic: str, index: int) -> Partition:
        """A partition that a consumer may read from, led here or not (KIP-392); ApiError as ``leader``."""
        partition = self.get(topic, index)
        if partition is None:
            return self.leader(topic, index)
        partition.ensure_readable()
        return partition

    def topic_name(self, topic_id: uuid.UUID) -> str | None:
        return self._topic_names.get(topic_id)

    def topic_id(self, topic: str) -> uuid.UUID:
        return self._topic_ids.get(topic, ZERO_UUID)

    def waiting_on(self, partitions: Iterable[Partition]) -> AbstractContextManager[Waiter]:
        """Wakes when there is something new to read, or a partition's state changes."""
        return waiting_on([(partition.progress, 0) for partition in partitions])

    def waiting_on_commit(
        self, appends: Iterable[tuple[Partition, AppendInfo]]
    ) -> AbstractContextManager[Waiter]:
        """Wakes when one of the appends may be acknowledged, or a partition's state changes."""
        return waiting_on([(partition.commit_progress, info.last_offset + 1) for partition, info in appends])

    def apply_topic(
        self,
        topic: str,
        topic_id: uuid.UUID,
        partitions: Iterable[tuple[int, PartitionState]],
        *,
        config: LogConfig,
        min_in_sync_replicas: int,
        are_new: bool = True,
        throttles: Callable[[int], Throttles] = lambda index: NOT_THROTTLED,
    ) -> None:
        """Bring the partitions of one topic that live here into the state that the metadata gives.

        ``are_new``: they had no replica here before, so none of them can have a log in a directory that is offline.
        What a full disk does not let be done is to be applied again: see ``waiting_for_room``.
        """
        known_id = self._topic_ids.get(topic)
        if known_id is not None and known_id != topic_id:
            self.remove_topic(topic)  # deleted and created again while this broker looked away
        self._topic_ids[topic] = topic_id
        self._topic_names[topic_id] = topic
        for index, state in partitions:
            if self._node_id in state.replicas:
                self._apply_partition(topic, topic_id, index, state, config, min_in_sync_replicas, are_new)
                partition = self.get(topic, index)
                if partition is not None:
                    partition.throttles = throttles(index)
                self._resign_if_offline(topic, index, state)
            else:
                self._waiting_for_room.pop((topic, index), None)
                if index in self._partitions.get(topic, _NO_PARTITIONS):
                    self._remove_partition(topic, index)
                elif self._log_manager.is_offline(TopicPartition(topic, index)):
                    # Should it be placed here again, it is a new one.
                    self._log_manager.delete([TopicPartition(topic, index)])

    def _resign_if_offline(self, topic: str, index: int, state: PartitionState) -> None:
        """A fetch of before its directory failed, which the leader handled late, may have let it back in.

        Where nobody else is in sync it stays: it would only be elected again.
        """
        if (
            self._node_id in state.in_sync_replicas
            and len(state.in_sync_replicas) > 1
            and self._log_manager.is_offline(TopicPartition(topic, index))
        ):
            self._on_partitions_offline([(topic, index)])

    @property
    def waiting_for_room(self) -> dict[str, list[int]]:
        """The partitions, by topic, that are not in the state of the metadata yet, since a disk is full."""
        waiting: dict[str, list[int]] = {}
        for topic, index in self._waiting_for_room:
            waiting.setdefault(topic, []).append(index)
        return waiting

    def _apply_partition(
        self,
        topic: str,
        topic_id: uuid.UUID,
        index: int,
        state: PartitionState,
        config: LogConfig,
        min_in_sync_replicas: int,
        is_new: bool,
    ) -> None:
        partition = self.get(topic, index)
        has_waited = (topic, index) in self._waiting_for_room
        is_new = self._waiting_for_room.pop((topic, index), False) or is_new

        def refused(error: StorageError) -> None:
            if not error.disk_full:
                self.fail_directory(error)
                return
            self._waiting_for_room[topic, index] = is_new
            if not has_waited:
                self._log_full_disk(error)

        if partition is None:
            try:
                log = self._log_manager.create(TopicPartition(topic, index), topic_id, config, is_new=is_new)
            except StorageError as error:
                refused(error)
                return
            except ApiError as error:  # its directory failed, or holds the log of another topic of that name
                logger.error("%s-%d has no log on this broker: %s", topic, index, error)
                return
            log.update_config(config)
            partition = Partition(
                topic=topic,
                index=index,
                topic_id=topic_id,
                log=log,
                node_id=self._node_id,
                on_storage_error=self.fail_directory,
                commits=self._commits,
                standing=self._standing,
                in_sync_changes=self._in_sync_changes,
            )
            self._partitions.setdefault(topic, {})[index] = partition
        try:
            if len(state.replicas) > 1 and self._node_id in state.in_sync_replicas:
                self._log_manager.registers.vouch_for(TopicPartition(topic, index))
        except StorageError as error:
            refused(error)
            if not error.disk_full:
                return
        try:
            if state.leader == self._node_id:
                if self._fetchers is not None:
                    self._fetchers.unfollow(partition)
                begins = partition.become_leader(state, min_in_sync_replicas=min_in_sync_replicas)
            else:
                begins = partition.become_follower(state, min_in_sync_replicas=min_in_sync_replicas)
                if begins and self._fetchers is not None:
                    self._fetchers.follow(partition)
        except StorageError as error:
            refused(error)
            return
        if has_waited and (topic, index) not in self._waiting_for_room:
            logger.info("%s-%d has the room that it waited for", topic, index)
        if begins and len(state.replicas) > 1:
            logger.info(
                "%s-%d: leader %d in epoch %d, in sync %s, partition epoch %d; our log ends at %d",
                topic, index, state.leader, state.leader_epoch, list(state.in_sync_replicas), state.partition_epoch,
                partition.log_end_offset,
            )  # fmt: skip

    def apply_config(
        self,
        topic: str,
        *,
        config: LogConfig,
        min_in_sync_replicas: int,
        throttles: Callable[[int], Throttles] = lambda index: NOT_THROTTLED,
    ) -> None:
        """Put a changed topic or broker configuration to work on the live partitions of ``topic``."""
        for partition in self._partitions.get(topic, _NO_PARTITIONS).values():
            partition.log.update_config(config)
            partition.update_min_in_sync_replicas(min_in_sync_replicas)
            partition.throttles = throttles(partition.index)

    def remove_topic(self, topic: str) -> None:
        """The topic was deleted: wake who waits, then delete the logs."""
        for waiting in [key for key in self._waiting_for_room if key[0] == topic]:
            del self._waiting_for_room[waiting]
        partitions = self._partitions.pop(topic, {})
        for partition in partitions.values():
            self._close(partition)
        topic_id = self._topic_ids.pop(topic, None)
        if topic_id is not None:
            self._topic_names.pop(topic_id, None)
        try:
            offline = [name for name in self._log_manager.offline_partitions if name.topic == topic]
            self._log_manager.delete([*offline, *(TopicPartition(topic, index) for index in partitions)])
        except StorageError as error:
            self.fail_directory(error)

    def _remove_partition(self, topic: str, index: int) -> None:
        """The partition lives on other brokers now (a reassignment): the log here goes."""
        partition = self._partitions[topic].pop(index)
        self._close(partition)
        logger.info("%s-%d has no replica here any more", topic, index)
        try:
            self._log_manager.delete([TopicPartition(topic, index)])
        except StorageError as error:
            self.fail_directory(error)

    def _close(self, partition: Partition) -> None:
        partition.close()
        if self._fetchers is not None:
            self._fetchers.unfollow(partition)

    def standing_changed(self) -> None:
        """``Standing.may_lead`` has, or the doubt is over: whoever waits for an acknowledgement is to look again."""
        self._standing_changed.unpark_all()
        for partition in self:
            partition.standing_changed()

    @property
    def is_in_doubt(self) -> bool:
        """Whether this broker is about to learn whether it may lead."""
        return not self._standing.may_lead() and self._standing.is_in_doubt() and not self.stopping

    async def wait_for_standing(self) -> None:
        """Until it is not in doubt any more."""
        while self.is_in_doubt:
            await self._standing_changed.park()

    def remove_strays(
        self,
        is_placed: Callable[[TopicPartition, uuid.UUID | None], bool],
        is_removed: Callable[[str, uuid.UUID | None], bool],
    ) -> None:
        """Take away the logs that the metadata does not place here (``is_placed``, by topic id as well).

        Before partitions are made: a log of a deleted topic would be in the way of a new one that has its name.
        Those of which ``is_removed`` (by topic and topic id) says that the cluster took them away, while this broker
        was down, are deleted. The others are Kafka's stray logs: they are renamed, and nothing of them is lost.
        """
        removed: list[TopicPartition] = []
        strays: list[TopicPartition] = []
        for name, log in self._log_manager.logs.items():
            if not is_placed(name, log.topic_id):
                (removed if is_removed(name.topic, log.topic_id) else strays).append(name)
        try:
            if removed:
                logger.info(
                    "logs that were removed while this broker was down: %s", ", ".join(map(str, removed))
                )
                self._log_manager.delete(removed)
            for path in self._log_manager.set_aside(strays):
                logger.warning("a log that belongs to no partition of the cluster was set aside as %s", path)
        except StorageError as error:
            self.fail_directory(error)

    def fail_directory(self, error: StorageError) -> None:
        """A log directory failed: its partitions answer KAFKA_STORAGE_ERROR while the rest serve.

        A full disk is no failure: the append was refused and undone, and the next one may succeed.
        """
        if error.disk_full:
            self._log_full_disk(error)
            return
        self.sync_failed(error)

    def _log_full_disk(self, error: StorageError) -> None:
        """Every producer tries again and again: one line in a while says it all."""
        now_ms = self._log_manager.context.clock_ms()
        if now_ms - self._full_disk_logged_ms.get(error.directory, -_FULL_DISK_LOG_INTERVAL_MS) >= (
            _FULL_DISK_LOG_INTERVAL_MS
        ):
            self._full_disk_logged_ms[error.directory] = now_ms
            logger.error("no room left in %s: %s", error.directory, error)

    def sync_failed(self, error: StorageError) -> None:
        """A sync failed, and perhaps only for want of room: what the page cache held may be lost all the same.

        So the directory goes offline, and nothing that waited for the sync is ever acknowledged.
        """
        offline = self._log_manager.fail_directory(error)
        for topic, index in offline:
            partition = self.get(topic, index)
            if partition is not None:
                partition.mark_offline()
                if self._fetchers is not None:
                    self._fetchers.unfollow(partition)
        if offline:
            self._on_partitions_offline(offline)
        if not self._log_manager.has_live_directory:
            self._on_no_directory_left(NoLogDirectoryLeft(f"the last log directory failed: {error}"))

    def stop(self) -> None:
        """Wake everyone who waits for progress, so that the broker can go down quickly."""
        self.stopping = True
        self._standing_changed.unpark_all()
        for partition in self:
            partition.progress.notify()
            partition.commit_progress.notify()
