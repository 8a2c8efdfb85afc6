"""Go and Node.js, for the clients written for them: which of them has to be installed first.

    python -m compat.toolchains

prints the extras of this project that bring what is missing or too old, one a line. They are wheels, since a
distribution's packages may be older than the clients allow.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

Version = tuple[int, int]
GO_ENVIRONMENT: Final = {"GOTOOLCHAIN": "local"}
"""Modules may be fetched, another toolchain may not: who has an old one is told so."""
NODE_NEEDED: Final[Version] = 20, 19
_GO_MODULE: Final = Path(__file__).parent / "clients" / "go" / "go.mod"
_NONE: Final[Version] = 0, 0


def missing_extras() -> list[str]:
    found = (("compat-go", go(), go_needed()), ("compat-node", node(), NODE_NEEDED))
    return [extra for extra, here, needed in found if here < needed]


def go() -> Version:
    """The Go that is here, (0, 0) if there is none."""
    return _told_by("go", "env", "GOVERSION")


def go_needed() -> Version:
    """As the clients' module says."""
    return _version(_GO_MODULE.read_text(encoding="utf-8"), r"^go (\d+)\.(\d+)")


def node() -> Version:
    """The Node.js that is here, (0, 0) if there is none."""
    return _told_by("node", "--version")


def _told_by(*command: str) -> Version:
    environment = {**os.environ, **GO_ENVIRONMENT}
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return _NONE
    return _version(told, r"(\d+)\.(\d+)")


def _version(text: str, pattern: str) -> Version:
    found = re.search(pattern, text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else _NONE


if __name__ == "__main__":
    print("\n".join(missing_extras()))
