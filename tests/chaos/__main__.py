"""``python -m tests.chaos --minutes N --seed S``: exits with 1 on any anomaly, or where the cluster does not go on.

It needs root and a Linux kernel with network namespaces; it touches no network but those that it makes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests import etcd_process
from tests.chaos import network
from tests.chaos.cluster import Shape
from tests.chaos.faults import Kind
from tests.chaos.run import SESSION_TIMEOUTS_MS, Plan, check_again, run


def main() -> int:
    options = _parser().parse_args()
    if options.check is not None:
        outcome = check_again(options.check)
        print(outcome.text())
        return 0 if outcome.clean else 1
    reason = network.missing() or (etcd_process.MISSING if options.store == "etcd" else None)
    if reason is not None:
        print(f"no chaos here: {reason}", file=sys.stderr)
        return 2
    if not network.in_own_namespace():
        network.enter_own_namespace(["-m", "tests.chaos", *sys.argv[1:]])
    directory = options.keep or Path(tempfile.mkdtemp(prefix="kbroker-chaos-"))
    plan = _plan(options, directory)
    print(f"seed {plan.seed}: {plan.shape}, in {directory}", flush=True)
    began = time.monotonic()
    outcome = run(plan)
    print(f"seed {plan.seed}: {time.monotonic() - began:.0f} s")
    print(outcome.text())
    if options.keep is None and outcome.clean:
        shutil.rmtree(directory)
    return 0 if outcome.clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--store", choices=("etcd", "embedded"), default="etcd")
    parser.add_argument("--rate", type=float, default=120.0, help="records a second, over all producers")
    parser.add_argument(
        "--session-timeout-ms", type=int, help="of brokers; by default one that the seed chooses"
    )
    parser.add_argument(
        "--only", metavar="KIND", nargs="+", choices=[kind.name for kind in Kind], help="only these faults"
    )
    parser.add_argument(
        "--override", metavar="KEY=VALUE", action="append", default=[], help="a setting of every broker"
    )
    parser.add_argument("--client-debug", default="", metavar="CONTEXTS", help="librdkafka's debug setting")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep data, logs and histories there")
    parser.add_argument("--check", metavar="DIR", type=Path, help="only check what an earlier run kept there")
    return parser


def _plan(options: argparse.Namespace, directory: Path) -> Plan:
    chosen = random.Random(options.seed).choice(SESSION_TIMEOUTS_MS)
    shape = Shape(
        brokers=options.brokers,
        store=options.store,
        session_timeout_ms=options.session_timeout_ms or chosen,
        overrides=dict(override.split("=", 1) for override in options.override),
    )
    kinds = [Kind[name] for name in options.only] if options.only else list(Kind)
    return Plan(
        options.seed, options.minutes * 60, directory, shape, options.rate, kinds, options.client_debug
    )


if __name__ == "__main__":
    sys.exit(main())
