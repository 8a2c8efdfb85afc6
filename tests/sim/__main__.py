"""``python -m tests.sim storage --seeds A:B``: simulated lives, one for each seed from A up to (not including) B."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.coverage import Coverage
from tests.sim.storage import STEPS, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("simulation", choices=["storage"])
    parser.add_argument("--seeds", default="0:200", help="A:B, or one seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="operations in one life")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop early after this time")
    parser.add_argument("--failures", type=int, default=10, help="stop after so many failing seeds")
    parser.add_argument("--verbose", action="store_true", help="tell every step")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    coverage, failed, done = Coverage(), 0, 0
    began = time.monotonic()
    for seed in seeds:
        outcome = run_seed(seed, steps=arguments.steps, verbose=arguments.verbose)
        coverage.add(outcome.coverage)
        done += 1
        if outcome.failure:
            failed += 1
            print(f"FAILED {outcome.failure}", flush=True)
            print(f"  replay: python -m tests.sim storage --seeds {seed} --steps {arguments.steps} --verbose")
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
