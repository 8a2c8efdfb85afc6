"""What a case is, and the running of one on both brokers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from compat.wire.scene import CaseEnded, Scene, Side
from compat.wire.served import OTHER_VERSIONS
from wire.messages import API_KEYS
from wire.schema import Request, parse_versions

Body = Callable[..., object]
"""Takes the scene; returns the request to ask, or None if it has asked itself."""


@dataclass(frozen=True)
class Case:
    """One thing to ask both brokers.

    ``body`` returns the request, or asks itself (``Scene.ask``) where one request is not enough. It runs at each of
    the API's versions within ``versions`` ("4+", "2-7", "3,7,9+"), and prepares what it needs under names of its own.
    """

    request_class: type[Request]
    name: str
    body: Body
    versions: str | None = None
    title: str | None = None
    """In place of the API's name, for cases that are about none."""

    @property
    def api_name(self) -> str:
        return self.title or API_KEYS[self.request_class.api_key].name

    @property
    def identifier(self) -> str:
        """``CreateTopics: an existing topic``, as ``known.py`` names it."""
        return f"{self.api_name}: {self.name}"

    def at(self) -> tuple[int, ...]:
        """The versions at which it runs, of those that both brokers serve."""
        first, last = self.request_class.min_version, self.request_class.max_version
        if self.request_class.api_key in OTHER_VERSIONS:
            theirs, ours, _ = OTHER_VERSIONS[self.request_class.api_key]
            first, last = max(theirs[0], ours[0]), min(theirs[1], ours[1])
        if self.versions is None:
            return tuple(range(first, last + 1))
        found: set[int] = set()
        for part in self.versions.split(","):
            asked_first, asked_last = parse_versions(part)
            found.update(range(max(first, asked_first), min(last, asked_last) + 1))
        return tuple(sorted(found))

    def run_on(self, sides: Iterable[Side], version: int, case_token: str) -> list[Scene]:
        """Run on all of ``sides`` at once; what happened on each. Errors of preparations as they come."""
        scenes = [Scene(side, version, case_token, self.at()) for side in sides]
        with ThreadPoolExecutor(len(scenes)) as threads:
            list(threads.map(self._play, scenes))
        return scenes

    def _play(self, scene: Scene) -> None:
        try:
            request = self.body(scene)
            if request is not None:
                assert isinstance(request, Request), f"{self.identifier} returns {request!r}"
                scene.ask(request)
        except CaseEnded:
            pass
        finally:
            scene.close()


class Cases:
    """The cases of one API: ``cases("name", lambda at: request)``, or as a decorator of a function."""

    def __init__(self, request_class: type[Request], *, title: str | None = None) -> None:
        self.request_class = request_class
        self.title = title
        self._cases: list[Case] = []

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def add(self, name: str, body: Body, versions: str | None = None) -> Self:
        assert all(case.name != name for case in self._cases), f"two cases are called {name!r}"
        self._cases.append(Case(self.request_class, name, body, versions, self.title))
        return self

    def case(self, name: str, versions: str | None = None) -> Callable[[Body], Body]:
        """Decorator: the function is the case's body."""

        def keep(body: Body) -> Body:
            self.add(name, body, versions)
            return body

        return keep
