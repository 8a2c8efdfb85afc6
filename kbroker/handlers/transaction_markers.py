"""WriteTxnMarkers (key 27), versions 1-2.

v1 flexible; v2 the version of the transactions protocol that the coordinator ends the transaction with (KIP-1228).

A transaction coordinator tells the leaders of a transaction's partitions how it ended; an admin client ends a
hanging transaction with it (KIP-664). Each partition is answered for itself: NONE once the marker is committed,
else why not. Repeating a request is safe: a marker without an open transaction ends nothing, and one that is
older than what the partition has seen is refused (INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED).

Kafka answers UNKNOWN_SERVER_ERROR to a marker of no producer (negative ids); here that is INVALID_REQUEST.

A coordinator on this broker calls ``write_markers`` and needs no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.handlers.ports import LeaderPartition, Partitions
from kbroker.handlers.table import RequestContext, handles
from storage.log import AppendInfo
from storage.producer_append import AppendOrigin
from wire.errors import ApiError, ErrorCode
from wire.messages.transactions import WriteTxnMarkersRequest, WriteTxnMarkersResponse
from wire.records import build_end_transaction_marker

_Marker = WriteTxnMarkersRequest.WritableTxnMarker
_MarkerResult = WriteTxnMarkersResponse.WritableTxnMarkerResult
_TopicResult = _MarkerResult.WritableTxnMarkerTopicResult
_PartitionResult = _TopicResult.WritableTxnMarkerPartitionResult

_ACKS_ALL = -1
_GROUP_COORDINATOR_ERRORS = frozenset(
    {
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
    }
)
"""What a transaction coordinator does not expect of a partition: it is told to come again instead."""


class TransactionalOffsets(Protocol):
    """The group coordinator, as the keeper of offsets that transactions commit."""

    async def complete_transaction(
        self,
        partition: int,
        producer: tuple[int, int],
        *,
        coordinator_epoch: int,
        committed: bool,
        transaction_version: int = 0,
    ) -> None:
        """Write the marker of (producer id, epoch) and apply it; ApiError."""
        ...


@dataclass(slots=True, eq=False)
class _Append:
    """A marker that is in the log and may have to wait until it is committed."""

    partition: LeaderPartition
    info: AppendInfo
    result: _PartitionResult

    def is_settled(self) -> bool:
        try:
            return self.partition.is_committed(self.info)
        except ApiError as error:
            self.result.error_code = error.code
            return True


class TransactionMarkerHandlers:
    """Writes markers to the partitions that this broker leads."""

    def __init__(
        self,
        *,
        partitions: Partitions,
        groups: TransactionalOffsets,
        clock_ms: Callable[[], int],
        request_timeout_ms: Callable[[], int],
    ) -> None:
        """``request_timeout_ms``: how long to wait for the in-sync replicas."""
        self._partitions = partitions
        self._groups = groups
        self._clock_ms = clock_ms
        self._request_timeout_ms = request_timeout_ms

    @handles(WriteTxnMarkersRequest)
    async def write_txn_markers(
        self, request: WriteTxnMarkersRequest, context: RequestContext
    ) -> WriteTxnMarkersResponse:
        return await self._write(request)

    async def write_markers(self, node_id: int, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        """The MarkerChannel of ``coordination`` to this broker, ``node_id``; errors are in the response."""
        return await self._write(request)

    async def _write(self, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        response = _Response()
        appends: list[_Append] = []
        offsets: dict[int, list[tuple[_Marker, _PartitionResult]]] = {}
        for marker in request.markers:
            for topic in marker.topics:
                for index in topic.partition_indexes:
                    result = response.add(marker.producer_id, topic.name, index)
                    if min(marker.producer_id, marker.producer_epoch, marker.transaction_version) < 0:
                        result.error_code = ErrorCode.INVALID_REQUEST
                    elif topic.name == CONSUMER_OFFSETS_TOPIC:
                        offsets.setdefault(index, []).append((marker, result))
                    else:
                        self._append(marker, topic.name, result, appends)
        async with trio.open_nursery() as nursery:
            for markers in offsets.values():
                nursery.start_soon(self._complete_offsets, markers)
            await self._wait_until_committed(appends)
        return response.message

    async def _complete_offsets(self, markers: list[tuple[_Marker, _PartitionResult]]) -> None:
        """The markers of one partition, in their order: a later one may fence an earlier one."""
        for marker, result in markers:
            await self._complete_offset(marker, result)

    async def _complete_offset(self, marker: _Marker, result: _PartitionResult) -> None:
        try:
            self._partitions.leader(CONSUMER_OFFSETS_TOPIC, result.partition_index)
            await self._groups.complete_transaction(
                result.partition_index,
                (marker.producer_id, marker.producer_epoch),
                coordinator_epoch=marker.coordinator_epoch,
                committed=marker.transaction_result,
                transaction_version=marker.transaction_version,
            )
        except ApiError as error:
            code = error.code
            result.error_code = (
                ErrorCode.NOT_LEADER_OR_FOLLOWER if code in _GROUP_COORDINATOR_ERRORS else code
            )

    def _append(self, marker: _Marker, topic: str, result: _PartitionResult, appends: list[_Append]) -> None:
        batch = build_end_transaction_marker(
            producer_id=marker.producer_id,
            producer_epoch=marker.producer_epoch,
            base_offset=0,
            is_commit=marker.transaction_result,
            coordinator_epoch=marker.coordinator_epoch,
            timestamp_ms=self._clock_ms(),
        )
        try:
            partition = self._partitions.leader(topic, result.partition_index)
            info = partition.append_as_leader(
                batch,
                required_acks=_ACKS_ALL,
                origin=AppendOrigin.COORDINATOR,
                transaction_version=marker.transaction_version,
            )
        except ApiError as error:
            result.error_code = error.code
        else:
            appends.append(_Append(partition, info, result))

    async def _wait_until_committed(self, appends: list[_Append]) -> None:
        waiting = [append for append in appends if not append.is_settled()]
        if not waiting:
            return
        with (
            trio.move_on_after(self._request_timeout_ms() / 1000),
            self._partitions.waiting_on_commit(
                [(append.partition, append.info) for append in waiting]
            ) as waiter,
        ):
            while True:
                waiter.rearm()
                waiting = [append for append in waiting if not append.is_settled()]
                if not waiting or self._partitions.stopping:
                    break
                await waiter.wait()
        for append in waiting:
            if not append.is_settled():
                append.result.error_code = ErrorCode.REQUEST_TIMED_OUT


class _Response:
    """The response as it grows: producers, topics and partitions are named once each, in order of arrival."""

    def __init__(self) -> None:
        self.message = WriteTxnMarkersResponse()
        self._producers: dict[int, _MarkerResult] = {}
        self._topics: dict[tuple[int, str], _TopicResult] = {}

    def add(self, producer_id: int, topic: str, index: int) -> _PartitionResult:
        producer = self._producers.get(producer_id)
        if producer is None:
            producer = self._producers[producer_id] = _MarkerResult(producer_id=producer_id)
            self.message.markers.append(producer)
        key = producer_id, topic
        topic_result = self._topics.get(key)
        if topic_result is None:
            topic_result = self._topics[key] = _TopicResult(name=topic)
            producer.topics.append(topic_result)
        result = _PartitionResult(partition_index=index, error_code=ErrorCode.NONE)
        topic_result.partitions.append(result)
        return result
