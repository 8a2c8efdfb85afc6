"""What the registers of all log directories together say of this broker's replicas (see `replica_register`).

A replica's line is in the register of the directory that its log is in. Where the log is gone, it is where the log
was; made anew it may lie in another directory, and what the other registers say is struck out when it is entered there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from uuid import UUID

from storage.directory_state import DirectoryState, live, state_of
from storage.log import Log
from storage.replica_register import Entry, Standing
from storage.topic_partition import TopicPartition

logger = logging.getLogger(__name__)


class ReplicaRegisters:
    """`states`, `logs` and `shortened` are the log manager's own, and change under it."""

    def __init__(
        self,
        states: Sequence[DirectoryState],
        logs: Mapping[TopicPartition, Log],
        shortened: Collection[TopicPartition],
    ) -> None:
        self._states = states
        self._logs = logs
        self._shortened = shortened

    @property
    def has_new_directory(self) -> bool:
        """Whether `forget_replicas` was never called for a log directory: what was there before is not."""
        return any(not state.register.exists for state in live(self._states))

    # Of replicas with a log

    def vouch_for(self, topic_partition: TopicPartition) -> None:
        """Others count on this replica of a partition, as one in sync: that it has records is entered.

        That happens now, or with the first flush of some. StorageError.
        """
        log = self._logs.get(topic_partition)
        if log is None or log.topic_id is None:
            return
        state = state_of(self._states, log)
        if state.register.has(topic_partition, log.topic_id):
            self._strike_elsewhere(state, [topic_partition])
        elif log.recovery_point > log.log_start_offset:
            state.write(partial(self._enter, topic_partition, log.topic_id))
        else:
            self.enter_with_next_flush(log)

    def tell_of(self, log: Log) -> bool:
        """Whether the replica is entered, or will be."""
        if log.topic_id is None:
            return False
        return log.has_note or state_of(self._states, log).register.has(log.topic_partition, log.topic_id)

    def enter_with_next_flush(self, log: Log) -> None:
        assert log.topic_id is not None, f"{log.topic_partition} has no topic id"
        log.note_records_by(partial(self._enter, log.topic_partition, log.topic_id))

    def emptied(self, log: Log) -> None:
        """All records are about to go, as its leader has none of them: that is no loss. StorageError.

        With the next records it is entered again.
        """
        state, name = state_of(self._states, log), log.topic_partition
        if log.topic_id is not None and state.register.has(name, log.topic_id):
            state.write(partial(state.register.strike, [name]))
            self.enter_with_next_flush(log)

    def _enter(self, name: TopicPartition, topic_id: UUID) -> None:
        """In any thread. OSError of the log directory that the log is in now."""
        log = self._logs.get(name)
        if log is not None and log.topic_id == topic_id:
            state = state_of(self._states, log)
            state.register.add(name, topic_id)
            self._strike_elsewhere(state, [name])

    def _strike_elsewhere(self, state: DirectoryState, names: Collection[TopicPartition]) -> None:
        """What the register of `state` says of these replicas is what counts. In any thread.

        Where that fails, the worst that was said goes on counting, and the next `vouch_for` tries again.
        """
        for other in live(self._states):
            if other is not state:
                try:
                    other.register.strike(names)
                except OSError as error:
                    logger.warning("A line stays in %s: %s", other.directory.path, error)

    # Of any replica

    def is_lost(self, name: TopicPartition, topic_id: UUID) -> bool:
        """Whether a replica had records on the disk that are gone, and the cluster may not know yet."""
        log = self._logs.get(name)
        has_records = log is not None and log.topic_id == topic_id and log.log_end_offset > 0
        return any(
            entry.standing is Standing.LOST or (entry.standing is Standing.WHOLE and not has_records)
            for entry in self._entries_of(name, topic_id)
        )

    def has_all_records(self, name: TopicPartition, topic_id: UUID) -> bool:
        """Whether a replica has a log with all that it ever had on the disk, as far as is known."""
        log = self._logs.get(name)
        return (
            log is not None
            and log.topic_id == topic_id
            and name not in self._shortened
            and not self.is_lost(name, topic_id)
            and all(entry.standing is Standing.WHOLE for entry in self._entries_of(name, topic_id))
        )

    def _entries_of(self, name: TopicPartition, topic_id: UUID) -> list[Entry]:
        entries = [state.register.entries.get(name) for state in live(self._states)]
        return [entry for entry in entries if entry is not None and entry.topic_id == topic_id]

    def mark_replicas(self, replicas: Mapping[TopicPartition, UUID], standing: Standing) -> None:
        """Remember how far these replicas can be relied on. StorageError."""
        lines: dict[str, dict[TopicPartition, UUID]] = {}
        for name, topic_id in replicas.items():
            lines.setdefault(self._state_that_tells_of(name).directory.path, {})[name] = topic_id
        for state in live(self._states):
            told = lines.get(state.directory.path, {})
            state.write(partial(state.register.mark, told, standing))
            self._strike_elsewhere(state, told)

    def _state_that_tells_of(self, name: TopicPartition) -> DirectoryState:
        """Where the log is, else where the register knows it, else any."""
        log, usable = self._logs.get(name), live(self._states)
        if log is not None:
            return state_of(self._states, log)
        return next((state for state in usable if state.register.tells_of(name)), usable[0])

    def forget_replicas(self, is_known: Callable[[TopicPartition, UUID], bool]) -> None:
        """Strike out of the registers whatever the cluster does not have here any more. StorageError."""
        for state in live(self._states):
            state.write(partial(state.register.keep_only, is_known))
