"""A log directory, the logs in it, and the files beside them that tell of the logs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from storage.checkpoint import HIGH_WATERMARK_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT
from storage.errors import StorageError
from storage.filesystem import Filesystem
from storage.log import Log
from storage.log_directory import LogDirectory, OffsetCheckpoint
from storage.log_move import LogMove
from storage.recovery_anchor import RecoveryAnchor
from storage.recovery_checkpoint import RecoveryCheckpoint
from storage.replica_register import ReplicaRegister
from storage.topic_partition import TopicPartition


class DirectoryState:
    """A log directory with the logs in it and the checkpoints about them."""

    def __init__(
        self, filesystem: Filesystem, directory: LogDirectory, moves: Callable[[str], list[LogMove]]
    ) -> None:
        self.directory = directory
        self._moves = moves
        self._found_names: set[TopicPartition] = set()
        self._found_recovery_points: Mapping[TopicPartition, int] = {}
        self._found_anchors: Mapping[TopicPartition, RecoveryAnchor] = {}
        self.logs: dict[TopicPartition, Log] = {}
        self.told: set[TopicPartition] = set()
        """Of whom the checkpoints may have something to say, be they still here or not."""
        self.tells_of_deleted_logs = False
        """Whether a checkpoint may still hold what it said of logs that were deleted, since the disk was full."""
        self.register = ReplicaRegister(filesystem, directory.path)
        self.recovery = RecoveryCheckpoint(filesystem, directory.path)
        self.log_start_offsets = self._checkpoint(filesystem, LOG_START_OFFSET_CHECKPOINT)
        self.high_watermarks = self._checkpoint(filesystem, HIGH_WATERMARK_CHECKPOINT)

    def _checkpoint(self, filesystem: Filesystem, name: str) -> OffsetCheckpoint:
        return OffsetCheckpoint(filesystem, f"{self.directory.path}/{name}")

    def write(self, write: Callable[[], None]) -> None:
        """Write one of the files. StorageError."""
        try:
            write()
        except OSError as error:
            raise StorageError(self.directory.path, "cannot write a checkpoint", error) from error

    def moves(self) -> list[LogMove]:
        """Those whose future log is here: what a checkpoint says must hold for it once it is the log."""
        return self._moves(self.directory.path)

    def prepare_recovery_points(self) -> Callable[[], None]:
        return self.recovery.prepare(self._checkpoint_offsets(), self._anchors())

    def lower_recovery_points(self) -> None:
        """Write them, some of which are lower than before."""
        self.recovery.lower(self._checkpoint_offsets(), self._anchors())

    def _checkpoint_offsets(self) -> dict[TopicPartition, int]:
        copies = {move.current.topic_partition: move.durable_offset for move in self.moves()}
        offsets = {name: log.checkpoint_offset for name, log in self.logs.items()} | copies
        self.told |= offsets.keys()
        return offsets

    def _anchors(self) -> dict[TopicPartition, RecoveryAnchor]:
        return {
            name: anchor for name, log in self.logs.items() if (anchor := log.recovery_anchor) is not None
        }

    def found(
        self,
        names: Iterable[TopicPartition],
        recovery_points: Mapping[TopicPartition, int],
        anchors: Mapping[TopicPartition, RecoveryAnchor],
    ) -> None:
        """What the checkpoints had something to say about when they were read."""
        self._found_names = set(names)
        self.told |= self._found_names
        self._found_recovery_points = recovery_points
        self._found_anchors = anchors

    def shortened(self) -> Iterator[TopicPartition]:
        """The logs that end before their recovery point; to be asked before `forget_what_is_gone`."""
        for name, offset in self._found_recovery_points.items():
            if name in self.logs and self.logs[name].log_end_offset < offset:
                yield name

    def forget_what_is_gone(self) -> None:
        """Once all logs are open: nothing that a checkpoint still says of others may be taken for a new log's.

        Nor for what is appended to a log that ends earlier now than the checkpoint had it.
        """
        known = self.logs.keys() | {move.current.topic_partition for move in self.moves()}
        ends_earlier = any(
            name in self.logs and self.logs[name].checkpoint_offset < offset
            for name, offset in self._found_recovery_points.items()
        )
        if ends_earlier or not self._found_names <= known:
            self.lower_recovery_points()
            self.prepare_log_start_offsets()()
            self.prepare_high_watermarks()()
        elif any(anchor != self.logs[name].recovery_anchor for name, anchor in self._found_anchors.items()):
            self.recovery.forget_other_anchors(self._anchors())
        self.found((), {}, {})

    def prepare_log_start_offsets(
        self, lowered: Mapping[TopicPartition, int] | None = None
    ) -> Callable[[], None]:
        """`lowered` is where logs are about to be cut before their start.

        Kafka leaves out what the first segment's name tells; but a power loss may bring deleted segments back.
        """
        return self.log_start_offsets.prepare(
            {name: log.log_start_offset for name, log in self.logs.items() if log.log_start_offset > 0}
            | {move.current.topic_partition: move.current.log_start_offset for move in self.moves()}
            | dict(lowered or {})
        )

    def prepare_high_watermarks(self) -> Callable[[], None]:
        return self.high_watermarks.prepare({name: log.high_watermark for name, log in self.logs.items()})


def live(states: Iterable[DirectoryState]) -> list[DirectoryState]:
    """Those of directories that have not failed."""
    return [state for state in states if state.directory.error is None]


def state_of(states: Iterable[DirectoryState], log: Log) -> DirectoryState:
    """That of the directory which a log is in."""
    return next(state for state in states if state.directory.path == log.log_directory)
