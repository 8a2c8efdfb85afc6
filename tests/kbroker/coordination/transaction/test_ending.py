"""EndTxn in both generations: repeated, late, with used-up epochs; and what becomes of it when the log fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import LAST_EPOCH_OF_ID, PRODUCER_EPOCH_MAX
from tests.kbroker.coordination.transaction.harness import CLASSIC, V2, A, B, Harness, harness_in
from wire.errors import ErrorCode


def next_epoch(producer: Producer) -> Producer:
    return Producer(producer.producer_id, producer.producer_epoch + 1)


@pytest.mark.parametrize("committed", [True, False])
def test_a_classic_transaction_ends_under_its_own_epoch(committed: bool) -> None:
    harness, producer = harness_in(TransactionState.ONGOING, transaction_version=CLASSIC)
    assert harness.end(producer, committed=committed).code is ErrorCode.NONE
    markers = harness.markers[0]
    assert (markers.producer_id, markers.producer_epoch) == producer[:2]
    assert markers.committed is committed
    assert markers.transaction_version == CLASSIC
    harness.write_markers()
    assert harness.producer == producer
    assert harness.add(producer).code is ErrorCode.NONE


@pytest.mark.parametrize("committed", [True, False])
def test_a_second_generation_transaction_ends_under_the_next_epoch_which_is_the_answer(
    committed: bool,
) -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    answer = harness.end(producer, committed=committed, version=V2)
    assert answer.producer == next_epoch(producer)
    markers = harness.markers[0]
    assert (markers.producer_id, markers.producer_epoch) == next_epoch(producer)[:2]
    assert markers.transaction_version == V2
    harness.write_markers()
    assert harness.producer == next_epoch(producer)


@pytest.mark.parametrize("committed", [True, False])
def test_a_repeated_end_gets_the_same_answer(committed: bool) -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    first = harness.end(producer, committed=committed, version=V2).producer
    assert harness.end(producer, committed=committed, version=V2).code is ErrorCode.CONCURRENT_TRANSACTIONS
    harness.write_markers()
    assert harness.end(producer, committed=committed, version=V2).producer == first
    assert harness.end(producer, committed=not committed, version=V2).code is ErrorCode.INVALID_TXN_STATE
    assert len(harness.markers) == 1


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("committed", [True, False])
def test_a_delayed_or_repeated_end_does_not_decide_a_later_transaction(committed: bool, late: bool) -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    following = harness.end(producer, committed=committed, version=V2).producer
    harness.write_markers()
    assert harness.add(following, A, version=V2).code is ErrorCode.NONE
    # The same request again, or the one with the other outcome, while the next transaction is open:
    answer = harness.end(producer, committed=committed is not late, version=V2)
    assert answer.code is ErrorCode.PRODUCER_FENCED
    assert harness.state is TransactionState.ONGOING
    harness.end(following, committed=True, version=V2)
    harness.write_markers()
    assert harness.end(producer, committed=committed, version=V2).code is ErrorCode.PRODUCER_FENCED
    assert harness.state is TransactionState.COMPLETE_COMMIT


def test_a_classic_end_of_a_fenced_producer_does_not_decide_its_successors_transaction() -> None:
    harness, producer = harness_in(TransactionState.COMPLETE_COMMIT, transaction_version=CLASSIC)
    successor = harness.init().producer
    harness.add(successor)
    for committed in (True, False):
        assert harness.end(producer, committed=committed).code is ErrorCode.PRODUCER_FENCED
    assert harness.state is TransactionState.ONGOING


def test_a_producer_may_abort_before_anything_was_added() -> None:
    harness = Harness()
    producer = harness.init().producer
    assert harness.end(producer, committed=False, version=V2).producer == next_epoch(producer)
    assert harness.state is TransactionState.COMPLETE_ABORT  # there are no markers to write
    assert harness.metadata.start_ms == harness.now_ms
    assert not harness.markers


# Epochs run out


@pytest.mark.parametrize("committed", [True, False])
def test_when_the_epochs_are_used_up_the_end_answers_a_new_producer_id(committed: bool) -> None:
    harness, _ = harness_in(TransactionState.ONGOING)
    harness.put(replace(harness.metadata, producer_epoch=LAST_EPOCH_OF_ID))
    last = harness.producer
    answer = harness.end(last, committed=committed, version=V2)
    assert answer.producer == Producer(1002, 0)
    markers = harness.markers[0]
    assert (markers.producer_id, markers.producer_epoch) == (last.producer_id, PRODUCER_EPOCH_MAX)
    again = harness.end(last, committed=committed, version=V2)
    assert again.code is ErrorCode.CONCURRENT_TRANSACTIONS
    harness.crash()  # the next id is in the log
    harness.write_markers()
    assert harness.producer == Producer(1002, 0)
    assert harness.end(last, committed=committed, version=V2).producer == Producer(1002, 0)
    assert harness.end(last, committed=not committed, version=V2).code is ErrorCode.INVALID_TXN_STATE
    harness.add(harness.producer, version=V2)
    late = harness.end(last, committed=committed, version=V2)
    assert late.code is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert harness.state is TransactionState.ONGOING


def test_without_producer_ids_a_used_up_transaction_does_not_end() -> None:
    harness, _ = harness_in(TransactionState.ONGOING)
    harness.put(replace(harness.metadata, producer_epoch=LAST_EPOCH_OF_ID))
    harness.has_producer_ids = False
    answer = harness.end(harness.producer, committed=True, version=V2)
    assert answer.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert harness.state is TransactionState.ONGOING


def test_no_epoch_overflows() -> None:
    harness, _ = harness_in(TransactionState.ONGOING)
    harness.put(replace(harness.metadata, producer_epoch=PRODUCER_EPOCH_MAX))
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    assert harness.metadata.producer_epoch == PRODUCER_EPOCH_MAX
    harness.write_markers()
    assert harness.producer == Producer(1002, 0)


# The log fails


@pytest.mark.parametrize("version", [CLASSIC, V2])
def test_an_end_that_could_not_be_written_did_not_happen(version: int) -> None:
    harness, producer = harness_in(TransactionState.ONGOING, transaction_version=version)
    harness.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    answer = harness.end(producer, committed=True, version=version)
    assert answer.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert harness.state is TransactionState.ONGOING
    assert not harness.markers
    harness.append_error = None
    assert harness.end(producer, committed=True, version=version).code is ErrorCode.NONE


def test_an_end_counts_when_it_is_committed_and_not_before() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    harness.holding = True
    answer = harness.end(producer, committed=True, version=V2)
    assert not answer.is_given
    assert harness.state is TransactionState.ONGOING
    assert not harness.markers
    again = harness.end(producer, committed=True, version=V2)
    assert again.code is ErrorCode.CONCURRENT_TRANSACTIONS
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    harness.release()
    assert answer.producer == next_epoch(producer)
    assert harness.markers[0].partitions == {A, B}


def test_an_empty_transactional_id_is_no_transactional_id() -> None:
    answer = Harness().end(Producer(1, 0), committed=True, name="")
    assert answer.code is ErrorCode.INVALID_REQUEST
