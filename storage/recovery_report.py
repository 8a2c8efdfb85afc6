"""What opening a log found to be wrong, for those who must be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from storage.topic_partition import TopicPartition


class FindingKind(Enum):
    TORN_TAIL = "torn tail"
    """An unfinished write at the very end, behind everything that was synced: expected after a crash."""

    CORRUPT_LOG = "corrupt log"
    """Damage with synced or valid records at or behind it. The log was cut there, as Kafka does."""

    HOLE = "hole"
    """A power failure took the end of a segment that was not synced, and not the next one. The log was cut there."""

    DAMAGED_BATCH = "damaged batch"
    """A batch that was trusted (clean shutdown) has no sound header. The log is kept; reading that place fails."""

    LOST_SEGMENTS = "lost segments"
    """The log ends before its recorded start: files are missing. It restarts, empty, at its start."""

    CORRUPT_EPOCHS = "corrupt leader epochs"
    """leader-epoch-checkpoint was unreadable and was rebuilt from the batches."""

    CORRUPT_TRANSACTION_INDEX = "corrupt transaction index"
    """A .txnindex was unreadable and was rebuilt from the batches."""

    CORRUPT_METADATA = "corrupt partition metadata"
    """partition.metadata was unreadable; the topic id must come from elsewhere."""


@dataclass(frozen=True, slots=True)
class RecoveryFinding:
    """`offset` is the first lost one (the log end after the cut); sizes count what the cut removed."""

    kind: FindingKind
    topic_partition: TopicPartition
    path: str
    detail: str
    offset: int = -1
    lost_bytes: int = 0
    lost_segments: int = 0

    @property
    def is_data_loss(self) -> bool:
        """Whether records that may have been acknowledged and synced are gone."""
        return self.kind in (FindingKind.CORRUPT_LOG, FindingKind.LOST_SEGMENTS)

    def __str__(self) -> str:
        text = f"{self.topic_partition}: {self.kind.value} in {self.path}: {self.detail}"
        if self.lost_bytes or self.lost_segments:
            text += f"; cut at offset {self.offset}, {self.lost_bytes} bytes"
            text += f" and {self.lost_segments} later segments dropped"
        return text
