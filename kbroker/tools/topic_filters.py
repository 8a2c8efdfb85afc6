"""Which topics and partitions a command is about: Kafka's regular expressions of topics (IncludeList) and its patterns.

A comma stands for "or", blanks do not count, and an expression has to match the whole name.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kbroker.tools.cluster import Partition
from kbroker.tools.session import CommandError

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
_RULE = re.compile(r"([^:,]*)(?::(?:([0-9]*)|(?:([0-9]*)-([0-9]*))))?")


class TopicFilter:
    """An expression of topics; CommandError if it is none."""

    def __init__(self, expression: str) -> None:
        cleaned = expression.strip().replace(",", "|").replace(" ", "")
        cleaned = re.sub(r"[\"']+$", "", re.sub(r"^[\"']+", "", cleaned))
        try:
            self._pattern = re.compile(cleaned)
        except re.error:
            raise CommandError(f"{cleaned} is an invalid regex.") from None

    def allows(self, topic: str) -> bool:
        return self._pattern.fullmatch(topic) is not None


def partition_rule(text: str) -> Callable[[Partition], bool]:
    """``TOPIC:PARTITIONS``: either may be missing, and partitions are ``3``, ``2-4`` (without 4), ``2-``, ``-4``."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise CommandError(f"org.apache.kafka.tools.TerseException: Invalid rule specification: {text}")
    topics = TopicFilter(found[1] or ".*")
    if found[2]:
        low = int(found[2])
        high = low + 1
    else:
        low = int(found[3] or 0)
        high = int(found[4] or 2**31 - 1)
    return lambda partition: topics.allows(partition[0]) and low <= partition[1] < high
