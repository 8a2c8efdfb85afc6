"""The partitions that this broker hosts, kept in step with the cluster metadata."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from kbroker.replication.partition import Partition
from kbroker.replication.progress import Waiter, waiting_on
from storage.errors import StorageError
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from wire.errors import ApiError, ErrorCode
from wire.schema import ZERO_UUID

logger = logging.getLogger(__name__)

_NO_PARTITIONS: dict[int, Partition] = {}


class NoLogDirectoryLeft(Exception):
    """Every log directory failed: the broker has nothing to serve from."""


class PartitionState(Protocol):
    """The cluster's word on one partition."""

    @property
    def leader(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def replicas(self) -> tuple[int, ...]: ...

    @property
    def in_sync_replicas(self) -> tuple[int, ...]: ...


class ReplicaManager:
    """Creates, finds and removes partitions; the Partitions port of the handlers."""

    def __init__(
        self,
        *,
        node_id: int,
        log_manager: LogManager,
        on_no_directory_left: Callable[[NoLogDirectoryLeft], None],
    ) -> None:
        """``on_no_directory_left`` is to end the broker; it must not raise, whoever noticed has to be answered."""
        self._on_no_directory_left = on_no_directory_left
        self._node_id = node_id
        self._log_manager = log_manager
        self._partitions: dict[str, dict[int, Partition]] = {}
        self._topic_ids: dict[str, uuid.UUID] = {}
        self._topic_names: dict[uuid.UUID, str] = {}
        self.stopping = False

    def __iter__(self) -> Iterator[Partition]:
        for partitions in self._partitions.values():
            yield from partitions.values()

    def get(self, topic: str, index: int) -> Partition | None:
        return self._partitions.get(topic, _NO_PARTITIONS).get(index)

    def leader(self, topic: str, index: int) -> Partition:
        partition = self.get(topic, index)
        if partition is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        partition.ensure_leader()
        return partition

    def topic_name(self, topic_id: uuid.UUID) -> str | None:
        return self._topic_names.get(topic_id)

    def topic_id(self, topic: str) -> uuid.UUID:
        return self._topic_ids.get(topic, ZERO_UUID)

    def waiting_on(self, partitions: Iterable[Partition]) -> AbstractContextManager[Waiter]:
        return waiting_on([partition.progress for partition in partitions])

    def apply_topic(
        self,
        topic: str,
        topic_id: uuid.UUID,
        partitions: Iterable[tuple[int, PartitionState]],
        *,
        config: LogConfig,
        min_in_sync_replicas: int,
    ) -> None:
        """Bring the partitions of one topic that live here into the state that the metadata gives."""
        known_id = self._topic_ids.get(topic)
        if known_id is not None and known_id != topic_id:
            self.remove_topic(topic)  # deleted and created again while this broker looked away
        self._topic_ids[topic] = topic_id
        self._topic_names[topic_id] = topic
        for index, state in partitions:
            if self._node_id in state.replicas:
                self._apply_partition(topic, topic_id, index, state, config, min_in_sync_replicas)

    def _apply_partition(
        self,
        topic: str,
        topic_id: uuid.UUID,
        index: int,
        state: PartitionState,
        config: LogConfig,
        min_in_sync_replicas: int,
    ) -> None:
        partition = self.get(topic, index)
        if partition is None:
            try:
                log = self._log_manager.create(TopicPartition(topic, index), topic_id, config)
            except StorageError as error:
                self.fail_directory(error)
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
            )
            self._partitions.setdefault(topic, {})[index] = partition
        if state.leader == self._node_id:
            try:
                partition.become_leader(
                    leader_epoch=state.leader_epoch,
                    replicas=state.replicas,
                    in_sync_replicas=state.in_sync_replicas,
                    min_in_sync_replicas=min_in_sync_replicas,
                )
            except StorageError as error:
                self.fail_directory(error)

    def apply_config(self, topic: str, *, config: LogConfig, min_in_sync_replicas: int) -> None:
        """Put a changed topic or broker configuration to work on the live partitions of ``topic``."""
        for partition in self._partitions.get(topic, _NO_PARTITIONS).values():
            partition.log.update_config(config)
            partition.update_min_in_sync_replicas(min_in_sync_replicas)

    def remove_topic(self, topic: str) -> None:
        """The topic was deleted: wake who waits, then delete the logs."""
        partitions = self._partitions.pop(topic, {})
        for partition in partitions.values():
            partition.close()
        topic_id = self._topic_ids.pop(topic, None)
        if topic_id is not None:
            self._topic_names.pop(topic_id, None)
        try:
            self._log_manager.delete([TopicPartition(topic, index) for index in partitions])
        except StorageError as error:
            self.fail_directory(error)

    def set_aside_strays(self) -> None:
        """Move logs away whose partition the metadata does not place here (Kafka's stray logs)."""
        strays = [name for name in self._log_manager.logs if self.get(*name) is None]
        try:
            for path in self._log_manager.set_aside(strays):
                logger.warning("a log that belongs to no partition of the cluster was set aside as %s", path)
        except StorageError as error:
            self.fail_directory(error)

    def fail_directory(self, error: StorageError) -> None:
        """A log directory failed: its partitions answer KAFKA_STORAGE_ERROR while the rest serve.

        A full disk is no failure: the append was refused and undone, and the next one may succeed.
        """
        if error.disk_full:
            logger.error("no room left: %s", error)
            return
        for topic, index in self._log_manager.fail_directory(error):
            partition = self.get(topic, index)
            if partition is not None:
                partition.mark_offline()
        if not self._log_manager.has_live_directory:
            self._on_no_directory_left(NoLogDirectoryLeft(f"the last log directory failed: {error}"))

    def stop(self) -> None:
        """Wake everyone who waits for progress, so that the broker can go down quickly."""
        self.stopping = True
        for partition in self:
            partition.progress.notify()
