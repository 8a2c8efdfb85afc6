"""AddPartitionsToTxn and verification."""

from __future__ import annotations

import pytest

from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.states import TransactionState
from tests.kbroker.coordination.transaction.harness import CLASSIC, V2, A, B, Harness, harness_in
from wire.errors import ErrorCode

OTHER = ("other", 9)


def test_the_first_partitions_open_the_transaction_and_others_join_it() -> None:
    harness = Harness()
    producer = harness.init().producer
    harness.now_ms += 5
    assert harness.add(producer, A, version=V2).code is ErrorCode.NONE
    assert harness.metadata.start_ms == harness.now_ms
    began_ms = harness.now_ms
    harness.now_ms += 5
    assert harness.add(producer, B, A, version=V2).code is ErrorCode.NONE
    assert harness.metadata.partitions == {A, B}
    assert harness.metadata.start_ms == began_ms
    assert harness.metadata.updated_ms == harness.now_ms
    assert harness.metadata.client_transaction_version == V2


def test_partitions_that_are_there_already_cost_no_record() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    log_length = len(harness.log)
    assert harness.add(producer, B).code is ErrorCode.NONE
    assert len(harness.log) == log_length


@pytest.mark.parametrize("version", [CLASSIC, V2])
def test_the_next_transaction_begins_without_the_partitions_of_the_last(version: int) -> None:
    harness, _ = harness_in(TransactionState.COMPLETE_COMMIT, transaction_version=version)
    assert harness.add(harness.producer, OTHER, version=version).code is ErrorCode.NONE
    assert harness.metadata.partitions == {OTHER}


def test_an_addition_that_could_not_be_written_did_not_happen() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    harness.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert harness.add(producer, OTHER).code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert harness.metadata.partitions == {A, B}
    harness.append_error = None
    assert harness.add(producer, OTHER).code is ErrorCode.NONE


def test_partitions_belong_to_the_transaction_when_their_record_is_committed() -> None:
    harness, producer = harness_in(TransactionState.ONGOING)
    harness.holding = True
    answer = harness.add(producer, OTHER)
    assert harness.verify(producer, OTHER) == {OTHER: ErrorCode.TRANSACTION_ABORTABLE}
    harness.release()
    assert answer.code is ErrorCode.NONE
    assert harness.verify(producer, OTHER, A) == {OTHER: ErrorCode.NONE, A: ErrorCode.NONE}


@pytest.mark.parametrize(
    "state", [TransactionState.EMPTY, TransactionState.COMPLETE_ABORT, TransactionState.COMPLETE_COMMIT]
)
def test_without_a_transaction_no_partition_belongs_to_it(state: TransactionState) -> None:
    harness, _ = harness_in(state)
    assert harness.verify(harness.producer) == {A: ErrorCode.TRANSACTION_ABORTABLE}


def test_an_empty_transactional_id_is_no_transactional_id() -> None:
    harness = Harness()
    assert harness.verify(Producer(1, 0), name="") is ErrorCode.INVALID_REQUEST
    assert harness.add(Producer(1, 0), name="").code is ErrorCode.INVALID_REQUEST


def test_a_client_ahead_of_the_cluster_is_refused_and_does_no_harm() -> None:
    harness, producer = harness_in(TransactionState.EMPTY, transaction_version=CLASSIC)
    assert harness.add(producer, version=V2).code is ErrorCode.UNSUPPORTED_VERSION
    assert harness.end(producer, committed=False, version=V2).code is ErrorCode.UNSUPPORTED_VERSION
    assert harness.add(producer, version=CLASSIC).code is ErrorCode.NONE
    assert harness.end(producer, committed=True, version=V2).code is ErrorCode.UNSUPPORTED_VERSION
    assert harness.end(producer, committed=True, version=CLASSIC).code is ErrorCode.NONE


@pytest.mark.parametrize("state", list(TransactionState)[1:6])
def test_a_cluster_that_goes_back_a_generation_leaves_no_transaction_half_way(
    state: TransactionState,
) -> None:
    harness, _ = harness_in(state, transaction_version=V2)
    harness.transaction_version = CLASSIC
    harness.crash()
    if state is TransactionState.ONGOING:
        assert harness.end(harness.producer, committed=True, version=CLASSIC).code is ErrorCode.NONE
    harness.write_all_markers()
    assert harness.state.is_settled
    assert harness.add(harness.producer, version=CLASSIC).code is ErrorCode.NONE
