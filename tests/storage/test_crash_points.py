"""A process killed at every single step: the log must be what it was before the step or after it.

Every change to the disk counts; the scenario is run once for each count, is cut off there (written bytes
survive, as they do in a kill), and the directory is opened again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from storage.filesystem import Buffer, OsFile, OsFilesystem
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.producer_append import AppendOrigin
from storage.topic_partition import TopicPartition
from tests.storage.support import (
    START_MS,
    TOPIC_ID,
    LogHarness,
    ManualClock,
    batch,
    make_manager,
    marker,
    read_all,
    replicated,
)


class Killed(BaseException):
    """Not an Exception: nothing may catch it and tidy up."""


class KilledFilesystem(OsFilesystem):
    """Dies at change number `deadline`; that change is made by half, if it can be."""

    def __init__(self, deadline: int | None = None) -> None:
        self.deadline = deadline
        self.changes = 0

    def step(self) -> bool:
        """Count a change; true if the process dies during it."""
        self.changes += 1
        if self.deadline is not None and self.changes > self.deadline:
            raise Killed
        return self.changes == self.deadline

    def dying(self, dies: bool) -> None:
        """To be called once a change is made that cannot be made by half."""
        if dies:
            raise Killed

    def open(self, path: str, *, create: bool = False) -> OsFile:
        dies = create and not self.exists(path) and self.step()
        file = super().open(path, create=create)
        if dies:
            file.close()
            raise Killed
        descriptor = file.fileno()
        return _KilledFile(self, path, descriptor)

    def write_file(self, path: str, data: Buffer, *, sync: bool) -> None:
        if self.step():
            super().write_file(path, bytes(data)[: len(data) // 2], sync=False)
            raise Killed
        super().write_file(path, data, sync=False)

    def rename(self, source: str, target: str) -> None:
        dies = self.step()
        super().rename(source, target)
        self.dying(dies)

    def remove(self, path: str) -> None:
        dies = self.exists(path) and self.step()
        super().remove(path)
        self.dying(dies)

    def make_directories(self, path: str) -> None:
        dies = not self.exists(path) and self.step()
        super().make_directories(path)
        self.dying(dies)

    def sync_directory(self, path: str) -> None:
        pass  # a kill loses nothing that was written


class _KilledFile(OsFile):
    __slots__ = ("_filesystem",)

    def __init__(self, filesystem: KilledFilesystem, path: str, descriptor: int) -> None:
        super().__init__(path, descriptor)
        self._filesystem = filesystem

    def pwrite(self, buffers: Sequence[Buffer], position: int) -> int:
        if self._filesystem.step():
            data = b"".join(bytes(buffer) for buffer in buffers)
            super().pwrite((data[: len(data) // 2],), position)
            raise Killed
        return super().pwrite(buffers, position)

    def truncate(self, size: int) -> None:
        dies = size < self.size() and self._filesystem.step()
        super().truncate(size)
        self._filesystem.dying(dies)

    def sync(self) -> None:
        pass


SIZE = len(batch())
CONFIG = LogConfig(segment_bytes=3 * SIZE, index_interval_bytes=1, retention_ms=-1, file_delete_delay_ms=0)
Values = list[tuple[int, bytes | None]]


def data(sequence: int, *, producer_id: int = 7) -> bytearray:
    return batch(
        b"%d" % sequence,
        timestamp=START_MS + sequence,
        producer_id=producer_id,
        producer_epoch=0,
        sequence=sequence,
        transactional=producer_id == 9,
    )


class Scenario:
    """A life in steps. `states` are what a reader may find: before and after the step at hand."""

    def __init__(self, path: Path, filesystem: KilledFilesystem) -> None:
        self.states: list[Values] = [[]]
        self.states_before_start = True
        self.harness: LogHarness | None = None
        self._path = path
        self._filesystem = filesystem
        self._next = 0

    def run(self) -> None:
        harness = self.harness = LogHarness(self._path, CONFIG, filesystem=self._filesystem)
        for _ in range(7):
            self.append()
        self.step(harness.log.flush, self.now())
        harness.checkpoint()
        for _ in range(3):
            self.append()
        self.anchor()
        self.transaction()
        harness.log.update_high_watermark(harness.log.log_end_offset)
        harness.log.update_config(replace(CONFIG, retention_bytes=3 * SIZE))
        self.step(lambda: harness.log.delete_old_segments(), None)
        harness.clock.now_ms += 1
        self.step(lambda: harness.log._context.removals.run_due(), self.now())
        end = harness.log.log_end_offset
        for _ in range(8):
            self.append()
            self.anchor()
        end = harness.log.log_end_offset
        self.truncate(end - 8)
        for offset in range(end - 8, end - 3):
            after = [*self.now(), (offset, b"follower")]
            records = replicated(offset, b"follower", leader_epoch=5)
            self.step(lambda records=records: harness.log.append_as_follower(records), after)
        self.step(lambda: harness.log.truncate_fully_and_start_at(100), [])
        after = [(100, b"anew")]
        self.step(lambda: harness.log.append_as_follower(replicated(100, b"anew", leader_epoch=6)), after)
        self.states = [after]
        harness.log.close()

    def now(self) -> Values:
        assert self.harness is not None
        return [(record.offset, record.value) for record in read_all(self.harness.log)]

    def step(self, action: Callable[[], object], after: Values | None) -> None:
        before = self.now()
        self.states = [before] if after is None else [before, after]
        action()
        if after is None:
            self.states = [self.now()]
        assert self.harness is not None
        assert self.now() == self.states[-1]

    def append(self) -> None:
        assert self.harness is not None
        log, sequence = self.harness.log, self._next
        self._next += 1
        after = [*self.now(), (log.log_end_offset, b"%d" % sequence)]
        self.step(lambda: log.append_as_leader(data(sequence), sequence // 4), after)

    def anchor(self) -> None:
        """The begin, the sync and the finish of it change nothing that a reader sees."""
        assert self.harness is not None
        log = self.harness.log

        def lay() -> None:
            pending = log.begin_anchor()
            if pending is not None:
                pending.run()

        self.step(lay, self.now())
        self.harness.checkpoint()

    def transaction(self) -> None:
        assert self.harness is not None
        log = self.harness.log
        after = [*self.now(), (log.log_end_offset, b"0")]
        self.step(lambda: log.append_as_leader(data(0, producer_id=9), 3), after)
        end = log.log_end_offset
        abort = marker(9, commit=False)
        self.step(
            lambda: log.append_as_leader(abort, 3, origin=AppendOrigin.COORDINATOR),
            [*self.now(), (end, bytes(6))],
        )
        assert log.aborted_transactions(0, end + 1)

    def truncate(self, offset: int) -> None:
        assert self.harness is not None
        log = self.harness.log
        kept = [entry for entry in self.now() if entry[0] < offset]
        # Segments go one by one, from the end: every prefix down to the target may be found.
        self.step(lambda: log.truncate_to(offset), kept)
        self.harness.checkpoint()


def prefixes(states: list[Values]) -> list[Values]:
    """What a kill may leave: a state, or part of the way between two of which one contains the other."""
    found: list[Values] = []
    longest, shortest = max(states, key=len), min(states, key=len)
    for start in range(len(longest) + 1):
        found += [longest[start:end] for end in range(start, len(longest) + 1)]
    if longest[: len(shortest)] != shortest and longest[len(longest) - len(shortest) :] != shortest:
        found += states
    return found


def steps_of_the_scenario(path: Path) -> int:
    filesystem = KilledFilesystem()
    Scenario(path, filesystem).run()
    return filesystem.changes


@pytest.mark.slow
def test_a_kill_at_every_step(tmp_path: Path) -> None:
    total = steps_of_the_scenario(tmp_path / "whole")
    assert total > 100
    for deadline in range(1, total + 1):
        path = tmp_path / f"{deadline}"
        scenario = Scenario(path, KilledFilesystem(deadline))
        with pytest.raises(Killed):
            scenario.run()
        if scenario.harness is None:
            LogHarness(path, CONFIG)  # the very first steps: it opens
            continue
        harness = scenario.harness
        harness.filesystem = OsFilesystem()
        harness.reopen_after_kill()
        found = scenario.now()
        assert found in prefixes(scenario.states), (deadline, found, scenario.states)
        if len(scenario.states) == 2 and scenario.states[1][:-1] == scenario.states[0]:
            assert found in scenario.states, (deadline, found)  # an append happened or did not
        assert not any(finding.is_data_loss for finding in harness.log.findings), harness.log.findings
        check_that_it_lives(harness, found)


def check_that_it_lives(harness: LogHarness, found: Values) -> None:
    """State that follows from the records is what the records say, and the log goes on."""
    log = harness.log
    sequences = [int(value) for _, value in found if value is not None and value.isdigit()]
    if log.log_start_offset == 0 and sequences and max(sequences) > 0:
        assert log.active_producers[7].last_sequence == max(sequences)
    offset = log.append_as_leader(batch(b"on"), 9).first_offset
    harness.reopen_cleanly()
    assert read_all(harness.log)[-1].offset == offset


def test_a_kill_at_every_step_of_a_managers_life(tmp_path: Path) -> None:
    """Creating and deleting logs, checkpoints, clean shutdown and start."""
    clock = ManualClock()

    def life(path: Path, filesystem: KilledFilesystem, progress: list[str]) -> None:
        manager = make_manager(path, clock=clock, filesystem=filesystem)
        try:
            live(path, filesystem, progress, manager)
        finally:
            manager.abandon()

    def live(path: Path, filesystem: KilledFilesystem, progress: list[str], manager: LogManager) -> None:
        manager.open(node_id=1, cluster_id="cluster")
        manager.load(lambda topic: CONFIG)
        for partition in range(2):
            log = manager.create(TopicPartition("a", partition), TOPIC_ID, CONFIG)
            log.append_as_leader(batch(b"%d" % partition), 0)
        progress.append("created")
        manager.checkpoint()
        manager.delete([TopicPartition("a", 0)], delay_ms=0)
        progress.append("deleted")
        manager.run_removals()
        manager.close()
        progress.append("closed")
        manager.open(node_id=1)
        manager.load(lambda topic: CONFIG)
        manager.close()

    whole = KilledFilesystem()
    life(tmp_path / "whole", whole, [])
    for deadline in range(1, whole.changes + 1):
        path, progress = tmp_path / f"{deadline}", list[str]()
        with pytest.raises(Killed):
            life(path, KilledFilesystem(deadline), progress)
        manager = make_manager(path, clock=clock)
        manager.open(node_id=1, cluster_id="cluster")
        manager.load(lambda topic: CONFIG)
        assert not any(finding.is_data_loss for finding in manager.findings), manager.findings
        log = manager.get(TopicPartition("a", 1))
        if "created" in progress:
            assert log is not None
            assert [record.value for record in read_all(log)] == [b"1"]
            assert log.topic_id == TOPIC_ID
        if "deleted" in progress:
            assert manager.get(TopicPartition("a", 0)) is None
            again = manager.create(TopicPartition("a", 0), TOPIC_ID, CONFIG)
            assert again.log_end_offset == 0
        clock.now_ms += 1
        manager.run_removals()
        assert not list(path.glob("*-delete"))
        manager.close()


def test_a_kill_during_recovery_itself(tmp_path: Path) -> None:
    """Recovery that is cut off and begins again ends where an undisturbed one does."""
    size = len(data(0))
    harness = LogHarness(tmp_path / "master", replace(CONFIG, segment_bytes=4 * size))
    for sequence in range(10):
        harness.log.append_as_leader(data(sequence), sequence // 3)
    harness.log.abandon()
    bad = harness.path / f"{4:020d}.log"
    content = bytearray(bad.read_bytes())
    content[2 * size + 70] ^= 1  # offset 6
    bad.write_bytes(content)
    generator = random.Random(5)
    for deadline in range(1, 60):
        path = tmp_path / f"{deadline}"
        directory = path / harness.path.name
        directory.mkdir(parents=True)
        for source in harness.path.iterdir():
            (directory / source.name).write_bytes(source.read_bytes())
        copy = LogHarness.__new__(LogHarness)
        copy.__dict__.update(harness.__dict__)
        copy.path = directory
        for _ in range(generator.randrange(1, 3)):
            copy.filesystem = KilledFilesystem(deadline)
            try:
                copy.log = copy._open(clean=False)
                copy.log.abandon()
            except Killed:
                pass
        copy.filesystem = OsFilesystem()
        copy.log = copy._open(clean=False)
        assert [record.offset for record in read_all(copy.log)] == list(range(6))
        assert copy.log.active_producers[7].last_sequence == 5
