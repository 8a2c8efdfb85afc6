"""Produce (key 0), versions 3-13.

v3 magic 2 only, transactional id; v5 log start offset; v7 zstd (KIP-110); v8 error details (KIP-467);
v9 flexible; v10 current leader in errors (KIP-951); v11 TRANSACTION_ABORTABLE, v12 transactions without
AddPartitionsToTxn (KIP-890); v13 topic ids (KIP-516).

A transactional batch goes in only if the transaction is open in its partition or the transaction coordinator says
that the partition belongs to it (``transaction_verification.py``). Requests without such batches do not notice.

acks=0 gets no response, and a failed append then closes the connection, so that the client notices.
acks=-1 is answered when every in-sync replica has the records, and the disk (``replication.group_commit``), or with
REQUEST_TIMED_OUT. An append that was answered with REQUEST_TIMED_OUT is in the log all the same; an idempotent
producer's retry finds it there. While one request waits, the connection takes the next (``LaterResponse``): they are
appended in the order in which they came, and answered in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import trio

from kbroker.config.topic_names import is_internal_topic
from kbroker.handlers.leader_hints import LED_ELSEWHERE, PRODUCE_HINTS_SINCE, LeaderHints, ResponseHints
from kbroker.handlers.ports import LeaderPartition, Partitions
from kbroker.handlers.table import LaterResponse, RequestContext, handles
from kbroker.handlers.timeouts import Timeouts
from kbroker.handlers.transaction_verification import (
    SupportedOperation,
    TopicPartition,
    TransactionVerifier,
    Verified,
)
from kbroker.quotas.client_quotas import RequestQuotas
from storage.log import AppendInfo
from storage.log_validator import RecordsRejectedError, UnfitRequestError
from wire.compression import Compression
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import BatchHeader, InvalidBatchError, iterate_batches

_TopicData = ProduceRequest.TopicProduceData
_PartitionData = ProduceRequest.TopicProduceData.PartitionProduceData
_TopicResponse = ProduceResponse.TopicProduceResponse
_PartitionResponse = ProduceResponse.TopicProduceResponse.PartitionProduceResponse

_ACKS_ALLOWED = (-1, 0, 1)
_TOPIC_IDS_SINCE = 13
_ZSTD_SINCE = 7
_MAGIC_AT = 16
_MAGIC = 2
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
_COORDINATOR_IS_BUSY = frozenset(
    {
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.NOT_COORDINATOR,
    }
)
"""Answers of the transaction coordinator that producers do not expect; they retry NOT_ENOUGH_REPLICAS."""


class ProduceSettings(Protocol):
    """The broker's configuration."""

    @property
    def add_partitions_to_txn_retry_backoff_ms(self) -> int: ...

    @property
    def add_partitions_to_txn_retry_backoff_max_ms(self) -> int:
        """How long a request waits, in all, for the transaction before to end."""
        ...

    @property
    def request_timeout_ms(self) -> int: ...


class World(Protocol):
    """The part of the World that produce uses."""

    def monotonic(self) -> float:
        """Seconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(slots=True)
class _Append:
    """An append that went into the log and may have to wait for the in-sync replicas."""

    partition: LeaderPartition
    info: AppendInfo
    response: _PartitionResponse
    term: int

    def fail(self, code: ErrorCode) -> None:
        """Take the success back: nobody can say now whether the records will stay."""
        self.response.error_code = code
        self.response.base_offset = self.response.log_append_time_ms = self.response.log_start_offset = -1


class ProduceHandlers:
    """Appends what producers send."""

    def __init__(
        self,
        *,
        partitions: Partitions,
        verifier: TransactionVerifier,
        settings: ProduceSettings,
        world: World,
        leader_hints: LeaderHints | None = None,
    ) -> None:
        """Without ``leader_hints`` nobody is told who leads what is not led here."""
        self._leader_hints = leader_hints
        self._world = world
        self._partitions = partitions
        self._verifier = verifier
        self._settings = settings
        self._timeouts = Timeouts(monotonic=world.monotonic, sleep=world.sleep)

    @handles(ProduceRequest)
    async def produce(
        self, request: ProduceRequest, context: RequestContext
    ) -> ProduceResponse | LaterResponse | None:
        """Later, if the in-sync replicas have to be waited for: the producer's next batches need not wait as well."""
        deadline = self._world.monotonic() + max(request.timeout_ms, 0) / 1000
        if self._partitions.is_in_doubt:
            with trio.move_on_after(max(request.timeout_ms, 0) / 1000):
                await self._partitions.wait_for_standing()
        appends: list[_Append] = []
        request.topic_data = _each_topic_once(request.topic_data)
        try:
            verified = await self._verify(request, context) if _is_transactional(request) else None
            response = ProduceResponse(
                responses=[
                    self._append_topic(topic, request, context, appends, verified)
                    for topic in request.topic_data
                ]
            )
        except ApiError as error:
            response = _refusal_of_all(request, error)
        if context.quotas is not None:
            _charge(request, context.quotas)
        if not all(_is_settled(append, request.acks) for append in appends):
            return _UnsettledResponse(self, response, appends, request.acks, deadline, context)
        if request.acks == 0:
            for partition in _failed(response):
                code = ErrorCode(partition.error_code)
                raise ProtocolError(f"an append with acks=0 failed with {code.name}")
            return None
        return self.complete(response, context)

    def complete(self, response: ProduceResponse, context: RequestContext) -> ProduceResponse:
        """Tell who leads what is not led here, to those who understand."""
        if context.api_version >= PRODUCE_HINTS_SINCE and self._leader_hints is not None:
            self._add_hints(response, ResponseHints(self._leader_hints, context), context)
        return response

    def _add_hints(self, response: ProduceResponse, hints: ResponseHints, context: RequestContext) -> None:
        for topic in response.responses:
            for partition in topic.partition_responses:
                if not partition.error_code or partition.error_code not in LED_ELSEWHERE:
                    continue
                name = self._topic_name(topic, context)
                leader = None if name is None else hints.leader_of(name, partition.index)
                if leader is not None:
                    partition.current_leader = _PartitionResponse.LeaderIdAndEpoch(
                        leader_id=leader[0], leader_epoch=leader[1]
                    )
        response.node_endpoints = [
            ProduceResponse.NodeEndpoint(**node._asdict()) for node in hints.nodes.values()
        ]

    def _append_topic(
        self,
        topic: _TopicData,
        request: ProduceRequest,
        context: RequestContext,
        appends: list[_Append],
        verified: Verified | None,
    ) -> _TopicResponse:
        name = self._topic_name(topic, context)
        response = _TopicResponse(name=topic.name, topic_id=topic.topic_id)
        partition_data: Iterable[_PartitionData] = topic.partition_data
        if len(topic.partition_data) > 1:
            partition_data = _last_words(topic.partition_data)
        for data in partition_data:
            try:
                if name is None:
                    raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
                partition_response = self._append(name, data, request, context, appends, verified)
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
        verified: Verified | None,
    ) -> _PartitionResponse:
        guard = None
        if verified is not None:
            code = verified.errors.get((topic, data.index))
            if code is not None:
                raise _verification_error(code, context.api_version)
            guard = verified.guards.get((topic, data.index))
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
            info = partition.append_as_leader(records, required_acks=request.acks, verification_guard=guard)
        except ApiError as error:
            response = _error_response(data.index, error)
            if error.code not in _WITHOUT_LOG_START_OFFSET and not isinstance(error, UnfitRequestError):
                response.log_start_offset = partition.log_start_offset
            return response
        response = _PartitionResponse(
            index=data.index,
            base_offset=info.first_offset,
            log_append_time_ms=info.log_append_time_ms,
            log_start_offset=info.log_start_offset,
        )
        appends.append(_Append(partition, info, response, partition.term))
        return response

    def _topic_name(self, topic: _TopicData | _TopicResponse, context: RequestContext) -> str | None:
        if context.api_version >= _TOPIC_IDS_SINCE:
            return self._partitions.topic_name(topic.topic_id)
        return topic.name

    async def _verify(self, request: ProduceRequest, context: RequestContext) -> Verified | None:
        """Have the partitions of the transactional batches verified; ApiError for the request as a whole."""
        if request.transactional_id is None:
            raise ApiError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        producers: set[tuple[int, int]] = set()
        sequences: dict[TopicPartition, int] = {}
        for topic in request.topic_data:
            name = self._topic_name(topic, context)
            for data in _last_words(topic.partition_data):
                header = _transactional_header(data.records)
                if header is not None and name is not None:
                    producers.add((header.producer_id, header.producer_epoch))
                    sequences[name, data.index] = header.base_sequence
        if not producers:
            return None
        if len(producers) > 1:
            raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING, "a transaction has one producer")
        operation = SupportedOperation.of_produce(context.api_version)
        settings = self._settings
        patience_ms = min(settings.add_partitions_to_txn_retry_backoff_max_ms, settings.request_timeout_ms)
        deadline = self._world.monotonic() + patience_ms / 1000
        while True:
            verified = await self._verifier.verify(
                request.transactional_id, next(iter(producers)), sequences, operation
            )
            # The markers of the producer's transaction before this one are usually about to arrive.
            is_early = ErrorCode.CONCURRENT_TRANSACTIONS in verified.errors.values()
            if not is_early or self._world.monotonic() >= deadline or self._partitions.stopping:
                return verified
            await self._world.sleep(settings.add_partitions_to_txn_retry_backoff_ms / 1000)

    async def wait_until_settled(self, appends: list[_Append], acks: int, deadline: float) -> None:
        """Fail what the in-sync replicas do not have by ``deadline`` (monotonic seconds)."""
        monotonic = self._world.monotonic
        waiting = [append for append in appends if not _is_settled(append, acks)]
        if not waiting:
            return
        with self._partitions.waiting_on_commit(
            [(append.partition, append.info) for append in waiting]
        ) as waiter:
            self._timeouts.add(waiter, deadline)
            try:
                while True:
                    waiter.rearm()
                    waiting = [append for append in waiting if not _is_settled(append, acks)]
                    # A broker that goes down does not wait for other replicas any more; its own disk is near.
                    if (
                        not waiting
                        or monotonic() >= deadline
                        or (
                            self._partitions.stopping
                            and not any(append.partition.is_replicated(append.info) for append in waiting)
                        )
                    ):
                        break
                    await waiter.wait()
            finally:
                self._timeouts.discard(waiter)
        for append in waiting:
            if not _is_settled(append, acks):
                append.fail(ErrorCode.REQUEST_TIMED_OUT)


@dataclass(slots=True)
class _UnsettledResponse(LaterResponse):
    """The response to appends that the in-sync replicas do not have yet. It must not keep the records in memory."""

    handlers: ProduceHandlers
    response: ProduceResponse
    appends: list[_Append]
    acks: int
    deadline: float
    context: RequestContext

    async def wait(self) -> ProduceResponse:
        await self.handlers.wait_until_settled(self.appends, self.acks, self.deadline)
        return self.handlers.complete(self.response, self.context)


def _charge(request: ProduceRequest, quotas: RequestQuotas) -> None:
    """Already now, before the replicas have it all: the next request may come before this one is answered."""
    quotas.charge_produce()
    if request.acks == 0:
        quotas.exempt_from_time()


def _each_topic_once(topic_data: list[_TopicData]) -> list[_TopicData]:
    """As Kafka reads a request: by partition. Topics without partitions are not answered, others once."""
    if len(topic_data) == 1 and topic_data[0].partition_data:
        return topic_data
    topics: dict[tuple[str, UUID], _TopicData] = {}
    for topic in topic_data:
        if topic.partition_data:
            found = topics.setdefault((topic.name, topic.topic_id), topic)
            if found is not topic:
                found.partition_data += topic.partition_data
    return list(topics.values())


def _is_transactional(request: ProduceRequest) -> bool:
    """Whether a batch claims to be part of a transaction. Looked at in every request, so only at one byte."""
    for topic in request.topic_data:
        for data in topic.partition_data:
            records = data.records
            if (
                isinstance(records, memoryview)
                and len(records) > _ATTRIBUTES_LOW_BYTE_AT
                and records[_ATTRIBUTES_LOW_BYTE_AT] & _TRANSACTIONAL_FLAG
                and records[_MAGIC_AT] == _MAGIC
            ):
                return True
    return False


def _transactional_header(records: object) -> BatchHeader | None:
    """The first batch's, if it is part of a transaction; a malformed batch is left to the log."""
    if not isinstance(records, memoryview):
        return None
    try:
        header = next((header for _, header in iterate_batches(records)), None)
    except InvalidBatchError:
        return None
    if header is None or header.producer_id < 0 or not header.is_transactional:
        return None
    return header


def _last_words(partition_data: list[_PartitionData]) -> Iterable[_PartitionData]:
    """Of a partition that is named twice the last word counts, in the first one's place, as in Kafka."""
    return {data.index: data for data in partition_data}.values()


def _verification_error(code: ErrorCode, api_version: int) -> ApiError:
    """What a producer is told that its partition was not verified (Kafka: ReplicaManager)."""
    adds = SupportedOperation.of_produce(api_version) is SupportedOperation.ADD_PARTITION
    if code in _COORDINATOR_IS_BUSY or (code is ErrorCode.CONCURRENT_TRANSACTIONS and not adds):
        message = f"the partition cannot be verified to belong to the transaction: {code.name}"
        return ApiError(ErrorCode.NOT_ENOUGH_REPLICAS, message)
    if code is ErrorCode.INVALID_TXN_STATE:
        return ApiError(code, "the partition was not added to the transaction")
    return ApiError(code)


def _refusal_of_all(request: ProduceRequest, error: ApiError) -> ProduceResponse:
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


def _is_settled(append: _Append, required_acks: int) -> bool:
    """Whether there is nothing to wait for: it may be acknowledged, or it never will be by this broker."""
    if append.response.error_code:
        return True
    try:
        if append.partition.term != append.term:
            # It has followed somebody else since, and what stands at these offsets now may be something else.
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return append.partition.may_acknowledge(append.info, required_acks)
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
