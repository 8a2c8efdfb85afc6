"""Kafka's commands as tests run them: in the test's own process, or as a process where the exit itself counts."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from tests.broker_process import REPOSITORY
from tests.cluster_processes import LocalClusterProcess

_DEADLINE_S = 60


@dataclass(frozen=True)
class Run:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def first_error(self) -> str:
        return self.err.partition("\n")[0]


class Command:
    """One of the commands against one cluster: ``Command("topics", bootstrap)("--list")``."""

    def __init__(self, module: str, bootstrap_server: str | None) -> None:
        self._module = f"kbroker.tools.{module}"
        self._connection = [] if bootstrap_server is None else ["--bootstrap-server", bootstrap_server]

    def __call__(self, *arguments: str) -> Run:
        """Run ``main()`` here."""
        main = importlib.import_module(self._module).main
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.object(sys, "argv", ["command", *self._connection, *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code
        assert isinstance(code, int)
        return Run(code, out.getvalue(), err.getvalue())

    def process(self, *arguments: str) -> Run:
        """Run it as its console script does."""
        ended = subprocess.run(
            [sys.executable, "-c", f"from {self._module} import main; main()", *self._connection, *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        return Run(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def three_brokers(directory: Path) -> Iterator[str]:
    """A cluster in one process for as long as the block; where to reach it."""
    with LocalClusterProcess(directory) as cluster:
        cluster.start()
        yield cluster.bootstrap_server


def new_topic(bootstrap_server: str, *arguments: str) -> str:
    """Create a topic of a new name, which it returns."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    ended = Command("topics", bootstrap_server)("--create", "--topic", name, *arguments)
    assert ended == Run(0, f"Created topic {name}.\n", "")
    return name


def produce(bootstrap_server: str, topic: str, *, partition: int, timestamps_ms: list[int]) -> None:
    """Write one record of each timestamp, all of them acknowledged."""
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap_server, "acks": "all"})
    for timestamp_ms in timestamps_ms:
        producer.produce(topic, b"value", partition=partition, timestamp=timestamp_ms)
    assert producer.flush(30) == 0
