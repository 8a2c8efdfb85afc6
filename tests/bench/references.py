"""What the machine and the client can do without kbroker: disk, loopback, librdkafka's mock cluster."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MEGABYTE = 1_000_000
BLOCK = 1024 * 1024


def run_workload(**work: object) -> dict[str, float]:
    """Run ``tests.bench.workload`` in a process of its own and return what it measured."""
    return _measured("tests.bench.workload", work)


def run_closed_loop(**work: object) -> dict[str, float]:
    """Run ``tests.bench.closed_loop`` in a process of its own and return what it measured."""
    return _measured("tests.bench.closed_loop", work)


def _measured(module: str, work: dict[str, object]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(work)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


@contextlib.contextmanager
def mock_cluster() -> Iterator[str]:
    """librdkafka's mock cluster in a process of its own; its bootstrap address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.workload", json.dumps({"kind": "mock"})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def disk_mb_per_s(directory: Path, megabytes: int) -> float:
    """Sequential writes of 1 MiB into a new file, as the log's appends are: not synced."""
    path = directory / "disk-reference"
    block = os.urandom(BLOCK)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        started = time.perf_counter()
        for _ in range(megabytes):
            os.write(descriptor, block)
        seconds = time.perf_counter() - started
    finally:
        os.close(descriptor)
        path.unlink()
    return megabytes * BLOCK / seconds / MEGABYTE


def sync_p50_us(directory: Path, count: int = 300) -> float:
    """Median time of an ``fdatasync`` after a write of 170 bytes, the size of a small batch, to a growing file."""
    path = directory / "sync-reference"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    times = []
    try:
        for _ in range(count):
            os.write(descriptor, bytes(170))
            started = time.perf_counter()
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)[count // 2] * 1e6


def _send_file(path: Path, listening: socket.socket) -> None:
    connected, _ = listening.accept()
    descriptor = os.open(path, os.O_RDONLY)
    offset, size = 0, os.fstat(descriptor).st_size
    while offset < size:
        offset += os.sendfile(connected.fileno(), descriptor, offset, size - offset)
    connected.close()


def sendfile_mb_per_s(directory: Path, megabytes: int) -> float:
    """``sendfile`` of a cached file over loopback, from another process into 1 MiB buffers."""
    path = directory / "sendfile-reference"
    path.write_bytes(os.urandom(BLOCK) * megabytes)
    listening = socket.create_server(("127.0.0.1", 0))
    sender = multiprocessing.get_context("fork").Process(target=_send_file, args=(path, listening))
    sender.start()
    receiving = socket.create_connection(listening.getsockname())
    buffer, received = bytearray(BLOCK), 0
    started = time.perf_counter()
    while count := receiving.recv_into(buffer):
        received += count
    seconds = time.perf_counter() - started
    receiving.close()
    listening.close()
    sender.join(30)
    path.unlink()
    return received / seconds / MEGABYTE
