"""Bits that flip on the disk, where recovery is bound to find them: behind the recovery point of a crashed log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.checkpoint import RECOVERY_POINT_CHECKPOINT, decode_offsets
from storage.errors import CorruptCheckpointError
from storage.file_names import LOG_SUFFIX, SNAPSHOT_SUFFIX, SWAP_SUFFIX, offset_of_file_name
from storage.recovery_report import RecoveryFinding
from tests.sim.disk import FileNode
from tests.sim.storage_model import PartitionModel, Violation
from tests.sim.storage_paths import directory_at, file_at
from wire.records import InvalidBatchError, crc_matches, iterate_batches

if TYPE_CHECKING:
    from tests.sim.storage import StorageSimulation

_CRC_COVERS_FROM = 21


class Rot:
    """What was damaged since the logs were last open: the log is cut at `offset`, and that is reported."""

    def __init__(self) -> None:
        self.model: PartitionModel | None = None
        self.offset = -1
        self.is_blurred = False
        """Another start has met it and died: its finding is gone, and so may be the damage."""

    def forget(self) -> None:
        self.model, self.offset, self.is_blurred = None, -1, False

    def is_at(self, model: PartitionModel) -> bool:
        return self.model is model

    def explains(self, finding: RecoveryFinding) -> bool:
        return self.model is not None and self.model.name == finding.topic_partition

    def cut_of(self, model: PartitionModel) -> int | None:
        """Where the log may end because of the damage."""
        if self.model is not model or self.offset < 0:
            return None
        return self.offset

    def check(self, simulation: StorageSimulation) -> None:
        """Damage that was read is told."""
        model = self.model
        if model is None or self.offset < 0 or self.is_blurred:
            return
        log = simulation.manager.get(model.name)
        if log is None or log.topic_id != model.topic_id:
            return
        if log.log_start_offset > self.offset:
            return  # deleted: nobody has to look
        told = [each for each in simulation.manager.findings if each.topic_partition == model.name]
        if self.offset < log.log_end_offset:
            raise Violation(f"{log!r} kept the damaged batch at {self.offset}")
        if not told:
            raise Violation(f"the damage at {self.offset} of {log!r} is in no finding")
        simulation.coverage.count("bit flip", "found and told")


def damage(simulation: StorageSimulation, rot: Rot) -> None:
    """Flip a bit of some log or snapshot of a crashed process."""
    rot.forget()
    if not simulation.models:
        return
    generator = simulation.random
    model = generator.choice(list(simulation.models.values()))
    places = simulation.directories_of(model)
    if len(places) != 1:
        return  # none, or two in the middle of a move, of which one will go
    path = places[0]
    if generator.random() < 0.3:
        _damage_snapshot(simulation, model, f"{path}/{model.name.directory_name}")
    else:
        _damage_log(simulation, model, path, rot)


def _damage_snapshot(simulation: StorageSimulation, model: PartitionModel, directory: str) -> None:
    """The newest one: its CRC tells, and the log says the same."""
    entries = directory_at(simulation.disk, directory).entries
    names = sorted(name for name in entries if name.endswith(SNAPSHOT_SUFFIX))
    node = entries[names[-1]] if names else None
    if isinstance(node, FileNode) and node.content:
        generator = simulation.random
        simulation.disk.flip_bit(node, generator.randrange(len(node.content)), generator.randrange(8))
        model.uncertain.update(model.scan.producers)
        simulation.coverage.count("bit flip", "in a producer snapshot")
        simulation.say(f"a bit flips in {names[-1]}")


def _damage_log(simulation: StorageSimulation, model: PartitionModel, path: str, rot: Rot) -> None:
    disk, generator = simulation.disk, simulation.random
    checkpoint = file_at(disk, f"{path}/{RECOVERY_POINT_CHECKPOINT}")
    try:
        recovery_points = decode_offsets(bytes(checkpoint.content)) if checkpoint is not None else {}
    except CorruptCheckpointError:
        return
    recovery_point = recovery_points.get(model.name, 0)
    entries = directory_at(disk, f"{path}/{model.name.directory_name}").entries
    if any(name.endswith(SWAP_SUFFIX) for name in entries):
        return  # a finished cleaning is about to replace segments
    places: list[tuple[FileNode, int, int, int]] = []
    end = 0
    for name, node in sorted(entries.items()):
        if name.endswith(LOG_SUFFIX) and isinstance(node, FileNode):
            content = bytes(node.content)
            end = offset_of_file_name(name) or 0
            try:
                for position, header in iterate_batches(content):
                    if header.base_offset >= recovery_point and crc_matches(content, position, header):
                        places.append((node, position, header.size_bytes, end))
                    end = header.next_offset
            except InvalidBatchError:
                break
    if not places:
        return
    node, position, size, offset = generator.choice(places)
    at = position + generator.randrange(_CRC_COVERS_FROM, size)
    disk.flip_bit(node, at, generator.randrange(8))
    rot.model, rot.offset = model, offset
    model.is_rotten = True
    model.uncertain.update(model.scan.producers)  # the cut may take the last that is known of one
    simulation.coverage.count("bit flip", "in a log, behind the recovery point")
    simulation.say(f"a bit flips in {model.name} at offset {offset}")
