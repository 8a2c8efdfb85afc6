"""One partition on this broker: its leader state, its log, and the high watermark.

States of the replica (Kafka's Partition class):

    created --become_leader--> leader --become_follower (issue: cluster)--> ...
       any  --mark_offline-->  offline     the log directory failed: KAFKA_STORAGE_ERROR until the disk is back
       any  --close-->         closed      deleted or shut down: NOT_LEADER_OR_FOLLOWER, waiters wake up

The high watermark is the smallest log end offset of the in-sync replicas and never moves back while this
replica leads. With this broker as the only in-sync replica that is its own log end offset.

The committed offset is how far acks=all may be acknowledged: what the in-sync replicas have and, with group
commit, this broker's disk has too. It lags behind the high watermark by one round of ``group_commit``; readers
go by the high watermark and do not wait for the disk.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.progress import Progress
from storage.errors import StorageError
from storage.log import AppendInfo, Log
from storage.producer_append import AppendOrigin
from storage.producer_entry import ProducerEntry
from storage.segment_list import LogRead
from storage.timestamp_search import MAX_TIMESTAMP, OffsetAtTimestamp
from storage.transaction_verification import VerificationGuard
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
        commits: GroupCommits | None = None,
    ) -> None:
        """Without ``commits`` nobody waits for the disk, and ``flush.messages`` syncs within the append."""
        self.topic = topic
        self.index = index
        self.topic_id = topic_id
        self.log = log
        self.leader_epoch = -1
        self.replicas: tuple[int, ...] = ()
        self.in_sync_replicas: tuple[int, ...] = ()
        self.state = ReplicaState.FOLLOWER
        self.progress = Progress()
        """Who waits for something to read."""
        self.commit_progress = Progress()
        """Who waits for ``is_committed`` or ``may_acknowledge``; readers are not woken by the disk."""
        self._commits = commits
        self._flush_due_offset = 0
        self._refused_offset = 0
        self._node_id = node_id
        self._on_storage_error = on_storage_error
        self._min_in_sync_replicas = 1
        self._adopt_log(log)

    def _adopt_log(self, log: Log) -> None:
        self.log = log
        if self._commits is not None:
            log.on_flush_due = self._flush_due

    def replace_log(self, log: Log) -> None:
        """Go on with another log of the same content: the replica was moved to another directory.

        What of the old log was on the disk must be on the disk of the new one: it may have been acknowledged.
        """
        assert log.recovery_point >= min(self.log.recovery_point, log.log_end_offset), (log, self.log)
        self._adopt_log(log)
        if self.state is ReplicaState.LEADER and self._commits is not None:
            self._commits.request(self)  # who asked for the old log's sync waits for this one's now
        self._notify()

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
            self._flush_due_offset = self._refused_offset = 0
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
        self._notify()

    def close(self) -> None:
        """Stop serving for good: the partition was deleted, or the broker stops."""
        self.state = ReplicaState.CLOSED
        self._notify()

    def _notify(self) -> None:
        self.progress.notify()
        self.commit_progress.notify()

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
    def committed_offset(self) -> int:
        """Everything below it may be acknowledged with acks=all."""
        log = self.log
        if self._commits is None or not self._commits.enabled:
            return log.high_watermark
        return min(log.high_watermark, log.recovery_point)

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
        transaction_version: int = 0,
        verification_guard: VerificationGuard | None = None,
    ) -> AppendInfo:
        """Validate and append what a client or coordinator sent (offsets and epoch are set in place).

        ``transaction_version`` is that of the coordinator that sends a transaction marker;
        ``verification_guard`` lets a batch open a transaction (see ``start_transaction_verification``).
        With ``required_acks`` -1 the disk is asked for it too; ``is_committed`` tells when it is there.
        """
        self.ensure_leader()
        if required_acks == -1:
            self._check_enough_in_sync()
        try:
            info = self.log.append_as_leader(
                records,
                self.leader_epoch,
                origin=origin,
                transaction_version=transaction_version,
                verification_guard=verification_guard,
            )
        except StorageError as error:
            raise self._storage_failure(error) from error
        self._advance_high_watermark()
        # A retry too has to wait until what was appended the first time is on the disk.
        if required_acks == -1 and self.log.recovery_point <= info.last_offset:
            self.request_sync()
        return info

    def request_sync(self) -> None:
        """With group commit: have everything in the log synced soon."""
        if self._commits is not None and self._commits.enabled:
            self._refused_offset = 0
            self._commits.request(self)

    def _flush_due(self) -> None:
        """``flush.messages`` records are not synced: the append that made it so is answered when they are."""
        assert self._commits is not None
        self._flush_due_offset = self.log.log_end_offset
        self._refused_offset = 0
        self._commits.request(self)

    def sync_finished(self) -> None:
        self._refused_offset = 0
        self.commit_progress.notify(self.log.recovery_point)

    def sync_refused(self) -> None:
        self._refused_offset = self.log.log_end_offset
        self.commit_progress.notify()

    def start_transaction_verification(
        self, producer_id: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool
    ) -> VerificationGuard | None:
        """Begin to verify that the partition belongs to a producer's transaction (KIP-890).

        The guard is for the append that follows the coordinator's answer; None where the transaction is open
        here already. ApiError INVALID_PRODUCER_EPOCH if the producer was fenced.
        """
        self.ensure_leader()
        try:
            return self.log.start_transaction_verification(
                producer_id, sequence, producer_epoch, supports_epoch_bump=supports_epoch_bump
            )
        except StorageError as error:
            raise self._storage_failure(error) from error

    @property
    def active_producers(self) -> Mapping[int, ProducerEntry]:
        """What the partition remembers of its producers, by producer id; to be read only."""
        return self.log.active_producers

    def _check_enough_in_sync(self) -> None:
        if not self._has_enough_in_sync:
            raise ApiError(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                f"{len(self.in_sync_replicas)} in-sync replicas are fewer than the {self._min_in_sync_replicas} needed",
            )

    @property
    def _has_enough_in_sync(self) -> bool:
        # As in Kafka, a partition with fewer replicas than min.insync.replicas asks for needs all of them.
        return len(self.in_sync_replicas) >= min(self._min_in_sync_replicas, len(self.replicas))

    def is_committed(self, info: AppendInfo) -> bool:
        """Whether every in-sync replica, and with group commit the disk, holds it.

        ApiError if this replica may not speak for them any more, if there is no room to sync (the append is in
        the log all the same), NOT_ENOUGH_REPLICAS_AFTER_APPEND if too few were left when it was committed.
        """
        self.ensure_leader()
        if self.committed_offset <= info.last_offset:
            if info.last_offset < self._refused_offset:
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, "no room to sync")
            return False
        if not self._has_enough_in_sync:
            raise ApiError(ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
        return self._is_flushed_as_due(info)

    def is_replicated(self, info: AppendInfo) -> bool:
        """Whether only this broker's own disk is still to be waited for."""
        return self.state is ReplicaState.LEADER and self.high_watermark > info.last_offset

    def may_acknowledge(self, info: AppendInfo, required_acks: int) -> bool:
        """Whether an append with these acks may be answered; ApiError as ``is_committed``."""
        if required_acks == -1:
            return self.is_committed(info)
        if required_acks == 0 or self._is_flushed_as_due(info):
            return True
        self.ensure_leader()
        if info.last_offset < self._refused_offset:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, "no room to sync")
        return False

    def _is_flushed_as_due(self, info: AppendInfo) -> bool:
        return info.last_offset >= self._flush_due_offset or info.last_offset < self.log.recovery_point

    def _advance_high_watermark(self) -> None:
        if self.in_sync_replicas == (self._node_id,) and self.log.log_end_offset > self.log.high_watermark:
            before = self.log.high_watermark
            self.log.update_high_watermark(self.log.log_end_offset)
            self.progress.notify()
            # As a rule the disk comes last, and tells by `sync_finished`.
            if self.commit_progress.waiter_count and self.committed_offset > before:
                self.commit_progress.notify(self.committed_offset)

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
        if self.log.config.compact and not self.log.config.delete:
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
