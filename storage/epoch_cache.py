"""At which offset each leader epoch began (Kafka: LeaderEpochFileCache, KIP-101, KIP-279).

Kept in `leader-epoch-checkpoint`. Every change is written at once, so that it survives the process; the
next flush makes it survive the machine, before the recovery point passes the records that it is about. A file
that replaces another is synced before it does: a power loss must not leave an empty one, and with it no epochs.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import NamedTuple

from storage.checkpoint import decode_epochs, encode_epochs, write_atomically
from storage.errors import CorruptCheckpointError
from storage.filesystem import Filesystem

logger = logging.getLogger(__name__)

UNDEFINED_EPOCH = -1
UNDEFINED_EPOCH_OFFSET = -1


class EpochEntry(NamedTuple):
    epoch: int
    start_offset: int


class EpochEndOffset(NamedTuple):
    """(-1, -1) when the epoch is unknown."""

    epoch: int
    end_offset: int


def decode_epoch_entries(data: bytes) -> list[EpochEntry]:
    """The entries of a checkpoint file; CorruptCheckpointError unless both columns ascend."""
    entries = [EpochEntry(*pair) for pair in decode_epochs(data)]
    for before, after in pairwise(entries):
        if not (before.epoch < after.epoch and before.start_offset < after.start_offset):
            raise CorruptCheckpointError(f"{before} is followed by {after}")
    return entries


class LeaderEpochCache:
    """Epochs with their start offsets, both ascending."""

    __slots__ = ("_entries", "_filesystem", "_path", "_stale", "unsynced", "version")

    def __init__(self, filesystem: Filesystem, path: str, entries: list[EpochEntry]) -> None:
        self._filesystem = filesystem
        self._path = path
        self._entries = entries
        self._stale = False
        self.unsynced = False
        """Whether the file was written but not synced since; `version` counts the changes."""
        self.version = 0

    @property
    def path(self) -> str:
        return self._path

    @property
    def entries(self) -> list[EpochEntry]:
        return list(self._entries)

    @property
    def latest_epoch(self) -> int | None:
        return self._entries[-1].epoch if self._entries else None

    @property
    def earliest(self) -> EpochEntry | None:
        return self._entries[0] if self._entries else None

    def assign(self, epoch: int, start_offset: int) -> None:
        """Note that records from `start_offset` on were appended under `epoch`.

        Nothing happens when that is known. Entries that contradict it are dropped: the log was truncated
        behind our back, or the epoch before never got a record.
        """
        assert min(epoch, start_offset) >= 0, (epoch, start_offset)
        entries = self._entries
        if entries and entries[-1].epoch == epoch and start_offset >= entries[-1].start_offset:
            return
        kept = [entry for entry in entries if entry.epoch < epoch and entry.start_offset < start_offset]
        dropped = entries[len(kept) :]
        if len(dropped) > 1 or (dropped and dropped[0].start_offset != start_offset):
            logger.warning(
                "Epoch %d from offset %d replaces %s in %s", epoch, start_offset, dropped, self._path
            )
        self._replace([*kept, EpochEntry(epoch, start_offset)])

    def end_offset_for(self, epoch: int, log_end_offset: int) -> EpochEndOffset:
        """Where the largest epoch that is at most `epoch` ended: the start of the next one, or the log's end.

        For an epoch before the first known one, that one's start under the requested epoch's name.
        """
        if epoch == UNDEFINED_EPOCH:
            return EpochEndOffset(UNDEFINED_EPOCH, UNDEFINED_EPOCH_OFFSET)
        if epoch == self.latest_epoch:
            return EpochEndOffset(epoch, log_end_offset)
        floor = None
        for entry in self._entries:
            if entry.epoch > epoch:
                return EpochEndOffset(epoch if floor is None else floor.epoch, entry.start_offset)
            floor = entry
        return EpochEndOffset(UNDEFINED_EPOCH, UNDEFINED_EPOCH_OFFSET)

    def epoch_for_offset(self, offset: int) -> int | None:
        """Under which epoch the record at `offset` was appended."""
        found = None
        for entry in self._entries:
            if entry.start_offset > offset:
                break
            found = entry.epoch
        return found

    def truncate_from_end(self, end_offset: int) -> None:
        """Drop the epochs that begin at `end_offset` or later."""
        kept = [entry for entry in self._entries if entry.start_offset < end_offset]
        if len(kept) < len(self._entries):
            self._forget(kept)

    def truncate_from_start(self, start_offset: int) -> None:
        """Drop the epochs that ended before `start_offset`; the one it lies in begins there now."""
        later = [entry for entry in self._entries if entry.start_offset > start_offset]
        dropped = self._entries[: len(self._entries) - len(later)]
        if dropped and dropped[-1].start_offset != start_offset:
            self._forget([EpochEntry(dropped[-1].epoch, start_offset), *later])
        elif len(dropped) > 1:
            self._forget([dropped[-1], *later])

    def clear(self, *, force: bool = False) -> None:
        """Drop everything; `force` rewrites the file even if nothing was known."""
        if self._entries or force:
            self._forget([])

    def take_over(self, other: LeaderEpochCache) -> None:
        """Say what the cache of another log of the same content says."""
        if other._entries != self._entries:
            self._replace(list(other._entries))

    def moved(self, path: str) -> None:
        """The partition's directory was renamed."""
        self._path = path

    def rewrite_if_stale(self) -> None:
        """Write the file if an earlier attempt failed."""
        if self._stale:
            self._replace(self._entries)

    def _forget(self, entries: list[EpochEntry]) -> None:
        """Like `_replace`, but a full disk does not stop it: the loader drops what the log no longer has."""
        try:
            self._replace(entries)
        except OSError as error:
            logger.error("Cannot write %s, will try again: %s", self._path, error)
            self._entries = entries
            self._stale = True

    def _replace(self, entries: list[EpochEntry]) -> None:
        replaces = bool(self._entries)
        write_atomically(self._filesystem, self._path, encode_epochs(entries), sync=replaces, sync_name=False)
        self.unsynced = True
        self._stale = False
        self.version += 1
        self._entries = entries
