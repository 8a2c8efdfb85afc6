"""The levels of Python's loggers under the names of log4j's, for the BROKER_LOGGER resource (KIP-412)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

ROOT_LOGGER = "root"
LEVELS: Mapping[str, int] = {
    "TRACE": 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}


class LoggerLevels:
    """Reads and sets the levels of the loggers that exist in this process."""

    def levels(self) -> dict[str, str]:
        """Logger name -> the level that holds for it, its own or its nearest parent's."""
        names = [name for name, logger in logging.root.manager.loggerDict.items() if _is_logger(logger)]
        return {
            ROOT_LOGGER: _level_name(logging.root.level),
            **{name: _level_name(logging.getLogger(name).getEffectiveLevel()) for name in names},
        }

    def exists(self, name: str) -> bool:
        return name == ROOT_LOGGER or _is_logger(logging.root.manager.loggerDict.get(name))

    def set_level(self, name: str, level: str | None) -> None:
        """``level`` is one of LEVELS; None, not for the root logger, lets the logger follow its parent."""
        assert level is not None or name != ROOT_LOGGER
        logger = logging.root if name == ROOT_LOGGER else logging.getLogger(name)
        logger.setLevel(logging.NOTSET if level is None else LEVELS[level])


def _is_logger(entry: object) -> bool:
    """A name that only stands for a missing parent is a placeholder."""
    return isinstance(entry, logging.Logger)


def _level_name(level: int) -> str:
    """The nearest name at or below a level."""
    reached = [name for name, number in LEVELS.items() if number <= level]
    return reached[-1] if reached else "TRACE"
