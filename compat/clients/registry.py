"""All clients, in the order of the table: each language's folder says which it has."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Final

from compat.clients.client_kind import ClientKind

LANGUAGES: Final = ("java", "python", "c", "go", "node")
"""Folders beside this file; each has a module ``drivers`` with ``CLIENTS``."""


def _found() -> Iterator[ClientKind]:
    for language in LANGUAGES:
        folder = f"{__package__}.{language}"
        if importlib.util.find_spec(folder) is not None and importlib.util.find_spec(f"{folder}.drivers"):
            yield from importlib.import_module(f"{folder}.drivers").CLIENTS


CLIENTS: Final[dict[str, ClientKind]] = {kind.name: kind for kind in _found()}
