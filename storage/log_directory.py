"""One log directory (`log.dirs` may name several): its lock, identity, checkpoints and clean-shutdown marker."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from threading import Lock
from uuid import UUID

from storage.checkpoint import decode_offsets, encode_offsets, write_atomically
from storage.errors import (
    CorruptCheckpointError,
    DirectoryInUseError,
    IncompatibleDirectoryError,
    StorageError,
)
from storage.filesystem import DirectoryLock, Filesystem
from storage.meta_properties import MetaProperties, read_meta_properties, write_meta_properties
from storage.topic_partition import TopicPartition

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
CLEAN_SHUTDOWN_FILE = ".kafka_cleanshutdown"


class CheckpointFile:
    """A small file about all logs of a directory. It may be written from several threads: the latest content wins."""

    def __init__(self, filesystem: Filesystem, path: str) -> None:
        self._filesystem = filesystem
        self._path = path
        self._lock = Lock()
        self._prepared = 0
        self._written = 0
        self._content: bytes | None = None

    def prepare_content(self, encode: Callable[[], bytes]) -> Callable[[], None]:
        """A function that writes what `encode` gives, unless something later was written before it ran."""
        self._prepared += 1
        number = self._prepared

        def write() -> None:
            data = encode()
            with self._lock:
                if number < self._written:
                    return
                if data != self._content:
                    self._content = None  # unknown, should this fail halfway
                    write_atomically(self._filesystem, self._path, data)
                    self._content = data
                self._written = number

        return write

    def remove(self) -> None:
        """Have no file, on the disk too. What was prepared before is not written any more."""
        self._prepared += 1
        with self._lock:
            self._content = None
            self._written = self._prepared
            try:
                self._filesystem.remove(self._path)
            except FileNotFoundError:
                pass
            self._filesystem.sync_directory(self._path.rpartition("/")[0])


class OffsetCheckpoint(CheckpointFile):
    """One of Kafka's offset checkpoint files."""

    def read(self) -> dict[TopicPartition, int]:
        """The offsets; none when the file is missing or unreadable, which costs a longer recovery."""
        try:
            return decode_offsets(self._filesystem.read_file(self._path))
        except FileNotFoundError:
            return {}
        except CorruptCheckpointError as error:
            logger.error("Ignoring %s: %s", self._path, error)
            return {}

    def prepare(self, offsets: Mapping[TopicPartition, int]) -> Callable[[], None]:
        """See `prepare_content`."""
        return self.prepare_content(lambda: encode_offsets(offsets))


class LogDirectory:
    """A locked log directory with a known identity. `error` is set once it has failed."""

    def __init__(self, filesystem: Filesystem, path: str) -> None:
        self._filesystem = filesystem
        self.path = path
        self.directory_id: UUID | None = None
        self.properties: MetaProperties | None = None
        self.error: StorageError | None = None
        self._lock: DirectoryLock | None = None

    def lock(self) -> None:
        """Create the directory if need be and lock it; DirectoryInUseError when somebody else has."""
        try:
            self._filesystem.make_directories(self.path)
            self._lock = self._filesystem.lock(f"{self.path}/{LOCK_FILE}")
        except OSError as error:
            raise StorageError(self.path, "cannot lock the log directory", error) from error
        if self._lock is None:
            raise DirectoryInUseError(f"{self.path} is in use: another broker holds {LOCK_FILE}")

    def unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def read_properties(self) -> MetaProperties | None:
        try:
            self.properties = read_meta_properties(self._filesystem, self.path)
        except OSError as error:
            raise StorageError(self.path, "cannot read meta.properties", error) from error
        return self.properties

    def adopt(self, cluster_id: str, node_id: int, new_directory_id: Callable[[], UUID]) -> None:
        """Make sure that the directory belongs to this node, writing meta.properties where it is missing.

        IncompatibleDirectoryError when it belongs to another node or cluster.
        """
        found = self.properties
        if found is not None and (found.cluster_id, found.node_id) != (cluster_id, node_id):
            raise IncompatibleDirectoryError(
                f"{self.path} belongs to node {found.node_id} of cluster {found.cluster_id}, "
                f"not to node {node_id} of cluster {cluster_id}"
            )
        if found is None or found.directory_id is None:
            found = MetaProperties(cluster_id, node_id, new_directory_id())
            try:
                self._sync_names_above()
                write_meta_properties(self._filesystem, self.path, found)
            except OSError as error:
                raise StorageError(self.path, "cannot write meta.properties", error) from error
            self.properties = found
        self.directory_id = found.directory_id

    def _sync_names_above(self) -> None:
        """The directory is new, and those above may be: a power loss must not take it away with all that is in it."""
        path = self.path
        while path != "/":
            path = path.rpartition("/")[0] or "/"
            try:
                self._filesystem.sync_directory(path)
            except PermissionError:
                break  # not readable, so nobody made it for us

    def take_clean_shutdown_marker(self) -> bool:
        """Whether the last shutdown was clean. The marker is gone afterwards: a crash from now on is one."""
        path = f"{self.path}/{CLEAN_SHUTDOWN_FILE}"
        try:
            self._filesystem.remove(path)
            self._filesystem.sync_directory(self.path)
        except FileNotFoundError:
            return False
        return True

    def leave_clean_shutdown_marker(self, broker_epoch: int) -> None:
        path = f"{self.path}/{CLEAN_SHUTDOWN_FILE}"
        content = json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":"))
        write_atomically(self._filesystem, path, content.encode())

    def free_bytes(self) -> int:
        return self._filesystem.free_bytes(self.path)

    def total_bytes(self) -> int:
        return self._filesystem.total_bytes(self.path)
