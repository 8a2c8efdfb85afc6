"""The name of a partition, and how it becomes the name of a directory (Kafka: LocalLog)."""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import UUID

DELETE_SUFFIX = "-delete"
FUTURE_SUFFIX = "-future"
STRAY_SUFFIX = "-stray"
FILE_NAME_LENGTH_MAX = 255

_MARKED = re.compile(r"^(?P<name>\S+-\d+)\.\S+-(?P<mark>delete|future|stray)$")
_PLAIN = re.compile(r"^(?P<topic>\S+)-(?P<partition>\d{1,10})$")


class TopicPartition(NamedTuple):
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def directory_name(self) -> str:
        return f"{self.topic}-{self.partition}"

    def delete_directory_name(self, unique: UUID) -> str:
        """`topic-partition.<32 hex digits>-delete`; the topic is cut so that 255 bytes suffice."""
        return self._marked_name(unique, DELETE_SUFFIX)

    def stray_directory_name(self, unique: UUID) -> str:
        return self._marked_name(unique, STRAY_SUFFIX)

    def future_directory_name(self, unique: UUID) -> str:
        return f"{self.directory_name}.{unique.hex}{FUTURE_SUFFIX}"

    def _marked_name(self, unique: UUID, suffix: str) -> str:
        end = f"-{self.partition}.{unique.hex}{suffix}"
        return self.topic[: FILE_NAME_LENGTH_MAX - len(end)] + end


class DirectoryName(NamedTuple):
    """A parsed directory name; `mark` is "", "-delete", "-future" or "-stray"."""

    topic_partition: TopicPartition
    mark: str


def parse_directory_name(name: str) -> DirectoryName | None:
    """The partition that a directory belongs to, or None when its name is not one of Kafka's forms."""
    mark = ""
    marked = _MARKED.match(name)
    if marked is not None:
        name, mark = marked["name"], "-" + marked["mark"]
    plain = _PLAIN.match(name)
    if plain is None or int(plain["partition"]) > 0x7FFFFFFF:
        return None
    return DirectoryName(TopicPartition(plain["topic"], int(plain["partition"])), mark)
