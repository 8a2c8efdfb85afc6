"""Transactions: what belongs to them, how they end, and what can be seen of them (KIP-98).

AddPartitionsToTxn (key 24, versions 0-5, flexible from 3). Up to 3 it is for clients; from 4 for brokers, which ask
about several transactions at once, or only whether partitions belong to one (KIP-890).

AddOffsetsToTxn (key 25, versions 0-4, flexible from 3).

EndTxn (key 26, versions 0-5, flexible from 3). 5: every transaction has an epoch of its own, which the response
tells (KIP-890).

WriteTxnMarkers (key 27, versions 1-2, flexible from 1): from a coordinator to the partitions' leaders. 2: the
transaction's version (KIP-1228).

TxnOffsetCommit (key 28, versions 0-6, flexible from 3). 2: leader epochs. 3: the group's generation and member
(KIP-447). 5: it adds the group to the transaction by itself (KIP-890). 6: topic ids in place of names (KIP-1319).

DescribeProducers (key 61, version 0, flexible), DescribeTransactions (key 65, version 0, flexible) and
ListTransactions (key 66, versions 0-2, flexible): KIP-664. ListTransactions 1: only old ones (KIP-994). 2: by a
pattern of their ids (KIP-1152).
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
    nullable_string,
    string,
    uuid,
)


class AddPartitionsToTxnRequest(Request, api_key=24, versions="0-5", flexible="3+"):
    class AddPartitionsToTxnTopic(Structure):
        name: str = string()
        partitions: list[int] = array(int32)

    class AddPartitionsToTxnTransaction(Structure):
        transactional_id: str = string()
        producer_id: int = int64()
        producer_epoch: int = int16()
        verify_only: bool = boolean()
        topics: list[AddPartitionsToTxnRequest.AddPartitionsToTxnTopic] = array("AddPartitionsToTxnTopic")

    transactions: list[AddPartitionsToTxnTransaction] = array(AddPartitionsToTxnTransaction, "4+")
    v3_and_below_transactional_id: str = string("0-3")
    v3_and_below_producer_id: int = int64("0-3")
    v3_and_below_producer_epoch: int = int16("0-3")
    v3_and_below_topics: list[AddPartitionsToTxnTopic] = array(AddPartitionsToTxnTopic, "0-3")


class AddPartitionsToTxnResponse(Response, api_key=24, versions="0-5", flexible="3+"):
    class AddPartitionsToTxnPartitionResult(Structure):
        partition_index: int = int32()
        partition_error_code: int = int16()

    class AddPartitionsToTxnTopicResult(Structure):
        name: str = string()
        results_by_partition: list[AddPartitionsToTxnResponse.AddPartitionsToTxnPartitionResult] = array(
            "AddPartitionsToTxnPartitionResult"
        )

    class AddPartitionsToTxnResult(Structure):
        transactional_id: str = string()
        topic_results: list[AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult] = array(
            "AddPartitionsToTxnTopicResult"
        )

    throttle_time_ms: int = int32()
    error_code: int = int16("4+", ignorable=True)
    results_by_transaction: list[AddPartitionsToTxnResult] = array(AddPartitionsToTxnResult, "4+")
    results_by_topic_v3_and_below: list[AddPartitionsToTxnTopicResult] = array(
        AddPartitionsToTxnTopicResult, "0-3"
    )


class AddOffsetsToTxnRequest(Request, api_key=25, versions="0-4", flexible="3+"):
    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    group_id: str = string()


class AddOffsetsToTxnResponse(Response, api_key=25, versions="0-4", flexible="3+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()


class EndTxnRequest(Request, api_key=26, versions="0-5", flexible="3+"):
    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    committed: bool = boolean()


class EndTxnResponse(Response, api_key=26, versions="0-5", flexible="3+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64("5+", default=-1, ignorable=True)
    producer_epoch: int = int16("5+", default=-1, ignorable=True)


class WriteTxnMarkersRequest(Request, api_key=27, versions="1-2", flexible="1+"):
    class WritableTxnMarker(Structure):
        class WritableTxnMarkerTopic(Structure):
            name: str = string()
            partition_indexes: list[int] = array(int32)

        producer_id: int = int64()
        producer_epoch: int = int16()
        transaction_result: bool = boolean()
        topics: list[WritableTxnMarkerTopic] = array(WritableTxnMarkerTopic)
        coordinator_epoch: int = int32()
        transaction_version: int = int8("2+", ignorable=True)

    markers: list[WritableTxnMarker] = array(WritableTxnMarker)


class WriteTxnMarkersResponse(Response, api_key=27, versions="1-2", flexible="1+"):
    class WritableTxnMarkerResult(Structure):
        class WritableTxnMarkerTopicResult(Structure):
            class WritableTxnMarkerPartitionResult(Structure):
                partition_index: int = int32()
                error_code: int = int16()

            name: str = string()
            partitions: list[WritableTxnMarkerPartitionResult] = array(WritableTxnMarkerPartitionResult)

        producer_id: int = int64()
        topics: list[WritableTxnMarkerTopicResult] = array(WritableTxnMarkerTopicResult)

    markers: list[WritableTxnMarkerResult] = array(WritableTxnMarkerResult)


class TxnOffsetCommitRequest(Request, api_key=28, versions="0-6", flexible="3+"):
    class TxnOffsetCommitRequestTopic(Structure):
        class TxnOffsetCommitRequestPartition(Structure):
            partition_index: int = int32()
            committed_offset: int = int64()
            committed_leader_epoch: int = int32("2+", default=-1, ignorable=True)
            committed_metadata: str | None = nullable_string()

        name: str = string("0-5", ignorable=True)
        topic_id: UUID = uuid("6+", ignorable=True)
        partitions: list[TxnOffsetCommitRequestPartition] = array(TxnOffsetCommitRequestPartition)

    transactional_id: str = string()
    group_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    generation_id_or_member_epoch: int = int32("3+", default=-1)
    member_id: str = string("3+")
    group_instance_id: str | None = nullable_string("3+", default=None)
    topics: list[TxnOffsetCommitRequestTopic] = array(TxnOffsetCommitRequestTopic)


class TxnOffsetCommitResponse(Response, api_key=28, versions="0-6", flexible="3+"):
    class TxnOffsetCommitResponseTopic(Structure):
        class TxnOffsetCommitResponsePartition(Structure):
            partition_index: int = int32()
            error_code: int = int16()

        name: str = string("0-5", ignorable=True)
        topic_id: UUID = uuid("6+", ignorable=True)
        partitions: list[TxnOffsetCommitResponsePartition] = array(TxnOffsetCommitResponsePartition)

    throttle_time_ms: int = int32()
    topics: list[TxnOffsetCommitResponseTopic] = array(TxnOffsetCommitResponseTopic)


class DescribeProducersRequest(Request, api_key=61, versions="0", flexible="0+"):
    class TopicRequest(Structure):
        name: str = string()
        partition_indexes: list[int] = array(int32)

    topics: list[TopicRequest] = array(TopicRequest)


class DescribeProducersResponse(Response, api_key=61, versions="0", flexible="0+"):
    class TopicResponse(Structure):
        class PartitionResponse(Structure):
            class ProducerState(Structure):
                producer_id: int = int64()
                producer_epoch: int = int32()
                last_sequence: int = int32(default=-1)
                last_timestamp: int = int64(default=-1)
                coordinator_epoch: int = int32()
                current_txn_start_offset: int = int64(default=-1)

            partition_index: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)
            active_producers: list[ProducerState] = array(ProducerState)

        name: str = string()
        partitions: list[PartitionResponse] = array(PartitionResponse)

    throttle_time_ms: int = int32()
    topics: list[TopicResponse] = array(TopicResponse)


class DescribeTransactionsRequest(Request, api_key=65, versions="0", flexible="0+"):
    transactional_ids: list[str] = array(string)


class DescribeTransactionsResponse(Response, api_key=65, versions="0", flexible="0+"):
    class TransactionState(Structure):
        class TopicData(Structure):
            topic: str = string()
            partitions: list[int] = array(int32)

        error_code: int = int16()
        transactional_id: str = string()
        transaction_state: str = string()
        transaction_timeout_ms: int = int32()
        transaction_start_time_ms: int = int64()
        producer_id: int = int64()
        producer_epoch: int = int16()
        topics: list[TopicData] = array(TopicData)

    throttle_time_ms: int = int32()
    transaction_states: list[TransactionState] = array(TransactionState)


class ListTransactionsRequest(Request, api_key=66, versions="0-2", flexible="0+"):
    state_filters: list[str] = array(string)
    producer_id_filters: list[int] = array(int64)
    duration_filter: int = int64("1+", default=-1)
    transactional_id_pattern: str | None = nullable_string("2+", default=None)


class ListTransactionsResponse(Response, api_key=66, versions="0-2", flexible="0+"):
    class TransactionState(Structure):
        transactional_id: str = string()
        producer_id: int = int64()
        transaction_state: str = string()

    throttle_time_ms: int = int32()
    error_code: int = int16()
    unknown_state_filters: list[str] = array(string)
    transaction_states: list[TransactionState] = array(TransactionState)
