"""What all logs of a broker share: the disk, the clock, the file cache, and a few settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from storage.file_cache import FileCache
from storage.filesystem import Filesystem
from storage.log_config import LogConfig
from storage.log_validator import DECOMPRESSED_BYTES_MAX
from storage.producer_state import PRODUCER_ID_EXPIRATION_MS
from storage.removals import RemovalQueue


def _no_jitter(below: int) -> int:
    return 0


def _never() -> bool:
    return False


class NewNames:
    """In which log directories partition directories were made that a power loss may still undo.

    One sync of a log directory serves all partitions made in it before.
    """

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._synced: dict[str, int] = {}

    def created(self, log_directory: str) -> int:
        """A partition's directory was made; the number to ask `is_unsynced` with."""
        version = self._versions[log_directory] = self.version(log_directory) + 1
        return version

    def found(self, log_directory: str) -> int:
        """Like `created`, for a directory that was there: whoever made it may not have synced it."""
        return self._versions.setdefault(log_directory, 1)

    def version(self, log_directory: str) -> int:
        return self._versions.get(log_directory, 0)

    def is_unsynced(self, log_directory: str, version: int) -> bool:
        return version > self._synced.get(log_directory, 0)

    def synced(self, log_directory: str, version: int) -> None:
        """The log directory was synced when `version` was its latest."""
        self._synced[log_directory] = max(version, self._synced.get(log_directory, 0))


@dataclass(slots=True)
class LogContext:
    """`random_below(n)` gives an integer in [0, n) and decides segment.jitter.ms; n is positive.

    `requires_verification` is asked when a batch opens a transaction: whether only with a verification guard.
    """

    filesystem: Filesystem
    clock_ms: Callable[[], int]
    random_below: Callable[[int], int] = _no_jitter
    producer_id_expiration_ms: int = PRODUCER_ID_EXPIRATION_MS
    decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX
    open_files_max: int = 128
    requires_verification: Callable[[], bool] = _never
    cache: FileCache = field(init=False)
    removals: RemovalQueue = field(init=False)
    new_names: NewNames = field(init=False)

    def jitter_ms(self, config: LogConfig) -> int:
        """How much earlier than segment.ms a new segment is rolled, so that not all roll at once."""
        bound = min(config.segment_jitter_ms, config.segment_ms)
        return self.random_below(bound) if bound > 0 else 0

    def __post_init__(self) -> None:
        self.cache = FileCache(self.filesystem, open_files_max=self.open_files_max)
        self.removals = RemovalQueue(self.filesystem, self.clock_ms)
        self.new_names = NewNames()
