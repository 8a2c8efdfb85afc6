"""Which replicas in a log directory have ever had records on the disk.

A partition's directory that is missing after a crash may never have been durable, which costs nothing: the replica has
never vouched for a record. Or the disk has lost it, and with it records that were acknowledged: then the replica must
not be taken for one that has everything (``LogManager.lost_replicas``). The register tells the two apart. A log's first
flush writes it a line, beside the partition's directory and not in it, before anybody is told of the flush.

Lines are appended and synced; one that a crash has cut short was never vouched for.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from uuid import UUID

from storage.checkpoint import write_atomically
from storage.filesystem import Filesystem
from storage.topic_partition import TopicPartition

REPLICA_REGISTER = "kbroker-replicas"

_FIELDS = 3


class ReplicaRegister:
    """The register of one log directory. OSError from the disk."""

    def __init__(self, filesystem: Filesystem, directory: str) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self._path = f"{directory}/{REPLICA_REGISTER}"
        self._lock = threading.Lock()
        self._entries: dict[TopicPartition, UUID] = {}
        self._size_bytes = 0

    def load(self) -> None:
        try:
            content = self._filesystem.read_file(self._path)
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._size_bytes = len(whole)
        for line in whole.decode(errors="replace").splitlines():
            fields = line.split(" ")
            try:
                topic, index, topic_id = fields[0], int(fields[1]), UUID(fields[2])
            except (ValueError, IndexError):
                continue  # what is damaged vouches for nothing
            self._entries[TopicPartition(topic, index)] = topic_id

    @property
    def entries(self) -> dict[TopicPartition, UUID]:
        """A copy; by partition the topic id of the replica last entered."""
        with self._lock:
            return dict(self._entries)

    def has(self, name: TopicPartition, topic_id: UUID) -> bool:
        return self._entries.get(name) == topic_id

    def add(self, name: TopicPartition, topic_id: UUID) -> None:
        """Enter a replica; durable when it returns. May be called from any thread."""
        with self._lock:
            if self._entries.get(name) == topic_id:
                return
            is_new = not self._size_bytes
            line = f"{name.topic} {name.partition} {topic_id}\n".encode()
            file = self._filesystem.open(self._path, create=True)
            try:
                file.pwrite([line], self._size_bytes)
                file.sync()
            finally:
                file.close()
            if is_new:
                self._filesystem.sync_directory(self._directory)
            self._size_bytes += len(line)
            self._entries[name] = topic_id

    def keep_only(self, replicas: Collection[tuple[TopicPartition, UUID]]) -> None:
        """Strike out every other one."""
        with self._lock:
            kept = {
                name: topic_id for name, topic_id in self._entries.items() if (name, topic_id) in replicas
            }
            if len(kept) == len(self._entries):
                return
            lines = [f"{name.topic} {name.partition} {topic_id}\n" for name, topic_id in kept.items()]
            content = "".join(lines).encode()
            write_atomically(self._filesystem, self._path, content)
            self._entries, self._size_bytes = kept, len(content)
