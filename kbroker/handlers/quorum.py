"""DescribeQuorum (key 55), versions 0-2: who keeps the cluster's metadata (KIP-595).

v1 when a replica last fetched (KIP-836); v2 directory ids, error messages and the voters' addresses (KIP-853).

kbroker has no Raft quorum of its own: its metadata is in a store, whose members this API knows nothing of. So
that tools which ask can show something true, the answer for ``__cluster_metadata`` partition 0 is: the leader is
the elected controller, the epoch its controller epoch, the voters are the registered brokers, since each of them
may become the controller, and offsets are revisions of the store. A broker is registered only as long as it
renews its lease, hence it counts as caught up now. There are no observers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from kbroker.handlers.table import ListenerEndpoint, RequestContext, handles
from wire.errors import ErrorCode
from wire.messages.quorum import DescribeQuorumRequest, DescribeQuorumResponse

_TOPIC: Final = "__cluster_metadata"
_NODES_SINCE: Final = 2

_TopicResult = DescribeQuorumResponse.TopicData
_PartitionResult = _TopicResult.PartitionData
_Node = DescribeQuorumResponse.Node


class Broker(Protocol):
    @property
    def endpoints(self) -> Mapping[str, ListenerEndpoint]: ...


class ElectedController(Protocol):
    @property
    def node_id(self) -> int: ...

    @property
    def controller_epoch(self) -> int: ...


class Cluster(Protocol):
    """The part of the cluster image that tells of brokers and their controller."""

    @property
    def revision(self) -> int: ...

    @property
    def controller(self) -> ElectedController | None: ...

    @property
    def brokers(self) -> Mapping[int, Broker]: ...


class QuorumHandlers:
    """Answers from the image."""

    def __init__(self, *, current_image: Callable[[], Cluster], clock_ms: Callable[[], int]) -> None:
        self._current_image = current_image
        self._clock_ms = clock_ms

    @handles(DescribeQuorumRequest)
    async def describe_quorum(
        self, request: DescribeQuorumRequest, context: RequestContext
    ) -> DescribeQuorumResponse:
        wanted = [
            (topic.topic_name, [partition.partition_index for partition in topic.partitions])
            for topic in request.topics
        ]
        if wanted != [(_TOPIC, [0])]:
            return _failure(request, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        image = self._current_image()
        controller = image.controller
        if controller is None:
            return _failure(request, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        now_ms = self._clock_ms()
        partition = _PartitionResult(
            leader_id=controller.node_id,
            leader_epoch=controller.controller_epoch,
            high_watermark=image.revision,
            current_voters=[
                DescribeQuorumResponse.ReplicaState(
                    replica_id=node_id,
                    log_end_offset=image.revision,
                    last_fetch_timestamp=now_ms,
                    last_caught_up_timestamp=now_ms,
                )
                for node_id in sorted(image.brokers)
            ],
        )
        return DescribeQuorumResponse(
            topics=[_TopicResult(topic_name=_TOPIC, partitions=[partition])],
            nodes=[_node(node_id, broker, context) for node_id, broker in sorted(image.brokers.items())]
            if context.api_version >= _NODES_SINCE
            else [],
        )


def _node(node_id: int, broker: Broker, context: RequestContext) -> _Node:
    endpoint = context.advertised_endpoint(broker)
    if endpoint is None:
        return _Node(node_id=node_id)
    host, port = endpoint
    return _Node(
        node_id=node_id, listeners=[_Node.Listener(name=context.listener_name, host=host, port=port)]
    )


def _failure(request: DescribeQuorumRequest, code: ErrorCode) -> DescribeQuorumResponse:
    return DescribeQuorumResponse(
        topics=[
            _TopicResult(
                topic_name=topic.topic_name,
                partitions=[
                    _PartitionResult(
                        partition_index=partition.partition_index,
                        error_code=code,
                        error_message=code.description,
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in request.topics
        ],
    )
