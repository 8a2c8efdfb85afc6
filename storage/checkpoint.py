"""Small text files that must be whole after a crash (Kafka: CheckpointFile and what is built on it).

Offset checkpoints (`recovery-point-offset-checkpoint`, `replication-offset-checkpoint`,
`log-start-offset-checkpoint`): version 0, the number of entries, then "topic partition offset" a line.
`leader-epoch-checkpoint`: the same with "epoch start-offset". Numbers are decimal text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from storage.errors import CorruptCheckpointError
from storage.file_names import TEMPORARY_SUFFIX
from storage.filesystem import Buffer, Filesystem
from storage.topic_partition import TopicPartition

RECOVERY_POINT_CHECKPOINT = "recovery-point-offset-checkpoint"
HIGH_WATERMARK_CHECKPOINT = "replication-offset-checkpoint"
LOG_START_OFFSET_CHECKPOINT = "log-start-offset-checkpoint"
CLEANER_CHECKPOINT = "cleaner-offset-checkpoint"
LEADER_EPOCH_CHECKPOINT = "leader-epoch-checkpoint"

_VERSION = 0


def write_atomically(
    filesystem: Filesystem, path: str, data: Buffer, *, sync: bool = True, sync_name: bool | None = None
) -> None:
    """Replace a file so that a reader finds the old content or the new, whenever the process dies.

    With `sync` that holds for the machine too: the content is on the disk before it gets the name. With `sync_name`
    (by default as `sync`), so is the name when this returns.
    """
    temporary = path + TEMPORARY_SUFFIX
    try:
        filesystem.write_file(temporary, data, sync=sync)
        filesystem.rename(temporary, path)
    except OSError:
        _remove_quietly(filesystem, temporary)  # on a full disk every byte counts
        raise
    if sync if sync_name is None else sync_name:
        filesystem.sync_directory(path.rpartition("/")[0])


def _remove_quietly(filesystem: Filesystem, path: str) -> None:
    try:
        filesystem.remove(path)
    except OSError:
        pass


def encode_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    lines = [str(_VERSION), str(len(offsets))]
    lines += [f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items()]
    return ("\n".join(lines) + "\n").encode()


def decode_offsets(data: bytes) -> dict[TopicPartition, int]:
    offsets = {}
    for fields in _decode_lines(data, 3):
        partition, offset = decode_number(fields[1]), decode_number(fields[2])
        offsets[TopicPartition(fields[0], partition)] = offset
    return offsets


def encode_epochs(epochs: Iterable[tuple[int, int]]) -> bytes:
    lines = [f"{epoch} {start_offset}" for epoch, start_offset in epochs]
    return "\n".join([str(_VERSION), str(len(lines)), *lines, ""]).encode()


def decode_epochs(data: bytes) -> list[tuple[int, int]]:
    """(epoch, start offset) in file order; both ascend in a sound file, which the caller checks."""
    return [
        (decode_number(epoch), decode_number(start_offset)) for epoch, start_offset in _decode_lines(data, 2)
    ]


def _decode_lines(data: bytes, field_count: int) -> list[list[str]]:
    """The fields of every entry. A file without its first two lines is an empty one, as in Kafka."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise CorruptCheckpointError(str(error)) from None
    if not lines:
        return []
    if decode_number(lines[0]) != _VERSION:
        raise CorruptCheckpointError(f"unknown version {lines[0]!r}")
    if len(lines) == 1:
        return []
    entries = [line.split() for line in lines[2:]]
    if len(entries) != decode_number(lines[1]):
        raise CorruptCheckpointError(f"{lines[1]} entries announced, {len(entries)} found")
    for fields in entries:
        if len(fields) != field_count:
            raise CorruptCheckpointError(f"malformed line {' '.join(fields)!r}")
    return entries


def decode_number(text: str) -> int:
    """Decimal text without a sign; CorruptCheckpointError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise CorruptCheckpointError(f"{text[:40]!r} is not a number")
    return int(text)
