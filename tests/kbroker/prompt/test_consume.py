"""``kbroker consume`` and ``kbroker tail`` against a broker: from where, up to where, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import uuid
from typing import IO

import confluent_kafka
import pytest

from tests.kbroker.prompt.prompt_runs import AtTerminal, Ended, Prompt, interrupt

STAMP = 1_700_000_000_000


@pytest.fixture
def topic(prompt: Prompt) -> str:
    """Two partitions; values 0 to 9 in turn in them, a second apart."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    assert prompt("topics", "create", name, "-p", "2").code == 0
    lines = [
        {"value": str(number), "partition": number % 2, "timestamp": STAMP + number * 1000}
        for number in range(10)
    ]
    given = "\n".join(map(json.dumps, lines)).encode()
    assert prompt("produce", name, "--json", given=given).code == 0
    return name


def values(ended: Ended) -> list[int]:
    assert (ended.code, ended.err) == (0, "")
    return [int(line) for line in ended.lines]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--until latest", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}),
        ("--from 3 --until latest", {6, 7, 8, 9}),
        ("--from -1 --until end", {8, 9}),
        ("--from 99 --until end", set()),
        ("--until 2", {0, 1, 2, 3}),
        ("--from 1 --until -1", {2, 3, 4, 5, 6, 7}),
        ("--from @1700000006 --until latest", {6, 7, 8, 9}),
        ("--from 2023-11-14T22:13:20.001Z --until 2023-11-14T22:13:22Z", {1}),
        ("--from -1m --until latest", set()),
        ("--partition 1 --until latest", {1, 3, 5, 7, 9}),
        ("--partition 0-1 --until latest --isolation uncommitted", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}),
    ],
)
def test_from_and_until(prompt: Prompt, topic: str, words: str, expected: set[int]) -> None:
    ended = prompt("consume", topic, *words.split())
    assert sorted(values(ended)) == sorted(expected)


def test_so_many(prompt: Prompt, topic: str) -> None:
    assert values(prompt("consume", topic, "-p", "0", "-n", "3")) == [0, 2, 4]
    assert values(prompt("consume", topic, "-p", "0", "-n", "3", "--until", "latest")) == [0, 2, 4]


def test_several_topics_and_patterns(prompt: Prompt, topic: str) -> None:
    other = f"{topic}-other"
    assert prompt("produce", other, "--value", "77").code == 0
    assert 77 in values(prompt("consume", f"{topic}*", "--until", "latest"))
    assert len(values(prompt("consume", topic, other, "--until", "latest"))) == 11
    assert prompt("consume", topic, "nosuch", "--until", "latest").err.startswith(
        "kbroker consume: no topic 'nosuch'"
    )
    assert prompt("consume", topic, "-p", "5").err == (
        f"kbroker consume: {topic} has partitions 0 to 1, and no partition 5\n"
    )


def test_formats(prompt: Prompt, topic: str) -> None:
    first = ["consume", topic, "-p", "0", "-n", "1"]
    assert json.loads(prompt(*first, "--json").out) == {
        "topic": topic,
        "partition": 0,
        "offset": 0,
        "timestamp": STAMP,
        "key": None,
        "value": "0",
        "headers": [],
    }
    assert prompt(*first, "-F", "pretty").out.startswith(f"{topic}/0@0  2023-11-1")
    assert prompt(*first, "-F", r"{offset}\t{value}").out == "0\t0\n"
    assert prompt(*first, "-F", "{nonsense}").err.startswith("kbroker consume: {nonsense} is no field")


def test_positions_that_make_no_sense(prompt: Prompt, topic: str) -> None:
    ended = prompt("consume", topic, "--from", "yesterday")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("kbroker consume: 'yesterday' is no position; say earliest, latest, ")


def test_the_end_is_found_behind_what_no_consumer_sees(prompt: Prompt) -> None:
    name = f"transactional-{uuid.uuid4().hex[:8]}"
    assert prompt("topics", "create", name, "-p", "2").code == 0
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": prompt.server, "transactional.id": name, "log_level": 0}
    )
    producer.init_transactions(30)
    for number in range(4):
        producer.begin_transaction()
        producer.produce(name, str(number).encode(), partition=0)
        producer.flush(30)
        (producer.commit_transaction if number % 2 == 0 else producer.abort_transaction)(30)
    # Markers lie at the end of partition 0, and nothing in partition 1.
    assert values(prompt("consume", name, "--until", "latest")) == [0, 2]
    every = prompt("consume", name, "--until", "latest", "--isolation", "uncommitted")
    assert values(every) == [0, 1, 2, 3]
    shown = prompt("tail", name, "-n", "2", "--no-follow", "-F", "value")
    assert values(shown) == [0, 2]
    shown = prompt("tail", name, "-n", "3", "--no-follow", "-F", "value")
    assert values(shown) == [0, 2]


def test_a_group_goes_on_where_it_was(prompt: Prompt, topic: str) -> None:
    group = f"{topic}-group"
    first = values(prompt("consume", topic, "--group", group, "-n", "4"))
    assert prompt("groups", group, "--json").json[0]["lag"] == 6
    second = values(prompt("consume", topic, "--group", group, "-n", "6"))
    assert sorted(first + second) == list(range(10))
    assert prompt("groups", group, "--json").json[0]["lag"] == 0


def test_an_interrupt_is_the_end_of_what_has_no_other(prompt: Prompt, topic: str) -> None:
    with prompt.start("consume", topic, "-p", "0", "--from", "-1") as endless:
        assert first_line(endless) == "8\n"
        assert interrupt(endless) == Ended(0, "", "")
    with prompt.start("consume", topic, "-p", "0", "--from", "-1", "-n", "5") as cut_short:
        assert first_line(cut_short) == "8\n"
        assert interrupt(cut_short) == Ended(130, "", "")


def test_records_come_as_they_are_written(prompt: Prompt, topic: str) -> None:
    new = f"{topic}-new"
    with (
        prompt.start("consume", topic, "--from", "-1", "-n", "3") as alone,
        prompt.start("consume", topic, "-g", new, "--from", "latest", "-n", "1") as member,
    ):
        assert {first_line(alone), first_line(alone)} == {"8\n", "9\n"}
        while prompt("groups", new, "--json").out.count('"committed_offset": 5') < 2:
            assert member.poll() is None
        assert prompt("produce", topic, "--value", "new").code == 0
        for one in (alone, member):
            assert first_line(one) == "new\n"
            assert one.communicate(timeout=60) == (b"", b"")
            assert one.returncode == 0


def test_a_reader_that_goes_away_ends_it_without_a_word(prompt: Prompt, topic: str) -> None:
    for words in (["consume", topic], ["tail", topic], ["consume", topic, "-g", f"{topic}-g"]):
        with prompt.start(*words) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first_line(process)
            process.stdout.close()  # and no record comes that could not be written
            assert process.stderr.read() == b""
            assert process.wait(60) == 0


def test_a_terminal_gets_colours_unless_somebody_minds(prompt: Prompt, topic: str) -> None:
    words = ["consume", topic, "-p", "0", "-n", "1"]
    for more, environment, coloured in (
        ([], {}, True),
        (["--no-color"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
    ):
        with AtTerminal(prompt, *words, *more, environment=environment) as terminal:
            assert terminal.wait() == 0
            assert terminal.shown.startswith(f"\x1b[36m{topic}/0@0\x1b[0m" if coloured else f"{topic}/0@0  ")
            assert ("\x1b" in terminal.shown) is coloured
    assert "\x1b" not in prompt(*words).out


def test_progress_is_shown_where_the_records_are_not(prompt: Prompt, topic: str) -> None:
    reading, writing = os.pipe()
    with (
        open(reading, "rb") as records,
        AtTerminal(prompt, "consume", topic, "-p", "0", "--until", "5000", stdout=writing) as terminal,
    ):
        os.close(writing)
        assert [records.readline() for _ in range(5)] == [b"0\n", b"2\n", b"4\n", b"6\n", b"8\n"]
        count = 5
        while "\r\x1b[K" not in terminal.look():
            assert prompt("produce", topic, "-p", "0", "--value", "more").code == 0
            assert records.readline() == b"more\n"
            count += 1
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait() == 130
    told = re.search(r"\r\x1b\[K\s+\d+%  (\d+) records  ", terminal.shown)
    assert told is not None and 5 <= int(told[1]) <= count
    assert terminal.shown.endswith("\r\x1b[K")


# tail


def test_the_last_records_come_in_order_of_time(prompt: Prompt, topic: str) -> None:
    last = ["tail", topic, "--no-follow", "-F", "value"]
    assert values(prompt(*last, "-n", "3")) == [7, 8, 9]
    assert values(prompt(*last, "-n", "3", "--each")) == [4, 5, 6, 7, 8, 9]
    assert values(prompt(*last, "-n", "0")) == []
    assert values(prompt(*last, "-p", "1", "-n", "2")) == [7, 9]
    assert values(prompt(*last)) == list(range(10))


def test_tail_follows_and_finds_new_topics_and_partitions(prompt: Prompt, topic: str) -> None:
    new = f"{topic}-new"
    with prompt.start("tail", f"{topic}*", "-n", "1", "-F", "{topic} {partition} {value}") as process:
        assert first_line(process) == f"{topic} 1 9\n"
        assert prompt("produce", topic, "-p", "0", "--value", "followed").code == 0
        assert first_line(process) == f"{topic} 0 followed\n"
        assert prompt("produce", new, "-p", "1", "--value", "a new topic").code == 0
        assert first_line(process) == f"{new} 1 a new topic\n"
        assert prompt("topics", "alter", topic, "-p", "3").code == 0
        assert prompt("produce", topic, "-p", "2", "--value", "a new partition").code == 0
        assert first_line(process) == f"{topic} 2 a new partition\n"
        assert prompt("topics", "delete", new, "--yes").code == 0
        assert prompt("topics", "create", new).code == 0
        assert prompt("produce", new, "-p", "1", "--value", "created again").code == 0
        assert first_line(process) == f"{new} 1 created again\n"
        assert prompt("produce", topic, "-p", "0", "--value", "still there").code == 0
        assert first_line(process) == f"{topic} 0 still there\n"
        assert interrupt(process) == Ended(0, "", "")


def test_tail_waits_for_what_a_pattern_may_come_to_mean(prompt: Prompt, topic: str) -> None:
    with prompt.start("tail", f"{topic}.later*", "--json") as process:
        assert prompt("produce", f"{topic}.later", "--value", "x").code == 0
        assert json.loads(first_line(process))["value"] == "x"
        assert interrupt(process).code == 0
    assert prompt("tail", f"{topic}.never*", "--no-follow").err.startswith("kbroker tail: no topic matches")
    assert prompt("tail", f"{topic}.never").err.startswith("kbroker tail: no topic ")


def test_tail_is_for_eyes_also_in_a_pipe(prompt: Prompt, topic: str) -> None:
    ended = prompt("tail", topic, "-n", "1", "--no-follow")
    assert ended.out.startswith(f"{topic}/1@4  2023-11-1")


def first_line(process: subprocess.Popen[bytes]) -> str:
    """What it prints next."""
    stdout: IO[bytes] | None = process.stdout
    assert stdout is not None
    line = stdout.readline().decode()
    assert line, process.communicate(timeout=60)
    return line
