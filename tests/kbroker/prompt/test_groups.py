"""``kbroker groups`` against a broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import confluent_kafka
import pytest

from tests.kbroker.prompt.prompt_runs import Ended, Prompt


@pytest.fixture
def topic(prompt: Prompt) -> str:
    """Two partitions with ten and five records."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    assert prompt("topics", "create", name, "-p", "2").code == 0
    assert prompt("produce", name, "-p", "0", given=b"x\n" * 10).code == 0
    assert prompt("produce", name, "-p", "1", given=b"x\n" * 5).code == 0
    return name


@pytest.fixture
def group(prompt: Prompt, topic: str) -> str:
    """An empty group that is at 4 in the first partition and has no offset in the second."""
    name = f"g-{topic}"
    assert prompt("groups", "reset", name, "-t", f"{topic}:0", "--to", "4", "--yes").code == 0
    return name


@pytest.fixture
def member(prompt: Prompt, group: str, topic: str) -> Iterator[None]:
    """A member of the group, with both partitions."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": prompt.server,
            "group.id": group,
            "client.id": "reader",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.1)
    yield
    consumer.close()


def row(ended: Ended, *first: str) -> list[str] | None:
    return next((cells for cells in ended.table if cells[: len(first)] == list(first)), None)


def test_groups_are_listed_with_their_lag(prompt: Prompt, group: str) -> None:
    listed = prompt("groups")
    assert listed.table[0] == ["GROUP", "STATE", "MEMBERS", "TOPICS", "LAG"]
    assert row(listed, group) == [group, "Empty", "0", "1", "6"]


def test_an_empty_group_is_described(prompt: Prompt, group: str, topic: str) -> None:
    described = prompt("groups", group)
    assert described.lines[0] == f"{group}  Empty, 0 members, lag 6"
    assert described.table[1:] == [
        ["coordinator", "1"],
        [],
        ["TOPIC", "PARTITION", "COMMITTED", "LATEST", "LAG", "CLIENT"],
        [topic, "0", "4", "10", "6", "-"],
    ]


@pytest.mark.usefixtures("member")
def test_members_are_shown_with_what_they_have(prompt: Prompt, group: str, topic: str) -> None:
    assert row(prompt("groups"), group) == [group, "Stable", "1", "1", "6"]
    described = prompt("groups", group)
    assert described.lines[0] == f"{group}  Stable, 1 member, lag 6"
    member, host = described.table[4][0], described.table[4][2]
    assert member.startswith("reader-")
    assert host == "127.0.0.1"
    assert described.table[4] == [member, "reader", host, "2", "6"]
    assert described.table[7:] == [
        [topic, "0", "4", "10", "6", "reader"],
        [topic, "1", "-", "5", "-", "reader"],
    ]
    (found,) = prompt("groups", group, "--json").json
    assert found == {
        "group": group,
        "state": "Stable",
        "topics": [topic],
        "lag": 6,
        "coordinator": 1,
        "assignor": "range",
        "members": [
            {
                "member_id": member,
                "instance_id": None,
                "client_id": "reader",
                "host": "/127.0.0.1",
                "partitions": [{"topic": topic, "partition": 0}, {"topic": topic, "partition": 1}],
                "lag": 6,
            }
        ],
        "partitions": [
            {
                "topic": topic,
                "partition": 0,
                "committed_offset": 4,
                "latest_offset": 10,
                "lag": 6,
                "member_id": member,
            },
            {
                "topic": topic,
                "partition": 1,
                "committed_offset": None,
                "latest_offset": 5,
                "lag": None,
                "member_id": member,
            },
        ],
    }


@pytest.mark.usefixtures("member")
def test_a_group_with_members_is_left_alone(prompt: Prompt, group: str, topic: str) -> None:
    assert prompt("groups", "reset", group, "-t", topic, "--to", "latest", "--yes") == Ended(
        1,
        "",
        f"kbroker groups: group {group} has 1 member, which would set the offsets again; stop them first\n",
    )
    ended = prompt("groups", "delete", group, "--yes")
    assert ended.code == 1
    assert ended.err.startswith(f"kbroker groups: {group}: ")
    assert ended.err.endswith("(NON_EMPTY_GROUP)\n")


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--to earliest", [["0", "4", "0", "-4", "10"], ["1", "-", "0", "-", "5"]]),
        ("--to latest", [["0", "4", "10", "+6", "0"], ["1", "-", "5", "-", "0"]]),
        ("--to 7", [["0", "4", "7", "+3", "3"], ["1", "-", "5", "-", "0"]]),
        ("--to -2", [["0", "4", "8", "+4", "2"], ["1", "-", "3", "-", "2"]]),
        ("--to -1d", [["0", "4", "0", "-4", "10"], ["1", "-", "0", "-", "5"]]),
    ],
)
def test_what_would_change_is_shown_and_changed_when_said_so(
    prompt: Prompt, group: str, topic: str, words: str, changes: list[list[str]]
) -> None:
    command = ["groups", "reset", group, "-t", topic, *words.split()]
    dry = prompt(*command)
    assert (dry.code, dry.err) == (0, "nothing was changed; add --yes to do it\n")
    assert [line.split()[1:] for line in dry.lines[1:]] == changes
    assert prompt("groups", group, "--json").json[0]["partitions"][0]["committed_offset"] == 4
    assert prompt(*command, "--yes") == Ended(0, dry.out, "")
    after = prompt("groups", group, "--json").json[0]["partitions"]
    assert [str(one["committed_offset"]) for one in after] == [change[2] for change in changes]


def test_offsets_are_shifted_within_what_there_is(prompt: Prompt, group: str) -> None:
    shift = ["groups", "reset", group, "--all-topics", "--json", "--shift-by"]
    (change,) = prompt(*shift, "-3").json["partitions"]
    assert (change["from"], change["to"]) == (4, 1)
    (change,) = prompt(*shift, "-30").json["partitions"]
    assert change["to"] == 0
    done = prompt(*shift, "3", "--yes").json
    assert done["changed"] is True
    assert prompt("groups", group, "--json").json[0]["partitions"][0]["committed_offset"] == 7


def test_what_cannot_be_reset(prompt: Prompt, group: str, topic: str) -> None:
    assert prompt("groups", "reset", group, "-t", topic, "--shift-by", "1").err == (
        f"kbroker groups: {topic}/1 has no committed offset to shift; say --to\n"
    )
    assert prompt("groups", "reset", "new-one", "--all-topics", "--to", "latest").err == (
        "kbroker groups: group new-one has no offsets of any topic; name one with --topic\n"
    )
    assert prompt("groups", "reset", group, "-t", f"{topic}:5", "--to", "latest").err == (
        f"kbroker groups: {topic} has partitions 0 to 1, and no partition 5\n"
    )
    assert prompt("groups", "reset", group, "-t", "nosuch", "--to", "latest").err.startswith(
        "kbroker groups: no topic 'nosuch'"
    )
    assert prompt("groups", "reset", group, "-t", topic, "--to", "soon").err.startswith(
        "kbroker groups: 'soon' is no position"
    )


def test_groups_are_deleted_when_said_so(prompt: Prompt, group: str) -> None:
    assert prompt("groups", "delete", group) == Ended(
        1, "", f"kbroker groups: add --yes to delete {group} with all committed offsets\n"
    )
    assert prompt("groups", "delete", group, "--yes") == Ended(0, f"deleted {group}\n", "")
    # What follows depends on how alike the names of other cases' groups happen to be.
    assert prompt("groups", group).err.startswith(f"kbroker groups: no group '{group}'; ")
    assert prompt("groups", "xyz").err == ("kbroker groups: no group 'xyz'; `kbroker groups` lists them\n")


def test_a_name_that_is_nearly_right(prompt: Prompt, group: str) -> None:
    for words in (["groups", group + "x"], ["groups", "delete", group + "x", "--yes"]):
        assert prompt(*words) == Ended(
            1, "", f"kbroker groups: no group '{group}x'; did you mean '{group}'?\n"
        )


def test_a_group_whose_topic_is_gone(prompt: Prompt, group: str, topic: str) -> None:
    described = prompt("groups", group, "--json").json
    assert prompt("topics", "delete", topic, "--yes").code == 0
    after = prompt("groups", group)
    if "no group" in after.err:  # with the last offset the group went, too
        return
    assert described[0]["lag"] == 6
    assert after.code == 0
