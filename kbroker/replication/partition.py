"""One partition on this broker: its leader state, its log, and the high watermark.

States of the replica (Kafka's Partition class):

    created --become_leader--> leader --become_follower (issue: cluster)--> ...
       any  --mark_offline-->  offline     the log directory failed: KAFKA_STORAGE_ERROR until the disk is back
       any  --close-->         closed      deleted or shut down: NOT_LEADER_OR_FOLLOWER, waiters wake up

The high watermark is the smallest log end offset of the in-sync replicas and never moves back while this
replica leads. With this broker as the only in-sync replica that is its own log end offset.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from enum import Enum

from kbroker.replication.progress import Progress
from storage.errors import StorageError
from storage.log import AppendInfo, Log
from storage.producer_append import AppendOrigin
from storage.segment_list import LogRead
from storage.timestamp_search import MAX_TIMESTAMP, OffsetAtTimestamp
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


class ReplicaState(Enum):
    """What this broker may do with the partition."""

    LEADER = "leader"
    FOLLOWER = "follower"
    OFFLINE = "offline"
    CLOSED = "closed"


class Partition:
    """A partition hosted by this broker."""

    def __init__(
        self,
        *,
        topic: str,
        index: int,
        topic_id: uuid.UUID,
        log: Log,
        node_id: int,
        on_storage_error: Callable[[StorageError], None],
    ) -> None:
        self.topic = topic
        self.index = index
        self.topic_id = topic_id
        self.log = log
        self.leader_epoch = -1
        self.replicas: tuple[int, ...] = ()
        self.in_sync_replicas: tuple[int, ...] = ()
        self.state = ReplicaState.FOLLOWER
        self.progress = Progress()
        self._node_id = node_id
        self._on_storage_error = on_storage_error
        self._min_in_sync_replicas = 1

    def __repr__(self) -> str:
        return f"<Partition {self.topic}-{self.index} {self.state.value} epoch {self.leader_epoch}>"

    def become_leader(
        self,
        *,
        leader_epoch: int,
        replicas: Sequence[int],
        in_sync_replicas: Sequence[int],
        min_in_sync_replicas: int,
    ) -> None:
        """Lead from now on, under ``leader_epoch`` of the cluster metadata; repeating an epoch only updates the set."""
        self._min_in_sync_replicas = min_in_sync_replicas
        self.replicas = tuple(replicas)
        self.in_sync_replicas = tuple(in_sync_replicas)
        if leader_epoch < self.leader_epoch or self.state in (ReplicaState.OFFLINE, ReplicaState.CLOSED):
            return
        if self.state is not ReplicaState.LEADER or leader_epoch > self.leader_epoch:
            self._announce_epoch(leader_epoch)
            self.leader_epoch = leader_epoch
            self.state = ReplicaState.LEADER
        self._advance_high_watermark()

    def _announce_epoch(self, leader_epoch: int) -> None:
        try:
            self.log.assign_epoch_start_offset(leader_epoch, self.log.log_end_offset)
        except StorageError as error:
            if not error.disk_full:
                raise
            # No harm done: the first append, once there is room for one, notes the epoch as well.
            logger.warning(
                "%s-%d: epoch %d is not noted yet: %s", self.topic, self.index, leader_epoch, error
            )

    def update_min_in_sync_replicas(self, min_in_sync_replicas: int) -> None:
        self._min_in_sync_replicas = min_in_sync_replicas

    def mark_offline(self) -> None:
        """Stop serving: the log directory failed."""
        self.state = ReplicaState.OFFLINE
        self.progress.notify()

    def close(self) -> None:
        """Stop serving for good: the partition was deleted, or the broker stops."""
        self.state = ReplicaState.CLOSED
        self.progress.notify()

    def ensure_leader(self) -> None:
        """ApiError unless this replica may serve clients."""
        if self.state is ReplicaState.LEADER:
            return
        if self.state is ReplicaState.OFFLINE:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
        raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """Fence clients that know another leader epoch (KIP-320); -1 skips the check."""
        if current_leader_epoch in (-1, self.leader_epoch):
            return
        if current_leader_epoch < self.leader_epoch:
            raise ApiError(ErrorCode.FENCED_LEADER_EPOCH)
        raise ApiError(ErrorCode.UNKNOWN_LEADER_EPOCH)

    @property
    def log_start_offset(self) -> int:
        return self.log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        return self.log.log_end_offset

    @property
    def high_watermark(self) -> int:
        return self.log.high_watermark

    @property
    def last_stable_offset(self) -> int:
        """First offset that a read_committed consumer may not read: an open transaction, or the high watermark."""
        return self.log.last_stable_offset

    def append_as_leader(
        self,
        records: bytearray | memoryview,
        *,
        required_acks: int,
        origin: AppendOrigin = AppendOrigin.CLIENT,
    ) -> AppendInfo:
        """Validate and append what a client or coordinator sent (offsets and epoch are set in place)."""
        self.ensure_leader()
        if required_acks == -1:
            self._check_enough_in_sync()
        try:
            info = self.log.append_as_leader(records, self.leader_epoch, origin=origin)
        except StorageError as error:
            raise self._storage_failure(error) from error
        self._advance_high_watermark()
        return info

    def _check_enough_in_sync(self) -> None:
        # As in Kafka, a partition with fewer replicas than min.insync.replicas asks for needs all of them.
        needed = min(self._min_in_sync_replicas, len(self.replicas))
        if len(self.in_sync_replicas) < needed:
            raise ApiError(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                f"{len(self.in_sync_replicas)} in-sync replicas are fewer than the {needed} that are needed",
            )

    def is_committed(self, info: AppendInfo) -> bool:
        """Whether every in-sync replica holds it; ApiError if this replica may not speak for them any more."""
        self.ensure_leader()
        return self.high_watermark > info.last_offset

    def _advance_high_watermark(self) -> None:
        if self.in_sync_replicas == (self._node_id,) and self.log.log_end_offset > self.log.high_watermark:
            self.log.update_high_watermark(self.log.log_end_offset)
            self.progress.notify()

    def read(
        self, offset: int, bytes_max: int, *, offset_max: int, min_one_batch: bool, with_aborted: bool
    ) -> LogRead:
        """A file slice from the batch that holds ``offset``, ending before ``offset_max``."""
        self.ensure_leader()
        try:
            return self.log.read(
                offset,
                bytes_max,
                max_offset=offset_max,
                min_one_message=min_one_batch,
                with_aborted_transactions=with_aborted,
            )
        except StorageError as error:
            raise self._storage_failure(error) from error

    def _storage_failure(self, error: StorageError) -> ApiError:
        self._on_storage_error(error)
        return ApiError(ErrorCode.KAFKA_STORAGE_ERROR)

    def offset_for_timestamp(self, timestamp_ms: int) -> OffsetAtTimestamp | None:
        """First record whose timestamp is at or after ``timestamp_ms``."""
        self.ensure_leader()
        try:
            return self.log.fetch_offset_by_timestamp(timestamp_ms)
        except StorageError as error:
            raise self._storage_failure(error) from error

    def offset_of_max_timestamp(self) -> OffsetAtTimestamp | None:
        """The record with the largest timestamp (KIP-734)."""
        return self.offset_for_timestamp(MAX_TIMESTAMP)

    def epoch_of_log_start(self) -> int:
        """The leader epoch of the first record; -1 if unknown."""
        epoch = self.log.epoch_for_offset(self.log.log_start_offset)
        return -1 if epoch is None else epoch

    def end_offset_for_epoch(self, leader_epoch: int) -> tuple[int, int]:
        """As OffsetForLeaderEpoch answers: the leader's own epoch ends at the log end offset."""
        self.ensure_leader()
        if leader_epoch == self.leader_epoch:
            return leader_epoch, self.log.log_end_offset
        found = self.log.end_offset_for_epoch(leader_epoch)
        return found.epoch, found.end_offset

    def delete_records_before(self, offset: int) -> int:
        """DeleteRecords: move the log start offset to ``offset`` (-1: to the high watermark)."""
        self.ensure_leader()
        if not self.log.config.delete:
            raise ApiError(ErrorCode.POLICY_VIOLATION, "the topic's cleanup.policy does not include delete")
        offset = self.high_watermark if offset == -1 else offset
        if not 0 <= offset <= self.high_watermark:
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE, f"offset {offset} is not below the high watermark")
        try:
            self.log.maybe_increment_log_start_offset(offset)
        except StorageError as error:
            raise self._storage_failure(error) from error
        self.progress.notify()
        return self.log.log_start_offset
