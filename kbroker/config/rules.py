"""What the cluster's controller must know about config keys: which overrides a resource may have.

Stands behind the ``ConfigRules`` port of ``kbroker.metadata``. The error codes are Kafka's: a bad broker
config makes the request invalid (KAFKA-13609), a bad topic or group config is an invalid config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kbroker.config.broker_config import BrokerConfig, ConfigSource
from kbroker.config.broker_keys import BROKER_KEYS, without_listener_prefix
from kbroker.config.client_metrics_config import UnusableSubscription, check_client_metrics_overrides
from kbroker.config.definition import ConfigError, ConfigRegistry, ConfigType, UpdateMode
from kbroker.config.description import ConfigDescription, describe_topic
from kbroker.config.group_config import check_group_overrides
from kbroker.config.resources import ConfigResourceType
from kbroker.config.topic_config import check_topic_overrides
from kbroker.config.topic_keys import TOPIC_KEYS
from wire.errors import ApiError, ErrorCode

_LISTENER_KEYS_FOR_ALL_BROKERS = frozenset(
    {"max.connections", "max.connection.creation.rate", "num.network.threads"}
)
_ONLY_PER_LISTENER = frozenset(
    {
        "ssl.keystore.type",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.keystore.key",
        "ssl.keystore.certificate.chain",
        "ssl.key.password",
        "ssl.truststore.type",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.truststore.certificates",
    }
)


class KafkaConfigRules:
    """The rules of one broker. Its config tells defaults and bounds, as they are at the time of asking."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config

    def validate_overrides(self, resource: tuple[int, str], entries: Mapping[str, str]) -> None:
        """ApiError unless ``entries`` may be all the overrides that the resource has."""
        resource_type, name = resource
        if resource_type == ConfigResourceType.BROKER:
            self._check_broker(name, entries)
            return
        if not name:
            raise ApiError(ErrorCode.INVALID_REQUEST, "This kind of resource needs a name.")
        try:
            if resource_type == ConfigResourceType.TOPIC:
                check_topic_overrides(self._config.topic_defaults(), entries)
            elif resource_type == ConfigResourceType.GROUP:
                check_group_overrides(self._config, entries)
            elif resource_type == ConfigResourceType.CLIENT_METRICS:
                check_client_metrics_overrides(entries)
            else:
                raise ApiError(ErrorCode.INVALID_REQUEST, f"Resource type {resource_type} keeps no configs.")
        except UnusableSubscription as error:
            raise ApiError(ErrorCode.INVALID_REQUEST, str(error)) from None
        except ConfigError as error:
            raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from None

    def is_list(self, resource_type: int, name: str) -> bool:
        """Whether elements can be appended and subtracted; Kafka allows it for topics and brokers only."""
        definition = _registry(resource_type).get(name)
        return definition is not None and definition.type is ConfigType.LIST

    def default_value(self, resource_type: int, name: str) -> str | None:
        """The built-in default as text, whatever the broker is configured with."""
        definition = _registry(resource_type).get(name)
        return None if definition is None else definition.text_of(definition.default)

    def effective_topic_configs(
        self, topic: Mapping[str, str], broker: Mapping[str, str], all_brokers: Mapping[str, str]
    ) -> list[ConfigDescription]:
        """What CreateTopics reports of a new topic: overrides as they were written, the rest as effective."""
        layers = dict(self._config.layers())
        config = self._config
        if (
            layers[ConfigSource.DYNAMIC_BROKER_CONFIG] != broker
            or layers[ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG] != all_brokers
        ):
            config = BrokerConfig(layers[ConfigSource.STATIC_BROKER_CONFIG])
            config.apply_dynamic(broker=broker, all_brokers=all_brokers)
        return [
            described._replace(value=topic.get(described.name, described.value))
            for described in describe_topic(config, topic)
            if not TOPIC_KEYS[described.name].internal
        ]

    def _check_broker(self, name: str, entries: Mapping[str, str]) -> None:
        for reason, is_refused in _AGAINST_DYNAMIC:
            keys = [key for key in sorted(entries) if is_refused(key, not name)]
            if keys:
                # Without values, which may be secrets.
                raise ApiError(ErrorCode.INVALID_REQUEST, f"{reason}: [{', '.join(keys)}]")
        try:
            config = (
                self._config.with_dynamic(broker=entries)
                if name
                else self._config.with_dynamic(all_brokers=entries)
            )
        except ConfigError as error:
            raise ApiError(ErrorCode.INVALID_REQUEST, str(error)) from None
        if config.endpoints != self._config.endpoints:
            raise ApiError(
                ErrorCode.INVALID_REQUEST, "listeners: kbroker changes its listeners only at start"
            )


def _is_read_only(key: str, for_all_brokers: bool) -> bool:
    definition = BROKER_KEYS.get(key)
    return definition is not None and definition.update_mode is UpdateMode.READ_ONLY


def _is_one_brokers(key: str, for_all_brokers: bool) -> bool:
    """Wanted for all brokers, while each broker, or listener, has its own."""
    definition, base = BROKER_KEYS.get(key), without_listener_prefix(key)
    return for_all_brokers and (
        (definition is not None and definition.update_mode is UpdateMode.PER_BROKER)
        or (base is not None and base not in _LISTENER_KEYS_FOR_ALL_BROKERS)
    )


_AGAINST_DYNAMIC: Final[tuple[tuple[str, Callable[[str, bool], bool]], ...]] = (
    ("Cannot update these configs dynamically", _is_read_only),
    (
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        lambda key, for_all_brokers: key in _ONLY_PER_LISTENER,
    ),
    ("Cannot update these configs at default cluster level, broker id must be specified", _is_one_brokers),
)
"""Why broker configs may not be set while a broker runs, in the order of ``DynamicBrokerConfig.validateConfigs``."""


def _registry(resource_type: int) -> ConfigRegistry:
    if resource_type == ConfigResourceType.TOPIC:
        return TOPIC_KEYS
    if resource_type == ConfigResourceType.BROKER:
        return BROKER_KEYS
    return _NO_KEYS


_NO_KEYS = ConfigRegistry(())
