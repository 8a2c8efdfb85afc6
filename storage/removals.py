"""Files and directories that wait to be removed for good.

What is deleted gets a name that says so at once (`.deleted`, `-delete`), which costs a rename; freeing its
blocks, which may take long, comes file.delete.delay.ms later and off the owner's path. Whatever a crash
leaves under such a name is removed at the next start.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from storage.filesystem import Filesystem

logger = logging.getLogger(__name__)


class _Removal(NamedTuple):
    due_ms: int
    path: str
    is_directory: bool


class RemovalQueue:
    """`run_due` may run in another thread than the rest."""

    def __init__(self, filesystem: Filesystem, clock_ms: Callable[[], int]) -> None:
        self._filesystem = filesystem
        self._clock_ms = clock_ms
        self._queue: deque[_Removal] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add_files(self, paths: Iterable[str], delay_ms: int) -> None:
        due_ms = self._clock_ms() + delay_ms
        self._queue.extend(_Removal(due_ms, path, False) for path in paths)

    def add_directory(self, path: str, delay_ms: int) -> None:
        self._queue.append(_Removal(self._clock_ms() + delay_ms, path, True))

    def run_due(self) -> int:
        """Remove what is due; returns how many entries remain. A failure is logged, and retried at the next start."""
        now_ms = self._clock_ms()
        for _ in range(len(self._queue)):
            removal = self._queue.popleft()
            if removal.due_ms > now_ms:
                self._queue.append(removal)
            else:
                self._remove(removal)
        return len(self._queue)

    def _remove(self, removal: _Removal) -> None:
        try:
            if removal.is_directory:
                self._remove_tree(removal.path)
            else:
                self._filesystem.remove(removal.path)
        except FileNotFoundError:
            pass  # its directory was removed meanwhile
        except OSError as error:
            logger.error("Cannot remove %s: %s", removal.path, error)

    def _remove_tree(self, path: str) -> None:
        for entry in self._filesystem.scan(path):
            child = f"{path}/{entry.name}"
            if entry.is_directory:
                self._remove_tree(child)
            else:
                self._filesystem.remove(child)
        self._filesystem.remove_directory(path)
