"""The Go clients: built once into ``build/compat/go``, from a module whose versions ``go.mod`` and ``go.sum`` fix."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from compat.clients.client_kind import ClientKind, NotInstalledError
from compat.reference.maven import KEPT

_SOURCE: Final = Path(__file__).parent
_BINARIES: Final = KEPT / "go"
_BUILD_DEADLINE_S: Final = 600
# Modules may be fetched, another toolchain may not: who has an old one is told so.
_ENVIRONMENT: Final = {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false -mod=readonly"}


def _command(name: str) -> Callable[[], tuple[str, ...]]:
    return lambda: (str(_built() / name),)


@functools.cache
def _built() -> Path:
    """The directory that holds all commands, up to date. NotInstalledError without a Go that is new enough."""
    if shutil.which("go") is None:
        raise NotInstalledError("go is not installed")
    environment = {**os.environ, **_ENVIRONMENT}
    needed = _version((_SOURCE / "go.mod").read_text(encoding="utf-8"), r"^go (\d+)\.(\d+)")
    here = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, env=environment)
    if _version(here.stdout, r"go(\d+)\.(\d+)") < needed:
        raise NotInstalledError(f"the clients need Go {needed[0]}.{needed[1]}, this is {here.stdout.strip()}")
    _BINARIES.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ["go", "build", "-o", f"{_BINARIES}{os.sep}", "./..."],
            cwd=_SOURCE,
            capture_output=True,
            text=True,
            env=environment,
            timeout=_BUILD_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"the Go clients were not built in {_BUILD_DEADLINE_S} s") from None
    if done.returncode != 0:
        raise NotInstalledError(f"the Go clients cannot be built: {done.stderr.strip()[-400:]}")
    return _BINARIES


def _version(text: str, pattern: str) -> tuple[int, int]:
    found = re.search(pattern, text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


CLIENTS: Final = (
    ClientKind("franz-go", "Go", _command("franzgo")),
    ClientKind("sarama", "Go", _command("sarama")),
    ClientKind("kafka-go", "Go", _command("kafkago")),
)
