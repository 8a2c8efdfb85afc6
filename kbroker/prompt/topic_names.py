"""Topics as people name them: whole names, or patterns with ``*`` and ``?`` as a shell has them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import translate

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.failures import CommandError
from kbroker.tools.topic_filters import INTERNAL_TOPICS
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import MetadataResponse

TopicMetadata = MetadataResponse.MetadataResponseTopic


def is_pattern(name: str) -> bool:
    """Whether it stands for more than one topic; none of these characters is in a topic's name."""
    return any(character in name for character in "*?[")


def is_internal(topic: TopicMetadata) -> bool:
    """Whether the topic is the brokers' own."""
    return topic.is_internal or topic.name in INTERNAL_TOPICS


class TopicNames:
    """Names and patterns. A pattern means no internal topic unless it begins with ``_``."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = [name for name in names if not is_pattern(name)]
        self.patterns = [name for name in names if is_pattern(name)]
        self._compiled = [(re.compile(translate(name)), name.startswith("_")) for name in self.patterns]

    def regular_expression(self) -> str:
        """All of it as one expression, for group members."""
        return "|".join([*map(re.escape, self.names), *map(translate, self.patterns)])

    def matches(self, topic: TopicMetadata) -> bool:
        """Whether the topic is meant."""
        name = topic.name or ""
        return name in self.names or any(
            pattern.match(name) is not None and (internal or not is_internal(topic))
            for pattern, internal in self._compiled
        )

    async def there(self, cluster: Cluster) -> dict[str, TopicMetadata]:
        """Those of them that there are now, in order of their names."""
        asked = None if self.patterns else self.names
        found = (await cluster.metadata(asked)).topics
        _raise_refusals(found)
        return _by_name(topic for topic in found if not topic.error_code and self.matches(topic))

    async def required(self, cluster: Cluster) -> dict[str, TopicMetadata]:
        """As ``there``; CommandError if a name or a pattern means nothing."""
        found = await self.there(cluster)
        for name in self.names:
            if name not in found:
                raise CommandError(await _unknown(cluster, name))
        for pattern in self.patterns:
            names = TopicNames([pattern])
            if not any(names.matches(topic) for topic in found.values()):
                raise CommandError(f"no topic matches {pattern!r}; `kbroker topics` lists them")
        return found


def _by_name(topics: Iterable[TopicMetadata]) -> dict[str, TopicMetadata]:
    return {topic.name or "": topic for topic in sorted(topics, key=lambda topic: topic.name or "")}


def _raise_refusals(topics: Sequence[TopicMetadata]) -> None:
    for topic in topics:
        if topic.error_code not in (
            ErrorCode.NONE,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.LEADER_NOT_AVAILABLE,
        ):
            code = ErrorCode(topic.error_code)
            raise ApiError(code, f"{topic.name!r}: {code.description}")


async def _unknown(cluster: Cluster, name: str) -> str:
    from difflib import get_close_matches  # only where something went wrong

    known = [topic.name or "" for topic in (await cluster.metadata()).topics]
    if similar := get_close_matches(name, known, n=1):
        return f"no topic {name!r}; did you mean {similar[0]!r}?"
    return f"no topic {name!r}; create it with `kbroker topics create {name}`"


def partitions_of(
    topics: Mapping[str, TopicMetadata], numbers: Collection[int] | None = None
) -> list[Partition]:
    """All partitions of the topics, or those of these numbers. CommandError if a topic lacks one."""
    for name, topic in topics.items():
        for number in sorted(numbers or ()):
            if not 0 <= number < len(topic.partitions):
                raise CommandError(
                    f"{name} has {numbered_partitions(len(topic.partitions))}, and no partition {number}"
                )
    return [
        (name, partition.partition_index)
        for name, topic in topics.items()
        for partition in sorted(topic.partitions, key=lambda one: one.partition_index)
        if numbers is None or partition.partition_index in numbers
    ]


def numbered_partitions(count: int) -> str:
    """``partitions 0 to 5``."""
    return "one partition, 0" if count == 1 else f"partitions 0 to {count - 1}"


__all__ = ["TopicMetadata", "TopicNames", "is_internal", "is_pattern", "numbered_partitions", "partitions_of"]
