"""Every request in every state, as the table in ``states.py`` has it; and the table of transitions itself."""

from __future__ import annotations

import pytest

from kbroker.coordination.ports import Producer
from kbroker.coordination.transaction.states import PREVIOUS_STATES, TransactionState
from kbroker.coordination.transaction.transaction import Transaction, TransactionMetadata
from tests.kbroker.coordination.transaction.harness import CLASSIC, V2, B, Harness, harness_in
from wire.errors import ErrorCode

EMPTY = TransactionState.EMPTY
ONGOING = TransactionState.ONGOING
PREPARE_COMMIT = TransactionState.PREPARE_COMMIT
PREPARE_ABORT = TransactionState.PREPARE_ABORT
COMPLETE_COMMIT = TransactionState.COMPLETE_COMMIT
COMPLETE_ABORT = TransactionState.COMPLETE_ABORT
DEAD = TransactionState.DEAD
FENCE = TransactionState.PREPARE_EPOCH_FENCE

OK = ErrorCode.NONE
CONCURRENT = ErrorCode.CONCURRENT_TRANSACTIONS
FENCED = ErrorCode.PRODUCER_FENCED
INVALID_STATE = ErrorCode.INVALID_TXN_STATE
MAPPING = ErrorCode.INVALID_PRODUCER_ID_MAPPING

REACHABLE = (EMPTY, ONGOING, PREPARE_COMMIT, PREPARE_ABORT, COMPLETE_COMMIT, COMPLETE_ABORT)


def previous(producer: Producer) -> Producer:
    return Producer(producer.producer_id, producer.producer_epoch - 1)


def ask(harness: Harness, request: str, producer: Producer) -> ErrorCode:
    match request.split():
        case ["init"]:
            return harness.init().code
        case ["init", "expected"]:
            return harness.init(producer).code
        case ["add"]:
            return harness.add(producer, B).code
        case ["verify"]:
            answer = harness.verify(producer, B)
            return answer if isinstance(answer, ErrorCode) else OK
        case ["end", version, outcome]:
            return harness.end(
                producer, committed=outcome == "commit", version=CLASSIC if version == "v1" else V2
            ).code
    raise AssertionError(request)


SAME = None
"""The state stays as it is."""

KEPT = (OK, SAME)
WAIT = (CONCURRENT, SAME)
LATE = (FENCED, SAME)
WRONG = (INVALID_STATE, SAME)
ABORTED = (CONCURRENT, PREPARE_ABORT)
NOTHING = (OK, COMPLETE_ABORT)

# Asked by the producer with the current id and epoch; a row has the states in the order of REACHABLE.
CURRENT = {
    "init":          [(OK, EMPTY), ABORTED, WAIT, WAIT, (OK, EMPTY), (OK, EMPTY)],
    "init expected": [(OK, EMPTY), ABORTED, WAIT, WAIT, (OK, EMPTY), (OK, EMPTY)],
    "add":           [(OK, ONGOING), (OK, ONGOING), WAIT, WAIT, (OK, ONGOING), (OK, ONGOING)],
    "verify":        [KEPT, KEPT, WAIT, WAIT, KEPT, KEPT],
    "end v1 commit": [WRONG, (OK, PREPARE_COMMIT), WAIT, WAIT, KEPT, WRONG],
    "end v1 abort":  [WRONG, (OK, PREPARE_ABORT), WAIT, WAIT, WRONG, KEPT],
    "end v2 commit": [WRONG, (OK, PREPARE_COMMIT), WAIT, WAIT, WRONG, WRONG],
    "end v2 abort":  [NOTHING, (OK, PREPARE_ABORT), WAIT, WAIT, NOTHING, NOTHING],
}  # fmt: skip

# Asked by the producer with the epoch before.
BEFORE = {
    "init expected": [LATE, ABORTED, WAIT, WAIT, (OK, EMPTY), (OK, EMPTY)],
    "add":           [LATE, LATE, WAIT, WAIT, LATE, LATE],
    "verify":        [LATE] * 6,
    "end v1 commit": [LATE] * 6,
    "end v1 abort":  [LATE] * 6,
    "end v2 commit": [LATE, LATE, WAIT, WAIT, KEPT, WRONG],
    "end v2 abort":  [LATE, LATE, WAIT, WAIT, WRONG, KEPT],
}  # fmt: skip


def cases(table: dict[str, list[tuple[ErrorCode, TransactionState | None]]]) -> list[tuple[object, ...]]:
    return [
        (request, state, code, state if following is SAME else following)
        for request, row in table.items()
        for state, (code, following) in zip(REACHABLE, row, strict=True)
    ]


@pytest.mark.parametrize(("request_name", "state", "code", "following"), cases(CURRENT))
def test_every_request_of_the_current_producer_in_every_state(
    request_name: str, state: TransactionState, code: ErrorCode, following: TransactionState
) -> None:
    harness, _ = harness_in(state)
    assert ask(harness, request_name, harness.producer) is code
    assert harness.state is following


@pytest.mark.parametrize(("request_name", "state", "code", "following"), cases(BEFORE))
def test_every_request_of_the_previous_epoch_in_every_state(
    request_name: str, state: TransactionState, code: ErrorCode, following: TransactionState
) -> None:
    harness, _ = harness_in(state)
    assert ask(harness, request_name, previous(harness.producer)) is code
    assert harness.state is following


@pytest.mark.parametrize("state", REACHABLE)
@pytest.mark.parametrize("request_name", [name for name in CURRENT if name != "init"])
def test_no_request_with_another_producer_id_does_anything(
    request_name: str, state: TransactionState
) -> None:
    harness, producer = harness_in(state)
    before = harness.metadata
    stranger = Producer(producer.producer_id + 1, producer.producer_epoch)
    is_pending = harness.transaction().pending is not None
    expected = FENCED if request_name == "init expected" else MAPPING
    # Where a change is under way the classic EndTxn and verification still look at the producer first.
    if is_pending and request_name not in ("verify", "end v1 commit", "end v1 abort"):
        expected = CONCURRENT
    assert ask(harness, request_name, stranger) is expected
    assert harness.metadata == before


@pytest.mark.parametrize("request_name", list(CURRENT))
@pytest.mark.parametrize("state", REACHABLE)
def test_while_a_change_is_being_written_nothing_else_changes(
    request_name: str, state: TransactionState
) -> None:
    harness, _ = harness_in(state)
    if not state.is_prepared:  # there the completion is under way already
        harness.holding = True
        harness.add(harness.producer, ("other", 7))
    before, log_length = harness.metadata, len(harness.log)
    code = ask(harness, request_name, harness.producer)
    expected = CONCURRENT if request_name != "verify" or state.is_prepared else OK
    assert code is expected
    assert harness.metadata == before
    assert len(harness.log) == log_length


@pytest.mark.parametrize("request_name", ["add", "verify", "end v1 commit", "end v2 abort"])
def test_an_unknown_transactional_id_has_no_producer(request_name: str) -> None:
    assert ask(Harness(), request_name, Producer(1, 0)) is MAPPING


@pytest.mark.parametrize("target", list(TransactionState))
@pytest.mark.parametrize("source", list(TransactionState))
def test_only_the_transitions_of_the_table_can_begin(
    source: TransactionState, target: TransactionState
) -> None:
    def metadata(state: TransactionState) -> TransactionMetadata:
        return TransactionMetadata(producer_id=1, producer_epoch=1, timeout_ms=1, state=state)

    transaction = Transaction("x", metadata(source))
    if source in PREVIOUS_STATES[target]:
        transaction.begin(metadata(target))
        assert transaction.pending == metadata(target)
    else:
        with pytest.raises(AssertionError):
            transaction.begin(metadata(target))


def test_the_transitions_are_those_of_kafka() -> None:
    assert {target: {state.label for state in sources} for target, sources in PREVIOUS_STATES.items()} == {
        EMPTY: {"Empty", "CompleteCommit", "CompleteAbort"},
        ONGOING: {"Ongoing", "Empty", "CompleteCommit", "CompleteAbort"},
        PREPARE_COMMIT: {"Ongoing"},
        PREPARE_ABORT: {"Ongoing", "PrepareEpochFence", "Empty", "CompleteCommit", "CompleteAbort"},
        COMPLETE_COMMIT: {"PrepareCommit"},
        COMPLETE_ABORT: {"PrepareAbort"},
        DEAD: {"Empty", "CompleteCommit", "CompleteAbort"},
        FENCE: {"Ongoing"},
    }
