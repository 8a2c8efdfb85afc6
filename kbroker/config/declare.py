"""Short forms for declaring config keys: one function per type of Kafka's ``ConfigDef``."""

from __future__ import annotations

from typing import Protocol

from kbroker.config.definition import ConfigDefinition, ConfigType, Importance, UpdateMode
from kbroker.config.validators import ConfigValue, ListOf, Validator

HIGH = Importance.HIGH
MEDIUM = Importance.MEDIUM
LOW = Importance.LOW
PER_BROKER = UpdateMode.PER_BROKER
CLUSTER_WIDE = UpdateMode.CLUSTER_WIDE

_ANY_LIST = ListOf()


class _Declare(Protocol):
    def __call__(
        self,
        name: str,
        default: ConfigValue | None,
        documentation: str,
        validator: Validator | None = None,
        *,
        importance: Importance = MEDIUM,
        dynamic: UpdateMode = UpdateMode.READ_ONLY,
        synonyms: tuple[str, ...] = (),
        acted_on: bool = False,
        internal: bool = False,
    ) -> ConfigDefinition: ...


def _of_type(type: ConfigType, usual_validator: Validator | None = None) -> _Declare:
    def declare(
        name: str,
        default: ConfigValue | None,
        documentation: str,
        validator: Validator | None = None,
        *,
        importance: Importance = MEDIUM,
        dynamic: UpdateMode = UpdateMode.READ_ONLY,
        synonyms: tuple[str, ...] = (),
        acted_on: bool = False,
        internal: bool = False,
    ) -> ConfigDefinition:
        return ConfigDefinition(
            name,
            type,
            default,
            documentation,
            validator or usual_validator,
            importance=importance,
            update_mode=dynamic,
            synonyms=synonyms,
            acted_on=acted_on,
            internal=internal,
        )

    return declare


boolean = _of_type(ConfigType.BOOLEAN)
string = _of_type(ConfigType.STRING)
int32 = _of_type(ConfigType.INT)
int16 = _of_type(ConfigType.SHORT)
int64 = _of_type(ConfigType.LONG)
double = _of_type(ConfigType.DOUBLE)
string_list = _of_type(ConfigType.LIST, _ANY_LIST)
java_class = _of_type(ConfigType.CLASS)
password = _of_type(ConfigType.PASSWORD)
