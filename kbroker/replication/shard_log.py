"""A coordinator's view of the partition that holds its records (the ShardLog port of ``coordination``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kbroker.replication.partition import Partition
from kbroker.replication.progress import waiting_on
from storage.producer_append import AppendOrigin
from storage.transaction_verification import VerificationGuard
from wire.control_records import build_end_transaction_marker
from wire.errors import ApiError, ErrorCode
from wire.records import Record, build_batch, iterate_batches

_READ_BYTES = 4 * 1024 * 1024
_ACKS_ALL = -1


class PartitionShardLog:
    """Appends with acks=all semantics to one partition of an internal topic, and reads it from the start."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._committed = 0

    @property
    def high_watermark(self) -> int:
        """What is committed: on the in-sync replicas and, with group commit, on the disk."""
        # Switching group commit on would move it back.
        self._committed = max(self._committed, self._partition.committed_offset)
        return self._committed

    @property
    def batch_bytes_max(self) -> int:
        return self._partition.log.config.max_message_bytes

    def ensure_leader(self) -> None:
        self._partition.ensure_leader()

    def append(
        self, records: Sequence[Record], producer: tuple[int, int, object | None] | None = None
    ) -> int:
        """Append one batch, as (producer id, epoch, guard) if given; returns the offset after its last record."""
        producer_id, producer_epoch, guard = producer or (-1, -1, None)
        assert guard is None or isinstance(guard, VerificationGuard)
        batch = build_batch(
            records,
            base_offset=0,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            is_transactional=producer is not None,
        )
        return self._append(batch, verification_guard=guard)

    def append_end_transaction_marker(
        self,
        producer: tuple[int, int, object | None],
        *,
        coordinator_epoch: int,
        committed: bool,
        timestamp_ms: int,
        transaction_version: int,
    ) -> int:
        producer_id, producer_epoch, _ = producer
        return self._append(
            build_end_transaction_marker(
                producer_id=producer_id,
                producer_epoch=producer_epoch,
                base_offset=0,
                is_commit=committed,
                coordinator_epoch=coordinator_epoch,
                timestamp_ms=timestamp_ms,
            ),
            transaction_version=transaction_version,
        )

    def _append(
        self,
        batch: bytearray,
        *,
        transaction_version: int = 0,
        verification_guard: VerificationGuard | None = None,
    ) -> int:
        info = self._partition.append_as_leader(
            batch,
            required_acks=_ACKS_ALL,
            origin=AppendOrigin.COORDINATOR,
            transaction_version=transaction_version,
            verification_guard=verification_guard,
        )
        return info.last_offset + 1

    async def wait_committed(self, offset: int) -> None:
        """Return once everything below ``offset`` is committed; ApiError if it never will be.

        A disk that is too full to sync ends nothing: there may be room again before the caller gives up.
        """
        partition = self._partition
        with waiting_on([(partition.commit_progress, offset)]) as waiter:
            while self.high_watermark < offset:
                partition.ensure_leader()
                waiter.rearm()
                await waiter.wait()

    def read_all(self) -> Iterator[bytes]:
        """The log from its start to its present end, in pieces of whole batches.

        State will rest on all of it, also on what a broker that was killed had not synced yet.
        """
        if self._partition.committed_offset < self._partition.log_end_offset:
            self._partition.request_sync()
        log = self._partition.log
        offset, end = log.log_start_offset, log.log_end_offset
        while offset < end:
            found = log.read(offset, _READ_BYTES, max_offset=end, min_one_message=True)
            if found.records is None:
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"no records at offset {offset} below {end}")
            with found.records as records:
                data = records.read()
            whole_bytes = 0
            for position, header in iterate_batches(data):
                whole_bytes = position + header.size_bytes
                offset = header.next_offset
            yield data[:whole_bytes]
