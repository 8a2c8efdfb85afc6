"""Which log is cleaned next, and which ones never again (Kafka: LogCleanerManager).

One cleaning a log at a time; the log itself knows of it. A log whose cleaning met damage is remembered as uncleanable
until the broker starts anew or the log is gone: trying again would find the same damage forever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from storage.cleaner.cleanable import LogToClean, cleanable_offsets, log_to_clean
from storage.cleaner.cleaning import Cleaning
from storage.cleaner.offset_map import OffsetMap
from storage.errors import LogCorruptError, StorageError
from storage.log import Log
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition

logger = logging.getLogger(__name__)


class LogCleanerManager:
    """Works on the logs of a `LogManager`. To be called by the owner of the logs.

    Takes `LogManager.on_moved`, so that a log that moves to another directory takes its checkpoint along.
    """

    def __init__(self, logs: LogManager) -> None:
        self._logs = logs
        self._uncleanable: set[tuple[str, TopicPartition]] = set()
        logs.on_moved = self._moved

    @property
    def uncleanable(self) -> set[TopicPartition]:
        """Partitions that are not cleaned any more because their log is damaged."""
        return {name for _, name in self._uncleanable}

    # Choosing

    def choose(self) -> LogToClean | None:
        """The log with the largest dirty share among those that should be cleaned; None if there is none.

        Checkpoints that lie outside of their log are corrected in memory. StorageError.
        """
        now_ms = self._logs.context.clock_ms()
        self._forget_what_is_gone()
        found: LogToClean | None = None
        for log in self._cleanable_logs():
            try:
                candidate = self._measure(log, now_ms)
            except LogCorruptError as error:
                self.mark_uncleanable(log, error)
                continue
            except OSError as error:
                message = f"{log.topic_partition}: cannot be looked at for cleaning"
                raise StorageError(log.log_directory, message, error) from error
            if candidate is None or not candidate.should_be_cleaned:
                continue
            if found is None or candidate.cleanable_ratio > found.cleanable_ratio:
                found = candidate
        return found

    def _cleanable_logs(self) -> list[Log]:
        return [log for log in self._logs.logs.values() if log.config.compact and self._is_free(log)]

    def _is_free(self, log: Log) -> bool:
        name = log.topic_partition
        if log.is_closed or log.is_being_cleaned or self._logs.is_moving(name):
            return False
        return (log.log_directory, name) not in self._uncleanable

    def _measure(self, log: Log, now_ms: int) -> LogToClean | None:
        directory, name = log.log_directory, log.topic_partition
        checkpoint = self._logs.cleaner_checkpoints.offset_of(directory, name)
        if log.log_start_offset <= (checkpoint or 0) == log.active_segment_base_offset:
            return None  # nothing behind the checkpoint but the active segment: what most logs are, most of the time
        offsets = cleanable_offsets(log, checkpoint, now_ms)
        if offsets.checkpoint_is_wrong:
            self._logs.cleaner_checkpoints.begin_update(directory, name, offsets.first_dirty_offset)
        return log_to_clean(log, offsets, now_ms)

    def begin(
        self, chosen: LogToClean, *, memory_bytes: int, load_factor: float, buffer_bytes: int
    ) -> Cleaning | None:
        """Begin to clean what `choose` gave, with a key map of at most `memory_bytes`; None when the log is damaged."""
        keys_max = chosen.first_uncleanable_offset - chosen.first_dirty_offset
        try:
            return chosen.log.begin_cleaning(
                first_dirty_offset=chosen.first_dirty_offset,
                first_uncleanable_offset=chosen.first_uncleanable_offset,
                offset_map=OffsetMap(memory_bytes, load_factor, key_count_wanted=keys_max),
                buffer_bytes=buffer_bytes,
            )
        except LogCorruptError as error:
            self.mark_uncleanable(chosen.log, error)
            return None

    # Afterwards

    def finish(self, log: Log, cleaning: Cleaning) -> Callable[[], None]:
        """The steps have ended: note how far the log is clean. The returned function writes it, in any thread."""
        if log.is_closed:
            return lambda: None
        write = self._logs.cleaner_checkpoints.begin_update(
            log.log_directory, log.topic_partition, cleaning.end_offset
        )

        def write_checkpoint() -> None:
            try:
                write()
            except OSError as error:
                raise StorageError(log.log_directory, "cannot write the cleaner checkpoint", error) from error

        return write_checkpoint

    def mark_uncleanable(self, log: Log, error: Exception) -> None:
        """Its cleaning met damage: leave the log alone from now on."""
        logger.error("%s is not cleaned any more: %s", log.topic_partition, error)
        self._uncleanable.add((log.log_directory, log.topic_partition))

    def delete_old_segments(self) -> list[Log]:
        """Retention of the compacted logs, which also drops what lies before their start; those that lost segments."""
        return [log for log in self._cleanable_logs() if log.delete_old_segments()]

    def _forget_what_is_gone(self) -> None:
        if self._uncleanable:
            logs = self._logs.logs
            self._uncleanable = {
                (directory, name)
                for directory, name in self._uncleanable
                if name in logs and logs[name].log_directory == directory
            }

    def _moved(self, name: TopicPartition, old_directory: str, new_directory: str) -> None:
        if (old_directory, name) in self._uncleanable:
            self._uncleanable.remove((old_directory, name))
            self._uncleanable.add((new_directory, name))
        try:
            self._logs.cleaner_checkpoints.moved(name, old_directory, new_directory)
        except OSError as error:
            # It is no worse than a checkpoint that is too low, unless the old one stays: the next start drops that.
            logger.error("The cleaner checkpoint of %s did not move along: %s", name, error)
