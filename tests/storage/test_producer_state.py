from __future__ import annotations

from pathlib import Path

import pytest
from crc32c import crc32c

from storage.errors import CorruptSnapshotError
from storage.filesystem import OsFilesystem
from storage.producer_append import AppendOrigin
from storage.producer_entry import BatchMetadata, ProducerEntry
from storage.producer_snapshot import decode_snapshot, encode_snapshot
from storage.producer_state import ProducerStateManager
from tests.storage.support import START_MS
from wire.errors import ApiError, ErrorCode
from wire.internal.producer_snapshot import ProducerSnapshot
from wire.records import ControlType, EndTransactionMarker

PRODUCER = 7
SEQUENCE_MAX = 2**31 - 1
ABORT = EndTransactionMarker(ControlType.ABORT, 0)
COMMIT = EndTransactionMarker(ControlType.COMMIT, 0)


class Producers:
    """A state manager driven batch by batch, as a log would."""

    def __init__(self, path: Path, snapshots: list[int] | None = None) -> None:
        self.state = ProducerStateManager(OsFilesystem(), str(path), snapshots=snapshots or [])
        self.next_offset = 0

    def append(
        self,
        sequence: int,
        count: int = 1,
        *,
        epoch: int = 0,
        producer_id: int = PRODUCER,
        transactional: bool = False,
        origin: AppendOrigin = AppendOrigin.CLIENT,
        timestamp: int = START_MS,
    ) -> None:
        append = self.state.prepare(producer_id, origin)
        last_sequence = (sequence + count - 1) % (SEQUENCE_MAX + 1) if sequence >= 0 else -1
        append.append_data(
            producer_epoch=epoch,
            base_sequence=sequence,
            last_sequence=last_sequence,
            first_offset=self.next_offset,
            last_offset=self.next_offset + count - 1,
            timestamp=timestamp,
            is_transactional=transactional,
        )
        self.state.apply(append)
        self.next_offset += count
        self.state.end_offset = self.next_offset

    def end(
        self,
        marker: EndTransactionMarker,
        *,
        epoch: int = 0,
        producer_id: int = PRODUCER,
        version: int = 0,
        origin: AppendOrigin = AppendOrigin.COORDINATOR,
    ) -> int | None:
        """Append a marker; the last stable offset that the transaction index would record, if it ended something."""
        append = self.state.prepare(producer_id, origin)
        completed = append.append_marker(
            marker,
            producer_epoch=epoch,
            offset=self.next_offset,
            timestamp=START_MS,
            transaction_version=version,
        )
        stable = self.state.last_stable_offset_after(completed) if completed else None
        self.state.apply(append)
        if completed:
            self.state.complete(completed)
        self.next_offset += 1
        self.state.end_offset = self.next_offset
        return stable


@pytest.fixture
def producers(tmp_path: Path) -> Producers:
    return Producers(tmp_path)


def refused(producers: Producers, code: ErrorCode, sequence: int, **arguments: int) -> None:
    before = repr(producers.state.producers)
    with pytest.raises(ApiError) as raised:
        producers.append(sequence, **arguments)  # type: ignore[arg-type]
    assert raised.value.code is code
    assert repr(producers.state.producers) == before


def test_sequences_must_continue(producers: Producers) -> None:
    producers.append(0, 5)
    producers.append(5)
    refused(producers, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 7)
    refused(producers, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 3)
    refused(producers, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 0)
    producers.append(6)


def test_an_unknown_producer_may_continue_anywhere(producers: Producers) -> None:
    producers.append(1234)
    producers.append(1235)


def test_a_new_epoch_begins_at_zero(producers: Producers) -> None:
    producers.append(0, 3, epoch=1)
    refused(producers, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 3, epoch=2)
    producers.append(0, epoch=2)
    producers.append(1, epoch=2)


def test_an_old_epoch_is_fenced(producers: Producers) -> None:
    producers.append(0, epoch=3)
    refused(producers, ErrorCode.INVALID_PRODUCER_EPOCH, 1, epoch=2)
    producers.append(1, epoch=2, origin=AppendOrigin.REPLICATION)  # the leader has decided


def test_sequences_wrap_around(producers: Producers) -> None:
    producers.append(SEQUENCE_MAX - 1, 1)
    producers.append(SEQUENCE_MAX, 3)
    entry = producers.state.producers[PRODUCER]
    assert entry.batches[-1].first_sequence == SEQUENCE_MAX
    assert entry.last_sequence == 1
    producers.append(2)
    producers.append(SEQUENCE_MAX, producer_id=8)
    producers.append(0, producer_id=8)


def test_coordinators_have_no_sequences(producers: Producers) -> None:
    producers.append(-1, origin=AppendOrigin.COORDINATOR)
    producers.append(-1, origin=AppendOrigin.COORDINATOR)
    with pytest.raises(ApiError):
        producers.append(-1, origin=AppendOrigin.COORDINATOR, epoch=-1)


def test_five_batches_are_remembered(producers: Producers) -> None:
    for sequence in range(7):
        producers.append(sequence)
    entry = producers.state.producers[PRODUCER]
    assert [batch.first_sequence for batch in entry.batches] == [2, 3, 4, 5, 6]
    assert [batch.first_offset for batch in entry.batches] == [2, 3, 4, 5, 6]


def test_producers_expire_unless_in_a_transaction(producers: Producers) -> None:
    day_ms = 24 * 60 * 60 * 1000
    producers.append(0)
    producers.append(0, producer_id=8, transactional=True)
    producers.append(0, producer_id=9, timestamp=START_MS + 1)
    producers.state.remove_expired(START_MS + day_ms - 1)
    assert set(producers.state.producers) == {7, 8, 9}
    producers.state.remove_expired(START_MS + day_ms)
    assert set(producers.state.producers) == {8, 9}
    producers.append(99)


def test_transactions_hold_back_the_unstable_offset(producers: Producers) -> None:
    state = producers.state
    producers.append(0)
    assert state.first_unstable_offset is None
    producers.append(0, producer_id=8, transactional=True)  # offset 1
    producers.append(0, producer_id=9, transactional=True)  # offset 2
    assert (state.first_unstable_offset, state.first_undecided_offset) == (1, 1)
    assert producers.end(COMMIT, producer_id=8) == 2  # offset 3; producer 9 is open since 2
    assert (state.first_unstable_offset, state.first_undecided_offset) == (1, 2)
    state.on_high_watermark(3)
    assert state.first_unstable_offset == 1  # the marker itself is not replicated yet
    state.on_high_watermark(4)
    assert state.first_unstable_offset == 2
    assert producers.end(ABORT, producer_id=9) == 5
    state.on_high_watermark(5)
    assert state.first_unstable_offset is None


def test_a_marker_without_data_ends_nothing(producers: Producers) -> None:
    assert producers.end(ABORT) is None
    assert producers.state.first_unstable_offset is None


def test_a_transaction_admits_no_other_batches(producers: Producers) -> None:
    producers.append(0, transactional=True)
    refused(producers, ErrorCode.INVALID_TXN_STATE, 1)
    producers.end(COMMIT)
    producers.append(1)


def test_a_marker_of_an_old_epoch_or_coordinator_is_fenced(producers: Producers) -> None:
    producers.append(0, epoch=5, transactional=True)
    with pytest.raises(ApiError) as raised:
        producers.end(ABORT, epoch=4)
    assert raised.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    producers.end(EndTransactionMarker(ControlType.COMMIT, 3), epoch=5)
    with pytest.raises(ApiError) as raised:
        producers.end(EndTransactionMarker(ControlType.COMMIT, 2), epoch=5)
    assert raised.value.code is ErrorCode.TRANSACTION_COORDINATOR_FENCED
    producers.end(EndTransactionMarker(ControlType.COMMIT, 2), epoch=5, origin=AppendOrigin.REPLICATION)


def test_version_2_markers_must_raise_the_epoch(producers: Producers) -> None:
    producers.append(0, epoch=5, transactional=True)
    with pytest.raises(ApiError) as raised:
        producers.end(ABORT, epoch=5, version=2)  # late: the transaction it ended is over
    assert raised.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    producers.end(ABORT, epoch=6, version=2)
    producers.end(ABORT, epoch=6, version=2)  # repeated, nothing is open
    producers.append(0, epoch=6, transactional=True)
    with pytest.raises(ApiError):
        producers.end(ABORT, epoch=6, version=2)


def test_a_marker_with_a_new_epoch_restarts_the_sequence(producers: Producers) -> None:
    producers.append(0, 4, epoch=1, transactional=True)
    producers.end(ABORT, epoch=2)
    refused(producers, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 4, epoch=2)
    producers.append(0, epoch=2)


def test_the_oldest_transaction_tells_its_producers_last_write(producers: Producers) -> None:
    assert producers.state.oldest_transaction_timestamp() is None
    producers.append(0, transactional=True, timestamp=START_MS + 5)
    producers.append(0, producer_id=8, transactional=True, timestamp=START_MS)
    assert producers.state.oldest_transaction_timestamp() == START_MS + 5


def test_snapshot_has_kafkas_bytes() -> None:
    entry = ProducerEntry(
        1,
        producer_epoch=2,
        coordinator_epoch=3,
        last_timestamp=4,
        transaction_first_offset=5,
        batches=[BatchMetadata(6, 70, 8, 4)],
    )
    body = bytes.fromhex(
        "00000001 0000000000000001 0002 00000006 0000000000000046 00000008 0000000000000004 00000003"
        "0000000000000005"
    )
    assert encode_snapshot([entry]) == b"\0\1" + crc32c(body).to_bytes(4, "big") + body
    assert decode_snapshot(encode_snapshot([entry])) == [entry]
    empty = ProducerEntry(9, producer_epoch=1)
    assert decode_snapshot(encode_snapshot([entry, empty])) == [entry, empty]


def test_snapshots_agree_with_the_declared_schema() -> None:
    entries = [
        ProducerEntry(number, producer_epoch=1, last_timestamp=9, batches=[BatchMetadata(5, 50, 2, 9)])
        for number in range(3)
    ]
    data = encode_snapshot(entries)
    version, snapshot = ProducerSnapshot.decode_versioned(data)
    assert version == 1
    assert snapshot.crc == crc32c(data[6:])
    assert [each.producer_id for each in snapshot.producer_entries] == [0, 1, 2]
    assert {
        (each.last_sequence, each.last_offset, each.offset_delta) for each in snapshot.producer_entries
    } == {(5, 50, 2)}
    assert snapshot.encode_versioned(1) == data


def test_a_damaged_snapshot_is_noticed_at_every_byte() -> None:
    good = encode_snapshot([ProducerEntry(1, batches=[BatchMetadata(0, 0, 0, 0)])])
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(CorruptSnapshotError):
            decode_snapshot(bytes(bad))
        with pytest.raises(CorruptSnapshotError):
            decode_snapshot(good[:position])
    with pytest.raises(CorruptSnapshotError):
        decode_snapshot(good + b"\0")


def test_snapshots_restore_the_last_batch_and_the_open_transaction(
    producers: Producers, tmp_path: Path
) -> None:
    producers.append(0, 3)
    producers.append(3, 2)
    producers.append(0, producer_id=8, transactional=True)
    producers.append(0, producer_id=9, transactional=True)
    producers.end(COMMIT, producer_id=8)
    producers.state.take_snapshot()
    assert producers.state.snapshots == [8]
    restored = Producers(tmp_path, [8])
    restored.state.truncate_and_reload(0, 8, START_MS)
    restored.next_offset = restored.state.end_offset
    assert restored.state.end_offset == 8
    assert restored.state.producers[7].batches == [BatchMetadata(4, 4, 1, START_MS)]
    assert restored.state.first_unstable_offset == 6
    restored.append(5)
    restored.end(ABORT, producer_id=9)


def test_expired_producers_are_not_restored(producers: Producers, tmp_path: Path) -> None:
    producers.append(0)
    producers.append(0, producer_id=8, transactional=True)
    producers.state.take_snapshot()
    restored = Producers(tmp_path, [2])
    restored.state.truncate_and_reload(0, 2, START_MS + 24 * 60 * 60 * 1000)
    assert set(restored.state.producers) == {8}


def test_a_snapshot_is_written_only_when_there_is_something_new(producers: Producers, tmp_path: Path) -> None:
    producers.state.take_snapshot()
    assert list(tmp_path.iterdir()) == []
    producers.append(0)
    producers.state.take_snapshot()
    (tmp_path / f"{1:020d}.snapshot").unlink()
    producers.state.take_snapshot()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_snapshot_gives_way_to_an_older_one(producers: Producers, tmp_path: Path) -> None:
    for sequence in range(3):
        producers.append(sequence)
        producers.state.take_snapshot()
    path = tmp_path / f"{3:020d}.snapshot"
    path.write_bytes(path.read_bytes()[:-1])
    restored = Producers(tmp_path, [1, 2, 3])
    restored.state.truncate_and_reload(0, 3, START_MS)
    assert restored.state.end_offset == 2
    assert restored.state.snapshots == [1, 2]
    assert not path.exists()


def test_snapshots_outside_the_log_are_deleted(producers: Producers, tmp_path: Path) -> None:
    for sequence in range(5):
        producers.append(sequence)
        producers.state.take_snapshot()
    producers.state.truncate_and_reload(2, 4, START_MS)
    assert producers.state.snapshots == [2, 3, 4]
    assert producers.state.end_offset == 4
    assert producers.state.producers[7].last_sequence == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{offset:020d}.snapshot" for offset in (2, 3, 4)
    ]
    producers.state.truncate_fully_and_start_at(10)
    assert list(tmp_path.iterdir()) == []
    assert not producers.state.producers


def test_stray_snapshots_go_but_the_newest_stays(tmp_path: Path) -> None:
    offsets = [5, 10, 15, 20, 25, 27]
    for offset in offsets:
        (tmp_path / f"{offset:020d}.snapshot").touch()
    state = ProducerStateManager(OsFilesystem(), str(tmp_path), snapshots=offsets)
    state.remove_stray_snapshots([0, 10, 20])
    assert state.snapshots == [10, 20, 27]
    state.remove_stray_snapshots([0, 10, 20, 30])
    assert state.snapshots == [10, 20]
