"""CreateTopics (19), DeleteTopics (20) and CreatePartitions (37), answered as Kafka's ``ControllerApis`` does.

CreateTopics, versions 2-7: v4 -1 stands for the default partitions and replication factor (KIP-464);
v5 flexible, tells the new topic's configs (KIP-525); v7 its id. kbroker takes -1 in every version, as
Kafka does.

DeleteTopics, versions 1-6: v3 TOPIC_DELETION_DISABLED; v4 flexible; v5 error messages; v6 topics by id
(KIP-516).

CreatePartitions, versions 0-3: v2 flexible.

Partitions created and deleted count for the client's controller_mutation_rate (KIP-599), and from CreateTopics 6,
DeleteTopics 5, CreatePartitions 3 on are refused with THROTTLING_QUOTA_EXCEEDED once it is used up.

A request whose time runs out is answered with REQUEST_TIMED_OUT; what it asked for may yet happen. One
that brings no time along is not begun. When one of these answers without an error, this broker's
image shows the change and its partitions are open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from kbroker.handlers.deadlines import within
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from wire.schema import ZERO_UUID

CLUSTER_METADATA_TOPIC = "__cluster_metadata"

_STRICT_CREATION_SINCE: Final = 6
_STRICT_DELETION_SINCE: Final = 5
_STRICT_GROWTH_SINCE: Final = 3

Charge = Callable[[int], None]
"""Counts partitions that are about to be created or deleted; ApiError THROTTLING_QUOTA_EXCEEDED."""

CreatableTopic = CreateTopicsRequest.CreatableTopic
CreatableTopicResult = CreateTopicsResponse.CreatableTopicResult
CreatePartitionsTopic = CreatePartitionsRequest.CreatePartitionsTopic
CreatePartitionsTopicResult = CreatePartitionsResponse.CreatePartitionsTopicResult
DeletableTopicResult = DeleteTopicsResponse.DeletableTopicResult


class TopicController(Protocol):
    """Who decides; ``kbroker.metadata.controller`` has the details. Every method may raise ApiError."""

    async def create_topics(
        self, topics: Sequence[CreatableTopic], *, validate_only: bool = False, charge: Charge | None = None
    ) -> list[CreatableTopicResult]: ...

    async def catch_up(self) -> None:
        """Wait until this broker's image holds whatever was changed, on any broker, before this call."""
        ...

    async def delete_topics(
        self, topic_ids: Sequence[UUID], *, charge: Charge | None = None
    ) -> dict[UUID, ApiError | None]: ...

    async def create_partitions(
        self,
        topics: Sequence[CreatePartitionsTopic],
        *,
        validate_only: bool = False,
        charge: Charge | None = None,
    ) -> dict[str, ApiError | None]: ...


class NamedTopic(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def topic_id(self) -> UUID: ...


class TopicNames(Protocol):
    """The part of the cluster image that tells names and ids of topics."""

    @property
    def topics(self) -> Mapping[str, NamedTopic]: ...

    @property
    def topics_by_id(self) -> Mapping[UUID, NamedTopic]: ...


class TopicSettings(Protocol):
    @property
    def delete_topic_enable(self) -> bool: ...


class TopicHandlers:
    """Answers the requests that make topics, delete them and let them grow."""

    def __init__(
        self,
        *,
        controller: TopicController,
        current_image: Callable[[], TopicNames],
        settings: TopicSettings,
    ) -> None:
        self._controller = controller
        self._current_image = current_image
        self._settings = settings

    @handles(CreateTopicsRequest)
    async def create_topics(
        self, request: CreateTopicsRequest, context: RequestContext
    ) -> CreateTopicsResponse:
        times = Counter(topic.name for topic in request.topics)
        wanted = [
            topic
            for topic in request.topics
            if times[topic.name] == 1 and topic.name != CLUSTER_METADATA_TOPIC
        ]
        charge = context.partition_charge(strict_since=_STRICT_CREATION_SINCE)
        try:
            results = await within(
                request.timeout_ms,
                lambda: self._controller.create_topics(
                    wanted, validate_only=request.validate_only, charge=charge
                ),
            )
        except ApiError as error:
            return CreateTopicsResponse(
                topics=[_failed_creation(topic.name, error) for topic in request.topics]
            )
        for name, count in times.items():
            if count > 1:
                results.append(_failed_creation(name, _duplicate_name()))
            elif name == CLUSTER_METADATA_TOPIC:
                results.append(
                    _failed_creation(
                        name, ApiError(ErrorCode.INVALID_REQUEST, f"Topic {name} cannot be created.")
                    )
                )
        return CreateTopicsResponse(topics=results)

    @handles(CreatePartitionsRequest)
    async def create_partitions(
        self, request: CreatePartitionsRequest, context: RequestContext
    ) -> CreatePartitionsResponse:
        times = Counter(topic.name for topic in request.topics)
        wanted = [topic for topic in request.topics if times[topic.name] == 1]
        charge = context.partition_charge(strict_since=_STRICT_GROWTH_SINCE)
        try:
            outcome = await within(
                request.timeout_ms,
                lambda: self._controller.create_partitions(
                    wanted, validate_only=request.validate_only, charge=charge
                ),
            )
        except ApiError as error:
            outcome = dict.fromkeys(times, error)
        for name, count in times.items():
            if count > 1:
                outcome.setdefault(name, _duplicate_name())
        return CreatePartitionsResponse(results=[_partitions_result(name, outcome[name]) for name in times])

    @handles(DeleteTopicsRequest)
    async def delete_topics(
        self, request: DeleteTopicsRequest, context: RequestContext
    ) -> DeleteTopicsResponse:
        selection = _Selection(request)
        if not self._settings.delete_topic_enable:
            code = ErrorCode.INVALID_REQUEST if context.api_version < 3 else ErrorCode.TOPIC_DELETION_DISABLED
            return selection.refuse_all(ApiError(code, "delete.topic.enable is false on this broker."))

        charge = context.partition_charge(strict_since=_STRICT_DELETION_SINCE)

        async def delete() -> tuple[dict[UUID, str], dict[UUID, ApiError | None]]:
            await self._controller.catch_up()
            names = selection.resolve(self._current_image())
            return names, await self._controller.delete_topics(list(names), charge=charge)

        try:
            names, outcome = await within(request.timeout_ms, delete)
        except ApiError as error:
            return selection.refuse_all(error)
        return DeleteTopicsResponse(
            responses=selection.refused
            + [_deletion_result(names[topic_id], topic_id, error) for topic_id, error in outcome.items()]
        )


class _Selection:
    """Which topics a DeleteTopics request means, and what is wrong with the others that it names."""

    def __init__(self, request: DeleteTopicsRequest) -> None:
        self._topics: list[tuple[str | None, UUID]] = [
            *((name, ZERO_UUID) for name in request.topic_names),
            *((topic.name, topic.topic_id) for topic in request.topics),
        ]
        self.refused: list[DeletableTopicResult] = []

    def refuse_all(self, error: ApiError) -> DeleteTopicsResponse:
        return DeleteTopicsResponse(
            responses=[_deletion_result(name, topic_id, error) for name, topic_id in self._topics]
        )

    def resolve(self, image: TopicNames) -> dict[UUID, str]:
        """Id and name of the topics to delete; the rest goes to ``refused``."""
        names, topic_ids = self._named_once()
        found: dict[UUID, str] = {}
        for topic_id in topic_ids:
            topic = image.topics_by_id.get(topic_id)
            if topic is None:
                self._refuse(None, topic_id, ErrorCode.UNKNOWN_TOPIC_ID)
            else:
                found[topic_id] = topic.name
        for name in names:
            topic = image.topics.get(name)
            if topic is None:
                self._refuse(name, ZERO_UUID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            elif topic.topic_id in self._given_ids:
                found.pop(topic.topic_id, None)
                self._refuse_invalid(name, topic.topic_id, "The topic is named by its id as well.")
            else:
                found[topic.topic_id] = name
        return found

    def _named_once(self) -> tuple[list[str], list[UUID]]:
        times: Counter[str | UUID] = Counter()
        for name, topic_id in self._topics:
            if name is None and topic_id == ZERO_UUID:
                self._refuse_invalid(None, ZERO_UUID, "A topic is given neither by name nor by id.")
            elif name is not None and topic_id != ZERO_UUID:
                self._refuse_invalid(name, topic_id, "A topic is given both by name and by id.")
            else:
                times[topic_id if name is None else name] += 1
        names: list[str] = []
        topic_ids: list[UUID] = []
        for given, count in times.items():
            if count > 1 and isinstance(given, str):
                self._refuse_invalid(given, ZERO_UUID, "The topic is named more than once.")
            elif count > 1 and isinstance(given, UUID):
                self._refuse_invalid(None, given, "The topic id is given more than once.")
            elif isinstance(given, str):
                names.append(given)
            else:
                topic_ids.append(given)
        self._given_ids = {given for given in times if isinstance(given, UUID)}
        return names, topic_ids

    def _refuse(self, name: str | None, topic_id: UUID, code: ErrorCode) -> None:
        self.refused.append(_deletion_result(name, topic_id, ApiError(code, code.description)))

    def _refuse_invalid(self, name: str | None, topic_id: UUID, message: str) -> None:
        self.refused.append(_deletion_result(name, topic_id, ApiError(ErrorCode.INVALID_REQUEST, message)))


def _duplicate_name() -> ApiError:
    return ApiError(ErrorCode.INVALID_REQUEST, "The topic is named more than once.")


def _failed_creation(name: str, error: ApiError) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=error.code, error_message=error.message)


def _partitions_result(name: str, error: ApiError | None) -> CreatePartitionsTopicResult:
    if error is None:
        return CreatePartitionsTopicResult(name=name)
    return CreatePartitionsTopicResult(name=name, error_code=error.code, error_message=error.message)


def _deletion_result(name: str | None, topic_id: UUID, error: ApiError | None) -> DeletableTopicResult:
    if error is None:
        return DeletableTopicResult(name=name, topic_id=topic_id)
    return DeletableTopicResult(
        name=name, topic_id=topic_id, error_code=error.code, error_message=error.message
    )
