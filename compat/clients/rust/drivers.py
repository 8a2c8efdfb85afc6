"""The Rust client: built once under ``build/compat/rust``."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from compat.clients.client_kind import ClientKind, NotInstalledError
from compat.reference.maven import KEPT

_SOURCE: Final = Path(__file__).parent
_DIRECTORY: Final = KEPT / "rust"
_BUILD_DEADLINE_S: Final = 1_200


@functools.cache
def _built() -> Path:
    """The command, up to date. NotInstalledError without a Rust that is new enough, or a C compiler."""
    for program in ("cargo", "cc"):
        if shutil.which(program) is None:
            raise NotInstalledError(f"{program} is not installed")
    manifest = (_SOURCE / "Cargo.toml").read_text(encoding="utf-8")
    needed = _version(manifest, r'^rust-version = "(\d+)\.(\d+)"')
    said = subprocess.run(["cargo", "--version"], capture_output=True, text=True).stdout.strip()
    if _version(said, r"cargo (\d+)\.(\d+)") < needed:
        raise NotInstalledError(f"the client needs Rust {needed[0]}.{needed[1]}, this is {said}")
    # A copy, because Cargo writes beside its manifest.
    shutil.copytree(_SOURCE / "src", _DIRECTORY / "src", dirs_exist_ok=True)
    shutil.copy2(_SOURCE / "Cargo.toml", _DIRECTORY)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(_DIRECTORY / "target")}
    try:
        done = subprocess.run(
            ["cargo", "build", "--quiet"],
            cwd=_DIRECTORY,
            capture_output=True,
            text=True,
            env=environment,
            timeout=_BUILD_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"the Rust client was not built in {_BUILD_DEADLINE_S} s") from None
    if done.returncode != 0:
        raise NotInstalledError(f"the Rust client cannot be built: {done.stderr.strip()[-400:]}")
    return _DIRECTORY / "target" / "debug" / "compat-clients"


def _version(text: str, pattern: str) -> tuple[int, int]:
    found = re.search(pattern, text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


CLIENTS: Final = (ClientKind("krafka", "Rust", lambda: (str(_built()),)),)
