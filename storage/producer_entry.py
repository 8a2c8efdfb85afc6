"""What a partition remembers of one producer (Kafka: ProducerStateEntry, BatchMetadata)."""

from __future__ import annotations

from typing import NamedTuple

from wire.records import (
    NO_PRODUCER_EPOCH,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    SEQUENCE_MAX,
    BatchHeader,
)

BATCHES_TO_RETAIN = 5
NO_OFFSET = -1


class BatchMetadata(NamedTuple):
    """One appended batch: `offset_delta` is its last offset minus its first."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp: int

    @property
    def first_sequence(self) -> int:
        first = self.last_sequence - self.offset_delta
        return first if first >= 0 else first + SEQUENCE_MAX + 1

    @property
    def first_offset(self) -> int:
        return self.last_offset - self.offset_delta


class ProducerEntry:
    """State of one producer id: epoch, the last five batches, the open transaction.

    `transaction_first_offset` is -1 unless a transaction is open; `coordinator_epoch` is that of the last
    transaction marker. An entry without batches knows an epoch but no sequence. `is_from_snapshot` says that the
    log may have batches before those that are known (`producer_recall`); it is no part of the state.
    """

    __slots__ = (
        "batches",
        "coordinator_epoch",
        "is_from_snapshot",
        "last_timestamp",
        "producer_epoch",
        "producer_id",
        "transaction_first_offset",
    )

    def __init__(
        self,
        producer_id: int,
        *,
        producer_epoch: int = NO_PRODUCER_EPOCH,
        coordinator_epoch: int = -1,
        last_timestamp: int = NO_TIMESTAMP,
        transaction_first_offset: int = NO_OFFSET,
        batches: list[BatchMetadata] | None = None,
        is_from_snapshot: bool = False,
    ) -> None:
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.coordinator_epoch = coordinator_epoch
        self.last_timestamp = last_timestamp
        self.transaction_first_offset = transaction_first_offset
        self.batches: list[BatchMetadata] = batches or []
        self.is_from_snapshot = is_from_snapshot

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    @property
    def last_offset(self) -> int:
        """Of the last data batch, or -1."""
        return self.batches[-1].last_offset if self.batches else NO_OFFSET

    @property
    def last_offset_delta(self) -> int:
        return self.batches[-1].offset_delta if self.batches else 0

    def set_epoch(self, producer_epoch: int) -> None:
        """A new epoch makes the batches of the old one unknown."""
        if producer_epoch != self.producer_epoch:
            self.producer_epoch = producer_epoch
            self.batches = []
            self.is_from_snapshot = False

    def add_batch(self, batch: BatchMetadata) -> None:
        batches = self.batches
        batches.append(batch)
        if len(batches) > BATCHES_TO_RETAIN:
            del batches[0]

    def find_duplicate(self, header: BatchHeader) -> BatchMetadata | None:
        """The remembered batch with the same epoch and sequences: the producer sent it twice."""
        if header.producer_epoch == self.producer_epoch:
            last_sequence = header.last_sequence
            for batch in self.batches:
                if batch.last_sequence == last_sequence and batch.first_sequence == header.base_sequence:
                    return batch
        return None

    def may_have_forgotten(self, header: BatchHeader) -> bool:
        """Whether a batch that is not the next one may be in the log before those that are known."""
        return (
            self.is_from_snapshot
            and 0 < len(self.batches) < BATCHES_TO_RETAIN
            and header.producer_epoch == self.producer_epoch
            and header.base_sequence != (self.last_sequence + 1) % (SEQUENCE_MAX + 1)
        )

    def recalled(self, batches: list[BatchMetadata]) -> None:
        """The log was looked through for what came before: these, oldest first."""
        self.batches = [*batches, *self.batches]
        self.is_from_snapshot = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProducerEntry):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _STATE)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in _STATE)
        return f"ProducerEntry({fields})"


_STATE = tuple(name for name in ProducerEntry.__slots__ if name != "is_from_snapshot")
