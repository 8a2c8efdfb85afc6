"""``kafka-delete-records`` against one broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker_process import BrokerProcess
from tests.tools.command_runs import Command, Run, new_topic, produce


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with BrokerProcess(tmp_path_factory.mktemp("broker")) as broker:
        broker.start()
        yield broker.bootstrap_server


@pytest.fixture
def delete(bootstrap: str) -> Command:
    return Command("delete_records", bootstrap)


def offset_file(directory: Path, *partitions: tuple[str, int, int], **others: object) -> str:
    path = directory / "offsets.json"
    listed = [{"topic": topic, "partition": index, "offset": offset} for topic, index, offset in partitions]
    path.write_text(json.dumps({"partitions": listed, **others}))
    return str(path)


def test_records_before_the_offsets_are_deleted(delete: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap, "--partitions", "3")
    for index in range(3):
        produce(bootstrap, topic, partition=index, timestamps_ms=[1, 2, 3])
    run = delete.process(
        "--offset-json-file",
        offset_file(tmp_path, (topic, 2, 9), (topic, 0, 2), (topic, 1, -1), version=1),
    )
    assert run == Run(
        0,
        "Executing records delete operation\n"
        "Records delete operation completed:\n"
        f"partition: {topic}-0\tlow_watermark: 2\n"
        f"partition: {topic}-1\tlow_watermark: 3\n"
        f"partition: {topic}-2\terror: org.apache.kafka.common.errors.OffsetOutOfRangeException: The requested offset "
        "is not within the range of offsets maintained by the server.\n",
        "",
    )
    begins = Command("get_offsets", bootstrap)("--topic", topic, "--time", "earliest")
    assert begins.lines == [f"{topic}:0:2", f"{topic}:1:3", f"{topic}:2:0"]


def test_a_topic_that_is_missing_is_told_when_the_time_is_over(
    delete: Command, bootstrap: str, tmp_path: Path
) -> None:
    topic = new_topic(bootstrap)
    config = tmp_path / "client.properties"
    config.write_text("default.api.timeout.ms=500\n")
    lines = delete(
        "--command-config",
        str(config),
        "--offset-json-file",
        offset_file(tmp_path, ("missing", 0, 1), (topic, 0, 0)),
    ).lines
    assert lines[2:] == [
        "partition: missing-0\terror: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: "
        "This server does not host this topic-partition.",
        f"partition: {topic}-0\tlow_watermark: 0",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nonsense", "The input string is not a valid JSON"),
        ("{}", "Missing partitions field"),
        ('{"version": 2, "partitions": []}', "Not supported version field value 2"),
        ('{"partitions": [{"topic": "t", "partition": 0}]}', "No such field exists: `offset`"),
        (
            '{"partitions": [{"topic": "t", "partition": 0, "offset": 1}, '
            '{"topic": "t", "partition": 0, "offset": 2}]}',
            "Offset json file contains duplicate topic partitions: t-0",
        ),
    ],
)
def test_files_that_are_wrong_are_told(delete: Command, tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "offsets.json"
    path.write_text(text)
    assert delete("--offset-json-file", str(path)) == Run(1, "", f"{error}\n")


def test_a_file_that_is_not_there_or_not_named_is_told(delete: Command) -> None:
    assert delete("--offset-json-file", "/no/file") == Run(1, "", "Unable to read file /no/file\n")
    assert delete("--help").code == 1
    unnamed = delete()
    assert (unnamed.code, unnamed.first_error) == (1, 'Missing required argument "[offset-json-file]"')
