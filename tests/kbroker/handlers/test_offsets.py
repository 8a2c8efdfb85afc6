"""ListOffsets of a new leader that does not know yet what was committed before it (KIP-207)."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kbroker.handlers.offsets import OffsetHandlers
from storage.timestamp_search import OffsetAtTimestamp
from tests.kbroker.handlers.requests import send
from wire.errors import ErrorCode
from wire.messages.offsets import ListOffsetsRequest

NONE, NOT_AVAILABLE = ErrorCode.NONE, ErrorCode.OFFSET_NOT_AVAILABLE
LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, PENDING_UPLOAD = range(-1, -7, -1)


@dataclass
class Lagging:
    """A leader with offsets 0 to 9, the timestamps 1000 to 1009, and a high watermark of 5."""

    log_start_offset: int = 0
    high_watermark: int = 5
    last_stable_offset: int = 3
    log_end_offset: int = 10
    leader_epoch: int = 4
    is_high_watermark_known: bool = False

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        return

    def epoch_of_log_start(self) -> int:
        return 1

    def offset_of_max_timestamp(self) -> OffsetAtTimestamp:
        return OffsetAtTimestamp(1009, 9, 4)

    def offset_for_timestamp(self, timestamp_ms: int) -> OffsetAtTimestamp | None:
        offset = max(timestamp_ms - 1000, 0)
        return OffsetAtTimestamp(1000 + offset, offset, 1) if offset < 10 else None


async def list_offset(partition: Lagging, timestamp: int, *, version: int = 11, **fields: int) -> Any:
    handlers = OffsetHandlers(
        partitions=cast(Any, SimpleNamespace(leader=lambda topic, index: partition)),
        keep_log_start_offsets=cast(Any, None),
    )
    asked = ListOffsetsRequest.ListOffsetsTopic
    request = ListOffsetsRequest(
        **({"replica_id": -1} | fields),
        topics=[
            asked(name="t", partitions=[asked.ListOffsetsPartition(partition_index=0, timestamp=timestamp)])
        ],
    )
    return (await send(handlers.list_offsets, request, version)).topics[0].partitions[0]


@pytest.mark.parametrize(
    ("timestamp", "code", "offset"),
    [
        (LATEST, NOT_AVAILABLE, -1),
        (EARLIEST, NONE, 0),
        (EARLIEST_LOCAL, NONE, 0),
        (LATEST_TIERED, NONE, -1),
        (PENDING_UPLOAD, NONE, -1),
        (1002, NONE, 2),
        (1004, NONE, 4),
        (1005, NOT_AVAILABLE, -1),
        (1009, NOT_AVAILABLE, -1),
        (1010, NOT_AVAILABLE, -1),  # what is there of it may yet be committed
        (MAX_TIMESTAMP, NOT_AVAILABLE, -1),
    ],
)
async def test_what_a_lagging_leader_can_tell_it_tells(timestamp: int, code: ErrorCode, offset: int) -> None:
    answer = await list_offset(Lagging(), timestamp)
    assert (answer.error_code, answer.offset) == (code, offset)


async def test_committed_reads_go_by_the_last_stable_offset() -> None:
    found = await list_offset(Lagging(), 1002, isolation_level=1)
    assert (found.error_code, found.offset) == (NONE, 2)
    assert (await list_offset(Lagging(), 1003, isolation_level=1)).error_code == NOT_AVAILABLE
    known = Lagging(is_high_watermark_known=True)
    found = await list_offset(known, 1003, isolation_level=1)
    assert (found.error_code, found.offset) == (NONE, -1)


async def test_older_clients_are_told_so_in_their_own_words() -> None:
    for timestamp in (LATEST, 1005):
        answer = await list_offset(Lagging(), timestamp, version=4)
        assert answer.error_code == ErrorCode.LEADER_NOT_AVAILABLE
    assert (await list_offset(Lagging(), 1004, version=4)).error_code == NONE


async def test_a_replica_is_told_what_is_there() -> None:
    assert (await list_offset(Lagging(), LATEST, replica_id=2)).offset == 10
    assert (await list_offset(Lagging(), 1009, replica_id=2)).offset == 9
