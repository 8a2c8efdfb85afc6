"""Offsets of a partition's log: where it begins and ends, by time and by epoch; and its truncation from the front.

ListOffsets (key 2, versions 1-11, flexible from 6). The timestamps -1 (end), -2 (start) and below are special.
- 2: isolation level. 4: leader epochs that fence (KIP-320).
- 7: -3, the offset of the greatest timestamp (KIP-734). 8: -4, the start of the local log (KIP-405).
- 9: -5, the end of what is in tiered storage (KIP-1005). 10: a timeout for slow look-ups there (KIP-1075).
- 11: -6, the earliest offset that still waits for upload (KIP-1023).

OffsetForLeaderEpoch (key 23, versions 2-4, flexible from 4): where an epoch ended (KIP-101, KIP-320). 3: the
replica id; -2 is a debugging consumer.

DeleteRecords (key 21, versions 0-2, flexible from 2): moves the log start offset (KIP-107).
"""

from __future__ import annotations

from wire.schema import Request, Response, Structure, array, int8, int16, int32, int64, string


class ListOffsetsRequest(Request, api_key=2, versions="1-11", flexible="6+"):
    class ListOffsetsTopic(Structure):
        class ListOffsetsPartition(Structure):
            partition_index: int = int32()
            current_leader_epoch: int = int32("4+", default=-1, ignorable=True)
            timestamp: int = int64()

        name: str = string()
        partitions: list[ListOffsetsPartition] = array(ListOffsetsPartition)

    replica_id: int = int32()
    isolation_level: int = int8("2+")
    topics: list[ListOffsetsTopic] = array(ListOffsetsTopic)
    timeout_ms: int = int32("10+", ignorable=True)


class ListOffsetsResponse(Response, api_key=2, versions="1-11", flexible="6+"):
    class ListOffsetsTopicResponse(Structure):
        class ListOffsetsPartitionResponse(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            timestamp: int = int64(default=-1)
            offset: int = int64(default=-1)
            leader_epoch: int = int32("4+", default=-1)

        name: str = string()
        partitions: list[ListOffsetsPartitionResponse] = array(ListOffsetsPartitionResponse)

    throttle_time_ms: int = int32("2+", ignorable=True)
    topics: list[ListOffsetsTopicResponse] = array(ListOffsetsTopicResponse)


class OffsetForLeaderEpochRequest(Request, api_key=23, versions="2-4", flexible="4+"):
    class OffsetForLeaderTopic(Structure):
        class OffsetForLeaderPartition(Structure):
            partition: int = int32()
            current_leader_epoch: int = int32(default=-1)
            leader_epoch: int = int32()

        topic: str = string()
        partitions: list[OffsetForLeaderPartition] = array(OffsetForLeaderPartition)

    replica_id: int = int32("3+", default=-2, ignorable=True)
    topics: list[OffsetForLeaderTopic] = array(OffsetForLeaderTopic)


class OffsetForLeaderEpochResponse(Response, api_key=23, versions="2-4", flexible="4+"):
    class OffsetForLeaderTopicResult(Structure):
        class EpochEndOffset(Structure):
            error_code: int = int16()
            partition: int = int32()
            leader_epoch: int = int32(default=-1)
            end_offset: int = int64(default=-1)

        topic: str = string()
        partitions: list[EpochEndOffset] = array(EpochEndOffset)

    throttle_time_ms: int = int32()
    topics: list[OffsetForLeaderTopicResult] = array(OffsetForLeaderTopicResult)


class DeleteRecordsRequest(Request, api_key=21, versions="0-2", flexible="2+"):
    class DeleteRecordsTopic(Structure):
        class DeleteRecordsPartition(Structure):
            partition_index: int = int32()
            offset: int = int64()

        name: str = string()
        partitions: list[DeleteRecordsPartition] = array(DeleteRecordsPartition)

    topics: list[DeleteRecordsTopic] = array(DeleteRecordsTopic)
    timeout_ms: int = int32()


class DeleteRecordsResponse(Response, api_key=21, versions="0-2", flexible="2+"):
    class DeleteRecordsTopicResult(Structure):
        class DeleteRecordsPartitionResult(Structure):
            partition_index: int = int32()
            low_watermark: int = int64()
            error_code: int = int16()

        name: str = string()
        partitions: list[DeleteRecordsPartitionResult] = array(DeleteRecordsPartitionResult)

    throttle_time_ms: int = int32()
    topics: list[DeleteRecordsTopicResult] = array(DeleteRecordsTopicResult)
