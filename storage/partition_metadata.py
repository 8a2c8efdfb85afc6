"""`partition.metadata`: which topic id a partition's directory belongs to (Kafka: PartitionMetadataFile, KIP-516).

Two lines, "version: 0" and "topic_id: " with the id in Kafka's text form.
"""

from __future__ import annotations

import re
from uuid import UUID

from storage.checkpoint import write_atomically
from storage.errors import CorruptCheckpointError
from storage.filesystem import Filesystem
from storage.uuid_text import uuid_from_text, uuid_to_text

PARTITION_METADATA = "partition.metadata"

_LINE = re.compile(r"^(version|topic_id):\s+(\S+)$")


def write_partition_metadata(filesystem: Filesystem, directory: str, topic_id: UUID) -> None:
    """Not synced: what a power loss could make of it is noticed, and the next flush comes before any promise."""
    data = f"version: 0\ntopic_id: {uuid_to_text(topic_id)}".encode()
    write_atomically(filesystem, f"{directory}/{PARTITION_METADATA}", data, sync=False)


def decode_partition_metadata(data: bytes) -> UUID:
    """The topic id; CorruptCheckpointError when there is none."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise CorruptCheckpointError(str(error)) from None
    fields = {match[1]: match[2] for line in lines if (match := _LINE.match(line)) is not None}
    if not fields.get("version", "").isdigit() or "topic_id" not in fields:
        raise CorruptCheckpointError(f"{PARTITION_METADATA} lacks its version or its topic id")
    try:
        topic_id = uuid_from_text(fields["topic_id"])
    except ValueError as error:
        raise CorruptCheckpointError(str(error)) from None
    if not topic_id.int:
        raise CorruptCheckpointError("the topic id is all zeros")
    return topic_id
