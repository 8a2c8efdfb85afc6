"""A producer's batches that no snapshot tells of are found in the log when it sends them again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import producer_recall
from storage.log_append import AppendInfo
from storage.log_config import LogConfig
from storage.segment import Segment
from tests.storage.support import LogHarness, batch, replicated
from wire.errors import ApiError, ErrorCode
from wire.records import BatchHeader

PRODUCER, OTHER = 7, 8


def send(harness: LogHarness, sequence: int, *, producer_id: int = PRODUCER, epoch: int = 0) -> AppendInfo:
    records = batch(b"x" * 50, b"y" * 50, producer_id=producer_id, producer_epoch=epoch, sequence=sequence)
    return harness.log.append_as_leader(records, 9)


@pytest.fixture(params=[1 << 20, 300], ids=["one segment", "a segment for each batch or two"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> LogHarness:
    return LogHarness(tmp_path, LogConfig(segment_bytes=request.param, index_interval_bytes=200))


@pytest.mark.parametrize("end", ["clean", "killed", "anchored"])
def test_a_retry_of_each_of_the_last_five_batches_is_one_after_a_restart(
    harness: LogHarness, end: str
) -> None:
    for number in range(8):
        send(harness, 2 * number)
        send(harness, 2 * number, producer_id=OTHER)
    if end == "anchored":
        harness.anchor()
    if end == "clean":
        harness.reopen_cleanly()
    else:
        harness.reopen_after_kill()
    log_end = harness.log.log_end_offset
    for number in range(3, 8):
        info = send(harness, 2 * number)
        assert (info.is_duplicate, info.first_offset) == (True, 4 * number)
    with pytest.raises(ApiError) as caught:
        send(harness, 4)
    assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert harness.log.log_end_offset == log_end
    assert not send(harness, 16).is_duplicate


def test_the_log_is_looked_through_once(harness: LogHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    send(harness, 0)
    harness.reopen_cleanly()
    looks = []
    recall = producer_recall.recall_batches
    monkeypatch.setattr(
        "storage.log_append.recall_batches", lambda *arguments: looks.append(1) or recall(*arguments)
    )
    send(harness, 2)
    assert not looks
    for _ in range(3):
        with pytest.raises(ApiError):
            send(harness, 40)
    assert len(looks) == 1


def test_what_follows_a_gap_in_the_sequences_is_not_taken_for_what_comes_before(harness: LogHarness) -> None:
    send(harness, 0)
    # A follower takes what its leader has, gaps included: the leader may have forgotten the producer in between.
    gap = replicated(2, b"z", leader_epoch=9, producer_id=PRODUCER, producer_epoch=0, base_sequence=70)
    harness.log.append_as_follower(gap)
    harness.reopen_cleanly()
    with pytest.raises(ApiError):
        send(harness, 0)


def test_what_was_sent_in_another_epoch_is_not_taken_for_a_batch_of_this_one(harness: LogHarness) -> None:
    send(harness, 0)
    send(harness, 2)
    later = replicated(4, b"z", leader_epoch=9, producer_id=PRODUCER, producer_epoch=1, base_sequence=4)
    harness.log.append_as_follower(later)
    harness.reopen_cleanly()
    with pytest.raises(ApiError) as caught:
        send(harness, 2, epoch=1)
    assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_it_reads_no_more_than_it_takes(harness: LogHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in range(200):
        send(harness, 2 * other, producer_id=OTHER)
    for number in range(6):
        send(harness, 2 * number)
    harness.reopen_cleanly()
    monkeypatch.setattr(producer_recall, "_WINDOW_BYTES", 1_000)
    looked_at: list[BatchHeader] = []
    windows = Segment.windows_before

    def counted(segment: Segment, offset: int, window_bytes: int) -> Iterator[list[BatchHeader]]:
        for window in windows(segment, offset, window_bytes):
            looked_at.extend(window)
            yield window

    monkeypatch.setattr(Segment, "windows_before", counted)
    assert send(harness, 2).is_duplicate
    assert len(looked_at) < 20


def test_it_does_not_look_for_ever(harness: LogHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        send(harness, 2 * number)
        for other in range(10):
            send(harness, 20 * number + 2 * other, producer_id=OTHER)
    harness.reopen_cleanly()
    # Eleven batches are some 2,000 bytes.
    monkeypatch.setattr(producer_recall, "RECALL_BYTES_MAX", 3_000)
    monkeypatch.setattr(producer_recall, "_WINDOW_BYTES", 500)
    assert send(harness, 4).is_duplicate
    with pytest.raises(ApiError):
        send(harness, 2)
