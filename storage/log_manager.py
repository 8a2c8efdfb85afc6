"""All logs of a broker, in one or several log directories (Kafka: LogManager).

`open` locks the directories and establishes who they belong to; `load` opens the logs; `close` ends cleanly.
In between the owner calls the housekeeping methods now and then: `flushes_due`, `checkpoint`,
`delete_old_segments`, `remove_expired_producers`, `run_removals`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from uuid import UUID

from storage.checkpoint import (
    HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
)
from storage.cleaner.checkpoints import CleanerCheckpoints
from storage.directory_state import DirectoryState, live, state_of
from storage.errors import CorruptCheckpointError, IncompatibleDirectoryError, StorageError
from storage.filesystem import Filesystem
from storage.log import Log
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.log_directory import LogDirectory
from storage.log_move import LogMove, write_marker
from storage.log_moves import LogMoves
from storage.partition_metadata import PARTITION_METADATA, decode_partition_metadata
from storage.producer_state import PRODUCER_ID_EXPIRATION_MS
from storage.recovery_report import RecoveryFinding
from storage.replica_registers import ReplicaRegisters
from storage.topic_partition import DELETE_SUFFIX, FUTURE_SUFFIX, TopicPartition, parse_directory_name
from storage.uuid_text import uuid_to_text
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

_CLUSTER_METADATA_TOPIC = "__cluster_metadata"
_OWN_NAMES = "kbroker-"
_OPEN_FILES_MAX = 8192
_PREFERRED_MAX = 10_000

UNANCHORED_BYTES_MAX = 8 << 20
"""How much a log may grow before it gets a new recovery anchor. Reading as much takes about 10 ms."""


def storage_files_max(files_max: int) -> int:
    """How many descriptors storage takes of those that its broker may have."""
    return min(files_max // 2, _OPEN_FILES_MAX)


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
        requires_verification: Callable[[], bool] = lambda: False,
    ) -> None:
        if not directories:
            raise ValueError("at least one log directory is needed")
        if open_files_max is None:
            open_files_max = storage_files_max(filesystem.open_files_max())
        self.context = LogContext(
            filesystem,
            clock_ms,
            random_below=random_below,
            producer_id_expiration_ms=producer_id_expiration_ms,
            requires_verification=requires_verification,
            open_files_max=open_files_max,
        )
        self._filesystem = filesystem
        self._random_uuid = random_uuid
        paths = [filesystem.real_path(path) for path in directories]
        if len(set(paths)) < len(paths):
            raise ValueError(f"the same log directory is named twice in {', '.join(directories)}")
        self.moves = LogMoves(self.context, random_uuid, self._prepare_recovery_points)
        """Logs on their way to another directory."""
        self._states = [
            DirectoryState(filesystem, LogDirectory(filesystem, path), self.moves.into) for path in paths
        ]
        self._logs: dict[TopicPartition, Log] = {}
        self._offline_partitions: dict[TopicPartition, StorageError] = {}
        self._preferred: dict[TopicPartition, str] = {}
        self.is_cordoned: Callable[[str], bool] = lambda path: False
        """Whether a log directory is to get no new logs (KIP-1066)."""
        self.cleaner_checkpoints = CleanerCheckpoints(filesystem)
        self.on_moved: Callable[[TopicPartition, str, str], None] | None = None
        """Called with the log directories (old, new) when a log has moved."""
        self.cluster_id = ""
        self.shortened: set[TopicPartition] = set()
        """Logs that ended earlier when they were loaded than a checkpoint vouches for: the disk has lost records."""
        self.registers = ReplicaRegisters(self._states, self._logs, self.shortened)
        """Which replicas have had records on the disk."""
        self.findings: list[RecoveryFinding] = []
        """What loading found to be wrong, in all logs."""

    # Opening

    def open(self, *, node_id: int, cluster_id: str | None = None) -> None:
        """Lock the directories and read who they belong to; new ones are given to this node.

        Without `cluster_id` the one found is taken, or a new one made: `cluster_id` tells afterwards. Raises
        DirectoryInUseError, IncompatibleDirectoryError; StorageError when no directory is usable.
        """
        known = self.lock(cluster_id)
        self.adopt(node_id, known or uuid_to_text(self._new_uuid()))

    def lock(self, cluster_id: str | None = None) -> str | None:
        """The first half of `open`: the cluster that the directories say they belong to, if they say so.

        `cluster_id` is what they must agree with.
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
        except BaseException:
            self._unlock()
            raise
        return known.pop() if known else None

    def adopt(self, node_id: int, cluster_id: str) -> None:
        """The second half of `open`: the directories belong to this node of this cluster from now on."""
        self.cluster_id = cluster_id
        try:
            for state in self._live():
                try:
                    state.directory.adopt(cluster_id, node_id, self._new_uuid)
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

    def _fail_at_start(self, state: DirectoryState, error: StorageError) -> None:
        logger.error("Log directory %s is offline: %s", state.directory.path, error)
        state.directory.error = error
        if not self._live():
            raise error

    def load(
        self,
        topic_config: Callable[[str], LogConfig],
        is_replicated: Callable[[TopicPartition], bool] = lambda name: False,
        topic_id: Callable[[str], UUID | None] = lambda name: None,
    ) -> None:
        """Open all logs. What was found wrong is in `findings`; StorageError when no directory is left.

        `is_replicated` tells whether other brokers have a partition as well, `topic_id` whose logs those of a topic's
        name are. IncompatibleDirectoryError when a log is in two directories and nothing tells which one counts.
        """
        configs: dict[str, LogConfig] = {}
        for state in self._live():
            try:
                self._load_directory(state, topic_config, configs, is_replicated, topic_id)
            except (StorageError, OSError) as error:
                if isinstance(error, OSError):
                    error = StorageError(state.directory.path, "cannot load the logs", error)
                for name, log in state.logs.items():
                    log.abandon()
                    self._logs.pop(name, None)
                state.logs.clear()
                self._fail_at_start(state, error)
        self._resume_moves()
        for state in self._live():
            self.shortened.update(state.shortened())
            try:
                state.forget_what_is_gone()
                self.cleaner_checkpoints.begin_keep_only(state.directory.path, state.logs)()
            except OSError as error:
                failure = StorageError(state.directory.path, "cannot write a checkpoint", error)
                if not failure.disk_full:
                    self.fail_directory(failure)
                    if not self._live():
                        raise failure from error
                logger.error("Logs that are gone are still in a checkpoint: %s", failure)

    def _resume_moves(self) -> None:
        if len(self._states) == 1:
            return
        try:
            self.moves.resume(self._logs, all_directories_live=len(self._live()) == len(self._states))
        except StorageError as error:
            self.fail_directory(error)
            if not self._live():
                raise

    def _load_directory(
        self,
        state: DirectoryState,
        topic_config: Callable[[str], LogConfig],
        configs: dict[str, LogConfig],
        is_replicated: Callable[[TopicPartition], bool],
        topic_id: Callable[[str], UUID | None],
    ) -> None:
        clean = state.directory.take_clean_shutdown_marker()
        state.register.load()
        recovery_points, anchors = state.recovery.read()
        log_start_offsets = state.log_start_offsets.read()
        high_watermarks = state.high_watermarks.read()
        names = [*recovery_points, *anchors, *log_start_offsets, *high_watermarks]
        state.found(names, recovery_points, anchors)
        path = state.directory.path
        self.cleaner_checkpoints.load(path)
        for entry in self._filesystem.scan(path):
            if not entry.is_directory:
                continue
            parsed = parse_directory_name(entry.name)
            if parsed is None:
                if not entry.name.startswith(_OWN_NAMES):
                    logger.warning("%s/%s is not a partition's directory; leaving it alone", path, entry.name)
                continue
            name, mark = parsed
            if mark == DELETE_SUFFIX:
                self.context.removals.add_directory(f"{path}/{entry.name}", 0)
            elif mark == FUTURE_SUFFIX:
                self.moves.found(name, f"{path}/{entry.name}", recovery_points.get(name, 0))
            if mark or name.topic == _CLUSTER_METADATA_TOPIC:
                continue
            if name in self._logs and not self._settle_duplicate(
                name, f"{path}/{entry.name}", topic_id(name.topic)
            ):
                continue
            config = configs.get(name.topic)
            if config is None:
                config = configs[name.topic] = topic_config(name.topic)
            log = Log.open(
                f"{path}/{entry.name}",
                context=self.context,
                config=config,
                topic_partition=name,
                recovery_point=recovery_points.get(name, 0),
                recovery_anchor=anchors.get(name),
                log_start_offset=log_start_offsets.get(name, 0),
                clean_shutdown=clean,
                is_replicated=is_replicated(name),
            )
            log.update_high_watermark(high_watermarks.get(name, 0))
            self._add(state, log)
            self.findings += log.findings

    def _settle_duplicate(self, name: TopicPartition, directory: str, topic_id: UUID | None) -> bool:
        """A log is in two directories. Whether the one in `directory` counts; it is not open yet.

        A crash came before a finished move had removed the old one. Or a directory was offline while a log was made
        anew in another one, for the replica came back or another topic got its name: `topic_id` is the present one's.
        """
        loaded = self._logs[name]
        if self.moves.is_replaced(name, directory, loaded.directory):
            self.moves.discard_replaced(name, directory)
            return False
        if self.moves.is_replaced(name, loaded.directory, directory):
            self._drop(loaded)
            self.moves.discard_replaced(name, loaded.directory)
            return True
        found_id = self._topic_id_in(directory)
        if None not in (found_id, loaded.topic_id) and found_id != loaded.topic_id:
            if found_id == topic_id:
                self._drop(loaded)
                self._set_duplicate_aside(name, loaded.directory)
                return True
            self._set_duplicate_aside(name, directory)
            return False
        raise IncompatibleDirectoryError(
            f"{name} is in {loaded.directory} and in {directory}; remove one of them"
        )

    def _drop(self, log: Log) -> None:
        del self._logs[log.topic_partition], self._state_of(log).logs[log.topic_partition]
        log.abandon()

    def _topic_id_in(self, directory: str) -> UUID | None:
        try:
            return decode_partition_metadata(self._filesystem.read_file(f"{directory}/{PARTITION_METADATA}"))
        except (FileNotFoundError, CorruptCheckpointError):
            return None

    def _set_duplicate_aside(self, name: TopicPartition, directory: str) -> None:
        """The log of an earlier topic of that name. OSError."""
        parent = directory.rpartition("/")[0]
        target = f"{parent}/{name.stray_directory_name(self._random_uuid())}"
        self._filesystem.rename(directory, target)
        self._filesystem.sync_directory(parent)
        logger.warning("%s is a log of another topic that had that name, set aside as %s", directory, target)

    def _add(self, state: DirectoryState, log: Log) -> None:
        log.on_recovery_point_lowered = self._write_recovery_points
        log.before_cut = lambda offset: self._before_cut(log, offset)
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
        is_new: bool = True,
    ) -> Log:
        """The log of a partition, made when there is none, in the directory with the fewest logs.

        A partition that is not new may have its log in a directory that is offline, even since before the start:
        then no other is made. ApiError: INCONSISTENT_TOPIC_ID when there is one of another topic id,
        KAFKA_STORAGE_ERROR when the partition's log lies in a failed directory. StorageError when it cannot be made.
        """
        log = self._logs.get(topic_partition)
        if log is None:
            failed = [state.directory.error for state in self._states if state.directory.error is not None]
            if failed and not is_new:
                self._offline_partitions.setdefault(topic_partition, failed[0])
            if topic_partition in self._offline_partitions:
                message = f"the log of {topic_partition} is in a failed directory"
                raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, message)
            state = self._state_for_new_log(directory or self._preferred.get(topic_partition))
            if state.tells_of_deleted_logs or topic_partition in state.told:
                self._forget_deleted_logs(state)
            try:
                log = Log.open(
                    f"{state.directory.path}/{topic_partition.directory_name}",
                    context=self.context,
                    config=config,
                    topic_partition=topic_partition,
                    topic_id=topic_id,
                )
                if failed:
                    self._mark_as_replacement(log)
            except StorageError as error:
                if error.disk_full:
                    self._discard_unfinished(state, topic_partition)
                raise
            self._preferred.pop(topic_partition, None)
            self._add(state, log)
        elif log.topic_id != topic_id:
            log.assign_topic_id(topic_id)
        return log

    def _mark_as_replacement(self, log: Log) -> None:
        """A directory that is offline may have an older log of the partition, which must not count when it is back.

        As for a log that was moved, until all directories are there again.
        """
        try:
            write_marker(self._filesystem, log.directory, "whatever is in a failed log directory")
        except StorageError:
            log.abandon()
            raise

    def _discard_unfinished(self, state: DirectoryState, name: TopicPartition) -> None:
        """Take away what a full disk left of a log that was to be made, since it may be made elsewhere."""
        path = state.directory.path
        target = f"{path}/{name.delete_directory_name(self._random_uuid())}"
        try:
            self._filesystem.rename(f"{path}/{name.directory_name}", target)
            self._filesystem.sync_directory(path)
        except FileNotFoundError:
            return
        except OSError as error:
            logger.error("What was made of %s in %s cannot be removed: %s", name, path, error)
            self.prefer_directory(name, path)
            return
        self.context.removals.add_directory(target, 0)

    def may_be_out_of_reach(self, topic_partition: TopicPartition) -> bool:
        """Whether a partition that is not new has no log that could be used, and perhaps one in a failed directory."""
        return topic_partition not in self._logs and len(self._live()) < len(self._states)

    def _state_for_new_log(self, directory: str | None) -> DirectoryState:
        usable = self._live()
        if directory is not None:
            path = self._filesystem.real_path(directory)
            usable = [state for state in usable if state.directory.path == path]
        else:
            usable = [state for state in usable if not self.is_cordoned(state.directory.path)] or usable
        if not usable:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, "no log directory is available")
        return min(usable, key=lambda state: len(state.logs))

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
        touched: list[DirectoryState] = []
        for name in topic_partitions:
            self._offline_partitions.pop(name, None)
            move = self.moves.get(name)
            if move is not None:  # the checkpoints where it was to go tell of it as well
                touched += [
                    state
                    for state in self._live()
                    if state.directory.path == move.log_directory and state not in touched
                ]
            try:
                self.moves.cancel(name)
            except StorageError as error:
                logger.error("A copy of %s stays until the next start: %s", name, error)
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
            try:
                # Also when the checkpoints stay as they are: the old name must not come back beside a new log.
                self._write_file(state, partial(self._filesystem.sync_directory, state.directory.path))
                self._forget_deleted_logs(state)
            except StorageError as error:
                if not error.disk_full:
                    raise
                # Deleting is what makes room again; the next checkpoint will say it.
                state.tells_of_deleted_logs = True
                logger.error("Deleted logs are still in a checkpoint: %s", error)
        return taken

    def _forget_deleted_logs(self, state: DirectoryState) -> None:
        """After a crash, a new log of the same name must not inherit these offsets, or lose its records to them."""
        self._write(
            state,
            [
                state.prepare_recovery_points,
                state.prepare_log_start_offsets,
                state.prepare_high_watermarks,
                partial(self.cleaner_checkpoints.begin_keep_only, state.directory.path, state.logs),
            ],
        )
        state.tells_of_deleted_logs = False
        state.told = state.logs.keys() | {move.current.topic_partition for move in state.moves()}

    # Directories

    @property
    def directories(self) -> list[LogDirectory]:
        """All configured directories, failed ones included."""
        return [state.directory for state in self._states]

    def path_of(self, directory: str) -> str:
        """The path under which a configured directory is known, without symbolic links."""
        return self._filesystem.real_path(directory)

    def logs_in(self, directory: LogDirectory) -> list[Log]:
        return [log for state in self._states if state.directory is directory for log in state.logs.values()]

    @property
    def offline_partitions(self) -> dict[TopicPartition, StorageError]:
        """Partitions whose log is out of reach since their directory failed, and why."""
        return dict(self._offline_partitions)

    def is_offline(self, topic_partition: TopicPartition) -> bool:
        return topic_partition in self._offline_partitions

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
            self.moves.directory_failed(state.directory.path)
            self.cleaner_checkpoints.drop(state.directory.path)
            state.directory.unlock()
        return failed

    # Moving logs between directories

    def prefer_directory(self, topic_partition: TopicPartition, path: str) -> None:
        """Remember where the log of a partition is to be made that is not here yet; the last word counts."""
        self._preferred.pop(topic_partition, None)
        self._preferred[topic_partition] = path
        if len(self._preferred) > _PREFERRED_MAX:
            del self._preferred[next(iter(self._preferred))]

    def is_moving(self, topic_partition: TopicPartition) -> bool:
        return topic_partition in self.moves

    def begin_move(self, topic_partition: TopicPartition, path: str) -> LogMove | None:
        """Begin to move a log to another directory; None when it is there, or on its way there.

        A move to somewhere else is cancelled. ApiError KAFKA_STORAGE_ERROR while any directory is offline, since that
        might hold an earlier future log; StorageError of either directory.
        """
        move = self.moves.get(topic_partition)
        if move is not None and move.log_directory == path:
            return None
        self.moves.cancel(topic_partition)
        log = self._logs[topic_partition]
        if log.log_directory == path:
            return None
        if len(self._live()) < len(self._states):
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, "no log moves while a log directory is offline")
        # A copy of which a part was made before a cleaning and a part behind it could bring deleted keys back.
        log.stop_cleaning()
        return self.moves.begin(log, path)

    def finish_move(self, move: LogMove) -> Log:
        """Put the future log, which has caught up, in the place of the current one; returns that, closed.

        To be followed at once by whoever holds the old log taking the new one, then by `retire`. StorageError: the
        current log goes on.
        """
        name, old = move.current.topic_partition, move.current
        assert self._logs[name] is old, (move, self._logs[name])
        is_vouched_for = self.registers.tell_of(old)
        if old.log_start_offset > 0:
            # A checkpoint of the other directory may have told it; from the swap on, this one's counts.
            state = next(each for each in self._states if each.directory.path == move.log_directory)
            self._write_file(state, state.prepare_log_start_offsets())
        new = move.swap(name.directory_name)
        self.moves.swapped(name)
        del self._state_of(old).logs[name]
        self._add(self._state_of(new), new)
        if is_vouched_for:
            self.registers.enter_with_next_flush(new)
        old.abandon()
        return old

    def retire(self, old: Log, new: Log) -> Callable[[], None]:
        """The new log's name is durable: remove the log that it replaced. StorageError of either directory.

        The returned function does what takes longer, in any thread.
        """
        old.rename_directory(old.topic_partition.delete_directory_name(self._random_uuid()))
        self.context.removals.add_directory(old.directory, old.config.file_delete_delay_ms)
        if self.on_moved is not None:
            self.on_moved(old.topic_partition, old.log_directory, new.log_directory)
        return partial(self.moves.settle, old.log_directory, new.directory, self.begin_checkpoint())

    @property
    def has_live_directory(self) -> bool:
        return bool(self._live())

    def _live(self) -> list[DirectoryState]:
        return live(self._states)

    def _state_of(self, log: Log) -> DirectoryState:
        return state_of(self._states, log)

    # Housekeeping

    def flushes_due(self) -> Iterator[tuple[Log, int]]:
        """Logs that are to be flushed, and up to where: rolled segments, and logs whose flush.ms has passed."""
        now_ms = self.context.clock_ms()
        for log in list(self._logs.values()):
            if log.is_closed:
                continue
            if now_ms - log.last_flush_ms >= log.config.flush_ms:
                yield log, log.log_end_offset
            elif log.has_unflushed_segments:
                yield log, log.active_segment_base_offset

    def logs_to_anchor(self, interval_ms: int) -> list[Log]:
        """Logs whose next recovery would read more than a little, or that grew and got no anchor for `interval_ms`.

        For each of them `Log.begin_anchor`, then sync, then finish; and then a checkpoint.
        """
        overdue_ms = self.context.clock_ms() - interval_ms
        return [
            log
            for log in self._logs.values()
            if not log.is_closed
            and (unanchored_bytes := log.unanchored_bytes)
            and (unanchored_bytes >= UNANCHORED_BYTES_MAX or log.anchored_ms <= overdue_ms)
        ]

    def begin_checkpoint(self, *names: str) -> Callable[[], None]:
        """Collect what the checkpoint files of these names (all) should say; the returned function writes them.

        It may run in any thread, writes what can be written, and raises a StorageError of what could not.
        """
        writes = [
            (state, prepare())
            for state in self._live()
            for name, prepare in (
                # Log starts before recovery points, and with them: these pass over deleted segments that never were
                # synced, and that a power loss may bring back.
                (LOG_START_OFFSET_CHECKPOINT, state.prepare_log_start_offsets),
                (RECOVERY_POINT_CHECKPOINT, state.prepare_recovery_points),
                (HIGH_WATERMARK_CHECKPOINT, state.prepare_high_watermarks),
            )
            if not names
            or name in names
            or (name == LOG_START_OFFSET_CHECKPOINT and RECOVERY_POINT_CHECKPOINT in names)
        ]

        def write() -> None:
            errors: list[StorageError] = []
            for state, write_file in writes:
                if state.directory.error is None:
                    try:
                        self._write_file(state, write_file)
                    except StorageError as error:
                        errors.append(error)
            # One that takes its directory offline goes before a full disk.
            for failure in sorted(errors, key=lambda failure: failure.disk_full):
                raise failure

        return write

    def checkpoint(self) -> None:
        """Write the checkpoint files now."""
        self.begin_checkpoint()()

    def _prepare_recovery_points(self, path: str) -> Callable[[], None]:
        state = next(state for state in self._states if state.directory.path == path)
        return partial(self._write_file, state, state.prepare_recovery_points())

    def _lower_cleaner_checkpoint(self, log: Log, offset: int) -> None:
        try:
            self.cleaner_checkpoints.lower(log.log_directory, log.topic_partition, offset)
        except OSError as error:
            raise StorageError(log.log_directory, "cannot write the cleaner checkpoint", error) from error

    def _before_cut(self, log: Log, offset: int) -> None:
        """Records from `offset` on are about to go: after a crash no checkpoint may tell of more. StorageError."""
        self._lower_cleaner_checkpoint(log, offset)
        if offset == 0:
            self.registers.emptied(log)
        if offset < log.log_start_offset:
            state = self._state_of(log)
            self._write_file(state, state.prepare_log_start_offsets({log.topic_partition: offset}))

    def _write_recovery_points(self, log: Log) -> None:
        """A truncation lowered a recovery point: a crash must not find the old one."""
        state = self._state_of(log)
        self._write_file(state, state.lower_recovery_points)

    def _write(self, state: DirectoryState, prepares: list[Callable[[], Callable[[], None]]]) -> None:
        for prepare in prepares:
            self._write_file(state, prepare())

    def _write_file(self, state: DirectoryState, write: Callable[[], None]) -> None:
        state.write(write)

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
                self._write(state, [state.prepare_log_start_offsets, state.prepare_recovery_points])
                self._write(state, [state.prepare_high_watermarks])
                state.directory.leave_clean_shutdown_marker(broker_epoch)
            except (StorageError, OSError) as error:
                logger.error("Log directory %s was not closed cleanly: %s", state.directory.path, error)
        self.abandon()

    def abandon(self) -> None:
        """Close all files and unlock without writing anything: what a crash does."""
        self.moves.abandon()
        for log in self._logs.values():
            log.abandon()
        self._logs.clear()
        self._unlock()

    def _unlock(self) -> None:
        for state in self._states:
            state.directory.unlock()
