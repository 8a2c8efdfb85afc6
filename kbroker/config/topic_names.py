"""Which topic names are allowed, and which topics are the broker's own.

Kafka's rules (``org.apache.kafka.common.internals.Topic``): 1 to 249 of the characters a-z, A-Z, 0-9,
'.', '_' and '-', and neither '.' nor '..', because a topic's name becomes part of a directory name.
Metric names turn '.' into '_', so two topics whose names differ in nothing else must not both exist.
"""

from __future__ import annotations

import re
from typing import Final

from wire.errors import ApiError, ErrorCode

TOPIC_NAME_LENGTH_MAX: Final = 249

CONSUMER_OFFSETS_TOPIC: Final = "__consumer_offsets"
TRANSACTION_STATE_TOPIC: Final = "__transaction_state"
SHARE_GROUP_STATE_TOPIC: Final = "__share_group_state"
CLUSTER_METADATA_TOPIC: Final = "__cluster_metadata"

INTERNAL_TOPICS: Final = frozenset({CONSUMER_OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC, SHARE_GROUP_STATE_TOPIC})

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def invalid_topic_name_reason(name: str) -> str | None:
    """Why a topic may not have this name, in Kafka's words; None if it may."""
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > TOPIC_NAME_LENGTH_MAX:
        return f"the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LENGTH_MAX}"
    if _LEGAL_NAME.fullmatch(name) is None:
        return f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    return None


def is_valid_topic_name(name: str) -> bool:
    return invalid_topic_name_reason(name) is None


def validate_topic_name(name: str) -> None:
    """Raises ApiError INVALID_TOPIC_EXCEPTION."""
    reason = invalid_topic_name_reason(name)
    if reason is not None:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {reason}")


def is_internal_topic(name: str) -> bool:
    """Whether the broker itself keeps its state in this topic."""
    return name in INTERNAL_TOPICS


def collision_key(name: str) -> str:
    """The same text for all names of which only one may be in use at a time."""
    return name.replace(".", "_")
