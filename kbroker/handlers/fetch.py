"""Fetch (key 1), versions 4-18.

v5 log start offset; v7 incremental sessions (KIP-227); v9 leader epochs (KIP-320); v10 zstd (KIP-110), which older
versions get as well, as from Apache Kafka 4; v11 rack (KIP-392); v12 flexible, truncation hints in the answer
(KIP-595); v13 topic ids (KIP-516); v15 replica state (KIP-903); v16 node endpoints (KIP-951); v17 directory ids
(KIP-853); v18 follower's high watermark (KIP-1166).

The records of a partition stay in their file: the response carries a file slice, and the connection lets the
kernel copy it. A fetch that finds less than ``min_bytes`` gives its slices back, waits for any of its
partitions to move, and reads again, until ``max_wait_ms`` is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from kbroker.handlers.fetch_session import Fetch, FetchSessions, FetchTarget, PartitionData
from kbroker.handlers.ports import LeaderPartition, Partitions
from kbroker.handlers.table import RequestContext, handles
from storage.file_slice import FileSlice
from wire.errors import ApiError, ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.schema import ZERO_UUID

_TopicResponse = FetchResponse.FetchableTopicResponse
Answers = list[tuple[FetchTarget, PartitionData]]

_READ_COMMITTED = 1
_CONSUMER_REPLICA_ID = -1
_SESSIONS_SINCE = 7
_STORAGE_ERROR_SINCE = 6
_DIVERGING_EPOCH_SINCE = 12
_UNKNOWN_PARTITION = (ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


class FetchHandlers:
    """Reads for consumers."""

    def __init__(
        self,
        *,
        partitions: Partitions,
        sessions: FetchSessions,
        fetch_bytes_max: Callable[[], int],
        clock_ms: Callable[[], int],
    ) -> None:
        self._partitions = partitions
        self._sessions = sessions
        self._fetch_bytes_max = fetch_bytes_max
        self._clock_ms = clock_ms

    @handles(FetchRequest)
    async def fetch(self, request: FetchRequest, context: RequestContext) -> FetchResponse:
        if context.api_version < _SESSIONS_SINCE:
            request.session_epoch = -1
        fetch = self._sessions.begin(request, context.api_version, self._clock_ms())
        if fetch.error:
            return FetchResponse(error_code=fetch.error)
        reader = _FetchReader(self._partitions, fetch, request, context.api_version, self._fetch_bytes_max())
        try:
            answers = await reader.read_until_enough()
        except BaseException:
            reader.give_back()
            raise
        if context.api_version < _DIVERGING_EPOCH_SINCE and any(
            answer.diverging_epoch.epoch >= 0 for _, answer in answers
        ):
            # The session was begun in a newer version; this one has no words for the answer.
            reader.give_back()
            return FetchResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
        sent = fetch.answers_to_send(answers)
        return FetchResponse(session_id=fetch.session_id, responses=_by_topic(sent))


class _FetchReader:
    """One fetch under way: reads all its partitions, again after every wake-up, until it may answer."""

    def __init__(
        self,
        partitions: Partitions,
        fetch: Fetch,
        request: FetchRequest,
        api_version: int,
        fetch_bytes_max: int,
    ) -> None:
        self._partitions = partitions
        self._fetch = fetch
        self._request = request
        self._api_version = api_version
        self._bytes_max = min(request.max_bytes, fetch_bytes_max)
        self._bytes_min = min(request.min_bytes, self._bytes_max)
        self._answers: Answers = []
        self._readable_bytes = 0
        self._must_answer = False

    async def read_until_enough(self) -> Answers:
        self._read_all()
        if self._is_enough() or self._request.max_wait_ms <= 0:
            return self._answers
        self.give_back()
        with (
            trio.move_on_after(self._request.max_wait_ms / 1000),
            self._partitions.waiting_on(self._readable_partitions()) as waiter,
        ):
            while True:
                waiter.rearm()
                self._read_all()
                if self._is_enough():
                    return self._answers
                self.give_back()  # files must not stay open for those who only wait
                await waiter.wait()
        self._read_all()
        return self._answers

    def _is_enough(self) -> bool:
        return (
            self._must_answer
            or self._readable_bytes >= self._bytes_min
            or not self._fetch.targets
            or self._partitions.stopping
        )

    def _readable_partitions(self) -> list[LeaderPartition]:
        return [self._partitions.leader(target.topic, target.index) for target in self._fetch.targets]

    def give_back(self) -> None:
        """Unpin the file slices of the last reading; they are not going to be sent."""
        for _, answer in self._answers:
            if isinstance(answer.records, FileSlice):
                answer.records.release()
        self._answers = []

    def _read_all(self) -> None:
        answers: Answers = []
        self._answers = answers
        self._readable_bytes = 0
        bytes_left = self._bytes_max
        for target in self._fetch.targets:
            try:
                # Only the first partition with data may exceed the limits, so that a batch larger than
                # them is delivered and every other partition still gets its turn (KIP-74).
                answer = self._read(target, bytes_left, min_one_batch=self._readable_bytes == 0)
            except ApiError as error:
                self._must_answer = True
                answer = self._error_answer(target, error.code)
            size = len(answer.records) if answer.records is not None else 0
            self._readable_bytes += size
            bytes_left = max(bytes_left - size, 0)
            answers.append((target, answer))

    def _read(self, target: FetchTarget, bytes_left: int, *, min_one_batch: bool) -> PartitionData:
        if not target.topic:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
        partition = self._partitions.leader(target.topic, target.index)
        if target.topic_id not in (ZERO_UUID, self._partitions.topic_id(target.topic)):
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)
        partition.check_leader_epoch(target.current_leader_epoch)
        answer = PartitionData(
            partition_index=target.index,
            high_watermark=partition.high_watermark,
            last_stable_offset=partition.last_stable_offset,
            log_start_offset=partition.log_start_offset,
            aborted_transactions=None,
            records=b"",
        )
        if target.last_fetched_epoch >= 0 and self._diverges(target, partition, answer):
            self._must_answer = True
            return answer
        read_committed = self._request.isolation_level == _READ_COMMITTED
        offset_max = partition.last_stable_offset if read_committed else partition.high_watermark
        if max(self._request.replica_id, self._request.replica_state.replica_id) > _CONSUMER_REPLICA_ID:
            offset_max = partition.log_end_offset
        found = partition.read(
            target.fetch_offset,
            min(target.bytes_max, bytes_left),
            offset_max=offset_max,
            min_one_batch=min_one_batch,
            with_aborted=read_committed,
        )
        if found.records is not None and found.is_cut_short:
            found.records.release()  # not even one batch fits: its turn comes
            return answer
        if found.records is not None:
            answer.records = found.records
        if found.aborted_transactions is not None:
            answer.aborted_transactions = [
                PartitionData.AbortedTransaction(
                    producer_id=aborted.producer_id, first_offset=aborted.first_offset
                )
                for aborted in found.aborted_transactions
            ]
        return answer

    def _diverges(self, target: FetchTarget, partition: LeaderPartition, answer: PartitionData) -> bool:
        """Tell a reader whose last epoch ends elsewhere in this log where to truncate to (KIP-595)."""
        epoch, end_offset = partition.end_offset_for_epoch(target.last_fetched_epoch)
        if epoch < 0 or end_offset < 0:
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if epoch == target.last_fetched_epoch and end_offset >= target.fetch_offset:
            return False
        answer.diverging_epoch = PartitionData.EpochEndOffset(epoch=epoch, end_offset=end_offset)
        return True

    def _error_answer(self, target: FetchTarget, code: ErrorCode) -> PartitionData:
        if code is ErrorCode.KAFKA_STORAGE_ERROR and self._api_version < _STORAGE_ERROR_SINCE:
            code = ErrorCode.NOT_LEADER_OR_FOLLOWER  # old clients do not know that they may retry the other
        return PartitionData(
            partition_index=target.index,
            error_code=code,
            high_watermark=-1,
            log_start_offset=-1,
            aborted_transactions=[] if code in _UNKNOWN_PARTITION else None,  # as Apache Kafka has it
            records=b"",
        )


def _by_topic(answers: Iterable[tuple[FetchTarget, PartitionData]]) -> list[_TopicResponse]:
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
