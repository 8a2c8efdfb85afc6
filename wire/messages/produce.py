"""Produce (key 0, versions 3-13, flexible from 9): a producer appends batches to partitions.

- 3: transactional ids and record format v2. Older versions are not in the codec; ApiVersions names them all the
  same, because librdkafka looks for version 0 (KAFKA-18659).
- 5: the response has each log's start offset.
- 7: batches may be compressed with zstd (KIP-110).
- 8: the response says which records were refused, and why (KIP-467).
- 10: tagged, the current leader and its address, when this broker is not the leader any more (KIP-951).
- 11: the error TRANSACTION_ABORTABLE. 12: a produce adds its partitions to the transaction by itself (both KIP-890).
- 13: topic ids instead of names (KIP-516).
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    Buffer,
    Request,
    Response,
    Structure,
    array,
    int16,
    int32,
    int64,
    nullable_string,
    records,
    string,
    structure,
    uuid,
)


class ProduceRequest(Request, api_key=0, versions="3-13", flexible="9+"):
    class TopicProduceData(Structure):
        class PartitionProduceData(Structure):
            index: int = int32()
            records: Buffer | None = records()

        name: str = string("0-12", ignorable=True)
        topic_id: UUID = uuid("13+", ignorable=True)
        partition_data: list[PartitionProduceData] = array(PartitionProduceData)

    transactional_id: str | None = nullable_string(default=None)
    acks: int = int16()
    timeout_ms: int = int32()
    topic_data: list[TopicProduceData] = array(TopicProduceData)


class ProduceResponse(Response, api_key=0, versions="3-13", flexible="9+"):
    class TopicProduceResponse(Structure):
        class PartitionProduceResponse(Structure):
            class BatchIndexAndErrorMessage(Structure):
                batch_index: int = int32()
                batch_index_error_message: str | None = nullable_string(default=None)

            class LeaderIdAndEpoch(Structure):
                leader_id: int = int32(default=-1)
                leader_epoch: int = int32(default=-1)

            index: int = int32()
            error_code: int = int16()
            base_offset: int = int64()
            log_append_time_ms: int = int64(default=-1)
            log_start_offset: int = int64("5+", default=-1, ignorable=True)
            record_errors: list[BatchIndexAndErrorMessage] = array(
                BatchIndexAndErrorMessage, "8+", ignorable=True
            )
            error_message: str | None = nullable_string("8+", default=None, ignorable=True)
            current_leader: LeaderIdAndEpoch = structure(LeaderIdAndEpoch, "10+", tag=0)

        name: str = string("0-12", ignorable=True)
        topic_id: UUID = uuid("13+", ignorable=True)
        partition_responses: list[PartitionProduceResponse] = array(PartitionProduceResponse)

    class NodeEndpoint(Structure):
        node_id: int = int32()
        host: str = string()
        port: int = int32()
        rack: str | None = nullable_string(default=None)

    responses: list[TopicProduceResponse] = array(TopicProduceResponse)
    throttle_time_ms: int = int32()
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "10+", tag=0)
