"""The settings of topics, brokers and other resources: asking for them, and changing some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kbroker.tools.cluster import Cluster
from wire.errors import ApiError, ErrorCode
from wire.messages.configs import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

TOPIC: Final = 2
BROKER: Final = 4
BROKER_LOGGER: Final = 8
CLIENT_METRICS: Final = 16
GROUP: Final = 32

SOURCES: Final = {
    1: "DYNAMIC_TOPIC_CONFIG",
    2: "DYNAMIC_BROKER_CONFIG",
    3: "DYNAMIC_DEFAULT_BROKER_CONFIG",
    4: "STATIC_BROKER_CONFIG",
    5: "DEFAULT_CONFIG",
    6: "DYNAMIC_BROKER_LOGGER_CONFIG",
    7: "DYNAMIC_CLIENT_METRICS_CONFIG",
    8: "DYNAMIC_GROUP_CONFIG",
}
"""Where a value comes from: the names of Kafka's ``ConfigSource``."""

Resource = tuple[int, str]
Described = DescribeConfigsResponse.DescribeConfigsResult
Entry = Described.DescribeConfigsResourceResult

_SET: Final = 0
_DELETE: Final = 1


async def describe_configs(
    cluster: Cluster, resources: Sequence[Resource], *, include_synonyms: bool = False
) -> dict[Resource, Described]:
    """All settings of these resources; a resource's own error is left to the caller."""
    results: dict[Resource, Described] = {}
    for node_id, asked in _by_broker(resources).items():
        request = DescribeConfigsRequest(
            resources=[
                DescribeConfigsRequest.DescribeConfigsResource(
                    resource_type=kind, resource_name=name, configuration_keys=None
                )
                for kind, name in asked
            ],
            include_synonyms=include_synonyms,
        )
        if node_id is None:
            response = await cluster.any(request, DescribeConfigsResponse)
        else:
            response = await cluster.broker(node_id, request, DescribeConfigsResponse)
        results.update({(one.resource_type, one.resource_name): one for one in response.results})
    return results


async def alter_configs(
    cluster: Cluster, changes: Mapping[Resource, Mapping[str, str | None]]
) -> dict[Resource, ApiError]:
    """Set these settings, or with None delete them; what was refused, by resource."""
    refused: dict[Resource, ApiError] = {}
    resource_class = IncrementalAlterConfigsRequest.AlterConfigsResource
    for node_id, resources in _by_broker(list(changes)).items():
        request = IncrementalAlterConfigsRequest(
            resources=[
                resource_class(
                    resource_type=kind,
                    resource_name=name,
                    configs=[
                        resource_class.AlterableConfig(
                            name=key, config_operation=_DELETE if value is None else _SET, value=value
                        )
                        for key, value in changes[kind, name].items()
                    ],
                )
                for kind, name in resources
            ]
        )
        if node_id is None:
            response = await cluster.controller(
                request,
                IncrementalAlterConfigsResponse,
                errors=lambda answer: [one.error_code for one in answer.responses],
            )
        else:
            response = await cluster.broker(node_id, request, IncrementalAlterConfigsResponse)
        for one in response.responses:
            if one.error_code:
                error = ApiError(ErrorCode(one.error_code), one.error_message)
                refused[one.resource_type, one.resource_name] = error
    return refused


async def list_config_resources(cluster: Cluster, kind: int) -> list[str]:
    """The names of the resources of one type that have settings of their own. ApiError UNSUPPORTED_VERSION."""
    request = ListConfigResourcesRequest()
    if kind != CLIENT_METRICS or await cluster.best_version(ListConfigResourcesRequest) > 0:
        request.resource_types = [kind]
    response = await cluster.any(request, ListConfigResourcesResponse)
    if response.error_code:
        raise ApiError(ErrorCode(response.error_code))
    return [one.resource_name for one in response.config_resources if one.resource_type == kind]


def _by_broker(resources: Sequence[Resource]) -> dict[int | None, list[Resource]]:
    """Who is to be asked: what is one broker's own is for that broker, the rest (None) for any."""
    asked: dict[int | None, list[Resource]] = {}
    for kind, name in resources:
        own = kind in (BROKER, BROKER_LOGGER) and name != ""
        asked.setdefault(int(name) if own else None, []).append((kind, name))
    return asked
