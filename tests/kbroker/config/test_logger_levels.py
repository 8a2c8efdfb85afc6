"""Python's log levels under log4j's names."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from kbroker.config.logger_levels import LoggerLevels

NAME = "kbroker.tests.logger_levels"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = logging.root.level
    logging.getLogger(NAME).setLevel(logging.NOTSET)
    yield
    logging.root.setLevel(before)
    logging.getLogger(NAME).setLevel(logging.NOTSET)


def test_levels_of_existing_loggers() -> None:
    levels = LoggerLevels()
    logging.root.setLevel(logging.ERROR)
    assert levels.levels()["root"] == "ERROR"
    assert levels.levels()[NAME] == "ERROR", "it follows its parent"
    assert levels.exists(NAME) and levels.exists("root")
    # Only a placeholder for the logger's missing parent.
    assert not levels.exists("kbroker.tests")
    assert "kbroker.tests" not in levels.levels()
    assert not levels.exists("kbroker.tests.none")


def test_setting_and_resetting() -> None:
    levels = LoggerLevels()
    for name, number in (
        ("TRACE", 5),
        ("DEBUG", 10),
        ("INFO", 20),
        ("WARN", 30),
        ("ERROR", 40),
        ("FATAL", 50),
    ):
        levels.set_level(NAME, name)
        assert logging.getLogger(NAME).level == number
        assert levels.levels()[NAME] == name
    levels.set_level("root", "WARN")
    assert logging.root.level == logging.WARNING
    levels.set_level(NAME, None)
    assert logging.getLogger(NAME).level == logging.NOTSET
    assert levels.levels()[NAME] == "WARN"
    with pytest.raises(AssertionError):
        levels.set_level("root", None)


def test_levels_between_the_names() -> None:
    levels = LoggerLevels()
    for number, name in ((1, "TRACE"), (5, "TRACE"), (9, "TRACE"), (25, "INFO"), (99, "FATAL")):
        logging.getLogger(NAME).setLevel(number)
        assert levels.levels()[NAME] == name
