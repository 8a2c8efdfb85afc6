"""Debian's kcat against the broker, as its users run it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Message, TopicPartition, poll_until

NewTopic = Callable[..., str]
UniqueName = Callable[[str], str]

KCAT = shutil.which("kcat") or shutil.which("kafkacat")
pytestmark = pytest.mark.skipif(KCAT is None, reason="kcat is not installed (Debian package kcat)")


@pytest.fixture
def kcat(bootstrap_server: str) -> Callable[..., str]:
    """Runs kcat with the broker's address and the given arguments; returns what it prints."""

    def run(*arguments: str, stdin: str = "") -> str:
        assert KCAT is not None
        done = subprocess.run(
            [KCAT, "-b", bootstrap_server, *arguments],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_metadata(kcat: Callable[..., str], bootstrap_server: str, new_topic: NewTopic) -> None:
    topic = new_topic(3)
    listed = poll_until(lambda: json.loads(kcat("-L", "-J", "-t", topic)), lambda one: bool(one["topics"]))
    assert [broker["name"] for broker in listed["brokers"]] == [bootstrap_server]
    (described,) = listed["topics"]
    assert [partition["partition"] for partition in described["partitions"]] == [0, 1, 2]
    assert topic in kcat("-L")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_both_ways(
    codec: str, kcat: Callable[..., str], bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic()
    lines = [f"key-{number}:value {number} {'x' * (number % 40)}" for number in range(200)]
    kcat("-P", "-t", topic, "-p", "0", "-z", codec, "-K", ":", stdin="\n".join(lines))
    with ConfluentClient().producer(bootstrap_server, {"compression.type": codec}) as producer:
        producer.send(topic, [Message(b"from elsewhere", b"key")])
    printed = kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-K", ":")
    assert printed.splitlines() == [*lines, "key:from elsewhere"]


def test_automatic_creation(kcat: Callable[..., str], unique_name: UniqueName) -> None:
    topic = unique_name("kcat-automatic")
    kcat("-P", "-t", topic, stdin="one\ntwo\n")
    assert kcat("-C", "-t", topic, "-e", "-q", "-o", "beginning").splitlines() == ["one", "two"]


def test_headers_keys_and_timestamps(
    kcat: Callable[..., str], bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic()
    kcat("-P", "-t", topic, "-K", ":", "-H", "colour=blue", "-H", "size=9", stdin="k:v\n")
    printed = json.loads(kcat("-C", "-t", topic, "-e", "-q", "-J", "-o", "beginning"))
    assert (printed["key"], printed["payload"]) == ("k", "v")
    assert printed["headers"] == ["colour", "blue", "size", "9"]
    assert printed["tstype"] == "create"
    assert printed["ts"] > 1_600_000_000_000


def test_offsets_from_the_end_and_by_time(
    kcat: Callable[..., str], bootstrap_server: str, new_topic: NewTopic
) -> None:
    topic = new_topic()
    base_ms = 1_700_000_000_000
    with ConfluentClient().producer(bootstrap_server) as producer:
        producer.send(
            topic, [Message(b"%d" % number, timestamp_ms=base_ms + number * 1000) for number in range(20)]
        )
    assert kcat("-C", "-t", topic, "-p", "0", "-e", "-q", "-o", "-3").split() == ["17", "18", "19"]
    assert kcat("-C", "-t", topic, "-p", "0", "-e", "-q", "-o", "15").split() == [
        "15",
        "16",
        "17",
        "18",
        "19",
    ]
    assert kcat("-C", "-t", topic, "-p", "0", "-e", "-q", "-o", f"s@{base_ms + 17_500}").split() == [
        "18",
        "19",
    ]
    assert re.search(r"offset 7\b", kcat("-Q", "-t", f"{topic}:0:{base_ms + 7_000}"))


def test_consumer_group(
    kcat: Callable[..., str], bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName
) -> None:
    topic, group = new_topic(2), unique_name("kcat-group")
    settings = ("-X", "auto.offset.reset=earliest", "-e", "-q")
    kcat("-P", "-t", topic, "-p", "0", stdin="a\nb\n")
    kcat("-P", "-t", topic, "-p", "1", stdin="c\n")
    assert sorted(kcat("-G", group, *settings, topic).split()) == ["a", "b", "c"]
    kcat("-P", "-t", topic, "-p", "1", stdin="d\n")
    assert kcat("-G", group, *settings, topic).split() == ["d"]
    with ConfluentClient().admin(bootstrap_server) as admin:
        assert admin.group_offsets(group) == {TopicPartition(topic, 0): 2, TopicPartition(topic, 1): 2}


def test_idempotent_producer_and_large_message(kcat: Callable[..., str], new_topic: NewTopic) -> None:
    topic = new_topic()
    large = "ab" * 450_000
    kcat("-P", "-t", topic, "-X", "enable.idempotence=true", "-X", "acks=all", stdin=f"small\n{large}\n")
    assert kcat("-C", "-t", topic, "-e", "-q", "-o", "beginning").splitlines() == ["small", large]
