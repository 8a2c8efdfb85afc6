"""Share groups, in which consumers share partitions record by record (KIP-932).

ShareGroupHeartbeat (key 76, version 1, flexible), ShareGroupDescribe (key 77, version 1, flexible).
ShareFetch (key 78, versions 1-2, flexible), ShareAcknowledge (key 79, versions 1-2, flexible): 2: acknowledgements
that renew the lock (KIP-1222); how many records a fetch acquires (KIP-1206).
DescribeShareGroupOffsets (key 90, versions 0-1, flexible): 1: the lag (KIP-1226).
AlterShareGroupOffsets (key 91, version 0, flexible), DeleteShareGroupOffsets (key 92, version 0, flexible).
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    Buffer,
    Payload,
    Request,
    Response,
    Structure,
    array,
    boolean,
    int8,
    int16,
    int32,
    int64,
    nullable_array,
    nullable_string,
    nullable_structure,
    records,
    string,
    structure,
    uuid,
)


class ShareGroupHeartbeatRequest(Request, api_key=76, versions="1", flexible="1+"):
    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()
    rack_id: str | None = nullable_string(default=None)
    subscribed_topic_names: list[str] | None = nullable_array(string, default=None)


class ShareGroupHeartbeatResponse(Response, api_key=76, versions="1", flexible="1+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    class Assignment(Structure):
        topic_partitions: list[ShareGroupHeartbeatResponse.TopicPartitions] = array("TopicPartitions")

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    member_id: str | None = nullable_string(default=None)
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    assignment: Assignment | None = nullable_structure(Assignment, default=None)


class ShareGroupDescribeRequest(Request, api_key=77, versions="1", flexible="1+"):
    group_ids: list[str] = array(string)
    include_authorized_operations: bool = boolean()


class ShareGroupDescribeResponse(Response, api_key=77, versions="1", flexible="1+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        topic_name: str = string()
        partitions: list[int] = array(int32)

    class Assignment(Structure):
        topic_partitions: list[ShareGroupDescribeResponse.TopicPartitions] = array("TopicPartitions")

    class DescribedGroup(Structure):
        class Member(Structure):
            member_id: str = string()
            rack_id: str | None = nullable_string(default=None)
            member_epoch: int = int32()
            client_id: str = string()
            client_host: str = string()
            subscribed_topic_names: list[str] = array(string)
            assignment: ShareGroupDescribeResponse.Assignment = structure("Assignment")

        error_code: int = int16()
        error_message: str | None = nullable_string(default=None)
        group_id: str = string()
        group_state: str = string()
        group_epoch: int = int32()
        assignment_epoch: int = int32()
        assignor_name: str = string()
        members: list[Member] = array(Member)
        authorized_operations: int = int32(default=-(2**31))

    throttle_time_ms: int = int32()
    groups: list[DescribedGroup] = array(DescribedGroup)


class ShareFetchRequest(Request, api_key=78, versions="1-2", flexible="1+"):
    class FetchTopic(Structure):
        class FetchPartition(Structure):
            class AcknowledgementBatch(Structure):
                first_offset: int = int64()
                last_offset: int = int64()
                acknowledge_types: list[int] = array(int8)

            partition_index: int = int32()
            acknowledgement_batches: list[AcknowledgementBatch] = array(AcknowledgementBatch)

        topic_id: UUID = uuid()
        partitions: list[FetchPartition] = array(FetchPartition)

    class ForgottenTopic(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    group_id: str | None = nullable_string(default=None)
    member_id: str | None = nullable_string()
    share_session_epoch: int = int32()
    max_wait_ms: int = int32()
    min_bytes: int = int32()
    max_bytes: int = int32(default=2**31 - 1)
    max_records: int = int32()
    batch_size: int = int32()
    share_acquire_mode: int = int8("2+", ignorable=True)
    is_renew_ack: bool = boolean("2+")
    topics: list[FetchTopic] = array(FetchTopic)
    forgotten_topics_data: list[ForgottenTopic] = array(ForgottenTopic)


class ShareFetchResponse(Response, api_key=78, versions="1-2", flexible="1+"):
    class ShareFetchableTopicResponse(Structure):
        class PartitionData(Structure):
            class LeaderIdAndEpoch(Structure):
                leader_id: int = int32()
                leader_epoch: int = int32()

            class AcquiredRecords(Structure):
                first_offset: int = int64()
                last_offset: int = int64()
                delivery_count: int = int16()

            partition_index: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)
            acknowledge_error_code: int = int16()
            acknowledge_error_message: str | None = nullable_string(default=None)
            current_leader: LeaderIdAndEpoch = structure(LeaderIdAndEpoch)
            records: Buffer | Payload | None = records(nullable="none")
            acquired_records: list[AcquiredRecords] = array(AcquiredRecords)

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = int32()
        rack: str | None = nullable_string(default=None)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    acquisition_lock_timeout_ms: int = int32()
    responses: list[ShareFetchableTopicResponse] = array(ShareFetchableTopicResponse)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint)


class ShareAcknowledgeRequest(Request, api_key=79, versions="1-2", flexible="1+"):
    class AcknowledgeTopic(Structure):
        class AcknowledgePartition(Structure):
            class AcknowledgementBatch(Structure):
                first_offset: int = int64()
                last_offset: int = int64()
                acknowledge_types: list[int] = array(int8)

            partition_index: int = int32()
            acknowledgement_batches: list[AcknowledgementBatch] = array(AcknowledgementBatch)

        topic_id: UUID = uuid()
        partitions: list[AcknowledgePartition] = array(AcknowledgePartition)

    group_id: str | None = nullable_string(default=None)
    member_id: str | None = nullable_string()
    share_session_epoch: int = int32()
    is_renew_ack: bool = boolean("2+")
    topics: list[AcknowledgeTopic] = array(AcknowledgeTopic)


class ShareAcknowledgeResponse(Response, api_key=79, versions="1-2", flexible="1+"):
    class ShareAcknowledgeTopicResponse(Structure):
        class PartitionData(Structure):
            class LeaderIdAndEpoch(Structure):
                leader_id: int = int32()
                leader_epoch: int = int32()

            partition_index: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)
            current_leader: LeaderIdAndEpoch = structure(LeaderIdAndEpoch)

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = int32()
        rack: str | None = nullable_string(default=None)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    acquisition_lock_timeout_ms: int = int32("2+", ignorable=True)
    responses: list[ShareAcknowledgeTopicResponse] = array(ShareAcknowledgeTopicResponse)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint)


class DescribeShareGroupOffsetsRequest(Request, api_key=90, versions="0-1", flexible="0+"):
    class DescribeShareGroupOffsetsRequestGroup(Structure):
        class DescribeShareGroupOffsetsRequestTopic(Structure):
            topic_name: str = string()
            partitions: list[int] = array(int32)

        group_id: str = string()
        topics: list[DescribeShareGroupOffsetsRequestTopic] | None = nullable_array(
            DescribeShareGroupOffsetsRequestTopic
        )

    groups: list[DescribeShareGroupOffsetsRequestGroup] = array(DescribeShareGroupOffsetsRequestGroup)


class DescribeShareGroupOffsetsResponse(Response, api_key=90, versions="0-1", flexible="0+"):
    class DescribeShareGroupOffsetsResponseGroup(Structure):
        class DescribeShareGroupOffsetsResponseTopic(Structure):
            class DescribeShareGroupOffsetsResponsePartition(Structure):
                partition_index: int = int32()
                start_offset: int = int64()
                leader_epoch: int = int32()
                lag: int = int64("1+", default=-1, ignorable=True)
                error_code: int = int16()
                error_message: str | None = nullable_string(default=None)

            topic_name: str = string()
            topic_id: UUID = uuid()
            partitions: list[DescribeShareGroupOffsetsResponsePartition] = array(
                DescribeShareGroupOffsetsResponsePartition
            )

        group_id: str = string()
        topics: list[DescribeShareGroupOffsetsResponseTopic] = array(DescribeShareGroupOffsetsResponseTopic)
        error_code: int = int16()
        error_message: str | None = nullable_string(default=None)

    throttle_time_ms: int = int32()
    groups: list[DescribeShareGroupOffsetsResponseGroup] = array(DescribeShareGroupOffsetsResponseGroup)


class AlterShareGroupOffsetsRequest(Request, api_key=91, versions="0", flexible="0+"):
    class AlterShareGroupOffsetsRequestTopic(Structure):
        class AlterShareGroupOffsetsRequestPartition(Structure):
            partition_index: int = int32()
            start_offset: int = int64()

        topic_name: str = string()
        partitions: list[AlterShareGroupOffsetsRequestPartition] = array(
            AlterShareGroupOffsetsRequestPartition
        )

    group_id: str = string()
    topics: list[AlterShareGroupOffsetsRequestTopic] = array(AlterShareGroupOffsetsRequestTopic)


class AlterShareGroupOffsetsResponse(Response, api_key=91, versions="0", flexible="0+"):
    class AlterShareGroupOffsetsResponseTopic(Structure):
        class AlterShareGroupOffsetsResponsePartition(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)

        topic_name: str = string()
        topic_id: UUID = uuid()
        partitions: list[AlterShareGroupOffsetsResponsePartition] = array(
            AlterShareGroupOffsetsResponsePartition
        )

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    responses: list[AlterShareGroupOffsetsResponseTopic] = array(AlterShareGroupOffsetsResponseTopic)


class DeleteShareGroupOffsetsRequest(Request, api_key=92, versions="0", flexible="0+"):
    class DeleteShareGroupOffsetsRequestTopic(Structure):
        topic_name: str = string()

    group_id: str = string()
    topics: list[DeleteShareGroupOffsetsRequestTopic] = array(DeleteShareGroupOffsetsRequestTopic)


class DeleteShareGroupOffsetsResponse(Response, api_key=92, versions="0", flexible="0+"):
    class DeleteShareGroupOffsetsResponseTopic(Structure):
        topic_name: str = string()
        topic_id: UUID = uuid()
        error_code: int = int16()
        error_message: str | None = nullable_string(default=None)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    responses: list[DeleteShareGroupOffsetsResponseTopic] = array(DeleteShareGroupOffsetsResponseTopic)
