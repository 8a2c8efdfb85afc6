"""Topics: creation, deletion, and more partitions.

CreateTopics (key 19, versions 2-7, flexible from 5).
- 4: -1 partitions or replicas mean the broker's default (KIP-464). 5: the response has the configuration (KIP-525).
- 6: THROTTLING_QUOTA_EXCEEDED (KIP-599). 7: the response has the topic id.

DeleteTopics (key 20, versions 1-6, flexible from 4). 5: error messages. 6: by topic id, too (KIP-516).

CreatePartitions (key 37, versions 0-3, flexible from 2): KIP-195. 3: THROTTLING_QUOTA_EXCEEDED.
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
    string,
    uuid,
)


class CreateTopicsRequest(Request, api_key=19, versions="2-7", flexible="5+"):
    class CreatableTopic(Structure):
        class CreatableReplicaAssignment(Structure):
            partition_index: int = int32()
            broker_ids: list[int] = array(int32)

        class CreatableTopicConfig(Structure):
            name: str = string()
            value: str | None = nullable_string()

        name: str = string()
        num_partitions: int = int32()
        replication_factor: int = int16()
        assignments: list[CreatableReplicaAssignment] = array(CreatableReplicaAssignment)
        configs: list[CreatableTopicConfig] = array(CreatableTopicConfig)

    topics: list[CreatableTopic] = array(CreatableTopic)
    timeout_ms: int = int32(default=60000)
    validate_only: bool = boolean()


class CreateTopicsResponse(Response, api_key=19, versions="2-7", flexible="5+"):
    class CreatableTopicResult(Structure):
        class CreatableTopicConfigs(Structure):
            name: str = string()
            value: str | None = nullable_string()
            read_only: bool = boolean()
            config_source: int = int8(default=-1, ignorable=True)
            is_sensitive: bool = boolean()

        name: str = string()
        topic_id: UUID = uuid("7+", ignorable=True)
        error_code: int = int16()
        error_message: str | None = nullable_string()
        topic_config_error_code: int = int16("5+", ignorable=True, tag=0)
        num_partitions: int = int32("5+", default=-1, ignorable=True)
        replication_factor: int = int16("5+", default=-1, ignorable=True)
        configs: list[CreatableTopicConfigs] | None = nullable_array(
            CreatableTopicConfigs, "5+", ignorable=True
        )

    throttle_time_ms: int = int32()
    topics: list[CreatableTopicResult] = array(CreatableTopicResult)


class DeleteTopicsRequest(Request, api_key=20, versions="1-6", flexible="4+"):
    class DeleteTopicState(Structure):
        name: str | None = nullable_string(default=None)
        topic_id: UUID = uuid()

    topics: list[DeleteTopicState] = array(DeleteTopicState, "6+")
    topic_names: list[str] = array(string, "0-5", ignorable=True)
    timeout_ms: int = int32()


class DeleteTopicsResponse(Response, api_key=20, versions="1-6", flexible="4+"):
    class DeletableTopicResult(Structure):
        name: str | None = nullable_string(nullable="6+")
        topic_id: UUID = uuid("6+", ignorable=True)
        error_code: int = int16()
        error_message: str | None = nullable_string("5+", default=None, ignorable=True)

    throttle_time_ms: int = int32()
    responses: list[DeletableTopicResult] = array(DeletableTopicResult)


class CreatePartitionsRequest(Request, api_key=37, versions="0-3", flexible="2+"):
    class CreatePartitionsTopic(Structure):
        class CreatePartitionsAssignment(Structure):
            broker_ids: list[int] = array(int32)

        name: str = string()
        count: int = int32()
        assignments: list[CreatePartitionsAssignment] | None = nullable_array(CreatePartitionsAssignment)

    topics: list[CreatePartitionsTopic] = array(CreatePartitionsTopic)
    timeout_ms: int = int32()
    validate_only: bool = boolean()


class CreatePartitionsResponse(Response, api_key=37, versions="0-3", flexible="2+"):
    class CreatePartitionsTopicResult(Structure):
        name: str = string()
        error_code: int = int16()
        error_message: str | None = nullable_string(default=None)

    throttle_time_ms: int = int32()
    results: list[CreatePartitionsTopicResult] = array(CreatePartitionsTopicResult)
