"""The checker finds every kind of anomaly that it looks for, and nothing in a clean history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kill.checker import anomalies
from tests.kill.history import Commit, History, Place, Seen, Session


def clean() -> History:
    values = [b"a", b"b", b"c"]
    log = [Seen(Place(0, offset), value) for offset, value in enumerate(values)]
    return History(
        sent=dict.fromkeys(values, 0),
        acknowledged={seen.value: seen.place for seen in log},
        sessions=[
            Session([log[0], Commit(0, 1), log[1]]),
            Session([log[1], log[2], Commit(0, 3)]),
        ],
        committed={0: 3},
        log=log,
    )


def test_a_clean_history() -> None:
    assert anomalies(clean()) == []


def test_an_unacknowledged_record_may_be_there_or_not() -> None:
    history = clean()
    history.sent[b"d"] = 0
    assert anomalies(history) == []
    history.log.append(Seen(Place(0, 3), b"d"))
    assert anomalies(history) == []


def refuse(history: History) -> None:
    history.refused[b"x"] = "timed out"


def lose(history: History) -> None:
    del history.log[2]
    del history.sessions[1].events[1]


def replace(history: History) -> None:
    history.sent[b"d"] = 0
    history.log[2] = Seen(Place(0, 2), b"d")
    del history.sessions[1].events[1]


def duplicate(history: History) -> None:
    history.log.append(Seen(Place(0, 3), b"c"))


def invent(history: History) -> None:
    history.log.append(Seen(Place(0, 3), b"x"))


def misroute(history: History) -> None:
    history.sent[b"d"] = 0
    history.log.append(Seen(Place(1, 0), b"d"))


def reorder(history: History) -> None:
    history.sent = dict.fromkeys([b"a", b"c", b"b"], 0)


def leave_a_gap(history: History) -> None:
    history.sent[b"e"] = 0
    history.log.append(Seen(Place(0, 4), b"e"))


def change_under_the_consumer(history: History) -> None:
    history.sessions[0].events.append(Seen(Place(0, 2), b"other"))


def go_back(history: History) -> None:
    history.sessions[1].events.insert(0, Seen(Place(0, 0), b"a"))


def skip(history: History) -> None:
    del history.sessions[1].events[1]
    history.sessions[0].events.append(Seen(Place(0, 1), b"b"))


def lose_a_commit(history: History) -> None:
    history.committed = {0: 1}


@pytest.mark.parametrize(
    ("plant", "finding"),
    [
        (refuse, "refused"),
        (lose, "lost:"),
        (replace, "inconsistent offset"),
        (duplicate, "duplicate"),
        (invent, "invented"),
        (misroute, "misrouted"),
        (reorder, "reordered"),
        (leave_a_gap, "gap"),
        (change_under_the_consumer, "inconsistent offset"),
        (go_back, "went back"),
        (skip, "non-monotonic poll"),
        (lose_a_commit, "lost commit"),
    ],
)
def test_a_planted_anomaly_is_found(plant: Callable[[History], None], finding: str) -> None:
    history = clean()
    plant(history)
    found = anomalies(history)
    assert found
    assert all(line.startswith(finding) for line in found), found
