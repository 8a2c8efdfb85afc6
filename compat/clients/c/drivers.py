"""kcat, as the system's packages have it."""

from __future__ import annotations

import shutil
import sys

from compat.clients.client_kind import ClientKind, NotInstalledError


def _kcat() -> tuple[str, ...]:
    if shutil.which("kcat") is None:
        raise NotInstalledError("kcat is not installed")
    return (sys.executable, "-m", "compat.clients.c.kcat_driver")


CLIENTS = (ClientKind("kcat", "C", _kcat),)
