"""Processes inside one trio run: stopped as by SIGSTOP, killed as by SIGKILL; and trio made deterministic.

A task belongs to the process of the task that started it. While a process is paused, whatever makes one of its tasks
runnable (a message, a deadline, another task) only notes that it is; on ``resume`` all of them run, at the time that
it is then. So, as after SIGCONT, the process finds its clock ahead, its deadlines passed, bytes in its sockets, and
each task goes on from where it stood: one that had checked its lease and was about to send an answer sends it.

What differs from a real SIGSTOP: tasks stop at checkpoints, not between any two instructions (so ``SimulatedWorld``
has a checkpoint before bytes leave); and where a deadline passes during the pause before the awaited thing happens,
the deadline has won by then, while a real process would see both at once.

A killed process is fenced from its World first: every call raises ``Crashed``. Then its tasks are cancelled, only to
get rid of them; their ``finally`` clauses change nothing but their own memory.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any

import outcome
import trio
from trio._core import _run as trio_run

from tests.sim.filesystem import Crashed

_TASK_STEPS_PER_MOMENT_MAX = 200_000

_process: ContextVar[Process | None] = ContextVar("process", default=None)


class Process:
    """The tasks of one life of a node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_paused = False
        self.held: list[trio.lowlevel.Task] = []
        self.trap: tuple[str, int, Callable[[], None]] | None = None
        """(kind of step, steps until then, what happens then)"""

    def pause(self) -> None:
        if not self.is_dead:
            self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held, self.held = self.held, []
        trio_run.GLOBAL_RUN_CONTEXT.runner.runq.extend(held)

    def kill(self) -> None:
        self.is_dead = True
        self.trap = None
        self.resume()

    def check(self) -> None:
        """Whatever a process does to its World begins with this."""
        if self.is_dead:
            raise Crashed

    async def step(self, kind: str) -> None:
        """A call to the World begins: a moment at which the process may be killed or stopped."""
        if self.trap is not None and self.trap[0] == kind:
            kind, left, spring = self.trap
            if left > 0:
                self.trap = (kind, left - 1, spring)
            else:
                self.trap = None
                spring()
        if self.is_paused:
            await trio.lowlevel.cancel_shielded_checkpoint()
        self.check()

    async def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run ``main`` in a task of this process; call it in a task of its own."""
        _process.set(self)
        await main()


def current_process() -> Process | None:
    """The one whose task this is."""
    return _process.get()


class Livelock(AssertionError):
    """Tasks run and run, and time stands still."""


class Scheduler:
    """Trio's scheduler, seeded, with processes. ``moved_on`` is to be called whenever time moves on."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._steps = 0
        self.on_livelock: Callable[[], None] = lambda: None

    def moved_on(self) -> None:
        self._steps = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """For the time of one ``trio.run``."""
        original = trio_run.Runner.reschedule
        was = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r

        def reschedule(
            runner: Any, task: trio.lowlevel.Task, next_send: outcome.Outcome[Any] = trio_run._NO_SEND
        ) -> None:
            original(runner, task, next_send)
            process = task.context.get(_process)
            if process is not None and process.is_paused:
                process.held.append(runner.runq.pop())
            self._steps += 1
            if self._steps == _TASK_STEPS_PER_MOMENT_MAX:
                self.on_livelock()

        spawn = trio.lowlevel.spawn_system_task

        def spawn_system_task(
            async_function: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any
        ) -> Any:
            """A system task belongs to a process like any other, and its death is nobody else's business."""

            async def task() -> None:
                with suppress(Crashed):
                    await async_function(*arguments)

            return spawn(task, name=options.get("name", async_function), context=copy_context())

        trio.lowlevel.spawn_system_task = spawn_system_task  # type: ignore[assignment]
        trio_run.Runner.reschedule = reschedule  # type: ignore[method-assign, assignment]
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
        trio_run._r = self._random
        try:
            yield
        finally:
            trio.lowlevel.spawn_system_task = spawn
            trio_run.Runner.reschedule = original  # type: ignore[method-assign]
            trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r = was  # type: ignore[misc]
