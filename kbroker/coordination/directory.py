"""Which broker coordinates a group or transaction: the leader of the partition that its id belongs to.

Kafka: ``KafkaApis.getCoordinator``. The coordinator's topic is created when somebody asks for the first time.
"""

from __future__ import annotations

import logging
from typing import Generic, Protocol, TypeVar

from kbroker.coordination.partitioning import partition_for
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

NodeT = TypeVar("NodeT")
NodeT_co = TypeVar("NodeT_co", covariant=True)


class InternalTopics(Protocol[NodeT_co]):
    """The topics of the coordinators, in the cluster's metadata."""

    async def ensure_internal_topic(self, name: str) -> None:
        """Return when the topic exists, creating it with its own configs if need be; ApiError if it cannot."""
        ...

    def partition_count(self, topic: str) -> int | None:
        """None while the topic does not exist."""
        ...

    def leader(self, topic: str, partition: int) -> NodeT_co | None:
        """The live broker that leads the partition; None if there is none at the moment."""
        ...


class CoordinatorDirectory(Generic[NodeT]):
    """Finds coordinators."""

    def __init__(self, *, topics: InternalTopics[NodeT]) -> None:
        self._topics = topics

    async def find(self, topic: str, key: str) -> NodeT:
        """The broker that coordinates ``key`` in ``topic``; ApiError COORDINATOR_NOT_AVAILABLE if none does now."""
        partition_count = self._topics.partition_count(topic)
        if partition_count is None:
            try:
                await self._topics.ensure_internal_topic(topic)
            except ApiError as error:
                logger.warning("%s cannot be created: %s %s", topic, error.code.name, error.message or "")
                raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE) from error
            partition_count = self._topics.partition_count(topic)
        leader = None
        if partition_count is not None:
            leader = self._topics.leader(topic, partition_for(key, partition_count))
        if leader is None:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        return leader
