"""``python -m tests.kill --kills 20 --seed 1``: exits with 1 if the checker found anything."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.kill.checker import anomalies
from tests.kill.history import Commit, Seen
from tests.kill.run import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kbroker-kill-") as directory:
        history = run(Plan(options.kills, options.seed), Path(directory) / "data")
    events = [event for session in history.sessions for event in session.events]
    print(
        f"seed {options.seed}: {options.kills} kills in {time.monotonic() - started:.0f} s; "
        f"{len(history.sent)} records sent, {len(history.acknowledged)} acknowledged, {len(history.log)} in the log; "
        f"{sum(isinstance(event, Seen) for event in events)} read by {len(history.sessions)} consumers of the group, "
        f"{sum(isinstance(event, Commit) for event in events)} commits acknowledged"
    )
    found = anomalies(history)
    print("\n".join(found[:50]) or "no anomalies")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
