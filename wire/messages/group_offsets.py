"""Offsets that consumer groups commit, and how they are read and removed.

OffsetCommit (key 8, versions 2-10, flexible from 8).
- 2-4 carry a retention time; since 5 only the broker's configuration decides. 6: leader epochs (KIP-320).
- 7: static members (KIP-345). 9: for the new consumer protocol as well, whose member epoch takes the generation's
  place (KIP-848). 10: topic ids instead of names.

OffsetFetch (key 9, versions 1-10, flexible from 6).
- 2: null asks for all topics; an error for the whole response. 5: leader epochs. 7: only stable offsets, if asked
  (KIP-447). 8: several groups at once (KIP-709). 9: member id and epoch (KIP-848). 10: topic ids instead of names.

OffsetDelete (key 47, version 0, never flexible): KIP-496.
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
    nullable_string,
    string,
    uuid,
)


class OffsetCommitRequest(Request, api_key=8, versions="2-10", flexible="8+"):
    class OffsetCommitRequestTopic(Structure):
        class OffsetCommitRequestPartition(Structure):
            partition_index: int = int32()
            committed_offset: int = int64()
            committed_leader_epoch: int = int32("6+", default=-1, ignorable=True)
            committed_metadata: str | None = nullable_string()

        name: str = string("0-9", ignorable=True)
        topic_id: UUID = uuid("10+", ignorable=True)
        partitions: list[OffsetCommitRequestPartition] = array(OffsetCommitRequestPartition)

    group_id: str = string()
    generation_id_or_member_epoch: int = int32(default=-1)
    member_id: str = string()
    group_instance_id: str | None = nullable_string("7+", default=None)
    retention_time_ms: int = int64("2-4", default=-1, ignorable=True)
    topics: list[OffsetCommitRequestTopic] = array(OffsetCommitRequestTopic)


class OffsetCommitResponse(Response, api_key=8, versions="2-10", flexible="8+"):
    class OffsetCommitResponseTopic(Structure):
        class OffsetCommitResponsePartition(Structure):
            partition_index: int = int32()
            error_code: int = int16()

        name: str = string("0-9", ignorable=True)
        topic_id: UUID = uuid("10+", ignorable=True)
        partitions: list[OffsetCommitResponsePartition] = array(OffsetCommitResponsePartition)

    throttle_time_ms: int = int32("3+", ignorable=True)
    topics: list[OffsetCommitResponseTopic] = array(OffsetCommitResponseTopic)


class OffsetFetchRequest(Request, api_key=9, versions="1-10", flexible="6+"):
    class OffsetFetchRequestTopic(Structure):
        name: str = string()
        partition_indexes: list[int] = array(int32)

    class OffsetFetchRequestGroup(Structure):
        class OffsetFetchRequestTopics(Structure):
            name: str = string("8-9", ignorable=True)
            topic_id: UUID = uuid("10+", ignorable=True)
            partition_indexes: list[int] = array(int32)

        group_id: str = string()
        member_id: str | None = nullable_string("9+", default=None, ignorable=True)
        member_epoch: int = int32("9+", default=-1, ignorable=True)
        topics: list[OffsetFetchRequestTopics] | None = nullable_array(OffsetFetchRequestTopics)

    group_id: str = string("0-7")
    topics: list[OffsetFetchRequestTopic] | None = nullable_array(
        OffsetFetchRequestTopic, "0-7", nullable="2-7"
    )
    groups: list[OffsetFetchRequestGroup] = array(OffsetFetchRequestGroup, "8+")
    require_stable: bool = boolean("7+")


class OffsetFetchResponse(Response, api_key=9, versions="1-10", flexible="6+"):
    class OffsetFetchResponseTopic(Structure):
        class OffsetFetchResponsePartition(Structure):
            partition_index: int = int32()
            committed_offset: int = int64()
            committed_leader_epoch: int = int32("5-7", default=-1, ignorable=True)
            metadata: str | None = nullable_string()
            error_code: int = int16()

        name: str = string()
        partitions: list[OffsetFetchResponsePartition] = array(OffsetFetchResponsePartition)

    class OffsetFetchResponseGroup(Structure):
        class OffsetFetchResponseTopics(Structure):
            class OffsetFetchResponsePartitions(Structure):
                partition_index: int = int32()
                committed_offset: int = int64()
                committed_leader_epoch: int = int32(default=-1, ignorable=True)
                metadata: str | None = nullable_string()
                error_code: int = int16()

            name: str = string("8-9", ignorable=True)
            topic_id: UUID = uuid("10+", ignorable=True)
            partitions: list[OffsetFetchResponsePartitions] = array(OffsetFetchResponsePartitions)

        group_id: str = string()
        topics: list[OffsetFetchResponseTopics] = array(OffsetFetchResponseTopics)
        error_code: int = int16()

    throttle_time_ms: int = int32("3+", ignorable=True)
    topics: list[OffsetFetchResponseTopic] = array(OffsetFetchResponseTopic, "0-7")
    error_code: int = int16("2-7", ignorable=True)
    groups: list[OffsetFetchResponseGroup] = array(OffsetFetchResponseGroup, "8+")


class OffsetDeleteRequest(Request, api_key=47, versions="0"):
    class OffsetDeleteRequestTopic(Structure):
        class OffsetDeleteRequestPartition(Structure):
            partition_index: int = int32()

        name: str = string()
        partitions: list[OffsetDeleteRequestPartition] = array(OffsetDeleteRequestPartition)

    group_id: str = string()
    topics: list[OffsetDeleteRequestTopic] = array(OffsetDeleteRequestTopic)


class OffsetDeleteResponse(Response, api_key=47, versions="0"):
    class OffsetDeleteResponseTopic(Structure):
        class OffsetDeleteResponsePartition(Structure):
            partition_index: int = int32()
            error_code: int = int16()

        name: str = string()
        partitions: list[OffsetDeleteResponsePartition] = array(OffsetDeleteResponsePartition)

    error_code: int = int16()
    throttle_time_ms: int = int32()
    topics: list[OffsetDeleteResponseTopic] = array(OffsetDeleteResponseTopic)
