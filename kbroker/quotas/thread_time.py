"""How long the broker's one thread is busy with something, its waiting left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class ThreadTime(Generic[_Result]):
    """Awaits something and tells ``on_step`` how many seconds each step of it took, from one wait to the next."""

    __slots__ = ("_awaited", "_clock", "_on_step")

    def __init__(
        self, awaited: Awaitable[_Result], clock: Callable[[], float], on_step: Callable[[float], None]
    ) -> None:
        self._awaited = awaited
        self._clock = clock
        self._on_step = on_step

    def __await__(self) -> Generator[Any, Any, _Result]:
        steps = self._awaited.__await__()
        resume: Callable[[], Any] = steps.__next__
        while True:
            began = self._clock()
            try:
                trap = resume()
            except StopIteration as end:
                result: _Result = end.value
                return result
            finally:
                self._on_step(self._clock() - began)
            resume = yield from _what_comes_next(steps, trap)


def _what_comes_next(steps: Any, trap: Any) -> Generator[Any, Any, Callable[[], Any]]:
    """Wait as ``trap`` asks; how the steps then go on. Both scheduler's values and its exceptions are handed in."""
    try:
        value = yield trap
    except GeneratorExit:
        steps.close()
        raise
    except BaseException as error:
        cause = error  # the name in the clause is unbound at its end
        return lambda: steps.throw(cause)
    return (lambda: steps.send(value)) if value is not None else steps.__next__
