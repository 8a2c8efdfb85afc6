"""What the brokers log: told to the reader, counted, and searched for what must not be there."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.sim.cluster.processes import current_process

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

_PACKAGES = ("kbroker", "storage", "wire")
_DIGITS = re.compile(r"%\S*?[srdfg]")


class LogWatch(logging.Handler):
    """An exception that ends up in the log is one that nobody has thought of: a finding."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(logging.INFO)
        self._simulation = simulation

    def emit(self, record: logging.LogRecord) -> None:
        process = current_process()
        if process is None or process.is_dead:
            return
        simulation = self._simulation
        simulation.coverage.count("log", _DIGITS.sub("_", str(record.msg))[:90])
        if simulation.verbose:
            simulation.trace.comment(f"    {process.name} {record.levelname}: {record.getMessage()}")
        elif record.levelno >= logging.WARNING:
            simulation.trace.comment(f"    {process.name} {record.getMessage()}")
        if record.exc_info is not None and record.exc_info[1] is not None:
            simulation.found(f"{process.name} logged {record.getMessage()}", record.exc_info[1])

    @contextmanager
    def installed(self) -> Iterator[None]:
        before: list[tuple[logging.Logger, int, bool]] = []
        for name in _PACKAGES:
            logger = logging.getLogger(name)
            before.append((logger, logger.level, logger.propagate))
            logger.setLevel(logging.INFO)
            logger.propagate = False
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger, level, propagate in before:
                logger.setLevel(level)
                logger.propagate = propagate
                logger.removeHandler(self)
