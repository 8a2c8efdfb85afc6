"""What the data-path handlers need from the broker: partitions, looked up by name or id, and waiting on them.

``broker.py`` hands in the real thing (``kbroker.replication``); tests hand in fakes.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from storage.log import AppendInfo
from storage.producer_append import AppendOrigin
from storage.producer_entry import ProducerEntry
from storage.segment_list import LogRead
from storage.timestamp_search import OffsetAtTimestamp
from storage.transaction_verification import VerificationGuard
from wire.errors import ErrorCode


class ReplicaWatcher(Protocol):
    """Is told what becomes of a partition that a follower fetches."""

    def appended(self) -> None:
        """There are records to fetch, or the partition is not led here any more."""
        ...

    def changed(self) -> None:
        """High watermark or log start have moved."""
        ...

    def out_of_sync(self, node_ids: Collection[int]) -> None:
        """These followers have left the in-sync set."""
        ...


class LeaderPartition(Protocol):
    """A partition of which this broker is the leader; every method may raise ApiError."""

    @property
    def is_led_here(self) -> bool:
        """False where a consumer reads from a follower."""
        ...

    @property
    def replica_watchers(self) -> dict[Any, Any]:
        """ReplicaWatcher -> itself; who watches adds and removes itself."""
        ...

    def follower_fetched(
        self, node_id: int, broker_epoch: int, *, offset: int, log_start_offset: int
    ) -> None:
        """A follower has everything before ``offset`` on its disk."""
        ...

    def is_throttled_for(self, node_id: int) -> bool:
        """Whether what this follower fetches counts against the quota of leaders (KIP-73)."""
        ...

    def in_sync_followers_with(self, offset: int) -> list[tuple[int, int]]:
        """(node id, log end offset) of the in-sync followers that a consumer could read ``offset`` from."""
        ...

    @property
    def topic(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def log_start_offset(self) -> int: ...

    @property
    def log_end_offset(self) -> int: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def is_high_watermark_known(self) -> bool:
        """False in a new leader that has not heard enough of its followers yet."""
        ...

    @property
    def last_stable_offset(self) -> int: ...

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH if the client knows another epoch; -1 knows none."""
        ...

    def append_as_leader(
        self,
        records: bytearray | memoryview,
        *,
        required_acks: int,
        origin: AppendOrigin = AppendOrigin.CLIENT,
        transaction_version: int = 0,
        verification_guard: VerificationGuard | None = None,
    ) -> AppendInfo: ...

    def start_transaction_verification(
        self, producer_id: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool
    ) -> VerificationGuard | None:
        """The guard to append with when the transaction coordinator has confirmed; None: nothing to confirm."""
        ...

    @property
    def active_producers(self) -> Mapping[int, ProducerEntry]:
        """What the partition remembers of its producers, by producer id."""
        ...

    def is_committed(self, info: AppendInfo) -> bool:
        """Whether every in-sync replica and the disk hold what this append added; ApiError if that cannot be."""
        ...

    @property
    def term(self) -> int:
        """Rises when the replica begins to follow another one: what it has appended as a leader may go."""
        ...

    def may_acknowledge(self, info: AppendInfo, required_acks: int) -> bool:
        """Whether an append may be answered: committed with acks=-1; flushed, where that is due, with acks=1."""
        ...

    def is_replicated(self, info: AppendInfo) -> bool:
        """Whether only this broker's own disk is still to be waited for."""
        ...

    def read(
        self, offset: int, bytes_max: int, *, offset_max: int, min_one_batch: bool, with_aborted: bool
    ) -> LogRead: ...

    def offset_for_timestamp(self, timestamp_ms: int) -> OffsetAtTimestamp | None: ...

    def offset_of_max_timestamp(self) -> OffsetAtTimestamp | None: ...

    def epoch_of_log_start(self) -> int:
        """The leader epoch of the first record; -1 if unknown."""
        ...

    def end_offset_for_epoch(self, leader_epoch: int) -> tuple[int, int]:
        """(largest epoch not above ``leader_epoch``, its end offset); (-1, -1) if unknown."""
        ...

    def delete_records_before(self, offset: int) -> int:
        """Move the log start offset up; returns the offset that is meant, which may be -1 for the high watermark."""
        ...

    @property
    def low_watermark(self) -> int:
        """The smallest log start offset of the replicas that are alive."""
        ...


class Waiter(Protocol):
    """Wakes when one of the partitions that it was registered with moves."""

    def rearm(self) -> None: ...

    def wake(self) -> None: ...

    async def wait(self) -> None: ...


class Partitions(Protocol):
    """The partitions of this broker."""

    def leader(self, topic: str, index: int) -> LeaderPartition:
        """The partition, or ApiError: UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR."""
        ...

    def readable(self, topic: str, index: int) -> LeaderPartition:
        """As ``leader``, and a follower's partition too, for consumers to read from (KIP-392)."""
        ...

    def topic_name(self, topic_id: uuid.UUID) -> str | None: ...

    def topic_id(self, topic: str) -> uuid.UUID: ...

    def waiting_on(self, partitions: Iterable[Any]) -> AbstractContextManager[Waiter]:
        """A waiter registered with ``partitions``, which came from ``leader``, for the length of a block.

        It wakes when there is something new to read.
        """
        ...

    def waiting_on_commit(self, appends: Iterable[tuple[Any, AppendInfo]]) -> AbstractContextManager[Waiter]:
        """The same for what was appended to partitions: wakes when some of it may be acknowledged."""
        ...

    @property
    def is_in_doubt(self) -> bool:
        """This broker may not lead now, and is about to learn whether it may again."""
        ...

    async def wait_for_standing(self) -> None:
        """Until it is not in doubt any more."""
        ...

    @property
    def stopping(self) -> bool:
        """The broker is going down: answer with what there is instead of waiting."""
        ...


class Transactions(Protocol):
    """The transaction coordinator of whichever transactional id, as the data path asks it (KIP-890)."""

    async def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Sequence[tuple[str, int]],
        *,
        verify_only: bool,
        transaction_version: int,
    ) -> dict[tuple[str, int], ErrorCode]:
        """For each (topic, partition) NONE where it is part of the ongoing transaction, or why it is not.

        With ``verify_only`` nothing is added. What is wrong with the whole question is said of every partition.
        """
        ...
