"""What producers were refused for the moment, so that what they had in flight behind it is refused likewise.

A producer has five batches in flight. If the first is refused (too few replicas are in sync) and the second comes a
moment later, when that is over, it is out of order. Apache Kafka says so, and clients take it for a broken sequence:
they give the producer a new epoch and send everything again that is not acknowledged, also what is in the log and
whose answer was lost, as duplicates. To be told the same as the batch before, they send both again in order.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from wire.errors import ApiError, ErrorCode
from wire.records import BatchHeader, InvalidBatchError, read_batch_header

PRODUCERS_MAX: Final = 1_000
REMEMBERED_S: Final = 30.0
"""Longer than a client's requests are on their way; who goes on without the refused batch is told the truth then."""

_PASSING: Final = frozenset({ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.KAFKA_STORAGE_ERROR})


class _Refusal(NamedTuple):
    producer_epoch: int
    sequence: int
    code: ErrorCode
    expires_at: float


class RefusedBatches:
    """Of one partition, in one leader epoch."""

    __slots__ = ("_refusals",)

    def __init__(self) -> None:
        self._refusals: OrderedDict[int, _Refusal] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refusals)

    def clear(self) -> None:
        self._refusals.clear()

    def check(self, records: bytearray | memoryview, now: float) -> None:
        """ApiError for what comes behind a refused batch; ``now`` is in monotonic seconds.

        Before the log is asked: of a producer that it does not know it would take any batch as the first.
        """
        header = _header_of(records)
        before = None if header is None else self._refusals.get(header.producer_id)
        if header is None or before is None:
            return
        if now >= before.expires_at or header.producer_epoch > before.producer_epoch:
            del self._refusals[header.producer_id]
        elif header.producer_epoch == before.producer_epoch and header.base_sequence > before.sequence:
            raise ApiError(before.code, "a batch that comes before this one was refused")

    def note(self, records: bytearray | memoryview, error: ApiError, now: float) -> None:
        """An append has failed with ``error``."""
        if error.code not in _PASSING:
            return
        header = _header_of(records)
        if header is None or header.producer_id < 0 or header.base_sequence < 0:
            return
        before = self._refusals.pop(header.producer_id, None)
        sequence = header.base_sequence
        if before is not None and before.producer_epoch == header.producer_epoch:
            sequence = min(sequence, before.sequence)
        self._refusals[header.producer_id] = _Refusal(
            header.producer_epoch, sequence, error.code, now + REMEMBERED_S
        )
        if len(self._refusals) > PRODUCERS_MAX:
            self._refusals.popitem(last=False)

    def appended(self, records: bytearray | memoryview) -> None:
        """The producer goes on: with the batch that was refused, or another epoch. (Not called for a duplicate.)"""
        header = _header_of(records)
        if header is not None:
            self._refusals.pop(header.producer_id, None)


def _header_of(records: bytearray | memoryview) -> BatchHeader | None:
    try:
        return read_batch_header(records)
    except InvalidBatchError:
        return None
