"""Verification guards (KIP-890): a batch opens a transaction only if the coordinator was asked just before.

A delayed batch must never open a transaction that nobody will end: every read_committed reader would wait behind
it for good.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.producer_append import AppendOrigin
from storage.transaction_verification import VerificationGuard, Verifications
from tests.storage.support import START_MS, LogHarness, ManualClock, batch, marker
from wire.errors import ApiError, ErrorCode

PRODUCER = 7


@pytest.fixture
def harness(tmp_path: Path) -> LogHarness:
    return strict(tmp_path)


def strict(path: Path, clock: ManualClock | None = None) -> LogHarness:
    return LogHarness(path, clock=clock, requires_verification=True)


def start(
    harness: LogHarness, sequence: int = 0, epoch: int = 0, *, bump: bool = False
) -> VerificationGuard | None:
    return harness.log.start_transaction_verification(PRODUCER, sequence, epoch, supports_epoch_bump=bump)


def append(
    harness: LogHarness, sequence: int = 0, epoch: int = 0, *, guard: VerificationGuard | None = None
) -> int:
    data = batch(b"a", producer_id=PRODUCER, producer_epoch=epoch, sequence=sequence, transactional=True)
    return harness.log.append_as_leader(data, 0, verification_guard=guard).first_offset


def end(harness: LogHarness, epoch: int = 0, *, version: int = 0, commit: bool = True) -> None:
    harness.log.append_as_leader(
        marker(PRODUCER, producer_epoch=epoch, commit=commit),
        0,
        origin=AppendOrigin.COORDINATOR,
        transaction_version=version,
    )


def refused(harness: LogHarness, *arguments: int, guard: VerificationGuard | None = None) -> ErrorCode:
    with pytest.raises(ApiError) as caught:
        append(harness, *arguments, guard=guard)
    return caught.value.code


def test_an_append_that_was_not_verified_is_refused(harness: LogHarness) -> None:
    assert refused(harness) is ErrorCode.INVALID_TXN_STATE
    assert refused(harness, guard=VerificationGuard()) is ErrorCode.INVALID_TXN_STATE
    assert harness.log.log_end_offset == 0
    assert append(harness, guard=start(harness)) == 0


def test_only_the_guard_of_the_pending_verification_counts(harness: LogHarness) -> None:
    start(harness)
    assert refused(harness) is ErrorCode.INVALID_TXN_STATE
    assert refused(harness, guard=VerificationGuard()) is ErrorCode.INVALID_TXN_STATE


def test_an_open_transaction_needs_no_further_verification(harness: LogHarness) -> None:
    append(harness, guard=start(harness))
    assert start(harness, 1) is None
    assert append(harness, 1) == 1


def test_the_next_transaction_is_verified_again(harness: LogHarness) -> None:
    guard = start(harness)
    append(harness, guard=guard)
    end(harness)
    assert refused(harness, 1) is ErrorCode.INVALID_TXN_STATE
    assert refused(harness, 1, guard=guard) is ErrorCode.INVALID_TXN_STATE
    assert append(harness, 1, guard=start(harness, 1)) == 2


def test_a_marker_between_verification_and_append_invalidates_the_guard(harness: LogHarness) -> None:
    guard = start(harness)
    end(harness, commit=False)
    assert refused(harness, guard=guard) is ErrorCode.INVALID_TXN_STATE
    again = start(harness)
    assert again is not guard
    assert append(harness, guard=again) == 1


def test_a_batch_of_an_older_epoch_is_fenced_before_anybody_is_asked(harness: LogHarness) -> None:
    end(harness, 3)
    with pytest.raises(ApiError) as caught:
        start(harness, epoch=2)
    assert caught.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    assert refused(harness, 0, 2, guard=VerificationGuard()) is ErrorCode.INVALID_PRODUCER_EPOCH


def test_requests_in_flight_share_one_guard(harness: LogHarness) -> None:
    first, second = start(harness, 0), start(harness, 1)
    assert first is second
    append(harness, 0, guard=first)
    # The first append used the guard up; the second needs none, as the transaction is open.
    assert append(harness, 1, guard=second) == 1


def test_the_lowest_sequence_that_was_seen_must_come_first(harness: LogHarness) -> None:
    guard = start(harness, 5)
    start(harness, 3)
    assert refused(harness, 5, guard=guard) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert append(harness, 3, guard=guard) == 0


def test_a_newer_epoch_forgets_the_lowest_sequence_of_the_older(harness: LogHarness) -> None:
    start(harness, 0, epoch=0)
    guard = start(harness, 4, epoch=1)
    start(harness, 2, epoch=0)
    assert append(harness, 4, 1, guard=guard) == 0


def test_transactions_version_2_begins_at_sequence_0_where_nothing_is_known(harness: LogHarness) -> None:
    guard = start(harness, 5, bump=True)
    assert refused(harness, 5, guard=guard) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert start(harness, 0, bump=True) is guard
    assert append(harness, 0, guard=guard) == 0


def test_the_classic_protocol_goes_on_anywhere_where_nothing_is_known(harness: LogHarness) -> None:
    assert append(harness, 5, guard=start(harness, 5)) == 0


def test_a_version_2_marker_keeps_the_verification_of_the_transaction_that_follows_it(
    harness: LogHarness,
) -> None:
    # The marker raises the epoch to 1; the batch with epoch 1 is being verified while it arrives.
    append(harness, guard=start(harness, bump=True))
    guard = start(harness, epoch=1, bump=True)
    end(harness, 1, version=2)
    assert append(harness, 0, 1, guard=guard) == 2


def test_a_version_2_marker_ends_the_verification_of_an_older_epoch(harness: LogHarness) -> None:
    guard = start(harness, epoch=1, bump=True)
    end(harness, 2, version=2)
    assert refused(harness, 0, 1, guard=guard) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert refused(harness, 0, 2, guard=guard) is ErrorCode.INVALID_TXN_STATE


def test_verifications_expire_with_the_producers(tmp_path: Path) -> None:
    clock = ManualClock()
    harness = strict(tmp_path, clock)
    guard = start(harness)
    day_ms = 24 * 60 * 60 * 1000
    clock.now_ms = START_MS + day_ms - 1
    harness.log.remove_expired_producers()
    assert start(harness) is guard
    clock.now_ms += 1
    harness.log.remove_expired_producers()
    assert start(harness) is not guard
    assert refused(harness, guard=guard) is ErrorCode.INVALID_TXN_STATE


def test_coordinators_verify_too_but_markers_need_no_guard(harness: LogHarness) -> None:
    data = batch(b"a", producer_id=PRODUCER, producer_epoch=0, sequence=-1, transactional=True)
    with pytest.raises(ApiError) as caught:
        harness.log.append_as_leader(data, 0, origin=AppendOrigin.COORDINATOR)
    assert caught.value.code is ErrorCode.INVALID_TXN_STATE
    guard = start(harness, -1)
    harness.log.append_as_leader(data, 0, origin=AppendOrigin.COORDINATOR, verification_guard=guard)
    end(harness)
    assert harness.log.last_stable_offset == 0
    harness.log.update_high_watermark(2)
    assert harness.log.last_stable_offset == 2


def test_a_refused_append_keeps_the_guard(harness: LogHarness) -> None:
    guard = start(harness)
    damaged = batch(b"a", producer_id=PRODUCER, producer_epoch=0, sequence=0, transactional=True)
    damaged[-1] ^= 1
    with pytest.raises(ApiError) as caught:
        harness.log.append_as_leader(damaged, 0, verification_guard=guard)
    assert caught.value.code is ErrorCode.CORRUPT_MESSAGE
    assert append(harness, guard=guard) == 0


def test_a_retried_batch_is_found_after_its_transaction_ended_and_needs_no_guard(harness: LogHarness) -> None:
    append(harness, guard=start(harness))
    end(harness)
    assert append(harness) == 0


def test_followers_and_a_broker_that_is_told_so_verify_nothing(tmp_path: Path) -> None:
    harness = LogHarness(tmp_path)
    assert append(harness) == 0


def test_the_states_of_a_verification() -> None:
    verifications = Verifications()

    def begin(epoch: int, *, bump: bool) -> VerificationGuard:
        return verifications.start(1, 0, epoch, supports_epoch_bump=bump, now_ms=0)

    guard = begin(0, bump=False)
    assert verifications.is_guarded_by(1, guard)
    assert not verifications.is_guarded_by(2, guard)
    assert not verifications.is_guarded_by(1, None)
    verifications.data_appended(1)
    assert not verifications.is_guarded_by(1, guard)
    verifications.data_appended(1)
    begin(1, bump=False)
    verifications.marker_appended(1, 1)
    assert len(verifications) == 0
    begin(1, bump=True)
    verifications.marker_appended(1, 1)
    assert len(verifications) == 1
    verifications.marker_appended(1, 2)
    assert len(verifications) == 0
    verifications.marker_appended(1, 2)
