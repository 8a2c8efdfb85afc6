"""The cluster simulation itself: it replays exactly, finds nothing wrong, and finds what is planted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kbroker.handlers import replica_fetch
from kbroker.metadata.membership import BrokerSession
from kbroker.replication.leadership import Leadership
from storage.log_loader import LogLoader
from tests.sim.cluster.settings import Settings
from tests.sim.cluster.simulation import run_seed, settings_of

Plant = Callable[[pytest.MonkeyPatch], None]

PLANTS_SEEDS_MAX = 500


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 8, 11])
def test_a_seed_replays_exactly(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert first.trace == second.trace
    assert first.failure == second.failure
    assert first.coverage.counts == second.coverage.counts


@pytest.mark.slow
def test_without_faults_nothing_is_wrong() -> None:
    outcome = run_seed(7, faults=False)
    assert not outcome.failure, outcome.failure
    assert outcome.coverage.of("Produce", "NONE") > 10


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_seeds(first: int) -> None:
    failures = [outcome.failure for outcome in map(run_seed, range(first, first + 10)) if outcome.failure]
    assert not failures, "\n".join(failures)


def high_watermark_ahead_of_the_in_sync_replicas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leadership, "high_watermark", lambda self, log_end_offset, standing: log_end_offset)


def no_truncation_in_a_new_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replica_fetch, "tell_divergence", lambda target, partition, answer: False)


def acknowledgements_after_the_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BrokerSession, "is_secure", lambda self: self.broker_epoch > 0)


def rolls_and_loses_power(settings: Settings) -> bool:
    """Others need not be run to see whether a hole between two segments is noticed."""
    return settings.has_small_segments and "power loss after a roll" in settings.faults


def logs_that_are_not_cut_at_a_hole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogLoader, "_has_hole_behind", lambda self, index, next_offset: False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "may_show"),
    [
        (high_watermark_ahead_of_the_in_sync_replicas, lambda settings: True),
        (no_truncation_in_a_new_epoch, lambda settings: True),
        (acknowledgements_after_the_lease, lambda settings: True),
        (logs_that_are_not_cut_at_a_hole, rolls_and_loses_power),
    ],
)
def test_a_planted_bug_is_found(plant: Plant, may_show: Callable[[Settings], bool]) -> None:
    """And the same seed has nothing to report without it."""
    for seed in range(PLANTS_SEEDS_MAX):
        if not may_show(settings_of(seed)):
            continue
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            found = run_seed(seed).failure
        if found and not run_seed(seed).failure:
            return
    pytest.fail(f"{plant.__name__} was not found in {PLANTS_SEEDS_MAX} seeds")
