"""What coordination needs from the rest of the broker; ``broker.py`` hands it in, tests hand in fakes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from wire.messages.transactions import WriteTxnMarkersRequest, WriteTxnMarkersResponse
from wire.records import Record


class Producer(NamedTuple):
    """The transactional producer on whose behalf a coordinator appends.

    ``verification_guard`` is what the log gave out when the transaction was verified; opaque here.
    """

    producer_id: int
    producer_epoch: int
    verification_guard: object | None = None


class ShardLog(Protocol):
    """The log of one partition of a coordinator's topic, on the broker that leads it.

    Every method may raise ApiError: NOT_LEADER_OR_FOLLOWER when the partition is led elsewhere or deleted,
    KAFKA_STORAGE_ERROR when its disk failed, NOT_ENOUGH_REPLICAS and MESSAGE_TOO_LARGE on appends.
    """

    @property
    def high_watermark(self) -> int:
        """Everything below this offset is committed. It never moves back."""
        ...

    @property
    def batch_bytes_max(self) -> int:
        """The partition's ``max.message.bytes``."""
        ...

    def ensure_leader(self) -> None:
        """ApiError unless this broker may act on the log as its leader right now."""
        ...

    def append(self, records: Sequence[Record], producer: Producer | None = None) -> int:
        """Append one batch, transactional if a producer is given; returns the offset after its last record.

        The offsets in ``records`` count from 0; the log puts its own end in front.
        """
        ...

    def append_end_transaction_marker(
        self,
        producer: Producer,
        *,
        coordinator_epoch: int,
        committed: bool,
        timestamp_ms: int,
        transaction_version: int,
    ) -> int:
        """Append the control batch that ends a transaction; returns the offset after it.

        ApiError INVALID_PRODUCER_EPOCH or TRANSACTION_COORDINATOR_FENCED for a late one.
        """
        ...

    async def wait_committed(self, offset: int) -> None:
        """Return when the high watermark has reached ``offset``; ApiError when it never will."""
        ...

    def read_all(self) -> Iterator[memoryview | bytes | bytearray]:
        """The whole log in order, from its start to the end at the call, in pieces of whole batches."""
        ...


class MarkerChannel(Protocol):
    """How the transaction coordinator reaches the leaders of a transaction's partitions."""

    async def write_markers(self, node_id: int, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        """Have a broker write markers to partitions that it leads; returns when they are committed.

        Any exception means that nothing is known of the markers: they are sent again.
        """
        ...


class Clock(Protocol):
    """The part of the World that the runtime uses."""

    def wall_clock_ms(self) -> int: ...

    def monotonic(self) -> float:
        """Seconds; the clock of trio's deadlines."""
        ...


class WaitingClock(Clock, Protocol):
    """The part of the World that the transaction coordinator uses."""

    async def sleep(self, seconds: float) -> None: ...


class World(Clock, Protocol):
    """The part of the World that the group coordinator uses."""

    def uuid4(self) -> uuid.UUID: ...


class RequestOrigin(Protocol):
    """Where a request came from, and in which version; the handlers' RequestContext has these."""

    @property
    def api_version(self) -> int: ...

    @property
    def client_id(self) -> str | None: ...

    @property
    def client_host(self) -> str: ...
