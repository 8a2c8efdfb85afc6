"""``python -m compat.commands.fork_server``: kbroker's commands without the start of a Python for each.

A request is a line ``{"tool", "arguments", "stdin", "deadline_s"}`` on standard input, its answer a line ``{"exit",
"stdout", "stderr"}``; ``exit`` is null where the deadline came first. Everything that the commands import is imported
once, and each run is a fork: a process with standard streams of its own, which leaves through its console script.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pkgutil import iter_modules
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

import kbroker.tools
from kbroker.tools import scripts

_POLL_S = 0.005


def main() -> None:
    """Answer requests until standard input ends."""
    for module in iter_modules(kbroker.tools.__path__, "kbroker.tools."):
        import_module(module.name)
    with (
        os.fdopen(os.dup(0), encoding="utf-8") as requests,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as answers,
    ):
        for line in requests:
            answers.write(json.dumps(_answer(json.loads(line))) + "\n")
            answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, object]:
    with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
        stdin.write(request["stdin"].encode())
        stdin.seek(0)
        pid = os.fork()
        if pid == 0:
            for number, stream in enumerate((stdin, stdout, stderr)):
                os.dup2(stream.fileno(), number)
            _become(request["tool"], request["arguments"])
        code = _ended(pid, time.monotonic() + request["deadline_s"])
        return {"exit": code, "stdout": _text_of(stdout), "stderr": _text_of(stderr)}


def _become(tool: str, arguments: list[str]) -> NoReturn:
    """Be the console script ``tool`` to the end of the process."""
    sys.argv = [tool, *arguments]
    code = 1
    try:
        getattr(scripts, tool.replace("-", "_"))()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _ended(pid: int, deadline: float) -> int | None:
    """The exit code; None once the deadline is over and the process killed."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(_POLL_S)


def _text_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


if __name__ == "__main__":
    main()
