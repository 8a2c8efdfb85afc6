"""From the decision to the completed transaction: markers, restarts in every state, a log that fails."""

from __future__ import annotations

import pytest

from kbroker.coordination.transaction.completion import RETRY_MS
from kbroker.coordination.transaction.states import TransactionState
from tests.kbroker.coordination.transaction.harness import CLASSIC, ID, V2, A, B, Harness, harness_in
from wire.errors import ErrorCode

PREPARED = (TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT)
COMPLETE = {
    TransactionState.PREPARE_COMMIT: TransactionState.COMPLETE_COMMIT,
    TransactionState.PREPARE_ABORT: TransactionState.COMPLETE_ABORT,
}
EVERY_STATE = tuple(
    state
    for state in TransactionState
    if state not in (TransactionState.DEAD, TransactionState.PREPARE_EPOCH_FENCE)
)


@pytest.mark.parametrize("state", PREPARED)
def test_a_transaction_is_complete_when_its_last_marker_is_written(state: TransactionState) -> None:
    harness, _ = harness_in(state)
    harness.write_markers([A])
    assert harness.state is state
    assert harness.metadata.partitions == {B}
    harness.write_markers([A])  # told twice
    assert harness.state is state
    harness.write_markers([B])
    assert harness.state is COMPLETE[state]
    assert harness.metadata.partitions == frozenset()
    assert harness.transaction().pending is None


@pytest.mark.parametrize("version", [CLASSIC, V2])
@pytest.mark.parametrize("state", EVERY_STATE)
def test_a_restart_in_every_state_goes_on_where_it_was(state: TransactionState, version: int) -> None:
    harness, _ = harness_in(state, transaction_version=version)
    before = harness.metadata
    harness.crash()
    # What is not in the log is only how a lost answer to InitProducerId is recognised.
    assert harness.metadata.producer_epoch == before.producer_epoch
    assert harness.state is state
    assert harness.metadata.partitions == before.partitions
    assert harness.metadata.client_transaction_version == (
        before.client_transaction_version if version else 0
    )
    wanted = [markers for markers in harness.markers if harness.shard.is_sending(markers)]
    assert len(wanted) == state.is_prepared
    if state.is_prepared:
        assert wanted[0].partitions == {A, B}
        assert wanted[0].committed == (state is TransactionState.PREPARE_COMMIT)
        assert wanted[0].producer_epoch == before.producer_epoch
        assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
        harness.write_markers()
        assert harness.state is COMPLETE[state]


@pytest.mark.parametrize("state", PREPARED)
def test_a_restart_between_markers_sends_all_of_them_again(state: TransactionState) -> None:
    harness, _ = harness_in(state)
    harness.write_markers([A])
    harness.crash()
    assert harness.markers[0].partitions == {A, B}


@pytest.mark.parametrize("state", PREPARED)
def test_markers_of_before_a_restart_no_longer_count(state: TransactionState) -> None:
    harness, _ = harness_in(state)
    old = harness.markers[0]
    harness.crash()
    harness.write_markers(markers=old)
    assert harness.state is state
    assert harness.metadata.partitions == {A, B}
    assert not harness.shard.is_sending(old)


@pytest.mark.parametrize("committed", [True, False])
def test_a_crash_before_the_decision_is_committed_leaves_either_state(committed: bool) -> None:
    for kept, state in ((0, TransactionState.ONGOING), (1, None)):
        harness, producer = harness_in(TransactionState.ONGOING)
        harness.holding = True
        harness.end(producer, committed=committed, version=V2)
        harness.holding = False
        harness.crash(keep_uncommitted=kept)
        if state is not None:
            assert harness.state is state
            assert harness.end(producer, committed=committed, version=V2).code is ErrorCode.NONE
        else:
            assert harness.state.is_prepared
            assert harness.markers[0].committed is committed
            retry = harness.end(producer, committed=committed, version=V2)
            assert retry.code is ErrorCode.CONCURRENT_TRANSACTIONS


@pytest.mark.parametrize("state", PREPARED)
def test_a_crash_before_the_completion_is_committed_sends_the_markers_again_or_not(
    state: TransactionState,
) -> None:
    for kept in (0, 1):
        harness, _ = harness_in(state)
        harness.holding = True
        harness.write_markers()
        # It counts since it was written: whatever comes next is committed after it.
        assert harness.state is COMPLETE[state]
        answer = harness.init()
        assert not answer.is_given
        harness.holding = False
        harness.crash(keep_uncommitted=kept)
        assert harness.state is (COMPLETE[state] if kept else state)
        harness.write_all_markers()
        assert harness.state is COMPLETE[state]


@pytest.mark.parametrize("error", [ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR])
@pytest.mark.parametrize("state", PREPARED)
def test_a_completion_that_cannot_be_written_is_tried_until_it_is(
    state: TransactionState, error: ErrorCode
) -> None:
    harness, _ = harness_in(state)
    harness.append_error = error
    harness.write_markers()
    harness.sleep(5 * RETRY_MS)
    assert harness.state is state
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    harness.append_error = None
    harness.sleep(RETRY_MS)
    assert harness.state is COMPLETE[state]
    log_length = len(harness.log)
    harness.sleep(5 * RETRY_MS)
    assert len(harness.log) == log_length


@pytest.mark.parametrize("error", [None, ErrorCode.COORDINATOR_NOT_AVAILABLE])
def test_a_restart_finds_a_decided_transaction_without_partitions(error: ErrorCode | None) -> None:
    harness = Harness()
    producer = harness.init().producer
    harness.holding = True
    harness.end(producer, committed=False, version=V2)
    harness.append_error = error
    harness.holding = False
    harness.crash()
    assert harness.state is TransactionState.PREPARE_ABORT
    assert not harness.markers
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    harness.sleep(0)
    harness.append_error = None
    harness.sleep(RETRY_MS)
    assert harness.state is TransactionState.COMPLETE_ABORT


def test_markers_that_are_refused_are_given_up() -> None:
    harness, _ = harness_in(TransactionState.PREPARE_COMMIT)
    markers = harness.markers[0]
    harness.execute(harness.shard.markers_refused(markers), None)
    assert not harness.shard.is_sending(markers)
    harness.write_markers(markers=markers)
    assert harness.state is TransactionState.PREPARE_COMMIT
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS


def test_transactional_ids_are_completed_independently() -> None:
    harness = Harness()
    for name in ("a", "b"):
        producer = harness.init(name=name).producer
        harness.add(producer, A, name=name, version=V2)
        harness.end(producer, committed=name == "a", name=name, version=V2)
    assert [(each.transactional_id, each.committed) for each in harness.markers] == [
        ("a", True),
        ("b", False),
    ]
    harness.write_markers(markers=harness.markers[1])
    assert harness.transaction("a").metadata.state is TransactionState.PREPARE_COMMIT
    assert harness.transaction("b").metadata.state is TransactionState.COMPLETE_ABORT
    assert ID not in harness.shard.transactions._transactions
