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

import contextlib
from collections.abc import Callable
from typing import Protocol

import trio

from kbroker.handlers.fetch_answers import (
    Answers,
    answer_without_records,
    by_topic,
    check_topic,
    error_answer,
    give_back,
    tell_divergence,
)
from kbroker.handlers.fetch_session import Fetch, FetchSessions, FetchTarget, PartitionData, replica_of
from kbroker.handlers.leader_hints import FETCH_HINTS_SINCE, LED_ELSEWHERE, LeaderHints, ResponseHints
from kbroker.handlers.ports import LeaderPartition, Partitions
from kbroker.handlers.replica_fetch import ReplicaFetches, ReplicationQuota
from kbroker.handlers.table import RequestContext, handles
from kbroker.quotas.client_quotas import RequestQuotas
from wire.errors import ApiError, ErrorCode
from wire.headers import FRAME_SIZE_BYTES
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.schema import ZERO_UUID

_READ_COMMITTED = 1
_SESSIONS_SINCE = 7
_FOLLOWER_READS_SINCE = 11
_DIVERGING_EPOCH_SINCE = 12


class Racks(Protocol):
    """In which rack brokers are."""

    def of_leader(self) -> str | None:
        """This broker's own."""
        ...

    def of(self, node_id: int) -> str | None:
        """None if it has none, or is not alive."""
        ...


class FetchHandlers:
    """Reads for consumers and followers."""

    def __init__(
        self,
        *,
        partitions: Partitions,
        sessions: FetchSessions,
        fetch_bytes_max: Callable[[], int],
        clock_ms: Callable[[], int],
        racks: Callable[[], Racks | None] = lambda: None,
        replica_quota: ReplicationQuota | None = None,
        leader_hints: LeaderHints | None = None,
    ) -> None:
        """Without ``leader_hints`` nobody is told who leads what is not led here.

        ``racks``: in which racks brokers are, if consumers are to read in their own (``replica.selector.class``)."""
        self._racks = racks
        self._leader_hints = leader_hints
        self._replica_fetches = ReplicaFetches(
            partitions=partitions,
            tells_watermarks_at_once=lambda: racks() is not None,
            quota=replica_quota,
        )
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
        if replica_of(request)[0] >= 0:
            answers = await self._replica_fetches.answer(
                request, fetch, context.api_version, bytes_max=self._fetch_bytes_max()
            )
        else:
            answers = await self._read_for_consumer(request, fetch, context)
        if context.api_version < _DIVERGING_EPOCH_SINCE and any(
            answer.diverging_epoch.epoch >= 0 for _, answer in answers
        ):
            # The session was begun in a newer version; this one has no words for the answer.
            give_back(answers)
            return FetchResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
        if context.quotas is not None and not _may_be_sent(fetch, answers, context, context.quotas):
            give_back(answers)
            return FetchResponse(session_id=self._sessions.abandon(fetch))
        sent = fetch.answers_to_send(answers)
        response = FetchResponse(session_id=fetch.session_id, responses=by_topic(sent))
        if context.api_version >= FETCH_HINTS_SINCE and self._leader_hints is not None:
            _add_hints(response, sent, ResponseHints(self._leader_hints, context))
        return response

    async def _read_for_consumer(
        self, request: FetchRequest, fetch: Fetch, context: RequestContext
    ) -> Answers:
        bytes_max = self._fetch_bytes_max()
        if context.quotas is not None:
            quota_bytes = context.quotas.fetch_bytes_max()
            bytes_max = bytes_max if quota_bytes is None else min(bytes_max, quota_bytes)
        reader = _FetchReader(self._partitions, fetch, request, context.api_version, bytes_max, self._racks())
        try:
            return await reader.read_until_enough()
        except BaseException:
            reader.give_back()
            raise


def _may_be_sent(fetch: Fetch, answers: Answers, context: RequestContext, quotas: RequestQuotas) -> bool:
    """Whether the client's quotas allow this answer (KIP-219: otherwise an empty one goes at once)."""
    if fetch.session is not None and not fetch.is_new:
        # The few bytes of partitions that only have a new watermark are left out.
        answers = [(target, answer) for target, answer in answers if answer.records or answer.error_code]

    def response_bytes() -> int:
        response = FetchResponse(session_id=fetch.session_id, responses=by_topic(answers))
        return FRAME_SIZE_BYTES + sum(len(part) for part in response.encode_parts(context.api_version))

    return quotas.charge_fetch(response_bytes)


def _add_hints(response: FetchResponse, sent: Answers, hints: ResponseHints) -> None:
    """Tell who leads the partitions that are not led here (KIP-951)."""
    for target, answer in sent:
        if answer.error_code and answer.error_code in LED_ELSEWHERE:
            leader = hints.leader_of(target.topic, target.index)
            if leader is not None:
                answer.current_leader = PartitionData.LeaderIdAndEpoch(
                    leader_id=leader[0], leader_epoch=leader[1]
                )
    response.node_endpoints = [FetchResponse.NodeEndpoint(**node._asdict()) for node in hints.nodes.values()]


class _FetchReader:
    """One fetch under way: reads all its partitions, again after every wake-up, until it may answer."""

    def __init__(
        self,
        partitions: Partitions,
        fetch: Fetch,
        request: FetchRequest,
        api_version: int,
        fetch_bytes_max: int,
        racks: Racks | None,
    ) -> None:
        self._racks = racks
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
        """Without those that went away since they were read: reading them anew tells so, and ends the wait."""
        partitions: list[LeaderPartition] = []
        for target in self._fetch.targets:
            with contextlib.suppress(ApiError):
                partitions.append(self._partition(target))
        return partitions

    def give_back(self) -> None:
        """Unpin the file slices of the last reading; they are not going to be sent."""
        give_back(self._answers)
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
                answer = error_answer(target, error.code, self._api_version)
            size = len(answer.records) if answer.records is not None else 0
            self._readable_bytes += size
            bytes_left = max(bytes_left - size, 0)
            answers.append((target, answer))

    def _read(self, target: FetchTarget, bytes_left: int, *, min_one_batch: bool) -> PartitionData:
        check_topic(target, self._api_version)
        partition = self._partition(target)
        if target.topic_id not in (ZERO_UUID, self._partitions.topic_id(target.topic)):
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)
        partition.check_leader_epoch(target.current_leader_epoch)
        answer = answer_without_records(target, partition)
        if partition.is_led_here:
            if tell_divergence(target, partition, answer):
                self._must_answer = True
                return answer
            nearer = self._nearer_replica(target, partition)
            if nearer is not None:
                self._must_answer = True
                answer.preferred_read_replica = nearer
                return answer
        read_committed = self._request.isolation_level == _READ_COMMITTED
        offset_max = partition.last_stable_offset if read_committed else partition.high_watermark
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

    def _partition(self, target: FetchTarget) -> LeaderPartition:
        if self._api_version >= _FOLLOWER_READS_SINCE:
            return self._partitions.readable(target.topic, target.index)
        return self._partitions.leader(target.topic, target.index)

    def _nearer_replica(self, target: FetchTarget, partition: LeaderPartition) -> int | None:
        """The in-sync replica in the consumer's rack that has most; None where the leader will do.

        Kafka's RackAwareReplicaSelector.
        """
        racks, rack = self._racks, self._request.rack_id
        if racks is None or not rack or racks.of_leader() == rack:
            return None
        candidates = [
            (log_end_offset, node_id)
            for node_id, log_end_offset in partition.in_sync_followers_with(target.fetch_offset)
            if racks.of(node_id) == rack
        ]
        return max(candidates)[1] if candidates else None
