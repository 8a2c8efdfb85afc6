"""A checksum of everything that happens, and the story of what is worth telling."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable

_REMEMBERED = 60


class Trace:
    """``checksum`` is the same whenever a seed is run; ``story`` is the end of what was told."""

    def __init__(self, *, verbose: bool, now: Callable[[], float]) -> None:
        self.checksum = 0
        self.story: deque[str] = deque(maxlen=_REMEMBERED)
        self._verbose = verbose
        self._now = now

    def add(self, what: str, data: bytes | bytearray | memoryview = b"") -> None:
        """Something happened that nobody is told about: a message, a file operation."""
        self.checksum = zlib.crc32(data, zlib.crc32(f"{self._now():.9f} {what}".encode(), self.checksum))

    def tell(self, what: str) -> None:
        self.add(what)
        line = f"{self._now():9.3f} {what}"
        self.story.append(line)
        if self._verbose:
            print(line, flush=True)

    def comment(self, what: str) -> None:
        """Something for readers that need not be the same each time (object addresses, say)."""
        line = f"{self._now():9.3f} {what}"
        self.story.append(line)
        if self._verbose:
            print(line, flush=True)
