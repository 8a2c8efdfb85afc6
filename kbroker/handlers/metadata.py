"""Metadata (3), DescribeCluster (60) and DescribeTopicPartitions (75): what clients learn of the cluster.

Metadata, versions 0-13: v0 an empty list means all topics, from v1 on null does; v4 says whether topics
may be created; v5 offline replicas; v6 LISTENER_NOT_FOUND; v7 leader epochs; v8 authorized operations
(KIP-430; those of the cluster until v10); v9 flexible; v10 topic ids in responses, v12 in requests
(KIP-516); v13 a top-level error. Where an id is given for any topic, names are not looked at.

A topic that is created because a client asked for it is told in the same response. Kafka answers
UNKNOWN_TOPIC_OR_PARTITION and creates it meanwhile; clients then wait and ask again, which they need not.
If it cannot be created, the topic's error says why.

DescribeCluster, versions 0-2: v1 endpoint types (KIP-919); v2 fenced brokers (KIP-1073).

DescribeTopicPartitions, version 0: partitions page by page, with eligible leader replicas (KIP-966).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from kbroker.handlers.table import ListenerEndpoint, RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import (
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    MetadataRequest,
    MetadataResponse,
)
from wire.schema import ZERO_UUID

NO_LEADER: Final = -1
_NOBODY: Final = -1

# Bit n stands for the ACL operation with Kafka's id n. Without an authorizer everything that the kind of
# resource supports is allowed (``AclEntry.supportedOperations``).
_READ, _WRITE, _CREATE, _DELETE, _ALTER, _DESCRIBE = 3, 4, 5, 6, 7, 8
_CLUSTER_ACTION, _DESCRIBE_CONFIGS, _ALTER_CONFIGS, _IDEMPOTENT_WRITE = 9, 10, 11, 12


def _bits(*operations: int) -> int:
    return sum(1 << operation for operation in operations)


TOPIC_OPERATIONS: Final = _bits(
    _READ, _WRITE, _CREATE, _DELETE, _ALTER, _DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS
)
CLUSTER_OPERATIONS: Final = _bits(
    _CREATE, _ALTER, _DESCRIBE, _CLUSTER_ACTION, _DESCRIBE_CONFIGS, _ALTER_CONFIGS, _IDEMPOTENT_WRITE
)

_BROKER_ENDPOINT: Final = 1
_CONTROLLER_ENDPOINT: Final = 2

MetadataResponseTopic = MetadataResponse.MetadataResponseTopic
MetadataResponsePartition = MetadataResponseTopic.MetadataResponsePartition
DescribedTopic = DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic
DescribedPartition = DescribedTopic.DescribeTopicPartitionsResponsePartition


class Broker(Protocol):
    @property
    def node_id(self) -> int: ...

    @property
    def rack(self) -> str | None: ...

    @property
    def fenced(self) -> bool: ...

    @property
    def endpoints(self) -> Mapping[str, ListenerEndpoint]: ...


class Partition(Protocol):
    @property
    def replicas(self) -> Sequence[int]: ...

    @property
    def in_sync_replicas(self) -> Sequence[int]: ...

    @property
    def leader(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def eligible_leader_replicas(self) -> Sequence[int]: ...

    @property
    def last_known_eligible_leader_replicas(self) -> Sequence[int]: ...


class Topic(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def topic_id(self) -> UUID: ...

    @property
    def is_internal(self) -> bool: ...

    @property
    def partitions(self) -> Sequence[Partition]: ...


class Cluster(Protocol):
    """The cluster image, as far as clients are told of it."""

    @property
    def cluster_id(self) -> str | None: ...

    @property
    def brokers(self) -> Mapping[int, Broker]: ...

    @property
    def topics(self) -> Mapping[str, Topic]: ...

    @property
    def topics_by_id(self) -> Mapping[UUID, Topic]: ...

    def missing_topic_error(self, name: str) -> ErrorCode: ...

    def is_internal_topic(self, name: str) -> bool: ...


class TopicCreator(Protocol):
    async def auto_create_topics(
        self, names: Iterable[str], charge: Callable[[int], None] | None = None
    ) -> dict[str, ApiError | None]:
        """None for each topic that exists now. May raise ApiError for all of them."""
        ...


class MetadataSettings(Protocol):
    @property
    def auto_create_topics_enable(self) -> bool: ...

    @property
    def max_request_partition_size_limit(self) -> int: ...


class MetadataHandlers:
    """Answers what clients ask about brokers, topics and partitions."""

    def __init__(
        self,
        *,
        node_id: int,
        current_image: Callable[[], Cluster],
        topic_creator: TopicCreator,
        settings: MetadataSettings,
    ) -> None:
        """``node_id`` is this broker's."""
        self._node_id = node_id
        self._current_image = current_image
        self._topic_creator = topic_creator
        self._settings = settings

    @handles(MetadataRequest)
    async def metadata(self, request: MetadataRequest, context: RequestContext) -> MetadataResponse:
        if not _is_well_formed(request, context.api_version):
            return _invalid_metadata_request(request)
        wants_all = request.topics is None or (context.api_version == 0 and not request.topics)
        topics: list[MetadataResponseTopic] = []
        if wants_all:
            names = list(self._current_image().topics)
        else:
            names, unknown_ids = self._requested_names(request)
            topics.extend(_unknown_topic_id(topic_id) for topic_id in unknown_ids)
        creation_errors: Mapping[str, ApiError | None] = {}
        if request.allow_auto_topic_creation and not wants_all:
            creation_errors = await self._create_missing(names, context)
        view = _View(self._current_image(), context)
        named = [
            topic
            for name in names
            if (topic := view.topic(name, creation_errors.get(name), skip_missing=wants_all)) is not None
        ]
        if request.include_topic_authorized_operations:
            for topic in named:
                topic.topic_authorized_operations = TOPIC_OPERATIONS
        response = MetadataResponse(
            brokers=[
                MetadataResponse.MetadataResponseBroker(
                    node_id=broker.node_id, host=host, port=port, rack=broker.rack
                )
                for broker, host, port in view.alive_brokers()
            ],
            cluster_id=view.image.cluster_id,
            controller_id=view.admin_broker(self._node_id),
            topics=topics + named,
        )
        if request.include_cluster_authorized_operations:
            response.cluster_authorized_operations = CLUSTER_OPERATIONS
        return response

    def _requested_names(self, request: MetadataRequest) -> tuple[list[str], list[UUID]]:
        """The topics asked for, each once, and the ids that no topic has."""
        topics = request.topics or []
        topic_ids = dict.fromkeys(topic.topic_id for topic in topics if topic.topic_id != ZERO_UUID)
        if not topic_ids:
            return list(dict.fromkeys(topic.name for topic in topics if topic.name is not None)), []
        known = self._current_image().topics_by_id
        names = [known[topic_id].name for topic_id in topic_ids if topic_id in known]
        return names, [topic_id for topic_id in topic_ids if topic_id not in known]

    async def _create_missing(
        self, names: Sequence[str], context: RequestContext
    ) -> Mapping[str, ApiError | None]:
        if not self._settings.auto_create_topics_enable:
            return {}
        present = self._current_image().topics
        missing = [name for name in names if name not in present]
        if not missing:
            return {}
        charge = None
        if context.quotas is not None:
            charge = context.quotas.unsettled_mutations(is_strict=True).record
        try:
            outcome = await self._topic_creator.auto_create_topics(missing, charge)
        except ApiError as error:
            return dict.fromkeys(missing, error)
        # Of quotas a client that asks for metadata knows nothing: the topic is not there, it may ask again.
        return {
            name: error
            for name, error in outcome.items()
            if error is None or error.code is not ErrorCode.THROTTLING_QUOTA_EXCEEDED
        }

    @handles(DescribeClusterRequest)
    async def describe_cluster(
        self, request: DescribeClusterRequest, context: RequestContext
    ) -> DescribeClusterResponse:
        if request.endpoint_type != _BROKER_ENDPOINT:
            return _wrong_endpoint_type(request.endpoint_type)
        view = _View(self._current_image(), context)
        brokers = [
            DescribeClusterResponse.DescribeClusterBroker(
                broker_id=broker.node_id, host=host, port=port, rack=broker.rack, is_fenced=broker.fenced
            )
            for broker, host, port in (
                view.reachable_brokers() if request.include_fenced_brokers else view.alive_brokers()
            )
        ]
        response = DescribeClusterResponse(
            error_message=None,
            cluster_id=view.image.cluster_id or "",
            controller_id=view.admin_broker(self._node_id),
            brokers=brokers,
        )
        if request.include_cluster_authorized_operations:
            response.cluster_authorized_operations = CLUSTER_OPERATIONS
        return response

    @handles(DescribeTopicPartitionsRequest)
    async def describe_topic_partitions(
        self, request: DescribeTopicPartitionsRequest, context: RequestContext
    ) -> DescribeTopicPartitionsResponse:
        view = _View(self._current_image(), context)
        cursor = request.cursor
        wants_all = not request.topics
        names = set(view.image.topics) if wants_all else {topic.name for topic in request.topics}
        if cursor is not None:
            names = {name for name in names if name >= cursor.topic_name}
            if cursor.partition_index < 0 or not (wants_all or cursor.topic_name in names):
                return _invalid_cursor(request)
        start = (cursor.topic_name, cursor.partition_index) if cursor is not None else ("", 0)
        limit = min(self._settings.max_request_partition_size_limit, request.response_partition_limit)
        return view.describe(sorted(names), start, max(limit, 1))


class _OnePartition(NamedTuple):
    """What Metadata and DescribeTopicPartitions have in common."""

    leader_id: int
    offline_replicas: list[int]


class _View:
    """One image as one client sees it: through the listener that it is connected to."""

    def __init__(self, image: Cluster, context: RequestContext) -> None:
        self.image = image
        self._context = context
        self._reachable = {
            node_id: endpoint
            for node_id, broker in sorted(image.brokers.items())
            if (endpoint := context.advertised_endpoint(broker)) is not None
        }
        self._alive = {node_id for node_id in self._reachable if not image.brokers[node_id].fenced}

    def reachable_brokers(self) -> list[tuple[Broker, str, int]]:
        """(broker, host, port) of the brokers that have the client's listener, by node id."""
        return [(self.image.brokers[node_id], *endpoint) for node_id, endpoint in self._reachable.items()]

    def alive_brokers(self) -> list[tuple[Broker, str, int]]:
        return [found for found in self.reachable_brokers() if not found[0].fenced]

    def admin_broker(self, own_id: int) -> int:
        """Whom to send admin requests to: what clients take for the controller; -1 for nobody.

        Every broker carries them out, and the one that answers is surely there, while the elected controller may have
        died a moment ago, and clients would wait for it. Kafka names any broker that is alive.
        """
        return own_id if own_id in self._alive else min(self._alive, default=_NOBODY)

    def topic(
        self, name: str, creation_error: ApiError | None, *, skip_missing: bool
    ) -> MetadataResponseTopic | None:
        topic = self.image.topics.get(name)
        if topic is None:
            if skip_missing:
                return None
            code = creation_error.code if creation_error else self.image.missing_topic_error(name)
            return MetadataResponseTopic(
                error_code=code, name=name, is_internal=self.image.is_internal_topic(name)
            )
        return MetadataResponseTopic(
            name=name,
            topic_id=topic.topic_id,
            is_internal=topic.is_internal,
            partitions=[self._metadata_of(index, state) for index, state in enumerate(topic.partitions)],
        )

    def _metadata_of(self, index: int, state: Partition) -> MetadataResponsePartition:
        common = self._common(state)
        replicas, in_sync = list(state.replicas), list(state.in_sync_replicas)
        code = ErrorCode.NONE
        if self._context.api_version == 0:
            # Such old clients cannot deal with brokers that they were not told of.
            replicas = [node_id for node_id in replicas if node_id in self._alive]
            in_sync = [node_id for node_id in in_sync if node_id in self._alive]
            if (len(replicas), len(in_sync)) != (len(state.replicas), len(state.in_sync_replicas)):
                code = ErrorCode.REPLICA_NOT_AVAILABLE
        if common.leader_id == NO_LEADER:
            code = self._missing_leader_error(state)
        return MetadataResponsePartition(
            error_code=code,
            partition_index=index,
            leader_id=common.leader_id,
            leader_epoch=state.leader_epoch,
            replica_nodes=replicas,
            isr_nodes=in_sync,
            offline_replicas=common.offline_replicas,
        )

    def _common(self, state: Partition) -> _OnePartition:
        return _OnePartition(
            leader_id=state.leader if state.leader in self._reachable else NO_LEADER,
            offline_replicas=[node_id for node_id in state.replicas if node_id not in self._alive],
        )

    def _missing_leader_error(self, state: Partition) -> ErrorCode:
        if state.leader in self.image.brokers and self._context.api_version >= 6:
            return ErrorCode.LISTENER_NOT_FOUND
        return ErrorCode.LEADER_NOT_AVAILABLE

    def describe(
        self, names: Sequence[str], start: tuple[str, int], limit: int
    ) -> DescribeTopicPartitionsResponse:
        """At most ``limit`` partitions of the topics in order, and a cursor if that leaves some out."""
        response = DescribeTopicPartitionsResponse()
        remaining = limit
        for name in names:
            first = start[1] if name == start[0] else 0
            if remaining == 0:
                response.next_cursor = DescribeTopicPartitionsResponse.Cursor(
                    topic_name=name, partition_index=0
                )
                break
            topic = self.image.topics.get(name)
            if topic is None:
                response.topics.append(self._missing_description(name))
                continue
            end = min(len(topic.partitions), first + remaining)
            response.topics.append(
                DescribedTopic(
                    name=name,
                    topic_id=topic.topic_id,
                    is_internal=topic.is_internal,
                    partitions=[
                        self._description_of(index, topic.partitions[index]) for index in range(first, end)
                    ],
                    topic_authorized_operations=TOPIC_OPERATIONS,
                )
            )
            if end < len(topic.partitions):
                response.next_cursor = DescribeTopicPartitionsResponse.Cursor(
                    topic_name=name, partition_index=end
                )
                break
            remaining -= max(end - first, 0)
        return response

    def _missing_description(self, name: str) -> DescribedTopic:
        return DescribedTopic(
            error_code=self.image.missing_topic_error(name),
            name=name,
            is_internal=self.image.is_internal_topic(name),
            topic_authorized_operations=TOPIC_OPERATIONS,
        )

    def _description_of(self, index: int, state: Partition) -> DescribedPartition:
        common = self._common(state)
        return DescribedPartition(
            partition_index=index,
            leader_id=common.leader_id,
            leader_epoch=state.leader_epoch,
            replica_nodes=list(state.replicas),
            isr_nodes=list(state.in_sync_replicas),
            eligible_leader_replicas=list(state.eligible_leader_replicas),
            last_known_elr=list(state.last_known_eligible_leader_replicas),
            offline_replicas=common.offline_replicas,
        )


def _is_well_formed(request: MetadataRequest, version: int) -> bool:
    """Topics by id are served from version 12 on, although 10 and 11 have the field."""
    topics = request.topics or []
    if version < 12:
        return all(topic.name is not None and topic.topic_id == ZERO_UUID for topic in topics)
    return any(topic.topic_id != ZERO_UUID for topic in topics) or all(
        topic.name is not None for topic in topics
    )


def _invalid_metadata_request(request: MetadataRequest) -> MetadataResponse:
    return MetadataResponse(
        topics=[
            MetadataResponseTopic(
                error_code=ErrorCode.INVALID_REQUEST, name=topic.name or "", topic_id=topic.topic_id
            )
            for topic in request.topics or []
        ],
        error_code=ErrorCode.INVALID_REQUEST,
    )


def _unknown_topic_id(topic_id: UUID) -> MetadataResponseTopic:
    return MetadataResponseTopic(error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id)


def _wrong_endpoint_type(endpoint_type: int) -> DescribeClusterResponse:
    if endpoint_type == _CONTROLLER_ENDPOINT:
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE,
            error_message="This is an endpoint of brokers; the request is for one of controllers.",
        )
    return DescribeClusterResponse(
        error_code=ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
        error_message=f"There is no endpoint type {endpoint_type}.",
    )


def _invalid_cursor(request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse:
    return DescribeTopicPartitionsResponse(
        topics=[
            DescribedTopic(error_code=ErrorCode.INVALID_REQUEST, name=topic.name) for topic in request.topics
        ]
    )
