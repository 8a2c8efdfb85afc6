"""Recovery of a log after a kill: how long a broker that was killed needs until it serves again, by size of the log.

``measure(broker, bytes)`` makes a topic, has another process fill its log as an idempotent producer's batches would,
with a tail behind the last recovery anchor, and end without closing anything. Then the broker is started, and killed
again, several times. The page cache is dropped from the log's files before each start.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsNetwork
from storage.filesystem import OsFilesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from tests.broker_process import BrokerProcess
from tests.running_broker import create_topic
from wire.records import Record, build_batch

TOPIC = "recovery"
BATCH_BYTES = 16 << 10
TAIL_BATCHES = 60
_SYNC_BYTES = 256 << 20


class Recovery(NamedTuple):
    """Seconds: until the broker is ready after a kill, and of that, opening all logs."""

    megabytes: float
    ready_s: float
    load_s: float


def measure(broker: BrokerProcess, log_bytes: int, *, rounds: int = 3) -> Recovery:
    """The best of the rounds; the broker's data directory must be new, and is left as it is."""
    with broker:
        broker.start()
        trio.run(_create_topic, broker.port)
        broker.terminate()
        _in_another_process("fill", broker.data_dir, log_bytes)
        loads, starts = [], []
        for _ in range(rounds):
            _drop_page_cache(broker.data_dir)
            loads.append(float(_in_another_process("load", broker.data_dir, 0)))
            _drop_page_cache(broker.data_dir)
            started = time.perf_counter()
            broker.start()
            starts.append(time.perf_counter() - started)
            broker.kill()
        size_bytes = sum(path.stat().st_size for path in broker.data_dir.rglob(f"{TOPIC}-0/*.log"))
    return Recovery(size_bytes / 1e6, min(starts), min(loads))


async def _create_topic(port: int) -> None:
    async with await BrokerClient.connect(OsNetwork(), "127.0.0.1", port) as client:
        await create_topic(client, TOPIC, configs={"retention.ms": "-1"})


def _in_another_process(task: str, directory: Path, log_bytes: int) -> str:
    """What the task printed; it ends as if it had been killed, by ``os._exit``."""
    line = [sys.executable, "-m", "tests.bench.recovery", task, str(directory), str(log_bytes)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=600)
    assert done.returncode == 9, f"{task} ended with {done.returncode}"
    return done.stdout


def _drop_page_cache(directory: Path) -> None:
    for path in directory.rglob(f"{TOPIC}-0/*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _manager(directory: str) -> LogManager:
    manager = LogManager(
        [directory],
        filesystem=OsFilesystem(),
        clock_ms=lambda: time.time_ns() // 1_000_000,
        random_uuid=uuid.uuid4,
        random_below=random.Random(1).randrange,
    )
    manager.open(node_id=1)
    return manager


def _fill(directory: str, log_bytes: int) -> None:
    manager = _manager(directory)
    manager.load(lambda _: LogConfig(retention_ms=-1))
    log = manager.get(TopicPartition(TOPIC, 0))
    assert log is not None
    sequence = synced_bytes = 0
    while log.size_bytes < log_bytes:
        sequence = _append(log, sequence)
        if log.size_bytes - synced_bytes >= _SYNC_BYTES:
            log.flush()
            synced_bytes = log.size_bytes
    anchor = log.begin_anchor()
    if anchor is not None:
        anchor.run()
    manager.checkpoint()
    for _ in range(TAIL_BATCHES):
        sequence = _append(log, sequence)


def _append(log: Log, sequence: int) -> int:
    now_ms = time.time_ns() // 1_000_000
    batch = build_batch(
        [Record(0, now_ms, None, _VALUE, ())],
        base_offset=0,
        producer_id=1,
        producer_epoch=0,
        base_sequence=sequence,
    )
    log.append_as_leader(batch, 0)
    log.update_high_watermark(log.log_end_offset)
    return sequence + 1


_VALUE = random.Random(1).randbytes(BATCH_BYTES)


def _load(directory: str) -> None:
    manager = _manager(directory)
    started = time.perf_counter()
    manager.load(lambda _: LogConfig(retention_ms=-1))
    print(time.perf_counter() - started, flush=True)
    assert not manager.findings, manager.findings


def main() -> None:
    task, directory, log_bytes = sys.argv[1:]
    if task == "fill":
        _fill(directory, int(log_bytes))
    else:
        _load(directory)
    os._exit(9)


if __name__ == "__main__":
    main()
