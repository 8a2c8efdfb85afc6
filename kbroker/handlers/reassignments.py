"""AlterPartitionReassignments (45) and ListPartitionReassignments (46): partitions that move (KIP-455).

AlterPartitionReassignments, versions 0-1: v1 says whether the replication factor may change (KIP-860). A
partition without replicas means that its move is taken back.

ListPartitionReassignments, version 0: moves under way, of some topics or all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kbroker.handlers.deadlines import within
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError
from wire.messages.reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)

_TopicResult = AlterPartitionReassignmentsResponse.ReassignableTopicResponse
_PartitionResult = _TopicResult.ReassignablePartitionResponse
_OngoingTopic = ListPartitionReassignmentsResponse.OngoingTopicReassignment
_OngoingPartition = _OngoingTopic.OngoingPartitionReassignment
_TopicPartition = tuple[str, int]
# To list moves; Apache Kafka does so whatever the request's time says.
_LEAST_TIME_MS = 1000


class MovingPartition(Protocol):
    @property
    def replicas(self) -> tuple[int, ...]: ...

    @property
    def adding_replicas(self) -> tuple[int, ...]: ...

    @property
    def removing_replicas(self) -> tuple[int, ...]: ...


class NamedTopic(Protocol):
    @property
    def name(self) -> str: ...


class Reassignments(Protocol):
    """The controller, as the one who moves partitions."""

    async def alter_reassignments(
        self,
        targets: Mapping[_TopicPartition, Sequence[int] | None],
        *,
        allow_replication_factor_change: bool,
    ) -> Mapping[_TopicPartition, ApiError | None]:
        """By (topic, index) None or why not; None for a target takes a move back. ApiError for all of them."""
        ...

    async def list_reassignments(
        self, wanted: Sequence[tuple[str, Sequence[int]]] | None
    ) -> Iterable[tuple[NamedTopic, int, MovingPartition]]:
        """(topic, index, state) of the partitions that move; ``wanted``: (topic, indexes), None for all. ApiError."""
        ...


class ReassignmentHandlers:
    """Passes moves on to the controller, and tells which are under way."""

    def __init__(self, *, controller: Reassignments) -> None:
        self._controller = controller

    @handles(AlterPartitionReassignmentsRequest)
    async def alter_partition_reassignments(
        self, request: AlterPartitionReassignmentsRequest, context: RequestContext
    ) -> AlterPartitionReassignmentsResponse:
        targets = {
            (topic.name, partition.partition_index): partition.replicas
            for topic in request.topics
            for partition in topic.partitions
        }
        response = AlterPartitionReassignmentsResponse(
            error_message=None if request.topics else "",  # as Apache Kafka has it
            allow_replication_factor_change=request.allow_replication_factor_change,
        )
        outcome: Mapping[_TopicPartition, ApiError | None]
        try:
            outcome = await within(
                request.timeout_ms,
                lambda: self._controller.alter_reassignments(
                    targets, allow_replication_factor_change=request.allow_replication_factor_change
                ),
            )
        except ApiError as error:
            response.error_code, response.error_message = error.code, error.message or error.code.description
            outcome = dict.fromkeys(targets, error)
        response.responses = [
            _TopicResult(
                name=topic.name,
                partitions=[
                    _result(partition.partition_index, outcome[topic.name, partition.partition_index])
                    for partition in topic.partitions
                ],
            )
            for topic in request.topics
        ]
        return response

    @handles(ListPartitionReassignmentsRequest)
    async def list_partition_reassignments(
        self, request: ListPartitionReassignmentsRequest, context: RequestContext
    ) -> ListPartitionReassignmentsResponse:
        wanted = (
            None
            if request.topics is None
            else [(topic.name, topic.partition_indexes) for topic in request.topics]
        )
        try:
            moving = await within(
                max(request.timeout_ms, _LEAST_TIME_MS), lambda: self._controller.list_reassignments(wanted)
            )
        except ApiError as error:
            return ListPartitionReassignmentsResponse(error_code=error.code, error_message=error.message)
        topics: dict[str, _OngoingTopic] = {}
        for topic, index, state in moving:
            topics.setdefault(topic.name, _OngoingTopic(name=topic.name)).partitions.append(
                _OngoingPartition(
                    partition_index=index,
                    replicas=list(state.replicas),
                    adding_replicas=list(state.adding_replicas),
                    removing_replicas=list(state.removing_replicas),
                )
            )
        return ListPartitionReassignmentsResponse(error_message=None, topics=list(topics.values()))


def _result(index: int, error: ApiError | None) -> _PartitionResult:
    if error is None:
        return _PartitionResult(partition_index=index, error_message=None)
    return _PartitionResult(partition_index=index, error_code=error.code, error_message=error.message)
