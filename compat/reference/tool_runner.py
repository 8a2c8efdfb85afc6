"""Apache Kafka's tools without the start of a Java process for each: many runs in one (``ToolRunner.java``)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from compat.reference.java_programs import program
from compat.reference.tools import CLASSES, JAVA
from tests.broker_process import die_with_parent

DEADLINE_S = 60.0
_SOURCE = Path(__file__).with_name("ToolRunner.java")
_PATIENCE_S = 10.0


class ToolRunner:
    """The Java process, started by the first run; usable as a context manager.

    ``beside``: Java sources that are to be in its class path as well.
    """

    def __init__(self, beside: Sequence[Path] = ()) -> None:
        self._sources = [_SOURCE, *beside]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self, tool: str, arguments: Sequence[str], *, stdin: str = "", deadline_s: float = DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        """Like ``compat.reference.tools.run_tool``: output and exit code of a tool named as its script.

        ``subprocess.TimeoutExpired`` with what it had printed, and where it was, if it does not end in time.
        NoReferenceError where there is no Java or Maven.
        """
        if self._process is None:
            self._process = _start(self._sources)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        request = {
            "class": CLASSES[tool],
            "arguments": list(arguments),
            "stdin": stdin,
            "deadline_ms": int(deadline_s * 1_000),
        }
        # The Java side keeps the deadline; this is for one that cannot.
        watchdog = threading.Timer(deadline_s + _PATIENCE_S, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            self.close()
            raise AssertionError(f"the process of the tools ended during {tool} {' '.join(arguments)}")
        answer = json.loads(line)
        stdout, stderr = answer["stdout"], answer["stderr"]
        if answer.get("ended"):
            code = process.wait()
            self.close()
            return subprocess.CompletedProcess([tool, *arguments], code, stdout, stderr)
        if answer["exit"] is None:
            # What hangs in there is ended with everything else, and the next run begins anew.
            self.close()
            raise subprocess.TimeoutExpired([tool, *arguments], deadline_s, stdout, stderr)
        return subprocess.CompletedProcess([tool, *arguments], answer["exit"], stdout, stderr)

    def close(self) -> None:
        """End the process; the next run starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _start(sources: Sequence[Path]) -> subprocess.Popen[str]:
    path = program("tool-runner", sources).split(":")
    tools = [jar for jar in path if "/kafka-tools/" in jar]
    assert len(tools) == 1, tools
    others = ":".join(jar for jar in path if jar not in tools)
    return subprocess.Popen(
        [*die_with_parent(), *JAVA, "-cp", others, "ToolRunner", *tools],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
