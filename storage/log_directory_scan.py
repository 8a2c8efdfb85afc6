"""What lies in a partition's directory, with what a crash left half done put in order first.

Kafka: LogLoader's first passes. `.deleted` and `.cleaned` files go; `.swap` files (segments that compaction
or a split had finished) take the place of the segments that they replace; an index without its `.log` goes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from storage.batch_scan import walk_headers
from storage.checkpoint import LEADER_EPOCH_CHECKPOINT
from storage.errors import LogCorruptError
from storage.file_cache import FileCache, FileHandle
from storage.file_names import (
    CLEANED_SUFFIX,
    DELETED_SUFFIX,
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    SNAPSHOT_SUFFIX,
    SWAP_SUFFIX,
    TEMPORARY_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    offset_of_file_name,
)
from storage.index_file import INT32_MAX
from storage.partition_metadata import PARTITION_METADATA

logger = logging.getLogger(__name__)

_UNFINISHED_SUFFIXES = (DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX, TEMPORARY_SUFFIX)
_INDEX_SUFFIXES = (OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX)
_RAFT_SNAPSHOT_DELETED = ".checkpoint.deleted"


@dataclass(slots=True)
class DirectoryContent:
    """Base offsets of segments, transaction indexes and producer snapshots, each ascending."""

    segments: list[int] = field(default_factory=list)
    transaction_indexes: set[int] = field(default_factory=set)
    snapshots: list[int] = field(default_factory=list)
    has_epochs: bool = False
    has_metadata: bool = False


def scan_log_directory(cache: FileCache, directory: str) -> DirectoryContent:
    names = _file_names(cache, directory)
    if any(name.endswith(_UNFINISHED_SUFFIXES) for name in names):
        _finish(cache, directory, names)
        names = _file_names(cache, directory)
    content = DirectoryContent()
    orphans: list[str] = []
    for name in names:  # sorted: 0...0.index comes before 0...0.log
        offset = offset_of_file_name(name)
        if offset is None:
            content.has_epochs |= name == LEADER_EPOCH_CHECKPOINT
            content.has_metadata |= name == PARTITION_METADATA
        elif name.endswith(LOG_SUFFIX):
            content.segments.append(offset)
        elif name.endswith(SNAPSHOT_SUFFIX):
            content.snapshots.append(offset)
        elif name.endswith(_INDEX_SUFFIXES):
            orphans.append(name)
            if name.endswith(TRANSACTION_INDEX_SUFFIX):
                content.transaction_indexes.add(offset)
    bases = set(content.segments)
    for name in orphans:
        if offset_of_file_name(name) not in bases:
            logger.warning("Removing %s/%s, which has no segment", directory, name)
            cache.filesystem.remove(f"{directory}/{name}")
    return content


def _file_names(cache: FileCache, directory: str) -> list[str]:
    return [entry.name for entry in cache.filesystem.scan(directory) if not entry.is_directory]


def _finish(cache: FileCache, directory: str, names: list[str]) -> None:
    filesystem = cache.filesystem
    cleaned_from = min(
        (offset_of_file_name(name) or 0 for name in names if name.endswith(CLEANED_SUFFIX)), default=None
    )
    swaps = []
    for name in names:
        if name.endswith(SWAP_SUFFIX):
            offset = offset_of_file_name(name) or 0
            if cleaned_from is None or offset < cleaned_from:
                swaps.append(name)
                continue
            # Renaming to .swap goes from high offsets to low: a lower .cleaned file means it was not done.
        elif not name.endswith(_UNFINISHED_SUFFIXES) or name.endswith(_RAFT_SNAPSHOT_DELETED):
            continue
        logger.info("Removing unfinished %s/%s", directory, name)
        filesystem.remove(f"{directory}/{name}")
    if swaps:
        _complete_swap(cache, directory, names, swaps)
    else:
        # What was taken off the end must not come back, by a power loss, behind what recovery makes the end.
        filesystem.sync_directory(directory)


def _complete_swap(cache: FileCache, directory: str, names: list[str], swaps: list[str]) -> None:
    """Remove what the swap files replace, then give them their final names."""
    replaced_from, replaced_to = None, 0
    for name in swaps:
        if not name.removesuffix(SWAP_SUFFIX).endswith(LOG_SUFFIX):
            continue
        offset = offset_of_file_name(name) or 0
        replaced_from = offset if replaced_from is None else min(replaced_from, offset)
        replaced_to = max(replaced_to, offset + 1, _next_offset(cache, f"{directory}/{name}", offset))
    if replaced_from is not None:
        for name in names:
            base = offset_of_file_name(name)
            if base is None or name.endswith(_UNFINISHED_SUFFIXES) or not replaced_from <= base < replaced_to:
                continue
            if base == replaced_from and name.endswith(SNAPSHOT_SUFFIX):
                continue  # of what lies before it
            logger.info("Removing %s/%s, which was compacted", directory, name)
            cache.filesystem.remove(f"{directory}/{name}")
    # What goes must be gone before the names change, and a `.log` have its name before an index gets one: what is
    # found when this is cut off would otherwise be taken for something else.
    logs = [name for name in swaps if name.removesuffix(SWAP_SUFFIX).endswith(LOG_SUFFIX)]
    indexes = [name for name in swaps if name not in logs]
    for group in (logs, indexes):
        cache.filesystem.sync_directory(directory)
        for name in group:
            target = name.removesuffix(SWAP_SUFFIX)
            logger.info("Completing %s/%s", directory, target)
            cache.filesystem.rename(f"{directory}/{name}", f"{directory}/{target}")
    cache.filesystem.sync_directory(directory)


def _next_offset(cache: FileCache, path: str, base_offset: int) -> int:
    handle = FileHandle(cache, path)
    next_offset = base_offset
    try:
        for _, header in walk_headers(
            handle, 0, handle.file().size(), offset_min=base_offset, offset_max=base_offset + INT32_MAX
        ):
            next_offset = header.next_offset
    except LogCorruptError as error:
        logger.error("A finished segment is damaged: %s", error)
    finally:
        handle.close()
    return next_offset
