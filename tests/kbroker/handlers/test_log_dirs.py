"""DescribeLogDirs: which directories and replicas are told. AlterReplicaLogDirs: results and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from kbroker.handlers.log_dirs import LogDirHandlers
from tests.kbroker.handlers.requests import send
from wire.errors import ApiError, ErrorCode
from wire.messages.log_dirs import AlterReplicaLogDirsRequest, DescribeLogDirsRequest

Topic = DescribeLogDirsRequest.DescribableLogDirTopic


class Replica(NamedTuple):
    topic: str
    partition: int
    size_bytes: int = 0
    offset_lag: int = 0
    is_future: bool = False


class Directory(NamedTuple):
    path: str
    replicas: Sequence[Replica] = ()
    error: ErrorCode = ErrorCode.NONE
    total_bytes: int = 1000
    usable_bytes: int = 400
    is_cordoned: bool = False


class Directories:
    def __init__(self, *directories: Directory) -> None:
        self._directories = directories

    async def describe(self) -> Sequence[Directory]:
        return self._directories


class Moves:
    """Takes every wish; refuses what is in `errors`."""

    def __init__(self, **errors: ErrorCode) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self._errors = errors

    def move(self, topic: str, index: int, path: str) -> None:
        self.asked.append((topic, index, path))
        if topic in self._errors:
            raise ApiError(self._errors[topic])


REPLICAS = [Replica("a", 0, 10, 3), Replica("b", 0, 2**40), Replica("a", 1, 20, 0, True)]
HANDLERS = LogDirHandlers(
    log_directories=Directories(
        Directory("/data/1", REPLICAS, is_cordoned=True),
        Directory("/data/2", [Replica("b", 1)], ErrorCode.KAFKA_STORAGE_ERROR),
    ),
    moves=Moves(),
)


@pytest.mark.parametrize("version", range(1, 6))
async def test_all_replicas_at_each_version(version: int) -> None:
    response = await send(HANDLERS.describe_log_dirs, DescribeLogDirsRequest(topics=None), version)
    assert response.error_code == 0
    good, offline = response.results
    assert (good.error_code, good.log_dir) == (0, "/data/1")
    assert [
        (t.name, [(p.partition_index, p.partition_size, p.offset_lag, p.is_future_key) for p in t.partitions])
        for t in good.topics
    ] == [("a", [(0, 10, 3, False), (1, 20, 0, True)]), ("b", [(0, 2**40, 0, False)])]
    assert (good.total_bytes, good.usable_bytes) == ((1000, 400) if version >= 4 else (-1, -1))
    assert good.is_cordoned == (version >= 5)
    assert (offline.error_code, offline.log_dir) == (ErrorCode.KAFKA_STORAGE_ERROR, "/data/2")
    assert (offline.topics, offline.total_bytes, offline.usable_bytes) == ([], -1, -1)


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ([], []),
        ([Topic(topic="a", partitions=[])], []),
        ([Topic(topic="nope", partitions=[0]), Topic(topic="a", partitions=[7])], []),
        ([Topic(topic="a", partitions=[1])], [("a", [1])]),
        (
            [
                Topic(topic="b", partitions=[0, 0]),
                Topic(topic="a", partitions=[0]),
                Topic(topic="b", partitions=[0]),
            ],
            [("a", [0]), ("b", [0])],
        ),
    ],
)
async def test_only_the_replicas_asked_for(
    topics: list[Topic], expected: list[tuple[str, list[int]]]
) -> None:
    response = await send(HANDLERS.describe_log_dirs, DescribeLogDirsRequest(topics=topics), 5)
    assert [result.log_dir for result in response.results] == ["/data/1", "/data/2"]
    assert [
        (t.name, [p.partition_index for p in t.partitions]) for t in response.results[0].topics
    ] == expected


@pytest.mark.parametrize("version", [1, 2])
async def test_each_partition_to_be_moved_gets_one_result(version: int) -> None:
    directory = AlterReplicaLogDirsRequest.AlterReplicaLogDir
    topic = directory.AlterReplicaLogDirTopic
    moves = Moves(bad=ErrorCode.LOG_DIR_NOT_FOUND)
    handlers = LogDirHandlers(log_directories=Directories(), moves=moves)
    request = AlterReplicaLogDirsRequest(
        dirs=[
            directory(
                path="/1", topics=[topic(name="a", partitions=[0, 1]), topic(name="bad", partitions=[3])]
            ),
            directory(
                path="/2", topics=[topic(name="a", partitions=[1, 2]), topic(name="none", partitions=[])]
            ),
        ]
    )
    response = await send(handlers.alter_replica_log_dirs, request, version)
    assert [
        (each.topic_name, [(p.partition_index, p.error_code) for p in each.partitions])
        for each in response.results
    ] == [("a", [(0, 0), (1, 0), (2, 0)]), ("bad", [(3, ErrorCode.LOG_DIR_NOT_FOUND)])]
    # As in Kafka, the last directory that is named for a partition counts.
    assert moves.asked == [("a", 0, "/1"), ("a", 1, "/2"), ("bad", 3, "/1"), ("a", 2, "/2")]
