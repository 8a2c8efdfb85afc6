"""In what two directories may differ that hold the same: in one place, each with its reason.

``normalised`` takes out of a dump what depends on when and by whom it was written. What is left must be equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from compat.disk.dump import partition_directories, topic_of
from compat.disk.observation import Observation, Partition
from compat.disk.workload import COMPACTED
from storage.partition_metadata import decode_partition_metadata
from storage.uuid_text import uuid_to_text

_MILLISECONDS = re.compile(r"\b\d{13}\b")
_MEMBER_ID = re.compile(r"\b(disk-client|instance)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TOPIC_ID = re.compile(r'(?<="topicId":")[\w-]{22}(?=")')
_CRC = re.compile(r"\bcrc: \d+")


@dataclass(frozen=True)
class Written:
    """A directory that a broker has written and left, and when it did (milliseconds); what clients saw at the end."""

    broker: str
    data_dir: Path
    begun_ms: int
    ended_ms: int
    seen: Observation
    leader_epochs: Mapping[Partition, int]

    def topic_ids(self) -> dict[str, str]:
        """Names by id."""
        return {
            uuid_to_text(
                decode_partition_metadata((directory / "partition.metadata").read_bytes())
            ): topic_of(directory)
            for directory in partition_directories(self.data_dir)
        }


@dataclass(frozen=True)
class Allowed:
    """A difference: lines about files that ``files`` matches are seen as ``change`` leaves them."""

    files: str
    change: Callable[[str, Written], str]
    reason: str


def _without_times(line: str, written: Written) -> str:
    def named(match: re.Match[str]) -> str:
        at = int(match[0])
        if written.begun_ms <= at <= written.ended_ms:
            return "<while it ran>"
        horizon = at - int(COMPACTED["delete.retention.ms"])
        return "<horizon>" if written.begun_ms <= horizon <= written.ended_ms else match[0]

    return _MILLISECONDS.sub(named, line)


def _replaced(pattern: str, by: str) -> Callable[[str, Written], str]:
    compiled = re.compile(pattern)
    return lambda line, written: compiled.sub(by, line)


ALLOWED = (
    Allowed("*", _without_times, "each broker has written at its own time"),
    Allowed(
        "__consumer_offsets-*",
        lambda line, written: _MEMBER_ID.sub(r"<\1's member id>", line),
        "the broker makes member ids, from a random UUID",
    ),
    Allowed(
        "__consumer_offsets-*",
        lambda line, written: _TOPIC_ID.sub(
            lambda match: f"<{written.topic_ids().get(match[0], match[0])}>", line
        ),
        "the broker makes topic ids, from a random UUID",
    ),
    Allowed(
        "__consumer_offsets-*",
        _replaced(r"\b(sequence|baseSequence|lastSequence): (-1|\d+)", r"\1"),
        "Apache Kafka's group coordinator numbers each batch's records from 0, without a producer id to make it mean "
        "anything, or with a transaction's, of which it says nothing either: coordinators' batches are never checked",
    ),
    Allowed(
        "recompressed-*",
        _replaced(r"\b(size|position|crc): \d+", r"\1"),
        "two implementations of deflate need not find the same bytes",
    ),
)


def normalised(written: Written, contents: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The lines about each file without the allowed differences, and without the CRCs of what holds one."""
    return {name: _normalised_file(written, name, lines) for name, lines in contents.items()}


def _normalised_file(written: Written, name: str, lines: list[str]) -> list[str]:
    seen: list[str] = []
    batch_at: int | None = None
    for line in lines:
        line = line.replace(str(written.data_dir), "<data>")
        changed = line
        for allowed in ALLOWED:
            if fnmatch(name, allowed.files):
                changed = allowed.change(changed, written)
        if line.startswith("baseOffset: "):
            batch_at = len(seen)
        seen.append(changed)
        if changed != line and batch_at is not None:
            seen[batch_at] = _CRC.sub("crc", seen[batch_at])
    return seen


ONLY_ONE_HAS = {
    "kbroker-*": "kbroker's own: the cluster's metadata, recovery anchors, and which replicas there are",
    "__cluster_metadata-0/*": "Apache Kafka's own: the cluster's metadata",
    ".lock": "both lock it; Apache Kafka removes it when it stops",
    "*.deleted": "Apache Kafka leaves what it was about to delete to the next start, kbroker deletes it when it stops",
    "meta.properties": "whose directory it is; see the case about it",
    ".kafka_cleanshutdown": "names the broker's epoch, which is the broker's own count",
}
"""Files by pattern, and why they are not compared."""


def file_names(written: Written) -> set[str]:
    """Every file in the directory that the other broker must have as well."""
    found = (
        str(path.relative_to(written.data_dir)) for path in written.data_dir.rglob("*") if path.is_file()
    )
    return {name for name in found if not any(fnmatch(name, pattern) for pattern in ONLY_ONE_HAS)}


def checkpoint_lines(path: Path) -> list[str]:
    """A checkpoint's lines, in any order: both write them as their hash tables have them."""
    version, count, *lines = path.read_text(encoding="ascii").splitlines()
    return [version, count, *sorted(lines)]
