"""One partition on this broker: its leader state, its log, and the high watermark.

States of the replica (Kafka's Partition class):

    follower <--become_follower/become_leader--> leader     as the metadata says; it begins as a follower
       any  --mark_offline-->  offline     the log directory failed: KAFKA_STORAGE_ERROR until the disk is back
       any  --close-->         closed      deleted or shut down: NOT_LEADER_OR_FOLLOWER, waiters wake up

A leader that other brokers may believe to be gone (``Standing.may_lead``) answers as if it were a follower, and so
acknowledges nothing, until it has its session back or learns who leads now.

The high watermark is the smallest log end offset of the in-sync replicas (``leadership.py``) and never moves back
while this replica leads. With this broker as the only in-sync replica that is its own log end offset. While fewer
than ``min.insync.replicas`` are in sync it stands still (KIP-966). A follower has the leader's word for it.

The committed offset is how far acks=all may be acknowledged: what the in-sync replicas have and, with group
commit, this broker's disk has too. (The other replicas ask for more only when their disks have what they got.) It
lags behind the high watermark by one round of ``group_commit``; readers go by the high watermark and do not wait
for the disk.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final, Protocol

from kbroker.replication.group_commit import GroupCommits
from kbroker.replication.leadership import Follower, Leadership
from kbroker.replication.ports import InSyncProposal, PartitionState, Standing
from kbroker.replication.progress import Progress
from kbroker.replication.quota import NOT_THROTTLED
from kbroker.replication.refused_batches import RefusedBatches
from storage.errors import StorageError
from storage.log import AppendInfo, Log
from storage.producer_append import AppendOrigin
from storage.producer_entry import ProducerEntry
from storage.segment_list import LogRead
from storage.timestamp_search import MAX_TIMESTAMP, OffsetAtTimestamp
from storage.transaction_verification import VerificationGuard
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


NO_LEADER: Final = -1
ALONE: Final = Standing()


class ReplicaState(Enum):
    """What this broker may do with the partition."""

    LEADER = "leader"
    FOLLOWER = "follower"
    OFFLINE = "offline"
    CLOSED = "closed"


class InSyncChanges(Protocol):
    """Who brings proposals for in-sync sets before the metadata store (``in_sync_changes.py``)."""

    def request(self, partition: Partition) -> None:
        """The partition has a proposal; ask it for that soon."""
        ...

    def look_again(self, partition: Partition) -> None:
        """A follower has caught up and may not join just now; see ``Partition.propose_joining`` soon."""
        ...


class ReplicaWatcher(Protocol):
    """A follower's fetch session that has this partition in it."""

    def appended(self) -> None:
        """There are records to fetch, or the partition is not led here any more."""
        ...

    def changed(self) -> None:
        """The high watermark or the log start have moved: worth telling, but not worth an answer of its own."""
        ...

    def out_of_sync(self, node_ids: Collection[int]) -> None:
        """These followers have left the in-sync set: what they said before of how far they are counts no more."""
        ...


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
        standing: Standing = ALONE,
        in_sync_changes: InSyncChanges | None = None,
    ) -> None:
        """Without ``commits`` nobody waits for the disk, and ``flush.messages`` syncs within the append.

        Without ``in_sync_changes`` the in-sync set stays as the metadata has it.
        """
        self.topic = topic
        self.index = index
        self.topic_id = topic_id
        self.log = log
        self.leader_epoch = -1
        self.leader = NO_LEADER
        self.leadership = Leadership(node_id)
        """Meaningful as long as this replica leads."""
        self.state = ReplicaState.FOLLOWER
        self.throttles = NOT_THROTTLED
        self.progress = Progress()
        """Who waits for something to read."""
        self.commit_progress = Progress()
        """Who waits for ``is_committed`` or ``may_acknowledge``; readers are not woken by the disk."""
        self.replica_watchers: dict[object, ReplicaWatcher] = {}
        """The followers' fetch sessions that this partition is in."""
        self._standing = standing
        self._in_sync_changes = in_sync_changes
        self._commits = commits
        self._flush_due_offset = 0
        self._refused_offset = 0
        self._node_id = node_id
        self._on_storage_error = on_storage_error
        self._min_in_sync_replicas = 1
        self._refused_batches = RefusedBatches()
        self.term = 0
        """Rises when this replica begins to follow another one: what it has appended as a leader may go."""
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

    @property
    def replicas(self) -> tuple[int, ...]:
        return self.leadership.replicas

    @property
    def in_sync_replicas(self) -> tuple[int, ...]:
        return self.leadership.in_sync_replicas

    def become_leader(self, state: PartitionState, *, min_in_sync_replicas: int) -> bool:
        """Lead from now on, under ``state.leader_epoch``; a later state of the same epoch updates the in-sync set.

        Whether a new epoch has begun.
        """
        self._min_in_sync_replicas = min_in_sync_replicas
        if state.leader_epoch < self.leader_epoch or self.state in (
            ReplicaState.OFFLINE,
            ReplicaState.CLOSED,
        ):
            return False
        is_new_leader = self.state is not ReplicaState.LEADER
        begins = is_new_leader or state.leader_epoch > self.leader_epoch
        was_pending = self.leadership.pending is not None
        if begins:
            self._announce_epoch(state.leader_epoch)
            self.leadership.begin_epoch(
                state,
                is_new_leader=is_new_leader,
                log_end_offset=self.log.log_end_offset,
                now=self._standing.monotonic(),
            )
            self.leader_epoch, self.leader = state.leader_epoch, state.leader
            self.state = ReplicaState.LEADER
            self._flush_due_offset = self._refused_offset = 0
            self._refused_batches.clear()
        elif not self._update_leadership(state):
            return False
        elif was_pending and self._in_sync_changes is not None:
            self._in_sync_changes.look_again(self)
        self._advance_high_watermark()
        # Who waits for acknowledgements must learn of a smaller set, and whether it is large enough.
        self._notify()
        return begins

    def _update_leadership(self, state: PartitionState) -> bool:
        before = self.leadership.in_sync_replicas
        if not self.leadership.update(state):
            return False
        gone = set(before).difference(state.in_sync_replicas)
        if gone:
            for watcher in self.replica_watchers.values():
                watcher.out_of_sync(gone)
        return True

    def become_follower(self, state: PartitionState, *, min_in_sync_replicas: int) -> bool:
        """Follow ``state.leader``, which may be nobody; whether that is a new epoch or another leader."""
        self._min_in_sync_replicas = min_in_sync_replicas
        if state.leader_epoch < self.leader_epoch or self.state in (
            ReplicaState.OFFLINE,
            ReplicaState.CLOSED,
        ):
            return False
        if self.state is ReplicaState.FOLLOWER and (state.leader_epoch, state.leader) == (
            self.leader_epoch,
            self.leader,
        ):
            return False
        self.leader_epoch, self.leader = state.leader_epoch, state.leader
        self.term += 1
        self.state = ReplicaState.FOLLOWER
        self.leadership.settle()
        self._notify()
        return True

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
        if self.state is ReplicaState.LEADER:
            self._advance_high_watermark()

    def mark_offline(self) -> None:
        """Stop serving: the log directory failed."""
        self.state = ReplicaState.OFFLINE
        self._notify()

    def close(self) -> None:
        """Stop serving for good: the partition was deleted, or the broker stops."""
        self.state = ReplicaState.CLOSED
        self._notify()

    def standing_changed(self) -> None:
        """``Standing.may_lead`` has: who waits is to look again."""
        self._notify()

    def _notify(self) -> None:
        self.progress.notify()
        self.commit_progress.notify()
        for watcher in self.replica_watchers.values():
            watcher.appended()

    def ensure_leader(self) -> None:
        """ApiError unless this replica may act as the leader."""
        if self.state is ReplicaState.LEADER and self._standing.may_lead():
            return
        if self.state is ReplicaState.OFFLINE:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR)
        raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    @property
    def _is_in_doubt(self) -> bool:
        """Whether a leader that may not act as one will soon know if it may again."""
        return self.state is ReplicaState.LEADER and self._standing.is_in_doubt()

    @property
    def is_led_here(self) -> bool:
        return self.state is ReplicaState.LEADER

    def ensure_readable(self) -> None:
        """ApiError unless consumers may read from this replica, as the leader or as a follower (KIP-392)."""
        if self.state is not ReplicaState.FOLLOWER or self.leader == NO_LEADER:
            self.ensure_leader()

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
    def is_high_watermark_known(self) -> bool:
        """Whether everything that former leaders committed lies below the high watermark."""
        return self.log.high_watermark >= self.leadership.epoch_start_offset

    @property
    def committed_offset(self) -> int:
        """Everything below it may be acknowledged with acks=all."""
        log = self.log
        if self._commits is None or not self._commits.enabled:
            return log.high_watermark
        return min(self.leadership.in_sync_end(log.high_watermark), log.recovery_point)

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
        # "Not enough replicas" says that nothing was appended. Of a retry of what was it would be a lie, upon which a
        # producer may send it anew under other sequence numbers. (Kafka says so all the same.)
        if self._refused_batches:
            self._refused_batches.check(records, self._standing.monotonic())
        try:
            if required_acks == -1 and not self._has_enough_in_sync and not self._is_retry(records):
                self._check_enough_in_sync()
            info = self._append(records, origin, transaction_version, verification_guard)
        except ApiError as error:
            self._refused_batches.note(records, error, self._standing.monotonic())
            raise
        if self._refused_batches and not info.is_duplicate:
            self._refused_batches.appended(records)
        # A retry too has to wait until what was appended the first time is on the disk.
        if required_acks == -1 and self.log.recovery_point <= info.last_offset:
            self.request_sync()
        return info

    def _is_retry(self, records: bytearray | memoryview) -> bool:
        try:
            return self.log.is_retry(records)
        except StorageError as error:
            raise self._storage_failure(error) from error

    def _append(
        self,
        records: bytearray | memoryview,
        origin: AppendOrigin,
        transaction_version: int,
        verification_guard: VerificationGuard | None,
    ) -> AppendInfo:
        end_offset = self.log.log_end_offset
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
        if self.leadership.followers:
            self.leadership.appended(end_offset, self._standing.monotonic())
        self._advance_high_watermark()
        for watcher in self.replica_watchers.values():
            watcher.appended()
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
        try:
            self.ensure_leader()
        except ApiError:
            if self._is_in_doubt:
                return False
            raise
        if self.committed_offset <= info.last_offset:
            if info.last_offset < self._refused_offset:
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, "no room to sync")
            return False
        if not self._has_enough_in_sync:
            raise ApiError(ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
        return self._is_flushed_as_due(info)

    def is_replicated(self, info: AppendInfo) -> bool:
        """Whether only this broker's own disk is still to be waited for."""
        return (
            self.state is ReplicaState.LEADER
            and self.leadership.in_sync_end(self.high_watermark) > info.last_offset
        )

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
        leadership, log = self.leadership, self.log
        before = log.high_watermark
        if log.log_end_offset <= before or not self._has_enough_in_sync:
            return
        offset = log.log_end_offset
        if leadership.followers:
            offset = leadership.high_watermark(offset, self._standing)
        if offset > before:
            log.update_high_watermark(offset)
            self.progress.notify()
            # As a rule the disk comes last, and tells by `sync_finished`.
            if self.commit_progress.waiter_count and self.committed_offset > before:
                self.commit_progress.notify(self.committed_offset)
            for watcher in self.replica_watchers.values():
                watcher.changed()

    # Followers, as their leader sees them

    def follower_fetched(
        self, node_id: int, broker_epoch: int, *, offset: int, log_start_offset: int
    ) -> None:
        """A follower asks for what comes at ``offset``, where its log does not part from this one.

        ApiError NOT_LEADER_OR_FOLLOWER if it is none, or an earlier life of one.
        """
        follower = self.leadership.followers.get(node_id)
        if follower is None or -1 < broker_epoch < follower.broker_epoch:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"broker {node_id} is no replica")
        before, start_before = follower.log_end_offset, follower.log_start_offset
        follower.fetched(
            offset, log_start_offset, broker_epoch, self.log.log_end_offset, self._standing.monotonic()
        )
        if self.leadership.has_caught_up(follower, self.log.high_watermark):
            self._propose_one(follower)
        if offset != before:
            self._advance_high_watermark()
            if before < self.log.high_watermark and self.commit_progress.waiter_count:
                # What earlier leaders had committed, and somebody sent again, is now on this disk as well.
                self.commit_progress.notify(self.committed_offset)
        if log_start_offset != start_before:
            self.progress.notify()

    def _propose_one(self, follower: Follower) -> None:
        if self.leadership.is_ready_to_join(follower, self.log.high_watermark, self._standing):
            self._propose(
                (*self.in_sync_replicas, follower.node_id), f"broker {follower.node_id} has caught up"
            )
        elif self._in_sync_changes is not None:
            # Its session names the partition again only when there is news of it, and there may be none for long.
            self._in_sync_changes.look_again(self)

    def propose_joining(self) -> bool:
        """Propose a follower that has caught up and could not be proposed then; whether to look again soon."""
        if self.state is not ReplicaState.LEADER:
            return False
        leadership, standing, high_watermark = self.leadership, self._standing, self.log.high_watermark
        waiting = [
            follower
            for follower in leadership.followers.values()
            if leadership.has_caught_up(follower, high_watermark)
        ]
        for follower in waiting:
            if leadership.is_ready_to_join(follower, high_watermark, standing):
                self._propose_one(follower)
        since = standing.monotonic() - standing.lag_time_max_s()
        return any(follower.has_fetched_since(since) for follower in waiting)

    def is_throttled_for(self, node_id: int) -> bool:
        """Whether what this follower fetches counts against the quota of leaders: one in sync never does."""
        return self.throttles.as_leader and node_id not in self.in_sync_replicas

    def in_sync_followers_with(self, offset: int) -> list[tuple[int, int]]:
        """(node id, log end offset) of the in-sync followers whose log has ``offset``, or ends there."""
        return [
            (follower.node_id, follower.log_end_offset)
            for follower in self.leadership.followers.values()
            if follower.node_id in self.in_sync_replicas
            and follower.log_start_offset <= offset <= follower.log_end_offset
        ]

    def drop_lagging(self) -> None:
        """Propose an in-sync set without the followers that lag too far behind."""
        if self.state is not ReplicaState.LEADER or self.leadership.pending is not None:
            return
        lagging = self.leadership.lagging(self.log.log_end_offset, self._standing)
        if lagging:
            gone = {follower.node_id for follower in lagging}
            reason = ", ".join(
                f"broker {follower.node_id} lags at {follower.log_end_offset}" for follower in lagging
            )
            self._propose(
                tuple(node_id for node_id in self.in_sync_replicas if node_id not in gone),
                f"{reason}, the log ends at {self.log.log_end_offset}",
            )

    def _propose(self, in_sync_replicas: tuple[int, ...], reason: str) -> None:
        if self._in_sync_changes is None:
            return
        # The order of the replicas is the order of preference; a set would leak its own.
        members = set(in_sync_replicas)
        proposed = tuple(node_id for node_id in self.replicas if node_id in members)
        logger.info(
            "%s-%d: in-sync set %s -> %s proposed in leader epoch %d, partition epoch %d: %s",
            self.topic, self.index, list(self.in_sync_replicas), list(proposed), self.leader_epoch,
            self.leadership.partition_epoch, reason,
        )  # fmt: skip
        self.leadership.propose(proposed)
        self._in_sync_changes.request(self)

    def in_sync_proposal(self) -> InSyncProposal | None:
        """What is to be brought before the store, if this replica still leads and still wants it."""
        leadership = self.leadership
        if self.state is not ReplicaState.LEADER or leadership.pending is None:
            return None
        return InSyncProposal(
            self.topic_id,
            self.index,
            self.leader_epoch,
            leadership.partition_epoch,
            tuple((node_id, self._broker_epoch_of(node_id)) for node_id in leadership.pending),
        )

    def _broker_epoch_of(self, node_id: int) -> int:
        follower: Follower | None = self.leadership.followers.get(node_id)
        return -1 if follower is None else follower.broker_epoch

    def proposal_settled(self, proposal: InSyncProposal, state: PartitionState | None) -> None:
        """The store took the proposal, and has this state now; or (None) it refused it and always will."""
        if self.state is not ReplicaState.LEADER or proposal.leader_epoch != self.leader_epoch:
            return
        if state is not None:
            if state.leader_epoch == self.leader_epoch and self._update_leadership(state):
                self._advance_high_watermark()
                self._notify()
        elif proposal.partition_epoch == self.leadership.partition_epoch:
            self.leadership.settle()
            self._advance_high_watermark()
            if self._in_sync_changes is not None:
                self._in_sync_changes.look_again(self)

    # The leader, as its follower sees it

    def append_as_follower(self, records: bytearray | memoryview) -> AppendInfo | None:
        """Write what the leader sent; ApiError as ``Log.append_as_follower``, StorageError."""
        return self.log.append_as_follower(records, leader_epoch=self.leader_epoch)

    def leader_told(self, *, high_watermark: int, log_start_offset: int) -> None:
        """What the leader says besides records. StorageError."""
        log = self.log
        before = log.high_watermark
        if high_watermark > before and log.update_high_watermark(high_watermark) > before:
            self.progress.notify()
        log.maybe_increment_log_start_offset(min(log_start_offset, log.high_watermark))

    def diverged(self, epoch: int, end_offset: int) -> None:
        """The leader's log parts from this one: its largest epoch not above our last one ends at ``end_offset``.

        Cut to where both agree as far as this log knows (Kafka: AbstractFetcherThread.getOffsetTruncationState);
        where it lacks the leader's epoch, the next fetch tells more. StorageError.
        """
        ours = self.log.end_offset_for_epoch(epoch)
        offset = self.log.log_end_offset
        if ours.end_offset >= 0:
            offset = min(offset, ours.end_offset)
        if ours.end_offset < 0 or ours.epoch == epoch:
            offset = min(offset, end_offset)
        self._truncate_to(offset, f"epoch {epoch} ends at {end_offset} in the log of leader {self.leader}")

    def fit_into(self, leader_start: int, leader_end: int) -> None:
        """The leader has nothing at our end: end where it does, or begin where it does. StorageError."""
        log = self.log
        if leader_end < log.log_end_offset:
            self._truncate_to(leader_end, f"the log of leader {self.leader} ends there")
        elif leader_start > log.log_end_offset:
            logger.info(
                "%s-%d begins anew at %d, where the log of leader %d begins; it ended at %d",
                self.topic, self.index, leader_start, self.leader, log.log_end_offset,
            )  # fmt: skip
            log.truncate_fully_and_start_at(leader_start)

    def _truncate_to(self, offset: int, reason: str) -> None:
        log = self.log
        if offset < log.high_watermark:
            logger.error(
                "%s-%d loses committed records from %d on, its high watermark is %d: %s",
                self.topic, self.index, offset, log.high_watermark, reason,
            )  # fmt: skip
        elif offset < log.log_end_offset:
            logger.info(
                "%s-%d is truncated from %d to %d in leader epoch %d: %s",
                self.topic, self.index, log.log_end_offset, offset, self.leader_epoch, reason,
            )  # fmt: skip
        log.truncate_to(offset)

    def read(
        self, offset: int, bytes_max: int, *, offset_max: int, min_one_batch: bool, with_aborted: bool
    ) -> LogRead:
        """A file slice from the batch that holds ``offset``, ending before ``offset_max``."""
        self.ensure_readable()
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
        """DeleteRecords: move the log start offset to ``offset`` (-1: to the high watermark); returns that offset."""
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
        for watcher in self.replica_watchers.values():
            watcher.appended()  # who deletes waits for the followers
        return offset

    @property
    def low_watermark(self) -> int:
        """The smallest log start offset of the replicas that are alive."""
        starts = [
            follower.log_start_offset
            for follower in self.leadership.followers.values()
            if self._standing.may_join(follower.node_id, -1)
        ]
        return min([self.log.log_start_offset, *starts])
