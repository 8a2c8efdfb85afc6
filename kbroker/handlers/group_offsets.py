"""OffsetCommit (key 8, versions 2-10), OffsetFetch (9, 1-10), TxnOffsetCommit (28, 0-6), OffsetDelete (47, 0).

OffsetCommit  v2-4 retention time; v6 leader epochs (KIP-320); v7 group.instance.id (KIP-345); v8 flexible;
              v9 GROUP_ID_NOT_FOUND, STALE_MEMBER_EPOCH (KIP-848); v10 topic ids (KIP-516)
OffsetFetch   v2 null asks for all topics, error of the whole response; v5 leader epochs; v6 flexible;
              v7 require stable (KIP-447); v8 several groups (KIP-709); v9 member epochs (KIP-848); v10 topic ids
TxnOffsetCommit  v2 leader epochs; v3 flexible, the group's generation and member (KIP-447); v4 TRANSACTION_ABORTABLE;
              v5 transactions without AddOffsetsToTxn (KIP-890); v6 topic ids, GROUP_ID_NOT_FOUND (KIP-1319)
OffsetDelete  KIP-496

Every version of either commit notes the id of the topic, so that the offset does not count when a topic of the
same name is asked for by another id later.

Offsets of a transaction are records of the group's partition of ``__consumer_offsets``, which must belong to the
transaction as any other partition must (``transaction_verification.py``). They count when the marker comes.
"""

from __future__ import annotations

import uuid
from typing import Protocol, TypeVar

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.handlers.table import RequestContext, handles
from kbroker.handlers.transaction_verification import SupportedOperation, TransactionVerifier
from storage.transaction_verification import VerificationGuard
from wire.errors import ApiError, ErrorCode
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.transactions import TxnOffsetCommitRequest, TxnOffsetCommitResponse
from wire.schema import ZERO_UUID

_TOPIC_IDS_SINCE = 10
_TRANSACTIONAL_TOPIC_IDS_SINCE = 6
_BATCHED_FETCH_SINCE = 8
_FETCH_ERROR_SINCE = 2
_LOAD_IN_PROGRESS_SINCE = 2
_NO_OFFSET = -1
_NO_SEQUENCE = -1

_CommitTopic = OffsetCommitRequest.OffsetCommitRequestTopic
_CommittedTopic = OffsetCommitResponse.OffsetCommitResponseTopic
_CommittedPartition = _CommittedTopic.OffsetCommitResponsePartition
_FetchGroup = OffsetFetchRequest.OffsetFetchRequestGroup
_FetchTopic = _FetchGroup.OffsetFetchRequestTopics
_FetchedGroup = OffsetFetchResponse.OffsetFetchResponseGroup
_FetchedTopic = _FetchedGroup.OffsetFetchResponseTopics
_FetchedPartition = _FetchedTopic.OffsetFetchResponsePartitions
_OldTopic = OffsetFetchResponse.OffsetFetchResponseTopic
_OldPartition = _OldTopic.OffsetFetchResponsePartition
_TransactionalTopic = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
_TransactionalResult = TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
_TransactionalPartition = _TransactionalResult.TxnOffsetCommitResponsePartition
_ResultT = TypeVar("_ResultT", _CommittedTopic, _TransactionalResult)
_DeleteTopic = OffsetDeleteRequest.OffsetDeleteRequestTopic
_DeletedTopic = OffsetDeleteResponse.OffsetDeleteResponseTopic
_DeletedPartition = _DeletedTopic.OffsetDeleteResponsePartition


class GroupOffsets(Protocol):
    """The group coordinator, as the keeper of offsets; errors are in the responses."""

    async def commit_offsets(
        self, request: OffsetCommitRequest, origin: RequestContext
    ) -> OffsetCommitResponse: ...

    async def commit_transactional_offsets(
        self,
        request: TxnOffsetCommitRequest,
        origin: RequestContext,
        *,
        verification_guard: object | None = None,
    ) -> TxnOffsetCommitResponse:
        """Topics have both name and id.

        ``verification_guard`` is the proof that the group's partition belongs to the transaction.
        """
        ...

    def partition_for(self, group_id: str) -> int:
        """The partition of ``__consumer_offsets`` that the group belongs to."""
        ...

    def error_for_clients(self, code: ErrorCode) -> ErrorCode:
        """What a client is told when the log of its group answered ``code``."""
        ...

    async def fetch_offsets(self, request: _FetchGroup, *, require_stable: bool) -> _FetchedGroup: ...

    async def delete_offsets(self, request: OffsetDeleteRequest) -> OffsetDeleteResponse: ...


class TopicCatalog(Protocol):
    """Which topics the cluster has."""

    def topic_name(self, topic_id: uuid.UUID) -> str | None: ...

    def topic_id(self, topic: str) -> uuid.UUID:
        """The zero UUID if there is no such topic."""
        ...

    def has_partition(self, topic: str, partition: int) -> bool: ...


class GroupOffsetHandlers:
    """Sorts out topics that do not exist, and passes the rest on to the group coordinator."""

    def __init__(self, *, groups: GroupOffsets, topics: TopicCatalog, verifier: TransactionVerifier) -> None:
        self._groups = groups
        self._topics = topics
        self._verifier = verifier

    # OffsetCommit

    @handles(OffsetCommitRequest)
    async def commit_offsets(
        self, request: OffsetCommitRequest, context: RequestContext
    ) -> OffsetCommitResponse:
        refused: list[_CommittedTopic] = []
        by_id = context.api_version >= _TOPIC_IDS_SINCE
        request.topics = [
            known
            for topic in request.topics
            if (known := self._known_part(topic, refused, by_id=by_id)) is not None
        ]
        if not request.topics:
            return OffsetCommitResponse(topics=_merged(refused, [], by_id=by_id))
        response = await self._groups.commit_offsets(request, context)
        if refused:
            response.topics = _merged(refused, response.topics, by_id=by_id)
        return response

    def _known_part(
        self, topic: _CommitTopic, refused: list[_CommittedTopic], *, by_id: bool
    ) -> _CommitTopic | None:
        """The topic with the partitions that exist; the others go to ``refused`` with their error."""
        error = self._complete(topic, by_id=by_id)
        is_known = bool(topic.name) and topic.topic_id != ZERO_UUID
        known, unknown = [], []
        for partition in topic.partitions:
            if is_known and self._topics.has_partition(topic.name, partition.partition_index):
                known.append(partition)
            else:
                index = partition.partition_index
                unknown.append(_CommittedPartition(partition_index=index, error_code=error))
        if unknown:
            refused.append(_CommittedTopic(name=topic.name, topic_id=topic.topic_id, partitions=unknown))
        topic.partitions = known
        return topic if known else None

    def _complete(self, topic: _CommitTopic | _TransactionalTopic, *, by_id: bool) -> ErrorCode:
        """Give the topic the one of name and id that the request does not have; the error of what does not exist."""
        if not by_id:
            topic.topic_id = self._topics.topic_id(topic.name)
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        topic.name = self._topics.topic_name(topic.topic_id) or ""
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if topic.name else ErrorCode.UNKNOWN_TOPIC_ID

    # TxnOffsetCommit

    @handles(TxnOffsetCommitRequest)
    async def commit_transactional_offsets(
        self, request: TxnOffsetCommitRequest, context: RequestContext
    ) -> TxnOffsetCommitResponse:
        refused: list[_TransactionalResult] = []
        by_id = context.api_version >= _TRANSACTIONAL_TOPIC_IDS_SINCE
        request.topics = [
            known
            for topic in request.topics
            if (known := self._known_offsets(topic, refused, by_id=by_id)) is not None
        ]
        if not request.topics:
            return TxnOffsetCommitResponse(topics=_merged(refused, [], by_id=by_id))
        response = await self._commit_transactional(request, context)
        if refused:
            response.topics = _merged(refused, response.topics, by_id=by_id)
        if context.api_version < _LOAD_IN_PROGRESS_SINCE:
            _replace_load_in_progress(response)
        return response

    def _known_offsets(
        self, topic: _TransactionalTopic, refused: list[_TransactionalResult], *, by_id: bool
    ) -> _TransactionalTopic | None:
        """The topic with the partitions that exist; the others go to ``refused`` with their error."""
        error = self._complete(topic, by_id=by_id)
        unknown = [
            partition.partition_index
            for partition in topic.partitions
            if not (topic.name and self._topics.has_partition(topic.name, partition.partition_index))
        ]
        if unknown:
            refused.append(_transactional_result(topic, unknown, error))
            topic.partitions = [
                partition for partition in topic.partitions if partition.partition_index not in unknown
            ]
        return topic if topic.partitions else None

    async def _commit_transactional(
        self, request: TxnOffsetCommitRequest, context: RequestContext
    ) -> TxnOffsetCommitResponse:
        try:
            guard = await self._verify(request, context)
        except ApiError as error:
            return TxnOffsetCommitResponse(
                topics=[
                    _transactional_result(
                        topic, [partition.partition_index for partition in topic.partitions], error.code
                    )
                    for topic in request.topics
                ]
            )
        return await self._groups.commit_transactional_offsets(request, context, verification_guard=guard)

    async def _verify(
        self, request: TxnOffsetCommitRequest, context: RequestContext
    ) -> VerificationGuard | None:
        """Have the transaction coordinator confirm, or add, the group's partition; ApiError unless it did."""
        if not request.group_id:
            raise ApiError(ErrorCode.INVALID_GROUP_ID)
        partition = CONSUMER_OFFSETS_TOPIC, self._groups.partition_for(request.group_id)
        verified = await self._verifier.verify(
            request.transactional_id,
            (request.producer_id, request.producer_epoch),
            {partition: _NO_SEQUENCE},
            SupportedOperation.of_offset_commit(context.api_version),
        )
        code = verified.errors.get(partition)
        if code is not None:
            raise ApiError(self._groups.error_for_clients(code))
        return verified.guards.get(partition)

    # OffsetFetch

    @handles(OffsetFetchRequest)
    async def fetch_offsets(
        self, request: OffsetFetchRequest, context: RequestContext
    ) -> OffsetFetchResponse:
        by_id = context.api_version >= _TOPIC_IDS_SINCE
        if context.api_version >= _BATCHED_FETCH_SINCE:
            return OffsetFetchResponse(
                groups=[
                    await self._fetch_group(group, request.require_stable, by_id=by_id)
                    for group in request.groups
                ]
            )
        topics = None
        if request.topics is not None:
            topics = [
                _FetchTopic(name=topic.name, partition_indexes=topic.partition_indexes)
                for topic in request.topics
            ]
        group = _FetchGroup(group_id=request.group_id, topics=topics)
        fetched = await self._fetch_group(group, request.require_stable, by_id=False)
        return _unbatched(fetched, group, context.api_version)

    async def _fetch_group(self, group: _FetchGroup, require_stable: bool, *, by_id: bool) -> _FetchedGroup:
        unknown: list[_FetchTopic] = []
        if by_id and group.topics is not None:
            for topic in group.topics:
                topic.name = self._topics.topic_name(topic.topic_id) or ""
            unknown = [topic for topic in group.topics if not topic.name]
            group.topics = [topic for topic in group.topics if topic.name]
        fetched = await self._groups.fetch_offsets(group, require_stable=require_stable)
        if fetched.error_code != ErrorCode.NONE:
            return fetched
        if by_id and group.topics is None:
            fetched.topics = self._with_ids(fetched.topics)
        fetched.topics.extend(_unknown_topic(topic) for topic in unknown)
        return fetched

    def _with_ids(self, topics: list[_FetchedTopic]) -> list[_FetchedTopic]:
        """Offsets of topics that exist no more cannot be told by id, so they are left out."""
        for topic in topics:
            topic.topic_id = self._topics.topic_id(topic.name)
        return [topic for topic in topics if topic.topic_id != ZERO_UUID]

    # OffsetDelete

    @handles(OffsetDeleteRequest)
    async def delete_offsets(
        self, request: OffsetDeleteRequest, context: RequestContext
    ) -> OffsetDeleteResponse:
        refused: dict[str, _DeletedTopic] = {}
        for topic in request.topics:
            unknown = [p for p in topic.partitions if not self._exists(topic, p.partition_index)]
            topic.partitions = [p for p in topic.partitions if self._exists(topic, p.partition_index)]
            for partition in unknown:
                answer = _DeletedPartition(
                    partition_index=partition.partition_index,
                    error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                )
                refused.setdefault(topic.name, _DeletedTopic(name=topic.name)).partitions.append(answer)
        request.topics = [topic for topic in request.topics if topic.partitions]
        response = await self._groups.delete_offsets(request)
        if response.error_code != ErrorCode.NONE:
            return response
        for topic_response in response.topics:
            answered = refused.pop(topic_response.name, None)
            if answered is not None:
                topic_response.partitions.extend(answered.partitions)
        response.topics.extend(refused.values())
        return response

    def _exists(self, topic: _DeleteTopic, partition: int) -> bool:
        return self._topics.has_partition(topic.name, partition)


def _merged(refused: list[_ResultT], committed: list[_ResultT], *, by_id: bool) -> list[_ResultT]:
    """One entry for each topic that was refused in part: some of its partitions may exist and others not."""
    topics: dict[object, _ResultT] = {}
    for topic in refused + committed:
        key: object = topic.topic_id if by_id else topic.name
        if key in topics:
            topics[key].partitions.extend(topic.partitions)
        else:
            topics[key] = topic
    return list(topics.values())


def _transactional_result(
    topic: _TransactionalTopic, indexes: list[int], code: ErrorCode
) -> _TransactionalResult:
    return _TransactionalResult(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[_TransactionalPartition(partition_index=index, error_code=code) for index in indexes],
    )


def _replace_load_in_progress(response: TxnOffsetCommitResponse) -> None:
    """Producers before 2.3 may stop at COORDINATOR_LOAD_IN_PROGRESS, which they do not expect here (KAFKA-7296)."""
    for topic in response.topics:
        for partition in topic.partitions:
            if partition.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                partition.error_code = ErrorCode.COORDINATOR_NOT_AVAILABLE


def _unknown_topic(topic: _FetchTopic) -> _FetchedTopic:
    return _FetchedTopic(
        topic_id=topic.topic_id,
        partitions=[
            _FetchedPartition(
                partition_index=index,
                committed_offset=_NO_OFFSET,
                error_code=ErrorCode.UNKNOWN_TOPIC_ID,
            )
            for index in topic.partition_indexes
        ],
    )


def _unbatched(fetched: _FetchedGroup, requested: _FetchGroup, api_version: int) -> OffsetFetchResponse:
    """The one group of a response before version 8."""
    if fetched.error_code != ErrorCode.NONE and api_version < _FETCH_ERROR_SINCE:
        # Version 1 has errors of partitions only.
        return OffsetFetchResponse(
            topics=[
                _OldTopic(
                    name=topic.name,
                    partitions=[
                        _OldPartition(
                            partition_index=index,
                            committed_offset=_NO_OFFSET,
                            error_code=fetched.error_code,
                        )
                        for index in topic.partition_indexes
                    ],
                )
                for topic in requested.topics or []
            ]
        )
    return OffsetFetchResponse(
        error_code=fetched.error_code,
        topics=[
            _OldTopic(
                name=topic.name,
                partitions=[
                    _OldPartition(
                        partition_index=partition.partition_index,
                        committed_offset=partition.committed_offset,
                        committed_leader_epoch=partition.committed_leader_epoch,
                        metadata=partition.metadata,
                        error_code=partition.error_code,
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in fetched.topics
        ],
    )
