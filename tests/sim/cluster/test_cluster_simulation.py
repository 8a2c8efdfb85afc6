"""The cluster simulation itself: it replays exactly, finds nothing wrong, and finds what is planted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kbroker.handlers import replica_fetch
from kbroker.metadata.membership import BrokerSession
from kbroker.replication.leadership import Leadership
from tests.sim.cluster.simulation import run_seed

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


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        high_watermark_ahead_of_the_in_sync_replicas,
        no_truncation_in_a_new_epoch,
        acknowledgements_after_the_lease,
    ],
)
def test_a_planted_bug_is_found(plant: Plant) -> None:
    """And the same seed has nothing to report without it."""
    for seed in range(PLANTS_SEEDS_MAX):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            found = run_seed(seed).failure
        if found and not run_seed(seed).failure:
            return
    pytest.fail(f"{plant.__name__} was not found in {PLANTS_SEEDS_MAX} seeds")
