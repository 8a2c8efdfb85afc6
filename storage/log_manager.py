"""All logs of a broker, in one or several log directories (Kafka: LogManager).

`open` locks the directories and establishes who they belong to; `load` opens the logs; `close` ends cleanly.
In between the owner calls the housekeeping methods now and then: `pending_flushes`, `checkpoint`,
`delete_old_segments`, `remove_expired_producers`, `run_removals`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import UUID

from storage.checkpoint import (
    HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
)
from storage.errors import IncompatibleDirectoryError, StorageError
from storage.filesystem import Filesystem
from storage.flush import PendingFlush
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_directory import LogDirectory, OffsetCheckpoint
from storage.producer_state import PRODUCER_ID_EXPIRATION_MS
from storage.recovery_report import RecoveryFinding
from storage.topic_partition import DELETE_SUFFIX, TopicPartition, parse_directory_name
from storage.uuid_text import uuid_to_text
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

_CLUSTER_METADATA_TOPIC = "__cluster_metadata"
_OPEN_FILES_MAX = 8192


class _DirectoryState:
    """A log directory with the logs in it and the checkpoints about them."""

    def __init__(self, filesystem: Filesystem, directory: LogDirectory) -> None:
        self.directory = directory
        self.logs: dict[TopicPartition, Log] = {}
        self.recovery_points = self._checkpoint(filesystem, RECOVERY_POINT_CHECKPOINT)
        self.log_start_offsets = self._checkpoint(filesystem, LOG_START_OFFSET_CHECKPOINT)
        self.high_watermarks = self._checkpoint(filesystem, HIGH_WATERMARK_CHECKPOINT)

    def _checkpoint(self, filesystem: Filesystem, name: str) -> OffsetCheckpoint:
        return OffsetCheckpoint(filesystem, f"{self.directory.path}/{name}")

    def prepare_recovery_points(self) -> Callable[[], None]:
        return self.recovery_points.prepare({name: log.recovery_point for name, log in self.logs.items()})

    def prepare_log_start_offsets(self) -> Callable[[], None]:
        return self.log_start_offsets.prepare(
            {
                name: log.log_start_offset
                for name, log in self.logs.items()
                if log.log_start_offset > log.first_segment_base_offset
            }
        )

    def prepare_high_watermarks(self) -> Callable[[], None]:
        return self.high_watermarks.prepare({name: log.high_watermark for name, log in self.logs.items()})


class LogManager:
    """`directories` are paths; `topic_config` tells the configuration of a topic's logs.

    `random_uuid` names directories, `random_below(n)` gives integers in [0, n) for segment.jitter.ms.
    `open_files_max` bounds the descriptors that storage uses; by default half of what the process may have.
    """

    def __init__(
        self,
        directories: Sequence[str],
        *,
        filesystem: Filesystem,
        clock_ms: Callable[[], int],
        random_uuid: Callable[[], UUID],
        random_below: Callable[[int], int],
        open_files_max: int | None = None,
        producer_id_expiration_ms: int = PRODUCER_ID_EXPIRATION_MS,
    ) -> None:
        if not directories:
            raise ValueError("at least one log directory is needed")
        if open_files_max is None:
            open_files_max = min(filesystem.open_files_max() // 2, _OPEN_FILES_MAX)
        self.context = LogContext(
            filesystem,
            clock_ms,
            random_below=random_below,
            producer_id_expiration_ms=producer_id_expiration_ms,
            open_files_max=open_files_max,
        )
        self._filesystem = filesystem
        self._random_uuid = random_uuid
        paths = [filesystem.real_path(path) for path in directories]
        if len(set(paths)) < len(paths):
            raise ValueError(f"the same log directory is named twice in {', '.join(directories)}")
        self._states = [_DirectoryState(filesystem, LogDirectory(filesystem, path)) for path in paths]
        self._logs: dict[TopicPartition, Log] = {}
        self._offline_partitions: dict[TopicPartition, StorageError] = {}
        self.cluster_id = ""
        self.findings: list[RecoveryFinding] = []
        """What loading found to be wrong, in all logs."""

    # Opening

    def open(self, *, node_id: int, cluster_id: str | None = None) -> None:
        """Lock the directories and read who they belong to; new ones are given to this node.

        Without `cluster_id` the one found is taken, or a new one made: `cluster_id` tells afterwards. Raises
        DirectoryInUseError, IncompatibleDirectoryError; StorageError when no directory is usable.
        """
        try:
            for state in self._states:
                try:
                    state.directory.lock()
                    state.directory.read_properties()
                except StorageError as error:
                    self._fail_at_start(state, error)
            known = {
                state.directory.properties.cluster_id for state in self._live() if state.directory.properties
            }
            if cluster_id is not None:
                known.add(cluster_id)
            if len(known) > 1:
                raise IncompatibleDirectoryError(
                    f"log directories of several clusters: {', '.join(sorted(known))}"
                )
            self.cluster_id = known.pop() if known else uuid_to_text(self._new_uuid())
            for state in self._live():
                try:
                    state.directory.adopt(self.cluster_id, node_id, self._new_uuid)
                except StorageError as error:
                    self._fail_at_start(state, error)
        except BaseException:
            self._unlock()
            raise

    def _new_uuid(self) -> UUID:
        """A random id whose text does not look like a command-line option, as Kafka makes them."""
        while True:
            uuid = self._random_uuid()
            if not uuid_to_text(uuid).startswith("-"):
                return uuid

    def _fail_at_start(self, state: _DirectoryState, error: StorageError) -> None:
        logger.error("Log directory %s is offline: %s", state.directory.path, error)
        state.directory.error = error
        if not self._live():
            raise error

    def load(self, topic_config: Callable[[str], LogConfig]) -> None:
        """Open all logs. What was found wrong is in `findings`; StorageError when no directory is left."""
        configs: dict[str, LogConfig] = {}
        for state in self._live():
            try:
                self._load_directory(state, topic_config, configs)
            except (StorageError, OSError) as error:
                if isinstance(error, OSError):
                    error = StorageError(state.directory.path, "cannot load the logs", error)
                for name, log in state.logs.items():
                    log.abandon()
                    self._logs.pop(name, None)
                state.logs.clear()
                self._fail_at_start(state, error)

    def _load_directory(
        self, state: _DirectoryState, topic_config: Callable[[str], LogConfig], configs: dict[str, LogConfig]
    ) -> None:
        clean = state.directory.take_clean_shutdown_marker()
        recovery_points = state.recovery_points.read()
        log_start_offsets = state.log_start_offsets.read()
        high_watermarks = state.high_watermarks.read()
        path = state.directory.path
        for entry in self._filesystem.scan(path):
            if not entry.is_directory:
                continue
            parsed = parse_directory_name(entry.name)
            if parsed is None:
                logger.warning("%s/%s is not a partition's directory; leaving it alone", path, entry.name)
                continue
            name, mark = parsed
            if mark == DELETE_SUFFIX:
                self.context.removals.add_directory(f"{path}/{entry.name}", 0)
            if mark or name.topic == _CLUSTER_METADATA_TOPIC:
                continue
            if name in self._logs:
                message = f"{name} is in {self._logs[name].log_directory} and in {path}; remove one of them"
                raise IncompatibleDirectoryError(message)
            config = configs.get(name.topic)
            if config is None:
                config = configs[name.topic] = topic_config(name.topic)
            log = Log.open(
                f"{path}/{entry.name}",
                context=self.context,
                config=config,
                topic_partition=name,
                recovery_point=recovery_points.get(name, 0),
                log_start_offset=log_start_offsets.get(name, 0),
                clean_shutdown=clean,
            )
            log.update_high_watermark(high_watermarks.get(name, 0))
            self._add(state, log)
            self.findings += log.findings

    def _add(self, state: _DirectoryState, log: Log) -> None:
        log.on_recovery_point_lowered = self._write_recovery_points
        state.logs[log.topic_partition] = log
        self._logs[log.topic_partition] = log

    # Logs

    def get(self, topic_partition: TopicPartition) -> Log | None:
        return self._logs.get(topic_partition)

    @property
    def logs(self) -> dict[TopicPartition, Log]:
        """All open logs; a copy."""
        return dict(self._logs)

    def create(
        self,
        topic_partition: TopicPartition,
        topic_id: UUID,
        config: LogConfig,
        *,
        directory: str | None = None,
    ) -> Log:
        """The log of a partition, made when there is none, in the directory with the fewest logs.

        ApiError: INCONSISTENT_TOPIC_ID when there is one of another topic id, KAFKA_STORAGE_ERROR when the
        partition's log lies in a failed directory. StorageError when it cannot be made.
        """
        log = self._logs.get(topic_partition)
        if log is None:
            if topic_partition in self._offline_partitions:
                message = f"the log of {topic_partition} is in a failed directory"
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, message)
            state = self._state_for_new_log(directory)
            log = Log.open(
                f"{state.directory.path}/{topic_partition.directory_name}",
                context=self.context,
                config=config,
                topic_partition=topic_partition,
                topic_id=topic_id,
            )
            self._add(state, log)
        elif log.topic_id != topic_id:
            log.assign_topic_id(topic_id)
        return log

    def _state_for_new_log(self, directory: str | None) -> _DirectoryState:
        live = self._live()
        if directory is not None:
            path = self._filesystem.real_path(directory)
            live = [state for state in live if state.directory.path == path]
        if not live:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, "no log directory is available")
        return min(live, key=lambda state: len(state.logs))

    def delete(self, topic_partitions: Iterable[TopicPartition], *, delay_ms: int = 60_000) -> None:
        """Delete logs: their directories are renamed now and removed `delay_ms` later.

        Unknown partitions are passed over. StorageError when a directory fails.
        """
        for log in self._take_out(topic_partitions, TopicPartition.delete_directory_name):
            self.context.removals.add_directory(log.directory, delay_ms)

    def set_aside(self, topic_partitions: Iterable[TopicPartition]) -> list[str]:
        """Close logs of partitions that the cluster does not know, and rename their directories to `-stray`.

        Nothing is lost and nothing of the name is in the way. Returns the new paths; StorageError when a
        directory fails.
        """
        return [
            log.directory for log in self._take_out(topic_partitions, TopicPartition.stray_directory_name)
        ]

    def _take_out(
        self, topic_partitions: Iterable[TopicPartition], new_name: Callable[[TopicPartition, UUID], str]
    ) -> list[Log]:
        taken: list[Log] = []
        touched: list[_DirectoryState] = []
        for name in topic_partitions:
            self._offline_partitions.pop(name, None)
            log = self._logs.pop(name, None)
            if log is None:
                continue
            state = self._state_of(log)
            del state.logs[name]
            log.abandon()
            log.rename_directory(new_name(name, self._random_uuid()))
            taken.append(log)
            if state not in touched:
                touched.append(state)
        for state in touched:
            # After a crash, a new topic of the same name must not inherit these offsets.
            try:
                self._write(
                    state,
                    [
                        state.prepare_recovery_points,
                        state.prepare_log_start_offsets,
                        state.prepare_high_watermarks,
                    ],
                )
            except StorageError as error:
                if not error.disk_full:
                    raise
                # Deleting is what makes room again; the next checkpoint will say it.
                logger.error("Deleted logs are still in a checkpoint: %s", error)
        return taken

    # Directories

    @property
    def directories(self) -> list[LogDirectory]:
        """All configured directories, failed ones included."""
        return [state.directory for state in self._states]

    def logs_in(self, directory: LogDirectory) -> list[Log]:
        return [log for state in self._states if state.directory is directory for log in state.logs.values()]

    @property
    def offline_partitions(self) -> dict[TopicPartition, StorageError]:
        """Partitions whose log is out of reach since their directory failed, and why."""
        return dict(self._offline_partitions)

    def fail_directory(self, error: StorageError) -> list[TopicPartition]:
        """Take the directory of an error out of service; its logs are closed unwritten.

        Returns the partitions that it held. The caller stops the broker when `has_live_directory` is false.
        """
        failed: list[TopicPartition] = []
        for state in self._live():
            if state.directory.path != error.directory:
                continue
            logger.error("Log directory %s is offline: %s", state.directory.path, error)
            state.directory.error = error
            for name, log in state.logs.items():
                log.abandon()
                del self._logs[name]
                self._offline_partitions[name] = error
                failed.append(name)
            state.logs.clear()
            state.directory.unlock()
        return failed

    @property
    def has_live_directory(self) -> bool:
        return bool(self._live())

    def _live(self) -> list[_DirectoryState]:
        return [state for state in self._states if state.directory.error is None]

    def _state_of(self, log: Log) -> _DirectoryState:
        return next(state for state in self._states if state.directory.path == log.log_directory)

    # Housekeeping

    def pending_flushes(self) -> Iterator[PendingFlush]:
        """Flushes that are due: of rolled segments, and of logs whose flush.ms has passed.

        For each one given out, `sync` (in a thread, perhaps), then `finish` or `abandon`, before the next.
        """
        now_ms = self.context.clock_ms()
        for log in list(self._logs.values()):
            if log.is_closed:
                continue
            pending = None
            if now_ms - log.last_flush_ms >= log.config.flush_ms:
                pending = log.begin_flush()
            elif log.has_unflushed_segments:
                pending = log.begin_flush(log.active_segment_base_offset)
            if pending is not None:
                yield pending

    def begin_checkpoint(self) -> Callable[[], None]:
        """Collect what the checkpoint files should say; the returned function writes them, in any thread.

        It raises StorageError for the directory that failed.
        """
        writes = [
            (state, prepare())
            for state in self._live()
            for prepare in (
                state.prepare_recovery_points,
                state.prepare_log_start_offsets,
                state.prepare_high_watermarks,
            )
        ]

        def write() -> None:
            for state, write_file in writes:
                if state.directory.error is None:
                    self._write_file(state, write_file)

        return write

    def checkpoint(self) -> None:
        """Write the checkpoint files now."""
        self.begin_checkpoint()()

    def _write_recovery_points(self, log: Log) -> None:
        """A truncation lowered a recovery point: a crash must not find the old one."""
        state = self._state_of(log)
        self._write(state, [state.prepare_recovery_points])

    def _write(self, state: _DirectoryState, prepares: list[Callable[[], Callable[[], None]]]) -> None:
        for prepare in prepares:
            self._write_file(state, prepare())

    def _write_file(self, state: _DirectoryState, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise StorageError(state.directory.path, "cannot write a checkpoint", error) from error

    def delete_old_segments(self) -> int:
        """Apply retention to all logs; returns how many segments went. A failing log is logged and passed over."""
        deleted = 0
        for log in list(self._logs.values()):
            try:
                deleted += log.delete_old_segments()
            except StorageError as error:
                logger.error("Retention failed: %s", error)
        return deleted

    def remove_expired_producers(self) -> None:
        for log in self._logs.values():
            log.remove_expired_producers()

    def run_removals(self) -> int:
        """Remove files and directories whose time has come, in any thread; returns how many still wait."""
        return self.context.removals.run_due()

    # Closing

    def close(self, *, broker_epoch: int = -1) -> None:
        """Flush and close all logs, write the checkpoints, mark the shutdown clean, unlock.

        A directory in which anything fails gets no marker; the failure is logged.
        """
        for state in self._live():
            try:
                for log in state.logs.values():
                    log.close()
                self._write(state, [state.prepare_recovery_points, state.prepare_log_start_offsets])
                self._write(state, [state.prepare_high_watermarks])
                state.directory.leave_clean_shutdown_marker(broker_epoch)
            except (StorageError, OSError) as error:
                logger.error("Log directory %s was not closed cleanly: %s", state.directory.path, error)
        self.abandon()

    def abandon(self) -> None:
        """Close all files and unlock without writing anything: what a crash does."""
        for log in self._logs.values():
            log.abandon()
        self._logs.clear()
        self._unlock()

    def _unlock(self) -> None:
        for state in self._states:
            state.directory.unlock()
