"""Transactions that take too long, and transactional ids that nobody uses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import LAST_EPOCH_OF_ID
from tests.kbroker.coordination.transaction.harness import CLASSIC, ID, V2, Harness, harness_in
from wire.errors import ErrorCode

LOOK_MS = 10_000
TIMEOUT_MS = 60_000
EXPIRY_MS = 604_800_000
EXPIRY_LOOK_MS = 3_600_000


@pytest.mark.parametrize("version", [CLASSIC, V2])
def test_a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced(version: int) -> None:
    harness, producer = harness_in(TransactionState.ONGOING, transaction_version=version)
    harness.sleep(TIMEOUT_MS)
    assert harness.state is TransactionState.ONGOING
    harness.sleep(LOOK_MS)
    assert harness.state is TransactionState.PREPARE_ABORT
    harness.write_markers()
    assert harness.state is TransactionState.COMPLETE_ABORT
    assert harness.metadata.producer_epoch == producer.producer_epoch + 1
    assert harness.add(producer).code is ErrorCode.PRODUCER_FENCED
    late = harness.end(producer, committed=True, version=version)
    # In the second generation the late commit names the epoch before the abort: it was decided otherwise.
    assert late.code is (ErrorCode.INVALID_TXN_STATE if version == V2 else ErrorCode.PRODUCER_FENCED)


def test_time_counts_from_the_beginning_of_the_transaction() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    for partition in range(7):
        harness.sleep(LOOK_MS)
        harness.add(producer, ("more", partition), version=V2)
    assert harness.state is TransactionState.PREPARE_ABORT


@pytest.mark.parametrize("state", [each for each in TransactionState if each.is_settled or each.is_prepared])
def test_only_open_transactions_time_out(state: TransactionState) -> None:
    harness, _ = harness_in(state)
    harness.sleep(10 * TIMEOUT_MS)
    assert harness.state is state


def test_a_change_that_is_being_written_is_not_interrupted() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    harness.holding = True
    harness.add(producer, ("more", 1), version=V2)
    harness.sleep(10 * TIMEOUT_MS)
    assert len(harness.uncommitted) == 1
    harness.holding = False
    harness.release()
    harness.sleep(LOOK_MS)
    assert harness.state is TransactionState.PREPARE_ABORT


@pytest.mark.parametrize("trouble", ["log", "ids"])
def test_an_abort_that_fails_is_tried_at_the_next_look(trouble: str) -> None:
    harness, _ = harness_in(TransactionState.ONGOING)
    harness.put(replace(harness.metadata, producer_epoch=LAST_EPOCH_OF_ID))
    harness.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE if trouble == "log" else None
    harness.has_producer_ids = trouble != "ids"
    harness.sleep(10 * TIMEOUT_MS)
    assert harness.state is TransactionState.ONGOING
    harness.append_error, harness.has_producer_ids = None, True
    harness.sleep(LOOK_MS)
    assert harness.state is TransactionState.PREPARE_ABORT


def test_a_restart_does_not_make_transactions_last_longer() -> None:
    harness, _ = harness_in(TransactionState.ONGOING)
    harness.sleep(TIMEOUT_MS - 1)
    harness.crash()
    harness.sleep(LOOK_MS)
    assert harness.state is TransactionState.PREPARE_ABORT


# Transactional ids

SELDOM = {"transaction_abort_timed_out_transaction_cleanup_interval_ms": EXPIRY_LOOK_MS}
"""Looking for time-outs every ten seconds of a week takes long, even in virtual time."""


@pytest.mark.parametrize("state", [each for each in TransactionState if each.is_settled])
def test_a_transactional_id_that_nobody_uses_is_forgotten_in_the_log_too(state: TransactionState) -> None:
    harness, producer = harness_in(state, **SELDOM)
    harness.sleep(EXPIRY_MS - EXPIRY_LOOK_MS)
    assert harness.shard.transactions.get(ID) is not None
    harness.sleep(2 * EXPIRY_LOOK_MS)
    assert harness.shard.transactions.get(ID) is None
    assert harness.log[-1].value is None
    harness.crash()
    assert harness.shard.transactions.get(ID) is None
    assert harness.add(producer).code is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert harness.init(producer).producer == Producer(1002, 0)


@pytest.mark.parametrize(
    "state",
    [TransactionState.ONGOING, TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT],
)
def test_a_transactional_id_in_use_is_not_forgotten(state: TransactionState) -> None:
    harness, _ = harness_in(state, **SELDOM)
    harness.put(replace(harness.metadata, updated_ms=0, timeout_ms=2**31 - 1))
    harness.sleep(2 * EXPIRY_LOOK_MS)
    assert harness.shard.transactions.get(ID) is not None


def test_use_postpones_forgetting() -> None:
    harness = Harness(**SELDOM)
    for _ in range(4):
        harness.init()
        harness.sleep(EXPIRY_MS // 2)
    assert harness.shard.transactions.get(ID) is not None


def test_what_cannot_be_forgotten_in_the_log_is_not_forgotten() -> None:
    harness, _ = harness_in(TransactionState.EMPTY, **SELDOM)
    harness.append_error = ErrorCode.NOT_COORDINATOR
    harness.sleep(EXPIRY_MS + EXPIRY_LOOK_MS)
    assert harness.shard.transactions.get(ID) is not None
    harness.append_error = None
    harness.sleep(EXPIRY_LOOK_MS)
    assert harness.shard.transactions.get(ID) is None


def test_a_transactional_id_that_is_being_changed_is_not_forgotten() -> None:
    harness, _ = harness_in(TransactionState.EMPTY, **SELDOM)
    harness.put(replace(harness.metadata, updated_ms=0))
    harness.holding = True
    harness.init()
    harness.sleep(EXPIRY_LOOK_MS)
    harness.release()
    assert harness.shard.transactions.get(ID) is not None
