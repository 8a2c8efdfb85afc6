"""The Go clients: built once into ``build/compat/go``, from a module whose versions ``go.mod`` and ``go.sum`` fix."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from compat import toolchains
from compat.clients.client_kind import ClientKind, NotInstalledError
from compat.reference.maven import KEPT

_SOURCE: Final = Path(__file__).parent
_BINARIES: Final = KEPT / "go"
_BUILD_DEADLINE_S: Final = 600
_ENVIRONMENT: Final = {**toolchains.GO_ENVIRONMENT, "GOFLAGS": "-buildvcs=false -mod=readonly"}


def _command(name: str) -> Callable[[], tuple[str, ...]]:
    return lambda: (str(_built() / name),)


@functools.cache
def _built() -> Path:
    """The directory that holds all commands, up to date. NotInstalledError without a Go that is new enough."""
    if shutil.which("go") is None:
        raise NotInstalledError("go is not installed")
    environment = {**os.environ, **_ENVIRONMENT}
    here, needed = toolchains.go(), toolchains.go_needed()
    if here < needed:
        raise NotInstalledError(f"the clients need Go {needed[0]}.{needed[1]}, this is {here[0]}.{here[1]}")
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


CLIENTS: Final = (
    ClientKind("franz-go", "Go", _command("franzgo")),
    ClientKind("sarama", "Go", _command("sarama")),
    ClientKind("kafka-go", "Go", _command("kafkago")),
)
