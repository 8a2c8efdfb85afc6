"""A producer that was refused one batch is not told that those behind it are out of order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from kbroker.replication import refused_batches
from kbroker.replication.partition import Partition
from kbroker.replication.refused_batches import RefusedBatches
from tests.kbroker.replication.slow_disk import SlowDisk, State
from tests.running_broker import batch
from wire.errors import ApiError, ErrorCode

REFUSED = ErrorCode.NOT_ENOUGH_REPLICAS
OUT_OF_ORDER = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@dataclass(frozen=True)
class NewerState(State):
    number: int = 0

    @property
    def partition_epoch(self) -> int:
        return self.number


class Producing:
    """Partition t-0, which needs two replicas in sync, and a producer of single records."""

    def __init__(self, directory: Path) -> None:
        self.disk = SlowDisk(directory)
        self.disk.enabled = False
        self._changes = 0
        self.partition: Partition
        self.in_sync(2)

    def in_sync(self, count: int, *, leader_epoch: int = 0) -> None:
        self._changes += 1
        state = NewerState(
            leader_epoch=leader_epoch,
            replicas=(1, 2),
            in_sync_replicas=(1, 2)[:count],
            number=self._changes,
        )
        [self.partition] = self.disk.lead(state, min_in_sync=2)

    def send(self, sequence: int, *, epoch: int = 0, producer_id: int = 7) -> ErrorCode:
        records = batch(b"x", producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
        try:
            self.partition.append_as_leader(records, required_acks=-1)
        except ApiError as error:
            return error.code
        return ErrorCode.NONE


@pytest.fixture
def producing(tmp_path: Path) -> Producing:
    return Producing(tmp_path)


def test_what_was_behind_a_refused_batch_is_refused_likewise_until_that_has_come(
    producing: Producing,
) -> None:
    assert producing.send(0) is ErrorCode.NONE
    producing.in_sync(1)
    assert producing.send(1) is REFUSED
    producing.in_sync(2)
    assert [producing.send(2), producing.send(3)] == [REFUSED, REFUSED]
    assert [producing.send(1), producing.send(2), producing.send(3)] == [ErrorCode.NONE] * 3
    assert producing.send(9) is OUT_OF_ORDER


def test_others_are_told_what_is_wrong(producing: Producing) -> None:
    assert [producing.send(0), producing.send(0, producer_id=8)] == [ErrorCode.NONE] * 2
    producing.in_sync(1)
    assert producing.send(1) is REFUSED
    producing.in_sync(2)
    assert producing.send(5, producer_id=8) is OUT_OF_ORDER
    assert producing.send(0, epoch=1) is ErrorCode.NONE
    assert producing.send(5, epoch=1) is OUT_OF_ORDER


def test_a_new_leader_knows_of_no_refusals(producing: Producing) -> None:
    assert producing.send(0) is ErrorCode.NONE
    producing.in_sync(1)
    assert producing.send(1) is REFUSED
    producing.in_sync(2, leader_epoch=1)
    assert producing.send(2) is OUT_OF_ORDER


def test_refusals_are_forgotten_in_time_and_in_number() -> None:
    refusals = RefusedBatches()

    def tell(producer_id: int, sequence: int, code: ErrorCode, now: float) -> ErrorCode:
        records = batch(b"x", producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
        return refusals.refused(records, ApiError(code), now).code

    for code in (REFUSED, ErrorCode.KAFKA_STORAGE_ERROR):
        assert tell(7, 4, code, 100.0) is code
        assert tell(7, 5, OUT_OF_ORDER, 100.0 + refused_batches.REMEMBERED_S - 1) is code
    assert tell(7, 3, OUT_OF_ORDER, 101.0) is OUT_OF_ORDER
    assert tell(7, 5, OUT_OF_ORDER, 100.0 + refused_batches.REMEMBERED_S) is OUT_OF_ORDER
    assert tell(9, 5, ErrorCode.NOT_LEADER_OR_FOLLOWER, 1.0) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    for producer_id in range(refused_batches.PRODUCERS_MAX + 10):
        tell(producer_id, 0, REFUSED, 200.0)
    assert len(refusals) == refused_batches.PRODUCERS_MAX


def test_what_cannot_be_read_is_nobodys() -> None:
    refusals = RefusedBatches()
    error = ApiError(REFUSED)
    assert refusals.refused(bytearray(b"x"), error, 0.0) is error
    assert refusals.refused(batch(b"x"), error, 0.0) is error
    assert len(refusals) == 0
