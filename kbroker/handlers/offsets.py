"""ListOffsets (key 2), versions 1-11; OffsetForLeaderEpoch (23), 2-4; DeleteRecords (21), 0-2.

ListOffsets: v2 isolation level (KIP-98); v4 leader epochs (KIP-320); v5 OFFSET_NOT_AVAILABLE (KIP-207);
v7 the record with the largest timestamp (KIP-734); v8 and v9 earliest local and last tiered offset (KIP-405,
KIP-1005); v10 a timeout for remote look-ups; v11 earliest offset pending upload (KIP-1023).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from kbroker.config.topic_names import is_internal_topic
from kbroker.handlers.ports import LeaderPartition, Partitions
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.offsets import (
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)

_AskedPartition = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition
_TopicOffsets = ListOffsetsResponse.ListOffsetsTopicResponse
_PartitionOffset = ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
_EpochTopic = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult
_EpochEnd = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult.EpochEndOffset
_DeletedTopic = DeleteRecordsResponse.DeleteRecordsTopicResult
_DeletedPartition = DeleteRecordsResponse.DeleteRecordsTopicResult.DeleteRecordsPartitionResult

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6

_SPECIAL_TIMESTAMPS_SINCE = {
    LATEST: 0,
    EARLIEST: 0,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
_CONSUMER_REPLICA_ID = -1
_READ_COMMITTED = 1


class OffsetHandlers:
    """Looks offsets up, and deletes records below one."""

    def __init__(
        self, *, partitions: Partitions, keep_log_start_offsets: Callable[[], Awaitable[None]]
    ) -> None:
        """``keep_log_start_offsets`` puts the log start offsets on the disk.

        Kafka does so once a minute, and after a crash in between serves records that were deleted.
        """
        self._partitions = partitions
        self._keep_log_start_offsets = keep_log_start_offsets

    @handles(ListOffsetsRequest)
    async def list_offsets(self, request: ListOffsetsRequest, context: RequestContext) -> ListOffsetsResponse:
        times_named = Counter(
            (topic.name, partition.partition_index)
            for topic in request.topics
            for partition in topic.partitions
        )
        refused: set[tuple[str, int]] = set()
        response = ListOffsetsResponse()
        for topic in request.topics:
            result = _TopicOffsets(name=topic.name)
            for asked in topic.partitions:
                key = topic.name, asked.partition_index
                if key in refused:
                    continue
                try:
                    if times_named[key] > 1:
                        refused.add(key)  # with one answer for all of them
                        raise ApiError(ErrorCode.INVALID_REQUEST, "the partition is named more than once")
                    answer = self._list_offset(topic.name, asked, request, context.api_version)
                except ApiError as error:
                    answer = _PartitionOffset(partition_index=asked.partition_index, error_code=error.code)
                result.partitions.append(answer)
            if result.partitions:
                response.topics.append(result)
        return response

    def _list_offset(
        self, topic: str, asked: _AskedPartition, request: ListOffsetsRequest, api_version: int
    ) -> _PartitionOffset:
        timestamp = asked.timestamp
        if timestamp < 0 and _SPECIAL_TIMESTAMPS_SINCE.get(timestamp, api_version + 1) > api_version:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"timestamp {timestamp} has no meaning here")
        partition = self._partitions.leader(topic, asked.partition_index)
        partition.check_leader_epoch(asked.current_leader_epoch)
        readable_end = partition.log_end_offset
        not_available: ApiError | None = None
        if request.replica_id == _CONSUMER_REPLICA_ID:
            read_committed = request.isolation_level == _READ_COMMITTED
            readable_end = partition.last_stable_offset if read_committed else partition.high_watermark
            if not partition.is_high_watermark_known:
                # A new leader does not know yet what was committed before it; v5 has a word for that (KIP-207).
                not_available = ApiError(
                    ErrorCode.OFFSET_NOT_AVAILABLE if api_version >= 5 else ErrorCode.LEADER_NOT_AVAILABLE
                )
        answer = _PartitionOffset(partition_index=asked.partition_index)
        if timestamp == LATEST:
            if not_available is not None:
                raise not_available
            answer.offset, answer.leader_epoch = readable_end, partition.leader_epoch
        elif timestamp in (EARLIEST, EARLIEST_LOCAL):
            answer.offset = partition.log_start_offset
            answer.leader_epoch = partition.epoch_of_log_start()
        elif timestamp not in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):  # there is no tiered storage
            is_found = _look_up(partition, timestamp, readable_end, answer)
            if not is_found and not_available is not None:
                raise not_available
        if api_version < 4:
            answer.leader_epoch = -1
        return answer

    @handles(OffsetForLeaderEpochRequest)
    async def offset_for_leader_epoch(
        self, request: OffsetForLeaderEpochRequest, context: RequestContext
    ) -> OffsetForLeaderEpochResponse:
        response = OffsetForLeaderEpochResponse()
        for topic in request.topics:
            result = _EpochTopic(topic=topic.topic)
            for asked in topic.partitions:
                answer = _EpochEnd(partition=asked.partition)
                try:
                    partition = self._partitions.leader(topic.topic, asked.partition)
                    partition.check_leader_epoch(asked.current_leader_epoch)
                    answer.leader_epoch, answer.end_offset = partition.end_offset_for_epoch(
                        asked.leader_epoch
                    )
                except ApiError as error:
                    answer.error_code = error.code
                result.partitions.append(answer)
            response.topics.append(result)
        return response

    @handles(DeleteRecordsRequest)
    async def delete_records(
        self, request: DeleteRecordsRequest, context: RequestContext
    ) -> DeleteRecordsResponse:
        # Of a partition that is named twice the last word counts.
        wanted = {
            (topic.name, asked.partition_index): asked.offset
            for topic in request.topics
            for asked in topic.partitions
        }
        topics: dict[str, _DeletedTopic] = {}
        pending: list[_Deletion] = []
        for (topic, index), wanted_offset in wanted.items():
            answer = _DeletedPartition(partition_index=index, low_watermark=-1)
            try:
                if is_internal_topic(topic):
                    raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, "an internal topic")
                partition = self._partitions.leader(topic, index)
                offset = partition.delete_records_before(wanted_offset)
                pending.append(_Deletion(topic, partition, offset, answer))
            except ApiError as error:
                answer.error_code = error.code
            topics.setdefault(topic, _DeletedTopic(name=topic)).partitions.append(answer)
        if pending:
            await self._keep_log_start_offsets()
            await self._wait_for_replicas(pending, request.timeout_ms)
        return DeleteRecordsResponse(topics=list(topics.values()))

    async def _wait_for_replicas(self, deletions: list[_Deletion], timeout_ms: int) -> None:
        """Until the replicas that are alive have deleted the records too."""
        waiting = [deletion for deletion in deletions if not self._is_done(deletion)]
        if waiting:
            with (
                trio.move_on_after(max(timeout_ms, 0) / 1000),
                self._partitions.waiting_on([deletion.partition for deletion in waiting]) as waiter,
            ):
                while True:
                    waiter.rearm()
                    waiting = [deletion for deletion in waiting if not self._is_done(deletion)]
                    if not waiting or self._partitions.stopping:
                        break
                    await waiter.wait()
        for deletion in waiting:
            if not self._is_done(deletion):
                deletion.answer.error_code = ErrorCode.REQUEST_TIMED_OUT

    def _is_done(self, deletion: _Deletion) -> bool:
        answer = deletion.answer
        try:
            self._partitions.leader(deletion.topic, answer.partition_index)
        except ApiError as error:
            answer.error_code, answer.low_watermark = error.code, -1
            return True
        answer.low_watermark = deletion.partition.low_watermark
        return answer.low_watermark >= deletion.offset


class _Deletion(NamedTuple):
    """Records of a partition that its leader has deleted, and its followers perhaps not yet."""

    topic: str
    partition: LeaderPartition
    offset: int
    answer: _DeletedPartition


def _look_up(
    partition: LeaderPartition, timestamp_ms: int, readable_end: int, answer: _PartitionOffset
) -> bool:
    """Fill in the record found by time, unless it lies beyond what the client may read; whether there is one."""
    if timestamp_ms == MAX_TIMESTAMP:
        found = partition.offset_of_max_timestamp()
    else:
        found = partition.offset_for_timestamp(timestamp_ms)
    if found is None or found.offset >= readable_end:
        return False
    answer.timestamp, answer.offset = found.timestamp, found.offset
    answer.leader_epoch = found.leader_epoch
    return True
