"""``kbroker produce`` against a broker: what arrives, and what is said of what does not."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.broker_process import BrokerProcess
from tests.kbroker.prompt.prompt_runs import AtTerminal, Ended, Prompt, interrupt


@pytest.fixture
def topic(prompt: Prompt) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    assert prompt("topics", "create", name, "-p", "3").code == 0
    return name


def records(prompt: Prompt, topic: str) -> list[dict[str, Any]]:
    """Everything in the topic, partition by partition."""
    ended = prompt("consume", topic, "--until", "latest", "--json")
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.lines]
    return sorted(found, key=lambda record: (record["partition"], record["offset"]))


def test_each_line_is_a_record(prompt: Prompt, topic: str) -> None:
    assert prompt("produce", topic, "-p", "2", given=b"one\r\n\ntwo \nlast") == Ended(0, "", "")
    assert [record["value"] for record in records(prompt, topic)] == ["one", "", "two ", "last"]


def test_keys_headers_and_partitions(prompt: Prompt, topic: str) -> None:
    words = ["--key-separator", "::", "-H", "a=b=c", "-H", "a=", "-z", "zstd"]
    assert prompt("produce", topic, *words, given=b"k1::v1\nk2::v::2\n::empty key\n").code == 0
    found = records(prompt, topic)
    assert {(record["key"], record["value"]) for record in found} == {
        ("k1", "v1"),
        ("k2", "v::2"),
        ("", "empty key"),
    }
    headers = [{"name": "a", "value": "b=c"}, {"name": "a", "value": ""}]
    assert all(record["headers"] == headers for record in found)
    again = prompt("produce", topic, "--key", "k1", "--value", "v3")
    assert again.code == 0
    of_key = [record for record in records(prompt, topic) if record["key"] == "k1"]
    assert len({record["partition"] for record in of_key}) == 1
    assert [record["value"] for record in of_key] == ["v1", "v3"]


def test_one_record_and_tombstones(prompt: Prompt, topic: str) -> None:
    assert prompt("produce", topic, "--value", "two\nlines", "-p", "0").code == 0
    assert prompt("produce", topic, "--key", "k", "--tombstone", "-p", "0").code == 0
    typed = os.fsdecode(b"\xff")  # what a shell passes on that is no text
    assert prompt("produce", topic, "--key", typed, "--value", typed, "-p", "0").code == 0
    assert [(record["key"], record["value"]) for record in records(prompt, topic)] == [
        (None, "two\nlines"),
        ("k", None),
        ({"base64": "/w=="}, {"base64": "/w=="}),
    ]


def test_a_file_and_a_file_that_is_not_there(prompt: Prompt, topic: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"\xff\xfe\nx")
    assert prompt("produce", topic, "-p", "0", "-f", str(tmp_path / "lines")).code == 0
    assert [record["value"] for record in records(prompt, topic)] == [{"base64": "//4="}, "x"]
    missing = tmp_path / "missing"
    assert prompt("produce", topic, "-f", str(missing)) == Ended(
        1, "", f"kbroker produce: {missing}: no such file or directory\n"
    )


def test_what_consume_prints_produce_reads(prompt: Prompt, topic: str) -> None:
    lines = [
        {"value": "text", "key": {"base64": "/w=="}, "partition": 2, "timestamp": 1_700_000_000_000},
        {"value": None, "key": "k", "partition": 1, "headers": [{"name": "h", "value": {"base64": "gA=="}}]},
        {"value": {"base64": "AP8="}, "partition": 0},
    ]
    given = b"\n\n".join(json.dumps(line).encode() for line in lines)
    first = prompt("produce", topic, "--json", given=given)
    assert first.json == {"records": 3, "acknowledged": 3, "failed": 0, "unanswered": 0}
    copied = prompt("consume", topic, "--until", "latest", "--json")
    name = f"{topic}-copy"
    assert prompt("topics", "create", name, "-p", "3").code == 0
    assert prompt("produce", name, "--json", given=copied.out.encode()).code == 0
    assert records(prompt, name) == [record | {"topic": name} for record in records(prompt, topic)]
    # Without a topic on the command line it is the one in the record.
    assert prompt("produce", "--json", given=copied.out.encode()).code == 0
    assert len(records(prompt, topic)) == 6
    one = prompt("produce", "bundled", "--json", "--repartition", given=copied.out.encode())
    assert one.code == 0
    assert {record["partition"] for record in records(prompt, "bundled")} <= {0, 1}


def test_a_line_that_is_wrong_ends_it_behind_those_before(prompt: Prompt, topic: str) -> None:
    ended = prompt("produce", topic, "--json", "-p", "0", given=b'{"value": "a"}\n{"valu": "b"}\n')
    assert ended.code == 1
    assert ended.err.startswith("kbroker produce: line 2: 'valu' is no field of a record")
    assert json.loads(ended.out)["acknowledged"] == 1
    ended = prompt("produce", topic, "-K", ":", "-p", "0", given=b"k:v\nnothing\nk:v\n")
    assert ended == Ended(1, "", "kbroker produce: line 2: no ':' to end a key\n")
    assert [record["value"] for record in records(prompt, topic)] == ["a", "v"]


def test_partitions_and_topics_that_are_not_there(prompt: Prompt, topic: str) -> None:
    assert prompt("produce", topic, "-p", "3", "--value", "x") == Ended(
        1, "", f"kbroker produce: {topic} has partitions 0 to 2, and no partition 3\n"
    )
    assert prompt("produce", "--json", given=b'{"value": "x"}').err == (
        "kbroker produce: line 1: no topic; name one on the command line, or in each record\n"
    )
    created = f"{topic}-created"
    assert prompt("produce", created, "--value", "x").code == 0
    assert len(records(prompt, created)) == 1


def test_what_is_too_large_is_told_and_the_rest_arrives(prompt: Prompt, topic: str) -> None:
    given = b"small\n" + b"x" * 1_100_000 + b"\n" + b"y" * 1_100_000 + b"\nsmall, too\n"
    ended = prompt("produce", topic, "-p", "0", given=given)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("kbroker produce: 2 of 4 records not acknowledged; line 2")
    assert ended.err.endswith("(MESSAGE_TOO_LARGE)\n")
    assert [record["value"] for record in records(prompt, topic)] == ["small", "small, too"]


def test_what_the_broker_refuses_is_told_once(prompt: Prompt) -> None:
    assert prompt("topics", "create", "compacted", "-p", "1", "-c", "cleanup.policy=compact").code == 0
    ended = prompt("produce", "compacted", given=b"without\na key\n")
    assert ended.code == 1
    assert ended.err.startswith("kbroker produce: 2 of 2 records not acknowledged; line 1 and 1 more: ")
    assert ended.err.endswith("(INVALID_RECORD)\n")


def test_what_nobody_answers_to_is_not_acknowledged(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with (
        BrokerProcess(tmp_path, overrides={"num.partitions": 1}) as broker,
        AtTerminal(
            Prompt(broker.start().bootstrap_server),
            *("produce", "t", "--timeout", "2", "--no-color"),
            stdin=reading,
        ) as terminal,
    ):
        os.close(reading)
        os.write(writing, b"first\n")
        terminal.wait_for("\r\x1b[K1 record  ")  # acknowledged
        broker.kill()
        os.write(writing, b"second\n")
        os.close(writing)
        assert terminal.wait() == 1
        *_, last = terminal.shown.splitlines()
        assert last.startswith("kbroker produce: 1 of 2 records not acknowledged; line 2: ")


def test_an_interrupt_leaves_what_was_typed_acknowledged(prompt: Prompt, topic: str) -> None:
    with prompt.start("produce", topic, "-p", "0") as process:
        assert process.stdin is not None
        process.stdin.write(b"typed\nhalf a li")
        process.stdin.flush()
        while not prompt("topics", topic, "--json").json[0]["messages"]:
            assert process.poll() is None
        assert interrupt(process) == Ended(130, "", "")
    assert [record["value"] for record in records(prompt, topic)] == ["typed"]


def test_at_a_terminal_it_says_what_to_do_and_what_was_done(prompt: Prompt, topic: str) -> None:
    with AtTerminal(prompt, "produce", topic, "--no-color") as terminal:
        terminal.wait_for("records, one a line; Ctrl-D ends\n")
        terminal.type("hello\nworld\n\x04")
        assert terminal.wait() == 0
        assert "\n2 records acknowledged, 10 B in " in terminal.shown
    assert {record["value"] for record in records(prompt, topic)} == {"hello", "world"}


def test_progress_is_shown_while_it_takes_long(prompt: Prompt, topic: str) -> None:
    reading, writing = os.pipe()
    with AtTerminal(prompt, "produce", topic, "--no-color", stdin=reading) as terminal:
        os.close(reading)
        os.write(writing, b"one\ntwo\n")
        terminal.wait_for("\r\x1b[K2 records  6 B  ")
        os.close(writing)
        assert terminal.wait() == 0
        assert terminal.shown.rpartition("\r\x1b[K")[2].startswith("2 records acknowledged, 6 B in ")
