"""Which replicas in a log directory have ever had records on the disk.

A partition's directory that is missing after a crash may never have been durable, which costs nothing: the replica has
never vouched for a record. Or the disk has lost it, and with it records that were acknowledged: then the replica must
not be taken for one that has everything (``ReplicaRegisters.is_lost``). The register tells the two apart. A log's first
flush writes it a line, beside the partition's directory and not in it, before anybody is told of the flush.

A replica that is lost keeps its line, marked: first as lost, and once the cluster knows as resigned, until it is in
sync again. A log that was made anew in its place is not what it was. That may lie in another log directory: what
the other registers say of the replica is struck out once it is entered where it is.

Lines are appended and synced; one that a crash has cut short was never vouched for. The last of a partition counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from storage.checkpoint import write_atomically
from storage.filesystem import Filesystem
from storage.topic_partition import TopicPartition

REPLICA_REGISTER = "kbroker-replicas"


class Standing(Enum):
    """How far a replica can be relied on."""

    WHOLE = ""
    LOST = "lost"
    """The cluster may still count on it."""
    RESIGNED = "resigned"
    """The cluster has been told, and takes it for in sync only once it has caught up."""


_STANDINGS = {standing.value: standing for standing in Standing}


class Entry(NamedTuple):
    topic_id: UUID
    standing: Standing = Standing.WHOLE


class ReplicaRegister:
    """The register of one log directory. OSError from the disk."""

    def __init__(self, filesystem: Filesystem, directory: str) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self._path = f"{directory}/{REPLICA_REGISTER}"
        self._lock = threading.Lock()
        self._entries: dict[TopicPartition, Entry] = {}
        self._size_bytes = 0
        self.exists = False
        """Whether a broker has told the cluster of this directory's replicas before. If not, it is a new one."""

    def load(self) -> None:
        try:
            content = self._filesystem.read_file(self._path)
        except FileNotFoundError:
            return
        self.exists = True
        whole = content[: content.rfind(b"\n") + 1]
        self._size_bytes = len(whole)
        for line in whole.decode(errors="replace").splitlines():
            fields = line.split(" ")
            try:
                topic, index, topic_id = fields[0], int(fields[1]), UUID(fields[2])
            except (ValueError, IndexError):
                continue  # what is damaged vouches for nothing
            standing = _STANDINGS.get(fields[3] if len(fields) > 3 else "", Standing.LOST)
            self._entries[TopicPartition(topic, index)] = Entry(topic_id, standing)

    @property
    def entries(self) -> dict[TopicPartition, Entry]:
        """A copy; by partition what was last entered."""
        with self._lock:
            return dict(self._entries)

    def has(self, name: TopicPartition, topic_id: UUID) -> bool:
        """Whether the replica has had records on the disk, as far as is known."""
        return self._entries.get(name) == Entry(topic_id)

    def tells_of(self, name: TopicPartition) -> bool:
        """Whether anything is entered of the partition, be it of this topic or of another one that had its name."""
        return name in self._entries

    def add(self, name: TopicPartition, topic_id: UUID) -> None:
        """Enter a replica that has records; durable when it returns. May be called from any thread."""
        self._append({name: Entry(topic_id)})

    def mark(self, replicas: Mapping[TopicPartition, UUID], standing: Standing) -> None:
        """Note how far replicas can be relied on; durable when it returns."""
        self._append({name: Entry(topic_id, standing) for name, topic_id in replicas.items()})

    def _append(self, entries: Mapping[TopicPartition, Entry]) -> None:
        with self._lock:
            entries = {name: entry for name, entry in entries.items() if self._entries.get(name) != entry}
            if not entries:
                return
            content = "".join(_line(name, entry) for name, entry in entries.items()).encode()
            file = self._filesystem.open(self._path, create=True)
            try:
                file.pwrite([content], self._size_bytes)
                file.sync()
            finally:
                file.close()
            if not self.exists:
                self._filesystem.sync_directory(self._directory)
                self.exists = True
            self._size_bytes += len(content)
            self._entries.update(entries)

    def strike(self, names: Collection[TopicPartition]) -> None:
        """Say nothing of these partitions any more; durable when it returns. May be called from any thread."""
        if any(self.tells_of(name) for name in names):
            self.keep_only(lambda name, topic_id: name not in names)

    def keep_only(self, is_known: Callable[[TopicPartition, UUID], bool]) -> None:
        """Strike out every other one, and all lines that later ones have replaced; makes the file if there is none."""
        with self._lock:
            kept = {name: entry for name, entry in self._entries.items() if is_known(name, entry.topic_id)}
            content = "".join(_line(name, entry) for name, entry in kept.items()).encode()
            if len(content) != self._size_bytes or not self.exists:
                write_atomically(self._filesystem, self._path, content)
                self._entries, self._size_bytes, self.exists = kept, len(content), True


def _line(name: TopicPartition, entry: Entry) -> str:
    return f"{name.topic} {name.partition} {entry.topic_id} {entry.standing.value}".rstrip() + "\n"
