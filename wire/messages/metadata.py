"""What a client needs to know before it can do anything: brokers, topics, partitions and their leaders.

Metadata (key 3, versions 0-13, flexible from 9). In version 0 an empty list of topics means all of them; later
null means all, and an empty list none.
- 1: racks, the controller, internal topics. 2: the cluster id. 4: whether topics may be created automatically.
- 5: offline replicas. 7: leader epochs (KIP-320). 8: authorized operations (KIP-430), those of the cluster until 10
  (DescribeCluster has them from then on, KIP-700).
- 10: topic ids (KIP-516); a request by id works from 12, with a null name. 13: an error for the whole response.

DescribeCluster (key 60, versions 0-2, flexible): KIP-700. 1: brokers or controllers (KIP-919). 2: fenced brokers,
too (KIP-1073).

DescribeTopicPartitions (key 75, version 0, flexible): topics in pages, with eligible leader replicas (KIP-966).
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
    uuid,
)


class MetadataRequest(Request, api_key=3, versions="0-13", flexible="9+"):
    class MetadataRequestTopic(Structure):
        topic_id: UUID = uuid("10+", ignorable=True)
        name: str | None = nullable_string(nullable="10+")

    topics: list[MetadataRequestTopic] | None = nullable_array(MetadataRequestTopic, nullable="1+")
    allow_auto_topic_creation: bool = boolean("4+", default=True)
    include_cluster_authorized_operations: bool = boolean("8-10")
    include_topic_authorized_operations: bool = boolean("8+")


class MetadataResponse(Response, api_key=3, versions="0-13", flexible="9+"):
    class MetadataResponseBroker(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = int32()
        rack: str | None = nullable_string("1+", default=None, ignorable=True)

    class MetadataResponseTopic(Structure):
        class MetadataResponsePartition(Structure):
            error_code: int = int16()
            partition_index: int = int32()
            leader_id: int = int32()
            leader_epoch: int = int32("7+", default=-1, ignorable=True)
            replica_nodes: list[int] = array(int32)
            isr_nodes: list[int] = array(int32)
            offline_replicas: list[int] = array(int32, "5+", ignorable=True)

        error_code: int = int16()
        name: str | None = nullable_string(nullable="12+")
        topic_id: UUID = uuid("10+", ignorable=True)
        is_internal: bool = boolean("1+", ignorable=True)
        partitions: list[MetadataResponsePartition] = array(MetadataResponsePartition)
        topic_authorized_operations: int = int32("8+", default=-(2**31))

    throttle_time_ms: int = int32("3+", ignorable=True)
    brokers: list[MetadataResponseBroker] = array(MetadataResponseBroker)
    cluster_id: str | None = nullable_string("2+", default=None, ignorable=True)
    controller_id: int = int32("1+", default=-1, ignorable=True)
    topics: list[MetadataResponseTopic] = array(MetadataResponseTopic)
    cluster_authorized_operations: int = int32("8-10", default=-(2**31))
    error_code: int = int16("13+", ignorable=True)


class DescribeClusterRequest(Request, api_key=60, versions="0-2", flexible="0+"):
    include_cluster_authorized_operations: bool = boolean()
    endpoint_type: int = int8("1+", default=1)
    include_fenced_brokers: bool = boolean("2+")


class DescribeClusterResponse(Response, api_key=60, versions="0-2", flexible="0+"):
    class DescribeClusterBroker(Structure):
        broker_id: int = int32()
        host: str = string()
        port: int = int32()
        rack: str | None = nullable_string(default=None)
        is_fenced: bool = boolean("2+")

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string(default=None)
    endpoint_type: int = int8("1+", default=1)
    cluster_id: str = string()
    controller_id: int = int32(default=-1)
    brokers: list[DescribeClusterBroker] = array(DescribeClusterBroker)
    cluster_authorized_operations: int = int32(default=-(2**31))


class DescribeTopicPartitionsRequest(Request, api_key=75, versions="0", flexible="0+"):
    class TopicRequest(Structure):
        name: str = string()

    class Cursor(Structure):
        topic_name: str = string()
        partition_index: int = int32()

    topics: list[TopicRequest] = array(TopicRequest)
    response_partition_limit: int = int32(default=2000)
    cursor: Cursor | None = nullable_structure(Cursor, default=None)


class DescribeTopicPartitionsResponse(Response, api_key=75, versions="0", flexible="0+"):
    class DescribeTopicPartitionsResponseTopic(Structure):
        class DescribeTopicPartitionsResponsePartition(Structure):
            error_code: int = int16()
            partition_index: int = int32()
            leader_id: int = int32()
            leader_epoch: int = int32(default=-1)
            replica_nodes: list[int] = array(int32)
            isr_nodes: list[int] = array(int32)
            eligible_leader_replicas: list[int] | None = nullable_array(int32, default=None)
            last_known_elr: list[int] | None = nullable_array(int32, default=None)
            offline_replicas: list[int] = array(int32)

        error_code: int = int16()
        name: str | None = nullable_string()
        topic_id: UUID = uuid()
        is_internal: bool = boolean()
        partitions: list[DescribeTopicPartitionsResponsePartition] = array(
            DescribeTopicPartitionsResponsePartition
        )
        topic_authorized_operations: int = int32(default=-(2**31))

    class Cursor(Structure):
        topic_name: str = string()
        partition_index: int = int32()

    throttle_time_ms: int = int32()
    topics: list[DescribeTopicPartitionsResponseTopic] = array(DescribeTopicPartitionsResponseTopic)
    next_cursor: Cursor | None = nullable_structure(Cursor, default=None)
