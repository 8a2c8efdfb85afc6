"""Files that nobody will ever remove."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from storage.checkpoint import (
    CLEANER_CHECKPOINT,
    HIGH_WATERMARK_CHECKPOINT,
    LEADER_EPOCH_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
)
from storage.file_names import (
    SEGMENT_SUFFIXES,
    SNAPSHOT_SUFFIX,
    TEMPORARY_SUFFIX,
    offset_of_file_name,
)
from storage.log import Log
from storage.log_directory import LOCK_FILE
from storage.meta_properties import META_PROPERTIES
from storage.partition_metadata import PARTITION_METADATA
from storage.recovery_anchor import RECOVERY_ANCHORS
from tests.sim.disk import DirectoryNode
from tests.sim.storage_model import Violation
from tests.sim.storage_paths import directory_at

if TYPE_CHECKING:
    from tests.sim.storage import StorageSimulation

_LONG_ENOUGH_MS = 120_000
_CHECKPOINTS = {
    CLEANER_CHECKPOINT,
    HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
    RECOVERY_ANCHORS,
}
_KNOWN_IN_LOG_DIRECTORY = {*_CHECKPOINTS, LOCK_FILE, META_PROPERTIES}
_KNOWN_IN_PARTITION = {LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA}
_STRAY = re.compile(r"^t\d+-0\.[0-9a-f]{32}-stray$")


def check_for_leaks(simulation: StorageSimulation) -> None:
    """When the delays have passed, the directories hold what belongs to open logs, and nothing else."""
    simulation.clock.now_ms += _LONG_ENOUGH_MS
    simulation.manager.run_removals()
    moves = {move.directory for move in simulation.manager.moves}
    logs = {log.directory: log for log in simulation.manager.logs.values()}
    for path in simulation.directories:
        for name, node in directory_at(simulation.disk, path).entries.items():
            if isinstance(node, DirectoryNode):
                log = logs.get(f"{path}/{name}")
                if log is not None:
                    _check_partition(log, node, had_errors=simulation.filesystem.errors > 0)
                elif f"{path}/{name}" not in moves and not _STRAY.match(name):
                    raise Violation(f"the directory {path}/{name} is left over")
            # A temporary file is replaced by the next one of its name.
            elif name.removesuffix(TEMPORARY_SUFFIX) not in {
                *_KNOWN_IN_LOG_DIRECTORY,
                ".kafka_cleanshutdown",
            }:
                raise Violation(f"the file {path}/{name} is left over")


def _check_partition(log: Log, directory: DirectoryNode, *, had_errors: bool) -> None:
    bases = {segment.base_offset for segment in log.segments}
    newest = log.log_end_offset
    for name in directory.entries:
        if had_errors and name.endswith(TEMPORARY_SUFFIX):
            continue  # the write failed; the next one, or the next start, takes it away
        offset = offset_of_file_name(name)
        if offset is None:
            if name not in _KNOWN_IN_PARTITION:
                raise Violation(f"{log.directory}/{name} is left over")
        elif name.endswith(SNAPSHOT_SUFFIX):
            if offset not in bases and not log.active_segment_base_offset < offset <= newest:
                raise Violation(f"{log.directory}/{name} is the snapshot of no segment")
        elif offset not in bases or not name.endswith(SEGMENT_SUFFIXES):
            raise Violation(f"{log.directory}/{name} is left over")
