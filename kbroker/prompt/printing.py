"""Records on standard output, until there were enough, somebody interrupts, or nobody reads any more."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from kbroker.prompt.pipes import wait_for_no_reader, write
from kbroker.prompt.quantities import count_text, counted, size_text
from kbroker.prompt.record_text import PRETTY, VALUE, Formatter, formatter
from kbroker.prompt.session import Session
from kbroker.prompt.terminal import Progress
from kbroker.tools.cluster import Partition
from kbroker.tools.interrupts import ending_on_signals
from wire.record import Record

_INTERRUPTED: Final = 130


class Printer:
    """Prints records. ``piped``: the format where standard output is no terminal and no flag says another."""

    def __init__(self, session: Session, *, piped: str = VALUE, count_max: float = math.inf) -> None:
        options = session.options
        on_terminal = sys.stdout.isatty()
        name = "json" if options.json else options.format or (PRETTY if on_terminal else piped)
        self._format: Formatter = formatter(name, session.terminal)
        self._descriptor = sys.stdout.fileno()
        self._progress = Progress(enabled=not on_terminal)
        self._left = count_max
        self._count = 0
        self._bytes = 0
        self.expected: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether as many were printed as were wanted."""
        return self._left <= 0

    async def print(self, partition: Partition, records: Sequence[Record]) -> int | None:
        """Print as many of them as are wanted; the offset of the first that was not, or None. BrokenPipeError."""
        wanted = records if len(records) <= self._left else records[: int(self._left)]
        text = b"".join([self._format(partition, record) for record in wanted])
        await write(self._descriptor, text)
        self._left -= len(wanted)
        self._count += len(wanted)
        self._bytes += len(text)
        if self._progress.is_due:
            self._progress.show(self._progress_text())
        return None if len(wanted) == len(records) else records[len(wanted)].offset

    async def until_ended(self, work: Callable[[], Awaitable[None]], *, endless: bool) -> None:
        """Do the work until it is done, somebody interrupts it, or the reader of standard output is gone.

        To interrupt what is endless is no failure; otherwise SystemExit says that it was cut short.
        """
        try:
            async with ending_on_signals() as scope, trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_without_reader, scope)
                await work()
                nursery.cancel_scope.cancel()
        except SystemExit as end:
            if not endless or end.code != _INTERRUPTED:
                raise
        finally:
            self._progress.clear()

    async def _stop_without_reader(self, scope: trio.CancelScope) -> None:
        await wait_for_no_reader(self._descriptor)
        scope.cancel()

    def _progress_text(self) -> str:
        rate = round(self._count / max(self._progress.elapsed_s, 0.001))
        text = f"{counted(self._count, 'record')}  {size_text(self._bytes)}  {count_text(rate)} records/s"
        if self.expected:
            text = f"{min(self._count / self.expected, 1):4.0%}  {text}"
        return text
