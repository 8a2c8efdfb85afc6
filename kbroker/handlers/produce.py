"""Produce (key 0), versions 3-13.

v3 magic 2 only, transactional id; v5 log start offset; v7 zstd (KIP-110); v8 error details (KIP-467);
v9 flexible; v10 current leader in errors (KIP-951); v11-12 transactions without AddPartitionsToTxn (KIP-890);
v13 topic ids (KIP-516). Transactions are not served yet: a request with a transactional batch is refused as a whole.

acks=0 gets no response, and a failed append then closes the connection, so that the client notices.
acks=-1 is answered when every in-sync replica has the records, or with REQUEST_TIMED_OUT. An append that was
answered with REQUEST_TIMED_OUT is in the log all the same; an idempotent producer's retry finds it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import trio

from kbroker.config.topic_names import is_internal_topic
from kbroker.handlers.ports import LeaderPartition, Partitions
from kbroker.handlers.table import RequestContext, handles
from storage.log import AppendInfo
from storage.log_validator import RecordsRejectedError
from wire.compression import Compression
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import InvalidBatchError, iterate_batches

_TopicData = ProduceRequest.TopicProduceData
_PartitionData = ProduceRequest.TopicProduceData.PartitionProduceData
_TopicResponse = ProduceResponse.TopicProduceResponse
_PartitionResponse = ProduceResponse.TopicProduceResponse.PartitionProduceResponse

_ACKS_ALLOWED = (-1, 0, 1)
_TOPIC_IDS_SINCE = 13
_ZSTD_SINCE = 7
_ATTRIBUTES_LOW_BYTE_AT = 22
_TRANSACTIONAL_FLAG = 0x10
_WITHOUT_LOG_START_OFFSET = frozenset(
    {
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.RECORD_LIST_TOO_LARGE,
    }
)
"""Failed appends whose answer names no log start offset (Kafka's ``ReplicaManager.appendRecordsToLocalLog``)."""
_ADMIN_CLIENT_ID = "__admin_client"


@dataclass(slots=True)
class _Append:
    """An append that went into the log and may have to wait for the in-sync replicas."""

    partition: LeaderPartition
    info: AppendInfo
    response: _PartitionResponse

    def fail(self, code: ErrorCode) -> None:
        """Take the success back: nobody can say now whether the records will stay."""
        self.response.error_code = code
        self.response.base_offset = self.response.log_append_time_ms = self.response.log_start_offset = -1


class ProduceHandlers:
    """Appends what producers send."""

    def __init__(self, *, partitions: Partitions) -> None:
        self._partitions = partitions

    @handles(ProduceRequest)
    async def produce(self, request: ProduceRequest, context: RequestContext) -> ProduceResponse | None:
        appends: list[_Append] = []
        if _is_transactional(request):
            response = _refusal_of_all(request, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        else:
            response = ProduceResponse(
                responses=[
                    self._append_topic(topic, request, context, appends) for topic in request.topic_data
                ]
            )
        if request.acks == -1 and not all(_is_settled(append) for append in appends):
            await self._wait_until_committed(appends, request.timeout_ms)
        if request.acks == 0:
            for partition in _failed(response):
                code = ErrorCode(partition.error_code)
                raise ProtocolError(f"an append with acks=0 failed with {code.name}")
            return None
        return response

    def _append_topic(
        self,
        topic: _TopicData,
        request: ProduceRequest,
        context: RequestContext,
        appends: list[_Append],
    ) -> _TopicResponse:
        name: str | None = topic.name
        if context.api_version >= _TOPIC_IDS_SINCE:
            name = self._partitions.topic_name(topic.topic_id)
        response = _TopicResponse(name=topic.name, topic_id=topic.topic_id)
        partition_data = topic.partition_data
        if len(partition_data) > 1:
            # Of a partition that is named twice the last word counts, in the first one's place, as in Kafka.
            partition_data = list({data.index: data for data in partition_data}.values())
        for data in partition_data:
            try:
                if name is None:
                    raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
                partition_response = self._append(name, data, request, context, appends)
            except ApiError as error:
                partition_response = _error_response(data.index, error)
            response.partition_responses.append(partition_response)
        return response

    def _append(
        self,
        topic: str,
        data: _PartitionData,
        request: ProduceRequest,
        context: RequestContext,
        appends: list[_Append],
    ) -> _PartitionResponse:
        partition = self._partitions.leader(topic, data.index)
        records = data.records
        if not isinstance(records, memoryview):
            raise ApiError(ErrorCode.INVALID_RECORD, "the partition data holds no records")
        if context.api_version < _ZSTD_SINCE:
            _refuse_zstd(records)
        if request.acks not in _ACKS_ALLOWED:
            raise ApiError(ErrorCode.INVALID_REQUIRED_ACKS)
        if is_internal_topic(topic) and context.client_id != _ADMIN_CLIENT_ID:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"clients cannot produce to {topic}")
        try:
            info = partition.append_as_leader(records, required_acks=request.acks)
        except ApiError as error:
            response = _error_response(data.index, error)
            if error.code not in _WITHOUT_LOG_START_OFFSET:
                response.log_start_offset = partition.log_start_offset
            return response
        response = _PartitionResponse(
            index=data.index,
            base_offset=info.first_offset,
            log_append_time_ms=info.log_append_time_ms,
            log_start_offset=info.log_start_offset,
        )
        appends.append(_Append(partition, info, response))
        return response

    async def _wait_until_committed(self, appends: list[_Append], timeout_ms: int) -> None:
        waiting = appends
        with (
            trio.move_on_after(max(timeout_ms, 0) / 1000),
            self._partitions.waiting_on(append.partition for append in waiting) as waiter,
        ):
            while True:
                waiter.rearm()
                waiting = [append for append in waiting if not _is_settled(append)]
                if not waiting or self._partitions.stopping:
                    break
                await waiter.wait()
        for append in waiting:
            if not _is_settled(append):
                append.fail(ErrorCode.REQUEST_TIMED_OUT)


def _is_transactional(request: ProduceRequest) -> bool:
    """Whether a batch claims to be part of a transaction: nobody would ever end it, and every read_committed
    reader of the partition would wait behind it for good."""
    for topic in request.topic_data:
        for data in topic.partition_data:
            records = data.records
            if (
                isinstance(records, memoryview)
                and len(records) > _ATTRIBUTES_LOW_BYTE_AT
                and records[_ATTRIBUTES_LOW_BYTE_AT] & _TRANSACTIONAL_FLAG
            ):
                return True
    return False


def _refusal_of_all(request: ProduceRequest, code: ErrorCode) -> ProduceResponse:
    error = ApiError(code)
    return ProduceResponse(
        responses=[
            _TopicResponse(
                name=topic.name,
                topic_id=topic.topic_id,
                partition_responses=[_error_response(data.index, error) for data in topic.partition_data],
            )
            for topic in request.topic_data
        ]
    )


def _is_settled(append: _Append) -> bool:
    """Whether there is nothing to wait for: committed, or this broker no longer leads the partition."""
    try:
        return append.partition.is_committed(append.info)
    except ApiError as error:
        append.fail(error.code)
        return True


def _error_response(index: int, error: ApiError) -> _PartitionResponse:
    response = _PartitionResponse(
        index=index,
        error_code=error.code,
        base_offset=-1,
        log_append_time_ms=-1,
        log_start_offset=-1,
        error_message=error.message,
    )
    if isinstance(error, RecordsRejectedError):  # KIP-467: say which records, the producer drops only those
        response.record_errors = [
            _PartitionResponse.BatchIndexAndErrorMessage(
                batch_index=record.batch_index, batch_index_error_message=record.message
            )
            for record in error.record_errors
        ]
    return response


def _refuse_zstd(records: memoryview) -> None:
    """Clients that speak Produce below version 7 cannot know zstd (Kafka's ProduceRequest.validateRecords)."""
    try:
        is_zstd = any(header.compression is Compression.ZSTD for _, header in iterate_batches(records))
    except InvalidBatchError:
        return  # the log says what is wrong with it
    if is_zstd:
        raise ApiError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce version 7 or newer")


def _failed(response: ProduceResponse) -> Iterator[_PartitionResponse]:
    for topic in response.responses:
        for partition in topic.partition_responses:
            if partition.error_code:
                yield partition
