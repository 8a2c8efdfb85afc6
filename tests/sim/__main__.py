"""``python -m tests.sim storage|cluster --seeds A:B``: one simulated life for each seed from A on, without B."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import Protocol

from tests.sim.coverage import Coverage

STORAGE, CLUSTER = "storage", "cluster"


class Outcome(Protocol):
    """What both simulations say of a seed."""

    trace: int
    coverage: Coverage
    failure: str


def run(arguments: argparse.Namespace, seed: int) -> Outcome:
    # Imported here: who simulates storage need not wait for all of the broker, and the other way round.
    if arguments.simulation == CLUSTER:
        from tests.sim.cluster.simulation import run_seed as run_cluster

        return run_cluster(seed, verbose=arguments.verbose)
    from tests.sim.storage import STEPS
    from tests.sim.storage import run_seed as run_storage

    return run_storage(seed, steps=arguments.steps or STEPS, verbose=arguments.verbose)


def replay(arguments: argparse.Namespace, seed: int) -> str:
    steps = f" --steps {arguments.steps}" if arguments.steps else ""
    return f"python -m tests.sim {arguments.simulation} --seeds {seed}{steps} --verbose"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("simulation", choices=[STORAGE, CLUSTER])
    parser.add_argument("--seeds", default="0:200", help="A:B, or one seed")
    parser.add_argument("--steps", type=int, help="operations in one life (storage only)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop early after this time")
    parser.add_argument("--failures", type=int, default=10, help="stop after so many failing seeds")
    parser.add_argument("--verbose", action="store_true", help="tell every step")
    arguments = parser.parse_args()
    # As the broker does it (cli/serve.py); a seed leaves little behind.
    gc.set_threshold(50_000, 20, 50)
    first, _, last = arguments.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    coverage, failed, done = Coverage(), 0, 0
    began = time.monotonic()
    for seed in seeds:
        outcome = run(arguments, seed)
        coverage.add(outcome.coverage)
        done += 1
        if outcome.failure:
            failed += 1
            print(f"FAILED {outcome.failure}", flush=True)
            print(f"  replay: {replay(arguments, seed)}", flush=True)
        if arguments.verbose:
            print(f"seed {seed}: trace {outcome.trace:08x}")
        if failed >= arguments.failures or time.monotonic() - began > arguments.seconds:
            break
    elapsed = time.monotonic() - began
    print(coverage.table())
    print(f"{done} seeds, {failed} failed, {elapsed:.1f} s, {done / elapsed:.1f} seeds/s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
