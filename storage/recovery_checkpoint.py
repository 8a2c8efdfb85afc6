"""Where recovery begins, on disk: the recovery points that Kafka knows, and beside them kbroker's anchors.

Both files are about all logs of one log directory. A log's anchor counts only with a recovery point at or above it,
so the order of writing makes a crash in between harmless: points first when they rise, anchors first when they fall.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from storage.checkpoint import RECOVERY_POINT_CHECKPOINT, encode_offsets
from storage.errors import DISK_FULL_ERRNOS, CorruptCheckpointError
from storage.filesystem import Filesystem
from storage.log_directory import CheckpointFile, OffsetCheckpoint
from storage.recovery_anchor import RECOVERY_ANCHORS, RecoveryAnchor, decode_anchors, encode_anchors
from storage.topic_partition import TopicPartition

logger = logging.getLogger(__name__)

Offsets = dict[TopicPartition, int]
Anchors = dict[TopicPartition, RecoveryAnchor]


class RecoveryCheckpoint:
    """The two files of one log directory. OSError from the disk."""

    def __init__(self, filesystem: Filesystem, directory: str) -> None:
        self._offsets = OffsetCheckpoint(filesystem, f"{directory}/{RECOVERY_POINT_CHECKPOINT}")
        self._anchors = AnchorCheckpoint(filesystem, f"{directory}/{RECOVERY_ANCHORS}")

    def read(self) -> tuple[Offsets, Anchors]:
        return self._offsets.read(), self._anchors.read()

    def prepare(
        self, offsets: Mapping[TopicPartition, int], anchors: Mapping[TopicPartition, RecoveryAnchor]
    ) -> Callable[[], None]:
        """A function that writes these, unless later ones were written before it ran; in any thread."""
        writes = [
            self._offsets.prepare_content(lambda: encode_offsets(offsets)),
            self._anchors.prepare_content(lambda: encode_anchors(anchors)),
        ]

        def write() -> None:
            for write_file in writes:
                write_file()

        return write

    def lower(
        self, offsets: Mapping[TopicPartition, int], anchors: Mapping[TopicPartition, RecoveryAnchor]
    ) -> None:
        """Write these now. Some say less than before, and nothing that they no longer say may be found afterwards."""
        self.forget_other_anchors(anchors)
        self._offsets.prepare_content(lambda: encode_offsets(offsets))()

    def forget_other_anchors(self, anchors: Mapping[TopicPartition, RecoveryAnchor]) -> None:
        """Leave just these in the file. Should the disk be full, it goes altogether: anchors only spare time."""
        try:
            self._anchors.prepare_content(lambda: encode_anchors(anchors))()
        except OSError as error:
            if error.errno not in DISK_FULL_ERRNOS:
                raise
            self._anchors.remove()


class AnchorCheckpoint(CheckpointFile):
    """`kbroker-recovery-anchors`."""

    def read(self) -> Anchors:
        """The anchors; none when the file is missing or not as it was written, which costs a longer recovery."""
        try:
            return decode_anchors(self._filesystem.read_file(self._path))
        except FileNotFoundError:
            return {}
        except CorruptCheckpointError as error:
            logger.warning("Ignoring %s: %s", self._path, error)
            return {}
