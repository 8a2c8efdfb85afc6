"""What a case is: command lines, the state that they meet, and what they leave behind.

Command lines are written as in a shell, with names in braces that each scene replaces: ``--topic {topic}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from compat.commands.scene import Scene

Given = Callable[["Scene"], None]
"""Makes the state that a case meets, under the names of the scene."""
Observation = Callable[["Scene"], str]
"""Looks at the state that a case leaves behind, without any of the tools."""

AT_THE_BROKER: Final = "--bootstrap-server {bootstrap} "
DEADLINE_S: Final = 20.0


@dataclass(frozen=True)
class Line:
    """One command line of one tool."""

    tool: str
    words: str
    stdin: str = ""


@dataclass(frozen=True)
class Case:
    """Lines of one tool, run one after another by Apache Kafka's and by kbroker's.

    Without a broker if ``offline``. Both meet one and the same state, unless they change it (``twins``): then each has
    one of its own, and ``after`` is what is seen of it in the end, or what Apache Kafka's tools are asked about it.
    ``files`` lie in a directory that the lines call ``{dir}``. ``alone``: what one tool does shows in the other's twin,
    so that they must not run at the same time.
    """

    tool: str
    name: str
    lines: tuple[Line, ...]
    offline: bool = False
    given: Given | None = None
    twins: bool = False
    after: tuple[Line | Observation, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False

    @property
    def identifier(self) -> str:
        """``kafka-topics: a new one``, as ``allowed.py`` and ``known.py`` name it."""
        return f"{self.tool}: {self.name}"

    @property
    def slug(self) -> str:
        """The name, fit to be part of a topic's name and of a test's."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


class Cases:
    """The cases of one tool."""

    def __init__(self, tool: str, prefix: str = AT_THE_BROKER) -> None:
        """``prefix`` stands before every line that a broker is there for."""
        self.tool = tool
        self._prefix = prefix
        self._cases: list[Case] = []

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def offline(
        self, name: str, *lines: str, stdin: str = "", files: Mapping[str, str] | None = None
    ) -> None:
        """Lines that need no broker, mostly refused ones."""
        self._add(Case(self.tool, name, self._lines("", lines, stdin), offline=True, files=files or {}))

    def read(
        self,
        name: str,
        *lines: str,
        given: Given | None = None,
        stdin: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Lines that change nothing: both tools meet the same state."""
        self._add(
            Case(self.tool, name, self._lines(self._prefix, lines, stdin), given=given, files=files or {})
        )

    def change(
        self,
        name: str,
        *lines: str,
        after: Sequence[tuple[str, str] | Observation],
        given: Given | None = None,
        stdin: str = "",
        files: Mapping[str, str] | None = None,
        alone: bool = False,
    ) -> None:
        """Lines that change something.

        ``after``: observations, or tools and what they are asked, the broker's address put in front.
        """
        self._add(
            Case(
                self.tool,
                name,
                self._lines(self._prefix, lines, stdin),
                given=given,
                twins=True,
                after=tuple(
                    Line(each[0], AT_THE_BROKER + each[1]) if isinstance(each, tuple) else each
                    for each in after
                ),
                files=files or {},
                alone=alone,
            )
        )

    def _lines(self, prefix: str, lines: Sequence[str], stdin: str) -> tuple[Line, ...]:
        return tuple(Line(self.tool, prefix + words, stdin) for words in lines)

    def _add(self, case: Case) -> None:
        assert case.lines, f"{case.identifier} runs nothing"
        assert all(other.slug != case.slug for other in self._cases), f"two cases are called {case.slug}"
        self._cases.append(case)
