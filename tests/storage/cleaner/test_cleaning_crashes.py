"""A crash at every single step of two cleanings leaves a sound log with the same latest values.

On a simulated disk, by a kill and by a loss of power; the start after it is cut off too.
"""

from __future__ import annotations

import random
import uuid

import pytest

from storage.cleaner.manager import LogCleanerManager
from storage.log import Log
from storage.log_manager import LogManager
from storage.producer_append import AppendOrigin
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import Crashed, SimulatedFilesystem
from tests.storage.cleaner.cleaning_support import (
    aborted_by_index,
    aborted_by_scan,
    check_files,
    config,
    latest_values,
    read_committed,
    records_of,
)
from tests.storage.support import PARTITION, START_MS, TOPIC_ID, marker
from wire.records import Record, build_batch

CONFIG = config(segment_bytes=900, delete_retention_ms=0, index_interval_bytes=1)
DATA = "/data"


class Life:
    """One disk, and the broker's storage on it."""

    def __init__(self, seed: int, *, is_checkpointed: bool = True) -> None:
        """Without checkpoint, recovery begins at the log start, and finds what is missing between two segments."""
        self.is_checkpointed = is_checkpointed
        self.random = random.Random(seed)
        self.disk = Disk(self.random, lambda: START_MS, Coverage())
        self.manager: LogManager
        self.filesystem: SimulatedFilesystem
        self.expected: dict[bytes, tuple[int, bytes]] = {}
        self.end_offset = 0

    def start(self, *, crash_in: int = 0) -> Log:
        self.filesystem = SimulatedFilesystem(self.disk)
        self.filesystem.crash_in = crash_in
        self.manager = LogManager(
            [DATA],
            filesystem=self.filesystem,
            clock_ms=lambda: START_MS,
            random_uuid=lambda: uuid.UUID(int=self.random.getrandbits(128), version=4),
            random_below=self.random.randrange,
        )
        self.manager.open(node_id=1)
        self.manager.load(lambda topic: CONFIG, lambda name: True)
        log = self.manager.create(PARTITION, TOPIC_ID, CONFIG)
        log.update_high_watermark(log.log_end_offset)
        return log

    def prepare(self) -> None:
        filesystem = SimulatedFilesystem(self.disk)
        filesystem.make_directory(DATA)
        filesystem.sync_directory("/")
        log = self.start()
        random_draws = random.Random(5)
        for number in range(60):
            self.append(log, number, random_draws)
        log.roll()
        log.flush()
        log.update_high_watermark(log.log_end_offset)
        if self.is_checkpointed:
            self.manager.checkpoint()
        self.expected = latest_values(read_committed(log))
        self.end_offset = log.log_end_offset

    def append(self, log: Log, number: int, draws: random.Random) -> None:
        producer_id = 7 if number % 10 == 3 else -1
        key = b"%d" % draws.randrange(9)
        value = None if draws.random() < 0.2 else b"%d" % number
        sequence = number // 10 if producer_id > 0 else -1
        batch = build_batch(
            [Record(0, START_MS, key, value)],
            base_offset=0,
            producer_id=producer_id,
            producer_epoch=0 if producer_id > 0 else -1,
            base_sequence=sequence,
            is_transactional=producer_id > 0,
        )
        log.append_as_leader(batch, number // 20, origin=AppendOrigin.COORDINATOR)
        if producer_id > 0:
            end = marker(7, commit=number % 20 == 3)
            log.append_as_leader(end, number // 20, origin=AppendOrigin.COORDINATOR)

    def clean(self) -> None:
        """As the broker does it. The key map is so small that it takes several rounds."""
        cleaner = LogCleanerManager(self.manager)
        while (chosen := cleaner.choose()) is not None:
            cleaning = cleaner.begin(chosen, memory_bytes=24 * 7, load_factor=0.9, buffer_bytes=200)
            assert cleaning is not None
            for _ in cleaning.steps():
                pass
            cleaner.finish(chosen.log, cleaning)()
        self.manager.run_removals()

    def crash(self, *, power: bool) -> None:
        self.filesystem.kill()
        if power:
            self.disk.lose_power()

    def check(self) -> Log:
        log = self.manager.logs[PARTITION]
        assert not self.manager.findings, self.manager.findings
        assert log.log_end_offset == self.end_offset
        assert latest_values(read_committed(log)) == self.expected
        assert log.active_producers[7].last_sequence == 5
        assert aborted_by_scan(log) <= aborted_by_index(log)
        assert aborted_by_index(log)
        check_files(log)
        names = [entry.name for entry in self.filesystem.scan(log.directory)]
        assert not [name for name in names if name.endswith((".cleaned", ".swap", ".deleted"))]
        for segment in log.segments:
            assert segment.base_offset <= log.log_end_offset
        return log


def steps_of_a_cleaning() -> int:
    life = Life(0)
    life.prepare()
    before = life.filesystem.steps
    life.clean()
    steps = life.filesystem.steps - before
    log = life.check()
    # delete.retention.ms is 0, so tombstones go with the first cleaning after the one that met them.
    assert len(records_of(log)) < 20
    return steps


def crash_at(step: int, *, power: bool, seed: int) -> bool:
    """Whether the process died there."""
    life = Life(seed, is_checkpointed=seed % 2 == 0)
    life.prepare()
    life.filesystem.crash_in = step
    try:
        life.clean()
    except Crashed:
        pass
    else:
        return False
    life.crash(power=power)
    # The next start may be cut off as well.
    for crash_in in (life.random.randrange(1, 60), 0):
        try:
            life.start(crash_in=crash_in)
        except Crashed:
            life.crash(power=power)
            continue
        life.filesystem.crash_in = 0
        break
    life.check()
    life.clean()
    life.check()
    life.manager.close()
    life.start()
    life.check()
    return True


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("part", range(8))
def test_a_crash_at_each_step_of_a_cleaning(part: int, power: bool) -> None:
    count = steps_of_a_cleaning()
    assert count > 300
    crashes = [crash_at(step, power=power, seed=step) for step in range(part + 1, count + 1, 24)]
    assert sum(crashes) > len(crashes) // 2


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_crashes_at_every_step(seed: int, power: bool) -> None:
    for step in range(1, steps_of_a_cleaning() + 1):
        crash_at(step, power=power, seed=10_000 * seed + step)


class StillAlive(Exception):
    """The process did not die."""


def swap_left_by_a_crash() -> int:
    """A step at which a kill leaves a finished segment, transaction index included, beside the originals."""
    for step in range(steps_of_a_cleaning(), 0, -1):
        try:
            life = crashed(step)
        except StillAlive:
            continue
        names = [entry.name for entry in life.filesystem.scan(f"{DATA}/{PARTITION.directory_name}")]
        swaps = [name for name in names if name.endswith(".swap")]
        if len(swaps) == 4 and not any(name.endswith(".cleaned") for name in names):
            return step
    raise AssertionError("no crash in the middle of a swap")


def crashed(step: int) -> Life:
    life = Life(step)
    life.prepare()
    life.filesystem.crash_in = step
    try:
        life.clean()
    except Crashed:
        pass
    else:
        raise StillAlive  # that step was a read
    life.filesystem.kill()
    life.filesystem = SimulatedFilesystem(life.disk)
    return life


@pytest.mark.slow
@pytest.mark.parametrize(("power", "seed"), [(False, 0), *((True, seed) for seed in range(5))])
def test_a_crash_at_every_step_of_the_start_that_completes_a_swap(power: bool, seed: int) -> None:
    step = swap_left_by_a_crash()
    life = crashed(step)
    life.start()
    total, crashes = life.filesystem.steps, 0
    for crash_in in range(1, total + 1):
        life = crashed(step)
        life.random.seed(1000 * seed + crash_in)
        try:
            life.start(crash_in=crash_in)
        except Crashed:
            life.crash(power=power)
            crashes += 1
            life.start()
        life.filesystem.crash_in = 0
        life.check()
    assert crashes > 20
