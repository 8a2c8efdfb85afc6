"""``kbroker topics`` against a broker."""

from __future__ import annotations

import re
import uuid

import pytest

from kbroker.prompt.positions import Extent
from kbroker.prompt.terminal import Painted
from kbroker.prompt.topic_figures import PartitionFigures, TopicFigures
from kbroker.prompt.topics import _described, _listed
from tests.kbroker.prompt.prompt_runs import Ended, Prompt


@pytest.fixture
def topic(prompt: Prompt) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    assert prompt("topics", "create", name, "-p", "3", "-c", "retention.ms=3600000").code == 0
    return name


def row(ended: Ended, name: str) -> list[str] | None:
    return next((cells for cells in ended.table if cells[:1] == [name]), None)


def test_a_topic_from_creation_to_deletion(prompt: Prompt) -> None:
    created = prompt.process("topics", "create", "my-topic", "--partitions", "6")
    assert created == Ended(0, "created my-topic: 6 partitions, 1 replica\n", "")
    listed = prompt.process("topics")
    assert listed.table[0] == ["TOPIC", "PARTITIONS", "REPLICAS", "UNDER-REPLICATED", "MESSAGES", "SIZE"]
    assert row(listed, "my-topic") == ["my-topic", "6", "1", "0", "0", "0", "B"]
    assert prompt("topics", "delete", "my-topic", "--yes") == Ended(0, "deleted my-topic\n", "")
    assert row(prompt("topics"), "my-topic") is None


def test_figures_are_those_of_the_records(prompt: Prompt, topic: str) -> None:
    assert prompt("produce", topic, "-p", "1", given=b"a\nb\n").code == 0
    size = prompt("topics", topic, "--json").json[0]["partitions"][1]["size_bytes"]
    assert size > 61
    assert row(prompt("topics"), topic) == [topic, "3", "1", "0", "2", str(size), "B"]
    described = prompt("topics", topic)
    assert described.code == 0
    first, second, *rest = described.lines
    assert first == f"{topic}  3 partitions, 1 replica, 2 messages, {size} B"
    assert re.fullmatch("id [A-Za-z0-9_-]{22}", second)
    assert [line.split() for line in rest] == [
        [],
        ["PARTITION", "LEADER", "REPLICAS", "IN", "SYNC", "EARLIEST", "LATEST", "MESSAGES", "SIZE"],
        ["0", "1", "1", "1", "0", "0", "0", "0", "B"],
        ["1", "1", "1", "1", "0", "2", "2", str(size), "B"],
        ["2", "1", "1", "1", "0", "0", "0", "0", "B"],
        [],
        ["SETTING", "VALUE", "FROM"],
        ["retention.ms", "3600000", "(1", "h)", "topic"],
    ]


def test_json_has_it_all(prompt: Prompt, topic: str) -> None:
    (listed,) = [one for one in prompt("topics", "--json").json if one["name"] == topic]
    (described,) = prompt("topics", topic, "--json").json
    assert described["partitions"][0] == {
        "partition": 0,
        "leader": 1,
        "replicas": [1],
        "in_sync_replicas": [1],
        "earliest_offset": 0,
        "latest_offset": 0,
        "messages": 0,
        "size_bytes": 0,
        "disk_bytes": 0,
    }
    assert described["settings"] == {"retention.ms": {"value": "3600000", "source": "DYNAMIC_TOPIC_CONFIG"}}
    assert listed == {key: value for key, value in described.items() if key not in ("partitions", "settings")}
    assert listed["partition_count"] == 3


def test_all_settings_come_when_asked_for(prompt: Prompt, topic: str) -> None:
    settings = prompt("topics", topic, "--all-settings", "--json").json[0]["settings"]
    assert settings["cleanup.policy"] == {"value": "delete", "source": "DEFAULT_CONFIG"}
    assert len(settings) > 20


def test_internal_topics_are_shown_when_asked_for(prompt: Prompt, topic: str) -> None:
    assert prompt("groups", "reset", "some-group", "-t", topic, "--to", "earliest", "--yes").code == 0
    assert row(prompt("topics"), "__consumer_offsets") is None
    assert row(prompt("topics", "--all"), "__consumer_offsets") is not None
    assert prompt("topics", "__consumer_offsets").lines[0].endswith(", internal")
    assert prompt("topics", "delete", "*offsets", "--yes").err.startswith("kbroker topics: no topic matches")


def test_patterns_mean_all_that_match(prompt: Prompt) -> None:
    assert prompt("topics", "create", "p.one", "p.two", "p-three").code == 0
    assert [one["name"] for one in prompt("topics", "p.*", "p-thre?", "--json").json] == [
        "p-three",
        "p.one",
        "p.two",
    ]
    deleted = prompt("topics", "delete", "p.*", "--yes")
    assert deleted == Ended(0, "deleted p.one\ndeleted p.two\n", "")
    assert [one["name"] for one in prompt("topics", "p[.-]*", "--json").json] == ["p-three"]


def test_settings_and_partitions_are_changed(prompt: Prompt, topic: str) -> None:
    changed = prompt(
        "topics", "set", topic, "-c", "cleanup.policy=compact", "--unset", "retention.ms", "-p", "5"
    )
    assert changed == Ended(0, f"changed {topic}\n", "")
    (described,) = prompt("topics", topic, "--json").json
    assert described["partition_count"] == 5
    assert described["settings"] == {"cleanup.policy": {"value": "compact", "source": "DYNAMIC_TOPIC_CONFIG"}}


def test_changes_in_json(prompt: Prompt) -> None:
    (created,) = prompt("topics", "create", "in-json", "--json").json
    assert len(created.pop("id")) == 22
    assert created == {"name": "in-json", "created": True, "partition_count": 2, "replication_factor": 1}
    again = prompt("topics", "create", "in-json", "--if-not-exists", "--json")
    assert again.json == [{"name": "in-json", "created": False}]
    altered = prompt("topics", "alter", "in-json", "-p", "3", "--json")
    assert altered.json == [{"name": "in-json", "changed": True}]
    deleted = prompt("topics", "delete", "in-json", "--yes", "--json")
    assert deleted.json == [{"name": "in-json", "deleted": True}]


def test_what_the_cluster_refuses_is_told_and_the_rest_is_done(prompt: Prompt, topic: str) -> None:
    ended = prompt("topics", "create", "refused!", "fine", topic)
    assert (ended.code, ended.out) == (1, "created fine: 2 partitions, 1 replica\n")
    first, second = ended.err.splitlines()
    assert first.startswith("kbroker topics: refused!: ")
    assert second == f"kbroker topics: {topic}: Topic '{topic}' already exists (TOPIC_ALREADY_EXISTS)"
    assert prompt("topics", "create", topic, "--if-not-exists") == Ended(0, f"{topic} exists already\n", "")
    ended = prompt("topics", "alter", topic, "-p", "1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("(INVALID_PARTITIONS)\n")
    ended = prompt("topics", "alter", topic, "-c", "nonsense=1", "-p", "9")
    assert ended.err.endswith("(INVALID_CONFIG)\n")
    assert prompt("topics", topic, "--json").json[0]["partition_count"] == 3  # not half of what was asked for


def test_names_that_mean_nothing(prompt: Prompt, topic: str) -> None:
    assert prompt("topics", topic[:-1]) == Ended(
        1, "", f"kbroker topics: no topic '{topic[:-1]}'; did you mean '{topic}'?\n"
    )
    assert prompt("topics", "xyzzy") == Ended(
        1, "", "kbroker topics: no topic 'xyzzy'; create it with `kbroker topics create xyzzy`\n"
    )
    assert prompt("topics", "xyz*") == Ended(
        1, "", "kbroker topics: no topic matches 'xyz*'; `kbroker topics` lists them\n"
    )
    ended = prompt("topics", "no/topic")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("kbroker topics: 'no/topic': ")


def test_nothing_is_deleted_unasked(prompt: Prompt, topic: str) -> None:
    ended = prompt("topics", "delete", topic, given=b"y\n")
    assert ended == Ended(1, "", f"kbroker topics: add --yes to delete {topic} with 0 messages\n")
    assert row(prompt("topics"), topic) is not None


def partition(index: int, leader: int | None, in_sync: list[int]) -> PartitionFigures:
    return PartitionFigures(
        index=index,
        leader=leader,
        replicas=[1, 2],
        in_sync=in_sync,
        extent=Extent(0, 1) if leader else None,
        size_bytes=None,
        disk_bytes=None,
    )


@pytest.mark.parametrize(
    ("partitions", "shown"),
    [
        ([partition(0, 1, [1, 2])], Painted("0", "dim")),
        ([partition(0, 1, [1, 2]), partition(1, 1, [1])], Painted("1", "yellow")),
        ([partition(0, 1, [1]), partition(1, None, [2])], Painted("2, 1 offline", "red")),
    ],
)
def test_what_is_not_well_shows(partitions: list[PartitionFigures], shown: Painted) -> None:
    topic = TopicFigures(name="t", topic_id=uuid.UUID(int=0), internal=False, partitions=partitions)
    assert _listed(topic)[3] == shown
    assert (topic.messages is None) == (topic.offline > 0)


def test_a_partition_that_is_not_well_shows() -> None:
    assert _described(partition(3, 1, [1]))[:4] == [3, "1", "1,2", Painted("1", "yellow")]
    assert _described(partition(3, None, []))[:5] == [
        3,
        Painted("none", "red"),
        "1,2",
        Painted("none", "red"),
        None,
    ]
