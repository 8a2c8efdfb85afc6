"""Running a command of ``kbroker.tools`` as its console script would."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 30


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


def command_line(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", f"from kbroker.tools.{module} import main; main()", *arguments]


def run_command(module: str, *arguments: str, given: bytes = b"") -> Ended:
    """Run it to its end with ``given`` as standard input."""
    process = subprocess.run(
        command_line(module, *arguments),
        input=given,
        capture_output=True,
        timeout=DEADLINE_S,
        cwd=REPOSITORY,
        check=False,
    )
    return Ended(process.returncode, process.stdout.decode(), process.stderr.decode())


def start_command(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start it, with pipes for all three streams."""
    return subprocess.Popen(
        command_line(module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    )
