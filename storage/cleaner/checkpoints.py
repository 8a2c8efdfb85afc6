"""How far each log has been cleaned: `cleaner-offset-checkpoint`, one file a log directory (Kafka: LogCleanerManager).

An offset that is too low costs a cleaning that finds little. One that is too high is dangerous: a tombstone that no map
ever held could go while the record that it deletes stays. So it falls before the log is cut, on the disk too, and
goes with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from storage.checkpoint import CLEANER_CHECKPOINT
from storage.filesystem import Filesystem
from storage.log_directory import OffsetCheckpoint
from storage.topic_partition import TopicPartition


class CleanerCheckpoints:
    """Offsets by log directory and partition. Writing raises OSError."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem
        self._files: dict[str, OffsetCheckpoint] = {}
        self._offsets: dict[str, dict[TopicPartition, int]] = {}

    def load(self, directory: str) -> None:
        """Read the file of a log directory; none is as good as an empty one."""
        file = OffsetCheckpoint(self._filesystem, f"{directory}/{CLEANER_CHECKPOINT}")
        self._files[directory] = file
        self._offsets[directory] = file.read()

    def drop(self, directory: str) -> None:
        """The directory failed."""
        self._files.pop(directory, None)
        self._offsets.pop(directory, None)

    def offset_of(self, directory: str, name: TopicPartition) -> int | None:
        """The offset behind the cleaned part of a log; None if it was never cleaned."""
        return self._offsets.get(directory, {}).get(name)

    def begin_update(self, directory: str, name: TopicPartition, offset: int) -> Callable[[], None]:
        """Note how far a log was cleaned; the function that is returned writes it, in any thread."""
        offsets = self._offsets.get(directory)
        if offsets is None:
            return _write_nothing  # the directory has failed meanwhile
        offsets[name] = offset
        return self._prepare(directory)

    def lower(self, directory: str, name: TopicPartition, offset: int) -> None:
        """The log is about to be cut at `offset`: write that now, if it concerns us. As it was, when that fails."""
        before = self.offset_of(directory, name)
        if before is None or before <= offset:
            return
        self._offsets[directory][name] = offset
        try:
            self._prepare(directory)()
        except OSError:
            self._offsets[directory][name] = before
            raise

    def begin_keep_only(self, directory: str, names: Collection[TopicPartition]) -> Callable[[], None]:
        """Forget all logs but those of `names`: new logs must not inherit what is said of deleted ones.

        The function that is returned writes it.
        """
        offsets = self._offsets.get(directory, {})
        gone = [name for name in offsets if name not in names]
        for name in gone:
            del offsets[name]
        return self._prepare(directory) if gone else _write_nothing

    def moved(self, name: TopicPartition, old_directory: str, new_directory: str) -> None:
        """A log lies in another directory now. It loses its offset in the old one last."""
        offset = self.offset_of(old_directory, name)
        if offset is None:
            self._forget(new_directory, name)
        else:
            self.begin_update(new_directory, name, offset)()
            self._forget(old_directory, name)

    def _forget(self, directory: str, name: TopicPartition) -> None:
        if self._offsets.get(directory, {}).pop(name, None) is not None:
            self._prepare(directory)()

    def _prepare(self, directory: str) -> Callable[[], None]:
        return self._files[directory].prepare(dict(self._offsets[directory]))


def _write_nothing() -> None:
    """What was to be written is on the disk already."""
