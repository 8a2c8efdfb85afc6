"""One kind of client: how its driver is built and started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class NotInstalledError(Exception):
    """What the driver needs is not on this machine; the message names it."""


class TooOldError(NotInstalledError):
    """It is there, but older than the driver needs: nothing that installing the system's own package would mend."""


@dataclass(frozen=True)
class ClientKind:
    """A client library and the driver that speaks for it.

    Each language folder has a module ``drivers`` with ``CLIENTS: tuple[ClientKind, ...]``.
    """

    name: str
    """The library's own name, as in ``docs/COMPATIBILITY.md``: ``franz-go``, ``kafkajs``."""
    language: str
    prepare: Callable[[], tuple[str, ...]]
    """Builds what is needed under ``build/compat``, once, and returns the command that starts the driver.

    NotInstalledError where the toolchain is missing, TooOldError where it is too old."""
