"""InitProducerId: new ids, epochs, fencing, recovery (KIP-360), epochs that run out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import LAST_EPOCH_OF_ID, PRODUCER_EPOCH_MAX
from tests.kbroker.coordination.transaction.harness import CLASSIC, ID, V2, A, Harness, harness_in
from wire.errors import ErrorCode


def test_a_new_transactional_id_gets_a_new_producer_id_and_epoch_zero() -> None:
    harness = Harness()
    assert harness.init().producer == Producer(1001, 0)
    assert harness.init(name="another").producer == Producer(1002, 0)
    assert len(harness.log) == 2


def test_the_next_producer_of_a_transactional_id_gets_the_next_epoch_and_fences_the_one_before() -> None:
    harness = Harness()
    first = harness.init().producer
    second = harness.init().producer
    assert second == Producer(first.producer_id, first.producer_epoch + 1)
    assert harness.add(first).code is ErrorCode.PRODUCER_FENCED
    assert harness.add(second).code is ErrorCode.NONE


@pytest.mark.parametrize("version", [CLASSIC, 1, V2])
def test_a_new_epoch_aborts_the_old_ones_open_transaction_at_once(version: int) -> None:
    harness = Harness(transaction_version=version)
    first = harness.init().producer
    harness.add(first, A, version=version)
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    assert harness.state is TransactionState.PREPARE_ABORT
    markers = harness.markers[0]
    assert (markers.producer_epoch, markers.committed) == (first.producer_epoch + 1, False)
    # Until all markers are written, nobody begins anything.
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    end = harness.end(first, committed=True, version=version)
    assert end.code in (ErrorCode.PRODUCER_FENCED, ErrorCode.CONCURRENT_TRANSACTIONS)
    harness.write_markers()
    assert harness.state is TransactionState.COMPLETE_ABORT
    second = harness.init().producer
    assert second == Producer(first.producer_id, first.producer_epoch + 2)
    assert harness.add(first).code is ErrorCode.PRODUCER_FENCED
    assert harness.end(first, committed=True, version=CLASSIC).code is ErrorCode.PRODUCER_FENCED


def test_a_fence_that_cannot_be_written_leaves_the_transaction_open() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    harness.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert harness.init().code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert harness.state is TransactionState.ONGOING
    harness.append_error = None
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    assert harness.metadata.producer_epoch == producer.producer_epoch + 1


def test_a_classic_fence_counts_in_memory_even_if_it_cannot_be_written_but_only_once() -> None:
    harness, producer = harness_in(TransactionState.ONGOING, transaction_version=CLASSIC)
    harness.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    for _ in range(3):
        assert harness.init().code is ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert harness.metadata.producer_epoch == producer.producer_epoch + 1
        assert harness.end(producer, committed=True).code is ErrorCode.PRODUCER_FENCED
    harness.append_error = None
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    assert harness.metadata.producer_epoch == producer.producer_epoch + 1
    assert not harness.transaction().has_failed_fence


def test_a_producer_id_that_was_never_written_is_not_given_out() -> None:
    harness = Harness()
    harness.append_error = ErrorCode.NOT_COORDINATOR
    assert harness.init().code is ErrorCode.NOT_COORDINATOR
    harness.append_error = None
    assert harness.init().producer.producer_epoch == 0
    harness.crash()
    assert harness.producer == Producer(1001, 0)


def test_without_producer_ids_nothing_begins() -> None:
    harness = Harness()
    harness.has_producer_ids = False
    assert harness.init().code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert not harness.log
    harness.has_producer_ids = True
    assert harness.init().code is ErrorCode.NONE


# A producer that goes on after an error


def test_a_producer_raises_its_own_epoch_and_may_ask_again() -> None:
    harness = Harness()
    first = harness.init().producer
    second = harness.init(first).producer
    assert second.producer_epoch == first.producer_epoch + 1
    assert harness.init(first).producer == second  # the answer was lost
    assert harness.init(second).producer.producer_epoch == second.producer_epoch + 1


def test_a_producer_that_was_replaced_cannot_go_on() -> None:
    harness = Harness()
    first = harness.init().producer
    harness.init()
    assert harness.init(first).code is ErrorCode.PRODUCER_FENCED


def test_a_producer_with_somebody_elses_id_cannot_go_on() -> None:
    harness = Harness()
    first = harness.init().producer
    stranger = Producer(first.producer_id + 1, first.producer_epoch)
    assert harness.init(stranger).code is ErrorCode.PRODUCER_FENCED


def test_a_producer_whose_transactional_id_was_forgotten_gets_a_new_id() -> None:
    assert Harness().init(Producer(77, 5)).producer == Producer(1001, 0)


def test_a_second_generation_transaction_may_be_recovered_with_the_epoch_it_had() -> None:
    harness, producer = harness_in(TransactionState.COMPLETE_COMMIT)
    # EndTxn raised the epoch, but its answer was lost.
    assert harness.init(producer).producer == Producer(producer.producer_id, producer.producer_epoch + 1)


# Epochs run out


def exhausted(state: TransactionState = TransactionState.EMPTY, version: int = V2) -> Harness:
    harness, _ = harness_in(state, transaction_version=version)
    harness.put(replace(harness.metadata, producer_epoch=LAST_EPOCH_OF_ID))
    return harness


@pytest.mark.parametrize("names_itself", [False, True])
def test_when_the_epochs_are_used_up_there_is_a_new_producer_id(names_itself: bool) -> None:
    harness = exhausted()
    last = harness.producer
    answer = harness.init(last if names_itself else None)
    assert answer.producer == Producer(1002, 0)
    if names_itself:  # and the lost answer can be had again
        assert harness.init(last).producer == Producer(1002, 0)
    else:
        assert harness.init(last).code is ErrorCode.PRODUCER_FENCED


def test_the_last_epoch_may_be_asked_for_again() -> None:
    harness, _ = harness_in(TransactionState.EMPTY)
    harness.put(replace(harness.metadata, producer_epoch=LAST_EPOCH_OF_ID - 1))
    before = harness.producer
    last = harness.init(before).producer
    assert last.producer_epoch == LAST_EPOCH_OF_ID
    assert harness.init(before).producer == last
    stale = Producer(last.producer_id, 3)
    assert harness.init(stale).code is ErrorCode.PRODUCER_FENCED


def test_no_epoch_is_raised_for_want_of_a_producer_id() -> None:
    harness = exhausted()
    harness.has_producer_ids = False
    assert harness.init().code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert harness.transaction().pending is None


@pytest.mark.parametrize("version", [CLASSIC, V2])
def test_fencing_may_use_the_epoch_that_no_producer_gets(version: int) -> None:
    harness = exhausted(TransactionState.ONGOING, version)
    harness.add(harness.producer, version=version)
    assert harness.init().code is ErrorCode.CONCURRENT_TRANSACTIONS
    assert harness.markers[0].producer_epoch == PRODUCER_EPOCH_MAX
    assert harness.markers[0].producer_id == 1001
    harness.write_markers()
    producer = harness.init().producer
    assert producer.producer_id != 1001
    # In the second generation the abort took the new id, and this is its second epoch.
    assert producer.producer_epoch == (1 if version == V2 else 0)


# What is asked for


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001, 2**31 - 1])
def test_a_timeout_must_be_positive_and_at_most_the_brokers(timeout_ms: int) -> None:
    assert Harness().init(timeout_ms=timeout_ms).code is ErrorCode.INVALID_TRANSACTION_TIMEOUT


def test_the_largest_timeout_is_allowed() -> None:
    harness = Harness()
    harness.init(timeout_ms=900_000)
    assert harness.metadata.timeout_ms == 900_000


@pytest.mark.parametrize("name", ["", "x" * 32_768, "ü" * 16_384])
def test_a_transactional_id_must_fit_a_record(name: str) -> None:
    assert Harness().init(name=name).code is ErrorCode.INVALID_REQUEST


def test_the_longest_transactional_id_is_kept() -> None:
    harness = Harness()
    name = "x" * 32_767
    producer = harness.init(name=name).producer
    harness.crash()
    assert harness.transaction(name).metadata.producer_id == producer.producer_id


def test_two_phase_commit_is_refused_unless_it_is_enabled() -> None:
    refused = Harness().init(two_phase_commit=True)
    assert refused.code is ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    harness = Harness(transaction_two_phase_commit_enable=True)
    assert harness.init(two_phase_commit=True, timeout_ms=-1).code is ErrorCode.NONE
    harness.add(harness.producer)
    harness.sleep(10 * 24 * 3_600_000)
    assert harness.state is TransactionState.ONGOING  # only its coordinator outside ends it


def test_prepared_transactions_cannot_be_kept_yet() -> None:
    assert Harness().init(keep_prepared=True).code is ErrorCode.UNSUPPORTED_VERSION


def test_what_is_wrong_is_told_before_anything_is_remembered() -> None:
    harness = Harness()
    harness.init(timeout_ms=0)
    assert harness.shard.transactions.get(ID) is None
