"""A crash at every single step of a move leaves exactly one log, with everything that was promised.

The move runs on a simulated disk; it is cut off at step 1, 2, 3 ..., by a kill or by a loss of power, started again
(cut off once more, perhaps), and brought to its end.
"""

from __future__ import annotations

import random
import uuid

import pytest

from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.log_move import LogMove
from storage.topic_partition import parse_directory_name
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import Crashed, SimulatedFilesystem
from tests.storage.support import PARTITION, START_MS, TOPIC_ID, batch, read_all

SIZE = len(batch())
CONFIG = LogConfig(segment_bytes=4 * SIZE, index_interval_bytes=1, retention_ms=-1, file_delete_delay_ms=0)
ONE, TWO = "/data/one", "/data/two"


class Life:
    """One disk and the broker's storage on it. Of what was `written`, `acknowledged` records must be there."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.disk = Disk(self.random, lambda: START_MS, Coverage())
        self.written: dict[int, bytes] = {}
        self.sequence = 0
        self.appended = self.acknowledged = 0
        self.manager: LogManager
        self.filesystem: SimulatedFilesystem

    def start(self, *, crash_in: int = 0) -> None:
        self.filesystem = SimulatedFilesystem(self.disk)
        self.filesystem.crash_in = crash_in
        self.manager = LogManager(
            [ONE, TWO],
            filesystem=self.filesystem,
            clock_ms=lambda: START_MS,
            random_uuid=lambda: uuid.UUID(int=self.random.getrandbits(128), version=4),
            random_below=self.random.randrange,
        )
        self.manager.open(node_id=1)
        self.manager.load(lambda topic: CONFIG)

    def prepare(self) -> None:
        """A log of three segments in the first directory, its first three records deleted."""
        filesystem = SimulatedFilesystem(self.disk)
        for path, parent in (("/data", "/"), (ONE, "/data"), (TWO, "/data")):
            filesystem.make_directory(path)
            filesystem.sync_directory(parent)
        self.start()
        log = self.manager.create(PARTITION, TOPIC_ID, CONFIG, directory=ONE)
        for _ in range(10):
            self.append(log)
        log.maybe_increment_log_start_offset(3)
        self.acknowledge(log)
        self.manager.checkpoint()

    def append(self, log: Log) -> None:
        value = b"%d" % self.sequence
        records = batch(value, producer_id=7, producer_epoch=0, sequence=self.sequence)
        self.written[log.log_end_offset] = value
        log.append_as_leader(records, 0)
        self.sequence += 1
        self.appended = log.log_end_offset
        log.update_high_watermark(log.log_end_offset)

    def acknowledge(self, log: Log) -> None:
        log.flush()
        self.acknowledged = log.recovery_point

    def move(self) -> None:
        """As the broker does it, with clients at work in between."""
        manager = self.manager
        log = manager.logs[PARTITION]
        move = manager.moves.get(PARTITION)
        if move is None:
            move = manager.begin_move(PARTITION, TWO if log.log_directory == ONE else ONE)
        assert move is not None
        self.catch_up(move)
        self.append(log)
        self.acknowledge(log)
        self.catch_up(move)
        move.flush()
        manager.checkpoint()
        move.prepare_hand_over()
        move.hand_over()
        self.append(log)
        self.acknowledge(log)
        self.append(log)
        while not move.copy_tail(SIZE):
            pass
        old = manager.finish_move(move)
        new = manager.logs[PARTITION]
        self.append(new)
        self.acknowledge(new)
        settle = manager.retire(old, new)
        self.append(new)
        settle()
        self.append(new)
        self.acknowledge(new)

    def catch_up(self, move: LogMove) -> None:
        while not move.is_caught_up:
            step = move.begin_step(3 * SIZE)
            try:
                with move.working():
                    step.run()
            finally:
                step.finish()

    def crash(self, *, power: bool) -> None:
        self.filesystem.kill()
        if power:
            self.disk.lose_power()
        else:
            self.acknowledged = self.appended

    def check(self) -> Log:
        """Exactly one log, and it is right."""
        log = self.manager.logs[PARTITION]
        assert (log.log_start_offset, log.topic_id) == (3, TOPIC_ID)
        found = {record.offset: record.value for record in read_all(log) if record.value is not None}
        assert found.items() <= self.written.items()
        assert found.keys() >= {offset for offset in self.written if 3 <= offset < self.acknowledged}
        self.written, self.appended = found, log.log_end_offset
        self.sequence = 1 + int(found[max(found)])
        again = batch(b"again", producer_id=7, producer_epoch=0, sequence=self.sequence - 1)
        assert log.append_as_leader(again, 0).is_duplicate
        log.update_high_watermark(log.log_end_offset)
        return log

    def main_directories(self) -> list[str]:
        found = []
        for directory in (ONE, TWO):
            for entry in self.filesystem.scan(directory):
                parsed = parse_directory_name(entry.name) if entry.is_directory else None
                if parsed is not None and parsed.mark != "-delete":
                    found.append(f"{directory} {parsed.topic_partition}{parsed.mark}")
        return found


def steps_of_a_move() -> int:
    life = Life(0)
    life.prepare()
    before = life.filesystem.steps
    life.move()
    life.check()
    return life.filesystem.steps - before


def crash_at(step: int, *, power: bool, seed: int) -> bool:
    """Whether the process died there."""
    life = Life(seed)
    life.prepare()
    life.filesystem.crash_in = step
    try:
        life.move()
    except Crashed:
        pass
    else:
        return False
    life.crash(power=power)
    # The next start may be cut off as well.
    for crash_in in (life.random.randrange(1, 40), 0):
        try:
            life.start(crash_in=crash_in)
        except Crashed:
            life.crash(power=power)
            continue
        life.filesystem.crash_in = 0
        break
    life.check()
    life.move()
    log = life.check()
    assert life.main_directories() == [f"{log.log_directory} {PARTITION}"]
    life.manager.close()
    life.start()
    life.check()
    return True


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("part", range(4))
def test_a_crash_at_each_step_of_a_move(part: int, power: bool) -> None:
    count = steps_of_a_move()
    assert count > 100
    # (A process that would die in the middle of a read lives on: it is the next step that counts.)
    crashes = [crash_at(step, power=power, seed=step) for step in range(part + 1, count + 1, 4)]
    assert sum(crashes) > len(crashes) // 2


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True])
def test_crashes_at_each_step_with_many_losses(power: bool) -> None:
    for step in range(1, steps_of_a_move() + 1):
        for seed in range(20):
            crash_at(step, power=power, seed=1000 * seed + step)
