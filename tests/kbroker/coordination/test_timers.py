"""TimerQueue: every timer fires once, at its last deadline, whatever was moved or cancelled before."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from kbroker.coordination.timers import TimerQueue


def fired(queue: TimerQueue, now: float) -> list[object]:
    events = []
    while (timer := queue.pop_due(now)) is not None:
        events.append(timer.event)
    return events


def test_in_order_of_deadlines() -> None:
    queue = TimerQueue()
    queue.schedule("o", "b", 2.0, "second")
    queue.schedule("o", "a", 1.0, "first")
    assert queue.next_deadline() == 1.0
    assert fired(queue, 0.9) == []
    assert fired(queue, 2.0) == ["first", "second"]
    assert queue.next_deadline() == inf


def test_moved_later_fires_once() -> None:
    queue = TimerQueue()
    queue.schedule("o", "a", 1.0, "old")
    assert queue.schedule("o", "a", 5.0, "new") is False
    assert fired(queue, 4.9) == []
    assert fired(queue, 5.0) == ["new"]
    assert len(queue) == 0


def test_moved_earlier_fires_once() -> None:
    queue = TimerQueue()
    queue.schedule("o", "a", 5.0, "old")
    assert queue.schedule("o", "a", 1.0, "new") is True
    assert fired(queue, 10.0) == ["new"]


def test_moved_later_and_earlier_again() -> None:
    queue = TimerQueue()
    queue.schedule("o", "a", 2.0, "first")
    queue.schedule("o", "a", 9.0, "second")
    queue.schedule("o", "a", 5.0, "third")
    assert fired(queue, 4.9) == []
    assert fired(queue, 5.0) == ["third"]


def test_the_driver_is_told_about_a_new_first_timer_only() -> None:
    queue = TimerQueue()
    assert queue.schedule("o", "a", 5.0, None) is True
    assert queue.schedule("o", "b", 6.0, None) is False
    assert queue.schedule("o", "c", 4.0, None) is True


def test_cancelled() -> None:
    queue = TimerQueue()
    queue.schedule("o", "a", 1.0, "a")
    queue.schedule("p", "a", 1.0, "b")
    queue.cancel("o", "a")
    queue.cancel("o", "a")
    queue.cancel("nobody", "a")
    assert fired(queue, 1.0) == ["b"]


def test_all_timers_of_one_owner() -> None:
    queue = TimerQueue()
    queue.schedule("o", "a", 1.0, "a")
    queue.schedule("o", "b", 1.0, "b")
    queue.schedule("p", "a", 1.0, "c")
    queue.cancel_all("o")
    queue.cancel_all("nobody")
    assert fired(queue, 1.0) == ["c"]


def test_the_dead_do_not_pile_up() -> None:
    queue = TimerQueue()
    for index in range(10_000):
        queue.schedule("o", index, 1000.0 + index, None)
        queue.cancel("o", index)
    assert len(queue) == 0
    assert len(queue._heap) < 100


def test_order_survives_a_great_many_cancellations() -> None:
    queue = TimerQueue()
    for index in range(400):
        queue.schedule("o", index, float(index * 7919 % 400), index)
    for index in range(350):
        queue.cancel("o", index)
    deadlines = [index * 7919 % 400 for index in fired(queue, inf)]  # type: ignore[operator]
    assert deadlines == sorted(deadlines)
    assert len(deadlines) == 50


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 8)),
    ),
    max_size=40,
)


@given(STEPS)
def test_against_a_plain_dictionary(steps: list[tuple[str, int, int]]) -> None:
    queue, model, now = TimerQueue(), {}, 0
    for name, key, number in steps:
        if name == "set":
            queue.schedule("o", key, now + number, key)
            model[key] = now + number
        elif name == "cancel":
            queue.cancel("o", key)
            model.pop(key, None)
        else:
            now += number
            due = sorted(model.items(), key=lambda item: item[1])
            due = [(key, deadline) for key, deadline in due if deadline <= now]
            events = fired(queue, now)
            assert sorted(map(str, events)) == sorted(str(key) for key, _ in due)
            assert [model[event] for event in events] == [deadline for _, deadline in due]  # type: ignore[index]
            for key, _ in due:
                del model[key]
        assert len(queue) == len(model)
        assert queue.next_deadline() <= min(model.values(), default=inf)
