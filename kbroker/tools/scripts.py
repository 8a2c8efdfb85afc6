"""What console scripts call, those of Kafka's commands and `kbroker` itself: their modules are imported from here.

A command lives for a fraction of a second, most of which is importing. The garbage collector would look through what
is imported over and over, and through all of it once more at the end, to find nothing: a fifth of a command's time.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final, NoReturn

_INTERRUPTED: Final = 130
# Python's own are 700, 10, 10. Records and batches leave no cycles behind.
_COLLECTION_THRESHOLDS: Final = (10_000, 20, 20)


def run(module: str, function: str = "main") -> NoReturn:
    """Import a command, run it, and leave the process with its exit code."""
    with quiet_interrupts():
        imported(module, function)()
    raise AssertionError(f"{module} came back")


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """An interrupt before a command looks after itself, in the middle of an import, leaves with 130 as well."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def imported(module: str, name: str) -> Any:
    """What a module calls so. Importing it, with all that it imports, is none of the garbage collector's business."""
    gc.disable()
    found = getattr(import_module(module), name)
    gc.freeze()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
    gc.enable()
    return found


kafka_broker_api_versions = partial(run, "kbroker.tools.broker_api_versions")
kafka_configs = partial(run, "kbroker.tools.configs")
kafka_console_consumer = partial(run, "kbroker.tools.console_consumer")
kafka_console_producer = partial(run, "kbroker.tools.console_producer")
kafka_consumer_groups = partial(run, "kbroker.tools.consumer_groups")
kafka_consumer_perf_test = partial(run, "kbroker.tools.consumer_performance")
kafka_delete_records = partial(run, "kbroker.tools.delete_records")
kafka_dump_log = partial(run, "kbroker.tools.dump_log")
kafka_get_offsets = partial(run, "kbroker.tools.get_offsets")
kafka_leader_election = partial(run, "kbroker.tools.leader_election")
kafka_log_dirs = partial(run, "kbroker.tools.log_dirs")
kafka_producer_perf_test = partial(run, "kbroker.tools.producer_performance")
kafka_reassign_partitions = partial(run, "kbroker.tools.reassign_partitions")
kafka_topics = partial(run, "kbroker.tools.topics")
kafka_transactions = partial(run, "kbroker.tools.transactions")
