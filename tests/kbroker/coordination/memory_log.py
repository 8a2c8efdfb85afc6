"""A ShardLog in memory, with real batches, and a World whose clock is trio's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import trio

from kbroker.coordination.ports import Producer
from wire.errors import ApiError, ErrorCode
from wire.records import (
    Record,
    build_batch,
    build_end_transaction_marker,
    read_batch_header,
    set_base_offset,
)


class MemoryShardLog:
    """``holding`` keeps the high watermark back until ``commit_all``; ``errors`` are raised by the next appends."""

    def __init__(self) -> None:
        self.batches: list[bytearray] = []
        self.end = 0
        self.high_watermark = 0
        self.batch_bytes_max = 1_000_000
        self.holding = False
        self.lost = False
        self.errors: list[Exception] = []
        self.guards: list[object | None] = []
        self._moved = trio.Event()

    def ensure_leader(self) -> None:
        if self.lost:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def append(self, records: Sequence[Record], producer: Producer | None = None) -> int:
        producer_id, producer_epoch, guard = producer or (-1, -1, None)
        if producer is not None:
            self.guards.append(guard)
        return self._append(
            build_batch(
                records,
                base_offset=0,
                producer_id=producer_id,
                producer_epoch=producer_epoch,
                is_transactional=producer is not None,
            )
        )

    def append_end_transaction_marker(
        self,
        producer: Producer,
        *,
        coordinator_epoch: int,
        committed: bool,
        timestamp_ms: int,
        transaction_version: int,
    ) -> int:
        return self._append(
            build_end_transaction_marker(
                base_offset=0,
                timestamp_ms=timestamp_ms,
                producer_id=producer.producer_id,
                producer_epoch=producer.producer_epoch,
                is_commit=committed,
                coordinator_epoch=coordinator_epoch,
            )
        )

    def _append(self, batch: bytearray) -> int:
        if self.errors:
            raise self.errors.pop(0)
        self.ensure_leader()
        if len(batch) > self.batch_bytes_max:
            raise ApiError(ErrorCode.MESSAGE_TOO_LARGE)
        set_base_offset(batch, 0, self.end)
        self.batches.append(batch)
        self.end = read_batch_header(batch).next_offset
        if not self.holding:
            self.commit_all()
        return self.end

    def commit_all(self) -> None:
        self.high_watermark = self.end
        self._move()

    def lose(self) -> None:
        """Another broker leads the partition now."""
        self.lost = True
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def wait_committed(self, offset: int) -> None:
        while self.high_watermark < offset:
            if self.lost:
                raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            await self._moved.wait()

    def read_all(self) -> Iterator[bytearray]:
        yield from list(self.batches)


class TrioWorld:
    """The clocks of the World, on trio's (mock) clock; member ids count up."""

    def __init__(self) -> None:
        self._uuids = 0

    def monotonic(self) -> float:
        return trio.current_time()

    def wall_clock_ms(self) -> int:
        return 1_700_000_000_000 + round(trio.current_time() * 1000)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def uuid4(self) -> uuid.UUID:
        self._uuids += 1
        return uuid.UUID(int=self._uuids)
