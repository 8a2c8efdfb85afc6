"""The checker finds every kind of anomaly that it looks for, and nothing in a clean history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.anomalies.checker import Kind, check, report
from tests.anomalies.history import (
    Assigned,
    CommitOffsets,
    FetchOffsets,
    FinalRead,
    HistoryFile,
    Operation,
    Poll,
    Position,
    Record,
    Send,
    Transaction,
    decode,
    encode,
    latest,
    read_history,
)

COMMITTED, UNCOMMITTED = "read_committed", "read_uncommitted"


def send(value: str, **changes: Any) -> Send:
    """Acknowledged; producer p sends a, b, c, ... in this order to partition 0 of topic in."""
    number = ord(value[-1]) - ord("a")
    fields: dict[str, Any] = {
        "process": "p",
        "begun": number,
        "ended": number + 0.5,
        "topic": "in",
        "partition": 0,
        "value": value,
        "outcome": "ok",
        "producer": "p",
        "sequence": number,
    }
    return Send(**{**fields, **changes})


def poll(process: str, at: float, *records: Record, isolation: Any = UNCOMMITTED, **changes: Any) -> Poll:
    return Poll(process=process, begun=at, ended=at + 0.1, isolation=isolation, records=records, **changes)


def final(isolation: Any, *records: Record, end: int, **changes: Any) -> FinalRead:
    topic, partition = records[0][:2]
    fields: dict[str, Any] = {"log_start": 0, "end": end, "high_watermark": end, **changes}
    return FinalRead(topic=topic, partition=partition, isolation=isolation, records=records, **fields)


def record(value: str, offset: int, topic: str = "in", partition: int = 0) -> Record:
    return Record(topic, partition, offset, value)


def output(value: str, transaction: str, offset: int | None, **changes: Any) -> Send:
    return send(
        value, topic="out", producer="w", process="w", transaction=transaction, offset=offset, **changes
    )


def clean() -> list[Operation]:
    """Retries, unknown and failed sends, rebalances, control records between offsets, an aborted transaction.

    in-0: a b c e (d failed, f was never answered and is not there); out-0: at 2 is a commit marker, at 4 one of an
    abort, at 6 another commit.
    """
    out = [record("t1a", 0, "out"), record("t1b", 1, "out"), record("t3e", 5, "out")]
    log = [record("a", 0), record("b", 1), record("c", 2), record("e", 3)]
    return [
        send("a", offset=0),
        send("b", offset=1),
        replace(send("c"), outcome="unknown", ended=None),
        send("c", offset=2, ended=9.0),
        send("d", outcome="failed"),
        send("e", outcome="unknown"),
        send("f", outcome="unknown", ended=None),
        # A consumer with assigned partitions that begins in the middle, and seeks.
        Assigned(process="reader", at=1, positions=(("in", 0, 1),)),
        poll("reader", 2, log[1]),
        poll("reader", 3, log[2], log[3]),
        Assigned(process="reader", at=4, positions=(("in", 0, 0),)),
        poll("reader", 5, *log, positions=(Position("in", 0, 4),)),
        # A group that rebalances: what was not committed is read again.
        Assigned(process="g1", at=1, positions=(("in", 0, None),), group="g"),
        poll("g1", 2, log[0], log[1], group="g"),
        CommitOffsets(
            process="g1", begun=3, ended=3.1, group="g", positions=(Position("in", 0, 1),), outcome="ok"
        ),
        Assigned(process="g1", at=4, group="g"),
        FetchOffsets(process="g2", begun=4, ended=4.1, group="g", positions=(Position("in", 0, 1),)),
        Assigned(process="g2", at=5, positions=(("in", 0, 1),), group="g"),
        poll("g2", 6, log[1], log[2], log[3], group="g"),
        CommitOffsets(
            process="g2", begun=7, ended=7.1, group="g", positions=(Position("in", 0, 4),), outcome="ok"
        ),
        # Consume, transform, produce: t1 commits, t2 aborts, t3 is never answered but took effect, t4 did not.
        poll("w", 10, *log, isolation=COMMITTED, group="workers"),
        *transaction("t1", 0, 1),
        output("t1a", "t1", 0),
        output("t1b", "t1", 1),
        *transaction("t2", 2, outcome="aborted"),
        output("t2c", "t2", 3),
        *transaction("t4", 2, 3, outcome="unknown"),
        output("t4d", "t4", None, outcome="unknown"),
        *transaction("t3", 2, 3, outcome="unknown"),
        output("t3e", "t3", 5, outcome="unknown"),
        poll("audit", 15, *out[:2], isolation=COMMITTED),
        poll("audit", 21, out[2], isolation=COMMITTED),
        poll("dirty", 16, *out[:2], record("t2c", 3, "out"), out[2]),
        FetchOffsets(
            process="end", begun=30, ended=31, group="workers", positions=(Position("in", 0, 4),), final=True
        ),
        FetchOffsets(
            process="end", begun=30, ended=31, group="g", positions=(Position("in", 0, 4),), final=True
        ),
        final(UNCOMMITTED, *log, end=4),
        final(COMMITTED, *log, end=4),
        final(COMMITTED, *out, end=7),
        final(UNCOMMITTED, *out[:2], record("t2c", 3, "out"), out[2], end=7),
    ]


def transaction(name: str, *inputs: int, outcome: Any = "committed") -> list[Operation]:
    """As it is recorded: when it begins, before its commit, at its end."""
    number = int(name[1:])
    begun = Transaction(id=name, process="w", begun=10 + number, ended=None, outcome="open", group="workers")
    committing = replace(
        begun,
        outcome="unknown",
        commit_begun=10.5 + number,
        inputs=tuple(Position("in", 0, offset) for offset in inputs),
    )
    if outcome == "unknown":
        return [begun, committing]
    return [begun, committing, replace(committing, outcome=outcome, ended=11.0 + number)]


History = list[Operation]


def index(history: History, kind: type[Operation], **wanted: Any) -> int:
    """Where the last operation of a kind with these fields is."""
    return max(
        at
        for at, operation in enumerate(history)
        if isinstance(operation, kind)
        and all(getattr(operation, name) == value for name, value in wanted.items())
    )


def change(history: History, kind: type[Operation], changes: dict[str, Any], **wanted: Any) -> None:
    at = index(history, kind, **wanted)
    history[at] = replace(history[at], **changes)


def everywhere(history: History, edit: Callable[[Record], Record | None], topic: str = "in") -> None:
    """Change, or with None remove, the records of a topic in everything that anybody read."""
    for at, operation in enumerate(history):
        if isinstance(operation, Poll | FinalRead):
            edited = (edit(each) if each.topic == topic else each for each in operation.records)
            records = tuple(each for each in edited if each is not None)
            history[at] = replace(operation, records=records)


def without(value: str) -> Callable[[Record], Record | None]:
    return lambda each: None if each.value == value else each


def test_a_clean_history() -> None:
    assert report(check(clean())) == "no anomalies"


def lose_in_the_middle(history: History) -> None:
    everywhere(history, without("b"))


def lose_the_end(history: History) -> None:
    everywhere(history, without("c"))
    everywhere(history, without("e"))
    for at, operation in enumerate(history):
        if isinstance(operation, FinalRead) and operation.topic == "in":
            history[at] = replace(operation, end=2, high_watermark=2)


def lose_a_committed_output(history: History) -> None:
    everywhere(history, without("t1a"), "out")
    everywhere(history, without("t1b"), "out")


def lose_a_committed_output_without_acknowledgement(history: History) -> None:
    lose_a_committed_output(history)
    change(history, Send, {"outcome": "unknown"}, value="t1a")
    change(history, Send, {"outcome": "unknown"}, value="t1b")


def vanish(history: History) -> None:
    for isolation in (COMMITTED, UNCOMMITTED):
        kept = (record("a", 0), record("b", 1), record("c", 2))
        change(history, FinalRead, {"records": kept}, topic="in", isolation=isolation)


def duplicate(history: History) -> None:
    for isolation in (COMMITTED, UNCOMMITTED):
        at = index(history, FinalRead, topic="in", isolation=isolation)
        found = history[at]
        assert isinstance(found, FinalRead)
        history[at] = replace(found, records=(*found.records, record("b", 4)), end=5, high_watermark=5)


def acknowledge_another_offset(history: History) -> None:
    change(history, Send, {"offset": 7}, value="b")


def see_another_value(history: History) -> None:
    change(history, Send, {"sequence": None}, value="f")
    change(history, Poll, {"records": (record("f", 1),)}, process="reader", begun=2)


def acknowledge_an_offset_twice(history: History) -> None:
    change(history, Send, {"outcome": "ok", "offset": 3}, value="f")


def invent(history: History) -> None:
    everywhere(history, lambda each: record("x", 3) if each.offset == 3 else each)


def misroute(history: History) -> None:
    change(history, Send, {"partition": 1}, value="e")


def show_a_failed_send(history: History) -> None:
    change(history, Send, {"outcome": "failed"}, value="e")


def show_an_aborted_record_to_a_poll(history: History) -> None:
    change(history, Poll, {"records": (record("t2c", 3, "out"),)}, process="audit", begun=21)


def abort_what_is_visible(history: History) -> None:
    change(history, Transaction, {"outcome": "aborted"}, id="t3")


def show_a_transaction_that_nobody_ended(history: History) -> None:
    change(history, Transaction, {"outcome": "open"}, id="t3")


def show_it_before_its_commit(history: History) -> None:
    change(history, Transaction, {"commit_begun": 21.2}, id="t3")


def go_back(history: History) -> None:
    change(history, Poll, {"records": (record("c", 2), record("b", 1))}, process="reader", begun=3)


def stand_behind(history: History) -> None:
    change(history, Poll, {"positions": (Position("in", 0, 2),)}, process="reader", begun=5)


def reorder(history: History) -> None:
    change(history, Send, {"sequence": 9}, value="a")


def reorder_far_apart(history: History) -> None:
    change(history, Send, {"sequence": -1}, value="e")


def pass_over(history: History) -> None:
    change(history, Poll, {"records": (record("a", 0), record("e", 3))}, process="reader", begun=5)


def pass_over_between_polls(history: History) -> None:
    change(history, Poll, {"records": (record("e", 3),)}, process="reader", begun=3)


def pass_over_at_the_beginning(history: History) -> None:
    change(history, Assigned, {"positions": (("in", 0, 0),)}, process="reader", at=1)


def pass_over_at_the_end(history: History) -> None:
    change(history, Poll, {"records": (record("a", 0),)}, process="reader", begun=5)


def pass_over_committed_output(history: History) -> None:
    change(history, Poll, {"records": (record("t1a", 0, "out"),)}, process="audit", begun=15)


def commit_what_nobody_got(history: History) -> None:
    change(history, Assigned, {"positions": (("in", 0, 3),)}, process="g2", at=5)
    change(history, Poll, {"records": (record("e", 3),)}, process="g2")


def tear(history: History) -> None:
    everywhere(history, without("t1a"), "out")
    change(history, Send, {"outcome": "unknown"}, value="t1a")


def tear_an_unanswered_one(history: History) -> None:
    history.append(output("t3f", "t3", None, outcome="unknown"))


def tear_offsets_from_output(history: History) -> None:
    change(history, FetchOffsets, {"positions": (Position("in", 0, 2),)}, group="workers")


def hang(history: History) -> None:
    change(history, FinalRead, {"end": 6}, topic="out", isolation=COMMITTED)


def consume_twice(history: History) -> None:
    change(history, Transaction, {"inputs": (Position("in", 0, 1), Position("in", 0, 2))}, id="t3")
    change(history, Transaction, {"inputs": (Position("in", 0, 3),), "outcome": "committed"}, id="t4")
    everywhere(history, lambda each: record("t4d", 5, "out") if each.value == "t3e" else each, "out")
    history[:] = [each for each in history if not (isinstance(each, Send) and each.value == "t3e")]
    change(history, Transaction, {"outcome": "committed"}, id="t3")


def consume_nothing(history: History) -> None:
    change(history, Transaction, {"inputs": (Position("in", 0, 2),)}, id="t3")


def regress_a_commit(history: History) -> None:
    history.append(
        CommitOffsets(
            process="g1", begun=8, ended=8.1, group="g", positions=(Position("in", 0, 1),), outcome="ok"
        )
    )


def regress_what_is_fetched(history: History) -> None:
    change(history, FetchOffsets, {"positions": (Position("in", 0, 3),)}, group="g")


def regress_a_transaction(history: History) -> None:
    history.append(
        FetchOffsets(process="x", begun=12.2, ended=12.3, group="workers", positions=(Position("in", 0, 1),))
    )


def read_the_end_backwards(history: History) -> None:
    at = index(history, FinalRead, topic="in", isolation=COMMITTED)
    found = history[at]
    assert isinstance(found, FinalRead)
    history[at] = replace(found, records=found.records[::-1])


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (lose_in_the_middle, {Kind.LOST_WRITE}),
        (lose_the_end, {Kind.LOST_WRITE}),
        (lose_a_committed_output, {Kind.LOST_WRITE}),
        (lose_a_committed_output_without_acknowledgement, {Kind.LOST_WRITE}),
        (vanish, {Kind.VANISHED}),
        (duplicate, {Kind.DUPLICATE}),
        (acknowledge_another_offset, {Kind.DUPLICATE}),
        (see_another_value, {Kind.INCONSISTENT_OFFSET}),
        (acknowledge_an_offset_twice, {Kind.INCONSISTENT_OFFSET, Kind.LOST_WRITE}),
        (invent, {Kind.PHANTOM}),
        (misroute, {Kind.PHANTOM}),
        (show_a_failed_send, {Kind.FAILED_WRITE}),
        (show_an_aborted_record_to_a_poll, {Kind.ABORTED_READ, Kind.VANISHED}),
        (abort_what_is_visible, {Kind.ABORTED_READ, Kind.NOT_CONSUMED}),
        (show_a_transaction_that_nobody_ended, {Kind.ABORTED_READ, Kind.NOT_CONSUMED}),
        (show_it_before_its_commit, {Kind.ABORTED_READ}),
        (go_back, {Kind.NON_MONOTONIC_POLL}),
        (stand_behind, {Kind.NON_MONOTONIC_POLL}),
        (read_the_end_backwards, {Kind.NON_MONOTONIC_POLL}),
        (reorder, {Kind.NON_MONOTONIC_SEND}),
        (reorder_far_apart, {Kind.NON_MONOTONIC_SEND}),
        (pass_over, {Kind.UNSEEN}),
        (pass_over_between_polls, {Kind.UNSEEN}),
        (pass_over_at_the_beginning, {Kind.UNSEEN}),
        (pass_over_at_the_end, {Kind.UNSEEN}),
        (pass_over_committed_output, {Kind.UNSEEN}),
        (commit_what_nobody_got, {Kind.UNSEEN}),
        (tear, {Kind.TORN_TRANSACTION}),
        (tear_an_unanswered_one, {Kind.TORN_TRANSACTION}),
        (tear_offsets_from_output, {Kind.TORN_TRANSACTION}),
        (hang, {Kind.HANGING_TRANSACTION}),
        (consume_twice, {Kind.CONSUMED_TWICE}),
        (consume_nothing, {Kind.NOT_CONSUMED}),
        (regress_a_commit, {Kind.COMMIT_REGRESS}),
        (regress_what_is_fetched, {Kind.COMMIT_REGRESS}),
        (regress_a_transaction, {Kind.COMMIT_REGRESS}),
    ],
)
def test_a_planted_anomaly_is_found_and_explained(plant: Callable[[History], None], kinds: set[Kind]) -> None:
    history = clean()
    plant(history)
    found = check(history)
    assert {anomaly.kind for anomaly in found} == kinds, report(found)
    assert all(anomaly.operations for anomaly in found)
    assert all(str(operation) in report(found) for operation in found[0].operations)


def test_retention_loses_nothing() -> None:
    history = clean()
    for at, operation in enumerate(history):
        if isinstance(operation, FinalRead) and operation.topic == "in":
            history[at] = replace(operation, log_start=2, records=operation.records[2:])
    assert check(history) == []


def test_without_acks_all_an_acknowledged_record_may_be_lost_and_its_offset_used_again() -> None:
    history = [*clean(), send("g", offset=3, acks_all=False)]
    assert check(history) == []


def test_without_idempotence_a_retry_may_overtake() -> None:
    history = clean()
    change(history, Send, {"sequence": None}, value="a")
    change(history, Send, {"sequence": None}, value="e")
    assert check(history) == []


def test_read_uncommitted_alone_judges_what_certainly_is_visible() -> None:
    history = [each for each in clean() if not (isinstance(each, FinalRead) and each.isolation == COMMITTED)]
    change(history, Transaction, {"outcome": "committed", "ended": 14.0}, id="t3")
    assert check(history) == []
    pass_over_committed_output(history)
    assert {anomaly.kind for anomaly in check(history)} == {Kind.UNSEEN}


def test_an_unknown_commit_without_output_to_look_for_may_have_consumed() -> None:
    history = [*clean(), *transaction("t5", 2, 3, outcome="unknown")]
    consume_nothing(history)
    assert check(history) == []


def test_replicas_that_differ_are_inconsistent() -> None:
    history = [*clean(), final(UNCOMMITTED, record("a", 0), record("c", 1), end=2)]
    assert Kind.INCONSISTENT_OFFSET in {anomaly.kind for anomaly in check(history)}


def test_operations_survive_their_lines() -> None:
    history = clean()
    assert [decode(encode(operation)) for operation in history] == history
    assert {type(operation) for operation in history} == {
        *(Send, Transaction, Assigned, Poll, CommitOffsets, FetchOffsets, FinalRead)
    }


def test_files_of_several_processes_are_one_history(tmp_path: Path) -> None:
    history = clean()
    with HistoryFile(tmp_path / "one") as one, HistoryFile(tmp_path / "two") as two:
        one.write(*history[:7])
        two.write(*history[7:])
    with (tmp_path / "two").open("a") as cut:
        cut.write('{"kind":"Send","proc')
    assert read_history([tmp_path / "one", tmp_path / "two"]) == latest(history)


def test_an_operation_recorded_twice_is_the_later_one_in_the_earlier_ones_place() -> None:
    early, late = replace(send("a"), outcome="unknown", ended=None), send("a", offset=3)
    assert latest([early, send("b"), late]) == [late, send("b")]


@pytest.mark.slow
def test_a_long_history_is_checked_in_little_time() -> None:
    """50,000 records; anything quadratic would take an hour."""
    count = 50_000
    log = tuple(record(f"v{offset}", offset) for offset in range(count))
    sends = [
        replace(send("a"), value=f"v{offset}", sequence=offset, offset=offset) for offset in range(count)
    ]
    polls = [poll("reader", at, *log[at : at + 100]) for at in range(0, count, 100)]
    commits = [
        CommitOffsets(
            process="m", begun=at, ended=at + 1, group="g", positions=(Position("in", 0, at),), outcome="ok"
        )
        for at in range(0, count, 10)
    ]
    assert check([*sends, *polls, *commits, final(UNCOMMITTED, *log, end=count)]) == []
