"""Client properties: as flags give them (``--command-property key=value``), and what their values mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class SettingError(ValueError):
    """A producer's or consumer's property does not make sense; the message is Kafka's."""


def key_values(pairs: Iterable[str]) -> dict[str, str]:
    """``key=value`` flags as a mapping; a value may hold ``=``, one that is missing is empty."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def integer(properties: Mapping[str, str], key: str, default: int, *, least: int | None = None) -> int:
    """A property that is a number, of ``least`` or more; SettingError."""
    text = properties.get(key)
    if text is None:
        return default
    try:
        value = int(text.strip())
    except ValueError:
        raise SettingError(
            f"Invalid value {text} for configuration {key}: Not a number of type INT"
        ) from None
    if least is not None and value < least:
        raise SettingError(f"Invalid value {value} for configuration {key}: Value must be at least {least}")
    return value


def boolean(properties: Mapping[str, str], key: str, default: bool) -> bool:
    """A property that is true or false; SettingError."""
    text = properties.get(key, str(default)).strip().lower()
    if text not in ("true", "false"):
        raise SettingError(
            f"Invalid value {text} for configuration {key}: Expected value to be either true or false"
        )
    return text == "true"
