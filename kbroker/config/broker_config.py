"""One broker's configuration: typed values, from static sources and from dynamic updates.

Values are layered in Kafka's order: dynamic for this broker, dynamic for all brokers, static, default
(``DynamicBrokerConfig``, KIP-226). A ``BrokerConfig`` is one object for the life of the broker: a dynamic
update changes its attributes in place, so that whoever reads ``config.message_max_bytes`` when it is needed
sees what holds now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple, Self

from kbroker.config import sources
from kbroker.config.broker_attributes import BrokerAttributes
from kbroker.config.broker_keys import BROKER_KEYS, broker_key, broker_synonyms
from kbroker.config.broker_values import (
    BrokerValues,
    advertised_endpoints,
    broker_endpoints,
    check_together,
    flush_interval_ms,
    inter_broker_listener_name,
    retention_ms,
    roll_jitter_ms,
    roll_ms,
    topic_defaults,
)
from kbroker.config.definition import ConfigError
from kbroker.config.limits import QUEUED_REQUEST_BYTES_MAX
from kbroker.config.listeners import Endpoint, parse_connection_limits
from kbroker.config.topic_config import TopicConfig, resolve_topic_config
from kbroker.config.validators import ConfigValue
from storage.log_config import LogConfig

_ASSUMED_NODE_ID = "1"
_ASSUMED_ROLES = "broker,controller"
_LOG_CONFIGS_KEPT_MAX = 1_000


class ConfigSource(IntEnum):
    """Where a value comes from, by the number that DescribeConfigs carries (KIP-226)."""

    UNKNOWN = 0
    DYNAMIC_TOPIC_CONFIG = 1
    DYNAMIC_BROKER_CONFIG = 2
    DYNAMIC_DEFAULT_BROKER_CONFIG = 3
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5
    DYNAMIC_BROKER_LOGGER_CONFIG = 6
    CLIENT_METRICS_CONFIG = 7
    GROUP_CONFIG = 8


class ConfigWarning(NamedTuple):
    """A key that was accepted but has no effect. ``str()`` is one line for the log, without the value."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class BrokerConfig(BrokerAttributes):
    """Raises ConfigError when ``static`` has a malformed value or values that contradict each other."""

    endpoints: tuple[Endpoint, ...]
    """The listeners to open: those of ``listeners`` that are not controller listeners."""
    max_connections_per_ip_overrides: Mapping[str, int]
    """Client address -> connections that it may have open."""

    def __init__(self, static: Mapping[str, str]) -> None:
        self._static = _completed(static)
        self._dynamic_default: dict[str, str] = {}
        self._dynamic_broker: dict[str, str] = {}
        self._values: BrokerValues = {}
        self._log_configs: dict[tuple[tuple[str, str], ...], LogConfig] = {}
        self._adopt(self._static)
        self.warnings: tuple[ConfigWarning, ...] = tuple(_warnings(static))

    @classmethod
    def load(
        cls,
        *,
        properties: bytes | str | None = None,
        environment: Mapping[str, str] | None = None,
        overrides: Iterable[str] = (),
        default_host: str = "127.0.0.1",
        default_port: int = 9092,
        default_data_directory: str | None = None,
    ) -> Self:
        """From the content of a properties file, an environment and ``key=value`` overrides."""
        return cls(
            sources.gather(
                properties=properties,
                environment=environment,
                overrides=overrides,
                default_host=default_host,
                default_port=default_port,
                default_data_directory=default_data_directory,
            )
        )

    # Values

    def value(self, name: str) -> ConfigValue | None:
        """The effective value of any broker key of Kafka's; None where it has none. KeyError if unknown."""
        return self._values[name]

    def layers(self) -> Iterator[tuple[ConfigSource, Mapping[str, str]]]:
        """What is set in each layer, as text, the strongest layer first; without the defaults."""
        yield ConfigSource.DYNAMIC_BROKER_CONFIG, self._dynamic_broker
        yield ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, self._dynamic_default
        yield ConfigSource.STATIC_BROKER_CONFIG, self._static

    # Dynamic updates

    def with_dynamic(
        self, *, broker: Mapping[str, str] | None = None, all_brokers: Mapping[str, str] | None = None
    ) -> BrokerConfig:
        """Another config with these dynamic layers; None keeps the present layer. ConfigError if invalid."""
        other = BrokerConfig(self._static)
        other.warnings = self.warnings
        other._dynamic_broker = dict(self._dynamic_broker if broker is None else broker)
        other._dynamic_default = dict(self._dynamic_default if all_brokers is None else all_brokers)
        other._adopt(other._effective_texts())
        return other

    def apply_dynamic(
        self, *, broker: Mapping[str, str], all_brokers: Mapping[str, str]
    ) -> tuple[frozenset[str], tuple[ConfigWarning, ...]]:
        """Take over what the cluster's metadata says about this broker and about all brokers.

        Returns the names of the keys whose effective value changed, and a warning for each entry that is
        ignored because it is not valid here: what is stored was checked by the broker that took it, but
        perhaps against other static values.
        """
        warnings: list[ConfigWarning] = []
        before = self._values
        self._dynamic_default = self._usable(all_brokers, {}, warnings)
        self._dynamic_broker = self._usable(broker, self._dynamic_default, warnings)
        self._adopt(self._effective_texts())
        changed = frozenset(name for name, value in self._values.items() if before[name] != value)
        return changed, tuple(warnings)

    def _usable(
        self, entries: Mapping[str, str], below: Mapping[str, str], warnings: list[ConfigWarning]
    ) -> dict[str, str]:
        """Those of ``entries`` that make a valid config on top of the static values and ``below``."""
        probe = BrokerConfig(self._static)
        try:
            probe._adopt(_overlay(_overlay(self._static, below), entries))
        except ConfigError:
            usable: dict[str, str] = {}
            for name, text in sorted(entries.items()):
                attempt = {**usable, name: text}
                try:
                    probe._adopt(_overlay(_overlay(self._static, below), attempt))
                except ConfigError as error:
                    warnings.append(ConfigWarning(name, f"dynamic value ignored ({error})"))
                else:
                    usable = attempt
            return usable
        return dict(entries)

    def _effective_texts(self) -> dict[str, str]:
        return _overlay(_overlay(self._static, self._dynamic_default), self._dynamic_broker)

    def _adopt(self, texts: Mapping[str, str]) -> None:
        """Parse and check everything, then change this object in one step."""
        values: dict[str, ConfigValue | None] = {}
        for definition in BROKER_KEYS:
            text = texts.get(definition.name)
            values[definition.name] = definition.default if text is None else definition.parse(text)
        for name, text in texts.items():
            definition_of_listener = None if name in values else broker_key(name)
            if definition_of_listener is not None:
                definition_of_listener.parse(text)
        check_together(values, texts)
        self._values = values
        self._log_configs.clear()
        self.__dict__.update((definition.attribute, values[definition.name]) for definition in BROKER_KEYS)
        # Made of several keys, and read too often to be made each time.
        self.endpoints = broker_endpoints(values)
        self.max_connections_per_ip_overrides = parse_connection_limits(
            self._text("max.connections.per.ip.overrides") or ""
        )

    # Values made of several keys

    @property
    def cluster_id(self) -> str | None:
        """``kbroker.cluster.id``: only for data directories that have no cluster id yet."""
        return self._text("kbroker.cluster.id")

    @property
    def log_directories(self) -> tuple[str, ...]:
        """``log.dirs``, or ``log.dir`` where that is not set."""
        directories = self._values["log.dirs"] or self._values["log.dir"]
        assert isinstance(directories, tuple)
        return directories

    @property
    def log_retention_ms(self) -> int:
        """-1 for "never"; from ``log.retention.ms``, ``.minutes`` or ``.hours``, in this order."""
        return retention_ms(self._values)

    @property
    def log_roll_ms(self) -> int:
        return roll_ms(self._values)

    @property
    def log_roll_jitter_ms(self) -> int:
        return roll_jitter_ms(self._values)

    @property
    def log_flush_interval_ms(self) -> int:
        return flush_interval_ms(self._values)

    @property
    def queued_request_bytes_max(self) -> int:
        """``queued.max.request.bytes``, or where that is unlimited kbroker's own bound."""
        configured = self._values["queued.max.request.bytes"]
        assert isinstance(configured, int)
        return configured if configured > 0 else max(QUEUED_REQUEST_BYTES_MAX, self.socket_request_max_bytes)

    # Listeners

    def advertised_endpoint(self, listener_name: str) -> Endpoint | None:
        """What ``advertised.listeners`` says of a listener; None: tell each client the address it used."""
        advertised = advertised_endpoints(self._values)
        return next((endpoint for endpoint in advertised if endpoint.listener_name == listener_name), None)

    @property
    def inter_broker_listener_name(self) -> str:
        """``inter.broker.listener.name``, else the first listener of ``security.inter.broker.protocol``."""
        return inter_broker_listener_name(self._values)

    # Topics

    def topic_defaults(self) -> dict[str, ConfigValue | None]:
        """What a topic without configs of its own gets, by topic key."""
        return topic_defaults(self._values)

    def topic_config(self, overrides: Mapping[str, str]) -> TopicConfig:
        """All effective configs of a topic with these configs of its own; ConfigError if one is invalid."""
        return resolve_topic_config(self.topic_defaults(), overrides)

    def to_log_config(self, overrides: Mapping[str, str]) -> LogConfig:
        """The same, as far as storage acts on it; the partitions of a topic share one object."""
        key = tuple(sorted(overrides.items()))
        log_config = self._log_configs.get(key)
        if log_config is None:
            if len(self._log_configs) >= _LOG_CONFIGS_KEPT_MAX:
                self._log_configs.clear()
            log_config = self._log_configs[key] = self.topic_config(overrides).to_log_config()
        return log_config

    def _text(self, name: str) -> str | None:
        value = self._values[name]
        assert value is None or isinstance(value, str)
        return value


def _completed(static: Mapping[str, str]) -> dict[str, str]:
    """With the values that Kafka demands and kbroker assumes; ``broker.id`` is ``node.id``'s older name."""
    entries = dict(static)
    node_id = static.get("node.id", static.get("broker.id", _ASSUMED_NODE_ID))
    entries.setdefault("node.id", node_id)
    entries.setdefault("broker.id", node_id)
    entries.setdefault("process.roles", _ASSUMED_ROLES)
    return entries


def _overlay(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """``above`` over ``below``; a key also pushes its synonyms out of ``below``.

    So ``log.retention.ms`` of a dynamic layer wins over ``log.retention.hours`` of the static one, whichever
    of the two would win within one layer (``DynamicBrokerConfig.overrideProps``).
    """
    merged = dict(below)
    for name, text in above.items():
        if name in BROKER_KEYS:
            for synonym in broker_synonyms(name):
                merged.pop(synonym, None)
        merged[name] = text
    return merged


def _warnings(static: Mapping[str, str]) -> Iterator[ConfigWarning]:
    for name in sorted(static):
        definition = broker_key(name)
        if definition is None:
            yield ConfigWarning(name, "unknown config key, ignored")
        elif not definition.acted_on or definition.name != name:
            yield ConfigWarning(name, "accepted, but kbroker does not act on this config key")
