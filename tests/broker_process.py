"""A broker as a process of its own: start, wait until ready, kill, terminate, restart.

The command line is kbroker's (``serve --host --port --data-dir --override key=value``). Another command that
understands the same arguments and prints a line beginning ``kbroker ready`` can stand in for it, which is how
the end-to-end cases are tried against a second broker implementation.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

READY_PREFIX = "kbroker ready"
REPOSITORY = Path(__file__).resolve().parent.parent
OWN_COMMAND: tuple[str, ...] = (sys.executable, "-m", "kbroker", "serve")
_OUTPUT_LINES_MAX = 10_000


class BrokerStartError(Exception):
    """The broker process did not become ready; ``exit_code`` is None where it was still running."""

    def __init__(self, reason: str, *, exit_code: int | None, output: str) -> None:
        super().__init__(f"{reason} (exit code {exit_code})\n{output}")
        self.exit_code = exit_code
        self.output = output


def free_port() -> int:
    """A port that nothing listens on now and that the kernel gives no outgoing connection.

    A fixed port from the ephemeral range could be taken by a client's own connection while the broker is
    down; a client that reconnects to such a port can even end up connected to itself.
    """
    low, _high = _ephemeral_ports()
    generator = random.SystemRandom()
    for _ in range(1_000):
        port = generator.randrange(max(1_024, low - 14_000), low)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port below the ephemeral range")


def _ephemeral_ports() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    except OSError:
        return 32_768, 60_999
    return int(low), int(high)


class BrokerProcess:
    """One broker on one data directory and one port; usable as a context manager, which always ends it.

    The port stays the same over restarts. ``port=0`` asks the broker for a free one and keeps the one that it
    reports. With ``listeners`` among the overrides neither ``--host`` nor ``--port`` is passed and ``port`` only
    says where ``bootstrap_server`` points.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        overrides: Mapping[str, str | int] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.host = host
        self.port = free_port() if port is None else port
        self.overrides = dict(overrides or {})
        self._arguments = tuple(arguments)
        self._environment = dict(environment or {})
        self._command = tuple(command or OWN_COMMAND)
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._ready = threading.Event()
        self.ready_line: str | None = None
        self.stdout_lines: list[str] = []
        self.stderr_lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bootstrap_server(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def stderr(self) -> str:
        return "\n".join(self.stderr_lines)

    def launch(self) -> None:
        """Start the process without waiting; the lines of an earlier run are dropped."""
        assert not self.running, "the broker is running"
        self.stdout_lines, self.stderr_lines = [], []
        self.ready_line = None
        self._ready = threading.Event()
        process = subprocess.Popen(
            [*die_with_parent(), *self._command_line()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
            encoding="utf-8",
            errors="replace",
        )
        self._process = process
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(process.stdout, self._ready), daemon=True),
            threading.Thread(target=_keep_lines, args=(process.stderr, self.stderr_lines), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def start(self, *, deadline_s: float = 60.0) -> Self:
        """Start and wait for the ready line; BrokerStartError with the collected output where it stays away."""
        self.launch()
        self.wait_until_ready(deadline_s=deadline_s)
        return self

    def wait_until_ready(self, *, deadline_s: float = 60.0) -> None:
        deadline = time.monotonic() + deadline_s
        while not self._ready.wait(0.05):
            assert self._process is not None
            exit_code = self._process.poll()
            # The reader sets the event at the end of the output too, so a line that was still on its way counts.
            if exit_code is not None or time.monotonic() > deadline:
                reason = (
                    "the broker ended before it was ready" if exit_code is not None else "not ready in time"
                )
                self._abandon_start(reason)
        if self.ready_line is None:
            self._abandon_start("the broker closed its output before it was ready")
        if self.port == 0:
            assert self.ready_line is not None
            found = re.search(r"(?:[\w.\-]+|\[[0-9a-fA-F:]+\]):(\d+)", self.ready_line)
            assert found is not None, f"no address in {self.ready_line!r}"
            self.port = int(found.group(1))

    def wait(self, *, deadline_s: float = 30.0) -> int:
        """Wait for the process to end; its exit code (negative: the signal that ended it)."""
        assert self._process is not None
        exit_code = self._process.wait(deadline_s)
        self._join_readers()
        return exit_code

    def kill(self) -> None:
        """``kill -9``: the process gets no chance to write another byte."""
        assert self._process is not None
        self._process.kill()
        self.wait()

    def terminate(self, *, deadline_s: float = 30.0) -> int:
        """SIGTERM, then the exit code; subprocess.TimeoutExpired where the deadline passes."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s=deadline_s)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """End the process by force if it still runs; safe to call twice."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._join_readers()

    def resident_bytes(self) -> int:
        """VmRSS of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, "no VmRSS; has the process ended?"
        return int(found.group(1)) * 1024

    def open_file_count(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _command_line(self) -> list[str]:
        line = [*self._command, "--data-dir", str(self.data_dir)]
        if "listeners" not in self.overrides:
            line += ["--host", self.host, "--port", str(self.port)]
        for key, value in self.overrides.items():
            line += ["--override", f"{key}={value}"]
        return [*line, *self._arguments]

    def _read_stdout(self, stream: IO[str], ready: threading.Event) -> None:
        lines = self.stdout_lines
        with contextlib.closing(stream):
            for line in stream:
                if line.startswith(READY_PREFIX) and self.ready_line is None:
                    self.ready_line = line.rstrip("\n")
                    ready.set()
                if len(lines) < _OUTPUT_LINES_MAX:
                    lines.append(line.rstrip("\n"))
        ready.set()

    def _join_readers(self) -> None:
        for reader in self._readers:
            reader.join(10.0)

    def _abandon_start(self, reason: str) -> None:
        assert self._process is not None
        exit_code = self._process.poll()
        if exit_code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                exit_code = self._process.wait(0.5)
        self.close()
        output = "\n".join([*self.stdout_lines[-40:], *self.stderr_lines[-60:]])
        raise BrokerStartError(reason, exit_code=exit_code, output=output)


def die_with_parent() -> list[str]:
    """Command prefix that makes the kernel end a process when this one dies, however it dies.

    The kernel watches the thread that started the process, so this holds for the main thread only.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]


def _keep_lines(stream: IO[str], lines: list[str]) -> None:
    with contextlib.closing(stream):
        for line in stream:
            if len(lines) < _OUTPUT_LINES_MAX:
                lines.append(line.rstrip("\n"))
