"""A producer that was refused one batch is not told that those behind it are out of order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from kbroker.replication import refused_batches
from kbroker.replication.partition import Partition
from kbroker.replication.refused_batches import RefusedBatches
from storage.errors import StorageError
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


def test_what_is_behind_a_producers_very_first_batch_is_refused_as_well(producing: Producing) -> None:
    """A log that knows nothing of a producer takes any batch as its first."""
    producing.in_sync(1)
    assert producing.send(0) is REFUSED
    producing.in_sync(2)
    assert producing.send(1) is REFUSED
    assert [producing.send(0), producing.send(1)] == [ErrorCode.NONE] * 2


def test_a_retry_of_what_was_appended_does_not_end_a_refusal(producing: Producing) -> None:
    assert producing.send(0) is ErrorCode.NONE
    producing.in_sync(1)
    assert producing.send(1) is REFUSED
    assert producing.send(0) is ErrorCode.NONE
    producing.in_sync(2)
    assert producing.send(0) is ErrorCode.NONE
    assert producing.send(2) is REFUSED
    assert [producing.send(1), producing.send(2)] == [ErrorCode.NONE] * 2


def test_a_disk_that_fails_when_a_retry_is_looked_up_is_a_storage_error(
    producing: Producing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(records: object) -> bool:
        raise StorageError("/data", "cannot read", OSError(5, "Input/output error"))

    producing.in_sync(1)
    monkeypatch.setattr(producing.partition.log, "is_retry", fail, raising=False)
    assert producing.send(0) is ErrorCode.KAFKA_STORAGE_ERROR


def test_refusals_are_forgotten_in_time_and_in_number() -> None:
    refusals = RefusedBatches()

    def refused(producer_id: int, sequence: int, code: ErrorCode, now: float) -> None:
        refusals.note(records_of(producer_id, sequence), ApiError(code), now)

    def told(producer_id: int, sequence: int, now: float) -> ErrorCode:
        try:
            refusals.check(records_of(producer_id, sequence), now)
        except ApiError as error:
            return error.code
        return ErrorCode.NONE

    for code in (REFUSED, ErrorCode.KAFKA_STORAGE_ERROR):
        refused(7, 4, code, 100.0)
        assert told(7, 5, 100.0 + refused_batches.REMEMBERED_S - 1) is code
    assert [told(7, 3, 101.0), told(7, 4, 101.0), told(8, 5, 101.0)] == [ErrorCode.NONE] * 3
    assert told(7, 5, 100.0 + refused_batches.REMEMBERED_S) is ErrorCode.NONE
    assert len(refusals) == 0
    refused(9, 5, ErrorCode.NOT_LEADER_OR_FOLLOWER, 1.0)
    assert len(refusals) == 0
    for producer_id in range(refused_batches.PRODUCERS_MAX + 10):
        refused(producer_id, 0, REFUSED, 200.0)
    assert len(refusals) == refused_batches.PRODUCERS_MAX


def records_of(producer_id: int, sequence: int) -> bytearray:
    return batch(b"x", producer_id=producer_id, producer_epoch=0, base_sequence=sequence)


def test_what_cannot_be_read_is_nobodys() -> None:
    refusals = RefusedBatches()
    for records in (bytearray(b"x"), batch(b"x")):
        refusals.note(records, ApiError(REFUSED), 0.0)
        refusals.check(records, 0.0)
        refusals.appended(records)
    assert len(refusals) == 0
