"""The moves between log directories that are under way, and what a restart finds of earlier ones.

See `log_move` for what the disk says at each moment. At the start a log that is in two directories is in the one
with the marker (`is_replaced`); a future log beside its current one goes on being copied (`resume`); a future log
without a current one is set aside when no directory is missing, since its partition has lost its data, or is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from uuid import UUID

from storage.errors import CorruptCheckpointError, StorageError
from storage.log import Log
from storage.log_context import LogContext
from storage.log_move import LogMove, has_marker, remove_marker
from storage.partition_metadata import PARTITION_METADATA, decode_partition_metadata
from storage.topic_partition import TopicPartition

logger = logging.getLogger(__name__)


class LogMoves:
    """By partition; one at a time for each."""

    def __init__(
        self,
        context: LogContext,
        random_uuid: Callable[[], UUID],
        prepare_checkpoint: Callable[[str], Callable[[], None]],
    ) -> None:
        """`prepare_checkpoint`: that of the recovery points of a log directory; see `LogMove`."""
        self._context = context
        self._prepare_checkpoint = prepare_checkpoint
        self._filesystem = context.filesystem
        self._random_uuid = random_uuid
        self._moves: dict[TopicPartition, LogMove] = {}
        self._found: list[tuple[TopicPartition, str, int]] = []

    def get(self, topic_partition: TopicPartition) -> LogMove | None:
        return self._moves.get(topic_partition)

    def __contains__(self, topic_partition: object) -> bool:
        return topic_partition in self._moves

    def __iter__(self) -> Iterator[LogMove]:
        return iter(list(self._moves.values()))

    def into(self, log_directory: str) -> list[LogMove]:
        """The moves whose future log lies in this log directory."""
        return [move for move in self if move.log_directory == log_directory]

    # At the start

    def found(self, topic_partition: TopicPartition, directory: str, recovery_point: int) -> None:
        """There is a future log's directory, of which the checkpoint says so much."""
        self._found.append((topic_partition, directory, recovery_point))

    def is_replaced(self, topic_partition: TopicPartition, old: str, new: str) -> bool:
        """Of two directories of one log: whether `new` was put in the place of `old`, which can go."""
        return (
            has_marker(self._filesystem, new)
            and not has_marker(self._filesystem, old)
            # The old one's topic id may never have reached the disk.
            and self._topic_id(old) in (None, self._topic_id(new))
        )

    def discard_replaced(self, topic_partition: TopicPartition, directory: str) -> None:
        """Finish what a crash interrupted: the old log goes. OSError."""
        logger.warning("%s was moved away; removing %s", topic_partition, directory)
        parent = directory.rpartition("/")[0]
        target = f"{parent}/{topic_partition.delete_directory_name(self._random_uuid())}"
        self._filesystem.rename(directory, target)
        self._filesystem.sync_directory(parent)
        self._context.removals.add_directory(target, 0)

    def resume(self, logs: Mapping[TopicPartition, Log], *, all_directories_live: bool) -> None:
        """All logs are loaded. Go on with the moves that were found, and end the last act of those that were done."""
        for log in logs.values():
            # A replaced log in a directory that is offline must not count when that comes back.
            if all_directories_live:
                remove_marker(self._filesystem, log.directory)
        for name, directory, recovery_point in self._found:
            self._resume(name, directory, recovery_point, logs.get(name), all_directories_live)
        self._found.clear()

    def _resume(
        self,
        name: TopicPartition,
        directory: str,
        recovery_point: int,
        current: Log | None,
        all_directories_live: bool,
    ) -> None:
        parent = directory.rpartition("/")[0]
        try:
            if current is None:
                if all_directories_live:
                    target = f"{parent}/{name.stray_directory_name(self._random_uuid())}"
                    logger.error(
                        "%s is a copy of a log that is gone; setting it aside as %s", directory, target
                    )
                    self._filesystem.rename(directory, target)
                return
            usable = (
                name not in self._moves
                and current.log_directory != parent
                and self._topic_id(directory) in (None, current.topic_id)
            )
            if not usable:
                self._delete(name, directory, 0)
                return
        except OSError as error:
            raise StorageError(parent, f"cannot resume the move of {name}", error) from error
        logger.info("Going on to move %s to %s", name, parent)
        self._moves[name] = self._move(current, directory, recovery_point)

    def _move(self, current: Log, directory: str, durable_offset: int | None) -> LogMove:
        parent = directory.rpartition("/")[0]
        return LogMove(
            current,
            directory,
            self._context,
            durable_offset=durable_offset,
            prepare_checkpoint=partial(self._prepare_checkpoint, parent),
        )

    def _topic_id(self, directory: str) -> UUID | None:
        try:
            data = self._filesystem.read_file(f"{directory}/{PARTITION_METADATA}")
            return decode_partition_metadata(data)
        except (FileNotFoundError, CorruptCheckpointError):
            return None

    # In service

    def begin(self, current: Log, log_directory: str) -> LogMove:
        """Begin to move a log that is not being moved. StorageError of the target."""
        name = current.topic_partition
        assert name not in self._moves, name
        directory = f"{log_directory}/{name.future_directory_name(self._random_uuid())}"
        try:
            self._filesystem.make_directory(directory)
        except OSError as error:
            raise StorageError(log_directory, f"cannot move {name} there", error) from error
        move = self._moves[name] = self._move(current, directory, None)
        return move

    def cancel(self, topic_partition: TopicPartition) -> bool:
        """End a move, if there is one, and remove the future log; whether there was one.

        StorageError when the disk refuses (perhaps only when the step at hand ends).
        """
        move = self._moves.pop(topic_partition, None)
        if move is None:
            return False
        delay_ms = move.current.config.file_delete_delay_ms
        move.end(then=lambda: self._delete(topic_partition, move.directory, delay_ms))
        return True

    def _delete(self, name: TopicPartition, directory: str, delay_ms: int) -> None:
        parent = directory.rpartition("/")[0]
        target = f"{parent}/{name.delete_directory_name(self._random_uuid())}"
        try:
            self._filesystem.rename(directory, target)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(parent, f"cannot remove {directory}", error) from error
        self._context.removals.add_directory(target, delay_ms)

    def swapped(self, topic_partition: TopicPartition) -> None:
        """A move is done."""
        del self._moves[topic_partition]

    def settle(
        self, old_log_directory: str, new_directory: str, write_checkpoints: Callable[[], None]
    ) -> None:
        """In any thread: once the old log's end is durable the new one needs no mark any more."""
        try:
            self._filesystem.sync_directory(old_log_directory)
        except OSError as error:
            raise StorageError(old_log_directory, "cannot sync", error) from error
        remove_marker(self._filesystem, new_directory)
        write_checkpoints()

    def directory_failed(self, log_directory: str) -> None:
        """Moves into a directory that failed are over; those out of it wait for it to come back at a start."""
        for move in self:
            if log_directory in (move.log_directory, move.current.log_directory):
                del self._moves[move.current.topic_partition]
                move.end()

    def abandon(self) -> None:
        """Close all files. The moves go on when the logs are loaded again."""
        for move in self:
            move.end()
        self._moves.clear()
