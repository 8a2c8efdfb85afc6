"""What ``kafka-topics --create --config`` refuses before it asks anybody (Kafka: ``LogConfig.validate``).

Names that no topic has, and values that are not of the setting's type or out of its bounds, told in Kafka's words; what
else a value may be is the broker's to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from kbroker.config.definition import ConfigDefinition, ConfigType
from kbroker.config.topic_keys import TOPIC_KEYS
from kbroker.config.validators import Between, OneOf
from kbroker.tools.session import CommandError

_BITS = {ConfigType.INT: 32, ConfigType.LONG: 64}
_POLICIES = ("compact", "delete")


def check_topic_settings(settings: Mapping[str, str]) -> None:
    """CommandError with Kafka's text for the first setting that is wrong."""
    for name in settings:
        if name not in TOPIC_KEYS:
            raise CommandError(f"Unknown topic config name: {name}")
    for definition in TOPIC_KEYS:
        text = settings.get(definition.name)
        if text is not None and (wrong := _what_is_wrong(definition, text)):
            shown, reason = wrong
            raise CommandError(f"Invalid value {shown} for configuration {definition.name}: {reason}")


def _what_is_wrong(definition: ConfigDefinition, text: str) -> tuple[str, str] | None:
    """The value as Kafka prints it, and why it is refused."""
    kind, validator = definition.type, definition.validator
    if kind in _BITS or kind is ConfigType.DOUBLE:
        number = _number(kind, text)
        if number is None:
            return text, f"Not a number of type {kind.name}"
        if isinstance(validator, Between) and not validator.accepts(number):
            if validator.minimum is not None and number < validator.minimum:
                return str(number), f"Value must be at least {validator.minimum}"
            return str(number), f"Value must be no more than {validator.maximum}"
    elif kind is ConfigType.BOOLEAN:
        if text.lower() not in ("true", "false"):
            return text, "Expected value to be either true or false"
    elif isinstance(validator, OneOf):
        if not validator.accepts(text):
            return text, f"String must be one of: {', '.join(validator.words)}"
    elif definition.name == "cleanup.policy":
        for policy in text.split(","):
            if policy.strip() not in _POLICIES:
                return policy.strip(), f"String must be one of: {', '.join(_POLICIES)}"
    return None


def _number(kind: ConfigType, text: str) -> float | int | None:
    try:
        if kind is ConfigType.DOUBLE:
            return float(text)
        number = int(text)
    except ValueError:
        return None
    return number if -(2 ** (_BITS[kind] - 1)) <= number < 2 ** (_BITS[kind] - 1) else None
