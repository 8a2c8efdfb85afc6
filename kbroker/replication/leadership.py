"""What a leader knows of its followers and of the in-sync set, without I/O (Kafka: Partition, Replica).

A follower says how far its disk is by the offset from which it fetches. Out of that come

* the high watermark: the smallest end of all replicas that are, or may be, in the in-sync set;
* who is in sync: whoever was at the leader's log end within ``replica.lag.time.max.ms``;
* who may join: whoever has everything below the high watermark and everything from before this leader's epoch, and
  has said so since it last left the in-sync set: it may have left because its disk was lost.

The recorded set is what the metadata store says. A change is proposed and, until it is settled, the *maximal* set
counts: what is recorded and what is proposed together. So a replica that the store may take for in sync at this
moment, and hence make the leader, has every record that the high watermark covers.

    settled --propose--> pending --the store's answer, or a newer state by watch--> settled
                            |  refused for good: settled, as it was
                            +--unknown whether it was done: pending still, and proposed again

A follower whose end is not known in this epoch counts as having nothing. A new leader has a high watermark from before,
which readers go by; what it acknowledges (``in_sync_end``) is what its own followers have told it. The leader before
it, now a follower, had counted what was only in its memory, as its own acknowledgements waited for its own disk.
"""

from __future__ import annotations

from math import inf
from typing import Final

from kbroker.replication.ports import PartitionState, Standing

UNKNOWN_OFFSET: Final = -1


class Follower:
    """One follower, as its leader sees it; offsets are exclusive ends, times are monotonic seconds."""

    __slots__ = (
        "_fetched_at",
        "_leader_end_when_fetched",
        "broker_epoch",
        "caught_up_at",
        "has_told",
        "log_end_offset",
        "log_start_offset",
        "node_id",
    )

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.broker_epoch = -1
        self.log_end_offset = UNKNOWN_OFFSET
        self.log_start_offset = UNKNOWN_OFFSET
        self.caught_up_at = -inf
        self.has_told = False
        """Whether it has fetched since it last left the in-sync set."""
        self._fetched_at = -inf
        self._leader_end_when_fetched = UNKNOWN_OFFSET

    def new_epoch(self, *, is_in_sync: bool, is_new_leader: bool, log_end_offset: int, now: float) -> None:
        """The leader begins an epoch; one that led before still knows where the follower is."""
        self.caught_up_at = now if is_in_sync else -inf
        if is_new_leader:
            self.log_end_offset = self.log_start_offset = UNKNOWN_OFFSET
            self._leader_end_when_fetched = UNKNOWN_OFFSET
            self._fetched_at = -inf
        else:
            self._leader_end_when_fetched = log_end_offset
            self._fetched_at = now if is_in_sync else -inf

    def fetched(
        self, offset: int, log_start_offset: int, broker_epoch: int, leader_end_offset: int, now: float
    ) -> None:
        """It asks for what comes at ``offset``: its disk has everything before.

        It was caught up when it last fetched, if it has what the leader had then.
        """
        if offset >= leader_end_offset:
            self.caught_up_at = max(self.caught_up_at, now)
        elif offset >= self._leader_end_when_fetched:
            self.caught_up_at = max(self.caught_up_at, self._fetched_at)
        self.log_end_offset = offset
        self.log_start_offset = log_start_offset
        self.broker_epoch = broker_epoch
        self.has_told = True
        self._leader_end_when_fetched = leader_end_offset
        self._fetched_at = now

    def has_fetched_since(self, time: float) -> bool:
        return self._fetched_at >= time

    def is_caught_up(self, leader_end_offset: int, now: float, lag_time_max_s: float) -> bool:
        return self.log_end_offset == leader_end_offset or now - self.caught_up_at <= lag_time_max_s


class Leadership:
    """One leader's epoch."""

    __slots__ = (
        "_node_id",
        "epoch_start_offset",
        "followers",
        "in_sync_replicas",
        "maximal_in_sync",
        "partition_epoch",
        "pending",
        "replicas",
    )

    def __init__(self, node_id: int) -> None:
        self._node_id = node_id
        self.epoch_start_offset = 0
        self.partition_epoch = -1
        self.replicas: tuple[int, ...] = ()
        self.in_sync_replicas: tuple[int, ...] = ()
        self.maximal_in_sync: frozenset[int] = frozenset()
        self.pending: tuple[int, ...] | None = None
        """The in-sync set that was proposed and is not settled."""
        self.followers: dict[int, Follower] = {}

    def begin_epoch(
        self, state: PartitionState, *, is_new_leader: bool, log_end_offset: int, now: float
    ) -> None:
        self.epoch_start_offset = log_end_offset
        self._take_up(state)
        for follower in self.followers.values():
            follower.new_epoch(
                is_in_sync=follower.node_id in state.in_sync_replicas,
                is_new_leader=is_new_leader,
                log_end_offset=log_end_offset,
                now=now,
            )

    def update(self, state: PartitionState) -> bool:
        """A state of the same leader epoch, from the store; whether it is news."""
        if state.partition_epoch <= self.partition_epoch:
            return False
        self._take_up(state)
        return True

    def _take_up(self, state: PartitionState) -> None:
        for follower in self.followers.values():
            if follower.node_id in self.in_sync_replicas and follower.node_id not in state.in_sync_replicas:
                follower.has_told = False
        self.partition_epoch = state.partition_epoch
        self.replicas = tuple(state.replicas)
        self.in_sync_replicas = tuple(state.in_sync_replicas)
        others = [node_id for node_id in state.replicas if node_id != self._node_id]
        self.followers = {node_id: self.followers.get(node_id) or Follower(node_id) for node_id in others}
        self.settle()

    # The in-sync set

    def propose(self, in_sync_replicas: tuple[int, ...]) -> None:
        self.pending = in_sync_replicas
        self.maximal_in_sync = frozenset((*self.in_sync_replicas, *in_sync_replicas))

    def settle(self) -> None:
        """What was proposed is recorded, or never will be."""
        self.pending = None
        self.maximal_in_sync = frozenset(self.in_sync_replicas)

    def has_caught_up(self, follower: Follower, high_watermark: int) -> bool:
        """Whether a follower out of sync has all that it needs to be in sync."""
        return (
            follower.has_told
            and follower.node_id not in self.in_sync_replicas
            and follower.log_end_offset >= max(high_watermark, self.epoch_start_offset)
        )

    def is_ready_to_join(self, follower: Follower, high_watermark: int, standing: Standing) -> bool:
        """Whether to propose that a follower be in sync from now on.

        Not one that has not registered yet: nobody could tell its next life, with another disk perhaps, from this one.
        """
        return (
            self.pending is None
            and follower.broker_epoch >= 0
            and self.has_caught_up(follower, high_watermark)
            and standing.may_join(follower.node_id, follower.broker_epoch)
        )

    def lagging(self, log_end_offset: int, standing: Standing) -> list[Follower]:
        """The followers in sync that have not been at the log end for too long."""
        now, lag_time_max_s = standing.monotonic(), standing.lag_time_max_s()
        return [
            follower
            for follower in self.followers.values()
            if follower.node_id in self.in_sync_replicas
            and not follower.is_caught_up(log_end_offset, now, lag_time_max_s)
        ]

    def appended(self, end_offset_before: int, now: float) -> None:
        """There are new records: who had everything has been caught up until this moment."""
        for follower in self.followers.values():
            if follower.log_end_offset == end_offset_before:
                follower.caught_up_at = max(follower.caught_up_at, now)

    # Offsets

    def high_watermark(self, log_end_offset: int, standing: Standing) -> int:
        """Up to where every replica has the records that counts; UNKNOWN_OFFSET if that cannot be told.

        A follower about to join is waited for, or it would never reach a watermark that runs away from it.
        """
        offset = log_end_offset
        for follower in self.followers.values():
            if follower.log_end_offset < offset and (
                follower.node_id in self.maximal_in_sync
                or (
                    follower.has_told
                    and follower.is_caught_up(log_end_offset, standing.monotonic(), standing.lag_time_max_s())
                    and standing.may_join(follower.node_id, follower.broker_epoch)
                )
            ):
                offset = follower.log_end_offset
        return offset

    def in_sync_end(self, log_end_offset: int) -> int:
        """Up to where every follower that may be in sync has said, to this leader, that its disk has the records."""
        offset = log_end_offset
        for node_id, follower in self.followers.items():
            if follower.log_end_offset < offset and node_id in self.maximal_in_sync:
                offset = follower.log_end_offset
        return offset
