"""What the controller decides about altered configs: plain functions from an image to new entries.

Follows Kafka's ``ConfigurationControlManager``. What the keys and values may be is known to the
``ConfigRules`` port, which ``kbroker.config`` stands behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata.image import ClusterImage, ConfigResource
from wire.errors import ApiError, ErrorCode


class ConfigOperation(IntEnum):
    """What IncrementalAlterConfigs asks to do with one key (``AlterConfigOp.OpType``)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


ConfigChange = tuple[str, int, str | None]
"""(config name, ConfigOperation, value)."""


class EffectiveConfig(Protocol):
    """One config of a topic as CreateTopics reports it; ``source`` is Kafka's id of a config source."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> str | None: ...

    @property
    def source(self) -> int: ...

    @property
    def is_sensitive(self) -> bool: ...

    @property
    def is_read_only(self) -> bool: ...


class ConfigRules(Protocol):
    """What the controller must know about config keys; resources are (ConfigResourceType, name)."""

    def validate_overrides(self, resource: tuple[int, str], entries: Mapping[str, str]) -> None:
        """Raises ApiError (INVALID_CONFIG, INVALID_REQUEST) unless these may be all of its overrides."""
        ...

    def is_list(self, resource_type: int, name: str) -> bool:
        """Whether the key holds a list, so that single elements can be appended and subtracted."""
        ...

    def default_value(self, resource_type: int, name: str) -> str | None:
        """Kafka's built-in default of the key as text."""
        ...

    def effective_topic_configs(
        self,
        topic: Mapping[str, str],
        broker: Mapping[str, str],
        all_brokers: Mapping[str, str],
    ) -> Sequence[EffectiveConfig]:
        """Every topic config by name, given the overrides of the topic, of this broker and of all brokers."""
        ...


def decide_incremental(
    image: ClusterImage, resource: ConfigResource, changes: Sequence[ConfigChange], rules: ConfigRules
) -> dict[str, str]:
    """All entries of the resource after the changes. A resource changes wholly or not at all."""
    entries = dict(image.config(resource))
    for name, operation, value in changes:
        new_value = _changed_value(resource[0], entries.get(name), (name, operation, value), rules)
        if new_value is None:
            entries.pop(name, None)
        else:
            entries[name] = new_value
    _check(image, resource, entries, rules)
    return entries


def decide_replacement(
    image: ClusterImage, resource: ConfigResource, entries: Mapping[str, str | None], rules: ConfigRules
) -> dict[str, str]:
    """What AlterConfigs, the older API, leaves: the entries given and nothing else."""
    kept = {name: value for name, value in entries.items() if value is not None}
    _check(image, resource, kept, rules)
    return kept


def _changed_value(
    resource_type: int, current: str | None, change: ConfigChange, rules: ConfigRules
) -> str | None:
    name, operation, value = change
    if operation == ConfigOperation.DELETE:
        return None
    if operation == ConfigOperation.SET:
        return value
    if operation not in (ConfigOperation.APPEND, ConfigOperation.SUBTRACT):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"There is no config operation {operation}.")
    if not rules.is_list(resource_type, name):
        raise ApiError(
            ErrorCode.INVALID_CONFIG, f"'{name}' is not a list: nothing can be appended or subtracted."
        )
    text = current if current is not None else rules.default_value(resource_type, name)
    elements = [element for element in (text or "").split(",") if element]
    for element in (value or "").split(","):
        if operation == ConfigOperation.SUBTRACT and element in elements:
            elements.remove(element)
        elif operation == ConfigOperation.APPEND and element not in elements:
            elements.append(element)
    return ",".join(elements)


def _check(
    image: ClusterImage, resource: ConfigResource, entries: Mapping[str, str], rules: ConfigRules
) -> None:
    rules.validate_overrides(resource, entries)
    resource_type, name = resource
    if resource_type == ConfigResourceType.TOPIC and name not in image.topics:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if resource_type == ConfigResourceType.BROKER and name and name not in map(str, image.brokers):
        raise ApiError(ErrorCode.BROKER_ID_NOT_REGISTERED, f"No broker {name} is registered.")
