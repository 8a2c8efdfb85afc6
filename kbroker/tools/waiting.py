"""How a command waits: for brokers' answers, for time to pass, and not for ever.

Most commands ask one thing after another. They run alone (`kbroker.tools.alone`), since importing an event loop takes
longer than all else that they do. Commands that do several things at once are tasks of trio
(`kbroker.tools.among_tasks`). What both are made of, the cluster above all, waits through this port.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Protocol

from kbroker.world import ClientNetwork


class Deadline(Protocol):
    """What became of a block with a time limit."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the time was over before the block was left, which was ended by it."""
        ...


class Waiting(Protocol):
    """The ways to wait."""

    @property
    def network(self) -> ClientNetwork: ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[Deadline, bool]:
        """The block ends, wherever it waits, when the time is over; of nested ones the outermost that is over."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def has_address(self, host: str) -> bool:
        """Whether the name service knows the host; numbers are known."""
        ...


def here() -> Waiting:
    """How the caller waits: as a task if it is one of trio's, else alone."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        from kbroker.tools.among_tasks import AmongTasks

        return AmongTasks()
    from kbroker.tools.alone import Alone

    return Alone()
