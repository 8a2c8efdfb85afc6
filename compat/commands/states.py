"""States that the cases of several tools meet."""

from __future__ import annotations

from compat.commands.scene import Scene
from compat.commands.state import FOR_GOOD, Rec, commit, join, new_topic, open_transaction, produce, send

LETTERS = (
    Rec(b"a", b"key-a", (("one", b"1"), ("two", b"2"))),
    Rec(b"b", b"key-b", at_s=1),
    Rec(b"c", None, (("none", None),), at_s=2),
    Rec(None, b"key-d", at_s=3),
    Rec("ä\N{SNOWMAN}".encode(), b"key-e", at_s=4),
    Rec(b"", b"", at_s=5),
)
NUMBERS = tuple(
    Rec(str(number).encode(), partition=number % 3, at_s=60 * number) for number in range(12) if number != 11
)


def records(scene: Scene) -> None:
    """``letters`` has one partition and six records, ``numbers`` three of four, four and three, ``nothing`` none."""
    new_topic(scene, "letters", configs=FOR_GOOD)
    new_topic(scene, "numbers", partitions=3, configs=FOR_GOOD)
    new_topic(scene, "nothing")
    produce(scene, "letters", LETTERS)
    produce(scene, "numbers", NUMBERS)


def groups(scene: Scene) -> None:
    """``idle`` has committed and has no members; ``live`` has two, and offsets of one partition."""
    records(scene)
    commit(scene, "idle", {("letters", 0): 2, ("numbers", 0): 1, ("numbers", 2): 3})
    commit(scene, "live", {("numbers", 1): 2})
    join(scene, "live", "numbers", ["first", "second"])


def idle_group(scene: Scene) -> None:
    """Records, and ``idle`` as in ``groups``."""
    records(scene)
    commit(scene, "idle", {("letters", 0): 2, ("numbers", 0): 1, ("numbers", 2): 3})


def idle_group_of_numbers(scene: Scene) -> None:
    """``numbers``, and the offsets in it that ``idle`` has in ``groups``."""
    new_topic(scene, "numbers", partitions=3, configs=FOR_GOOD)
    produce(scene, "numbers", NUMBERS)
    commit(scene, "idle", {("numbers", 0): 1, ("numbers", 2): 3})


def transactions(scene: Scene) -> None:
    """In ``ledger`` one that was committed, one that was aborted and one that is open (``open``)."""
    new_topic(scene, "ledger", partitions=2, configs=FOR_GOOD)
    producer = open_transaction(scene, "ended", "ledger", [Rec(b"kept", b"k")])
    producer.commit_transaction()
    producer.begin_transaction()
    send(producer, scene, "ledger", [Rec(b"dropped", at_s=1), Rec(b"dropped too", partition=1, at_s=1)])
    producer.abort_transaction()
    scene.broker.keep(open_transaction(scene, "open", "ledger", [Rec(b"undecided", at_s=2)]))
