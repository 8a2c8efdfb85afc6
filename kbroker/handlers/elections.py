"""ElectLeaders (key 43), versions 0-2: leaders elected by hand.

v0 preferred leaders only (KIP-183); v1 unclean elections, and a top-level error (KIP-460); v2 flexible. Without
partitions all of the cluster's are meant, and those that need no election are left out of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kbroker.handlers.deadlines import within
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.reassignments import ElectLeadersRequest, ElectLeadersResponse

_PREFERRED = 0
_TYPES_SINCE = 1

_TopicResult = ElectLeadersResponse.ReplicaElectionResult
_PartitionResult = _TopicResult.PartitionResult
_TopicPartition = tuple[str, int]


class LeaderElections(Protocol):
    """The controller, as the one who elects leaders."""

    async def elect_leaders(
        self, election_type: int, partitions: Sequence[_TopicPartition] | None
    ) -> Mapping[_TopicPartition, ApiError | None]:
        """By (topic, index) None or why not; None for ``partitions`` means all. ApiError for all of them."""
        ...


class ElectionHandlers:
    """Passes elections on to the controller."""

    def __init__(self, *, controller: LeaderElections) -> None:
        self._controller = controller

    @handles(ElectLeadersRequest)
    async def elect_leaders(
        self, request: ElectLeadersRequest, context: RequestContext
    ) -> ElectLeadersResponse:
        election_type = request.election_type if context.api_version >= _TYPES_SINCE else _PREFERRED
        asked = [topic.topic for topic in request.topic_partitions or ()]
        wanted: list[_TopicPartition] | None = None
        if request.topic_partitions is not None:
            wanted = [
                (topic.topic, index) for topic in request.topic_partitions for index in topic.partitions
            ]
        try:
            outcome = await within(
                request.timeout_ms, lambda: self._controller.elect_leaders(election_type, wanted)
            )
        except ApiError as error:
            return ElectLeadersResponse(
                # Version 0 has errors of partitions only.
                error_code=error.code if context.api_version >= _TYPES_SINCE else ErrorCode.NONE,
                replica_election_results=_results(asked, dict.fromkeys(wanted or (), error), explained=False),
            )
        return ElectLeadersResponse(replica_election_results=_results(asked, outcome))


def _results(
    asked: Iterable[str], outcome: Mapping[_TopicPartition, ApiError | None], *, explained: bool = True
) -> list[_TopicResult]:
    """Of the topics that were ``asked`` about, whatever came of them, and of those that come out of it.

    A partition's own error is ``explained``; of one that the whole request had, Kafka tells partitions the code only.
    """
    topics = {name: _TopicResult(topic=name) for name in asked}
    for (name, index), error in outcome.items():
        topic = topics.setdefault(name, _TopicResult(topic=name))
        topic.partition_result.append(
            _PartitionResult(partition_id=index, error_message=None)
            if error is None
            else _PartitionResult(
                partition_id=index,
                error_code=error.code,
                error_message=error.message or (error.code.description if explained else None),
            )
        )
    return list(topics.values())
