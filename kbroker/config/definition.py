"""One config key: its name, type, default and bounds, and how its text is read and written.

The types, their text forms and the order of checks are those of Kafka's ``ConfigDef``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from enum import Enum, IntEnum

from kbroker.config.validators import ConfigValue, Validator


class ConfigError(Exception):
    """A config value that cannot be used. ``str()`` is one line, in the words of Kafka's ``ConfigException``."""

    def __init__(self, name: str, value: str | None, reason: str) -> None:
        shown = "null" if value is None else value
        super().__init__(f"Invalid value {shown} for configuration {name}: {reason}".replace("\n", "\\n"))
        self.name = name
        self.value = value
        self.reason = reason


class UnknownConfigError(ConfigError):
    """A key that this kind of resource does not have; ``message`` is Kafka's for the kind, up to the key."""

    def __init__(self, name: str, value: str | None, message: str) -> None:
        super().__init__(name, value, message)
        self.args = (f"{message}: {name}".replace("\n", "\\n"),)


class ConfigType(IntEnum):
    """The type of a key, by the number that DescribeConfigs carries (KIP-569)."""

    UNKNOWN = 0
    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class Importance(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class UpdateMode(Enum):
    """Whether a broker key can change while the broker runs (KIP-226)."""

    READ_ONLY = "read-only"
    PER_BROKER = "per-broker"
    CLUSTER_WIDE = "cluster-wide"


_INTEGER_BITS = {ConfigType.SHORT: 16, ConfigType.INT: 32, ConfigType.LONG: 64}
_INTEGER_TEXT = re.compile(r"[+-]?[0-9]+")
_DOUBLE_TEXT = re.compile(r"[+-]?(NaN|Infinity|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?)")


class ConfigDefinition:
    """A key and all that is known about it.

    ``default`` None means that the key has no value unless one is given. ``acted_on`` says whether
    kbroker's behaviour depends on the key at all. ``internal`` keys are described only when they are set.
    """

    __slots__ = (
        "acted_on",
        "default",
        "documentation",
        "importance",
        "internal",
        "name",
        "synonyms",
        "type",
        "update_mode",
        "validator",
    )

    def __init__(
        self,
        name: str,
        type: ConfigType,
        default: ConfigValue | None,
        documentation: str,
        validator: Validator | None = None,
        *,
        importance: Importance = Importance.MEDIUM,
        update_mode: UpdateMode = UpdateMode.READ_ONLY,
        synonyms: tuple[str, ...] = (),
        acted_on: bool = False,
        internal: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.default = default
        self.documentation = documentation
        self.validator = validator
        self.importance = importance
        self.update_mode = update_mode
        self.synonyms = synonyms
        """Broker keys that the value comes from when this key is not set, the strongest first."""
        self.acted_on = acted_on
        self.internal = internal

    def __repr__(self) -> str:
        return f"ConfigDefinition({self.name!r}, {self.type.name})"

    @property
    def sensitive(self) -> bool:
        """A value that no response and no log may show."""
        return self.type is ConfigType.PASSWORD

    @property
    def attribute(self) -> str:
        """The name as a Python attribute: ``log.segment.bytes`` is ``log_segment_bytes``."""
        return self.name.replace(".", "_").replace("-", "_")

    def parse(self, text: str) -> ConfigValue:
        """The value that ``text`` stands for; ConfigError when it is not of the type or out of bounds."""
        value = self._typed(text)
        if self.validator is not None:
            refusal = self.validator.refusal(value)
            if refusal is not None:
                shown = refusal.item if refusal.item is not None else self.text_of(value)
                raise self._error(shown or "", refusal.reason)
        return value

    def text_of(self, value: ConfigValue | None) -> str | None:
        """The value as Kafka writes it in DescribeConfigs."""
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ",".join(value)
        if isinstance(value, float):
            return java_double_text(value)
        return str(value)

    def _typed(self, text: str) -> ConfigValue:
        trimmed = text.strip()
        match self.type:
            case ConfigType.BOOLEAN:
                lowered = trimmed.lower()
                if lowered in ("true", "false"):
                    return lowered == "true"
            case ConfigType.INT | ConfigType.LONG | ConfigType.SHORT:
                # 20 characters hold any 64-bit number with its sign; longer text is not worth converting.
                if len(trimmed) <= 40 and _INTEGER_TEXT.fullmatch(trimmed):
                    number = int(trimmed)
                    limit = 1 << (_INTEGER_BITS[self.type] - 1)
                    if -limit <= number < limit:
                        return number
            case ConfigType.DOUBLE:
                if _DOUBLE_TEXT.fullmatch(trimmed):
                    return float(trimmed.rstrip("fFdD") if trimmed[-1:] in "fFdD" else trimmed)
            case ConfigType.LIST:
                # A repeated item counts once, in the place where it is first named (KIP-1161).
                return tuple(dict.fromkeys(re.split(r"\s*,\s*", trimmed))) if trimmed else ()
            case _:
                return trimmed
        is_boolean = self.type is ConfigType.BOOLEAN
        expected = (
            "Expected value to be either true or false"
            if is_boolean
            else f"Not a number of type {self.type.name}"
        )
        raise self._error(text, expected)

    def _error(self, text: str, reason: str) -> ConfigError:
        return ConfigError(self.name, "[hidden]" if self.sensitive else text, reason)


def java_double_text(number: float) -> str:
    """A double as Java writes it: ``0.5``, ``1.0E10``, ``1.7976931348623157E308``."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        return repr(number)
    # The fewest digits that read back as the same number, of which at least one follows the point.
    scientific = next(text for digits in range(1, 18) if float(text := f"{number:.{digits}e}") == number)
    mantissa, _, exponent = scientific.partition("e")
    return f"{mantissa}E{int(exponent)}"


class ConfigRegistry:
    """The keys of one kind of resource, by name and in the order of their declaration."""

    __slots__ = ("_definitions",)

    def __init__(self, definitions: Iterable[ConfigDefinition]) -> None:
        self._definitions: dict[str, ConfigDefinition] = {}
        for definition in definitions:
            assert definition.name not in self._definitions, f"{definition.name} is declared twice"
            self._definitions[definition.name] = definition

    def __getitem__(self, name: str) -> ConfigDefinition:
        return self._definitions[name]

    def __contains__(self, name: object) -> bool:
        return name in self._definitions

    def __iter__(self) -> Iterator[ConfigDefinition]:
        return iter(self._definitions.values())

    def __len__(self) -> int:
        return len(self._definitions)

    def get(self, name: str) -> ConfigDefinition | None:
        return self._definitions.get(name)

    def names(self) -> Iterable[str]:
        return self._definitions.keys()
