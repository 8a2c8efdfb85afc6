"""Groups of Kafka Streams, whose tasks the coordinator assigns (KIP-1071).

StreamsGroupHeartbeat (key 88, version 0, flexible), StreamsGroupDescribe (key 89, version 0, flexible).
"""

from __future__ import annotations

from wire.schema import (
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
    string,
    structure,
    uint16,
)


class StreamsGroupHeartbeatRequest(Request, api_key=88, versions="0", flexible="0+"):
    class KeyValue(Structure):
        key: str = string()
        value: str = string()

    class TopicInfo(Structure):
        name: str = string()
        partitions: int = int32()
        replication_factor: int = int16()
        topic_configs: list[StreamsGroupHeartbeatRequest.KeyValue] = array("KeyValue")

    class Endpoint(Structure):
        host: str = string()
        port: int = uint16()

    class TaskOffset(Structure):
        subtopology_id: str = string()
        partition: int = int32()
        offset: int = int64()

    class TaskIds(Structure):
        subtopology_id: str = string()
        partitions: list[int] = array(int32)

    class Topology(Structure):
        class Subtopology(Structure):
            class CopartitionGroup(Structure):
                source_topics: list[int] = array(int16)
                source_topic_regex: list[int] = array(int16)
                repartition_source_topics: list[int] = array(int16)

            subtopology_id: str = string()
            source_topics: list[str] = array(string)
            source_topic_regex: list[str] = array(string)
            state_changelog_topics: list[StreamsGroupHeartbeatRequest.TopicInfo] = array("TopicInfo")
            repartition_sink_topics: list[str] = array(string)
            repartition_source_topics: list[StreamsGroupHeartbeatRequest.TopicInfo] = array("TopicInfo")
            copartition_groups: list[CopartitionGroup] = array(CopartitionGroup)

        epoch: int = int32()
        subtopologies: list[Subtopology] = array(Subtopology)

    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()
    endpoint_information_epoch: int = int32()
    instance_id: str | None = nullable_string(default=None)
    rack_id: str | None = nullable_string(default=None)
    rebalance_timeout_ms: int = int32(default=-1)
    topology: Topology | None = nullable_structure(Topology, default=None)
    active_tasks: list[TaskIds] | None = nullable_array(TaskIds, default=None)
    standby_tasks: list[TaskIds] | None = nullable_array(TaskIds, default=None)
    warmup_tasks: list[TaskIds] | None = nullable_array(TaskIds, default=None)
    process_id: str | None = nullable_string(default=None)
    user_endpoint: Endpoint | None = nullable_structure(Endpoint, default=None)
    client_tags: list[KeyValue] | None = nullable_array(KeyValue, default=None)
    task_offsets: list[TaskOffset] | None = nullable_array(TaskOffset, default=None)
    task_end_offsets: list[TaskOffset] | None = nullable_array(TaskOffset, default=None)
    shutdown_application: bool = boolean()


class StreamsGroupHeartbeatResponse(Response, api_key=88, versions="0", flexible="0+"):
    class Status(Structure):
        status_code: int = int8()
        status_detail: str = string()

    class TopicPartition(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    class TaskIds(Structure):
        subtopology_id: str = string()
        partitions: list[int] = array(int32)

    class Endpoint(Structure):
        host: str = string()
        port: int = uint16()

    class EndpointToPartitions(Structure):
        user_endpoint: StreamsGroupHeartbeatResponse.Endpoint = structure("Endpoint")
        active_partitions: list[StreamsGroupHeartbeatResponse.TopicPartition] = array("TopicPartition")
        standby_partitions: list[StreamsGroupHeartbeatResponse.TopicPartition] = array("TopicPartition")

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    member_id: str = string()
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    acceptable_recovery_lag_legacy: int = int32()
    task_offset_interval_ms: int = int32()
    status: list[Status] | None = nullable_array(Status)
    active_tasks: list[TaskIds] | None = nullable_array(TaskIds, default=None)
    standby_tasks: list[TaskIds] | None = nullable_array(TaskIds, default=None)
    warmup_tasks: list[TaskIds] | None = nullable_array(TaskIds, default=None)
    endpoint_information_epoch: int = int32()
    partitions_by_user_endpoint: list[EndpointToPartitions] | None = nullable_array(
        EndpointToPartitions, default=None
    )


class StreamsGroupDescribeRequest(Request, api_key=89, versions="0", flexible="0+"):
    group_ids: list[str] = array(string)
    include_authorized_operations: bool = boolean()


class StreamsGroupDescribeResponse(Response, api_key=89, versions="0", flexible="0+"):
    class Endpoint(Structure):
        host: str = string()
        port: int = uint16()

    class TaskOffset(Structure):
        subtopology_id: str = string()
        partition: int = int32()
        offset: int = int64()

    class TaskIds(Structure):
        subtopology_id: str = string()
        partitions: list[int] = array(int32)

    class Assignment(Structure):
        active_tasks: list[StreamsGroupDescribeResponse.TaskIds] = array("TaskIds")
        standby_tasks: list[StreamsGroupDescribeResponse.TaskIds] = array("TaskIds")
        warmup_tasks: list[StreamsGroupDescribeResponse.TaskIds] = array("TaskIds")

    class KeyValue(Structure):
        key: str = string()
        value: str = string()

    class TopicInfo(Structure):
        name: str = string()
        partitions: int = int32()
        replication_factor: int = int16()
        topic_configs: list[StreamsGroupDescribeResponse.KeyValue] = array("KeyValue")

    class DescribedGroup(Structure):
        class Topology(Structure):
            class Subtopology(Structure):
                subtopology_id: str = string()
                source_topics: list[str] = array(string)
                repartition_sink_topics: list[str] = array(string)
                state_changelog_topics: list[StreamsGroupDescribeResponse.TopicInfo] = array("TopicInfo")
                repartition_source_topics: list[StreamsGroupDescribeResponse.TopicInfo] = array("TopicInfo")

            epoch: int = int32()
            subtopologies: list[Subtopology] | None = nullable_array(Subtopology, default=None)

        class Member(Structure):
            member_id: str = string()
            member_epoch: int = int32()
            instance_id: str | None = nullable_string(default=None)
            rack_id: str | None = nullable_string(default=None)
            client_id: str = string()
            client_host: str = string()
            topology_epoch: int = int32()
            process_id: str = string()
            user_endpoint: StreamsGroupDescribeResponse.Endpoint | None = nullable_structure(
                "Endpoint", default=None
            )
            client_tags: list[StreamsGroupDescribeResponse.KeyValue] = array("KeyValue")
            task_offsets: list[StreamsGroupDescribeResponse.TaskOffset] = array("TaskOffset")
            task_end_offsets: list[StreamsGroupDescribeResponse.TaskOffset] = array("TaskOffset")
            assignment: StreamsGroupDescribeResponse.Assignment = structure("Assignment")
            target_assignment: StreamsGroupDescribeResponse.Assignment = structure("Assignment")
            is_classic: bool = boolean()

        error_code: int = int16()
        error_message: str | None = nullable_string(default=None)
        group_id: str = string()
        group_state: str = string()
        group_epoch: int = int32()
        assignment_epoch: int = int32()
        topology: Topology | None = nullable_structure(Topology, default=None)
        members: list[Member] = array(Member)
        authorized_operations: int = int32(default=-(2**31))

    throttle_time_ms: int = int32()
    groups: list[DescribedGroup] = array(DescribedGroup)
