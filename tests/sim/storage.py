"""The storage simulation: a random life of log directories, with crashes, and what must hold after each.

One seed is one test case: settings, operations, errors of the disk, the moments of death and what a power loss keeps
come from one `random.Random(seed)`. A life is a row of processes. Each opens the directories, is checked against the
model (`storage_model`, `storage_checks`), works for a while (`storage_operations`) and ends: by a clean shutdown,
killed, or with the power; often within an operation of the filesystem, sometimes while it recovers from the last one.
"""

from __future__ import annotations

import contextlib
import logging
import random
import traceback
import uuid
import zlib
from dataclasses import dataclass
from itertools import pairwise

from storage.cleaner.manager import LogCleanerManager
from storage.errors import StorageError
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_directory import CLEAN_SHUTDOWN_FILE
from storage.log_manager import LogManager
from storage.recovery_report import FindingKind, RecoveryFinding
from tests.sim import storage_checks, storage_draws, storage_rot
from tests.sim.coverage import Coverage
from tests.sim.disk import DirectoryNode, Disk
from tests.sim.filesystem import Crashed, SimulatedFilesystem
from tests.sim.storage_compaction import Compaction
from tests.sim.storage_leaks import check_for_leaks
from tests.sim.storage_model import Batch, PartitionModel, ProducerScan, Timeline, Violation, match
from tests.sim.storage_operations import Clock, Operations
from tests.sim.storage_paths import directory_at, file_at

STEPS = 90
_FAULT_CHANCE = 0.05
_END_CHANCE = 0.04
_RESTARTS_MAX = 12
_GLANCE_BYTES = 800


@dataclass(slots=True)
class Outcome:
    """What became of one seed. `trace` is the same whenever the seed is run."""

    seed: int
    trace: int
    coverage: Coverage
    failure: str = ""


class StorageSimulation(Operations):
    """One life. `run` raises what was violated; `step` and `description` tell where."""

    def __init__(self, seed: int, *, steps: int = STEPS, verbose: bool = False) -> None:
        generator = random.Random(seed)
        clock = Clock()
        coverage = Coverage()
        super().__init__(generator, clock, Disk(generator, clock, coverage), coverage)
        self.seed = seed
        self.steps = steps
        self.step = 0
        self.trace = 0
        self.power_was_lost = False
        """Since the logs were last open: what was not synced may be gone."""
        self.closed_cleanly: set[str] = set()
        """Directories that the last process closed cleanly."""
        self.rot = storage_rot.Rot()
        if verbose:
            self.say = lambda text: print(f"{self.step:5} {text}")

    def run(self) -> None:
        self.directories = [f"/d{number}" for number in range(self.random.choice((1, 1, 2, 3)))]
        for path in self.directories:
            if self.random.random() < 0.5:
                SimulatedFilesystem(self.disk).make_directories(path)
                self.disk.sync_names(self.disk.root)
        self.start()
        while self.step < self.steps:
            self.step += 1
            self.live()
        self.end_cleanly()
        self.power_was_lost |= self._lose_power(0.3)
        self.start()
        self.trace = zlib.crc32(repr(self.disk_content(self.disk.root)).encode(), self.trace)

    def disk_content(self, node: DirectoryNode) -> list[object]:
        return [
            (name, self.disk_content(child) if isinstance(child, DirectoryNode) else bytes(child.content))
            for name, child in sorted(node.entries.items())
        ]

    # Living

    def live(self) -> None:
        if self.random.random() < _FAULT_CHANCE:
            self.filesystem.faults.append(
                storage_draws.draw_fault(self.random, self.random.choice(self.directories))
            )
        try:
            self.run_foreground()
        except Crashed:
            self.coverage.count("end of a process", f"killed in {self.description.split()[0]}")
            self.after_death()
            return
        if self.filesystem.faults and self.random.random() < 0.1:
            self.filesystem.faults.clear()
        is_stuck = bool(self.models) and not self.usable() and self.random.random() < 0.5
        if not self.manager.has_live_directory or is_stuck or self.random.random() < _END_CHANCE:
            self.end()

    def end(self) -> None:
        if self.manager.has_live_directory and self.random.random() < 0.4:
            self.end_cleanly()
            self.power_was_lost |= self._lose_power(0.3)
            self.start()
        else:
            self.coverage.count("end of a process", "killed between operations")
            self.filesystem.kill()
            self.after_death()

    def end_cleanly(self) -> None:
        self.description = "a clean shutdown"
        self.say(self.description)
        if self.pending is not None:
            self.pending[0].abandon()
            self.pending = None
        if self.random.random() < 0.3:
            self.filesystem.faults.clear()
        manager = self.manager
        places = {name: log.log_directory for name, log in manager.logs.items()}
        try:
            manager.close()
        except Crashed:
            self.coverage.count("end of a process", "killed in a clean shutdown")
            self._process_is_gone()
            return
        self._check_handles()
        for path in self.directories:
            if file_at(self.disk, f"{path}/{CLEAN_SHUTDOWN_FILE}") is None:
                self.coverage.count("end of a process", "shut down with a failing directory")
                continue
            self.coverage.count("end of a process", "shut down cleanly")
            self.closed_cleanly.add(path)
        for model in self.models.values():
            if not model.is_broken and places.get(model.name) in self.closed_cleanly:
                model.note_synced(model.end)
                model.start_promised = model.start
        self._process_is_gone()

    def _check_handles(self) -> None:
        cache = self.manager.context.cache
        storage_checks.require(not cache.pinned_count, f"{cache.pinned_count} files are still pinned")
        storage_checks.require(not cache.open_count, f"{cache.open_count} files are still in the cache")
        open_files = self.filesystem.open_files
        storage_checks.require(not open_files, f"{open_files} files are still open after the close")
        storage_checks.require(not self.disk.locks, "a lock is still held after the close")

    def _process_is_gone(self) -> None:
        filesystem = self.filesystem
        self.power_was_lost |= filesystem.failed_syncs > 0
        self.trace = filesystem.trace
        filesystem.kill()
        self.pending = None

    def after_death(self) -> None:
        self._process_is_gone()
        self.closed_cleanly.clear()
        self.power_was_lost |= self._lose_power(0.5)
        if self.random.random() < 0.15:
            storage_rot.damage(self, self.rot)
        self.start()

    def _lose_power(self, chance: float) -> bool:
        if self.random.random() >= chance:
            return False
        loss = self.disk.lose_power()
        self.say(f"power loss: {loss.value}")
        return True

    # Starting

    def start(self) -> None:
        """Processes start until one has recovered; some die or meet a bad disk on the way."""
        for attempt in range(_RESTARTS_MAX):
            filesystem = self.filesystem = SimulatedFilesystem(self.disk, self.trace)
            self.description = "opening"
            may_fail = attempt < _RESTARTS_MAX - 1
            if may_fail and self.random.random() < 0.2:
                filesystem.crash_in = self.random.choice((3, 10, 30, 100)) * self.random.randint(1, 4)
            if may_fail and self.random.random() < 0.04:
                directory = self.random.choice(self.directories)
                filesystem.faults.append(storage_draws.draw_fault(self.random, directory))
            if self._open():
                break
            self.rot.is_blurred = True
            self.closed_cleanly.clear()
            self.power_was_lost |= self._lose_power(0.3)
        else:
            raise Violation("the logs cannot be opened")
        self._check_after_start()
        self.coverage.count("processes", "started")
        if self.random.random() < 0.6:
            filesystem.crash_in = self.random.choice((10, 50, 200)) * self.random.randint(1, 5)

    def _open(self) -> bool:
        filesystem = self.filesystem
        manager = self.manager = LogManager(
            self.directories,
            filesystem=filesystem,
            clock_ms=self.clock,
            random_uuid=lambda: uuid.UUID(int=self.random.getrandbits(128), version=4),
            random_below=self.random.randrange,
            open_files_max=self.random.choice((8, 30, 128)),
        )
        self.cleaner = LogCleanerManager(manager)
        try:
            manager.open(node_id=1, cluster_id="simulation")
            filesystem.bytes_read.clear()
            manager.load(self._config_of)
        except Crashed:
            self.say("killed while recovering")
            self.coverage.count("end of a process", "killed while recovering")
            self._process_is_gone()
            return False
        except StorageError as error:
            if not filesystem.faults:
                raise Violation(f"opening failed without a cause: {error!r}") from error
            self.say(f"opening failed: {error}")
            self.coverage.count("end of a process", "no directory could be opened")
            manager.abandon()
            self._process_is_gone()
            return False
        filesystem.crash_in = 0
        if any(directory.error for directory in manager.directories):
            self.coverage.count("end of a process", "a directory could not be opened")
            manager.abandon()
            self._process_is_gone()
            return False
        filesystem.faults.clear()
        return True

    def _config_of(self, topic: str) -> LogConfig:
        return next((model.config for name, model in self.models.items() if name.topic == topic), LogConfig())

    # Checking

    def _check_after_start(self) -> None:
        self.description = "checking what was found"
        self.say(f"open: {list(self.manager.logs.values())}")
        self._check_clean_reads()
        self.rot.check(self)
        self._check_findings()
        self._settle_strays()
        for name, model in list(self.models.items()):
            log = self.manager.get(name)
            if log is None:
                self._create_again(model)
            else:
                self._reconcile(model, log)
        for model in self.models.values():
            log = self.log_of(model)
            log.update_config(model.config)
            log.update_high_watermark(log.log_end_offset)
            storage_checks.check_log(log, model, self.disk, self.random, now_ms=self.clock.now_ms)
            self.check_duplicates(model, log, limit=4)
        check_for_leaks(self)
        self.closed_cleanly.clear()
        self.power_was_lost = False
        self.rot.forget()

    def _check_clean_reads(self) -> None:
        """After a clean shutdown only the last segment's end is read, and a glance taken at the one before."""
        if len(self.closed_cleanly) < len(self.directories):
            return
        for name, log in self.manager.logs.items():
            if name not in self.models or self.models[name].is_broken:
                continue
            if log.log_start_offset == log.log_end_offset:
                continue  # all is deleted, and no snapshot tells that there are no producers
            for segment in log.segments[:-1]:
                read = self.filesystem.bytes_read.get(segment.handle.path, 0)
                if read > _GLANCE_BYTES:
                    raise Violation(f"{read} bytes of {segment.handle.path} read after a clean shutdown")

    def _check_findings(self) -> None:
        for finding in self.manager.findings:
            self.coverage.count("finding", finding.kind.value)
            self.say(f"finding: {finding}")
            model = self.models.get(finding.topic_partition)
            if model is None or self.power_was_lost or self.rot.explains(finding):
                continue
            if model.is_broken or model.is_truncating:
                continue
            if finding.kind is FindingKind.DAMAGED_BATCH and self._is_deleted(finding):
                continue  # garbage of a power loss before the log start, where nobody reads or repairs
            if finding.kind is not FindingKind.TORN_TAIL:
                raise Violation(f"nothing but a kill happened, and yet: {finding}")

    def _is_deleted(self, finding: RecoveryFinding) -> bool:
        """Whether a segment lies before the log start as a whole."""
        log = self.manager.get(finding.topic_partition)
        if log is None:
            return False
        return any(
            segment.handle.path == finding.path and after.base_offset <= log.log_start_offset
            for segment, after in pairwise(log.segments)
        )

    def _settle_strays(self) -> None:
        """Logs of topics that the metadata do not know (any more) are set aside, as the broker does it."""
        for name, log in self.manager.logs.items():
            model = self.models.get(name)
            if model is not None and log.topic_id in (None, model.topic_id):
                continue
            gone = self.deleted.get(log.topic_id) if log.topic_id is not None else None
            if gone is not None and not gone.is_broken and not self.power_was_lost:
                raise Violation(f"the deleted {name} is back")
            self.coverage.count("after a start", "a deleted log was back")
            if self.random.random() < 0.5:
                self.manager.set_aside([name])
            else:
                self.manager.delete([name], delay_ms=0)

    def _create_again(self, model: PartitionModel) -> None:
        """A log that is not there: fine if nothing of it was promised to last."""
        if not model.is_broken and not self.power_was_lost:
            raise Violation(f"the log of {model.name} is gone")
        if model.required_end() > 0:
            raise Violation(f"the log of {model.name} is gone, synced up to {model.required_end()}")
        self.coverage.count("after a start", "a log had to be made again")
        fresh = PartitionModel(model.name, model.topic_id, model.config, model.number)
        fresh.epoch = model.epoch + 1
        self.models[model.name] = fresh
        self.manager.create(model.name, model.topic_id, model.config)

    def _reconcile(self, model: PartitionModel, log: Log) -> None:
        """Find out which of its possible contents a log has; the model then has the same."""
        was_clean = log.log_directory in self.closed_cleanly
        if log.topic_id is None:
            self.coverage.count("after a start", "a topic id was lost")
            storage_checks.require(
                self.power_was_lost or model.is_broken or self.rot.is_at(model), "the topic id is lost"
            )
            log.assign_topic_id(model.topic_id)
        self._check_start(model, log)
        found = storage_checks.batches_on_disk(self.disk, log)
        timelines = model.timelines(power_was_lost=self.power_was_lost)
        if was_clean and not model.is_broken:
            timelines = [Timeline(model.batches, model.end, model.end, model.start_highest)]
        cut = self.rot.cut_of(model)
        bases = [segment.base_offset for segment in log.segments] if self.power_was_lost else []
        deletable_to = model.start_reached if self.power_was_lost else 0
        problems = []
        for timeline in timelines:
            compaction = None
            if model.cleanable_to:
                compaction = Compaction(
                    timeline.batches, ProducerScan(timeline.batches).aborted, model.cleanable_to
                )
            if cut is not None:
                timeline.end = min(timeline.end, cut)
            result = match(
                timeline,
                found,
                log.log_start_offset,
                log.log_end_offset,
                deletable_to=deletable_to,
                bases=bases,
                compaction=compaction,
            )
            if not result.problem:
                break
            problems.append(result.problem)
        else:
            raise Violation(f"{log!r}, power lost: {self.power_was_lost}: {'; or '.join(problems)}")
        if result.holes:
            self.coverage.count("after a start", "a hole in what was not synced")
        model.start_highest = max(timeline.start_highest, model.start, model.start_reached)
        model.uncertain |= result.uncertain
        if model.is_truncating or (not found and log.log_start_offset == log.log_end_offset):
            # Everything may have been taken off, and the log start moved there, before the process died; or the log
            # begins anew at its start because what was left does not reach it.
            model.uncertain |= {batch.producer_id for batch in result.batches if batch.is_lost}
        self._adopt(model, log, result.batches)
        if self.power_was_lost or model.was_moved:
            self.note_forgotten(model, log)

    def _check_start(self, model: PartitionModel, log: Log) -> None:
        lowest = model.start_promised
        if self.power_was_lost and not any(batch.is_synced for batch in model.batches):
            lowest = 0  # the whole log may be gone
        if model.is_truncating:
            lowest = min(lowest, model.truncation_floor)
        highest = max(model.start, model.start_reached, log.log_end_offset if model.is_truncating else 0)
        if self.power_was_lost and model.required_end() == 0:
            highest = max(highest, log.log_end_offset)  # the first segments may be lost, and not the last
        if not lowest <= log.log_start_offset <= highest:
            raise Violation(f"{log!r}: the start must be in {lowest}..{highest}")

    def _adopt(self, model: PartitionModel, log: Log, batches: list[Batch]) -> None:
        if not self.power_was_lost and (model.is_truncating or len(batches) < len(model.batches)):
            model.begin_truncation(log.log_end_offset)
        if self.power_was_lost:
            model.past.clear()
            model.truncations += 1
        model.set_content(batches, log.log_end_offset)
        model.start = model.start_reached = log.log_start_offset
        model.start_promised = min(model.start_promised, model.start)
        model.epoch = max(model.epoch, log.latest_epoch or 0) + 1
        model.in_flight = []
        model.is_truncating = model.is_broken = False

    def directories_of(self, model: PartitionModel) -> list[str]:
        """Where there is a directory of the partition's name."""
        name = model.name.directory_name
        found = []
        for path in self.directories:
            with contextlib.suppress(KeyError):
                if name in directory_at(self.disk, path).entries:
                    found.append(path)
        return found


def run_seed(seed: int, *, steps: int = STEPS, verbose: bool = False) -> Outcome:
    """Run one seed; a violated property is in `failure`, with the step and where it was noticed."""
    simulation = StorageSimulation(seed, steps=steps, verbose=verbose)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    failure = ""
    try:
        simulation.run()
    except (Exception, Crashed) as error:
        text = traceback.format_exc(limit=-8) if verbose or not isinstance(error, Violation) else str(error)
        failure = f"seed {seed}, step {simulation.step}, {simulation.description}: {text}"
    finally:
        logging.disable(level)
    simulation.coverage.count("simulated", "seeds")
    return Outcome(seed, simulation.trace, simulation.coverage, failure)
