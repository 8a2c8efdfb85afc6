"""The storage simulation: a bounded number of seeds, that seeds replay exactly, and that bugs do not get past it.

More seeds: ``python -m tests.sim storage --seeds A:B``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.cleaner.batch_filter import BatchFilter
from storage.durability import LogDurability
from storage.flush import PendingFlush
from storage.log_directory import LogDirectory
from storage.producer_entry import ProducerEntry
from storage.producer_snapshot import encode_snapshot
from storage.segment import Segment
from storage.segment_recovery import SegmentRecovery
from storage.transaction_index import AbortedTransaction, TransactionIndex
from tests.sim.storage import run_seed

SEEDS_IN_A_CASE = 20
CASES = 8
PLANT_SEEDS_MAX = 200


@pytest.mark.parametrize("case", range(CASES))
@pytest.mark.slow
def test_seeds(case: int) -> None:
    first = case * SEEDS_IN_A_CASE
    failures = [run_seed(seed).failure for seed in range(first, first + SEEDS_IN_A_CASE)]
    assert [failure for failure in failures if failure] == []


def test_a_seed_replays_exactly() -> None:
    for seed in (3, 11):
        first, second = run_seed(seed), run_seed(seed)
        assert first.trace == second.trace
        assert first.coverage.counts == second.coverage.counts
    assert run_seed(3).trace != run_seed(11).trace


@pytest.mark.slow
def test_a_seed_replays_exactly_whatever_the_hash_seed() -> None:
    code = "from tests.sim.storage import run_seed; print([run_seed(seed).trace for seed in range(6)])"
    traces = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        root = Path(__file__).resolve().parents[2]
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(result.stdout)
    assert len(traces) == 1


# Planted bugs. Each names what goes wrong; `plant` makes it go wrong.

Plant = Callable[[pytest.MonkeyPatch], None]


def _log_files_not_synced(patch: pytest.MonkeyPatch) -> None:
    sync = PendingFlush.sync

    def without_logs(self: Any) -> None:
        self._files = [file for file in self._files if not file.path.endswith(".log")]
        sync(self)

    patch.setattr(PendingFlush, "sync", without_logs)


def _recovery_point_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    sync = PendingFlush.sync

    def too_early(self: Any) -> None:
        self._on_finish()
        sync(self)

    patch.setattr(PendingFlush, "sync", too_early)


def _names_of_segments_not_synced(patch: pytest.MonkeyPatch) -> None:
    sync = PendingFlush.sync

    def without_names(self: Any) -> None:
        self._directories = []
        sync(self)

    patch.setattr(PendingFlush, "sync", without_names)


def _recovery_point_not_lowered_by_truncation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogDurability, "lower", lambda self, *arguments, **keywords: None)


def _snapshot_without_the_last_producer(patch: pytest.MonkeyPatch) -> None:
    def short(entries: Any) -> bytes:
        return encode_snapshot(list(entries)[:-1])

    patch.setattr("storage.producer_state.encode_snapshot", short)


def _transaction_index_not_rebuilt(patch: pytest.MonkeyPatch) -> None:
    run = SegmentRecovery.run

    def forgetful(self: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(TransactionIndex, "append", lambda index, transaction: None)
            return run(self)

    patch.setattr(SegmentRecovery, "run", forgetful)


def _transaction_index_not_synced(patch: pytest.MonkeyPatch) -> None:
    handles_to_sync = Segment.handles_to_sync

    def without(self: Any, *, with_indexes: bool) -> Any:
        handles = handles_to_sync(self, with_indexes=with_indexes)
        return [handle for handle in handles if not handle.path.endswith(".txnindex")]

    patch.setattr(Segment, "handles_to_sync", without)


def _recovered_segment_taken_for_synced(patch: pytest.MonkeyPatch) -> None:
    prepare = SegmentRecovery.prepare

    def trusting(self: Any) -> None:
        prepare(self)
        self._segment.synced_bytes = self._segment.size_bytes

    patch.setattr(SegmentRecovery, "prepare", trusting)


def _time_index_not_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Segment, "_lacks_largest", lambda self: False)


def _log_directory_not_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogDirectory, "_sync_names_above", lambda self: None)


def _clean_marker_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogDirectory, "take_clean_shutdown_marker", lambda self: self._filesystem.exists(
        f"{self.path}/.kafka_cleanshutdown"
    ))  # fmt: skip


def _duplicates_not_recognised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProducerEntry, "find_duplicate", lambda self, header: None)


def _cleaner_drops_the_latest(patch: pytest.MonkeyPatch) -> None:
    keeps = BatchFilter.keeps

    def wrong(self: Any, header: Any, cut: Any) -> bool:
        offset = header.base_offset + cut.offset_delta
        return keeps(self, header, cut) and not (offset % 5 == 4 and offset < self._map.latest_offset)

    patch.setattr(BatchFilter, "keeps", wrong)


def _last_stable_offset_too_early(patch: pytest.MonkeyPatch) -> None:
    append_aborted = Segment.append_aborted

    def wrong(self: Any, transaction: AbortedTransaction) -> None:
        append_aborted(self, transaction._replace(first_offset=transaction.first_offset + 1))

    patch.setattr(Segment, "append_aborted", wrong)


PLANTS: list[Plant] = [
    _log_files_not_synced,
    _recovery_point_before_the_sync,
    _names_of_segments_not_synced,
    _recovery_point_not_lowered_by_truncation,
    _snapshot_without_the_last_producer,
    _transaction_index_not_rebuilt,
    _transaction_index_not_synced,
    _recovered_segment_taken_for_synced,
    _time_index_not_closed,
    _log_directory_not_synced,
    _clean_marker_stays,
    _duplicates_not_recognised,
    _cleaner_drops_the_latest,
    _last_stable_offset_too_early,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.slow
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    found = next((seed for seed in range(PLANT_SEEDS_MAX) if run_seed(seed).failure), None)
    assert found is not None, f"not found within {PLANT_SEEDS_MAX} seeds"
