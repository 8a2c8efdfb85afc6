"""Ways to reduce what was printed to what must be equal; ``allowed.py`` says what each is for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

EXCEPTION: Final = r"(?:[a-z]\w*\.)+[A-Z][\w$]*(?:Exception|Error)(?:: |$)"
"""How Java begins to tell of an exception: its class."""
TRACE_LINE: Final = r"(?:\s+at .*|\s+\.\.\. \d+ more|Caused by: .*|\s+Suppressed: .*)"
LOGGED: Final = r"\[[\d-]+ [\d:,]+\] "
"""How a line of a log begins."""
_TRACE_LINE: Final = re.compile(TRACE_LINE)
_THROWN: Final = re.compile(rf"(?:Exception in thread \"[\w-]+\" )?(?:{EXCEPTION})+")
_JOPT_HEADER: Final = re.compile(r"Option +Description *")
_JOPT_FLAG: Final = re.compile(r"^(--?[a-zA-Z][\w.-]*)", re.MULTILINE)
_MISTAKE: Final = re.compile(r"[\w.-]+: +error: ")
_ARGPARSE_FLAG: Final = re.compile(r"^  (--?[a-zA-Z][\w.-]*)", re.MULTILINE)


@dataclass(frozen=True)
class Replaced:
    """Whatever matches becomes ``by``; ``^`` and ``$`` are the ends of a line."""

    pattern: str
    by: str

    def reduce(self, text: str) -> str:
        return re.sub(self.pattern, self.by, text, flags=re.MULTILINE)


@dataclass(frozen=True)
class Without:
    """Lines that match go."""

    pattern: str

    def reduce(self, text: str) -> str:
        return "\n".join(line for line in text.split("\n") if not re.fullmatch(self.pattern, line))


@dataclass(frozen=True)
class SortedItems:
    """Whatever matches is a list with commas, and is put in order."""

    pattern: str

    def reduce(self, text: str) -> str:
        return re.sub(self.pattern, lambda found: ", ".join(sorted(found[0].split(", "))), text)


@dataclass(frozen=True)
class SortedBy:
    """The lines that match, wherever they are, are put in order by the pattern's group; equal ones stay as they are."""

    pattern: str = "(.*)"

    def reduce(self, text: str) -> str:
        lines = text.split("\n")
        found = {
            place: match
            for place, line in enumerate(lines)
            if line and (match := re.fullmatch(self.pattern, line))
        }
        for place, match in zip(found, sorted(found.values(), key=lambda match: match[1]), strict=True):
            lines[place] = match[0]
        return "\n".join(lines)


@dataclass(frozen=True)
class SortedBlocks:
    """Each line that matches begins a block, up to the next one; the blocks are put in order."""

    first: str

    def reduce(self, text: str) -> str:
        before, *blocks = re.split(rf"^(?={self.first})", text, flags=re.MULTILINE)
        return before + "".join(sorted(blocks))


@dataclass(frozen=True)
class SortedJson:
    """In a line that is JSON the lists of this name are put in order."""

    name: str

    def reduce(self, text: str) -> str:
        return re.sub(r"^\{.*\}$", lambda found: self._line(found[0]), text, flags=re.MULTILINE)

    def _line(self, line: str) -> str:
        def sort(value: dict[str, Any]) -> dict[str, Any]:
            if self.name in value:
                value[self.name].sort(key=json.dumps)
            return value

        return json.dumps(json.loads(line, object_hook=sort))


@dataclass(frozen=True)
class WithoutTraces:
    """Stack traces go with their causes, and so does the exception above one that says again what stands before it.

    Of an exception at the beginning of a line the message stays.
    """

    def reduce(self, text: str) -> str:
        lines = text.split("\n")
        kept: list[str] = []
        in_trace = False
        exception = 0  # where the message of the last one begins in ``kept``
        for number, line in enumerate(lines, 1):
            if _TRACE_LINE.fullmatch(line):
                if not in_trace:
                    _drop_repetition(kept, exception)
                in_trace = True
                continue
            if in_trace and line == "" and number < len(lines):
                in_trace = False
                continue
            thrown = _THROWN.match(line)
            message = line[thrown.end() :] if thrown else line
            in_trace = bool(thrown and message and kept and kept[-1].endswith(message))
            if not in_trace:
                exception = len(kept) if thrown else exception
                kept.append(message)
        return "\n".join(kept)


def _drop_repetition(lines: list[str], start: int) -> None:
    """Drop the message of an exception, which ``lines`` are from ``start`` on, if it is what stands before it."""
    if start and "\n".join(lines[:start]).endswith("\n".join(lines[start:])):
        del lines[start:]


@dataclass(frozen=True)
class FlagsOfHelp:
    """A help text becomes the names of its flags: joptsimple's and argparse's are laid out in different ways."""

    def reduce(self, text: str) -> str:
        lines = text.split("\n")
        for index, line in enumerate(lines):
            flag = _JOPT_FLAG if _JOPT_HEADER.fullmatch(line) else _ARGPARSE_FLAG
            if flag is _JOPT_FLAG or line.startswith("usage: "):
                flags = sorted(set(flag.findall("\n".join(lines[index:]))))
                return "\n".join([*lines[:index], "<flags>", *flags, *_mistakes(lines[index:]), ""])
        return text


def _mistakes(lines: list[str]) -> list[str]:
    """What argparse says below its usage, in one line: Java's is broken and justified."""
    for number, line in enumerate(lines):
        if _MISTAKE.match(line):
            text = " ".join(" ".join(lines[number:]).split())
            return [re.sub(r"-- (?=[a-z])", "--", text)]
    return []
