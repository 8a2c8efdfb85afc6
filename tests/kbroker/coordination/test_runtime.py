"""CoordinatorRuntime with a machine that only counts, on a mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from kbroker.coordination.machine import AppendFailure, Caller, CoordinatorRecord, Result
from kbroker.coordination.ports import Producer
from kbroker.coordination.runtime import LONGEST_LOAD_PAUSE_S, CoordinatorRuntime, ShardState
from storage.errors import StorageError
from tests.kbroker.coordination.memory_log import MemoryShardLog, TrioWorld
from wire.errors import ApiError, ErrorCode
from wire.records import Record

COMMIT_TIMEOUT_S = 5.0


class Counter:
    """The state is the list of numbers that were replayed; ``finished`` tells the fate of appends."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.pending_numbers: dict[int, list[int]] = {}
        self.committed_to = 0
        self.parked: list[Caller] = []
        self.finished: list[tuple[Any, AppendFailure | None]] = []
        self.fired: list[tuple[Any, int]] = []
        self.on_loaded: Result[None] = Result()
        self.after: Callable[[Any], Result[None]] = lambda pending: Result()
        self.poison: int | None = None
        self.load_count = 0

    # Calls

    def add(self, *numbers: int, pending: Any = None, atomic: bool = True) -> Result[int]:
        return Result(
            response=sum(self.numbers) + sum(numbers),
            records=[CoordinatorRecord(b"n", str(n).encode(), n) for n in numbers],
            pending=pending,
            atomic=atomic,
        )

    def add_patiently(self, number: int, pending: Any) -> Result[int]:
        result = self.add(number, pending=pending)
        result.until_committed = True
        return result

    def park(self, caller: Caller) -> Result[str]:
        self.parked.append(caller)
        return Result()

    def wake(self, answer: str) -> Result[str]:
        result: Result[str] = Result(response="woke them")
        while self.parked:
            result.reply(self.parked.pop(0), answer)
        return result

    # Machine

    def decode(self, key: bytes, value: bytes | None) -> Any:
        return int(value or b"0") if key == b"n" else None

    def replay(self, offset: int, producer_id: int, content: Any) -> None:
        if content == self.poison:
            raise RuntimeError("cannot be replayed")
        (self.numbers if producer_id == -1 else self.pending_numbers.setdefault(producer_id, [])).append(
            content
        )

    def replay_end_transaction(self, offset: int, producer_id: int, committed: bool) -> None:
        numbers = self.pending_numbers.pop(producer_id, [])
        if committed:
            self.numbers += numbers

    def advance_committed(self, offset: int) -> None:
        self.committed_to = offset

    def loaded(self, now_ms: int) -> Result[None]:
        self.load_count += 1
        return self.on_loaded

    def unloaded(self) -> Result[None]:
        result: Result[None] = Result()
        for caller in self.parked:
            result.reply(caller, "unloaded")
        return result

    def timer_fired(self, event: Any, now_ms: int) -> Result[None]:
        self.fired.append((event, now_ms))
        if event == "explode":
            raise RuntimeError("boom")
        if isinstance(event, int):
            return Result(records=[CoordinatorRecord(b"n", str(event).encode(), event)])
        return Result()

    def append_finished(self, pending: Any, failure: AppendFailure | None, now_ms: int) -> Result[None]:
        self.finished.append((pending, failure))
        return self.after(pending)


class Stage:
    """One runtime with one shard, 0, and a few of its kind that are not loaded."""

    def __init__(self) -> None:
        self.log = MemoryShardLog()
        self.machines: list[Counter] = []
        self.log_error: Exception | None = None
        self.prepare: Callable[[Counter], None] = lambda machine: None
        self.runtime: CoordinatorRuntime[Counter] = CoordinatorRuntime(
            name="test",
            clock=TrioWorld(),
            machine_for=self._machine_for,
            log_for=self._log_for,
            commit_timeout_ms=round(COMMIT_TIMEOUT_S * 1000),
            carry_out=lambda partition, effect: self.effects.append((partition, effect)),
        )
        self.effects: list[tuple[int, Any]] = []

    def _machine_for(self, partition: int) -> Counter:
        self.machines.append(Counter())
        self.prepare(self.machines[-1])
        return self.machines[-1]

    def _log_for(self, partition: int) -> MemoryShardLog:
        if self.log_error is not None:
            raise self.log_error
        self.log.ensure_leader()
        return self.log

    @property
    def machine(self) -> Counter:
        return self.machines[-1]

    async def add(self, *numbers: int, **arguments: Any) -> int:
        return await self.runtime.write(0, lambda machine, caller, now_ms: machine.add(*numbers, **arguments))

    async def park(self) -> str:
        return await self.runtime.write(0, lambda machine, caller, now_ms: machine.park(caller))

    async def wake(self, answer: str) -> str:
        return await self.runtime.write(0, lambda machine, caller, now_ms: machine.wake(answer))


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.runtime.run)
        await trio.testing.wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def loaded(stage: Stage | None = None) -> AsyncIterator[tuple[Stage, trio.Nursery]]:
    stage = stage or Stage()
    stage.runtime.load(0, leader_epoch=1)
    async with running(stage) as nursery:
        assert stage.runtime.state(0) is ShardState.ACTIVE
        yield stage, nursery


class Outcome:
    """Runs a call in a task of its own and remembers how it ended."""

    def __init__(self, nursery: trio.Nursery, call: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: ErrorCode | None = None
        self.is_done = False
        self._call = call
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            self.value = await self._call()
        except ApiError as error:
            self.error = error.code
        self.is_done = True


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_append_and_replay() -> None:
    async with loaded() as (stage, _):
        assert await stage.add(1, 2) == 3
        assert await stage.add(3) == 6
        assert stage.machine.numbers == [1, 2, 3]
        assert len(stage.log.batches) == 2


async def test_a_committed_append_costs_no_task_switch() -> None:
    async with loaded() as (stage, nursery):
        steps: list[str] = []

        async def other() -> None:
            steps.append("other task ran")

        nursery.start_soon(other)
        await stage.add(1)
        await stage.add(2)
        steps.append("calls are done")
        await settle()
        assert steps == ["calls are done", "other task ran"]


async def test_parked_call_is_woken_by_another() -> None:
    async with loaded() as (stage, nursery):
        first, second = Outcome(nursery, stage.park), Outcome(nursery, stage.park)
        await settle()
        assert not first.is_done
        assert await stage.wake("morning") == "woke them"
        await settle()
        assert (first.value, second.value) == ("morning", "morning")


async def test_cancelled_call_can_still_be_answered() -> None:
    async with loaded() as (stage, nursery):
        with trio.CancelScope() as scope:
            nursery.start_soon(settle_then_cancel, scope)
            await stage.park()
        assert scope.cancelled_caught
        assert await stage.wake("too late") == "woke them"


async def settle_then_cancel(scope: trio.CancelScope) -> None:
    await settle()
    scope.cancel()


async def test_error_of_the_operation_itself() -> None:
    async with loaded() as (stage, _):

        def refuse(machine: Counter, caller: Caller, now_ms: int) -> Result[None]:
            raise ApiError(ErrorCode.ILLEGAL_GENERATION)

        with pytest.raises(ApiError) as caught:
            await stage.runtime.write(0, refuse)
        assert caught.value.code is ErrorCode.ILLEGAL_GENERATION


class TestWhoIsServed:
    async def test_partition_that_is_not_here(self) -> None:
        stage = Stage()
        async with running(stage):
            for call in (stage.add, stage.park):
                with pytest.raises(ApiError) as caught:
                    await call()
                assert caught.value.code is ErrorCode.NOT_COORDINATOR
            with pytest.raises(ApiError):
                stage.runtime.read(0, lambda machine: machine.numbers)
            assert stage.runtime.read_all(lambda machine: machine.numbers) == []

    async def test_while_it_is_loaded(self) -> None:
        stage = Stage()
        async with running(stage):
            stage.runtime.load(0, 1)
            for call in (stage.add, stage.park):
                with pytest.raises(ApiError) as caught:
                    await call()
                assert caught.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            with pytest.raises(ApiError) as caught:
                stage.runtime.read_all(lambda machine: machine.numbers)
            assert caught.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            await settle()
            assert await stage.add(1) == 1

    async def test_after_stop(self) -> None:
        async with loaded() as (stage, nursery):
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.runtime.stop()
            with pytest.raises(ApiError) as caught:
                await stage.add(1)
            assert caught.value.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
            stage.runtime.load(0, 2)
            assert stage.runtime.state(0) is None
            await settle()
            assert parked.value == "unloaded"

    async def test_stop_ends_run(self) -> None:
        stage = Stage()
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.runtime.run)
            stage.runtime.stop()
        assert stage.runtime.stopped

    async def test_cancelled_run_is_a_stop(self) -> None:
        stage = Stage()
        async with running(stage):
            pass
        assert stage.runtime.stopped
        with pytest.raises(ApiError) as caught:
            await stage.add(1)
        assert caught.value.code is ErrorCode.COORDINATOR_NOT_AVAILABLE

    async def test_after_unload(self) -> None:
        async with loaded() as (stage, nursery):
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.runtime.unload(0)
            await settle()
            assert parked.value == "unloaded"
            with pytest.raises(ApiError) as caught:
                await stage.add(1)
            assert caught.value.code is ErrorCode.NOT_COORDINATOR

    async def test_unload_of_an_older_epoch_is_stale_news(self) -> None:
        async with loaded() as (stage, _):
            stage.runtime.load(0, 2)
            stage.runtime.unload(0, 1)
            assert await stage.add(1) == 1
            stage.runtime.unload(0, 6)
            assert stage.runtime.state(0) is None
            stage.runtime.unload(0, 7)

    async def test_later_epoch_keeps_the_state(self) -> None:
        async with loaded() as (stage, _):
            await stage.add(1)
            stage.runtime.load(0, 2)
            assert await stage.add(1) == 2
            assert len(stage.machines) == 1


class TestLoading:
    async def test_log_is_replayed(self) -> None:
        async with loaded() as (stage, _):
            await stage.add(1, 2)
            await stage.add(3)
            stage.runtime.unload(0)
            stage.runtime.load(0, 2)
            await settle()
            assert stage.machine.numbers == [1, 2, 3]
            assert stage.machine.committed_to == 3

    async def test_transactions(self) -> None:
        async with loaded() as (stage, _):
            producers = [Producer(7, 0), Producer(8, 0), Producer(9, 0)]
            for producer in producers:
                number = producer.producer_id
                await stage.runtime.write(0, lambda m, caller, now_ms, n=number: m.add(n), producer)
            assert stage.machine.numbers == []
            for producer, committed in zip(producers, (True, False), strict=False):
                await stage.runtime.complete_transaction(
                    0, producer, coordinator_epoch=0, committed=committed
                )
            assert (stage.machine.numbers, stage.machine.pending_numbers) == ([7], {9: [9]})
            stage.runtime.unload(0)
            stage.runtime.load(0, 2)
            await settle()
            assert (stage.machine.numbers, stage.machine.pending_numbers) == ([7], {9: [9]})

    async def test_records_that_mean_nothing_here(self) -> None:
        stage = Stage()
        records = [(b"unknown", b"1"), (None, b"2"), (b"n", b"3")]
        stage.log.append([Record(index, 0, key, value) for index, (key, value) in enumerate(records)])
        async with loaded(stage):
            assert stage.machine.numbers == [3]

    async def test_others_run_between_pieces(self) -> None:
        stage = Stage()
        for _ in range(3):
            stage.log.append([Record(0, 0, b"n", b"1")])
        async with running(stage) as nursery:
            seen: list[int] = []

            async def watch() -> None:
                while stage.runtime.state(0) is ShardState.LOADING:
                    seen.append(len(stage.machine.numbers))
                    await trio.lowlevel.checkpoint()

            stage.runtime.load(0, 1)
            nursery.start_soon(watch)
            await settle()
            assert len(set(seen)) > 1

    async def test_lost_while_it_is_loaded(self) -> None:
        stage = Stage()
        stage.log.append([Record(0, 0, b"n", b"1")])
        async with running(stage):
            stage.runtime.load(0, 1)
            await trio.lowlevel.checkpoint()
            stage.runtime.unload(0)
            await settle()
            assert stage.runtime.state(0) is None
            assert stage.machine.load_count == 0
            stage.runtime.load(0, 2)
            await settle()
            assert await stage.add(1) == 2

    @pytest.mark.parametrize(
        "error", [ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER), StorageError("/disk", "broken")]
    )
    async def test_log_that_cannot_be_read(self, error: Exception) -> None:
        stage = Stage()
        stage.log_error = error
        stage.runtime.load(0, 1)
        async with running(stage):
            assert stage.runtime.state(0) is ShardState.FAILED
            with pytest.raises(ApiError) as caught:
                await stage.add(1)
            assert caught.value.code is ErrorCode.NOT_COORDINATOR
            stage.log_error = None
            stage.runtime.load(0, 2)
            await settle()
            assert await stage.add(1) == 1

    @pytest.mark.parametrize(
        "error", [ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER), StorageError("/disk", "broken")]
    )
    async def test_log_that_can_be_read_later(
        self, error: Exception, autojump_clock: trio.testing.MockClock
    ) -> None:
        stage = Stage()
        stage.log.append([Record(0, 0, b"n", b"5")])
        stage.log_error = error
        stage.runtime.load(0, 1)
        async with running(stage):
            await trio.sleep(30)
            assert stage.runtime.state(0) is ShardState.FAILED
            attempts = len(stage.machines)
            assert 25 < attempts < 50, "it does not try all the time"
            stage.log_error = None
            await trio.sleep(LONGEST_LOAD_PAUSE_S + 0.01)
            assert await stage.add(1) == 6
            assert stage.machine.load_count == 1

    async def test_nobody_goes_on_trying_to_load_what_is_led_elsewhere(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        stage = Stage()
        stage.log_error = ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        stage.runtime.load(0, 1)
        async with running(stage):
            stage.runtime.unload(0)
            attempts = len(stage.machines)
            await trio.sleep(30)
            assert len(stage.machines) == attempts
            assert stage.runtime.state(0) is None

    async def test_deposed_while_it_is_loaded(self, autojump_clock: trio.testing.MockClock) -> None:
        stage = Stage()
        for _ in range(3):
            stage.log.append([Record(0, 0, b"n", b"1")])
        async with running(stage):
            stage.runtime.load(0, 1)
            while not stage.machine.numbers:
                await trio.lowlevel.checkpoint()
            assert stage.runtime.state(0) is ShardState.LOADING
            stage.log.lose()  # the metadata has not told yet
            await settle()
            assert stage.runtime.state(0) is ShardState.FAILED
            assert stage.machines[0].load_count == 0
            stage.runtime.unload(0)
            stage.log.lost = False
            stage.runtime.load(0, 3)
            await settle()
            assert await stage.add(1) == 4

    async def test_record_that_cannot_be_replayed(self) -> None:
        stage = Stage()
        stage.log.append([Record(0, 0, b"n", b"not a number")])
        stage.runtime.load(0, 1)
        async with running(stage):
            assert stage.runtime.state(0) is ShardState.FAILED

    async def test_what_follows_the_load_is_carried_out(self) -> None:
        stage = Stage()
        stage.prepare = lambda machine: machine.on_loaded.schedule("t", 1000, 5)
        async with loaded(stage):
            assert stage.machine.fired == []


class TestFailover:
    """What another broker did in between must be seen; what nobody can have changed is kept."""

    async def test_another_broker_led_in_between(self) -> None:
        async with loaded() as (stage, nursery):
            await stage.add(1)
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.log.append([Record(0, 0, b"n", b"10")])  # in epoch 2, elsewhere
            stage.runtime.load(0, leader_epoch=3)
            with pytest.raises(ApiError) as caught:
                await stage.add(1)
            assert caught.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            await settle()
            assert parked.value == "unloaded"
            assert await stage.add(1) == 12
            assert stage.runtime.leader_epoch(0) == 3

    async def test_nobody_led_in_between(self) -> None:
        async with loaded() as (stage, nursery):
            parked = Outcome(nursery, stage.park)
            await settle()
            for epoch in (1, 2, 3):
                stage.runtime.load(0, leader_epoch=epoch)
            assert await stage.wake("still here") == "woke them"
            await settle()
            assert parked.value == "still here"
            assert len(stage.machines) == 1

    async def test_an_older_epoch_is_stale_news(self) -> None:
        async with loaded() as (stage, _):
            stage.runtime.load(0, leader_epoch=2)
            stage.runtime.load(0, leader_epoch=1)
            assert stage.runtime.leader_epoch(0) == 2

    async def test_clients_are_sent_away_while_this_broker_may_not_lead(self) -> None:
        async with loaded() as (stage, nursery):
            await stage.add(1)
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.log.lose()
            for call in (stage.add, lambda: stage.wake("?")):
                with pytest.raises(ApiError) as caught:
                    await call()
                assert caught.value.code is ErrorCode.NOT_COORDINATOR
            with pytest.raises(ApiError) as caught:
                stage.runtime.read(0, lambda machine: machine.numbers)
            assert caught.value.code is ErrorCode.NOT_COORDINATOR
            assert stage.runtime.read_all(lambda machine: machine.numbers) == []
            assert stage.runtime.ask(0, lambda machine: machine.numbers) == [1]
            stage.log.lost = False
            assert stage.runtime.read(0, lambda machine: machine.numbers) == [1]
            await stage.wake("all is well")
            await settle()
            assert parked.value == "all is well"

    async def test_what_was_not_committed_may_be_gone(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):
            await stage.add(1)
            stage.log.holding = True
            waiting = Outcome(nursery, lambda: stage.add(2))
            await settle()
            stage.log.lose()
            await settle()
            assert waiting.error is ErrorCode.NOT_COORDINATOR
            stage.runtime.unload(0)
            del stage.log.batches[1]  # the next leader did not have it
            stage.log.end = 1
            stage.log.lost = stage.log.holding = False
            stage.runtime.load(0, leader_epoch=3)
            await settle()
            assert await stage.add(5) == 6

    async def test_timers_of_a_shard_that_began_again_do_not_fire(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with loaded() as (stage, _):

            def schedule(machine: Counter, caller: Caller, now_ms: int) -> Result[str]:
                result = Result(response="scheduled")
                result.schedule("t", 1_000, "t")
                return result

            await stage.runtime.write(0, schedule)
            stage.runtime.load(0, leader_epoch=3)
            await trio.sleep(5)
            assert [machine.fired for machine in stage.machines] == [[], []]


class TestCommits:
    async def test_answer_waits_for_the_replicas(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            first = Outcome(nursery, lambda: stage.add(1, pending="p"))
            await trio.sleep(1)
            second = Outcome(nursery, lambda: stage.add(2))
            await trio.sleep(1)
            assert not first.is_done
            assert not second.is_done
            assert stage.machine.numbers == [1, 2], "replayed when it was appended"
            assert (stage.machine.finished, stage.machine.committed_to) == ([], 0)
            stage.log.commit_all()
            await settle()
            assert (first.value, second.value) == (1, 3)
            assert stage.machine.finished == [("p", None)]
            assert stage.machine.committed_to == 2

    async def test_what_was_loaded_can_be_read_though_nobody_knows_yet_that_it_is_committed(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with loaded() as (stage, nursery):
            await stage.add(1, 2)
            stage.log.high_watermark, stage.log.holding = 0, True
            stage.runtime.load(0, 3)
            await settle()
            assert len(stage.machines) == 2
            assert stage.runtime.read(0, lambda machine: machine.committed_to) == 2
            added = Outcome(nursery, lambda: stage.add(3))
            await trio.sleep(1)
            assert (added.is_done, stage.machine.committed_to) == (False, 2)
            stage.log.commit_all()
            await settle()
            assert (added.value, stage.machine.committed_to) == (6, 3)

    async def test_they_are_answered_in_order(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            first = Outcome(nursery, lambda: stage.add(1, pending=1))
            await trio.sleep(1)
            stage.log.holding = False
            # This append finds the log committed, before the waiting task has been woken.
            assert await stage.add(2, pending=2) == 3
            assert stage.machine.finished == [(1, None), (2, None)]
            await settle()
            assert first.value == 1

    async def test_timeout(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, _):
            stage.log.holding = True
            began = trio.current_time()
            with pytest.raises(ApiError) as caught:
                await stage.add(1, pending="p")
            assert caught.value.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
            assert trio.current_time() - began == pytest.approx(COMMIT_TIMEOUT_S)
            failure = AppendFailure(ErrorCode.COORDINATOR_NOT_AVAILABLE, written=True)
            assert stage.machine.finished == [("p", failure)]
            assert stage.machine.numbers == [1], "it is in the log"

    async def test_timeouts_count_from_each_append(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            Outcome(nursery, lambda: stage.add(1))
            await trio.sleep(3)
            second = Outcome(nursery, lambda: stage.add(2))
            await trio.sleep(3)
            assert not second.is_done
            await trio.sleep(2.1)
            assert second.error is ErrorCode.COORDINATOR_NOT_AVAILABLE

    async def test_a_patient_machine_hears_of_the_commit_however_late(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            patient = Outcome(
                nursery,
                lambda: stage.runtime.write(0, lambda machine, caller, now_ms: machine.add_patiently(1, "p")),
            )
            await trio.sleep(1)
            impatient = Outcome(nursery, lambda: stage.add(2, pending="i"))
            await trio.sleep(4.1)
            assert patient.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
            assert not impatient.is_done
            assert stage.machine.finished == []
            await trio.sleep(1)
            assert impatient.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
            late = AppendFailure(ErrorCode.COORDINATOR_NOT_AVAILABLE, written=True)
            assert stage.machine.finished == [("i", late)]
            await trio.sleep(1000)
            stage.log.commit_all()
            await settle()
            assert stage.machine.finished == [("i", late), ("p", None)]

    async def test_a_patient_machine_keeps_later_callers_waiting_no_longer(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            Outcome(
                nursery,
                lambda: stage.runtime.write(0, lambda machine, caller, now_ms: machine.add_patiently(1, "p")),
            )
            await trio.sleep(COMMIT_TIMEOUT_S + 1)
            later = Outcome(nursery, lambda: stage.add(2))
            await trio.sleep(COMMIT_TIMEOUT_S + 1)
            assert later.error is ErrorCode.COORDINATOR_NOT_AVAILABLE

    async def test_a_patient_machine_that_is_unloaded_hears_nothing_more(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            waiting = Outcome(
                nursery,
                lambda: stage.runtime.write(0, lambda machine, caller, now_ms: machine.add_patiently(1, "p")),
            )
            await trio.sleep(COMMIT_TIMEOUT_S + 1)
            assert waiting.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
            stage.runtime.unload(0)
            stage.log.commit_all()
            await settle()
            assert stage.machines[0].finished == []

    async def test_read_after_earlier_writes(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):

            async def read() -> int:
                return await stage.runtime.write(
                    0,
                    lambda machine, caller, now_ms: Result(
                        response=sum(machine.numbers), after_earlier_writes=True
                    ),
                )

            assert await read() == 0
            stage.log.holding = True
            Outcome(nursery, lambda: stage.add(1))
            await settle()
            reading = Outcome(nursery, read)
            await trio.sleep(1)
            assert not reading.is_done
            stage.log.commit_all()
            await settle()
            assert reading.value == 1

    async def test_calls_that_do_not_care_are_not_held_back(self) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            Outcome(nursery, lambda: stage.add(1))
            await settle()
            assert await stage.wake("nobody") == "woke them"

    async def test_read_after_a_write_that_timed_out(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            with pytest.raises(ApiError):
                await stage.add(1)
            reading = Outcome(
                nursery,
                lambda: stage.runtime.write(
                    0, lambda m, caller, now_ms: Result(response="now", after_earlier_writes=True)
                ),
            )
            await trio.sleep(1)
            assert not reading.is_done, "the record may still be taken back"
            stage.log.commit_all()
            await settle()
            assert reading.value == "now"

    async def test_lost_while_waiting(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            waiting = Outcome(nursery, lambda: stage.add(1))
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.log.lose()
            await settle()
            assert waiting.error is ErrorCode.NOT_COORDINATOR
            assert parked.value == "unloaded"
            assert stage.runtime.state(0) is ShardState.FAILED
            with pytest.raises(ApiError) as caught:
                await stage.add(2)
            assert caught.value.code is ErrorCode.NOT_COORDINATOR
            await trio.sleep(10)
            assert stage.runtime.state(0) is ShardState.FAILED, "until the metadata says who leads"
            stage.runtime.unload(0)
            assert stage.runtime.state(0) is None

    async def test_what_was_waited_for_may_turn_out_to_be_committed(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            waiting = Outcome(nursery, lambda: stage.add(1))
            await settle()
            stage.log.lose()
            await trio.sleep(10)
            assert waiting.error is ErrorCode.NOT_COORDINATOR
            stage.log.lost = stage.log.holding = False  # nobody else led after all
            await trio.sleep(LONGEST_LOAD_PAUSE_S + 0.01)
            assert await stage.add(2) == 3

    async def test_unloaded_while_waiting(self) -> None:
        async with loaded() as (stage, nursery):
            stage.log.holding = True
            waiting = Outcome(nursery, lambda: stage.add(1, pending="p"))
            await settle()
            stage.runtime.unload(0)
            await settle()
            assert waiting.error is ErrorCode.NOT_COORDINATOR
            stage.log.commit_all()
            await settle()
            assert stage.machine.finished == []

    async def test_what_follows_a_commit_is_carried_out(self) -> None:
        async with loaded() as (stage, nursery):
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.machine.after = lambda pending: (
                stage.machine.add(100) if pending == "again" else stage.machine.wake("done")  # type: ignore[return-value]
            )
            await stage.add(1, pending="again")
            await stage.add(2, pending="wake")
            await settle()
            assert parked.value == "done"
            assert stage.machine.numbers == [1, 100, 2]


class TestFailedAppends:
    @pytest.mark.parametrize(
        ("raised", "seen"),
        [
            (ApiError(ErrorCode.NOT_ENOUGH_REPLICAS), ErrorCode.COORDINATOR_NOT_AVAILABLE),
            (ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), ErrorCode.COORDINATOR_NOT_AVAILABLE),
            (ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER), ErrorCode.NOT_COORDINATOR),
            (ApiError(ErrorCode.KAFKA_STORAGE_ERROR), ErrorCode.NOT_COORDINATOR),
            (StorageError("/disk", "full"), ErrorCode.NOT_COORDINATOR),
            (ApiError(ErrorCode.MESSAGE_TOO_LARGE), ErrorCode.UNKNOWN_SERVER_ERROR),
            (ApiError(ErrorCode.RECORD_LIST_TOO_LARGE), ErrorCode.UNKNOWN_SERVER_ERROR),
            (ApiError(ErrorCode.INVALID_PRODUCER_EPOCH), ErrorCode.INVALID_PRODUCER_EPOCH),
        ],
        ids=lambda value: getattr(value, "name", str(value)),
    )
    async def test_codes(self, raised: Exception, seen: ErrorCode) -> None:
        async with loaded() as (stage, _):
            stage.log.errors.append(raised)
            with pytest.raises(ApiError) as caught:
                await stage.add(1, pending="p")
            assert caught.value.code is seen
            assert stage.machine.numbers == []
            assert stage.machine.finished == [("p", AppendFailure(seen, written=False))]
            assert await stage.add(2) == 2

    async def test_parked_calls_that_are_woken_by_it(self) -> None:
        async with loaded() as (stage, nursery):
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.machine.after = lambda pending: stage.machine.wake("sorry")  # type: ignore[assignment,return-value]
            stage.log.errors.append(ApiError(ErrorCode.NOT_ENOUGH_REPLICAS))
            with pytest.raises(ApiError):
                await stage.add(1, pending="p")
            await settle()
            assert parked.value == "sorry"

    async def test_parked_call_is_the_machines_to_answer(self) -> None:
        async with loaded() as (stage, nursery):
            stage.log.errors.append(ApiError(ErrorCode.NOT_ENOUGH_REPLICAS))

            def append_and_park(machine: Counter, caller: Caller, now_ms: int) -> Result[Any]:
                machine.parked.append(caller)
                result: Result[Any] = machine.add(1)
                result.response = None
                return result

            parked = Outcome(nursery, lambda: stage.runtime.write(0, append_and_park))
            await settle()
            assert not parked.is_done
            await stage.wake("try again")
            await settle()
            assert parked.value == "try again"

    async def test_own_record_that_cannot_be_replayed(self) -> None:
        async with loaded() as (stage, nursery):
            await stage.add(1)
            parked = Outcome(nursery, stage.park)
            await settle()
            stage.machine.poison = 2
            with pytest.raises(ApiError) as caught:
                await stage.add(2)
            assert caught.value.code is ErrorCode.NOT_COORDINATOR
            await settle()
            assert parked.value == "unloaded"
            assert stage.machine.numbers == [1, 2], "the shard was loaded again from its log"

    @pytest.mark.parametrize("raised", [ApiError(ErrorCode.NOT_ENOUGH_REPLICAS), StorageError("/d", "x")])
    async def test_marker(self, raised: Exception) -> None:
        async with loaded() as (stage, _):
            producer = Producer(7, 0)
            await stage.runtime.write(0, lambda m, caller, now_ms: m.add(7), producer)
            stage.log.errors.append(raised)
            with pytest.raises(ApiError):
                await stage.runtime.complete_transaction(0, producer, coordinator_epoch=0, committed=True)
            assert stage.machine.pending_numbers == {7: [7]}


class TestBatches:
    async def test_many_records_are_spread(self) -> None:
        async with loaded() as (stage, _):
            stage.log.batch_bytes_max = 200
            assert await stage.add(*range(50), atomic=False) == sum(range(50))
            assert stage.machine.numbers == list(range(50))
            assert 5 < len(stage.log.batches) < 50

    async def test_but_not_if_they_belong_together(self) -> None:
        async with loaded() as (stage, _):
            stage.log.batch_bytes_max = 200
            with pytest.raises(ApiError) as caught:
                await stage.add(*range(50))
            assert caught.value.code is ErrorCode.UNKNOWN_SERVER_ERROR
            assert stage.machine.numbers == []

    async def test_failure_in_the_middle_keeps_state_and_log_together(self) -> None:
        async with loaded() as (stage, _):
            stage.log.batch_bytes_max = 200
            original = stage.log.append

            def append(records: Any, producer: Any = None) -> int:
                if len(stage.log.batches) == 2:
                    stage.log.errors.append(ApiError(ErrorCode.KAFKA_STORAGE_ERROR))
                return original(records, producer)

            stage.log.append = append  # type: ignore[method-assign]
            with pytest.raises(ApiError):
                await stage.add(*range(50), atomic=False)
            assert len(stage.machine.numbers) == stage.log.end

    async def test_write_all_and_read_all(self) -> None:
        async with loaded() as (stage, _):
            stage.runtime.write_all(lambda machine, now_ms: machine.add(1, 2))  # type: ignore[arg-type]
            assert stage.runtime.read_all(lambda machine: list(machine.numbers)) == [[1, 2]]
            assert stage.runtime.read(0, lambda machine: machine.committed_to) == 2


class TestTimers:
    async def test_they_fire_in_time(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, _):
            await self.schedule(stage, "late", 10_000, "late")
            await self.schedule(stage, "early", 1_000, 5)
            before = stage.runtime._clock.wall_clock_ms()
            await trio.sleep(0.999)
            assert stage.machine.fired == []
            await trio.sleep(0.002)
            assert stage.machine.fired == [(5, before + 1000)]
            assert stage.machine.numbers == [5], "its records were appended"
            await trio.sleep(10)
            assert [event for event, _ in stage.machine.fired] == [5, "late"]

    async def test_moved_and_cancelled(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, _):
            await self.schedule(stage, "a", 1_000, "a")
            await self.schedule(stage, "b", 1_000, "b")
            await self.schedule(stage, "a", 2_000, "a moved")

            def cancel(machine: Counter, caller: Caller, now_ms: int) -> Result[str]:
                result = Result(response="cancelled")
                result.cancel("b")
                return result

            await stage.runtime.write(0, cancel)
            await trio.sleep(1.5)
            assert stage.machine.fired == []
            await trio.sleep(1)
            assert [event for event, _ in stage.machine.fired] == ["a moved"]

    async def test_one_that_fails_does_not_stop_the_others(
        self, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with loaded() as (stage, _):
            await self.schedule(stage, "a", 1_000, "explode")
            await self.schedule(stage, "b", 1_000, "fine")
            await trio.sleep(2)
            assert [event for event, _ in stage.machine.fired] == ["explode", "fine"]
            assert "explode" in caplog.text

    async def test_they_go_with_their_shard(self, autojump_clock: trio.testing.MockClock) -> None:
        async with loaded() as (stage, _):
            await self.schedule(stage, "a", 1_000, "a")
            stage.runtime.unload(0)
            stage.runtime.load(0, 2)
            await trio.sleep(5)
            assert stage.machines[0].fired == stage.machines[1].fired == []

    async def schedule(self, stage: Stage, key: str, delay_ms: int, event: Any) -> None:
        def operation(machine: Counter, caller: Caller, now_ms: int) -> Result[str]:
            result = Result(response="scheduled")
            result.schedule(key, delay_ms, event)
            return result

        await stage.runtime.write(0, operation)


class TestEffects:
    async def test_effects_are_carried_out_with_the_decision(self) -> None:
        async with loaded() as (stage, _):
            stage.log.holding = True
            result: Result[None] = Result(effects=["one", "two"])
            stage.runtime.post(0, lambda machine, now_ms: result)
            assert stage.effects == [(0, "one"), (0, "two")]

    async def test_effects_of_loading_and_of_commits(self) -> None:
        stage = Stage()

        def prepare(machine: Counter) -> None:
            machine.on_loaded = Result(effects=["loaded"])
            machine.after = lambda pending: Result(effects=[pending])

        stage.prepare = prepare
        async with loaded(stage):
            await stage.add(1, pending="committed")
            assert stage.effects == [(0, "loaded"), (0, "committed")]


class TestPost:
    async def test_post_writes_for_nobody(self) -> None:
        async with loaded() as (stage, _):
            stage.runtime.post(0, lambda machine, now_ms: Result(records=[CoordinatorRecord(b"n", b"5", 5)]))
            assert stage.machine.numbers == [5]

    async def test_post_to_a_shard_that_is_not_served(self) -> None:
        async with loaded() as (stage, _):
            with pytest.raises(ApiError) as caught:
                stage.runtime.post(1, lambda machine, now_ms: Result())
            assert caught.value.code is ErrorCode.NOT_COORDINATOR


class TestLeaderEpoch:
    async def test_it_is_the_newest(self) -> None:
        async with loaded() as (stage, _):
            assert stage.runtime.leader_epoch(0) == 1
            stage.runtime.load(0, leader_epoch=2)
            assert stage.runtime.leader_epoch(0) == 2
            stage.runtime.unload(0)
            with pytest.raises(ApiError):
                stage.runtime.leader_epoch(0)
