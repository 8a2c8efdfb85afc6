"""What is printed for people: colours where they show, tables, notes, questions, and a line of progress.

Results go to standard output. Notes, progress, questions and errors go to standard error, so that a pipe carries
results only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TextIO

from kbroker.tools.failures import CommandError

_PAINTS: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_MISSING: Final = "-"
_GAP: Final = "  "
_COLUMNS: Final = 80
_PROGRESS_AFTER_S: Final = 0.5
_PROGRESS_EVERY_S: Final = 0.1


class Painted(NamedTuple):
    """Text in a colour, or in several (``"bold red"``)."""

    text: str
    paint: str


Cell = str | int | Painted | None
"""A table's cell. Numbers get separators, None is a dash."""


@dataclass(frozen=True, slots=True)
class Column:
    """A title, and on which side the cells stand."""

    title: str
    right: bool = False


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether this stream shows colours and its reader has nothing against them (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def printable(text: str) -> str:
    """The text without what a terminal would act on: such characters as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class Terminal:
    """The two streams of a command. ``colour``: False turns colours off everywhere."""

    def __init__(self, *, colour: bool = True, environment: Mapping[str, str] = os.environ) -> None:
        self.colour_out = colour and wants_colour(sys.stdout, environment)
        self.colour_err = colour and wants_colour(sys.stderr, environment)

    # Results

    def paint(self, text: str, paint: str) -> str:
        """The text in a colour, if standard output shows any."""
        return _painted(text, paint) if self.colour_out and text else text

    def line(self, text: str = "") -> None:
        """A line of the result."""
        print(text)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """A table with titles, each column as wide as it must be."""
        cells = [[_as_painted(cell) for cell in row] for row in rows]
        widths = [
            max([_width(column.title), *(_width(row[index].text) for row in cells)])
            for index, column in enumerate(columns)
        ]
        titles = [Painted(column.title, "bold") for column in columns]
        for row in (titles, *cells):
            self.line(self._row(columns, widths, row))

    def _row(self, columns: Sequence[Column], widths: Sequence[int], row: Sequence[Painted]) -> str:
        texts = []
        for column, width, cell in zip(columns, widths, row, strict=True):
            padding = " " * (width - _width(cell.text))
            text = self.paint(cell.text, cell.paint) if cell.paint else cell.text
            texts.append(padding + text if column.right else text + padding)
        return _GAP.join(texts).rstrip()

    # Beside the results

    def note(self, text: str) -> None:
        """Something that helps a person, and nobody else: shown on a terminal only."""
        if sys.stderr.isatty():
            self.say(_painted(text, "dim") if self.colour_err else text)

    def warn(self, text: str) -> None:
        """Something that should not be missed."""
        self.say(_painted(text, "yellow") if self.colour_err else text)

    def say(self, text: str) -> None:
        """A line on standard error, behind all results so far."""
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)

    def confirm(self, action: str, *, yes: bool) -> None:
        """Ask whether to do this (``delete 2 topics``); CommandError if not, or if there is nobody to ask."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(f"add --yes to {action}")
        sys.stdout.flush()
        print(f"{action[0].upper()}{action[1:]}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was changed")


class Progress:
    """One line on standard error that is written over and over, while something takes long; a terminal sees it only."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled and sys.stderr.isatty()
        self._started = time.monotonic()
        self._due = self._started + _PROGRESS_AFTER_S
        self._is_shown = False

    @property
    def elapsed_s(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    @property
    def is_due(self) -> bool:
        """Whether ``show`` would show something: for callers to whom the text costs something."""
        return self._enabled and time.monotonic() >= self._due

    def show(self, text: str) -> None:
        """Show this, unless it is too soon since the start or the last time."""
        if self.is_due:
            self._due = time.monotonic() + _PROGRESS_EVERY_S
            self._is_shown = True
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
            # A line that wraps could not be taken back.
            print(f"\r\x1b[K{text[: columns - 1]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            self._is_shown = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _painted(text: str, paint: str) -> str:
    codes = ";".join(_PAINTS[name] for name in paint.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def _as_painted(cell: Cell) -> Painted:
    if cell is None:
        return Painted(_MISSING, "dim")
    if isinstance(cell, Painted):
        return Painted(printable(cell.text), cell.paint)
    return Painted(f"{cell:,}" if isinstance(cell, int) else printable(cell), "")


def _width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width  # rarely needed, and not small

    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text
    )
