"""What the data-path handlers need from the broker: partitions, looked up by name or id, and waiting on them.

``broker.py`` hands in the real thing (``kbroker.replication``); tests hand in fakes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from storage.log import AppendInfo
from storage.segment_list import LogRead
from storage.timestamp_search import OffsetAtTimestamp


class LeaderPartition(Protocol):
    """A partition of which this broker is the leader; every method may raise ApiError."""

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
    def last_stable_offset(self) -> int: ...

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH if the client knows another epoch; -1 knows none."""
        ...

    def append_as_leader(self, records: memoryview, *, required_acks: int) -> AppendInfo: ...

    def is_committed(self, info: AppendInfo) -> bool:
        """Whether every in-sync replica holds what this append added; ApiError if this broker leads no more."""
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
        """Move the log start offset up; returns the low watermark of the partition."""
        ...


class Waiter(Protocol):
    """Wakes when one of the partitions that it was registered with moves."""

    def rearm(self) -> None: ...

    async def wait(self) -> None: ...


class Partitions(Protocol):
    """The partitions of this broker."""

    def leader(self, topic: str, index: int) -> LeaderPartition:
        """The partition, or ApiError: UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR."""
        ...

    def topic_name(self, topic_id: uuid.UUID) -> str | None: ...

    def topic_id(self, topic: str) -> uuid.UUID: ...

    def waiting_on(self, partitions: Iterable[Any]) -> AbstractContextManager[Waiter]:
        """A waiter registered with ``partitions``, which came from ``leader``, for the length of a block."""
        ...

    @property
    def stopping(self) -> bool:
        """The broker is going down: answer with what there is instead of waiting."""
        ...
