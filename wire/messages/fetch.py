"""Fetch (key 1, versions 4-18, flexible from 12): consumers and followers read batches.

- 4: isolation levels, the last stable offset and aborted transactions (KIP-98); record format v2.
- 5: log start offsets. 7: incremental fetch sessions (KIP-227). 9: leader epochs that fence (KIP-320).
- 10: batches may be compressed with zstd (KIP-110). 11: reading from the nearest replica (KIP-392).
- 12: the last fetched epoch, answered with where the logs diverge (KIP-595).
- 13: topic ids instead of names (KIP-516). 14: the error OFFSET_MOVED_TO_TIERED_STORAGE (KIP-405).
- 15: a follower's id and epoch as one tagged structure (KIP-903). 16: tagged addresses of new leaders (KIP-951).
- 17: the follower's directory id (KIP-853). 18: the follower's high watermark (KIP-1166).
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
    int8,
    int16,
    int32,
    int64,
    nullable_array,
    nullable_string,
    records,
    string,
    structure,
    uuid,
)


class FetchRequest(Request, api_key=1, versions="4-18", flexible="12+"):
    class ReplicaState(Structure):
        replica_id: int = int32(default=-1)
        replica_epoch: int = int64(default=-1)

    class FetchTopic(Structure):
        class FetchPartition(Structure):
            partition: int = int32()
            current_leader_epoch: int = int32("9+", default=-1, ignorable=True)
            fetch_offset: int = int64()
            last_fetched_epoch: int = int32("12+", default=-1)
            log_start_offset: int = int64("5+", default=-1, ignorable=True)
            partition_max_bytes: int = int32()
            replica_directory_id: UUID = uuid("17+", ignorable=True, tag=0)
            high_watermark: int = int64("18+", default=2**63 - 1, ignorable=True, tag=1)

        topic: str = string("0-12", ignorable=True)
        topic_id: UUID = uuid("13+", ignorable=True)
        partitions: list[FetchPartition] = array(FetchPartition)

    class ForgottenTopic(Structure):
        topic: str = string("7-12", ignorable=True)
        topic_id: UUID = uuid("13+", ignorable=True)
        partitions: list[int] = array(int32)

    cluster_id: str | None = nullable_string("12+", default=None, ignorable=True, tag=0)
    replica_id: int = int32("0-14", default=-1)
    replica_state: ReplicaState = structure(ReplicaState, "15+", tag=1)
    max_wait_ms: int = int32()
    min_bytes: int = int32()
    max_bytes: int = int32(default=2**31 - 1)
    isolation_level: int = int8()
    session_id: int = int32("7+", ignorable=True)
    session_epoch: int = int32("7+", default=-1, ignorable=True)
    topics: list[FetchTopic] = array(FetchTopic)
    forgotten_topics_data: list[ForgottenTopic] = array(ForgottenTopic, "7+")
    rack_id: str = string("11+", ignorable=True)


class FetchResponse(Response, api_key=1, versions="4-18", flexible="12+"):
    class FetchableTopicResponse(Structure):
        class PartitionData(Structure):
            class EpochEndOffset(Structure):
                epoch: int = int32(default=-1)
                end_offset: int = int64(default=-1)

            class LeaderIdAndEpoch(Structure):
                leader_id: int = int32(default=-1)
                leader_epoch: int = int32(default=-1)

            class SnapshotId(Structure):
                end_offset: int = int64(default=-1)
                epoch: int = int32(default=-1)

            class AbortedTransaction(Structure):
                producer_id: int = int64()
                first_offset: int = int64()

            partition_index: int = int32()
            error_code: int = int16()
            high_watermark: int = int64()
            last_stable_offset: int = int64(default=-1)
            log_start_offset: int = int64("5+", default=-1, ignorable=True)
            diverging_epoch: EpochEndOffset = structure(EpochEndOffset, "12+", tag=0)
            current_leader: LeaderIdAndEpoch = structure(LeaderIdAndEpoch, "12+", tag=1)
            snapshot_id: SnapshotId = structure(SnapshotId, "12+", tag=2)
            aborted_transactions: list[AbortedTransaction] | None = nullable_array(AbortedTransaction)
            preferred_read_replica: int = int32("11+", default=-1)
            records: Buffer | Payload | None = records()

        topic: str = string("0-12", ignorable=True)
        topic_id: UUID = uuid("13+", ignorable=True)
        partitions: list[PartitionData] = array(PartitionData)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = int32()
        rack: str | None = nullable_string(default=None)

    throttle_time_ms: int = int32()
    error_code: int = int16("7+", ignorable=True)
    session_id: int = int32("7+")
    responses: list[FetchableTopicResponse] = array(FetchableTopicResponse)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "16+", tag=0)
