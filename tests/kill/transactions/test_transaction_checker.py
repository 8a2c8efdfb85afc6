"""The checker of transactions finds every kind of anomaly that it looks for, and nothing in a clean history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kill.history import Place as InputPlace
from tests.kill.history import Seen
from tests.kill.transactions.checker import anomalies
from tests.kill.transactions.history import Output, Place, TransactionHistory, Visible


def visible(topic: str, partition: int, offset: int, number: int, transaction: str, size: int) -> Visible:
    return Visible(Place(topic, partition, offset), Output(number, transaction, size))


def clean() -> TransactionHistory:
    """Four numbers from two partitions, transformed by three transactions; one more was aborted."""
    history = TransactionHistory(committed={"a-1", "a-2", "b-1"}, aborted={"b-2"}, left_open={"c-1"})
    for number in range(4):
        value, place = b"%d" % number, InputPlace(number % 2, number // 2)
        history.input.sent[value] = place.partition
        history.input.acknowledged[value] = place
        history.input.log.append(Seen(place, value))
    for topic, shift in (("left", 0), ("right", 1)):
        history.output += [
            visible(topic, shift, 0, 0, "a-1", 2),
            visible(topic, shift, 2, 2, "a-2", 2),
            visible(topic, 1 - shift, 0, 1, "b-1", 4),
            visible(topic, 1 - shift, 1, 3, "b-1", 4),
        ]
    history.seen = history.output[:3]
    history.group_offsets = {0: 2, 1: 2}
    return history


def test_a_clean_history() -> None:
    assert anomalies(clean()) == []


def test_an_unacknowledged_transaction_may_be_visible() -> None:
    history = clean()
    history.committed.remove("a-2")
    assert anomalies(history) == []


def leave_out(history: TransactionHistory) -> None:
    history.output = [record for record in history.output if record.output.transaction != "a-2"]
    history.committed.remove("a-2")
    history.seen = []


def lose_a_transaction(history: TransactionHistory) -> None:
    history.committed.add("a-3")


def write_twice(history: TransactionHistory) -> None:
    history.output += [visible("left", 0, 4, 2, "a-4", 2), visible("right", 1, 4, 2, "a-4", 2)]


def invent(history: TransactionHistory) -> None:
    history.output += [visible("left", 0, 4, 77, "a-4", 1)]


def reorder(history: TransactionHistory) -> None:
    history.output = [
        record._replace(place=record.place._replace(offset=9)) if record.output.number == 0 else record
        for record in history.output
    ]
    history.seen = []


def tear(history: TransactionHistory) -> None:
    history.output = [
        record._replace(output=record.output._replace(size=6))
        if record.output.transaction == "b-1"
        else record
        for record in history.output
    ]
    history.seen = []


def show_an_aborted_one(history: TransactionHistory) -> None:
    history.aborted.add("a-1")


def show_an_open_one(history: TransactionHistory) -> None:
    history.left_open.add("a-1")


def change(history: TransactionHistory) -> None:
    history.seen.append(visible("left", 0, 3, 3, "b-2", 2))


def hang(history: TransactionHistory) -> None:
    history.hanging["left", 0] = (2, 5)


def forget_offsets(history: TransactionHistory) -> None:
    history.group_offsets[1] = 1


def lose_input(history: TransactionHistory) -> None:
    history.input.acknowledged[b"4"] = InputPlace(0, 2)
    history.input.sent[b"4"] = 0


def lose_a_worker(history: TransactionHistory) -> None:
    history.unexpected.append("worker: worker-0, life 1, ended with 4")


@pytest.mark.parametrize(
    ("plant", "finding"),
    [
        (leave_out, "missing: "),
        (lose_a_transaction, "lost: "),
        (write_twice, "duplicate: "),
        (invent, "invented: "),
        (reorder, "reordered: "),
        (tear, "torn: "),
        (show_an_aborted_one, "aborted: "),
        (show_an_open_one, "aborted: "),
        (change, "changed: "),
        (hang, "hanging: "),
        (forget_offsets, "offsets: "),
        (lose_input, "input: lost"),
        (lose_a_worker, "worker: "),
    ],
)
def test_a_planted_anomaly_is_found(plant: Callable[[TransactionHistory], None], finding: str) -> None:
    history = clean()
    plant(history)
    found = anomalies(history)
    assert found
    assert all(line.startswith(finding) for line in found), found
