"""``python -m tests.kill [--transactions] --kills 20 --seed 1``: exits with 1 if the checker found anything."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

from tests import java_programs
from tests.kill import checker, run
from tests.kill.history import Commit, Seen
from tests.kill.transactions import checker as transaction_checker
from tests.kill.transactions import run as transaction_run
from tests.kill.transactions.faulty_broker import FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transactions", action="store_true", help="consume-transform-produce, exactly once")
    parser.add_argument(
        "--broker-command",
        metavar="COMMAND",
        help="with --transactions: start this command (kbroker serve's arguments are appended) in place of kbroker",
    )
    parser.add_argument(
        "--fault", choices=FAULTS, help="with --transactions: start kbroker with this fault planted"
    )
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kbroker-kill-") as directory:
        one = transactions if options.transactions else plain
        summary, found = one(options, Path(directory) / "data")
    print(f"seed {options.seed}: {options.kills} kills in {time.monotonic() - started:.0f} s; {summary}")
    print("\n".join(found[:50]) or "no anomalies")
    return 1 if found else 0


def plain(options: argparse.Namespace, directory: Path) -> tuple[str, list[str]]:
    """The run without transactions: what it did, and what was found."""
    history = run.run(run.Plan(options.kills, options.seed), directory)
    events = [event for session in history.sessions for event in session.events]
    summary = (
        f"{len(history.sent)} records sent, {len(history.acknowledged)} acknowledged, {len(history.log)} in the log; "
        f"{sum(isinstance(event, Seen) for event in events)} read by {len(history.sessions)} consumers of the group, "
        f"{sum(isinstance(event, Commit) for event in events)} commits acknowledged"
    )
    return summary, checker.anomalies(history)


def transactions(options: argparse.Namespace, directory: Path) -> tuple[str, list[str]]:
    """The run with transactions, one of whose workers has the Java client where that can be had."""
    command = shlex.split(options.broker_command) if options.broker_command else None
    if options.fault:
        command = transaction_run.faulty_command(options.fault)
    classes = directory.with_name("classes")
    classes.mkdir()
    try:
        java = java_programs.class_path(classes)
    except java_programs.NoJavaError as reason:
        print(f"without a worker of the Java client: {reason}")
        java = None
    plan = transaction_run.Plan(
        options.kills,
        options.seed,
        command=command,
        # A planted fault may well keep things from ever settling.
        settle_deadline_s=10.0 if options.fault else transaction_run.SETTLE_DEADLINE_S,
        java_class_path=java,
    )
    history = transaction_run.run(plan, directory)
    by_java = sum(name.startswith(transaction_run.JAVA_WORKER) for name in history.committed) if java else 0
    summary = (
        f"{len(history.input.log)} records in the input, {len(history.output)} in the output, "
        f"{len(history.seen)} seen on the way; {len(history.committed)} commits ({by_java} of the Java client's) and "
        f"{len(history.aborted)} aborts acknowledged, {len(history.left_open)} transactions left open"
    )
    return summary, transaction_checker.anomalies(history)


if __name__ == "__main__":
    sys.exit(main())
