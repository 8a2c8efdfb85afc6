"""A log against a list: hypothesis looks for a sequence of operations after which they differ."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.log_config import LogConfig
from storage.producer_append import AppendOrigin
from tests.storage.support import (
    START_MS,
    LogHarness,
    batch,
    marker,
    read_all,
    read_headers,
    replicated,
)
from wire.errors import ApiError, ErrorCode

PRODUCERS = (1, 2)


@dataclass
class ModelBatch:
    base_offset: int
    values: list[bytes]
    timestamp: int
    leader_epoch: int
    is_marker: bool = False

    @property
    def next_offset(self) -> int:
        return self.base_offset + len(self.values)


@dataclass
class Model:
    """What the log should hold. Producers and transactions are derived from the batches' log, kept in order."""

    batches: list[ModelBatch] = field(default_factory=list)
    start: int = 0
    end: int = 0
    open_transactions: dict[int, int] = field(default_factory=dict)
    aborted: list[tuple[int, int, int]] = field(default_factory=list)
    sequences: dict[int, int] = field(default_factory=dict)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="log-model-"))
        self.model = Model()
        self.epoch = 0
        self.count = 0

    @initialize(
        segment_bytes=st.sampled_from([200, 400, 1000, 5000]), interval=st.sampled_from([1, 100, 300, 4096])
    )
    def begin(self, segment_bytes: int, interval: int) -> None:
        config = LogConfig(
            segment_bytes=segment_bytes,
            index_interval_bytes=interval,
            retention_ms=-1,
            file_delete_delay_ms=0,
        )
        self.harness = LogHarness(self.path, config)

    def teardown(self) -> None:
        shutil.rmtree(self.path)

    def next_values(self, count: int) -> list[bytes]:
        self.count += 1
        return [b"%d.%d" % (self.count, index) for index in range(count)]

    def add(self, values: list[bytes], timestamp: int, base: int | None = None) -> int:
        base = self.model.end if base is None else base
        self.model.batches.append(ModelBatch(base, values, timestamp, self.epoch))
        self.model.end = base + len(values)
        return base

    # Operations

    @rule(count=st.integers(1, 4), timestamp=st.integers(0, 50))
    def append(self, count: int, timestamp: int) -> None:
        values = self.next_values(count)
        info = self.harness.log.append_as_leader(batch(*values, timestamp=START_MS + timestamp), self.epoch)
        assert info.first_offset == self.add(values, START_MS + timestamp)

    @rule(producer_id=st.sampled_from(PRODUCERS), count=st.integers(1, 3), transactional=st.booleans())
    def append_idempotently(self, producer_id: int, count: int, transactional: bool) -> None:
        values = self.next_values(count)
        sequence = self.model.sequences.get(producer_id, 0)
        if producer_id in self.model.open_transactions:
            transactional = True
        arguments = {
            "producer_id": producer_id,
            "producer_epoch": 0,
            "sequence": sequence,
            "transactional": transactional,
            "timestamp": START_MS,
        }
        info = self.harness.log.append_as_leader(batch(*values, **arguments), self.epoch)  # type: ignore[arg-type]
        again = self.harness.log.append_as_leader(batch(*values, **arguments), self.epoch)  # type: ignore[arg-type]
        assert again.is_duplicate
        assert again[:2] == info[:2]
        gap = batch(producer_id=producer_id, producer_epoch=0, sequence=sequence + count + 1)
        with pytest.raises(ApiError) as raised:
            self.harness.log.append_as_leader(gap, self.epoch)
        assert raised.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        base = self.add(values, START_MS)
        assert info.first_offset == base
        self.model.sequences[producer_id] = sequence + count
        if transactional:
            self.model.open_transactions.setdefault(producer_id, base)

    @precondition(lambda self: self.model.open_transactions)
    @rule(commit=st.booleans(), data=st.data())
    def end_transaction(self, commit: bool, data: st.DataObject) -> None:
        producer_id = data.draw(st.sampled_from(sorted(self.model.open_transactions)))
        records = marker(producer_id, commit=commit)
        self.harness.log.append_as_leader(records, self.epoch, origin=AppendOrigin.COORDINATOR)
        base = self.add([b"\0" * 6], START_MS)
        self.model.batches[-1].is_marker = True
        first = self.model.open_transactions.pop(producer_id)
        if not commit:
            self.model.aborted.append((producer_id, first, base))

    @rule(gap=st.integers(0, 3), count=st.integers(1, 3))
    def replicate(self, gap: int, count: int) -> None:
        values, base = self.next_values(count), self.model.end + gap
        self.harness.log.append_as_follower(replicated(base, *values, leader_epoch=self.epoch))
        self.add(values, START_MS, base)

    @rule()
    def new_epoch(self) -> None:
        self.epoch += 1

    @rule()
    def roll(self) -> None:
        self.harness.log.roll()

    @rule()
    def flush(self) -> None:
        self.harness.log.flush()
        self.harness.checkpoint()
        assert self.harness.log.recovery_point == self.model.end

    @rule(late=st.booleans(), count=st.integers(0, 2))
    def anchor(self, late: bool, count: int) -> None:
        """Lay a recovery anchor; the log goes on while the disk is busy, and perhaps the checkpoint is not written."""
        pending = self.harness.log.begin_anchor()
        for _ in range(count):
            self.append(1, 0)
        if pending is not None:
            pending.run()
            assert self.harness.log.recovery_point >= self.model.end - count
        if not late:
            self.harness.checkpoint()

    @rule(back=st.integers(1, 8))
    def truncate(self, back: int) -> None:
        target = max(self.model.end - back, self.model.start)
        if target == self.model.end:
            return
        self.harness.log.truncate_to(target)
        self.harness.checkpoint()
        self.model.batches = [each for each in self.model.batches if each.next_offset <= target]
        self.model.end = target
        self.forget_producers()

    @rule(offset=st.integers(0, 60))
    def restart_at(self, offset: int) -> None:
        self.harness.log.truncate_fully_and_start_at(offset)
        self.harness.checkpoint()
        self.model.batches.clear()
        self.model.start = self.model.end = offset
        self.forget_producers()

    def forget_producers(self) -> None:
        """What a truncation leaves of producers depends on snapshots; the model asks the log."""
        log = self.harness.log
        self.model.sequences = {
            producer_id: entry.last_sequence + 1 for producer_id, entry in log.active_producers.items()
        }
        self.model.open_transactions = {
            producer_id: entry.transaction_first_offset
            for producer_id, entry in log.active_producers.items()
            if entry.transaction_first_offset >= 0
        }
        self.model.aborted = [each for each in self.model.aborted if each[2] < self.model.end]

    @rule(forward=st.integers(0, 10))
    def delete_records(self, forward: int) -> None:
        log = self.harness.log
        log.update_high_watermark(self.model.end)
        target = min(self.model.start + forward, self.model.end)
        log.maybe_increment_log_start_offset(target)
        log.delete_old_segments()
        log._context.removals.run_due()
        self.harness.checkpoint()
        self.model.start = target
        self.model.batches = [each for each in self.model.batches if each.next_offset > target]

    @rule()
    def reopen(self) -> None:
        self.harness.reopen_cleanly()
        assert self.harness.log.findings == []
        assert self.harness.log.recovery_point == self.model.end

    @rule()
    def kill(self) -> None:
        self.harness.log_start_offset = self.model.start
        self.harness.reopen_after_kill()
        assert self.harness.log.findings == []

    # What must hold

    @invariant()
    def offsets_agree(self) -> None:
        log = self.harness.log
        assert (log.log_start_offset, log.log_end_offset) == (self.model.start, self.model.end)
        assert log.recovery_point <= log.log_end_offset
        assert log.log_start_offset <= log.high_watermark <= log.log_end_offset
        assert log.size_bytes == sum(path.stat().st_size for path in self.harness.path.glob("*.log"))

    @invariant()
    def records_agree(self) -> None:
        expected = [
            (each.base_offset + index, value)
            for each in self.model.batches
            for index, value in enumerate(each.values)
            if each.base_offset + index >= self.model.start
        ]
        assert [(record.offset, record.value) for record in read_all(self.harness.log)] == expected

    @rule(data=st.data())
    def read_anywhere(self, data: st.DataObject) -> None:
        if self.model.start == self.model.end:
            return
        offset = data.draw(st.integers(self.model.start, self.model.end - 1))
        boundaries = [each.next_offset for each in self.model.batches if each.next_offset > offset]
        maximum = data.draw(st.sampled_from(boundaries)) if boundaries else self.model.end
        headers = read_headers(self.harness.log, offset, max_offset=maximum)
        following = [each for each in self.model.batches if each.next_offset > offset]
        following = [each for each in following if each.next_offset <= maximum]
        assert bool(headers) == bool(following)
        if headers:
            assert headers[0].base_offset == following[0].base_offset
            assert headers[-1].next_offset <= maximum

    @rule(timestamp=st.integers(-1, 51))
    def search_by_timestamp(self, timestamp: int) -> None:
        target = START_MS + timestamp
        expected = None
        for each in self.model.batches:
            for index in range(len(each.values)):
                moment = each.timestamp + (0 if each.is_marker else index)
                offset = each.base_offset + index
                if expected is None and moment >= target and offset >= self.model.start:
                    expected = (moment, offset, each.leader_epoch)
        assert self.harness.log.fetch_offset_by_timestamp(target) == expected

    @invariant()
    def epochs_agree(self) -> None:
        log = self.harness.log
        for each in self.model.batches[-3:]:
            if each.base_offset >= self.model.start:
                assert log.epoch_for_offset(each.base_offset) == each.leader_epoch

    @invariant()
    def transactions_agree(self) -> None:
        log = self.harness.log
        log.update_high_watermark(self.model.end)
        first = min(self.model.open_transactions.values(), default=None)
        assert log.first_unstable_offset == (None if first is None else max(first, self.model.start))
        found = {entry[:3] for entry in log.aborted_transactions(self.model.start, self.model.end)}
        expected = {entry for entry in self.model.aborted if entry[2] >= self.model.start}
        assert expected == {entry for entry in found if entry[2] >= self.model.start}


TestLogModel = LogMachine.TestCase
TestLogModel.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
TestLogModel = pytest.mark.slow(TestLogModel)
