"""Records of `__consumer_offsets`: committed offsets, and the groups of all protocols.

A key's first two bytes are its record type; its value's are the value's version. A null value is a tombstone.
Types 0 and 1 are committed offsets (0 is what very old brokers wrote), 2 groups of the classic protocol, 3 to 8
and 16 those of the consumer protocol (KIP-848), 10 to 15 share groups (KIP-932), 17 and 19 to 23 streams groups
(KIP-1071).

Values of committed offsets and of classic groups have versions 0-4. 4 is flexible, so that brokers can read what
newer ones wrote (KIP-915).
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    CoordinatorKey,
    InternalRecord,
    Structure,
    array,
    binary,
    int8,
    int16,
    int32,
    int64,
    nullable_array,
    nullable_string,
    nullable_structure,
    string,
    uint16,
    uuid,
)


class LegacyOffsetCommitKey(CoordinatorKey, record_type=0, versions="0"):
    group: str = string()
    topic: str = string()
    partition: int = int32()


class LegacyOffsetCommitValue(InternalRecord, versions="0"):
    offset: int = int64()
    metadata: str = string()
    commit_timestamp: int = int64()


class OffsetCommitKey(CoordinatorKey, record_type=1, versions="0"):
    group: str = string()
    topic: str = string()
    partition: int = int32()


class OffsetCommitValue(InternalRecord, versions="0-4", flexible="4+"):
    offset: int = int64()
    leader_epoch: int = int32("3+", default=-1, ignorable=True)
    metadata: str = string()
    commit_timestamp: int = int64()
    expire_timestamp: int = int64("1", default=-1, ignorable=True)
    topic_id: UUID = uuid("4+", ignorable=True, tag=0)


class GroupMetadataKey(CoordinatorKey, record_type=2, versions="0"):
    group: str = string()


class GroupMetadataValue(InternalRecord, versions="0-4", flexible="4+"):
    class MemberMetadata(Structure):
        member_id: str = string()
        group_instance_id: str | None = nullable_string("3+", default=None, ignorable=True)
        client_id: str = string()
        client_host: str = string()
        rebalance_timeout: int = int32("1+", default=-1, ignorable=True)
        session_timeout: int = int32()
        subscription: bytes = binary()
        assignment: bytes = binary()

    protocol_type: str = string()
    generation: int = int32()
    protocol: str | None = nullable_string()
    leader: str | None = nullable_string()
    current_state_timestamp: int = int64("2+", default=-1, ignorable=True)
    members: list[MemberMetadata] = array(MemberMetadata)


class ConsumerGroupMetadataKey(CoordinatorKey, record_type=3, versions="0"):
    group_id: str = string()


class ConsumerGroupMetadataValue(InternalRecord, versions="0", flexible="0+"):
    epoch: int = int32()
    metadata_hash: int = int64(tag=0)


class ConsumerGroupPartitionMetadataKey(CoordinatorKey, record_type=4, versions="0"):
    group_id: str = string()


class ConsumerGroupPartitionMetadataValue(InternalRecord, versions="0", flexible="0+"):
    class TopicMetadata(Structure):
        class PartitionMetadata(Structure):
            partition: int = int32()
            racks: list[str] = array(string)

        topic_id: UUID = uuid()
        topic_name: str = string()
        num_partitions: int = int32()
        partition_metadata: list[PartitionMetadata] = array(PartitionMetadata)

    topics: list[TopicMetadata] = array(TopicMetadata)


class ConsumerGroupMemberMetadataKey(CoordinatorKey, record_type=5, versions="0"):
    group_id: str = string()
    member_id: str = string()


class ConsumerGroupMemberMetadataValue(InternalRecord, versions="0", flexible="0+"):
    class ClassicMemberMetadata(Structure):
        class ClassicProtocol(Structure):
            name: str = string()
            metadata: bytes = binary()

        session_timeout_ms: int = int32()
        supported_protocols: list[ClassicProtocol] = array(ClassicProtocol)

    instance_id: str | None = nullable_string()
    rack_id: str | None = nullable_string()
    client_id: str = string()
    client_host: str = string()
    subscribed_topic_names: list[str] = array(string)
    subscribed_topic_regex: str | None = nullable_string()
    rebalance_timeout_ms: int = int32(default=-1)
    server_assignor: str | None = nullable_string()
    classic_member_metadata: ClassicMemberMetadata | None = nullable_structure(ClassicMemberMetadata, tag=0)


class ConsumerGroupTargetAssignmentMetadataKey(CoordinatorKey, record_type=6, versions="0"):
    group_id: str = string()


class ConsumerGroupTargetAssignmentMetadataValue(InternalRecord, versions="0", flexible="0+"):
    assignment_epoch: int = int32()
    assignment_timestamp: int = int64(tag=0)


class ConsumerGroupTargetAssignmentMemberKey(CoordinatorKey, record_type=7, versions="0"):
    group_id: str = string()
    member_id: str = string()


class ConsumerGroupTargetAssignmentMemberValue(InternalRecord, versions="0", flexible="0+"):
    class TopicPartition(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    topic_partitions: list[TopicPartition] = array(TopicPartition)


class ConsumerGroupCurrentMemberAssignmentKey(CoordinatorKey, record_type=8, versions="0"):
    group_id: str = string()
    member_id: str = string()


class ConsumerGroupCurrentMemberAssignmentValue(InternalRecord, versions="0", flexible="0+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)
        assignment_epochs: list[int] | None = nullable_array(int32, tag=0)

    member_epoch: int = int32()
    previous_member_epoch: int = int32()
    state: int = int8()
    assigned_partitions: list[TopicPartitions] = array(TopicPartitions)
    partitions_pending_revocation: list[TopicPartitions] = array(TopicPartitions)


class ShareGroupMemberMetadataKey(CoordinatorKey, record_type=10, versions="0"):
    group_id: str = string()
    member_id: str = string()


class ShareGroupMemberMetadataValue(InternalRecord, versions="0", flexible="0+"):
    rack_id: str | None = nullable_string()
    client_id: str = string()
    client_host: str = string()
    subscribed_topic_names: list[str] = array(string)


class ShareGroupMetadataKey(CoordinatorKey, record_type=11, versions="0"):
    group_id: str = string()


class ShareGroupMetadataValue(InternalRecord, versions="0", flexible="0+"):
    epoch: int = int32()
    metadata_hash: int = int64()


class ShareGroupTargetAssignmentMetadataKey(CoordinatorKey, record_type=12, versions="0"):
    group_id: str = string()


class ShareGroupTargetAssignmentMetadataValue(InternalRecord, versions="0", flexible="0+"):
    assignment_epoch: int = int32()
    assignment_timestamp: int = int64(tag=0)


class ShareGroupTargetAssignmentMemberKey(CoordinatorKey, record_type=13, versions="0"):
    group_id: str = string()
    member_id: str = string()


class ShareGroupTargetAssignmentMemberValue(InternalRecord, versions="0", flexible="0+"):
    class TopicPartition(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    topic_partitions: list[TopicPartition] = array(TopicPartition)


class ShareGroupCurrentMemberAssignmentKey(CoordinatorKey, record_type=14, versions="0"):
    group_id: str = string()
    member_id: str = string()


class ShareGroupCurrentMemberAssignmentValue(InternalRecord, versions="0", flexible="0+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    member_epoch: int = int32()
    previous_member_epoch: int = int32()
    state: int = int8()
    assigned_partitions: list[TopicPartitions] = array(TopicPartitions)


class ShareGroupStatePartitionMetadataKey(CoordinatorKey, record_type=15, versions="0"):
    group_id: str = string()


class ShareGroupStatePartitionMetadataValue(InternalRecord, versions="0", flexible="0+"):
    class TopicPartitionsInfo(Structure):
        topic_id: UUID = uuid()
        topic_name: str = string()
        partitions: list[int] = array(int32)

    class TopicInfo(Structure):
        topic_id: UUID = uuid()
        topic_name: str = string()

    initializing_topics: list[TopicPartitionsInfo] = array(TopicPartitionsInfo)
    initialized_topics: list[TopicPartitionsInfo] = array(TopicPartitionsInfo)
    deleting_topics: list[TopicInfo] = array(TopicInfo)


class ConsumerGroupRegularExpressionKey(CoordinatorKey, record_type=16, versions="0"):
    group_id: str = string()
    regular_expression: str = string()


class ConsumerGroupRegularExpressionValue(InternalRecord, versions="0", flexible="0+"):
    topics: list[str] = array(string)
    version: int = int64()
    timestamp: int = int64()


class StreamsGroupMetadataKey(CoordinatorKey, record_type=17, versions="0"):
    group_id: str = string()


class StreamsGroupMetadataValue(InternalRecord, versions="0", flexible="0+"):
    class LastAssignmentConfig(Structure):
        key: str = string()
        value: str = string()

    epoch: int = int32()
    metadata_hash: int = int64()
    validated_topology_epoch: int = int32(default=-1, tag=0)
    last_assignment_configs: list[LastAssignmentConfig] | None = nullable_array(LastAssignmentConfig, tag=1)
    stored_description_topology_epoch: int = int32(default=-1, tag=2)
    failed_description_topology_epoch: int = int32(default=-1, tag=3)


class StreamsGroupMemberMetadataKey(CoordinatorKey, record_type=19, versions="0"):
    group_id: str = string()
    member_id: str = string()


class StreamsGroupMemberMetadataValue(InternalRecord, versions="0", flexible="0+"):
    class Endpoint(Structure):
        host: str = string()
        port: int = uint16()

    class KeyValue(Structure):
        key: str = string()
        value: str = string()

    instance_id: str | None = nullable_string()
    rack_id: str | None = nullable_string()
    client_id: str = string()
    client_host: str = string()
    rebalance_timeout_ms: int = int32(default=-1)
    topology_epoch: int = int32()
    process_id: str = string()
    user_endpoint: Endpoint | None = nullable_structure(Endpoint, default=None)
    client_tags: list[KeyValue] = array(KeyValue)


class StreamsGroupTargetAssignmentMetadataKey(CoordinatorKey, record_type=20, versions="0"):
    group_id: str = string()


class StreamsGroupTargetAssignmentMetadataValue(InternalRecord, versions="0", flexible="0+"):
    assignment_epoch: int = int32()
    assignment_timestamp: int = int64(tag=0)


class StreamsGroupTargetAssignmentMemberKey(CoordinatorKey, record_type=21, versions="0"):
    group_id: str = string()
    member_id: str = string()


class StreamsGroupTargetAssignmentMemberValue(InternalRecord, versions="0", flexible="0+"):
    class TaskIds(Structure):
        subtopology_id: str = string()
        partitions: list[int] = array(int32)

    active_tasks: list[TaskIds] = array(TaskIds)
    standby_tasks: list[TaskIds] = array(TaskIds)
    warmup_tasks: list[TaskIds] = array(TaskIds)


class StreamsGroupCurrentMemberAssignmentKey(CoordinatorKey, record_type=22, versions="0"):
    group_id: str = string()
    member_id: str = string()


class StreamsGroupCurrentMemberAssignmentValue(InternalRecord, versions="0", flexible="0+"):
    class TaskIds(Structure):
        subtopology_id: str = string()
        partitions: list[int] = array(int32)
        assignment_epochs: list[int] | None = nullable_array(int32, tag=0)

    member_epoch: int = int32()
    previous_member_epoch: int = int32()
    state: int = int8()
    active_tasks: list[TaskIds] = array(TaskIds)
    standby_tasks: list[TaskIds] = array(TaskIds)
    warmup_tasks: list[TaskIds] = array(TaskIds)
    active_tasks_pending_revocation: list[TaskIds] = array(TaskIds)
    standby_tasks_pending_revocation: list[TaskIds] = array(TaskIds)
    warmup_tasks_pending_revocation: list[TaskIds] = array(TaskIds)


class StreamsGroupTopologyKey(CoordinatorKey, record_type=23, versions="0"):
    group_id: str = string()


class StreamsGroupTopologyValue(InternalRecord, versions="0", flexible="0+"):
    class TopicConfig(Structure):
        key: str = string()
        value: str = string()

    class TopicInfo(Structure):
        name: str = string()
        partitions: int = int32()
        replication_factor: int = int16()
        topic_configs: list[StreamsGroupTopologyValue.TopicConfig] = array("TopicConfig")

    class Subtopology(Structure):
        class CopartitionGroup(Structure):
            source_topics: list[int] = array(int16)
            source_topic_regex: list[int] = array(int16)
            repartition_source_topics: list[int] = array(int16)

        subtopology_id: str = string()
        source_topics: list[str] = array(string)
        source_topic_regex: list[str] = array(string)
        state_changelog_topics: list[StreamsGroupTopologyValue.TopicInfo] = array("TopicInfo")
        repartition_sink_topics: list[str] = array(string)
        repartition_source_topics: list[StreamsGroupTopologyValue.TopicInfo] = array("TopicInfo")
        copartition_groups: list[CopartitionGroup] = array(CopartitionGroup)

    epoch: int = int32()
    subtopologies: list[Subtopology] = array(Subtopology)
