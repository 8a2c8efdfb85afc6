"""State of share groups, kept by their coordinator for the partitions' leaders (KIP-932).

InitializeShareGroupState (key 83), ReadShareGroupState (key 84), DeleteShareGroupState (key 86): version 0,
flexible. WriteShareGroupState (key 85) and ReadShareGroupStateSummary (key 87): versions 0-1, flexible; 1: how many
deliveries are complete (KIP-1226).
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    int8,
    int16,
    int32,
    int64,
    nullable_string,
    string,
    uuid,
)


class InitializeShareGroupStateRequest(Request, api_key=83, versions="0", flexible="0+"):
    class InitializeStateData(Structure):
        class PartitionData(Structure):
            partition: int = int32()
            state_epoch: int = int32()
            start_offset: int = int64()

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    group_id: str = string()
    topics: list[InitializeStateData] = array(InitializeStateData)


class InitializeShareGroupStateResponse(Response, api_key=83, versions="0", flexible="0+"):
    class InitializeStateResult(Structure):
        class PartitionResult(Structure):
            partition: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)

        topic_id: UUID = uuid()
        partitions: list[PartitionResult] = array(PartitionResult)

    results: list[InitializeStateResult] = array(InitializeStateResult)


class ReadShareGroupStateRequest(Request, api_key=84, versions="0", flexible="0+"):
    class ReadStateData(Structure):
        class PartitionData(Structure):
            partition: int = int32()
            leader_epoch: int = int32()

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    group_id: str = string()
    topics: list[ReadStateData] = array(ReadStateData)


class ReadShareGroupStateResponse(Response, api_key=84, versions="0", flexible="0+"):
    class ReadStateResult(Structure):
        class PartitionResult(Structure):
            class StateBatch(Structure):
                first_offset: int = int64()
                last_offset: int = int64()
                delivery_state: int = int8()
                delivery_count: int = int16()

            partition: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)
            state_epoch: int = int32()
            start_offset: int = int64()
            state_batches: list[StateBatch] = array(StateBatch)

        topic_id: UUID = uuid()
        partitions: list[PartitionResult] = array(PartitionResult)

    results: list[ReadStateResult] = array(ReadStateResult)


class WriteShareGroupStateRequest(Request, api_key=85, versions="0-1", flexible="0+"):
    class WriteStateData(Structure):
        class PartitionData(Structure):
            class StateBatch(Structure):
                first_offset: int = int64()
                last_offset: int = int64()
                delivery_state: int = int8()
                delivery_count: int = int16()

            partition: int = int32()
            state_epoch: int = int32()
            leader_epoch: int = int32()
            start_offset: int = int64()
            delivery_complete_count: int = int32("1+", default=-1, ignorable=True)
            state_batches: list[StateBatch] = array(StateBatch)

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    group_id: str = string()
    topics: list[WriteStateData] = array(WriteStateData)


class WriteShareGroupStateResponse(Response, api_key=85, versions="0-1", flexible="0+"):
    class WriteStateResult(Structure):
        class PartitionResult(Structure):
            partition: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)

        topic_id: UUID = uuid()
        partitions: list[PartitionResult] = array(PartitionResult)

    results: list[WriteStateResult] = array(WriteStateResult)


class DeleteShareGroupStateRequest(Request, api_key=86, versions="0", flexible="0+"):
    class DeleteStateData(Structure):
        class PartitionData(Structure):
            partition: int = int32()

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    group_id: str = string()
    topics: list[DeleteStateData] = array(DeleteStateData)


class DeleteShareGroupStateResponse(Response, api_key=86, versions="0", flexible="0+"):
    class DeleteStateResult(Structure):
        class PartitionResult(Structure):
            partition: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)

        topic_id: UUID = uuid()
        partitions: list[PartitionResult] = array(PartitionResult)

    results: list[DeleteStateResult] = array(DeleteStateResult)


class ReadShareGroupStateSummaryRequest(Request, api_key=87, versions="0-1", flexible="0+"):
    class ReadStateSummaryData(Structure):
        class PartitionData(Structure):
            partition: int = int32()
            leader_epoch: int = int32()

        topic_id: UUID = uuid()
        partitions: list[PartitionData] = array(PartitionData)

    group_id: str = string()
    topics: list[ReadStateSummaryData] = array(ReadStateSummaryData)


class ReadShareGroupStateSummaryResponse(Response, api_key=87, versions="0-1", flexible="0+"):
    class ReadStateSummaryResult(Structure):
        class PartitionResult(Structure):
            partition: int = int32()
            error_code: int = int16()
            error_message: str | None = nullable_string(default=None)
            state_epoch: int = int32()
            leader_epoch: int = int32()
            start_offset: int = int64()
            delivery_complete_count: int = int32("1+", default=-1, ignorable=True)

        topic_id: UUID = uuid()
        partitions: list[PartitionResult] = array(PartitionResult)

    results: list[ReadStateSummaryResult] = array(ReadStateSummaryResult)
