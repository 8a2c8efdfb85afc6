"""AlterPartition (key 56), versions 2-3: a leader proposes in-sync replicas (KIP-497).

v2 topic ids (KIP-841); v3 the replicas' broker epochs (KIP-903). Brokers of kbroker write to the metadata store
themselves and do not send this; whoever sends it is answered by any broker as Kafka's controller would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError
from wire.messages.reassignments import AlterPartitionRequest, AlterPartitionResponse

_EPOCHS_SINCE = 3
_UNKNOWN_BROKER_EPOCH = -1
_RECOVERING = 1

_TopicResult = AlterPartitionResponse.TopicData
_PartitionResult = _TopicResult.PartitionData
_RequestedPartition = AlterPartitionRequest.TopicData.PartitionData


class Proposal(Protocol):
    """What a leader wants the in-sync set of its partition to be."""

    @property
    def topic_id(self) -> UUID: ...

    @property
    def index(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def partition_epoch(self) -> int: ...

    @property
    def in_sync_replicas(self) -> Sequence[tuple[int, int]]:
        """(node id, broker epoch or -1)."""
        ...

    @property
    def is_recovering(self) -> bool: ...


class PartitionState(Protocol):
    @property
    def leader(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def partition_epoch(self) -> int: ...

    @property
    def in_sync_replicas(self) -> tuple[int, ...]: ...

    @property
    def is_recovering(self) -> bool: ...


class PartitionStates(Protocol):
    """The controller, as the keeper of partition states."""

    async def alter_partitions(
        self, node_id: int, broker_epoch: int, changes: Sequence[Proposal]
    ) -> Mapping[tuple[UUID, int], PartitionState | ApiError]:
        """By (topic id, index) the state now, or why it was not changed. ApiError for all of them."""
        ...


class _Proposal:
    __slots__ = ("in_sync_replicas", "index", "is_recovering", "leader_epoch", "partition_epoch", "topic_id")

    def __init__(self, topic_id: UUID, requested: _RequestedPartition, api_version: int) -> None:
        self.topic_id = topic_id
        self.index = requested.partition_index
        self.leader_epoch = requested.leader_epoch
        self.partition_epoch = requested.partition_epoch
        self.is_recovering = requested.leader_recovery_state == _RECOVERING
        self.in_sync_replicas: list[tuple[int, int]]
        if api_version >= _EPOCHS_SINCE:
            self.in_sync_replicas = [
                (broker.broker_id, broker.broker_epoch) for broker in requested.new_isr_with_epochs
            ]
        else:
            self.in_sync_replicas = [(node_id, _UNKNOWN_BROKER_EPOCH) for node_id in requested.new_isr]


class PartitionStateHandlers:
    """Passes proposals on to the controller."""

    def __init__(self, *, controller: PartitionStates) -> None:
        self._controller = controller

    @handles(AlterPartitionRequest)
    async def alter_partition(
        self, request: AlterPartitionRequest, context: RequestContext
    ) -> AlterPartitionResponse:
        proposals = [
            _Proposal(topic.topic_id, partition, context.api_version)
            for topic in request.topics
            for partition in topic.partitions
        ]
        try:
            outcome = await self._controller.alter_partitions(
                request.broker_id, request.broker_epoch, proposals
            )
        except ApiError as error:
            return AlterPartitionResponse(error_code=error.code)
        return AlterPartitionResponse(
            topics=[
                _TopicResult(
                    topic_id=topic.topic_id,
                    partitions=[
                        _result(index, outcome[topic.topic_id, index])
                        for index in (partition.partition_index for partition in topic.partitions)
                    ],
                )
                for topic in request.topics
            ]
        )


def _result(index: int, answer: PartitionState | ApiError) -> _PartitionResult:
    if isinstance(answer, ApiError):
        return _PartitionResult(partition_index=index, error_code=answer.code)
    return _PartitionResult(
        partition_index=index,
        leader_id=answer.leader,
        leader_epoch=answer.leader_epoch,
        isr=list(answer.in_sync_replicas),
        leader_recovery_state=_RECOVERING if answer.is_recovering else 0,
        partition_epoch=answer.partition_epoch,
    )
