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

    def refused(self, records: bytearray | memoryview, error: ApiError, now: float) -> ApiError:
        """What to answer to an append that failed with ``error``; ``now`` is in monotonic seconds."""
        header = _header_of(records)
        if header is None or header.producer_id < 0 or header.base_sequence < 0:
            return error
        if error.code in _PASSING:
            self._note(header, error.code, now)
        elif error.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
            before = self._refusals.get(header.producer_id)
            if (
                before is not None
                and now < before.expires_at
                and header.producer_epoch == before.producer_epoch
                and header.base_sequence > before.sequence
            ):
                return ApiError(before.code, "a batch that comes before this one was refused")
        return error

    def appended(self, records: bytearray | memoryview) -> None:
        """The producer goes on."""
        header = _header_of(records)
        if header is not None:
            self._refusals.pop(header.producer_id, None)

    def _note(self, header: BatchHeader, code: ErrorCode, now: float) -> None:
        before = self._refusals.pop(header.producer_id, None)
        sequence = header.base_sequence
        if before is not None and before.producer_epoch == header.producer_epoch:
            sequence = min(sequence, before.sequence)
        self._refusals[header.producer_id] = _Refusal(
            header.producer_epoch, sequence, code, now + REMEMBERED_S
        )
        if len(self._refusals) > PRODUCERS_MAX:
            self._refusals.popitem(last=False)


def _header_of(records: bytearray | memoryview) -> BatchHeader | None:
    try:
        return read_batch_header(records)
    except InvalidBatchError:
        return None
