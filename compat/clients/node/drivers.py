"""The Node.js clients: packages installed once under ``build/compat``, fixed by ``package-lock.json``."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from compat.clients.client_kind import ClientKind, NotInstalledError
from compat.reference.maven import KEPT

_SOURCE: Final = Path(__file__).parent
_MANIFESTS: Final = ("package.json", "package-lock.json", ".npmrc")
_INSTALL_DEADLINE_S: Final = 600


def _command(name: str, *, node_min: tuple[int, int]) -> Callable[[], tuple[str, ...]]:
    def prepare() -> tuple[str, ...]:
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise NotInstalledError(f"{program} is not installed")
        said = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
        here = re.match(r"v(\d+)\.(\d+)", said)
        if here is None or (int(here[1]), int(here[2])) < node_min:
            raise NotInstalledError(f"needs Node.js {node_min[0]}.{node_min[1]}, this is {said}")
        return ("node", str(_installed() / f"{name}.mjs"))

    return prepare


@functools.cache
def _installed() -> Path:
    """A directory with the drivers and their packages; packages are found from where a module lies, hence copies."""
    digest = hashlib.sha256(b"".join((_SOURCE / name).read_bytes() for name in _MANIFESTS)).hexdigest()[:16]
    directory = KEPT / "node" / digest
    if not directory.exists():
        _install(directory)
    for module in _SOURCE.glob("*.mjs"):
        shutil.copy(module, directory)
    return directory


def _install(directory: Path) -> None:
    """``npm ci`` beside it first, so that it is whole once it is there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as beside:
        for name in _MANIFESTS:
            shutil.copy(_SOURCE / name, beside)
        try:
            done = subprocess.run(
                ["npm", "ci"], cwd=beside, capture_output=True, text=True, timeout=_INSTALL_DEADLINE_S
            )
        except subprocess.TimeoutExpired:
            raise NotInstalledError(f"npm did not install the clients in {_INSTALL_DEADLINE_S} s") from None
        if done.returncode != 0:
            raise NotInstalledError(f"npm cannot install the clients: {done.stderr.strip()[-400:]}")
        shutil.copytree(beside, directory)


CLIENTS: Final = (
    ClientKind("kafkajs", "JavaScript", _command("kafkajs_driver", node_min=(18, 0))),
    ClientKind("@platformatic/kafka", "JavaScript", _command("platformatic_driver", node_min=(20, 19))),
)
