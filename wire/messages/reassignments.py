"""Which brokers hold a partition, and which of them leads it.

ElectLeaders (key 43, versions 0-2, flexible from 2). 1: unclean elections, too (KIP-460).

AlterPartitionReassignments (key 45, versions 0-1, flexible) and ListPartitionReassignments (key 46, version 0,
flexible): KIP-455. Alter 1: whether the replication factor may change.

AlterPartition (key 56, versions 2-3, flexible): a leader proposes new in-sync replicas (KIP-497). 2: topic ids
(KIP-841). 3: with the replicas' broker epochs (KIP-903).
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
    int64,
    nullable_array,
    nullable_string,
    string,
    uuid,
)


class ElectLeadersRequest(Request, api_key=43, versions="0-2", flexible="2+"):
    class TopicPartitions(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    election_type: int = int8("1+")
    topic_partitions: list[TopicPartitions] | None = nullable_array(TopicPartitions)
    timeout_ms: int = int32(default=60000)


class ElectLeadersResponse(Response, api_key=43, versions="0-2", flexible="2+"):
    class ReplicaElectionResult(Structure):
        class PartitionResult(Structure):
            partition_id: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string()

        topic: str = string()
        partition_result: list[PartitionResult] = array(PartitionResult)

    throttle_time_ms: int = int32()
    error_code: int = int16("1+")
    replica_election_results: list[ReplicaElectionResult] = array(ReplicaElectionResult)


class AlterPartitionReassignmentsRequest(Request, api_key=45, versions="0-1", flexible="0+"):
    class ReassignableTopic(Structure):
        class ReassignablePartition(Structure):
            partition_index: int = int32()
            replicas: list[int] | None = nullable_array(int32, default=None)

        name: str = string()
        partitions: list[ReassignablePartition] = array(ReassignablePartition)

    timeout_ms: int = int32(default=60000)
    allow_replication_factor_change: bool = boolean("1+", default=True)
    topics: list[ReassignableTopic] = array(ReassignableTopic)


class AlterPartitionReassignmentsResponse(Response, api_key=45, versions="0-1", flexible="0+"):
    class ReassignableTopicResponse(Structure):
        class ReassignablePartitionResponse(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string()

        name: str = string()
        partitions: list[ReassignablePartitionResponse] = array(ReassignablePartitionResponse)

    throttle_time_ms: int = int32()
    allow_replication_factor_change: bool = boolean("1+", default=True, ignorable=True)
    error_code: int = int16()
    error_message: str | None = nullable_string()
    responses: list[ReassignableTopicResponse] = array(ReassignableTopicResponse)


class ListPartitionReassignmentsRequest(Request, api_key=46, versions="0", flexible="0+"):
    class ListPartitionReassignmentsTopics(Structure):
        name: str = string()
        partition_indexes: list[int] = array(int32)

    timeout_ms: int = int32(default=60000)
    topics: list[ListPartitionReassignmentsTopics] | None = nullable_array(
        ListPartitionReassignmentsTopics, default=None
    )


class ListPartitionReassignmentsResponse(Response, api_key=46, versions="0", flexible="0+"):
    class OngoingTopicReassignment(Structure):
        class OngoingPartitionReassignment(Structure):
            partition_index: int = int32()
            replicas: list[int] = array(int32)
            adding_replicas: list[int] = array(int32)
            removing_replicas: list[int] = array(int32)

        name: str = string()
        partitions: list[OngoingPartitionReassignment] = array(OngoingPartitionReassignment)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()
    topics: list[OngoingTopicReassignment] = array(OngoingTopicReassignment)


class AlterPartitionRequest(Request, api_key=56, versions="2-3", flexible="2+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            class BrokerState(Structure):
                broker_id: int = int32()
                broker_epoch: int = int64(default=-1)

            partition_index: int = int32()
            leader_epoch: int = int32()
            new_isr: list[int] = array(int32, "0-2")
            new_isr_with_epochs: list[BrokerState] = array(BrokerState, "3+")
            leader_recovery_state: int = int8()
            partition_epoch: int = int32()

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    broker_id: int = int32()
    broker_epoch: int = int64(default=-1)
    topics: list[TopicData] = array(TopicData)


class AlterPartitionResponse(Response, api_key=56, versions="2-3", flexible="2+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            leader_id: int = int32()
            leader_epoch: int = int32()
            isr: list[int] = array(int32)
            leader_recovery_state: int = int8()
            partition_epoch: int = int32()

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    topics: list[TopicData] = array(TopicData)
