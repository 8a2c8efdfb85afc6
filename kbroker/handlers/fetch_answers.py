"""What answers to a Fetch have in common, whether a consumer asked or a follower."""

from __future__ import annotations

from collections.abc import Iterable

from kbroker.handlers.fetch_session import FetchTarget, PartitionData
from kbroker.handlers.ports import LeaderPartition
from storage.file_slice import FileSlice
from wire.errors import ApiError, ErrorCode
from wire.messages.fetch import FetchResponse
from wire.schema import ZERO_UUID

Answers = list[tuple[FetchTarget, PartitionData]]

_TopicResponse = FetchResponse.FetchableTopicResponse

_STORAGE_ERROR_SINCE = 6
_TOPIC_IDS_SINCE = 13
_UNKNOWN_PARTITION = (ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


def check_topic(target: FetchTarget, api_version: int) -> None:
    """ApiError for an id, from version 13 on, that is no topic's. A name that is none's is found out by its lookup."""
    if not target.topic and api_version >= _TOPIC_IDS_SINCE:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)


def answer_without_records(target: FetchTarget, partition: LeaderPartition) -> PartitionData:
    """How the partition stands."""
    return PartitionData(
        partition_index=target.index,
        high_watermark=partition.high_watermark,
        last_stable_offset=partition.last_stable_offset,
        log_start_offset=partition.log_start_offset,
        aborted_transactions=None,
        records=b"",
    )


def tell_divergence(target: FetchTarget, partition: LeaderPartition, answer: PartitionData) -> bool:
    """Tell a reader whose last epoch ends elsewhere in this log where to truncate to (KIP-595)."""
    if target.last_fetched_epoch < 0:
        return False
    epoch, end_offset = partition.end_offset_for_epoch(target.last_fetched_epoch)
    if epoch < 0 or end_offset < 0:
        raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
    if epoch == target.last_fetched_epoch and end_offset >= target.fetch_offset:
        return False
    answer.diverging_epoch = PartitionData.EpochEndOffset(epoch=epoch, end_offset=end_offset)
    return True


def error_answer(target: FetchTarget, code: ErrorCode, api_version: int) -> PartitionData:
    if code is ErrorCode.KAFKA_STORAGE_ERROR and api_version < _STORAGE_ERROR_SINCE:
        code = ErrorCode.NOT_LEADER_OR_FOLLOWER  # old clients do not know that they may retry the other
    return PartitionData(
        partition_index=target.index,
        error_code=code,
        high_watermark=-1,
        log_start_offset=-1,
        aborted_transactions=[] if code in _UNKNOWN_PARTITION else None,  # as Apache Kafka has it
        records=b"",
    )


def give_back(answers: Iterable[tuple[FetchTarget, PartitionData]]) -> None:
    """Unpin the file slices of a reading; they are not going to be sent."""
    for _, answer in answers:
        if isinstance(answer.records, FileSlice):
            answer.records.release()


def by_topic(answers: Iterable[tuple[FetchTarget, PartitionData]]) -> list[_TopicResponse]:
    """Neighbouring answers of the same topic share an entry, as in Kafka."""
    topics: list[_TopicResponse] = []
    last_key: object = None
    for target, answer in answers:
        key = (target.topic_id, target.topic if target.topic_id == ZERO_UUID else "")
        if not topics or key != last_key:
            topics.append(_TopicResponse(topic=target.topic, topic_id=target.topic_id))
            last_key = key
        topics[-1].partitions.append(answer)
    return topics
