"""The committed offsets of one shard, and those that open transactions are about to commit.

Every change is a record of the log: ``apply`` for offsets, ``end_transaction`` for the markers that end the
transactions which offsets were written in (KIP-447). Three views of an offset exist:

    latest     what the log says up to its end: decisions are taken on it
    committed  what the in-sync replicas have, and so what no failover takes back: OffsetFetch reads it
    pending    what a transaction wrote, until its marker comes; it makes the offset unstable

Kafka: the state of ``OffsetMetadataManager``. Its timeline maps keep every version of the map; here it is the
map and the short list of what was there before each change that is not committed yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from kbroker.coordination.group.records import CommittedOffset, OffsetChange

TopicPartition = tuple[str, int]
Offsets = dict[TopicPartition, CommittedOffset]

_NO_OFFSETS: Offsets = {}
_NO_PRODUCER_ID = -1


class _Undo(NamedTuple):
    """What a partition's offset was before the record at ``record_offset``."""

    record_offset: int
    group_id: str
    partition: TopicPartition
    before: CommittedOffset | None


class OffsetStore:
    """Offsets by group, topic name and partition."""

    def __init__(self) -> None:
        self._latest: dict[str, Offsets] = {}
        self._uncommitted: deque[_Undo] = deque()
        self._pending: dict[int, dict[str, Offsets]] = {}
        self._open: dict[str, dict[TopicPartition, dict[int, None]]] = {}

    # Reading

    def latest(self, group_id: str) -> Mapping[TopicPartition, CommittedOffset]:
        """All offsets of the group, also those that are not committed to the replicas yet."""
        return self._latest.get(group_id, _NO_OFFSETS)

    def committed(self, group_id: str) -> Mapping[TopicPartition, CommittedOffset]:
        """The offsets of the group that every in-sync replica has."""
        latest = self._latest.get(group_id, _NO_OFFSETS)
        if not self._uncommitted:
            return latest
        committed = dict(latest)
        for undo in reversed(self._uncommitted):
            if undo.group_id != group_id:
                continue
            if undo.before is None:
                committed.pop(undo.partition, None)
            else:
                committed[undo.partition] = undo.before
        return committed

    def is_unstable(self, group_id: str, topic: str, partition: int) -> bool:
        """Whether an open transaction may still change the offset."""
        return (topic, partition) in self._open.get(group_id, {})

    def has_open_transactions(self, group_id: str) -> bool:
        return group_id in self._open

    def unstable_partitions(self, group_id: str) -> Collection[TopicPartition]:
        """The partitions of the group that open transactions have written to."""
        return self._open.get(group_id, {}).keys()

    def all_latest(self) -> Iterator[tuple[str, TopicPartition, CommittedOffset]]:
        """Every (group id, (topic, partition), offset)."""
        for group_id, offsets in self._latest.items():
            for partition, committed in offsets.items():
                yield group_id, partition, committed

    def all_pending(self) -> Iterator[tuple[str, TopicPartition, CommittedOffset]]:
        """As ``all_latest``, of the open transactions; a partition may come several times."""
        for groups in self._pending.values():
            for group_id, offsets in groups.items():
                for partition, committed in offsets.items():
                    yield group_id, partition, committed

    # Replaying

    def apply(self, record_offset: int, producer_id: int, change: OffsetChange) -> None:
        """Apply the record at ``record_offset``; ``producer_id`` -1 if it is not part of a transaction."""
        partition = change.topic, change.partition
        if change.committed is None:
            self._remove(record_offset, change.group_id, partition)
            return
        committed = change.committed._replace(record_offset=record_offset)
        if producer_id == _NO_PRODUCER_ID:
            self._put(record_offset, change.group_id, partition, committed)
            return
        groups = self._pending.setdefault(producer_id, {})
        groups.setdefault(change.group_id, {})[partition] = committed
        self._open.setdefault(change.group_id, {}).setdefault(partition, {})[producer_id] = None

    def end_transaction(self, marker_offset: int, producer_id: int, *, is_commit: bool) -> None:
        """Apply the marker at ``marker_offset``: what the transaction wrote counts, or never was."""
        for group_id, offsets in self._pending.pop(producer_id, {}).items():
            for partition, committed in offsets.items():
                self._close(group_id, partition, producer_id)
                current = self._latest.get(group_id, _NO_OFFSETS).get(partition)
                # A plain commit that came after the transactional one is the newer (KAFKA-5600).
                if is_commit and (current is None or committed.record_offset > current.record_offset):
                    self._put(marker_offset, group_id, partition, committed)

    def advance_committed(self, offset: int) -> None:
        """Every record below ``offset`` is committed and cannot be undone."""
        while self._uncommitted and self._uncommitted[0].record_offset < offset:
            self._uncommitted.popleft()

    def _put(
        self, record_offset: int, group_id: str, partition: TopicPartition, committed: CommittedOffset
    ) -> None:
        offsets = self._latest.setdefault(group_id, {})
        self._uncommitted.append(_Undo(record_offset, group_id, partition, offsets.get(partition)))
        offsets[partition] = committed

    def _remove(self, record_offset: int, group_id: str, partition: TopicPartition) -> None:
        """A tombstone: the offset is gone, and so is what open transactions wrote before it."""
        for producer_id in list(self._open.get(group_id, {}).get(partition, {})):
            self._close(group_id, partition, producer_id)
            groups = self._pending[producer_id]
            del groups[group_id][partition]
            if not groups[group_id]:
                del groups[group_id]
            if not groups:
                del self._pending[producer_id]
        offsets = self._latest.get(group_id)
        before = None if offsets is None else offsets.pop(partition, None)
        if offsets is None or before is None:
            return
        self._uncommitted.append(_Undo(record_offset, group_id, partition, before))
        if not offsets:
            del self._latest[group_id]

    def _close(self, group_id: str, partition: TopicPartition, producer_id: int) -> None:
        partitions = self._open[group_id]
        del partitions[partition][producer_id]
        if not partitions[partition]:
            del partitions[partition]
        if not partitions:
            del self._open[group_id]
