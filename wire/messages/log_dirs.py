"""Log directories: what is in them, and which partition belongs where.

AlterReplicaLogDirs (key 34, versions 1-2, flexible from 2): KIP-113.

DescribeLogDirs (key 35, versions 1-5, flexible from 2). 3: an error for the whole response (KIP-784). 4: the
volume's total and usable bytes (KIP-827). 5: whether the directory is cordoned, so that it gets no new replicas.

AssignReplicasToDirs (key 73, version 0, flexible): a broker tells the controller (KIP-858).
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    boolean,
    int16,
    int32,
    int64,
    nullable_array,
    string,
    uuid,
)


class AlterReplicaLogDirsRequest(Request, api_key=34, versions="1-2", flexible="2+"):
    class AlterReplicaLogDir(Structure):
        class AlterReplicaLogDirTopic(Structure):
            name: str = string()
            partitions: list[int] = array(int32)

        path: str = string()
        topics: list[AlterReplicaLogDirTopic] = array(AlterReplicaLogDirTopic)

    dirs: list[AlterReplicaLogDir] = array(AlterReplicaLogDir)


class AlterReplicaLogDirsResponse(Response, api_key=34, versions="1-2", flexible="2+"):
    class AlterReplicaLogDirTopicResult(Structure):
        class AlterReplicaLogDirPartitionResult(Structure):
            partition_index: int = int32()
            error_code: int = int16()

        topic_name: str = string()
        partitions: list[AlterReplicaLogDirPartitionResult] = array(AlterReplicaLogDirPartitionResult)

    throttle_time_ms: int = int32()
    results: list[AlterReplicaLogDirTopicResult] = array(AlterReplicaLogDirTopicResult)


class DescribeLogDirsRequest(Request, api_key=35, versions="1-5", flexible="2+"):
    class DescribableLogDirTopic(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    topics: list[DescribableLogDirTopic] | None = nullable_array(DescribableLogDirTopic)


class DescribeLogDirsResponse(Response, api_key=35, versions="1-5", flexible="2+"):
    class DescribeLogDirsResult(Structure):
        class DescribeLogDirsTopic(Structure):
            class DescribeLogDirsPartition(Structure):
                partition_index: int = int32()
                partition_size: int = int64()
                offset_lag: int = int64()
                is_future_key: bool = boolean()

            name: str = string()
            partitions: list[DescribeLogDirsPartition] = array(DescribeLogDirsPartition)

        error_code: int = int16()
        log_dir: str = string()
        topics: list[DescribeLogDirsTopic] = array(DescribeLogDirsTopic)
        total_bytes: int = int64("4+", default=-1, ignorable=True)
        usable_bytes: int = int64("4+", default=-1, ignorable=True)
        is_cordoned: bool = boolean("5+", ignorable=True)

    throttle_time_ms: int = int32()
    error_code: int = int16("3+", ignorable=True)
    results: list[DescribeLogDirsResult] = array(DescribeLogDirsResult)


class AssignReplicasToDirsRequest(Request, api_key=73, versions="0", flexible="0+"):
    class DirectoryData(Structure):
        class TopicData(Structure):
            class PartitionData(Structure):
                partition_index: int = int32()

            topic_id: UUID = uuid()
            partitions: list[PartitionData] = array(PartitionData)

        id: UUID = uuid()
        topics: list[TopicData] = array(TopicData)

    broker_id: int = int32()
    broker_epoch: int = int64(default=-1)
    directories: list[DirectoryData] = array(DirectoryData)


class AssignReplicasToDirsResponse(Response, api_key=73, versions="0", flexible="0+"):
    class DirectoryData(Structure):
        class TopicData(Structure):
            class PartitionData(Structure):
                partition_index: int = int32()
                error_code: int = int16()

            topic_id: UUID = uuid()
            partitions: list[PartitionData] = array(PartitionData)

        id: UUID = uuid()
        topics: list[TopicData] = array(TopicData)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    directories: list[DirectoryData] = array(DirectoryData)
