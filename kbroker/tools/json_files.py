"""The JSON files that some commands take: reading them, and what is wrong with one, told in Kafka's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from kbroker.tools.session import CommandError

ValueT = TypeVar("ValueT")


def read_text(path: str) -> str:
    """CommandError if the file cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"Unable to read file {path}") from None


def parse_json(text: str, *, invalid: str = "The input string is not a valid JSON") -> Any:
    """CommandError saying ``invalid`` if it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise CommandError(invalid) from None


def member(value: Any, name: str, kind: type[ValueT]) -> ValueT:
    """A member that must be there and of this type; CommandError."""
    if not isinstance(value, dict):
        raise CommandError(f"Expected JSON object, received {json.dumps(value)}")
    if name not in value:
        raise CommandError(f"No such field exists: `{name}`")
    found = value[name]
    if not isinstance(found, kind) or isinstance(found, bool):
        expected = {str: "`String` value", int: "`Integer` value", list: "JSON array"}
        raise CommandError(f"Expected {expected[kind]}, received {json.dumps(found)}")
    return found


def check_version(value: Any) -> None:
    """A file that names no version is of the first and only one; CommandError."""
    version = member(value, "version", int) if isinstance(value, dict) and "version" in value else 1
    if version != 1:
        raise CommandError(f"Not supported version field value {version}")


def listed(value: Any, name: str) -> list[Any]:
    """A member that is a list, empty if it is missing; CommandError."""
    return member(value, name, list) if not isinstance(value, dict) or name in value else []
