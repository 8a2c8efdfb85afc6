"""Compaction against a list of everything that was ever appended: hypothesis looks for a life after which they differ.

Appends with keys, tombstones, producers and transactions; cleanings with key maps of any size, a part of the steps or
all of them; kills, clean restarts; time. What must hold is what a reader and a coordinator rely on.
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.producer_append import AppendOrigin
from tests.storage.cleaner.cleaning_support import (
    Cleaner,
    aborted_by_index,
    aborted_by_scan,
    check_files,
    config,
    latest_values,
    offsets_of,
    read_committed,
    records_of,
)
from tests.storage.support import LogHarness, marker
from wire.records import Compression, Record, build_batch

PRODUCERS = (1, 2, 3)
KEYS = [b"%d" % number for number in range(6)]


class CleaningMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="cleaning-model-"))
        self.sequences: dict[int, int] = {}
        self.open: dict[int, list[Record]] = {}
        self.committed: list[Record] = []
        self.appended: dict[int, Record] = {}
        self.count = 0

    @initialize(
        segment_bytes=st.sampled_from([300, 700, 3000]),
        interval=st.sampled_from([1, 200, 4096]),
        memory_slots=st.sampled_from([2, 3, 8, 1000]),
        buffer_bytes=st.sampled_from([100, 1 << 16]),
    )
    def begin(self, segment_bytes: int, interval: int, memory_slots: int, buffer_bytes: int) -> None:
        settings = config(segment_bytes=segment_bytes, index_interval_bytes=interval, delete_retention_ms=100)
        self.harness = LogHarness(self.path, settings)
        self.cleaner = Cleaner(memory_bytes=24 * memory_slots, buffer_bytes=buffer_bytes)

    def teardown(self) -> None:
        shutil.rmtree(self.path)

    # Operations

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5),
        deletes=st.integers(0, 31),
        producer_id=st.sampled_from((-1, -1, *PRODUCERS)),
        transactional=st.booleans(),
        codec=st.sampled_from([Compression.NONE, Compression.NONE, Compression.GZIP]),
    )
    def append(
        self, keys: list[bytes], deletes: int, producer_id: int, transactional: bool, codec: Compression
    ) -> None:
        log, base = self.harness.log, self.harness.log.log_end_offset
        now_ms = self.harness.clock.now_ms
        records = []
        for index, key in enumerate(keys):
            self.count += 1
            value = None if deletes >> index & 1 else b"%d" % self.count
            records.append(Record(base + index, now_ms + index, key, value))
        transactional = producer_id > 0 and (transactional or producer_id in self.open)
        sequence = self.sequences.get(producer_id, 0)
        batch = build_batch(
            [record._replace(offset=index) for index, record in enumerate(records)],
            base_offset=0,
            compression=codec,
            producer_id=producer_id,
            producer_epoch=0 if producer_id > 0 else -1,
            base_sequence=sequence if producer_id > 0 else -1,
            is_transactional=transactional,
        )
        log.append_as_leader(batch, self.count // 20, origin=AppendOrigin.COORDINATOR)
        self.appended |= {record.offset: record for record in records}
        if producer_id > 0:
            self.sequences[producer_id] = sequence + len(records)
        if transactional:
            self.open.setdefault(producer_id, []).extend(records)
        else:
            self.committed += records

    @precondition(lambda self: self.open)
    @rule(data=st.data(), commit=st.booleans())
    def end_transaction(self, data: st.DataObject, commit: bool) -> None:
        producer_id = data.draw(st.sampled_from(sorted(self.open)))
        end = marker(producer_id, commit=commit)
        self.harness.log.append_as_leader(end, self.count // 20, origin=AppendOrigin.COORDINATOR)
        records = self.open.pop(producer_id)
        if commit:
            self.committed += records

    @rule()
    def roll(self) -> None:
        self.harness.log.roll()

    @rule(passed_ms=st.sampled_from([1, 50, 100, 500]))
    def wait(self, passed_ms: int) -> None:
        self.harness.clock.now_ms += passed_ms

    @rule(roll=st.booleans())
    def clean(self, roll: bool) -> None:
        if roll:
            self.harness.log.roll()
        self.cleaner.clean(self.harness.log)

    @rule(steps=st.integers(0, 60))
    def clean_and_be_killed(self, steps: int) -> None:
        self.harness.log.roll()
        cleaning = self.cleaner.begin(self.harness.log)
        iterator = cleaning.steps()
        for _ in islice(iterator, steps):
            pass
        self.harness.reopen_after_kill()
        self.harness.log.update_high_watermark(self.harness.log.log_end_offset)

    @rule(steps=st.integers(0, 60))
    def clean_and_give_up(self, steps: int) -> None:
        cleaning = self.cleaner.begin(self.harness.log)
        iterator = cleaning.steps()
        for _ in islice(iterator, steps):
            pass
        iterator.close()
        assert not self.harness.log.is_being_cleaned

    @rule()
    def reopen(self) -> None:
        self.harness.reopen_cleanly()
        self.harness.log.update_high_watermark(self.harness.log.log_end_offset)

    @rule()
    def kill_without_snapshots(self) -> None:
        """Producer state is then what the log alone says."""
        for path in self.harness.path.glob("*.snapshot"):
            path.unlink()
        self.harness.reopen_after_kill()
        self.harness.log.update_high_watermark(self.harness.log.log_end_offset)

    # What must hold

    @invariant()
    def files_are_sound(self) -> None:
        check_files(self.harness.log)
        assert self.harness.log.findings == []

    @invariant()
    def nothing_is_invented(self) -> None:
        for record in records_of(self.harness.log):
            assert record == self.appended[record.offset]
        offsets = offsets_of(self.harness.log)
        assert offsets == sorted(set(offsets))

    @invariant()
    def committed_values_are_the_latest(self) -> None:
        log = self.harness.log
        log.update_high_watermark(log.log_end_offset)
        stable = log.last_stable_offset
        expected = [record for record in sorted(self.committed) if record.offset < stable]
        found = [record for record in read_committed(log) if record.offset < stable]
        assert latest_values(found) == latest_values(expected)
        assert {record.offset for record in found} <= {record.offset for record in expected}

    @invariant()
    def undecided_records_are_all_there(self) -> None:
        offsets = set(offsets_of(self.harness.log))
        for records in self.open.values():
            assert offsets.issuperset(record.offset for record in records)

    @invariant()
    def producers_go_on(self) -> None:
        log = self.harness.log
        for producer_id, sequence in self.sequences.items():
            assert log.active_producers[producer_id].last_sequence == sequence - 1
        for producer_id in PRODUCERS:
            assert log.has_ongoing_transaction(producer_id) == (producer_id in self.open)

    @invariant()
    def transaction_index_is_that_of_a_scan(self) -> None:
        """Every abort marker of which a batch is there is in the index."""
        assert aborted_by_scan(self.harness.log) <= aborted_by_index(self.harness.log)


TestCleaningModel = CleaningMachine.TestCase
TestCleaningModel.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
TestCleaningModel = pytest.mark.slow(TestCleaningModel)
