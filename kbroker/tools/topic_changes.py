"""Changes to topics: creating, deleting, more partitions. ApiError says what the cluster refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kbroker.tools.cluster import Cluster
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)

Created = CreateTopicsResponse.CreatableTopicResult


async def create_topics(
    cluster: Cluster,
    names: Collection[str],
    *,
    partitions: int | None,
    replication_factor: int | None,
    settings: Mapping[str, str],
) -> dict[str, Created | ApiError]:
    """Create topics, with the cluster's defaults for what is None; what became of each."""
    request = CreateTopicsRequest(
        topics=[
            CreateTopicsRequest.CreatableTopic(
                name=name,
                num_partitions=-1 if partitions is None else partitions,
                replication_factor=-1 if replication_factor is None else replication_factor,
                configs=[
                    CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=key, value=value)
                    for key, value in settings.items()
                ],
            )
            for name in names
        ],
        timeout_ms=_timeout_ms(cluster),
    )
    response = await cluster.controller(
        request, CreateTopicsResponse, errors=lambda answer: [one.error_code for one in answer.topics]
    )
    return {one.name: _refusal(one.error_code, one.error_message) or one for one in response.topics}


async def delete_topics(cluster: Cluster, names: Collection[str]) -> dict[str, ApiError | None]:
    """Delete topics; what became of each."""
    request = DeleteTopicsRequest(
        topics=[DeleteTopicsRequest.DeleteTopicState(name=name) for name in names],
        topic_names=list(names),
        timeout_ms=_timeout_ms(cluster),
    )
    response = await cluster.controller(
        request, DeleteTopicsResponse, errors=lambda answer: [one.error_code for one in answer.responses]
    )
    return {one.name or "": _refusal(one.error_code, one.error_message) for one in response.responses}


async def add_partitions(cluster: Cluster, counts: Mapping[str, int]) -> dict[str, ApiError | None]:
    """Give topics so many partitions in all; what became of each."""
    request = CreatePartitionsRequest(
        topics=[
            CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=None)
            for name, count in counts.items()
        ],
        timeout_ms=_timeout_ms(cluster),
    )
    response = await cluster.controller(
        request, CreatePartitionsResponse, errors=lambda answer: [one.error_code for one in answer.results]
    )
    return {one.name: _refusal(one.error_code, one.error_message) for one in response.results}


def _refusal(code: int, message: str | None) -> ApiError | None:
    return ApiError(ErrorCode(code), message) if code else None


def _timeout_ms(cluster: Cluster) -> int:
    return int(cluster.request_timeout_s * 1000)
