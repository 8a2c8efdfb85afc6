"""Making appended records survive the machine, in three steps so that the slow one can run elsewhere.

`Log.begin_flush` notes what is to be synced, `PendingFlush.sync` does it (in a thread, if one likes), and
`PendingFlush.finish` moves the recovery point. Many logs' flushes may be collected and synced one after another:
that is a group commit.
"""

from __future__ import annotations

from collections.abc import Callable

from storage.errors import StorageError
from storage.file_cache import FileHandle
from storage.filesystem import File, Filesystem


class PendingFlush:
    """A flush of one log up to `offset`. Exactly one of `finish` and `abandon` must follow `begin_flush`."""

    def __init__(
        self,
        filesystem: Filesystem,
        log_directory: str,
        offset: int,
        *,
        handles: list[FileHandle],
        paths: list[str],
        directories: list[str],
        on_finish: Callable[[], None],
        note: Callable[[], None] | None = None,
    ) -> None:
        """`note` writes down elsewhere, durably, that the log has records; OSError."""
        self._note = note
        self._filesystem = filesystem
        self.log_directory = log_directory
        self.offset = offset
        self._paths = paths
        self._directories = directories
        self._on_finish = on_finish
        self._handles: list[FileHandle] = []
        self._files: list[File] = []
        try:
            for handle in handles:
                self._files.append(handle.pin())
                self._handles.append(handle)
        except OSError:
            self._release()
            raise

    @property
    def plain_files(self) -> list[File]:
        """Open files of which to sync is all there is to do; none when there are names to sync too."""
        return [] if self._paths or self._directories or self._note else self._files

    def sync(self) -> None:
        """Wait for the disk. May be called from any thread; touches nothing but the files.

        StorageError when the disk fails. What it held in its cache then may be lost: the directory cannot be
        trusted any more, and another try may wrongly succeed.
        """
        try:
            for file in self._files:
                file.sync()
            for path in self._paths:
                self._sync_path(path)
            for directory in self._directories:
                try:
                    self._filesystem.sync_directory(directory)
                except FileNotFoundError:
                    pass  # the log was deleted meanwhile
            if self._note is not None:
                self._note()
        except OSError as error:
            raise StorageError(self.log_directory, "cannot sync", error) from error

    def _sync_path(self, path: str) -> None:
        try:
            file = self._filesystem.open(path)
        except FileNotFoundError:
            return  # replaced or deleted meanwhile
        try:
            file.sync()
        finally:
            file.close()

    def run(self) -> None:
        """All of it at once: sync, then `finish`, or `abandon` and raise the StorageError."""
        try:
            self.sync()
        except StorageError:
            self.abandon()
            raise
        self.finish()

    def finish(self) -> None:
        """The sync has succeeded: the recovery point may move."""
        self._release()
        self._on_finish()

    def abandon(self) -> None:
        """The sync has failed or was not tried."""
        self._release()

    def _release(self) -> None:
        handles, self._handles, self._files = self._handles, [], []
        for handle in handles:
            handle.unpin()
