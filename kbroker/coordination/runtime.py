"""Runs the machines of one coordinator: one shard per partition of its internal topic.

States of a shard, and what a call gets:

    (absent)  NOT_COORDINATOR                  the partition is not led here
    LOADING   COORDINATOR_LOAD_IN_PROGRESS     its log is being replayed
    ACTIVE    the machine's answer             (NOT_COORDINATOR while this broker may not lead the partition)
    FAILED    NOT_COORDINATOR                  its log could not be replayed
    CLOSED    (no longer reachable)

    absent --load--> LOADING --replayed--> ACTIVE --unload--> CLOSED
                        +--error--> FAILED --load, or after a pause where the log was not to be had--> LOADING

State is kept as long as nobody else can have appended to the log. Another broker has led in between if the leader
epoch grew by more than one, and perhaps will if a commit is waited for in vain (the records may survive or not):
then the shard begins again from its log. As long as this broker may not read or append there, it tries in vain, and
clients are sent elsewhere; either it may again, or the metadata says who leads now, and ``unload`` ends it.

There is no lock and no queue: a call decides, appends and replays without awaiting, in the task of whoever
makes it, so nothing can come between. A task of its own is needed only to wait, for the next timer and for
records that the in-sync replicas do not have yet. With this broker as the only replica an append is committed
when it returns, and a heartbeat or a commit is answered without a single task switch.

The steps of a call are drawn in ``machine.py``. The model is Kafka's ``CoordinatorRuntime``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from math import inf
from typing import Any, Generic, NamedTuple, TypeVar, cast

import trio

from kbroker.coordination.machine import (
    AppendFailure,
    Caller,
    CoordinatorRecord,
    Machine,
    Result,
    Schedule,
)
from kbroker.coordination.ports import Clock, Producer, ShardLog
from kbroker.coordination.replay import NO_PRODUCER_ID, batches_of, replay_piece
from kbroker.coordination.timers import Timer, TimerQueue
from storage.errors import StorageError
from wire.errors import ApiError, ErrorCode
from wire.records import Record

logger = logging.getLogger(__name__)

MachineT = TypeVar("MachineT", bound=Machine)
ResponseT = TypeVar("ResponseT")

FIRST_LOAD_PAUSE_S = 0.05
LONGEST_LOAD_PAUSE_S = 1.0

_ERRORS_FOR_CLIENTS = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.INVALID_FETCH_SIZE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.NETWORK_EXCEPTION: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
}


def error_for_clients(error: ErrorCode) -> ErrorCode:
    """What clients are told when an append failed (Kafka's ``CoordinatorOperationExceptionHelper``)."""
    return _ERRORS_FOR_CLIENTS.get(error, error)


class ShardState(Enum):
    """See the module's docstring."""

    LOADING = "loading"
    ACTIVE = "active"
    FAILED = "failed"
    CLOSED = "closed"


class _Call:
    """One call that waits for its answer: the ``Caller`` of the machines."""

    __slots__ = ("_error", "_is_done", "_response", "_task")

    def __init__(self) -> None:
        self._is_done = False
        self._response: Any = None
        self._error: ApiError | None = None
        self._task: trio.lowlevel.Task | None = None

    def answer(self, response: Any) -> None:
        self._finish(response, None)

    def fail(self, error: ErrorCode) -> None:
        self._finish(None, ApiError(error))

    def _finish(self, response: Any, error: ApiError | None) -> None:
        if self._is_done:
            return
        self._is_done = True
        self._response, self._error = response, error
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def outcome(self) -> Any:
        """The answer; does not yield when it is there already. Who is cancelled here gets no answer."""
        if not self._is_done:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandon)
        if self._error is not None:
            raise self._error
        return self._response

    def _abandon(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        self._is_done = True
        return trio.lowlevel.Abort.SUCCEEDED


class _Commit(NamedTuple):
    """What happens when the log is committed up to ``offset``, or ``deadline`` (monotonic) has come."""

    offset: int
    deadline: float
    call: _Call | None
    response: Any
    pending: Any
    until_committed: bool

    def without_caller(self) -> _Commit:
        """The caller has been told that it takes too long; the machine still wants to hear of the commit."""
        return self._replace(deadline=inf, call=None)


class _Shard(Generic[MachineT]):
    """One partition of the coordinator's topic."""

    __slots__ = (
        "closed",
        "commit_wait",
        "is_waiting",
        "leader_epoch",
        "loaded_offset",
        "log",
        "machine",
        "partition",
        "state",
        "uncommitted",
        "written_offset",
    )

    def __init__(self, partition: int, leader_epoch: int, machine: MachineT) -> None:
        self.partition = partition
        self.leader_epoch = leader_epoch
        self.machine = machine
        self.state = ShardState.LOADING
        self.log: ShardLog | None = None
        self.written_offset = self.loaded_offset = 0
        self.uncommitted: deque[_Commit] = deque()
        self.is_waiting = False
        self.commit_wait = trio.CancelScope()
        self.closed = trio.Event()

    def begin(self, machine: MachineT) -> None:
        """Forget what was loaded so far."""
        self.machine = machine
        self.log = None
        self.written_offset = self.loaded_offset = 0
        self.state = ShardState.LOADING


class CoordinatorRuntime(Generic[MachineT]):
    """The shards of one coordinator on this broker."""

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        machine_for: Callable[[int], MachineT],
        log_for: Callable[[int], ShardLog],
        commit_timeout_ms: int,
        carry_out: Callable[[int, Any], None] | None = None,
        loaded_when_committed: bool = False,
    ) -> None:
        """``log_for(partition)`` may raise ApiError when the partition is not led here.

        ``carry_out(partition, effect)`` is given the effects that machines ask for, and must not call back
        before it returns.

        ``loaded_when_committed`` keeps a shard LOADING until all that was replayed is committed: for machines that
        act outside of their log on what it says.
        """
        self._name = name
        self._clock = clock
        self._machine_for = machine_for
        self._log_for = log_for
        self._commit_timeout_s = commit_timeout_ms / 1000
        self._carry_out = carry_out
        self._loaded_when_committed = loaded_when_committed
        self._shards: dict[int, _Shard[MachineT]] = {}
        self._timers = TimerQueue()
        self._timer_moved_up = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._stopped = False

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until ``stop``; shards that ``load`` named before are loaded now."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for shard in self._shards.values():
                    nursery.start_soon(self._load, shard)
                nursery.start_soon(self._run_timers)
                task_status.started()
        finally:
            self._nursery = None
            self.stop()

    def stop(self) -> None:
        """Unload everything; every later call gets COORDINATOR_NOT_AVAILABLE."""
        self._stopped = True
        for partition in list(self._shards):
            self.unload(partition)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def load(self, partition: int, leader_epoch: int) -> None:
        """This broker leads ``partition`` since ``leader_epoch``: replay its log and serve it.

        The epoch after that of a shard which is served already changes nothing: nobody else appended to its log.
        """
        if self._stopped:
            return
        shard = self._shards.get(partition)
        if shard is not None:
            if shard.state is not ShardState.FAILED and leader_epoch <= shard.leader_epoch + 1:
                shard.leader_epoch = max(shard.leader_epoch, leader_epoch)
                return
            leader_epoch = max(leader_epoch, shard.leader_epoch)
            self.unload(partition)
        shard = _Shard(partition, leader_epoch, self._machine_for(partition))
        self._shards[partition] = shard
        if self._nursery is not None:
            self._nursery.start_soon(self._load, shard)

    def unload(self, partition: int, leader_epoch: int | None = None) -> None:
        """``partition`` is led elsewhere since ``leader_epoch``, or deleted: waiters get NOT_COORDINATOR."""
        shard = self._shards.get(partition)
        if shard is None or (leader_epoch is not None and leader_epoch < shard.leader_epoch):
            return
        del self._shards[partition]
        was_active = shard.state is ShardState.ACTIVE
        shard.state = ShardState.CLOSED
        shard.closed.set()
        self._timers.cancel_all(shard)
        for commit in shard.uncommitted:
            if commit.call is not None:
                commit.call.fail(ErrorCode.NOT_COORDINATOR)
        shard.uncommitted.clear()
        if was_active:
            for caller, response in shard.machine.unloaded().replies:
                _as_call(caller).answer(response)

    @property
    def stopped(self) -> bool:
        return self._stopped

    def state(self, partition: int) -> ShardState | None:
        shard = self._shards.get(partition)
        return None if shard is None else shard.state

    def leader_epoch(self, partition: int) -> int:
        """Since when this broker leads a shard that is loaded; ApiError as ``post``."""
        return self._active(partition).leader_epoch

    # Calls

    async def write(
        self,
        partition: int,
        operation: Callable[[MachineT, Caller, int], Result[ResponseT]],
        producer: Producer | None = None,
    ) -> ResponseT:
        """Call the machine and wait for the answer; with ``producer`` the records are part of a transaction.

        Raises ApiError: what ``operation`` raised, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, or why the
        records did not become committed.
        """
        shard = self._leading(partition)
        call = _Call()
        result = operation(shard.machine, call, self._clock.wall_clock_ms())
        self._execute(shard, result, call, producer)
        return cast(ResponseT, await call.outcome())

    def read(self, partition: int, operation: Callable[[MachineT], ResponseT]) -> ResponseT:
        """Ask the machine something that changes nothing; ApiError as ``write``."""
        shard = self._leading(partition)
        self._advance(shard)
        return operation(shard.machine)

    def read_all(self, operation: Callable[[MachineT], ResponseT]) -> list[ResponseT]:
        """Ask every shard that is served here; COORDINATOR_LOAD_IN_PROGRESS while one is being loaded."""
        self._check_running()
        if any(shard.state is ShardState.LOADING for shard in self._shards.values()):
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return [operation(shard.machine) for shard in self._active_shards() if _leads(shard)]

    def post(self, partition: int, operation: Callable[[MachineT, int], Result[None]]) -> None:
        """Have one shard do something that nobody waits for; ApiError if it is not loaded.

        It may be one that this broker may not lead for now: what it wants appended then fails.
        """
        shard = self._active(partition)
        self._execute(shard, operation(shard.machine, self._clock.wall_clock_ms()), None)

    def ask(self, partition: int, operation: Callable[[MachineT], ResponseT]) -> ResponseT:
        """``read`` for the coordinator itself; ApiError as ``post``."""
        return operation(self._active(partition).machine)

    def write_all(self, operation: Callable[[MachineT, int], Result[None]]) -> None:
        """Have every shard that is served here do something that nobody waits for."""
        for shard in self._active_shards():
            self._execute(shard, operation(shard.machine, self._clock.wall_clock_ms()), None)

    async def complete_transaction(
        self,
        partition: int,
        producer: Producer,
        *,
        coordinator_epoch: int,
        committed: bool,
        transaction_version: int = 0,
    ) -> None:
        """Write and apply the marker that ends a transaction; ApiError as ``write``."""
        shard = self._active(partition)
        assert shard.log is not None
        try:
            end = shard.log.append_end_transaction_marker(
                producer,
                coordinator_epoch=coordinator_epoch,
                committed=committed,
                timestamp_ms=self._clock.wall_clock_ms(),
                transaction_version=transaction_version,
            )
        except ApiError as error:
            raise ApiError(error_for_clients(error.code), error.message) from error
        except StorageError as error:
            raise ApiError(ErrorCode.NOT_COORDINATOR) from error
        shard.written_offset = end
        shard.machine.replay_end_transaction(end - 1, producer.producer_id, committed)
        call = _Call()
        self._release_at(shard, end, call, Result(response=True))
        await call.outcome()

    def _check_running(self) -> None:
        if self._stopped:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)

    def _active(self, partition: int) -> _Shard[MachineT]:
        self._check_running()
        shard = self._shards.get(partition)
        if shard is None or shard.state in (ShardState.FAILED, ShardState.CLOSED):
            raise ApiError(ErrorCode.NOT_COORDINATOR)
        if shard.state is ShardState.LOADING:
            raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return shard

    def _leading(self, partition: int) -> _Shard[MachineT]:
        """A loaded shard, which clients may learn something from."""
        shard = self._active(partition)
        if not _leads(shard):
            raise ApiError(ErrorCode.NOT_COORDINATOR)
        return shard

    def _active_shards(self) -> list[_Shard[MachineT]]:
        return [shard for shard in self._shards.values() if shard.state is ShardState.ACTIVE]

    # Results

    def _execute(
        self,
        shard: _Shard[MachineT],
        result: Result[Any],
        call: _Call | None,
        producer: Producer | None = None,
    ) -> None:
        """Carry out what a machine decided; ``call`` made it decide, if anybody waits for the answer."""
        for change in result.timers:
            if isinstance(change, Schedule):
                deadline = self._clock.monotonic() + change.delay_ms / 1000
                if self._timers.schedule(shard, change.key, deadline, change.event):
                    self._timer_moved_up.set()
            else:
                self._timers.cancel(shard, change.key)
        for caller, response in result.replies:
            _as_call(caller).answer(response)
        for effect in result.effects:
            assert self._carry_out is not None, f"{self._name} carries out no effects, such as {effect!r}"
            self._carry_out(shard.partition, effect)
        if result.records:
            self._append(shard, result, call, producer)
        elif call is not None and result.response is not None:
            if result.after_earlier_writes and self._advance(shard) < shard.written_offset:
                self._release_at(shard, shard.written_offset, call, result)
            else:
                call.answer(result.response)

    def _append(
        self, shard: _Shard[MachineT], result: Result[Any], call: _Call | None, producer: Producer | None
    ) -> None:
        try:
            assert shard.log is not None
            for batch in batches_of(
                result.records, bytes_max=shard.log.batch_bytes_max, atomic=result.atomic
            ):
                self._append_batch(shard, batch, producer, replay=result.replay)
        except ApiError as error:
            failure = AppendFailure(error_for_clients(error.code), written=False)
            logger.warning(
                "%s shard %d: an append failed with %s: %s",
                self._name, shard.partition, error.code.name, error.message or error.code.description,
            )  # fmt: skip
            self._finish(shard, call, result, failure)
        else:
            self._release_at(shard, shard.written_offset, call, result)

    def _append_batch(
        self,
        shard: _Shard[MachineT],
        batch: Sequence[CoordinatorRecord],
        producer: Producer | None,
        *,
        replay: bool,
    ) -> None:
        assert shard.log is not None
        timestamp_ms = self._clock.wall_clock_ms()
        records = [
            Record(index, timestamp_ms, record.key, record.value) for index, record in enumerate(batch)
        ]
        try:
            shard.written_offset = shard.log.append(records, producer)
        except StorageError as error:
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error
        if not replay:
            return
        producer_id = NO_PRODUCER_ID if producer is None else producer.producer_id
        try:
            for offset, record in enumerate(batch, shard.written_offset - len(batch)):
                shard.machine.replay(offset, producer_id, record.content)
        except Exception as error:
            logger.exception("%s shard %d could not replay its own record", self._name, shard.partition)
            self._reload(shard)
            raise ApiError(ErrorCode.NOT_COORDINATOR) from error

    def _reload(self, shard: _Shard[MachineT]) -> None:
        """State and log have parted: begin again from the log."""
        self.unload(shard.partition)
        self.load(shard.partition, shard.leader_epoch)

    def _finish(
        self,
        shard: _Shard[MachineT],
        call: _Call | None,
        result: Result[Any] | _Commit,
        failure: AppendFailure | None,
    ) -> None:
        """The records of ``result`` are committed or failed: tell the machine, then the caller."""
        if result.pending is not None and shard.state is ShardState.ACTIVE:
            now_ms = self._clock.wall_clock_ms()
            self._execute(shard, shard.machine.append_finished(result.pending, failure, now_ms), None)
        if call is None or result.response is None:
            return  # nobody waits, or a parked call, which is the machine's to answer
        if failure is not None:
            call.fail(failure.error)
        else:
            call.answer(result.response)

    # Commits

    def _advance(self, shard: _Shard[MachineT]) -> int:
        """Tell the machine how far its log is committed; returns that offset."""
        assert shard.log is not None
        offset = max(shard.log.high_watermark, shard.loaded_offset)
        shard.machine.advance_committed(offset)
        return offset

    def _release_at(
        self, shard: _Shard[MachineT], offset: int, call: _Call | None, result: Result[Any]
    ) -> None:
        """Finish when the log is committed up to ``offset``, which may be now."""
        deadline = self._clock.monotonic() + self._commit_timeout_s
        shard.uncommitted.append(
            _Commit(offset, deadline, call, result.response, result.pending, result.until_committed)
        )
        self._release_committed(shard)
        # Whoever waits may have nobody to answer any more, and so no deadline of its own.
        shard.commit_wait.deadline = min(shard.commit_wait.deadline, deadline)
        if shard.uncommitted and not shard.is_waiting and self._nursery is not None:
            shard.is_waiting = True
            self._nursery.start_soon(self._wait_for_commits, shard)

    def _release_committed(self, shard: _Shard[MachineT]) -> None:
        high_watermark = self._advance(shard)
        while shard.uncommitted and shard.uncommitted[0].offset <= high_watermark:
            commit = shard.uncommitted.popleft()
            self._finish(shard, commit.call, commit, None)

    async def _wait_for_commits(self, shard: _Shard[MachineT]) -> None:
        assert shard.log is not None
        try:
            while shard.uncommitted:
                deadline = min(commit.deadline for commit in shard.uncommitted)
                with trio.CancelScope(deadline=deadline) as shard.commit_wait:
                    await shard.log.wait_committed(shard.uncommitted[0].offset)
                if shard.state is not ShardState.ACTIVE:
                    return
                self._release_committed(shard)
                self._expire_overdue(shard)
        except ApiError as error:
            if self._shards.get(shard.partition) is shard:
                logger.info(
                    "%s shard %d does not know what became of its records: %s",
                    self._name, shard.partition, error.code.name,
                )  # fmt: skip
                self._reload(shard)
        finally:
            shard.is_waiting = False

    def _expire_overdue(self, shard: _Shard[MachineT]) -> None:
        now = self._clock.monotonic()
        failure = AppendFailure(error_for_clients(ErrorCode.REQUEST_TIMED_OUT), written=True)
        overdue = [commit for commit in shard.uncommitted if commit.deadline <= now]
        if not overdue:
            return
        shard.uncommitted = deque(
            commit.without_caller() if commit.deadline <= now else commit
            for commit in shard.uncommitted
            if commit.deadline > now or commit.until_committed
        )
        for commit in overdue:
            if not commit.until_committed:
                self._finish(shard, commit.call, commit, failure)
            elif commit.call is not None and commit.response is not None:
                commit.call.fail(failure.error)

    # Timers

    async def _run_timers(self) -> None:
        try:
            while True:
                self._timer_moved_up = trio.Event()
                with trio.move_on_at(self._timers.next_deadline()):
                    await self._timer_moved_up.wait()
                now = self._clock.monotonic()
                while (timer := self._timers.pop_due(now)) is not None:
                    self._fire(timer)
        finally:
            # The nursery ends after this, its longest task, and must not be asked for new ones then.
            self._nursery = None

    def _fire(self, timer: Timer) -> None:
        shard = cast("_Shard[MachineT]", timer.owner)
        try:
            result = shard.machine.timer_fired(timer.event, self._clock.wall_clock_ms())
            self._execute(shard, result, None)
        except Exception:
            # A timer has no caller to whom the failure could go, and the other timers must go on.
            logger.exception("%s shard %d: timer %r failed", self._name, shard.partition, timer.event)

    # Loading

    async def _load(self, shard: _Shard[MachineT]) -> None:
        """Until it is served or closed; not again if its records cannot be understood."""
        pause_s = FIRST_LOAD_PAUSE_S
        while not await self._try_to_load(shard, is_first_try=pause_s == FIRST_LOAD_PAUSE_S):
            with trio.move_on_at(self._clock.monotonic() + pause_s):
                await shard.closed.wait()
                return
            pause_s = min(pause_s * 2, LONGEST_LOAD_PAUSE_S)
            shard.begin(self._machine_for(shard.partition))

    async def _try_to_load(self, shard: _Shard[MachineT], *, is_first_try: bool) -> bool:
        """Whether there is no use in trying again."""
        started_at = self._clock.monotonic()
        try:
            await self._replay_log(shard)
            if shard.state is not ShardState.LOADING:
                return True  # closed meanwhile
            shard.state = ShardState.ACTIVE
            self._execute(shard, shard.machine.loaded(self._clock.wall_clock_ms()), None)
        except Exception as error:
            if shard.state is ShardState.CLOSED:
                return True  # and this is why
            is_expected = isinstance(error, (ApiError, StorageError))
            is_led_elsewhere = isinstance(error, ApiError) and error.code is ErrorCode.NOT_LEADER_OR_FOLLOWER
            logger.log(
                logging.ERROR if is_first_try and not is_led_elsewhere else logging.DEBUG,
                "%s shard %d could not be loaded: %s", self._name, shard.partition, error,
                exc_info=None if is_expected else error,
            )  # fmt: skip
            shard.state = ShardState.FAILED
            self._timers.cancel_all(shard)
            return not is_expected
        seconds = self._clock.monotonic() - started_at
        logger.debug("%s shard %d was loaded in %.3f s", self._name, shard.partition, seconds)
        return True

    async def _replay_log(self, shard: _Shard[MachineT]) -> None:
        """Replay everything; returns early if the shard is closed meanwhile."""
        shard.log = log = self._log_for(shard.partition)
        for piece in log.read_all():
            shard.written_offset = replay_piece(shard.machine, memoryview(piece))
            # What was acknowledged before lies below this leader's end, and that is all it knows at first: after a
            # failure of all, its high watermark is an old checkpoint. A committed offset must not seem to go back.
            shard.loaded_offset = shard.written_offset
            shard.machine.advance_committed(shard.loaded_offset)
            # Between pieces others run, and this shard may be gone or this broker deposed after that.
            await trio.lowlevel.checkpoint()
            if shard.state is not ShardState.LOADING:
                return
            log.ensure_leader()
        if self._loaded_when_committed:
            await log.wait_committed(shard.written_offset)


def _leads(shard: _Shard[Any]) -> bool:
    """Whether this broker may act on the log of a loaded shard now: else another one may have, unknown to it."""
    assert shard.log is not None
    try:
        shard.log.ensure_leader()
    except ApiError:
        return False
    return True


def _as_call(caller: Caller) -> _Call:
    assert isinstance(caller, _Call)
    return caller
