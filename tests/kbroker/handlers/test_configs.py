"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs and ListConfigResources, at every version.

Error codes and what is listed were compared with Apache Kafka 4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.resources import ConfigResourceType
from kbroker.config.rules import KafkaConfigRules
from kbroker.handlers import configs as configs_module
from kbroker.handlers.configs import ConfigChange, ConfigHandlers, ConfigResource
from kbroker.handlers.table import HandlerTable, RequestContext
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
from wire.schema import Message

TOPIC, BROKER, LOGGER, METRICS, GROUP = (
    ConfigResourceType.TOPIC,
    ConfigResourceType.BROKER,
    ConfigResourceType.BROKER_LOGGER,
    ConfigResourceType.CLIENT_METRICS,
    ConfigResourceType.GROUP,
)
SET, DELETE, APPEND, SUBTRACT = range(4)
ResponseT = TypeVar("ResponseT", bound=Message)


class FakeImage:
    def __init__(self) -> None:
        self.topics: dict[str, object] = {"orders": object(), "payments": object()}
        self.brokers: dict[int, object] = {1: object(), 2: object()}
        self.configs: dict[ConfigResource, Mapping[str, str]] = {}


class FakeStore:
    """Checks with the real rules; knows SET and DELETE, and notes what it was asked."""

    def __init__(self, image: FakeImage, rules: KafkaConfigRules) -> None:
        self.image = image
        self.rules = rules
        self.asked: list[tuple[str, dict[ConfigResource, Any], bool]] = []
        self.unreachable = False

    async def incremental_alter_configs(
        self, changes: Mapping[ConfigResource, Sequence[ConfigChange]], *, validate_only: bool = False
    ) -> dict[ConfigResource, ApiError | None]:
        self.asked.append(("incremental", dict(changes), validate_only))

        def altered(resource: ConfigResource) -> dict[str, str]:
            entries = dict(self.image.configs.get(resource, {}))
            for name, operation, value in changes[resource]:
                entries.pop(name, None)
                if operation == SET and value is not None:
                    entries[name] = value
            return entries

        return self._alter(changes, altered, validate_only)

    async def replace_configs(
        self, replacements: Mapping[ConfigResource, Mapping[str, str | None]], *, validate_only: bool = False
    ) -> dict[ConfigResource, ApiError | None]:
        self.asked.append(("replace", dict(replacements), validate_only))

        def altered(resource: ConfigResource) -> dict[str, str]:
            return {name: value for name, value in replacements[resource].items() if value is not None}

        return self._alter(replacements, altered, validate_only)

    def _alter(
        self,
        resources: Mapping[ConfigResource, object],
        altered: Callable[[ConfigResource], dict[str, str]],
        validate_only: bool,
    ) -> dict[ConfigResource, ApiError | None]:
        if self.unreachable:
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT)
        outcomes: dict[ConfigResource, ApiError | None] = {}
        for resource in resources:
            try:
                entries = altered(resource)
                self.rules.validate_overrides(resource, entries)
                if resource[0] == TOPIC and resource[1] not in self.image.topics:
                    raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            except ApiError as error:
                outcomes[resource] = error
                continue
            outcomes[resource] = None
            if not validate_only:
                self.image.configs[resource] = entries
        return outcomes


class FakeLevels:
    def __init__(self) -> None:
        self.by_name: dict[str, str | None] = {"root": "INFO", "kbroker": "WARN"}

    def levels(self) -> dict[str, str]:
        return {name: level or "INFO" for name, level in self.by_name.items()}

    def exists(self, name: str) -> bool:
        return name in self.by_name

    def set_level(self, name: str, level: str | None) -> None:
        self.by_name[name] = level


def refuse_blanks(name: str) -> None:
    if not name or " " in name:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, "not a topic name")


class Broker:
    """The handlers around fakes, called through the wire format."""

    def __init__(self) -> None:
        self.config = BrokerConfig(
            {"node.id": "1", "log.retention.ms": "1000", "ssl.key.password": "hunter2"}
        )
        self.image = FakeImage()
        self.store = FakeStore(self.image, KafkaConfigRules(self.config))
        self.levels = FakeLevels()
        self.table = HandlerTable()
        self.table.register(
            ConfigHandlers(
                config=self.config,
                image=lambda: self.image,
                store=self.store,
                logger_levels=self.levels,
                validate_topic_name=refuse_blanks,
            )
        )

    async def call(self, request: Message, version: int, response_class: type[ResponseT]) -> ResponseT:
        api_key: int = type(request).api_key  # type: ignore[attr-defined]
        served = self.table.get(api_key)
        assert served is not None
        context = RequestContext(
            api_key=api_key,
            api_version=version,
            correlation_id=1,
            client_id="test",
            listener_name="PLAINTEXT",
            connection_id="1",
            client_host="127.0.0.1",
            local_host="127.0.0.1",
        )
        decoded = type(request).decode(bytes(request.encode(version)), version)
        response = await served.handler(decoded, context)
        assert isinstance(response, response_class)
        return response_class.decode(bytes(response.encode(version)), version)

    async def describe(
        self,
        *resources: tuple[int, str],
        keys: list[str] | None = None,
        version: int = 4,
        include_synonyms: bool = False,
        include_documentation: bool = False,
    ) -> list[DescribeConfigsResponse.DescribeConfigsResult]:
        request = DescribeConfigsRequest(
            resources=[
                DescribeConfigsRequest.DescribeConfigsResource(
                    resource_type=resource_type, resource_name=name, configuration_keys=keys
                )
                for resource_type, name in resources
            ],
            include_synonyms=include_synonyms,
            include_documentation=include_documentation,
        )
        return (await self.call(request, version, DescribeConfigsResponse)).results

    async def alter(
        self,
        *resources: tuple[int, str, list[tuple[str, str | None]]],
        version: int = 2,
        validate_only: bool = False,
    ) -> list[ErrorCode]:
        resource_class = AlterConfigsRequest.AlterConfigsResource
        request = AlterConfigsRequest(
            resources=[
                resource_class(
                    resource_type=resource_type,
                    resource_name=name,
                    configs=[resource_class.AlterableConfig(name=key, value=value) for key, value in entries],
                )
                for resource_type, name, entries in resources
            ],
            validate_only=validate_only,
        )
        response = await self.call(request, version, AlterConfigsResponse)
        assert [(r.resource_type, r.resource_name) for r in response.responses] == [r[:2] for r in resources]
        return _codes(response.responses)

    async def alter_incrementally(
        self,
        *resources: tuple[int, str, list[tuple[str, int, str | None]]],
        version: int = 1,
        validate_only: bool = False,
    ) -> list[ErrorCode]:
        resource_class = IncrementalAlterConfigsRequest.AlterConfigsResource
        request = IncrementalAlterConfigsRequest(
            resources=[
                resource_class(
                    resource_type=resource_type,
                    resource_name=name,
                    configs=[
                        resource_class.AlterableConfig(name=key, config_operation=operation, value=value)
                        for key, operation, value in changes
                    ],
                )
                for resource_type, name, changes in resources
            ],
            validate_only=validate_only,
        )
        response = await self.call(request, version, IncrementalAlterConfigsResponse)
        assert [(r.resource_type, r.resource_name) for r in response.responses] == [r[:2] for r in resources]
        return _codes(response.responses)

    async def list(self, *types: int, version: int = 1) -> ListConfigResourcesResponse:
        request = ListConfigResourcesRequest(resource_types=list(types))
        return await self.call(request, version, ListConfigResourcesResponse)


def _codes(responses: Sequence[Any]) -> list[ErrorCode]:
    """The codes; each error must say what is wrong, and no success may."""
    for response in responses:
        assert bool(response.error_message) == (response.error_code != ErrorCode.NONE)
    return [ErrorCode(response.error_code) for response in responses]


@pytest.fixture
def broker() -> Broker:
    return Broker()


# DescribeConfigs


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_describe_topic(broker: Broker, version: int) -> None:
    broker.image.configs[TOPIC, "orders"] = {"max.message.bytes": "5"}
    (result,) = await broker.describe(
        (TOPIC, "orders"), version=version, include_synonyms=True, include_documentation=version >= 3
    )
    assert (result.error_code, result.resource_type, result.resource_name) == (0, TOPIC, "orders")
    described = {config.name: config for config in result.configs}
    assert len(described) == 37
    retention, size = described["retention.ms"], described["max.message.bytes"]
    assert (retention.value, retention.config_source, retention.read_only) == ("1000", 4, False)
    assert [(s.name, s.value, s.source) for s in retention.synonyms] == [
        ("log.retention.ms", "1000", 4),
        ("log.retention.hours", "168", 5),
    ]
    assert (size.value, size.config_source) == ("5", 1)
    assert [(s.name, s.value, s.source) for s in size.synonyms] == [
        ("max.message.bytes", "5", 1),
        ("message.max.bytes", "1048588", 5),
    ]
    if version >= 3:
        assert size.config_type == 3
        assert size.documentation
    else:
        assert size.config_type == 0


async def test_describe_only_what_was_asked_for(broker: Broker) -> None:
    (result,) = await broker.describe((TOPIC, "orders"), keys=["retention.ms", "no.such.key"])
    (config,) = result.configs
    assert (config.name, config.synonyms, config.documentation) == ("retention.ms", [], None)
    (everything,) = await broker.describe((TOPIC, "orders"), keys=[])
    assert len(everything.configs) == 37


async def test_describe_broker(broker: Broker) -> None:
    broker.config.apply_dynamic(broker={"max.connections": "7"}, all_brokers={"max.connections": "8"})
    (result,) = await broker.describe((BROKER, "1"), include_synonyms=True)
    described = {config.name: config for config in result.configs}
    connections = described["max.connections"]
    assert (connections.value, connections.config_source, connections.read_only) == ("7", 2, False)
    assert [(s.value, s.source) for s in connections.synonyms] == [("7", 2), ("8", 3), ("2147483647", 5)]
    assert described["log.dirs"].read_only
    password = described["ssl.key.password"]
    assert (password.value, password.is_sensitive, password.config_type) == (None, True, 9)
    assert "hunter2" not in repr(result)


async def test_describe_what_holds_for_all_brokers(broker: Broker) -> None:
    broker.config.apply_dynamic(broker={"max.connections": "7"}, all_brokers={"max.connections": "8"})
    (result,) = await broker.describe((BROKER, ""), include_synonyms=True)
    assert [(c.name, c.value, c.config_source) for c in result.configs] == [("max.connections", "8", 3)]
    assert [(s.value, s.source) for s in result.configs[0].synonyms] == [("8", 3)]


async def test_describe_loggers(broker: Broker) -> None:
    (result,) = await broker.describe((LOGGER, "1"))
    assert [(c.name, c.value, c.config_source, c.read_only) for c in result.configs] == [
        ("kbroker", "WARN", 6, False),
        ("root", "INFO", 6, False),
    ]


async def test_describe_group_and_client_metrics(broker: Broker) -> None:
    broker.image.configs[GROUP, "readers"] = {"consumer.session.timeout.ms": "50000"}
    broker.image.configs[METRICS, "all"] = {"interval.ms": "1000"}
    group, metrics, no_metrics = await broker.describe(
        (GROUP, "readers"), (METRICS, "all"), (METRICS, "none")
    )
    timeout = next(c for c in group.configs if c.name == "consumer.session.timeout.ms")
    assert (timeout.value, timeout.config_source) == ("50000", 8)
    assert [(c.name, c.value, c.config_source) for c in metrics.configs] == [
        ("interval.ms", "1000", 7),
        ("match", "", 5),
        ("metrics", "", 5),
    ]
    assert [c.value for c in no_metrics.configs] == ["300000", "", ""]


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ((TOPIC, "missing"), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ((TOPIC, "not a name"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        ((TOPIC, ""), ErrorCode.INVALID_TOPIC_EXCEPTION),
        ((BROKER, "2"), ErrorCode.INVALID_REQUEST),
        ((BROKER, "one"), ErrorCode.INVALID_REQUEST),
        ((BROKER, " 1"), ErrorCode.INVALID_REQUEST),
        ((BROKER, "9" * 5000), ErrorCode.INVALID_REQUEST),
        ((BROKER, "+1"), ErrorCode.NONE),
        ((LOGGER, ""), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "2"), ErrorCode.INVALID_REQUEST),
        ((GROUP, ""), ErrorCode.INVALID_REQUEST),
        ((METRICS, ""), ErrorCode.INVALID_REQUEST),
        ((0, "x"), ErrorCode.INVALID_REQUEST),
        ((3, "x"), ErrorCode.INVALID_REQUEST),
        ((-1, "x"), ErrorCode.INVALID_REQUEST),
        ((99, "x"), ErrorCode.INVALID_REQUEST),
    ],
)
async def test_resources_that_cannot_be_described(
    broker: Broker, resource: tuple[int, str], code: ErrorCode
) -> None:
    """And that do not keep the next one from being described."""
    failed, good = await broker.describe(resource, (TOPIC, "orders"))
    assert failed.error_code == code
    assert bool(failed.configs) == (code is ErrorCode.NONE)
    assert (failed.resource_type, failed.resource_name) == resource
    assert good.error_code == ErrorCode.NONE
    assert good.configs


async def test_a_stored_config_that_cannot_be_read_fails_alone(broker: Broker) -> None:
    broker.image.configs[TOPIC, "orders"] = {"retention.ms": "garbage"}
    failed, good = await broker.describe((TOPIC, "orders"), (TOPIC, "payments"))
    assert (failed.error_code, failed.configs) == (ErrorCode.INVALID_CONFIG, [])
    assert good.error_code == ErrorCode.NONE


async def test_a_small_request_cannot_ask_for_an_endless_response(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs_module, "DESCRIBED_CONFIGS_PER_REQUEST_MAX", 38)
    results = await broker.describe(*[(TOPIC, "orders")] * 4)
    assert [result.error_code for result in results] == [
        0,
        0,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.INVALID_REQUEST,
    ]
    assert [len(result.configs) for result in results] == [37, 37, 0, 0]


# IncrementalAlterConfigs


@pytest.mark.parametrize("version", [0, 1])
async def test_incremental_changes_reach_the_store(broker: Broker, version: int) -> None:
    changes: list[tuple[str, int, str | None]] = [
        ("retention.ms", SET, "5"),
        ("cleanup.policy", APPEND, "compact"),
        ("preallocate", SUBTRACT, "x"),
        ("flush.ms", DELETE, None),
    ]
    assert await broker.alter_incrementally((TOPIC, "orders", changes), version=version) == [ErrorCode.NONE]
    assert broker.store.asked == [("incremental", {(TOPIC, "orders"): changes}, False)]


async def test_validate_only_is_passed_on(broker: Broker) -> None:
    await broker.alter_incrementally((TOPIC, "orders", [("retention.ms", SET, "5")]), validate_only=True)
    await broker.alter((TOPIC, "orders", [("retention.ms", "5")]), validate_only=True)
    assert [validate_only for _, _, validate_only in broker.store.asked] == [True, True]
    assert broker.image.configs == {}


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ((TOPIC, "orders", [("no.such.key", SET, "1")]), ErrorCode.INVALID_CONFIG),
        ((TOPIC, "orders", [("retention.ms", SET, "x")]), ErrorCode.INVALID_CONFIG),
        ((TOPIC, "orders", [("retention.ms", SET, None)]), ErrorCode.INVALID_REQUEST),
        ((TOPIC, "orders", [("cleanup.policy", APPEND, None)]), ErrorCode.INVALID_REQUEST),
        ((TOPIC, "orders", [("retention.ms", 9, "5")]), ErrorCode.INVALID_REQUEST),
        (
            (TOPIC, "orders", [("retention.ms", SET, "5"), ("retention.ms", DELETE, None)]),
            ErrorCode.INVALID_REQUEST,
        ),
        ((TOPIC, "missing", [("retention.ms", SET, "5")]), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ((TOPIC, "not a name", [("retention.ms", SET, "5")]), ErrorCode.INVALID_TOPIC_EXCEPTION),
        ((TOPIC, "", [("retention.ms", SET, "5")]), ErrorCode.INVALID_REQUEST),
        ((BROKER, "1", [("max.connections", SET, "5")]), ErrorCode.NONE),
        ((BROKER, "", [("max.connections", SET, "5")]), ErrorCode.NONE),
        ((BROKER, "2", [("max.connections", SET, "5")]), ErrorCode.INVALID_REQUEST),
        ((BROKER, "x", []), ErrorCode.INVALID_REQUEST),
        ((BROKER, "1", [("log.dirs", SET, "/x")]), ErrorCode.INVALID_REQUEST),
        ((GROUP, "", []), ErrorCode.INVALID_REQUEST),
        ((METRICS, "", []), ErrorCode.INVALID_REQUEST),
        ((METRICS, "all", [("interval.ms", SET, "1")]), ErrorCode.INVALID_REQUEST),
        ((GROUP, "readers", [("consumer.session.timeout.ms", SET, "1")]), ErrorCode.INVALID_CONFIG),
        ((99, "x", []), ErrorCode.INVALID_REQUEST),
        ((0, "", []), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "1", [("missing", SET, "INFO")]), ErrorCode.INVALID_CONFIG),
        ((LOGGER, "1", [("root", SET, "LOUD")]), ErrorCode.INVALID_CONFIG),
        ((LOGGER, "1", [("root", SET, "info")]), ErrorCode.INVALID_CONFIG),
        ((LOGGER, "1", [("root", SET, None)]), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "1", [("root", DELETE, None)]), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "1", [("root", APPEND, "INFO")]), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "1", [("root", 9, "INFO")]), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "2", [("root", SET, "INFO")]), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "", [("root", SET, "INFO")]), ErrorCode.INVALID_REQUEST),
    ],
)
async def test_each_resource_fails_alone(
    broker: Broker, resource: tuple[int, str, list[tuple[str, int, str | None]]], code: ErrorCode
) -> None:
    codes = await broker.alter_incrementally(resource, (TOPIC, "payments", [("retention.ms", SET, "7")]))
    assert codes == [code, ErrorCode.NONE]
    assert broker.image.configs[TOPIC, "payments"] == {"retention.ms": "7"}
    assert broker.levels.by_name == {"root": "INFO", "kbroker": "WARN"}


async def test_a_resource_named_twice_changes_not_at_all(broker: Broker) -> None:
    codes = await broker.alter_incrementally(
        (TOPIC, "orders", [("retention.ms", SET, "1")]),
        (TOPIC, "payments", [("retention.ms", SET, "2")]),
        (TOPIC, "orders", [("retention.bytes", SET, "3")]),
    )
    assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.NONE, ErrorCode.INVALID_REQUEST]
    assert broker.image.configs == {(TOPIC, "payments"): {"retention.ms": "2"}}
    replaced: tuple[int, str, list[tuple[str, str | None]]] = (TOPIC, "orders", [("retention.ms", "1")])
    assert await broker.alter(replaced, replaced) == [ErrorCode.INVALID_REQUEST] * 2


async def test_log_levels_change_at_once_and_all_or_none(broker: Broker) -> None:
    changes: list[tuple[str, int, str | None]] = [("kbroker", DELETE, None), ("root", SET, "DEBUG")]
    assert await broker.alter_incrementally((LOGGER, "1", changes), validate_only=True) == [ErrorCode.NONE]
    assert broker.levels.by_name == {"root": "INFO", "kbroker": "WARN"}
    bad: list[tuple[str, int, str | None]] = [("root", SET, "DEBUG"), ("kbroker", SET, "LOUD")]
    assert await broker.alter_incrementally((LOGGER, "1", bad)) == [ErrorCode.INVALID_CONFIG]
    assert broker.levels.by_name == {"root": "INFO", "kbroker": "WARN"}
    assert await broker.alter_incrementally((LOGGER, "1", changes)) == [ErrorCode.NONE]
    assert broker.levels.by_name == {"root": "DEBUG", "kbroker": None}
    assert broker.store.asked == []


async def test_nothing_to_change_is_no_error(broker: Broker) -> None:
    assert await broker.alter_incrementally() == []
    assert await broker.alter() == []
    assert await broker.alter_incrementally((TOPIC, "orders", [])) == [ErrorCode.NONE]


async def test_an_unreachable_store_is_every_asked_resources_error(broker: Broker) -> None:
    broker.store.unreachable = True
    incremental = await broker.alter_incrementally(
        (TOPIC, "orders", [("retention.ms", SET, "1")]),
        (TOPIC, "", []),
        (LOGGER, "1", [("root", SET, "WARN")]),
    )
    assert incremental == [ErrorCode.REQUEST_TIMED_OUT, ErrorCode.INVALID_REQUEST, ErrorCode.NONE]
    assert await broker.alter((TOPIC, "orders", [])) == [ErrorCode.REQUEST_TIMED_OUT]


async def test_more_changes_than_one_request_may_make(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs_module, "ALTERED_CONFIGS_PER_REQUEST_MAX", 1)
    resources = [(int(TOPIC), name, [("retention.ms", SET, "1")]) for name in ("orders", "payments")]
    assert await broker.alter_incrementally(*resources[:1]) == [ErrorCode.NONE]  # type: ignore[arg-type]
    refused = await broker.alter_incrementally(*resources)  # type: ignore[arg-type]
    assert refused == [ErrorCode.POLICY_VIOLATION] * 2


# AlterConfigs


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_alter_replaces_everything(broker: Broker, version: int) -> None:
    broker.image.configs[TOPIC, "orders"] = {"retention.ms": "5", "flush.ms": "6"}
    assert await broker.alter((TOPIC, "orders", [("retention.ms", "7")]), version=version) == [ErrorCode.NONE]
    assert broker.image.configs[TOPIC, "orders"] == {"retention.ms": "7"}


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ((TOPIC, "orders", [("retention.ms", None)]), ErrorCode.INVALID_REQUEST),
        ((TOPIC, "orders", [("retention.ms", "1"), ("retention.ms", "2")]), ErrorCode.INVALID_REQUEST),
        ((TOPIC, "orders", [("no.such.key", "1")]), ErrorCode.INVALID_CONFIG),
        ((TOPIC, "missing", []), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ((BROKER, "2", []), ErrorCode.INVALID_REQUEST),
        ((BROKER, "1", [("log.dirs", "/x")]), ErrorCode.INVALID_REQUEST),
        ((LOGGER, "1", [("root", "INFO")]), ErrorCode.INVALID_REQUEST),
        ((99, "x", []), ErrorCode.INVALID_REQUEST),
    ],
)
async def test_alter_fails_for_each_resource_alone(
    broker: Broker, resource: tuple[int, str, list[tuple[str, str | None]]], code: ErrorCode
) -> None:
    assert await broker.alter(resource, (TOPIC, "payments", [("retention.ms", "7")])) == [
        code,
        ErrorCode.NONE,
    ]
    assert broker.image.configs[TOPIC, "payments"] == {"retention.ms": "7"}


# ListConfigResources


async def test_list_config_resources(broker: Broker) -> None:
    broker.image.configs = {(METRICS, "b"): {}, (METRICS, "a"): {}, (GROUP, "g"): {}, (TOPIC, "orders"): {}}
    everything = await broker.list()
    assert everything.error_code == ErrorCode.NONE
    assert [(r.resource_type, r.resource_name) for r in everything.config_resources] == [
        (TOPIC, "orders"),
        (TOPIC, "payments"),
        (BROKER, "1"),
        (BROKER, "2"),
        (LOGGER, "1"),
        (LOGGER, "2"),
        (METRICS, "a"),
        (METRICS, "b"),
        (GROUP, "g"),
    ]
    some = await broker.list(GROUP, TOPIC, GROUP)
    assert [r.resource_name for r in some.config_resources] == ["g", "orders", "payments"]


async def test_list_config_resources_version_0_knows_client_metrics_only(broker: Broker) -> None:
    broker.image.configs = {(METRICS, "a"): {}, (GROUP, "g"): {}}
    listed = await broker.list(version=0)
    assert [(r.resource_type, r.resource_name) for r in listed.config_resources] == [(METRICS, "a")]


@pytest.mark.parametrize("unknown", [0, 1, 3, 64, 99, -1])
async def test_list_config_resources_of_unknown_types(broker: Broker, unknown: int) -> None:
    listed = await broker.list(TOPIC, unknown)
    assert (listed.error_code, listed.config_resources) == (ErrorCode.UNSUPPORTED_VERSION, [])


# The table


def test_every_version_of_the_four_apis_is_served(broker: Broker) -> None:
    served = {row.api_key: (row.min_version, row.max_version) for row in broker.table.rows()}
    assert served == {32: (1, 4), 33: (0, 2), 44: (0, 1), 74: (0, 1)}
