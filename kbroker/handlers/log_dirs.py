"""What lies in this broker's log directories, and moving it between them.

AlterReplicaLogDirs (34), versions 1-2 (v2 flexible; KIP-113): each partition named gets one result. Of several
directories for one partition the last counts. A partition that is not here yet is answered with an error, and the
directory is remembered for when it is created.

DescribeLogDirs (35), versions 1-5: v2 flexible; v3 a top-level error (KIP-784); v4 the size of the volume
(KIP-827); v5 whether the directory is cordoned (KIP-1066). A null list of topics asks for every replica, an empty
one for none: then only the directories are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.log_dirs import (
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)

AlterReplicaLogDirTopicResult = AlterReplicaLogDirsResponse.AlterReplicaLogDirTopicResult
AlterReplicaLogDirPartitionResult = AlterReplicaLogDirTopicResult.AlterReplicaLogDirPartitionResult
DescribeLogDirsResult = DescribeLogDirsResponse.DescribeLogDirsResult
DescribeLogDirsTopic = DescribeLogDirsResult.DescribeLogDirsTopic
DescribeLogDirsPartition = DescribeLogDirsTopic.DescribeLogDirsPartition


class StoredReplica(Protocol):
    """One replica's log in a directory.

    ``offset_lag``: how far its end is from the partition's high watermark, or, for a future replica, from
    the end of the log that it is to replace.
    """

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def offset_lag(self) -> int: ...

    @property
    def is_future(self) -> bool: ...


class LogDirectory(Protocol):
    """``error`` is KAFKA_STORAGE_ERROR for a directory that went offline; then nothing else counts.

    Bytes are those of the volume, -1 where unknown.
    """

    @property
    def path(self) -> str: ...

    @property
    def error(self) -> ErrorCode: ...

    @property
    def total_bytes(self) -> int: ...

    @property
    def usable_bytes(self) -> int: ...

    @property
    def is_cordoned(self) -> bool: ...

    @property
    def replicas(self) -> Sequence[StoredReplica]: ...


class LogDirectories(Protocol):
    async def describe(self) -> Sequence[LogDirectory]:
        """Every configured log directory, with all replicas in it."""
        ...


class ReplicaMoves(Protocol):
    def move(self, topic: str, index: int, path: str) -> None:
        """Have a replica moved to a log directory; ApiError. Returns before that is done."""
        ...


class LogDirHandlers:
    """Answers AlterReplicaLogDirs and DescribeLogDirs."""

    def __init__(self, *, log_directories: LogDirectories, moves: ReplicaMoves) -> None:
        self._log_directories = log_directories
        self._moves = moves

    @handles(AlterReplicaLogDirsRequest)
    async def alter_replica_log_dirs(
        self, request: AlterReplicaLogDirsRequest, context: RequestContext
    ) -> AlterReplicaLogDirsResponse:
        wanted = {
            (topic.name, index): directory.path
            for directory in request.dirs
            for topic in directory.topics
            for index in topic.partitions
        }
        results: dict[str, AlterReplicaLogDirTopicResult] = {}
        for (name, index), path in wanted.items():
            result = results.setdefault(name, AlterReplicaLogDirTopicResult(topic_name=name))
            result.partitions.append(
                AlterReplicaLogDirPartitionResult(
                    partition_index=index, error_code=self._move(name, index, path)
                )
            )
        return AlterReplicaLogDirsResponse(results=list(results.values()))

    def _move(self, topic: str, index: int, path: str) -> ErrorCode:
        try:
            self._moves.move(topic, index, path)
        except ApiError as error:
            return error.code
        return ErrorCode.NONE

    @handles(DescribeLogDirsRequest)
    async def describe_log_dirs(
        self, request: DescribeLogDirsRequest, context: RequestContext
    ) -> DescribeLogDirsResponse:
        wanted: set[tuple[str, int]] | None = None
        if request.topics is not None:
            wanted = {(topic.topic, index) for topic in request.topics for index in topic.partitions}
        return DescribeLogDirsResponse(
            results=[_result(directory, wanted) for directory in await self._log_directories.describe()]
        )


def _result(directory: LogDirectory, wanted: set[tuple[str, int]] | None) -> DescribeLogDirsResult:
    if directory.error != ErrorCode.NONE:
        return DescribeLogDirsResult(error_code=directory.error, log_dir=directory.path)
    topics: dict[str, DescribeLogDirsTopic] = {}
    for replica in directory.replicas:
        if wanted is not None and (replica.topic, replica.partition) not in wanted:
            continue
        topic = topics.setdefault(replica.topic, DescribeLogDirsTopic(name=replica.topic))
        topic.partitions.append(
            DescribeLogDirsPartition(
                partition_index=replica.partition,
                partition_size=replica.size_bytes,
                offset_lag=replica.offset_lag,
                is_future_key=replica.is_future,
            )
        )
    return DescribeLogDirsResult(
        log_dir=directory.path,
        topics=list(topics.values()),
        total_bytes=directory.total_bytes,
        usable_bytes=directory.usable_bytes,
        is_cordoned=directory.is_cordoned,
    )
