"""``kbroker topics`` and its kin as tests run them: here, as a process with pipes, or as one at a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TextIO
from unittest.mock import patch

from kbroker.prompt.arguments import SERVER_VARIABLE, parse
from kbroker.prompt.session import Session
from tests.broker_process import REPOSITORY

DEADLINE_S = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        assert (self.code, self.err) == (0, ""), self
        return json.loads(self.out)

    @property
    def table(self) -> list[list[str]]:
        """The cells of what was printed, which have no blanks in them."""
        assert (self.code, self.err) == (0, ""), self
        return [line.split() for line in self.lines]


def _take_interrupts() -> None:
    """In the child: a shell that runs the suite in the background has it ignore them, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Prompt:
    """The commands against one cluster: ``Prompt(server)("topics", "create", "t")``."""

    def __init__(self, server: str) -> None:
        self.server = server

    def __call__(self, *words: str, given: bytes = b"") -> Ended:
        """Run the command in this process, with ``given`` as standard input."""
        code = None
        with (
            patch.dict(os.environ, {SERVER_VARIABLE: self.server}),
            _file(given) as stdin,
            _file() as stdout,
            _file() as stderr,
        ):
            with (
                patch.object(sys, "stdin", stdin),
                contextlib.redirect_stdout(stdout),
                contextlib.redirect_stderr(stderr),
            ):
                try:
                    options = parse(words)
                    module = importlib.import_module(f"kbroker.prompt.{options.command}")
                    session = Session(options)
                    session.run(partial(getattr(module, options.command), session))
                except SystemExit as end:
                    code = end.code
            assert isinstance(code, int)
            return Ended(code, _content(stdout), _content(stderr))

    def process(self, *words: str, given: bytes = b"") -> Ended:
        """Run it to its end as the shell does."""
        ended = subprocess.run(
            _command_line(words),
            input=given,
            capture_output=True,
            timeout=DEADLINE_S,
            env=self.environment(),
            cwd=REPOSITORY,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    @contextlib.contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start it, with pipes for all three streams; it ends with the block, or when it takes too long."""
        with subprocess.Popen(
            _command_line(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
            cwd=REPOSITORY,
            preexec_fn=_take_interrupts,
        ) as process:
            watch = threading.Timer(DEADLINE_S, process.kill)
            watch.start()
            try:
                yield process
            finally:
                watch.cancel()
                process.kill()

    def environment(self) -> dict[str, str]:
        """Without what decides about colours outside of the tests."""
        inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
        return inherited | {SERVER_VARIABLE: self.server, "TERM": "xterm-256color"}


class AtTerminal:
    """A process whose streams are a terminal, but for those that are given. Usable as a context manager."""

    def __init__(
        self,
        prompt: Prompt,
        *words: str,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.process = subprocess.Popen(
            _command_line(words),
            stdin=slave if stdin is None else stdin,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=prompt.environment() | (environment or {}),
            cwd=REPOSITORY,
            start_new_session=True,
            preexec_fn=_take_interrupts,
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def look(self) -> str:
        """What is on the screen now."""
        while select.select([self._master], [], [], 0)[0] and self._read(0):
            pass
        return self.shown

    def wait_for(self, text: str) -> None:
        """Until this is on the screen."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.shown:
            assert self._read(deadline - time.monotonic()), f"{text!r} did not come: {self.shown!r}"

    def wait(self) -> int:
        """Until it has ended; its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def _read(self, timeout_s: float) -> bool:
        """Take in what is shown next; False at the end."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, timeout_s))
        assert ready, f"nothing more came: {self.shown!r}"
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextlib.contextmanager
def _file(content: bytes = b"") -> Iterator[TextIO]:
    """A file that can stand for a standard stream: some of them are read and written past their buffers."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        os.pwrite(file.fileno(), content, 0)
        yield file


def _content(file: TextIO) -> str:
    file.flush()
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


def interrupt(process: subprocess.Popen[bytes]) -> Ended:
    """Ctrl-C, and how it ended."""
    process.send_signal(signal.SIGINT)
    process.wait(DEADLINE_S)  # before its input ends
    out, err = process.communicate()
    return Ended(process.returncode, out.decode(), err.decode())


def _command_line(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "kbroker", *words]
