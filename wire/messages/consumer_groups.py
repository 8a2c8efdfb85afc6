"""The new consumer protocol (KIP-848), in which the coordinator assigns.

ConsumerGroupHeartbeat (key 68, versions 0-1, flexible): 1: a regular expression as subscription; the client chooses
its member id (KIP-1082).
ConsumerGroupDescribe (key 69, versions 0-1, flexible): 1: whether a member speaks the new protocol (KIP-1099).
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    boolean,
    int8,
    int16,
    int32,
    nullable_array,
    nullable_string,
    nullable_structure,
    string,
    structure,
    uuid,
)


class ConsumerGroupHeartbeatRequest(Request, api_key=68, versions="0-1", flexible="0+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()
    instance_id: str | None = nullable_string(default=None)
    rack_id: str | None = nullable_string(default=None)
    rebalance_timeout_ms: int = int32(default=-1)
    subscribed_topic_names: list[str] | None = nullable_array(string, default=None)
    subscribed_topic_regex: str | None = nullable_string("1+", default=None)
    server_assignor: str | None = nullable_string(default=None)
    topic_partitions: list[TopicPartitions] | None = nullable_array(TopicPartitions, default=None)


class ConsumerGroupHeartbeatResponse(Response, api_key=68, versions="0-1", flexible="0+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        partitions: list[int] = array(int32)

    class Assignment(Structure):
        topic_partitions: list[ConsumerGroupHeartbeatResponse.TopicPartitions] = array("TopicPartitions")

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    member_id: str | None = nullable_string(default=None)
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    assignment: Assignment | None = nullable_structure(Assignment, default=None)


class ConsumerGroupDescribeRequest(Request, api_key=69, versions="0-1", flexible="0+"):
    group_ids: list[str] = array(string)
    include_authorized_operations: bool = boolean()


class ConsumerGroupDescribeResponse(Response, api_key=69, versions="0-1", flexible="0+"):
    class TopicPartitions(Structure):
        topic_id: UUID = uuid()
        topic_name: str = string()
        partitions: list[int] = array(int32)

    class Assignment(Structure):
        topic_partitions: list[ConsumerGroupDescribeResponse.TopicPartitions] = array("TopicPartitions")

    class DescribedGroup(Structure):
        class Member(Structure):
            member_id: str = string()
            instance_id: str | None = nullable_string(default=None)
            rack_id: str | None = nullable_string(default=None)
            member_epoch: int = int32()
            client_id: str = string()
            client_host: str = string()
            subscribed_topic_names: list[str] = array(string)
            subscribed_topic_regex: str | None = nullable_string(default=None)
            assignment: ConsumerGroupDescribeResponse.Assignment = structure("Assignment")
            target_assignment: ConsumerGroupDescribeResponse.Assignment = structure("Assignment")
            member_type: int = int8("1+", default=-1, ignorable=True)

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
