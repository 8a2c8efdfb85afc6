"""Kafka's own metadata quorum, KRaft (KIP-595, KIP-630, KIP-853).

kbroker keeps its metadata elsewhere: these are here so that the codec is complete, and for DescribeQuorum.

Vote (key 52, versions 0-2, flexible): 1: directory ids. 2: pre-votes (KIP-996).
BeginQuorumEpoch (key 53, versions 0-1, flexible from 1), EndQuorumEpoch (key 54, versions 0-1, flexible from 1):
1: directory ids and the leader's addresses.
DescribeQuorum (key 55, versions 0-2, flexible): 1: when a replica last fetched (KIP-836). 2: directory ids, nodes.
FetchSnapshot (key 59, versions 0-1, flexible).
AddRaftVoter (key 80, versions 0-1, flexible), RemoveRaftVoter (key 81, version 0, flexible), UpdateRaftVoter
(key 82, version 0, flexible): the set of voters. AddRaftVoter 1: acknowledged once it is committed, or before.
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
    int16,
    int32,
    int64,
    nullable_string,
    records,
    string,
    structure,
    uint16,
    uuid,
)


class VoteRequest(Request, api_key=52, versions="0-2", flexible="0+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            replica_epoch: int = int32()
            replica_id: int = int32()
            replica_directory_id: UUID = uuid("1+", ignorable=True)
            voter_directory_id: UUID = uuid("1+", ignorable=True)
            last_offset_epoch: int = int32()
            last_offset: int = int64()
            pre_vote: bool = boolean("2+")

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    cluster_id: str | None = nullable_string(default=None)
    voter_id: int = int32("1+", default=-1, ignorable=True)
    topics: list[TopicData] = array(TopicData)


class VoteResponse(Response, api_key=52, versions="0-2", flexible="0+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            leader_id: int = int32()
            leader_epoch: int = int32()
            vote_granted: bool = boolean()

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = uint16()

    error_code: int = int16()
    topics: list[TopicData] = array(TopicData)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "1+", tag=0)


class BeginQuorumEpochRequest(Request, api_key=53, versions="0-1", flexible="1+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            voter_directory_id: UUID = uuid("1+", ignorable=True)
            leader_id: int = int32()
            leader_epoch: int = int32()

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    class LeaderEndpoint(Structure):
        name: str = string()
        host: str = string()
        port: int = uint16()

    cluster_id: str | None = nullable_string(default=None)
    voter_id: int = int32("1+", default=-1, ignorable=True)
    topics: list[TopicData] = array(TopicData)
    leader_endpoints: list[LeaderEndpoint] = array(LeaderEndpoint, "1+", ignorable=True)


class BeginQuorumEpochResponse(Response, api_key=53, versions="0-1", flexible="1+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            leader_id: int = int32()
            leader_epoch: int = int32()

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = uint16()

    error_code: int = int16()
    topics: list[TopicData] = array(TopicData)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "1+", tag=0)


class EndQuorumEpochRequest(Request, api_key=54, versions="0-1", flexible="1+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            class ReplicaInfo(Structure):
                candidate_id: int = int32()
                candidate_directory_id: UUID = uuid()

            partition_index: int = int32()
            leader_id: int = int32()
            leader_epoch: int = int32()
            preferred_successors: list[int] = array(int32, "0", ignorable=True)
            preferred_candidates: list[ReplicaInfo] = array(ReplicaInfo, "1+", ignorable=True)

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    class LeaderEndpoint(Structure):
        name: str = string()
        host: str = string()
        port: int = uint16()

    cluster_id: str | None = nullable_string(default=None)
    topics: list[TopicData] = array(TopicData)
    leader_endpoints: list[LeaderEndpoint] = array(LeaderEndpoint, "1+", ignorable=True)


class EndQuorumEpochResponse(Response, api_key=54, versions="0-1", flexible="1+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            leader_id: int = int32()
            leader_epoch: int = int32()

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = uint16()

    error_code: int = int16()
    topics: list[TopicData] = array(TopicData)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "1+", tag=0)


class DescribeQuorumRequest(Request, api_key=55, versions="0-2", flexible="0+"):
    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    topics: list[TopicData] = array(TopicData)


class DescribeQuorumResponse(Response, api_key=55, versions="0-2", flexible="0+"):
    class ReplicaState(Structure):
        replica_id: int = int32()
        replica_directory_id: UUID = uuid("2+")
        log_end_offset: int = int64()
        last_fetch_timestamp: int = int64("1+", default=-1, ignorable=True)
        last_caught_up_timestamp: int = int64("1+", default=-1, ignorable=True)

    class TopicData(Structure):
        class PartitionData(Structure):
            partition_index: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string("2+", ignorable=True)
            leader_id: int = int32()
            leader_epoch: int = int32()
            high_watermark: int = int64()
            current_voters: list[DescribeQuorumResponse.ReplicaState] = array("ReplicaState")
            observers: list[DescribeQuorumResponse.ReplicaState] = array("ReplicaState")

        topic_name: str = string()
        partitions: list[PartitionData] = array(PartitionData)

    class Node(Structure):
        class Listener(Structure):
            name: str = string()
            host: str = string()
            port: int = uint16()

        node_id: int = int32()
        listeners: list[Listener] = array(Listener)

    error_code: int = int16()
    error_message: str | None = nullable_string("2+", ignorable=True)
    topics: list[TopicData] = array(TopicData)
    nodes: list[Node] = array(Node, "2+")


class FetchSnapshotRequest(Request, api_key=59, versions="0-1", flexible="0+"):
    class TopicSnapshot(Structure):
        class PartitionSnapshot(Structure):
            class SnapshotId(Structure):
                end_offset: int = int64()
                epoch: int = int32()

            partition: int = int32()
            current_leader_epoch: int = int32()
            snapshot_id: SnapshotId = structure(SnapshotId)
            position: int = int64()
            replica_directory_id: UUID = uuid("1+", ignorable=True, tag=0)

        name: str = string()
        partitions: list[PartitionSnapshot] = array(PartitionSnapshot)

    cluster_id: str | None = nullable_string(default=None, tag=0)
    replica_id: int = int32(default=-1)
    max_bytes: int = int32(default=2**31 - 1)
    topics: list[TopicSnapshot] = array(TopicSnapshot)


class FetchSnapshotResponse(Response, api_key=59, versions="0-1", flexible="0+"):
    class TopicSnapshot(Structure):
        class PartitionSnapshot(Structure):
            class SnapshotId(Structure):
                end_offset: int = int64()
                epoch: int = int32()

            class LeaderIdAndEpoch(Structure):
                leader_id: int = int32()
                leader_epoch: int = int32()

            index: int = int32()
            error_code: int = int16()
            snapshot_id: SnapshotId = structure(SnapshotId)
            current_leader: LeaderIdAndEpoch = structure(LeaderIdAndEpoch, tag=0)
            size: int = int64()
            position: int = int64()
            unaligned_records: Buffer | Payload | None = records(nullable="none")

        name: str = string()
        partitions: list[PartitionSnapshot] = array(PartitionSnapshot)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = uint16()

    throttle_time_ms: int = int32()
    error_code: int = int16()
    topics: list[TopicSnapshot] = array(TopicSnapshot)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "1+", tag=0)


class AddRaftVoterRequest(Request, api_key=80, versions="0-1", flexible="0+"):
    class Listener(Structure):
        name: str = string()
        host: str = string()
        port: int = uint16()

    cluster_id: str | None = nullable_string()
    timeout_ms: int = int32()
    voter_id: int = int32()
    voter_directory_id: UUID = uuid()
    listeners: list[Listener] = array(Listener)
    ack_when_committed: bool = boolean("1+", default=True)


class AddRaftVoterResponse(Response, api_key=80, versions="0-1", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()


class RemoveRaftVoterRequest(Request, api_key=81, versions="0", flexible="0+"):
    cluster_id: str | None = nullable_string()
    voter_id: int = int32()
    voter_directory_id: UUID = uuid()


class RemoveRaftVoterResponse(Response, api_key=81, versions="0", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()


class UpdateRaftVoterRequest(Request, api_key=82, versions="0", flexible="0+"):
    class Listener(Structure):
        name: str = string()
        host: str = string()
        port: int = uint16()

    class KRaftVersionFeature(Structure):
        min_supported_version: int = int16()
        max_supported_version: int = int16()

    cluster_id: str | None = nullable_string()
    current_leader_epoch: int = int32()
    voter_id: int = int32()
    voter_directory_id: UUID = uuid()
    listeners: list[Listener] = array(Listener)
    kraft_version_feature: KRaftVersionFeature = structure(KRaftVersionFeature)


class UpdateRaftVoterResponse(Response, api_key=82, versions="0", flexible="0+"):
    class CurrentLeader(Structure):
        leader_id: int = int32(default=-1)
        leader_epoch: int = int32(default=-1)
        host: str = string()
        port: int = int32()

    throttle_time_ms: int = int32()
    error_code: int = int16()
    current_leader: CurrentLeader = structure(CurrentLeader, tag=0)
