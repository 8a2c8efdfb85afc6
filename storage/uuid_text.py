"""Kafka's text form of a UUID: its 16 bytes in URL-safe base 64 without padding, 22 characters."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

_LENGTH = 22


def uuid_to_text(uuid: UUID) -> str:
    return urlsafe_b64encode(uuid.bytes).decode("ascii")[:_LENGTH]


def uuid_from_text(text: str) -> UUID:
    """ValueError unless the text is one that `uuid_to_text` gives."""
    try:
        uuid = UUID(bytes=urlsafe_b64decode(text + "=="))
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a UUID in base 64") from None
    if uuid_to_text(uuid) != text:
        raise ValueError(f"{text[:40]!r} is not a UUID in base 64")
    return uuid
