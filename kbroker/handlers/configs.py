"""Configs of topics, brokers, broker loggers, groups and client metrics subscriptions.

DescribeConfigs 1-4 (KIP-226 sources and synonyms, KIP-569 types and documentation), AlterConfigs 0-2
(KIP-133), IncrementalAlterConfigs 0-1 (KIP-339), ListConfigResources 0-1 (KIP-1142; version 0 is KIP-714's
ListClientMetricsResources).

Each resource of a request succeeds or fails by itself. Broker resources name this broker, or nothing for
the defaults of all brokers: clients send what concerns another broker to that broker. Log levels change in
this process only and are gone after a restart (KIP-412); everything else goes to the ``ConfigStore``.
Follows ``ConfigHelper`` and ``ConfigAdminManager``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import trio

from kbroker.config.broker_config import BrokerConfig, ConfigSource
from kbroker.config.definition import ConfigError
from kbroker.config.description import (
    ConfigDescription,
    describe_all_brokers,
    describe_broker,
    describe_client_metrics,
    describe_group,
    describe_loggers,
    describe_topic,
)
from kbroker.config.limits import ALTERED_CONFIGS_PER_REQUEST_MAX, DESCRIBED_CONFIGS_PER_REQUEST_MAX
from kbroker.config.logger_levels import LEVELS, ROOT_LOGGER
from kbroker.config.resources import ConfigResourceType
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.configs import (
    AlterConfigsRequest,
    AlterConfigsResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

ConfigResource: TypeAlias = tuple[int, str]
"""(resource type, name)."""
ConfigChange: TypeAlias = tuple[str, int, str | None]
"""(config name, operation, value)."""

_ALL_TYPES = frozenset(int(resource_type) for resource_type in ConfigResourceType)
_SET, _DELETE, _APPEND, _SUBTRACT = range(4)
_OPERATION_NAMES = {_SET: "SET", _DELETE: "DELETE", _APPEND: "APPEND", _SUBTRACT: "SUBTRACT"}


class ConfigImage(Protocol):
    """The cluster's metadata as far as configs go: one state that does not change."""

    @property
    def topics(self) -> Mapping[str, Any]: ...

    @property
    def brokers(self) -> Mapping[int, Any]: ...

    @property
    def configs(self) -> Mapping[ConfigResource, Mapping[str, str]]:
        """The own configs of every resource that has any."""
        ...


class ConfigStore(Protocol):
    """Checks and keeps changed configs. One outcome for each resource: None, or why nothing changed."""

    async def incremental_alter_configs(
        self, changes: Mapping[ConfigResource, Sequence[ConfigChange]], *, validate_only: bool = False
    ) -> Mapping[ConfigResource, ApiError | None]: ...

    async def replace_configs(
        self, replacements: Mapping[ConfigResource, Mapping[str, str | None]], *, validate_only: bool = False
    ) -> Mapping[ConfigResource, ApiError | None]: ...


class LoggerLevelsPort(Protocol):
    """The log levels of this process, by logger name."""

    def levels(self) -> Mapping[str, str]: ...

    def exists(self, name: str) -> bool: ...

    def set_level(self, name: str, level: str | None) -> None: ...


class ConfigHandlers:
    """``image`` returns the newest metadata; ``validate_topic_name`` raises ApiError for a bad name."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        image: Callable[[], ConfigImage],
        store: ConfigStore,
        logger_levels: LoggerLevelsPort,
        validate_topic_name: Callable[[str], None],
    ) -> None:
        self._config = config
        self._image = image
        self._store = store
        self._logger_levels = logger_levels
        self._validate_topic_name = validate_topic_name

    # DescribeConfigs

    @handles(DescribeConfigsRequest)
    async def describe_configs(
        self, request: DescribeConfigsRequest, context: RequestContext
    ) -> DescribeConfigsResponse:
        results = []
        described_count = 0
        for resource in request.resources:
            if described_count < DESCRIBED_CONFIGS_PER_REQUEST_MAX:
                result = self._described_resource(resource, request)
            else:
                result = _failed(resource, ApiError(ErrorCode.INVALID_REQUEST, "Too many configs at once."))
            described_count += len(result.configs)
            results.append(result)
            # Describing a thousand topics takes long enough for others to notice.
            await trio.lowlevel.checkpoint()
        return DescribeConfigsResponse(results=results)

    def _described_resource(
        self, resource: DescribeConfigsRequest.DescribeConfigsResource, request: DescribeConfigsRequest
    ) -> DescribeConfigsResponse.DescribeConfigsResult:
        try:
            described = self._describe(resource.resource_type, resource.resource_name)
        except ApiError as error:
            return _failed(resource, error)
        except ConfigError as error:
            # Stored by another version, perhaps; clients of other resources need not suffer.
            return _failed(resource, ApiError(ErrorCode.INVALID_CONFIG, str(error)))
        # No keys at all stand for all keys, as null does.
        wanted = set(resource.configuration_keys or ())
        return DescribeConfigsResponse.DescribeConfigsResult(
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
            error_message="",
            configs=[
                _described_config(config, request)
                for config in described
                if not wanted or config.name in wanted
            ],
        )

    def _describe(self, resource_type: int, name: str) -> list[ConfigDescription]:
        image = self._image()
        own_configs = image.configs.get((resource_type, name), {})
        match resource_type:
            case ConfigResourceType.TOPIC:
                self._validate_topic_name(name)
                if name not in image.topics:
                    raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                return describe_topic(self._config, own_configs)
            case ConfigResourceType.BROKER if not name:
                return describe_all_brokers(self._config)
            case ConfigResourceType.BROKER:
                self._check_own_node_id(name)
                return describe_broker(self._config)
            case ConfigResourceType.BROKER_LOGGER:
                self._check_own_node_id(name)
                return describe_loggers(self._logger_levels.levels())
            case ConfigResourceType.GROUP:
                _check_named(name)
                return describe_group(self._config, own_configs)
            case ConfigResourceType.CLIENT_METRICS:
                _check_named(name)
                return describe_client_metrics(own_configs)
        raise ApiError(ErrorCode.INVALID_REQUEST, f"There are no configs of resource type {resource_type}.")

    # AlterConfigs and IncrementalAlterConfigs

    @handles(AlterConfigsRequest)
    async def alter_configs(
        self, request: AlterConfigsRequest, context: RequestContext
    ) -> AlterConfigsResponse:
        resources = [(resource.resource_type, resource.resource_name) for resource in request.resources]
        repeated = _repeated(resources)
        outcomes: dict[ConfigResource, ApiError | None] = {}
        replacements: dict[ConfigResource, Mapping[str, str | None]] = {}
        for resource, asked in zip(resources, request.resources, strict=True):
            entries = [(config.name, config.value) for config in asked.configs]
            try:
                _check_once(resource, repeated)
                _check_entries(entries)
                if resource[0] == ConfigResourceType.BROKER_LOGGER:
                    raise ApiError(
                        ErrorCode.INVALID_REQUEST, "Log levels change by IncrementalAlterConfigs only."
                    )
                self._check_alterable(resource)
            except ApiError as error:
                outcomes[resource] = error
            else:
                replacements[resource] = dict(entries)
        if _fits(replacements, outcomes):
            try:
                outcomes |= await self._store.replace_configs(
                    replacements, validate_only=request.validate_only
                )
            except ApiError as error:
                outcomes |= dict.fromkeys(replacements, error)
        return AlterConfigsResponse(
            responses=[
                AlterConfigsResponse.AlterConfigsResourceResponse(
                    resource_type=resource[0],
                    resource_name=resource[1],
                    error_code=_code(outcomes[resource]),
                    error_message=_message(outcomes[resource]),
                )
                for resource in resources
            ]
        )

    @handles(IncrementalAlterConfigsRequest)
    async def incremental_alter_configs(
        self, request: IncrementalAlterConfigsRequest, context: RequestContext
    ) -> IncrementalAlterConfigsResponse:
        resources = [(resource.resource_type, resource.resource_name) for resource in request.resources]
        repeated = _repeated(resources)
        outcomes: dict[ConfigResource, ApiError | None] = {}
        changes: dict[ConfigResource, Sequence[ConfigChange]] = {}
        for resource, asked in zip(resources, request.resources, strict=True):
            wanted = [(config.name, config.config_operation, config.value) for config in asked.configs]
            try:
                _check_once(resource, repeated)
                _check_entries([(name, "" if op == _DELETE else value) for name, op, value in wanted])
                if resource[0] == ConfigResourceType.BROKER_LOGGER:
                    self._alter_log_levels(resource[1], wanted, request.validate_only)
                    outcomes[resource] = None
                    continue
                self._check_alterable(resource)
                _check_operations(wanted)
            except ApiError as error:
                outcomes[resource] = error
            else:
                changes[resource] = wanted
        if _fits(changes, outcomes):
            try:
                outcomes |= await self._store.incremental_alter_configs(
                    changes, validate_only=request.validate_only
                )
            except ApiError as error:
                outcomes |= dict.fromkeys(changes, error)
        return IncrementalAlterConfigsResponse(
            responses=[
                IncrementalAlterConfigsResponse.AlterConfigsResourceResponse(
                    resource_type=resource[0],
                    resource_name=resource[1],
                    error_code=_code(outcomes[resource]),
                    error_message=_message(outcomes[resource]),
                )
                for resource in resources
            ]
        )

    def _check_alterable(self, resource: ConfigResource) -> None:
        resource_type, name = resource
        match resource_type:
            case ConfigResourceType.TOPIC:
                if not name:
                    raise ApiError(ErrorCode.INVALID_REQUEST, "A topic's configs need the topic's name.")
                self._validate_topic_name(name)
            case ConfigResourceType.BROKER:
                if name:
                    self._check_own_node_id(name)
            case ConfigResourceType.GROUP | ConfigResourceType.CLIENT_METRICS:
                _check_named(name)
            case _:
                raise ApiError(
                    ErrorCode.INVALID_REQUEST, f"There are no configs of resource type {resource_type}."
                )

    def _alter_log_levels(
        self, node_id_text: str, changes: Sequence[ConfigChange], validate_only: bool
    ) -> None:
        """All changes are checked before the first one is made."""
        self._check_own_node_id(node_id_text)
        for logger_name, operation, level in changes:
            if operation not in (_SET, _DELETE):
                operation_name = _OPERATION_NAMES.get(operation, str(operation))
                raise ApiError(ErrorCode.INVALID_REQUEST, f"{operation_name} does not apply to log levels.")
            if not self._logger_levels.exists(logger_name):
                raise ApiError(ErrorCode.INVALID_CONFIG, f"There is no logger '{logger_name}'.")
            if operation == _SET and level not in LEVELS:
                raise ApiError(
                    ErrorCode.INVALID_CONFIG, f"{logger_name}={level}: expected one of {', '.join(LEVELS)}"
                )
            if operation == _DELETE and logger_name == ROOT_LOGGER:
                raise ApiError(ErrorCode.INVALID_REQUEST, "The root logger always needs a level.")
        if not validate_only:
            for logger_name, operation, level in changes:
                self._logger_levels.set_level(logger_name, None if operation == _DELETE else level)

    def _check_own_node_id(self, text: str) -> None:
        if re.fullmatch(r"[+-]?[0-9]{1,10}", text) is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"'{text}' is not a broker id.")
        node_id = int(text)
        if node_id != self._config.node_id:
            raise ApiError(
                ErrorCode.INVALID_REQUEST, f"This is broker {self._config.node_id}, not broker {node_id}."
            )

    # ListConfigResources

    @handles(ListConfigResourcesRequest)
    async def list_config_resources(
        self, request: ListConfigResourcesRequest, context: RequestContext
    ) -> ListConfigResourcesResponse:
        types: Iterable[int]
        if context.api_version == 0:
            types = (ConfigResourceType.CLIENT_METRICS,)
        else:
            types = dict.fromkeys(request.resource_types or sorted(_ALL_TYPES))
        if not _ALL_TYPES.issuperset(types):
            return ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
        image = self._image()
        return ListConfigResourcesResponse(
            config_resources=[
                ListConfigResourcesResponse.ConfigResource(resource_name=name, resource_type=resource_type)
                for resource_type in types
                for name in _resource_names(image, resource_type)
            ]
        )


def _resource_names(image: ConfigImage, resource_type: int) -> list[str]:
    """All topics and brokers, whether or not they have configs of their own; others only if they have."""
    if resource_type == ConfigResourceType.TOPIC:
        return sorted(image.topics)
    if resource_type in (ConfigResourceType.BROKER, ConfigResourceType.BROKER_LOGGER):
        return [str(node_id) for node_id in sorted(image.brokers)]
    return sorted(name for other_type, name in image.configs if other_type == resource_type)


def _failed(
    resource: DescribeConfigsRequest.DescribeConfigsResource, error: ApiError
) -> DescribeConfigsResponse.DescribeConfigsResult:
    return DescribeConfigsResponse.DescribeConfigsResult(
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        error_code=error.code,
        error_message=error.message or "",
    )


def _described_config(
    config: ConfigDescription, request: DescribeConfigsRequest
) -> DescribeConfigsResponse.DescribeConfigsResult.DescribeConfigsResourceResult:
    result_class = DescribeConfigsResponse.DescribeConfigsResult.DescribeConfigsResourceResult
    synonyms = config.synonyms if request.include_synonyms else ()
    return result_class(
        name=config.name,
        value=config.value,
        read_only=config.is_read_only,
        config_source=config.source,
        is_sensitive=config.is_sensitive,
        synonyms=[
            result_class.DescribeConfigsSynonym(name=synonym.name, value=synonym.value, source=synonym.source)
            for synonym in synonyms
        ],
        config_type=config.type,
        # Kafka always tells the empty one of loggers.
        documentation=config.documentation
        if request.include_documentation or config.source == ConfigSource.DYNAMIC_BROKER_LOGGER_CONFIG
        else None,
    )


def _repeated(resources: Iterable[ConfigResource]) -> frozenset[ConfigResource]:
    return frozenset(resource for resource, count in Counter(resources).items() if count > 1)


def _check_once(resource: ConfigResource, repeated: frozenset[ConfigResource]) -> None:
    if resource in repeated:
        raise ApiError(ErrorCode.INVALID_REQUEST, "A resource may occur only once in a request.")


def _check_entries(entries: Sequence[tuple[str, str | None]]) -> None:
    """Every key at most once, and none without a value."""
    names = [name for name, _value in entries]
    if len(set(names)) < len(names):
        raise ApiError(ErrorCode.INVALID_REQUEST, "A config may occur only once for a resource.")
    without_value = [name for name, value in entries if value is None]
    if without_value:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"No value given for {', '.join(without_value)}.")


def _check_operations(changes: Sequence[ConfigChange]) -> None:
    for name, operation, _value in changes:
        if operation not in _OPERATION_NAMES:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"{name}: there is no config operation {operation}.")


def _fits(
    altered: Mapping[ConfigResource, Sequence[ConfigChange] | Mapping[str, str | None]],
    outcomes: dict[ConfigResource, ApiError | None],
) -> bool:
    """Whether there is something to store, and not more than one request may alter."""
    altered_count = sum(map(len, altered.values()))
    if altered_count > ALTERED_CONFIGS_PER_REQUEST_MAX:
        error = ApiError(
            ErrorCode.POLICY_VIOLATION,
            f"One request may alter {ALTERED_CONFIGS_PER_REQUEST_MAX} configs, not {altered_count}.",
        )
        outcomes.update(dict.fromkeys(altered, error))
        return False
    return bool(altered)


def _check_named(name: str) -> None:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "This kind of resource needs a name.")


def _code(outcome: ApiError | None) -> ErrorCode:
    return ErrorCode.NONE if outcome is None else outcome.code


def _message(outcome: ApiError | None) -> str | None:
    return None if outcome is None else outcome.message or outcome.code.description
