"""Which producers have written what to a partition (Kafka: ProducerStateManager).

One mechanism for two features: idempotent producers (epochs and sequences) and transactions (which are open,
which ended above the high watermark, hence up to where a read_committed consumer may read). The state
follows from the log alone; snapshots only spare reading it from the beginning.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections.abc import Container, Iterable

from storage.checkpoint import write_atomically
from storage.errors import CorruptSnapshotError
from storage.file_names import SNAPSHOT_SUFFIX, offset_file_name
from storage.filesystem import Filesystem
from storage.producer_append import AppendOrigin, CompletedTransaction, ProducerAppend
from storage.producer_entry import NO_OFFSET, ProducerEntry
from storage.producer_snapshot import decode_snapshot, encode_snapshot
from storage.transaction_verification import VerificationGuard, Verifications
from wire.errors import ApiError, ErrorCode
from wire.records import BatchHeader, EndTransactionMarker

logger = logging.getLogger(__name__)

PRODUCER_ID_EXPIRATION_MS = 24 * 60 * 60 * 1000


class ProducerStateManager:
    """Producer state of one partition up to `end_offset`, and its snapshot files.

    `producers` by producer id. Offsets of transactions are first offsets; -1 or None means there is none.
    """

    __slots__ = (
        "_directory",
        "_filesystem",
        "_last_snapshot_offset",
        "_ongoing",
        "_snapshots",
        "_unreplicated",
        "end_offset",
        "producer_id_expiration_ms",
        "producers",
        "unsynced_snapshots",
        "verifications",
    )

    def __init__(
        self,
        filesystem: Filesystem,
        directory: str,
        *,
        snapshots: list[int],
        producer_id_expiration_ms: int = PRODUCER_ID_EXPIRATION_MS,
    ) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self._snapshots = sorted(snapshots)
        self._last_snapshot_offset = 0
        self.producer_id_expiration_ms = producer_id_expiration_ms
        self.producers: dict[int, ProducerEntry] = {}
        self.end_offset = 0
        # First offset -> producer id, ascending: transactions begin in log order.
        self._ongoing: dict[int, int] = {}
        # First offset -> offset of the marker, for ended transactions whose marker is not replicated yet.
        self._unreplicated: dict[int, int] = {}
        self.unsynced_snapshots: list[int] = []
        self.verifications = Verifications()

    # Transactions

    @property
    def first_unstable_offset(self) -> int | None:
        """The first offset of a transaction that is open, or ended above the high watermark."""
        first = next(iter(self._ongoing), None)
        if self._unreplicated:
            first_unreplicated = min(self._unreplicated)
            return first_unreplicated if first is None else min(first, first_unreplicated)
        return first

    @property
    def first_undecided_offset(self) -> int | None:
        """The first offset of an open transaction."""
        return next(iter(self._ongoing), None)

    def on_high_watermark(self, high_watermark: int) -> bool:
        """Forget the ended transactions below; whether there were any."""
        if not self._unreplicated:
            return False
        replicated = [first for first, last in self._unreplicated.items() if last < high_watermark]
        for first in replicated:
            del self._unreplicated[first]
        return bool(replicated)

    def last_stable_offset_after(
        self,
        completed: CompletedTransaction,
        appends: Iterable[ProducerAppend] = (),
        ended: Container[int] = (),
    ) -> int:
        """The last stable offset once `completed` counts as ended: what the transaction index records.

        `appends` are the ones of the same write, not applied yet; `ended` the first offsets of transactions that
        ended in it before.
        """
        for first_offset, producer_id in self._ongoing.items():
            if producer_id != completed.producer_id and first_offset not in ended:
                return first_offset
        started = [
            first_offset
            for append in appends
            for first_offset in append.started_transactions
            if completed.first_offset != first_offset < completed.last_offset and first_offset not in ended
        ]
        return min(started, default=completed.last_offset + 1)

    def complete(self, completed: CompletedTransaction) -> None:
        """The marker was appended; the transaction stays unstable until the marker is replicated."""
        self._ongoing.pop(completed.first_offset, None)
        self._unreplicated[completed.first_offset] = completed.last_offset

    def oldest_transaction_timestamp(self) -> int | None:
        """When the producer of the oldest open transaction last wrote: tells hanging transactions."""
        for producer_id in self._ongoing.values():
            entry = self.producers.get(producer_id)
            return entry.last_timestamp if entry is not None else None
        return None

    def has_ongoing_transaction(self, producer_id: int, producer_epoch: int) -> bool:
        """Whether the producer has a transaction open here, and in this epoch."""
        entry = self.producers.get(producer_id)
        return (
            entry is not None
            and entry.transaction_first_offset != NO_OFFSET
            and entry.producer_epoch == producer_epoch
        )

    def check_epoch(self, producer_id: int, producer_epoch: int) -> None:
        """ApiError INVALID_PRODUCER_EPOCH if a newer epoch of the producer was seen."""
        entry = self.producers.get(producer_id)
        if entry is not None and producer_epoch < entry.producer_epoch:
            message = f"epoch {producer_epoch} of producer {producer_id} is older than {entry.producer_epoch}"
            raise ApiError(ErrorCode.INVALID_PRODUCER_EPOCH, message)

    def start_verification(
        self, producer_id: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool, now_ms: int
    ) -> VerificationGuard | None:
        """Before the coordinator is asked; None where the transaction is open here, and so needs no asking.

        ApiError INVALID_PRODUCER_EPOCH for a producer that was fenced.
        """
        self.check_epoch(producer_id, producer_epoch)
        if self.has_ongoing_transaction(producer_id, producer_epoch):
            return None
        return self.verifications.start(
            producer_id, sequence, producer_epoch, supports_epoch_bump=supports_epoch_bump, now_ms=now_ms
        )

    # Appends

    def prepare(self, producer_id: int, origin: AppendOrigin) -> ProducerAppend:
        return ProducerAppend(
            producer_id, self.producers.get(producer_id), origin, self.verifications.get(producer_id)
        )

    def apply(self, append: ProducerAppend) -> None:
        """The batches that `append` checked are in the log now."""
        new = append.entry
        entry = self.producers.get(new.producer_id)
        if entry is None:
            self.producers[new.producer_id] = new
        else:
            entry.set_epoch(new.producer_epoch)
            for batch in new.batches:
                entry.add_batch(batch)
            entry.coordinator_epoch = new.coordinator_epoch
            entry.transaction_first_offset = new.transaction_first_offset
            entry.last_timestamp = new.last_timestamp
        for first_offset in append.started_transactions:
            self._ongoing[first_offset] = new.producer_id

    def replay(self, header: BatchHeader, marker: EndTransactionMarker | None) -> CompletedTransaction | None:
        """Take over a batch that is in the log already; `marker` is that of a transaction-ending control batch.

        The caller completes the returned transaction after it has asked for the last stable offset.
        """
        completed = None
        if header.has_producer_id:
            append = self.prepare(header.producer_id, AppendOrigin.REPLICATION)
            if not header.is_control:
                append.append_data(
                    producer_epoch=header.producer_epoch,
                    base_sequence=header.base_sequence,
                    last_sequence=header.last_sequence,
                    first_offset=header.base_offset,
                    last_offset=header.last_offset,
                    timestamp=header.max_timestamp,
                    is_transactional=header.is_transactional,
                )
                self.apply(append)
            elif marker is not None:
                completed = append.append_marker(
                    marker,
                    producer_epoch=header.producer_epoch,
                    offset=header.base_offset,
                    timestamp=header.max_timestamp,
                )
                self.apply(append)
        self.end_offset = header.next_offset
        return completed

    def remove_expired(self, now_ms: int) -> None:
        """Forget producers that were idle for producer.id.expiration.ms, unless in a transaction."""
        expired = [entry.producer_id for entry in self.producers.values() if self._is_expired(entry, now_ms)]
        for producer_id in expired:
            del self.producers[producer_id]
        self.verifications.remove_expired(now_ms, self.producer_id_expiration_ms)

    def _is_expired(self, entry: ProducerEntry, now_ms: int) -> bool:
        idle = now_ms - entry.last_timestamp >= self.producer_id_expiration_ms
        return idle and entry.transaction_first_offset == NO_OFFSET

    @property
    def is_empty(self) -> bool:
        return not self.producers and not self._unreplicated

    def take_over(self, other: ProducerStateManager) -> None:
        """Become the state of another log of the same content, whose own state ends with this.

        That may know more than the records tell: producers whose records were deleted, verifications under way.
        A snapshot of it is due, even where there is one.
        """
        self.producers = other.producers
        self._ongoing = other._ongoing
        self._unreplicated = other._unreplicated
        self.verifications = other.verifications
        self._last_snapshot_offset = 0

    # Snapshots

    @property
    def snapshots(self) -> list[int]:
        """Offsets of the snapshot files, ascending."""
        return list(self._snapshots)

    def take_snapshot(self, *, sync: bool = False) -> None:
        """Write a snapshot at the end offset, unless there is one or nothing was added since.

        Without `sync` it stands in `unsynced_snapshots` until the next flush: its CRC tells when a power
        loss came first.
        """
        if self.end_offset <= self._last_snapshot_offset:
            return
        offset = self.end_offset
        data = encode_snapshot(self.producers.values())
        write_atomically(self._filesystem, self.snapshot_path(offset), data, sync=sync)
        if offset not in self._snapshots:
            insort(self._snapshots, offset)
        if not sync:
            self.unsynced_snapshots.append(offset)
        self._last_snapshot_offset = offset

    def remove_old_snapshots(self, segment_base_offsets: list[int]) -> None:
        """Of the snapshots that belong to no segment's beginning, keep the newest two: of the anchor that the disk may
        know, and of the one that is about to replace it."""
        bases = set(segment_base_offsets)
        for offset in [offset for offset in self._snapshots if offset not in bases][:-2]:
            self.delete_snapshot(offset)

    def start_empty_at(self, offset: int) -> None:
        """There were no producers at `offset`; snapshots of what came after are not to be believed."""
        self._clear()
        for snapshot in self.snapshots:
            if snapshot > offset:
                self.delete_snapshot(snapshot)
        self._last_snapshot_offset = self.end_offset = offset

    def try_snapshot(self) -> None:
        """`take_snapshot`, where a full disk must not stop the caller: snapshots only spare time."""
        try:
            self.take_snapshot()
        except OSError as error:
            logger.error("Cannot write a producer snapshot to %s: %s", self._directory, error)

    def snapshot_path(self, offset: int) -> str:
        return f"{self._directory}/{offset_file_name(offset, SNAPSHOT_SUFFIX)}"

    def moved(self, directory: str) -> None:
        """The partition's directory was renamed."""
        self._directory = directory

    def delete_snapshot(self, offset: int) -> None:
        if offset in self._snapshots:
            self._snapshots.remove(offset)
            if offset in self.unsynced_snapshots:
                self.unsynced_snapshots.remove(offset)
            try:
                self._filesystem.remove(self.snapshot_path(offset))
            except FileNotFoundError:
                pass

    def remove_stray_snapshots(self, segment_base_offsets: list[int]) -> None:
        """Keep the snapshots at the beginning of a segment, and the one behind the last segment's beginning
        that a clean shutdown wrote."""
        bases = set(segment_base_offsets)
        last_base = segment_base_offsets[-1] if segment_base_offsets else -1
        strays = [offset for offset in self._snapshots if offset not in bases]
        newest = strays[-1] if strays and strays[-1] > last_base else None
        for offset in strays:
            if offset != newest:
                self.delete_snapshot(offset)

    def truncate_and_reload(self, start_offset: int, end_offset: int, now_ms: int) -> None:
        """Go back to the newest usable snapshot within the files; `self.end_offset` then says how far it reaches."""
        for offset in self.snapshots:
            if offset > end_offset or offset < start_offset:
                self.delete_snapshot(offset)
        if end_offset == self.end_offset:
            self.on_log_start_offset(start_offset)
            return
        self._clear()
        self._load_newest_snapshot(start_offset, now_ms)

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Forget everything, snapshots included."""
        self._clear()
        for snapshot in self.snapshots:
            self.delete_snapshot(snapshot)
        self._last_snapshot_offset = 0
        self.end_offset = offset

    def on_log_start_offset(self, log_start_offset: int) -> None:
        """The log begins later than before."""
        self.on_high_watermark(log_start_offset)
        self.end_offset = max(self.end_offset, log_start_offset)
        if self._snapshots:
            self._last_snapshot_offset = self._snapshots[-1]
        else:
            # Producers whose records are gone are known from no batch any more: a snapshot must tell of them.
            self._last_snapshot_offset = 0 if self.producers else log_start_offset

    def _clear(self) -> None:
        self.producers.clear()
        self._ongoing.clear()
        self._unreplicated.clear()

    def _load_newest_snapshot(self, start_offset: int, now_ms: int) -> None:
        while self._snapshots:
            offset = self._snapshots[-1]
            try:
                entries = decode_snapshot(self._filesystem.read_file(self.snapshot_path(offset)))
            except (CorruptSnapshotError, FileNotFoundError) as error:
                logger.warning("Dropping producer snapshot %s: %s", self.snapshot_path(offset), error)
                self.delete_snapshot(offset)
                continue
            for entry in entries:
                if not self._is_expired(entry, now_ms):
                    self.producers[entry.producer_id] = entry
            transactions = [
                (entry.transaction_first_offset, entry.producer_id)
                for entry in entries
                if entry.transaction_first_offset != NO_OFFSET
            ]
            self._ongoing.update(sorted(transactions))
            self._last_snapshot_offset = self.end_offset = offset
            return
        self._last_snapshot_offset = self.end_offset = start_offset
